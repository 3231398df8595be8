/*
 * Weight files and their binding. Tensors of all files are sorted by name once; every role looks its tensor up, and
 * what no role took is an error, except buffers that can be computed.
 *
 * lm_head: the embedding is the head where config.json says so. Where the file has a head all the same, one that
 * differs from the embedding is used, as transformers 5 does; but not for LLaDA, whose forward pass looks at the
 * configuration alone. A head that is missing otherwise was lost: Python's transformers fills such a one with random
 * numbers.
 *
 * Names: fine-tuning scripts save with "model." doubled or left out, or with the name of a wrapper in front
 * ("_orig_mod."); those under which the embedding is found count.
 */
#include "model/weights.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fetched.h"
#include "base/io.h"
#include "base/path.h"
#include "base/sizes.h"
#include "format/json/json_file.h"

enum { INDEX_LIMIT = 64 << 20, MOST_SHARDS = 4096, MOST_TENSOR_NAME = 192 };

static const char single_file[] = "model.safetensors", index_file[] = "model.safetensors.index.json";

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
        char *path = dlx_arena_path(&c->arena, c->folder, names[i]);
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

/* Every shard that is not there, by name, before any is opened. */
static dlx_status check_shards(const dlx_checkpoint *c, const char *const *names, size_t n, const char *path,
                               dlx_error *err)
{
    size_t missing = 0;
    const char *first = NULL;
    for (size_t i = 0; i < n; i++) {
        char full[4096];
        bool there;
        if (!dlx_path_join(full, sizeof full, c->folder, names[i])) return DLX_OK; /* opening it says what is wrong */
        DLX_TRY(dlx_fetched_file(&there, full, err));
        if (there) continue;
        missing++;
        if (!first) first = names[i];
    }
    if (!missing) return DLX_OK;
    char others[48] = " is";
    if (missing > 1) snprintf(others, sizeof others, " and %zu more are", missing - 1);
    return dlx_fail(err, DLX_E_IO, "'%s' names %zu files of weights, of which '%s'%s missing%s", path, n, first, others,
                    dlx_fetch_the_rest(c->folder).s);
}

static dlx_status open_sharded(dlx_checkpoint *c, const char *path, dlx_error *err)
{
    json_t *index;
    const char *const *names;
    size_t n;
    DLX_TRY(dlx_json_load(&index, path, INDEX_LIMIT, err));
    dlx_status s = dlx_index_shards(&names, &n, &c->arena, index, path, err);
    if (s == DLX_OK) s = check_shards(c, names, n, path, err);
    if (s == DLX_OK) s = open_files(c, names, n, err);
    if (s == DLX_OK) s = check_index(c, index, names, path, err);
    json_decref(index);
    return s;
}

/* No weights that can be read: what there is instead. */
static dlx_status no_weights(const dlx_checkpoint *c, dlx_error *err)
{
    const char *what = "";
    if (dlx_folder_has(c->folder, ".gguf"))
        what = "; it has a GGUF file, which is quantised for llama.cpp: fetch the checkpoint that it was made from";
    else if (dlx_folder_has(c->folder, ".bin") || dlx_folder_has(c->folder, ".bin.index.json"))
        what = "; convert its pytorch_model.bin to safetensors (Python: model.save_pretrained(folder))";
    DLX_TRY(dlx_refuse_adapter(c->folder, err));
    if (!*what && dlx_folder_has(c->folder, ".safetensors"))
        return dlx_fail(err, DLX_E_IO, "'%s' has files of weights, but neither %s nor %s, which says what is in them%s",
                        c->folder, single_file, index_file, dlx_fetch_the_rest(c->folder).s);
    return dlx_fail(err, *what ? DLX_E_UNSUPPORTED : DLX_E_IO, "'%s' has no %s and no %s%s%s", c->folder, single_file,
                    index_file, what, *what ? "" : dlx_fetch_the_rest(c->folder).s);
}

dlx_status dlx_weights_open(dlx_checkpoint *c, dlx_error *err)
{
    const char *const one[] = {single_file};
    char *single = dlx_arena_path(&c->arena, c->folder, single_file),
         *index = dlx_arena_path(&c->arena, c->folder, index_file);
    bool there;
    if (!single || !index) return out_of_memory(c, err);
    DLX_TRY(dlx_fetched_file(&there, single, err));
    if (there) return open_files(c, one, 1, err); /* as transformers: the single file comes first */
    DLX_TRY(dlx_fetched_file(&there, index, err));
    return there ? open_sharded(c, index, err) : no_weights(c, err);
}

/* ---- binding ---------------------------------------------------------------------------------------------------- */

typedef struct binder {
    const dlx_checkpoint *c;
    const dlx_tensor_names *names;
    const char *wrapper;       /* in front of all names; "" */
    const char *prefix;        /* of names that begin with "model." in the table */
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

/* The tensor's name in this checkpoint. */
static void full_name(const binder *b, char out[MOST_TENSOR_NAME], const char *stem, const char *kind)
{
    static const char usual[] = "model.";
    bool inside = !strncmp(stem, usual, sizeof usual - 1);
    snprintf(out, MOST_TENSOR_NAME, "%s%s%s.%s", b->wrapper, inside ? b->prefix : "",
             stem + (inside ? sizeof usual - 1 : 0), kind);
    /* A head that stands beside the decoder may have moved inside with the prefix. */
    if (inside || find(b, out) != SIZE_MAX) return;
    char moved[MOST_TENSOR_NAME];
    snprintf(moved, sizeof moved, "%s%s%s.%s", b->wrapper, usual, stem, kind);
    if (find(b, moved) != SIZE_MAX) memcpy(out, moved, sizeof moved);
}

/* What training scripts wrap a model in before they save it: torch.compile, DistributedDataParallel, peft (merged). */
static const char *const wrappers[] = {
    "", "_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module.", "base_model.model."};

/* The names, the prefix and the wrapper that this checkpoint uses: those under which its embedding is found. */
static void choose_names(binder *b, const dlx_family_rules *rules)
{
    static const char *const prefixes[] = {"model.", "model.model.", "", "model._orig_mod."};
    char name[MOST_TENSOR_NAME];
    for (size_t w = 0; w < DLX_COUNT(wrappers); w++)
        for (size_t i = 0; i < DLX_COUNT(prefixes); i++)
            for (const dlx_tensor_names *const *n = rules->names; *n; n++) {
                b->wrapper = wrappers[w];
                b->prefix = prefixes[i];
                b->names = *n;
                full_name(b, name, (*n)->embed, "weight");
                if (find(b, name) != SIZE_MAX) return;
            }
    b->wrapper = wrappers[0];
    b->prefix = prefixes[0];
    b->names = rules->names[0];
}

/* Weights of an adapter beside those that it changes: without them the model is another one. */
static dlx_status refuse_unmerged(const binder *b, dlx_error *err)
{
    static const char *const parts[] = {".lora_", ".base_layer.", ".modules_to_save."};
    for (size_t i = 0; i < b->n; i++)
        for (size_t k = 0; k < DLX_COUNT(parts); k++)
            if (strstr(b->all[i]->name, parts[k]))
                return dlx_fail(
                    err, DLX_E_UNSUPPORTED,
                    "tensor '%.200s' in '%s' is of an adapter that is not merged into its model; merge it in "
                    "Python (peft: model.merge_and_unload().save_pretrained(folder)) and export the result",
                    b->all[i]->name, b->all[i]->file);
    return DLX_OK;
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
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "tensor '%s' in '%s' has type %s; expected f32, f16 or bf16: is the checkpoint quantised? "
                        "Fetch the one that it was made from",
                        name, t->file, dlx_dtype_name(t->dtype));
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
        char stem[MOST_TENSOR_NAME / 2];
        snprintf(stem, sizeof stem, "%s%d.%s", b->names->layer, i, leaf);
        full_name(b, name, stem, slot->kind);
        const dlx_st_tensor **view = (const dlx_st_tensor **)((char *)layer + slot->view);
        DLX_TRY(take(b, view, name, size_in(s, slot->rows), size_in(s, slot->cols), err));
    }
    return DLX_OK;
}

/* Bytes [at, at + n) of a tensor, in memory or read into `buffer`. */
static dlx_status bytes_at(const dlx_st_tensor *t, uint64_t at, size_t n, uint8_t *buffer, const uint8_t **out,
                           dlx_error *err)
{
    *out = t->data ? t->data + at : buffer;
    return t->data ? DLX_OK : dlx_file_read(t->source, t->offset + at, buffer, n, err);
}

/* A head that differs does so in its first bytes, but for a few: the rest is only read of one that is the same. */
static dlx_status same_bytes(bool *same, const dlx_st_tensor *a, const dlx_st_tensor *b, dlx_error *err)
{
    enum { PIECE = 16384 };
    uint8_t of_a[PIECE], of_b[PIECE];
    const uint8_t *x, *y;
    *same = a->dtype == b->dtype && a->bytes == b->bytes;
    for (uint64_t at = 0; *same && at < a->bytes; at += PIECE) {
        size_t n = a->bytes - at < PIECE ? (size_t)(a->bytes - at) : PIECE;
        DLX_TRY(bytes_at(a, at, n, of_a, &x, err));
        DLX_TRY(bytes_at(b, at, n, of_b, &y, err));
        *same = memcmp(x, y, n) == 0;
    }
    return DLX_OK;
}

static dlx_status no_head(const binder *b, const char *name, const dlx_family_rules *rules, dlx_error *err)
{
    return dlx_fail(
        err, DLX_E_FORMAT,
        "tensor '%s', the output head, is missing from '%s', and config.json does not make the embedding the "
        "head; fetch or save the checkpoint whole, or set \"%s\": true if the model was trained that way%s",
        name, b->c->folder, rules->family == DLX_FAMILY_LLADA ? "weight_tying" : "tie_word_embeddings",
        dlx_incomplete_download(b->c->folder).s);
}

static dlx_status bind_ends(binder *b, dlx_checkpoint *c, const dlx_family_rules *rules, dlx_error *err)
{
    char name[MOST_TENSOR_NAME];
    const dlx_st_tensor *head = NULL;
    full_name(b, name, b->names->embed, "weight");
    DLX_TRY(take(b, &c->embed, name, c->shape.vocab_size, c->shape.hidden, err));
    full_name(b, name, b->names->norm, "weight");
    DLX_TRY(take(b, &c->norm, name, 0, c->shape.hidden, err));
    full_name(b, name, b->names->lm_head, "weight");
    if (find(b, name) == SIZE_MAX && !c->shape.tied) return no_head(b, name, rules, err);
    if (find(b, name) != SIZE_MAX) DLX_TRY(take(b, &head, name, c->shape.vocab_size, c->shape.hidden, err));
    bool by_config = c->shape.tied && rules->family == DLX_FAMILY_LLADA;
    bool same = false;
    if (head && c->shape.tied && !by_config) DLX_TRY(same_bytes(&same, head, c->embed, err));
    c->shape.tied = !head || by_config || same;
    c->lm_head = c->shape.tied ? c->embed : head;
    return DLX_OK;
}

/* Tables and constants that older exporters saved although they follow from the configuration. */
static bool computed_buffer(const char *name)
{
    static const char *const ends[] = {"rotary_emb.inv_freq", "rotary_emb.original_inv_freq", "rotary_emb.cos_cached",
                                       "rotary_emb.sin_cached", "masked_bias"};
    size_t n = strlen(name);
    for (size_t i = 0; i < DLX_COUNT(ends); i++) {
        size_t m = strlen(ends[i]);
        if (n >= m && !strcmp(name + n - m, ends[i]) && (n == m || name[n - m - 1] == '.')) return true;
    }
    return false;
}

/* The causal mask that GPT-style classes keep as a buffer: [..., n, n] of ones and zeros under the name of a bias. */
static bool causal_mask(const dlx_st_tensor *t)
{
    static const char end[] = ".bias";
    size_t n = strlen(t->name);
    if (n < sizeof end || strcmp(t->name + n - (sizeof end - 1), end) || t->rank < 2) return false;
    for (int i = 0; i + 2 < t->rank; i++)
        if (t->dim[i] != 1) return false;
    return t->dim[t->rank - 1] == t->dim[t->rank - 2] && t->dim[t->rank - 1] > 0;
}

static dlx_status nothing_left(const binder *b, const dlx_family_rules *rules, dlx_error *err)
{
    for (size_t i = 0; i < b->n; i++)
        if (!b->taken[i] && !computed_buffer(b->all[i]->name) && !causal_mask(b->all[i]))
            return dlx_fail(err, DLX_E_FORMAT, "tensor '%.200s' in '%s' has no place in a %s model of %d layers",
                            b->all[i]->name, b->all[i]->file, dlx_family_name(rules->family), b->c->shape.layers);
    return DLX_OK;
}

dlx_status dlx_weights_bind(dlx_checkpoint *c, const dlx_family_rules *rules, dlx_error *err)
{
    binder b = {.c = c};
    DLX_TRY(sort_tensors(&b, c, err));
    DLX_TRY(refuse_unmerged(&b, err));
    choose_names(&b, rules);
    c->layer = dlx_arena_array(&c->arena, (size_t)c->shape.layers, sizeof *c->layer);
    if (!c->layer) return out_of_memory(c, err);
    DLX_TRY(bind_ends(&b, c, rules, err));
    for (int32_t i = 0; i < c->shape.layers; i++) DLX_TRY(bind_layer(&b, &c->layer[i], i, err));
    return nothing_left(&b, rules, err);
}
