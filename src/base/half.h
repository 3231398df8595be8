/* bfloat16 and IEEE half to float32 (exact), and back with round to nearest even. */
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
    if (exponent == 31) return dlx_bits_to_f32(sign | 0x7F800000 | mantissa << 13);
    if (exponent) return dlx_bits_to_f32(sign | (exponent + 112) << 23 | mantissa << 13);
    float subnormal = (float)mantissa * 0x1p-24f;
    return sign ? -subnormal : subnormal;
}

#endif
