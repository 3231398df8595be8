/* What a layer answers, from the Hessian that lies beside the factor. */
#include <math.h>

#include "solve/factor.h"
#include "solve/sweep.h"

enum { ROOM = 1 << 23 /* floats */ };

size_t dlx_factor_rows(size_t n, size_t k)
{
    size_t rows = ROOM / k > 64 ? ROOM / k : 64;
    return rows < n ? rows : n;
}

typedef struct place_job {
    const dlx_factor *f;
    float *to;
    const float *from;
} place_job;

static void place_inputs(void *arg, size_t begin, size_t end, size_t thread)
{
    const place_job *j = arg;
    size_t k = j->f->k;
    (void)thread;
    for (size_t m = begin; m < end; m++)
        for (size_t p = 0; p < k; p++) j->to[m * k + p] = j->from[m * k + j->f->order[p]];
}

void dlx_factor_place(const dlx_factor *f, float *to, const float *from, size_t n, const dlx_solve_on *on)
{
    place_job j = {.f = f, .to = to, .from = from};
    dlx_pool_for(on->pool, n, 4, place_inputs, &j);
}

typedef struct energy {
    const dlx_factor *f;
    const float *w;
    double *per_row;
    float inside[DLX_SWEEP_BLOCK * DLX_SWEEP_BLOCK]; /* H of the present block, as its lower half */
} energy;

static void copy_upper(void *ctx, float *out, size_t lo, size_t hi, size_t begin, size_t end)
{
    const dlx_factor *f = ((const energy *)ctx)->f;
    for (size_t a = lo; a < hi; a++)
        for (size_t j = begin; j < end; j++) out[(a - lo) * (f->k - hi) + j - hi] = f->a[a * f->k + j];
}

static void keep_inside(void *ctx, size_t lo, size_t hi)
{
    energy *e = ctx;
    for (size_t j = lo; j < hi; j++)
        for (size_t a = lo; a < j; a++) e->inside[(j - lo) * DLX_SWEEP_BLOCK + a - lo] = e->f->a[a * e->f->k + j];
}

/* w H w = sum over a of w_a (H_aa w_a + 2 sum over j > a of H_aj w_j). */
static void add_rows(void *ctx, size_t lo, size_t hi, float *y, size_t begin, size_t end)
{
    const energy *e = ctx;
    size_t k = e->f->k, columns = hi - lo;
    for (size_t m = begin; m < end; m++) {
        const float *w = e->w + m * k;
        float *sum = y + (m - begin) * columns;
        for (size_t j = 1; j < columns; j++)
            for (size_t a = 0; a < j; a++) sum[a] += e->inside[j * DLX_SWEEP_BLOCK + a] * w[lo + j];
        double total = 0;
        for (size_t a = lo; a < hi; a++)
            total += (double)w[a] * ((double)e->f->diagonal[a] * (double)w[a] + 2.0 * (double)sum[a - lo]);
        e->per_row[m] += total;
    }
}

dlx_status dlx_factor_energy_placed(double *out, double *per_row, const dlx_factor *f, const float *w, size_t n,
                                    const dlx_solve_on *on, const char *name, dlx_error *err)
{
    *out = 0;
    for (size_t m = 0; m < n; m++) per_row[m] = 0;
    energy e = {.f = f, .w = w, .per_row = per_row};
    dlx_sweep s = {.on = *on,
                   .k = f->k,
                   .block = DLX_SWEEP_BLOCK,
                   .x = w,
                   .rows = n,
                   .triangle = copy_upper,
                   .enter = keep_inside,
                   .visit = add_rows,
                   .ctx = &e};
    DLX_TRY(dlx_sweep_run(&s, name, err));
    double total = 0;
    for (size_t m = 0; m < n; m++) total += per_row[m];
    if (!isfinite(total))
        return dlx_fail(err, DLX_E_FORMAT,
                        "'%s': what it answers goes beyond float32; its weights or inputs are too large", name);
    *out = total > 0 ? total : 0;
    return DLX_OK;
}

dlx_status dlx_factor_energy(double *out, const dlx_factor *f, const float *w, size_t n, const dlx_solve_on *on,
                             const char *name, dlx_error *err)
{
    *out = 0;
    DLX_TRY(dlx_solve_check_size(n, f->k, name, err));
    DLX_TRY(dlx_solve_check(on, w, n, f->k, "weights", name, err));
    size_t most = dlx_factor_rows(n, f->k);
    float *placed = dlx_mem_array(NULL, most * f->k, sizeof *placed);
    double *per_row = dlx_mem_array(NULL, most, sizeof *per_row), total = 0;
    dlx_status status = DLX_OK;
    if (!placed || !per_row)
        status = dlx_fail(err, DLX_E_NOMEM, "'%s': no memory for %zu rows of %zu weights", name, most, f->k);
    for (size_t m = 0; m < n && status == DLX_OK; m += most) {
        size_t rows = n - m < most ? n - m : most;
        double part;
        dlx_factor_place(f, placed, w + m * f->k, rows, on);
        status = dlx_factor_energy_placed(&part, per_row, f, placed, rows, on, name, err);
        total += part;
    }
    dlx_mem_free(NULL, placed, most * f->k, sizeof *placed);
    dlx_mem_free(NULL, per_row, most, sizeof *per_row);
    if (status == DLX_OK) *out = total;
    return status;
}
