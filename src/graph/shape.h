/* Shape rules, shared by shape.c and shape_more.c; private to graph/. */
#ifndef DLX_GRAPH_SHAPE_H
#define DLX_GRAPH_SHAPE_H

#include "graph/graph.h"

/* Reports that the operands of a node do not fit. */
dlx_status dlx_shape_refused(const dlx_node *node, const char *rule, dlx_error *err);
/* Shapes lined up at their last dimensions, of which the last `skip` are left to the caller. */
dlx_status dlx_infer_broadcast(const dlx_node *node, const dlx_shape *a, const dlx_shape *b, int skip, dlx_shape *out,
                               dlx_error *err);
/* attr.shape[d], or what its operand holds, or a bound of it. */
int64_t dlx_run_size(const dlx_graph *g, const dlx_node *node, int d, const dlx_known *known);
/* Operators of which decoders have few or none: element-wise ones, reductions, gathers, ranges. */
dlx_status dlx_infer_more(const dlx_graph *g, const dlx_node *node, const dlx_shape *in, const dlx_known *known,
                          dlx_shape *out, dlx_error *err);

#endif
