/*
 * GPTQ (Frantar et al., arXiv 2210.17323): the weights of a linear layer onto a grid, so that its answers on
 * calibration rows change least. Inputs are decided one after the other; what a code misses is made good by the inputs
 * that are still open.
 */
#ifndef DLX_SOLVE_GPTQ_H
#define DLX_SOLVE_GPTQ_H

#include <stdbool.h>
#include <stddef.h>

#include "solve/factor.h"
#include "solve/grid.h"
#include "solve/on.h"

typedef struct dlx_gptq_options {
    dlx_grid grid;
    dlx_clip clip;
    /* Scales of groups are found before anything is decided, from the weights as they are. Else when the first input of
     * the group is reached, from the weights that then make good for what was decided. Factors with act_order, groups
     * of more than 128 and scales of whole rows are always static. Files are the same either way: groups are of
     * neighbours. */
    bool static_groups;
} dlx_gptq_options;

typedef struct dlx_gptq_result {
    double error;  /* |X (w - q)|^2, summed over rows of w */
    double energy; /* |X w|^2; error / energy is the relative squared error */
} dlx_gptq_result;

/*
 * w [n, k] onto the grid, for the rows X whose Hessian `f` factors. result may be NULL: what it says takes two thirds
 * of the time. Rows of w do not know of each other: w may come in pieces. Importance in the search of DLX_CLIP_MSE is
 * what a deviation costs: H_jj before anything is decided, L_jj^2 when the group is reached. Takes 32 MiB at most (less
 * for small matrices; for k beyond 131072 64 rows of w) and 2 KiB * k + 32 KiB a thread. Weights that are not finite
 * are DLX_E_FORMAT.
 */
dlx_status dlx_gptq(const dlx_gridded *out, dlx_gptq_result *result, const dlx_factor *f, const float *w, size_t n,
                    const dlx_gptq_options *o, const dlx_solve_on *on, const char *name, dlx_error *err);

#endif
