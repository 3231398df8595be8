/* Loading the small JSON files of a checkpoint folder, and typed reading of config.json. */
#include "model/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fetched.h"
#include "base/path.h"
#include "base/sizes.h"
#include "format/json/json_file.h"

/* Far above what is published: configurations have a few kilobytes, Qwen's tokenizer.json has 11 megabytes. */
enum { CONFIG_LIMIT = 4 << 20, TOKENIZER_LIMIT = 128 << 20 };

static dlx_status load(json_t **out, const char *folder, const char *name, bool required, dlx_error *err)
{
    char path[4096];
    *out = NULL;
    if (!dlx_path_join(path, sizeof path, folder, name))
        return dlx_fail(err, DLX_E_LIMIT, "the path of '%.200s...' is longer than %zu bytes", folder, sizeof path - 1);
    bool there;
    DLX_TRY(dlx_fetched_file(&there, path, err));
    if (!there) {
        if (!required) return DLX_OK;
        DLX_TRY(dlx_refuse_adapter(folder, err));
        return dlx_fail(err, DLX_E_IO, "'%s' has no %s; a Hugging Face checkpoint folder is expected%s", folder, name,
                        dlx_incomplete_download(folder).s);
    }
    DLX_TRY(dlx_json_load(out, path, strcmp(name, "tokenizer.json") ? CONFIG_LIMIT : TOKENIZER_LIMIT, err));
    if (json_is_object(*out)) return DLX_OK;
    dlx_status s =
        dlx_fail(err, DLX_E_FORMAT, "'%s' holds %s; expected an object of keys", path, dlx_json_type_name(*out));
    json_decref(*out);
    *out = NULL;
    return s;
}

dlx_status dlx_config_load(dlx_config_files *out, const char *folder, dlx_error *err)
{
    memset(out, 0, sizeof *out);
    out->folder = folder;
    dlx_status s = load(&out->config, folder, "config.json", true, err);
    if (s == DLX_OK) s = load(&out->generation, folder, "generation_config.json", false, err);
    if (s == DLX_OK) s = load(&out->added_tokens, folder, "added_tokens.json", false, err);
    if (s == DLX_OK) s = load(&out->tokenizer_config, folder, "tokenizer_config.json", false, err);
    bool named = json_object_size(out->added_tokens) ||
                 json_object_size(json_object_get(out->tokenizer_config, "added_tokens_decoder"));
    if (s == DLX_OK && !named) s = load(&out->tokenizer, folder, "tokenizer.json", false, err);
    if (s != DLX_OK) dlx_config_free(out);
    return s;
}

void dlx_config_free(dlx_config_files *f)
{
    json_decref(f->config);
    json_decref(f->generation);
    json_decref(f->added_tokens);
    json_decref(f->tokenizer_config);
    json_decref(f->tokenizer);
    memset(f, 0, sizeof *f);
}

dlx_config_text dlx_config_found(const json_t *value)
{
    dlx_config_text t;
    if (json_is_object(value) || json_is_array(value) || !value) {
        snprintf(t.s, sizeof t.s, "%s", dlx_json_type_name(value));
    } else if (json_is_string(value)) {
        const char *text = json_string_value(value);
        size_t n = strlen(text), room = sizeof t.s - 6;
        if (n > room) {
            n = room;
            while (n && ((unsigned char)text[n] & 0xC0) == 0x80) n--; /* not inside a character */
        }
        snprintf(t.s, sizeof t.s, "\"%.*s%s\"", (int)n, text, text[n] ? "..." : "");
    } else if (json_is_real(value)) {
        snprintf(t.s, sizeof t.s, "%.17g", json_real_value(value));
        if (strtod(t.s, NULL) != json_real_value(value)) return t;
        char shorter[32];
        snprintf(shorter, sizeof shorter, "%g", json_real_value(value));
        if (strtod(shorter, NULL) == json_real_value(value)) snprintf(t.s, sizeof t.s, "%s", shorter);
    } else if (json_is_integer(value)) {
        snprintf(t.s, sizeof t.s, "%lld", (long long)json_integer_value(value));
    } else {
        snprintf(t.s, sizeof t.s, "%s", json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
    }
    return t;
}

const json_t *dlx_config_value(const dlx_config_files *f, const char *key)
{
    const json_t *v = json_object_get(f->config, key);
    return json_is_null(v) ? NULL : v;
}

static dlx_status missing(const dlx_config_files *f, const char *key, const char *expected, dlx_error *err)
{
    return dlx_fail(err, DLX_E_FORMAT, "'%s/config.json': key '%s' is missing; expected %s", f->folder, key, expected);
}

dlx_status dlx_config_to_int(const dlx_config_files *f, const char *file, const char *key, const json_t *value,
                             int32_t lo, int32_t hi, int32_t *out, dlx_error *err)
{
    double number = json_number_value(value);
    if (!json_is_number(value) || number != (double)(int64_t)(number >= -1e15 && number <= 1e15 ? number : 0.5) ||
        number < lo || number > hi)
        return dlx_fail(err, DLX_E_FORMAT, "'%s/%s': key '%s' is %s; expected an integer from %d to %d", f->folder,
                        file, key, dlx_config_found(value).s, lo, hi);
    *out = (int32_t)number;
    return DLX_OK;
}

dlx_status dlx_config_int_if(const dlx_config_files *f, const char *key, int32_t lo, int32_t hi, int32_t *out,
                             dlx_error *err)
{
    const json_t *v = dlx_config_value(f, key);
    return v ? dlx_config_to_int(f, "config.json", key, v, lo, hi, out, err) : DLX_OK;
}

dlx_status dlx_config_int(const dlx_config_files *f, const char *key, int32_t lo, int32_t hi, int32_t *out,
                          dlx_error *err)
{
    char expected[64];
    snprintf(expected, sizeof expected, "an integer from %d to %d", lo, hi);
    if (!dlx_config_value(f, key)) return missing(f, key, expected, err);
    return dlx_config_int_if(f, key, lo, hi, out, err);
}

dlx_status dlx_config_real(const dlx_config_files *f, const char *key, double lo, double hi, double *out,
                           dlx_error *err)
{
    const json_t *v = dlx_config_value(f, key);
    char expected[64];
    snprintf(expected, sizeof expected, "a number from %g to %g", lo, hi);
    if (!v) return missing(f, key, expected, err);
    double number = json_number_value(v);
    if (!json_is_number(v) || !(number >= lo && number <= hi))
        return dlx_fail(err, DLX_E_FORMAT, "'%s/config.json': key '%s' is %s; expected %s", f->folder, key,
                        dlx_config_found(v).s, expected);
    *out = number;
    return DLX_OK;
}

dlx_status dlx_config_bool_if(const dlx_config_files *f, const char *key, bool *out, dlx_error *err)
{
    const json_t *v = dlx_config_value(f, key);
    if (!v) return DLX_OK;
    if (!json_is_boolean(v))
        return dlx_fail(err, DLX_E_FORMAT, "'%s/config.json': key '%s' is %s; expected true or false", f->folder, key,
                        dlx_config_found(v).s);
    *out = json_is_true(v);
    return DLX_OK;
}

static bool says(const json_t *v, const char *only)
{
    if (!strcmp(only, "null")) return json_is_null(v);
    if (!strcmp(only, "true")) return json_is_true(v);
    if (!strcmp(only, "false")) return json_is_false(v);
    if (*only >= '0' && *only <= '9') return json_is_number(v) && json_number_value(v) == strtod(only, NULL);
    return json_is_string(v) && !strcmp(json_string_value(v), only);
}

dlx_status dlx_config_check(const dlx_config_files *f, const dlx_config_rule *rules, size_t n, dlx_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *v = dlx_config_value(f, rules[i].key);
        if (!v && rules[i].required) return missing(f, rules[i].key, rules[i].only, err);
        if (v && !says(v, rules[i].only))
            return dlx_fail(err, DLX_E_UNSUPPORTED, "'%s/config.json': key '%s' is %s; only %s is supported", f->folder,
                            rules[i].key, dlx_config_found(v).s, rules[i].only);
    }
    return DLX_OK;
}

/* ---- added tokens ----------------------------------------------------------------------------------------------- */

/* Takes in that `file` gives the token this id. */
static dlx_status meet(const dlx_config_files *f, const char *file, const char *content, const json_t *value,
                       int32_t vocab_size, int32_t *id, dlx_error *err)
{
    int32_t found;
    DLX_TRY(dlx_config_to_int(f, file, content, value, 0, vocab_size - 1, &found, err));
    if (*id >= 0 && *id != found)
        return dlx_fail(err, DLX_E_FORMAT, "'%s': token '%s' has id %d in %s and id %d in another tokenizer file",
                        f->folder, content, found, file, *id);
    *id = found;
    return DLX_OK;
}

static bool content_is(const json_t *entry, const char *content)
{
    const char *s = json_string_value(json_object_get(entry, "content"));
    return s && !strcmp(s, content);
}

dlx_status dlx_config_token(const dlx_config_files *f, const char *content, int32_t vocab_size, int32_t *id,
                            dlx_error *err)
{
    json_t *decoder = json_object_get(f->tokenizer_config, "added_tokens_decoder"),
           *list = json_object_get(f->tokenizer, "added_tokens"), *entry;
    const char *key;
    size_t i;
    *id = -1;
    const json_t *listed = json_object_get(f->added_tokens, content);
    if (listed) DLX_TRY(meet(f, "added_tokens.json", content, listed, vocab_size, id, err));
    json_object_foreach(decoder, key, entry)
    {
        if (!content_is(entry, content)) continue;
        char *end;
        long number = strtol(key, &end, 10);
        if (*end || end == key || number < 0 || number > INT32_MAX) number = -1;
        json_t *value = json_integer(number);
        dlx_status s = value ? meet(f, "tokenizer_config.json", content, value, vocab_size, id, err)
                             : dlx_fail(err, DLX_E_NOMEM, "out of memory reading '%s'", f->folder);
        json_decref(value);
        DLX_TRY(s);
    }
    json_array_foreach(list, i, entry)
    {
        if (content_is(entry, content))
            DLX_TRY(meet(f, "tokenizer.json", content, json_object_get(entry, "id"), vocab_size, id, err));
    }
    return DLX_OK;
}

const char *dlx_config_token_name(const dlx_config_files *f, int32_t id)
{
    char key[16];
    const char *content;
    json_t *value;
    size_t i;
    snprintf(key, sizeof key, "%d", id);
    content = json_string_value(
        json_object_get(json_object_get(json_object_get(f->tokenizer_config, "added_tokens_decoder"), key), "content"));
    if (content) return content;
    json_object_foreach(f->added_tokens, content, value)
    {
        if (json_is_integer(value) && json_integer_value(value) == id) return content;
    }
    json_array_foreach(json_object_get(f->tokenizer, "added_tokens"), i, value)
    {
        const json_t *number = json_object_get(value, "id");
        if (json_is_integer(number) && json_integer_value(number) == id)
            return json_string_value(json_object_get(value, "content"));
    }
    return NULL;
}
