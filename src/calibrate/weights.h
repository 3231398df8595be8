/*
 * Weights of a checkpoint's layers onto a grid, layer by layer (calibrate/layer_solve.h), each on the rows that come
 * out of the layers before it as they have become; and the layer is run once more with what its weights became, for the
 * next one.
 *
 * Codes and scales, and norms and biases that scales were folded into, go to the work folder, a file for each layer,
 * with the names that the exporter's graph gives them. Memory beside that of dlx_layerwise is that of solving a layer;
 * codes are there until they are written.
 */
#ifndef DLX_CALIBRATE_WEIGHTS_H
#define DLX_CALIBRATE_WEIGHTS_H

#include "calibrate/layer_solve.h"
#include "calibrate/ranges.h"
#include "calibrate/work.h"

/* From layer work->done on. Unless `ranges` is NULL, ranges are measured in the run that goes on to the next layer, of
 * what the layer has become; the list is sorted in the end.
 * Interrupted by a tick (DLX_E_CANCELLED), it goes on there when it is called again. */
dlx_status dlx_weights_solve(dlx_work *work, const dlx_checkpoint *c, const dlx_samples *samples,
                             const dlx_weights_options *options, dlx_range_meter *ranges,
                             const dlx_layerwise_options *run, dlx_error *err);

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
