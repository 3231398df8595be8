/* What of a program runs fused and what runs node by node, in a description of a file. */
#ifndef DLX_API_INSPECT_OPERATORS_H
#define DLX_API_INSPECT_OPERATORS_H

#include "base/text_buffer.h"
#include "graph/graph.h"

/* Two lines: kinds with their counts. */
void dlx_put_operators(dlx_text_buffer *t, const dlx_graph *g);
/* {"fused":{"attention":2,...},"node_by_node":{"MUL":4,...}} */
void dlx_put_operators_json(dlx_text_buffer *t, const dlx_graph *g);

/* Kinds of its linear layers, how many of each, and what they take in the file. `group`: inputs that share a scale, 0:
 * whole rows. */
void dlx_put_linears(dlx_text_buffer *t, const dlx_graph *g);
void dlx_put_linears_json(dlx_text_buffer *t, const dlx_graph *g);

/* Between which numbers inputs and outputs of statically quantised layers lie, by the names of their weights; nothing
 * where there are none. */
void dlx_put_ranges(dlx_text_buffer *t, const dlx_graph *g);
/* ,"ranges":{"layers.0.q.weight":{"input":[-1.5,2.25],"output":[-3,3.5]},...} */
void dlx_put_ranges_json(dlx_text_buffer *t, const dlx_graph *g);

#endif
