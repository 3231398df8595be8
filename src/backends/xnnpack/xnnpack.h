/*
 * XNNPACK backend. decompose.c rewrites high-level operators into the primitives that a delegate's payload knows;
 * emit.c gives ids to values and writes the payload. Constants that XNNPACK packs when a program is loaded are named
 * data. To all others it keeps raw pointers, while the runtime may free what it loaded for a delegate; they are tensors
 * of the program and go into the call behind the inputs.
 */
#ifndef DLX_BACKENDS_XNNPACK_H
#define DLX_BACKENDS_XNNPACK_H

#include "backends/lower.h"

/* High-level operators -> primitives. EMBEDDING nodes stay (int8 ones lose their scales operand to a MUL). */
dlx_status dlx_xnnpack_decompose(dlx_graph *g, dlx_error *err);

/* The same but for nodes that `keeps` says yes to. */
dlx_status dlx_xnnpack_decompose_others(dlx_graph *g, dlx_takes_node_fn keeps, dlx_error *err);

/* Parts of a decomposed graph. */
extern const dlx_home dlx_xnnpack_home;

#endif
