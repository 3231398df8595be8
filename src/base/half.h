/* bfloat16 and IEEE half to float32 (exact), and back with round to nearest even. NaN stays NaN, made quiet by the
 * conversions of IEEE half, as the hardware's do. */
#ifndef DLX_BASE_HALF_H
#define DLX_BASE_HALF_H

#include <stdint.h>

#include "base/bits.h"

static inline float dlx_bf16_to_f32(uint16_t h)
{
    return dlx_bits_to_f32((uint32_t)h << 16);
}

static inline uint16_t dlx_f32_to_bf16(float f)
{
    uint32_t u = dlx_f32_to_bits(f);
    if ((u & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)((u >> 16) | 0x40); /* keep NaN a NaN */
    return (uint16_t)((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
}

static inline float dlx_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 1023;
    if (exponent == 31) return dlx_bits_to_f32(sign | 0x7F800000 | mantissa << 13 | (mantissa ? 0x400000 : 0));
    if (exponent) return dlx_bits_to_f32(sign | (exponent + 112) << 23 | mantissa << 13);
    float subnormal = (float)mantissa * 0x1p-24f;
    return sign ? -subnormal : subnormal;
}

static inline uint16_t dlx_f32_to_f16(float f)
{
    uint32_t u = dlx_f32_to_bits(f), sign = u >> 16 & 0x8000, magnitude = u & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x1FF));
    if (magnitude >= 0x477FF000) return (uint16_t)(sign | 0x7C00); /* from 65520, half a step above the largest */
    /* Below 2^-14 halves are multiples of 2^-24, as are the floats from 0.5 to 1: the addition rounds. */
    if (magnitude < 0x38800000)
        return (uint16_t)(sign | (dlx_f32_to_bits(dlx_bits_to_f32(magnitude) + 0.5f) - 0x3F000000));
    return (uint16_t)(sign | (magnitude - 0x38000000 + 0xFFF + (magnitude >> 13 & 1)) >> 13);
}

#endif
