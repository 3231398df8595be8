/*
 * What the tests of matrix products share: a table of the products, random cases of each, and one computation of a case
 * that goes through everything a caller may do (strips one by one from weights of which only theirs are there, rows
 * quantised tile by tile, all strips at once, each row alone).
 */
#ifndef KERNELS_GEMM_CHECK_H
#define KERNELS_GEMM_CHECK_H

#include "kernels_check.h"

#include "kernels/qd8.h"

typedef enum activations { ACT_FLOAT, ACT_QD8, ACT_QS8 } activations;
typedef enum weights { W_F32, W_F16, W_BF16, W_I8, W_I4, W_I4_GROUPS } weights;

typedef struct product {
    const char *name;
    size_t member; /* of dlx_kernels */
    activations act;
    weights w;
} product;

#define PRODUCT(name, act, w)                                                                                          \
    {                                                                                                                  \
#name, offsetof(dlx_kernels, name), act, w                                                                     \
    }
static const product products[] = {
    PRODUCT(gemm_f32, ACT_FLOAT, W_F32),          PRODUCT(gemm_f32_f16w, ACT_FLOAT, W_F16),
    PRODUCT(gemm_f32_bf16w, ACT_FLOAT, W_BF16),   PRODUCT(gemm_f32_qc8w, ACT_FLOAT, W_I8),
    PRODUCT(gemm_qd8_qc8w, ACT_QD8, W_I8),        PRODUCT(gemm_qd8_qc4w, ACT_QD8, W_I4),
    PRODUCT(gemm_qd8_qb4w, ACT_QD8, W_I4_GROUPS), PRODUCT(gemm_qs8_qc8w, ACT_QS8, W_I8),
};
enum { PRODUCTS = sizeof products / sizeof products[0] };

static inline const dlx_gemm *gemm_of(const dlx_kernels *k, const product *p)
{
    return (const dlx_gemm *)(const void *)((const uint8_t *)k + p->member);
}

typedef struct shape {
    size_t rows, n_out, n_in;
} shape;

typedef struct gemm_case {
    const product *p;
    shape s;
    size_t group;
    size_t x_stride;
    guarded x, w;
    float *scale, *bias; /* bias: NULL in every third case */
    int32_t *bias_i32;
    uint16_t *group_scale;
    dlx_qs8_params qs8;
} gemm_case;

static inline dlx_gemm_shape size_of(const gemm_case *c)
{
    return (dlx_gemm_shape){.n_out = c->s.n_out, .n_in = c->s.n_in, .group = c->group};
}

static inline size_t row_bytes(const gemm_case *c)
{
    static const size_t halves[] = {[W_F32] = 8, [W_F16] = 4, [W_BF16] = 4, [W_I8] = 2, [W_I4] = 1, [W_I4_GROUPS] = 1};
    return c->s.n_in * halves[c->p->w] / 2;
}

/* Weight k of column n, without its scale. */
static inline float weight_of(const gemm_case *c, size_t n, size_t k)
{
    const uint8_t *row = (const uint8_t *)c->w.p + n * row_bytes(c);
    uint16_t half;
    float w;
    memcpy(&half, row + (c->p->w == W_F16 || c->p->w == W_BF16 ? 2 * k : 0), sizeof half);
    switch (c->p->w) {
    case W_F32: memcpy(&w, row + 4 * k, sizeof w); return w;
    case W_F16: return dlx_f16_to_f32(half);
    case W_BF16: return dlx_bf16_to_f32(half);
    case W_I8: return (float)(int8_t)row[k];
    default: return (float)(row[k / 2] >> (k % 2 ? 4 : 0) & 15) - 8.0f;
    }
}

/* The factor of weight k of column n. */
static inline float scale_of(const gemm_case *c, size_t n, size_t k)
{
    if (c->p->w == W_I4_GROUPS) return dlx_bf16_to_f32(c->group_scale[(n * c->s.n_in + k) / c->group]);
    return c->scale ? c->scale[n] : 1.0f;
}

static inline void *check_alloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    assert_non_null(p);
    return p;
}

/* Random bits of all kinds: every fourth case has the two extremes of integers alone. */
static inline void fill_weights(rng *r, gemm_case *c, size_t index)
{
    size_t n = c->s.n_out * c->s.n_in;
    uint8_t *bytes = c->w.p;
    for (size_t i = 0; i < n && c->p->w == W_F32; i++) {
        float w = fill_value(r, FILL_PLAIN);
        memcpy(bytes + i * sizeof w, &w, sizeof w);
    }
    for (size_t i = 0; i < n && (c->p->w == W_F16 || c->p->w == W_BF16); i++) {
        float w = rng_below(r, 9) ? fill_value(r, FILL_PLAIN) : rng_f32(r) * 1e-6f; /* denormals of halves among them */
        uint16_t half = c->p->w == W_F16 ? dlx_f32_to_f16(w) : dlx_f32_to_bf16(w);
        memcpy(bytes + i * sizeof half, &half, sizeof half);
    }
    if (c->p->w < W_I8) return;
    for (size_t i = 0; i < c->w.n; i++) bytes[i] = (uint8_t)rng_u32(r);
    for (size_t i = 0; i < c->w.n && index % 4 == 0; i++) {
        bool low = rng_below(r, 2), high = rng_below(r, 2);
        bytes[i] = c->p->w == W_I8 ? (low ? 127 : 0x80) : (uint8_t)((low ? 15 : 0) | (high ? 0xF0 : 0));
    }
}

static inline void fill_scales(rng *r, gemm_case *c, size_t index)
{
    size_t n = c->s.n_out;
    if (c->p->w == W_I8 || c->p->w == W_I4) {
        c->scale = check_alloc(n * sizeof(float));
        for (size_t i = 0; i < n; i++) c->scale[i] = 0.001f + rng_f32(r) * rng_f32(r) * 0.01f;
    }
    if (c->p->w == W_I4_GROUPS) {
        size_t scales = n * (c->s.n_in / c->group);
        c->group_scale = check_alloc(scales * sizeof(uint16_t));
        for (size_t i = 0; i < scales; i++) c->group_scale[i] = dlx_f32_to_bf16(0.001f + fabsf(rng_f32(r)) * 0.01f);
    }
    c->qs8 = (dlx_qs8_params){.in_scale = 0.003f + fabsf(rng_f32(r)) * 0.03f,
                              .out_scale = 0.01f + fabsf(rng_f32(r)),
                              .in_zero = (int32_t)rng_below(r, 256) - 128,
                              .out_zero = (int32_t)rng_below(r, 256) - 128};
    if (index % 3 == 0) return;
    c->bias = check_alloc(n * sizeof(float));
    c->bias_i32 = check_alloc(n * sizeof(int32_t));
    fill(r, c->bias, n, FILL_PLAIN);
    for (size_t i = 0; i < n; i++) c->bias_i32[i] = (int32_t)rng_below(r, 200001) - 100000;
}

/* Makes the sizes fit the kind of weights: whole bytes, whole groups. */
static inline gemm_case gemm_case_new(rng *r, const product *p, shape s, size_t index)
{
    gemm_case c = {.p = p, .s = s};
    if (p->w == W_I4) c.s.n_in += s.n_in % 2;
    if (p->w == W_I4_GROUPS) {
        c.group = 32 * (1 + index % 4);
        c.s.n_in = (s.n_in + c.group - 1) / c.group * c.group;
    }
    c.x_stride = c.s.n_in + index % 5;
    c.x = guarded_new(((c.s.rows - 1) * c.x_stride + c.s.n_in) * sizeof(float), 4 * (index % 16));
    size_t element = p->w == W_F32 ? 4 : p->w == W_F16 || p->w == W_BF16 ? 2 : 1;
    c.w = guarded_new(c.s.n_out * row_bytes(&c), element * (index % 7));
    int kinds = p->act == ACT_FLOAT ? FILL_MODERATE : FILL_KINDS;
    for (size_t m = 0; m < c.s.rows; m++) fill(r, (float *)c.x.p + m * c.x_stride, c.s.n_in, (int)(index + m) % kinds);
    fill_weights(r, &c, index);
    fill_scales(r, &c, index);
    return c;
}

static inline void gemm_case_free(gemm_case *c)
{
    guarded_free(&c->x);
    guarded_free(&c->w);
    free(c->scale);
    free(c->bias);
    free(c->bias_i32);
    free(c->group_scale);
}

/* y of one case: rows with a gap behind each, and canaries. */
typedef struct output {
    guarded g;
    size_t stride, columns, rows;
} output;

static inline output output_new(shape s, size_t gap, size_t offset)
{
    output o = {.stride = s.n_out + gap, .columns = s.n_out, .rows = s.rows};
    o.g = guarded_new(((s.rows - 1) * o.stride + s.n_out) * sizeof(float), offset);
    return o;
}

static inline float *output_row(const output *o, size_t m)
{
    return (float *)o->g.p + m * o->stride;
}

static inline void output_free(output *o)
{
    for (size_t m = 0; m + 1 < o->rows; m++)
        for (size_t n = o->columns; n < o->stride; n++) {
            const uint8_t *gap = (const uint8_t *)(output_row(o, m) + n);
            for (size_t i = 0; i < sizeof(float); i++)
                if (gap[i] != canary((size_t)(gap + i - o->g.block))) fail_msg("row %zu: the gap was written", m);
        }
    guarded_free(&o->g);
}

/* Rows of the case as the product takes them; `block` is for what the quantiser makes. */
static inline const void *take_rows(const dlx_kernels *k, const gemm_case *c, size_t row, size_t rows, void *block)
{
    const float *x = (const float *)c->x.p + row * c->x_stride;
    if (c->p->act == ACT_FLOAT) return x;
    for (size_t m = 0; m < rows; m += k->qd8.row_tile) {
        size_t end = m + k->qd8.row_tile < rows ? m + k->qd8.row_tile : rows;
        if (c->p->act == ACT_QD8)
            k->qd8.quantize(block, x, c->x_stride, rows, c->s.n_in, m, end);
        else
            k->quantize_qs8(block, x, c->x_stride, rows, c->s.n_in, m, end, c->qs8.in_scale, c->qs8.in_zero);
    }
    return block;
}

static inline dlx_gemm_weights weights_of(const gemm_case *c, size_t first)
{
    dlx_gemm_weights w = {.w = (const uint8_t *)c->w.p + first * row_bytes(c),
                          .first = first,
                          .scale = c->scale,
                          .bias = c->p->act == ACT_QS8 ? NULL : c->bias,
                          .qs8 = c->p->act == ACT_QS8 ? &c->qs8 : NULL,
                          .bias_i32 = c->p->act == ACT_QS8 ? c->bias_i32 : NULL};
    if (c->group_scale) w.group_scale = c->group_scale + first * (c->s.n_in / c->group);
    return w;
}

/* The same bits, or NaN on both sides. */
static inline void check_same(const char *what, const float *got, const float *expected, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(expected[i]) ? !isnan(got[i]) : dlx_f32_to_bits(got[i]) != dlx_f32_to_bits(expected[i]))
            fail_msg("%s [%zu]: got %.9g, expected %.9g", what, i, (double)got[i], (double)expected[i]);
}

/* Packs a strip from a copy of its rows that ends where they do, so that sanitizers see who reads on. */
static inline void pack_strip(const dlx_gemm *g, const gemm_case *c, void *packed, size_t strip)
{
    size_t first = strip * g->strip, left = c->s.n_out - first, rows = left < g->strip ? left : g->strip;
    dlx_gemm_weights w = weights_of(c, first);
    void *copy = check_alloc(rows * row_bytes(c));
    memcpy(copy, w.w, rows * row_bytes(c));
    w.w = copy;
    g->pack(packed, &w, size_of(c), strip, strip + 1);
    free(copy);
}

/* Each row comes back from a packed block as it went in. */
static inline void check_unpacked(const dlx_gemm *g, const gemm_case *c, const void *packed)
{
    guarded row = guarded_new(row_bytes(c), 0);
    for (size_t n = 0; n < c->s.n_out; n++) {
        memset(row.p, 0x7B, row_bytes(c));
        g->unpack(row.p, packed, size_of(c), n);
        assert_memory_equal(row.p, weights_of(c, n).w, row_bytes(c));
    }
    guarded_free(&row);
}

static inline void gemm_compute(const dlx_kernels *k, const gemm_case *c, const output *y)
{
    const dlx_gemm *g = gemm_of(k, c->p);
    shape s = c->s;
    dlx_gemm_shape size = size_of(c);
    size_t strips = (s.n_out + g->strip - 1) / g->strip, bytes = g->packed_size(size);
    assert_in_range(bytes, s.n_out * row_bytes(c), SIZE_MAX / 2);
    guarded packed = guarded_new(bytes, 0), q = guarded_new(k->qd8.size(s.rows, s.n_in), 0);
    for (size_t j = strips; j-- > 0;) pack_strip(g, c, packed.p, j);
    check_unpacked(g, c, packed.p);
    const void *rows = take_rows(k, c, 0, s.rows, q.p);
    for (size_t j = strips; j-- > 0;)
        g->run((float *)y->g.p + j * g->strip, y->stride, rows, c->x_stride, s.rows, packed.p, size, j, j + 1);
    /* All at once must give the same bits. */
    output whole = output_new(s, 0, 0);
    dlx_gemm_weights w = weights_of(c, 0);
    guarded together = guarded_new(bytes, 0);
    memset(together.p, 0x7B, bytes); /* what packing leaves out must not be used */
    g->pack(together.p, &w, size, 0, strips);
    g->run(whole.g.p, whole.stride, rows, c->x_stride, s.rows, together.p, size, 0, strips);
    for (size_t m = 0; m < s.rows; m++) check_same("strips together", output_row(&whole, m), output_row(y, m), s.n_out);
    /* Each row alone, quantised alone, as well. */
    guarded one = guarded_new(k->qd8.size(1, s.n_in), 0);
    for (size_t m = 0; m < s.rows; m++) {
        g->run(whole.g.p, whole.stride, take_rows(k, c, m, 1, one.p), c->x_stride, 1, packed.p, size, 0, strips);
        check_same("row alone", whole.g.p, output_row(y, m), s.n_out);
    }
    guarded_free(&one);
    output_free(&whole);
    guarded_free(&together);
    guarded_free(&q);
    guarded_free(&packed);
}

#endif
