/* Matrix products of every instruction set: int8 bit by bit against the reference, float32 within the bound of a float
 * summation and bit by bit among the sets; results independent of strips, rows of the call and alignment. */
#include "kernels_check.h"

typedef struct shape {
    size_t rows, n_out, n_in;
} shape;

/* All small sizes around the tiles and panels, then a few that span several strips and input slices. */
static const shape large_shapes[] = {{33, 97, 515}, {9, 161, 1030}, {17, 64, 512},
                                     {8, 96, 1024}, {40, 35, 2049}, {1, 200, 4099}};
enum { SMALL_SHAPES = 500, SHAPES = SMALL_SHAPES + sizeof large_shapes / sizeof large_shapes[0] };

static shape shape_of(rng *r, size_t i)
{
    if (i >= SMALL_SHAPES) return large_shapes[i - SMALL_SHAPES];
    if (i < 67) return (shape){1 + i % 9, i + 1, 1 + rng_below(r, 67)};
    if (i < 134) return (shape){1 + rng_below(r, 35), 1 + rng_below(r, 67), i - 66};
    return (shape){1 + rng_below(r, 35), 1 + rng_below(r, 67), 1 + rng_below(r, 67)};
}

static dlx_gemm_shape size_of(shape s)
{
    return (dlx_gemm_shape){.n_out = s.n_out, .n_in = s.n_in};
}

static void *block_new(size_t n)
{
    void *p = aligned_alloc(64, (n + 64) / 64 * 64);
    assert_non_null(p);
    memset(p, 0x7B, (n + 64) / 64 * 64); /* what packing leaves out must not be used */
    return p;
}

/* y of one case: rows with a gap behind each, and canaries. */
typedef struct output {
    guarded g;
    size_t stride, columns, rows;
} output;

static output output_new(shape s, size_t gap, size_t offset)
{
    output o = {.stride = s.n_out + gap, .columns = s.n_out, .rows = s.rows};
    o.g = guarded_new(((s.rows - 1) * o.stride + s.n_out) * sizeof(float), offset);
    return o;
}

static float *output_row(const output *o, size_t m)
{
    return (float *)o->g.p + m * o->stride;
}

static void output_free(output *o)
{
    for (size_t m = 0; m + 1 < o->rows; m++)
        for (size_t n = o->columns; n < o->stride; n++) {
            const uint8_t *gap = (const uint8_t *)(output_row(o, m) + n);
            for (size_t i = 0; i < sizeof(float); i++)
                if (gap[i] != canary((size_t)(gap + i - o->g.block))) fail_msg("row %zu: the gap was written", m);
        }
    guarded_free(&o->g);
}

/* float32 */

typedef struct f32_case {
    shape s;
    size_t x_stride;
    guarded x, w;
    float *bias; /* NULL in every third case */
} f32_case;

static f32_case f32_case_new(rng *r, shape s, size_t index)
{
    f32_case c = {.s = s, .x_stride = s.n_in + index % 5};
    c.x = guarded_new(((s.rows - 1) * c.x_stride + s.n_in) * sizeof(float), 4 * (index % 16));
    c.w = guarded_new(s.n_out * s.n_in * sizeof(float), 4 * (index % 7));
    for (size_t m = 0; m < s.rows; m++)
        fill(r, (float *)c.x.p + m * c.x_stride, s.n_in, (int)(index + m) % FILL_MODERATE);
    fill(r, c.w.p, s.n_out * s.n_in, FILL_PLAIN);
    if (index % 3 == 0) return c;
    c.bias = malloc(s.n_out * sizeof(float));
    assert_non_null(c.bias);
    fill(r, c.bias, s.n_out, FILL_PLAIN);
    return c;
}

static void f32_case_free(f32_case *c)
{
    guarded_free(&c->x);
    guarded_free(&c->w);
    free(c->bias);
}

/* Packs strip by strip and runs strip by strip, as threads do. */
static void f32_compute(const dlx_gemm *g, const f32_case *c, const output *y)
{
    shape s = c->s;
    size_t strips = (s.n_out + g->strip - 1) / g->strip, size = g->packed_size(size_of(s));
    assert_in_range(size, s.n_out * s.n_in * sizeof(float), SIZE_MAX / 2);
    guarded packed = guarded_new(size, 0);
    dlx_gemm_weights w = {.w = c->w.p, .bias = c->bias};
    for (size_t j = strips; j-- > 0;) g->pack(packed.p, &w, size_of(s), j, j + 1);
    for (size_t j = strips; j-- > 0;)
        g->run((float *)y->g.p + j * g->strip, y->stride, c->x.p, c->x_stride, s.rows, packed.p, size_of(s), j, j + 1);
    /* All at once must give the same bits. */
    output whole = output_new(s, 0, 0);
    g->pack(packed.p, &w, size_of(s), 0, strips);
    g->run(whole.g.p, whole.stride, c->x.p, c->x_stride, s.rows, packed.p, size_of(s), 0, strips);
    for (size_t m = 0; m < s.rows; m++)
        check_bits("strips together", output_row(&whole, m), output_row(y, m), s.n_out * sizeof(float));
    /* Each row alone as well. */
    for (size_t m = 0; m < s.rows; m++) {
        g->run(whole.g.p, whole.stride, (const float *)c->x.p + m * c->x_stride, c->x_stride, 1, packed.p, size_of(s),
               0, strips);
        check_bits("row alone", whole.g.p, output_row(y, m), s.n_out * sizeof(float));
    }
    output_free(&whole);
    guarded_free(&packed);
}

/* A chain of n fused steps is off by at most n * 2^-24 of the sum of magnitudes (Higham, "Accuracy and Stability of
 * Numerical Algorithms", section 3.1). */
static void f32_check(const f32_case *c, const output *y, const output *expected)
{
    shape s = c->s;
    for (size_t m = 0; m < s.rows; m++) {
        for (size_t n = 0; n < s.n_out; n++) {
            double sum = c->bias ? fabs((double)c->bias[n]) : 0;
            const float *x = (const float *)c->x.p + m * c->x_stride, *w = (const float *)c->w.p + n * s.n_in;
            for (size_t k = 0; k < s.n_in; k++) sum += fabs((double)x[k] * (double)w[k]);
            check_close("gemm_f32", n, output_row(y, m)[n], output_row(expected, m)[n],
                        (double)(s.n_in + 1) * 0x1p-24 * sum);
        }
    }
}

static void test_f32(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    rng r = {99};
    for (size_t i = 0; i < SHAPES; i++) {
        shape s = shape_of(&r, i);
        f32_case c = f32_case_new(&r, s, i);
        output expected = output_new(s, 0, 0), first = output_new(s, 0, 0);
        f32_compute(&k[0].gemm_f32, &c, &expected);
        for (size_t j = 1; j < count; j++) {
            output y = output_new(s, i % 4, 4 * (i % 16));
            f32_compute(&k[j].gemm_f32, &c, &y);
            f32_check(&c, &y, &expected);
            for (size_t m = 0; m < s.rows && j == 1; m++)
                memcpy(output_row(&first, m), output_row(&y, m), s.n_out * sizeof(float));
            for (size_t m = 0; m < s.rows && j > 1; m++)
                check_bits(k[j].name, output_row(&y, m), output_row(&first, m), s.n_out * sizeof(float));
            output_free(&y);
        }
        output_free(&first);
        output_free(&expected);
        f32_case_free(&c);
    }
}

/* The order of the sum is part of the contract: one fused chain over the inputs, bias last. */
static void test_f32_order(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    rng r = {5};
    shape s = {11, 37, 1300};
    f32_case c = f32_case_new(&r, s, 1);
    for (size_t j = 1; j < count; j++) {
        output y = output_new(s, 0, 0);
        f32_compute(&k[j].gemm_f32, &c, &y);
        for (size_t m = 0; m < s.rows; m++) {
            for (size_t n = 0; n < s.n_out; n++) {
                const float *x = (const float *)c.x.p + m * c.x_stride, *w = (const float *)c.w.p + n * s.n_in;
                float sum = 0;
                for (size_t i = 0; i < s.n_in; i++) sum = fmaf(x[i], w[i], sum);
                sum += c.bias[n];
                check_bits("fused chain", &output_row(&y, m)[n], &sum, sizeof sum);
            }
        }
        output_free(&y);
    }
    f32_case_free(&c);
}

/* int8 */

typedef struct qd8_case {
    shape s;
    size_t x_stride;
    guarded x, w;
    float *scale, *bias;
} qd8_case;

static qd8_case qd8_case_new(rng *r, shape s, size_t index)
{
    qd8_case c = {.s = s, .x_stride = s.n_in + index % 5};
    c.x = guarded_new(((s.rows - 1) * c.x_stride + s.n_in) * sizeof(float), 4 * (index % 16));
    c.w = guarded_new(s.n_out * s.n_in, index % 7);
    for (size_t m = 0; m < s.rows; m++) fill(r, (float *)c.x.p + m * c.x_stride, s.n_in, (int)(index + m) % FILL_KINDS);
    int8_t *w = c.w.p;
    for (size_t i = 0; i < s.n_out * s.n_in; i++)
        w[i] = (int8_t)(index % 4 == 0 ? (rng_below(r, 2) ? 127 : -128) : (int)rng_below(r, 256) - 128);
    c.scale = malloc(s.n_out * sizeof(float));
    assert_non_null(c.scale);
    for (size_t n = 0; n < s.n_out; n++) c.scale[n] = 0.001f + rng_f32(r) * rng_f32(r) * 0.01f;
    if (index % 3 == 0) return c;
    c.bias = malloc(s.n_out * sizeof(float));
    assert_non_null(c.bias);
    fill(r, c.bias, s.n_out, FILL_PLAIN);
    return c;
}

static void qd8_case_free(qd8_case *c)
{
    guarded_free(&c->x);
    guarded_free(&c->w);
    free(c->scale);
    free(c->bias);
}

static void qd8_compute(const dlx_kernels *k, const qd8_case *c, const output *y)
{
    shape s = c->s;
    const dlx_gemm *g = &k->gemm_qd8_qc8w;
    const dlx_quantizer *rows = &k->qd8;
    size_t strips = (s.n_out + g->strip - 1) / g->strip;
    guarded packed = guarded_new(g->packed_size(size_of(s)), 0);
    guarded q = guarded_new(rows->size(s.rows, s.n_in), 0);
    dlx_gemm_weights w = {.w = c->w.p, .scale = c->scale, .bias = c->bias};
    for (size_t j = strips; j-- > 0;) g->pack(packed.p, &w, size_of(s), j, j + 1);
    for (size_t m = 0; m < s.rows; m += rows->row_tile) {
        size_t end = m + rows->row_tile < s.rows ? m + rows->row_tile : s.rows;
        rows->quantize(q.p, c->x.p, c->x_stride, s.rows, s.n_in, m, end);
    }
    for (size_t j = strips; j-- > 0;)
        g->run((float *)y->g.p + j * g->strip, y->stride, q.p, 0, s.rows, packed.p, size_of(s), j, j + 1);
    /* Each row alone, quantised alone. */
    void *one = block_new(rows->size(1, s.n_in));
    output alone = output_new((shape){1, s.n_out, s.n_in}, 0, 0);
    for (size_t m = 0; m < s.rows; m++) {
        rows->quantize(one, (const float *)c->x.p + m * c->x_stride, c->x_stride, 1, s.n_in, 0, 1);
        g->run(alone.g.p, alone.stride, one, 0, 1, packed.p, size_of(s), 0, strips);
        check_bits("row alone", alone.g.p, output_row(y, m), s.n_out * sizeof(float));
    }
    output_free(&alone);
    free(one);
    guarded_free(&q);
    guarded_free(&packed);
}

static void qd8_all_sets(const dlx_kernels *k, size_t count, const qd8_case *c, size_t index)
{
    output expected = output_new(c->s, 0, 0);
    qd8_compute(&k[0], c, &expected);
    for (size_t j = 1; j < count; j++) {
        output y = output_new(c->s, index % 4, 4 * (index % 16));
        qd8_compute(&k[j], c, &y);
        for (size_t m = 0; m < c->s.rows; m++)
            check_bits(k[j].name, output_row(&y, m), output_row(&expected, m), c->s.n_out * sizeof(float));
        output_free(&y);
    }
    output_free(&expected);
}

static void test_qd8(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    rng r = {77};
    for (size_t i = 0; i < SHAPES; i++) {
        shape s = shape_of(&r, i);
        qd8_case c = qd8_case_new(&r, s, i);
        qd8_all_sets(k, count, &c, i);
        qd8_case_free(&c);
    }
}

/* The largest sums that a wide layer can make: all weights -128 or 127 against activations at both ends. */
static void test_qd8_extremes(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    rng r = {3};
    shape s = {9, 40, 18944};
    for (int variant = 0; variant < 4; variant++) {
        qd8_case c = qd8_case_new(&r, s, 1);
        memset(c.w.p, variant & 1 ? 127 : 0x80, c.w.n);
        float *x = c.x.p;
        for (size_t m = 0; m < s.rows; m++)
            for (size_t i = 0; i < s.n_in; i++) x[m * c.x_stride + i] = variant & 2 ? 1.0f : i % 97 ? -1.0f : 0.5f;
        qd8_all_sets(k, count, &c, 0);
        qd8_case_free(&c);
    }
}

/* Against the plain float product: what quantisation is for. The error of a value is at most one step. */
static void test_qd8_meaning(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    rng r = {31};
    shape s = {5, 48, 300};
    qd8_case c = qd8_case_new(&r, s, 7);
    for (size_t m = 0; m < s.rows; m++) fill(&r, (float *)c.x.p + m * c.x_stride, s.n_in, FILL_PLAIN);
    for (size_t j = 0; j < count; j++) {
        output y = output_new(s, 0, 0);
        qd8_compute(&k[j], &c, &y);
        for (size_t m = 0; m < s.rows; m++) {
            for (size_t n = 0; n < s.n_out; n++) {
                double sum = 0, magnitude = 0;
                for (size_t i = 0; i < s.n_in; i++) {
                    double w = ((int8_t *)c.w.p)[n * s.n_in + i] * (double)c.scale[n];
                    sum += (double)((float *)c.x.p)[m * c.x_stride + i] * w;
                    magnitude += fabs(w);
                }
                check_close("meaning", n, output_row(&y, m)[n], (float)(sum + (double)c.bias[n]),
                            magnitude * 6.0 / 255 + 1e-5);
            }
        }
        output_free(&y);
    }
    qd8_case_free(&c);
}

/* A row with NaN, an infinity or too wide a range: all its outputs are NaN, and no other row notices. */
static void test_qd8_overflow(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    static const float bad[][2] = {{NAN, 1}, {INFINITY, 1}, {-INFINITY, 1}, {3e38f, -3e38f}};
    rng r = {404};
    for (size_t i = 0; i < 60; i++) {
        shape s = {1 + rng_below(&r, 20), 1 + rng_below(&r, 67), 2 + rng_below(&r, 130)};
        qd8_case c = qd8_case_new(&r, s, i);
        size_t spoilt = rng_below(&r, s.rows), place = rng_below(&r, s.n_in - 1);
        for (size_t m = 0; m < s.rows; m++) fill(&r, (float *)c.x.p + m * c.x_stride, s.n_in, FILL_PLAIN);
        for (size_t j = 0; j < count; j++) {
            output before = output_new(s, 0, 0), after = output_new(s, 0, 0);
            qd8_compute(&k[j], &c, &before);
            float *x = (float *)c.x.p + spoilt * c.x_stride + place, saved[2];
            memcpy(saved, x, sizeof saved);
            memcpy(x, bad[i % 4], sizeof saved);
            qd8_compute(&k[j], &c, &after);
            memcpy(x, saved, sizeof saved);
            for (size_t m = 0; m < s.rows; m++) {
                float *row = output_row(&after, m);
                if (m != spoilt) check_bits(k[j].name, row, output_row(&before, m), s.n_out * sizeof *row);
                for (size_t n = 0; n < s.n_out && m == spoilt; n++)
                    if (!isnan(row[n]))
                        fail_msg("%s: output %zu of the spoilt row is %g", k[j].name, n, (double)row[n]);
            }
            output_free(&before);
            output_free(&after);
        }
        qd8_case_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),          cmocka_unit_test(test_f32_order),   cmocka_unit_test(test_qd8),
        cmocka_unit_test(test_qd8_extremes), cmocka_unit_test(test_qd8_meaning), cmocka_unit_test(test_qd8_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
