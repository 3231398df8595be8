/* Codes and scales against the formulas, and against those that the exporter streams; clipping against a search in
 * other words; packing; refusals. */
#include "quant/rows.h"
#include "solve_check.h"
#include "left_out.h"

static const dlx_grid grids[] = {{8, 0}, {4, 0}, {4, 32}, {4, 64}, {4, 128}, {8, 32}, {4, 6}};

static size_t share_of(dlx_grid g, size_t k)
{
    return g.group ? g.group : k;
}

static double top_of(dlx_grid g)
{
    return g.bits == 8 ? 127.0 : 7.0;
}

static float as_stored(dlx_grid g, float scale)
{
    float s = g.group ? dlx_bf16_to_f32(dlx_f32_to_bf16(scale)) : scale;
    return s < 0x1p-126f ? 1.0f : s;
}

/* nearbyint and double precision, instead of additions and float. */
static int code_of(dlx_grid g, float w, float scale)
{
    double q = nearbyint((double)(w / scale));
    return (int)fmin(fmax(q, -top_of(g) - 1), top_of(g));
}

static double error_of(dlx_grid g, const float *w, const float *importance, size_t n, float scale)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)w[i] - (double)code_of(g, w[i], scale) * (double)scale;
        sum += d * d * (importance ? (double)importance[i] : 1.0);
    }
    return sum;
}

static float max_scale(dlx_grid g, const float *w, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(w[i]));
    return most / (float)top_of(g);
}

/* The scale is among the shares, and none of the others is better by more than rounding. */
static void check_clipped(dlx_grid g, const float *w, const float *importance, size_t n, float scale)
{
    float whole = max_scale(g, w, n);
    double got = error_of(g, w, importance, n, scale);
    bool found = scale == as_stored(g, whole);
    for (int i = 0; i <= 20; i++) {
        float other = as_stored(g, whole * ((float)(40 - i) / 40.0f));
        found |= other == scale;
        double error = error_of(g, w, importance, n, other);
        if (error < got * 0.9999 - 1e-30) fail_msg("share %d costs %g, the chosen scale %g", i, error, got);
    }
    assert_true(found);
}

static void check_row(dlx_grid g, dlx_clip clip, const gridded_copy *m, const float *w, const float *importance,
                      size_t k, size_t row)
{
    size_t share = share_of(g, k);
    for (size_t c = 0; c < k; c += share) {
        float scale = g.group ? dlx_bf16_to_f32(m->m.group_scale[row * (k / share) + c / share]) : m->m.scale[row];
        if (clip == DLX_CLIP_NONE)
            check_close("scale", c, scale, as_stored(g, max_scale(g, w + c, share)), 0);
        else
            check_clipped(g, w + c, importance ? importance + c : NULL, share, scale);
        for (size_t i = c; i < c + share; i++) {
            int got = g.bits == 8 ? ((const int8_t *)m->m.codes)[row * k + i]
                                  : (((const uint8_t *)m->m.codes)[(row * k + i) / 2] >> (i % 2 ? 4 : 0) & 15) - 8;
            assert_int_equal(got, code_of(g, w[i], scale));
        }
    }
}

static void check_matrix(dlx_grid g, dlx_clip clip, const float *w, const float *importance, size_t n, size_t k)
{
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    gridded_copy first = {0};
    for (int threads = 1; threads <= 3; threads++) {
        dlx_solve_on on = on_threads(&kernels, threads);
        gridded_copy m = gridded_new(g, n, k);
        dlx_error err = {0};
        check_ok(dlx_grid_round(&m.m, w, n, k, g, clip, importance, &on, "layer", &err), &err);
        for (size_t row = 0; row < n; row++) check_row(g, clip, &m, w + row * k, importance, k, row);
        float *back = floats_new(n, k);
        dlx_grid_restore(back, &m.m, n, k, g, &on);
        for (size_t i = 0; i < n * k; i++) {
            float scale = dlx_grid_get_scale(&m.m, g, k, i / k, i % k / share_of(g, k));
            check_close("restored", i, back[i], (float)code_of(g, w[i], scale) * scale, 0);
        }
        free(back);
        dlx_pool_free(on.pool);
        if (threads == 1) {
            first = m;
            continue;
        }
        check_same_grid(&m, &first);
        gridded_free(&m);
    }
    gridded_free(&first);
}

static void test_rounding(void **state)
{
    (void)state;
    rng r = {21};
    for (size_t i = 0; i < DLX_COUNT(grids); i++)
        for (int clip = 0; clip < 2; clip++)
            for (int weighted = 0; weighted < 2; weighted++) {
                size_t n = 13, k = 384;
                float *w = weights_new(&r, n, k), *importance = floats_new(1, k);
                for (size_t c = 0; c < k; c++) importance[c] = c % 17 == 3 ? 0.0f : expf(4.0f * rng_f32(&r));
                for (size_t c = 0; c < k; c += 50) w[c] *= 5.0f; /* what clipping is for */
                check_matrix(grids[i], (dlx_clip)clip, w, weighted ? importance : NULL, n, k);
                free(w);
                free(importance);
            }
}

/* Kinds of rows that a checkpoint can hold by accident. */
static void test_odd_rows(void **state)
{
    (void)state;
    rng r = {22};
    for (size_t i = 0; i < DLX_COUNT(grids); i++)
        for (int kind = 0; kind < FILL_KINDS; kind++) {
            size_t n = 3, k = 384;
            float *w = floats_new(n, k);
            fill(&r, w, n * k, kind);
            check_matrix(grids[i], DLX_CLIP_NONE, w, NULL, n, k);
            if (kind < FILL_MODERATE) check_matrix(grids[i], DLX_CLIP_MSE, w, NULL, n, k);
            free(w);
        }
    float one[2] = {3.0f, -0.0f};
    check_matrix((dlx_grid){8, 0}, DLX_CLIP_MSE, one, NULL, 2, 1);
    check_matrix((dlx_grid){4, 0}, DLX_CLIP_MSE, one, NULL, 1, 2);
}

/* Without clipping, the bytes that an export without calibration writes. */
static void test_as_exported(void **state)
{
    (void)state;
    enum { N = 9, K = 384 };
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    dlx_solve_on on = {.kernels = &kernels};
    rng r = {25};
    float *w = weights_new(&r, N, K);
    for (size_t i = 0; i < DLX_COUNT(grids); i++) {
        dlx_grid g = grids[i];
        if (g.bits == 8 && g.group) continue; /* no form of files */
        gridded_copy m = gridded_new(g, N, K);
        dlx_error err = {0};
        check_ok(dlx_grid_round(&m.m, w, N, K, g, DLX_CLIP_NONE, NULL, &on, "layer", &err), &err);
        size_t share = share_of(g, K), bytes = dlx_grid_row_bytes(g, share);
        for (size_t at = 0; at < N * K / share; at++) {
            uint8_t codes[K];
            float max = dlx_rows_max(w + at * share, share, DLX_F32);
            float scale = g.bits == 8 ? dlx_int8_scale(max) : dlx_int4_scale(max, g.group ? DLX_BF16 : DLX_F32);
            if (g.bits == 8)
                dlx_int8_quantize((int8_t *)codes, w + at * share, share, DLX_F32, scale);
            else
                dlx_int4_quantize(codes, w + at * share, share, DLX_F32, scale);
            check_bits("codes", (const uint8_t *)m.m.codes + at * bytes, codes, bytes);
            assert_true(dlx_grid_get_scale(&m.m, g, K, at * share / K, at % (K / share)) == scale);
        }
        gridded_free(&m);
    }
    free(w);
}

/* Every share's cost to its end, in the order of sums that kernels/grid.h states. */
static float full_search(dlx_grid g, const float *w, const float *importance, size_t n)
{
    float whole = max_scale(g, w, n), best = as_stored(g, whole);
    double least = INFINITY;
    if (!(whole >= 0x1p-126f)) return best;
    for (int i = 0; i <= 20; i++) {
        float scale = as_stored(g, whole * ((float)(40 - i) / 40.0f)), part[16] = {0};
        double error = 0;
        for (size_t c = 0; c < n; c++) {
            float miss = w[c] - (float)code_of(g, w[c], scale) * scale;
            part[c % 16] += importance ? importance[c] * (miss * miss) : miss * miss;
        }
        for (size_t p = 0; p < 16; p++) error += (double)part[p];
        if (!(error < least)) continue;
        least = error;
        best = scale;
    }
    return best;
}

/* Giving up early changes no choice, whatever set of kernels tries them. */
static void test_same_choice(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 6, 16, 31, 32, 64, 128, 129, 200, 384, 1000, 3000};
    dlx_kernels kernels[8];
    size_t sets = all_kernels(kernels), among[4] = {0};
    rng r = {26};
    for (size_t i = 0; i < DLX_COUNT(sizes); i++)
        for (int kind = -30; kind < FILL_KINDS; kind += DLX_SLOW && kind < 0 ? 3 : 1)
            for (int how = 0; how < 8; how++) {
                size_t n = sizes[i];
                dlx_grid g = {.bits = how & 1 ? 8 : 4, .group = how & 2 ? n : 0};
                float *w = weights_new(&r, n, 1), *importance = floats_new(1, n);
                if (kind >= 0) fill(&r, w, n, kind);
                for (size_t c = 0; c < n; c++) importance[c] = c % 17 == 3 ? 0.0f : expf(4.0f * rng_f32(&r));
                if (kind < -20) w[n / 2] *= 3.0f;
                float want = full_search(g, w, how & 4 ? importance : NULL, n);
                for (size_t s = 0; s < sets; s++) {
                    float got = dlx_grid_scale(&kernels[s], g, DLX_CLIP_MSE, w, how & 4 ? importance : NULL, n);
                    if (got != want)
                        fail_msg("%s: %zu weights of kind %d, %d: %a, expected %a", kernels[s].name, n, kind, how,
                                 (double)got, (double)want);
                }
                if (kind < 0) among[(size_t)((1.0f - want / max_scale(g, w, n)) * 40.0f) / 7]++;
                free(w);
                free(importance);
            }
    assert_true(among[0] && among[1] && among[2]); /* scales of all rounds win now and then */
}

/* On weights as layers have them, clipping 4 bits pays: how much is part of what the header promises. */
static void test_clipping_pays(void **state)
{
    (void)state;
    rng r = {23};
    enum { N = 40, K = 1024 };
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    dlx_solve_on on = {.kernels = &kernels};
    float *w = weights_new(&r, N, K), *back = floats_new(N, K);
    const dlx_grid g = {4, 0};
    double error[2] = {0};
    for (int clip = 0; clip < 2; clip++) {
        gridded_copy m = gridded_new(g, N, K);
        dlx_error err = {0};
        check_ok(dlx_grid_round(&m.m, w, N, K, g, (dlx_clip)clip, NULL, &on, "layer", &err), &err);
        dlx_grid_restore(back, &m.m, N, K, g, &on);
        for (size_t i = 0; i < N * K; i++) error[clip] += pow((double)w[i] - (double)back[i], 2);
        gridded_free(&m);
    }
    if (!(error[DLX_CLIP_MSE] < 0.8 * error[DLX_CLIP_NONE])) fail_msg("%g against %g", error[1], error[0]);
    free(w);
    free(back);
}

static void test_refusals(void **state)
{
    (void)state;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    dlx_solve_on on = on_threads(&kernels, CHECK_THREADS);
    rng r = {24};
    enum { N = 90, K = 96 };
    float *w = weights_new(&r, N, K), importance[K] = {0};
    gridded_copy m = gridded_new((dlx_grid){8, 0}, N, K);
    dlx_error err = {0};
#define REFUSED(n, k, grid, status, a, b)                                                                              \
    check_refused(dlx_grid_round(&m.m, w, n, k, (dlx_grid)grid, DLX_CLIP_NONE, importance, &on, "layers.0.q", &err),   \
                  status, &err, a, b)
#define GRID(bits, group) {bits, group}
    REFUSED(1, 95, GRID(4, 0), DLX_E_INVALID, "layers.0.q", "95 inputs");
    REFUSED(1, K, GRID(4, 64), DLX_E_INVALID, "layers.0.q", "groups of 64");
    REFUSED(1, K, GRID(3, 0), DLX_E_INVALID, "layers.0.q", "3 bits");
    REFUSED(0, K, GRID(8, 0), DLX_E_INVALID, "layers.0.q", "no elements");
    importance[K - 1] = INFINITY;
    REFUSED(1, K, GRID(8, 0), DLX_E_FORMAT, "layers.0.q", "importance");
    importance[K - 1] = 0;
    w[70 * K] = w[41 * K + 95] = w[80 * K + 5] = NAN;
    REFUSED(N, K, GRID(8, 0), DLX_E_FORMAT, "layers.0.q", "row 41 of the weights");
    w[41 * K + 95] = 0;
    w[70 * K] = -INFINITY;
    REFUSED(N, K, GRID(4, 32), DLX_E_FORMAT, "layers.0.q", "row 70 of the weights");
    gridded_free(&m);
    free(w);
    dlx_pool_free(on.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rounding),      cmocka_unit_test(test_odd_rows),
                                       cmocka_unit_test(test_as_exported),   one_thread_test(test_same_choice),
                                       cmocka_unit_test(test_clipping_pays), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
