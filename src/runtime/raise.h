/*
 * Raising: primitive nodes that together compute an RMSNorm, a rotary embedding, an attention, a SwiGLU gate or a
 * quantised embedding become that one node. What is not recognised stays as it is and runs node by node.
 */
#ifndef DLX_RUNTIME_RAISE_H
#define DLX_RUNTIME_RAISE_H

#include "base/status.h"
#include "graph/graph.h"

/* In place: the last node of a match takes over, the others are pruned when nobody else needs them. */
dlx_status dlx_raise(dlx_graph *g, dlx_error *err);

/* Element i of a constant of floats or bools; false: it is not one that can be read. */
bool dlx_const_number(const dlx_graph *g, uint32_t v, size_t i, float *out);

/* Whether one operand of one node, or one output, is v. */
bool dlx_single_use(const dlx_graph *g, uint32_t v);

/* Node `root` becomes an `op` over in [inputs], with attr.f[0] = f and no other attribute. */
void dlx_raise_into(dlx_graph *g, size_t root, dlx_op op, const uint32_t *in, int inputs, float f);

/* The part that comes last: attention that no cache of a session goes into. */
dlx_status dlx_raise_sdpa(dlx_graph *g, dlx_error *err);

/* Node i as the last one of a lookup in a table of 4-bit codes. */
bool dlx_raise_int4_embedding(dlx_graph *g, size_t i);

/* Node i as a bias behind a linear layer of float rows and int8, float16 or bfloat16 weights, which files add for
 * themselves. */
bool dlx_raise_bias(dlx_graph *g, size_t i);

/* Node i as the last one of a rotary embedding. */
bool dlx_raise_rope(dlx_graph *g, size_t i);

/* The part of dlx_raise that recognises attention over a cache as this library's exporter writes it: *any, whether
 * there is some. */
dlx_status dlx_raise_attentions(dlx_graph *g, bool *any, dlx_error *err);

/* The part of dlx_raise that comes first: constants in the form that fused operators want. */
dlx_status dlx_raise_constants(dlx_graph *g, dlx_error *err);

/* The part of dlx_raise, and of dlx_raise_decoder, that comes before that: products with float16 and int8 weights that
 * the program widens in every call become linear layers over what is stored. */
dlx_status dlx_raise_stored(dlx_graph *g, dlx_error *err);

/*
 * Row demand: puts a ROW_SELECT in front of the row-wise operators that end in output `output`, so that only the rows
 * somebody asked for go through them (the final norm and the LM head). *rows is the new I32 input [R], or DLX_NONE
 * when the output's last operator is not row-wise, or the program has states.
 */
dlx_status dlx_demand_rows(dlx_graph *g, size_t output, uint32_t *rows, dlx_error *err);

#endif
