/*
 * The weights of one layer onto a grid, on the rows that go into it. In this order what is asked for:
 *
 *   scales   inputs are scaled (calibrate/scales.h), and the layer goes on with what they are folded into
 *   codes    by GPTQ: the rows that go into its linears become Hessians, each linear is solved against its own. Or
 *            rounded, with scales that clip where that costs least, inputs counting by the sum of their squares
 *
 * Memory beside that of dlx_layerwise: for GPTQ Hessians (k * k floats each; of all four inputs of a layer, or with
 * `one_by_one` of one at a time) and the floats of one linear; for scales what dlx_layer_scales_find takes, before
 * that; and the codes.
 */
#ifndef DLX_CALIBRATE_LAYER_SOLVE_H
#define DLX_CALIBRATE_LAYER_SOLVE_H

#include <stdbool.h>

#include "base/arena.h"
#include "calibrate/layerwise.h"
#include "calibrate/scales.h"
#include "solve/gptq.h"

/* What a linear became. */
typedef struct dlx_solved {
    const char *name; /* "layers.3.down.weight" */
    size_t n, k;
    dlx_grid grid;
    /* GPTQ: |X (w - q)|^2 / |X w|^2, 0 where X w is 0, and the damping that was enough. Rounded: 0 and 0. */
    double relative;
    float damping;
} dlx_solved;

typedef struct dlx_weights_options {
    /* The grid of a weight [n, k]; false: it stays as it is. */
    bool (*grid)(void *ctx, const char *name, size_t n, size_t k, dlx_grid *out);
    void *grid_ctx;
    void (*solved)(void *ctx, const dlx_solved *what); /* may be NULL */
    void *solved_ctx;
    bool scale_inputs;
    bool round_only;  /* no GPTQ: needs scale_inputs, which knows how much inputs count */
    bool activations; /* scales are for activations on grids; then all inputs count the same */
    dlx_factor_options factor;
    dlx_clip clip;
    bool static_groups;
    /* A run over the samples for each of the four inputs of a layer: rows are those behind what the linears before have
     * become already. Five runs a layer, else two; scales take one more, rounding one less. */
    bool one_by_one;
    /* Factors stay in the solver, and the next dlx_layer_solve of the same layer takes them. Not with scaled inputs. */
    bool keep_factors;
} dlx_weights_options;

typedef struct dlx_layer_solver {
    dlx_layer_grids grids;
    dlx_layer_scales scales;              /* none: NULLs */
    dlx_gridded codes[DLX_LAYER_LINEARS]; /* of those that become something; in the arena */
    dlx_arena arena;
    dlx_hessian hessian[DLX_LINEAR_INPUTS];
    dlx_factor factor[DLX_LINEAR_INPUTS];
} dlx_layer_solver;

/*
 * Solves the layer of checkpoint c that is loaded in w, over samples of so many rows; its weights become what was
 * found. `s` is all zeros, or what dlx_layer_solver_clear left of an earlier solve.
 */
dlx_status dlx_layer_solve(dlx_layer_solver *s, const dlx_weights_options *o, dlx_layerwise *w, const dlx_checkpoint *c,
                           uint64_t rows, const dlx_solve_on *on, dlx_error *err);
/* Scales and codes go; factors stay. */
void dlx_layer_solver_clear(dlx_layer_solver *s);
void dlx_layer_solver_free(dlx_layer_solver *s); /* fine on zeros */

#endif
