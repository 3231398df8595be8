/* H = X^T X, tile by tile: a tile belongs to one thread, and takes the batches in their order. */
#include "solve/hessian.h"

#include <math.h>
#include <string.h>

enum { BATCH = DLX_HESSIAN_ROWS, TILE = 256, TURN_ROWS = 16, TURN_COLUMNS = 64 };

static size_t tiles_across(const dlx_hessian *h)
{
    return (h->k + h->tile - 1) / h->tile;
}

static dlx_gemm_shape shape(const dlx_hessian *h, size_t rows)
{
    return (dlx_gemm_shape){.n_out = h->k, .n_in = rows};
}

static void free_room(dlx_hessian *h)
{
    dlx_mem_free(NULL, h->waiting, h->k * BATCH, sizeof *h->waiting);
    dlx_mem_free(NULL, h->packed, h->packed_bytes, 1);
    dlx_mem_free(NULL, h->tiles, h->threads * h->tile * h->tile, sizeof *h->tiles);
    h->waiting = h->tiles = NULL;
    h->packed = NULL;
}

void dlx_hessian_free(dlx_hessian *h)
{
    if (!h) return;
    free_room(h);
    dlx_mem_free(NULL, h->a, h->k * h->k, sizeof *h->a);
    *h = (dlx_hessian){0};
}

dlx_status dlx_hessian_begin(dlx_hessian *h, size_t k, const dlx_solve_on *on, const char *name, dlx_error *err)
{
    *h = (dlx_hessian){0};
    DLX_TRY(dlx_solve_check_size(k, k > BATCH ? k : BATCH, name, err));
    h->k = k;
    h->on = *on;
    h->name = name;
    h->threads = (size_t)dlx_pool_threads(on->pool);
    h->tile = dlx_solve_tile(on, TILE);
    h->packed_bytes = on->kernels->gemm_f32.packed_size(shape(h, BATCH));
    h->a = dlx_mem_zeroed(NULL, k * k, sizeof *h->a);
    h->waiting = dlx_mem_array(NULL, k * BATCH, sizeof *h->waiting);
    h->packed = dlx_mem_array(NULL, h->packed_bytes, 1);
    h->tiles = dlx_mem_array(NULL, h->threads * h->tile * h->tile, sizeof *h->tiles);
    if (h->a && h->waiting && h->packed && h->tiles) return DLX_OK;
    dlx_hessian_free(h);
    return dlx_fail(err, DLX_E_NOMEM, "'%s': no memory for the Hessian of %zu inputs (%.0f MB)", name, k,
                    ((double)k * (double)k + 2.0 * (double)k * BATCH) * 4e-6);
}

/* ---- rows become columns ----------------------------------------------------------------------------------------- */

typedef struct turn_job {
    dlx_hessian *h;
    const float *x;
    size_t x_stride, rows;
} turn_job;

static void turn(void *arg, size_t begin, size_t end, size_t thread)
{
    const turn_job *j = arg;
    float *to = j->h->waiting + j->h->held;
    (void)thread;
    for (size_t block = begin; block < end; block++) {
        size_t first = block * TURN_COLUMNS, last = first + TURN_COLUMNS < j->h->k ? first + TURN_COLUMNS : j->h->k;
        for (size_t m = 0; m < j->rows; m += TURN_ROWS) {
            size_t stop = m + TURN_ROWS < j->rows ? m + TURN_ROWS : j->rows;
            for (size_t c = first; c < last; c++)
                for (size_t r = m; r < stop; r++) to[c * BATCH + r] = j->x[r * j->x_stride + c];
        }
    }
}

static dlx_status check_rows(const dlx_hessian *h, const float *x, size_t x_stride, size_t rows, dlx_error *err)
{
    for (size_t r = 0; r < rows; r++)
        if (dlx_solve_not_finite(x + r * x_stride, h->k))
            return dlx_fail(err, DLX_E_FORMAT,
                            "'%s': row %llu of its inputs holds NaN or infinity, expected finite "
                            "numbers",
                            h->name, (unsigned long long)(h->rows + r));
    return DLX_OK;
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

static void add_tiles(void *arg, size_t begin, size_t end, size_t thread)
{
    dlx_hessian *h = arg;
    const dlx_gemm *gemm = &h->on.kernels->gemm_f32;
    size_t tile = h->tile, strips = tile / gemm->strip, depth = h->held;
    float *y = h->tiles + thread * tile * tile;
    for (size_t t = begin; t < end; t++) {
        size_t down = 0, across = t;
        while (across > down) across -= ++down;
        size_t i0 = down * tile, j0 = across * tile;
        size_t i1 = i0 + tile < h->k ? i0 + tile : h->k, j1 = j0 + tile < h->k ? j0 + tile : h->k;
        size_t strip_end = (across + 1) * strips, all = (h->k + gemm->strip - 1) / gemm->strip;
        gemm->run(y, tile, h->waiting + i0 * depth, depth, i1 - i0, h->packed, shape(h, depth), across * strips,
                  strip_end < all ? strip_end : all);
        for (size_t i = i0; i < i1; i++) {
            float *row = h->a + i * h->k + j0;
            const float *sum = y + (i - i0) * tile;
            size_t columns = j1 <= i ? j1 - j0 : i + 1 - j0;
            for (size_t j = 0; j < columns; j++) row[j] += sum[j];
        }
    }
}

/* A short last batch moves together, as the product wants its rows. */
static void multiply(dlx_hessian *h)
{
    if (h->held == 0) return;
    if (h->held < BATCH)
        for (size_t c = 1; c < h->k; c++)
            memmove(h->waiting + c * h->held, h->waiting + c * BATCH, h->held * sizeof *h->waiting);
    dlx_solve_pack(&h->on, h->packed, h->waiting, shape(h, h->held));
    size_t n = tiles_across(h);
    dlx_pool_for(h->on.pool, n * (n + 1) / 2, 1, add_tiles, h);
    h->held = 0;
}

dlx_status dlx_hessian_add(dlx_hessian *h, const float *x, size_t x_stride, size_t rows, dlx_error *err)
{
    while (rows > 0) {
        size_t n = BATCH - h->held < rows ? BATCH - h->held : rows;
        DLX_TRY(check_rows(h, x, x_stride, n, err));
        turn_job j = {.h = h, .x = x, .x_stride = x_stride, .rows = n};
        dlx_pool_for(h->on.pool, (h->k + TURN_COLUMNS - 1) / TURN_COLUMNS, 1, turn, &j);
        h->held += n;
        h->rows += n;
        x += n * x_stride;
        rows -= n;
        if (h->held == BATCH) multiply(h);
    }
    return DLX_OK;
}

/* Tiles of the upper half from those of the lower. */
static void mirror(void *arg, size_t begin, size_t end, size_t thread)
{
    const dlx_hessian *h = arg;
    size_t k = h->k;
    (void)thread;
    for (size_t block = begin; block < end; block++) {
        size_t i0 = block * TURN_COLUMNS, i1 = i0 + TURN_COLUMNS < k ? i0 + TURN_COLUMNS : k;
        for (size_t j0 = i0; j0 < k; j0 += TURN_COLUMNS) {
            size_t j1 = j0 + TURN_COLUMNS < k ? j0 + TURN_COLUMNS : k;
            for (size_t i = i0; i < i1; i++)
                for (size_t j = j0 > i ? j0 : i + 1; j < j1; j++) h->a[i * k + j] = h->a[j * k + i];
        }
    }
}

dlx_status dlx_hessian_finish(dlx_hessian *h, dlx_error *err)
{
    multiply(h);
    free_room(h);
    /* |H_ij| is at most the larger of H_ii and H_jj, so the diagonal speaks for all. */
    for (size_t i = 0; i < h->k; i++)
        if (!isfinite(h->a[i * h->k + i]))
            return dlx_fail(err, DLX_E_FORMAT,
                            "'%s': the squares of input %zu add up beyond float32 over %llu rows; "
                            "scale the rows down",
                            h->name, i, (unsigned long long)h->rows);
    dlx_pool_for(h->on.pool, (h->k + TURN_COLUMNS - 1) / TURN_COLUMNS, 1, mirror, h);
    return DLX_OK;
}
