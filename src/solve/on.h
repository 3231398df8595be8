/*
 * Where the solvers compute: which kernels, which threads.
 *
 * The solvers are functions on matrices in memory. Their results have the same bits for every number of threads and
 * however rows are handed over in pieces; between instruction sets they differ as float products do. Matrices are
 * float32, row-major and contiguous unless a stride (in elements) is given. Scratch is taken from the C library at the
 * beginning of a call and given back at its end; each function states how much. A `name` stands in messages.
 */
#ifndef DLX_SOLVE_ON_H
#define DLX_SOLVE_ON_H

#include <stddef.h>

#include "base/status.h"
#include "base/threads.h"
#include "kernels/kernels.h"

typedef struct dlx_solve_on {
    const dlx_kernels *kernels; /* of these gemm_f32, mul, grid_errors and grid_round */
    dlx_pool *pool;             /* NULL: the calling thread alone */
} dlx_solve_on;

/* Whether one of n floats is NaN or infinite. */
bool dlx_solve_not_finite(const float *x, size_t n);
/* DLX_E_FORMAT that names the first row of x [rows, n] which holds NaN or infinity. */
dlx_status dlx_solve_check(const dlx_solve_on *on, const float *x, size_t rows, size_t n, const char *what,
                           const char *name, dlx_error *err);

/* Whether count * size bytes can be asked for; DLX_E_LIMIT that names the matrix otherwise. */
dlx_status dlx_solve_check_size(uint64_t rows, uint64_t columns, const char *name, dlx_error *err);

/* The columns that threads take at a time in a product whose tiles are about `wanted` columns: whole strips. */
size_t dlx_solve_tile(const dlx_solve_on *on, size_t wanted);

/* Packs w [s.n_out, s.n_in] on all threads. */
void dlx_solve_pack(const dlx_solve_on *on, void *packed, const float *w, dlx_gemm_shape s);

#endif
