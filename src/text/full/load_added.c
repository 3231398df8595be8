/* Added tokens in their three spellings. */
#include <stdlib.h>
#include <string.h>

#include "format/json/json_file.h"
#include "text/full/load.h"

/* A boolean member; `missing` when it is absent. */
static dlx_status read_flag(bool *out, const json_t *token, const char *key, bool missing, const char *content,
                            const char *file, dlx_error *err)
{
    const json_t *value = json_object_get(token, key);
    *out = value ? json_is_true(value) : missing;
    if (value && !json_is_boolean(value))
        return dlx_fail(err, DLX_E_FORMAT, "'%s': \"%s\" of added token '%.60s' must be a boolean, not %s", file, key,
                        content, dlx_json_type_name(value));
    return DLX_OK;
}

/* Text and kind of an added token that is spelled as an object. */
static dlx_status read_token(const char **content, unsigned *kind, const json_t *token, const char *file,
                             dlx_error *err)
{
    static const struct {
        const char *key;
        unsigned kind;
    } flags[] = {{"special", DLX_TOKEN_SPECIAL},
                 {"lstrip", DLX_TOKEN_LSTRIP},
                 {"rstrip", DLX_TOKEN_RSTRIP},
                 {"single_word", DLX_TOKEN_WORD}};
    bool flag;
    *content = json_string_value(json_object_get(token, "content"));
    if (!*content)
        return dlx_fail(
            err, DLX_E_FORMAT, "'%s': an added token must be an object with a string \"content\", not %s", file,
            json_is_object(token) ? dlx_json_type_name(json_object_get(token, "content")) : dlx_json_type_name(token));
    *kind = 0;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        DLX_TRY(read_flag(&flag, token, flags[i].key, false, *content, file, err));
        if (flag) *kind |= flags[i].kind;
    }
    DLX_TRY(read_flag(&flag, token, "normalized", !(*kind & DLX_TOKEN_SPECIAL), *content, file, err));
    if (flag) *kind |= DLX_TOKEN_NORMALIZED;
    return DLX_OK;
}

dlx_status dlx_load_added_tokens(dlx_vocabulary *v, const json_t *list, const char *file, dlx_error *err)
{
    size_t i;
    json_t *token;
    v->file = file;
    if (dlx_json_absent(list)) return DLX_OK;
    if (!json_is_array(list))
        return dlx_fail(err, DLX_E_FORMAT, "'%s': \"added_tokens\" must be an array, not %s", file,
                        dlx_json_type_name(list));
    json_array_foreach((json_t *)list, i, token)
    {
        const char *content;
        unsigned kind;
        DLX_TRY(read_token(&content, &kind, token, file, err));
        const json_t *id = json_object_get(token, "id");
        if (!json_is_integer(id))
            return dlx_fail(err, DLX_E_FORMAT, "'%s': \"id\" of added token '%.60s' must be an integer, not %s", file,
                            content, dlx_json_type_name(id));
        DLX_TRY(dlx_vocabulary_add(v, json_integer_value(id), content, kind, err));
    }
    return DLX_OK;
}

/* Keys of added_tokens_decoder are ids. */
static dlx_status read_id(json_int_t *id, const char *key, const char *file, dlx_error *err)
{
    json_int_t n = 0;
    size_t length = strlen(key);
    bool fine = length > 0 && length <= 9 && (key[0] != '0' || length == 1);
    for (size_t i = 0; fine && i < length; i++) {
        fine = key[i] >= '0' && key[i] <= '9';
        n = n * 10 + (key[i] - '0');
    }
    if (!fine)
        return dlx_fail(err, DLX_E_FORMAT, "'%s': \"added_tokens_decoder\" has the key '%.60s'; ids are expected", file,
                        key);
    *id = n;
    return DLX_OK;
}

dlx_status dlx_load_added_decoder(dlx_vocabulary *v, const json_t *decoder, const char *file, dlx_error *err)
{
    const char *key;
    json_t *token;
    v->file = file;
    if (dlx_json_absent(decoder)) return DLX_OK;
    if (!json_is_object(decoder))
        return dlx_fail(err, DLX_E_FORMAT, "'%s': \"added_tokens_decoder\" must be an object, not %s", file,
                        dlx_json_type_name(decoder));
    json_object_foreach((json_t *)decoder, key, token)
    {
        json_int_t id;
        const char *content;
        unsigned kind;
        DLX_TRY(read_id(&id, key, file, err));
        DLX_TRY(read_token(&content, &kind, token, file, err));
        if (!dlx_vocabulary_has_added(v, id, content)) DLX_TRY(dlx_vocabulary_add(v, id, content, kind, err));
    }
    return DLX_OK;
}

dlx_status dlx_load_added_object(dlx_vocabulary *v, const json_t *object, const json_t *special, const char *file,
                                 dlx_error *err)
{
    const char *content;
    json_t *id;
    v->file = file;
    if (!json_is_object(object))
        return dlx_fail(err, DLX_E_FORMAT, "'%s': must be an object of token texts and ids, not %s", file,
                        dlx_json_type_name(object));
    json_object_foreach((json_t *)object, content, id)
    {
        if (!json_is_integer(id))
            return dlx_fail(err, DLX_E_FORMAT, "'%s': the id of added token '%.60s' must be an integer, not %s", file,
                            content, dlx_json_type_name(id));
        /* What transformers takes where no flags are given. */
        unsigned kind = json_object_get(special, content) ? DLX_TOKEN_SPECIAL : DLX_TOKEN_NORMALIZED;
        if (!dlx_vocabulary_has_added(v, json_integer_value(id), content))
            DLX_TRY(dlx_vocabulary_add(v, json_integer_value(id), content, kind, err));
    }
    return DLX_OK;
}
