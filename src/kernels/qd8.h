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
 * A row of zeros is q = zero, whatever the scale. It gets scale 0, where XNNPACK has 1, so that sums of floats that
 * cancel but for their rounding (int4 in groups) leave nothing but the bias there, as exact ones do.
 *
 * No q stands for a row that holds NaN or an infinity, or whose hi - lo overflows. It gets scale NaN, zero point 0 and
 * q = 0 throughout, so that every output of its products is NaN and whoever looks at them sees it. XNNPACK answers
 * with NaN or infinities in most of these cases, but with finite numbers for most places of a NaN (its vector minimum
 * forgets them).
 */
#ifndef DLX_KERNELS_QD8_H
#define DLX_KERNELS_QD8_H

#include <math.h>

#include "base/half.h"
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
                         .row = {.scale = lo == hi ? 0.0f : 1.0f / up, .zero_point = (int32_t)zero}};
}

/* round(x * up) within the bounds, without the zero point added. */
static inline int32_t dlx_qd8_round(const dlx_qd8_map *map, float x)
{
    float t = x * map->up;
    t = t < map->high ? t : map->high;
    t = t > map->low ? t : map->low;
    return (int32_t)rintf(t);
}

/*
 * The qs8 rule: one scale and zero point for all rows, known beforehand (XNNPACK, f32-qs8-vcvt):
 * q = clamp(round(x * (1 / scale)), -128 - zero, 127 - zero) + zero. A row that holds NaN or an infinity is marked by
 * scale NaN, which output makes of all its results; other rows have 0 there.
 */
static inline dlx_qd8_map dlx_qs8_map_of(float scale, int32_t zero_point, bool finite)
{
    return (dlx_qd8_map){.up = 1.0f / scale,
                         .low = (float)(-128 - zero_point),
                         .high = (float)(127 - zero_point),
                         .row = {.scale = finite ? 0.0f : NAN, .zero_point = zero_point}};
}

/* Factor from a sum of products and bias to steps of the output (XNNPACK, src/operators/fully-connected-nc.c). */
static inline float dlx_qs8_requant(const dlx_qs8_params *p, float w_scale)
{
    return p->in_scale * w_scale / p->out_scale;
}

/* The float that the requantised sum stands for; low, high: -128 - out_zero, 127 - out_zero. */
static inline float dlx_qs8_output(int32_t sum, float requant, float low, float high, float out_scale, float mark)
{
    float t = (float)sum * requant;
    t = t < high ? t : high;
    t = t > low ? t : low;
    return fmaf(rintf(t), out_scale, mark);
}

/* y = sum * row_scale * w_scale + bias in the order every instruction set uses: product, then one fused step. */
static inline float dlx_qd8_output(int32_t sum, float row_scale, float w_scale, float bias)
{
    return fmaf((float)sum * row_scale, w_scale, bias);
}

/*
 * int4 weights with scales in groups. Activations count from 0 (q + 128), so that the sum of a group needs no zero
 * point; zero points of all groups are taken off at the start, by way of the column's w_sum, the sum over groups of the
 * scale times the group's weights. (XNNPACK, src/qd8-f32-qb4w-gemm; unsigned activations are its form for x86 with
 * VNNI.)
 */
static inline float dlx_qb4_start(int32_t zero_point, float w_sum)
{
    return (float)(-128 - zero_point) * w_sum;
}

/* `sum` is exact: over the inputs of one group of (q + 128) * w. Groups are added in ascending order. */
static inline float dlx_qb4_add(float y, int32_t sum, float group_scale)
{
    return fmaf((float)sum, group_scale, y);
}

/* In two roundings, as XNNPACK has it on most machines. */
static inline float dlx_qb4_output(float y, float row_scale, float bias)
{
    return y * row_scale + bias;
}

/* One of two int4 values in a byte of a file. */
static inline int32_t dlx_i4(uint8_t byte, size_t index)
{
    return (int32_t)(byte >> (index % 2 * 4) & 15) - 8;
}

/* w_sum of a row of int4 weights. In double, so that it is rounded once. */
static inline float dlx_qb4_w_sum(const uint8_t *row, const uint16_t *scale, size_t n_in, size_t group)
{
    double total = 0;
    for (size_t g = 0; g < n_in / group; g++) {
        int32_t sum = 0;
        for (size_t k = g * group; k < (g + 1) * group; k++) sum += dlx_i4(row[k / 2], k);
        total += (double)dlx_bf16_to_f32(scale[g]) * (double)sum;
    }
    return (float)total;
}

#endif
