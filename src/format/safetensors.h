/*
 * safetensors files: a verified directory of views into one mapped file; and a writer for small results.
 * Reading the JSON header needs jansson (export half); the writer needs nothing.
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
    const uint8_t *data; /* view into the mapping; alignment is only 1 */
    uint64_t bytes;
    const char *file; /* path, for messages */
} dlx_st_tensor;

typedef struct dlx_safetensors {
    dlx_mapping map;
    dlx_st_tensor *tensors; /* in header order */
    size_t n_tensors;
} dlx_safetensors;

/* Opens and verifies one file: header length, JSON, dtypes, shapes, offsets inside the file, sizes matching shapes, no
 * overlap, no duplicate name. Types other than F32, F16, BF16, I8, U8, I32, I64, BOOL are DLX_E_UNSUPPORTED by name. */
dlx_status dlx_safetensors_open(dlx_safetensors *out, dlx_arena *arena, const char *path, dlx_error *err);
void dlx_safetensors_close(dlx_safetensors *st);

/* Writes tensors (F32, I32, I64, I8, BF16, F16) to `path`, atomically. data of each must be contiguous. */
dlx_status dlx_safetensors_write(const char *path, const dlx_st_tensor *tensors, size_t n, dlx_error *err);

#endif
