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

#endif
