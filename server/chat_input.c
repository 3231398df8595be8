/* Messages in OpenAI's form, for templates. */
#include "chat_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"

static dlx_chat_options options_of(const dlx_srv_chat_input *c, bool tools)
{
    return (dlx_chat_options){.struct_size = sizeof(dlx_chat_options),
                              .add_generation_prompt = c->add_generation_prompt,
                              .enable_thinking = c->enable_thinking,
                              .tools = tools ? c->tools : NULL,
                              .template_kwargs = c->kwargs};
}

void dlx_srv_chat_free(dlx_srv_chat_input *c)
{
    free(c->messages);
    free(c->tools);
    free(c->call);
    free(c->kwargs);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static void check_content(dlx_srv_take *t, json_t *message, size_t i, const char *param, bool may_lack)
{
    json_t *content = json_object_get(message, "content");
    size_t k;
    json_t *part;
    char name[96];
    if (json_is_string(content) || ((!content || json_is_null(content)) && may_lack)) return;
    snprintf(name, sizeof name, "%.32s[%zu].content", param, i);
    if (!json_is_array(content)) dlx_srv_take_fail(t, name, "'%s': expected a string, or a list of text parts", name);
    json_array_foreach(content, k, part)
    {
        const char *type = json_string_value(json_object_get(part, "type"));
        snprintf(name, sizeof name, "%.32s[%zu].content[%zu].type", param, i, k);
        if (!type || (strcmp(type, "text") != 0 && strcmp(type, "input_text") != 0 && strcmp(type, "output_text") != 0))
            dlx_srv_take_fail(t, name, "'%s': expected text; this model reads nothing else", name);
        else if (!json_is_string(json_object_get(part, "text")))
            dlx_srv_take_fail(t, name, "%.32s[%zu].content[%zu]: a text part has a string 'text'", param, i, k);
        else
            json_object_set_new(part, "type", json_string("text"));
    }
}

/* Templates expect arguments as an object; OpenAI has their JSON as a string. */
static void open_arguments(json_t *message)
{
    json_t *calls = json_object_get(message, "tool_calls"), *call;
    size_t k;
    json_array_foreach(calls, k, call)
    {
        json_t *function = json_object_get(call, "function");
        const char *text = json_string_value(json_object_get(function, "arguments"));
        json_t *arguments = text ? json_loads(text, 0, NULL) : NULL;
        if (json_is_object(arguments))
            json_object_set_new(function, "arguments", arguments);
        else
            json_decref(arguments);
    }
}

/* Templates pass over roles that they do not know, or write them down: which of the two is seen in the prompt. */
static void note_role(dlx_srv_chat_input *c, const char *role, const char *name)
{
    static const char *const usual[] = {"system", "developer", "user", "assistant", "tool"};
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (!strcmp(role, usual[i])) return;
    if (*c->odd_role) return;
    snprintf(c->odd_role, sizeof c->odd_role, "%s", role);
    snprintf(c->odd_name, sizeof c->odd_name, "%s", name);
}

void dlx_srv_chat_messages(dlx_srv_chat_input *c, dlx_srv_take *t, json_t *messages, const char *param)
{
    size_t i;
    json_t *message;
    char name[64];
    if (!json_array_size(messages)) dlx_srv_take_fail(t, param, "'%s': expected a list of at least one message", param);
    json_array_foreach(messages, i, message)
    {
        const char *role = json_string_value(json_object_get(message, "role"));
        snprintf(name, sizeof name, "%.32s[%zu].role", param, i);
        if (!role || !*role) dlx_srv_take_fail(t, name, "'%s': every message is an object with a role", name);
        if (t->failed) return;
        note_role(c, role, name);
        check_content(t, message, i, param, !strcmp(role, "assistant"));
        if (!strcmp(role, "developer")) json_object_set_new(message, "role", json_string("system"));
        open_arguments(message);
    }
    if (t->failed) return;
    c->messages = json_dumps(messages, JSON_COMPACT);
    if (!c->messages) dlx_srv_take_fail(t, param, "out of memory reading the messages");
    c->n_messages = c->messages ? strlen(c->messages) : 0;
}

/* ---- tools ------------------------------------------------------------------------------------------------------- */

static void check_tools(dlx_srv_take *t, const json_t *tools, const char *path)
{
    size_t i;
    json_t *tool;
    char name[96];
    json_array_foreach(tools, i, tool)
    {
        const char *type = json_string_value(json_object_get(tool, "type"));
        snprintf(name, sizeof name, "tools[%zu]", i);
        if (!type || strcmp(type, "function") != 0 || !json_object_get(json_object_get(tool, "function"), "name"))
            dlx_srv_take_fail(t, name, "'%s': expected {\"type\": \"function\", \"function\": {\"name\": ...}}", name);
        snprintf(name, sizeof name, "tools[%zu]%s", i, path);
        if (!dlx_srv_format_has_arguments(json_object_get(json_object_get(tool, "function"), "parameters")))
            dlx_srv_take_fail(t, name, "'%s': expected a JSON schema of an object", name);
    }
}

/* "required", or the name of a function: chat's form has it one level below. NULL: neither. */
static const char *forced_name(const json_t *choice, bool *forced)
{
    const char *word = json_string_value(choice), *type = json_string_value(json_object_get(choice, "type"));
    const json_t *function = json_object_get(choice, "function");
    const char *name = json_string_value(json_object_get(function ? function : choice, "name"));
    bool named = type && !strcmp(type, "function") && name;
    *forced = named || (word && !strcmp(word, "required"));
    return named ? name : NULL;
}

/* A call that has to come: the answer is bound to its schema. */
static void force_call(dlx_srv_chat_input *c, dlx_srv_take *t, const json_t *tools, const char *name)
{
    json_t *schema = dlx_srv_format_of_calls(tools, name, &c->first_call);
    if (!json_array_size(tools))
        dlx_srv_take_fail(t, "tool_choice", "'tool_choice': there are no 'tools' to call");
    else if (!json_array_size(json_object_get(schema, "anyOf")))
        dlx_srv_take_fail(t, "tool_choice", "'tool_choice': there is no such function among 'tools'");
    c->call = schema ? json_dumps(schema, JSON_COMPACT) : NULL;
    if (!c->call) dlx_srv_take_fail(t, "tools", "out of memory reading the tools");
    json_decref(schema);
}

void dlx_srv_chat_tools(dlx_srv_chat_input *c, dlx_srv_take *t, const json_t *tools, const char *path)
{
    json_t *choice = dlx_srv_take_any(t, "tool_choice");
    const char *word = json_string_value(choice);
    bool several = true, forced;
    const char *name = forced_name(choice, &forced);
    if (choice && !forced && (!word || (strcmp(word, "auto") != 0 && strcmp(word, "none") != 0)))
        dlx_srv_take_fail(t, "tool_choice",
                          "'tool_choice': expected auto, none, required, or one function by its name");
    c->call_path = path;
    check_tools(t, tools, path);
    if (!t->failed && forced) force_call(c, t, tools, name);
    if (!t->failed && json_array_size(tools) && !(word && !strcmp(word, "none"))) {
        c->tools = json_dumps(tools, JSON_COMPACT);
        if (!c->tools) dlx_srv_take_fail(t, "tools", "out of memory reading the tools");
    }
    if (dlx_srv_take_bool(t, "parallel_tool_calls", &several) && !several && c->tools && !forced)
        dlx_srv_take_fail(
            t, "parallel_tool_calls",
            "'parallel_tool_calls': the number of calls is bounded where 'tool_choice' asks for one only");
    json_decref(choice);
}

void dlx_srv_chat_take(dlx_srv_chat_input *c, dlx_srv_take *t)
{
    bool thinking;
    *c = (dlx_srv_chat_input){.add_generation_prompt = true};
    json_t *messages = dlx_srv_take_kind(t, "messages", JSON_ARRAY, "a list of messages");
    dlx_srv_chat_messages(c, t, messages, "messages");
    json_decref(messages);
    json_t *tools = dlx_srv_take_kind(t, "tools", JSON_ARRAY, "a list of functions");
    dlx_srv_chat_tools(c, t, tools, ".function.parameters");
    json_decref(tools);
    json_t *kwargs = dlx_srv_take_kind(t, "chat_template_kwargs", JSON_OBJECT, "an object");
    if (kwargs) c->kwargs = json_dumps(kwargs, JSON_COMPACT);
    if (kwargs && !c->kwargs)
        dlx_srv_take_fail(t, "chat_template_kwargs", "out of memory reading 'chat_template_kwargs'");
    json_decref(kwargs);
    if (dlx_srv_take_bool(t, "enable_thinking", &thinking)) c->enable_thinking = thinking ? 1 : -1;
    dlx_srv_take_bool(t, "add_generation_prompt", &c->add_generation_prompt);
}

/* ---- prompts ----------------------------------------------------------------------------------------------------- */

static bool has_template(dlx_srv_take *t, const dlx_srv_engine *e)
{
    if (t->failed) return false;
    if (!dlx_tokenizer_has_chat_template(e->tokenizer))
        dlx_srv_take_fail(t, "messages", "this model has no chat template; /v1/completions continues a text");
    return !t->failed;
}

bool dlx_srv_chat_render(const dlx_srv_chat_input *c, dlx_srv_take *t, const dlx_srv_engine *e, char **text, size_t *n)
{
    dlx_error err;
    const dlx_chat_options options = options_of(c, true);
    *text = NULL;
    if (!has_template(t, e)) return false;
    if (dlx_chat_render_json(e->tokenizer, c->messages, c->n_messages, &options, text, n, &err) != DLX_OK)
        dlx_srv_take_fail(t, "messages", "%s", err.message);
    else if (*c->odd_role && !strstr(*text, c->odd_role))
        dlx_srv_take_fail(t, c->odd_name, "'%s': the model's chat template has no role '%s'", c->odd_name, c->odd_role);
    if (!t->failed) return true;
    dlx_free(*text);
    *text = NULL;
    return false;
}

/* Whether the template has tools, and calls that look as they are expected. */
static bool check_template_tools(const dlx_srv_chat_input *c, dlx_srv_take *t, const dlx_srv_engine *e,
                                 const char *text)
{
    const dlx_chat_options without = options_of(c, false);
    char *plain;
    dlx_error err;
    if (dlx_chat_render_json(e->tokenizer, c->messages, c->n_messages, &without, &plain, NULL, &err) != DLX_OK) {
        dlx_srv_take_fail(t, "messages", "%s", err.message);
        return false;
    }
    if (!strcmp(plain, text))
        dlx_srv_take_fail(t, "tools", "'tools': the model's chat template does not mention tools");
    else if (!strstr(text, "<tool_call>"))
        dlx_srv_take_fail(t, "tools",
                          "'tools': the model's chat template asks for calls in another form than <tool_call>");
    dlx_free(plain);
    return !t->failed;
}

/* Behind the prompt; words of control tokens become these. */
static bool append_text(dlx_srv_prompt *prompt, dlx_srv_take *t, const dlx_srv_engine *e, const char *text)
{
    int32_t *ids = NULL, *grown = NULL;
    size_t n = 0;
    dlx_error err;
    dlx_status s = dlx_tokenizer_encode(e->tokenizer, text, strlen(text), DLX_ENCODE_SPECIAL, &ids, &n, &err);
    if (s == DLX_OK) grown = realloc(prompt->ids, (prompt->n + n) * sizeof *grown);
    if (grown) {
        memcpy(grown + prompt->n, ids, n * sizeof *ids);
        *prompt = (dlx_srv_prompt){grown, prompt->n + n};
    }
    dlx_free(ids);
    if (!grown) dlx_srv_take_fail(t, "messages", "%s", s == DLX_OK ? "out of memory for the prompt" : err.message);
    return grown;
}

/* What an answer consists of by itself, or what it is bound to: then the prompt ends its reasoning, and begins the call
 * that it has to be. `open`: the prompt begins a reasoning. */
static bool begin_answer(const dlx_srv_chat_input *c, dlx_srv_take *t, const dlx_srv_engine *e, dlx_srv_plan *plan,
                         bool open)
{
    dlx_srv_prompt *prompt = &plan->prompts[plan->n_prompts - 1];
    bool bound = plan->bound || c->call;
    plan->tools = c->tools != NULL;
    plan->begin = bound ? DLX_SRV_BEGIN_CONTENT : open ? DLX_SRV_BEGIN_REASONING : DLX_SRV_BEGIN_ANY;
    if (plan->bound && plan->tools)
        dlx_srv_take_fail(t, plan->bound_param,
                          "'%s': with 'tools', the answer may be a call; give 'tool_choice' none, or leave one out",
                          plan->bound_param);
    if (t->failed || (bound && open && !append_text(prompt, t, e, "</think>\n\n"))) return false;
    if (!c->call) return true;
    plan->begin = DLX_SRV_BEGIN_CALL;
    plan->first_call = c->first_call;
    plan->call_path = c->call_path;
    dlx_srv_format_bind(plan, t, DLX_SRV_SCHEMA, c->call, "tool_choice");
    return !t->failed && append_text(prompt, t, e, "<tool_call>\n");
}

/* A template that begins the reasoning itself ends with its word. */
static bool opens_reasoning(const char *text, size_t n)
{
    while (n && text[n - 1] == '\n') n--;
    return n >= 7 && !memcmp(text + n - 7, "<think>", 7);
}

bool dlx_srv_chat_prompt(const dlx_srv_chat_input *c, dlx_srv_take *t, const dlx_srv_engine *e, dlx_srv_plan *plan,
                         const char *param)
{
    char *text;
    size_t n, n_ids;
    int32_t *ids;
    dlx_error err;
    const dlx_chat_options options = options_of(c, true);
    if (!dlx_srv_chat_render(c, t, e, &text, &n)) return false;
    bool fine = !c->tools || check_template_tools(c, t, e, text), open = opens_reasoning(text, n);
    dlx_free(text);
    if (!fine) return false;
    if (dlx_chat_encode_json(e->tokenizer, c->messages, c->n_messages, &options, &ids, &n_ids, &err) != DLX_OK) {
        dlx_srv_take_fail(t, param, "%s", err.message);
        return false;
    }
    bool added = dlx_srv_plan_add(plan, ids, n_ids);
    dlx_free(ids);
    if (!added) dlx_srv_take_fail(t, param, "out of memory for the prompt");
    return added && begin_answer(c, t, e, plan, open);
}
