/* Matrix products of every instruction set: those of quantised rows bit by bit against the reference, those of floats
 * within the bound of a float summation and bit by bit among the sets; results independent of strips, rows of the call
 * and alignment. The references against their formulas. */
#include "kernels_gemm_check.h"

/* All small sizes around the tiles and panels, then a few that span several strips and input slices. */
static const shape large_shapes[] = {{33, 97, 515}, {9, 161, 1030}, {17, 64, 512},
                                     {8, 96, 1024}, {40, 35, 2049}, {1, 200, 4099}};
enum { SMALL_SHAPES = 300, SHAPES = SMALL_SHAPES + sizeof large_shapes / sizeof large_shapes[0] };

static shape shape_of(rng *r, size_t i)
{
    if (i >= SMALL_SHAPES) return large_shapes[i - SMALL_SHAPES];
    if (i < 67) return (shape){1 + i % 9, i + 1, 1 + rng_below(r, 67)};
    if (i < 134) return (shape){1 + rng_below(r, 35), 1 + rng_below(r, 67), i - 66};
    return (shape){1 + rng_below(r, 35), 1 + rng_below(r, 67), 1 + rng_below(r, 67)};
}

/* A chain of n fused steps is off by at most n * 2^-24 of the sum of magnitudes (Higham, "Accuracy and Stability of
 * Numerical Algorithms", section 3.1). */
static void float_check(const gemm_case *c, const output *y, const output *expected)
{
    shape s = c->s;
    for (size_t m = 0; m < s.rows; m++) {
        for (size_t n = 0; n < s.n_out; n++) {
            double sum = c->bias ? fabs((double)c->bias[n]) : 0;
            const float *x = (const float *)c->x.p + m * c->x_stride;
            for (size_t k = 0; k < s.n_in; k++)
                sum += fabs((double)x[k] * (double)weight_of(c, n, k) * (double)scale_of(c, n, k));
            check_close(c->p->name, n, output_row(y, m)[n], output_row(expected, m)[n],
                        (double)(s.n_in + 2) * 0x1p-24 * sum);
        }
    }
}

/* Whether set j leaves this product of floats to one before it. */
static bool known(const dlx_kernels *k, size_t j, const product *p)
{
    const dlx_gemm *g = gemm_of(&k[j], p);
    bool found = false;
    for (size_t i = 0; i < j; i++) {
        const dlx_gemm *b = gemm_of(&k[i], p);
        found |= b->run == g->run && b->pack == g->pack && b->packed_size == g->packed_size && b->strip == g->strip;
    }
    return found && p->act == ACT_FLOAT;
}

/* The reference first, then each set: quantised rows against the reference, floats against the set before. */
static void all_sets(const dlx_kernels *k, size_t count, const gemm_case *c, size_t index)
{
    size_t columns = c->s.n_out;
    output expected = output_new(c->s, 0, 0), first = output_new(c->s, 0, 0);
    gemm_compute(&k[0], c, &expected);
    for (size_t j = 1; j < count; j++) {
        if (known(k, j, c->p)) continue;
        output y = output_new(c->s, index % 4, 4 * (index % 16));
        gemm_compute(&k[j], c, &y);
        if (c->p->act == ACT_FLOAT) float_check(c, &y, &expected);
        for (size_t m = 0; m < c->s.rows; m++) {
            if (c->p->act != ACT_FLOAT)
                check_same(k[j].name, output_row(&y, m), output_row(&expected, m), columns);
            else if (j == 1)
                memcpy(output_row(&first, m), output_row(&y, m), columns * sizeof(float));
            else
                check_same(k[j].name, output_row(&y, m), output_row(&first, m), columns);
        }
        output_free(&y);
    }
    output_free(&first);
    output_free(&expected);
}

static void test_all_sizes(void **state)
{
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    rng r = {99};
    for (size_t i = 0; i < SHAPES; i++) {
        gemm_case c = gemm_case_new(&r, *state, shape_of(&r, i), i);
        all_sets(k, count, &c, i);
        gemm_case_free(&c);
    }
}

/* One step of a chain: fused, but for the set that has no such step. */
static float step(const dlx_kernels *k, float a, float b, float c)
{
    return k->isa == DLX_ISA_SIMD128 ? a * b + c : fmaf(a, b, c);
}

/* The order of the sum is part of the contract: one chain over the inputs, scale and bias last. */
static void test_float_order(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    rng r = {5};
    for (size_t p = 0; p < PRODUCTS; p++) {
        if (products[p].act != ACT_FLOAT) continue;
        gemm_case c = gemm_case_new(&r, &products[p], (shape){11, 37, 1300}, 1);
        for (size_t j = 1; j < count; j++) {
            if (known(k, j, c.p)) continue;
            output y = output_new(c.s, 0, 0);
            gemm_compute(&k[j], &c, &y);
            for (size_t m = 0; m < c.s.rows; m++) {
                for (size_t n = 0; n < c.s.n_out; n++) {
                    const float *x = (const float *)c.x.p + m * c.x_stride;
                    float sum = 0;
                    for (size_t i = 0; i < c.s.n_in; i++) sum = step(&k[j], x[i], weight_of(&c, n, i), sum);
                    sum = c.scale ? step(&k[j], sum, c.scale[n], c.bias[n]) : sum + c.bias[n];
                    check_bits("chain", &output_row(&y, m)[n], &sum, sizeof sum);
                }
            }
            output_free(&y);
        }
        gemm_case_free(&c);
    }
}

/* The largest sums that a wide layer can make: all weights at one end against activations at both ends. */
static void test_extremes(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    rng r = {3};
    for (size_t p = 0; p < PRODUCTS; p++) {
        if (products[p].act == ACT_FLOAT) continue;
        for (int variant = 0; variant < 8; variant++) {
            gemm_case c = gemm_case_new(&r, &products[p], (shape){3, 40, 20480}, 1);
            if (c.group) { /* 32 or the largest; scales were made for smaller groups, which are more */
                c.group = variant & 4 ? DLX_GROUP_MAX : 32;
                free(c.group_scale);
                c.group_scale = check_alloc(c.s.n_out * (c.s.n_in / c.group) * sizeof(uint16_t));
                for (size_t i = 0; i < c.s.n_out * (c.s.n_in / c.group); i++)
                    c.group_scale[i] = (uint16_t)(0x3C00 + rng_below(&r, 256));
            }
            memset(c.w.p, c.p->w == W_I8 ? (variant & 1 ? 127 : 0x80) : (variant & 1 ? 0xFF : 0), c.w.n);
            float *x = c.x.p;
            for (size_t m = 0; m < c.s.rows; m++)
                for (size_t i = 0; i < c.s.n_in; i++)
                    x[m * c.x_stride + i] = variant & 2 ? 1.0f : i % 97 ? -1.0f : 0.5f;
            all_sets(k, count, &c, 0);
            gemm_case_free(&c);
        }
    }
}

/* Scales of groups at both ends of what bfloat16 holds, infinity and NaN among them: the same bits, or NaN everywhere.
 */
static void test_extreme_scales(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    static const uint16_t scales[] = {0x0000, 0x0001, 0x007F, 0x0080, 0x7F7F, 0x3F80, 0x8001, 0xFF7F, 0x7F80, 0x7FC0};
    const product *p = &products[6];
    assert_string_equal(p->name, "gemm_qd8_qb4w");
    rng r = {8};
    for (size_t i = 0; i < 40; i++) {
        gemm_case c = gemm_case_new(&r, p, (shape){1 + i % 9, 1 + rng_below(&r, 40), 256}, i);
        size_t kinds = i % 2 ? 6 : sizeof scales / sizeof scales[0];
        for (size_t j = 0; j < c.s.n_out * (c.s.n_in / c.group); j++) c.group_scale[j] = scales[rng_below(&r, kinds)];
        output expected = output_new(c.s, 0, 0), y = output_new(c.s, 0, 0);
        gemm_compute(&k[0], &c, &expected);
        for (size_t j = 1; j < count; j++) {
            gemm_compute(&k[j], &c, &y);
            for (size_t m = 0; m < c.s.rows; m++)
                check_same(k[j].name, output_row(&y, m), output_row(&expected, m), c.s.n_out);
        }
        output_free(&expected);
        output_free(&y);
        gemm_case_free(&c);
    }
}

/* Every product against its formula in double, on the values that its rows were quantised to. */
static void test_formula(void **state)
{
    (void)state;
    dlx_kernels k[8];
    all_kernels(k);
    rng r = {31};
    for (size_t i = 0; i < PRODUCTS * 6; i++) {
        gemm_case c = gemm_case_new(&r, &products[i % PRODUCTS], (shape){5, 48, 300}, i / PRODUCTS);
        for (size_t m = 0; m < c.s.rows; m++) fill(&r, (float *)c.x.p + m * c.x_stride, c.s.n_in, FILL_PLAIN);
        output y = output_new(c.s, 0, 0);
        gemm_compute(&k[0], &c, &y);
        int8_t *q = check_alloc(c.s.n_in);
        for (size_t m = 0; m < c.s.rows; m++) {
            const float *x = (const float *)c.x.p + m * c.x_stride;
            dlx_qd8_row row;
            k[0].quantize_qd8(q, &row, x, c.s.n_in);
            for (size_t n = 0; n < c.s.n_out; n++) {
                double sum = 0, magnitude = 0, bias = c.bias ? (double)c.bias[n] : 0,
                       got = (double)output_row(&y, m)[n];
                for (size_t j = 0; j < c.s.n_in; j++) {
                    double w = (double)weight_of(&c, n, j) * (double)scale_of(&c, n, j), v = (double)x[j];
                    if (c.p->act == ACT_QD8) v = (q[j] - row.zero_point) * (double)row.scale;
                    if (c.p->act == ACT_QS8) {
                        double steps = rint(v / (double)c.qs8.in_scale) + c.qs8.in_zero;
                        v = (fmin(fmax(steps, -128), 127) - c.qs8.in_zero) * (double)c.qs8.in_scale;
                    }
                    sum += v * w;
                    magnitude += fabs(v * w);
                }
                if (c.p->act != ACT_QS8) {
                    assert_true(fabs(got - (sum + bias)) <= 1e-6 * (magnitude + fabs(bias)));
                    continue;
                }
                if (c.bias_i32) sum += c.bias_i32[n] * (double)c.qs8.in_scale * (double)c.scale[n];
                double out = sum / (double)c.qs8.out_scale, steps = got / (double)c.qs8.out_scale;
                double clamped = fmin(fmax(out, -128 - c.qs8.out_zero), 127 - c.qs8.out_zero);
                assert_true(fabs(steps - rint(steps)) < 1e-4);
                assert_true(fabs(steps - clamped) < 0.5 + 1e-3);
            }
        }
        free(q);
        output_free(&y);
        gemm_case_free(&c);
    }
}

/* The step with scale and bias is rounded once: where the product lies half way between two floats, a bias far below
 * their last place decides, which in double is not even there. */
static void test_rounded_once(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k), decided = 0;
    rng r = {34};
    for (size_t p = 0; p < PRODUCTS; p++) {
        if (products[p].act != ACT_QD8 || products[p].w == W_I4_GROUPS) continue;
        gemm_case c = gemm_case_new(&r, &products[p], (shape){6, 40, 38}, 1);
        for (size_t m = 0; m < c.s.rows; m++) fill(&r, (float *)c.x.p + m * c.x_stride, c.s.n_in, FILL_PLAIN);
        for (size_t n = 0; n < c.s.n_out; n++) {
            c.scale[n] = 1.5f; /* half of the products have a bit more than a float */
            c.bias[n] = n % 2 ? 1e-30f : -1e-30f;
        }
        output expected = output_new(c.s, 0, 0), y = output_new(c.s, 0, 0);
        gemm_compute(&k[0], &c, &expected);
        for (size_t j = 1; j < count; j++) {
            gemm_compute(&k[j], &c, &y);
            for (size_t m = 0; m < c.s.rows; m++)
                check_same(k[j].name, output_row(&y, m), output_row(&expected, m), c.s.n_out);
        }
        /* Another sign changes only what it decided. */
        for (size_t n = 0; n < c.s.n_out; n++) c.bias[n] = -c.bias[n];
        gemm_compute(&k[0], &c, &y);
        for (size_t m = 0; m < c.s.rows; m++)
            for (size_t n = 0; n < c.s.n_out; n++) decided += output_row(&y, m)[n] != output_row(&expected, m)[n];
        output_free(&expected);
        output_free(&y);
        gemm_case_free(&c);
    }
    assert_in_range(decided, 100, 2 * 6 * 40);
}

/* What quantisation is for: the plain float product, a step of the inputs apart. */
static void test_meaning(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    rng r = {32};
    for (size_t p = 0; p < PRODUCTS; p++) {
        if (products[p].act != ACT_QD8) continue;
        gemm_case c = gemm_case_new(&r, &products[p], (shape){5, 48, 320}, 7);
        for (size_t m = 0; m < c.s.rows; m++) fill(&r, (float *)c.x.p + m * c.x_stride, c.s.n_in, FILL_PLAIN);
        for (size_t j = 0; j < count; j++) {
            output y = output_new(c.s, 0, 0);
            gemm_compute(&k[j], &c, &y);
            for (size_t m = 0; m < c.s.rows; m++) {
                for (size_t n = 0; n < c.s.n_out; n++) {
                    double sum = (double)c.bias[n], magnitude = 0;
                    for (size_t i = 0; i < c.s.n_in; i++) {
                        double w = (double)weight_of(&c, n, i) * (double)scale_of(&c, n, i);
                        sum += (double)((float *)c.x.p)[m * c.x_stride + i] * w;
                        magnitude += fabs(w);
                    }
                    check_close("meaning", n, output_row(&y, m)[n], (float)sum, magnitude * 6.0 / 255 + 1e-5);
                }
            }
            output_free(&y);
        }
        gemm_case_free(&c);
    }
}

/* A row of zeros leaves the bias, to the bit. */
static void test_zero_rows(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    rng r = {33};
    for (size_t p = 0; p < PRODUCTS; p++) {
        if (products[p].act == ACT_QS8) continue;
        gemm_case c = gemm_case_new(&r, &products[p], (shape){3, 48, 320}, 7);
        for (size_t i = 0; i < c.s.n_in; i++) ((float *)c.x.p)[c.x_stride + i] = i % 3 ? 0.0f : -0.0f;
        for (size_t j = 0; j < count; j++) {
            output y = output_new(c.s, 0, 0);
            gemm_compute(&k[j], &c, &y);
            check_bits(c.p->name, output_row(&y, 1), c.bias, c.s.n_out * sizeof(float));
            output_free(&y);
        }
        gemm_case_free(&c);
    }
}

/* A quantised row with NaN, an infinity or too wide a range: all its outputs are NaN, and no other row notices. */
static void test_overflow(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    static const float bad[][2] = {{NAN, 1}, {INFINITY, 1}, {-INFINITY, 1}, {3e38f, -3e38f}};
    rng r = {404};
    for (size_t i = 0; i < 120; i++) {
        const product *p = &products[i % PRODUCTS];
        if (p->act == ACT_FLOAT) continue;
        shape s = {1 + rng_below(&r, 20), 1 + rng_below(&r, 67), 2 + rng_below(&r, 130)};
        gemm_case c = gemm_case_new(&r, p, s, i);
        s = c.s;
        size_t spoilt = rng_below(&r, s.rows), place = rng_below(&r, s.n_in - 1);
        size_t kind = i / PRODUCTS % (p->act == ACT_QS8 ? 3 : 4); /* a wide range is clamped by static parameters */
        for (size_t m = 0; m < s.rows; m++) fill(&r, (float *)c.x.p + m * c.x_stride, s.n_in, FILL_PLAIN);
        for (size_t j = 0; j < count; j++) {
            output before = output_new(s, 0, 0), after = output_new(s, 0, 0);
            gemm_compute(&k[j], &c, &before);
            float *x = (float *)c.x.p + spoilt * c.x_stride + place, saved[2];
            memcpy(saved, x, sizeof saved);
            memcpy(x, bad[kind], sizeof saved);
            gemm_compute(&k[j], &c, &after);
            memcpy(x, saved, sizeof saved);
            for (size_t m = 0; m < s.rows; m++) {
                float *row = output_row(&after, m);
                if (m != spoilt) check_same(k[j].name, row, output_row(&before, m), s.n_out);
                for (size_t n = 0; n < s.n_out && m == spoilt; n++)
                    if (!isnan(row[n]))
                        fail_msg("%s %s: output %zu of the spoilt row is %g", k[j].name, p->name, n, (double)row[n]);
            }
            output_free(&before);
            output_free(&after);
        }
        gemm_case_free(&c);
    }
}

/* Small layers as ExecuTorch 1.4.1 with XNNPACK computed them: the same bits. Inputs and weights are formulas. */
static void recorded_case(gemm_case *c)
{
    float *x = c->x.p;
    for (size_t m = 0; m < c->s.rows; m++)
        for (size_t k = 0; k < c->s.n_in; k++)
            x[m * c->x_stride + k] =
                (float)((int)((k * 5 + m * 11) % 17) - 8) * 0.25f + (m > 0 ? 0.0625f * (float)k : 0.0f);
    memset(c->w.p, 0, c->w.n);
    uint8_t *w = c->w.p;
    for (size_t n = 0; n < c->s.n_out; n++) {
        for (size_t k = 0; k < c->s.n_in; k++) {
            if (c->p->w == W_I8)
                w[n * c->s.n_in + k] = (uint8_t)((n * 37 + k * k * 13 + k) % 256 - 128);
            else
                w[(n * c->s.n_in + k) / 2] |= (uint8_t)((n * 7 + k * k * 3 + k) % 16 << (k % 2 ? 4 : 0));
        }
        if (c->scale) c->scale[n] = 0.0078125f * (float)(n + 1);
        for (size_t g = 0; g < 2 && c->group_scale; g++)
            c->group_scale[n * 2 + g] = (uint16_t)(0x3C10 + n * 23 + g * 61);
        c->bias[n] = 0.3f * (float)(n + 1);
        c->bias_i32[n] = (int32_t)(1000 * (n + 1)) * (n % 2 ? -1 : 1);
    }
    c->qs8 = (dlx_qs8_params){.in_scale = 0.02f, .in_zero = -7, .out_scale = 0.37f, .out_zero = 11};
}

static void test_recorded(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        float y[8];
    } records[] = {
        {"gemm_qd8_qb4w",
         {0x1.4e3434p-3f, 0x1.06305p+0f, 0x1.ed999ap-2f, 0x1.1655f6p+0f, -0x1.4e485ap-1f, 0x1.b8c584p-3f,
          -0x1.1a8744p+0f, 0x1.9dbf7ep+0f}},
        {"gemm_qd8_qc4w",
         {0x1.272728p-2f, 0x1.1e5e6p+0f, 0x1.f3f3f2p-3f, 0x1.08888ap+0f, -0x1.8b9394p-2f, 0x1.77cfd4p-3f,
          -0x1.4058dap+1f, 0x1.254e5p+1f}},
        {"gemm_qs8_qc8w",
         {-0x1.7ae148p+0f, -0x1.1c28f6p+0f, 0x1.691eb8p+4f, -0x1.aa3d7p+1f, -0x1.b6147cp+3f, 0x0p+0f, -0x1.1051ecp+3f,
          0x1.575c2ap+5f}},
    };
    dlx_kernels k[8];
    size_t count = all_kernels(k), done = 0;
    rng r = {1};
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
        for (size_t p = 0; p < PRODUCTS; p++) {
            if (strcmp(products[p].name, records[i].name) != 0) continue;
            gemm_case c = gemm_case_new(&r, &products[p], (shape){2, 4, 64}, 4); /* groups of 32 */
            recorded_case(&c);
            for (size_t j = 0; j < count; j++, done++) {
                output y = output_new(c.s, 0, 0);
                gemm_compute(&k[j], &c, &y);
                check_bits(records[i].name, y.g.p, records[i].y, sizeof records[i].y);
                output_free(&y);
            }
            gemm_case_free(&c);
        }
    }
    assert_int_equal(done, 3 * count);
}

/* A sum so close to a half step that the order of the factors decides; ExecuTorch 1.4.1 says 20. */
static void test_requantised_edge(void **state)
{
    (void)state;
    const product *p = &products[7];
    assert_string_equal(p->name, "gemm_qs8_qc8w");
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    rng r = {1};
    gemm_case c = gemm_case_new(&r, p, (shape){1, 1, 2}, 1);
    fill(&r, c.x.p, 2, FILL_ZERO);
    c.bias_i32[0] = 21370;
    c.scale[0] = 0x1.06661ep-10f;
    c.qs8 = (dlx_qs8_params){.in_scale = 0x1.1aec98p-5f, .in_zero = 5, .out_scale = 0x1.2737cep-5f, .out_zero = 3};
    for (size_t j = 0; j < count; j++) {
        output y = output_new(c.s, 0, 0);
        gemm_compute(&k[j], &c, &y);
        assert_int_equal(lrintf(output_row(&y, 0)[0] / c.qs8.out_scale), 20);
        output_free(&y);
    }
    gemm_case_free(&c);
}

int main(void)
{
    struct CMUnitTest tests[PRODUCTS + 10];
    size_t n = 0;
    for (size_t i = 0; i < PRODUCTS; i++)
        tests[n++] = (struct CMUnitTest){
            .name = products[i].name, .test_func = test_all_sizes, .initial_state = (void *)(uintptr_t)&products[i]};
    static const struct CMUnitTest others[] = {
        cmocka_unit_test(test_float_order),      cmocka_unit_test(test_extremes), cmocka_unit_test(test_extreme_scales),
        cmocka_unit_test(test_rounded_once),     cmocka_unit_test(test_formula),  cmocka_unit_test(test_meaning),
        cmocka_unit_test(test_zero_rows),        cmocka_unit_test(test_overflow), cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_requantised_edge),
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) tests[n++] = others[i];
    return _cmocka_run_group_tests("kernels_gemm", tests, n, NULL, NULL);
}
