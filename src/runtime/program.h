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

#include "base/memory.h"
#include "base/status.h"
#include "base/threads.h"
#include "format/pte.h"
#include "graph/graph.h"
#include "kernels/kernels.h"
#include "runtime/pack_cache.h"
#include "runtime/rows.h"

/* Nodes [first, end) that run as one loop (runtime/stages.h). */
typedef enum dlx_stage_kind {
    DLX_STAGE_NODE,
    DLX_STAGE_LINEARS,
    DLX_STAGE_GATED, /* two linear layers and the SILU_MUL of them: their own results are never written down */
    DLX_STAGE_ROWS,
} dlx_stage_kind;
typedef struct dlx_stage {
    uint32_t first, end;
    dlx_stage_kind kind;
} dlx_stage;

typedef struct dlx_program {
    dlx_graph g;
    dlx_stage *stages; /* [n_stages], which cover the nodes, in order */
    size_t n_stages;
    dlx_kernels k;
    const uint8_t *packed; /* one block, in huge pages where the system gives them, or in `cache` */
    uint64_t packed_bytes;
    dlx_pack_cache cache;
    const void **weights; /* [g.n_nodes] packed block of a LINEAR node, NULL otherwise */
    uint32_t rows;        /* graph input of row demand, DLX_NONE */
    dlx_row_table table;  /* what is proven about rows; does not hold before dlx_program_bind */
    dlx_allocator mem;
} dlx_program;

typedef struct dlx_program_options {
    dlx_isa limit;
    bool demand;    /* row demand of output 0 */
    dlx_pool *pool; /* packs the weights; NULL: does not pack, such a program can only be measured and printed */
    const dlx_allocator *mem;   /* of what the program keeps; NULL: the C library */
    const dlx_pack_place *pack; /* where packed weights may lie in a file; NULL: nowhere */
} dlx_program_options;

/* Takes over *g (left empty), whose constants must be PLAIN, but for float weights of linears, which may also be WIDEN:
 * row demand, then packing. */
dlx_status dlx_program_prepare(dlx_program *p, dlx_graph *g, const dlx_program_options *o, dlx_error *err);
/* Imports method `method`, raises, prepares. `pte` must outlive the program. */
dlx_status dlx_program_load(dlx_program *p, const dlx_pte *pte, const char *method, const dlx_program_options *o,
                            dlx_error *err);
/* Puts other float weights [n,k] into LINEAR node `node`, whose weights are float and no other node's. Nobody may run
 * the program meanwhile. */
void dlx_program_repack(dlx_program *p, dlx_pool *pool, size_t node, const float *weights);
/* Analyses the rows of a program with that signature: p->table. */
dlx_status dlx_program_bind(dlx_program *p, const dlx_signature *sig, dlx_error *err);
void dlx_program_free(dlx_program *p);
/* Bytes that the packed weights take. */
uint64_t dlx_program_packed_size(const dlx_program *p);
/* Bytes that its graph and tables take. */
uint64_t dlx_program_described(const dlx_program *p);

typedef struct dlx_tensor_ref {
    void *data; /* row-major, contiguous */
    dlx_shape shape;
} dlx_tensor_ref;

/* Bytes of a value with this shape, in the form the kernels keep it. */
uint64_t dlx_value_bytes(const dlx_program *p, uint32_t value, const dlx_shape *shape);

/* Rows [begin, begin + rows) of the cache tensors. */
typedef struct dlx_cache_run {
    size_t begin, rows;
} dlx_cache_run;

/* Consecutive rows of a pass that belong to one sequence, and the keys they may see. */
typedef struct dlx_segment {
    size_t begin, rows;        /* rows of the pass; the segments of a pass cover it, in order */
    const dlx_cache_run *runs; /* its cached rows, in the order in which they precede its own */
    size_t n_runs;
    const int32_t *visible; /* [rows] how many keys each row sees, >= 1: cached rows first, then the segment's own */
} dlx_segment;

/* Where logits of consecutive demanded rows go, or their summaries; with_logits: both. */
typedef struct dlx_logits_part {
    float *data; /* [rows, vocab], row-major */
    size_t rows;
    dlx_row_summary *summaries; /* [rows], or NULL; of a row whose logits are not all finite `sum` is NaN. Needs
                                   dlx_program_summarises */
    dlx_row_rules rules;        /* for summaries */
    bool with_logits;
} dlx_logits_part;

/* One run of the program. */
typedef struct dlx_pass {
    const dlx_tensor_ref *inputs; /* [g.n_inputs], data owned by the caller */
    /* NULL: as the program says; every row sees the whole cache operands and all rows. Else (only for programs whose
     * row table holds) cache inputs point at row 0 of the tensors that the runs address, of type `cache_type` (F32,
     * F16, I8: int8 records, kernels/kv8.h), and their shapes say nothing. */
    const dlx_segment *segments;
    size_t n_segments;
    dlx_dtype cache_type;
    /* With row demand: where output 0 (logits, the largest tensor by far) is written; the parts cover all demanded
     * rows. Several parts need dlx_program_splits_logits. */
    const dlx_logits_part *logits;
    size_t n_logits;
} dlx_pass;

/* Whether the logits of one pass can go to several places: the last operator computes strips of columns. */
bool dlx_program_splits_logits(const dlx_program *p);
/* Whether rows of logits can be summarised where they are computed: with row demand, if these strips make parts. */
bool dlx_program_summarises(const dlx_program *p);

typedef struct dlx_executor dlx_executor;

/* What an executor can run. */
typedef struct dlx_executor_bounds {
    const dlx_shape *max_shape; /* [g.n_inputs] upper bounds of the inputs, in order */
    size_t max_segments;        /* of one pass; 0: only passes without segments */
    size_t max_runs;            /* of all segments together */
} dlx_executor_bounds;

/* The program must outlive the executor and stay where it is. Memory comes from `mem`. */
dlx_status dlx_executor_open(dlx_executor **out, const dlx_program *p, const dlx_executor_bounds *bounds,
                             dlx_pool *pool, const dlx_allocator *mem, dlx_error *err);
void dlx_executor_close(dlx_executor *ex);
/* Bytes that an executor with these bounds takes: activations, scratch of each thread, tables. */
dlx_status dlx_executor_size(const dlx_program *p, const dlx_executor_bounds *bounds, int threads, uint64_t *bytes,
                             dlx_error *err);

/*
 * Runs the program once; shapes within the bounds. outputs [g.n_outputs] point into the executor's memory until the
 * next run, except output 0 when it was written to the caller's parts. Allocates nothing.
 */
dlx_status dlx_executor_run(dlx_executor *ex, const dlx_pass *pass, dlx_tensor_ref *outputs, dlx_error *err);

/* Bytes of a row of a cache tensor of this type with so many numbers: floats, halves, or int8 records of each head. */
size_t dlx_cache_row(dlx_dtype type, size_t heads, size_t head_dim);
/* Of the last run with a float16 or int8 cache: whether there were new keys or values that it cannot hold. */
bool dlx_executor_beyond_cache(const dlx_executor *ex);

#endif
