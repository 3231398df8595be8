/* X^T X against double precision, within the bound that its header states; the same bits however rows come; refusals.
 */
#include "solve_check.h"
#include "left_out.h"

typedef struct size {
    size_t rows, k;
} size;

static const size sizes[] = {{1, 1},    {3, 1},     {1, 40},    {7, 31},   {33, 64},  {511, 33},
                             {512, 97}, {513, 100}, {1100, 65}, {70, 257}, {530, 290}};

static void check_sums(const dlx_hessian *h, const float *x, size_t rows)
{
    size_t k = h->k;
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++) {
            double sum = 0, absolute = 0;
            for (size_t m = 0; m < rows; m++) {
                double product = (double)x[m * k + i] * (double)x[m * k + j];
                sum += product;
                absolute += fabs(product);
            }
            double bound = (double)(DLX_HESSIAN_ROWS + rows / DLX_HESSIAN_ROWS) * 0x1p-24 * absolute;
            check_close("sum", i * k + j, h->a[i * k + j], (float)sum, bound + fabs(sum) * 0x1p-24);
            assert_true(h->a[i * k + j] == h->a[j * k + i]);
        }
    assert_int_equal(h->rows, rows);
}

static void test_sums(void **state)
{
    (void)state;
    dlx_kernels k[8];
    size_t sets = all_kernels(k);
    rng r = {1};
    for (size_t set = 0; set < sets; set++) {
        dlx_solve_on on = {.kernels = &k[set]};
        for (size_t i = 0; i < DLX_COUNT(sizes); i++) {
            float *x = rows_new(&r, sizes[i].rows, sizes[i].k);
            dlx_hessian h = hessian_of(&on, x, sizes[i].rows, sizes[i].k);
            check_sums(&h, x, sizes[i].rows);
            dlx_hessian_free(&h);
            free(x);
        }
    }
}

/* Pieces of any size, gaps between rows, any number of threads: one answer. */
static void test_pieces_and_threads(void **state)
{
    (void)state;
    dlx_kernels k;
    dlx_kernels_init(&k, dlx_cpu_best_isa());
    rng r = {2};
    for (size_t i = 0; i < DLX_COUNT(sizes); i++) {
        size_t rows = sizes[i].rows, n = sizes[i].k, stride = n + 5;
        float *x = rows_new(&r, rows, n), *apart = floats_new(rows, stride);
        for (size_t m = 0; m < rows; m++) memcpy(apart + m * stride, x + m * n, n * sizeof *x);
        dlx_solve_on alone = {.kernels = &k};
        dlx_hessian expected = hessian_of(&alone, x, rows, n);
        for (int threads = 1; threads <= 4; threads++) {
            dlx_solve_on on = on_threads(&k, threads);
            dlx_hessian h;
            dlx_error err = {0};
            check_ok(dlx_hessian_begin(&h, n, &on, "layer", &err), &err);
            for (size_t m = 0, piece; m < rows; m += piece) {
                piece = 1 + rng_below(&r, rows - m < 700 ? rows - m : 700);
                check_ok(dlx_hessian_add(&h, apart + m * stride, stride, piece, &err), &err);
            }
            check_ok(dlx_hessian_finish(&h, &err), &err);
            check_bits("sums", h.a, expected.a, n * n * sizeof *h.a);
            dlx_hessian_free(&h);
            dlx_pool_free(on.pool);
        }
        dlx_hessian_free(&expected);
        free(apart);
        free(x);
    }
}

static void test_no_rows(void **state)
{
    (void)state;
    dlx_kernels k;
    dlx_kernels_init(&k, DLX_ISA_REF);
    dlx_solve_on on = {.kernels = &k};
    dlx_hessian h = hessian_of(&on, NULL, 0, 37);
    for (size_t i = 0; i < 37 * 37; i++) assert_true(h.a[i] == 0);
    dlx_hessian_free(&h);
    dlx_hessian_free(&h);
    dlx_hessian_free(NULL);
}

static void test_refusals(void **state)
{
    (void)state;
    enum { K = 70, ROWS = 600 };
    dlx_kernels k;
    dlx_kernels_init(&k, dlx_cpu_best_isa());
    dlx_solve_on on = {.kernels = &k};
    rng r = {3};
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < DLX_COUNT(bad); i++) {
        float *x = rows_new(&r, ROWS, K);
        x[520 * K + K - 1 - i] = bad[i];
        x[530 * K] = NAN;
        dlx_hessian h;
        dlx_error err = {0};
        check_ok(dlx_hessian_begin(&h, K, &on, "layers.3.down", &err), &err);
        check_ok(dlx_hessian_add(&h, x, K, 500, &err), &err);
        check_refused(dlx_hessian_add(&h, x + 500 * K, K, 100, &err), DLX_E_FORMAT, &err, "layers.3.down", "row 520 ");
        dlx_hessian_free(&h);
        free(x);
    }
    float *x = rows_new(&r, 4, K);
    x[2 * K + 13] = 1e25f;
    dlx_hessian h;
    dlx_error err = {0};
    check_ok(dlx_hessian_begin(&h, K, &on, "layers.3.down", &err), &err);
    check_ok(dlx_hessian_add(&h, x, K, 4, &err), &err);
    check_refused(dlx_hessian_finish(&h, &err), DLX_E_FORMAT, &err, "layers.3.down", "input 13 ");
    dlx_hessian_free(&h);
    check_refused(dlx_hessian_begin(&h, 0, &on, "empty", &err), DLX_E_INVALID, &err, "empty", "0 x 512");
    check_refused(dlx_hessian_begin(&h, SIZE_MAX / 2, &on, "huge", &err), DLX_E_LIMIT, &err, "huge", "addresses");
    assert_null(h.a);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {one_thread_test(test_sums), cmocka_unit_test(test_pieces_and_threads),
                                       cmocka_unit_test(test_no_rows), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
