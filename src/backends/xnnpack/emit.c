/*
 * A decomposed graph as one ExecuTorch method: gathers, then a single delegate call; emit_states.c adds what states
 * need around it. Ids of payload values are the order in which nodes first mention them; external ids are positions in
 * the delegate call's argument list, inputs before outputs.
 */
#include "backends/xnnpack/emitter.h"

#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "format/keys.h"
#include "graph/linear_kinds.h"

/* XNNPACK may read this far past the end of an input. */
enum { ARENA_SLACK = 64, ARENA_ALIGN = 64 };

/* What FullyConnected nodes say about float16 weights with a float32 bias. */
enum { FP32_BIAS = 0x80 };

dlx_status dlx_emit_no_memory(const dlx_emitter *e)
{
    return dlx_fail(e->err, DLX_E_NOMEM, "out of memory lowering a graph of %zu nodes to XNNPACK", e->g->n_nodes);
}

static dlx_status allocate(dlx_emitter *e)
{
    size_t n = 2 * e->g->n_values + 1, nodes = 2 * e->g->n_nodes + 1, io = e->g->n_inputs + e->g->n_outputs;
    e->initial = dlx_arena_array(e->arena, n, sizeof *e->initial);
    e->xnn_id = dlx_arena_array(e->arena, n, sizeof *e->xnn_id);
    e->packed_id = dlx_arena_array(e->arena, n, sizeof *e->packed_id);
    e->evalue = dlx_arena_array(e->arena, n, sizeof *e->evalue);
    e->constant_blob = dlx_arena_array(e->arena, n, sizeof *e->constant_blob);
    e->x.values = dlx_arena_array(e->arena, n, sizeof *e->x.values);
    e->x.nodes = dlx_arena_array(e->arena, nodes, sizeof *e->x.nodes);
    e->x.constants = dlx_arena_array(e->arena, n + 1, sizeof *e->x.constants);
    e->values = dlx_arena_array(e->arena, n + 16, sizeof *e->values);
    e->instructions = dlx_arena_array(e->arena, nodes + 4, sizeof *e->instructions);
    e->blobs = dlx_arena_array(e->arena, 2 * n + 1, sizeof *e->blobs);
    e->args = dlx_arena_array(e->arena, nodes + io + n, sizeof *e->args);
    e->operators = dlx_arena_array(e->arena, DLX_EMIT_OPERATORS, sizeof *e->operators);
    if (!e->operators || !e->initial || !e->xnn_id || !e->packed_id || !e->evalue || !e->constant_blob ||
        !e->x.values || !e->x.nodes || !e->x.constants || !e->values || !e->instructions || !e->blobs || !e->args)
        return dlx_emit_no_memory(e);
    memset(e->xnn_id, 0xFF, n * sizeof *e->xnn_id);
    memset(e->packed_id, 0xFF, n * sizeof *e->packed_id);
    memset(e->evalue, 0xFF, n * sizeof *e->evalue);
    memset(e->constant_blob, 0xFF, n * sizeof *e->constant_blob);
    e->x.n_constants = 1; /* the schema's placeholder */
    for (size_t i = 0; i < e->g->n_inputs; i++) {
        const dlx_value *v = &e->g->values[e->g->inputs[i]];
        dlx_shape *s = &e->initial[e->g->inputs[i]];
        s->rank = v->rank;
        for (int d = 0; d < v->rank; d++) s->dim[d] = v->dynamic >> d & 1 ? 1 : v->dim[d];
    }
    return dlx_graph_infer(e->g, e->initial, e->err);
}

uint32_t dlx_emit_evalue(dlx_emitter *e, dlx_evalue v)
{
    e->values[e->n_values] = v;
    return e->n_values++;
}

static uint64_t value_bytes(const dlx_value *v)
{
    dlx_shape s = dlx_value_shape(v);
    uint64_t bytes = 0;
    dlx_dtype_bytes(v->dtype, (uint64_t)dlx_shape_elements(&s), &bytes);
    return bytes;
}

uint32_t dlx_emit_tensor(dlx_emitter *e, uint32_t id)
{
    if (e->evalue[id] != DLX_NONE) return e->evalue[id];
    const dlx_value *v = &e->g->values[id];
    dlx_evalue t = {.kind = DLX_EV_TENSOR};
    bool pairs = v->dtype == DLX_I4; /* bytes to whoever gathers them */
    t.u.tensor = (dlx_pte_tensor){.scalar_type = dlx_scalar_type_from_dtype(pairs ? DLX_U8 : v->dtype),
                                  .rank = v->rank,
                                  .dynamic = v->dynamic != 0,
                                  .blob = e->constant_blob[id],
                                  .bytes = value_bytes(v),
                                  .name = v->kind == DLX_VALUE_TEMP ? NULL : v->name};
    for (int d = 0; d < v->rank; d++) t.u.tensor.sizes[d] = (int32_t)v->dim[d];
    if (pairs) t.u.tensor.sizes[v->rank - 1] /= 2;
    return e->evalue[id] = dlx_emit_evalue(e, t);
}

void dlx_emit_plan(dlx_emitter *e, uint32_t evalue, uint32_t arena)
{
    dlx_pte_tensor *t = &e->values[evalue].u.tensor;
    t->memory_id = arena;
    t->memory_offset = e->arena_bytes[arena];
    e->arena_bytes[arena] = dlx_align_up(e->arena_bytes[arena] + t->bytes, ARENA_ALIGN);
}

dlx_status dlx_emit_kernel(dlx_emitter *e, const char *name, const char *overload, const int32_t *args, uint32_t n)
{
    int32_t op = 0, *kept = dlx_arena_array(e->arena, n, sizeof *kept);
    if (!kept) return dlx_emit_no_memory(e);
    memcpy(kept, args, n * sizeof *kept);
    for (; op < (int32_t)e->n_operators; op++)
        if (!strcmp(e->operators[op].name, name)) break;
    if (op == (int32_t)e->n_operators) e->operators[e->n_operators++] = (dlx_pte_operator){name, overload};
    e->instructions[e->n_instructions++] =
        (dlx_instruction){.kind = DLX_INS_KERNEL, .index = op, .n_args = n, .args = kept};
    return DLX_OK;
}

bool dlx_emit_outside(const dlx_graph *g, const dlx_node *n)
{
    return n->op == DLX_OP_EMBEDDING || n->op == DLX_OP_NARROW || n->op == DLX_OP_INDEX_PUT ||
           g->values[n->out[0]].dtype == DLX_I64;
}

static void add_constant_blob(dlx_emitter *e, uint32_t id)
{
    if (e->constant_blob[id] >= 0) return;
    e->constant_blob[id] = (int32_t)e->n_blobs;
    e->blobs[e->n_blobs++] = (dlx_pte_blob){
        .kind = DLX_BLOB_CONSTANT, .size = value_bytes(&e->g->values[id]), .user = &e->g->values[id], .alias_of = -1};
}

static dlx_status add_named(dlx_emitter *e, uint32_t id, uint32_t *out)
{
    const dlx_value *v = &e->g->values[id];
    const char *key = dlx_key_marked(e->arena, v->name, e->mark);
    if (!key) return dlx_emit_no_memory(e);
    e->x.constants[e->x.n_constants] = (dlx_xnn_constant){.key = key, .size = value_bytes(v)};
    e->blobs[e->n_blobs++] = (dlx_pte_blob){
        .kind = DLX_BLOB_NAMED, .key = key, .size = value_bytes(v), .user = v, .alias_of = e->constant_blob[id]};
    *out = e->x.n_constants++;
    return DLX_OK;
}

/* A graph input, or one without its dimension of 1 in front. */
static bool is_ids(const dlx_graph *g, uint32_t v)
{
    const dlx_node *flat = dlx_made_as(g, v, DLX_OP_RESHAPE);
    return g->values[v].kind == DLX_VALUE_INPUT ||
           (flat && g->values[v].rank == 1 && g->values[flat->in[0]].kind == DLX_VALUE_INPUT);
}

/* Ids that come with a dimension of 1 in front. */
static dlx_status emit_flat_ids(dlx_emitter *e)
{
    const dlx_graph *g = e->g;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        const dlx_value *v = &g->values[n->out[0]];
        if (n->op != DLX_OP_RESHAPE || v->dtype != DLX_I64 || v->rank != 1 || !is_ids(g, n->out[0])) continue;
        int64_t *items = dlx_arena_array(e->arena, 1, sizeof *items);
        if (!items) return dlx_emit_no_memory(e);
        items[0] = dlx_emit_evalue(e, (dlx_evalue){.kind = DLX_EV_INT, .u.i = -1});
        dlx_evalue sizes = {.kind = DLX_EV_INT_LIST, .u.list = {.count = 1, .ints = items}};
        int32_t args[4] = {(int32_t)dlx_emit_tensor(e, n->in[0]), (int32_t)dlx_emit_evalue(e, sizes)};
        args[2] = args[3] = (int32_t)dlx_emit_tensor(e, n->out[0]);
        dlx_emit_plan(e, (uint32_t)args[2], 1);
        DLX_TRY(dlx_emit_kernel(e, "aten::view_copy", "out", args, 4));
    }
    return DLX_OK;
}

static dlx_status emit_gathers(dlx_emitter *e)
{
    const dlx_graph *g = e->g;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        if (n->op != DLX_OP_EMBEDDING) continue;
        if (g->values[n->in[0]].kind != DLX_VALUE_CONST || !is_ids(g, n->in[1]) || n->inputs != 2)
            return dlx_fail(e->err, DLX_E_UNSUPPORTED,
                            "XNNPACK: an embedding must gather rows of a constant by a graph input");
        add_constant_blob(e, n->in[0]);
    }
    uint32_t padding = dlx_emit_evalue(e, (dlx_evalue){.kind = DLX_EV_INT, .u.i = -1});
    uint32_t no = dlx_emit_evalue(e, (dlx_evalue){.kind = DLX_EV_BOOL, .u.b = false});
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        if (n->op != DLX_OP_EMBEDDING) continue;
        int32_t args[7];
        uint32_t out = dlx_emit_tensor(e, n->out[0]);
        dlx_emit_plan(e, out, 1);
        args[0] = (int32_t)dlx_emit_tensor(e, n->in[0]);
        args[1] = (int32_t)dlx_emit_tensor(e, n->in[1]);
        args[2] = (int32_t)padding;
        args[3] = args[4] = (int32_t)no;
        args[5] = args[6] = (int32_t)out;
        DLX_TRY(dlx_emit_kernel(e, "aten::embedding", "out", args, 7));
    }
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
static dlx_status payload_type(dlx_emitter *e, const dlx_value *v, dlx_xnn_value *x)
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
static dlx_status payload_value(dlx_emitter *e, uint32_t id, uint32_t external, uint32_t flags, uint32_t *out)
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

static dlx_status operand(dlx_emitter *e, const dlx_node *n, int k, uint32_t *out)
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
static void widen_filter(dlx_emitter *e, dlx_xnn_node *linear)
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
static uint32_t emit_back(dlx_emitter *e, const dlx_node *linear, uint32_t out, dlx_xnn_node *convert)
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

static dlx_status emit_node(dlx_emitter *e, const dlx_node *n)
{
    dlx_xnn_node x = {.type = node_type(n), .inputs = n->inputs};
    if (!x.type)
        return dlx_fail(e->err, DLX_E_UNSUPPORTED, "XNNPACK has no operator %s (layer %d)", dlx_op_name(n->op),
                        (int)n->layer);
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

/*
 * Constants that XNNPACK reads in every call: norms, scales, numbers. It keeps pointers to them, and its weights cache
 * frees what it has loaded by key as soon as the program is loaded, so they are tensors of the program, which live as
 * long as it does, and come in like inputs.
 */
static dlx_status emit_constants(dlx_emitter *e)
{
    const dlx_graph *g = e->g;
    uint32_t ignored;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        for (int k = 0; k < n->inputs && !dlx_emit_outside(g, n); k++) {
            uint32_t id = n->in[k];
            if (id == DLX_NONE || g->values[id].kind != DLX_VALUE_CONST || is_packed(g, n, k)) continue;
            if (e->xnn_id[id] != DLX_NONE) continue;
            add_constant_blob(e, id);
            e->args[e->n_args] = (int32_t)dlx_emit_tensor(e, id);
            DLX_TRY(payload_value(e, id, e->n_args++, DLX_XNN_FLAG_INPUT, &ignored));
        }
    }
    return DLX_OK;
}

/* External values: gathered rows, graph inputs and constants that the delegate reads, then the graph's outputs. */
static dlx_status emit_externals(dlx_emitter *e)
{
    const dlx_graph *g = e->g;
    uint32_t id;
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op != DLX_OP_EMBEDDING) continue;
        e->args[e->n_args] = (int32_t)dlx_emit_tensor(e, g->nodes[i].out[0]);
        DLX_TRY(payload_value(e, g->nodes[i].out[0], e->n_args++, DLX_XNN_FLAG_INPUT, &id));
    }
    for (size_t i = 0; i < g->n_inputs; i++) {
        bool state = i >= g->n_inputs - g->n_states;
        uint32_t v = state ? dlx_emit_state_part(e, i) : g->inputs[i], t = dlx_emit_tensor(e, v);
        if (g->values[v].dtype != DLX_F32 && g->values[v].dtype != DLX_F16) continue;
        e->args[e->n_args] = (int32_t)t;
        DLX_TRY(payload_value(e, v, e->n_args++, DLX_XNN_FLAG_INPUT, &id));
    }
    DLX_TRY(emit_constants(e));
    for (size_t i = 0; i < g->n_outputs; i++) {
        bool state = i >= g->n_outputs - g->n_states;
        uint32_t v = state ? dlx_emit_state_rows(e, i) : g->outputs[i];
        if (e->xnn_id[v] != DLX_NONE)
            return dlx_fail(e->err, DLX_E_UNSUPPORTED, "XNNPACK: graph output %zu is an input or another output", i);
        e->args[e->n_args] = (int32_t)dlx_emit_tensor(e, v);
        DLX_TRY(payload_value(e, v, e->n_args++, DLX_XNN_FLAG_OUTPUT, &id));
    }
    e->x.num_externs = e->n_args;
    return DLX_OK;
}

static dlx_status emit_delegate(dlx_emitter *e)
{
    DLX_TRY(emit_externals(e));
    uint32_t payload = e->n_blobs++; /* behind the last constant */
    for (size_t i = 0; i < e->g->n_nodes; i++)
        if (!dlx_emit_outside(e->g, &e->g->nodes[i])) DLX_TRY(emit_node(e, &e->g->nodes[i]));
    void *bytes;
    size_t size;
    DLX_TRY(dlx_xnn_write(&e->x, &bytes, &size, e->err));
    void *kept = dlx_arena_alloc(e->arena, size);
    if (kept) memcpy(kept, bytes, size);
    free(bytes);
    if (!kept) return dlx_emit_no_memory(e);
    e->blobs[payload] = (dlx_pte_blob){.kind = DLX_BLOB_DELEGATE, .size = size, .data = kept, .alias_of = -1};
    e->instructions[e->n_instructions++] =
        (dlx_instruction){.kind = DLX_INS_DELEGATE, .index = 0, .n_args = e->n_args, .args = e->args};
    return DLX_OK;
}

static dlx_status finish_plan(dlx_emitter *e, dlx_pte_plan *plan)
{
    const dlx_graph *g = e->g;
    uint32_t n_inputs = (uint32_t)(g->n_inputs - g->n_states), n_outputs = (uint32_t)(g->n_outputs - g->n_states);
    int32_t *inputs = dlx_arena_array(e->arena, g->n_inputs + 1, sizeof *inputs);
    int32_t *outputs = dlx_arena_array(e->arena, g->n_outputs + 1, sizeof *outputs);
    int64_t *sizes = dlx_arena_array(e->arena, DLX_EMIT_ARENAS, sizeof *sizes);
    dlx_pte_delegate *delegate = dlx_arena_alloc(e->arena, sizeof *delegate);
    if (!inputs || !outputs || !sizes || !delegate) return dlx_emit_no_memory(e);
    for (size_t i = 0; i < n_inputs; i++) inputs[i] = (int32_t)e->evalue[g->inputs[i]];
    for (size_t i = 0; i < n_outputs; i++) outputs[i] = (int32_t)e->evalue[g->outputs[i]];
    uint32_t arenas = e->arena_bytes[2] ? 3 : 2;
    for (uint32_t i = 1; i < arenas; i++) sizes[i] = (int64_t)(e->arena_bytes[i] + ARENA_SLACK);
    *delegate = (dlx_pte_delegate){.id = "XnnpackBackend"};
    for (uint32_t i = 0; i < e->n_blobs; i++)
        if (e->blobs[i].kind == DLX_BLOB_DELEGATE) delegate->blob = (int32_t)i;
    *plan = (dlx_pte_plan){.name = "forward",
                           .values = e->values,
                           .n_values = e->n_values,
                           .inputs = inputs,
                           .n_inputs = n_inputs,
                           .outputs = outputs,
                           .n_outputs = n_outputs,
                           .operators = e->operators,
                           .n_operators = e->n_operators,
                           .delegates = delegate,
                           .n_delegates = 1,
                           .instructions = e->instructions,
                           .n_instructions = e->n_instructions,
                           .buffer_sizes = sizes,
                           .n_buffer_sizes = arenas};
    return DLX_OK;
}

dlx_status dlx_xnnpack_lower(dlx_pte_plan *plan, dlx_pte_blob **blobs, uint32_t *n_blobs, dlx_arena *arena,
                             const dlx_graph *g, const char *mark, dlx_error *err)
{
    dlx_emitter e = {.g = g, .mark = mark, .arena = arena, .err = err};
    *blobs = NULL;
    *n_blobs = 0;
    DLX_TRY(allocate(&e));
    DLX_TRY(emit_flat_ids(&e));
    DLX_TRY(emit_gathers(&e));
    DLX_TRY(dlx_emit_parts(&e));
    DLX_TRY(emit_delegate(&e));
    DLX_TRY(dlx_emit_puts(&e));
    DLX_TRY(finish_plan(&e, plan));
    *blobs = e.blobs;
    *n_blobs = e.n_blobs;
    return DLX_OK;
}
