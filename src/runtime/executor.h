/* Inside of an executor: shared by planning, dispatch and the operators, private to runtime/. */
#ifndef DLX_RUNTIME_EXECUTOR_H
#define DLX_RUNTIME_EXECUTOR_H

#include "runtime/program.h"

struct dlx_executor {
    const dlx_program *p;
    dlx_pool *pool;
    uint8_t *arena;
    uint64_t arena_bytes;
    uint64_t *offset; /* [n_values] place in the arena, UINT64_MAX: elsewhere */
    uint32_t *root;   /* [n_values] value whose bytes this one shares (reshapes), itself otherwise */
    dlx_shape *shape; /* [n_values] of the current call */
    dlx_shape *bound; /* [n_inputs] */
    void **data;      /* [n_values] of the current call */
    uint8_t *scratch; /* of attention, one piece a thread */
    size_t scratch_stride;
    const dlx_cache_view *cache;
    const int32_t *visible; /* [T] or NULL */
    int32_t *all_visible;   /* [T bound]: filled when visible is NULL */
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
/* Bytes of a value with this shape, in the form the kernels keep it. */
uint64_t dlx_value_bytes(const dlx_program *p, uint32_t value, const dlx_shape *shape);

/* Operators outside the fused set: plain loops. */
dlx_status dlx_run_primitive(dlx_executor *ex, const dlx_node *n, dlx_error *err);

#endif
