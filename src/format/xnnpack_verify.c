/*
 * Node types of XNNPACK payloads, and the rules between the parts of a graph: reader and writer call dlx_xnn_verify on
 * the same structure, so that whoever walks a graph that was read needs no checks of its own.
 */
#include <math.h>
#include <string.h>

#include "base/sizes.h"
#include "format/xnnpack_schema.h"

/* ---- node types ---- */

typedef enum node_shape { NO_NODE, UNARY, BINARY, FC, TRANSPOSE, RESHAPE, SLICE, CONCAT, SCALED } node_shape;

static const dlx_xnn_layout layouts[] = {
    [UNARY] = {{0, -1, -1, -1, -1}, 1, 2, -1, -1, -1, -1, -1},
    [BINARY] = {{0, 1, -1, -1, -1}, 2, 3, -1, -1, -1, -1, -1},
    [FC] = {{0, 1, 2, -1, -1}, 3, 4, -1, -1, -1, -1, -1},
    [TRANSPOSE] = {{2, -1, -1, -1, -1}, 3, 4, 0, 1, -1, -1, -1},
    [RESHAPE] = {{2, -1, -1, -1, -1}, 3, 4, 0, 1, -1, -1, -1},
    [SLICE] = {{3, -1, -1, -1, -1}, 4, 5, 0, 1, 2, -1, -1},
    [CONCAT] = {{1, 2, 3, 4, 7}, 5, 6, -1, -1, -1, 0, -1},
    [SCALED] = {{1, -1, -1, -1, -1}, 2, 3, -1, -1, -1, -1, 0},
};
static const uint8_t layout_inputs[] = {
    [UNARY] = 1, [BINARY] = 2, [FC] = 3, [TRANSPOSE] = 1, [RESHAPE] = 1, [SLICE] = 1, [SCALED] = 1};

static node_shape shape_of(int type)
{
    switch (type) {
#define SHAPE_CASE(name, number, shape)                                                                                \
    case number: return shape;
        DLX_XNN_NODE_MAP(SHAPE_CASE)
#undef SHAPE_CASE
    }
    return NO_NODE;
}

const dlx_xnn_layout *dlx_xnn_node_layout(int type, uint8_t *inputs)
{
    node_shape shape = shape_of(type);
    if (shape == NO_NODE) return NULL;
    *inputs = shape != CONCAT                ? layout_inputs[shape]
              : type == DLX_XNN_CONCATENATE5 ? 5
                                             : (uint8_t)(2 + type - DLX_XNN_CONCATENATE2);
    return &layouts[shape];
}

const char *dlx_xnn_node_name(int type)
{
    static const char *const names[] = {
        [DLX_XNN_ADD] = "Add",
        [DLX_XNN_FULLY_CONNECTED] = "FullyConnected",
        [DLX_XNN_SOFTMAX] = "Softmax",
        [DLX_XNN_SIGMOID] = "Sigmoid",
        [DLX_XNN_STATIC_TRANSPOSE] = "StaticTranspose",
        [DLX_XNN_CLAMP] = "Clamp",
        [DLX_XNN_DIV] = "Div",
        [DLX_XNN_MINIMUM] = "Minimum",
        [DLX_XNN_MULTIPLY] = "Multiply",
        [DLX_XNN_SUBTRACT] = "Subtract",
        [DLX_XNN_FLOOR] = "Floor",
        [DLX_XNN_CONVERT] = "Convert",
        [DLX_XNN_STATIC_RESHAPE] = "StaticReshape",
        [DLX_XNN_SQUARE_ROOT] = "SquareRoot",
        [DLX_XNN_CEILING] = "Ceiling",
        [DLX_XNN_HARDSWISH] = "Hardswish",
        [DLX_XNN_LEAKY_RELU] = "LeakyReLU",
        [DLX_XNN_ELU] = "ELU",
        [DLX_XNN_MAXIMUM] = "Maximum",
        [DLX_XNN_NEGATE] = "Negate",
        [DLX_XNN_SQUARE] = "Square",
        [DLX_XNN_ABS] = "Abs",
        [DLX_XNN_CONCATENATE2] = "Concatenate2",
        [DLX_XNN_CONCATENATE3] = "Concatenate3",
        [DLX_XNN_CONCATENATE4] = "Concatenate4",
        [DLX_XNN_STATIC_SLICE] = "StaticSlice",
        [DLX_XNN_BATCH_MATRIX_MULTIPLY] = "BatchMatrixMultiply",
        [DLX_XNN_CONCATENATE5] = "Concatenate5",
        [DLX_XNN_RECIPROCAL_SQUARE_ROOT] = "ReciprocalSquareRoot",
        [DLX_XNN_LOG] = "Log",
        [DLX_XNN_GELU] = "Gelu",
        [DLX_XNN_TANH] = "Tanh",
        [DLX_XNN_EXP] = "Exp",
        [DLX_XNN_SIN] = "Sin",
        [DLX_XNN_COPY] = "Copy",
        [DLX_XNN_COS] = "Cos",
        /* Types of the schema that are not read: named in messages. */
        [7] = "Conv2d",
        [9] = "StaticResizeBilinear2D",
        [10] = "StaticConstantPad",
        [11] = "AvgPooling2d",
        [13] = "DepthwiseConv2d",
        [14] = "MaxPooling2d",
        [19] = "GlobalAvgPooling2d",
        [21] = "ArgMaxPooling2d",
        [31] = "PReLU",
        [36] = "ScaledDotProductAttention",
        [39] = "ConvTranspose2d",
    };
    return type >= 0 && type < (int)DLX_COUNT(names) && names[type] ? names[type] : "?";
}

dlx_status dlx_xnn_unknown_node(int type, dlx_error *err)
{
    if (strcmp(dlx_xnn_node_name(type), "?") != 0)
        return dlx_fail(err, DLX_E_UNSUPPORTED, "this runtime has no such operator");
    return dlx_fail(err, DLX_E_UNSUPPORTED, "its type is number %d, which this build does not have", type);
}

const char *dlx_xnn_datatype_name(int datatype)
{
    static const char *const names[] = {"none",
                                        "float32",
                                        "float16",
                                        "int8 (static)",
                                        "uint8 (static)",
                                        "int32 (static)",
                                        "int8 (per channel)",
                                        "int32 (per channel)",
                                        "int4 (per channel)",
                                        "int8 (dynamic)",
                                        "int4 (in groups)",
                                        "int8 (packed)",
                                        "int32",
                                        "float32 (packed)",
                                        "bfloat16"};
    return datatype >= 0 && datatype < (int)DLX_COUNT(names) ? names[datatype] : "?";
}

/* ---- values ---- */

uint32_t dlx_xnn_datatype_bits(int datatype)
{
    switch (datatype) {
    case DLX_XNN_FP32:
    case DLX_XNN_INT32:
    case DLX_XNN_QINT32:
    case DLX_XNN_QCINT32: return 32;
    case DLX_XNN_FP16:
    case DLX_XNN_BF16: return 16;
    case DLX_XNN_QINT8:
    case DLX_XNN_QUINT8:
    case DLX_XNN_QCINT8:
    case DLX_XNN_QDINT8: return 8;
    case DLX_XNN_QCINT4:
    case DLX_XNN_QBINT4: return 4;
    }
    return 0;
}

static dlx_xnn_quant quant_of(int datatype)
{
    switch (datatype) {
    case DLX_XNN_QINT8:
    case DLX_XNN_QUINT8:
    case DLX_XNN_QINT32: return DLX_XNN_Q_PER_TENSOR;
    case DLX_XNN_QCINT8:
    case DLX_XNN_QCINT32:
    case DLX_XNN_QCINT4: return DLX_XNN_Q_PER_CHANNEL;
    case DLX_XNN_QDINT8: return DLX_XNN_Q_PER_TOKEN_DYNAMIC;
    case DLX_XNN_QBINT4: return DLX_XNN_Q_PER_CHANNEL_GROUP;
    }
    return DLX_XNN_Q_NONE;
}

/* Bytes of the value's elements; rows of 4-bit elements begin at whole bytes. False: more than 64 bits can count. */
static bool value_bytes(const dlx_xnn_value *v, uint64_t *bytes)
{
    uint32_t bits = dlx_xnn_datatype_bits(v->datatype);
    uint64_t last = v->rank ? v->dim[v->rank - 1] : 1, n = (last * bits + 7) / 8;
    bool empty = last == 0;
    for (int d = 0; d + 1 < v->rank; d++) empty = empty || v->dim[d] == 0;
    for (int d = 0; d + 1 < v->rank && !empty; d++)
        if (!dlx_mul_u64(n, v->dim[d], &n) || n > INT64_MAX) return false;
    *bytes = empty ? 0 : n;
    return true;
}

static dlx_status verify_scales(const dlx_xnn_graph *g, const dlx_xnn_value *v, uint64_t count, dlx_error *err)
{
    uint64_t size = v->quant == DLX_XNN_Q_PER_CHANNEL ? 4 : 2;
    if (v->num_scales != count)
        return dlx_fail(err, DLX_E_FORMAT, "it has %u scales; its shape asks for %llu", v->num_scales,
                        (unsigned long long)count);
    if (!v->scales) {
        if (count && !v->inline_scales)
            return dlx_fail(err, DLX_E_FORMAT, "its %llu scales are missing", (unsigned long long)count);
        return DLX_OK;
    }
    if (v->scales >= g->n_constants)
        return dlx_fail(err, DLX_E_FORMAT, "its scales are constant %u; there are %u", v->scales, g->n_constants);
    if (g->constants[v->scales].size < count * size)
        return dlx_fail(err, DLX_E_FORMAT, "its %llu scales take %llu bytes; constant %u has %llu",
                        (unsigned long long)count, (unsigned long long)(count * size), v->scales,
                        (unsigned long long)g->constants[v->scales].size);
    return DLX_OK;
}

static dlx_status verify_quant(const dlx_xnn_graph *g, const dlx_xnn_value *v, dlx_error *err)
{
    if (v->quant != quant_of(v->datatype))
        return dlx_fail(err, DLX_E_FORMAT, "data type %d goes with quantisation %d, not %d", v->datatype,
                        (int)quant_of(v->datatype), (int)v->quant);
    bool byte = dlx_xnn_datatype_bits(v->datatype) == 8;
    int32_t low = v->datatype == DLX_XNN_QUINT8 ? 0 : -128;
    switch (v->quant) {
    case DLX_XNN_Q_NONE: return DLX_OK;
    case DLX_XNN_Q_PER_TENSOR:
        if (!(v->scale > 0) || !isfinite(v->scale))
            return dlx_fail(err, DLX_E_FORMAT, "its scale is %g; a positive number is expected", (double)v->scale);
        if (byte ? v->zero_point < low || v->zero_point > low + 255 : v->zero_point != 0)
            return dlx_fail(err, DLX_E_FORMAT, "its zero point %d is outside its data type", v->zero_point);
        return DLX_OK;
    case DLX_XNN_Q_PER_TOKEN_DYNAMIC:
        if (v->nonbatch_dims < 1 || v->nonbatch_dims > v->rank)
            return dlx_fail(err, DLX_E_FORMAT, "it is quantised over %d of its %u dimensions", v->nonbatch_dims,
                            v->rank);
        if (v->constant) return dlx_fail(err, DLX_E_FORMAT, "it is quantised at run time and cannot be a constant");
        return DLX_OK;
    case DLX_XNN_Q_PER_CHANNEL:
        if (v->channel_dim < 0 || v->channel_dim >= v->rank)
            return dlx_fail(err, DLX_E_FORMAT, "its channel dimension is %d of %u", v->channel_dim, v->rank);
        return verify_scales(g, v, v->dim[v->channel_dim], err);
    case DLX_XNN_Q_PER_CHANNEL_GROUP:
        if (v->rank != 2 || v->group_size <= 0 || v->dim[1] % (uint32_t)v->group_size)
            return dlx_fail(err, DLX_E_FORMAT, "groups of %d do not divide its rows", v->group_size);
        return verify_scales(g, v, (uint64_t)v->dim[0] * (v->dim[1] / (uint32_t)v->group_size), err);
    }
    return dlx_fail(err, DLX_E_FORMAT, "its quantisation is number %d", (int)v->quant);
}

static dlx_status verify_value(const dlx_xnn_graph *g, const dlx_xnn_value *v, dlx_error *err)
{
    uint64_t bytes;
    if (!dlx_xnn_datatype_bits(v->datatype))
        return dlx_fail(err, DLX_E_UNSUPPORTED, "its data type is number %d (%s), which this build does not read",
                        v->datatype, dlx_xnn_datatype_name(v->datatype));
    if (v->rank > DLX_XNN_MAX_RANK)
        return dlx_fail(err, DLX_E_FORMAT, "it has rank %u; XNNPACK has at most %d", v->rank, DLX_XNN_MAX_RANK);
    if (!value_bytes(v, &bytes)) return dlx_fail(err, DLX_E_FORMAT, "it has more bytes than 64 bits can count");
    DLX_TRY(verify_quant(g, v, err));
    if (v->constant >= g->n_constants && v->constant)
        return dlx_fail(err, DLX_E_FORMAT, "its data is constant %u; there are %u", v->constant, g->n_constants);
    if (v->constant && g->constants[v->constant].size < bytes)
        return dlx_fail(err, DLX_E_FORMAT, "it takes %llu bytes; constant %u has %llu", (unsigned long long)bytes,
                        v->constant, (unsigned long long)g->constants[v->constant].size);
    if (v->flags & ~(uint32_t)(DLX_XNN_FLAG_INPUT | DLX_XNN_FLAG_OUTPUT))
        return dlx_fail(err, DLX_E_UNSUPPORTED, "it has flags 0x%x, of which this build knows 0x3", v->flags);
    if (v->external_id == DLX_XNN_NONE) {
        if (v->flags) return dlx_fail(err, DLX_E_FORMAT, "it is an input or output without an external id");
        return DLX_OK;
    }
    if (v->external_id >= g->num_externs)
        return dlx_fail(err, DLX_E_FORMAT, "its external id is %u; there are %u", v->external_id, g->num_externs);
    if (v->constant || (v->flags != DLX_XNN_FLAG_INPUT && v->flags != DLX_XNN_FLAG_OUTPUT))
        return dlx_fail(err, DLX_E_FORMAT, "it is external and must be either an input or an output");
    return DLX_OK;
}

/* ---- nodes ---- */

/* What is known of an id while the nodes are walked in order. */
typedef struct id_state {
    uint32_t value; /* index + 1; 0: no value has this id */
    bool available; /* constant, input, or written by an earlier node */
} id_state;

typedef struct verifier {
    const dlx_xnn_graph *g;
    id_state *ids; /* [2 * n_values] */
} verifier;

static const dlx_xnn_value *value_of(const verifier *v, uint32_t id)
{
    if (id >= 2 * (uint64_t)v->g->n_values || !v->ids[id].value) return NULL;
    return &v->g->values[v->ids[id].value - 1];
}

static dlx_status verify_operands(verifier *v, const dlx_xnn_node *n, dlx_error *err)
{
    for (int i = 0; i < n->inputs; i++) {
        if (n->type == DLX_XNN_FULLY_CONNECTED && i == 2 && n->in[i] == DLX_XNN_NONE) continue;
        if (!value_of(v, n->in[i]))
            return dlx_fail(err, DLX_E_FORMAT, "input %d is id %u, which no value has", i, n->in[i]);
        if (!v->ids[n->in[i]].available)
            return dlx_fail(err, DLX_E_FORMAT, "input %d is id %u, which nothing has written yet", i, n->in[i]);
    }
    const dlx_xnn_value *out = value_of(v, n->out);
    if (!out) return dlx_fail(err, DLX_E_FORMAT, "its output is id %u, which no value has", n->out);
    if (v->ids[n->out].available)
        return dlx_fail(err, DLX_E_FORMAT, "its output is id %u, which is a constant, an input or written already",
                        n->out);
    v->ids[n->out].available = true;
    return DLX_OK;
}

static dlx_status verify_node(verifier *v, const dlx_xnn_node *n, dlx_error *err)
{
    uint8_t inputs;
    const dlx_xnn_layout *layout = dlx_xnn_node_layout(n->type, &inputs);
    if (!layout) return dlx_xnn_unknown_node(n->type, err);
    if (n->inputs != inputs) return dlx_fail(err, DLX_E_FORMAT, "it has %u inputs; expected %u", n->inputs, inputs);
    DLX_TRY(verify_operands(v, n, err));
    if (n->clamped && !(n->min <= n->max))
        return dlx_fail(err, DLX_E_FORMAT, "it clamps to %g .. %g", (double)n->min, (double)n->max);
    if (layout->factor >= 0 && !isfinite(n->factor))
        return dlx_fail(err, DLX_E_FORMAT, "its factor is %g", (double)n->factor);
    const dlx_xnn_value *in = value_of(v, n->in[0]), *out = value_of(v, n->out);
    if (layout->axis >= 0 && n->axis >= out->rank)
        return dlx_fail(err, DLX_E_FORMAT, "it joins along dimension %u of %u", n->axis, out->rank);
    if (layout->rank < 0) return DLX_OK;
    if (n->rank > DLX_XNN_MAX_RANK)
        return dlx_fail(err, DLX_E_FORMAT, "it has rank %u; XNNPACK has at most %d", n->rank, DLX_XNN_MAX_RANK);
    const dlx_xnn_value *like = n->type == DLX_XNN_STATIC_RESHAPE ? out : in;
    if (n->rank != like->rank || n->rank != out->rank)
        return dlx_fail(err, DLX_E_FORMAT, "it has rank %u, its input %u and its output %u", n->rank, in->rank,
                        out->rank);
    unsigned seen = 0;
    for (int d = 0; d < n->rank && n->type == DLX_XNN_STATIC_TRANSPOSE; d++) {
        if (n->shape[d] >= n->rank || (seen & 1u << n->shape[d]))
            return dlx_fail(err, DLX_E_FORMAT, "its permutation is not one of %u dimensions", n->rank);
        seen |= 1u << n->shape[d];
    }
    return DLX_OK;
}

static dlx_status verify_values(verifier *v, uint8_t *external, dlx_error *err)
{
    const dlx_xnn_graph *g = v->g;
    for (uint32_t i = 0; i < g->n_values; i++) {
        const dlx_xnn_value *x = &g->values[i];
        dlx_status s = verify_value(g, x, err);
        if (s == DLX_OK && x->id >= 2 * (uint64_t)g->n_values)
            s = dlx_fail(err, DLX_E_FORMAT, "ids reach below twice the number of values (%u)", g->n_values);
        if (s == DLX_OK && v->ids[x->id].value) s = dlx_fail(err, DLX_E_FORMAT, "another value has this id");
        if (s == DLX_OK && x->external_id != DLX_XNN_NONE && external[x->external_id]++)
            s = dlx_fail(err, DLX_E_FORMAT, "another value has external id %u", x->external_id);
        if (s != DLX_OK) return dlx_fail_prefix(err, s, "value %u (id %u)", i, x->id);
        v->ids[x->id] = (id_state){.value = i + 1, .available = x->constant || x->flags == DLX_XNN_FLAG_INPUT};
    }
    return DLX_OK;
}

static dlx_status verify_graph(verifier *v, uint8_t *external, dlx_error *err)
{
    const dlx_xnn_graph *g = v->g;
    DLX_TRY(verify_values(v, external, err));
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        dlx_status s = verify_node(v, &g->nodes[i], err);
        if (s != DLX_OK) return dlx_fail_prefix(err, s, "node %u (%s)", i, dlx_xnn_node_name(g->nodes[i].type));
    }
    for (uint32_t i = 0; i < g->n_values; i++)
        if (!v->ids[g->values[i].id].available && (g->values[i].flags & DLX_XNN_FLAG_OUTPUT))
            return dlx_fail(err, DLX_E_FORMAT, "no node writes output %u (id %u)", g->values[i].external_id,
                            g->values[i].id);
    return DLX_OK;
}

dlx_status dlx_xnn_verify(const dlx_xnn_graph *graph, const char *name, const dlx_allocator *mem, dlx_error *err)
{
    if (graph->num_externs > XNN_MAX_EXTERNS)
        return dlx_fail(err, DLX_E_FORMAT, "%s: %u inputs and outputs; XNNPACK's delegate takes at most %d", name,
                        graph->num_externs, XNN_MAX_EXTERNS);
    size_t n_ids = 2 * (size_t)graph->n_values + 1, n_external = (size_t)graph->num_externs + 1;
    verifier v = {.g = graph, .ids = dlx_mem_zeroed(mem, n_ids, sizeof *v.ids)};
    uint8_t *external = dlx_mem_zeroed(mem, n_external, 1);
    dlx_status s = v.ids && external ? verify_graph(&v, external, err) : dlx_fail(err, DLX_E_NOMEM, "out of memory");
    dlx_mem_free(mem, v.ids, n_ids, sizeof *v.ids);
    dlx_mem_free(mem, external, n_external, 1);
    return s == DLX_OK ? DLX_OK : dlx_fail_prefix(err, s, "%s", name);
}
