/* Shape rules, shared by shape.c, shape_more.c and ranges.c; private to graph/. */
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
/* Most elements that begin:end:step (attr.shape[0..2], of a dimension of n) can have by the ranges of its ends; n where
 * they tell nothing. */
int64_t dlx_most_elements(const dlx_node *node, int64_t n, const dlx_known *known);
/* Constants have the shapes that they were declared with. */
void dlx_constant_shapes(const dlx_graph *g, dlx_shape *shapes);
/* Operators of which decoders have few or none: element-wise ones, reductions, gathers, ranges. */
dlx_status dlx_infer_more(const dlx_graph *g, const dlx_node *node, const dlx_shape *in, const dlx_known *known,
                          dlx_shape *out, dlx_error *err);

#endif
