/*
 * The walk of solve/sweep.h over rows of weights. A row begins as its weights in the order of places and ends as their
 * deviations from the codes.
 */
#include "solve/gptq.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "solve/sweep.h"

enum { BLOCK = DLX_SWEEP_BLOCK };

typedef struct solver {
    const dlx_factor *f;
    const dlx_kernels *kernels;
    const dlx_gptq_options *o;
    const dlx_gridded *out;
    const float *w;  /* [n, k] */
    float *e;        /* [most, k] of the present piece */
    size_t first, k; /* first row of the piece */
    size_t row_bytes;
    bool moving;                 /* a group's scale is found when it is reached */
    float *cost;                 /* [k] L_pp^2 of places */
    float *importance;           /* [k] H_cc of inputs */
    double *per_row;             /* [most] */
    atomic_bool diverged;        /* a weight went beyond float32 */
    float inside[BLOCK * BLOCK]; /* of the present block: L_ab / L_bb at [a - lo][b - lo], b < a */
} solver;

static void copy_lower(void *ctx, float *out, size_t lo, size_t hi, size_t begin, size_t end)
{
    const dlx_factor *f = ((const solver *)ctx)->f;
    float scale[BLOCK];
    for (size_t a = lo; a < hi; a++) scale[a - lo] = 1.0f / f->a[a * (f->k + 1)];
    /* Sixteen rows of L at a time: a line of each row of `out`. */
    for (size_t j0 = begin; j0 < end; j0 += 16)
        for (size_t a = lo; a < hi; a++)
            for (size_t j = j0; j < j0 + 16 && j < end; j++)
                out[(a - lo) * (f->k - hi) + j - hi] = f->a[j * f->k + a] * scale[a - lo];
}

static void keep_inside(void *ctx, size_t lo, size_t hi)
{
    solver *s = ctx;
    const dlx_factor *f = s->f;
    for (size_t a = lo; a < hi; a++)
        for (size_t b = lo; b < a; b++)
            s->inside[(a - lo) * BLOCK + b - lo] = f->a[a * f->k + b] * (1.0f / f->a[b * (f->k + 1)]);
}

static inline void add_scaled(float *y, const float *x, float factor, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] += x[i] * factor;
}

/* The scale of the group at places [first, first + group), from the weights that would make good for everything decided
 * so far if they needed no codes. `open` is what `y` has for them. */
static float moving_scale(const solver *s, const float *e, const float *y, size_t lo, size_t first)
{
    size_t group = s->o->grid.group;
    float open[BLOCK], w[BLOCK];
    memcpy(open, y + (first - lo), group * sizeof *open);
    for (size_t a = group; a-- > 0;) {
        w[a] = e[first + a] + open[a];
        add_scaled(open, s->inside + (first - lo + a) * BLOCK + (first - lo), -open[a], a);
    }
    if (dlx_solve_not_finite(w, group)) return NAN;
    return dlx_grid_scale(s->kernels, s->o->grid, s->o->clip, w, s->cost + first, group);
}

/* y [hi - lo]: what decided inputs ask of the block's. False where numbers left float32. */
static bool solve_row(const solver *s, size_t lo, size_t hi, float *y, size_t m)
{
    dlx_grid g = s->o->grid;
    size_t row = s->first + m, share = g.group ? g.group : s->k;
    float *e = s->e + m * s->k, scale = 1.0f;
    uint8_t *codes = (uint8_t *)s->out->codes + row * s->row_bytes;
    for (size_t a = hi; a-- > lo;) {
        size_t column = s->f->order[a];
        if (!s->moving) {
            scale = dlx_grid_get_scale(s->out, g, s->k, row, column / share);
        } else if (column % share == 0) {
            scale = moving_scale(s, e, y, lo, a + 1 - share);
            if (!isfinite(scale)) return false;
            dlx_grid_put_scale(s->out, g, s->k, row, column / share, scale);
        }
        float v = e[a] + y[a - lo];
        if (!isfinite(v)) return false;
        float code = dlx_grid_nearest(g, v, scale);
        dlx_grid_put(g, codes, column, code);
        e[a] -= code * scale;
        add_scaled(y, s->inside + (a - lo) * BLOCK, e[a], a - lo);
    }
    return true;
}

static void solve_rows(void *ctx, size_t lo, size_t hi, float *y, size_t begin, size_t end)
{
    solver *s = ctx;
    for (size_t m = begin; m < end; m++)
        if (!solve_row(s, lo, hi, y + (m - begin) * (hi - lo), m)) atomic_store(&s->diverged, true);
}

/* Scales of rows [begin, end) from the weights as they are. */
static void find_scales(void *arg, size_t begin, size_t end, size_t thread)
{
    const solver *s = arg;
    size_t share = s->o->grid.group ? s->o->grid.group : s->k;
    (void)thread;
    for (size_t row = begin; row < end; row++)
        for (size_t c = 0; c < s->k; c += share) {
            float scale =
                dlx_grid_scale(s->kernels, s->o->grid, s->o->clip, s->w + row * s->k + c, s->importance + c, share);
            dlx_grid_put_scale(s->out, s->o->grid, s->k, row, c / share, scale);
        }
}

/* Inputs that never came cost nothing; where nothing came, all cost the same. */
static void find_costs(solver *s)
{
    const dlx_factor *f = s->f;
    float most = 0;
    for (size_t p = 0; p < s->k; p++) {
        float l = f->a[p * (s->k + 1)];
        s->cost[p] = l * l;
        s->importance[f->order[p]] = f->diagonal[p];
        if (f->diagonal[p] > most) most = f->diagonal[p];
    }
    for (size_t c = 0; c < s->k && most == 0; c++) s->importance[c] = 1.0f;
}

/* The energy of the rows as they lie, for who asks. */
static dlx_status add_energy(solver *s, double *sum, size_t n, const dlx_solve_on *on, const char *name, dlx_error *err)
{
    double part;
    if (!sum) return DLX_OK;
    DLX_TRY(dlx_factor_energy_placed(&part, s->per_row, s->f, s->e, n, on, name, err));
    *sum += part;
    return DLX_OK;
}

static dlx_status solve_piece(solver *s, size_t n, dlx_gptq_result *result, const dlx_solve_on *on, const char *name,
                              dlx_error *err)
{
    size_t group = s->o->grid.group;
    dlx_factor_place(s->f, s->e, s->w + s->first * s->k, n, on);
    DLX_TRY(add_energy(s, result ? &result->energy : NULL, n, on, name, err));
    dlx_sweep sweep = {.on = *on,
                       .k = s->k,
                       .block = s->moving ? BLOCK / group * group : BLOCK,
                       .x = s->e,
                       .rows = n,
                       .triangle = copy_lower,
                       .enter = keep_inside,
                       .visit = solve_rows,
                       .ctx = s};
    DLX_TRY(dlx_sweep_run(&sweep, name, err));
    if (atomic_load(&s->diverged))
        return dlx_fail(err, DLX_E_FORMAT, "'%s': GPTQ's weights went beyond float32; use more damping than %g", name,
                        (double)s->f->damping);
    return add_energy(s, result ? &result->error : NULL, n, on, name, err);
}

static dlx_status solve_all(solver *s, size_t n, size_t most, dlx_gptq_result *result, const dlx_solve_on *on,
                            const char *name, dlx_error *err)
{
    if (!s->e || !s->cost || !s->importance || !s->per_row)
        return dlx_fail(err, DLX_E_NOMEM, "'%s': no memory to solve %zu rows of %zu weights", name, most, s->k);
    find_costs(s);
    if (!s->moving) dlx_pool_for(on->pool, n, 4, find_scales, s);
    for (; s->first < n; s->first += most)
        DLX_TRY(solve_piece(s, n - s->first < most ? n - s->first : most, result, on, name, err));
    return DLX_OK;
}

dlx_status dlx_gptq(const dlx_gridded *out, dlx_gptq_result *result, const dlx_factor *f, const float *w, size_t n,
                    const dlx_gptq_options *o, const dlx_solve_on *on, const char *name, dlx_error *err)
{
    size_t k = f->k, most = dlx_factor_rows(n, k);
    if (result) *result = (dlx_gptq_result){0};
    DLX_TRY(dlx_solve_check_size(n, k, name, err));
    DLX_TRY(dlx_grid_check(o->grid, k, name, err));
    DLX_TRY(dlx_solve_check(on, w, n, k, "weights", name, err));
    solver *s = dlx_mem_zeroed(NULL, 1, sizeof *s);
    if (!s) return dlx_fail(err, DLX_E_NOMEM, "'%s': no memory to solve", name);
    s->f = f;
    s->kernels = on->kernels;
    s->o = o;
    s->out = out;
    s->w = w;
    s->k = k;
    s->row_bytes = dlx_grid_row_bytes(o->grid, k);
    s->moving = o->grid.group && o->grid.group <= BLOCK && !o->static_groups && !f->act_order;
    s->e = dlx_mem_array(NULL, most * k, sizeof *s->e);
    s->cost = dlx_mem_array(NULL, k, sizeof *s->cost);
    s->importance = dlx_mem_array(NULL, k, sizeof *s->importance);
    s->per_row = dlx_mem_array(NULL, most, sizeof *s->per_row);
    atomic_init(&s->diverged, false);
    dlx_status status = solve_all(s, n, most, result, on, name, err);
    dlx_mem_free(NULL, s->e, most * k, sizeof *s->e);
    dlx_mem_free(NULL, s->cost, k, sizeof *s->cost);
    dlx_mem_free(NULL, s->importance, k, sizeof *s->importance);
    dlx_mem_free(NULL, s->per_row, most, sizeof *s->per_row);
    dlx_mem_free(NULL, s, 1, sizeof *s);
    if (status != DLX_OK && result) *result = (dlx_gptq_result){0};
    return status;
}
