#include "text/full/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "format/json/json_file.h"
#include "text/bytelevel.h"

static dlx_status out_of_memory(const dlx_vocabulary *v, dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory reading '%s'", v->file);
}

dlx_status dlx_vocabulary_set(dlx_vocabulary *v, dlx_tokenizer *t, json_t *entries, const char *file, dlx_error *err)
{
    const char *text;
    json_t *id;
    memset(v, 0, sizeof *v);
    v->tokenizer = t;
    v->file = file;
    v->entries = entries;
    if (!json_is_object(entries))
        return dlx_fail(err, DLX_E_FORMAT, "'%s': the vocabulary must be an object of token texts and ids, not %s",
                        file, dlx_json_type_name(entries));
    json_object_foreach(entries, text, id)
    {
        json_int_t n = json_integer_value(id);
        if (!json_is_integer(id) || n < 0 || n >= DLX_MAX_TOKENS)
            return dlx_fail(err, DLX_E_FORMAT, "'%s': the id of vocabulary entry '%.60s' must be 0 to %d", file, text,
                            DLX_MAX_TOKENS - 1);
        if (n >= v->size) v->size = (uint32_t)n + 1;
    }
    return DLX_OK;
}

/* Notes id and text of the added token that will stand at v->added[v->n_added]. */
static dlx_status note_added(dlx_vocabulary *v, uint32_t id, const char *content, dlx_error *err)
{
    uint8_t bit = (uint8_t)(1u << (id & 7));
    if (!v->added_ids) v->added_ids = calloc(DLX_MAX_TOKENS / 8, 1);
    if (!v->added_place) v->added_place = json_object();
    if (!v->added_ids || !v->added_place) return out_of_memory(v, err);
    if (v->added_ids[id >> 3] & bit)
        return dlx_fail(err, DLX_E_FORMAT, "'%s': added token '%.60s' has id %u, which another added token has as well",
                        v->file, content, id);
    if (json_object_get(v->added_place, content))
        return dlx_fail(err, DLX_E_FORMAT, "'%s': added token '%.60s' is there twice, with ids %d and %u", v->file,
                        content, (int)dlx_vocabulary_added_id(v, content), id);
    if (json_object_set_new(v->added_place, content, json_integer((json_int_t)v->n_added)) != 0)
        return out_of_memory(v, err);
    v->added_ids[id >> 3] |= bit;
    return DLX_OK;
}

dlx_status dlx_vocabulary_add(dlx_vocabulary *v, json_int_t id, const char *content, unsigned kind, dlx_error *err)
{
    size_t n = strlen(content);
    if (id < 0 || id >= DLX_MAX_TOKENS)
        return dlx_fail(err, DLX_E_FORMAT, "'%s': added token '%.60s' has id %lld; it must be 0 to %d", v->file,
                        content, (long long)id, DLX_MAX_TOKENS - 1);
    if (n == 0 || n > DLX_MAX_ADDED_BYTES)
        return dlx_fail(err, DLX_E_UNSUPPORTED, "'%s': added token %d has %zu bytes of text; 1 to %d are supported",
                        v->file, (int)id, n, DLX_MAX_ADDED_BYTES);
    char *copy = dlx_arena_strndup(&v->tokenizer->arena, content, n);
    if (!copy || dlx_grow(&v->added, &v->added_capacity, v->n_added + 1, sizeof *v->added) != 0 ||
        dlx_grow(&v->added_kind, &v->kind_capacity, v->n_added + 1, 1) != 0)
        return out_of_memory(v, err);
    DLX_TRY(note_added(v, (uint32_t)id, content, err));
    v->added[v->n_added] = (dlx_added_token){.id = (uint32_t)id, .length = (uint32_t)n, .text = copy};
    v->added_kind[v->n_added++] = (uint8_t)(kind | DLX_TOKEN_ADDED);
    if (id >= v->size) v->size = (uint32_t)id + 1;
    return DLX_OK;
}

bool dlx_vocabulary_has_added(const dlx_vocabulary *v, json_int_t id, const char *content)
{
    bool has_id = v->added_ids && id >= 0 && id < DLX_MAX_TOKENS && v->added_ids[id >> 3] >> (id & 7) & 1;
    return has_id || dlx_vocabulary_added_id(v, content) >= 0;
}

int32_t dlx_vocabulary_added_id(const dlx_vocabulary *v, const char *content)
{
    json_t *place = json_object_get(v->added_place, content);
    return place ? (int32_t)v->added[json_integer_value(place)].id : -1;
}

static int32_t entry_id(const dlx_vocabulary *v, const char *text)
{
    json_t *id = json_object_get(v->entries, text);
    return id ? (int32_t)json_integer_value(id) : -1;
}

int32_t dlx_vocabulary_find(const dlx_vocabulary *v, const char *content)
{
    int32_t id = dlx_vocabulary_added_id(v, content);
    return id >= 0 ? id : entry_id(v, content);
}

dlx_status dlx_vocabulary_merge(dlx_vocabulary *v, const char *left, const char *right, dlx_error *err)
{
    v->whole.n = 0;
    dlx_buffer_add_string(&v->whole, left);
    dlx_buffer_add_string(&v->whole, right);
    dlx_buffer_add(&v->whole, "", 1);
    if (v->whole.failed || dlx_grow(&v->merges, &v->merges_capacity, v->n_merges + 1, sizeof *v->merges) != 0)
        return out_of_memory(v, err);
    if (v->n_merges >= DLX_MAX_MERGES)
        return dlx_fail(err, DLX_E_UNSUPPORTED, "'%s' has more than %d merges", v->file, DLX_MAX_MERGES);
    const char *const texts[3] = {left, right, v->whole.data};
    int32_t ids[3];
    for (int i = 0; i < 3; i++) {
        ids[i] = entry_id(v, texts[i]);
        if (ids[i] < 0)
            return dlx_fail(err, DLX_E_FORMAT,
                            "'%s': merge %zu ('%.60s' and '%.60s') needs token '%.120s', which is not in "
                            "the vocabulary",
                            v->file, v->n_merges, left, right, texts[i]);
    }
    v->merges[v->n_merges++] = (dlx_merge){(uint32_t)ids[0], (uint32_t)ids[1], (uint32_t)ids[2]};
    return DLX_OK;
}

/* texts[id] of all ids; kind[id] likewise. */
static dlx_status collect(const dlx_vocabulary *v, const char **texts, uint8_t *kind, dlx_error *err)
{
    const char *text;
    json_t *value;
    json_object_foreach(v->entries, text, value)
    {
        json_int_t id = json_integer_value(value);
        if (kind[id])
            return dlx_fail(err, DLX_E_FORMAT, "'%s': vocabulary entries '%.60s' and '%.60s' share id %d", v->file,
                            texts[id], text, (int)id);
        texts[id] = text;
        kind[id] = DLX_TOKEN_MODEL;
    }
    for (size_t i = 0; i < v->n_added; i++) {
        const dlx_added_token *a = &v->added[i];
        int32_t entry = entry_id(v, a->text);
        if ((entry >= 0 && (uint32_t)entry != a->id) || (kind[a->id] && strcmp(texts[a->id], a->text) != 0))
            return dlx_fail(err, DLX_E_FORMAT, "'%s': added token '%.60s' has id %u, which the vocabulary contradicts",
                            v->file, a->text, a->id);
        texts[a->id] = a->text;
        kind[a->id] |= v->added_kind[i];
    }
    return DLX_OK;
}

/* Spells out the bytes of every token and finds those of single bytes. */
static dlx_status spell(dlx_vocabulary *v, const char *const *texts, uint8_t *kind, dlx_error *err)
{
    dlx_tokenizer *t = v->tokenizer;
    size_t room = 0, used = 0;
    for (uint32_t id = 0; id < v->size; id++) room += texts[id] ? strlen(texts[id]) : 0;
    uint32_t *offset = dlx_arena_array(&t->arena, (size_t)v->size + 1, sizeof *offset);
    uint8_t *bytes = dlx_arena_array(&t->arena, room, 1);
    if (!offset || !bytes) return out_of_memory(v, err);
    if (room > UINT32_MAX) return dlx_fail(err, DLX_E_UNSUPPORTED, "'%s': the vocabulary has more than 4 GB", v->file);
    memset(t->byte_id, 0xFF, sizeof t->byte_id);
    for (uint32_t id = 0; id < v->size; id++) {
        bool spelled = false;
        size_t n = texts[id] ? dlx_bytelevel_decode(bytes + used, texts[id], strlen(texts[id]), &spelled) : 0;
        if (n > DLX_MAX_TOKEN_BYTES)
            return dlx_fail(err, DLX_E_UNSUPPORTED, "'%s': token %u has %zu bytes; at most %d are supported", v->file,
                            id, n, DLX_MAX_TOKEN_BYTES);
        if (n == 1 && spelled && kind[id] & DLX_TOKEN_MODEL) t->byte_id[bytes[used]] = id;
        if (t->ignore_merges && !spelled && kind[id] & DLX_TOKEN_MODEL) kind[id] |= DLX_TOKEN_LITERAL;
        used += n;
        offset[id + 1] = (uint32_t)used;
    }
    t->offset = offset;
    t->bytes = bytes;
    return DLX_OK;
}

dlx_status dlx_vocabulary_build(dlx_vocabulary *v, dlx_error *err)
{
    dlx_tokenizer *t = v->tokenizer;
    if (v->size == 0) return dlx_fail(err, DLX_E_FORMAT, "'%s': the vocabulary is empty", v->file);
    const char **texts = calloc(v->size, sizeof *texts);
    uint8_t *kind = dlx_arena_array(&t->arena, v->size, 1);
    dlx_merge *merges = dlx_arena_array(&t->arena, v->n_merges, sizeof *merges);
    dlx_added_token *added = dlx_arena_array(&t->arena, v->n_added, sizeof *added);
    dlx_status status = texts && kind && merges && added ? DLX_OK : out_of_memory(v, err);
    if (status == DLX_OK) status = collect(v, texts, kind, err);
    if (status == DLX_OK) status = spell(v, texts, kind, err);
    free(texts);
    if (status != DLX_OK) return status;
    if (v->n_merges) memcpy(merges, v->merges, v->n_merges * sizeof *merges);
    if (v->n_added) memcpy(added, v->added, v->n_added * sizeof *added);
    t->size = v->size;
    t->kind = kind;
    t->merges = merges;
    t->n_merges = (uint32_t)v->n_merges;
    t->added = added;
    t->n_added = (uint32_t)v->n_added;
    return DLX_OK;
}

void dlx_vocabulary_free(dlx_vocabulary *v)
{
    free(v->added);
    free(v->added_kind);
    free(v->added_ids);
    json_decref(v->added_place);
    free(v->merges);
    dlx_buffer_free(&v->whole);
    memset(v, 0, sizeof *v);
}
