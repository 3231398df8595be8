/*
 * The Cholesky factor that GPTQ walks along, and the Hessian beside it.
 *
 * The inputs are put into an order, H + lambda I = L L^T is factored in it, and both stay in one matrix: L in the lower
 * half with the diagonal, H in the upper one. The squared error of a row with deviations e is |L^T e|^2, whose term i
 * holds the e of places j >= i. So the last place is decided first, and the place i is best chosen near
 * w_i + sum over j > i of (L_ji / L_ii) e_j: what GPTQ (arXiv 2210.17323) reads from the factor of the inverse is
 * read here from the factor itself, and nothing is inverted but the blocks on the diagonal.
 */
#ifndef DLX_SOLVE_FACTOR_H
#define DLX_SOLVE_FACTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "solve/hessian.h"
#include "solve/on.h"

typedef struct dlx_factor_options {
    float damping;  /* lambda as a share of the mean diagonal, >= 0; 0.01 is usual */
    bool act_order; /* inputs with the largest H_ii are decided first, else the first ones */
} dlx_factor_options;

typedef struct dlx_factor {
    size_t k;
    float *a;        /* [k, k] of places: L below and on the diagonal, H above it */
    float *diagonal; /* [k] H's, of places */
    uint32_t *order; /* [k] the input at each place; places are decided from k - 1 to 0 */
    bool act_order;
    float damping; /* the share that was enough: up to four times ten times what was asked for */
    float lambda;
} dlx_factor;

/*
 * Takes the finished Hessian over (`h` is empty afterwards, also after a failure); inputs that are always zero count as
 * the mean of the others times the damping. When rounding leaves no positive definite matrix, the damping grows tenfold
 * (from 0 to 0.001), four times at most; then DLX_E_FORMAT. Takes 2 KiB * k + 5 MiB + 256 KiB a thread beside the
 * matrix.
 */
dlx_status dlx_factor_make(dlx_factor *f, dlx_hessian *h, const dlx_factor_options *o, const dlx_solve_on *on,
                           const char *name, dlx_error *err);
void dlx_factor_free(dlx_factor *f); /* NULL, or all zeros, is fine */

/*
 * |X w|^2, summed over the rows of w [n, k] (inputs in their own order): what a layer with these weights answers, or,
 * for w minus its quantised form, the squared error of its answers. Without lambda; never negative. Answers beyond
 * float32 are DLX_E_FORMAT. Takes 64 MiB, less for small matrices, and what dlx_sweep_run takes.
 */
dlx_status dlx_factor_energy(double *out, const dlx_factor *f, const float *w, size_t n, const dlx_solve_on *on,
                             const char *name, dlx_error *err);

/* Rows that solvers take at a time. */
size_t dlx_factor_rows(size_t n, size_t k);
/* The same for rows [n, k] whose inputs are in the order of places already. `per_row` [n] is room. */
dlx_status dlx_factor_energy_placed(double *out, double *per_row, const dlx_factor *f, const float *w, size_t n,
                                    const dlx_solve_on *on, const char *name, dlx_error *err);
/* to [n, k] = from with inputs in the order of places. */
void dlx_factor_place(const dlx_factor *f, float *to, const float *from, size_t n, const dlx_solve_on *on);

#endif
