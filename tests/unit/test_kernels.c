/* Element and row kernels of every instruction set against the reference, and against each other bit by bit. */
#include "kernels_check.h"

enum { MAX_N = 4200 };

static const size_t more_sizes[] = {96, 127, 128, 129, 896, 1535, 1536, 4095, 4096, 4101};
enum { SMALL_SIZES = 68, SIZES = SMALL_SIZES + sizeof more_sizes / sizeof more_sizes[0] };

static size_t size_of(size_t i)
{
    return i < SMALL_SIZES ? i : more_sizes[i - SMALL_SIZES];
}

/* Inputs of one case, each at its own odd alignment. */
typedef struct inputs {
    rng r;
    guarded a, b, c;
} inputs;

static void inputs_open(inputs *in)
{
    in->r.state = 88172645463325252u;
    in->a = guarded_new(MAX_N * sizeof(float), 4);
    in->b = guarded_new(MAX_N * sizeof(float), 12);
    in->c = guarded_new(MAX_N * sizeof(float), 20);
}

static void inputs_close(inputs *in)
{
    guarded_free(&in->a);
    guarded_free(&in->b);
    guarded_free(&in->c);
}

/* The sets must also agree among themselves: set 1 is remembered, later ones are compared with it. */
static void check_same(const char *what, size_t set, guarded *first, const guarded *y)
{
    if (set == 1)
        memcpy(first->p, y->p, y->n);
    else
        check_bits(what, y->p, first->p, y->n);
}

typedef void (*pair_fn)(float *y, const float *a, const float *b, size_t n);
typedef double (*bound_fn)(float a, float b, float expected);

static double exact_bound(float a, float b, float expected)
{
    (void)a, (void)b, (void)expected;
    return 0;
}

/* 3e-7 is 2.5 units in the last place at worst; results below 1e-38 lose digits as they become denormal. */
static double silu_bound(float a, float b, float expected)
{
    (void)a;
    return 6e-7 * fabs((double)expected) + 1e-40 * (1 + fabs((double)b));
}

static void check_pair(const dlx_kernels *k, size_t count, size_t member, const char *name, bound_fn bound, int kinds)
{
    inputs in;
    inputs_open(&in);
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = size_of(s);
        for (int kind = 0; kind < kinds; kind++) {
            float *a = in.a.p, *b = in.b.p, *expected = in.c.p;
            fill(&in.r, a, n, kind);
            fill(&in.r, b, n, kind == FILL_HUGE ? FILL_PLAIN : kind);
            pair_fn fn;
            memcpy(&fn, (const char *)&k[0] + member, sizeof fn);
            fn(expected, a, b, n);
            guarded first = guarded_new(n * sizeof(float), 0);
            for (size_t i = 1; i < count; i++) {
                memcpy(&fn, (const char *)&k[i] + member, sizeof fn);
                guarded y = guarded_new(n * sizeof(float), 4 * (s % 16));
                fn(y.p, a, b, n);
                for (size_t j = 0; j < n; j++)
                    check_close(name, j, ((float *)y.p)[j], expected[j], bound(a[j], b[j], expected[j]));
                check_same(name, i, &first, &y);
                /* In place of either operand. */
                guarded z = guarded_new(n * sizeof(float), 4);
                memcpy(z.p, a, n * sizeof(float));
                fn(z.p, z.p, b, n);
                check_bits(name, z.p, y.p, y.n);
                memcpy(z.p, b, n * sizeof(float));
                fn(z.p, a, z.p, n);
                check_bits(name, z.p, y.p, y.n);
                guarded_free(&z);
                guarded_free(&y);
            }
            guarded_free(&first);
        }
    }
    inputs_close(&in);
}

static void test_add_mul(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    check_pair(k, count, offsetof(dlx_kernels, add), "add", exact_bound, FILL_KINDS);
    check_pair(k, count, offsetof(dlx_kernels, mul), "mul", exact_bound, FILL_KINDS);
}

static void test_silu_mul(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    check_pair(k, count, offsetof(dlx_kernels, silu_mul), "silu_mul", silu_bound, FILL_WIDE);
}

/* Every 41st float between -90 and 90: e^x in all binades, through silu. */
static void test_silu_sweep(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    enum { BATCH = 4096 };
    static float x[BATCH], one[BATCH], y[BATCH], expected[BATCH];
    for (size_t i = 0; i < BATCH; i++) one[i] = 1.0f;
    for (int sign = 0; sign < 2; sign++) {
        uint32_t bits = dlx_f32_to_bits(1e-3f), end = dlx_f32_to_bits(90.0f);
        while (bits < end) {
            for (size_t i = 0; i < BATCH; i++, bits += 41) x[i] = dlx_bits_to_f32(bits | (uint32_t)sign << 31);
            k[0].silu_mul(expected, x, one, BATCH);
            for (size_t s = 1; s < count; s++) {
                k[s].silu_mul(y, x, one, BATCH);
                for (size_t i = 0; i < BATCH; i++)
                    check_close("silu", i, y[i], expected[i], 3.5e-7 * fabs((double)expected[i]) + 1e-38);
            }
        }
    }
}

static void test_silu_limits(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    float x[4] = {INFINITY, -1e30f, NAN, -0.0f}, one[4] = {1, 1, 1, 1}, y[4];
    for (size_t s = 0; s < count; s++) {
        k[s].silu_mul(y, x, one, 4);
        assert_true(isinf(y[0]) && y[0] > 0);
        assert_true(y[1] == 0.0f);
        assert_true(isnan(y[2]));
        assert_true(y[3] == 0.0f);
    }
}

static void test_rms_norm(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    inputs in;
    inputs_open(&in);
    for (size_t s = 1; s < SIZES; s++) {
        size_t n = size_of(s);
        for (int kind = 0; kind <= FILL_TINY; kind++) {
            float *x = in.a.p, *w = in.b.p, *expected = in.c.p;
            fill(&in.r, x, n, kind);
            fill(&in.r, w, n, FILL_PLAIN);
            k[0].rms_norm(expected, x, w, n, 1e-6f);
            guarded first = guarded_new(n * sizeof(float), 0);
            for (size_t i = 1; i < count; i++) {
                guarded y = guarded_new(n * sizeof(float), 4 * (s % 16));
                k[i].rms_norm(y.p, x, w, n, 1e-6f);
                for (size_t j = 0; j < n; j++)
                    check_close("rms_norm", j, ((float *)y.p)[j], expected[j],
                                2e-6 * fabs((double)expected[j]) + 1e-43);
                check_same("rms_norm", i, &first, &y);
                memcpy(y.p, x, n * sizeof(float));
                k[i].rms_norm(y.p, y.p, w, n, 1e-6f);
                check_bits("rms_norm in place", y.p, first.p, y.n);
                guarded_free(&y);
            }
            guarded_free(&first);
        }
    }
    inputs_close(&in);
}

static void test_rope(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    static const size_t dims[] = {2, 4, 6, 10, 16, 24, 32, 34, 64, 80, 128, 256};
    inputs in;
    inputs_open(&in);
    for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
        for (size_t heads = 0; heads <= 7; heads += d % 2 + 1) {
            size_t dim = dims[d], n = heads * dim;
            float *x = in.a.p, *cs = in.b.p, *expected = in.c.p;
            fill(&in.r, x, n, FILL_OUTLIER);
            for (size_t i = 0; i < dim / 2; i++) {
                double angle = (double)rng_f32(&in.r) * 100;
                cs[i] = cs[dim / 2 + i] = (float)cos(angle);
                cs[dim + dim / 2 + i] = (float)sin(angle);
                cs[dim + i] = -cs[dim + dim / 2 + i];
            }
            k[0].rope(expected, x, cs, cs + dim, heads, dim);
            guarded first = guarded_new(n * sizeof(float), 0);
            for (size_t i = 1; i < count; i++) {
                guarded y = guarded_new(n * sizeof(float), 4 * (d % 16));
                k[i].rope(y.p, x, cs, cs + dim, heads, dim);
                for (size_t j = 0; j < n; j++) {
                    size_t other = j % dim < dim / 2 ? j + dim / 2 : j - dim / 2;
                    check_close("rope", j, ((float *)y.p)[j], expected[j],
                                1.3e-7 * (fabs((double)x[j]) + fabs((double)x[other])));
                }
                check_same("rope", i, &first, &y);
                memcpy(y.p, x, n * sizeof(float));
                k[i].rope(y.p, y.p, cs, cs + dim, heads, dim);
                check_bits("rope in place", y.p, first.p, y.n);
                guarded_free(&y);
            }
            guarded_free(&first);
        }
    }
    inputs_close(&in);
}

static void test_rope_pairs(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    static const size_t dims[] = {2, 4, 6, 10, 16, 34, 64, 80, 128};
    inputs in;
    inputs_open(&in);
    for (size_t d = 0; d < sizeof dims / sizeof dims[0]; d++) {
        for (size_t heads = 0; heads <= 5; heads++) {
            size_t dim = dims[d], n = heads * dim;
            float *x = in.a.p, *cs = in.b.p, *expected = in.c.p;
            fill(&in.r, x, n, FILL_OUTLIER);
            for (size_t i = 0; i < dim / 2; i++) {
                double angle = (double)rng_f32(&in.r) * 100;
                cs[i] = (float)cos(angle);
                cs[dim / 2 + i] = (float)sin(angle);
            }
            k[0].rope_pairs(expected, x, cs, cs + dim / 2, heads, dim);
            for (size_t j = 0; j < n; j += 2) { /* by its definition */
                double c = (double)cs[j % dim / 2], s = (double)cs[dim / 2 + j % dim / 2];
                assert_true(expected[j] == (float)((double)x[j] * c - (double)x[j + 1] * s));
                assert_true(expected[j + 1] == (float)((double)x[j] * s + (double)x[j + 1] * c));
            }
            guarded first = guarded_new(n * sizeof(float), 0);
            for (size_t i = 1; i < count; i++) {
                guarded y = guarded_new(n * sizeof(float), 4 * (d % 16));
                k[i].rope_pairs(y.p, x, cs, cs + dim / 2, heads, dim);
                for (size_t j = 0; j < n; j++)
                    check_close("rope of pairs", j, ((float *)y.p)[j], expected[j],
                                1.3e-7 * (fabs((double)x[j]) + fabs((double)x[j ^ 1])));
                check_same("rope of pairs", i, &first, &y);
                memcpy(y.p, x, n * sizeof(float));
                k[i].rope_pairs(y.p, y.p, cs, cs + dim / 2, heads, dim);
                check_bits("rope of pairs in place", y.p, first.p, y.n);
                guarded_free(&y);
            }
            guarded_free(&first);
        }
    }
    inputs_close(&in);
}

/* x of softmax: some kind of row with every third entry -inf, and one of them certainly finite. */
static void fill_softmax(rng *r, float *x, size_t n, int kind, bool holes)
{
    fill(r, x, n, kind);
    for (size_t i = 0; holes && i < n; i++)
        if (rng_below(r, 3) == 0) x[i] = -INFINITY;
    if (n) x[rng_below(r, n)] = fill_value(r, kind);
}

static void check_softmax(const float *x, const float *y, const float *expected, size_t n)
{
    double max = -INFINITY;
    for (size_t j = 0; j < n; j++) max = (double)x[j] > max ? (double)x[j] : max;
    for (size_t j = 0; j < n; j++) {
        /* x - max is rounded to float before e^x. */
        double below = isinf(x[j]) ? 0 : fmin(max - (double)x[j], 110);
        check_close("softmax", j, y[j], expected[j], (2e-6 + 7e-8 * below) * (double)expected[j] + 3e-45);
        if (isinf(x[j])) assert_true(y[j] == 0.0f);
    }
}

static void test_softmax(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    inputs in;
    inputs_open(&in);
    for (size_t s = 1; s < SIZES; s++) {
        size_t n = size_of(s);
        for (int kind = 0; kind < 2 * FILL_KINDS; kind++) {
            float *x = in.a.p, *expected = in.c.p;
            fill_softmax(&in.r, x, n, kind / 2, kind % 2);
            k[0].softmax(expected, x, n);
            guarded first = guarded_new(n * sizeof(float), 0);
            for (size_t i = 1; i < count; i++) {
                guarded y = guarded_new(n * sizeof(float), 4 * (s % 16));
                k[i].softmax(y.p, x, n);
                check_softmax(x, y.p, expected, n);
                check_same("softmax", i, &first, &y);
                memcpy(y.p, x, n * sizeof(float));
                k[i].softmax(y.p, y.p, n);
                check_bits("softmax in place", y.p, first.p, y.n);
                guarded_free(&y);
            }
            guarded_free(&first);
        }
    }
    inputs_close(&in);
}

static void test_quantize(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    inputs in;
    inputs_open(&in);
    for (size_t s = 0; s < SIZES; s++) {
        size_t n = size_of(s);
        for (int kind = 0; kind < FILL_KINDS; kind++) {
            float *x = in.a.p;
            fill(&in.r, x, n, kind);
            dlx_qd8_row expected_row, row;
            k[0].quantize_qd8(in.c.p, &expected_row, x, n);
            assert_in_range(expected_row.zero_point + 128, 0, 255);
            for (size_t i = 1; i < count; i++) {
                guarded q = guarded_new(n, s % 64);
                k[i].quantize_qd8(q.p, &row, x, n);
                check_bits("quantize_qd8 row", &row, &expected_row, sizeof row);
                check_bits("quantize_qd8", q.p, in.c.p, n);
                guarded_free(&q);
            }
        }
    }
    inputs_close(&in);
}

/* What the quantised row means: every value comes back within half a step (the zero point's rounding adds another). */
static void test_quantize_meaning(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    static float x[1000];
    static int8_t q[1000];
    rng r = {1234567};
    for (int kind = 0; kind < FILL_MODERATE; kind++) {
        fill(&r, x, 1000, kind);
        for (size_t i = 0; i < count; i++) {
            dlx_qd8_row row;
            k[i].quantize_qd8(q, &row, x, 1000);
            for (size_t j = 0; j < 1000; j++)
                check_close("dequantised", j, (float)(q[j] - row.zero_point) * row.scale, x[j],
                            1.001 * (double)row.scale + 1e-6);
        }
    }
}

/* tests/data/kernels/qd8_rows.bin: rows and what PyTorch made of them (make_qd8_rows.py beside it), but for the scale
 * of rows of zeros (kernels/qd8.h). */
static void test_quantize_recorded(void **state)
{
    (void)state;
    FILE *f = fopen(DLX_TEST_DATA "/kernels/qd8_rows.bin", "rb");
    assert_non_null(f);
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    uint32_t n;
    int rows = 0;
    for (; fread(&n, sizeof n, 1, f) == 1; rows++) {
        assert_in_range(n, 1, MAX_N);
        static float x[MAX_N];
        static int8_t q[MAX_N], expected[MAX_N];
        dlx_qd8_row row, expected_row;
        assert_int_equal(fread(&expected_row, sizeof expected_row, 1, f), 1);
        assert_int_equal(fread(x, sizeof *x, n, f), n);
        assert_int_equal(fread(expected, 1, n, f), n);
        bool zero = true;
        for (size_t i = 0; i < n; i++) zero = zero && x[i] == 0.0f;
        if (zero) expected_row.scale = 0.0f;
        for (size_t i = 0; i < count; i++) {
            k[i].quantize_qd8(q, &row, x, n);
            check_bits("recorded row", &row, &expected_row, sizeof row);
            check_bits("recorded q", q, expected, n);
        }
    }
    fclose(f);
    assert_in_range(rows, 100, 1000);
}

/* Puts numbers into x that no quantised row can stand for; returns how many ways there are. */
static size_t spoil(float *x, size_t n, size_t place, size_t way)
{
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY, 3e38f};
    x[place] = bad[way];
    if (way == 4) x[(place + 1) % n] = -3e38f; /* each finite, their distance is not */
    return sizeof bad / sizeof bad[0];
}

static void test_quantize_overflow(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    static float clean[MAX_N], x[MAX_N];
    static const int8_t zeros[MAX_N];
    rng r = {8128};
    for (size_t s = 2; s < SIZES; s++) {
        size_t n = size_of(s), step = n < 100 ? 1 : n / 37;
        fill(&r, clean, n, (int)s % FILL_MODERATE);
        for (size_t place = 0; place < n; place += step) {
            for (size_t way = 0, ways = 1; way < ways; way++) {
                memcpy(x, clean, n * sizeof *x);
                ways = spoil(x, n, place, way);
                for (size_t i = 0; i < count; i++) {
                    dlx_qd8_row row, expected = {.scale = NAN};
                    guarded q = guarded_new(n, s % 64);
                    k[i].quantize_qd8(q.p, &row, x, n);
                    check_bits(k[i].name, &row, &expected, sizeof row);
                    check_bits(k[i].name, q.p, zeros, n);
                    guarded_free(&q);
                }
            }
        }
    }
}

/* The widest ranges that do not overflow keep their numbers. */
static void test_quantize_widest(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    static const float ends[][2] = {{0.0f, 3.4028234e38f}, {-3.4028234e38f, 0.0f}, {-1.7e38f, 1.7e38f}};
    for (size_t j = 0; j < sizeof ends / sizeof ends[0]; j++) {
        float x[40] = {ends[j][0], ends[j][1]};
        for (size_t i = 0; i < count; i++) {
            dlx_qd8_row row;
            int8_t q[40];
            k[i].quantize_qd8(q, &row, x, 40);
            assert_true(isfinite(row.scale) && row.scale > 1e36f);
            assert_int_equal(q[0], -128);
            assert_int_equal(q[1], 127);
        }
    }
}

static void test_dequantize(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    static const float scales[] = {0.0078431f, 1.0f, 1e-41f, 0.0f, 3e36f};
    rng r = {42};
    int8_t q[256 + 64];
    for (size_t i = 0; i < sizeof q; i++) q[i] = (int8_t)rng_u32(&r);
    q[0] = -128;
    for (size_t n = 0; n <= 256; n++) {
        float expected[256], scale = scales[n % 5];
        k[0].dequantize_i8(expected, q + n % 64, scale, n);
        for (size_t i = 1; i < count; i++) {
            guarded y = guarded_new(n * sizeof(float), 4 * (n % 16));
            k[i].dequantize_i8(y.p, q + n % 64, scale, n);
            check_bits("dequantize_i8", y.p, expected, y.n);
            guarded_free(&y);
        }
    }
}

/* The value of a half from its definition: (-1)^s * 2^(e - 15) * 1.m, or 2^-14 * 0.m when e is 0. */
static float half_value(uint32_t h)
{
    int exponent = (int)(h >> 10 & 31), mantissa = (int)(h & 1023);
    double v = exponent == 31  ? (mantissa ? (double)NAN : (double)INFINITY)
               : exponent == 0 ? ldexp(mantissa, -24)
                               : ldexp(1024 + mantissa, exponent - 25);
    return (float)(h & 0x8000 ? -v : v);
}

/* All halves: their values, and back. */
static void test_f16_all(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    enum { HALVES = 65536 };
    static uint16_t h[HALVES], back[HALVES];
    static float y[HALVES], first[HALVES];
    for (uint32_t i = 0; i < HALVES; i++) h[i] = (uint16_t)i;
    for (size_t s = 0; s < count; s++) {
        k[s].f16_to_f32(y, h, HALVES);
        if (s == 0) memcpy(first, y, sizeof y);
        check_bits("f16_to_f32", y, first, sizeof y); /* NaN's payload as well */
        assert_false(k[s].f32_to_f16(back, y, HALVES));
        for (uint32_t i = 0; i < HALVES; i++) {
            float expected = half_value(i);
            bool nan = isnan(expected);
            if (nan ? !isnan(y[i]) : dlx_f32_to_bits(y[i]) != dlx_f32_to_bits(expected))
                fail_msg("%s: half %04x is %g, expected %g", k[s].name, i, (double)y[i], (double)expected);
            if (back[i] != (nan ? i | 0x200 : i)) fail_msg("%s: half %04x came back as %04x", k[s].name, i, back[i]);
        }
    }
}

static void check_f16(const dlx_kernels *k, size_t count, float x, uint16_t expected)
{
    /* In every lane of every vector width, and in the tail. */
    enum { N = 19 };
    float rows[N];
    uint16_t y[N];
    for (size_t i = 0; i < N; i++) rows[i] = x;
    for (size_t s = 0; s < count; s++) {
        bool finite = k[s].f32_to_f16(y, rows, N);
        if (finite != ((expected & 0x7C00) != 0x7C00)) fail_msg("%s: %.9g is reported wrongly", k[s].name, (double)x);
        for (size_t i = 0; i < N; i++)
            if (y[i] != expected) fail_msg("%s: %.9g became %04x, expected %04x", k[s].name, (double)x, y[i], expected);
    }
}

/* Between two neighbouring halves: the middle goes to the even one, everything else to the nearer one. */
static void test_f16_rounding(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    for (uint32_t h = 0; h < 0x7C00; h++) {
        double low = (double)half_value(h), high = h == 0x7BFF ? 65536.0 : (double)half_value(h + 1);
        float middle = (float)((low + high) / 2);
        assert_true((double)middle == (low + high) / 2);
        uint16_t even = (uint16_t)(h % 2 ? h + 1 : h);
        for (uint32_t sign = 0; sign < 2; sign++) {
            uint16_t bit = (uint16_t)(sign << 15);
            float side = sign ? -1.0f : 1.0f;
            check_f16(k, count, side * middle, even | bit);
            check_f16(k, count, side * nextafterf(middle, 0.0f), (uint16_t)(h | bit));
            check_f16(k, count, side * nextafterf(middle, INFINITY), (uint16_t)((h + 1) | bit));
        }
    }
    check_f16(k, count, 3.4e38f, 0x7C00);
    check_f16(k, count, -INFINITY, 0xFC00);
    check_f16(k, count, 1e-45f, 0);
    check_f16(k, count, dlx_bits_to_f32(0xFF800001), 0xFE00); /* a signalling NaN with an empty payload to keep */
    check_f16(k, count, dlx_bits_to_f32(0x7FC02000), 0x7E01);
}

/* All sizes and alignments; one number that does not fit, at every place, is reported. */
static void test_f16_sizes(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t count = all_kernels(k);
    static const float bad[] = {65520.0f, -65520.0f, INFINITY, -INFINITY, NAN, 3e38f};
    rng r = {5150};
    float x[80];
    for (size_t n = 0; n < 70; n++) {
        for (size_t s = 0; s < count; s++) {
            guarded h = guarded_new(n * sizeof(uint16_t), 2 * rng_below(&r, 32)),
                    y = guarded_new(n * sizeof(float), 4 * rng_below(&r, 16));
            fill(&r, x + n % 7, n, (int)n % FILL_MODERATE);
            assert_true(k[s].f32_to_f16(h.p, x + n % 7, n));
            k[s].f16_to_f32(y.p, h.p, n);
            for (size_t i = 0; i < n; i++) {
                uint16_t expected = dlx_f32_to_f16(x[n % 7 + i]);
                check_bits("f32_to_f16", (uint16_t *)h.p + i, &expected, sizeof expected);
                assert_true(((float *)y.p)[i] == half_value(expected));
            }
            for (size_t i = 0; i < n; i++) {
                float saved = x[n % 7 + i];
                x[n % 7 + i] = bad[(i + n) % (sizeof bad / sizeof bad[0])];
                assert_false(k[s].f32_to_f16(h.p, x + n % 7, n));
                x[n % 7 + i] = saved;
            }
            guarded_free(&h);
            guarded_free(&y);
        }
    }
}

static void test_names(void **state)
{
    (void)state;
    dlx_isa list[8], isa;
    size_t n = dlx_isa_list(list);
    assert_in_range(n, 1, 8);
    assert_int_equal(list[0], DLX_ISA_REF);
    dlx_error err = {0};
    for (size_t i = 0; i < n; i++) {
        assert_true(i == 0 || list[i] > list[i - 1]);
        assert_int_equal(dlx_isa_from_name(&isa, dlx_isa_name(list[i]), &err), DLX_OK);
        assert_int_equal(isa, list[i]);
    }
    assert_int_equal(dlx_isa_from_name(&isa, "auto", &err), DLX_OK);
    assert_int_equal(isa, dlx_cpu_best_isa());
    assert_int_equal(dlx_isa_from_name(&isa, "sse9", &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "'sse9'"));
    for (size_t i = 0; i < n; i++) assert_non_null(strstr(err.message, dlx_isa_name(list[i])));
    assert_string_equal(dlx_isa_name((dlx_isa)99), "?");
}

static void test_limits(void **state)
{
    (void)state;
    dlx_kernels k;
    dlx_kernels_init(&k, DLX_ISA_REF);
    assert_int_equal(k.isa, DLX_ISA_REF);
    assert_string_equal(k.name, "ref");
    /* Another architecture's set is no licence to use all of this one's. */
    dlx_isa list[8];
    size_t n = dlx_isa_list(list);
    dlx_isa foreign = n > 1 && list[1] == DLX_ISA_NEON ? DLX_ISA_AVX512VNNI : DLX_ISA_NEON_I8MM;
    bool mine = false;
    for (size_t i = 0; i < n; i++) mine = mine || list[i] == foreign;
    dlx_kernels_init(&k, foreign);
    if (!mine) assert_int_equal(k.isa, DLX_ISA_REF);
    dlx_kernels_init(&k, dlx_cpu_best_isa());
    assert_int_equal(k.isa, dlx_cpu_best_isa());
    assert_string_equal(k.name, dlx_isa_name(k.isa));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_mul),
        cmocka_unit_test(test_silu_mul),
        cmocka_unit_test(test_silu_sweep),
        cmocka_unit_test(test_silu_limits),
        cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_rope_pairs),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_quantize),
        cmocka_unit_test(test_quantize_meaning),
        cmocka_unit_test(test_quantize_recorded),
        cmocka_unit_test(test_dequantize),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_quantize_overflow),
        cmocka_unit_test(test_quantize_widest),
        cmocka_unit_test(test_f16_all),
        cmocka_unit_test(test_f16_rounding),
        cmocka_unit_test(test_f16_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
