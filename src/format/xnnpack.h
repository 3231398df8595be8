/*
 * Payload of ExecuTorch's XNNPACK delegate ("XH00" header, "XN01" flatbuffer): one structure for reading and writing.
 * Facts: backends/xnnpack/serialization/schema.fbs of ExecuTorch 1.4.1.
 */
#ifndef DLX_FORMAT_XNNPACK_H
#define DLX_FORMAT_XNNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/io.h"
#include "base/status.h"
#include "format/pte.h"

#define DLX_XNN_NONE UINT32_MAX
enum { DLX_XNN_MAX_RANK = 6 };

/* The schema's XNodeUnion numbers. X(NAME, number, shape of the node table) */
#define DLX_XNN_NODE_MAP(X)                                                                                            \
    X(ADD, 1, BINARY)                                                                                                  \
    X(FULLY_CONNECTED, 2, FC)                                                                                          \
    X(SOFTMAX, 3, UNARY)                                                                                               \
    X(SIGMOID, 4, UNARY)                                                                                               \
    X(STATIC_TRANSPOSE, 5, TRANSPOSE)                                                                                  \
    X(CLAMP, 6, UNARY) X(DIV, 8, BINARY) X(MINIMUM, 12, BINARY) X(MULTIPLY, 15, BINARY) X(SUBTRACT, 16, BINARY)        \
        X(FLOOR, 17, UNARY) X(CONVERT, 18, UNARY) X(STATIC_RESHAPE, 20, RESHAPE) X(SQUARE_ROOT, 22, UNARY)             \
            X(CEILING, 23, UNARY) X(HARDSWISH, 24, UNARY) X(LEAKY_RELU, 25, SCALED) X(ELU, 29, SCALED)                 \
                X(MAXIMUM, 26, BINARY) X(NEGATE, 27, UNARY) X(SQUARE, 28, UNARY) X(ABS, 30, UNARY)                     \
                    X(CONCATENATE2, 32, CONCAT) X(CONCATENATE3, 33, CONCAT) X(CONCATENATE4, 34, CONCAT)                \
                        X(STATIC_SLICE, 35, SLICE) X(BATCH_MATRIX_MULTIPLY, 37, BINARY) X(CONCATENATE5, 38, CONCAT)    \
                            X(RECIPROCAL_SQUARE_ROOT, 40, UNARY) X(LOG, 41, UNARY) X(GELU, 42, UNARY)                  \
                                X(TANH, 43, UNARY) X(EXP, 44, UNARY) X(SIN, 45, UNARY) X(COPY, 46, UNARY)              \
                                    X(COS, 47, UNARY)

typedef enum dlx_xnn_node_type {
#define DLX_XNN_ENUM(name, number, kind) DLX_XNN_##name = number,
    DLX_XNN_NODE_MAP(DLX_XNN_ENUM)
#undef DLX_XNN_ENUM
} dlx_xnn_node_type;

typedef enum dlx_xnn_datatype {
    DLX_XNN_FP32 = 1,
    DLX_XNN_FP16 = 2,
    DLX_XNN_QINT8 = 3,
    DLX_XNN_QUINT8 = 4,
    DLX_XNN_QINT32 = 5,
    DLX_XNN_QCINT8 = 6,
    DLX_XNN_QCINT32 = 7,
    DLX_XNN_QCINT4 = 8,
    DLX_XNN_QDINT8 = 9,
    DLX_XNN_QBINT4 = 10,
    DLX_XNN_INT32 = 12,
    DLX_XNN_BF16 = 14,
} dlx_xnn_datatype;

typedef enum dlx_xnn_quant {
    DLX_XNN_Q_NONE = 0,
    DLX_XNN_Q_PER_CHANNEL = 1,
    DLX_XNN_Q_PER_TENSOR = 2,
    DLX_XNN_Q_PER_TOKEN_DYNAMIC = 3,
    DLX_XNN_Q_PER_CHANNEL_GROUP = 4,
} dlx_xnn_quant;

enum { DLX_XNN_FLAG_INPUT = 1, DLX_XNN_FLAG_OUTPUT = 2 };

typedef struct dlx_xnn_value {
    uint32_t id;  /* what nodes refer to; ids are < 2 * number of values */
    int datatype; /* dlx_xnn_datatype */
    uint8_t rank;
    uint32_t dim[DLX_XNN_MAX_RANK];
    uint32_t constant;    /* index into constants; 0: not constant */
    uint32_t external_id; /* index into the delegate call's arguments, DLX_XNN_NONE: internal */
    uint32_t flags;       /* INPUT, OUTPUT */
    dlx_xnn_quant quant;
    float scale; /* PER_TENSOR */
    int32_t zero_point;
    int32_t channel_dim; /* PER_CHANNEL (0) */
    uint32_t scales;     /* index into constants holding num_scales floats (bf16 for groups); 0: in inline_scales */
    uint32_t num_scales;
    const float *inline_scales; /* reading older files; unaligned-safe copy in the arena */
    int32_t group_size;
    int32_t nonbatch_dims; /* PER_TOKEN_DYNAMIC */
} dlx_xnn_value;

typedef struct dlx_xnn_node {
    int type;       /* dlx_xnn_node_type */
    uint32_t in[5]; /* FC: input, filter, bias (DLX_XNN_NONE: no bias) */
    uint8_t inputs;
    uint32_t out;
    uint32_t flags; /* FC: 1 = filter stored [k,n], 0x80 = float32 bias of a float16 filter; BMM: 1 = B is [.., n, k] */
    bool clamped;   /* output_min_max present (and for CLAMP its bounds) */
    float min, max;
    uint32_t axis;                    /* CONCATENATE */
    float factor;                     /* LEAKY_RELU slope, ELU alpha */
    uint8_t rank;                     /* entries of shape / size */
    uint32_t shape[DLX_XNN_MAX_RANK]; /* new_shape, perm or offsets */
    uint32_t size[DLX_XNN_MAX_RANK];  /* SLICE sizes */
} dlx_xnn_node;

typedef struct dlx_xnn_constant {
    const char *key; /* named data; NULL: inline in the payload */
    uint64_t size;   /* bytes */
    const void
        *data; /* read: view, or NULL when the bytes are still in `file`; write: inline bytes (key NULL) or unused */
    const dlx_file *file; /* read: where the bytes are, at `offset` */
    uint64_t offset;
} dlx_xnn_constant;

typedef struct dlx_xnn_graph {
    dlx_xnn_value *values;
    uint32_t n_values;
    dlx_xnn_node *nodes;
    uint32_t n_nodes;
    dlx_xnn_constant *constants; /* [0] is the schema's placeholder */
    uint32_t n_constants;
    uint32_t num_externs;
} dlx_xnn_graph;

/* Finds named data; returns its bytes and sets *size, or NULL when there is no such key. */
typedef const void *(*dlx_xnn_named_fn)(void *ctx, const char *key, uint64_t *size);

/* Verifies and reads a payload. Checked: every offset; node arity; that each referenced id is defined exactly once;
 * that constants hold as many bytes as their shape and type say (scales too); ranks. A node type outside the map is
 * DLX_E_UNSUPPORTED and named, by its number where the schema has no name. */
dlx_status dlx_xnn_read(dlx_xnn_graph *out, dlx_arena *arena, const void *data, uint64_t size, const char *name,
                        dlx_xnn_named_fn named, void *named_ctx, dlx_error *err);

/* The same for a delegate of a program: its named data, and constants that stay where they are. The payload's graph is
 * in `arena`, or where the program's bytes are. */
dlx_status dlx_xnn_read_blob(dlx_xnn_graph *out, dlx_arena *arena, const dlx_pte *pte, const dlx_pte_blob *blob,
                             const char *name, dlx_error *err);

/* Serialises into malloc'd memory: "XH00" header, flatbuffer with ids written explicitly (external_id, bias), then the
 * inline constants. */
dlx_status dlx_xnn_write(const dlx_xnn_graph *graph, void **out, size_t *size, dlx_error *err);

/* "FullyConnected", ..., of all types of the schema, also those that are not read; "?" outside it. */
const char *dlx_xnn_node_name(int type);
/* "float32", "int8 (per channel)", ...; "?" outside the schema. */
const char *dlx_xnn_datatype_name(int datatype);

#endif
