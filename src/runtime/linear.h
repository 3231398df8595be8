/*
 * Linear layers: from a LINEAR node to the matrix product that computes it. The one place that knows which loops belong
 * to which element types; loading, planning and executing ask here.
 */
#ifndef DLX_RUNTIME_LINEAR_H
#define DLX_RUNTIME_LINEAR_H

#include "graph/graph.h"
#include "kernels/kernels.h"

/* The product of a LINEAR of a verified graph, in kernel table k. */
const dlx_gemm *dlx_linear_gemm(const dlx_kernels *k, const dlx_graph *g, const dlx_node *linear);
/* How rows of this element type are made and how much memory they take; NULL: they are plain rows of elements. Rows of
 * QS8 are made by quantize_qs8, the rest is as for QD8. */
const dlx_quantizer *dlx_linear_quantizer(const dlx_kernels *k, dlx_dtype activations);

/* What that product takes, as views into the node's constants. */
dlx_gemm_shape dlx_linear_shape(const dlx_graph *g, const dlx_node *linear);
dlx_gemm_weights dlx_linear_weights(const dlx_graph *g, const dlx_node *linear); /* but qs8: */
/* Grids of a LINEAR over QS8; zeros of others. */
dlx_qs8_params dlx_linear_grids(const dlx_graph *g, const dlx_node *linear);
/* Whether two LINEARs of the same weights and bias have the same packed block. */
bool dlx_linear_packs_alike(const dlx_graph *g, const dlx_node *a, const dlx_node *b);
/* The LINEAR whose weights are the rows of constant `table`, in the same place of the same file: its packed block has
 * them, so lookups need no copy of their own. NULL: there is none. */
const dlx_node *dlx_linear_tied(const dlx_graph *g, uint32_t table);
/* Pieces that threads divide: strips of output columns. */
size_t dlx_linear_strips(const dlx_gemm *gemm, dlx_gemm_shape s);

#endif
