/* Operators outside the fused set: what their loops share; private to runtime/. */
#ifndef DLX_RUNTIME_PRIMITIVES_H
#define DLX_RUNTIME_PRIMITIVES_H

#include "runtime/executor.h"

/* One node that runs now: its operands and result with their shapes of this call. */
typedef struct dlx_loop {
    dlx_executor *ex;
    const dlx_node *n;
    dlx_shape out, in[DLX_MAX_INPUTS];
    void *y;
    const void *x[DLX_MAX_INPUTS];
    dlx_dtype type;                              /* of operand 0 */
    size_t stride[DLX_MAX_INPUTS][DLX_MAX_RANK]; /* element-wise: of each operand, 0 where it broadcasts */
    size_t bytes;                                /* of one element, for data movement */
    int64_t keys, start;                         /* SDPA: keys that there are, position of row 0 */
} dlx_loop;

/* Row-major strides of a shape lined up to the right of `rank` dimensions; 0 where it broadcasts. */
void dlx_broadcast_strides(const dlx_shape *s, int rank, size_t stride[DLX_MAX_RANK]);
void dlx_strides(const dlx_shape *s, size_t stride[DLX_MAX_RANK]);
/* Product of all dimensions but the last; offset of such a row under given strides; the last dimension. */
size_t dlx_outer_count(const dlx_shape *s);
size_t dlx_outer_offset(const dlx_shape *s, size_t row, const size_t *stride);
size_t dlx_inner(const dlx_shape *s);
/* Element i of an integer tensor; the number of a scalar operand. */
int64_t dlx_place(const void *data, dlx_dtype type, size_t i);
int64_t dlx_size_operand(const dlx_loop *l, int64_t size);

/* Each runs the operators of its file; false: the operator is not among them. */
bool dlx_run_elementwise(dlx_loop *l, dlx_status *status, dlx_error *err);
bool dlx_run_reduction(dlx_loop *l, dlx_status *status, dlx_error *err);
bool dlx_run_movement(dlx_loop *l, dlx_status *status, dlx_error *err);
bool dlx_run_gather(dlx_loop *l, dlx_status *status, dlx_error *err);
dlx_status dlx_run_sdpa(dlx_loop *l, dlx_error *err);

#endif
