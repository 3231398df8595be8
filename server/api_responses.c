/*
 * /v1/responses: OpenAI's newer form, for texts. Streams have its events, whose kind is the member `type` of their
 * data: they have no names of their own.
 */
#include <stdlib.h>
#include <string.h>

#include "chat_input.h"
#include "route.h"
#include "work.h"

/* w->extra holds {"next": sequence number, "message": its id}. */
static void put(dlx_srv_work *w, const char *type, json_t *value)
{
    json_int_t next = json_integer_value(json_object_get(w->extra, "next"));
    json_object_set_new(w->extra, "next", json_integer(next + 1));
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

static json_t *text_part(const dlx_srv_string_buffer *b)
{
    return json_pack("{s:s, s:o, s:[]}", "type", "output_text", "text", dlx_srv_string(dlx_srv_text_of(b), b->n),
                     "annotations");
}

static json_t *message(const dlx_srv_answer *a, bool done)
{
    json_t *content = json_array();
    if (done) json_array_append_new(content, text_part(&a->content));
    return json_pack("{s:s, s:s, s:s, s:s, s:o}", "type", "message", "id", message_id(a->work), "status",
                     done ? "completed" : "in_progress", "role", "assistant", "content", content);
}

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
    json_t *output = json_array();
    if (done) json_array_append_new(output, message(a, true));
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o, s:o, s:n, s:o, s:b, s:s, s:[], s:{}, s:o}", "id", w->id, "object",
                     "response", "created_at", (json_int_t)w->created, "status",
                     !done ? "in_progress"
                     : cut ? "incomplete"
                           : "completed",
                     "model", w->state->engine.name, "output", output, "incomplete_details",
                     cut ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null(), "error", "usage",
                     done ? usage(w) : json_null(), "parallel_tool_calls", true, "tool_choice", "auto", "tools",
                     "metadata", "diffusion", done ? dlx_srv_work_numbers(w) : json_null());
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static void begin(dlx_srv_answer *a)
{
    dlx_srv_work *w = a->work;
    const dlx_srv_string_buffer empty = {0};
    put(w, "response.created", json_pack("{s:o}", "response", response(w, false)));
    put(w, "response.in_progress", json_pack("{s:o}", "response", response(w, false)));
    put(w, "response.output_item.added", json_pack("{s:i, s:o}", "output_index", 0, "item", message(a, false)));
    put(w, "response.content_part.added",
        json_pack("{s:s, s:i, s:i, s:o}", "item_id", message_id(w), "output_index", 0, "content_index", 0, "part",
                  text_part(&empty)));
}

static void part(dlx_srv_answer *a, dlx_srv_part part, const char *text, size_t n, json_t *call, json_t *scores)
{
    (void)call;
    (void)scores;
    if (part != DLX_SRV_CONTENT) return; /* reasoning is no part of the text */
    put(a->work, "response.output_text.delta",
        json_pack("{s:s, s:i, s:i, s:o, s:[]}", "item_id", message_id(a->work), "output_index", 0, "content_index", 0,
                  "delta", dlx_srv_string(text, n), "logprobs"));
}

static void step(dlx_srv_answer *a, json_t *frame)
{
    /* A delta without text, so that clients that know nothing of passes pass it over. */
    put(a->work, "response.output_text.delta",
        json_pack("{s:s, s:i, s:i, s:s, s:[], s:O}", "item_id", message_id(a->work), "output_index", 0, "content_index",
                  0, "delta", "", "logprobs", "diffusion", frame));
}

static void finish(dlx_srv_answer *a, json_t *scores)
{
    dlx_srv_work *w = a->work;
    (void)scores;
    put(w, "response.output_text.done",
        json_pack("{s:s, s:i, s:i, s:o, s:[]}", "item_id", message_id(w), "output_index", 0, "content_index", 0, "text",
                  dlx_srv_string(dlx_srv_text_of(&a->content), a->content.n), "logprobs"));
    put(w, "response.content_part.done",
        json_pack("{s:s, s:i, s:i, s:o}", "item_id", message_id(w), "output_index", 0, "content_index", 0, "part",
                  text_part(&a->content)));
    put(w, "response.output_item.done", json_pack("{s:i, s:o}", "output_index", 0, "item", message(a, true)));
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

static void append_item(json_t *messages, dlx_srv_take *t, size_t i, json_t *item)
{
    char name[64];
    const char *type = json_string_value(json_object_get(item, "type"));
    snprintf(name, sizeof name, "input[%zu]", i);
    if (!json_is_object(item) || (type && strcmp(type, "message") != 0))
        dlx_srv_take_fail(t, name, "'%s': expected a message; items of other types are not supported", name);
    json_t *copy =
        json_pack("{s:O*, s:O*}", "role", json_object_get(item, "role"), "content", json_object_get(item, "content"));
    json_array_append_new(messages, copy ? copy : json_object());
}

static void take_input(dlx_srv_chat_input *input, dlx_srv_take *t)
{
    json_t *given = dlx_srv_take_any(t, "input"), *messages = json_array(), *item;
    char *instructions = NULL;
    size_t i;
    if (dlx_srv_take_text(t, "instructions", &instructions))
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", instructions));
    if (json_is_string(given))
        json_array_append_new(messages, json_pack("{s:s, s:O}", "role", "user", "content", given));
    else if (json_array_size(given))
        json_array_foreach(given, i, item) append_item(messages, t, i, item);
    else
        dlx_srv_take_fail(t, "input", "'input': expected a string, or a list of messages");
    if (!t->failed) dlx_srv_chat_messages(input, t, messages, "input");
    free(instructions);
    json_decref(given);
    json_decref(messages);
}

/* What a server without memory of its own cannot do. */
static void take_refused(dlx_srv_take *t)
{
    static const char *const names[] = {"previous_response_id", "conversation", "prompt",
                                        "background",           "reasoning",    "include",
                                        "max_tool_calls",       "top_logprobs"};
    json_t *tools = dlx_srv_take_any(t, "tools"), *text = dlx_srv_take_any(t, "text");
    if (json_array_size(tools))
        dlx_srv_take_fail(t, "tools", "'tools' are not supported here; /v1/chat/completions has them");
    const char *type = json_string_value(json_object_get(json_object_get(text, "format"), "type"));
    if (type && strcmp(type, "text") != 0)
        dlx_srv_take_fail(t, "text", "'text': only the format {\"type\": \"text\"} is supported");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *value = dlx_srv_take_any(t, names[i]);
        bool nothing = !value || json_is_false(value) || (json_is_array(value) && !json_array_size(value)) ||
                       (json_is_integer(value) && !json_integer_value(value));
        if (!nothing) dlx_srv_take_fail(t, names[i], "'%s' is not supported", names[i]);
        json_decref(value);
    }
    json_decref(tools);
    json_decref(text);
    dlx_srv_take_harmless(t, "tool_choice parallel_tool_calls truncation");
}

void dlx_srv_responses(const dlx_srv_request *r, dlx_srv_reply *reply)
{
    static const char *const max_names[] = {"max_output_tokens", NULL};
    dlx_srv_engine *e = &r->state->engine;
    dlx_srv_take t;
    dlx_srv_plan plan = {0};
    dlx_srv_chat_input input = {.add_generation_prompt = true};
    dlx_srv_work *w = NULL;
    dlx_srv_id id;
    dlx_srv_take_open(&t, r->body, r->n_body, reply);
    take_input(&input, &t);
    take_refused(&t);
    dlx_srv_plan_take(&plan, &t, e, max_names);
    if (plan.n != 1) dlx_srv_take_fail(&t, "n", "'n': a response has one answer");
    bool fine = dlx_srv_take_end(&t) && dlx_srv_chat_prompt(&input, &t, e, &plan, "input") &&
                dlx_srv_plan_check(&plan, &t, e, "input");
    if (fine) {
        w = dlx_srv_work_create(r->state, &form, &plan);
        dlx_srv_new_id(r->state, "msg_", id);
        if (w) w->extra = json_pack("{s:i, s:s}", "next", 0, "message", id);
        if (!w) dlx_srv_reply_error(reply, 503, NULL, NULL, "out of memory for the request");
    }
    dlx_srv_chat_free(&input);
    dlx_srv_plan_free(&plan);
    dlx_srv_take_close(&t);
    if (w) dlx_srv_work_answer(w, r->peer, reply);
}
