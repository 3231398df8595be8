#include "full/tensors.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "output.h"

static const struct {
    const char *name; /* in the file */
    int32_t element;
} types[] = {
    {"F32", DLX_ELEMENT_FLOAT32}, {"F16", DLX_ELEMENT_FLOAT16}, {"BF16", DLX_ELEMENT_BFLOAT16},
    {"I64", DLX_ELEMENT_INT64},   {"I32", DLX_ELEMENT_INT32},   {"I8", DLX_ELEMENT_INT8},
    {"U8", DLX_ELEMENT_UINT8},    {"BOOL", DLX_ELEMENT_BOOL},
};
enum { TYPES = sizeof types / sizeof *types };

static int32_t element_of(const char *name)
{
    for (size_t i = 0; name && i < TYPES; i++)
        if (!strcmp(types[i].name, name)) return types[i].element;
    return -1;
}

/* ---- reading ---- */

/* What is wrong with an entry of the header, or NULL. The bytes of the tensor begin at data + *begin. */
static const char *read_entry(dlx_cli_tensor *out, const json_t *entry, size_t bytes, size_t *begin)
{
    const json_t *shape = json_object_get(entry, "shape"), *offsets = json_object_get(entry, "data_offsets");
    dlx_tensor *t = &out->t;
    *t = (dlx_tensor){.struct_size = sizeof *t,
                      .element = element_of(json_string_value(json_object_get(entry, "dtype"))),
                      .rank = (int32_t)json_array_size(shape)};
    size_t size = dlx_element_size(t->element);
    if (!size) return "it has a type that is not supported (F32, F16, BF16, I64, I32, I8, U8 and BOOL are)";
    if (!json_is_array(shape) || json_array_size(shape) > DLX_TENSOR_MAX_RANK) return "it has more than 6 dimensions";
    for (int32_t d = 0; d < t->rank; d++) {
        const json_t *n = json_array_get(shape, (size_t)d);
        t->size[d] = json_integer_value(n);
        if (!json_is_integer(n) || t->size[d] < 0 || __builtin_mul_overflow(size, (size_t)t->size[d], &size))
            return "its shape is not a list of sizes";
    }
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    json_int_t from = json_integer_value(first), to = json_integer_value(last);
    if (!json_is_integer(first) || !json_is_integer(last) || from < 0 || to < from || (uint64_t)to > bytes ||
        (uint64_t)(to - from) != size)
        return "its place does not fit its shape and the file";
    *begin = (size_t)from;
    out->bytes = size;
    return NULL;
}

static dlx_status read_tensors(dlx_cli_tensors *out, const json_t *header, const char *data, size_t bytes,
                               const char *path, dlx_error *err)
{
    const char *name;
    json_t *entry;
    out->list = calloc(json_object_size(header) + 1, sizeof *out->list);
    if (!out->list) return dlx_cli_error(err, DLX_E_NOMEM, "out of memory reading '%s'", path);
    json_object_foreach((json_t *)(uintptr_t)header, name, entry)
    {
        dlx_cli_tensor *t = &out->list[out->n];
        size_t begin;
        if (!strcmp(name, "__metadata__")) continue;
        const char *wrong = read_entry(t, entry, bytes, &begin);
        if (wrong) return dlx_cli_error(err, DLX_E_FORMAT, "'%s', tensor '%s': %s", path, name, wrong);
        out->n++;
        t->name = strdup(name);
        t->t.data = malloc(t->bytes ? t->bytes : 1);
        if (!t->name || !t->t.data) return dlx_cli_error(err, DLX_E_NOMEM, "out of memory reading '%s'", path);
        memcpy(t->t.data, data + begin, t->bytes);
    }
    return DLX_OK;
}

dlx_status dlx_cli_tensors_read(dlx_cli_tensors *out, const char *path, dlx_error *err)
{
    char *text;
    size_t n;
    uint64_t length;
    json_error_t problem;
    *out = (dlx_cli_tensors){.n = 0};
    dlx_status s = dlx_cli_read_all(path, &text, &n, err);
    if (s != DLX_OK) return s;
    memcpy(&length, n >= sizeof length ? text : "\0\0\0\0\0\0\0\0", sizeof length);
    json_t *header = NULL;
    if (n >= sizeof length && length <= n - sizeof length)
        header = json_loadb(text + sizeof length, (size_t)length, JSON_REJECT_DUPLICATES, &problem);
    if (!json_is_object(header)) {
        s = dlx_cli_error(err, DLX_E_FORMAT, "'%s' is not a safetensors file", path);
    } else {
        const char *data = text + sizeof length + length;
        s = read_tensors(out, header, data, (size_t)(text + n - data), path, err);
    }
    json_decref(header);
    free(text);
    return s;
}

void dlx_cli_tensors_free(dlx_cli_tensors *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->list[i].name);
        free(t->list[i].t.data);
    }
    free(t->list);
    *t = (dlx_cli_tensors){.n = 0};
}

const dlx_cli_tensor *dlx_cli_tensors_find(const dlx_cli_tensors *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++)
        if (!strcmp(t->list[i].name, name)) return &t->list[i];
    return NULL;
}
