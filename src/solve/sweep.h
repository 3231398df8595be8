/*
 * Products of many rows with a triangle of a [k, k] matrix, block of columns by block from the last to the first:
 *
 *     y[m][a] = sum over j >= hi of x[m][j] * t(a, j)      for a in the block [lo, hi)
 *
 * What lies inside the block is left to the caller, who may change x[m][lo .. hi) as he goes: solving (solve/gptq.c)
 * and evaluating (solve/factor.c) are this one walk.
 */
#ifndef DLX_SOLVE_SWEEP_H
#define DLX_SOLVE_SWEEP_H

#include <stddef.h>

#include "solve/on.h"

enum { DLX_SWEEP_BLOCK = 128 };

typedef struct dlx_sweep {
    dlx_solve_on on;
    size_t k;
    size_t block; /* columns of one, at most DLX_SWEEP_BLOCK; the block of the lowest columns may be short */
    const float *x;
    size_t rows; /* k floats apart */
    /* out[a - lo][j - hi], (k - hi) floats a row, becomes t(a, j) for j in [begin, end). Called by many threads. */
    void (*triangle)(void *ctx, float *out, size_t lo, size_t hi, size_t begin, size_t end);
    /* Before the rows of a block are visited; NULL: nothing to do. */
    void (*enter)(void *ctx, size_t lo, size_t hi);
    /* y [rows, hi - lo] of rows [begin, end), the caller's to change. Called by many threads. */
    void (*visit)(void *ctx, size_t lo, size_t hi, float *y, size_t begin, size_t end);
    void *ctx;
} dlx_sweep;

/* Takes about 1 KiB * k + 16 KiB a thread. */
dlx_status dlx_sweep_run(const dlx_sweep *s, const char *name, dlx_error *err);

#endif
