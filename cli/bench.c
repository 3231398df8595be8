/*
 * bench: what one file does on this machine. Limits of the machine, passes by number of rows, and decodes: over a
 * prompt that was given, or reckoned from the passes.
 */
#include <stdlib.h>
#include <string.h>

#include "bench_report.h"
#include "commands.h"
#include "doctor_machine.h"
#include "input.h"
#include "output.h"
#include "progress.h"
#include "prompt.h"
#include "running.h"

enum { MOST_ROWS = 64 };

typedef struct bench {
    const dlx_cli_arguments *a;
    dlx_cli_bench_report report;
    dlx_thread_pool *pool;
    dlx_model *model;
    dlx_tokenizer *tokenizer;
    dlx_bench_options options;
    int32_t rows[MOST_ROWS];
    int32_t *prompt; /* NULL: decodes are reckoned */
    size_t n_prompt;
    int32_t context;   /* cached positions in front of the rows */
    bool possible;     /* a row of decodes can be had with these options */
    dlx_error refusal; /* why the first one that cannot be had cannot */
} bench;

/* ---- the command line ------------------------------------------------------------------------------------------- */

/* "1,2.2,4" */
static int parse_tokens(const dlx_cli_arguments *a, dlx_cli_bench_report *r)
{
    const char *text = dlx_cli_text(a, "tokens-per-pass");
    for (const char *s = text ? text : "1,2.2,4"; *s;) {
        char *end;
        double value = strtod(s, &end);
        if (end == s || !(value >= 1 && value <= 1024) || (*end && *end != ',') || (*end && !end[1]))
            return dlx_cli_usage(a->command,
                                 "--tokens-per-pass: expected numbers from 1 to 1024 like 1,2.2,4; got '%s'", text);
        if (r->n_tokens == DLX_CLI_BENCH_TOKENS)
            return dlx_cli_usage(a->command, "--tokens-per-pass: at most %d numbers", DLX_CLI_BENCH_TOKENS);
        r->tokens[r->n_tokens++] = value;
        s = *end ? end + 1 : end;
    }
    return r->n_tokens ? DLX_CLI_OK : dlx_cli_usage(a->command, "--tokens-per-pass: expected numbers like 1,2.2,4");
}

static int parse_rows(bench *b)
{
    const char *text = dlx_cli_text(b->a, "rows");
    int32_t *ids;
    size_t n;
    dlx_error err;
    if (!text) return DLX_CLI_OK;
    if (dlx_cli_parse_ids(text, &ids, &n, &err) != DLX_OK)
        return dlx_cli_usage(b->a->command, "--rows: expected ascending numbers like 1,8,32; got '%s'", text);
    bool good = n >= 1 && n <= MOST_ROWS;
    for (size_t i = 0; good && i < n; i++) {
        good = ids[i] >= 1 && (!i || ids[i] > ids[i - 1]);
        b->rows[i] = ids[i];
    }
    free(ids);
    b->options.rows = b->rows;
    b->options.n_rows = n;
    return good ? DLX_CLI_OK
                : dlx_cli_usage(b->a->command, "--rows: expected 1 to %d ascending numbers like 1,8,32; got '%s'",
                                MOST_ROWS, text);
}

static int check(bench *b, bool *is_text)
{
    const dlx_cli_arguments *a = b->a;
    int skip = 0;
    bool prompt = dlx_cli_text(a, "prompt") || dlx_cli_text(a, "prompt-file") || dlx_cli_text(a, "token-ids");
    (void)dlx_cli_path(a, "pte-path", &skip);
    b->report.measured = prompt || a->n_positional > skip;
    b->options.turns = (int32_t)dlx_cli_int(a, "turns", 0);
    b->options.seconds = (int32_t)dlx_cli_int(a, "seconds", 0);
    b->options.context = (int32_t)dlx_cli_int(a, "context", 0);
    b->options.no_context = dlx_cli_text(a, "context") && !b->options.context;
    b->report.planned = dlx_cli_flag(a, "plan", false);
    if (b->report.measured && dlx_cli_text(a, "tokens-per-pass"))
        return dlx_cli_usage(a->command, "--tokens-per-pass is for decodes that are reckoned; a prompt measures it");
    int status = parse_tokens(a, &b->report);
    if (status == DLX_CLI_OK) status = parse_rows(b);
    if (status == DLX_CLI_OK) status = dlx_cli_kv_type(a, &b->report.kv_type);
    if (status == DLX_CLI_OK && b->report.measured) status = dlx_cli_prompt_check(a, is_text);
    return status;
}

/* ---- what is measured ------------------------------------------------------------------------------------------- */

static dlx_status probe(bench *b, dlx_error *err)
{
    dlx_cli_bench_report *r = &b->report;
    dlx_probe_info info = {.struct_size = sizeof info};
    for (size_t i = 0; i < DLX_CLI_BENCH_PROBES && dlx_get_probe_info(i, &info); i++) {
        r->probe[r->n_probes++].info = info;
        if (!info.available || dlx_cli_interrupted()) continue;
        dlx_cli_progress(true, "measuring this machine: %s, %s", info.kind, info.name);
        dlx_status s = dlx_probe_run(i, b->pool, &r->probe[i].per_second, err);
        if (s != DLX_OK) return s;
    }
    return DLX_OK;
}

static dlx_status load(bench *b, const char *path, dlx_error *err)
{
    dlx_model_options o = dlx_model_options_default();
    dlx_workspace_options w = {.struct_size = sizeof w, .max_sessions = 1, .kv_type = b->report.kv_type};
    double begin = dlx_cli_seconds();
    o.pool = b->pool;
    o.cpu = dlx_cli_text(b->a, "cpu");
    o.pack_cache = dlx_cli_text(b->a, "pack-cache");
    dlx_cli_show_loading(path);
    dlx_status s = dlx_model_open(&b->model, path, &o, err);
    b->report.load_ms = (dlx_cli_seconds() - begin) * 1e3;
    dlx_cli_progress_end();
    dlx_cli_pack_cache_notice(b->model);
    return s == DLX_OK ? dlx_workspace_memory(b->model, &w, &b->report.memory, err) : s;
}

static bool on_pass(void *ctx, int32_t rows, int32_t turn)
{
    (void)ctx;
    if (turn)
        dlx_cli_progress(false, "turn %d: a pass of %d row%s", turn, rows, rows == 1 ? "" : "s");
    else
        dlx_cli_progress(false, "warming up: a pass of %d row%s", rows, rows == 1 ? "" : "s");
    return !dlx_cli_interrupted();
}

/* ---- decodes ---------------------------------------------------------------------------------------------------- */

/* A set of options: those of the command line, and of a row. NULL and 0 leave out. */
static dlx_status options_of(dlx_decode_options **out, const bench *b, const char *preset, int32_t block, int32_t small,
                             dlx_error *err)
{
    char number[16];
    dlx_status s = dlx_decode_options_create(out, err);
    for (size_t i = 0; s == DLX_OK && i < b->a->n_decode_given; i++)
        s = dlx_decode_options_set(*out, b->a->decode_given[i].name, b->a->decode_given[i].value, err);
    if (s == DLX_OK && preset) s = dlx_decode_options_set(*out, "preset", preset, err);
    snprintf(number, sizeof number, "%d", block);
    if (s == DLX_OK && block) s = dlx_decode_options_set(*out, "block_length", number, err);
    snprintf(number, sizeof number, "%d", small);
    if (s == DLX_OK && small) s = dlx_decode_options_set(*out, "small_block_size", number, err);
    return s;
}

static dlx_status reckon(const bench *b, const dlx_decode_options *o, dlx_cli_bench_row *row, dlx_error *err)
{
    const dlx_cli_bench_report *r = &b->report;
    dlx_bench_info info = {.struct_size = sizeof info};
    (void)dlx_bench_get_info(r->bench, &info);
    for (size_t i = 0; i < r->n_tokens; i++) {
        dlx_bench_decode d = {.struct_size = sizeof d};
        dlx_status s = dlx_bench_estimate(r->bench, o, r->tokens[i], info.context ? info.context : 1, &d, err);
        if (s != DLX_OK) return s;
        row->rate[i] = d.decode_ms > 0 ? d.new_tokens / (d.decode_ms / 1e3) : 0;
        if (!i) row->decode = d;
    }
    return DLX_OK;
}

static dlx_status decode(const bench *b, const dlx_decode_options *o, dlx_session *session, dlx_cli_bench_row *row,
                         dlx_error *err)
{
    dlx_completion_options c = dlx_completion_options_default();
    dlx_statistics n = {.struct_size = sizeof n};
    dlx_cli_decoding progress;
    dlx_cli_plan plan;
    dlx_completion *completion;
    dlx_status s = dlx_cli_plan_make(&plan, &b->report.facts, o, b->prompt, b->n_prompt, err);
    if (s != DLX_OK) return s;
    char what[64];
    snprintf(what, sizeof what, "%s: ", row->preset);
    dlx_cli_decoding_begin(&progress, &plan, what);
    c.decode = o;
    c.on_step = dlx_cli_decoding_on_step;
    c.step_ctx = &progress;
    s = dlx_complete(&b->report.facts, dlx_session_forward, session, &c, b->prompt, b->n_prompt, &completion, err);
    if (s != DLX_OK) return s;
    (void)dlx_completion_statistics(completion, &n, NULL);
    row->decode = (dlx_bench_decode){.struct_size = sizeof row->decode,
                                     .algorithm = dlx_generation_algorithm(dlx_completion_generation(completion)),
                                     .block_length = plan.block_length,
                                     .new_tokens = n.new_tokens,
                                     .passes = n.forwards - n.prefill_forwards,
                                     .prompt_ms = n.prefill_ms,
                                     .decode_ms = n.decode_ms};
    row->rate[0] = n.decode_ms > 0 ? n.new_tokens / (n.decode_ms / 1e3) : 0;
    dlx_completion_free(completion);
    return DLX_OK;
}

static dlx_status decode_alone(const bench *b, const dlx_decode_options *o, dlx_cli_bench_row *row, dlx_error *err)
{
    dlx_workspace_options w = {.struct_size = sizeof w, .max_sessions = 1, .kv_type = b->report.kv_type};
    dlx_workspace *workspace;
    dlx_session *session;
    dlx_status s = dlx_workspace_open(&workspace, b->model, &w, err);
    if (s != DLX_OK) return s;
    s = dlx_session_open_in(&session, workspace, err);
    if (s == DLX_OK) s = decode(b, o, session, row, err);
    dlx_session_close(session);
    dlx_workspace_close(workspace);
    return s;
}

/* What an option of the file or the command line does not go with is a row that says so. */
static void fill(const bench *b, dlx_cli_bench_row *row, const char *preset, int32_t block, int32_t small)
{
    dlx_error err;
    dlx_decode_options *o = NULL;
    *row = (dlx_cli_bench_row){.small_block = small};
    snprintf(row->preset, sizeof row->preset, "%s", preset ? preset : "given");
    dlx_status s = options_of(&o, b, preset, block, small, &err);
    if (s == DLX_OK) s = b->prompt ? decode_alone(b, o, row, &err) : reckon(b, o, row, &err);
    if (s != DLX_OK) snprintf(row->problem, sizeof row->problem, "%s", err.message);
    dlx_decode_options_free(o);
}

/* Presets choose among algorithms; whoever names one gets that alone. */
static bool one_row(const bench *b)
{
    return dlx_cli_decode_text(b->a, "preset") || dlx_cli_decode_text(b->a, "algorithm") || b->report.facts.mask_id < 0;
}

static void for_presets(bench *b, void (*each)(void *ctx, const char *preset))
{
    dlx_option_info option = {.struct_size = sizeof option};
    for (size_t i = 0; dlx_decode_option_info(i, &option); i++)
        if (!strcmp(option.name, "preset")) dlx_cli_split_words(option.words, each, b);
}

static void add_decode(void *ctx, const char *preset)
{
    bench *b = ctx;
    dlx_cli_bench_report *r = &b->report;
    if (!dlx_cli_interrupted() && r->n_decodes < DLX_CLI_BENCH_DECODES)
        fill(b, &r->decode[r->n_decodes++], preset, 0, 0);
}

static void fill_decodes(bench *b)
{
    if (one_row(b))
        fill(b, &b->report.decode[b->report.n_decodes++], NULL, 0, 0);
    else
        for_presets(b, add_decode);
}

/*
 * What may be chosen when a decode begins: the block where attention knows none, the small block where there are some.
 * A block that attention was trained with stays.
 */
static void add_plan(void *ctx, const char *preset)
{
    bench *b = ctx;
    dlx_cli_bench_report *r = &b->report;
    bool blocks = !r->facts.attn_block, small = r->facts.small_block_size > 0;
    for (int32_t n = 4; n <= 128 && !dlx_cli_interrupted(); n *= 2) {
        dlx_cli_bench_row row;
        if (!blocks && !small && n > 4) break;
        fill(b, &row, preset, blocks ? n : 0, small ? n : 0);
        const dlx_cli_bench_row *before = n > 4 && r->n_plan ? &r->plan[r->n_plan - 1] : NULL;
        /* A block that is longer than the answer is as long as that. */
        bool again = before && !strcmp(before->preset, row.preset) && !small &&
                     before->decode.block_length == row.decode.block_length;
        if (!*row.problem && !again && r->n_plan < DLX_CLI_BENCH_DECODES) r->plan[r->n_plan++] = row;
    }
}

/* ---- before weights are read ------------------------------------------------------------------------------------ */

static dlx_status try_options(const bench *b, const char *preset, const int32_t *prompt, size_t n, dlx_error *err)
{
    dlx_cli_plan plan;
    dlx_decode_options *o;
    dlx_status s = options_of(&o, b, preset, 0, 0, err);
    if (s == DLX_OK) s = dlx_cli_plan_make(&plan, &b->report.facts, o, prompt, n, err);
    dlx_decode_options_free(o);
    return s;
}

/* Decodes that are reckoned have a prompt as long as the context, of any ids but masks. */
static void try_preset(void *ctx, const char *preset)
{
    bench *b = ctx;
    dlx_error err;
    size_t n = b->prompt ? b->n_prompt : b->context > 0 ? (size_t)b->context : 1;
    int32_t *made_up = b->prompt ? NULL : malloc(n * sizeof *made_up);
    dlx_status s = DLX_OK;
    if (!b->prompt && !made_up) s = dlx_cli_error(&err, DLX_E_NOMEM, "out of memory for a prompt of %zu ids", n);
    for (size_t i = 0; made_up && i < n; i++) made_up[i] = b->report.facts.mask_id == 0;
    if (s == DLX_OK) s = try_options(b, preset, b->prompt ? b->prompt : made_up, n, &err);
    free(made_up);
    if (s == DLX_OK) b->possible = true;
    if (s != DLX_OK && !b->refusal.status) b->refusal = err;
}

/* Fails when the file has no room for the passes, and when a prompt or options leave nothing to decode. What does not
 * go with one preset and goes with another is that one's row; so is, where nobody asked for decodes, what goes with
 * none. */
static dlx_status check_file(bench *b, dlx_error *err)
{
    dlx_status s = dlx_bench_check(&b->report.facts, &b->options, &b->context, err);
    if (s != DLX_OK || (!b->prompt && !b->a->n_decode_given)) return s;
    if (one_row(b))
        try_preset(b, NULL);
    else
        for_presets(b, try_preset);
    if (b->possible) return DLX_OK;
    if (!b->prompt && b->refusal.status == DLX_E_LIMIT)
        return dlx_cli_error(err, DLX_E_LIMIT, "no decode begins behind a context of %d: %s", b->context,
                             b->refusal.message);
    *err = b->refusal;
    return err->status;
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static dlx_status measure(bench *b, const char *path, dlx_error *err)
{
    dlx_status s = dlx_thread_pool_create(&b->pool, (int32_t)dlx_cli_int(b->a, "threads", 0), err);
    if (s == DLX_OK) s = load(b, path, err);
    dlx_cli_catch_interrupts();
    b->options.kv_type = b->report.kv_type;
    b->options.on_pass = on_pass;
    if (s == DLX_OK && !dlx_cli_interrupted()) s = dlx_bench_run(&b->report.bench, b->model, &b->options, err);
    b->report.peak_memory = dlx_cli_peak_memory(); /* before probes take memory of their own */
    if (s == DLX_OK && dlx_cli_flag(b->a, "probes", true)) s = probe(b, err);
    if (s != DLX_OK) return s;
    dlx_bench_info info = {.struct_size = sizeof info};
    if (dlx_bench_get_info(b->report.bench, &info) && info.passes && !(b->prompt && dlx_cli_interrupted())) {
        fill_decodes(b);
        if (b->report.planned) for_presets(b, add_plan);
    }
    b->report.interrupted = dlx_cli_interrupted();
    dlx_cli_progress_end();
    return DLX_OK;
}

/* Facts, tokenizer and prompt: what can be wrong before weights are read. */
static dlx_status prepare(bench *b, const char *path, bool is_text, dlx_error *err)
{
    dlx_cli_machine machine;
    dlx_cli_bench_report *r = &b->report;
    dlx_cli_machine_read(&machine);
    snprintf(r->cpu, sizeof r->cpu, "%s", *machine.cpu ? machine.cpu : "a CPU without a name");
    r->facts = (dlx_model_facts){.struct_size = sizeof r->facts};
    r->memory = (dlx_memory){.struct_size = sizeof r->memory};
    dlx_status s = dlx_model_read_facts(&r->facts, path, err);
    if (s == DLX_OK && is_text) s = dlx_tokenizer_open_pte(&b->tokenizer, path, err);
    if (s == DLX_OK && r->measured) s = dlx_cli_prompt_ids(b->a, b->tokenizer, &b->prompt, &b->n_prompt, err);
    r->n_prompt = b->n_prompt;
    return s == DLX_OK ? check_file(b, err) : s;
}

static int run(const dlx_cli_arguments *a)
{
    int next;
    bool is_text = false;
    dlx_error err;
    bench *b = calloc(1, sizeof *b);
    if (!b) return dlx_cli_out_of_memory();
    b->a = a;
    b->options = dlx_bench_options_default();
    const char *path = b->report.path = dlx_cli_pte_path(a, &next);
    int status = path ? check(b, &is_text) : DLX_CLI_USAGE;
    if (status == DLX_CLI_OK && (prepare(b, path, is_text, &err) != DLX_OK || measure(b, path, &err) != DLX_OK)) {
        dlx_cli_progress_end();
        status = dlx_cli_fail(&err);
    } else if (status == DLX_CLI_OK) {
        if (dlx_cli_flag(a, "json", false))
            dlx_cli_bench_json(&b->report);
        else
            dlx_cli_bench_text(&b->report);
        if (b->report.interrupted) status = DLX_CLI_INTERRUPTED;
    }
    dlx_bench_free(b->report.bench);
    free(b->prompt);
    dlx_tokenizer_close(b->tokenizer);
    dlx_model_close(b->model);
    dlx_thread_pool_free(b->pool);
    free(b);
    return status;
}

static const dlx_cli_option options[] = {
    DLX_CLI_RUN_OPTIONS,
    {"context", DLX_CLI_INT, "N",
     "cached positions in front of the rows (default: 512, or half of what the file has); whole blocks count", 0,
     1 << 24},
    {"rows", DLX_CLI_TEXT, "N,N,...",
     "rows of the passes (default: 1,2,4 ... 256, as far as the file allows); decodes without a prompt are reckoned "
     "from these alone",
     0, 0},
    {"turns", DLX_CLI_INT, "N", "passes of each number of rows (default: as many as begin within --seconds, 3 to 15)",
     1, 1000},
    {"seconds", DLX_CLI_INT, "N", "time for the passes (default 10)", 1, 86400},
    {"tokens-per-pass", DLX_CLI_TEXT, "X,X,...",
     "without a prompt: what denoising passes are taken to reveal (default 1,2.2,4)", 0, 0},
    {"probes", DLX_CLI_FLAG, NULL,
     "measure what this machine could do at most, for the percentages (default, a second or two)", 0, 0},
    {"plan", DLX_CLI_FLAG, NULL, "also say which preset and block length this machine favours", 0, 0},
    DLX_CLI_PROMPT_OPTIONS,
    {"json", DLX_CLI_FLAG, NULL, "one JSON object instead of tables", 0, 0},
};

const dlx_cli_command dlx_cli_bench = {
    .name = "bench",
    .arguments = "FILE [PROMPT|-]",
    .summary = "measures a file on this machine: passes by rows, limits of the machine, tokens a second",
    .examples = "diffulex-edge bench model.pte\0"
                "diffulex-edge bench model.pte \"Why is the sky blue?\" --plan\0",
    .first = "context rows seconds threads plan prompt json",
    .notes =
        "Percentages are of what reading memory and arithmetic alone reach, measured behind the passes. With a prompt, "
        "decodes of "
        "it are timed with each preset. Without one, their time is reckoned from the passes, for numbers of tokens "
        "a pass that are assumed: what a pass reveals is up to the model and the text. Ctrl-C ends it with what was "
        "measured.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 0,
    .most = 64,
    .decodes = true,
    .run = run,
};
