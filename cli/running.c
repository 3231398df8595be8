/* Opening what decoding needs, and reporting what it did. */
#include "running.h"

#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "output.h"
#include "progress.h"

dlx_status dlx_cli_open_tokenizer(dlx_tokenizer **out, const char *path, dlx_error *err)
{
    return dlx_cli_is_folder(path) ? dlx_tokenizer_open_folder(out, path, err) : dlx_tokenizer_open_pte(out, path, err);
}

const char *const dlx_cli_kv_types[] = {"float32", "float16", "int8", NULL};

int dlx_cli_kv_type(const dlx_cli_arguments *a, const char **out)
{
    const char *name = dlx_cli_text(a, "kv-cache");
    *out = name ? name : dlx_cli_kv_types[0];
    for (size_t i = 0; dlx_cli_kv_types[i]; i++)
        if (!strcmp(*out, dlx_cli_kv_types[i])) return DLX_CLI_OK;
    return dlx_cli_usage(a->command, "--kv-cache: expected float32, float16 or int8, got '%s'", name);
}

static const char *const constraints[] = {"regex", "json-schema", "grammar"};

/* The option that says what an answer must be; NULL: none is given. */
static const char *constraint_of(const dlx_cli_arguments *a)
{
    for (size_t i = 0; i < sizeof constraints / sizeof *constraints; i++)
        if (dlx_cli_text(a, constraints[i])) return constraints[i];
    return NULL;
}

static dlx_status make_constraint(dlx_cli_running *r, const char *option, const char *text, size_t n, dlx_error *err)
{
    if (!strcmp(option, "grammar"))
        return dlx_constraint_from_grammar(&r->constraint, r->tokenizer, text, n, NULL, err);
    if (!strcmp(option, "regex")) return dlx_constraint_from_regex(&r->constraint, r->tokenizer, text, n, NULL, err);
    return dlx_constraint_from_schema(&r->constraint, r->tokenizer, text, n, NULL, err);
}

/* Hands it to the decode options. */
static int constrain(dlx_cli_running *r, const dlx_cli_arguments *a)
{
    const char *option = constraint_of(a), *text = option ? dlx_cli_text(a, option) : NULL;
    char *read = NULL;
    size_t n;
    dlx_error err;
    if (!option) return DLX_CLI_OK;
    for (size_t i = 0; i < sizeof constraints / sizeof *constraints; i++)
        if (constraints[i] != option && dlx_cli_text(a, constraints[i]))
            return dlx_cli_usage(a->command, "--%s and --%s: an answer has one of them", option, constraints[i]);
    bool file = strcmp(option, "regex") != 0;
    dlx_status s = file ? dlx_cli_read_text(text, &read, &n, &err) : DLX_OK;
    if (s == DLX_OK) s = make_constraint(r, option, file ? read : text, file ? n : strlen(text), &err);
    if (s == DLX_OK) s = dlx_decode_options_set_constraint(a->decode, r->constraint, &err);
    free(read);
    return s == DLX_OK ? DLX_CLI_OK : dlx_cli_fail(&err);
}

int dlx_cli_running_open(dlx_cli_running *r, const dlx_cli_arguments *a, const char *path, bool needs_tokenizer)
{
    dlx_error err;
    double start = dlx_cli_seconds();
    *r = (dlx_cli_running){.read = {.struct_size = sizeof r->read}};
    r->facts = &r->read;
    r->threads = (int32_t)dlx_cli_int(a, "threads", 0);
    if (!r->threads) r->threads = dlx_cpu_count();
    int status = dlx_cli_kv_type(a, &r->kv_type);
    if (status != DLX_CLI_OK) return status;
    if (dlx_model_read_facts(&r->read, path, &err) != DLX_OK) return dlx_cli_fail(&err);
    dlx_status s = dlx_tokenizer_open_pte(&r->tokenizer, path, &err);
    needs_tokenizer = needs_tokenizer || constraint_of(a);
    if (s != DLX_OK && (needs_tokenizer || s != DLX_E_UNSUPPORTED)) return dlx_cli_fail(&err);
    r->load_ms = (dlx_cli_seconds() - start) * 1e3;
    return constrain(r, a);
}

static dlx_status load(dlx_cli_running *r, const dlx_cli_arguments *a, const char *path, dlx_error *err)
{
    dlx_model_options options = dlx_model_options_default();
    dlx_workspace_options workspace = {.struct_size = sizeof workspace, .max_sessions = 1, .kv_type = r->kv_type};
    options.threads = r->threads;
    options.cpu = dlx_cli_text(a, "cpu");
    options.pack_cache = dlx_cli_text(a, "pack-cache");
    dlx_status s = dlx_model_open(&r->model, path, &options, err);
    if (s != DLX_OK) return s;
    r->facts = dlx_model_get_facts(r->model);
    s = dlx_workspace_open(&r->workspace, r->model, &workspace, err);
    return s == DLX_OK ? dlx_session_open_in(&r->session, r->workspace, err) : s;
}

void dlx_cli_pack_cache_notice(const dlx_model *model)
{
    const char *why;
    if (dlx_model_pack_cache(model, &why) != DLX_PACK_CACHE_FAILED) return;
    fprintf(stderr, "diffulex-edge: no pack file: %s; weights are packed at every start\n", why);
}

int dlx_cli_running_load(dlx_cli_running *r, const dlx_cli_arguments *a, const char *path)
{
    dlx_error err;
    double start = dlx_cli_seconds();
    dlx_cli_show_loading(path);
    dlx_status s = load(r, a, path, &err);
    dlx_cli_progress_end();
    r->load_ms += (dlx_cli_seconds() - start) * 1e3;
    dlx_cli_pack_cache_notice(r->model);
    return s == DLX_OK ? DLX_CLI_OK : dlx_cli_fail(&err);
}

void dlx_cli_running_close(dlx_cli_running *r)
{
    dlx_constraint_free(r->constraint);
    dlx_tokenizer_close(r->tokenizer);
    dlx_session_close(r->session);
    dlx_workspace_close(r->workspace);
    dlx_model_close(r->model);
    *r = (dlx_cli_running){0};
}

/* ---- reports ---------------------------------------------------------------------------------------------------- */

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

/* The library counts the answer's tokens; masks of the prompt that were filled in are new tokens as well. */
static dlx_statistics statistics_of(const dlx_completion *completion)
{
    dlx_statistics s = {.struct_size = sizeof s};
    dlx_step step = {.struct_size = sizeof step};
    const dlx_generation *generation = dlx_completion_generation(completion);
    (void)dlx_completion_statistics(completion, &s, NULL);
    for (size_t i = 0; dlx_generation_step(generation, i, &step); i++)
        for (size_t k = 0; k < step.n_accepted; k++) s.new_tokens += step.accepted[k].position < s.prompt_tokens;
    return s;
}

void dlx_cli_put_statistics(const dlx_completion *completion)
{
    dlx_statistics s = statistics_of(completion);
    double ms = s.prefill_ms + s.decode_ms;
    char cached[48] = "";
    if (s.cached_tokens) snprintf(cached, sizeof cached, ", %d of them cached", s.cached_tokens);
    dlx_cli_flush();
    fprintf(stderr,
            "%d tokens in %.2f s (%.1f tokens/s): %d passes, %.2f tokens a pass, %.1f ms a pass; "
            "prompt of %d tokens%s; %s, finish reason %s\n",
            s.new_tokens, ms / 1e3, ratio(s.new_tokens, ms / 1e3), s.forwards, ratio(s.new_tokens, s.forwards),
            ratio(ms, s.forwards), s.prompt_tokens, cached,
            dlx_generation_algorithm(dlx_completion_generation(completion)), dlx_completion_finish_reason(completion));
}

void dlx_cli_json_step(dlx_cli_json *j, const dlx_step *step)
{
    const int32_t forward[3] = {step->start, step->rows, step->cached};
    dlx_cli_json_int(j, "block", step->block);
    dlx_cli_json_ids(j, "forward", forward, 3);
    dlx_cli_json_open(j, "accepted", '[');
    for (size_t i = 0; i < step->n_accepted; i++) {
        dlx_cli_json_open(j, NULL, '[');
        dlx_cli_json_int(j, NULL, step->accepted[i].position);
        dlx_cli_json_int(j, NULL, step->accepted[i].id);
        dlx_cli_json_number(j, NULL, (double)step->accepted[i].confidence, 9);
        dlx_cli_json_close(j, ']');
    }
    dlx_cli_json_close(j, ']');
    dlx_cli_json_number(j, "ms", step->milliseconds, 6);
}

void dlx_cli_json_steps(dlx_cli_json *j, const dlx_generation *generation)
{
    dlx_step step = {.struct_size = sizeof step};
    dlx_cli_json_open(j, "steps", '[');
    for (size_t i = 0; dlx_generation_step(generation, i, &step); i++) {
        dlx_cli_json_open(j, NULL, '{');
        dlx_cli_json_step(j, &step);
        dlx_cli_json_close(j, '}');
    }
    dlx_cli_json_close(j, ']');
}

static void json_timing(dlx_cli_json *j, const dlx_cli_running *r, const dlx_statistics *s)
{
    double ms = s->prefill_ms + s->decode_ms;
    dlx_cli_json_open(j, "timing", '{');
    dlx_cli_json_number(j, "load_ms", r->load_ms, 6);
    dlx_cli_json_number(j, "prefill_ms", s->prefill_ms, 6);
    dlx_cli_json_number(j, "decode_ms", s->decode_ms, 6);
    dlx_cli_json_number(j, "total_ms", ms, 6);
    dlx_cli_json_number(j, "tokens_per_second", ratio(s->new_tokens, ms / 1e3), 6);
    dlx_cli_json_text(j, "kernels", dlx_model_kernels(r->model));
    dlx_cli_json_text(j, "kv_cache", r->kv_type);
    dlx_cli_json_close(j, '}');
}

/* Passes of each block, in the order of the blocks' first passes; the prefill is left out. */
static void json_passes_per_block(dlx_cli_json *j, const dlx_generation *generation)
{
    dlx_step step = {.struct_size = sizeof step};
    int32_t block = -1;
    int64_t passes = 0;
    dlx_cli_json_open(j, "passes_per_block", '[');
    for (size_t i = 0; dlx_generation_step(generation, i, &step); i++) {
        if (step.block < 0) continue;
        if (step.block != block && passes) dlx_cli_json_int(j, NULL, passes);
        if (step.block != block) passes = 0;
        block = step.block;
        passes++;
    }
    if (passes) dlx_cli_json_int(j, NULL, passes);
    dlx_cli_json_close(j, ']');
}

static void json_statistics(dlx_cli_json *j, const dlx_completion *completion, const dlx_statistics *s)
{
    dlx_cli_json_open(j, "statistics", '{');
    dlx_cli_json_int(j, "prompt_tokens", s->prompt_tokens);
    dlx_cli_json_int(j, "cached_tokens", s->cached_tokens);
    dlx_cli_json_int(j, "new_tokens", s->new_tokens);
    dlx_cli_json_int(j, "passes", s->forwards);
    dlx_cli_json_int(j, "prefill_passes", s->prefill_forwards);
    dlx_cli_json_int(j, "blocks", s->blocks);
    json_passes_per_block(j, dlx_completion_generation(completion));
    dlx_cli_json_number(j, "tokens_per_pass", ratio(s->new_tokens, s->forwards), 6);
    dlx_cli_json_int(j, "computed_rows", s->rows);
    dlx_cli_json_int(j, "cached_rows", s->cached_rows);
    dlx_cli_json_number(j, "cache_hit_rate", ratio((double)s->cached_rows, (double)(s->rows + s->cached_rows)), 6);
    dlx_cli_json_number(j, "ms_per_pass", ratio(s->prefill_ms + s->decode_ms, s->forwards), 6);
    dlx_cli_json_close(j, '}');
}

/* The threshold in force, from options, preset or algorithm; null where the algorithm has none. What it is does not
 * depend on the prompt: a single mask stands for it. */
static void json_threshold(dlx_cli_json *j, const dlx_cli_arguments *a, const dlx_cli_running *r)
{
    const int32_t prompt = r->facts->mask_id >= 0 ? r->facts->mask_id : 0;
    char text[256];
    dlx_status s = dlx_decode_option_in_force(r->facts, a->decode, &prompt, 1, "threshold", text, sizeof text, NULL);
    if (s == DLX_OK && *text)
        dlx_cli_json_number(j, "threshold", strtod(text, NULL), 6);
    else
        dlx_cli_json_text(j, "threshold", NULL);
}

void dlx_cli_json_completion(dlx_cli_json *j, const dlx_cli_arguments *a, const dlx_cli_running *r,
                             const dlx_completion *completion)
{
    const dlx_generation *generation = dlx_completion_generation(completion);
    dlx_statistics s = statistics_of(completion);
    dlx_cli_json_text(j, "algorithm", dlx_generation_algorithm(generation));
    json_threshold(j, a, r);
    dlx_cli_json_text(j, "finish_reason", dlx_completion_finish_reason(completion));
    dlx_cli_json_int(j, "num_forwards", dlx_generation_num_forwards(generation));
    json_timing(j, r, &s);
    json_statistics(j, completion, &s);
    dlx_cli_json_open(j, "options", '{');
    for (size_t i = 0; i < a->n_decode_given; i++) {
        const dlx_cli_given *g = &a->decode_given[i];
        if (dlx_cli_decode_text(a, g->name) == g->value) dlx_cli_json_text(j, g->name, g->value);
    }
    dlx_cli_json_close(j, '}');
    int64_t seed = 0;
    const char *given = dlx_cli_decode_text(a, "seed");
    if (given) dlx_cli_parse_int(given, &seed);
    dlx_cli_json_int(j, "seed", seed);
}
