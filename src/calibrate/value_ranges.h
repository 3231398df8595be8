/*
 * Ranges of all values of a decoder, for backends whose every number has a grid: the decoder comes as a chain of
 * graphs, which are run one after the other over samples. One of them is in memory at a time.
 */
#ifndef DLX_CALIBRATE_VALUE_RANGES_H
#define DLX_CALIBRATE_VALUE_RANGES_H

#include "calibrate/ranges.h"
#include "graph/graph.h"

/*
 * make: graph i of n, into *out. Values are known by their names. Inputs are "tokens" and "positions" [T] I64, "mask"
 * [T,P+T], outputs of the graph before or of the first, or else (stored keys and values, which the mask hides) zeros.
 * Constants may be anywhere. T, the same in all of them, is at least the longest sample.
 */
typedef struct dlx_value_stages {
    size_t n;
    dlx_status (*make)(void *ctx, size_t i, dlx_graph *out, dlx_error *err);
    void *ctx;
} dlx_value_stages;

/*
 * Least and largest number (and 0) of each named float value but stored keys and values, over all rows of the samples;
 * rows see each other as the samples say. tick, which may be NULL, is called after each sample and graph; false ends it
 * with DLX_E_CANCELLED. With a work folder (else NULL) it goes on with graph work->done, and what was found goes there
 * after each. Hidden states that are not finite are DLX_E_FORMAT. Memory: floats of a graph twice, all of its values
 * for T rows, and for each sample what goes from graph to graph.
 */
dlx_status dlx_value_ranges_measure(dlx_ranges *out, dlx_work *work, const dlx_value_stages *stages,
                                    const dlx_samples *samples, const dlx_layerwise_options *run, dlx_error *err);

/* Those of a file (dlx_ranges_write) that was measured on graphs of the same names, of the same checkpoint. */
dlx_status dlx_value_ranges_read(dlx_ranges *out, const char *path, const dlx_value_stages *stages,
                                 const dlx_checkpoint *c, dlx_error *err);

#endif
