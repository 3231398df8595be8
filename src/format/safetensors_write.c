/*
 * Writing safetensors: u64 little-endian length of the header, the header as JSON padded with spaces to 8 bytes, then
 * the tensors without gaps. Readers view elements in place, so wider types come first: then all are aligned.
 */
#include "format/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "base/text_buffer.h"

const char *dlx_st_dtype_name(dlx_dtype t)
{
    static const char *const names[DLX_DTYPE_COUNT] = {
        [DLX_F32] = "F32", [DLX_F16] = "F16", [DLX_BF16] = "BF16", [DLX_I8] = "I8",
        [DLX_U8] = "U8",   [DLX_I32] = "I32", [DLX_I64] = "I64",   [DLX_BOOL] = "BOOL",
    };
    return (size_t)t < DLX_DTYPE_COUNT ? names[t] : NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static dlx_status check_names(const dlx_output *out, const dlx_st_tensor *tensors, size_t n, dlx_error *err)
{
    const char **names = malloc((n ? n : 1) * sizeof *names);
    dlx_status s = DLX_OK;
    if (!names) return dlx_fail(err, DLX_E_NOMEM, "out of memory writing '%s'", out->path);
    for (size_t i = 0; i < n; i++) names[i] = tensors[i].name;
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; s == DLX_OK && i < n; i++) {
        if (!strcmp(names[i], "__metadata__"))
            s = dlx_fail(err, DLX_E_INVALID, "'%s': no tensor can be named '__metadata__'", out->path);
        else if (i && !strcmp(names[i - 1], names[i]))
            s = dlx_fail(err, DLX_E_INVALID, "'%s': two tensors are named '%s'", out->path, names[i]);
    }
    free(names);
    return s;
}

static dlx_status check_tensor(const dlx_output *out, const dlx_st_tensor *t, dlx_error *err)
{
    uint64_t bytes = dlx_dtype_size(t->dtype);
    bool fits = t->rank <= DLX_ST_MAX_RANK;
    if (!dlx_st_dtype_name(t->dtype))
        return dlx_fail(err, DLX_E_INVALID, "'%s': tensor '%s' has type %s, which safetensors files do not know",
                        out->path, t->name, dlx_dtype_name(t->dtype));
    for (int d = 0; fits && d < t->rank; d++) fits = t->dim[d] >= 0 && dlx_mul_u64(bytes, (uint64_t)t->dim[d], &bytes);
    if (!fits || bytes != t->bytes)
        return dlx_fail(err, DLX_E_INVALID, "'%s': tensor '%s' has %llu bytes, which its shape and type contradict",
                        out->path, t->name, (unsigned long long)t->bytes);
    return DLX_OK;
}

static void put_entry(dlx_text_buffer *header, const dlx_st_tensor *t, uint64_t begin)
{
    dlx_put(header, ",");
    dlx_put_json(header, t->name);
    dlx_put(header, ":{\"dtype\":\"%s\",\"shape\":[", dlx_st_dtype_name(t->dtype));
    for (int d = 0; d < t->rank; d++) dlx_put(header, "%s%lld", d ? "," : "", (long long)t->dim[d]);
    dlx_put(header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
            (unsigned long long)(begin + t->bytes));
}

dlx_status dlx_safetensors_write_header(dlx_output *out, const dlx_st_tensor *tensors, size_t n, dlx_error *err)
{
    dlx_text_buffer header = {0};
    uint64_t position = 0, end;
    char *text;
    DLX_TRY(check_names(out, tensors, n, err));
    /* Loaders of transformers insist on this entry. */
    dlx_put(&header, "{\"__metadata__\":{\"format\":\"pt\"}");
    dlx_status s = DLX_OK;
    for (size_t i = 0; s == DLX_OK && i < n; i++) {
        s = check_tensor(out, &tensors[i], err);
        if (s == DLX_OK && i && dlx_dtype_size(tensors[i].dtype) > dlx_dtype_size(tensors[i - 1].dtype))
            s = dlx_fail(err, DLX_E_INVALID, "'%s': tensor '%s' must come before those of narrower types", out->path,
                         tensors[i].name);
        if (s == DLX_OK && !dlx_add_u64(position, tensors[i].bytes, &end))
            s = dlx_fail(err, DLX_E_INVALID, "'%s': the tensors have more than 2^64 bytes", out->path);
        if (s != DLX_OK) break;
        put_entry(&header, &tensors[i], position);
        position = end;
    }
    if (s != DLX_OK) {
        free(header.s);
        return s;
    }
    dlx_put(&header, "}");
    dlx_put(&header, "%*s", (int)(-header.n & 7), "");
    uint8_t length[8];
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)((uint64_t)header.n >> (8 * i));
    size_t size = header.n;
    DLX_TRY(dlx_text_take(&header, &text, "writing a safetensors header", err));
    s = dlx_output_write(out, length, sizeof length, err);
    if (s == DLX_OK) s = dlx_output_write(out, text, size, err);
    free(text);
    return s;
}

static dlx_status write_all(dlx_output *out, const dlx_st_tensor *tensors, size_t n, dlx_error *err)
{
    DLX_TRY(dlx_safetensors_write_header(out, tensors, n, err));
    for (size_t i = 0; i < n; i++) DLX_TRY(dlx_output_write(out, tensors[i].data, (size_t)tensors[i].bytes, err));
    return dlx_output_commit(out, err);
}

dlx_status dlx_safetensors_write(const char *path, const dlx_st_tensor *tensors, size_t n, dlx_error *err)
{
    dlx_output out;
    dlx_st_tensor *sorted = malloc((n ? n : 1) * sizeof *sorted);
    size_t put = 0;
    if (!sorted) return dlx_fail(err, DLX_E_NOMEM, "out of memory writing '%s'", path);
    for (size_t width = 8; width; width /= 2)
        for (size_t i = 0; i < n; i++)
            if (dlx_dtype_size(tensors[i].dtype) == width) sorted[put++] = tensors[i];
    for (size_t i = 0; i < n; i++)
        if (!dlx_dtype_size(tensors[i].dtype)) sorted[put++] = tensors[i]; /* refused below, by name */
    dlx_status s = dlx_output_open(&out, path, err);
    if (s == DLX_OK) s = write_all(&out, sorted, n, err);
    dlx_output_close(&out);
    free(sorted);
    return s;
}
