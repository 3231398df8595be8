/*
 * Vectors of 4 floats or int32 for the kernel templates, WebAssembly's SIMD128; see vec_avx512.h for what each name
 * means. It has no fused step: vf_fma rounds the product, and only where the reference's bits are promised vf_fused
 * pays for one through doubles. Relaxed SIMD has such a step, but may round the product or not, as the engine likes.
 */
#ifndef DLX_KERNELS_VEC_SIMD128_H
#define DLX_KERNELS_VEC_SIMD128_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <wasm_simd128.h>

#define DLX_INLINE static inline __attribute__((always_inline))

enum { VF = 4 };
#define TILE_ROWS      4 /* 8 of 16 registers accumulate, where engines have those of x86-64: 12 are spilled */
#define TILE_VECS      2
#define NARROW_VECTORS 0 /* what half a vector does takes as long as a whole one */

typedef v128_t vf, vi;

DLX_INLINE vf vf_set1(float a)
{
    return wasm_f32x4_splat(a);
}
DLX_INLINE vf vf_load(const float *p)
{
    return wasm_v128_load(p);
}
DLX_INLINE void vf_store(float *p, vf a)
{
    wasm_v128_store(p, a);
}
DLX_INLINE vf vf_add(vf a, vf b)
{
    return wasm_f32x4_add(a, b);
}
DLX_INLINE vf vf_sub(vf a, vf b)
{
    return wasm_f32x4_sub(a, b);
}
DLX_INLINE vf vf_mul(vf a, vf b)
{
    return wasm_f32x4_mul(a, b);
}
DLX_INLINE vf vf_div(vf a, vf b)
{
    return wasm_f32x4_div(a, b);
}
DLX_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return wasm_f32x4_add(wasm_f32x4_mul(a, b), c);
}
/* As on x86: b when one is NaN. (pmin(x, y) is y < x ? y : x.) */
DLX_INLINE vf vf_min(vf a, vf b)
{
    return wasm_f32x4_pmin(b, a);
}
DLX_INLINE vf vf_max(vf a, vf b)
{
    return wasm_f32x4_pmax(b, a);
}
DLX_INLINE vf vf_abs(vf a)
{
    return wasm_f32x4_abs(a);
}
DLX_INLINE vf vf_if_less(vf a, vf b, vf yes, vf no)
{
    return wasm_v128_bitselect(yes, no, wasm_f32x4_lt(a, b));
}
DLX_INLINE void vf_transpose(vf m[VF])
{
    vf a = wasm_i32x4_shuffle(m[0], m[1], 0, 4, 1, 5), b = wasm_i32x4_shuffle(m[2], m[3], 0, 4, 1, 5);
    vf c = wasm_i32x4_shuffle(m[0], m[1], 2, 6, 3, 7), d = wasm_i32x4_shuffle(m[2], m[3], 2, 6, 3, 7);
    m[0] = wasm_i64x2_shuffle(a, b, 0, 2);
    m[1] = wasm_i64x2_shuffle(a, b, 1, 3);
    m[2] = wasm_i64x2_shuffle(c, d, 0, 2);
    m[3] = wasm_i64x2_shuffle(c, d, 1, 3);
}

/* ---- a fused step ------------------------------------------------------------------------------------------------ */

/* The sum of two doubles, its last place odd where there is more behind it: so rounding it to float decides as the
 * exact sum would (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using
 * rounding to odd", 2008). */
DLX_INLINE v128_t sum_to_odd(v128_t a, v128_t b)
{
    v128_t sum = wasm_f64x2_add(a, b), taken = wasm_f64x2_sub(sum, a);
    v128_t error = wasm_f64x2_add(wasm_f64x2_sub(a, wasm_f64x2_sub(sum, taken)), wasm_f64x2_sub(b, taken));
    v128_t inexact =
        wasm_f64x2_gt(wasm_f64x2_abs(error), wasm_f64x2_splat(0)); /* not where the sum is infinite or NaN */
    v128_t even = wasm_i64x2_sub(wasm_v128_and(sum, wasm_i64x2_splat(1)), wasm_i64x2_splat(1));
    v128_t step = wasm_v128_or(wasm_i64x2_shr(wasm_v128_xor(sum, error), 63), wasm_i64x2_splat(1));
    return wasm_i64x2_add(sum, wasm_v128_and(step, wasm_v128_and(inexact, even)));
}

/* a * b + c, rounded once. Products are exact in double. Rounding the sum to double first can only matter where that
 * ends half way between two floats: 1 and 28 zeros behind a float's bits, or anything below the normal floats. */
DLX_INLINE vf vf_fused(vf a, vf b, vf c)
{
    v128_t a_high = wasm_i64x2_shuffle(a, a, 1, 1), b_high = wasm_i64x2_shuffle(b, b, 1, 1);
    v128_t low = wasm_f64x2_mul(wasm_f64x2_promote_low_f32x4(a), wasm_f64x2_promote_low_f32x4(b));
    v128_t high = wasm_f64x2_mul(wasm_f64x2_promote_low_f32x4(a_high), wasm_f64x2_promote_low_f32x4(b_high));
    v128_t c_low = wasm_f64x2_promote_low_f32x4(c);
    v128_t c_high = wasm_f64x2_promote_low_f32x4(wasm_i64x2_shuffle(c, c, 1, 1));
    v128_t sum_low = wasm_f64x2_add(low, c_low), sum_high = wasm_f64x2_add(high, c_high);
    v128_t ends = wasm_i32x4_shuffle(sum_low, sum_high, 0, 2, 4, 6);
    v128_t heads = wasm_i32x4_shuffle(sum_low, sum_high, 1, 3, 5, 7);
    v128_t half = wasm_i32x4_eq(wasm_v128_and(ends, wasm_i32x4_splat(0x1FFFFFFF)), wasm_i32x4_splat(0x10000000));
    v128_t magnitude = wasm_v128_and(heads, wasm_i32x4_splat(0x7FFFFFFF)); /* of 2^-126: 0x38100000 */
    v128_t tiny = wasm_u32x4_lt(wasm_i32x4_sub(magnitude, wasm_i32x4_splat(1)), wasm_i32x4_splat(0x38100000 - 1));
    if (__builtin_expect(wasm_v128_any_true(wasm_v128_or(half, tiny)), 0)) {
        sum_low = sum_to_odd(low, c_low);
        sum_high = sum_to_odd(high, c_high);
    }
    return wasm_i64x2_shuffle(wasm_f32x4_demote_f64x2_zero(sum_low), wasm_f32x4_demote_f64x2_zero(sum_high), 0, 2);
}

/* ---- other forms of numbers -------------------------------------------------------------------------------------- */

DLX_INLINE vf vf_load_bf16(const uint16_t *p)
{
    return wasm_i32x4_shl(wasm_u32x4_load16x4(p), 16);
}
/* Exponent and mantissa in the places of a float are 2^-112 times the number, denormals included; from 65536 on it is
 * infinity, or NaN, which becomes quiet. */
DLX_INLINE vf vf_load_f16(const uint16_t *p)
{
    v128_t h = wasm_u32x4_load16x4(p);
    __asm__("" : "+r"(h)); /* clang would go on in 16 bits */
    v128_t bits = wasm_v128_and(wasm_i32x4_shr(wasm_i32x4_shl(h, 16), 3), wasm_i32x4_splat((int32_t)0x8FFFE000));
    v128_t number = wasm_f32x4_mul(bits, wasm_f32x4_splat(0x1p112f)), magnitude = wasm_f32x4_abs(number);
    v128_t beyond = wasm_f32x4_ge(magnitude, wasm_f32x4_splat(65536)),
           nan = wasm_f32x4_gt(magnitude, wasm_f32x4_splat(65536));
    v128_t exponent = wasm_v128_and(beyond, wasm_i32x4_splat(0x7F800000)),
           quiet = wasm_v128_and(nan, wasm_i32x4_splat(0x400000));
    return wasm_v128_or(number, wasm_v128_or(exponent, quiet));
}
/* The cases of dlx_f32_to_f16. */
DLX_INLINE void vf_store_f16(uint16_t *p, vf a)
{
    v128_t magnitude = wasm_v128_and(a, wasm_i32x4_splat(0x7FFFFFFF));
    v128_t sign = wasm_v128_and(wasm_u32x4_shr(a, 16), wasm_i32x4_splat(0x8000));
    v128_t odd = wasm_v128_and(wasm_u32x4_shr(magnitude, 13), wasm_i32x4_splat(1));
    v128_t h = wasm_i32x4_add(magnitude, wasm_i32x4_add(odd, wasm_i32x4_splat(0xFFF - 0x38000000)));
    h = wasm_u32x4_shr(h, 13);
    v128_t small = wasm_i32x4_sub(wasm_f32x4_add(magnitude, wasm_f32x4_splat(0.5f)), wasm_f32x4_splat(0.5f));
    h = wasm_v128_bitselect(small, h, wasm_i32x4_lt(magnitude, wasm_i32x4_splat(0x38800000)));
    h = wasm_v128_bitselect(wasm_i32x4_splat(0x7C00), h, wasm_i32x4_gt(magnitude, wasm_i32x4_splat(0x477FEFFF)));
    v128_t payload = wasm_v128_and(wasm_u32x4_shr(magnitude, 13), wasm_i32x4_splat(0x1FF));
    v128_t nan = wasm_v128_or(payload, wasm_i32x4_splat(0x7E00));
    h = wasm_v128_bitselect(nan, h, wasm_i32x4_gt(magnitude, wasm_i32x4_splat(0x7F800000)));
    h = wasm_v128_or(h, sign);
    wasm_v128_store64_lane(p, wasm_u16x8_narrow_i32x4(h, h), 0);
}

DLX_INLINE vi vi_set1(int32_t a)
{
    return wasm_i32x4_splat(a);
}
DLX_INLINE vi vi_load(const int32_t *p)
{
    return wasm_v128_load(p);
}
DLX_INLINE vi vi_add(vi a, vi b)
{
    return wasm_i32x4_add(a, b);
}
DLX_INLINE vi vi_sub(vi a, vi b)
{
    return wasm_i32x4_sub(a, b);
}
DLX_INLINE vi vi_mul(vi a, vi b)
{
    return wasm_i32x4_mul(a, b);
}
DLX_INLINE vi vi_half(vi a)
{
    return wasm_i32x4_shr(a, 1);
}
DLX_INLINE vf vi_to_vf(vi a)
{
    return wasm_f32x4_convert_i32x4(a);
}
/* Of magnitudes below 2^22, and NaN to anything: adding 1.5 * 2^23 rounds, and leaves the integer in the low bits. The
 * instruction for it would check for what is beyond an int32. */
DLX_INLINE vi vf_round(vf a)
{
    return wasm_i32x4_sub(wasm_f32x4_add(a, wasm_f32x4_splat(12582912.0f)), wasm_f32x4_splat(12582912.0f));
}
DLX_INLINE vf vi_exp2(vi a)
{
    return wasm_i32x4_shl(wasm_i32x4_add(a, wasm_i32x4_splat(127)), 23);
}
DLX_INLINE void vi_store_i8(int8_t *p, vi a)
{
    v128_t words = wasm_i16x8_narrow_i32x4(a, a);
    wasm_v128_store32_lane(p, wasm_i8x16_narrow_i16x8(words, words), 0);
}
DLX_INLINE vi vi_load_i8(const int8_t *p)
{
    vi a = wasm_i32x4_extend_low_i16x8(wasm_i16x8_extend_low_i8x16(wasm_v128_load32_zero(p)));
    __asm__("" : "+r"(a)); /* clang would make floats of them one by one */
    return a;
}
DLX_INLINE vi vi_load_i16(const int16_t *p)
{
    return wasm_i32x4_load16x4(p);
}

/* There is no such instruction. */
DLX_INLINE void prefetch_l2(const void *p)
{
    (void)p;
}

/* ---- products of quantised rows ---------------------------------------------------------------------------------- */

/* i32x4.dot_i16x8 multiplies 16 bits and adds pairs: activations are stored as wide as it wants them, counted from 0,
 * and weights are widened as they are loaded, once for all rows of a tile. */
enum {
    QD8_GROUP = 2,
    QD8_OFFSET = 128,     /* stored activation = q + QD8_OFFSET */
    QD8_ROW_AHEAD = 8192, /* prefetch_l2 does nothing */
};
#define QD8_SPLIT 0
typedef int16_t qd8_act;
typedef v128_t qd8_weights;
typedef v128_t qd8_inputs;

DLX_INLINE void qd8_store(qd8_act *p, vi a)
{
    wasm_v128_store64_lane(p, wasm_i16x8_narrow_i32x4(a, a), 0);
}
/* The j-th 8 bytes of a panel's step, of one load. */
DLX_INLINE qd8_weights qd8_load_weights(const int8_t *p, size_t j)
{
    v128_t both = wasm_v128_load(p);
    return j ? wasm_i16x8_extend_high_i8x16(both) : wasm_i16x8_extend_low_i8x16(both);
}
DLX_INLINE qd8_inputs qd8_load_inputs(const qd8_act *p)
{
    return wasm_v128_load32_splat(p);
}
/* Those of row i where a step has four rows: one load for all. */
#define QD8_ALL_ROWS 4
DLX_INLINE qd8_inputs qd8_load_row(const qd8_act *step, size_t i)
{
    v128_t all = wasm_v128_load(step);
    return wasm_i32x4_splat(all[i]);
}
DLX_INLINE vi qd8_dot(vi sum, qd8_weights w, qd8_inputs x)
{
    return wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(w, x));
}

/* Sums go through memory: engines that keep them in registers for what comes behind the loop store them in each step.
 */
#define DOT_DONE(sums) __asm__ volatile("" : : "r"(sums) : "memory")

#define QD4_PARTS 0
enum {
    QD4_GROUP = QD8_GROUP,
    QD4_UNIT = 1,
    QD4_FLIP = 1,
};
/* The low halves of the bytes are the first columns' vector, the high ones the others'. */
DLX_INLINE void qd4_load_weights(qd8_weights w[TILE_VECS], const uint8_t *p)
{
    v128_t both = wasm_i16x8_load8x8(p);
    w[0] = wasm_i16x8_shr(wasm_i16x8_shl(both, 12), 12);
    w[1] = wasm_i16x8_shr(both, 4);
}

#endif
