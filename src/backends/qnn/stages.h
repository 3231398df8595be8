/* A decoder as a chain of graphs, for measuring where its values lie (calibrate/value_ranges.h). */
#ifndef DLX_BACKENDS_QNN_STAGES_H
#define DLX_BACKENDS_QNN_STAGES_H

#include "backends/partition.h"

typedef struct dlx_qnn_stages {
    size_t n;
    const dlx_graph *g;
    dlx_part lookups;
    dlx_partition layers;
} dlx_qnn_stages;

/* Of a decoder of the fixed form with float weights, which must outlive them: lookups of rows, then a layer each, the
 * last with what follows it. Memory is the arena's. */
dlx_status dlx_qnn_stages_make(dlx_qnn_stages *out, dlx_arena *arena, const dlx_graph *g, dlx_error *err);
/* Graph i, with the names that dlx_qnn_expand gives in any part; ctx: the dlx_qnn_stages. */
dlx_status dlx_qnn_stage(void *ctx, size_t i, dlx_graph *out, dlx_error *err);

#endif
