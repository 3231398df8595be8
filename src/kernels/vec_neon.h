/*
 * Vectors of 4 floats or int32 for the kernel templates, aarch64 Advanced SIMD; see vec_avx512.h for what each name
 * means. The int8 products are chosen by what the file that includes this was compiled for: smmla (Armv8.6 int8
 * matrix product), sdot (Armv8.2 dot product) or widening multiplies of the baseline.
 */
#ifndef DLX_KERNELS_VEC_NEON_H
#define DLX_KERNELS_VEC_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DLX_INLINE static inline __attribute__((always_inline))

enum { VF = 4 };
#define TILE_ROWS      8 /* 16 of 32 registers accumulate */
#define TILE_VECS      2
#define NARROW_VECTORS 0 /* what half a vector does takes as long as a whole one */

typedef float32x4_t vf;
typedef int32x4_t vi;

DLX_INLINE vf vf_set1(float a)
{
    return vdupq_n_f32(a);
}
DLX_INLINE vf vf_load(const float *p)
{
    return vld1q_f32(p);
}
DLX_INLINE void vf_store(float *p, vf a)
{
    vst1q_f32(p, a);
}
DLX_INLINE vf vf_load_f16(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
DLX_INLINE vf vf_load_bf16(const uint16_t *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
DLX_INLINE void vf_store_f16(uint16_t *p, vf a)
{
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a)));
}
DLX_INLINE vf vf_add(vf a, vf b)
{
    return vaddq_f32(a, b);
}
DLX_INLINE vf vf_sub(vf a, vf b)
{
    return vsubq_f32(a, b);
}
DLX_INLINE vf vf_mul(vf a, vf b)
{
    return vmulq_f32(a, b);
}
DLX_INLINE vf vf_div(vf a, vf b)
{
    return vdivq_f32(a, b);
}
DLX_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return vfmaq_f32(c, a, b);
}
#define vf_fused vf_fma
/* As on x86: b when one is NaN. */
DLX_INLINE vf vf_min(vf a, vf b)
{
    return vbslq_f32(vcltq_f32(a, b), a, b);
}
DLX_INLINE vf vf_max(vf a, vf b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
DLX_INLINE vf vf_abs(vf a)
{
    return vabsq_f32(a);
}
DLX_INLINE vf vf_if_less(vf a, vf b, vf yes, vf no)
{
    return vbslq_f32(vcltq_f32(a, b), yes, no);
}
DLX_INLINE void vf_transpose(vf m[VF])
{
    float32x4x2_t a = vtrnq_f32(m[0], m[1]), b = vtrnq_f32(m[2], m[3]);
    m[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
    m[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
    m[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
    m[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}

DLX_INLINE vi vi_set1(int32_t a)
{
    return vdupq_n_s32(a);
}
DLX_INLINE vi vi_load(const int32_t *p)
{
    return vld1q_s32(p);
}
DLX_INLINE vi vi_add(vi a, vi b)
{
    return vaddq_s32(a, b);
}
DLX_INLINE vi vi_sub(vi a, vi b)
{
    return vsubq_s32(a, b);
}
DLX_INLINE vi vi_mul(vi a, vi b)
{
    return vmulq_s32(a, b);
}
DLX_INLINE vi vi_half(vi a)
{
    return vshrq_n_s32(a, 1);
}
DLX_INLINE vf vi_to_vf(vi a)
{
    return vcvtq_f32_s32(a);
}
DLX_INLINE vi vf_round(vf a)
{
    return vcvtnq_s32_f32(a);
}
DLX_INLINE vf vi_exp2(vi a)
{
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(a, vdupq_n_s32(127)), 23));
}
DLX_INLINE void vi_store_i8(int8_t *p, vi a)
{
    int16x4_t words = vmovn_s32(a);
    int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
    vst1_lane_s32((int32_t *)(void *)p, vreinterpret_s32_s8(bytes), 0);
}
DLX_INLINE vi vi_load_i8(const int8_t *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)))));
}

DLX_INLINE vi vi_load_i16(const int16_t *p)
{
    return vmovl_s16(vld1_s16(p));
}

/* Left to the core's own prefetcher: small cores have no issue slots to spare. */
DLX_INLINE void prefetch_l2(const void *p)
{
    (void)p;
}

enum { QD8_ROW_AHEAD = 8192 }; /* prefetch_l2 does nothing */
#define QD8_SPLIT 0

#if defined(__ARM_FEATURE_MATMUL_INT8) || defined(__ARM_FEATURE_DOTPROD)
enum { QD8_OFFSET = 0 };
typedef int8_t qd8_act;
typedef int8x16_t qd8_weights;

DLX_INLINE void qd8_store(qd8_act *p, vi a)
{
    vi_store_i8(p, a);
}
/* The j-th 16 bytes of a panel's step. */
DLX_INLINE qd8_weights qd8_load_weights(const int8_t *p, size_t j)
{
    return vld1q_s8(p + 16 * j);
}

#if defined(__ARM_FEATURE_MATMUL_INT8)
/* smmla: two rows by two columns of eight inputs each. */
#define DOT_ROWS 2
#define DOT_VECS (TILE_VECS * 2) /* of two columns each */
enum { QD8_GROUP = 8 };
typedef int8x16_t qd8_inputs;

DLX_INLINE qd8_inputs qd8_load_inputs(const qd8_act *p)
{
    return vld1q_s8(p);
}
/* Where a tile has an odd number of rows, the last. */
DLX_INLINE qd8_inputs qd8_load_last(const qd8_act *p)
{
    return vcombine_s8(vld1_s8(p), vdup_n_s8(0));
}
DLX_INLINE vi qd8_dot(vi sum, qd8_weights w, qd8_inputs x)
{
    return vmmlaq_s32(sum, x, w);
}
/* Row 0 or 1 of four columns: sum[0] has both rows' first two, sum[1] the others. */
DLX_INLINE vi dot_row(const vi sum[2], size_t row)
{
    int64x2_t a = vreinterpretq_s64_s32(sum[0]), b = vreinterpretq_s64_s32(sum[1]);
    return vreinterpretq_s32_s64(row ? vzip2q_s64(a, b) : vzip1q_s64(a, b));
}
#else
/* sdot takes four inputs of a row from any quarter of a vector. */
enum { QD8_GROUP = 4 };
typedef struct qd8_inputs {
    int8x16_t rows;
    size_t quarter; /* a constant after inlining */
} qd8_inputs;

DLX_INLINE qd8_inputs qd8_load_inputs(const qd8_act *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return (qd8_inputs){vreinterpretq_s8_s32(vdupq_n_s32(four)), 0};
}
/* Those of row i where a step has eight rows: two loads for all. */
#define QD8_ALL_ROWS 8
DLX_INLINE qd8_inputs qd8_load_row(const qd8_act *step, size_t i)
{
    return (qd8_inputs){vld1q_s8(step + i / 4 * 16), i % 4};
}
DLX_INLINE vi qd8_dot(vi sum, qd8_weights w, qd8_inputs x)
{
    switch (x.quarter) {
    case 0: return vdotq_laneq_s32(sum, w, x.rows, 0);
    case 1: return vdotq_laneq_s32(sum, w, x.rows, 1);
    case 2: return vdotq_laneq_s32(sum, w, x.rows, 2);
    default: return vdotq_laneq_s32(sum, w, x.rows, 3);
    }
}
#endif

enum {
    QD4_GROUP = QD8_GROUP,
    QD4_UNIT = 16,
    QD4_FLIP = 1,
};
/* The low halves of the bytes are the first columns' vectors, the high ones the others'. */
DLX_INLINE void qd4_load_weights(qd8_weights *w, const uint8_t *p)
{
    enum { LOADS = QD8_GROUP / 4 };
    for (size_t i = 0; i < LOADS; i++) {
        int8x16_t both = vreinterpretq_s8_u8(vld1q_u8(p + 16 * i));
        w[i] = vshlq_n_s8(both, 4);
        w[LOADS + i] = vandq_s8(both, vdupq_n_s8((int8_t)-16));
    }
}
#else
/* Two inputs of four columns are eight products of 16 bits, the sums of whose pairs are added to the columns'. */
enum {
    QD8_GROUP = 2,
    QD8_OFFSET = 0,
};
typedef int8_t qd8_act;
typedef int8x8_t qd8_weights;
typedef int8x8_t qd8_inputs;

DLX_INLINE void qd8_store(qd8_act *p, vi a)
{
    vi_store_i8(p, a);
}
/* The j-th 8 bytes of a panel's step. */
DLX_INLINE qd8_weights qd8_load_weights(const int8_t *p, size_t j)
{
    return vld1_s8(p + 8 * j);
}
DLX_INLINE qd8_inputs qd8_load_inputs(const qd8_act *p)
{
    int16_t two;
    memcpy(&two, p, sizeof two);
    return vreinterpret_s8_s16(vdup_n_s16(two));
}
/* Those of row i where a step has eight rows: one load for all, and no way through general registers. */
#define QD8_ALL_ROWS 8
DLX_INLINE qd8_inputs qd8_load_row(const qd8_act *step, size_t i)
{
    int16x8_t all = vreinterpretq_s16_s8(vld1q_s8(step));
    __asm__("" : "+w"(all)); /* gcc would load each of them alone */
    return vreinterpret_s8_s16(vdup_n_s16(all[i]));
}
DLX_INLINE vi qd8_dot(vi sum, qd8_weights w, qd8_inputs x)
{
    return vpadalq_s16(sum, vmull_s8(w, x));
}

/* With weights of four bits a product is at most 1024, so that 31 of them fit 16 bits. */
#define QD4_PARTS    31
enum {
    QD4_GROUP = QD8_GROUP,
    QD4_UNIT = 1,
    QD4_FLIP = 1,
};
typedef int16x8_t qd4_part;

DLX_INLINE qd4_part qd4_none(void)
{
    return vdupq_n_s16(0);
}
DLX_INLINE qd4_part qd4_dot(qd4_part sum, qd8_weights w, qd8_inputs x)
{
    return vmlal_s8(sum, w, x);
}
DLX_INLINE vi qd4_widen(qd4_part sum)
{
    return vpaddlq_s16(sum);
}
DLX_INLINE void qd4_load_weights(qd8_weights w[TILE_VECS], const uint8_t *p)
{
    int8x8_t both = vreinterpret_s8_u8(vld1_u8(p));
    w[0] = vshr_n_s8(vshl_n_s8(both, 4), 4);
    w[1] = vshr_n_s8(both, 4);
}
#endif

#if !defined(QD4_PARTS)
#define QD4_PARTS 0
#endif

#endif
