/*
 * The kv8 rule: how the keys, or the values, of one token and key/value head become int8 in a cache.
 *
 *   scale = max |x| / 127 rounded to the nearest bfloat16 (even at ties), and 0 when that is below 2^-126
 *   q = round(clamp(x * (1 / scale), -127, 127)), half to even, and 0 when scale is 0; x is approximated by q * scale
 *
 * in float32. A record is the scale, then the q: 2 + n bytes, aligned to nothing.
 * Rows of a cache are the records of their heads.
 *
 * Why bfloat16: q has 7 bits and the scale 8, so every q * scale is a float without rounding, and the numbers that a
 * record stands for have the same record again, for the largest of a row has q = 127 or -127 (127 * (1 - 2^-9) still
 * rounds to it). So rows may be rounded where they are made and once more where they are stored, and all kernels that
 * read records compute with the same floats. It has the range of float32, where a half could not take rows beyond 8e6,
 * and half its bytes; that q spreads over 126.75 to 127.25 steps instead of 127 cannot be seen in any result.
 *
 * No q stands for a row that holds NaN, an infinity or a magnitude from 2^127 on. It gets scale NaN and q = 0
 * throughout, so that whatever is computed with it is NaN.
 */
#ifndef DLX_KERNELS_KV8_H
#define DLX_KERNELS_KV8_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/half.h"

enum { DLX_KV8_SCALE_BYTES = 2, DLX_KV8_MOST = 127 };

/* Bytes of the record of n numbers. */
static inline size_t dlx_kv8_bytes(size_t n)
{
    return DLX_KV8_SCALE_BYTES + n;
}

static inline float dlx_kv8_scale(const uint8_t *record)
{
    uint16_t bits;
    memcpy(&bits, record, sizeof bits);
    return dlx_bf16_to_f32(bits);
}

static inline const int8_t *dlx_kv8_numbers(const uint8_t *record)
{
    return (const int8_t *)record + DLX_KV8_SCALE_BYTES;
}

/* Writes the scale for numbers of which `most` is the largest magnitude, and returns what they are multiplied with: 0
 * when all q are 0. *fits: there is a record for them; finite: none is NaN or infinite. */
static inline float dlx_kv8_begin(uint8_t *record, float most, bool finite, bool *fits)
{
    *fits = finite && most < 0x1p127f;
    uint16_t bits = *fits ? dlx_f32_to_bf16(fabsf(most) / (float)DLX_KV8_MOST) : 0x7FC0; /* no -0 */
    if (bits < 0x0080) bits = 0;                                                         /* 1 / scale would overflow */
    memcpy(record, &bits, sizeof bits);
    return *fits && bits ? 1.0f / dlx_bf16_to_f32(bits) : 0.0f;
}

static inline int8_t dlx_kv8_round(float x, float up)
{
    float t = x * up, most = (float)DLX_KV8_MOST;
    t = t < most ? t : most;
    t = t > -most ? t : -most;
    return (int8_t)rintf(t);
}

#endif
