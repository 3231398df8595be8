/*
 * How far each layer of an exported file is from the checkpoint's, on the same hidden states: those of the checkpoint
 * in float32. So the figure of a layer does not depend on the layers before it.
 */
#ifndef DLX_CALIBRATE_LAYER_ERRORS_H
#define DLX_CALIBRATE_LAYER_ERRORS_H

#include "calibrate/layerwise.h"
#include "format/pte.h"
#include "graph/graph.h"

/* The decoder of an exported file as its operators are run, and its sizes; 0: the program does not tell. */
typedef struct dlx_file_layers {
    dlx_graph graph; /* reads the file's constants */
    int32_t layers, hidden, heads, kv_heads, head_dim, intermediate;
    int32_t rows; /* most of a call, as a session makes it */
} dlx_file_layers;

/* `pte` must outlive it. Free in any case. */
dlx_status dlx_file_layers_read(dlx_file_layers *out, const dlx_pte *pte, dlx_error *err);
void dlx_file_layers_free(dlx_file_layers *layers);

/*
 * error[i] = |file - checkpoint| / |checkpoint - before|, lengths of the hidden states of all rows behind layer i, and
 * before it: the error as a share of what the layer adds. Afterwards w has the hidden states behind the last layer.
 * Needs twice the hidden states beside those of w, in memory or `folder` as there (bound 0: 1 GiB). A file that has no
 * such layers by the names of this library's exporter is DLX_E_UNSUPPORTED.
 */
dlx_status dlx_layer_errors(double *error, dlx_layerwise *w, const dlx_checkpoint *c, const dlx_samples *samples,
                            const dlx_file_layers *file, uint64_t bound, const char *folder, dlx_error *err);

#endif
