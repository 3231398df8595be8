/*
 * exp and log for whole rows of logits. A row is as wide as the vocabulary, so these loops are most of the decoder's
 * own time; they are written to become SIMD code. The C library's functions differ in the last bit between machines,
 * which would make a draw or a comparison differ; these give the same bits everywhere. Errors stay below 2 units in the
 * last place. Float polynomials: Cephes expf, FreeBSD e_logf.c; the double ones are Taylor series.
 */
#ifndef DLX_DIFFUSION_EXP_LOG_H
#define DLX_DIFFUSION_EXP_LOG_H

#include <stdint.h>

#include "base/bits.h"

/* e^x for x <= 0; 0 below -87, where the result would be denormal. NaN stays NaN. */
static inline float dlx_exp_not_positive(float x)
{
    /* Adding 1.5 * 2^23 rounds to an integer n and leaves n in the low bits. */
    float shifted = x * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    float e = p * dlx_bits_to_f32((dlx_f32_to_bits(shifted) << 23) + 0x3F800000u);
    return x < -87.0f ? 0.0f : e;
}

/* ln x for normal positive x. */
static inline float dlx_log_normal(float x)
{
    uint32_t bits = dlx_f32_to_bits(x);
    /* x = 2^k * m with m in [sqrt(1/2), sqrt(2)) */
    int32_t k = (int32_t)(bits - 0x3F3504F3u) >> 23;
    float m = dlx_bits_to_f32(bits - ((uint32_t)k << 23)), dk = (float)k;
    float f = m - 1.0f, s = f / (2.0f + f), z = s * s, w = z * z;
    float t1 = w * (0x1.999c26p-2f + w * 0x1.f13c4cp-3f);
    float t2 = z * (0x1.555554p-1f + w * 0x1.23d3dcp-2f);
    float half = 0.5f * f * f;
    return s * (half + t1 + t2) + dk * 9.0580006145e-06f - half + f + dk * 6.9313812256e-01f;
}

/* ---- double ----------------------------------------------------------------------------------------------------- */

/* ln 2 in two parts: the first has 21 trailing zeros, so that its product with an exponent is exact. */
#define DLX_LN2_HIGH 0x1.62e42fee00000p-1
#define DLX_LN2_LOW  0x1.a39ef35793c76p-33

/* e^x for x <= 0; 0 below -708, where the result would be denormal. NaN stays NaN. */
static inline double dlx_exp_not_positive_f64(double x)
{
    /* Adding 1.5 * 2^52 rounds to an integer n and leaves n in the low bits. */
    double shifted = x * 0x1.71547652b82fep0 + 0x1.8p52, n = shifted - 0x1.8p52;
    double r = x - n * DLX_LN2_HIGH;
    r = r - n * DLX_LN2_LOW;
    /* |r| <= ln 2 / 2: the first term left out, r^14 / 14!, is 5e-18. */
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r * r + r + 1.0;
    double e = p * dlx_bits_to_f64((dlx_f64_to_bits(shifted) << 52) + 0x3FF0000000000000u);
    return x < -708.0 ? 0.0 : e;
}

/* ln x for normal positive x. */
static inline double dlx_log_normal_f64(double x)
{
    uint64_t bits = dlx_f64_to_bits(x);
    /* x = 2^k * m with m in [sqrt(1/2), sqrt(2)) */
    int64_t k = (int64_t)(bits - 0x3FE6A09E667F3BCDu) >> 52;
    double m = dlx_bits_to_f64(bits - ((uint64_t)k << 52)), dk = (double)k;
    /* ln(1 + f) = 2 atanh(s) = 2s + s * t and 2s = f - s * f; |s| <= 0.172: the first term left out is 2e-19. */
    double f = m - 1.0, s = f / (2.0 + f), z = s * s;
    double t = 2.0 / 23.0;
    t = t * z + 2.0 / 21.0;
    t = t * z + 2.0 / 19.0;
    t = t * z + 2.0 / 17.0;
    t = t * z + 2.0 / 15.0;
    t = t * z + 2.0 / 13.0;
    t = t * z + 2.0 / 11.0;
    t = t * z + 2.0 / 9.0;
    t = t * z + 2.0 / 7.0;
    t = t * z + 2.0 / 5.0;
    t = t * z + 2.0 / 3.0;
    t = t * z;
    /* s * f = f^2 / 2 - s * f^2 / 2: the large part is subtracted from f last, without a rounding of its own. */
    double half = 0.5 * f * f;
    return dk * DLX_LN2_HIGH - ((half - (s * (half + t) + dk * DLX_LN2_LOW)) - f);
}

/* -ln(-ln u) for uniform u in [0, 1): Gumbel noise. A zero counts as half the smallest other value. */
static inline double dlx_gumbel(double u)
{
    return -dlx_log_normal_f64(-dlx_log_normal_f64(u < 0x1p-54 ? 0x1p-54 : u));
}

#endif
