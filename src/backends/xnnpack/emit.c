/*
 * A part of a decomposed graph as a payload of the XNNPACK delegate. Ids of payload values are the order in which nodes
 * first mention them; external ids are positions in the delegate call's argument list, inputs before outputs.
 */
#include "backends/xnnpack/xnnpack.h"

#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "format/keys.h"
#include "format/xnnpack.h"
#include "graph/linear_kinds.h"

/* What FullyConnected nodes say about float16 weights with a float32 bias. */
enum { FP32_BIAS = 0x80 };

typedef struct emitter {
    const dlx_graph *g;
    const dlx_part *part;
    const char *mark; /* of the file, behind its keys; or NULL */
    dlx_arena *arena;
    dlx_error *err;
    dlx_shape *initial;  /* [n_values] shapes with every dynamic dimension 1: what the payload declares */
    uint32_t *xnn_id;    /* [n_values] payload id of a graph value, DLX_NONE */
    uint32_t *packed_id; /* [n_values] that of a constant where XNNPACK packs it, DLX_NONE */
    dlx_xnn_graph x;
    uint32_t *args; /* delegate call */
    uint32_t n_args;
    dlx_named_constant *named;
    uint32_t n_named;
} emitter;

static dlx_status no_memory(const emitter *e)
{
    return dlx_fail(e->err, DLX_E_NOMEM, "out of memory lowering a graph of %zu nodes to XNNPACK", e->g->n_nodes);
}

static dlx_status allocate(emitter *e)
{
    size_t n = 2 * e->g->n_values + 1, nodes = 2 * e->part->n_nodes + 1;
    e->initial = dlx_arena_array(e->arena, n, sizeof *e->initial);
    e->xnn_id = dlx_arena_array(e->arena, n, sizeof *e->xnn_id);
    e->packed_id = dlx_arena_array(e->arena, n, sizeof *e->packed_id);
    e->x.values = dlx_arena_array(e->arena, n, sizeof *e->x.values);
    e->x.nodes = dlx_arena_array(e->arena, nodes, sizeof *e->x.nodes);
    e->x.constants = dlx_arena_array(e->arena, n + 1, sizeof *e->x.constants);
    e->args = dlx_arena_array(e->arena, n, sizeof *e->args);
    e->named = dlx_arena_array(e->arena, n, sizeof *e->named);
    if (!e->initial || !e->xnn_id || !e->packed_id || !e->x.values || !e->x.nodes || !e->x.constants || !e->args ||
        !e->named)
        return no_memory(e);
    memset(e->xnn_id, 0xFF, n * sizeof *e->xnn_id);
    memset(e->packed_id, 0xFF, n * sizeof *e->packed_id);
    e->x.n_constants = 1; /* the schema's placeholder */
    for (size_t i = 0; i < e->g->n_inputs; i++) {
        const dlx_value *v = &e->g->values[e->g->inputs[i]];
        dlx_shape *s = &e->initial[e->g->inputs[i]];
        s->rank = v->rank;
        for (int d = 0; d < v->rank; d++) s->dim[d] = v->dynamic >> d & 1 ? 1 : v->dim[d];
    }
    return dlx_graph_infer(e->g, e->initial, e->err);
}

static dlx_status add_named(emitter *e, uint32_t id, uint32_t *out)
{
    const dlx_value *v = &e->g->values[id];
    const char *key = dlx_key_marked(e->arena, v->name, e->mark);
    dlx_shape s = dlx_value_shape(v);
    uint64_t bytes = 0;
    if (!key) return no_memory(e);
    dlx_dtype_bytes(v->dtype, (uint64_t)dlx_shape_elements(&s), &bytes);
    e->x.constants[e->x.n_constants] = (dlx_xnn_constant){.key = key, .size = bytes};
    e->named[e->n_named++] = (dlx_named_constant){.key = key, .value = id};
    *out = e->x.n_constants++;
    return DLX_OK;
}

static void set_grid(dlx_xnn_value *x, dlx_grid8 grid)
{
    x->datatype = DLX_XNN_QINT8;
    x->quant = DLX_XNN_Q_PER_TENSOR;
    x->scale = grid.scale;
    x->zero_point = grid.zero;
}

/* Type and quantisation of a graph value in the payload. */
static dlx_status payload_type(emitter *e, const dlx_value *v, dlx_xnn_value *x)
{
    dlx_scaling scaling = dlx_scaling_of(e->g, v);
    x->scale = 1.0f;
    switch (v->dtype) {
    case DLX_F32: x->datatype = DLX_XNN_FP32; break;
    case DLX_F16: x->datatype = DLX_XNN_FP16; break;
    case DLX_BF16: x->datatype = DLX_XNN_BF16; break;
    case DLX_QD8:
        x->datatype = DLX_XNN_QDINT8;
        x->quant = DLX_XNN_Q_PER_TOKEN_DYNAMIC;
        x->nonbatch_dims = 1;
        break;
    case DLX_QS8: set_grid(x, dlx_grid8_of(dlx_made_by(e->g, (uint32_t)(v - e->g->values)))); break;
    case DLX_I32:
        x->datatype = DLX_XNN_QCINT32;
        x->quant = DLX_XNN_Q_PER_CHANNEL;
        break;
    case DLX_I8:
        x->datatype = scaling == DLX_PER_ROW ? DLX_XNN_QCINT8 : DLX_XNN_QINT8;
        x->quant = scaling == DLX_PER_ROW ? DLX_XNN_Q_PER_CHANNEL : DLX_XNN_Q_PER_TENSOR;
        break;
    case DLX_U8:
        x->datatype = DLX_XNN_QUINT8;
        x->quant = DLX_XNN_Q_PER_TENSOR;
        break;
    case DLX_I4:
        x->datatype = scaling == DLX_PER_GROUP ? DLX_XNN_QBINT4 : DLX_XNN_QCINT4;
        x->quant = scaling == DLX_PER_GROUP ? DLX_XNN_Q_PER_CHANNEL_GROUP : DLX_XNN_Q_PER_CHANNEL;
        x->group_size = (int32_t)dlx_group_of(e->g, v);
        break;
    default:
        return dlx_fail(e->err, DLX_E_UNSUPPORTED, "XNNPACK: a tensor of type %s cannot enter the delegate",
                        dlx_dtype_name(v->dtype));
    }
    return DLX_OK;
}

/* An external value, one that the delegate computes, or a constant that it packs. */
static dlx_status payload_value(emitter *e, uint32_t id, uint32_t external, uint32_t flags, uint32_t *out)
{
    const dlx_value *v = &e->g->values[id];
    const dlx_shape *s = &e->initial[id];
    dlx_xnn_value x = {.id = e->x.n_values, .rank = v->rank, .external_id = external, .flags = flags};
    DLX_TRY(payload_type(e, v, &x));
    for (int d = 0; d < v->rank; d++) x.dim[d] = (uint32_t)s->dim[d];
    bool packed = v->kind == DLX_VALUE_CONST && external == DLX_XNN_NONE;
    if (packed) {
        DLX_TRY(add_named(e, id, &x.constant));
        if (v->scales != DLX_NONE) {
            dlx_shape scales = dlx_value_shape(&e->g->values[v->scales]);
            DLX_TRY(add_named(e, v->scales, &x.scales));
            x.num_scales = (uint32_t)dlx_shape_elements(&scales);
        }
    }
    (packed ? e->packed_id : e->xnn_id)[id] = x.id;
    *out = x.id;
    e->x.values[e->x.n_values++] = x;
    return DLX_OK;
}

/*
 * Does XNNPACK pack operand k, if it is a constant? Then it copies what it reads when the program is loaded, and never
 * looks at the bytes again. Those are the filter and the bias of a fully connected layer whose filter is a constant
 * itself and is not widened in every call.
 */
static bool is_packed(const dlx_graph *g, const dlx_node *n, int k)
{
    if (n->op != DLX_OP_LINEAR || k < 1) return false;
    const dlx_value *filter = &g->values[n->in[1]];
    return filter->kind == DLX_VALUE_CONST && filter->dtype != DLX_BF16;
}

static dlx_status operand(emitter *e, const dlx_node *n, int k, uint32_t *out)
{
    uint32_t id = n->in[k];
    *out = DLX_XNN_NONE;
    if (id == DLX_NONE) return DLX_OK;
    bool packed = e->g->values[id].kind == DLX_VALUE_CONST && is_packed(e->g, n, k);
    *out = (packed ? e->packed_id : e->xnn_id)[id];
    return *out == DLX_NONE ? payload_value(e, id, DLX_XNN_NONE, 0, out) : DLX_OK;
}

static const int node_types[DLX_OP_COUNT] = {
    [DLX_OP_LINEAR] = DLX_XNN_FULLY_CONNECTED,
    [DLX_OP_CONVERT] = DLX_XNN_CONVERT,
    [DLX_OP_ADD] = DLX_XNN_ADD,
    [DLX_OP_SUB] = DLX_XNN_SUBTRACT,
    [DLX_OP_MUL] = DLX_XNN_MULTIPLY,
    [DLX_OP_DIV] = DLX_XNN_DIV,
    [DLX_OP_MIN] = DLX_XNN_MINIMUM,
    [DLX_OP_MAX] = DLX_XNN_MAXIMUM,
    [DLX_OP_NEG] = DLX_XNN_NEGATE,
    [DLX_OP_ABS] = DLX_XNN_ABS,
    [DLX_OP_SQUARE] = DLX_XNN_SQUARE,
    [DLX_OP_SQRT] = DLX_XNN_SQUARE_ROOT,
    [DLX_OP_RSQRT] = DLX_XNN_RECIPROCAL_SQUARE_ROOT,
    [DLX_OP_EXP] = DLX_XNN_EXP,
    [DLX_OP_LOG] = DLX_XNN_LOG,
    [DLX_OP_SIN] = DLX_XNN_SIN,
    [DLX_OP_COS] = DLX_XNN_COS,
    [DLX_OP_TANH] = DLX_XNN_TANH,
    [DLX_OP_SIGMOID] = DLX_XNN_SIGMOID,
    [DLX_OP_GELU] = DLX_XNN_GELU,
    [DLX_OP_FLOOR] = DLX_XNN_FLOOR,
    [DLX_OP_CEIL] = DLX_XNN_CEILING,
    [DLX_OP_CLAMP] = DLX_XNN_CLAMP,
    [DLX_OP_COPY] = DLX_XNN_COPY,
    [DLX_OP_SOFTMAX] = DLX_XNN_SOFTMAX,
    [DLX_OP_BMM] = DLX_XNN_BATCH_MATRIX_MULTIPLY,
    [DLX_OP_RESHAPE] = DLX_XNN_STATIC_RESHAPE,
    [DLX_OP_TRANSPOSE] = DLX_XNN_STATIC_TRANSPOSE,
    [DLX_OP_SLICE] = DLX_XNN_STATIC_SLICE,
};

static int node_type(const dlx_node *n)
{
    if (n->op == DLX_OP_CAST && n->attr.dtype == DLX_F16) return DLX_XNN_CONVERT;
    static const int concat[] = {DLX_XNN_CONCATENATE2, DLX_XNN_CONCATENATE3, DLX_XNN_CONCATENATE4,
                                 DLX_XNN_CONCATENATE5};
    return n->op == DLX_OP_CONCAT ? concat[n->inputs - 2] : node_types[n->op];
}

/* XNNPACK has no product of floats with bfloat16 weights on all machines, but widens them, exactly, in every call. */
static void widen_filter(emitter *e, dlx_xnn_node *linear)
{
    dlx_xnn_value wide = e->x.values[linear->in[1]]; /* ids are indices */
    dlx_xnn_node convert = {.type = DLX_XNN_CONVERT, .inputs = 1, .in = {linear->in[1]}, .out = e->x.n_values};
    wide.id = e->x.n_values;
    wide.datatype = DLX_XNN_FP32;
    wide.external_id = DLX_XNN_NONE;
    wide.flags = 0;
    e->x.values[e->x.n_values++] = wide;
    e->x.nodes[e->x.n_nodes++] = convert;
    linear->in[1] = wide.id;
}

/* Results of statically quantised rows are int8, and become floats in a Convert behind. Returns their value. */
static uint32_t emit_back(emitter *e, const dlx_node *linear, uint32_t out, dlx_xnn_node *convert)
{
    dlx_xnn_value q = e->x.values[out]; /* ids are indices */
    q.id = e->x.n_values;
    q.external_id = DLX_XNN_NONE;
    q.flags = 0;
    set_grid(&q, dlx_grid8_of(linear));
    *convert = (dlx_xnn_node){.type = DLX_XNN_CONVERT, .inputs = 1, .in = {q.id}, .out = out};
    e->x.values[e->x.n_values++] = q;
    return q.id;
}

static dlx_status emit_node(emitter *e, const dlx_node *n)
{
    dlx_xnn_node x = {.type = node_type(n), .inputs = n->inputs};
    for (int k = 0; k < n->inputs; k++) DLX_TRY(operand(e, n, k, &x.in[k]));
    if (n->op == DLX_OP_LINEAR && n->inputs == 2) {
        x.in[2] = DLX_XNN_NONE;
        x.inputs = 3;
    }
    dlx_dtype filter = n->op == DLX_OP_LINEAR ? e->g->values[n->in[1]].dtype : DLX_F32;
    if (filter == DLX_BF16) widen_filter(e, &x);
    x.out = e->xnn_id[n->out[0]];
    if (x.out == DLX_NONE) DLX_TRY(payload_value(e, n->out[0], DLX_XNN_NONE, 0, &x.out));
    x.axis = n->attr.dtype == DLX_QS8 ? 0 : (uint32_t)n->attr.axis;
    dlx_xnn_node back = {0};
    if (n->op == DLX_OP_LINEAR && e->g->values[n->in[0]].dtype == DLX_QS8) x.out = emit_back(e, n, x.out, &back);
    x.flags = n->op == DLX_OP_BMM && n->attr.transpose_b;
    if (filter == DLX_F16 && x.in[2] != DLX_XNN_NONE) x.flags = FP32_BIAS;
    x.clamped = n->op == DLX_OP_CLAMP;
    x.min = n->attr.f[0];
    x.max = n->attr.f[1];
    if (n->op == DLX_OP_RESHAPE || n->op == DLX_OP_TRANSPOSE || n->op == DLX_OP_SLICE) {
        x.rank = n->attr.rank;
        for (int d = 0; d < x.rank; d++) {
            /* 0 stands for the inferred dimension of a reshape, and for "all of it" in a slice that begins at 0. */
            x.shape[d] = n->attr.shape[d] < 0 ? 0 : (uint32_t)n->attr.shape[d];
            x.size[d] = n->attr.size[d] < 0 ? 0 : (uint32_t)n->attr.size[d];
            if (n->op == DLX_OP_SLICE && n->attr.size[d] < 0 && n->attr.shape[d] > 0)
                return dlx_fail(e->err, DLX_E_UNSUPPORTED, "XNNPACK cannot slice from %lld to the end",
                                (long long)n->attr.shape[d]);
        }
    }
    e->x.nodes[e->x.n_nodes++] = x;
    if (back.type) e->x.nodes[e->x.n_nodes++] = back;
    return DLX_OK;
}

/* An argument of the call. */
static dlx_status external(emitter *e, uint32_t id, uint32_t flag)
{
    uint32_t ignored;
    e->args[e->n_args] = id;
    return payload_value(e, id, e->n_args++, flag, &ignored);
}

/*
 * Constants that XNNPACK reads in every call: norms, scales, numbers. It keeps pointers to them, and its weights cache
 * frees what it has loaded by key as soon as the program is loaded, so they are tensors of the program, which live as
 * long as it does, and come in like inputs.
 */
static dlx_status emit_constants(emitter *e)
{
    const dlx_graph *g = e->g;
    for (size_t i = 0; i < e->part->n_nodes; i++) {
        const dlx_node *n = &g->nodes[e->part->nodes[i]];
        for (int k = 0; k < n->inputs; k++) {
            uint32_t id = n->in[k];
            if (id == DLX_NONE || g->values[id].kind != DLX_VALUE_CONST || is_packed(g, n, k)) continue;
            if (e->xnn_id[id] == DLX_NONE) DLX_TRY(external(e, id, DLX_XNN_FLAG_INPUT));
        }
    }
    return DLX_OK;
}

static dlx_status emit_externals(emitter *e)
{
    const dlx_part *p = e->part;
    for (size_t i = 0; i < p->n_inputs; i++) DLX_TRY(external(e, p->inputs[i], DLX_XNN_FLAG_INPUT));
    DLX_TRY(emit_constants(e));
    for (size_t i = 0; i < p->n_outputs; i++) DLX_TRY(external(e, p->outputs[i], DLX_XNN_FLAG_OUTPUT));
    e->x.num_externs = e->n_args;
    return DLX_OK;
}

static dlx_status write_payload(emitter *e, dlx_pte_piece *out)
{
    void *bytes;
    size_t size;
    DLX_TRY(dlx_xnn_write(&e->x, &bytes, &size, e->err));
    void *kept = dlx_arena_alloc(e->arena, size);
    if (kept) memcpy(kept, bytes, size);
    free(bytes);
    if (!kept) return no_memory(e);
    *out = (dlx_pte_piece){.data = kept, .size = size};
    return DLX_OK;
}

static bool takes(const dlx_graph *g, const dlx_node *n)
{
    (void)g;
    return node_type(n) != 0;
}

static dlx_status lower_part(dlx_delegate *out, dlx_arena *arena, const dlx_part *part, const dlx_lowering *how,
                             dlx_error *err)
{
    emitter e = {.g = part->g, .part = part, .mark = how->mark, .arena = arena, .err = err};
    dlx_pte_piece *payload = dlx_arena_alloc(arena, sizeof *payload);
    if (!payload) return no_memory(&e);
    DLX_TRY(allocate(&e));
    DLX_TRY(emit_externals(&e));
    for (size_t i = 0; i < part->n_nodes; i++) DLX_TRY(emit_node(&e, &part->g->nodes[part->nodes[i]]));
    DLX_TRY(write_payload(&e, payload));
    *out = (dlx_delegate){.id = "XnnpackBackend",
                          .pieces = payload,
                          .n_pieces = 1,
                          .args = e.args,
                          .n_args = e.n_args,
                          .named = e.named,
                          .n_named = e.n_named};
    return DLX_OK;
}

const dlx_home dlx_xnnpack_home = {.name = "XNNPACK", .takes = takes, .lower_part = lower_part};
