/* Floating-point numbers as the bits they are made of. */
#ifndef DLX_BASE_BITS_H
#define DLX_BASE_BITS_H

#include <stdint.h>
#include <string.h>

static inline float dlx_bits_to_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t dlx_f32_to_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline double dlx_bits_to_f64(uint64_t u)
{
    double f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint64_t dlx_f64_to_bits(double f)
{
    uint64_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

#endif
