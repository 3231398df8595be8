/*
 * The chat templates of a checkpoint folder and what they see of its tokenizer, as `transformers` takes them:
 *
 *   chat_template.jinja                   the default template; it counts more than those of tokenizer_config.json
 *   additional_chat_templates/NAME.jinja  named ones beside it, of which "tool_use" is asked for by tools
 *   tokenizer_config.json                 "chat_template": a text, or a list of objects with "name" and "template"
 *
 * A template sees the named special tokens: the keys of tokenizer_config.json that end with "_token". Those of
 * special_tokens_map.json count where tokenizer_config.json is of the kind without "added_tokens_decoder", and then
 * more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fetched.h"
#include "base/io.h"
#include "format/json/json_file.h"
#include "text/buffer.h"
#include "text/full/load.h"
#include "text/jinja/jinja.h"

enum { MAX_TEMPLATE = DLX_JINJA_MAX_TEXT, MAX_PATH_BYTES = 4096 };

typedef struct chat_loader {
    dlx_tokenizer *t;
    const char *folder;
    const json_t *config; /* tokenizer_config.json, or NULL */
    const char *config_file;
    dlx_error *err;
} chat_loader;

static dlx_status compile(dlx_jinja **out, const char *text, size_t n, const char *file, dlx_error *err)
{
    dlx_status status = dlx_jinja_compile(out, text, n, err);
    return status == DLX_OK ? DLX_OK : dlx_fail_prefix(err, status, "'%s'", file);
}

/* A pipe is taken from whoever names one, but does not stand for a file of the folder. */
static dlx_status compile_file(dlx_jinja **out, const char *path, bool of_folder, dlx_error *err)
{
    char *text;
    size_t n;
    DLX_TRY(of_folder ? dlx_read_file(&text, &n, path, MAX_TEMPLATE, err)
                      : dlx_read_text(&text, &n, path, MAX_TEMPLATE, err));
    dlx_status status = dlx_check_fetched(text, n, path, err);
    if (status == DLX_OK) status = dlx_refuse_utf16(text, n, path, err);
    if (status == DLX_OK) status = compile(out, text, n, path, err);
    free(text);
    return status;
}

/* Path of a file of the folder, in `out`, and whether it is there. */
static dlx_status find_file(const chat_loader *l, char out[MAX_PATH_BYTES], const char *prefix, const char *name,
                            const char *suffix, bool *there)
{
    int n = snprintf(out, MAX_PATH_BYTES, "%s/%s%s%s", l->folder, prefix, name, suffix);
    *there = false;
    return n > 0 && n < MAX_PATH_BYTES ? dlx_fetched_file(there, out, l->err) : DLX_OK;
}

/* ---- templates ----------------------------------------------------------------------------------------------------
 */

static dlx_status check_config(const chat_loader *l, const json_t *value)
{
    bool fine = dlx_json_absent(value) || json_is_string(value) || json_is_array(value);
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)value, i, entry)
    {
        fine = fine && json_is_string(json_object_get(entry, "name")) &&
               json_is_string(json_object_get(entry, "template"));
    }
    if (fine) return DLX_OK;
    return dlx_fail(l->err, DLX_E_FORMAT,
                    "'%s': \"chat_template\" must be a string or an array of objects with \"name\" and \"template\", "
                    "not %s",
                    l->config_file, dlx_json_type_name(value));
}

/* A named template of tokenizer_config.json; *out stays NULL when there is none of this name. */
static dlx_status compile_config(const chat_loader *l, const char *name, dlx_jinja **out)
{
    const json_t *value = json_object_get(l->config, "chat_template"), *text = NULL;
    size_t i;
    json_t *entry;
    if (json_is_string(value) && strcmp(name, "default") == 0) text = value;
    json_array_foreach((json_t *)value, i, entry)
    {
        if (strcmp(json_string_value(json_object_get(entry, "name")), name) == 0)
            text = json_object_get(entry, "template");
    }
    return text ? compile(out, json_string_value(text), json_string_length(text), l->config_file, l->err) : DLX_OK;
}

/* The folder's template of this name; *out stays NULL when there is none. */
static dlx_status compile_named(const chat_loader *l, const char *name, dlx_jinja **out)
{
    char path[MAX_PATH_BYTES];
    bool fine = *name && !strchr(name, '/'), has_default, has_named = false;
    DLX_TRY(find_file(l, path, "", "chat_template", ".jinja", &has_default));
    if (has_default && strcmp(name, "default") == 0) return compile_file(out, path, true, l->err);
    if (fine) DLX_TRY(find_file(l, path, "additional_chat_templates/", name, ".jinja", &has_named));
    if (has_named) return compile_file(out, path, true, l->err);
    return has_default ? DLX_OK : compile_config(l, name, out); /* a file replaces all that the configuration has */
}

/* The template that the caller wants: "none", one of the folder's by name, or a file. */
static dlx_status read_wanted(const chat_loader *l, const char *wanted)
{
    if (strcmp(wanted, "none") == 0) return DLX_OK;
    DLX_TRY(compile_named(l, wanted, &l->t->chat));
    if (l->t->chat) return DLX_OK;
    if (dlx_exists(wanted) && !dlx_is_folder(wanted)) return compile_file(&l->t->chat, wanted, false, l->err);
    return dlx_fail(l->err, DLX_E_INVALID,
                    "chat template '%s': is neither \"none\" nor a file, and '%s' has no template of this name", wanted,
                    l->folder);
}

static dlx_status no_memory(const chat_loader *l)
{
    return dlx_fail(l->err, DLX_E_NOMEM, "out of memory for the special tokens of '%s'", l->folder);
}

/* ---- variables ----------------------------------------------------------------------------------------------------
 */

/* A special token's text: a string or an object with "content"; NULL for anything else. */
static const json_t *token_text(const json_t *value)
{
    const json_t *text = json_is_object(value) ? json_object_get(value, "content") : value;
    return json_is_string(text) ? text : NULL;
}

/* Adds the named tokens of one file that are not there yet. */
static dlx_status add_tokens(const chat_loader *l, json_t *variables, const json_t *object, const char *file)
{
    static const char *const standard[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                           "pad_token", "cls_token", "mask_token"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        size_t n = strlen(key);
        const json_t *text = token_text(value);
        for (size_t i = 0; i < sizeof standard / sizeof standard[0]; i++)
            if (!text && !json_is_null(value) && strcmp(key, standard[i]) == 0)
                return dlx_fail(l->err, DLX_E_FORMAT,
                                "'%s': \"%s\" must be a string or an object with \"content\", not %s", file, key,
                                dlx_json_type_name(value));
        if (!text || n <= 6 || strcmp(key + n - 6, "_token") != 0 || json_object_get(variables, key)) continue;
        if (json_object_set(variables, key, (json_t *)text) != 0) return no_memory(l);
    }
    return DLX_OK;
}

static int add_text(const char *text, size_t n, void *buffer)
{
    dlx_buffer *b = buffer;
    dlx_buffer_add(b, text, n);
    return b->failed ? -1 : 0;
}

static dlx_status write_variables(const chat_loader *l, const json_t *variables)
{
    dlx_buffer b = {0};
    char *kept = NULL;
    if (json_dump_callback(variables, add_text, &b, JSON_COMPACT | JSON_SORT_KEYS) == 0 && !b.failed)
        kept = dlx_arena_strndup(&l->t->arena, b.data, b.n);
    l->t->variables = kept;
    l->t->n_variables = kept ? (uint32_t)b.n : 0;
    dlx_buffer_free(&b);
    return kept ? DLX_OK : no_memory(l);
}

static dlx_status read_variables(const chat_loader *l, const json_t *map, const char *map_file)
{
    json_t *variables = json_object();
    bool old = !json_object_get(l->config, "added_tokens_decoder");
    dlx_status status = variables ? DLX_OK : no_memory(l);
    if (status == DLX_OK && old) status = add_tokens(l, variables, map, map_file);
    if (status == DLX_OK) status = add_tokens(l, variables, l->config, l->config_file);
    if (status == DLX_OK) status = write_variables(l, variables);
    json_decref(variables);
    return status;
}

dlx_status dlx_load_chat(dlx_tokenizer *t, const char *folder, const char *wanted, const json_t *config,
                         const char *config_file, const json_t *map, const char *map_file, dlx_error *err)
{
    chat_loader l = {.t = t, .folder = folder, .config = config, .config_file = config_file, .err = err};
    DLX_TRY(check_config(&l, json_object_get(config, "chat_template")));
    if (wanted)
        DLX_TRY(read_wanted(&l, wanted));
    else
        DLX_TRY(compile_named(&l, "default", &t->chat));
    if (!wanted) DLX_TRY(compile_named(&l, "tool_use", &t->chat_tools));
    return read_variables(&l, map, map_file);
}
