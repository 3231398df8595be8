/*
 * int8 weights: a pass over the graph, and the bytes of constants.
 *
 * The pass changes what a constant is to become; nothing is computed by it. The numbers arise while a writer streams
 * the constant, chunk by chunk, so memory does not depend on the size of a tensor.
 */
#ifndef DLX_QUANT_QUANT_H
#define DLX_QUANT_QUANT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/threads.h"
#include "graph/graph.h"

/*
 * Every LINEAR over a float matrix constant gets int8 rows, and its input as QD8 through a CONVERT, one for all linears
 * that read the same value. Every EMBEDDING over a float matrix constant gets int8 rows and scales, unless its rows are
 * RoPE angles. A table that both share is quantised once, with scales [V,1] for both; weights of linears alone have
 * scales [n]. Scales are named "<weight>.scales", the weight keeps its name. A constant with any other use stays float.
 */
dlx_status dlx_quantize_int8_dynamic(dlx_graph *g, dlx_error *err);

/* Whether a constant holds the numbers of a quantised tensor; scales that go with one are floats of their own. */
bool dlx_const_is_quantised(const dlx_value *v);

/* Takes the next n > 0 bytes of a constant; a failure ends the stream with that status. */
typedef dlx_status (*dlx_const_sink)(void *ctx, const void *bytes, size_t n, dlx_error *err);

/*
 * Hands the bytes of a constant to `sink`, front to back, in chunks of at most 1 MiB; converts on all threads of `pool`
 * (NULL: on the calling one). Of a source that is still in its file, 8 MiB are in memory at a time. A weight that holds
 * NaN or infinity is DLX_E_FORMAT.
 */
dlx_status dlx_const_stream(const dlx_value *v, dlx_pool *pool, dlx_const_sink sink, void *ctx, dlx_error *err);

#endif
