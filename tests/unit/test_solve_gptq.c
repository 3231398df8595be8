/*
 * GPTQ against the published loop in double precision, which inverts the Hessian and walks the factor of the inverse;
 * its stated errors against sums over rows; how much better than rounding it is; the same bits for threads and pieces;
 * degenerate layers.
 */
#include "solve/gptq.h"
#include "solve_check.h"

typedef struct layer {
    size_t n, k, rows;
    float *x, *w;
} layer;

static layer layer_new(rng *r, size_t n, size_t k, size_t rows)
{
    return (layer){.n = n, .k = k, .rows = rows, .x = rows_new(r, rows, k), .w = weights_new(r, n, k)};
}

static void layer_free(layer *l)
{
    free(l->x);
    free(l->w);
}

/* ---- the published loop ------------------------------------------------------------------------------------------ */

/* a [k, k], symmetric and positive definite, becomes its inverse (Gauss and Jordan). */
static void invert(double *a, size_t k)
{
    for (size_t p = 0; p < k; p++) {
        double pivot = 1.0 / a[p * (k + 1)];
        a[p * (k + 1)] = 1.0;
        for (size_t j = 0; j < k; j++) a[p * k + j] *= pivot;
        for (size_t i = 0; i < k; i++) {
            double f = a[i * k + p];
            if (i == p) continue;
            a[i * k + p] = 0;
            for (size_t j = 0; j < k; j++) a[i * k + j] -= f * a[p * k + j];
        }
    }
}

/* u [k, k] upper with u^T u = a. */
static void upper_factor(double *u, const double *a, size_t k)
{
    for (size_t i = 0; i < k; i++)
        for (size_t j = i; j < k; j++) {
            double sum = a[i * k + j];
            for (size_t c = 0; c < i; c++) sum -= u[c * k + i] * u[c * k + j];
            u[i * k + j] = i == j ? sqrt(sum) : sum / u[i * (k + 1)];
        }
}

/* Of the rows' inputs in the order they are decided. */
static double *published_factor(const layer *l, const uint32_t *order, float lambda)
{
    size_t k = l->k;
    double *h = doubles_new(k, k), *u = doubles_new(k, k);
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++) {
            for (size_t m = 0; m < l->rows; m++)
                h[i * k + j] += (double)l->x[m * k + order[i]] * (double)l->x[m * k + order[j]];
            if (i == j) h[i * k + j] += (double)lambda;
        }
    invert(h, k);
    upper_factor(u, h, k);
    free(h);
    return u;
}

/* One row: codes and scales as the loop of the paper's code makes them; groups of `group` have moving scales unless
 * `scales` (one an input) are given. */
static void published_row(int *codes, float *scales, bool moving, dlx_grid g, double *w, const uint32_t *order,
                          const double *u, size_t k)
{
    for (size_t i = 0; i < k; i++) {
        size_t column = order[i];
        if (moving && column % g.group == 0) {
            float now[128];
            for (size_t c = 0; c < g.group; c++) now[c] = (float)w[column + c];
            float scale = dlx_grid_scale(NULL, g, DLX_CLIP_NONE, now, NULL, g.group);
            for (size_t c = 0; c < g.group; c++) scales[column + c] = scale;
        }
        double scale = (double)scales[column], low = g.bits == 8 ? -128 : -8;
        double q = fmin(fmax(nearbyint(w[column] / scale), low), -low - 1);
        codes[column] = (int)q;
        double error = (w[column] - q * scale) / u[i * (k + 1)];
        for (size_t j = i; j < k; j++) w[order[j]] -= error * u[i * k + j];
    }
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

typedef struct solved {
    gridded_copy m;
    dlx_gptq_result result;
} solved;

static solved solve(const layer *l, const dlx_factor *f, const dlx_gptq_options *o, const dlx_solve_on *on)
{
    solved s = {.m = gridded_new(o->grid, l->n, l->k)};
    dlx_error err = {0};
    check_ok(dlx_gptq(&s.m.m, &s.result, f, l->w, l->n, o, on, "layer", &err), &err);
    return s;
}

/* |X (w - q)|^2 over rows. */
static double plain_error(const layer *l, const gridded_copy *m, dlx_grid g, const dlx_solve_on *on)
{
    float *d = floats_new(l->n, l->k);
    dlx_grid_restore(d, &m->m, l->n, l->k, g, on);
    for (size_t i = 0; i < l->n * l->k; i++) d[i] = l->w[i] - d[i];
    double error = plain_energy(l->x, l->rows, d, l->n, l->k);
    free(d);
    return error;
}

static void check_near(const char *what, double got, double expected, double relative)
{
    if (!(fabs(got - expected) <= relative * fabs(expected))) fail_msg("%s: %g, expected %g", what, got, expected);
}

static void check_result(const layer *l, const solved *s, dlx_grid g, const dlx_solve_on *on)
{
    check_near("energy", s->result.energy, plain_energy(l->x, l->rows, l->w, l->n, l->k), 1e-5);
    check_near("error", s->result.error, plain_error(l, &s->m, g, on), 1e-3);
}

/* A code differs where the double is on the other side of a rounding edge; what follows in that row may differ then. */
static void check_against_published(const layer *l, const dlx_factor *f, const dlx_gptq_options *o, const solved *s)
{
    size_t k = l->k, rows_that_differ = 0;
    uint32_t *order = calloc(k, sizeof *order);
    int *codes = calloc(k, sizeof *codes);
    float *scales = floats_new(1, k);
    double *w = doubles_new(1, k);
    assert_true(order && codes);
    for (size_t p = 0; p < k; p++) order[k - 1 - p] = f->order[p];
    double *u = published_factor(l, order, f->lambda);
    dlx_grid g = o->grid;
    size_t share = g.group ? g.group : k;
    bool moving = g.group && g.group <= 128 && !o->static_groups && !f->act_order;
    for (size_t row = 0; row < l->n; row++) {
        for (size_t c = 0; c < k; c++) w[c] = (double)l->w[row * k + c];
        for (size_t c = 0; c < k && !moving; c++)
            scales[c] = dlx_grid_scale(NULL, g, DLX_CLIP_NONE, l->w + row * k + c / share * share, NULL, share);
        published_row(codes, scales, moving, g, w, order, u, k);
        bool differs = false;
        for (size_t c = 0; c < k && !differs; c++) {
            const uint8_t *bytes = (const uint8_t *)s->m.m.codes + row * dlx_grid_row_bytes(g, k);
            differs =
                dlx_grid_get(g, bytes, c) != codes[c] || dlx_grid_get_scale(&s->m.m, g, k, row, c / share) != scales[c];
        }
        rows_that_differ += differs;
    }
    if (rows_that_differ > l->n / 10) fail_msg("%zu of %zu rows differ", rows_that_differ, l->n);
    free(u);
    free(w);
    free(scales);
    free(codes);
    free(order);
}

typedef struct form {
    dlx_grid grid;
    bool act_order, static_groups;
} form;

static const form forms[] = {
    {{8, 0}, false, false},  {{4, 0}, false, false},  {{4, 0}, true, false},
    {{4, 32}, false, false}, {{4, 32}, false, true},  {{4, 32}, true, false},
    {{4, 16}, false, false}, {{4, 96}, false, false}, {{4, 192}, false, false},
};

static void test_against_published(void **state)
{
    (void)state;
    dlx_kernels kernels[8];
    size_t sets = all_kernels(kernels);
    rng r = {31};
    for (size_t set = 0; set < sets; set += DLX_SLOW && !set && sets > 2 ? sets - 1 : 1) /* all, or first and last */
        for (size_t i = 0; i < DLX_COUNT(forms); i += set + 1 < sets ? 2 : 1)            /* all with the best set */
            for (size_t k = 192; k <= (set + 1 < sets || (DLX_SLOW && i % 3) ? 192 : 384); k += 192) {
                dlx_solve_on on = {.kernels = &kernels[set]};
                layer l = layer_new(&r, 20, k, k + 100);
                dlx_factor f = factor_of(&on, l.x, l.rows, l.k, 0.01f, forms[i].act_order);
                dlx_gptq_options o = {.grid = forms[i].grid, .static_groups = forms[i].static_groups};
                solved s = solve(&l, &f, &o, &on);
                check_against_published(&l, &f, &o, &s);
                check_result(&l, &s, o.grid, &on);
                gridded_free(&s.m);
                dlx_factor_free(&f);
                layer_free(&l);
            }
}

/* ---- better than rounding ---------------------------------------------------------------------------------------- */

static double rounding_error(const layer *l, dlx_grid g, dlx_clip clip, const dlx_solve_on *on)
{
    gridded_copy m = gridded_new(g, l->n, l->k);
    dlx_error err = {0};
    check_ok(dlx_grid_round(&m.m, l->w, l->n, l->k, g, clip, NULL, on, "layer", &err), &err);
    double error = plain_error(l, &m, g, on);
    gridded_free(&m);
    return error;
}

/* Inputs that depend on each other, as those of these rows do: GPTQ leaves less than a quarter of the squared error.
 * Moving scales, and clipping in rows, leave less still. */
static void test_better_than_rounding(void **state)
{
    (void)state;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    dlx_solve_on on = {.kernels = &kernels};
    rng r = {32};
    layer l = layer_new(&r, 32, 384, 700);
    const dlx_grid grids[] = {{4, 0}, {4, 32}, {4, 128}, {8, 0}};
    for (size_t i = 0; i < DLX_COUNT(grids); i++)
        for (int act_order = 0; act_order < 2; act_order++) {
            if (DLX_SLOW && act_order != (int)(i % 2)) continue;
            dlx_factor f = factor_of(&on, l.x, l.rows, l.k, 0.01f, act_order);
            double error[2], rounded = rounding_error(&l, grids[i], DLX_CLIP_NONE, &on);
            for (int clip = 0; clip < 2; clip++) {
                dlx_gptq_options o = {.grid = grids[i], .clip = (dlx_clip)clip};
                solved s = solve(&l, &f, &o, &on);
                check_result(&l, &s, grids[i], &on);
                error[clip] = s.result.error;
                gridded_free(&s.m);
            }
            if (!(error[0] < rounded / 4)) fail_msg("form %zu: %g, rounding %g", i, error[0], rounded);
            if (grids[i].bits == 4 && !grids[i].group && !(error[1] < 0.9 * error[0]))
                fail_msg("form %zu: clipped %g, not %g", i, error[1], error[0]);
            if (!(error[1] < 1.02 * error[0])) fail_msg("form %zu: clipped %g, not %g", i, error[1], error[0]);
            dlx_factor_free(&f);
        }
    layer_free(&l);
}

/* ---- threads, pieces --------------------------------------------------------------------------------------------- */

static void test_threads_and_pieces(void **state)
{
    (void)state;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    dlx_solve_on alone = {.kernels = &kernels};
    rng r = {33};
    layer l = layer_new(&r, 101, 448, 600);
    for (size_t i = 0; i < 3; i++) {
        dlx_gptq_options o = {.grid = {4, i == 0 ? 0 : 32}, .clip = DLX_CLIP_MSE};
        dlx_factor f = factor_of(&alone, l.x, l.rows, l.k, 0.01f, i == 2);
        solved expected = solve(&l, &f, &o, &alone);
        for (int threads = 1; threads <= 4; threads += DLX_SLOW ? 3 : 1) {
            dlx_solve_on on = on_threads(&kernels, threads);
            solved s = solve(&l, &f, &o, &on);
            check_same_grid(&s.m, &expected.m);
            assert_true(s.result.error == expected.result.error && s.result.energy == expected.result.energy);
            /* Rows alone and in pieces. */
            memset(s.m.m.codes, 0, s.m.code_bytes);
            for (size_t row = 0, piece; row < l.n; row += piece) {
                piece = row < 3 ? 1 : row + 40 < l.n ? 40 : l.n - row;
                size_t scales = dlx_grid_row_scales(o.grid, l.k);
                dlx_gridded part = {.codes = (uint8_t *)s.m.m.codes + row * dlx_grid_row_bytes(o.grid, l.k),
                                    .scale = s.m.m.scale + row,
                                    .group_scale = s.m.m.group_scale + row * scales};
                dlx_gptq_result result;
                dlx_error err = {0};
                check_ok(dlx_gptq(&part, &result, &f, l.w + row * l.k, piece, &o, &on, "layer", &err), &err);
            }
            check_same_grid(&s.m, &expected.m);
            gridded_free(&s.m);
            dlx_pool_free(on.pool);
        }
        gridded_free(&expected.m);
        dlx_factor_free(&f);
    }
    layer_free(&l);
}

/* More rows of weights than are solved at a time. */
static void test_many_rows(void **state)
{
    (void)state;
    enum { K = 2, N = (1 << 23) / K + 77 };
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    dlx_solve_on on = on_threads(&kernels, 2);
    rng r = {34};
    layer l = {.n = N, .k = K, .rows = 20, .x = rows_new(&r, 20, K), .w = floats_new(N, K)};
    for (size_t i = 0; i < (size_t)N * K; i++) l.w[i] = rng_f32(&r);
    assert_true(dlx_factor_rows(N, K) < N);
    dlx_factor f = factor_of(&on, l.x, l.rows, K, 0.01f, false);
    dlx_gptq_options o = {.grid = {8, 0}};
    solved s = solve(&l, &f, &o, &on), last = {.m = gridded_new(o.grid, 3, K)};
    dlx_error err = {0};
    check_ok(dlx_gptq(&last.m.m, &last.result, &f, l.w + (N - 3) * K, 3, &o, &on, "layer", &err), &err);
    check_bits("the last rows", (const int8_t *)s.m.m.codes + (N - 3) * K, last.m.m.codes, 3 * K);
    check_bits("their scales", s.m.m.scale + N - 3, last.m.m.scale, 3 * sizeof(float));
    double energy;
    check_ok(dlx_factor_energy(&energy, &f, l.w, N, &on, "layer", &err), &err);
    check_near("energy", s.result.energy, energy, 1e-12);
    gridded_free(&last.m);
    gridded_free(&s.m);
    dlx_factor_free(&f);
    layer_free(&l);
    dlx_pool_free(on.pool);
}

/* ---- degenerate layers ------------------------------------------------------------------------------------------- */

/* Codes are those of rounding. */
static void check_rounded(const layer *l, const dlx_factor *f, dlx_grid g, const dlx_solve_on *on)
{
    dlx_gptq_options o = {.grid = g};
    solved s = solve(l, f, &o, on);
    gridded_copy m = gridded_new(g, l->n, l->k);
    dlx_error err = {0};
    check_ok(dlx_grid_round(&m.m, l->w, l->n, l->k, g, DLX_CLIP_NONE, NULL, on, "layer", &err), &err);
    check_same_grid(&s.m, &m);
    gridded_free(&s.m);
    gridded_free(&m);
}

static void test_degenerate(void **state)
{
    (void)state;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    dlx_solve_on on = {.kernels = &kernels};
    rng r = {35};

    layer one = layer_new(&r, 5, 1, 9); /* one input: nothing can make good for it */
    dlx_factor f = factor_of(&on, one.x, one.rows, 1, 0.01f, true);
    check_rounded(&one, &f, (dlx_grid){8, 0}, &on);
    dlx_factor_free(&f);
    layer_free(&one);

    layer l = layer_new(&r, 6, 256, 40); /* fewer rows than inputs */
    for (size_t m = 0; m < l.rows; m++) l.x[m * l.k] = l.x[m * l.k + 77] = l.x[m * l.k + 255] = 0;
    for (int act_order = 0; act_order < 2; act_order++) {
        f = factor_of(&on, l.x, l.rows, l.k, 0.01f, act_order);
        dlx_gptq_options o = {.grid = {4, 32}, .clip = DLX_CLIP_MSE};
        solved s = solve(&l, &f, &o, &on);
        check_result(&l, &s, o.grid, &on);
        assert_true(s.result.error < 0.2 * rounding_error(&l, o.grid, DLX_CLIP_NONE, &on));
        gridded_free(&s.m);
        dlx_factor_free(&f);
    }

    f = factor_of(&on, l.x, 0, l.k, 0.01f, false); /* no rows: rounding, and no error to speak of */
    check_rounded(&l, &f, (dlx_grid){4, 64}, &on);
    check_rounded(&l, &f, (dlx_grid){8, 0}, &on);
    dlx_gptq_options clipped = {.grid = {4, 0}, .clip = DLX_CLIP_MSE};
    solved s = solve(&l, &f, &clipped, &on);
    gridded_copy m = gridded_new(clipped.grid, l.n, l.k);
    dlx_error err = {0};
    check_ok(dlx_grid_round(&m.m, l.w, l.n, l.k, clipped.grid, DLX_CLIP_MSE, NULL, &on, "layer", &err), &err);
    check_same_grid(&s.m, &m);
    assert_true(s.result.error == 0 && s.result.energy == 0);
    gridded_free(&m);
    gridded_free(&s.m);

    memset(l.w, 0, l.n * l.k * sizeof *l.w); /* weights of zero */
    check_rounded(&l, &f, (dlx_grid){4, 32}, &on);
    dlx_factor_free(&f);
    layer_free(&l);
}

static void test_refusals(void **state)
{
    (void)state;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    dlx_solve_on on = {.kernels = &kernels};
    rng r = {36};
    layer l = layer_new(&r, 60, 96, 200);
    dlx_factor f = factor_of(&on, l.x, l.rows, l.k, 0.01f, false);
    gridded_copy m = gridded_new((dlx_grid){8, 32}, l.n, l.k);
    dlx_gptq_result result;
    dlx_error err = {0};
    dlx_gptq_options o = {.grid = {4, 64}};
    check_refused(dlx_gptq(&m.m, &result, &f, l.w, l.n, &o, &on, "layers.1.up", &err), DLX_E_INVALID, &err,
                  "layers.1.up", "groups of 64");
    o.grid.group = 32;
    check_refused(dlx_gptq(&m.m, &result, &f, l.w, 0, &o, &on, "layers.1.up", &err), DLX_E_INVALID, &err, "layers.1.up",
                  "0 x 96");
    l.w[33 * l.k + 2] = NAN;
    check_refused(dlx_gptq(&m.m, &result, &f, l.w, l.n, &o, &on, "layers.1.up", &err), DLX_E_FORMAT, &err,
                  "layers.1.up", "row 33 of the weights");
    assert_true(result.error == 0 && result.energy == 0);
    for (size_t i = 0; i < l.n * l.k; i++) l.w[i] = rng_f32(&r) * 3.4e38f;
    check_refused(dlx_gptq(&m.m, &result, &f, l.w, l.n, &o, &on, "layers.1.up", &err), DLX_E_FORMAT, &err,
                  "layers.1.up", "answers goes beyond float32");
    dlx_factor_free(&f); /* weights whose answers are finite, but not what would make good for their codes */
    for (size_t i = 0; i < l.rows * l.k; i++) l.x[i] *= 1e-15f;
    f = factor_of(&on, l.x, l.rows, l.k, 0.01f, false);
    check_refused(dlx_gptq(&m.m, &result, &f, l.w, l.n, &o, &on, "layers.1.up", &err), DLX_E_FORMAT, &err,
                  "layers.1.up", "more damping than 0.01");
    o.grid.group = 0;
    check_refused(dlx_gptq(&m.m, &result, &f, l.w, l.n, &o, &on, "layers.1.up", &err), DLX_E_FORMAT, &err,
                  "layers.1.up", "more damping than 0.01");
    gridded_free(&m);
    dlx_factor_free(&f);
    layer_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_published),  cmocka_unit_test(test_better_than_rounding),
        cmocka_unit_test(test_threads_and_pieces), cmocka_unit_test(test_many_rows),
        cmocka_unit_test(test_degenerate),         cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
