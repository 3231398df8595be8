/* Items to messages, flat tools to nested ones. */
#include "responses_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "limits.h"

/* ---- items ------------------------------------------------------------------------------------------------------- */

/* A call belongs to the assistant's message in front of it, or is one without text. */
static void append_call(json_t *messages, dlx_srv_take *t, const char *param, const json_t *item)
{
    json_t *name = json_object_get(item, "name"), *arguments = json_object_get(item, "arguments");
    json_t *message = json_array_get(messages, json_array_size(messages) - 1);
    const char *role = json_string_value(json_object_get(message, "role"));
    if (!json_is_string(name) || !json_is_string(arguments))
        dlx_srv_take_fail(t, param, "'%s': a function call has a string 'name' and a string 'arguments'", param);
    if (!role || strcmp(role, "assistant") != 0) {
        message = json_pack("{s:s, s:n}", "role", "assistant", "content");
        json_array_append_new(messages, message);
    }
    json_t *calls = json_object_get(message, "tool_calls");
    if (!calls) {
        calls = json_array();
        json_object_set_new(message, "tool_calls", calls);
    }
    json_array_append_new(calls, json_pack("{s:O*, s:s, s:{s:O*, s:O*}}", "id", json_object_get(item, "call_id"),
                                           "type", "function", "function", "name", name, "arguments", arguments));
}

static void append_item(json_t *messages, dlx_srv_take *t, size_t i, const json_t *item)
{
    char name[64];
    const char *type = json_string_value(json_object_get(item, "type"));
    snprintf(name, sizeof name, "input[%zu]", i);
    if (type && !strcmp(type, "function_call")) {
        append_call(messages, t, name, item);
    } else if (type && !strcmp(type, "function_call_output")) {
        json_array_append_new(messages,
                              json_pack("{s:s, s:O*, s:O*}", "role", "tool", "tool_call_id",
                                        json_object_get(item, "call_id"), "content", json_object_get(item, "output")));
    } else if (json_is_object(item) && (!type || !strcmp(type, "message"))) {
        json_array_append_new(messages, json_pack("{s:O*, s:O*}", "role", json_object_get(item, "role"), "content",
                                                  json_object_get(item, "content")));
    } else {
        dlx_srv_take_fail(t, name,
                          "'%s': expected a message, a function_call or a function_call_output; items of other types "
                          "are not supported",
                          name);
    }
}

static void take_input(dlx_srv_chat_input *input, dlx_srv_take *t)
{
    json_t *given = dlx_srv_take_any(t, "input"), *messages = json_array(), *item;
    char *instructions = NULL;
    size_t i;
    if (dlx_srv_take_text(t, "instructions", &instructions) && *instructions)
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

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

/* Chat's form has the function one level below. */
static json_t *nested_tools(dlx_srv_take *t, const json_t *tools)
{
    json_t *out = json_array(), *tool;
    size_t i;
    char name[64];
    json_array_foreach(tools, i, tool)
    {
        const char *type = json_string_value(json_object_get(tool, "type"));
        json_t *function = json_copy(tool);
        snprintf(name, sizeof name, "tools[%zu]", i);
        if (!type || strcmp(type, "function") != 0 || !json_is_string(json_object_get(tool, "name")))
            dlx_srv_take_fail(t, name,
                              "'%s': expected {\"type\": \"function\", \"name\": ...}; other tools are not "
                              "supported",
                              name);
        json_object_del(function, "type");
        json_object_del(function, "strict");
        json_array_append_new(out, json_pack("{s:s, s:o*}", "type", "function", "function", function));
    }
    return out;
}

static void take_tools(dlx_srv_chat_input *input, dlx_srv_take *t, json_t *echo)
{
    json_t *tools = dlx_srv_take_kind(t, "tools", JSON_ARRAY, "a list of functions");
    static const char *const repeated[] = {"tool_choice", "parallel_tool_calls"};
    for (size_t i = 0; !t->failed && i < 2; i++) {
        json_t *value = json_object_get(t->root, repeated[i]);
        if (value && !json_is_null(value)) json_object_set(echo, repeated[i], value);
    }
    if (tools) json_object_set(echo, "tools", tools);
    json_t *nested = nested_tools(t, tools);
    dlx_srv_chat_tools(input, t, nested, ".parameters");
    json_decref(nested);
    json_decref(tools);
}

static void take_text_format(dlx_srv_plan *plan, dlx_srv_take *t, json_t *echo)
{
    json_t *text = dlx_srv_take_kind(t, "text", JSON_OBJECT, "an object"), *value;
    const char *name;
    json_object_foreach(text, name, value)
    {
        const char *word = json_string_value(value);
        if (!strcmp(name, "format") && !json_is_null(value))
            dlx_srv_format_take_object(plan, t, value, NULL, "text.format");
        else if (!strcmp(name, "verbosity") && word && strcmp(word, "medium") != 0)
            dlx_srv_take_fail(t, "text.verbosity", "'text.verbosity': only medium is supported");
    }
    if (text) json_object_set(echo, "text", text);
    json_decref(text);
}

static void take_scores(dlx_srv_plan *plan, dlx_srv_take *t)
{
    json_t *include = dlx_srv_take_kind(t, "include", JSON_ARRAY, "a list of names"), *name;
    int64_t top = 0;
    size_t i;
    bool wanted = false;
    json_array_foreach(include, i, name)
    {
        const char *word = json_string_value(name);
        bool scores = word && !strcmp(word, "message.output_text.logprobs");
        wanted |= scores;
        /* There is no reasoning to encrypt. */
        if (!scores && (!word || strcmp(word, "reasoning.encrypted_content") != 0))
            dlx_srv_take_fail(t, "include", "'include': only message.output_text.logprobs is supported");
    }
    json_decref(include);
    if (dlx_srv_take_int(t, "top_logprobs", 0, DLX_SRV_MOST_TOP_LOGPROBS, &top) && top && !wanted)
        dlx_srv_take_fail(t, "top_logprobs", "'top_logprobs' needs 'include' to have message.output_text.logprobs");
    if (wanted) plan->top_logprobs = (int)top;
}

/* What a server without memory of its own cannot do. */
static void take_refused(dlx_srv_take *t)
{
    static const char *const names[] = {"previous_response_id", "conversation", "prompt",
                                        "background",           "reasoning",    "max_tool_calls"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) dlx_srv_take_idle(t, names[i], "");
    dlx_srv_take_harmless(t, "truncation");
}

void dlx_srv_responses_take(dlx_srv_chat_input *input, dlx_srv_plan *plan, dlx_srv_take *t, json_t **echo)
{
    *echo = json_pack("{s:[], s:s, s:b}", "tools", "tool_choice", "auto", "parallel_tool_calls", 1);
    take_input(input, t);
    take_tools(input, t, *echo);
    take_text_format(plan, t, *echo);
    take_scores(plan, t);
    take_refused(t);
}
