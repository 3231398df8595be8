/*
 * infill: masks with text on both sides. The text goes to the decoder as a prompt that contains masks, with no new
 * tokens behind it; the canvas that comes back is the finished text.
 */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "input.h"
#include "output.h"
#include "progress.h"
#include "prompt.h"
#include "running.h"

enum { DEFAULT_LENGTH = 16 };

typedef struct infill {
    const dlx_cli_arguments *arguments;
    const dlx_cli_running *running;
    int32_t *ids; /* [n] the text, masks included */
    size_t n, room, masks;
} infill;

/* ---- the text with its masks ------------------------------------------------------------------------------------ */

static dlx_status append(infill *x, const int32_t *ids, size_t n, dlx_error *err)
{
    if (x->n + n > x->room) {
        size_t room = 2 * (x->n + n);
        int32_t *more = realloc(x->ids, room * sizeof *more);
        if (!more) return dlx_cli_error(err, DLX_E_NOMEM, "out of memory reading the text");
        x->ids = more;
        x->room = room;
    }
    if (n) memcpy(x->ids + x->n, ids, n * sizeof *ids);
    x->n += n;
    return DLX_OK;
}

static dlx_status append_text(infill *x, const char *text, size_t length, dlx_error *err)
{
    int32_t *ids;
    size_t n;
    int flags = dlx_cli_flag(x->arguments, "special", false) ? DLX_ENCODE_SPECIAL : DLX_ENCODE_PLAIN;
    if (!length) return DLX_OK;
    dlx_status s = dlx_cli_encode(x->running->tokenizer, text, length, flags, &ids, &n, err);
    if (s != DLX_OK) return s;
    s = append(x, ids, n, err);
    free(ids);
    return s;
}

static dlx_status append_masks(infill *x, int64_t count, dlx_error *err)
{
    if (count > x->running->facts->max_context)
        return dlx_cli_error(err, DLX_E_LIMIT, "%lld masks do not fit the context of %d", (long long)count,
                             x->running->facts->max_context);
    dlx_status s = DLX_OK;
    while (s == DLX_OK && count-- > 0) s = append(x, &x->running->facts->mask_id, 1, err);
    return s;
}

/* Text in which the mask token, or <|mask|>, stands for one unknown token each. */
static dlx_status read_masked(infill *x, const char *text, dlx_error *err)
{
    static const char *const common = "<|mask|>";
    char *own;
    dlx_status s = dlx_tokenizer_decode(x->running->tokenizer, &x->running->facts->mask_id, 1, false, &own, NULL, err);
    while (s == DLX_OK && *text) {
        const char *a = *own ? strstr(text, own) : NULL, *b = strstr(text, common);
        const char *next = !a || (b && b < a) ? b : a;
        s = append_text(x, text, next ? (size_t)(next - text) : strlen(text), err);
        if (!next) break;
        if (s == DLX_OK) s = append_masks(x, 1, err);
        text = next + strlen(next == a ? own : common);
    }
    dlx_free(own);
    return s;
}

static dlx_status read_text(infill *x, int next, dlx_error *err)
{
    const dlx_cli_arguments *a = x->arguments;
    const char *prefix = dlx_cli_text(a, "prefix"), *suffix = dlx_cli_text(a, "suffix");
    if (a->n_positional <= next) {
        dlx_status s = append_text(x, prefix ? prefix : "", prefix ? strlen(prefix) : 0, err);
        if (s == DLX_OK) s = append_masks(x, dlx_cli_int(a, "length", DEFAULT_LENGTH), err);
        return s == DLX_OK ? append_text(x, suffix ? suffix : "", suffix ? strlen(suffix) : 0, err) : s;
    }
    if (strcmp(a->positional[next], "-") != 0) return read_masked(x, a->positional[next], err);
    char *content;
    size_t n;
    dlx_status s = dlx_cli_read_text("-", &content, &n, err);
    if (s != DLX_OK) return s;
    s = strlen(content) == n ? read_masked(x, content, err)
                             : dlx_cli_error(err, DLX_E_INVALID, "the text on the standard input contains a NUL byte");
    free(content);
    return s;
}

/* ---- results ---------------------------------------------------------------------------------------------------- */

/* Calls `put` for every run of known or of filled in tokens. ids: the finished text. */
static dlx_status each_run(const infill *x, const int32_t *ids, void *ctx,
                           void (*put)(void *ctx, bool filled, size_t start, const int32_t *ids, size_t n,
                                       const char *text, size_t length),
                           dlx_error *err)
{
    int32_t mask = x->running->facts->mask_id;
    bool keep = dlx_cli_flag(x->arguments, "keep-special", false);
    for (size_t i = 0, end; i < x->n; i = end) {
        bool filled = x->ids[i] == mask;
        for (end = i; end < x->n && (x->ids[end] == mask) == filled; end++) {}
        char *text;
        size_t length;
        dlx_status s =
            dlx_tokenizer_decode(x->running->tokenizer, ids + i, end - i, filled && !keep, &text, &length, err);
        if (s != DLX_OK) return s;
        put(ctx, filled, i, ids + i, end - i, text, length);
        dlx_free(text);
    }
    return DLX_OK;
}

static void put_plain(void *ctx, bool filled, size_t start, const int32_t *ids, size_t n, const char *text,
                      size_t length)
{
    const infill *x = ctx;
    (void)start;
    (void)ids;
    (void)n;
    if (filled || !dlx_cli_flag(x->arguments, "middle", false)) dlx_cli_put_text(stdout, text, length);
}

static void put_fill(void *ctx, bool filled, size_t start, const int32_t *ids, size_t n, const char *text,
                     size_t length)
{
    dlx_cli_json *j = ctx;
    if (!filled) return;
    dlx_cli_json_open(j, NULL, '{');
    dlx_cli_json_int(j, "position", (int64_t)start);
    dlx_cli_json_ids(j, "ids", ids, n);
    dlx_cli_json_bytes(j, "text", text, length);
    dlx_cli_json_close(j, '}');
}

/* The text with what was accepted in the place of its masks; after Ctrl-C some of them are left. Freed with free. */
static int32_t *finished_text(const infill *x, const dlx_generation *generation)
{
    dlx_step step = {.struct_size = sizeof step};
    int32_t *text = malloc(x->n * sizeof *text);
    if (!text) return NULL;
    memcpy(text, x->ids, x->n * sizeof *text);
    for (size_t i = 0; dlx_generation_step(generation, i, &step); i++)
        for (size_t k = 0; k < step.n_accepted; k++)
            if ((size_t)step.accepted[k].position < x->n) text[step.accepted[k].position] = step.accepted[k].id;
    return text;
}

/* Whether every mask became a token without text, such as the end of the answer. */
static bool says_nothing(const infill *x, const int32_t *text)
{
    for (size_t i = 0; i < x->n; i++) {
        char *one;
        size_t length;
        if (x->ids[i] != x->running->facts->mask_id) continue;
        if (text[i] == x->ids[i]) return false; /* interrupted */
        if (dlx_tokenizer_decode(x->running->tokenizer, &text[i], 1, true, &one, &length, NULL) != DLX_OK) return false;
        dlx_free(one);
        if (length) return false;
    }
    return true;
}

static dlx_status put_json(const infill *x, const dlx_completion *completion, const int32_t *text, dlx_error *err)
{
    dlx_cli_json j = {.out = stdout};
    dlx_cli_json_open(&j, NULL, '{');
    dlx_cli_json_ids(&j, "prompt_ids", x->ids, x->n);
    dlx_cli_json_ids(&j, "output_ids", text, x->n);
    dlx_cli_json_open(&j, "fills", '[');
    dlx_status s = each_run(x, text, &j, put_fill, err);
    dlx_cli_json_close(&j, ']');
    dlx_cli_json_completion(&j, x->arguments, x->running, completion);
    dlx_cli_json_steps(&j, dlx_completion_generation(completion));
    dlx_cli_json_close(&j, '}');
    printf("\n");
    return s;
}

static dlx_status put_result(infill *x, const dlx_completion *completion, dlx_error *err)
{
    int32_t *text = finished_text(x, dlx_completion_generation(completion));
    if (!text) return dlx_cli_error(err, DLX_E_NOMEM, "out of memory putting the text together");
    dlx_status s;
    if (dlx_cli_flag(x->arguments, "json", false)) {
        s = put_json(x, completion, text, err);
    } else {
        s = each_run(x, text, x, put_plain, err);
        printf("\n");
        if (says_nothing(x, text))
            dlx_cli_message("the model filled the gap with its end token: it has nothing to say there. Another "
                            "--length or more text around the gap may help; --keep-special shows the tokens");
        if (dlx_cli_flag(x->arguments, "stats", dlx_cli_is_terminal(stderr))) dlx_cli_put_statistics(completion);
    }
    free(text);
    return s;
}

/* ---- the command ------------------------------------------------------------------------------------------------ */

static dlx_status set_unless_given(const dlx_cli_arguments *a, const char *name, const char *other, const char *value,
                                   dlx_error *err)
{
    if (dlx_cli_decode_text(a, name) || (other && dlx_cli_decode_text(a, other))) return DLX_OK;
    return dlx_decode_options_set(a->decode, name, value, err);
}

/* No token behind the text, and none in it that ends it. */
static dlx_status set_options(const infill *x, dlx_error *err)
{
    const dlx_cli_arguments *a = x->arguments;
    if (dlx_cli_decode_text(a, "max_new_tokens") || dlx_cli_decode_text(a, "gen_length"))
        return dlx_cli_error(err, DLX_E_INVALID,
                             "infill fills in the masks that the text has; --length sets their number");
    if (!x->masks)
        return dlx_cli_error(err, DLX_E_INVALID,
                             "the text has no mask to fill in; write <|mask|> once for every unknown token");
    dlx_status s = dlx_decode_options_set(a->decode, "max_new_tokens", "0", err);
    if (s == DLX_OK) s = set_unless_given(a, "stop_ids", "stop_id", "none", err);
    return s == DLX_OK ? set_unless_given(a, "published", NULL, "false", err) : s;
}

static dlx_status complete(infill *x, const dlx_cli_plan *plan, bool *cancelled, dlx_error *err)
{
    dlx_completion *completion;
    dlx_cli_decoding progress;
    dlx_completion_options options = dlx_completion_options_default();
    options.decode = x->arguments->decode;
    options.on_step = dlx_cli_decoding_on_step;
    options.step_ctx = &progress;
    dlx_cli_catch_interrupts();
    dlx_cli_decoding_begin(&progress, plan, "");
    dlx_status s = dlx_complete(x->running->facts, dlx_session_forward, x->running->session, &options, x->ids, x->n,
                                &completion, err);
    dlx_cli_progress_end();
    if (s != DLX_OK) return s;
    s = put_result(x, completion, err);
    *cancelled = !strcmp(dlx_completion_finish_reason(completion), "cancelled");
    dlx_completion_free(completion);
    return s;
}

/* The text and what will be done with it, before weights are read. */
static dlx_status prepare(infill *x, dlx_cli_plan *plan, int next, dlx_error *err)
{
    const dlx_model_facts *facts = x->running->facts;
    if (facts->mask_id < 0)
        return dlx_cli_error(err, DLX_E_UNSUPPORTED, "infill needs a model with a mask token, and this one has none");
    dlx_status s = read_text(x, next, err);
    for (size_t i = 0; i < x->n; i++) x->masks += x->ids[i] == facts->mask_id;
    if (s == DLX_OK) s = set_options(x, err);
    return s == DLX_OK ? dlx_cli_plan_make(plan, facts, x->arguments->decode, x->ids, x->n, err) : s;
}

static int run_on(const dlx_cli_arguments *a, dlx_cli_running *r, const char *path, int next)
{
    dlx_error err;
    infill x = {.arguments = a, .running = r};
    dlx_cli_plan plan;
    bool cancelled = false;
    int status = prepare(&x, &plan, next, &err) == DLX_OK ? DLX_CLI_OK : dlx_cli_fail(&err);
    if (status == DLX_CLI_OK && r->facts->attn_block)
        dlx_cli_message("this model (%s) fills blocks of %d tokens from left to right: text behind the block of a gap "
                        "does not influence what is filled in",
                        dlx_family_name(r->facts->family), r->facts->attn_block);
    if (status == DLX_CLI_OK) status = dlx_cli_running_load(r, a, path);
    if (status == DLX_CLI_OK && complete(&x, &plan, &cancelled, &err) != DLX_OK) status = dlx_cli_fail(&err);
    free(x.ids);
    return status == DLX_CLI_OK && cancelled ? DLX_CLI_INTERRUPTED : status;
}

static int run(const dlx_cli_arguments *a)
{
    int next;
    const char *path = dlx_cli_pte_path(a, &next);
    if (!path) return DLX_CLI_USAGE;
    bool text = a->n_positional > next, sides = dlx_cli_text(a, "prefix") || dlx_cli_text(a, "suffix");
    if (text && a->n_positional > next + 1)
        return dlx_cli_usage(a->command, "infill takes one text, not '%s' as well", a->positional[next + 1]);
    if (text == sides)
        return dlx_cli_usage(a->command, "infill needs either --prefix and --suffix, or a text with <|mask|> in it");
    if (text && dlx_cli_text(a, "length"))
        return dlx_cli_usage(a->command,
                             "--length is for --prefix and --suffix; in a text every <|mask|> is one token");
    dlx_cli_running r;
    int status = dlx_cli_running_open(&r, a, path, true);
    if (status == DLX_CLI_OK) status = run_on(a, &r, path, next);
    dlx_cli_running_close(&r);
    return status;
}

static const dlx_cli_option options[] = {
    DLX_CLI_RUN_OPTIONS,
    {"prefix", DLX_CLI_TEXT, "TEXT", "what stands before the gap", 0, 0},
    {"suffix", DLX_CLI_TEXT, "TEXT", "what stands behind the gap", 0, 0},
    {"length", DLX_CLI_INT, "N", "tokens in the gap (default 16)", 1, 1 << 24},
    {"special", DLX_CLI_FLAG, NULL, "special tokens written out in the text become their ids", 0, 0},
    {"keep-special", DLX_CLI_FLAG, NULL, "special tokens appear in what was filled in", 0, 0},
    {"middle", DLX_CLI_FLAG, NULL, "print only what was filled in", 0, 0},
    {"stats", DLX_CLI_FLAG, NULL, "numbers on the standard error (default: if that is a terminal)", 0, 0},
    {"json", DLX_CLI_FLAG, NULL, "one JSON object instead of text", 0, 0},
};

const dlx_cli_command dlx_cli_infill = {
    .name = "infill",
    .arguments = "FILE [TEXT|-]",
    .summary = "fills in masks between known text",
    .notes = "Either --prefix and --suffix with --length tokens between them, or a TEXT in which <|mask|> (or the "
             "model's own mask token) stands for one unknown token each. Models with full attention (LLaDA, Dream) see "
             "the text on both sides; the others see what stands before a gap and in its block.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 0,
    .most = 2,
    .decodes = true,
    .run = run,
};
