/*
 * safetensors files: a verified directory of the tensors of one file, which stay in it; and a writer, for small results
 * at once or for large ones streamed. Reading the JSON header needs jansson (format/json); the writer needs nothing.
 */
#ifndef DLX_FORMAT_SAFETENSORS_H
#define DLX_FORMAT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/dtype.h"
#include "base/io.h"
#include "base/status.h"

enum { DLX_ST_MAX_RANK = 8 };

typedef struct dlx_st_tensor {
    const char *name; /* in the arena */
    dlx_dtype dtype;
    uint8_t rank;
    int64_t dim[DLX_ST_MAX_RANK];
    const uint8_t *data; /* of alignment 1; NULL: the bytes are still in `source` */
    uint64_t bytes;
    const char *file;       /* path, for messages */
    const dlx_file *source; /* where they are, at `offset`; NULL: in memory */
    uint64_t offset;        /* in the file, counted from its first byte */
} dlx_st_tensor;

typedef struct dlx_safetensors {
    dlx_file *file;         /* in the arena, open; NULL: in memory */
    dlx_st_tensor *tensors; /* in header order */
    size_t n_tensors;
} dlx_safetensors;

/* Opens and verifies one file: header length, JSON, dtypes, shapes, offsets inside the file, sizes matching shapes, no
 * overlap, no gap, no duplicate name. Types other than F32, F16, BF16, I8, U8, I32, I64, BOOL are DLX_E_UNSUPPORTED by
 * name. */
dlx_status dlx_safetensors_open(dlx_safetensors *out, dlx_arena *arena, const char *path, dlx_error *err);
void dlx_safetensors_close(dlx_safetensors *st);

/* The same for a file's bytes in memory, which the tensors are views of; `path` is for messages. */
dlx_status dlx_safetensors_read(dlx_safetensors *out, dlx_arena *arena, const void *data, uint64_t size,
                                const char *path, dlx_error *err);

/* The type's name in such files ("F32", "BF16"), NULL for a type that they do not have. */
const char *dlx_st_dtype_name(dlx_dtype t);

/* Writes tensors to `path`, atomically. data of each must be contiguous; `file` is not used. Elements lie aligned in
 * the file: wider types come first. */
dlx_status dlx_safetensors_write(const char *path, const dlx_st_tensor *tensors, size_t n, dlx_error *err);

/* Writes length and header only; the caller writes the bytes of all tensors behind it, in order (data is not used).
 * Tensors must come with wider types first. */
dlx_status dlx_safetensors_write_header(dlx_output *out, const dlx_st_tensor *tensors, size_t n, dlx_error *err);

#endif
