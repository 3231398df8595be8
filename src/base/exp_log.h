/*
 * exp and log for whole rows of logits, in vectors as wide as the file is compiled for. The C library's functions
 * differ in the last bit between machines, which would make a draw or a comparison differ; these give the same bits
 * everywhere, because no lane depends on its neighbours and no step is fused. Errors stay below 2 units in the last
 * place. Float polynomials: of e^x the one with the smallest relative error in its interval, 1.05e-7; of ln x that of
 * FreeBSD's e_logf.c. The double ones are Taylor series.
 */
#ifndef DLX_BASE_EXP_LOG_H
#define DLX_BASE_EXP_LOG_H

#include <stdint.h>
#include <string.h>

#include "base/bits.h"

/* ---- float ------------------------------------------------------------------------------------------------------ */

#if defined(__AVX512F__)
#define DLX_VECTOR_BYTES 64
#elif defined(__AVX__)
#define DLX_VECTOR_BYTES 32
#else
#define DLX_VECTOR_BYTES 16
#endif

typedef float dlx_vf __attribute__((vector_size(DLX_VECTOR_BYTES)));
typedef int32_t dlx_vi __attribute__((vector_size(DLX_VECTOR_BYTES)));
typedef uint32_t dlx_vu __attribute__((vector_size(DLX_VECTOR_BYTES)));

/* Sums over a row go through DLX_LANES partial ones, whatever the width: element i to lane i % DLX_LANES. */
enum { DLX_VF = DLX_VECTOR_BYTES / 4, DLX_LANES = 16 };

static inline dlx_vf dlx_vf_load(const float *x)
{
    dlx_vf v;
    memcpy(&v, x, sizeof v);
    return v;
}

static inline void dlx_vf_store(float *x, dlx_vf v)
{
    memcpy(x, &v, sizeof v);
}

/* What a comparison of vectors gives chooses, lane by lane: a where it holds, else b. */
static inline dlx_vi dlx_vi_if(dlx_vi holds, dlx_vi a, dlx_vi b)
{
    return (holds & a) | (~holds & b);
}

static inline dlx_vf dlx_vf_if(dlx_vi holds, dlx_vf a, dlx_vf b)
{
    return (dlx_vf)dlx_vi_if(holds, (dlx_vi)a, (dlx_vi)b);
}

/* e^x for x <= 0; 0 below -87, where the result would be denormal. NaN stays NaN, 0 gives exactly 1. */
static inline dlx_vf dlx_exp_vf(dlx_vf x)
{
    /* Adding 1.5 * 2^23 rounds to an integer n and leaves n in the low bits. */
    dlx_vf shifted = x * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    dlx_vf r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    dlx_vf p = r * 0x1.10627cp-7f + 0x1.572a02p-5f;
    p = p * r + 0x1.5557aep-3f;
    p = p * r + 0x1.fffdfcp-2f;
    p = p * r * r + r + 1.0f;
    dlx_vf e = p * (dlx_vf)(((dlx_vu)shifted << 23) + 0x3F800000u);
    return (dlx_vf)(~(x < -87.0f) & (dlx_vi)e);
}

static inline float dlx_exp_not_positive(float x)
{
    dlx_vf v = {x};
    return dlx_exp_vf(v)[0];
}

/* ln x for normal positive x. */
static inline dlx_vf dlx_log_vf(dlx_vf x)
{
    dlx_vu bits = (dlx_vu)x;
    /* x = 2^k * m with m in [sqrt(1/2), sqrt(2)) */
    dlx_vi k = (dlx_vi)(bits - 0x3F3504F3u) >> 23;
    dlx_vf m = (dlx_vf)(bits - ((dlx_vu)k << 23)), dk = __builtin_convertvector(k, dlx_vf);
    dlx_vf f = m - 1.0f, s = f / (2.0f + f), z = s * s, w = z * z;
    dlx_vf t1 = w * (0x1.999c26p-2f + w * 0x1.f13c4cp-3f);
    dlx_vf t2 = z * (0x1.555554p-1f + w * 0x1.23d3dcp-2f);
    dlx_vf half = 0.5f * f * f;
    return s * (half + t1 + t2) + dk * 9.0580006145e-06f - half + f + dk * 6.9313812256e-01f;
}

static inline float dlx_log_normal(float x)
{
    dlx_vf v = {x};
    return dlx_log_vf(v)[0];
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
