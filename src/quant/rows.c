/*
 * Written so that compilers vectorise the loops for any instruction set: magnitudes are compared as integers (which
 * also makes NaN and infinity the largest), rounding is an addition, and no loop branches on data.
 */
#include "quant/rows.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

enum { F32_SIZE = 4, HALF_SIZE = 2 };

static inline uint16_t load16(const uint8_t *p, size_t i)
{
    uint16_t h;
    memcpy(&h, p + HALF_SIZE * i, sizeof h);
    return h;
}

static inline float load_f32(const uint8_t *p, size_t i)
{
    float f;
    memcpy(&f, p + F32_SIZE * i, sizeof f);
    return f;
}

static inline float load_bf16(const uint8_t *p, size_t i)
{
    return dlx_bf16_to_f32(load16(p, i));
}

/* Exponent and mantissa move into place and 2^(127-15) corrects the bias, for subnormal numbers too. Finite h only. */
static inline float load_f16(const uint8_t *p, size_t i)
{
    uint32_t h = load16(p, i);
    float magnitude = dlx_bits_to_f32((h & 0x7FFF) << 13) * 0x1p112f;
    return dlx_bits_to_f32(dlx_f32_to_bits(magnitude) | (h & 0x8000) << 16);
}

static int16_t max_bits16(const uint8_t *p, size_t n)
{
    int16_t most = 0;
    for (size_t i = 0; i < n; i++) {
        int16_t bits = (int16_t)(load16(p, i) & 0x7FFF);
        most = bits > most ? bits : most;
    }
    return most;
}

static int32_t max_bits32(const uint8_t *p, size_t n)
{
    int32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t bits = (int32_t)(dlx_f32_to_bits(load_f32(p, i)) & 0x7FFFFFFF);
        most = bits > most ? bits : most;
    }
    return most;
}

float dlx_rows_max(const void *p, size_t n, dlx_dtype stored)
{
    if (stored == DLX_F32) {
        int32_t bits = max_bits32(p, n);
        return bits < 0x7F800000 ? dlx_bits_to_f32((uint32_t)bits) : NAN;
    }
    int16_t bits = max_bits16(p, n);
    if (stored == DLX_BF16) return bits < 0x7F80 ? dlx_bf16_to_f32((uint16_t)bits) : NAN;
    return bits < 0x7C00 ? dlx_f16_to_f32((uint16_t)bits) : NAN;
}

float dlx_int8_scale(float max)
{
    float scale = max / 127.0f;
    return scale == 0.0f ? 1.0f : scale;
}

float dlx_int4_scale(float max, dlx_dtype stored)
{
    float scale = max / 7.0f;
    if (stored == DLX_BF16) scale = dlx_bf16_to_f32(dlx_f32_to_bf16(scale));
    return scale == 0.0f ? 1.0f : scale;
}

/* Adding 1.5 * 2^23 leaves the integer in the low bits of the sum, rounded half to even. */
static inline int8_t quantise(float w, float scale, float least, float most)
{
    float x = w / scale;
    x = x < least ? least : x;
    x = x > most ? most : x;
    return (int8_t)(uint8_t)dlx_f32_to_bits(x + 12582912.0f);
}

static inline void codes(int8_t *out, const void *p, size_t n, dlx_dtype stored, float scale, float least, float most)
{
    switch (stored) {
    case DLX_F32:
        for (size_t i = 0; i < n; i++) out[i] = quantise(load_f32(p, i), scale, least, most);
        break;
    case DLX_BF16:
        for (size_t i = 0; i < n; i++) out[i] = quantise(load_bf16(p, i), scale, least, most);
        break;
    default:
        for (size_t i = 0; i < n; i++) out[i] = quantise(load_f16(p, i), scale, least, most);
        break;
    }
}

void dlx_int8_quantize(int8_t *out, const void *p, size_t n, dlx_dtype stored, float scale)
{
    codes(out, p, n, stored, scale, -128.0f, 127.0f);
}

void dlx_int4_quantize(uint8_t *out, const void *p, size_t n, dlx_dtype stored, float scale)
{
    enum { BLOCK = 256 };
    int8_t q[BLOCK];
    size_t width = stored == DLX_F32 ? F32_SIZE : HALF_SIZE;
    for (size_t at = 0; at < n; at += BLOCK) {
        size_t m = n - at < BLOCK ? n - at : BLOCK;
        codes(q, (const uint8_t *)p + at * width, m, stored, scale, -8.0f, 7.0f);
        for (size_t i = 0; i < m / 2; i++) out[at / 2 + i] = (uint8_t)((q[2 * i] + 8) | (q[2 * i + 1] + 8) << 4);
    }
}

void dlx_rows_widen(float *out, const void *p, size_t n, dlx_dtype stored)
{
    if (stored == DLX_BF16)
        for (size_t i = 0; i < n; i++) out[i] = load_bf16(p, i);
    else
        for (size_t i = 0; i < n; i++) out[i] = load_f16(p, i);
}

/* As dlx_f32_to_f16 rounds finite numbers, without branches. */
static inline uint16_t round_f16(float f)
{
    uint32_t u = dlx_f32_to_bits(f), magnitude = u & 0x7FFFFFFF;
    uint32_t small = dlx_f32_to_bits(dlx_bits_to_f32(magnitude) + 0.5f) - 0x3F000000;
    uint32_t normal = (magnitude - 0x38000000 + 0xFFF + (magnitude >> 13 & 1)) >> 13;
    return (uint16_t)((u >> 16 & 0x8000) | (magnitude < 0x38800000 ? small : normal));
}

static inline uint16_t round_bf16(float f)
{
    uint32_t u = dlx_f32_to_bits(f);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

void dlx_rows_round(uint16_t *out, dlx_dtype to, const void *p, size_t n, dlx_dtype stored)
{
    bool half = to == DLX_F16;
    switch (stored) {
    case DLX_F32:
        for (size_t i = 0; i < n; i++) out[i] = half ? round_f16(load_f32(p, i)) : round_bf16(load_f32(p, i));
        break;
    case DLX_BF16:
        for (size_t i = 0; i < n; i++) out[i] = half ? round_f16(load_bf16(p, i)) : round_bf16(load_bf16(p, i));
        break;
    default:
        for (size_t i = 0; i < n; i++) out[i] = half ? round_f16(load_f16(p, i)) : round_bf16(load_f16(p, i));
        break;
    }
}

bool dlx_rows_fit(float max, dlx_dtype to)
{
    float beyond = to == DLX_F16 ? 65520.0f : 0x1.FFp127f; /* half a step above the largest */
    return max < beyond;
}
