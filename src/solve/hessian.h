/*
 * The Hessian of a linear layer's squared error: H = X^T X of the rows X [rows, k] that the layer reads. Layers that
 * read the same rows share it.
 *
 * Rows come in pieces of any size; sums are the same bits however they were cut. 512 rows at a time are multiplied in
 * float32 (each sum a chain of fused multiply-adds) and added to H, so an entry differs from the exact sum by at most
 * (512 + rows / 512) * 2^-24 * sum |x_i x_j|: 3e-5 of it for 16384 rows, and in practice a hundredth of that. Damping
 * by a hundredth of the mean diagonal is far more. Only the lower half is computed.
 */
#ifndef DLX_SOLVE_HESSIAN_H
#define DLX_SOLVE_HESSIAN_H

#include <stddef.h>
#include <stdint.h>

#include "solve/on.h"

enum { DLX_HESSIAN_ROWS = 512 }; /* that are multiplied at a time */

typedef struct dlx_hessian {
    size_t k;
    uint64_t rows; /* that came */
    float *a;      /* [k, k], DLX_ALIGN-aligned; complete after dlx_hessian_finish */
    /* Until then: rows that wait, as columns of [k, DLX_HESSIAN_ROWS], and room for their product. */
    float *waiting, *tiles;
    void *packed;
    size_t held, tile, packed_bytes, threads;
    dlx_solve_on on;
    const char *name;
} dlx_hessian;

/* All zeros. Takes 4 k^2 bytes to keep, and 4 KiB * k + 256 KiB a thread until it is finished. `on` is copied, what it
 * points to and `name` must outlive the sum. */
dlx_status dlx_hessian_begin(dlx_hessian *h, size_t k, const dlx_solve_on *on, const char *name, dlx_error *err);

/* Adds rows [rows, k], x_stride apart. Takes no memory. A row with NaN or infinity is DLX_E_FORMAT that names its
 * number among all that came; then h is good for nothing but dlx_hessian_free. */
dlx_status dlx_hessian_add(dlx_hessian *h, const float *x, size_t x_stride, size_t rows, dlx_error *err);

/* Adds what waits, fills the upper half, and gives back all but the matrix. Sums beyond float32 are DLX_E_FORMAT. */
dlx_status dlx_hessian_finish(dlx_hessian *h, dlx_error *err);

void dlx_hessian_free(dlx_hessian *h); /* NULL, or all zeros, is fine */

#endif
