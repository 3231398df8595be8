/*
 * Kernel calls outside delegates (portable ATen operators, ExecuTorch's scalar prims, the LLM operators) as graph
 * nodes: what the files import_<kind>.c share. Arguments follow the out-variant convention: operands, then the output
 * twice.
 */
#ifndef DLX_RUNTIME_IMPORT_CALL_H
#define DLX_RUNTIME_IMPORT_CALL_H

#include "runtime/import.h"

typedef struct dlx_call {
    dlx_importer *im;
    const char *name; /* "aten::add.out" */
    const int32_t *args;
    uint32_t n_args;
} dlx_call;

/* A row of an operator table: which function imports it, for which graph operator. */
typedef struct dlx_kernel_import {
    const char *name;
    dlx_status (*import)(const dlx_call *c, dlx_op op);
    dlx_op op;
} dlx_kernel_import;

/* Tables end with a row without name. */
extern const dlx_kernel_import dlx_import_math[], dlx_import_shapes[], dlx_import_places[], dlx_import_scalars[];

dlx_status dlx_call_refuse(const dlx_call *c, const char *what);

/* Arguments. NULL: there are not that many. */
const dlx_evalue *dlx_arg(const dlx_call *c, uint32_t i);
dlx_status dlx_arg_tensor(const dlx_call *c, uint32_t i, uint32_t *out);
/* Null instead of a tensor: *out is DLX_NONE. */
dlx_status dlx_arg_tensor_or_none(const dlx_call *c, uint32_t i, uint32_t *out);
dlx_status dlx_arg_int(const dlx_call *c, uint32_t i, int64_t *out); /* known when the program is read; Bool too */
dlx_status dlx_arg_bool(const dlx_call *c, uint32_t i, bool *out);
dlx_status dlx_arg_real(const dlx_call *c, uint32_t i, double *out); /* Int, Bool or Double, known */
bool dlx_arg_is_null(const dlx_call *c, uint32_t i);
/* A dimension: negative ones count from the end of `rank`. */
dlx_status dlx_arg_axis(const dlx_call *c, uint32_t i, int rank, int *out);

/* A size or position: a number, or a graph value (I64, rank 0) that holds it. */
typedef struct dlx_import_size {
    int64_t number;
    uint32_t value; /* DLX_NONE: `number` */
} dlx_import_size;
dlx_status dlx_evalue_size(const dlx_call *c, int32_t evalue, dlx_import_size *out);
dlx_status dlx_arg_size(const dlx_call *c, uint32_t i, dlx_import_size *out);
dlx_status dlx_arg_sizes(const dlx_call *c, uint32_t i, dlx_import_size out[DLX_MAX_RANK], uint8_t *n);
/* A number that the file states, as a constant of that type; refused where an integer cannot hold it. */
dlx_status dlx_call_number(const dlx_call *c, dlx_dtype type, double number, uint32_t *out);
/* The size as a graph value, made where it is a number. */
dlx_status dlx_size_value(const dlx_call *c, dlx_import_size size, uint32_t *out);

const dlx_value *dlx_call_value(const dlx_call *c, uint32_t value);
/* Type and sizes that the file declares for the result. */
dlx_status dlx_call_declared(const dlx_call *c, int64_t dim[DLX_MAX_RANK], uint8_t *rank, dlx_dtype *dtype);
dlx_status dlx_call_node(const dlx_call *c, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr,
                         uint32_t *out);
/* `value` is the call's result; `cast`: in the element type that the file declares for it. */
dlx_status dlx_call_result(const dlx_call *c, uint32_t value);
dlx_status dlx_call_result_cast(const dlx_call *c, uint32_t value);
/* A node whose output is the result. */
dlx_status dlx_call_emit(const dlx_call *c, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr);
dlx_status dlx_call_cast(const dlx_call *c, uint32_t value, dlx_dtype to, uint32_t *out);
/* x in the given shape (a size that varies may be a value). `bound`: of those. */
dlx_status dlx_call_reshape(const dlx_call *c, uint32_t x, const dlx_import_size *size, const int64_t *bound, int rank,
                            uint32_t *out);
/* The size of dimension d of a graph value: a number when it does not vary. */
dlx_status dlx_call_dim(const dlx_call *c, uint32_t value, int d, dlx_import_size *out);
/* Reshapes x to the shape of `like` without dimension `axis` (insert: with a new dimension of 1 there). */
dlx_status dlx_call_squeeze(const dlx_call *c, uint32_t x, unsigned axes, uint32_t *out);
dlx_status dlx_call_unsqueeze(const dlx_call *c, uint32_t x, int axis, uint32_t *out);
/* [begin, end) of step 1 along an axis, both numbers inside. */
dlx_status dlx_call_slice(const dlx_call *c, uint32_t x, int axis, int64_t begin, int64_t size, uint32_t *out);

#endif
