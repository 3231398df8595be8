#include "bench_report.h"

#include <math.h>
#include <string.h>

#include "json.h"
#include "output.h"

/* What the machine can do at most; NaN: not known. */
typedef struct limits {
    double read, int8, int4, float32;
    const char *int8_name;
} limits;

/* The greater one; NaN stands for none. */
static double most(double a, double b)
{
    return b > 0 && !(a >= b) ? b : a;
}

static limits limits_of(const dlx_cli_bench_report *r)
{
    limits l = {.read = NAN, .int8 = NAN, .int4 = NAN, .float32 = NAN};
    for (size_t i = 0; i < r->n_probes; i++) {
        const dlx_cli_probed *p = &r->probe[i];
        const char *kind = p->info.kind;
        if (!strcmp(kind, "read")) l.read = most(l.read, p->per_second);
        if (!strcmp(kind, "int4")) l.int4 = most(l.int4, p->per_second);
        if (!strcmp(kind, "float32")) l.float32 = most(l.float32, p->per_second);
        if (strcmp(kind, "int8")) continue;
        if (!(most(l.int8, p->per_second) == l.int8)) l.int8_name = p->info.name;
        l.int8 = most(l.int8, p->per_second);
    }
    l.int4 = most(l.int4, l.int8); /* an instruction for 8 bits serves 4 as well */
    return l;
}

static double percent_of_reading(const limits *l, const dlx_bench_pass *p)
{
    return 100 * p->bytes / l->read / (p->median_ms / 1e3);
}

/* The time that its arithmetic takes at the limit of each kind, of the time that it took. */
static double percent_of_arithmetic(const limits *l, const dlx_bench_pass *p)
{
    double seconds = p->float32 / l->float32;
    if (p->int8 > 0) seconds += p->int8 / l->int8;
    if (p->int4 > 0) seconds += p->int4 / l->int4;
    return 100 * seconds / (p->median_ms / 1e3);
}

size_t dlx_cli_bench_plans_by(const dlx_cli_bench_report *r)
{
    return r->measured ? 0 : r->n_tokens / 2;
}

const dlx_cli_bench_row *dlx_cli_bench_best(const dlx_cli_bench_report *r)
{
    const dlx_cli_bench_row *best = NULL;
    size_t by = dlx_cli_bench_plans_by(r);
    for (size_t i = 0; i < r->n_plan; i++)
        if (r->plan[i].rate[by] > (best ? best->rate[by] : 0)) best = &r->plan[i];
    return best;
}

/* Between sizes of which each is at most twice the one before, costs are interpolated well enough. */
static bool gap_below(const dlx_cli_bench_report *r, int32_t widest)
{
    dlx_bench_pass p = {.struct_size = sizeof p};
    int32_t before = 0;
    for (size_t i = 0; before < widest && dlx_bench_get_pass(r->bench, i, &p); i++) {
        if (p.rows > (before ? 2 * before : 1)) return true;
        before = p.rows;
    }
    return false;
}

bool dlx_cli_bench_guessed(const dlx_cli_bench_report *r, const dlx_cli_bench_row *row)
{
    dlx_bench_pass p = {.struct_size = sizeof p};
    if (r->measured || *row->problem) return false;
    for (size_t i = 0; dlx_bench_get_pass(r->bench, i, &p);) i++;
    return row->decode.widest > p.rows || gap_below(r, row->decode.widest);
}

static uint64_t all_memory(const dlx_memory *m)
{
    return m->file + m->packed + m->kv_cache + m->activations + m->program;
}

/* ---- text ------------------------------------------------------------------------------------------------------- */

static const char *bold(void)
{
    return dlx_cli_colours(stdout) ? "\033[1m" : "";
}
static const char *faint(void)
{
    return dlx_cli_colours(stdout) ? "\033[2m" : "";
}
static const char *plain(void)
{
    return dlx_cli_colours(stdout) ? "\033[0m" : "";
}

static void put_head(const dlx_cli_bench_report *r, const dlx_bench_info *info)
{
    char a[32], b[32], c[32], d[32];
    const char *name = strrchr(r->path, '/');
    printf("%s%s%s: %s, %s kernels, %d thread%s\n", bold(), name ? name + 1 : r->path, plain(), r->cpu, info->kernels,
           info->threads, info->threads == 1 ? "" : "s");
    printf("loaded in %.2f s; %s in memory: weights %s%s, %s cache %s, activations %s\n", r->load_ms / 1e3,
           dlx_cli_bytes(a, all_memory(&r->memory)), dlx_cli_bytes(b, r->memory.file + r->memory.packed),
           r->memory.shared ? " (shared with other processes)" : "", r->kv_type, dlx_cli_bytes(c, r->memory.kv_cache),
           dlx_cli_bytes(d, r->memory.activations));
}

static void put_limits(const limits *l)
{
    if (l->read > 0) printf("memory is read at %.1f GB/s", l->read / 1e9);
    if (l->int8 > 0) printf("; int8 %.0f GOPS (%s)", l->int8 / 1e9, l->int8_name);
    if (l->float32 > 0) printf("; float32 %.0f GFLOPS", l->float32 / 1e9);
    if (l->read > 0) printf("\n");
}

static void put_passes(const dlx_cli_bench_report *r, const dlx_bench_info *info, const limits *l)
{
    dlx_bench_pass p = {.struct_size = sizeof p};
    printf("\n%sone pass behind %d cached positions%s\n", bold(), info->context, plain());
    printf("%s%6s %10s %10s %10s %6s %9s %11s%s\n", faint(), "rows", "ms", "fastest", "slowest", "turns", "% of read",
           "% of arith.", plain());
    for (size_t i = 0; dlx_bench_get_pass(r->bench, i, &p); i++) {
        double read = percent_of_reading(l, &p), arithmetic = percent_of_arithmetic(l, &p);
        printf("%6d %10.2f %10.2f %10.2f %6d", p.rows, p.median_ms, p.least_ms, p.most_ms, p.turns);
        if (read > 0)
            printf(" %9.0f", read);
        else
            printf(" %9s", "-");
        if (arithmetic > 0)
            printf(" %11.0f\n", arithmetic);
        else
            printf(" %11s\n", "-");
    }
}

/* "32", "32 / 8": block, and the small block inside of it. */
static const char *blocks_of(const dlx_cli_bench_row *d, char buffer[32])
{
    if (!d->decode.block_length)
        snprintf(buffer, 32, "-");
    else if (d->small_block)
        snprintf(buffer, 32, "%d / %d", d->decode.block_length, d->small_block);
    else
        snprintf(buffer, 32, "%d", d->decode.block_length);
    return buffer;
}

static void put_row(const dlx_cli_bench_report *r, const dlx_cli_bench_row *d)
{
    char blocks[32];
    printf("  %-9s %-26s %7s", d->preset, d->decode.algorithm ? d->decode.algorithm : "", blocks_of(d, blocks));
    if (*d->problem) {
        printf("  %s\n", d->problem);
        return;
    }
    for (size_t i = 0; i < (r->measured ? 1 : r->n_tokens); i++) printf(" %9.1f", d->rate[i]);
    if (r->measured) printf(" %9.2f", d->decode.passes ? (double)d->decode.new_tokens / d->decode.passes : 0.0);
    printf("\n");
}

/* What the figures stand on where passes of these decodes were not measured. */
static void put_guesses(const dlx_cli_bench_report *r, const dlx_cli_bench_row *d, size_t n)
{
    dlx_bench_pass last = {.struct_size = sizeof last};
    int32_t widest = 0;
    bool gaps = false;
    for (size_t i = 0; i < n; i++) {
        if (!dlx_cli_bench_guessed(r, &d[i])) continue;
        gaps = gaps || gap_below(r, d[i].decode.widest);
        if (d[i].decode.widest > widest) widest = d[i].decode.widest;
    }
    for (size_t i = 0; dlx_bench_get_pass(r->bench, i, &last);) i++;
    if (gaps)
        printf("  guessed: few sizes of passes were measured, decodes have up to %d rows\n", widest);
    else if (widest)
        printf("  guessed: passes of more than %d row%s, decodes have up to %d\n", last.rows, last.rows == 1 ? "" : "s",
               widest);
}

static void put_decodes(const dlx_cli_bench_report *r, const dlx_cli_bench_row *d, size_t n, const char *title)
{
    if (!n) return;
    printf("\n%s%s%s\n", bold(), title, plain());
    printf("%s  %-9s %-26s %7s", faint(), "preset", "algorithm", "block");
    if (r->measured)
        printf(" %9s %9s", "tokens/s", "tok./pass");
    else
        for (size_t i = 0; i < r->n_tokens; i++) printf(" %9.6g", r->tokens[i]);
    printf("%s\n", plain());
    for (size_t i = 0; i < n; i++) put_row(r, &d[i]);
    put_guesses(r, d, n);
}

static void put_plan(const dlx_cli_bench_report *r)
{
    const dlx_cli_bench_row *best = dlx_cli_bench_best(r);
    if (!r->planned) return;
    put_decodes(r, r->plan, r->n_plan, "plan: tokens a second by preset and block length");
    if (!best) {
        printf("no preset can be told for this file\n");
        return;
    }
    printf("%sthis machine favours --preset %s", bold(), best->preset);
    if (best->decode.block_length) printf(" --block-length %d", best->decode.block_length);
    if (best->small_block) printf(" --small-block-size %d", best->small_block);
    printf("%s\n", plain());
    if (r->measured) return;
    double tokens = r->tokens[dlx_cli_bench_plans_by(r)];
    printf("  if every denoising pass revealed %.6g token%s, whatever the block; a prompt measures how many it does\n",
           tokens, tokens > 1 ? "s" : "");
}

void dlx_cli_bench_text(const dlx_cli_bench_report *r)
{
    dlx_bench_info info = {.struct_size = sizeof info};
    limits l = limits_of(r);
    char title[160];
    if (dlx_bench_get_info(r->bench, &info)) {
        put_head(r, &info);
        put_limits(&l);
        if (info.passes) put_passes(r, &info, &l);
    }
    if (r->measured)
        snprintf(title, sizeof title, "decodes of a prompt of %zu tokens", r->n_prompt);
    else
        snprintf(title, sizeof title, "tokens a second, if a denoising pass reveals so many");
    put_decodes(r, r->decode, r->n_decodes, title);
    put_plan(r);
    if (r->interrupted) dlx_cli_message("interrupted; this is what was measured by then");
}

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

static void json_memory(dlx_cli_json *j, const dlx_cli_bench_report *r)
{
    const dlx_memory *m = &r->memory;
    dlx_cli_json_open(j, "memory", '{');
    dlx_cli_json_int(j, "file", (int64_t)m->file);
    dlx_cli_json_int(j, "packed", (int64_t)m->packed);
    dlx_cli_json_int(j, "kv_cache", (int64_t)m->kv_cache);
    dlx_cli_json_int(j, "activations", (int64_t)m->activations);
    dlx_cli_json_int(j, "program", (int64_t)m->program);
    dlx_cli_json_int(j, "shared", (int64_t)m->shared);
    dlx_cli_json_int(j, "total", (int64_t)all_memory(m));
    dlx_cli_json_int(j, "peak_resident", (int64_t)r->peak_memory);
    dlx_cli_json_close(j, '}');
}

static void json_machine(dlx_cli_json *j, const dlx_cli_bench_report *r, const limits *l)
{
    dlx_cli_json_open(j, "probes", '[');
    for (size_t i = 0; i < r->n_probes; i++) {
        const dlx_cli_probed *p = &r->probe[i];
        dlx_cli_json_open(j, NULL, '{');
        dlx_cli_json_text(j, "kind", p->info.kind);
        dlx_cli_json_text(j, "name", p->info.name);
        dlx_cli_json_bool(j, "available", p->info.available);
        dlx_cli_json_text(j, "kernels", p->info.kernels);
        if (p->per_second > 0)
            dlx_cli_json_number(j, "per_second", p->per_second, 5);
        else
            dlx_cli_json_text(j, "per_second", NULL);
        dlx_cli_json_close(j, '}');
    }
    dlx_cli_json_close(j, ']');
    dlx_cli_json_open(j, "limits", '{');
    dlx_cli_json_number(j, "read", l->read, 5);
    dlx_cli_json_number(j, "int8", l->int8, 5);
    dlx_cli_json_number(j, "int4", l->int4, 5);
    dlx_cli_json_number(j, "float32", l->float32, 5);
    dlx_cli_json_close(j, '}');
}

static void json_passes(dlx_cli_json *j, const dlx_cli_bench_report *r, const limits *l)
{
    dlx_bench_pass p = {.struct_size = sizeof p};
    dlx_cli_json_open(j, "passes", '[');
    for (size_t i = 0; dlx_bench_get_pass(r->bench, i, &p); i++) {
        dlx_cli_json_open(j, NULL, '{');
        dlx_cli_json_int(j, "rows", p.rows);
        dlx_cli_json_int(j, "turns", p.turns);
        dlx_cli_json_number(j, "ms", p.median_ms, 6);
        dlx_cli_json_number(j, "least_ms", p.least_ms, 6);
        dlx_cli_json_number(j, "most_ms", p.most_ms, 6);
        dlx_cli_json_number(j, "without_logits_ms", p.body_ms, 6);
        dlx_cli_json_number(j, "bytes", p.bytes, 10);
        dlx_cli_json_number(j, "int8_operations", p.int8, 10);
        dlx_cli_json_number(j, "int4_operations", p.int4, 10);
        dlx_cli_json_number(j, "float32_operations", p.float32, 10);
        dlx_cli_json_number(j, "percent_of_reading", percent_of_reading(l, &p), 4);
        dlx_cli_json_number(j, "percent_of_arithmetic", percent_of_arithmetic(l, &p), 4);
        dlx_cli_json_close(j, '}');
    }
    dlx_cli_json_close(j, ']');
}

static void json_row(dlx_cli_json *j, const dlx_cli_bench_report *r, const dlx_cli_bench_row *d)
{
    dlx_cli_json_open(j, NULL, '{');
    dlx_cli_json_text(j, "preset", d->preset);
    dlx_cli_json_text(j, "algorithm", d->decode.algorithm);
    dlx_cli_json_int(j, "block_length", d->decode.block_length);
    if (d->small_block) dlx_cli_json_int(j, "small_block_size", d->small_block);
    if (*d->problem) {
        dlx_cli_json_text(j, "problem", d->problem);
    } else {
        dlx_cli_json_int(j, "new_tokens", d->decode.new_tokens);
        dlx_cli_json_int(j, "passes", d->decode.passes);
        dlx_cli_json_int(j, "widest_pass", d->decode.widest);
        if (!r->measured) dlx_cli_json_bool(j, "guessed", dlx_cli_bench_guessed(r, d));
        dlx_cli_json_number(j, "prompt_ms", d->decode.prompt_ms, 6);
        dlx_cli_json_number(j, "decode_ms", d->decode.decode_ms, 6);
        dlx_cli_json_open(j, "tokens_per_second", '[');
        for (size_t i = 0; i < (r->measured ? 1 : r->n_tokens); i++) dlx_cli_json_number(j, NULL, d->rate[i], 6);
        dlx_cli_json_close(j, ']');
    }
    dlx_cli_json_close(j, '}');
}

static void json_rows(dlx_cli_json *j, const char *key, const dlx_cli_bench_report *r, const dlx_cli_bench_row *d,
                      size_t n)
{
    dlx_cli_json_open(j, key, '[');
    for (size_t i = 0; i < n; i++) json_row(j, r, &d[i]);
    dlx_cli_json_close(j, ']');
}

static void json_plan(dlx_cli_json *j, const dlx_cli_bench_report *r)
{
    const dlx_cli_bench_row *best = dlx_cli_bench_best(r);
    dlx_cli_json_open(j, "plan", '{');
    dlx_cli_json_text(j, "preset", best ? best->preset : NULL);
    dlx_cli_json_int(j, "block_length", best ? best->decode.block_length : 0);
    if (best && best->small_block) dlx_cli_json_int(j, "small_block_size", best->small_block);
    dlx_cli_json_number(j, "tokens_per_second", best ? best->rate[dlx_cli_bench_plans_by(r)] : 0, 6);
    if (!r->measured) dlx_cli_json_number(j, "tokens_per_pass", r->tokens[dlx_cli_bench_plans_by(r)], 6);
    json_rows(j, "tried", r, r->plan, r->n_plan);
    dlx_cli_json_close(j, '}');
}

void dlx_cli_bench_json(const dlx_cli_bench_report *r)
{
    dlx_cli_json j = {.out = stdout};
    dlx_bench_info info = {.struct_size = sizeof info};
    limits l = limits_of(r);
    bool there = dlx_bench_get_info(r->bench, &info);
    dlx_cli_json_open(&j, NULL, '{');
    dlx_cli_json_text(&j, "file", r->path);
    dlx_cli_json_text(&j, "family", dlx_family_name(r->facts.family));
    dlx_cli_json_text(&j, "cpu", r->cpu);
    dlx_cli_json_text(&j, "kernels", there ? info.kernels : NULL);
    dlx_cli_json_text(&j, "kv_cache", r->kv_type);
    dlx_cli_json_int(&j, "threads", info.threads);
    dlx_cli_json_number(&j, "load_ms", r->load_ms, 6);
    json_memory(&j, r);
    json_machine(&j, r, &l);
    dlx_cli_json_int(&j, "context", info.context);
    dlx_cli_json_number(&j, "context_ms", info.prompt_ms, 6);
    json_passes(&j, r, &l);
    dlx_cli_json_bool(&j, "measured_decodes", r->measured);
    if (!r->measured) {
        dlx_cli_json_open(&j, "tokens_per_pass", '[');
        for (size_t i = 0; i < r->n_tokens; i++) dlx_cli_json_number(&j, NULL, r->tokens[i], 6);
        dlx_cli_json_close(&j, ']');
    }
    json_rows(&j, "decodes", r, r->decode, r->n_decodes);
    if (r->planned) json_plan(&j, r);
    dlx_cli_json_bool(&j, "interrupted", r->interrupted);
    dlx_cli_json_close(&j, '}');
    printf("\n");
}
