/*
 * Scales of a layer's inputs (solve/awq.h), found on calibration rows and folded into the loaded layer, which answers
 * as before. They are powers m^a of numbers that say how large an input is; a is the one of 0, 0.05 .. 1 with which
 * rounded weights miss the answers least.
 *
 * AWQ, for weights: m is the mean magnitude of an input.
 *
 * For activations on grids, which reach over all that comes in all inputs (SmoothQuant, Xiao et al., arXiv 2211.10438):
 * candidates read rows on such a grid, and m is the largest magnitude of an input over that of all of them, X_c / X.
 * What makes the input is divided by the scale, and answers on a grid of its own: where it is a linear layer, an input
 * that is always small must not make it large. So m is at least half of U_c / U, the same of what that layer answers.
 *
 * They are folded into:
 *
 *   inputs of    s goes into                           left out where
 *   q, k, v      weight of the norm before attention   one of them keeps its floats
 *   o            rows of v, and its bias               o or v keeps its floats
 *   gate, up     weight of the norm before the MLP     one of them keeps its floats
 *   down         rows of up                            down or up keeps its floats
 *
 * Query heads that share a key-value head share the scales of their outputs. (The head's inputs are not scaled: its
 * norm is the last one, and its weight may be the embedding table.)
 */
#ifndef DLX_CALIBRATE_SCALES_H
#define DLX_CALIBRATE_SCALES_H

#include <stdbool.h>

#include "calibrate/layerwise.h"
#include "solve/awq.h"

typedef struct dlx_layer_scales {
    size_t k[DLX_LINEAR_INPUTS];
    float *s[DLX_LINEAR_INPUTS]; /* [k] columns of weights times this; NULL: as they are */
    float *rows_of_v;            /* [v_rows] rows of v are divided by this; NULL: as they are */
    size_t v_rows;
    float *importance[DLX_LINEAR_INPUTS]; /* [k] sum of x * x after scaling over the mean of all columns, plus 0.01;
                                             NULL: nothing reads it */
    double error[DLX_LINEAR_INPUTS];      /* of rounding, relative, on the rows that were tried: with s, */
    double before[DLX_LINEAR_INPUTS];     /* and without */
} dlx_layer_scales;

/* Which linears of the layer get weights on a grid. */
typedef struct dlx_layer_grids {
    dlx_grid grid[DLX_LAYER_LINEARS];
    bool becomes[DLX_LAYER_LINEARS];
    bool activations; /* what goes into them, and comes out, is on a grid, too */
} dlx_layer_grids;

/*
 * Runs the samples [rows] through the loaded layer once, finds scales, and folds them into it. Takes the floats of the
 * linears that read one input, 256 rows of each input, and what dlx_awq_find takes. A failure leaves *out empty. With
 * activations on grids no importance is found.
 */
dlx_status dlx_layer_scales_find(dlx_layer_scales *out, dlx_layerwise *w, const dlx_checkpoint *c, uint64_t rows,
                                 const dlx_layer_grids *grids, dlx_clip clip, const dlx_solve_on *on, dlx_error *err);
void dlx_layer_scales_free(dlx_layer_scales *s); /* fine on zeros */

/* The weights of a linear [n, k], as the checkpoint has them, with all that is folded into them. */
void dlx_layer_scales_fold(const dlx_layer_scales *s, int linear, float *weights, size_t n, size_t k,
                           const dlx_solve_on *on);

/* Norms and biases of the loaded layer that scales were folded into, by their names behind the layer's. */
enum { DLX_SCALED_SMALL = 3 };
extern const char *const dlx_scaled_small[DLX_SCALED_SMALL];
bool dlx_layer_scales_changed(const dlx_layer_scales *s, int small);

#endif
