/*
 * Vectors of 8 floats or int32 for the kernel templates, AVX2, FMA and F16C; see vec_avx512.h for what each name means.
 * The int8 products are chosen by what the file that includes this was compiled for: VNNI's or not.
 */
#ifndef DLX_KERNELS_VEC_AVX2_H
#define DLX_KERNELS_VEC_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DLX_INLINE static inline __attribute__((always_inline))

enum { VF = 8 };
#define TILE_ROWS      6 /* 12 of 16 registers accumulate */
#define TILE_VECS      2
#define NARROW_VECTORS 0 /* what half a vector does takes as long as a whole one */

typedef __m256 vf;
/* Lanes of int32 by type, as in vec_avx512.h. */
#if defined(__AVXVNNI__) || defined(__AVX512VNNI__)
typedef __v8si vi;
#else
typedef __v8su vi;
#endif

DLX_INLINE vf vf_set1(float a)
{
    return _mm256_set1_ps(a);
}
DLX_INLINE vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
DLX_INLINE void vf_store(float *p, vf a)
{
    _mm256_storeu_ps(p, a);
}
DLX_INLINE vf vf_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
DLX_INLINE vf vf_load_bf16(const uint16_t *p)
{
    __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
}
DLX_INLINE void vf_store_f16(uint16_t *p, vf a)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
DLX_INLINE vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
DLX_INLINE vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
DLX_INLINE vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
DLX_INLINE vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
DLX_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
#define vf_fused vf_fma
DLX_INLINE vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
DLX_INLINE vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
DLX_INLINE vf vf_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
DLX_INLINE vf vf_if_less(vf a, vf b, vf yes, vf no)
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

DLX_INLINE void vf_transpose(vf m[VF])
{
    vf t[VF];
    for (size_t i = 0; i < VF; i += 4) {
        __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(m[i], m[i + 1]));
        __m256d b = _mm256_castps_pd(_mm256_unpacklo_ps(m[i + 2], m[i + 3]));
        __m256d c = _mm256_castps_pd(_mm256_unpackhi_ps(m[i], m[i + 1]));
        __m256d d = _mm256_castps_pd(_mm256_unpackhi_ps(m[i + 2], m[i + 3]));
        t[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
        t[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
        t[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(c, d));
        t[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(c, d));
    }
    for (size_t i = 0; i < 4; i++) {
        m[i] = _mm256_permute2f128_ps(t[i], t[4 + i], 0x20);
        m[4 + i] = _mm256_permute2f128_ps(t[i], t[4 + i], 0x31);
    }
}

DLX_INLINE vi vi_set1(int32_t a)
{
    return (vi)_mm256_set1_epi32(a);
}
DLX_INLINE vi vi_load(const int32_t *p)
{
    return (vi)_mm256_loadu_si256((const __m256i *)(const void *)p);
}
DLX_INLINE vi vi_add(vi a, vi b)
{
    return (vi)((__v8su)a + (__v8su)b);
}
DLX_INLINE vi vi_sub(vi a, vi b)
{
    return (vi)((__v8su)a - (__v8su)b);
}
DLX_INLINE vi vi_mul(vi a, vi b)
{
    return (vi)((__v8su)a * (__v8su)b);
}
DLX_INLINE vi vi_half(vi a)
{
    return (vi)_mm256_srai_epi32((__m256i)a, 1);
}
DLX_INLINE vf vi_to_vf(vi a)
{
    return _mm256_cvtepi32_ps((__m256i)a);
}
DLX_INLINE vi vf_round(vf a)
{
    return (vi)_mm256_cvtps_epi32(a);
}
DLX_INLINE vf vi_exp2(vi a)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32((__m256i)a, _mm256_set1_epi32(127)), 23));
}
/* The low halves of both 128-bit lanes as eight int16. */
DLX_INLINE __m128i vi_narrow_i16(vi a)
{
    return _mm_packs_epi32(_mm256_castsi256_si128((__m256i)a), _mm256_extracti128_si256((__m256i)a, 1));
}
DLX_INLINE void vi_store_i8(int8_t *p, vi a)
{
    __m128i words = vi_narrow_i16(a);
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(words, words));
}
DLX_INLINE vi vi_load_i8(const int8_t *p)
{
    return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

DLX_INLINE vi vi_load_i16(const int16_t *p)
{
    return (vi)_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

DLX_INLINE void prefetch_l2(const void *p)
{
    _mm_prefetch(p, _MM_HINT_T1);
}

/* int8 products, four inputs to a lane. */
enum {
    QD8_GROUP = 4,        /* consecutive inputs that one dot step takes */
    QD8_ROW_AHEAD = 1024, /* bytes of weights ahead that a lone row asks for */
};
typedef __m256i qd8_weights;
typedef __m256i qd8_inputs;

DLX_INLINE void vi_store_u8(uint8_t *p, vi a)
{
    __m128i words = vi_narrow_i16(a);
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packus_epi16(words, words));
}
/* Vector j of a panel's step. */
DLX_INLINE qd8_weights qd8_load_weights(const int8_t *p, size_t j)
{
    return _mm256_load_si256((const __m256i *)(const void *)(p + 32 * j));
}
/* Four bytes of a row in every lane. */
DLX_INLINE qd8_inputs qd8_load_inputs(const void *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
}

#if defined(__AVXVNNI__) || defined(__AVX512VNNI__)
/* Activations unsigned (q + 128), weights signed. */
#define QD8_SPLIT 0 /* 1: activations are those of qd8_split_template.h, and int4 products have a form of their own */
#define qd8_store vi_store_u8
enum { QD8_OFFSET = 128 }; /* stored activation = q + QD8_OFFSET */
typedef uint8_t qd8_act;

DLX_INLINE vi qd8_dot(vi sum, qd8_weights w, qd8_inputs x)
{
#if defined(__AVXVNNI__)
    return (vi)_mm256_dpbusd_avx_epi32((__m256i)sum, x, w);
#else
    return (vi)_mm256_dpbusd_epi32((__m256i)sum, x, w); /* the same by AVX-512's encoding: tests run it on such CPUs */
#endif
}

/* int4 weights, as int8 with the value in the high half of the byte. */
#define QD4_PARTS 0 /* steps whose products a narrower number holds; 0: they are added up in int32 at once */
enum {
    QD4_GROUP = QD8_GROUP,
    QD4_UNIT = 16, /* what the dot step sees of a weight of 1 */
    QD4_FLIP = 1,  /* packed halves are two's complement; 0: value + 8 */
};

/* Both vectors of a step. */
DLX_INLINE void qd4_load_weights(qd8_weights w[TILE_VECS], const uint8_t *p)
{
    __m256i both = _mm256_load_si256((const __m256i *)(const void *)p), high = _mm256_set1_epi8((char)0xF0);
    w[0] = _mm256_and_si256(_mm256_slli_epi16(both, 4), high);
    w[1] = _mm256_and_si256(both, high);
}
#else
/* int8 products without VNNI: vpmaddubsw of weights w + 128 with activations that are split so that it cannot saturate
 * (qd8_split_template.h), pairs of its sums added by vpmaddwd: on Intel's cores three instructions for 32 products,
 * where widening both sides to int16 takes four and the widening. */
#define QD8_SPLIT 1
typedef int8_t qd8_act;

DLX_INLINE void vi_store_i16(int16_t *p, vi a)
{
    _mm_storeu_si128((__m128i *)(void *)p, vi_narrow_i16(a));
}
DLX_INLINE vi qd8_dot(vi sum, qd8_weights w, qd8_inputs x)
{
    return sum + (vi)_mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1));
}

/* int4 products: activations unsigned, vpmaddubsw adds pairs in int16. 8 steps fit: 8 * 2 * 255 * 8 < 2^15. */
#define QD4_PARTS 8
enum {
    QD4_GROUP = QD8_GROUP,
    QD4_UNIT = 1,
    QD4_FLIP = 0,
    QD4_OFFSET = 128, /* stored activation = q + QD4_OFFSET */
};
typedef uint8_t qd4_act;
typedef __v16hu qd4_part;

DLX_INLINE void qd4_load_weights(qd8_weights w[TILE_VECS], const uint8_t *p)
{
    __m256i both = _mm256_load_si256((const __m256i *)(const void *)p), low = _mm256_set1_epi8(15);
    __m256i eight = _mm256_set1_epi8(8);
    w[0] = _mm256_sub_epi8(_mm256_and_si256(both, low), eight);
    w[1] = _mm256_sub_epi8(_mm256_and_si256(_mm256_srli_epi16(both, 4), low), eight);
}
DLX_INLINE qd4_part qd4_none(void)
{
    return (qd4_part)_mm256_setzero_si256();
}
DLX_INLINE qd4_part qd4_dot(qd4_part sum, qd8_weights w, qd8_inputs x)
{
    return sum + (qd4_part)_mm256_maddubs_epi16(x, w);
}
DLX_INLINE vi qd4_widen(qd4_part sum)
{
    return (vi)_mm256_madd_epi16((__m256i)sum, _mm256_set1_epi16(1));
}
#endif

#endif
