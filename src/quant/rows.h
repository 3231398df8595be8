/*
 * The arithmetic of quantised weights. A row (or a group of a row) of int8 has scale = max|row| / 127, one of int4
 * max|row| / 7, and 1 where that is 0; q = round half to even (w / scale), within -128 .. 127 or -8 .. 7. Source
 * elements are F32, F16 or BF16 at any alignment.
 */
#ifndef DLX_QUANT_ROWS_H
#define DLX_QUANT_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"

/* Largest magnitude of n elements; NaN when one of them is NaN or infinite. */
float dlx_rows_max(const void *p, size_t n, dlx_dtype stored);

/* The scale of a row with that largest magnitude; NaN stays NaN. `stored`: the type that the scale is kept in, F32 or
 * BF16; what the file holds is what the codes are made with. */
float dlx_int8_scale(float max);
float dlx_int4_scale(float max, dlx_dtype stored);

void dlx_int8_quantize(int8_t *out, const void *p, size_t n, dlx_dtype stored, float scale);
/* n, an even number, elements into n / 2 bytes of DLX_I4. */
void dlx_int4_quantize(uint8_t *out, const void *p, size_t n, dlx_dtype stored, float scale);

/* F16 or BF16, finite, to F32; exact. */
void dlx_rows_widen(float *out, const void *p, size_t n, dlx_dtype stored);
/* Finite elements to F16 or BF16, to the nearest, half to even. */
void dlx_rows_round(uint16_t *out, dlx_dtype to, const void *p, size_t n, dlx_dtype stored);
/* Whether a magnitude is still finite in that type. */
bool dlx_rows_fit(float max, dlx_dtype to);

#endif
