/* Names of formats, and the one text that each becomes. */
#include "format.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "limits.h"

void dlx_srv_format_bind(dlx_srv_plan *p, dlx_srv_take *t, dlx_srv_language language, const char *text,
                         const char *param)
{
    if (p->bound)
        dlx_srv_take_fail(t, param, "'%s': the answer is bound by '%s' already, and one of them can be", param,
                          p->bound_param);
    if (t->failed) return;
    p->bound = strdup(text);
    p->language = language;
    snprintf(p->bound_param, sizeof p->bound_param, "%s", param);
    if (!p->bound) dlx_srv_take_fail(t, param, "out of memory reading '%s'", param);
}

/* ---- schemas ----------------------------------------------------------------------------------------------------- */

/* An object, or its text. */
static void bind_schema(dlx_srv_plan *p, dlx_srv_take *t, const json_t *schema, const char *param)
{
    json_error_t error;
    json_t *read = json_is_string(schema) ? json_loads(json_string_value(schema), JSON_DECODE_ANY, &error) : NULL;
    const json_t *value = read ? read : schema;
    char *text = NULL;
    if (json_is_object(value) || json_is_boolean(value)) text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text)
        dlx_srv_format_bind(p, t, DLX_SRV_SCHEMA, text, param);
    else if (json_is_string(schema) && !read)
        dlx_srv_take_fail(t, param, "'%s' is not JSON: line %d, column %d: %s", param, error.line, error.column,
                          error.text);
    else
        dlx_srv_take_fail(t, param, "'%s': expected a JSON schema, an object or its text", param);
    free(text);
    json_decref(read);
}

void dlx_srv_format_take_object(dlx_srv_plan *p, dlx_srv_take *t, const json_t *format, const char *within,
                                const char *param)
{
    const char *type = json_string_value(json_object_get(format, "type"));
    const json_t *holder = within ? json_object_get(format, within) : format,
                 *schema = json_object_get(holder, "schema");
    char name[64];
    if (!format || t->failed || (type && !strcmp(type, "text"))) return;
    snprintf(name, sizeof name, "%s%s%s.schema", param, within ? "." : "", within ? within : "");
    if (type && !strcmp(type, "json_schema") && schema) {
        bind_schema(p, t, schema, name);
    } else if (type && !strcmp(type, "json_schema")) {
        dlx_srv_take_fail(t, name, "'%s': a format of this type needs a JSON schema there", name);
    } else if (type && !strcmp(type, "json_object")) {
        /* llama.cpp takes a schema here as well. */
        const json_t *own = json_object_get(format, "schema");
        if (own)
            bind_schema(p, t, own, param);
        else
            dlx_srv_format_bind(p, t, DLX_SRV_SCHEMA, "{\"type\":\"object\"}", param);
    } else {
        dlx_srv_take_fail(t, param, "'%s': expected the type text, json_object or json_schema", param);
    }
}

/* ---- the other names --------------------------------------------------------------------------------------------- */

static void bind_text(dlx_srv_plan *p, dlx_srv_take *t, dlx_srv_language language, const json_t *value,
                      const char *param)
{
    if (json_is_string(value))
        dlx_srv_format_bind(p, t, language, json_string_value(value), param);
    else
        dlx_srv_take_fail(t, param, "'%s': expected a string", param);
}

/* One of some texts: a regular expression of them as they stand. */
static void bind_choice(dlx_srv_plan *p, dlx_srv_take *t, const json_t *list, const char *param)
{
    size_t n = json_array_size(list), room = 1, at = 0;
    for (size_t i = 0; i < n; i++) room += 2 * json_string_length(json_array_get(list, i)) + 1;
    char *regex = n && n <= DLX_SRV_MOST_CHOICE_WORDS ? malloc(room) : NULL;
    if (!regex)
        dlx_srv_take_fail(t, param, "'%s': expected a list of 1 to %d strings", param, DLX_SRV_MOST_CHOICE_WORDS);
    for (size_t i = 0; !t->failed && i < n; i++) {
        const char *word = json_string_value(json_array_get(list, i));
        if (!word) dlx_srv_take_fail(t, param, "'%s': expected a list of strings", param);
        if (i) regex[at++] = '|';
        for (; word && *word; word++) {
            if (ispunct((unsigned char)*word)) regex[at++] = '\\';
            regex[at++] = *word;
        }
    }
    if (!t->failed) {
        regex[at] = '\0';
        dlx_srv_format_bind(p, t, DLX_SRV_REGEX, regex, param);
    }
    free(regex);
}

typedef enum meaning { SCHEMA, REGEX, GRAMMAR, CHOICE, ANY_OBJECT } meaning;

static void bind_value(dlx_srv_plan *p, dlx_srv_take *t, meaning what, const json_t *value, const char *param)
{
    switch (what) {
    case SCHEMA: bind_schema(p, t, value, param); break;
    case REGEX: bind_text(p, t, DLX_SRV_REGEX, value, param); break;
    case GRAMMAR: bind_text(p, t, DLX_SRV_GRAMMAR, value, param); break;
    case CHOICE: bind_choice(p, t, value, param); break;
    case ANY_OBJECT:
        if (json_is_true(value)) dlx_srv_format_bind(p, t, DLX_SRV_SCHEMA, "{\"type\":\"object\"}", param);
        break;
    }
}

static const struct {
    const char *name, *inside; /* of the request, of structured_outputs */
    meaning what;
} names[] = {
    {"json_schema", NULL, SCHEMA},       {"guided_json", "json", SCHEMA},   {"regex", NULL, REGEX},
    {"guided_regex", "regex", REGEX},    {"grammar", NULL, GRAMMAR},        {"guided_grammar", "grammar", GRAMMAR},
    {"guided_choice", "choice", CHOICE}, {NULL, "json_object", ANY_OBJECT},
};
enum { N_NAMES = sizeof names / sizeof *names };

/* vLLM's newer form: the same, one level below. */
static void take_structured(dlx_srv_plan *p, dlx_srv_take *t)
{
    json_t *object = dlx_srv_take_kind(t, "structured_outputs", JSON_OBJECT, "an object"), *value;
    const char *name;
    char param[96];
    json_object_foreach(object, name, value)
    {
        size_t i = 0;
        if (json_is_null(value) || json_is_false(value)) continue;
        while (i < N_NAMES && (!names[i].inside || strcmp(names[i].inside, name) != 0)) i++;
        snprintf(param, sizeof param, "structured_outputs.%.64s", name);
        if (i < N_NAMES)
            bind_value(p, t, names[i].what, value, param);
        else
            dlx_srv_take_fail(t, param, "'%s' is not supported", param);
    }
    json_decref(object);
}

void dlx_srv_format_take(dlx_srv_plan *p, dlx_srv_take *t)
{
    json_t *format = dlx_srv_take_kind(t, "response_format", JSON_OBJECT, "an object");
    dlx_srv_format_take_object(p, t, format, "json_schema", "response_format");
    json_decref(format);
    for (size_t i = 0; i < N_NAMES; i++) {
        json_t *value = names[i].name ? dlx_srv_take_any(t, names[i].name) : NULL;
        if (value) bind_value(p, t, names[i].what, value, names[i].name);
        json_decref(value);
    }
    take_structured(p, t);
    dlx_srv_take_harmless(t, "guided_decoding_backend");
}

/* ---- calls of tools ---------------------------------------------------------------------------------------------- */

static bool is_one_of(const char *const *words, const char *name)
{
    while (*words && strcmp(*words, name) != 0) words++;
    return *words;
}

/* References of a schema lead from its root on, which lies deeper now. `named`: an object of schemas by name. Values
 * are no schemas. */
static void move_references(json_t *schema, bool named, const char *root)
{
    static const char *const values[] = {"const", "enum", "default", "examples", NULL};
    static const char *const by_name[] = {"properties", "$defs", "definitions", NULL};
    const char *ref = named ? NULL : json_string_value(json_object_get(schema, "$ref")), *name;
    json_t *member;
    size_t i;
    json_object_foreach(schema, name, member) if (named || !is_one_of(values, name))
        move_references(member, !named && is_one_of(by_name, name), root);
    json_array_foreach(schema, i, member) move_references(member, false, root);
    if (ref && ref[0] == '#') json_object_set_new(schema, "$ref", json_sprintf("#%s%s", root, ref + 1));
}

/* Arguments are an object, whether their schema says so or not. */
static json_t *arguments_of(const json_t *given)
{
    if (!given || json_is_null(given))
        return json_pack("{s:s, s:{}, s:b}", "type", "object", "properties", "additionalProperties", 0);
    json_t *schema = json_is_object(given) ? json_deep_copy(given) : json_object();
    json_object_set_new(schema, "type", json_string("object"));
    return schema;
}

bool dlx_srv_format_has_arguments(const json_t *given)
{
    const json_t *type = json_object_get(given, "type"), *one;
    bool object = !type;
    size_t i;
    if (!given || json_is_null(given) || json_is_true(given)) return true;
    if (json_is_string(type)) object = !strcmp(json_string_value(type), "object");
    json_array_foreach(type, i, one) object =
        object || (json_is_string(one) && !strcmp(json_string_value(one), "object"));
    return json_is_object(given) && object;
}

void dlx_srv_format_tell(dlx_srv_plan *p, dlx_error *err)
{
    static const char outside[] = "#/anyOf/", inside[] = "/properties/arguments";
    char *at = p->call_path ? strstr(err->message, outside) : NULL, *end;
    if (!at) return;
    size_t call = strtoul(at + sizeof outside - 1, &end, 10);
    if (strncmp(end, inside, sizeof inside - 1) != 0) return;
    end += sizeof inside - 1;
    memmove(at + 1, end, strlen(end) + 1);
    snprintf(p->bound_param, sizeof p->bound_param, "tools[%zu]%s", p->first_call + call, p->call_path);
}

static json_t *call_of(const json_t *function, const char *root)
{
    json_t *parameters = arguments_of(json_object_get(function, "parameters"));
    move_references(parameters, false, root);
    return json_pack("{s:s, s:{s:{s:O}, s:o}, s:[s,s], s:b}", "type", "object", "properties", "name", "const",
                     json_object_get(function, "name"), "arguments", parameters, "required", "name", "arguments",
                     "additionalProperties", 0);
}

json_t *dlx_srv_format_of_calls(const json_t *tools, const char *name, size_t *first)
{
    json_t *calls = json_array(), *tool;
    char root[64];
    size_t i;
    *first = 0;
    json_array_foreach(tools, i, tool)
    {
        const json_t *function = json_object_get(tool, "function");
        const char *own = json_string_value(json_object_get(function, "name"));
        if (name && (!own || strcmp(own, name) != 0)) continue;
        if (!json_array_size(calls)) *first = i;
        snprintf(root, sizeof root, "/anyOf/%zu/properties/arguments", json_array_size(calls));
        json_array_append_new(calls, call_of(function, root));
    }
    return json_pack("{s:o}", "anyOf", calls);
}
