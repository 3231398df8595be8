/* Element types of tensors, in files and in graphs. */
#ifndef DLX_BASE_DTYPE_H
#define DLX_BASE_DTYPE_H

#include <stddef.h>

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
    DLX_DTYPE_COUNT
} dlx_dtype;

const char *dlx_dtype_name(dlx_dtype t); /* "f32", "bf16", "qd8", ...; "?" outside the list */
size_t dlx_dtype_size(dlx_dtype t);      /* bytes of one element; QD8: 1; 0 outside the list */

#endif
