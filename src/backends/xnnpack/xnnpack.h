/*
 * XNNPACK backend: a graph becomes one ExecuTorch method whose decoder is a single XNNPACK delegate.
 *
 * decompose.c rewrites high-level operators into the primitives that the payload knows; emit.c gives ids to values,
 * writes the payload, and describes the method around it: `aten::embedding.out` gathers (token rows, RoPE rows), then
 * one delegate call. Constants that XNNPACK packs when a program is loaded are named data. To all others it keeps raw
 * pointers, while the runtime may free what it loaded for a delegate; they are tensors of the program and go into the
 * call behind the inputs.
 */
#ifndef DLX_BACKENDS_XNNPACK_H
#define DLX_BACKENDS_XNNPACK_H

#include "base/arena.h"
#include "base/status.h"
#include "format/pte.h"
#include "graph/graph.h"

/* High-level operators -> primitives. EMBEDDING nodes stay (int8 ones lose their scales operand to a MUL). */
dlx_status dlx_xnnpack_decompose(dlx_graph *g, dlx_error *err);

/*
 * The method `forward` of a decomposed graph. On return `plan` is complete and `blobs` (array in `arena`) holds the
 * constants, the payload and the named data, in the order dlx_pte_write wants; blob->user points at the dlx_value to
 * stream, except for the payload, whose bytes are in blob->data (arena). `g` must outlive both. Keys are the constants'
 * names, with `mark` behind them unless it is NULL (format/keys.h). EMBEDDING over anything
 * but a constant table and a graph input, and operators the payload lacks, are DLX_E_UNSUPPORTED.
 */
dlx_status dlx_xnnpack_lower(dlx_pte_plan *plan, dlx_pte_blob **blobs, uint32_t *n_blobs, dlx_arena *arena,
                             const dlx_graph *g, const char *mark, dlx_error *err);

#endif
