/* Weights on a grid (kernels/grid.h): every instruction set has the reference's bits, whose codes and sums are those of
 * the formulas in double. */
#include "kernels_check.h"

#include "kernels/grid.h"

enum { MOST = 300, RUNS = 3 };

static const float limits[][2] = {{-8, 7}, {-128, 127}};

/* Scales that cut some of the weights, that cut none, and one that rounds all of them to zero. */
static dlx_grid_tries tries_of(const float *w, size_t n, const float limit[2])
{
    dlx_grid_tries t = {.low = limit[0], .high = limit[1]};
    float most = 0x1p-120f;
    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(w[i]));
    for (size_t c = 0; c < DLX_GRID_TRIES; c++) t.scale[c] = most / limit[1] * (1.2f - 0.1f * (float)c);
    t.scale[DLX_GRID_TRIES - 1] = most < 0x1p100f ? most * 4 : most;
    return t;
}

static double code_of(float w, float scale, const float limit[2])
{
    return fmin(fmax(nearbyint((double)(w / scale)), (double)limit[0]), (double)limit[1]);
}

static void check_formula(const dlx_grid_tries *t, const float *w, const float *importance, size_t n,
                          const float limit[2])
{
    for (size_t c = 0; c < DLX_GRID_TRIES; c++) {
        double part[DLX_GRID_PARTS] = {0}, sum = 0;
        for (size_t i = 0; i < n; i++) {
            double miss = (double)w[i] - code_of(w[i], t->scale[c], limit) * (double)t->scale[c];
            part[i % DLX_GRID_PARTS] += (importance ? (double)importance[i] : 1.0) * miss * miss;
        }
        for (size_t p = 0; p < DLX_GRID_PARTS; p++) {
            double scale = (double)t->scale[c] * (double)t->scale[c];
            check_close("part", p, t->part[p][c], (float)part[p], 1e-5 * part[p] + 1e-3 * scale + 0x1p-140);
            sum += (double)t->part[p][c];
        }
        assert_true(t->error[c] == sum);
    }
}

/* Weights that come in two pieces, the first whole rounds of parts. */
static void check_errors(const dlx_kernels *k, size_t sets, rng *r, int kind, bool weighted, const float limit[2])
{
    float x[MOST], y[MOST];
    size_t n = rng_below(r, MOST), first = rng_below(r, n / DLX_GRID_PARTS + 1) * DLX_GRID_PARTS;
    fill(r, x, n, kind);
    for (size_t i = 0; i < n; i++) y[i] = i % 11 == 4 ? 0.0f : 2.0f + rng_f32(r);
    dlx_grid_tries want = tries_of(x, n, limit);
    for (size_t s = 0; s < sets; s++) {
        dlx_grid_tries t = tries_of(x, n, limit);
        guarded w = guarded_new(n * sizeof *x, 4 * rng_below(r, 16)), importance = guarded_new(n * sizeof *y, 0);
        memcpy(w.p, x, n * sizeof *x);
        memcpy(importance.p, y, n * sizeof *y);
        const float *weights = w.p, *of_inputs = importance.p;
        k[s].grid_errors(&t, weights, weighted ? of_inputs : NULL, first);
        k[s].grid_errors(&t, weights + first, weighted ? of_inputs + first : NULL, n - first);
        if (s == 0) want = t;
        check_bits(k[s].name, t.part, want.part, sizeof t.part);
        check_bits(k[s].name, t.error, want.error, sizeof t.error);
        guarded_free(&w);
        guarded_free(&importance);
    }
    if (kind < FILL_MODERATE) check_formula(&want, x, weighted ? y : NULL, n, limit);
}

static void test_errors(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t sets = all_kernels(k);
    rng r = {61};
    for (int kind = 0; kind < FILL_KINDS; kind++)
        for (int run = 0; run < 2 * RUNS; run++)
            for (size_t l = 0; l < 2; l++) check_errors(k, sets, &r, kind, run % 2, limits[l]);
}

static void test_rounding(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t sets = all_kernels(k);
    rng r = {62};
    float x[MOST];
    for (int kind = 0; kind < FILL_KINDS; kind++)
        for (int run = 0; run < 2 * RUNS; run++) {
            size_t n = rng_below(&r, MOST);
            const float *limit = limits[run % 2];
            fill(&r, x, n, kind);
            dlx_grid_tries t = tries_of(x, n, limit);
            for (size_t s = 0; s < sets; s++)
                for (size_t c = 0; c < DLX_GRID_TRIES; c++) {
                    guarded y = guarded_new(n * sizeof *x, 4 * rng_below(&r, 16));
                    float *out = y.p;
                    memcpy(out, x, n * sizeof *x);
                    k[s].grid_round(out, run < RUNS ? out : x, n, t.scale[c], limit[0], limit[1]);
                    for (size_t i = 0; i < n; i++) {
                        float want = (float)code_of(x[i], t.scale[c], limit) * t.scale[c];
                        if (out[i] != want) fail_msg("%s: %a, expected %a", k[s].name, (double)out[i], (double)want);
                    }
                    guarded_free(&y);
                }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_errors), cmocka_unit_test(test_rounding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
