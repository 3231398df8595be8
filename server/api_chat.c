/* /v1/chat/completions. */
#include <stdlib.h>
#include <string.h>

#include "chat_input.h"
#include "limits.h"
#include "route.h"
#include "work.h"

static json_t *logprobs_value(json_t *scores)
{
    return scores ? json_pack("{s:O}", "content", scores) : json_null();
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static json_t *chunk(const dlx_srv_work *w, json_t *choices)
{
    json_t *value = json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", w->id, "object", "chat.completion.chunk", "created",
                              (json_int_t)w->created, "model", w->state->engine.name, "choices", choices);
    if (value && w->plan.include_usage) json_object_set_new(value, "usage", json_null());
    return value;
}

static void put(dlx_srv_answer *a, json_t *delta, json_t *scores, const char *finish, json_t *frame)
{
    json_t *choice = json_pack("{s:i, s:o, s:o}", "index", a->index, "delta", delta, "finish_reason",
                               finish ? json_string(finish) : json_null());
    if (choice && a->work->plan.top_logprobs >= 0) json_object_set_new(choice, "logprobs", logprobs_value(scores));
    json_t *value = chunk(a->work, json_pack("[o]", choice));
    if (value && frame) json_object_set(value, "diffusion", frame);
    dlx_srv_work_event(a->work, value);
}

static void begin(dlx_srv_answer *a)
{
    put(a, json_pack("{s:s, s:s}", "role", "assistant", "content", ""), NULL, NULL, NULL);
}

static void part(dlx_srv_answer *a, dlx_srv_part part, const char *text, size_t n, json_t *call, json_t *scores)
{
    json_t *delta;
    if (part == DLX_SRV_TOOL_CALL) {
        json_t *copy = json_copy(call);
        json_object_set_new(copy, "index", json_integer((json_int_t)json_array_size(a->calls) - 1));
        delta = json_pack("{s:[o]}", "tool_calls", copy);
    } else {
        delta =
            json_pack("{s:o}", part == DLX_SRV_REASONING ? "reasoning_content" : "content", dlx_srv_string(text, n));
    }
    put(a, delta, scores, NULL, NULL);
}

static void step(dlx_srv_answer *a, json_t *frame)
{
    put(a, json_object(), NULL, NULL, frame);
}

static void finish(dlx_srv_answer *a, json_t *scores)
{
    put(a, json_object(), scores, dlx_srv_finish_reason(a), NULL);
}

static void last(dlx_srv_work *w)
{
    dlx_srv_work_done(w, w->plan.include_usage ? chunk(w, json_array()) : NULL);
}

/* ---- whole answers ----------------------------------------------------------------------------------------------- */

static json_t *choice_of(const dlx_srv_answer *a)
{
    bool only_calls = a->calls && !a->content.n;
    json_t *message = json_pack("{s:s, s:o}", "role", "assistant", "content",
                                only_calls ? json_null() : dlx_srv_string(dlx_srv_text_of(&a->content), a->content.n));
    if (a->reasoning.n)
        json_object_set_new(message, "reasoning_content", dlx_srv_string(a->reasoning.text, a->reasoning.n));
    if (a->calls) json_object_set(message, "tool_calls", a->calls);
    return json_pack("{s:i, s:o, s:o, s:s}", "index", a->index, "message", message, "logprobs",
                     logprobs_value(a->scores), "finish_reason", dlx_srv_finish_reason(a));
}

static json_t *whole(dlx_srv_work *w)
{
    json_t *choices = json_array();
    for (size_t i = 0; i < w->n_answers; i++) json_array_append_new(choices, choice_of(&w->answers[i]));
    return json_pack("{s:s, s:s, s:I, s:s, s:o, s:o, s:o}", "id", w->id, "object", "chat.completion", "created",
                     (json_int_t)w->created, "model", w->state->engine.name, "choices", choices, "usage",
                     dlx_srv_work_usage(w), "diffusion", dlx_srv_work_numbers(w));
}

static const dlx_srv_form form = {"chatcmpl-", begin, part, step, finish, last, whole};

/* ---- the endpoint ------------------------------------------------------------------------------------------------ */

static void take_logprobs(dlx_srv_plan *p, dlx_srv_take *t)
{
    bool wanted = false;
    int64_t top;
    dlx_srv_take_bool(t, "logprobs", &wanted);
    if (wanted) p->top_logprobs = 0;
    if (!dlx_srv_take_int(t, "top_logprobs", 0, DLX_SRV_MOST_TOP_LOGPROBS, &top)) return;
    if (wanted)
        p->top_logprobs = (int)top;
    else if (top)
        dlx_srv_take_fail(t, "top_logprobs", "'top_logprobs' needs 'logprobs': true");
}

void dlx_srv_chat(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    static const char *const max_names[] = {"max_completion_tokens", "max_tokens", NULL};
    dlx_srv_engine *e = &r->state->engine;
    dlx_srv_take t;
    dlx_srv_plan plan = {0};
    dlx_srv_chat_input input = {0};
    dlx_srv_work *w = NULL;
    dlx_srv_take_open(&t, r->body, r->n_body, reply);
    dlx_srv_chat_take(&input, &t);
    dlx_srv_plan_take(&plan, &t, e, max_names);
    take_logprobs(&plan, &t);
    if (dlx_srv_take_end(&t) && dlx_srv_chat_prompt(&input, &t, e, &plan, "messages") &&
        dlx_srv_plan_check(&plan, &t, e, "messages"))
        w = dlx_srv_work_create(r->state, &form, &plan, reply);
    dlx_srv_chat_free(&input);
    dlx_srv_plan_free(&plan);
    dlx_srv_take_close(&t);
    if (w) dlx_srv_work_answer(w, r->peer, reply);
}
