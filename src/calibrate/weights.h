/*
 * Weights of a checkpoint's layers onto a grid, layer by layer, each on the rows that come out of the layers before it
 * as they have become. Of a layer, in this order, what is asked for:
 *
 *   scales   inputs are scaled (calibrate/scales.h), and the layer goes on with what they are folded into
 *   codes    by GPTQ: the rows that go into its linears become Hessians, each linear is solved against its own. Or
 *            rounded, with scales that clip where that costs least, inputs counting by the sum of their squares
 *
 * and the layer is run once more with what its weights became, for the next one.
 *
 * Codes and scales, and norms and biases that scales were folded into, go to the work folder, a file for each layer,
 * with the names that the exporter's graph gives them. Memory beside that of dlx_layerwise: for GPTQ Hessians (k * k
 * floats each; of all four inputs of a layer, or with `one_by_one` of one at a time) and the floats of one linear; for
 * scales what dlx_layer_scales_find takes, before that; and the codes of a layer until they are written.
 */
#ifndef DLX_CALIBRATE_WEIGHTS_H
#define DLX_CALIBRATE_WEIGHTS_H

#include <stdbool.h>

#include "calibrate/layerwise.h"
#include "calibrate/work.h"
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
    bool round_only; /* no GPTQ: needs scale_inputs, which knows how much inputs count */
    dlx_factor_options factor;
    dlx_clip clip;
    bool static_groups;
    /* A run over the samples for each of the four inputs of a layer: rows are those behind what the linears before have
     * become already. Five runs a layer, else two; scales take one more, rounding one less. */
    bool one_by_one;
} dlx_weights_options;

/* From layer work->done on. Interrupted by a tick (DLX_E_CANCELLED), it goes on there when it is called again. */
dlx_status dlx_weights_solve(dlx_work *work, const dlx_checkpoint *c, const dlx_samples *samples,
                             const dlx_weights_options *options, const dlx_layerwise_options *run, dlx_error *err);

/* ---- using them ------------------------------------------------------------------------------------------------- */

/* Files of the layers, open. */
typedef struct dlx_precomputed {
    dlx_arena arena;
    dlx_safetensors *files; /* [n] */
    size_t n;
} dlx_precomputed;

/* Opens what is there of layers 0 .. layers - 1. */
dlx_status dlx_precomputed_open(dlx_precomputed *out, const dlx_work *work, int32_t layers, dlx_error *err);
void dlx_precomputed_close(dlx_precomputed *p); /* fine on zeros */
/* How many tensors there are. */
size_t dlx_precomputed_count(const dlx_precomputed *p);
/* Every constant of the graph that has a precomputed tensor of its name and size is read from there. *n: how many. The
 * files must stay open as long as the graph's constants are read. */
dlx_status dlx_precomputed_apply(const dlx_precomputed *p, dlx_graph *g, size_t *n, dlx_error *err);

#endif
