/* Element types of tensors, in files and in graphs. */
#ifndef DLX_BASE_DTYPE_H
#define DLX_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum dlx_dtype {
    DLX_F32 = 0,
    DLX_F16,
    DLX_BF16,
    DLX_I8,  /* plain int8, or per-channel int8 weights where a scale tensor goes with it */
    DLX_QD8, /* rows of int8 with a scale and zero point per row of the last dimension (made at run time) */
    DLX_U8,
    DLX_I32,
    DLX_I64,
    DLX_BOOL,
    /* Signed 4-bit weights in -8 .. 7, two in a byte along the last dimension, which is even: element 2i in the low
     * half, 2i + 1 in the high one, each stored as itself + 8. */
    DLX_I4,
    DLX_QS8, /* int8 with one scale and zero point, which the node that makes them says (made at run time) */
    DLX_DTYPE_COUNT
} dlx_dtype;

const char *dlx_dtype_name(dlx_dtype t); /* "f32", "bf16", "qd8", ...; "?" outside the list */
/* Bytes of one element; QD8 and QS8: 1; 0 for I4, whose elements have no bytes of their own, and outside the list. */
size_t dlx_dtype_size(dlx_dtype t);
/* Bytes of that many elements, of every type in the list; false when 64 bits do not hold them, or for an odd number of
 * I4. */
bool dlx_dtype_bytes(dlx_dtype t, uint64_t elements, uint64_t *bytes);

#endif
