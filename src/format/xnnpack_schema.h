/*
 * What the reader and the writer of XNNPACK payloads share: slot numbers of backends/xnnpack/serialization/schema.fbs
 * (ExecuTorch 1.4.1), the payload's header, and the rules that a graph must keep.
 */
#ifndef DLX_FORMAT_XNNPACK_SCHEMA_H
#define DLX_FORMAT_XNNPACK_SCHEMA_H

#include "format/xnnpack.h"

#define DLX_XNN_HEADER_MAGIC   "XH00"
#define DLX_XNN_IDENTIFIER     "XN01"
#define DLX_XNN_OLD_IDENTIFIER "XN00"

/* Bytes of the payload's beginning. */
enum {
    XNN_MAGIC_AT = 4,
    XNN_LENGTH_AT = 8,
    XNN_GRAPH_OFFSET_AT = 10,
    XNN_GRAPH_SIZE_AT = 14,
    XNN_CONSTANT_OFFSET_AT = 18,
    XNN_CONSTANT_SIZE_AT = 22,
    XNN_HEADER_LENGTH = 30,
    XNN_GRAPH_AT = 32,
};
enum { XNN_CONSTANT_ALIGN = 16, XNN_MAX_EXTERNS = 4096 };

enum {
    GRAPH_VERSION,
    GRAPH_NODES,
    GRAPH_VALUES,
    GRAPH_NUM_EXTERNS,
    GRAPH_INPUTS,
    GRAPH_OUTPUTS,
    GRAPH_OLD_CONSTANTS,
    GRAPH_OLD_SIZES,
    GRAPH_CONSTANTS
};
enum { CONSTANT_OFFSET, CONSTANT_SIZE, CONSTANT_KEY };
enum { UNION_TYPE, UNION_VALUE }; /* XValue; XNode begins the same way */
enum { NODE_DEBUG_HANDLE = 2, NODE_MIN_MAX = 3 };
enum { MIN_MAX_MIN, MIN_MAX_MAX };
enum { XVALUE_TENSOR = 1, XVALUE_QUANTIZED = 2 }; /* XValueUnion */
enum {
    XTENSOR_DATATYPE,
    XTENSOR_NUM_DIMS,
    XTENSOR_DIMS,
    XTENSOR_CONSTANT,
    XTENSOR_EXTERNAL,
    XTENSOR_FLAGS,
    XTENSOR_ID,
    XTENSOR_DQ_DATATYPE /* of XN00 */
};
enum { QUANTIZED_TENSOR, QUANTIZED_TYPE, QUANTIZED_PARAMS };
enum { CHANNEL_SCALE, CHANNEL_DIM, CHANNEL_BUFFER, CHANNEL_NUM_SCALES };
enum { PER_TENSOR_SCALE, PER_TENSOR_ZERO_POINT };
enum { PER_TOKEN_NONBATCH_DIMS };
enum { GROUP_SCALE, GROUP_DIM, GROUP_SIZE, GROUP_OLD_BF16, GROUP_BUFFER, GROUP_NUM_SCALES };

/* Where each node table keeps its parts; -1: nowhere. Concatenations keep their fifth input behind the flags. */
typedef struct dlx_xnn_layout {
    int8_t inputs[5];
    int8_t out, flags;
    int8_t rank, shape, size, axis, factor;
} dlx_xnn_layout;

/* Of a node type; NULL outside the map. *inputs is how many inputs it has. */
const dlx_xnn_layout *dlx_xnn_node_layout(int type, uint8_t *inputs);

/* Refuses a node type outside the map: by its name, where the schema has one. */
dlx_status dlx_xnn_unknown_node(int type, dlx_error *err);

/* Bits of one element; 0 for a type that is not listed in dlx_xnn_datatype. */
uint32_t dlx_xnn_datatype_bits(int datatype);

/* Every rule that holds between the parts of a graph. The reader calls it on what it parsed, the writer on what it is
 * given. `name` is for messages; notes while at work are made in memory from `mem`, NULL: the C library. */
dlx_status dlx_xnn_verify(const dlx_xnn_graph *graph, const char *name, const dlx_allocator *mem, dlx_error *err);

#endif
