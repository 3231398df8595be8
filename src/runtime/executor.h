/* Inside of an executor: shared by planning, dispatch and the operators, private to runtime/. */
#ifndef DLX_RUNTIME_EXECUTOR_H
#define DLX_RUNTIME_EXECUTOR_H

#include <stdatomic.h>

#include "runtime/program.h"

/* The part of an attention that belongs to one segment. */
typedef struct dlx_attention_work {
    dlx_attention_args args;
    size_t tile_rows, tiles; /* rows of one work item; items for each key/value head */
    size_t first_item;
} dlx_attention_work;

struct dlx_executor {
    const dlx_program *p;
    dlx_pool *pool;
    dlx_allocator mem;
    uint8_t *arena;
    uint64_t arena_bytes;
    uint64_t *offset; /* [n_values] place in the arena, UINT64_MAX: elsewhere */
    uint32_t *root;   /* [n_values] value whose bytes this one shares (reshapes), itself otherwise */
    dlx_shape *shape; /* [n_values] of the current call */
    dlx_shape *bound; /* [n_inputs] */
    dlx_shape *most;  /* [n_values] shapes at the bounds, of a program that computes sizes; NULL otherwise */
    void **data;      /* [n_values] of the current call */
    uint8_t *scratch; /* of attention, of strips of logits and of gates, one piece a thread */
    size_t scratch_stride;
    dlx_row_part *parts; /* [demanded rows][parts of a row] of summaries */
    const dlx_pass *pass;
    dlx_attention_work *work; /* [max_segments], of the attention that runs now */
    dlx_kv_piece *piece;      /* [max_pieces] */
    size_t max_segments, max_pieces;
    atomic_bool beyond_cache; /* the pass has new keys or values that its type of cache cannot hold */
    int32_t *all_visible;     /* [T bound]: for passes without segments */
    size_t all_visible_rows;
};

/* Place in the arena of every value, for shapes at their bounds; returns the total size. */
dlx_status dlx_plan_arena(const dlx_program *p, const dlx_shape *shape, uint64_t *offset, uint32_t *root,
                          uint64_t *total, dlx_error *err);
/* The output that lies in the caller's memory; DLX_NONE: none. */
static inline uint32_t dlx_caller_output(const dlx_program *p)
{
    return p->rows != DLX_NONE ? p->g.outputs[0] : DLX_NONE;
}
/* The attention of node n, of every segment. */
void dlx_run_attention(dlx_executor *ex, const dlx_node *n);
/* Scratch bytes a thread needs for any attention of the program; *rows: most rows of one. */
size_t dlx_attention_scratch(const dlx_program *p, const dlx_shape *shape, size_t *rows);

/* Whether the program computes sizes: then shapes are inferred node by node, while it runs. */
bool dlx_sized_at_run(const dlx_graph *g);
/* The shape of n's result, now that its operands are there; within what was planned for. */
dlx_status dlx_infer_now(dlx_executor *ex, const dlx_node *n, dlx_error *err);
/* What states hold after a run, where it was not written in place. */
void dlx_keep_states(dlx_executor *ex);

/* linears.c: one LINEAR; those of a stage, with the product of a gate where it ends with one. */
void dlx_run_linear(dlx_executor *ex, const dlx_node *n);
void dlx_run_linears(dlx_executor *ex, const dlx_stage *s);
/* Scratch bytes that a thread needs for it. */
uint64_t dlx_linears_scratch(const dlx_program *p, const dlx_shape *shape);

/* logits.c: whether the logits of the pass go elsewhere than into one matrix, and the LINEAR that computes them then,
 * from activations x. */
bool dlx_logits_are_split(const dlx_pass *pass);
void dlx_run_logits(dlx_executor *ex, const dlx_node *n, const void *x, size_t rows);
/* Scratch bytes a thread needs for it, and bytes of ex->parts; 0 where the program does not do it. */
uint64_t dlx_logits_scratch(const dlx_program *p, const dlx_shape *shape);
uint64_t dlx_logits_parts(const dlx_program *p, const dlx_shape *shape);

/* Operators outside the fused set: plain loops. */
dlx_status dlx_run_primitive(dlx_executor *ex, const dlx_node *n, dlx_error *err);

#endif
