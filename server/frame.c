/* Frames: the accepted tokens of a pass, and what it worked on, as JSON. */
#include "frame.h"

#include <string.h>

enum { MOST_JOINED = 8 }; /* tokens that one character may be spread over */

json_t *dlx_srv_ids_text(const dlx_srv_engine *engine, const int32_t *ids, size_t n)
{
    char *text;
    size_t size;
    if (dlx_tokenizer_decode(engine->tokenizer, ids, n, false, &text, &size, NULL) != DLX_OK) return NULL;
    json_t *value = dlx_srv_string(text, size);
    dlx_free(text);
    return value;
}

json_t *dlx_srv_id_bytes(const dlx_srv_engine *engine, int32_t id)
{
    size_t n;
    const char *bytes = dlx_tokenizer_bytes(engine->tokenizer, id, &n);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_integer((unsigned char)bytes[i]));
    return list;
}

/* ---- characters of several tokens -------------------------------------------------------------------------------- */

/* The text of the n tokens from `at` on when `whole` says whether it has all bytes of its characters; else NULL. */
static json_t *text_if(const dlx_srv_answer *a, const int32_t *ids, size_t at, size_t n, bool whole)
{
    json_t *text = dlx_srv_ids_text(&a->work->state->engine, ids + at, n);
    if (text && (strstr(json_string_value(text), "\xEF\xBF\xBD") == NULL) == whole) return text;
    json_decref(text);
    return NULL;
}

/* Whether a known token has a part of a character only. */
static bool is_part(const dlx_srv_answer *a, const int32_t *ids, size_t n_ids, size_t at)
{
    if (at >= n_ids || ids[at] == a->work->state->engine.facts->mask_id) return false;
    json_t *text = text_if(a, ids, at, 1, false);
    bool part = text != NULL;
    json_decref(text);
    return part;
}

/* How many tokens from `at` on are whole characters together, and their text; 0 and NULL: none. */
static size_t whole_from(const dlx_srv_answer *a, const int32_t *ids, size_t n_ids, size_t at, json_t **text)
{
    *text = NULL;
    for (size_t n = 2; n <= MOST_JOINED && is_part(a, ids, n_ids, at + n - 1); n++) {
        *text = text_if(a, ids, at, n, true);
        if (*text) return n;
    }
    return 0;
}

/* Those that are whole with what the pass accepted: [first position, tokens, text] each. */
static json_t *joined(const dlx_srv_answer *a, const dlx_step *step, const int32_t *ids, size_t n_ids)
{
    json_t *list = json_array(), *text;
    size_t done = a->prompt->n;
    for (size_t i = 0; i < step->n_accepted; i++) {
        size_t p = (size_t)step->accepted[i].position, at = p;
        if (p < done || !is_part(a, ids, n_ids, p)) continue;
        while (at > done && p - at < MOST_JOINED && is_part(a, ids, n_ids, at - 1)) at--;
        while (at <= p) {
            size_t n = whole_from(a, ids, n_ids, at, &text);
            if (text && at + n > p) /* those before are told already */
                json_array_append_new(list,
                                      json_pack("[I, I, O]", (json_int_t)(at - a->prompt->n), (json_int_t)n, text));
            json_decref(text);
            at += n ? n : 1;
        }
        done = at;
    }
    return list;
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

json_t *dlx_srv_frame(const dlx_srv_answer *a, const dlx_step *step, const int32_t *ids, size_t n_ids)
{
    const dlx_srv_engine *e = &a->work->state->engine;
    const json_int_t n_prompt = (json_int_t)a->prompt->n, length = a->block_length;
    const bool causal = e->facts->attn_block > 0;
    json_int_t canvas = (json_int_t)n_ids - n_prompt;
    json_int_t begin = (causal ? -n_prompt : 0) + step->block * length, end = begin + length;
    json_t *changes = json_array();
    if (!length || begin < 0) begin = 0;
    if (!length || end > canvas) end = canvas;
    if (end < 0 || step->block < 0) end = begin = 0;
    for (size_t i = 0; i < step->n_accepted; i++) {
        const dlx_accepted *c = &step->accepted[i];
        const json_int_t at = c->position - n_prompt;
        if (end <= at) end = at + 1; /* a pass that stores a block may reveal the first token behind it */
        json_array_append_new(
            changes, json_pack("[I, i, o, f]", at, c->id, dlx_srv_ids_text(e, &c->id, 1), (double)c->confidence));
    }
    if (causal) canvas = end; /* attention ends there: masks behind it are nothing yet */
    json_t *frame = json_pack("{s:i, s:i, s:i, s:f, s:I, s:I, s:I, s:o}", "block", step->block, "pass", a->passes,
                              "rows", step->rows, "milliseconds", step->milliseconds, "canvas", canvas, "begin", begin,
                              "end", end, "changes", changes);
    json_t *list = joined(a, step, ids, n_ids);
    if (json_array_size(list)) json_object_set(frame, "joined", list);
    json_decref(list);
    return frame;
}
