/*
 * /v1/responses: OpenAI's newer form. Streams have its events, whose kind is the member `type` of their data: they have
 * no names of their own. An answer is a list of items: a message, if there is text or nothing else, and calls.
 */
#include <stdlib.h>
#include <string.h>

#include "responses_input.h"
#include "route.h"
#include "work.h"

/* w->extra holds {"next": sequence number, "message": its id, "items": how many were begun, "at": which one of them is
 * the message, "scores": those that were told, "echo": see responses_input.h}. */
static json_int_t number_of(const dlx_srv_work *w, const char *name)
{
    return json_integer_value(json_object_get(w->extra, name));
}

static json_int_t count_up(dlx_srv_work *w, const char *name)
{
    json_int_t value = number_of(w, name);
    json_object_set_new(w->extra, name, json_integer(value + 1));
    return value;
}

static void put(dlx_srv_work *w, const char *type, json_t *value)
{
    json_int_t next = count_up(w, "next");
    if (value) {
        json_object_set_new(value, "type", json_string(type));
        json_object_set_new(value, "sequence_number", json_integer(next));
    }
    dlx_srv_work_event(w, value);
}

static const char *message_id(const dlx_srv_work *w)
{
    return json_string_value(json_object_get(w->extra, "message"));
}

/* ---- items ------------------------------------------------------------------------------------------------------- */

static json_t *all_scores(const dlx_srv_answer *a)
{
    json_t *told = a->scores ? a->scores : json_object_get(a->work->extra, "scores");
    return told ? json_copy(told) : json_array();
}

static json_t *text_part(const dlx_srv_string_buffer *b, json_t *scores)
{
    return json_pack("{s:s, s:o, s:[], s:o}", "type", "output_text", "text", dlx_srv_string(dlx_srv_text_of(b), b->n),
                     "annotations", "logprobs", scores);
}

static json_t *message(const dlx_srv_answer *a, bool done)
{
    json_t *content = json_array();
    if (done) json_array_append_new(content, text_part(&a->content, all_scores(a)));
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "type", "message", "id", message_id(a->work), "status",
                     done ? "completed" : "in_progress", "role", "assistant", "content", content);
}

/* Of a call in chat's form, whose id it has behind another prefix. */
static json_t *call_item(const json_t *call, bool done)
{
    json_t *function = json_object_get(call, "function"), *id = json_object_get(call, "id");
    const char *digits = json_string_value(id);
    return json_pack("{s:s, s:o, s:O*, s:O*, s:o*, s:s}", "type", "function_call", "id",
                     json_sprintf("fc_%s", digits ? digits + strlen("call_") : ""), "call_id", id, "name",
                     json_object_get(function, "name"), "arguments",
                     done ? json_incref(json_object_get(function, "arguments")) : json_string(""), "status",
                     done ? "completed" : "in_progress");
}

/* Where the message is among the items; -1: there is none. */
static json_int_t message_place(const dlx_srv_answer *a)
{
    json_t *at = json_object_get(a->work->extra, "at");
    return at ? json_integer_value(at) : a->content.n || !a->calls ? 0 : -1;
}

static json_t *items(const dlx_srv_answer *a)
{
    json_t *list = json_array(), *call;
    size_t i;
    json_int_t at = message_place(a);
    json_array_foreach(a->calls, i, call) json_array_append_new(list, call_item(call, true));
    if (at >= 0) json_array_insert_new(list, (size_t)at, message(a, true));
    return list;
}

/* ---- the response ------------------------------------------------------------------------------------------------ */

static json_t *usage(const dlx_srv_work *w)
{
    const dlx_statistics *s = &w->answers[0].statistics;
    return json_pack("{s:i, s:{s:i}, s:i, s:{s:i}, s:i}", "input_tokens", s->prompt_tokens, "input_tokens_details",
                     "cached_tokens", s->cached_tokens, "output_tokens", s->new_tokens, "output_tokens_details",
                     "reasoning_tokens", 0, "total_tokens", s->prompt_tokens + s->new_tokens);
}

static json_t *response(const dlx_srv_work *w, bool done)
{
    const dlx_srv_answer *a = &w->answers[0];
    bool cut = done && strcmp(a->finish_reason, "stop") != 0;
    json_t *value =
        json_pack("{s:s, s:s, s:I, s:s, s:s, s:o, s:o, s:n, s:o, s:{}, s:o}", "id", w->id, "object", "response",
                  "created_at", (json_int_t)w->created, "status",
                  !done ? "in_progress"
                  : cut ? "incomplete"
                        : "completed",
                  "model", w->state->engine.name, "output", done ? items(a) : json_array(), "incomplete_details",
                  cut ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null(), "error", "usage",
                  done ? usage(w) : json_null(), "metadata", "diffusion", done ? dlx_srv_work_numbers(w) : json_null());
    json_object_update(value, json_object_get(w->extra, "echo"));
    return value;
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static void begin(dlx_srv_answer *a)
{
    put(a->work, "response.created", json_pack("{s:o}", "response", response(a->work, false)));
    put(a->work, "response.in_progress", json_pack("{s:o}", "response", response(a->work, false)));
}

static void begin_message(dlx_srv_answer *a)
{
    dlx_srv_work *w = a->work;
    const dlx_srv_string_buffer empty = {0};
    if (json_object_get(w->extra, "at")) return;
    json_int_t at = count_up(w, "items");
    json_object_set_new(w->extra, "at", json_integer(at));
    put(w, "response.output_item.added", json_pack("{s:I, s:o}", "output_index", at, "item", message(a, false)));
    put(w, "response.content_part.added",
        json_pack("{s:s, s:I, s:i, s:o}", "item_id", message_id(w), "output_index", at, "content_index", 0, "part",
                  text_part(&empty, json_array())));
}

/* An event about the message's text, with the members of `more`. */
static void put_text(dlx_srv_answer *a, const char *type, json_t *more)
{
    dlx_srv_work *w = a->work;
    json_t *value =
        json_pack("{s:s, s:I, s:i}", "item_id", message_id(w), "output_index", number_of(w, "at"), "content_index", 0);
    json_object_update(value, more);
    json_decref(more);
    put(w, type, value);
}

static void put_call(dlx_srv_work *w, const json_t *call)
{
    json_t *item = call_item(call, true), *arguments = json_object_get(item, "arguments");
    json_int_t at = count_up(w, "items");
    put(w, "response.output_item.added", json_pack("{s:I, s:o}", "output_index", at, "item", call_item(call, false)));
    put(w, "response.function_call_arguments.delta",
        json_pack("{s:O*, s:I, s:O*}", "item_id", json_object_get(item, "id"), "output_index", at, "delta", arguments));
    put(w, "response.function_call_arguments.done",
        json_pack("{s:O*, s:I, s:O*, s:O*}", "item_id", json_object_get(item, "id"), "output_index", at, "name",
                  json_object_get(item, "name"), "arguments", arguments));
    put(w, "response.output_item.done", json_pack("{s:I, s:o}", "output_index", at, "item", item));
}

static json_t *remember_scores(dlx_srv_work *w, json_t *scores)
{
    if (scores) json_array_extend(json_object_get(w->extra, "scores"), scores);
    return scores ? json_incref(scores) : json_array();
}

static void part(dlx_srv_answer *a, dlx_srv_part part, const char *text, size_t n, json_t *call, json_t *scores)
{
    json_t *told = remember_scores(a->work, scores);
    if (part == DLX_SRV_CONTENT) {
        begin_message(a);
        put_text(a, "response.output_text.delta",
                 json_pack("{s:o, s:O}", "delta", dlx_srv_string(text, n), "logprobs", told));
    }
    if (call) put_call(a->work, call);
    json_decref(told); /* reasoning is no part of the text */
}

static void step(dlx_srv_answer *a, json_t *frame)
{
    /* A delta without text, so that clients that know nothing of passes pass it over. */
    begin_message(a);
    put_text(a, "response.output_text.delta",
             json_pack("{s:s, s:[], s:O}", "delta", "", "logprobs", "diffusion", frame));
}

static void finish(dlx_srv_answer *a, json_t *scores)
{
    dlx_srv_work *w = a->work;
    json_decref(remember_scores(w, scores));
    if (!a->calls) begin_message(a);
    if (!json_object_get(w->extra, "at")) return;
    put_text(a, "response.output_text.done",
             json_pack("{s:o, s:o}", "text", dlx_srv_string(dlx_srv_text_of(&a->content), a->content.n), "logprobs",
                       all_scores(a)));
    put_text(a, "response.content_part.done", json_pack("{s:o}", "part", text_part(&a->content, all_scores(a))));
    put(w, "response.output_item.done",
        json_pack("{s:I, s:o}", "output_index", number_of(w, "at"), "item", message(a, true)));
}

static void last(dlx_srv_work *w)
{
    bool cut = strcmp(w->answers[0].finish_reason, "stop") != 0;
    put(w, cut ? "response.incomplete" : "response.completed", json_pack("{s:o}", "response", response(w, true)));
}

static json_t *whole(dlx_srv_work *w)
{
    return response(w, true);
}

static const dlx_srv_form form = {"resp_", begin, part, step, finish, last, whole};

/* ---- the endpoint ------------------------------------------------------------------------------------------------ */

void dlx_srv_responses(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    static const char *const max_names[] = {"max_output_tokens", NULL};
    dlx_srv_engine *e = &r->state->engine;
    dlx_srv_take t;
    dlx_srv_plan plan = {0};
    dlx_srv_chat_input input = {.add_generation_prompt = true};
    dlx_srv_work *w = NULL;
    dlx_srv_id id;
    json_t *echo;
    dlx_srv_take_open(&t, r->body, r->n_body, reply);
    dlx_srv_plan_take(&plan, &t, e, max_names);
    dlx_srv_responses_take(&input, &plan, &t, &echo);
    if (plan.n != 1) dlx_srv_take_fail(&t, "n", "'n': a response has one answer");
    if (dlx_srv_take_end(&t) && dlx_srv_chat_prompt(&input, &t, e, &plan, "input") &&
        dlx_srv_plan_check(&plan, &t, e, "input"))
        w = dlx_srv_work_create(r->state, &form, &plan, reply);
    dlx_srv_new_id(r->state, "msg_", id);
    if (w)
        w->extra =
            json_pack("{s:i, s:s, s:i, s:[], s:O*}", "next", 0, "message", id, "items", 0, "scores", "echo", echo);
    json_decref(echo);
    dlx_srv_chat_free(&input);
    dlx_srv_plan_free(&plan);
    dlx_srv_take_close(&t);
    if (w) dlx_srv_work_answer(w, r->peer, reply);
}
