/*
 * A program ready to run, and its execution.
 *
 * dlx_program: raised graph, weights packed for the chosen kernels (one block), constants as views; immutable and
 * shared. dlx_executor: one arena for all activations, planned for the largest call, its size known before it is
 * allocated; shapes of the current call; scratch of each thread. Nothing is allocated while a call runs.
 */
#ifndef DLX_RUNTIME_PROGRAM_H
#define DLX_RUNTIME_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/threads.h"
#include "format/pte.h"
#include "graph/graph.h"
#include "kernels/kernels.h"

typedef struct dlx_program {
    dlx_graph g;
    dlx_kernels k;
    uint8_t *packed; /* one mapping, huge pages where the system gives them */
    uint64_t packed_bytes;
    const void **weights; /* [g.n_nodes] packed block of a LINEAR node, NULL otherwise */
    uint32_t rows;        /* graph input of row demand, DLX_NONE */
    bool fused;           /* every attention was raised: row visibility and cache spans are ours to choose */
} dlx_program;

/* Takes over *g (left empty), whose constants must be PLAIN: row demand of output 0 when `demand`, then packing with
 * `threads` threads (0: does not pack; such a program can only be measured and printed). */
dlx_status dlx_program_prepare(dlx_program *p, dlx_graph *g, dlx_isa limit, int threads, bool demand, dlx_error *err);
/* Imports method `method`, raises, prepares. `pte` must outlive the program. */
dlx_status dlx_program_load(dlx_program *p, const dlx_pte *pte, const char *method, dlx_isa limit, int threads,
                            bool demand, dlx_error *err);
void dlx_program_free(dlx_program *p);
/* Bytes that the packed weights take. */
uint64_t dlx_program_packed_size(const dlx_program *p);

typedef struct dlx_tensor_ref {
    void *data; /* row-major, contiguous */
    dlx_shape shape;
} dlx_tensor_ref;

/* Where attention finds cached rows when the program is fused; replaces the contents of the cache inputs, whose shapes
 * still say how many rows there are. Pieces are offsets in rows. */
typedef struct dlx_cache_view {
    size_t begin[2], rows[2];
    size_t spans;
} dlx_cache_view;

typedef struct dlx_executor dlx_executor;

/* max_shape: upper bounds of the graph inputs for this executor, [g.n_inputs] in order. The program must outlive the
 * executor and stay where it is. */
dlx_status dlx_executor_open(dlx_executor **out, const dlx_program *p, const dlx_shape *max_shape, dlx_pool *pool,
                             dlx_error *err);
void dlx_executor_close(dlx_executor *ex);
/* Arena and scratch bytes an executor with these bounds takes. */
dlx_status dlx_executor_size(const dlx_program *p, const dlx_shape *max_shape, int threads, uint64_t *bytes,
                             dlx_error *err);

/*
 * Runs the program once. inputs [g.n_inputs]: shapes within the bounds, data owned by the caller (a cache input of a
 * fused program points at row 0 of the whole cache). visible [T]: for fused programs, how many key rows (cache rows
 * first, then own rows) each row sees; NULL: all of them. outputs [g.n_outputs] point into the arena until the next
 * run, except that with row demand output 0 (logits, the largest tensor by far) is written to the caller's
 * outputs[0].data.
 */
dlx_status dlx_executor_run(dlx_executor *ex, const dlx_tensor_ref *inputs, const dlx_cache_view *cache,
                            const int32_t *visible, dlx_tensor_ref *outputs, dlx_error *err);

#endif
