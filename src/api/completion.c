/*
 * Completions over any forward function. After every step the canvas is read from the prompt's end to the first mask:
 * that prefix is final, because no algorithm changes a known token. New ids of it go through the text stream into the
 * text, what cannot be the beginning of a stop string goes to the caller, and a stop string ends the decode.
 */
#include "diffulex_edge/completion.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/structs.h"
#include "diffusion/options.h"
#include "diffusion/settings.h"
#include "text/utf8.h"

struct dlx_completion {
    dlx_generation *generation;
    char *text; /* whole answer so far, NUL-terminated */
    size_t n_text, text_capacity;
    int32_t *ids;
    size_t *ends; /* [n_ids] bytes of text once the id was decoded */
    size_t n_ids;
    const char *finish_reason;
    int32_t prompt_tokens, cached_tokens;
};

/* A completion in progress. */
typedef struct completing {
    dlx_completion_options options;
    dlx_model_facts facts;
    dlx_completion *c;
    dlx_text_stream *stream;   /* NULL: ids only */
    dlx_decode_options decode; /* the caller's, and how much of the prompt is cached */
    dlx_settings settings;
    size_t emitted; /* bytes of text that the caller has */
    size_t cut;     /* where a stop string begins, SIZE_MAX */
    bool cancelled;
    dlx_status status; /* of decoding the text */
    dlx_error err;
} completing;

/* ---- text -------------------------------------------------------------------------------------------------------- */

static dlx_status append(completing *w, const char *text, size_t n)
{
    dlx_completion *c = w->c;
    if (dlx_grow(&c->text, &c->text_capacity, c->n_text + n + 1, 1) != 0)
        return dlx_fail(&w->err, DLX_E_NOMEM, "out of memory for an answer of %zu bytes", c->n_text + n);
    memcpy(c->text + c->n_text, text, n);
    c->n_text += n;
    c->text[c->n_text] = '\0';
    return DLX_OK;
}

/* The earliest stop string that ends behind byte `from`; its place goes to w->cut. */
static void find_stop(completing *w, size_t from)
{
    const dlx_completion *c = w->c;
    for (size_t i = 0; i < w->options.n_stop; i++) {
        size_t n = strlen(w->options.stop[i]), start = from > n ? from - n : 0;
        for (size_t at = start; at + n <= c->n_text && at < w->cut; at++)
            if (!memcmp(c->text + at, w->options.stop[i], n)) w->cut = at;
    }
}

/* Bytes at the end of the text that may still become a stop string. */
static size_t held_back(const completing *w)
{
    const dlx_completion *c = w->c;
    size_t most = 0;
    for (size_t i = 0; i < w->options.n_stop; i++) {
        size_t n = strlen(w->options.stop[i]) - 1;
        for (n = n < c->n_text ? n : c->n_text; n > most; n--)
            if (!memcmp(c->text + c->n_text - n, w->options.stop[i], n)) most = n;
    }
    return most;
}

/* Gives the caller what is final; false when the decode is to end. */
static bool emit(completing *w, bool last)
{
    dlx_completion *c = w->c;
    size_t end = w->cut < c->n_text ? w->cut : last ? c->n_text : c->n_text - held_back(w);
    if (end > w->emitted && w->options.on_text && !w->cancelled) {
        /* A NUL behind the piece, as the interface promises; the byte under it comes back. */
        char *at = c->text + w->emitted, kept = c->text[end];
        c->text[end] = '\0';
        w->cancelled = !w->options.on_text(w->options.text_ctx, at, end - w->emitted);
        c->text[end] = kept;
    }
    if (end > w->emitted) w->emitted = end;
    return !w->cancelled && w->cut == SIZE_MAX;
}

/* Takes over answer ids [n] from the n_ids-th on; false when the decode is to end. */
static bool take_ids(completing *w, const int32_t *answer, size_t n, bool last)
{
    dlx_completion *c = w->c;
    const char *piece;
    size_t bytes, before = c->n_text;
    while (c->n_ids < n && w->status == DLX_OK) {
        if (w->stream) {
            w->status = dlx_text_stream_push(w->stream, &answer[c->n_ids], 1, &piece, &bytes, &w->err);
            if (w->status == DLX_OK) w->status = append(w, piece, bytes);
        }
        c->ids[c->n_ids] = answer[c->n_ids];
        c->ends[c->n_ids++] = c->n_text;
    }
    if (last && w->stream && w->status == DLX_OK) {
        w->status = dlx_text_stream_flush(w->stream, &piece, &bytes, &w->err);
        if (w->status == DLX_OK) w->status = append(w, piece, bytes);
        if (c->n_ids) c->ends[c->n_ids - 1] = c->n_text;
    }
    if (w->status != DLX_OK) return false;
    if (!w->stream) return true;
    find_stop(w, before);
    return emit(w, last);
}

/* ---- decoding ---------------------------------------------------------------------------------------------------- */

static bool is_stop_id(const dlx_settings *s, int32_t id)
{
    for (int32_t i = 0; i < s->n_stop_ids; i++)
        if (s->stop_ids[i] == id) return true;
    return false;
}

static bool after_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n_ids)
{
    completing *w = ctx;
    const int32_t *answer = ids + w->settings.n_prompt;
    size_t known = 0, most = n_ids - (size_t)w->settings.n_prompt;
    if (w->options.on_step && !w->options.on_step(w->options.step_ctx, step, ids, n_ids)) w->cancelled = true;
    if (most > (size_t)w->settings.max_new) most = (size_t)w->settings.max_new;
    while (known < most && answer[known] != w->facts.mask_id && !is_stop_id(&w->settings, answer[known])) known++;
    return take_ids(w, answer, known, false) && !w->cancelled;
}

static dlx_status check_options(const dlx_completion_options *o, dlx_error *err)
{
    if (!o->tokenizer && (o->n_stop || o->on_text))
        return dlx_fail(err, DLX_E_INVALID,
                        "stop strings and streamed text need a tokenizer; this model carries none, or none was given");
    if (o->session && o->fixed)
        return dlx_fail(err, DLX_E_INVALID,
                        "completion options: a session and a fixed session were given; give the one behind forward");
    if (o->n_stop && !o->stop)
        return dlx_fail(err, DLX_E_INVALID, "%zu stop strings were announced, and stop is NULL", o->n_stop);
    for (size_t i = 0; i < o->n_stop; i++) {
        if (!o->stop[i] || !*o->stop[i]) return dlx_fail(err, DLX_E_INVALID, "stop string %zu is empty", i + 1);
        /* Others would end an answer inside a character. */
        if (!dlx_utf8_valid(o->stop[i], strlen(o->stop[i])))
            return dlx_fail(err, DLX_E_INVALID, "stop string %zu is not valid UTF-8", i + 1);
    }
    return DLX_OK;
}

/* Blocks of the prompt that lie in the session's cache as running them again would store them. A mask in the prompt is
 * to be filled, so it is never reused. */
static void reuse_cache(completing *w, const int32_t *prompt)
{
    int32_t block = w->settings.attn_block, whole = 0;
    const dlx_fixed_session *fixed = w->options.fixed;
    if (!(w->options.session || fixed) || block < 1 || dlx_given(&w->decode, DLX_OPT_N_CACHED)) return;
    while (whole < w->settings.n_prompt && prompt[whole] != w->facts.mask_id) whole++;
    size_t n = (size_t)w->settings.n_prompt;
    int32_t cached = fixed ? dlx_fixed_reusable(fixed, prompt, n, block)
                           : dlx_session_reusable(w->options.session, prompt, n, block);
    if (cached > whole) cached = whole / block * block;
    if (cached) w->decode.value[DLX_OPT_N_CACHED] = (dlx_option_value){.given = "n_cached", .i = cached};
}

static dlx_status prepare(completing *w, dlx_completion **out, const int32_t *prompt, size_t n_prompt, dlx_error *err)
{
    DLX_TRY(check_options(&w->options, err));
    if (w->options.decode) w->decode = *w->options.decode;
    DLX_TRY(dlx_settings_resolve(&w->settings, &w->decode, &w->facts, prompt, n_prompt, err));
    reuse_cache(w, prompt);
    dlx_completion *c = calloc(1, sizeof *c);
    *out = w->c = c;
    size_t n = (size_t)w->settings.max_new + 1;
    if (c) {
        c->ids = calloc(n, sizeof *c->ids);
        c->ends = calloc(n, sizeof *c->ends);
        c->prompt_tokens = w->settings.n_prompt;
        c->cached_tokens = (int32_t)dlx_int_option(&w->decode, DLX_OPT_N_CACHED, 0);
    }
    /* Room for the usual text, so that steps seldom wait for memory. */
    if (!c || !c->ids || !c->ends || dlx_grow(&c->text, &c->text_capacity, 8 * n, 1) != 0)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory for an answer of %d tokens", w->settings.max_new);
    c->text[0] = '\0';
    return w->options.tokenizer ? dlx_text_stream_open(&w->stream, w->options.tokenizer, !w->options.keep_special, err)
                                : DLX_OK;
}

/* What came with the last step, and what a stop string cuts off. */
static dlx_status finish(completing *w, dlx_error *err)
{
    dlx_completion *c = w->c;
    size_t n;
    const int32_t *answer = dlx_generation_answer_ids(c->generation, &n);
    if (w->status == DLX_OK && w->cut == SIZE_MAX) (void)take_ids(w, answer, n, true);
    if (w->status != DLX_OK) {
        if (err) *err = w->err;
        return w->status;
    }
    c->finish_reason = dlx_generation_finish_reason(c->generation);
    if (w->cut != SIZE_MAX) {
        c->n_text = w->cut;
        c->text[c->n_text] = '\0';
        while (c->n_ids && c->ends[c->n_ids - 1] > w->cut) c->n_ids--;
        c->finish_reason = "stop";
    }
    if (w->cancelled) c->finish_reason = "cancelled";
    return DLX_OK;
}

dlx_status dlx_complete(const dlx_model_facts *facts, dlx_forward_fn forward, void *forward_ctx,
                        const dlx_completion_options *options, const int32_t *prompt, size_t n_prompt,
                        dlx_completion **out, dlx_error *err)
{
    completing w = {.options = dlx_completion_options_default(), .cut = SIZE_MAX};
    if (out) *out = NULL;
    if (!out || !forward)
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_complete: a forward function and a place for the completion are needed");
    DLX_TRY(dlx_struct_in(&w.options, sizeof w.options, options, "dlx_completion_options", err));
    DLX_TRY(dlx_facts_in(&w.facts, facts, err));
    dlx_completion *c = NULL;
    dlx_status s = prepare(&w, &c, prompt, n_prompt, err);
    if (s == DLX_OK)
        s = dlx_generate(&w.facts, forward, forward_ctx, &w.decode, prompt, n_prompt, after_step, &w, &c->generation,
                         err);
    if (s == DLX_OK) s = finish(&w, err);
    dlx_text_stream_close(w.stream);
    if (s != DLX_OK) {
        dlx_completion_free(c);
        return s;
    }
    *out = c;
    return DLX_OK;
}

void dlx_completion_free(dlx_completion *c)
{
    if (!c) return;
    dlx_generation_free(c->generation);
    free(c->text);
    free(c->ids);
    free(c->ends);
    free(c);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

const dlx_generation *dlx_completion_generation(const dlx_completion *c)
{
    return c ? c->generation : NULL;
}

const char *dlx_completion_text(const dlx_completion *c, size_t *n)
{
    if (n) *n = c ? c->n_text : 0;
    return c ? c->text : "";
}

const int32_t *dlx_completion_ids(const dlx_completion *c, size_t *n)
{
    if (n) *n = c ? c->n_ids : 0;
    return c ? c->ids : NULL;
}

const char *dlx_completion_finish_reason(const dlx_completion *c)
{
    return c ? c->finish_reason : "";
}

static void count(dlx_statistics *n, const dlx_completion *c)
{
    n->prompt_tokens = c->prompt_tokens;
    n->cached_tokens = c->cached_tokens;
    n->new_tokens = (int32_t)c->n_ids;
    n->forwards = dlx_generation_num_forwards(c->generation);
    dlx_step step = {.struct_size = sizeof step};
    int32_t block = -1;
    for (size_t i = 0; dlx_generation_step(c->generation, i, &step); i++) {
        n->rows += step.rows;
        n->cached_rows += step.cached;
        if (step.block < 0) {
            n->prefill_forwards++;
            n->prefill_ms += step.milliseconds;
        } else {
            n->decode_ms += step.milliseconds;
        }
        if (step.block >= 0 && step.block != block) n->blocks++;
        block = step.block;
    }
}

dlx_status dlx_completion_statistics(const dlx_completion *c, dlx_statistics *out, dlx_error *err)
{
    dlx_statistics n = {.struct_size = sizeof n};
    dlx_struct_clear(out, sizeof *out);
    if (!c || !out)
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_completion_statistics: a completion and a place for the numbers are needed");
    count(&n, c);
    return dlx_struct_out(out, &n, sizeof n, "dlx_statistics", err);
}
