/* Nodes of an XNNPACK delegate as graph nodes. Shapes are those of the tensors around the delegate, as in the official
 * runtime; what the payload declares for external and internal values is only a starting size there. */
#include "runtime/import.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "base/sizes.h"
#include "format/keys.h"
#include "format/xnnpack.h"
#include "graph/linear_kinds.h"
#include "kernels/kernels.h"

typedef struct delegate {
    dlx_importer *im;
    const dlx_instruction *ins;
    dlx_xnn_graph x;
    const dlx_xnn_value **by_id; /* [n_ids] */
    uint32_t *value;             /* [n_ids] graph value, DLX_NONE: not computed yet */
    uint32_t n_ids;
} delegate;

static dlx_status unsupported(delegate *d, uint32_t node, const char *what)
{
    return dlx_fail(d->im->err, DLX_E_UNSUPPORTED, "XNNPACK delegate, node %u (%s): %s", node,
                    dlx_xnn_node_name(d->x.nodes[node].type), what);
}

/* Static quantisation is taken in one shape: Convert to int8, FullyConnected of int8, Convert back. */
static dlx_status no_static(delegate *d, uint32_t node)
{
    return unsupported(d, node,
                       "static quantisation is not supported, but of a FullyConnected with int8 weights per channel "
                       "between a Convert from float32 and one back; export in float32, or with activations that are "
                       "quantised dynamically");
}

/* Our type for the elements of a constant. */
static bool const_type(const dlx_xnn_value *v, dlx_dtype *type)
{
    static const struct {
        int datatype;
        dlx_dtype type;
    } types[] = {
        {DLX_XNN_FP32, DLX_F32},  {DLX_XNN_FP16, DLX_F16},  {DLX_XNN_BF16, DLX_BF16},   {DLX_XNN_QCINT8, DLX_I8},
        {DLX_XNN_QCINT4, DLX_I4}, {DLX_XNN_QBINT4, DLX_I4}, {DLX_XNN_QCINT32, DLX_I32},
    };
    for (size_t i = 0; i < DLX_COUNT(types); i++) {
        if (types[i].datatype != v->datatype) continue;
        *type = types[i].type;
        return true;
    }
    return false;
}

/* Where a group's scale would not be what XNNPACK takes, or our layout of weights does not go. */
static const char *quantised_rule(const dlx_xnn_value *v, dlx_dtype type)
{
    enum { UNIT = 32 };
    if (v->channel_dim != 0 || v->rank < 1) return "needs its scales along the first dimension";
    if (type == DLX_I4 && (v->rank != 2 || v->dim[1] % 2)) return "needs rows of an even number of 4-bit elements";
    if (v->datatype != DLX_XNN_QBINT4) return v->num_scales == v->dim[0] ? NULL : "needs one scale per row";
    if (v->group_size % UNIT || v->group_size > DLX_GROUP_MAX) return "needs groups of a multiple of 32, up to 4096";
    return v->num_scales ? NULL : "has no scales";
}

/* Scales of groups as floats, which files of older exporters have, become bf16 as ExecuTorch's delegate makes them: the
 * upper half of 1.00389105 times as much, which is not always the nearest. */
static dlx_status round_scales(delegate *d, const dlx_xnn_value *v, dlx_const_source *source)
{
    uint16_t *half = dlx_arena_array(&d->im->g->arena, v->num_scales, sizeof *half);
    if (!half) return dlx_fail(d->im->err, DLX_E_NOMEM, "out of memory reading a delegate");
    for (uint32_t i = 0; i < v->num_scales; i++)
        half[i] = (uint16_t)(dlx_f32_to_bits(v->inline_scales[i] * 1.00389105f) >> 16);
    source->data = half;
    return DLX_OK;
}

static dlx_status make_scales(delegate *d, const dlx_xnn_value *v, uint32_t *out)
{
    bool groups = v->datatype == DLX_XNN_QBINT4;
    int64_t dim[2] = {v->dim[0], groups ? v->dim[1] / (uint32_t)v->group_size : 1};
    dlx_dtype type = groups ? DLX_BF16 : DLX_F32;
    const dlx_xnn_constant *c = &d->x.constants[v->scales];
    dlx_const_source source = {
        .data = v->inline_scales, .bytes = (uint64_t)v->num_scales * dlx_dtype_size(type), .stored = type};
    if (v->scales) {
        source.data = c->data;
        source.file = c->file;
        source.offset = c->offset;
    } else if (groups) {
        DLX_TRY(round_scales(d, v, &source));
    }
    const char *name;
    DLX_TRY(dlx_key_name(&name, &d->im->g->arena, v->scales ? c->key : NULL, d->im->err));
    *out = dlx_graph_const(d->im->g, name, type, groups ? 2 : 1, dim, source);
    return *out == DLX_NONE ? dlx_fail(d->im->err, DLX_E_NOMEM, "out of memory reading a delegate") : DLX_OK;
}

static dlx_status make_const(delegate *d, const dlx_xnn_value *v, uint32_t *out)
{
    dlx_graph *g = d->im->g;
    const dlx_xnn_constant *c = &d->x.constants[v->constant];
    const char *key = c->key ? c->key : "(inline)";
    int64_t dim[DLX_MAX_RANK];
    uint32_t scales = DLX_NONE;
    dlx_dtype type;
    if (!const_type(v, &type))
        return dlx_fail(d->im->err, DLX_E_UNSUPPORTED,
                        "XNNPACK delegate: constant '%s' is of type %s; float32, float16, bfloat16, and int8 and int4 "
                        "per channel or in groups are supported",
                        key, dlx_xnn_datatype_name(v->datatype));
    const char *rule = v->quant != DLX_XNN_Q_NONE ? quantised_rule(v, type) : NULL;
    if (rule) return dlx_fail(d->im->err, DLX_E_UNSUPPORTED, "XNNPACK delegate: constant '%s' %s", key, rule);
    for (int i = 0; i < v->rank; i++) dim[i] = v->dim[i];
    /* Scales of a bias follow from those of inputs and weights, and are not read. */
    if (v->quant != DLX_XNN_Q_NONE && type != DLX_I32) DLX_TRY(make_scales(d, v, &scales));
    dlx_const_source source = {.data = c->data, .bytes = c->size, .stored = type, .file = c->file, .offset = c->offset};
    const char *name;
    DLX_TRY(dlx_key_name(&name, &g->arena, c->key, d->im->err));
    *out = dlx_graph_const(g, name, type, v->rank, dim, source);
    if (*out == DLX_NONE) return dlx_fail(d->im->err, DLX_E_NOMEM, "out of memory reading a delegate");
    g->values[*out].scales = scales;
    return DLX_OK;
}

static bool is_half(dlx_dtype type)
{
    return type == DLX_F16 || type == DLX_BF16;
}

/* A constant of halves behind a Convert is read as it is by the filter of a FullyConnected, and as floats by others. */
static dlx_status widened(delegate *d, const dlx_xnn_value *v, bool filter, uint32_t *value)
{
    const dlx_value *c = &d->im->g->values[*value];
    if (filter || c->kind != DLX_VALUE_CONST || !is_half(c->dtype) || v->datatype != DLX_XNN_FP32) return DLX_OK;
    uint32_t in = *value;
    return dlx_import_node(d->im, DLX_OP_CONVERT, &in, 1, NULL, value);
}

/* `filter`: it is the filter of a FullyConnected. */
static dlx_status operand(delegate *d, uint32_t node, uint32_t id, bool filter, uint32_t *out)
{
    const dlx_xnn_value *v = d->by_id[id];
    *out = d->value[id];
    if (*out != DLX_NONE) return widened(d, v, filter, out);
    if (v->constant && (v->datatype == DLX_XNN_QINT8 || v->datatype == DLX_XNN_QINT32)) {
        return no_static(d, node); /* weights with one scale for all rows */
    } else if (v->constant) {
        DLX_TRY(make_const(d, v, out));
    } else if (v->external_id != DLX_XNN_NONE && !(v->flags & DLX_XNN_FLAG_OUTPUT)) {
        if (v->external_id >= d->ins->n_args)
            return unsupported(d, node, "an external value lies outside the call's arguments");
        DLX_TRY(dlx_import_tensor(d->im, d->ins->args[v->external_id], out));
    } else {
        return unsupported(d, node, "an operand is used before it is computed");
    }
    d->value[id] = *out;
    return DLX_OK;
}

static const struct {
    int type;
    dlx_op op;
} plain_ops[] = {
    {DLX_XNN_ADD, DLX_OP_ADD},
    {DLX_XNN_SUBTRACT, DLX_OP_SUB},
    {DLX_XNN_MULTIPLY, DLX_OP_MUL},
    {DLX_XNN_DIV, DLX_OP_DIV},
    {DLX_XNN_MINIMUM, DLX_OP_MIN},
    {DLX_XNN_MAXIMUM, DLX_OP_MAX},
    {DLX_XNN_SOFTMAX, DLX_OP_SOFTMAX},
    {DLX_XNN_SIGMOID, DLX_OP_SIGMOID},
    {DLX_XNN_FLOOR, DLX_OP_FLOOR},
    {DLX_XNN_CEILING, DLX_OP_CEIL},
    {DLX_XNN_SQUARE_ROOT, DLX_OP_SQRT},
    {DLX_XNN_NEGATE, DLX_OP_NEG},
    {DLX_XNN_SQUARE, DLX_OP_SQUARE},
    {DLX_XNN_ABS, DLX_OP_ABS},
    {DLX_XNN_RECIPROCAL_SQUARE_ROOT, DLX_OP_RSQRT},
    {DLX_XNN_LOG, DLX_OP_LOG},
    {DLX_XNN_GELU, DLX_OP_GELU},
    {DLX_XNN_TANH, DLX_OP_TANH},
    {DLX_XNN_EXP, DLX_OP_EXP},
    {DLX_XNN_SIN, DLX_OP_SIN},
    {DLX_XNN_COS, DLX_OP_COS},
    {DLX_XNN_COPY, DLX_OP_COPY},
    {DLX_XNN_CLAMP, DLX_OP_CLAMP},
    {DLX_XNN_BATCH_MATRIX_MULTIPLY, DLX_OP_BMM},
    {DLX_XNN_STATIC_RESHAPE, DLX_OP_RESHAPE},
    {DLX_XNN_STATIC_TRANSPOSE, DLX_OP_TRANSPOSE},
    {DLX_XNN_STATIC_SLICE, DLX_OP_SLICE},
    {DLX_XNN_CONCATENATE2, DLX_OP_CONCAT},
    {DLX_XNN_CONCATENATE3, DLX_OP_CONCAT},
    {DLX_XNN_CONCATENATE4, DLX_OP_CONCAT},
    {DLX_XNN_CONCATENATE5, DLX_OP_CONCAT},
};

static void fill_attr(const dlx_xnn_node *n, dlx_op op, dlx_attr *a)
{
    a->axis = (int32_t)n->axis;
    a->transpose_b = op == DLX_OP_BMM && (n->flags & 1);
    a->rank = n->rank;
    if (op == DLX_OP_CLAMP) {
        a->f[0] = n->min;
        a->f[1] = n->max;
    }
    for (int i = 0; i < n->rank; i++) {
        a->shape[i] = n->shape[i];
        a->size[i] = n->size[i];
        if (op == DLX_OP_RESHAPE && !n->shape[i]) a->shape[i] = -1;
        if (op == DLX_OP_SLICE && !n->size[i] && !n->shape[i]) a->size[i] = -1;
    }
}

/* What the delegate takes a tensor outside it for must be what it is. */
static bool type_agrees(int datatype, dlx_dtype type)
{
    switch (datatype) {
    case DLX_XNN_FP16: return type == DLX_F16;
    case DLX_XNN_BF16: return type == DLX_BF16;
    case DLX_XNN_QINT8: return type == DLX_I8;
    case DLX_XNN_QUINT8: return type == DLX_U8;
    default: return true;
    }
}

static bool is_grid(const dlx_xnn_value *v, dlx_attr *attr)
{
    dlx_grid8 grid = {.scale = v->scale, .zero = v->zero_point};
    *attr = dlx_grid8_attr(grid);
    return v->datatype == DLX_XNN_QINT8 && v->quant == DLX_XNN_Q_PER_TENSOR && dlx_grid8_ok(grid) &&
           v->external_id == DLX_XNN_NONE && !v->constant;
}

/* A product of statically quantised rows, whose floats are on the grid of its result. */
static bool is_static_product(const dlx_graph *g, uint32_t v)
{
    const dlx_node *n = dlx_made_as(g, v, DLX_OP_LINEAR);
    return n && n->attr.dtype == DLX_QS8;
}

static dlx_status import_convert(delegate *d, uint32_t node, const uint32_t *in, uint32_t *out)
{
    const dlx_xnn_node *n = &d->x.nodes[node];
    const dlx_xnn_value *from = d->by_id[n->in[0]], *to = d->by_id[n->out];
    const dlx_value *x = &d->im->g->values[in[0]];
    dlx_attr attr = {.f = {1.0f, 0.0f}};
    if (from->datatype == DLX_XNN_QINT8 && to->datatype == DLX_XNN_FP32 && is_static_product(d->im->g, in[0]) &&
        from->external_id == DLX_XNN_NONE) {
        *out = in[0];
        return DLX_OK;
    }
    if (!type_agrees(from->datatype, x->dtype))
        return dlx_fail(d->im->err, DLX_E_UNSUPPORTED,
                        "XNNPACK delegate, node %u (Convert): it reads %s where the program has %s", node,
                        dlx_xnn_datatype_name(from->datatype), dlx_dtype_name(x->dtype));
    if (from->datatype == DLX_XNN_FP32 && to->datatype == DLX_XNN_QDINT8) {
        if (to->nonbatch_dims != 1)
            return unsupported(d, node, "dynamic quantisation must be per row of the last dimension");
        return dlx_import_node(d->im, DLX_OP_CONVERT, in, 1, &attr, out);
    }
    bool bytes = from->datatype == DLX_XNN_QINT8 || from->datatype == DLX_XNN_QUINT8;
    if (bytes && to->datatype == DLX_XNN_FP32) {
        if (from->quant != DLX_XNN_Q_PER_TENSOR || from->zero_point != 0)
            return unsupported(d, node, "int8 and uint8 inputs need a per-tensor scale and zero point 0");
        attr.f[0] = from->scale;
        return dlx_import_node(d->im, DLX_OP_CONVERT, in, 1, &attr, out);
    }
    if (is_half(x->dtype) && to->datatype == DLX_XNN_FP32) {
        *out = in[0];
        return x->kind == DLX_VALUE_CONST ? DLX_OK : dlx_import_node(d->im, DLX_OP_CONVERT, in, 1, &attr, out);
    }
    if (from->datatype == DLX_XNN_FP32 && x->dtype == DLX_F32 && to->datatype == DLX_XNN_FP16)
        return dlx_import_node(d->im, DLX_OP_CAST, in, 1, &(dlx_attr){.dtype = DLX_F16}, out);
    if (from->datatype == DLX_XNN_FP32 && to->datatype == DLX_XNN_FP32)
        return dlx_import_node(d->im, DLX_OP_COPY, in, 1, &attr, out);
    if (from->datatype == DLX_XNN_FP32 && x->dtype == DLX_F32 && is_grid(to, &attr))
        return dlx_import_node(d->im, DLX_OP_CONVERT, in, 1, &attr, out);
    if (to->quant == DLX_XNN_Q_PER_TENSOR || from->quant == DLX_XNN_Q_PER_TENSOR) return no_static(d, node);
    return dlx_fail(
        d->im->err, DLX_E_UNSUPPORTED,
        "XNNPACK delegate, node %u (Convert): from %s to %s; float32 to int8 (dynamic) and float16, and float16, "
        "bfloat16, int8 and uint8 to float32 are supported",
        node, dlx_xnn_datatype_name(from->datatype), dlx_xnn_datatype_name(to->datatype));
}

static dlx_status add_bias(delegate *d, uint32_t bias, uint32_t *out)
{
    uint32_t sum[2] = {*out, bias};
    return dlx_import_node(d->im, DLX_OP_ADD, sum, 2, NULL, out);
}

/* x [.., k] times a filter that is computed at run time, or one stored [k, n]. */
static dlx_status import_dynamic_fc(delegate *d, uint32_t node, const uint32_t *in, uint32_t *out)
{
    dlx_attr attr = {.transpose_b = !(d->x.nodes[node].flags & 1)};
    DLX_TRY(dlx_import_node(d->im, DLX_OP_BMM, in, 2, &attr, out));
    return in[2] == DLX_NONE ? DLX_OK : add_bias(d, in[2], out);
}

static dlx_status import_static_fc(delegate *d, uint32_t node, const uint32_t *in, uint32_t *out)
{
    const dlx_xnn_node *n = &d->x.nodes[node];
    const dlx_graph *g = d->im->g;
    const dlx_value *w = &g->values[in[1]], *bias = in[2] == DLX_NONE ? NULL : &g->values[in[2]];
    dlx_attr attr;
    bool bounded = n->clamped && !(isinf(n->min) && isinf(n->max));
    if (w->kind != DLX_VALUE_CONST || w->rank != 2 || bounded || (n->flags & 1) || !is_grid(d->by_id[n->out], &attr) ||
        dlx_linear_kind_of(g, &g->values[in[0]], w) != DLX_LINEAR_QS8_QC8W)
        return no_static(d, node);
    if (bias &&
        (bias->kind != DLX_VALUE_CONST || bias->dtype != DLX_I32 || bias->rank != 1 || bias->dim[0] != w->dim[0]))
        return unsupported(d, node, "its bias must be a vector of int32 (per channel)");
    return dlx_import_node(d->im, DLX_OP_LINEAR, in, bias ? 3 : 2, &attr, out);
}

static dlx_status import_fc(delegate *d, uint32_t node, const uint32_t *in, uint32_t *out)
{
    const dlx_xnn_node *n = &d->x.nodes[node];
    const dlx_graph *g = d->im->g;
    const dlx_value *w = &g->values[in[1]], *x = &g->values[in[0]],
                    *bias = in[2] == DLX_NONE ? NULL : &g->values[in[2]];
    if (x->dtype == DLX_QS8) return import_static_fc(d, node, in, out);
    if (bias && (bias->dtype != DLX_F32 || bias->rank != 1))
        return unsupported(d, node, "its bias must be a vector of float32");
    if (w->kind != DLX_VALUE_CONST || ((n->flags & 1) && w->dtype == DLX_F32))
        return import_dynamic_fc(d, node, in, out);
    if (n->flags & 1) return unsupported(d, node, "only float32 filters may be stored [k, n]");
    if (dlx_linear_kind_of(g, x, w) == DLX_LINEAR_KINDS)
        return unsupported(d, node, "its activations and weights must be of one of these kinds:" DLX_LINEAR_WORDS);
    if (w->rank != 2 || (bias && bias->dim[0] != w->dim[0]))
        return unsupported(d, node, "its filter must be [n, k] and its bias [n]");
    /* Packing takes constants; a bias that is computed at run time is added behind. */
    bool packed = bias && bias->kind == DLX_VALUE_CONST;
    DLX_TRY(dlx_import_node(d->im, DLX_OP_LINEAR, in, packed ? 3 : 2, NULL, out));
    return in[2] != DLX_NONE && !packed ? add_bias(d, in[2], out) : DLX_OK;
}

static dlx_status with_number(delegate *d, dlx_op op, uint32_t x, float number, uint32_t *out)
{
    uint32_t in[2] = {x};
    DLX_TRY(dlx_import_number(d->im, DLX_F32, (double)number, 0, &in[1]));
    return dlx_import_node(d->im, op, in, 2, NULL, out);
}

/* x > 0 ? x : f(x) */
static dlx_status where_positive(delegate *d, uint32_t x, uint32_t f, uint32_t *out)
{
    uint32_t zero, less[2], in[3] = {DLX_NONE, x, f};
    DLX_TRY(dlx_import_number(d->im, DLX_F32, 0, 0, &zero));
    less[0] = zero;
    less[1] = x;
    DLX_TRY(dlx_import_node(d->im, DLX_OP_LESS, less, 2, NULL, &in[0]));
    return dlx_import_node(d->im, DLX_OP_WHERE, in, 3, NULL, out);
}

/* Activations that the graph has no operator for: LeakyReLU, ELU, x * clamp(x / 6 + 1/2, 0, 1). */
static dlx_status import_activation(delegate *d, uint32_t node, uint32_t x, uint32_t *out)
{
    const dlx_xnn_node *n = &d->x.nodes[node];
    uint32_t f = x;
    if (n->type == DLX_XNN_HARDSWISH) {
        dlx_attr unit = {.f = {0.0f, 6.0f}};
        DLX_TRY(with_number(d, DLX_OP_ADD, x, 3.0f, &f));
        DLX_TRY(dlx_import_node(d->im, DLX_OP_CLAMP, &f, 1, &unit, &f));
        uint32_t in[2] = {x, f};
        DLX_TRY(dlx_import_node(d->im, DLX_OP_MUL, in, 2, NULL, &f));
        return with_number(d, DLX_OP_MUL, f, 1.0f / 6.0f, out);
    }
    if (n->type == DLX_XNN_ELU) DLX_TRY(dlx_import_node(d->im, DLX_OP_EXPM1, &f, 1, NULL, &f));
    DLX_TRY(with_number(d, DLX_OP_MUL, f, n->factor, &f));
    return where_positive(d, x, f, out);
}

static dlx_status import_clamped(delegate *d, uint32_t node, uint32_t *out)
{
    const dlx_xnn_node *n = &d->x.nodes[node];
    if (n->type == DLX_XNN_CLAMP || !n->clamped || (isinf(n->min) && isinf(n->max))) return DLX_OK;
    dlx_attr attr = {.f = {n->min, n->max}};
    uint32_t in = *out;
    return dlx_import_node(d->im, DLX_OP_CLAMP, &in, 1, &attr, out);
}

/* Quantised rows are read by products, their results by a Convert, biases in integers by products. */
static dlx_status check_reader(delegate *d, uint32_t node, int k, uint32_t v)
{
    const dlx_xnn_node *n = &d->x.nodes[node];
    const dlx_graph *g = d->im->g;
    bool fc = n->type == DLX_XNN_FULLY_CONNECTED;
    if (g->values[v].dtype == DLX_QD8 && !(fc && k == 0))
        return unsupported(d, node, "only a FullyConnected reads dynamically quantised rows");
    if (g->values[v].dtype == DLX_QS8 && !(fc && k == 0)) return no_static(d, node);
    /* The value of a payload that stands for int8, not the one behind the Convert. */
    if (d->by_id[n->in[k]]->datatype == DLX_XNN_QINT8 && n->type != DLX_XNN_CONVERT && g->values[v].dtype != DLX_QS8)
        return no_static(d, node);
    if (d->by_id[n->in[k]]->datatype == DLX_XNN_QCINT32 && !(fc && k == 2))
        return unsupported(d, node, "only a FullyConnected reads int32 (per channel), as its bias");
    return DLX_OK;
}

static dlx_status import_node(delegate *d, uint32_t node)
{
    const dlx_xnn_node *n = &d->x.nodes[node];
    uint32_t in[5] = {DLX_NONE, DLX_NONE, DLX_NONE, DLX_NONE, DLX_NONE}, out = DLX_NONE;
    snprintf(d->im->at, sizeof d->im->at, "XNNPACK delegate, node %u (%s)", node, dlx_xnn_node_name(n->type));
    for (int k = 0; k < n->inputs; k++)
        if (n->in[k] != DLX_XNN_NONE)
            DLX_TRY(operand(d, node, n->in[k], n->type == DLX_XNN_FULLY_CONNECTED && k == 1, &in[k]));
    for (int k = 0; k < n->inputs; k++)
        if (in[k] != DLX_NONE) DLX_TRY(check_reader(d, node, k, in[k]));
    if (n->type == DLX_XNN_FULLY_CONNECTED) {
        DLX_TRY(import_fc(d, node, in, &out));
    } else if (n->type == DLX_XNN_HARDSWISH || n->type == DLX_XNN_LEAKY_RELU || n->type == DLX_XNN_ELU) {
        DLX_TRY(import_activation(d, node, in[0], &out));
    } else if (n->type == DLX_XNN_CONVERT) {
        DLX_TRY(import_convert(d, node, in, &out));
    } else {
        for (size_t i = 0; i < sizeof plain_ops / sizeof *plain_ops; i++) {
            if (plain_ops[i].type != n->type) continue;
            dlx_attr attr = {0};
            fill_attr(n, plain_ops[i].op, &attr);
            DLX_TRY(dlx_import_node(d->im, plain_ops[i].op, in, n->inputs, &attr, &out));
        }
        if (out == DLX_NONE) return unsupported(d, node, "this runtime has no such operator");
    }
    DLX_TRY(import_clamped(d, node, &out));
    const dlx_xnn_value *v = d->by_id[n->out];
    d->value[n->out] = out;
    if (v->external_id == DLX_XNN_NONE) return DLX_OK;
    if (v->external_id >= d->ins->n_args)
        return unsupported(d, node, "an external value lies outside the call's arguments");
    return dlx_import_write(d->im, d->ins->args[v->external_id], out, DLX_WRITE_RESULT);
}

static dlx_status import_payload(delegate *d, dlx_arena *arena)
{
    const dlx_pte *pte = d->im->pte;
    const dlx_pte_blob *blob = &pte->blobs[d->im->plan->delegates[d->ins->index].blob];
    DLX_TRY(dlx_xnn_read_blob(&d->x, arena, pte, blob, d->im->plan->name, d->im->err));
    for (uint32_t i = 0; i < d->x.n_values; i++)
        if (d->x.values[i].id >= d->n_ids) d->n_ids = d->x.values[i].id + 1;
    d->by_id = dlx_arena_array(arena, d->n_ids + 1, sizeof *d->by_id);
    d->value = dlx_arena_array(arena, d->n_ids + 1, sizeof *d->value);
    if (!d->by_id || !d->value) return dlx_fail(d->im->err, DLX_E_NOMEM, "out of memory reading a delegate");
    memset(d->value, 0xFF, d->n_ids * sizeof *d->value);
    for (uint32_t i = 0; i < d->x.n_values; i++) d->by_id[d->x.values[i].id] = &d->x.values[i];
    for (uint32_t i = 0; i < d->x.n_nodes; i++) DLX_TRY(import_node(d, i));
    return DLX_OK;
}

dlx_status dlx_import_xnnpack(dlx_importer *im, const dlx_instruction *ins)
{
    delegate d = {.im = im, .ins = ins};
    /* Names and inline scales of the payload must live as long as the graph. */
    return import_payload(&d, &im->g->arena);
}
