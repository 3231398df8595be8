/*
 * Weight files and their binding. Tensors of all files are sorted by name once; every role looks its tensor up, and
 * what no role took is an error, except buffers that can be computed.
 *
 * lm_head: when config.json says that the embedding is the head, it is, and a head tensor in the file is not read:
 * transformers ties the two after loading, and LLaDA's forward pass does not have the other one. When it says otherwise
 * and the file has no head, the embedding is the head as well.
 */
#include "model/weights.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/sizes.h"
#include "format/json/json_file.h"

enum { INDEX_LIMIT = 64 << 20, MOST_SHARDS = 4096, MOST_TENSOR_NAME = 192 };

static const char single_file[] = "model.safetensors", index_file[] = "model.safetensors.index.json";

/* folder/name in the arena. */
static char *path_of(dlx_checkpoint *c, const char *name)
{
    size_t n = strlen(c->folder) + strlen(name) + 2;
    char *path = dlx_arena_alloc(&c->arena, n);
    if (path) snprintf(path, n, "%s/%s", c->folder, name);
    return path;
}

static dlx_status out_of_memory(const dlx_checkpoint *c, dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory opening checkpoint '%s'", c->folder);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool inside_folder(const char *name)
{
    return *name && !strchr(name, '/') && !strchr(name, '\\') && !strstr(name, "..");
}

dlx_status dlx_index_shards(const char *const **names, size_t *n, dlx_arena *arena, const json_t *index,
                            const char *path, dlx_error *err)
{
    json_t *map = json_object_get(index, "weight_map"), *file;
    const char *tensor;
    *names = NULL;
    *n = 0;
    if (!json_object_size(map))
        return dlx_fail(err, DLX_E_FORMAT, "'%s': key 'weight_map' is %s; expected an object of tensor names", path,
                        json_is_object(map) ? "empty" : dlx_json_type_name(map));
    const char **all = dlx_arena_array(arena, json_object_size(map), sizeof *all);
    if (!all) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading '%s'", path);
    size_t count = 0, distinct = 0;
    json_object_foreach(map, tensor, file)
    {
        const char *name = json_string_value(file);
        if (!name || !inside_folder(name))
            return dlx_fail(err, DLX_E_FORMAT,
                            "'%s': weight_map gives %s for tensor '%.100s'; expected the name of a file in "
                            "the same folder",
                            path, dlx_config_found(file).s, tensor);
        all[count++] = name;
    }
    qsort(all, count, sizeof *all, by_text);
    for (size_t i = 0; i < count; i++)
        if (!i || strcmp(all[i], all[distinct - 1])) all[distinct++] = all[i];
    if (distinct > MOST_SHARDS)
        return dlx_fail(err, DLX_E_LIMIT, "'%s' names %zu files; at most %d are supported", path, distinct,
                        MOST_SHARDS);
    for (size_t i = 0; i < distinct; i++) {
        all[i] = dlx_arena_strndup(arena, all[i], strlen(all[i]));
        if (!all[i]) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading '%s'", path);
    }
    *names = all;
    *n = distinct;
    return DLX_OK;
}

static dlx_status open_files(dlx_checkpoint *c, const char *const *names, size_t n, dlx_error *err)
{
    c->files = dlx_arena_array(&c->arena, n, sizeof *c->files);
    if (!c->files) return out_of_memory(c, err);
    for (size_t i = 0; i < n; i++) {
        char *path = path_of(c, names[i]);
        if (!path) return out_of_memory(c, err);
        DLX_TRY(dlx_safetensors_open(&c->files[i], &c->arena, path, err));
        c->n_files++;
    }
    return DLX_OK;
}

static dlx_status check_index(const dlx_checkpoint *c, const json_t *index, const char *const *names, const char *path,
                              dlx_error *err)
{
    json_t *map = json_object_get(index, "weight_map");
    size_t listed = json_object_size(map), held = 0;
    for (size_t i = 0; i < c->n_files; i++)
        for (size_t k = 0; k < c->files[i].n_tensors; k++, held++) {
            const char *tensor = c->files[i].tensors[k].name, *file = json_string_value(json_object_get(map, tensor));
            if (!file || strcmp(file, names[i]))
                return dlx_fail(err, DLX_E_FORMAT,
                                "'%s': tensor '%.100s' is in file '%s'; weight_map has %s%s%s for it", path, tensor,
                                names[i], file ? "'" : "", file ? file : "nothing", file ? "'" : "");
        }
    if (held == listed) return DLX_OK;
    const char *tensor;
    json_t *file;
    json_object_foreach(map, tensor, file)
    {
        bool found = false;
        for (size_t i = 0; i < c->n_files && !found; i++)
            for (size_t k = 0; k < c->files[i].n_tensors && !found; k++)
                found = !strcmp(c->files[i].tensors[k].name, tensor);
        if (!found)
            return dlx_fail(err, DLX_E_FORMAT,
                            "'%s': weight_map says that tensor '%.100s' is in file '%s', which has no such "
                            "tensor",
                            path, tensor, json_string_value(file));
    }
    return DLX_OK;
}

static dlx_status open_sharded(dlx_checkpoint *c, const char *path, dlx_error *err)
{
    json_t *index;
    const char *const *names;
    size_t n;
    DLX_TRY(dlx_json_load(&index, path, INDEX_LIMIT, err));
    dlx_status s = dlx_index_shards(&names, &n, &c->arena, index, path, err);
    if (s == DLX_OK) s = open_files(c, names, n, err);
    if (s == DLX_OK) s = check_index(c, index, names, path, err);
    json_decref(index);
    return s;
}

dlx_status dlx_weights_open(dlx_checkpoint *c, dlx_error *err)
{
    const char *const one[] = {single_file};
    char *single = path_of(c, single_file), *index = path_of(c, index_file), *torch = path_of(c, "pytorch_model.bin"),
         *torch_index = path_of(c, "pytorch_model.bin.index.json");
    if (!single || !index || !torch || !torch_index) return out_of_memory(c, err);
    if (dlx_exists(single)) return open_files(c, one, 1, err); /* as transformers: the single file comes first */
    if (dlx_exists(index)) return open_sharded(c, index, err);
    bool pickled = dlx_is_file(torch) || dlx_is_file(torch_index);
    return dlx_fail(err, pickled ? DLX_E_UNSUPPORTED : DLX_E_IO, "'%s' has no %s and no %s%s", c->folder, single_file,
                    index_file, pickled ? "; convert its pytorch_model.bin to safetensors" : "");
}

/* ---- binding ---------------------------------------------------------------------------------------------------- */

typedef struct binder {
    const dlx_checkpoint *c;
    const dlx_tensor_names *names;
    const dlx_st_tensor **all; /* sorted by name */
    bool *taken;
    size_t n;
} binder;

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const dlx_st_tensor *const *)a)->name, (*(const dlx_st_tensor *const *)b)->name);
}

static dlx_status sort_tensors(binder *b, dlx_checkpoint *c, dlx_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_files; i++) n += c->files[i].n_tensors;
    b->all = dlx_arena_array(&c->arena, n + 1, sizeof *b->all);
    b->taken = dlx_arena_array(&c->arena, n + 1, sizeof *b->taken);
    if (!b->all || !b->taken) return out_of_memory(c, err);
    for (size_t i = 0; i < c->n_files; i++)
        for (size_t k = 0; k < c->files[i].n_tensors; k++) b->all[b->n++] = &c->files[i].tensors[k];
    qsort(b->all, b->n, sizeof *b->all, by_name);
    for (size_t i = 1; i < b->n; i++)
        if (!strcmp(b->all[i - 1]->name, b->all[i]->name))
            return dlx_fail(err, DLX_E_FORMAT, "tensor '%s' is in two files, '%s' and '%s'", b->all[i]->name,
                            b->all[i - 1]->file, b->all[i]->file);
    return DLX_OK;
}

/* Index in `all`, or SIZE_MAX. */
static size_t find(const binder *b, const char *name)
{
    dlx_st_tensor key = {.name = name};
    const dlx_st_tensor *k = &key, **at = bsearch(&k, b->all, b->n, sizeof *b->all, by_name);
    return at ? (size_t)(at - b->all) : SIZE_MAX;
}

static bool has(const binder *b, const char *stem)
{
    char name[MOST_TENSOR_NAME];
    snprintf(name, sizeof name, "%s.weight", stem);
    return find(b, name) != SIZE_MAX;
}

/* The names that this checkpoint uses: those under which its embedding is found. */
static void choose_names(binder *b, const dlx_family_rules *rules)
{
    b->names = rules->names[0];
    for (const dlx_tensor_names *const *n = rules->names; *n; n++)
        if (has(b, (*n)->embed)) {
            b->names = *n;
            return;
        }
}

static void put_shape(char *out, size_t size, int rank, const int64_t *dim)
{
    size_t n = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < rank && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%lld", i ? "," : "", (long long)dim[i]);
    if (n < size) snprintf(out + n, size - n, "]");
}

/* rows 0: a vector of cols elements. */
static dlx_status take(binder *b, const dlx_st_tensor **out, const char *name, int64_t rows, int64_t cols,
                       dlx_error *err)
{
    int64_t expected[2] = {rows ? rows : cols, cols};
    int rank = rows ? 2 : 1;
    char want[64], got[128];
    size_t at = find(b, name);
    put_shape(want, sizeof want, rank, expected);
    if (at == SIZE_MAX)
        return dlx_fail(err, DLX_E_FORMAT, "tensor '%s' of shape %s is missing from '%s'", name, want, b->c->folder);
    const dlx_st_tensor *t = b->all[at];
    if (t->rank != rank || memcmp(t->dim, expected, (size_t)rank * sizeof *expected) != 0) {
        put_shape(got, sizeof got, t->rank, t->dim);
        return dlx_fail(err, DLX_E_FORMAT, "tensor '%s' in '%s' has shape %s; config.json makes it %s", name, t->file,
                        got, want);
    }
    if (t->dtype != DLX_F32 && t->dtype != DLX_F16 && t->dtype != DLX_BF16)
        return dlx_fail(
            err, DLX_E_UNSUPPORTED,
            "tensor '%s' in '%s' has type %s; expected f32, f16 or bf16 (quantised checkpoints are not read)", name,
            t->file, dlx_dtype_name(t->dtype));
    b->taken[at] = true;
    *out = t;
    return DLX_OK;
}

typedef enum size_of { NO_ROWS, HIDDEN, Q_ROWS, KV_ROWS, INTERMEDIATE, HEAD_DIM } size_of;
typedef enum presence { ALWAYS, WITH_QKV_BIAS, WITH_QK_NORM } presence;

#define NAME(field) offsetof(dlx_tensor_names, field)
#define VIEW(field) offsetof(dlx_layer_weights, field)

/* The tensors of a layer. */
static const struct slot {
    size_t name, view;
    const char *kind;
    size_of rows, cols;
    presence when;
} slots[] = {
    {NAME(attn_norm), VIEW(attn_norm), "weight", NO_ROWS, HIDDEN, ALWAYS},
    {NAME(q), VIEW(q), "weight", Q_ROWS, HIDDEN, ALWAYS},
    {NAME(k), VIEW(k), "weight", KV_ROWS, HIDDEN, ALWAYS},
    {NAME(v), VIEW(v), "weight", KV_ROWS, HIDDEN, ALWAYS},
    {NAME(q), VIEW(q_bias), "bias", NO_ROWS, Q_ROWS, WITH_QKV_BIAS},
    {NAME(k), VIEW(k_bias), "bias", NO_ROWS, KV_ROWS, WITH_QKV_BIAS},
    {NAME(v), VIEW(v_bias), "bias", NO_ROWS, KV_ROWS, WITH_QKV_BIAS},
    {NAME(q_norm), VIEW(q_norm), "weight", NO_ROWS, HEAD_DIM, WITH_QK_NORM},
    {NAME(k_norm), VIEW(k_norm), "weight", NO_ROWS, HEAD_DIM, WITH_QK_NORM},
    {NAME(o), VIEW(o), "weight", HIDDEN, Q_ROWS, ALWAYS},
    {NAME(mlp_norm), VIEW(mlp_norm), "weight", NO_ROWS, HIDDEN, ALWAYS},
    {NAME(gate), VIEW(gate), "weight", INTERMEDIATE, HIDDEN, ALWAYS},
    {NAME(up), VIEW(up), "weight", INTERMEDIATE, HIDDEN, ALWAYS},
    {NAME(down), VIEW(down), "weight", HIDDEN, INTERMEDIATE, ALWAYS},
};

static int64_t size_in(const dlx_model_shape *s, size_of what)
{
    switch (what) {
    case HIDDEN: return s->hidden;
    case Q_ROWS: return (int64_t)s->heads * s->head_dim;
    case KV_ROWS: return (int64_t)s->kv_heads * s->head_dim;
    case INTERMEDIATE: return s->intermediate;
    case HEAD_DIM: return s->head_dim;
    case NO_ROWS: break;
    }
    return 0;
}

static dlx_status bind_layer(binder *b, dlx_layer_weights *layer, int32_t i, dlx_error *err)
{
    const dlx_model_shape *s = &b->c->shape;
    for (size_t k = 0; k < DLX_COUNT(slots); k++) {
        const struct slot *slot = &slots[k];
        if ((slot->when == WITH_QKV_BIAS && !s->qkv_bias) || (slot->when == WITH_QK_NORM && !s->qk_norm)) continue;
        char name[MOST_TENSOR_NAME];
        const char *leaf = *(const char *const *)((const char *)b->names + slot->name);
        snprintf(name, sizeof name, "%s%d.%s.%s", b->names->layer, i, leaf, slot->kind);
        const dlx_st_tensor **view = (const dlx_st_tensor **)((char *)layer + slot->view);
        DLX_TRY(take(b, view, name, size_in(s, slot->rows), size_in(s, slot->cols), err));
    }
    return DLX_OK;
}

static dlx_status bind_ends(binder *b, dlx_checkpoint *c, dlx_error *err)
{
    char name[MOST_TENSOR_NAME];
    const dlx_st_tensor *head = NULL;
    snprintf(name, sizeof name, "%s.weight", b->names->embed);
    DLX_TRY(take(b, &c->embed, name, c->shape.vocab_size, c->shape.hidden, err));
    snprintf(name, sizeof name, "%s.weight", b->names->norm);
    DLX_TRY(take(b, &c->norm, name, 0, c->shape.hidden, err));
    snprintf(name, sizeof name, "%s.weight", b->names->lm_head);
    if (find(b, name) != SIZE_MAX) DLX_TRY(take(b, &head, name, c->shape.vocab_size, c->shape.hidden, err));
    c->shape.tied = c->shape.tied || !head;
    c->lm_head = c->shape.tied ? c->embed : head;
    return DLX_OK;
}

/* Tables that older exporters saved although they follow from the configuration. */
static bool computed_buffer(const char *name)
{
    static const char *const ends[] = {".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached"};
    size_t n = strlen(name);
    for (size_t i = 0; i < DLX_COUNT(ends); i++)
        if (n > strlen(ends[i]) && !strcmp(name + n - strlen(ends[i]), ends[i])) return true;
    return false;
}

static dlx_status nothing_left(const binder *b, const dlx_family_rules *rules, dlx_error *err)
{
    for (size_t i = 0; i < b->n; i++)
        if (!b->taken[i] && !computed_buffer(b->all[i]->name))
            return dlx_fail(err, DLX_E_FORMAT, "tensor '%.200s' in '%s' has no place in a %s model of %d layers",
                            b->all[i]->name, b->all[i]->file, dlx_family_name(rules->family), b->c->shape.layers);
    return DLX_OK;
}

dlx_status dlx_weights_bind(dlx_checkpoint *c, const dlx_family_rules *rules, dlx_error *err)
{
    binder b = {.c = c};
    DLX_TRY(sort_tensors(&b, c, err));
    choose_names(&b, rules);
    c->layer = dlx_arena_array(&c->arena, (size_t)c->shape.layers, sizeof *c->layer);
    if (!c->layer) return out_of_memory(c, err);
    DLX_TRY(bind_ends(&b, c, err));
    for (int32_t i = 0; i < c->shape.layers; i++) DLX_TRY(bind_layer(&b, &c->layer[i], i, err));
    return nothing_left(&b, rules, err);
}
