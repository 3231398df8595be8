#include "solve/sweep.h"

#include <string.h>

enum { ROWS = 32, COLUMNS = 256 };

typedef struct sweep_job {
    const dlx_sweep *s;
    float *plain; /* [block][k - hi] */
    void *packed;
    float *y; /* [threads][ROWS][block] */
    size_t lo, hi;
} sweep_job;

static dlx_gemm_shape shape(const sweep_job *j)
{
    return (dlx_gemm_shape){.n_out = j->hi - j->lo, .n_in = j->s->k - j->hi};
}

static void fill_triangle(void *arg, size_t begin, size_t end, size_t thread)
{
    const sweep_job *j = arg;
    size_t first = j->hi + begin * COLUMNS, last = j->hi + end * COLUMNS;
    (void)thread;
    j->s->triangle(j->s->ctx, j->plain, j->lo, j->hi, first, last < j->s->k ? last : j->s->k);
}

static void visit_rows(void *arg, size_t begin, size_t end, size_t thread)
{
    const sweep_job *j = arg;
    const dlx_sweep *s = j->s;
    const dlx_gemm *gemm = &s->on.kernels->gemm_f32;
    size_t columns = j->hi - j->lo, strips = (columns + gemm->strip - 1) / gemm->strip;
    float *y = j->y + thread * ROWS * s->block;
    for (size_t m = begin; m < end; m += ROWS) {
        size_t stop = m + ROWS < end ? m + ROWS : end;
        if (j->hi == s->k)
            memset(y, 0, (stop - m) * columns * sizeof *y);
        else
            gemm->run(y, columns, s->x + m * s->k + j->hi, s->k, stop - m, j->packed, shape(j), 0, strips);
        s->visit(s->ctx, j->lo, j->hi, y, m, stop);
    }
}

static void run_block(sweep_job *j)
{
    const dlx_sweep *s = j->s;
    if (j->hi < s->k) {
        dlx_pool_for(s->on.pool, (s->k - j->hi + COLUMNS - 1) / COLUMNS, 1, fill_triangle, j);
        dlx_solve_pack(&s->on, j->packed, j->plain, shape(j));
    }
    if (s->enter) s->enter(s->ctx, j->lo, j->hi);
    dlx_pool_for(s->on.pool, s->rows, ROWS, visit_rows, j);
}

dlx_status dlx_sweep_run(const dlx_sweep *s, const char *name, dlx_error *err)
{
    size_t threads = (size_t)dlx_pool_threads(s->on.pool);
    dlx_gemm_shape most = {.n_out = s->block, .n_in = s->k};
    size_t packed_bytes = s->on.kernels->gemm_f32.packed_size(most);
    sweep_job j = {.s = s};
    j.plain = dlx_mem_array(NULL, s->block * s->k, sizeof *j.plain);
    j.packed = dlx_mem_array(NULL, packed_bytes, 1);
    j.y = dlx_mem_array(NULL, threads * ROWS * s->block, sizeof *j.y);
    dlx_status status = DLX_OK;
    if (j.plain && j.packed && j.y)
        for (j.hi = s->k; j.hi > 0; j.hi = j.lo) {
            j.lo = j.hi > s->block ? j.hi - s->block : 0;
            run_block(&j);
        }
    else
        status = dlx_fail(err, DLX_E_NOMEM, "'%s': no memory for blocks of %zu x %zu", name, s->block, s->k);
    dlx_mem_free(NULL, j.plain, s->block * s->k, sizeof *j.plain);
    dlx_mem_free(NULL, j.packed, packed_bytes, 1);
    dlx_mem_free(NULL, j.y, threads * ROWS * s->block, sizeof *j.y);
    return status;
}
