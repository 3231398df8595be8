/* /tokenize, /detokenize, /apply-template and /infill, as llama.cpp's server has them. */
#include <stdlib.h>
#include <string.h>

#include "chat_input.h"
#include "frame.h"
#include "route.h"
#include "work.h"

enum { DEFAULT_FILL = 16 };

/* What is no text by itself, a part of a character, is the list of its bytes. */
static json_t *piece(const dlx_srv_engine *e, int32_t id)
{
    size_t n;
    const char *bytes = dlx_tokenizer_bytes(e->tokenizer, id, &n);
    json_t *text = json_stringn(bytes ? bytes : "", n); /* NULL when it is no UTF-8 */
    return json_pack("{s:i, s:o}", "id", id, "piece", text ? text : dlx_srv_id_bytes(e, id));
}

void dlx_srv_tokenize(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    const dlx_tokenizer *tokenizer = r->state->engine.tokenizer;
    dlx_srv_take t;
    char *text = NULL;
    bool around = false, special = false, pieces = false;
    int32_t *ids = NULL;
    size_t n;
    dlx_error err;
    dlx_srv_take_open(&t, r->body, r->n_body, reply);
    if (!dlx_srv_take_text(&t, "content", &text)) dlx_srv_take_fail(&t, "content", "'content': expected the text");
    dlx_srv_take_bool(&t, "add_special", &around);
    dlx_srv_take_bool(&t, "parse_special", &special);
    dlx_srv_take_bool(&t, "with_pieces", &pieces);
    dlx_srv_take_harmless(&t, "model");
    if (dlx_srv_take_end(&t)) {
        int flags = (around ? DLX_ENCODE_AROUND : 0) | (special ? DLX_ENCODE_SPECIAL : DLX_ENCODE_PLAIN);
        if (dlx_tokenizer_encode(tokenizer, text, strlen(text), flags, &ids, &n, &err) == DLX_OK) {
            json_t *list = json_array();
            for (size_t i = 0; i < n; i++)
                json_array_append_new(list, pieces ? piece(&r->state->engine, ids[i]) : json_integer(ids[i]));
            dlx_srv_reply_json(reply, 200, json_pack("{s:o}", "tokens", list));
        } else {
            dlx_srv_reply_failure(reply, &err, "content");
        }
    }
    dlx_free(ids);
    free(text);
    dlx_srv_take_close(&t);
}

void dlx_srv_detokenize(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    const dlx_srv_engine *e = &r->state->engine;
    dlx_srv_take t;
    size_t n, n_text;
    char *text;
    dlx_error err;
    dlx_srv_take_open(&t, r->body, r->n_body, reply);
    json_t *list = dlx_srv_take_kind(&t, "tokens", JSON_ARRAY, "a list of token ids");
    if (!list) dlx_srv_take_fail(&t, "tokens", "'tokens': expected a list of token ids");
    int32_t *ids = dlx_srv_plan_ids(&t, e, list, "tokens", &n);
    json_decref(list);
    dlx_srv_take_harmless(&t, "model");
    if (dlx_srv_take_end(&t)) {
        if (dlx_tokenizer_decode(e->tokenizer, ids, n, false, &text, &n_text, &err) == DLX_OK) {
            dlx_srv_reply_json(reply, 200, json_pack("{s:o}", "content", dlx_srv_string(text, n_text)));
            dlx_free(text);
        } else {
            dlx_srv_reply_failure(reply, &err, "tokens");
        }
    }
    free(ids);
    dlx_srv_take_close(&t);
}

void dlx_srv_apply_template(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    dlx_srv_take t;
    dlx_srv_chat_input input = {0};
    char *text = NULL;
    size_t n;
    dlx_srv_take_open(&t, r->body, r->n_body, reply);
    dlx_srv_chat_take(&input, &t);
    dlx_srv_take_harmless(&t, "model");
    if (dlx_srv_take_end(&t) && dlx_srv_chat_render(&input, &t, &r->state->engine, &text, &n))
        dlx_srv_reply_json(reply, 200, json_pack("{s:o}", "prompt", dlx_srv_string(text, n)));
    dlx_free(text);
    dlx_srv_chat_free(&input);
    dlx_srv_take_close(&t);
}

/* ---- infill ------------------------------------------------------------------------------------------------------ */

/* What the masks became: one run of them, between the two texts. */
static json_t *fill_whole(dlx_srv_work *w)
{
    const dlx_srv_answer *a = &w->answers[0];
    const dlx_srv_engine *e = &w->state->engine;
    size_t first = 0, n = 0, length;
    char *text;
    if (!a->filled) return NULL;
    while (first < a->prompt->n && a->prompt->ids[first] != e->facts->mask_id) first++;
    while (first + n < a->prompt->n && a->prompt->ids[first + n] == e->facts->mask_id) n++;
    if (dlx_tokenizer_decode(e->tokenizer, a->filled + first, n, true, &text, &length, NULL) != DLX_OK) return NULL;
    json_t *tokens = json_array(), *content = dlx_srv_string(text, length);
    for (size_t i = 0; i < n; i++) json_array_append_new(tokens, json_integer(a->filled[first + i]));
    dlx_free(text);
    return json_pack("{s:s, s:s, s:o, s:o, s:b, s:o, s:o}", "id", w->id, "model", e->name, "content", content, "tokens",
                     tokens, "stop", true, "usage", dlx_srv_work_usage(w), "diffusion", dlx_srv_work_numbers(w));
}

static const dlx_srv_form fill_form = {.prefix = "infill-", .whole = fill_whole};

/* The ids of both texts with masks between them. */
static void add_fill(dlx_srv_plan *p, dlx_srv_take *t, const dlx_srv_engine *e, const char *prefix, const char *suffix,
                     size_t masks)
{
    int32_t *before = NULL, *behind = NULL, *all = NULL;
    size_t n = 0, m = 0;
    dlx_error err;
    dlx_status s = dlx_tokenizer_encode(e->tokenizer, prefix, strlen(prefix), DLX_ENCODE_PLAIN, &before, &n, &err);
    if (s == DLX_OK)
        s = dlx_tokenizer_encode(e->tokenizer, suffix, strlen(suffix), DLX_ENCODE_PLAIN, &behind, &m, &err);
    if (s == DLX_OK) all = malloc((n + masks + m) * sizeof *all);
    if (all) {
        if (n) memcpy(all, before, n * sizeof *all);
        for (size_t i = 0; i < masks; i++) all[n + i] = e->facts->mask_id;
        if (m) memcpy(all + n + masks, behind, m * sizeof *all);
    }
    if (s != DLX_OK)
        dlx_srv_take_fail(t, "input_prefix", "%s", err.message);
    else if (!all || !dlx_srv_plan_add(p, all, n + masks + m))
        dlx_srv_take_fail(t, "input_prefix", "out of memory for the text");
    free(all);
    dlx_free(before);
    dlx_free(behind);
}

static void take_fill(dlx_srv_plan *plan, dlx_srv_take *t, const dlx_srv_engine *e)
{
    static const char *const max_names[] = {"n_predict", "max_tokens", NULL};
    char *prefix = NULL, *suffix = NULL;
    dlx_srv_take_text(t, "input_prefix", &prefix);
    dlx_srv_take_text(t, "input_suffix", &suffix);
    dlx_srv_plan_take(plan, t, e, max_names);
    int32_t masks = plan->max_tokens > 0 ? plan->max_tokens : DEFAULT_FILL;
    if (!prefix && !suffix) dlx_srv_take_fail(t, "input_prefix", "'input_prefix', 'input_suffix' or both are needed");
    if (plan->stream) dlx_srv_take_fail(t, "stream", "'stream': a gap is filled in as a whole");
    if (plan->n != 1) dlx_srv_take_fail(t, "n", "'n': one gap has one answer");
    if (plan->n_stop) dlx_srv_take_fail(t, "stop", "'stop': the length of a gap is given");
    if (plan->bound)
        dlx_srv_take_fail(t, plan->bound_param, "'%s': what fills a gap cannot be bound", plan->bound_param);
    if (e->facts->mask_id < 0)
        dlx_srv_take_fail(t, NULL, "this model has no mask token, so it cannot fill in what stands between two texts");
    if (masks > e->facts->max_context)
        dlx_srv_take_fail(t, "n_predict", "'n_predict': %d tokens do not fit the context of %d", masks,
                          e->facts->max_context);
    plan->max_tokens = 0;
    plan->fill = true;
    if (!t->failed) dlx_srv_plan_set(plan, t, e, "stop_ids", "none", "n_predict");
    if (!t->failed) add_fill(plan, t, e, prefix ? prefix : "", suffix ? suffix : "", (size_t)masks);
    free(prefix);
    free(suffix);
}

void dlx_srv_infill(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    dlx_srv_engine *e = &r->state->engine;
    dlx_srv_take t;
    dlx_srv_plan plan = {0};
    dlx_srv_work *w = NULL;
    dlx_srv_take_open(&t, r->body, r->n_body, reply);
    take_fill(&plan, &t, e);
    if (dlx_srv_take_end(&t) && dlx_srv_plan_check(&plan, &t, e, "input_prefix"))
        w = dlx_srv_work_create(r->state, &fill_form, &plan, reply);
    dlx_srv_plan_free(&plan);
    dlx_srv_take_close(&t);
    if (w) dlx_srv_work_answer(w, r->peer, reply);
}
