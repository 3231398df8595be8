/*
 * Reading safetensors. The header is distrusted here and nowhere else: afterwards every tensor has a place that lies
 * inside the file, belongs to it alone and has the size that its shape asks for.
 *
 * The rules are those of the format's reference library: at most 100 MB of header, and tensors that cover the data
 * without overlap and without gaps.
 */
#include "format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "format/json/json_file.h"

enum { LENGTH_BYTES = 8, MAX_HEADER = 100000000 };

static const char metadata_key[] = "__metadata__";

typedef struct reader {
    const char *path; /* in the arena */
    const dlx_file *file;
    uint64_t begin; /* of the data, behind the header */
    uint64_t size;  /* of the data */
    dlx_error *err;
} reader;

static dlx_status read_length(uint64_t *length, const dlx_file *file, const char *path, dlx_error *err)
{
    static const char lfs[] = "version https://git-lfs";
    uint8_t data[sizeof lfs] = {0};
    uint64_t size = file->size;
    *length = 0;
    DLX_TRY(dlx_file_read(file, 0, data, size < sizeof data ? (size_t)size : sizeof data, err));
    if (size < LENGTH_BYTES)
        return dlx_fail(err, DLX_E_FORMAT, "'%s' has %llu bytes; a safetensors file has at least 8: fetch it again",
                        path, (unsigned long long)size);
    if (size >= sizeof lfs - 1 && !memcmp(data, lfs, sizeof lfs - 1))
        return dlx_fail(err, DLX_E_FORMAT, "'%s' is a git-lfs pointer, not the weights; fetch them with `git lfs pull`",
                        path);
    for (int i = 0; i < LENGTH_BYTES; i++) *length |= (uint64_t)data[i] << (8 * i);
    if (*length > size - LENGTH_BYTES)
        return dlx_fail(err, DLX_E_FORMAT,
                        "'%s': its header should have %llu bytes, the file has %llu: cut short, or no safetensors file",
                        path, (unsigned long long)*length, (unsigned long long)size);
    if (*length > MAX_HEADER)
        return dlx_fail(err, DLX_E_LIMIT, "'%s': its header has %llu bytes; at most %d are allowed", path,
                        (unsigned long long)*length, MAX_HEADER);
    return DLX_OK;
}

static dlx_status check_metadata(const reader *r, const json_t *metadata)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata) && !json_is_null(metadata))
        return dlx_fail(r->err, DLX_E_FORMAT, "'%s': __metadata__ should be an object, not %s", r->path,
                        dlx_json_type_name(metadata));
    json_object_foreach((json_t *)metadata, key, value)
    {
        if (!json_is_string(value))
            return dlx_fail(r->err, DLX_E_FORMAT, "'%s': __metadata__ entry '%s' should be a string, not %s", r->path,
                            key, dlx_json_type_name(value));
    }
    return DLX_OK;
}

static dlx_status read_dtype(const reader *r, const json_t *entry, dlx_st_tensor *t)
{
    const json_t *dtype = json_object_get(entry, "dtype");
    const char *text = json_string_value(dtype);
    if (!text)
        return dlx_fail(r->err, DLX_E_FORMAT, "'%s': tensor '%s': dtype should be a string, found %s", r->path, t->name,
                        dlx_json_type_name(dtype));
    for (int i = 0; i < DLX_DTYPE_COUNT; i++) {
        const char *name = dlx_st_dtype_name((dlx_dtype)i);
        if (!name || strcmp(name, text) != 0) continue;
        t->dtype = (dlx_dtype)i;
        return DLX_OK;
    }
    return dlx_fail(
        r->err, DLX_E_UNSUPPORTED,
        "'%s': tensor '%s' has type %s; supported are F32, F16 and BF16 for weights, and I8, U8, I32, I64 and "
        "BOOL%s",
        r->path, t->name, text,
        text[0] == 'F' && strcmp(text, "F64") != 0
            ? ": is the checkpoint quantised? Fetch the one that it was made from"
            : "");
}

/* The shape, and in t->bytes the size that it asks for. */
static dlx_status read_shape(const reader *r, const json_t *entry, dlx_st_tensor *t)
{
    const json_t *shape = json_object_get(entry, "shape");
    size_t rank = json_array_size(shape);
    if (!json_is_array(shape))
        return dlx_fail(r->err, DLX_E_FORMAT, "'%s': tensor '%s': shape should be an array, found %s", r->path, t->name,
                        dlx_json_type_name(shape));
    if (rank > DLX_ST_MAX_RANK)
        return dlx_fail(r->err, DLX_E_UNSUPPORTED, "'%s': tensor '%s' has %zu dimensions; at most %d are supported",
                        r->path, t->name, rank, DLX_ST_MAX_RANK);
    uint64_t bytes = dlx_dtype_size(t->dtype);
    t->rank = (uint8_t)rank;
    for (size_t d = 0; d < rank; d++) {
        const json_t *dim = json_array_get(shape, d);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return dlx_fail(r->err, DLX_E_FORMAT,
                            "'%s': tensor '%s': dimension %zu should be an integer of at least 0, found %s", r->path,
                            t->name, d, json_is_integer(dim) ? "a negative one" : dlx_json_type_name(dim));
        t->dim[d] = json_integer_value(dim);
        if (!dlx_mul_u64(bytes, (uint64_t)t->dim[d], &bytes))
            return dlx_fail(r->err, DLX_E_FORMAT, "'%s': tensor '%s' has a shape of more than 2^64 bytes", r->path,
                            t->name);
    }
    t->bytes = bytes;
    return DLX_OK;
}

static dlx_status read_offsets(const reader *r, const json_t *entry, dlx_st_tensor *t)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(offsets, 0), *second = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(second))
        return dlx_fail(r->err, DLX_E_FORMAT, "'%s': tensor '%s': data_offsets should be two integers", r->path,
                        t->name);
    json_int_t begin = json_integer_value(first), end = json_integer_value(second);
    if (begin < 0 || end < begin || (uint64_t)end > r->size)
        return dlx_fail(r->err, DLX_E_FORMAT,
                        "'%s': tensor '%s' lies at bytes %lld to %lld; the file has %llu behind its header%s", r->path,
                        t->name, (long long)begin, (long long)end, (unsigned long long)r->size,
                        begin < 0 || end < begin ? "" : ": it was cut short, fetch it again");
    if ((uint64_t)(end - begin) != t->bytes)
        return dlx_fail(r->err, DLX_E_FORMAT, "'%s': tensor '%s' takes %llu bytes by shape and type %s, but has %llu",
                        r->path, t->name, (unsigned long long)t->bytes, dlx_st_dtype_name(t->dtype),
                        (unsigned long long)(end - begin));
    t->offset = r->begin + (uint64_t)begin;
    if (r->file->memory)
        t->data = r->file->memory + t->offset;
    else
        t->source = r->file;
    return DLX_OK;
}

static dlx_status read_tensor(const reader *r, const json_t *entry, dlx_st_tensor *t)
{
    if (!json_is_object(entry))
        return dlx_fail(r->err, DLX_E_FORMAT, "'%s': tensor '%s' should be described by an object, found %s", r->path,
                        t->name, dlx_json_type_name(entry));
    DLX_TRY(read_dtype(r, entry, t));
    DLX_TRY(read_shape(r, entry, t));
    return read_offsets(r, entry, t);
}

static int by_place(const void *a, const void *b)
{
    const dlx_st_tensor *x = *(const dlx_st_tensor *const *)a, *y = *(const dlx_st_tensor *const *)b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* Tensors cover the data exactly: what lies between them or behind them belongs to nobody and is a sign of damage. */
static dlx_status check_places(const reader *r, const dlx_safetensors *st)
{
    const dlx_st_tensor **order = malloc((st->n_tensors ? st->n_tensors : 1) * sizeof *order);
    uint64_t covered = r->begin;
    dlx_status s = DLX_OK;
    if (!order)
        return dlx_fail(r->err, DLX_E_NOMEM, "out of memory reading '%s' (%zu tensors)", r->path, st->n_tensors);
    for (size_t i = 0; i < st->n_tensors; i++) order[i] = &st->tensors[i];
    qsort(order, st->n_tensors, sizeof *order, by_place);
    for (size_t i = 0; s == DLX_OK && i < st->n_tensors; i++) {
        const dlx_st_tensor *t = order[i];
        if (t->offset < covered)
            s = dlx_fail(r->err, DLX_E_FORMAT, "'%s': tensors '%s' and '%s' share bytes", r->path, order[i - 1]->name,
                         t->name);
        else if (t->offset > covered)
            s = dlx_fail(r->err, DLX_E_FORMAT, "'%s': %llu bytes before tensor '%s' belong to no tensor", r->path,
                         (unsigned long long)(t->offset - covered), t->name);
        covered = t->offset + t->bytes;
    }
    uint64_t rest = r->size - (covered - r->begin);
    if (s == DLX_OK && rest)
        s = dlx_fail(r->err, DLX_E_FORMAT, "'%s': the last %llu bytes belong to no tensor", r->path,
                     (unsigned long long)rest);
    free(order);
    return s;
}

static dlx_status read_header(dlx_safetensors *out, dlx_arena *arena, const reader *r, const json_t *header)
{
    const char *name;
    json_t *entry;
    if (!json_is_object(header))
        return dlx_fail(r->err, DLX_E_FORMAT, "'%s': its header should be an object, not %s", r->path,
                        dlx_json_type_name(header));
    out->tensors = dlx_arena_array(arena, json_object_size(header), sizeof *out->tensors);
    if (!out->tensors) return dlx_fail(r->err, DLX_E_NOMEM, "out of memory reading '%s'", r->path);
    json_object_foreach((json_t *)header, name, entry)
    {
        if (!strcmp(name, metadata_key)) {
            DLX_TRY(check_metadata(r, entry));
            continue;
        }
        dlx_st_tensor *t = &out->tensors[out->n_tensors];
        t->file = r->path;
        t->name = dlx_arena_strndup(arena, name, strlen(name));
        if (!t->name) return dlx_fail(r->err, DLX_E_NOMEM, "out of memory reading '%s'", r->path);
        DLX_TRY(read_tensor(r, entry, t));
        out->n_tensors++;
    }
    return check_places(r, out);
}

/* The header as text with a NUL behind it, malloc'd. */
static dlx_status take_header(char **out, const dlx_file *file, uint64_t length, const char *path, dlx_error *err)
{
    *out = malloc((size_t)length + 1);
    if (!*out)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory reading '%s' (%llu bytes)", path, (unsigned long long)length);
    (*out)[length] = '\0';
    dlx_status s = dlx_file_read(file, LENGTH_BYTES, *out, (size_t)length, err);
    if (s == DLX_OK) return DLX_OK;
    free(*out);
    *out = NULL;
    return s;
}

static dlx_status read_file(dlx_safetensors *out, dlx_arena *arena, const dlx_file *file, const char *path,
                            dlx_error *err)
{
    uint64_t length;
    char what[1024], *text;
    json_t *header;
    DLX_TRY(read_length(&length, file, path, err));
    reader r = {.path = path,
                .file = file,
                .begin = LENGTH_BYTES + length,
                .size = file->size - LENGTH_BYTES - length,
                .err = err};
    DLX_TRY(take_header(&text, file, length, path, err));
    snprintf(what, sizeof what, "'%s': its header", path);
    dlx_status s = dlx_json_parse(&header, text, (size_t)length, what, err);
    free(text);
    if (s != DLX_OK) return s;
    s = read_header(out, arena, &r, header);
    json_decref(header);
    return s;
}

static const char *keep_path(dlx_arena *arena, const char *path, dlx_error *err)
{
    const char *kept = dlx_arena_strndup(arena, path, strlen(path));
    if (!kept) dlx_fail(err, DLX_E_NOMEM, "out of memory reading '%s'", path);
    return kept;
}

dlx_status dlx_safetensors_read(dlx_safetensors *out, dlx_arena *arena, const void *data, uint64_t size,
                                const char *path, dlx_error *err)
{
    dlx_file file;
    *out = (dlx_safetensors){0};
    const char *kept = keep_path(arena, path, err);
    if (!kept) return DLX_E_NOMEM;
    dlx_file_from_memory(&file, data, size, kept);
    dlx_status s = read_file(out, arena, &file, kept, err);
    if (s != DLX_OK) *out = (dlx_safetensors){0};
    return s;
}

dlx_status dlx_safetensors_open(dlx_safetensors *out, dlx_arena *arena, const char *path, dlx_error *err)
{
    *out = (dlx_safetensors){0};
    const char *kept = keep_path(arena, path, err);
    dlx_file *file = kept ? dlx_arena_alloc(arena, sizeof *file) : NULL;
    if (!file) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading '%s'", path);
    DLX_TRY(dlx_file_open(file, kept, err));
    dlx_status s = read_file(out, arena, file, kept, err);
    if (s != DLX_OK) {
        dlx_file_close(file);
        *out = (dlx_safetensors){0};
    } else {
        out->file = file;
    }
    return s;
}

void dlx_safetensors_close(dlx_safetensors *st)
{
    if (st->file) dlx_file_close(st->file);
    *st = (dlx_safetensors){0};
}
