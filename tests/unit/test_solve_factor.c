/* L L^T is the damped Hessian in the order asked for, H stays beside it; energies against sums over rows; damping that
 * grows; matrices that are none of X^T X. */
#include "solve_check.h"
#include "left_out.h"

typedef struct size {
    size_t rows, k;
} size;

static const size sizes[] = {{5, 1}, {40, 2}, {90, 33}, {200, 64}, {300, 255}, {40, 257}, {400, 300}, {300, 520}};

/* Sum of the Hessian in double, in the order of the factor. */
static double *plain_hessian(const dlx_factor *f, const float *x, size_t rows)
{
    size_t k = f->k;
    double *h = doubles_new(k, k);
    for (size_t m = 0; m < rows; m++)
        for (size_t i = 0; i < k; i++)
            for (size_t j = 0; j < k; j++)
                h[i * k + j] += (double)x[m * k + f->order[i]] * (double)x[m * k + f->order[j]];
    return h;
}

static void check_factor(const dlx_factor *f, const float *x, size_t rows)
{
    size_t k = f->k;
    double *h = plain_hessian(f, x, rows), mean = 0, most = 0, live = 0;
    for (size_t i = 0; i < k; i++) live += h[i * (k + 1)] > 0;
    for (size_t i = 0; i < k; i++) mean += h[i * (k + 1)] / live;
    for (size_t i = 0; i < k; i++) most = fmax(most, h[i * (k + 1)]);
    check_close("lambda", 0, f->lambda, (float)(mean * (double)f->damping), 1e-5 * mean * (double)f->damping);
    for (size_t i = 0; i < k; i++) {
        check_close("diagonal", i, f->diagonal[i], (float)h[i * (k + 1)], 1e-5 * h[i * (k + 1)]);
        assert_true(f->a[i * (k + 1)] > 0);
        for (size_t j = i + 1; j < k; j++)
            check_close("upper half", i * k + j, f->a[i * k + j], (float)h[i * k + j], 1e-5 * most);
        for (size_t j = 0; j <= i; j++) {
            double sum = 0;
            for (size_t c = 0; c <= j; c++) sum += (double)f->a[i * k + c] * (double)f->a[j * k + c];
            double expected = h[i * k + j] + (i == j ? (double)f->lambda : 0);
            check_close("L L^T", i * k + j, (float)sum, (float)expected, 2e-6 * most);
        }
    }
    free(h);
}

static void check_order(const dlx_factor *f)
{
    uint8_t *seen = calloc(f->k, 1);
    assert_non_null(seen);
    for (size_t p = 0; p < f->k; p++) {
        if (!f->act_order) assert_int_equal(f->order[p], f->k - 1 - p);
        if (f->act_order && p > 0) assert_true(f->diagonal[p - 1] <= f->diagonal[p]);
        if (f->act_order && p > 0 && f->diagonal[p - 1] == f->diagonal[p]) assert_true(f->order[p - 1] > f->order[p]);
        assert_true(f->order[p] < f->k && !seen[f->order[p]]);
        seen[f->order[p]] = 1;
    }
    free(seen);
}

static void test_factors(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t sets = all_kernels(k);
    rng r = {11};
    for (size_t set = 0; set < sets; set += DLX_SLOW && !set && sets > 2 ? sets - 1 : 1) /* all, or first and last */
        for (size_t i = 0; i < DLX_COUNT(sizes) - (set + 1 < sets ? 2 : 0); i++) /* the largest with the best set */
            for (int act_order = 0; act_order < 2; act_order++) {
                dlx_solve_on on = {.kernels = &k[set]};
                float *x = rows_new(&r, sizes[i].rows, sizes[i].k);
                dlx_factor f = factor_of(&on, x, sizes[i].rows, sizes[i].k, 0.01f, act_order);
                assert_true(f.damping == 0.01f);
                check_factor(&f, x, sizes[i].rows);
                check_order(&f);
                dlx_factor_free(&f);
                free(x);
            }
}

static void test_threads(void **state)
{
    (void)state;
    enum { ROWS = 300, K = 530 };
    dlx_kernels k;
    dlx_kernels_init(&k, dlx_cpu_best_isa());
    rng r = {12};
    float *x = rows_new(&r, ROWS, K), *w = weights_new(&r, 50, K);
    dlx_solve_on alone = {.kernels = &k};
    dlx_factor expected = factor_of(&alone, x, ROWS, K, 0.01f, true);
    dlx_error err = {0};
    double energy;
    check_ok(dlx_factor_energy(&energy, &expected, w, 50, &alone, "layer", &err), &err);
    for (int threads = 1; threads <= 4; threads += DLX_SLOW ? 3 : 1) {
        dlx_solve_on on = on_threads(&k, threads);
        dlx_factor f = factor_of(&on, x, ROWS, K, 0.01f, true);
        check_bits("factor", f.a, expected.a, K * K * sizeof *f.a);
        check_bits("order", f.order, expected.order, K * sizeof *f.order);
        double same;
        check_ok(dlx_factor_energy(&same, &f, w, 50, &on, "layer", &err), &err);
        assert_true(same == energy);
        dlx_factor_free(&f);
        dlx_pool_free(on.pool);
    }
    dlx_factor_free(&expected);
    free(w);
    free(x);
}

static void test_energy(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t sets = all_kernels(k);
    rng r = {13};
    for (size_t set = 0; set < sets; set += DLX_SLOW && !set && sets > 2 ? sets - 1 : 1) /* all, or first and last */
        for (size_t i = 0; i < DLX_COUNT(sizes); i++) {
            dlx_solve_on on = {.kernels = &k[set]};
            size_t n = 1 + rng_below(&r, 70);
            float *x = rows_new(&r, sizes[i].rows, sizes[i].k), *w = weights_new(&r, n, sizes[i].k);
            dlx_factor f = factor_of(&on, x, sizes[i].rows, sizes[i].k, 0.1f, i % 2);
            dlx_error err = {0};
            double got, expected = plain_energy(x, sizes[i].rows, w, n, sizes[i].k);
            check_ok(dlx_factor_energy(&got, &f, w, n, &on, "layer", &err), &err);
            if (!(fabs(got - expected) <= 2e-5 * expected)) fail_msg("energy %g, expected %g", got, expected);
            w[n * sizes[i].k / 2] = NAN;
            check_refused(dlx_factor_energy(&got, &f, w, n, &on, "layer", &err), DLX_E_FORMAT, &err, "layer", "NaN");
            assert_true(got == 0);
            dlx_factor_free(&f);
            free(x);
            free(w);
        }
}

/* Inputs that never come, rows fewer than inputs, no rows at all. */
static void test_degenerate(void **state)
{
    (void)state;
    enum { K = 150 };
    dlx_kernels k;
    dlx_kernels_init(&k, dlx_cpu_best_isa());
    dlx_solve_on on = {.kernels = &k};
    rng r = {14};
    float *x = rows_new(&r, 400, K);
    for (size_t m = 0; m < 400; m++) x[m * K] = x[m * K + 60] = x[m * K + K - 1] = 0;
    dlx_factor f = factor_of(&on, x, 400, K, 0.01f, true);
    assert_int_equal(f.order[0], K - 1); /* dead inputs are decided last */
    assert_int_equal(f.order[2], 0);
    assert_true(f.damping == 0.01f);
    for (size_t p = 0; p < 3; p++)
        check_close("dead", p, f.a[p * (K + 1)] * f.a[p * (K + 1)], f.lambda, 1e-5 * (double)f.lambda);
    dlx_factor_free(&f);

    f = factor_of(&on, x, 3, K, 0.01f, false); /* rank 3 */
    assert_true(f.damping == 0.01f);
    check_factor(&f, x, 3);
    dlx_factor_free(&f);

    f = factor_of(&on, x, 3, K, 0.0f, false); /* singular until the damping grows */
    assert_true(f.damping == 0.001f);
    dlx_factor_free(&f);

    f = factor_of(&on, x, 0, K, 0.01f, true); /* zeros count as ones */
    for (size_t p = 0; p < K; p++) check_close("zeros", p, f.a[p * (K + 1)], 0.1f, 1e-7);
    dlx_factor_free(&f);
    free(x);
}

static dlx_hessian matrix(const dlx_solve_on *on, const float *values, size_t k)
{
    dlx_hessian h = hessian_of(on, NULL, 0, k);
    memcpy(h.a, values, k * k * sizeof *values);
    return h;
}

static void test_refusals(void **state)
{
    (void)state;
    dlx_kernels k;
    dlx_kernels_init(&k, dlx_cpu_best_isa());
    dlx_solve_on on = {.kernels = &k};
    const dlx_factor_options o = {.damping = 0.01f}, negative = {.damping = -1.0f}, nan = {.damping = NAN};
    const float indefinite[] = {1, 1000, 1000, 1}, grows[] = {1, 4, 4, 1}, bad[] = {1, NAN, NAN, 1},
                minus[] = {1, 0, 0, -1};
    dlx_factor f;
    dlx_error err = {0};

    dlx_hessian h = matrix(&on, grows, 2);
    check_ok(dlx_factor_make(&f, &h, &o, &on, "layer", &err), &err);
    assert_null(h.a);
    check_close("damping", 0, f.damping, 10.0f, 1e-4); /* 1 + 1 < 4 */
    dlx_factor_free(&f);
    h = matrix(&on, indefinite, 2);
    check_refused(dlx_factor_make(&f, &h, &o, &on, "layer", &err), DLX_E_FORMAT, &err, "layer",
                  "not positive definite");
    assert_null(h.a);
    assert_null(f.a);
    h = matrix(&on, bad, 2);
    check_refused(dlx_factor_make(&f, &h, &o, &on, "layer", &err), DLX_E_FORMAT, &err, "layer", "NaN");
    h = matrix(&on, minus, 2);
    check_refused(dlx_factor_make(&f, &h, &o, &on, "layer", &err), DLX_E_FORMAT, &err, "element 1 ", "-1");
    h = matrix(&on, grows, 2);
    check_refused(dlx_factor_make(&f, &h, &negative, &on, "layer", &err), DLX_E_INVALID, &err, "damping", "-1");
    h = matrix(&on, grows, 2);
    check_refused(dlx_factor_make(&f, &h, &nan, &on, "layer", &err), DLX_E_INVALID, &err, "damping", "nan");
    check_ok(dlx_hessian_begin(&h, 2, &on, "layer", &err), &err);
    check_refused(dlx_factor_make(&f, &h, &o, &on, "layer", &err), DLX_E_INVALID, &err, "layer", "not finished");
    dlx_factor_free(&f);
    dlx_factor_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {one_thread_test(test_factors), cmocka_unit_test(test_threads),
                                       one_thread_test(test_energy), cmocka_unit_test(test_degenerate),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
