/*
 * The arithmetic of int8 rows: scale = max|row| / 127 (1 for a row of zeros), q = round half to even (w / scale) within
 * -128 .. 127. Source elements are F32, F16 or BF16 at any alignment.
 */
#ifndef DLX_QUANT_ROWS_H
#define DLX_QUANT_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"

/* Largest magnitude of n elements; NaN when one of them is NaN or infinite. */
float dlx_rows_max(const void *p, size_t n, dlx_dtype stored);

/* The scale of a row with that largest magnitude; NaN stays NaN. */
float dlx_int8_scale(float max);

void dlx_int8_quantize(int8_t *out, const void *p, size_t n, dlx_dtype stored, float scale);

/* F16 or BF16, finite, to F32; exact. */
void dlx_rows_widen(float *out, const void *p, size_t n, dlx_dtype stored);

#endif
