/*
 * The qd8 rule: how one row of float activations becomes int8 (XNNPACK, src/xnnpack/quantization.h,
 * xnn_f32_qd8_asymmetric_quantization_params, and its f32-to-qs8 conversion kernels).
 *
 *   lo = min(0, min x), hi = max(0, max x), up = 255 / (hi - lo), or 1 when hi == lo
 *   zero = -128 - lo*up when (-128 + lo*up) + (127 + hi*up) > 0, else 127 - hi*up; clamped to [-128, 127], rounded
 *   q = clamp(round(x * up), -128 - zero, 127 - zero) + zero; x is approximated by (q - zero) * (1 / up)
 *
 * All in float32, rounding half to even, never contracted to FMA, so that every instruction set gives the same bits.
 * A comparison with NaN (0 * inf in rows whose range is near the smallest denormals) takes the bound; such rows have
 * scale 0, so q only has to be the same everywhere.
 *
 * No q stands for a row that holds NaN or an infinity, or whose hi - lo overflows. It gets scale NaN, zero point 0 and
 * q = 0 throughout, so that every output of its products is NaN and whoever looks at them sees it. XNNPACK answers
 * with NaN or infinities in most of these cases, but with finite numbers for most places of a NaN (its vector minimum
 * forgets them).
 */
#ifndef DLX_KERNELS_QD8_H
#define DLX_KERNELS_QD8_H

#include <math.h>

#include "kernels/kernels.h"

typedef struct dlx_qd8_map {
    float up;
    float low, high; /* bounds of round(x * up): -128 - zero, 127 - zero */
    dlx_qd8_row row;
} dlx_qd8_map;

/* lo <= 0 and hi >= 0: the row's extremes together with 0. finite: the row holds neither NaN nor infinity. */
static inline dlx_qd8_map dlx_qd8_map_of(float lo, float hi, bool finite)
{
    if (!finite || !isfinite(hi - lo)) return (dlx_qd8_map){.row = {.scale = NAN}};
    float up = lo == hi ? 1.0f : 255.0f / (hi - lo);
    float from_lo = lo * up, from_hi = hi * up;
    float zero = (-128.0f + from_lo) + (127.0f + from_hi) > 0.0f ? -128.0f - from_lo : 127.0f - from_hi;
    zero = zero > -128.0f ? zero : -128.0f;
    zero = zero < 127.0f ? zero : 127.0f;
    zero = rintf(zero);
    return (dlx_qd8_map){.up = up,
                         .low = -128.0f - zero,
                         .high = 127.0f - zero,
                         .row = {.scale = 1.0f / up, .zero_point = (int32_t)zero}};
}

/* round(x * up) within the bounds, without the zero point added. */
static inline int32_t dlx_qd8_round(const dlx_qd8_map *map, float x)
{
    float t = x * map->up;
    t = t < map->high ? t : map->high;
    t = t > map->low ? t : map->low;
    return (int32_t)rintf(t);
}

/* y = sum * row_scale * w_scale + bias in the order every instruction set uses: product, then one fused step. */
static inline float dlx_qd8_output(int32_t sum, float row_scale, float w_scale, float bias)
{
    return fmaf((float)sum * row_scale, w_scale, bias);
}

#endif
