/*
 * A block of MIL, the language of ML Programs: operators in order, in the wire format. mil.c knows how operators,
 * constants and types are written; mil_ops.c which operators there are and what shapes they give. All tensors but
 * features are float16. Names are unique: operators are "op_N_type", constants "c_...", weights "w_N_...". A NULL
 * name passes through everything and comes out at the end.
 */
#ifndef DLX_BACKENDS_COREML_MIL_H
#define DLX_BACKENDS_COREML_MIL_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/coreml/blobs.h"
#include "backends/coreml/proto.h"
#include "base/arena.h"

enum { DLX_MIL_MAX_RANK = 5 };

/* Element types, by the numbers of the format. */
typedef enum dlx_mil_dtype {
    DLX_MIL_BOOL = 1,
    DLX_MIL_STRING = 2,
    DLX_MIL_F16 = 10,
    DLX_MIL_F32 = 11,
    DLX_MIL_I8 = 21,
    DLX_MIL_I32 = 23,
    DLX_MIL_I4 = 25,
} dlx_mil_dtype;

typedef struct dlx_mil_type {
    dlx_mil_dtype dtype;
    int rank;
    int64_t dim[DLX_MIL_MAX_RANK];
} dlx_mil_type;

/* A value of the program: its name and what it is. */
typedef struct dlx_mil_value {
    const char *name;
    dlx_mil_type type;
} dlx_mil_value;

/* An operand by its parameter's name; those of one parameter that takes several stand behind each other. */
typedef struct dlx_mil_arg {
    const char *parameter;
    const char *value; /* NULL: memory is out */
} dlx_mil_arg;

typedef struct dlx_mil {
    dlx_proto block; /* the operators of a Block message */
    dlx_blobs *blobs;
    dlx_arena *arena;
    const char **known; /* [n_known] small constants that are there */
    size_t n_known, known_capacity;
    uint32_t n_ops, n_weights;
    bool failed; /* memory is out */
} dlx_mil;

void dlx_mil_begin(dlx_mil *m, dlx_arena *arena, dlx_blobs *blobs);
void dlx_mil_free(dlx_mil *m);

/* ---- mil.c ---- */

/* Appends a formatted name of the arena; NULL: memory is out. */
const char *dlx_mil_name(dlx_mil *m, const char *fmt, ...) DLX_PRINTF(2, 3);
/* A message of type ValueType as field `field` of p. */
void dlx_mil_put_type(dlx_proto *p, uint32_t field, const dlx_mil_type *type);
/* An operator [n args] that makes `out`, or a name of its own where that is NULL. */
dlx_mil_value dlx_mil_op(dlx_mil *m, const char *op, const char *out, dlx_mil_type type, const dlx_mil_arg *args,
                         int n);
/* What a state holds, and what it holds from here on. */
dlx_mil_value dlx_mil_read_state(dlx_mil *m, const char *state, dlx_mil_type type);
void dlx_mil_write_state(dlx_mil *m, const char *state, dlx_mil_value value);
/* Names of small constants; the same numbers are there once. */
const char *dlx_mil_ints(dlx_mil *m, const int64_t *v, int n);
const char *dlx_mil_int(dlx_mil *m, int64_t v); /* rank 0 */
const char *dlx_mil_bool(dlx_mil *m, bool v);
const char *dlx_mil_half(dlx_mil *m, float v); /* rank 0, rounded */
const char *dlx_mil_string(dlx_mil *m, const char *v);
/* int8 zero of rank 0 */
const char *dlx_mil_int8_zero(dlx_mil *m);
/* A constant in the weight file, made of `v`; its shape may be said otherwise. */
dlx_mil_value dlx_mil_weight(dlx_mil *m, const dlx_value *v, dlx_mil_type type);
/* Zeros in the weight file. */
dlx_mil_value dlx_mil_zeros(dlx_mil *m, int64_t n);

/* ---- mil_ops.c: float16 operands and results ---- */

dlx_mil_value dlx_mil_cast(dlx_mil *m, dlx_mil_value x, dlx_mil_dtype to, const char *out);
/* identity, sigmoid, square, ... without further parameters */
dlx_mil_value dlx_mil_unary(dlx_mil *m, const char *op, dlx_mil_value x, const char *out);
/* add, mul, ... with broadcasting */
dlx_mil_value dlx_mil_binary(dlx_mil *m, const char *op, dlx_mil_value x, dlx_mil_value y);
dlx_mil_value dlx_mil_scale(dlx_mil *m, dlx_mil_value x, float by);
dlx_mil_value dlx_mil_matmul(dlx_mil *m, dlx_mil_value x, dlx_mil_value y, bool transpose_y);
dlx_mil_value dlx_mil_reshape(dlx_mil *m, dlx_mil_value x, int rank, const int64_t *dim);
dlx_mil_value dlx_mil_transpose(dlx_mil *m, dlx_mil_value x, const int64_t *perm);
dlx_mil_value dlx_mil_concat(dlx_mil *m, const dlx_mil_value *x, int n, int axis);
/* Elements [begin, begin + size) of each dimension. */
dlx_mil_value dlx_mil_slice(dlx_mil *m, dlx_mil_value x, const int64_t *begin, const int64_t *size);
dlx_mil_value dlx_mil_tile(dlx_mil *m, dlx_mil_value x, const int64_t *times);
dlx_mil_value dlx_mil_softmax(dlx_mil *m, dlx_mil_value x); /* last dimension */
dlx_mil_value dlx_mil_reduce(dlx_mil *m, const char *op, dlx_mil_value x, int axis, bool keep);
dlx_mil_value dlx_mil_layer_norm(dlx_mil *m, dlx_mil_value x, float eps); /* last dimension */
dlx_mil_value dlx_mil_linear(dlx_mil *m, dlx_mil_value x, dlx_mil_value w, dlx_mil_value bias);

#endif
