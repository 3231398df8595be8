/* /v1/completions: texts, or token ids, that are continued. */
#include <stdlib.h>
#include <string.h>

#include "route.h"
#include "work.h"

/* OpenAI's older form: lists beside each other. */
static json_t *logprobs_value(json_t *scores, bool top)
{
    json_t *tokens = json_array(), *logprobs = json_array(), *tops = json_array(), *offsets = json_array(), *score;
    size_t i;
    json_int_t offset = 0;
    json_array_foreach(scores, i, score)
    {
        json_t *text = json_object_get(score, "token"), *best = json_object(), *other;
        size_t k;
        json_array_foreach(json_object_get(score, "top_logprobs"), k, other) json_object_set(
            best, json_string_value(json_object_get(other, "token")), json_object_get(other, "logprob"));
        json_array_append(tokens, text);
        json_array_append(logprobs, json_object_get(score, "logprob"));
        json_array_append_new(tops, best);
        json_array_append_new(offsets, json_integer(offset));
        offset += (json_int_t)json_string_length(text);
    }
    json_t *value = json_pack("{s:o, s:o, s:o}", "tokens", tokens, "token_logprobs", logprobs, "text_offset", offsets);
    if (top && value)
        json_object_set_new(value, "top_logprobs", tops);
    else
        json_decref(tops);
    return value;
}

static json_t *choice(const dlx_srv_answer *a, const char *text, size_t n, json_t *scores, const char *finish)
{
    int top = a->work->plan.top_logprobs;
    return json_pack("{s:i, s:o, s:o, s:o}", "index", a->index, "text", dlx_srv_string(text, n), "logprobs",
                     top >= 0 ? logprobs_value(scores, top > 0) : json_null(), "finish_reason",
                     finish ? json_string(finish) : json_null());
}

static json_t *object(const dlx_srv_work *w, json_t *choices)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", w->id, "object", "text_completion", "created",
                     (json_int_t)w->created, "model", w->state->engine.name, "choices", choices);
}

static void put(dlx_srv_answer *a, const char *text, size_t n, json_t *scores, const char *finish, json_t *frame)
{
    json_t *value = object(a->work, json_pack("[o]", choice(a, text, n, scores, finish)));
    if (value && frame) json_object_set(value, "diffusion", frame);
    if (value && a->work->plan.include_usage) json_object_set_new(value, "usage", json_null());
    dlx_srv_work_event(a->work, value);
}

static void begin(dlx_srv_answer *a)
{
    (void)a; /* there is nothing to say before the text */
}

static void part(dlx_srv_answer *a, dlx_srv_part part, const char *text, size_t n, json_t *call, json_t *scores)
{
    (void)part; /* all text is content here */
    (void)call;
    put(a, text, n, scores, NULL, NULL);
}

static void step(dlx_srv_answer *a, json_t *frame)
{
    put(a, "", 0, NULL, NULL, frame);
}

static void finish(dlx_srv_answer *a, json_t *scores)
{
    put(a, "", 0, scores, a->finish_reason, NULL);
}

static void last(dlx_srv_work *w)
{
    dlx_srv_work_done(w, w->plan.include_usage ? object(w, json_array()) : NULL);
}

static json_t *whole(dlx_srv_work *w)
{
    json_t *choices = json_array();
    for (size_t i = 0; i < w->n_answers; i++) {
        const dlx_srv_answer *a = &w->answers[i];
        json_array_append_new(choices,
                              choice(a, dlx_srv_text_of(&a->content), a->content.n, a->scores, a->finish_reason));
    }
    json_t *value = object(w, choices);
    json_object_set_new(value, "usage", dlx_srv_work_usage(w));
    json_object_set_new(value, "diffusion", dlx_srv_work_numbers(w));
    return value;
}

static const dlx_srv_form form = {"cmpl-", begin, part, step, finish, last, whole};

/* ---- prompts ----------------------------------------------------------------------------------------------------- */

static void add_text(dlx_srv_plan *p, dlx_srv_take *t, const dlx_srv_engine *e, const json_t *text)
{
    int32_t *ids;
    size_t n;
    dlx_error err;
    if (dlx_tokenizer_encode(e->tokenizer, json_string_value(text), json_string_length(text), DLX_ENCODE_AROUND, &ids,
                             &n, &err) != DLX_OK) {
        dlx_srv_take_fail(t, "prompt", "%s", err.message);
        return;
    }
    if (!dlx_srv_plan_add(p, ids, n)) dlx_srv_take_fail(t, "prompt", "out of memory for the prompt");
    dlx_free(ids);
}

static void add_ids(dlx_srv_plan *p, dlx_srv_take *t, const dlx_srv_engine *e, const json_t *list)
{
    size_t n;
    int32_t *ids = dlx_srv_plan_ids(t, e, list, "prompt", &n);
    if (ids && !dlx_srv_plan_add(p, ids, n)) dlx_srv_take_fail(t, "prompt", "out of memory for the prompt");
    free(ids);
}

static void take_prompts(dlx_srv_plan *p, dlx_srv_take *t, const dlx_srv_engine *e)
{
    json_t *prompt = dlx_srv_take_any(t, "prompt"), *one;
    size_t i;
    if (json_is_string(prompt)) {
        add_text(p, t, e, prompt);
    } else if (json_is_array(prompt) && json_is_integer(json_array_get(prompt, 0))) {
        add_ids(p, t, e, prompt);
    } else if (json_array_size(prompt)) {
        json_array_foreach(prompt, i, one)
        {
            if (json_is_string(one))
                add_text(p, t, e, one);
            else if (json_is_array(one))
                add_ids(p, t, e, one);
            else
                dlx_srv_take_fail(t, "prompt", "'prompt': expected a string, token ids, or a list of either");
            if (t->failed) break;
        }
    } else {
        dlx_srv_take_fail(t, "prompt", "'prompt': expected a string, token ids, or a list of either");
    }
    json_decref(prompt);
}

void dlx_srv_completions(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    static const char *const max_names[] = {"max_tokens", "n_predict", NULL};
    dlx_srv_engine *e = &r->state->engine;
    dlx_srv_take t;
    dlx_srv_plan plan = {0};
    dlx_srv_work *w = NULL;
    bool echo = false;
    int64_t top;
    char *suffix = NULL;
    dlx_srv_take_open(&t, r->body, r->n_body, reply);
    dlx_srv_plan_take(&plan, &t, e, max_names);
    if (dlx_srv_take_int(&t, "logprobs", 0, 5, &top)) plan.top_logprobs = (int)top;
    if (dlx_srv_take_bool(&t, "echo", &echo) && echo)
        dlx_srv_take_fail(&t, "echo",
                          "'echo' is not supported: a masked model has no probability of a prompt's tokens one after "
                          "the other, so there is no loglikelihood of a text either");
    if (dlx_srv_take_text(&t, "suffix", &suffix) && *suffix)
        dlx_srv_take_fail(&t, "suffix",
                          "'suffix' is not supported here; /infill fills in what stands between two texts");
    free(suffix);
    take_prompts(&plan, &t, e);
    if (dlx_srv_take_end(&t) && dlx_srv_plan_check(&plan, &t, e, "prompt"))
        w = dlx_srv_work_create(r->state, &form, &plan, reply);
    dlx_srv_plan_free(&plan);
    dlx_srv_take_close(&t);
    if (w) dlx_srv_work_answer(w, r->peer, reply);
}
