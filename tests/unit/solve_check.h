/*
 * What the solvers' tests share: made-up rows and weights, the plain formulas in double precision, and threads.
 */
#ifndef SOLVE_CHECK_H
#define SOLVE_CHECK_H

#include "kernels_check.h"

#include "base/sizes.h"
#include "solve/factor.h"
#include "solve/grid.h"
#include "solve/hessian.h"

/* [rows, columns] of one type, from malloc. */
static inline float *floats_new(size_t rows, size_t columns)
{
    float *p = calloc(rows * columns + 1, sizeof *p);
    assert_non_null(p);
    return p;
}

static inline double *doubles_new(size_t rows, size_t columns)
{
    double *p = calloc(rows * columns + 1, sizeof *p);
    assert_non_null(p);
    return p;
}

/* Rows as layers read them: neighbours depend on each other, all share a direction, a few inputs are large. */
static inline float *rows_new(rng *r, size_t rows, size_t k)
{
    float *x = floats_new(rows, k);
    for (size_t m = 0; m < rows; m++) {
        float common = rng_f32(r), before = 0;
        for (size_t c = 0; c < k; c++) {
            before = 0.8f * before + 0.6f * (rng_f32(r) + rng_f32(r));
            x[m * k + c] = (before + common) * (c % 29 == 7 ? 8.0f : 1.0f);
        }
    }
    return x;
}

/* About normal. */
static inline float *weights_new(rng *r, size_t n, size_t k)
{
    float *w = floats_new(n, k);
    for (size_t i = 0; i < n * k; i++) w[i] = 0.02f * (rng_f32(r) + rng_f32(r) + rng_f32(r) + rng_f32(r));
    return w;
}

/* |x w|^2 summed over rows x [rows, k] and w [n, k]. */
static inline double plain_energy(const float *x, size_t rows, const float *w, size_t n, size_t k)
{
    double total = 0;
    for (size_t m = 0; m < rows; m++)
        for (size_t i = 0; i < n; i++) {
            double sum = 0;
            for (size_t c = 0; c < k; c++) sum += (double)x[m * k + c] * (double)w[i * k + c];
            total += sum * sum;
        }
    return total;
}

static inline void check_ok(dlx_status s, const dlx_error *err)
{
    if (s != DLX_OK) fail_msg("%s", err->message);
}

/* Fails with that status, and the message holds both words. */
static inline void check_refused(dlx_status got, dlx_status expected, const dlx_error *err, const char *a,
                                 const char *b)
{
    assert_int_equal(got, expected);
    assert_int_equal(err->status, expected);
    if (!strstr(err->message, a) || !strstr(err->message, b)) fail_msg("no '%s', '%s' in: %s", a, b, err->message);
}

static inline dlx_hessian hessian_of(const dlx_solve_on *on, const float *x, size_t rows, size_t k)
{
    dlx_hessian h;
    dlx_error err = {0};
    check_ok(dlx_hessian_begin(&h, k, on, "layer", &err), &err);
    check_ok(dlx_hessian_add(&h, x, k, rows, &err), &err);
    check_ok(dlx_hessian_finish(&h, &err), &err);
    return h;
}

static inline dlx_factor factor_of(const dlx_solve_on *on, const float *x, size_t rows, size_t k, float damping,
                                   bool act_order)
{
    dlx_hessian h = hessian_of(on, x, rows, k);
    dlx_factor f;
    dlx_error err = {0};
    const dlx_factor_options o = {.damping = damping, .act_order = act_order};
    check_ok(dlx_factor_make(&f, &h, &o, on, "layer", &err), &err);
    return f;
}

/* Every set of kernels alone, then the best one on several threads; the pool is the caller's to free. */
enum { CHECK_THREADS = 3 };

static inline dlx_solve_on on_threads(const dlx_kernels *k, int threads)
{
    dlx_solve_on on = {.kernels = k};
    dlx_error err = {0};
    check_ok(dlx_pool_create(&on.pool, threads, &err), &err);
    return on;
}

/* Codes and scales in memory of their own. */
typedef struct gridded_copy {
    dlx_gridded m;
    size_t code_bytes, scales;
} gridded_copy;

static inline gridded_copy gridded_new(dlx_grid g, size_t n, size_t k)
{
    gridded_copy c = {.code_bytes = n * dlx_grid_row_bytes(g, k), .scales = n * dlx_grid_row_scales(g, k)};
    c.m.codes = malloc(c.code_bytes + 1);
    c.m.scale = calloc(c.scales + 1, sizeof(float));
    c.m.group_scale = calloc(c.scales + 1, sizeof(uint16_t));
    assert_true(c.m.codes && c.m.scale && c.m.group_scale);
    memset(c.m.codes, 0x5A, c.code_bytes);
    return c;
}

static inline void gridded_free(gridded_copy *c)
{
    free(c->m.codes);
    free(c->m.scale);
    free(c->m.group_scale);
}

static inline void check_same_grid(const gridded_copy *a, const gridded_copy *b)
{
    check_bits("codes", a->m.codes, b->m.codes, a->code_bytes);
    check_bits("scales", a->m.scale, b->m.scale, a->scales * sizeof(float));
    check_bits("group scales", a->m.group_scale, b->m.group_scale, a->scales * sizeof(uint16_t));
}

#endif
