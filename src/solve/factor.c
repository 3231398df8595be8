/*
 * Blocked right-looking Cholesky: a block on the diagonal is factored and inverted in double, the panel below it is a
 * product with that inverse, and what is right of it loses the product of the panel with itself. The two products are
 * the kernels'.
 */
#include "solve/factor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PANEL = 256, ROWS = 64, TILE = 256, GROWTHS = 4 };

typedef struct cholesky {
    const dlx_solve_on *on;
    float *a;
    size_t k;
    double least;            /* a pivot below this is rounding's */
    double *block, *inverse; /* [PANEL, PANEL] */
    float *inverse32;
    void *packed_inverse;
    float *panel; /* [k, PANEL] what lies below the block */
    void *packed_panel;
    float *tiles;
    size_t tile, threads;
    size_t first, width, below; /* the present block: its first column, its columns, and the rows below it */
} cholesky;

/* ---- one block --------------------------------------------------------------------------------------------------- */

/* d [n, n], lower half: d = l l^T in place. False where a pivot is not above `least`. */
static bool factor_block(double *d, size_t n, double least)
{
    double column[PANEL];
    for (size_t j = 0; j < n; j++) {
        double pivot = d[j * PANEL + j];
        if (!(pivot > least) || !isfinite(pivot)) return false;
        double root = sqrt(pivot);
        d[j * PANEL + j] = root;
        for (size_t i = j + 1; i < n; i++) column[i] = d[i * PANEL + j] /= root;
        for (size_t i = j + 1; i < n; i++)
            for (size_t c = j + 1; c <= i; c++) d[i * PANEL + c] -= column[i] * column[c];
    }
    return true;
}

/* y = l^-1, both lower. */
static void invert_block(double *y, const double *l, size_t n)
{
    memset(y, 0, n * PANEL * sizeof *y);
    for (size_t i = 0; i < n; i++) {
        double *row = y + i * PANEL;
        for (size_t c = 0; c < i; c++) {
            double f = l[i * PANEL + c];
            for (size_t j = 0; j <= c; j++) row[j] -= f * y[c * PANEL + j];
        }
        for (size_t j = 0; j < i; j++) row[j] /= l[i * PANEL + i];
        row[i] = 1.0 / l[i * PANEL + i];
    }
}

static bool factor_diagonal(cholesky *c)
{
    size_t n = c->width;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) c->block[i * PANEL + j] = (double)c->a[(c->first + i) * c->k + c->first + j];
    if (!factor_block(c->block, n, c->least)) return false;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) c->a[(c->first + i) * c->k + c->first + j] = (float)c->block[i * PANEL + j];
    if (c->below == 0) return true;
    invert_block(c->inverse, c->block, n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) c->inverse32[i * n + j] = (float)c->inverse[i * PANEL + j];
    dlx_solve_pack(c->on, c->packed_inverse, c->inverse32, (dlx_gemm_shape){.n_out = n, .n_in = n});
    return true;
}

/* ---- what is below and right of it ------------------------------------------------------------------------------- */

static size_t strips_of(const cholesky *c, size_t columns)
{
    size_t strip = c->on->kernels->gemm_f32.strip;
    return (columns + strip - 1) / strip;
}

static void solve_panel(void *arg, size_t begin, size_t end, size_t thread)
{
    const cholesky *c = arg;
    size_t n = c->width;
    (void)thread;
    for (size_t m = begin; m < end; m += ROWS) {
        size_t stop = m + ROWS < end ? m + ROWS : end;
        float *from = c->a + (c->first + n + m) * c->k + c->first;
        c->on->kernels->gemm_f32.run(c->panel + m * n, n, from, c->k, stop - m, c->packed_inverse,
                                     (dlx_gemm_shape){.n_out = n, .n_in = n}, 0, strips_of(c, n));
        for (size_t i = m; i < stop; i++) memcpy(from + (i - m) * c->k, c->panel + i * n, n * sizeof *c->panel);
    }
}

static void update_tiles(void *arg, size_t begin, size_t end, size_t thread)
{
    const cholesky *c = arg;
    size_t n = c->width, tile = c->tile, strips = strips_of(c, tile), all = strips_of(c, c->below);
    float *y = c->tiles + thread * tile * tile, *corner = c->a + (c->first + n) * (c->k + 1);
    for (size_t t = begin; t < end; t++) {
        size_t down = 0, across = t;
        while (across > down) across -= ++down;
        size_t i0 = down * tile, i1 = i0 + tile < c->below ? i0 + tile : c->below, j0 = across * tile;
        size_t strip_end = (across + 1) * strips < all ? (across + 1) * strips : all;
        c->on->kernels->gemm_f32.run(y, tile, c->panel + i0 * n, n, i1 - i0, c->packed_panel,
                                     (dlx_gemm_shape){.n_out = c->below, .n_in = n}, across * strips, strip_end);
        for (size_t i = i0; i < i1; i++) {
            float *row = corner + i * c->k + j0;
            const float *sum = y + (i - i0) * tile;
            size_t columns = i + 1 - j0 < tile ? i + 1 - j0 : tile;
            for (size_t j = 0; j < columns; j++) row[j] -= sum[j];
        }
    }
}

static bool factor_matrix(cholesky *c)
{
    for (c->first = 0; c->first < c->k; c->first += c->width) {
        c->width = c->k - c->first < PANEL ? c->k - c->first : PANEL;
        c->below = c->k - c->first - c->width;
        if (!factor_diagonal(c)) return false;
        if (c->below == 0) continue;
        dlx_pool_for(c->on->pool, c->below, ROWS, solve_panel, c);
        dlx_solve_pack(c->on, c->packed_panel, c->panel, (dlx_gemm_shape){.n_out = c->below, .n_in = c->width});
        size_t tiles = (c->below + c->tile - 1) / c->tile;
        dlx_pool_for(c->on->pool, tiles * (tiles + 1) / 2, 1, update_tiles, c);
    }
    return true;
}

static size_t packed_size(const cholesky *c, size_t n_out)
{
    return c->on->kernels->gemm_f32.packed_size((dlx_gemm_shape){.n_out = n_out, .n_in = PANEL});
}

static bool get_room(cholesky *c)
{
    c->threads = (size_t)dlx_pool_threads(c->on->pool);
    c->tile = dlx_solve_tile(c->on, TILE);
    c->block = dlx_mem_array(NULL, PANEL * PANEL, sizeof *c->block);
    c->inverse = dlx_mem_array(NULL, PANEL * PANEL, sizeof *c->inverse);
    c->inverse32 = dlx_mem_array(NULL, PANEL * PANEL, sizeof *c->inverse32);
    c->packed_inverse = dlx_mem_array(NULL, packed_size(c, PANEL), 1);
    c->panel = dlx_mem_array(NULL, c->k * PANEL, sizeof *c->panel);
    c->packed_panel = dlx_mem_array(NULL, packed_size(c, c->k), 1);
    c->tiles = dlx_mem_array(NULL, c->threads * c->tile * c->tile, sizeof *c->tiles);
    return c->block && c->inverse && c->inverse32 && c->packed_inverse && c->panel && c->packed_panel && c->tiles;
}

static void free_room(cholesky *c)
{
    dlx_mem_free(NULL, c->block, PANEL * PANEL, sizeof *c->block);
    dlx_mem_free(NULL, c->inverse, PANEL * PANEL, sizeof *c->inverse);
    dlx_mem_free(NULL, c->inverse32, PANEL * PANEL, sizeof *c->inverse32);
    dlx_mem_free(NULL, c->packed_inverse, packed_size(c, PANEL), 1);
    dlx_mem_free(NULL, c->panel, c->k * PANEL, sizeof *c->panel);
    dlx_mem_free(NULL, c->packed_panel, packed_size(c, c->k), 1);
    dlx_mem_free(NULL, c->tiles, c->threads * c->tile * c->tile, sizeof *c->tiles);
}

/* ---- order and damping ------------------------------------------------------------------------------------------- */

typedef struct ranked {
    float value;
    uint32_t input;
} ranked;

/* Ascending, and of equal ones the later input first: the last place is decided first. */
static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return x->input > y->input ? -1 : x->input < y->input;
}

static bool choose_order(dlx_factor *f)
{
    for (size_t p = 0; p < f->k; p++) f->order[p] = (uint32_t)(f->k - 1 - p);
    if (!f->act_order) return true;
    ranked *r = dlx_mem_array(NULL, f->k, sizeof *r);
    if (!r) return false;
    for (size_t p = 0; p < f->k; p++) r[p] = (ranked){.value = f->a[p * (f->k + 1)], .input = (uint32_t)p};
    qsort(r, f->k, sizeof *r, compare_ranked);
    for (size_t p = 0; p < f->k; p++) f->order[p] = r[p].input;
    dlx_mem_free(NULL, r, f->k, sizeof *r);
    return true;
}

typedef struct place_job {
    const dlx_factor *f;
    float *to;
    const float *from;
    float *rows; /* [threads, k]: what is moved in place */
    float lambda;
} place_job;

static void place_in_rows(void *arg, size_t begin, size_t end, size_t thread)
{
    const place_job *j = arg;
    size_t k = j->f->k;
    float *old = j->rows + thread * k;
    for (size_t i = begin; i < end; i++) {
        memcpy(old, j->to + i * k, k * sizeof *old);
        for (size_t p = 0; p < k; p++) j->to[i * k + p] = old[j->f->order[p]];
    }
}

/* Row order[p] comes to p, along the cycles of the order; `moved` marks places that are done. */
static void place_rows(const dlx_factor *f, float *spare, uint8_t *moved)
{
    size_t k = f->k, bytes = k * sizeof *f->a;
    memset(moved, 0, k);
    for (size_t start = 0; start < k; start++) {
        if (moved[start]) continue;
        memcpy(spare, f->a + start * k, bytes);
        size_t p = start;
        for (; f->order[p] != start; p = f->order[p]) {
            memcpy(f->a + p * k, f->a + f->order[p] * k, bytes);
            moved[p] = 1;
        }
        memcpy(f->a + p * k, spare, bytes);
        moved[p] = 1;
    }
}

static bool place_matrix(dlx_factor *f, const dlx_solve_on *on)
{
    size_t threads = (size_t)dlx_pool_threads(on->pool);
    place_job j = {.f = f, .to = f->a, .rows = dlx_mem_array(NULL, threads * f->k, sizeof *j.rows)};
    uint8_t *moved = dlx_mem_array(NULL, f->k, 1);
    if (j.rows && moved) {
        place_rows(f, j.rows, moved);
        dlx_pool_for(on->pool, f->k, 4, place_in_rows, &j);
    }
    bool ok = j.rows && moved;
    dlx_mem_free(NULL, moved, f->k, 1);
    dlx_mem_free(NULL, j.rows, threads * f->k, sizeof *j.rows);
    return ok;
}

/* The lower half again from the upper one, with lambda on the diagonal. */
static void restore_lower(void *arg, size_t begin, size_t end, size_t thread)
{
    enum { SIDE = 64 };
    const place_job *j = arg;
    const dlx_factor *f = j->f;
    size_t k = f->k;
    (void)thread;
    for (size_t block = begin; block < end; block++) {
        size_t i0 = block * SIDE, i1 = i0 + SIDE < k ? i0 + SIDE : k;
        for (size_t j0 = 0; j0 < i1; j0 += SIDE)
            for (size_t i = i0; i < i1; i++)
                for (size_t c = j0; c < j0 + SIDE && c < i; c++) f->a[i * k + c] = f->a[c * k + i];
        for (size_t i = i0; i < i1; i++) f->a[i * (k + 1)] = f->diagonal[i] + j->lambda;
    }
}

static double mean_of_live(const dlx_factor *f)
{
    double sum = 0;
    size_t live = 0;
    for (size_t i = 0; i < f->k; i++) {
        if (!(f->diagonal[i] > 0)) continue;
        sum += (double)f->diagonal[i];
        live++;
    }
    return live ? sum / (double)live : 1.0;
}

static dlx_status factor_damped(dlx_factor *f, cholesky *c, float damping, const char *name, dlx_error *err)
{
    double mean = mean_of_live(f);
    for (int i = 0; i <= GROWTHS; i++) {
        f->damping = damping;
        f->lambda = (float)(mean * (double)damping);
        place_job j = {.f = f, .lambda = f->lambda};
        dlx_pool_for(c->on->pool, (f->k + 63) / 64, 1, restore_lower, &j);
        c->least = 0.5 * (double)f->lambda; /* no pivot of H + lambda I is below lambda */
        if (factor_matrix(c)) return DLX_OK;
        damping = damping > 0 ? damping * 10.0f : 0.001f;
    }
    return dlx_fail(err, DLX_E_FORMAT,
                    "'%s': its Hessian of %zu inputs is not positive definite even with %g of its mean "
                    "diagonal added, expected X^T X of finite rows",
                    name, f->k, (double)f->damping);
}

static dlx_status check_hessian(const dlx_hessian *h, const dlx_factor_options *o, const dlx_solve_on *on,
                                const char *name, dlx_error *err)
{
    if (!(o->damping >= 0) || !isfinite(o->damping))
        return dlx_fail(err, DLX_E_INVALID, "'%s': damping is %g, expected a number from 0", name, (double)o->damping);
    if (!h->a || h->waiting) return dlx_fail(err, DLX_E_INVALID, "'%s': its Hessian is not finished", name);
    if (h->k > UINT32_MAX) return dlx_fail(err, DLX_E_LIMIT, "'%s': a Hessian of %zu inputs is too large", name, h->k);
    DLX_TRY(dlx_solve_check(on, h->a, h->k, h->k, "Hessian", name, err));
    for (size_t i = 0; i < h->k; i++)
        if (h->a[i * (h->k + 1)] < 0)
            return dlx_fail(err, DLX_E_FORMAT,
                            "'%s': element %zu of its Hessian's diagonal is %g, expected a sum of "
                            "squares",
                            name, i, (double)h->a[i * (h->k + 1)]);
    return DLX_OK;
}

static dlx_status make(dlx_factor *f, cholesky *c, const dlx_factor_options *o, const char *name, dlx_error *err)
{
    f->order = dlx_mem_array(NULL, f->k, sizeof *f->order);
    f->diagonal = dlx_mem_array(NULL, f->k, sizeof *f->diagonal);
    if (!f->order || !f->diagonal || !choose_order(f) || !place_matrix(f, c->on) || !get_room(c))
        return dlx_fail(err, DLX_E_NOMEM, "'%s': no memory to factor the Hessian of %zu inputs", name, f->k);
    for (size_t i = 0; i < f->k; i++) f->diagonal[i] = f->a[i * (f->k + 1)];
    return factor_damped(f, c, o->damping, name, err);
}

dlx_status dlx_factor_make(dlx_factor *f, dlx_hessian *h, const dlx_factor_options *o, const dlx_solve_on *on,
                           const char *name, dlx_error *err)
{
    *f = (dlx_factor){0};
    dlx_status status = check_hessian(h, o, on, name, err);
    if (status == DLX_OK) {
        *f = (dlx_factor){.k = h->k, .a = h->a, .act_order = o->act_order};
        h->a = NULL;
        cholesky c = {.on = on, .a = f->a, .k = f->k};
        status = make(f, &c, o, name, err);
        free_room(&c);
    }
    dlx_hessian_free(h);
    if (status != DLX_OK) dlx_factor_free(f);
    return status;
}

void dlx_factor_free(dlx_factor *f)
{
    if (!f) return;
    dlx_mem_free(NULL, f->a, f->k * f->k, sizeof *f->a);
    dlx_mem_free(NULL, f->diagonal, f->k, sizeof *f->diagonal);
    dlx_mem_free(NULL, f->order, f->k, sizeof *f->order);
    *f = (dlx_factor){0};
}
