/*
 * Vectors of 16 floats or int32 for the kernel templates, AVX-512 F/BW/DQ/VL. The templates (elementwise, gemm,
 * attention) are written against these names and included once per instruction set. The int8 products are chosen by
 * what the file that includes this was compiled for: VNNI's or not.
 */
#ifndef DLX_KERNELS_VEC_AVX512_H
#define DLX_KERNELS_VEC_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DLX_INLINE static inline __attribute__((always_inline))

enum { VF = 16 }; /* lanes */
/* Rows x vectors of one register tile: 16 of 32 registers accumulate. Larger ones are no faster on Zen 4, and gcc 12
 * spills them. */
#define TILE_ROWS 8
#define TILE_VECS 2

typedef __m512 vf;
/* Lanes of int32 by type, not the compiler's untyped integer vector: gcc keeps accumulators in place across loop
 * iterations only if their type never changes, so it is that of what adds to them. Sums wrap. */
#if defined(__AVX512VNNI__)
typedef __v16si vi; /* of vpdpbusd */
#else
typedef __v16su vi;
#endif

DLX_INLINE vf vf_set1(float a)
{
    return _mm512_set1_ps(a);
}
DLX_INLINE vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
DLX_INLINE void vf_store(float *p, vf a)
{
    _mm512_storeu_ps(p, a);
}
DLX_INLINE vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
} /* NaN becomes quiet */
DLX_INLINE vf vf_load_bf16(const uint16_t *p)
{
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}
DLX_INLINE void vf_store_f16(uint16_t *p, vf a)
{
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
} /* half to even, denormals included */
DLX_INLINE vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
DLX_INLINE vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
DLX_INLINE vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
DLX_INLINE vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
DLX_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
} /* a * b + c */
/* The same, for what has the reference's bits: rounded once in every set. */
#define vf_fused vf_fma
DLX_INLINE vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
} /* b when one is NaN */
DLX_INLINE vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
} /* b when one is NaN */
DLX_INLINE vf vf_abs(vf a)
{
    return _mm512_abs_ps(a);
}
/* a < b ? yes : no */
DLX_INLINE vf vf_if_less(vf a, vf b, vf yes, vf no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}

/* Rows become columns: first within blocks of 4 x 4, then the blocks. */
DLX_INLINE void vf_transpose(vf m[VF])
{
    vf t[VF];
    for (size_t i = 0; i < VF; i += 4) {
        __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(m[i], m[i + 1]));
        __m512d b = _mm512_castps_pd(_mm512_unpacklo_ps(m[i + 2], m[i + 3]));
        __m512d c = _mm512_castps_pd(_mm512_unpackhi_ps(m[i], m[i + 1]));
        __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(m[i + 2], m[i + 3]));
        t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
        t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
        t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
    }
    for (size_t i = 0; i < 4; i++) {
        vf a = _mm512_shuffle_f32x4(t[i], t[4 + i], 0x44), b = _mm512_shuffle_f32x4(t[8 + i], t[12 + i], 0x44);
        vf c = _mm512_shuffle_f32x4(t[i], t[4 + i], 0xEE), d = _mm512_shuffle_f32x4(t[8 + i], t[12 + i], 0xEE);
        m[i] = _mm512_shuffle_f32x4(a, b, 0x88);
        m[4 + i] = _mm512_shuffle_f32x4(a, b, 0xDD);
        m[8 + i] = _mm512_shuffle_f32x4(c, d, 0x88);
        m[12 + i] = _mm512_shuffle_f32x4(c, d, 0xDD);
    }
}

/* Half as wide: Zen 4 executes two of these a cycle but one of the wide ones, other cores no more of the wide ones. */
#define NARROW_VECTORS 1
enum { NF = 8 };
typedef __m256 nf;
DLX_INLINE nf nf_set1(float a)
{
    return _mm256_set1_ps(a);
}
DLX_INLINE nf nf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
DLX_INLINE void nf_store(float *p, nf a)
{
    _mm256_storeu_ps(p, a);
}
DLX_INLINE nf nf_add(nf a, nf b)
{
    return _mm256_add_ps(a, b);
}
DLX_INLINE nf nf_fma(nf a, nf b, nf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
DLX_INLINE nf vf_low(vf a)
{
    return _mm512_castps512_ps256(a);
}
DLX_INLINE nf vf_high(vf a)
{
    return _mm512_extractf32x8_ps(a, 1);
}

DLX_INLINE vi vi_set1(int32_t a)
{
    return (vi)_mm512_set1_epi32(a);
}
DLX_INLINE vi vi_load(const int32_t *p)
{
    return (vi)_mm512_loadu_si512(p);
}
DLX_INLINE vi vi_add(vi a, vi b)
{
    return (vi)_mm512_add_epi32((__m512i)a, (__m512i)b);
}
DLX_INLINE vi vi_sub(vi a, vi b)
{
    return (vi)_mm512_sub_epi32((__m512i)a, (__m512i)b);
}
DLX_INLINE vi vi_mul(vi a, vi b)
{
    return (vi)_mm512_mullo_epi32((__m512i)a, (__m512i)b);
}
DLX_INLINE vi vi_half(vi a)
{
    return (vi)_mm512_srai_epi32((__m512i)a, 1);
}
DLX_INLINE vf vi_to_vf(vi a)
{
    return _mm512_cvtepi32_ps((__m512i)a);
}
DLX_INLINE vi vf_round(vf a)
{
    return (vi)_mm512_cvtps_epi32(a);
} /* half to even */
/* 2^a for a in [-126, 127] */
DLX_INLINE vf vi_exp2(vi a)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32((__m512i)a, _mm512_set1_epi32(127)), 23));
}
DLX_INLINE void vi_store_i8(int8_t *p, vi a)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8((__m512i)a));
}
DLX_INLINE vi vi_load_i8(const int8_t *p)
{
    return (vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

DLX_INLINE vi vi_load_i16(const int16_t *p)
{
    return (vi)_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

DLX_INLINE void prefetch_l2(const void *p)
{
    _mm_prefetch(p, _MM_HINT_T1);
}

/* int8 products, four inputs to a lane. */
enum {
    QD8_GROUP = 4,        /* consecutive inputs that one dot step takes */
    QD8_ROW_AHEAD = 2048, /* bytes of weights ahead that a lone row asks for */
};
typedef __m512i qd8_weights;
typedef __m512i qd8_inputs;

DLX_INLINE void vi_store_u8(uint8_t *p, vi a)
{
    vi_store_i8((int8_t *)p, a);
}
/* Vector j of a panel's step. */
DLX_INLINE qd8_weights qd8_load_weights(const int8_t *p, size_t j)
{
    return _mm512_load_si512(p + 64 * j);
}
/* Four bytes of a row in every lane. */
DLX_INLINE qd8_inputs qd8_load_inputs(const void *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}

#if defined(__AVX512VNNI__)
/* Activations unsigned (q + 128), weights signed. */
#define QD8_SPLIT 0 /* 1: activations are those of qd8_split_template.h, and int4 products have a form of their own */
#define qd8_store vi_store_u8
enum { QD8_OFFSET = 128 }; /* stored activation = q + QD8_OFFSET */
typedef uint8_t qd8_act;

DLX_INLINE vi qd8_dot(vi sum, qd8_weights w, qd8_inputs x)
{
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, x, w);
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
    __m512i both = _mm512_load_si512(p), high = _mm512_set1_epi8((char)0xF0);
    w[0] = _mm512_and_si512(_mm512_slli_epi16(both, 4), high);
    w[1] = _mm512_and_si512(both, high);
}
#else
/* int8 products without VNNI, as in vec_avx2.h: activations split, weights w + 128. */
#define QD8_SPLIT 1
typedef int8_t qd8_act;

DLX_INLINE void vi_store_i16(int16_t *p, vi a)
{
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16((__m512i)a));
}
DLX_INLINE vi qd8_dot(vi sum, qd8_weights w, qd8_inputs x)
{
    return sum + (vi)_mm512_madd_epi16(_mm512_maddubs_epi16(w, x), _mm512_set1_epi16(1));
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
typedef __v32hu qd4_part;

DLX_INLINE void qd4_load_weights(qd8_weights w[TILE_VECS], const uint8_t *p)
{
    __m512i both = _mm512_load_si512(p), low = _mm512_set1_epi8(15), eight = _mm512_set1_epi8(8);
    w[0] = _mm512_sub_epi8(_mm512_and_si512(both, low), eight);
    w[1] = _mm512_sub_epi8(_mm512_and_si512(_mm512_srli_epi16(both, 4), low), eight);
}
DLX_INLINE qd4_part qd4_none(void)
{
    return (qd4_part)_mm512_setzero_si512();
}
DLX_INLINE qd4_part qd4_dot(qd4_part sum, qd8_weights w, qd8_inputs x)
{
    return sum + (qd4_part)_mm512_maddubs_epi16(x, w);
}
DLX_INLINE vi qd4_widen(qd4_part sum)
{
    return (vi)_mm512_madd_epi16((__m512i)sum, _mm512_set1_epi16(1));
}
#endif

#endif
