/*
 * Which checkpoint ranges were measured on: its family, its sizes, and a digest of some of its numbers, so that ranges
 * of another one, or of what it was before more training, are not taken for its own.
 */
#ifndef DLX_CALIBRATE_ORIGIN_H
#define DLX_CALIBRATE_ORIGIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text_buffer.h"
#include "model/checkpoint.h"

enum { DLX_ORIGIN_SIZES = 7 };

typedef struct dlx_origin {
    const char *family; /* NULL: nobody knows */
    int32_t size[DLX_ORIGIN_SIZES];
    char weights[17]; /* of the first numbers of every tensor, as float32: 16 hexadecimal digits */
} dlx_origin;

/* Reads a few kilobytes of each tensor. */
dlx_status dlx_origin_of(dlx_origin *out, const dlx_checkpoint *c, dlx_error *err);
/* {"family": "llada", "layers": 6, ...} */
void dlx_origin_put(dlx_text_buffer *t, const dlx_origin *o);
/* DLX_E_FORMAT where what `path` says of its checkpoint is no such thing, or does not agree with that of `folder`: with
 * what it is in both. */
dlx_status dlx_origin_check(const json_t *found, const dlx_origin *own, const char *path, const char *folder,
                            dlx_error *err);

#endif
