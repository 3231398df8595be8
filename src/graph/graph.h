/*
 * The one representation of a program, for exporting and for running: two flat arrays, values and nodes, linked by
 * indices. A value is written by at most one node (SSA); nodes stand in execution order.
 *
 * Two levels of operators share the arrays. High-level operators (RMS_NORM, ROPE, ATTENTION, SILU_MUL) are what `model`
 * builds and `runtime` executes fast; primitive operators are what a backend's payload contains. backends/xnnpack
 * decomposes the former into the latter, runtime raises them back.
 *
 * Shapes: `dim` holds the largest size a dimension may take; bit i of `dynamic` says that dim i may be smaller at run
 * time. Actual shapes of a call come from dlx_graph_infer with the actual input shapes.
 */
#ifndef DLX_GRAPH_GRAPH_H
#define DLX_GRAPH_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/dtype.h"
#include "base/io.h"
#include "base/status.h"

#define DLX_NONE UINT32_MAX

enum { DLX_MAX_RANK = 6, DLX_MAX_INPUTS = 6, DLX_MAX_OUTPUTS = 2 };

/* In attr.shape: the size is what operand k (I64, rank 0) holds when the node runs; attr.bound says how large it may
 * be. */
#define DLX_RUN(k)         (INT64_MIN + (k))
#define DLX_IS_RUN(number) ((number) < INT64_MIN + DLX_MAX_INPUTS)

typedef enum dlx_value_kind { DLX_VALUE_INPUT, DLX_VALUE_CONST, DLX_VALUE_TEMP } dlx_value_kind;

/* How the bytes of a constant come about. Sources are views and places in files; nothing is read or copied until a
 * writer or packer streams it. */
typedef enum dlx_const_transform {
    DLX_CONST_PLAIN,           /* data holds the value's dtype */
    DLX_CONST_WIDEN,           /* data holds `stored` (F16/BF16); the value is F32 */
    DLX_CONST_ROUND,           /* data holds `stored` (a float type); the value is F16 or BF16, rounded half to even */
    DLX_CONST_INT8_ROWS,       /* value I8: rows of `stored` floats quantised, scale = max|row|/127 */
    DLX_CONST_INT8_ROW_SCALES, /* value F32 [rows] or [rows,1]: those scales */
    DLX_CONST_INT4_ROWS,       /* value I4: rows or groups of `stored` floats quantised, scale = max|group|/7 */
    DLX_CONST_INT4_SCALES,     /* those scales: F32 [rows] or [rows,1], or of groups BF16 [rows, columns/group] */
} dlx_const_transform;

typedef struct dlx_const_source {
    const void *data; /* not owned; NULL: the bytes are still in `file`, at `offset` */
    uint64_t bytes;   /* of data */
    dlx_dtype stored;
    dlx_const_transform transform;
    const dlx_file *file; /* not owned; where they came from, NULL: they never were in one */
    uint64_t offset;
    const char *tensor; /* what the checkpoint calls it; not owned, NULL: it has no name there */
    uint32_t group;     /* of 4-bit rows: consecutive elements that share a scale; 0: whole rows */
    bool clip;          /* of INT8 and INT4: the scale is smaller than that where it misses the floats less */
    /* Of INT8 and INT4: scales are rounded to F16, at least 2^-24, before codes are made of them; their values are F16.
     */
    bool f16_scales;
    bool signed_nibbles; /* of I4 values: halves of bytes are in two's complement, not their numbers + 8 */
    bool in_f16;   /* what it stands for is computed with in float16: what is beyond that is an error in any form */
    uint8_t times; /* of ROUND: scales of codes of up to this magnitude, which are part of that; 0: none */
} dlx_const_source;

typedef struct dlx_value {
    const char *name; /* in the graph's arena; NULL for anonymous temporaries */
    dlx_dtype dtype;
    dlx_value_kind kind;
    uint8_t rank;
    uint8_t dynamic;           /* bit i: dim i varies */
    int64_t dim[DLX_MAX_RANK]; /* upper bounds */
    /* Of I8 and I4 weights, and of I32 biases where a backend wants them: the CONST value with their scales, F32 with
     * one per row of dim 0, or (I4) BF16 [n, k/group]: one for each group of a row; DLX_NONE otherwise. */
    uint32_t scales;
    dlx_const_source source; /* CONST; of a state: what it holds at first, neither data nor file: zeros */
    uint32_t producer;       /* node, or DLX_NONE */
} dlx_value;

/*
 * X(name, inputs_min, inputs_max, outputs)
 * T rows, P cached rows, H query heads, K kv heads, D head_dim.
 */
#define DLX_OP_MAP(X)                                                                                                  \
    /* high level */                                                                                                   \
    X(EMBEDDING, 2, 3, 1) /* table [V,d], ids [T] I64 -> [T,d]: F32 of a table of F32, or of I8 or I4 with its */      \
    /* scales, [V,1] F32 or (I4) [V,d/group] BF16, as input 2; without these rows as they lie, of I4: bytes [T,d/2] */ \
    X(LINEAR, 2, 3, 1)   /* x [..,k], w [n,k] of one of the kinds in linear_kinds.h, bias [n]? -> [..,n] F32 */        \
    X(RMS_NORM, 2, 2, 1) /* x [..,d], w [d]; eps */                                                                    \
    X(ROPE, 3, 3, 1)     /* x [1..,T,H,D], cos [T,D], sin [T,D] with sign folded: [-sin,+sin]; attr.keep: pairs of */  \
    /* neighbours, x [1..,T,H,D/2,2], cos, sin [T,D/2]; attr.axis 1: heads before rows, x [1..,H,T,D] */               \
    X(ATTENTION, 3, 6, 1)  /* q [T,H,D], k [T,K,D], v [T,K,D], kc [P,K,D]?, vc [P,K,D]?, mask [T,P+T]? -> [T,H*D] */   \
    X(SILU_MUL, 2, 2, 1)   /* silu(a) * b */                                                                           \
    X(ROW_SELECT, 2, 2, 1) /* x [T,..], rows [R] I32 -> [R,..] */                                                      \
    /* primitive */                                                                                                    \
    X(CONVERT, 1, 1,                                                                                                   \
      1) /* F32 to QD8, or to attr.dtype QS8; F16, BF16, I8 and U8 (of scale attr.f[0], zero point 0) to F32 */        \
    X(CAST, 1, 1, 1) /* to attr.dtype, as C converts; floats outside an integer's range become its nearest number */   \
    X(ADD, 2, 2, 1)  /* numpy broadcasting for the binary operators; F32, I64 or I32 */                                \
    X(SUB, 2, 2, 1)                                                                                                    \
    X(MUL, 2, 2, 1)                                                                                                    \
    X(DIV, 2, 2, 1) /* F32 */                                                                                          \
    X(MIN, 2, 2, 1) /* NaN wins */                                                                                     \
    X(MAX, 2, 2, 1)                                                                                                    \
    X(FLOORDIV, 2, 2, 1) /* as Python's // */                                                                          \
    X(TRUNCDIV, 2, 2, 1)                                                                                               \
    X(MODULO, 2, 2, 1)    /* as Python's %: the sign of the divisor */                                                 \
    X(REMAINDER, 2, 2, 1) /* as C's: the sign of the dividend */                                                       \
    X(POW, 2, 2, 1)       /* F32 */                                                                                    \
    X(EQUAL, 2, 2, 1)     /* any type -> BOOL */                                                                       \
    X(LESS, 2, 2, 1)                                                                                                   \
    X(LESS_EQUAL, 2, 2, 1)                                                                                             \
    X(AND, 2, 2, 1) /* bits of BOOL, I64 or I32 */                                                                     \
    X(OR, 2, 2, 1)                                                                                                     \
    X(XOR, 2, 2, 1)                                                                                                    \
    X(WHERE, 3, 3, 1) /* BOOL ? a : b, broadcasting; any type */                                                       \
    X(NEG, 1, 1, 1)                                                                                                    \
    X(ABS, 1, 1, 1)                                                                                                    \
    X(SIGN, 1, 1, 1)                                                                                                   \
    X(NOT, 1, 1, 1) /* BOOL, or the bits of I64 and I32 */                                                             \
    X(SQUARE, 1, 1, 1)                                                                                                 \
    X(SQRT, 1, 1, 1)                                                                                                   \
    X(RSQRT, 1, 1, 1)                                                                                                  \
    X(EXP, 1, 1, 1)                                                                                                    \
    X(EXPM1, 1, 1, 1)                                                                                                  \
    X(LOG, 1, 1, 1)                                                                                                    \
    X(LOG1P, 1, 1, 1)                                                                                                  \
    X(SIN, 1, 1, 1)                                                                                                    \
    X(COS, 1, 1, 1)                                                                                                    \
    X(TANH, 1, 1, 1)                                                                                                   \
    X(ERF, 1, 1, 1)                                                                                                    \
    X(SIGMOID, 1, 1, 1)                                                                                                \
    X(GELU, 1, 1, 1)                                                                                                   \
    X(GELU_TANH, 1, 1, 1) /* the approximation by tanh */                                                              \
    X(FLOOR, 1, 1, 1)                                                                                                  \
    X(CEIL, 1, 1, 1)                                                                                                   \
    X(ROUND, 1, 1, 1) /* halves to even */                                                                             \
    X(TRUNC, 1, 1, 1)                                                                                                  \
    X(CLAMP, 1, 1, 1) /* attr.f[0] .. attr.f[1] */                                                                     \
    X(COPY, 1, 1, 1)                                                                                                   \
    X(SOFTMAX, 1, 1, 1) /* last dimension */                                                                           \
    X(LOG_SOFTMAX, 1, 1, 1)                                                                                            \
    X(LAYER_NORM, 1, 3, 1) /* x [..,d], w [d]?, b [d]?; eps */                                                         \
    X(MEAN, 1, 1, 1)       /* over dimension attr.axis, kept as 1 when attr.keep, else removed */                      \
    X(SUM, 1, 1, 1)        /* F32 or I64 */                                                                            \
    X(PROD, 1, 1, 1)                                                                                                   \
    X(VARIANCE, 1, 1, 1) /* divided by n - attr.f[0] */                                                                \
    X(AMAX, 1, 1, 1)     /* F32, I64 or I32; NaN wins; so for AMIN and the ARG operators */                            \
    X(AMIN, 1, 1, 1)                                                                                                   \
    X(ANY, 1, 1, 1) /* BOOL */                                                                                         \
    X(ALL, 1, 1, 1)                                                                                                    \
    X(ARGMAX, 1, 1, 1) /* -> I64, the first of equals */                                                               \
    X(ARGMIN, 1, 1, 1)                                                                                                 \
    X(CUMSUM, 1, 1, 1) /* along attr.axis */                                                                           \
    X(TOPK, 1, 1, 1)   /* -> I64 places of the attr.size[0] largest along the last dimension, descending */            \
    X(BMM, 2, 2, 1)    /* a [..,m,k], b [..,k,n] or, attr.transpose_b, [..,n,k]; batch dims broadcast 1 <-> N */       \
    X(SDPA, 3, 5,                                                                                                      \
      1) /* q [B,T,H,D], k, v [B,S,K,D], start I64 []? or mask [T,S]? added -> [B,T,H,D]; scale attr.f[0] */           \
    /* with a start: over keys 0 .. start+T-1; attr.causal: row t sees those up to start+t; attr.axes: dlx_sdpa_axes   \
     */                                                                                                                \
    /* attr.keep: a row that sees nothing is NaN, not 0 */                                                             \
    X(TRANSPOSE, 1, 1, 1) /* attr.perm */                                                                              \
    X(SLICE, 1, 1, 1)     /* attr.begin, attr.size per dimension; size -1: to the end */                               \
    X(CONCAT, 2, 5, 1)    /* attr.axis */                                                                              \
    X(RESHAPE, 1, 6, 1)   /* attr.shape, at most one -1; further operands: sizes, I64 [] */                            \
    X(EXPAND, 1, 6, 1)    /* broadcast to attr.shape (-1: as it is); further operands: sizes, I64 [] */                \
    X(EXPAND_AS, 2, 2, 1) /* x broadcast to the shape of the second operand */                                         \
    X(NARROW, 1, 3, 1) /* Python's x[begin:end:step] along attr.axis: attr.shape[0..2]; operands: begin, end I64 [] */ \
    X(FLIP, 1, 1, 1)   /* along attr.axis */                                                                           \
    X(PAD, 1, 1, 1)    /* attr.shape elements before and attr.size behind per dimension, of value attr.f[0] */         \
    X(TRIANGLE, 1, 1, 1)  /* zeros above (attr.keep: below) diagonal attr.axis of the last two dimensions */           \
    X(INDEX, 2, 6, 1)     /* x, I64 or I32 places for each dimension in attr.axes (numpy's rule for where they go) */  \
    X(INDEX_PUT, 3, 6, 1) /* x with values (operand 1) at those places; attr.keep: added */                            \
    X(GATHER, 2, 2, 1)    /* x, places along attr.axis, of the result's shape */                                       \
    X(SCATTER, 3, 3, 1)   /* x, places along attr.axis, values of that shape; attr.keep: added */                      \
    X(SLICE_PUT, 2, 3, 1) /* x with operand 1 at [begin, begin + its size) of attr.axis: attr.shape[0] or I64 [] */    \
    X(SIZE, 1, 1, 1)      /* of dimension attr.axis -> I64 [] */                                                       \
    X(ARANGE, 2, 2, 1)    /* first, end I64 [] of step attr.shape[2] -> [n] of attr.dtype; attr.bound[0] */

/* SDPA: which operands, and whether the result, have heads in front of rows: [B,H,T,D]. */
enum dlx_sdpa_axes {
    DLX_SDPA_Q_HEADS_FIRST = 1,
    DLX_SDPA_K_HEADS_FIRST = 2,
    DLX_SDPA_V_HEADS_FIRST = 4,
    DLX_SDPA_OUT_HEADS_FIRST = 8
};

typedef enum dlx_op {
#define DLX_OP_ENUM(name, lo, hi, outs) DLX_OP_##name,
    DLX_OP_MAP(DLX_OP_ENUM)
#undef DLX_OP_ENUM
        DLX_OP_COUNT
} dlx_op;

typedef struct dlx_attr {
    float f[2];                  /* eps, scale, clamp bounds, per-tensor scale */
    int32_t axis;                /* CONCAT, reductions, and where the operator says so */
    uint8_t axes;                /* INDEX, INDEX_PUT: bit d: dimension d has places */
    bool keep;                   /* reductions, and where the operator says so */
    bool transpose_b;            /* BMM */
    bool causal;                 /* SDPA */
    dlx_dtype dtype;             /* CAST, ARANGE */
    uint8_t rank;                /* entries used in shape / perm / begin / size */
    int64_t shape[DLX_MAX_RANK]; /* RESHAPE shape; TRANSPOSE perm; SLICE begin */
    int64_t size[DLX_MAX_RANK];  /* SLICE size */
    int64_t bound[DLX_MAX_RANK]; /* of dimensions whose size is known only at run time */
} dlx_attr;

typedef struct dlx_node {
    dlx_op op;
    uint8_t inputs, outputs;
    uint32_t in[DLX_MAX_INPUTS]; /* DLX_NONE for an absent optional input */
    uint32_t out[DLX_MAX_OUTPUTS];
    dlx_attr attr;
    int32_t layer; /* decoder layer for messages and printing; -1: none */
} dlx_node;

typedef struct dlx_graph {
    dlx_arena arena; /* names; arena.mem is the allocator of the whole graph */
    dlx_value *values;
    size_t n_values, values_capacity;
    dlx_node *nodes;
    size_t n_nodes, nodes_capacity;
    uint32_t *inputs; /* values of kind INPUT, in call order */
    size_t n_inputs, inputs_capacity;
    uint32_t *outputs; /* any values, in call order */
    size_t n_outputs, outputs_capacity;
    /* The last n_states inputs and the last n_states outputs are states: what a call leaves in output i is input i of
     * the next one. */
    size_t n_states;
    /* Width of the block-causal attention that the masks of the program had before raising took them out (1: causal);
     * 0: there were none. */
    int32_t attn_block;
    int64_t max_context; /* positions that its caches held then; 0: as many as the cache inputs and a call's rows */
} dlx_graph;

void dlx_graph_init(dlx_graph *g);
/* With memory from `mem`, which is copied; NULL: the C library. */
void dlx_graph_init_with(dlx_graph *g, const dlx_allocator *mem);
/* Leaves an empty graph over the same allocator. */
void dlx_graph_free(dlx_graph *g);

/* Builders. They return an index, or DLX_NONE when memory is out; a DLX_NONE argument gives DLX_NONE, so a chain of
 * calls needs one check at its end (dlx_graph_ok). Names are copied. */
uint32_t dlx_graph_input(dlx_graph *g, const char *name, dlx_dtype dtype, int rank, const int64_t *dim,
                         unsigned dynamic);
uint32_t dlx_graph_const(dlx_graph *g, const char *name, dlx_dtype dtype, int rank, const int64_t *dim,
                         dlx_const_source source);
/* Appends a node, infers its output shape from the inputs' bounds, returns its output value. A shape error is recorded
 * in `err` and gives DLX_NONE. attr may be NULL. */
uint32_t dlx_graph_node(dlx_graph *g, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr, int32_t layer,
                        dlx_error *err);
bool dlx_graph_output(dlx_graph *g, uint32_t value);
/* Lower level, for readers and passes that know the output already: appends a copy of *v (name copied); appends a node
 * whose single output is the existing value `out`. No inference, no check: dlx_graph_verify tells. */
uint32_t dlx_graph_value(dlx_graph *g, const dlx_value *v);
uint32_t dlx_graph_node_to(dlx_graph *g, dlx_node node, uint32_t out, dlx_error *err);
bool dlx_op_arity_ok(dlx_op op, int inputs, int outputs);

/* Shape of one node's output from its inputs' shapes (rank and dims only). */
typedef struct dlx_shape {
    uint8_t rank;
    int64_t dim[DLX_MAX_RANK];
} dlx_shape;
dlx_status dlx_infer_node(const dlx_graph *g, const dlx_node *node, const dlx_shape *in, dlx_shape *out,
                          dlx_error *err);
/* Between which numbers an integer lies, both included. */
typedef struct dlx_range {
    int64_t low, high;
} dlx_range;
/* The same where more is known than shapes: `data` [n_values] holds what sizes computed at run time are read from.
 * NULL: they take their bounds, or `most` or what `range` [n_values] (or NULL) allows where that is less. */
typedef struct dlx_known {
    void *const *data;
    int64_t most;
    const dlx_range *range;
} dlx_known;
dlx_status dlx_infer_node_known(const dlx_graph *g, const dlx_node *node, const dlx_shape *in, const dlx_known *known,
                                dlx_shape *out, dlx_error *err);
/* The same from and into the shapes [n_values] of a whole graph. */
dlx_status dlx_infer_step(const dlx_graph *g, const dlx_node *node, dlx_shape *shapes, const dlx_known *known,
                          dlx_error *err);
/* Whether the shape of the node's output depends on numbers and not on shapes alone. */
bool dlx_node_sized_at_run(const dlx_node *node);
/* All shapes: shapes[] has n_values entries, those of inputs are given by the caller, the others are filled in.
 * Constants take their dims. Allocates nothing. */
dlx_status dlx_graph_infer(const dlx_graph *g, dlx_shape *shapes, dlx_error *err);
/* The same for upper bounds of the inputs, where the program computes sizes: what follows from the bounds of the sizes
 * that it computes from. range: scratch for n_values. Fails with DLX_E_FORMAT where bounds of sizes that depend on each
 * other contradict each other; then the bounds that the values were declared with are the ones to use. */
dlx_status dlx_graph_infer_bounds(const dlx_graph *g, dlx_shape *shapes, dlx_range *range, dlx_error *err);
/* Element type of a node's output, from those of its operands. */
dlx_dtype dlx_node_dtype(const dlx_graph *g, const dlx_node *node);
int64_t dlx_shape_elements(const dlx_shape *s); /* product; 1 for rank 0 */
/* The upper bounds of a value. */
static inline dlx_shape dlx_value_shape(const dlx_value *v)
{
    dlx_shape s = {.rank = v->rank};
    for (int i = 0; i < v->rank; i++) s.dim[i] = v->dim[i];
    return s;
}

/* Operators that change their first operand in few places: its bytes can become the result's. */
bool dlx_op_updates(dlx_op op);
/* Element types and kinds of a node's operands and result (part of dlx_graph_verify). NULL: in order; else the rule. */
const char *dlx_types_rule(const dlx_graph *g, const dlx_node *node);

/* The node that makes value v; NULL: none does, or v is DLX_NONE. */
static inline const dlx_node *dlx_made_by(const dlx_graph *g, uint32_t v)
{
    return v == DLX_NONE || g->values[v].producer == DLX_NONE ? NULL : &g->nodes[g->values[v].producer];
}

/* The same, if it is an `op`. */
static inline const dlx_node *dlx_made_as(const dlx_graph *g, uint32_t v, dlx_op op)
{
    const dlx_node *n = dlx_made_by(g, v);
    return n && n->op == op ? n : NULL;
}

/* Checks every index, arity, dtype, SSA, order and shape rule. Runs after every pass in debug builds. */
dlx_status dlx_graph_verify(const dlx_graph *g, dlx_error *err);

/* Bytes [at, at + n) of a constant's source, from memory or its file. */
dlx_status dlx_const_read(const dlx_value *v, uint64_t at, void *out, size_t n, dlx_error *err);

/* Removes nodes whose outputs nobody uses (keeps inputs and outputs); values stay. */
dlx_status dlx_graph_prune(dlx_graph *g, dlx_error *err);

/* Text (one line a node) or Graphviz dot of the graph; malloc'd, NUL-terminated. */
dlx_status dlx_graph_print(const dlx_graph *g, bool dot, char **out, dlx_error *err);

const char *dlx_op_name(dlx_op op);

#endif
