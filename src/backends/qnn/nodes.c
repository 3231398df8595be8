/* Nodes of an expanded graph as operators of the library, one for one. Names of operators and parameters are those of
 * Qualcomm's public table of operators. */
#include <string.h>

#include "backends/qnn/blocks.h"
#include "backends/qnn/build.h"
#include "backends/qnn/operators.h"
#include "base/bits.h"
#include "base/sizes.h"
#include "graph/linear_kinds.h"

const char *dlx_qnn_simple_operator(dlx_op op)
{
    switch (op) {
    case DLX_OP_ADD: return "ElementWiseAdd";
    case DLX_OP_SUB: return "ElementWiseSubtract";
    case DLX_OP_MUL: return "ElementWiseMultiply";
    case DLX_OP_DIV: return "ElementWiseDivide";
    case DLX_OP_MIN: return "ElementWiseMinimum";
    case DLX_OP_MAX: return "ElementWiseMaximum";
    case DLX_OP_NEG: return "ElementWiseNeg";
    case DLX_OP_SQRT: return "ElementWiseSquareRoot";
    case DLX_OP_RSQRT: return "ElementWiseRsqrt";
    case DLX_OP_EXP: return "ElementWiseExp";
    case DLX_OP_SIGMOID: return "Sigmoid";
    case DLX_OP_TANH: return "Tanh";
    case DLX_OP_GELU: return "Gelu";
    case DLX_OP_RESHAPE: return "Reshape";
    default: return NULL;
    }
}

const dlx_node *dlx_qnn_rows(const dlx_graph *g, uint32_t value)
{
    const dlx_node *n;
    while ((n = dlx_made_by(g, value)) != NULL && n->op != DLX_OP_EMBEDDING) {
        bool unpacks = n->op == DLX_OP_CONVERT || n->op == DLX_OP_MUL || n->op == DLX_OP_SUB || n->op == DLX_OP_FLOOR ||
                       n->op == DLX_OP_CONCAT || n->op == DLX_OP_RESHAPE || n->op == DLX_OP_TRANSPOSE;
        if (!unpacks || n->layer >= 0) return NULL;
        value = n->in[0];
    }
    return n;
}

/* ---- what there is ---------------------------------------------------------------------------------------------- */

static bool is_float(const dlx_value *v)
{
    return v->dtype == DLX_F32 || v->dtype == DLX_F16;
}

/* Shapes that do not vary, of one to five dimensions; scales of weights go with these. */
static bool fits(const dlx_value *v)
{
    return !v->dynamic && v->rank >= 1 && v->rank <= 5;
}

static bool takes_linear(const dlx_graph *g, const dlx_node *n)
{
    const dlx_value *w = &g->values[n->in[1]];
    dlx_linear_kind kind = dlx_linear_kind_of(g, &g->values[n->in[0]], w);
    return kind != DLX_LINEAR_KINDS && kind != DLX_LINEAR_QS8_QC8W && w->kind == DLX_VALUE_CONST && w->rank == 2 &&
           (n->inputs < 3 || n->in[2] == DLX_NONE || g->values[n->in[2]].kind == DLX_VALUE_CONST);
}

static bool takes_attributes(const dlx_graph *g, const dlx_node *n)
{
    const dlx_value *x = &g->values[n->in[0]];
    const dlx_value *out = &g->values[n->out[0]];
    switch (n->op) {
    case DLX_OP_LINEAR: return takes_linear(g, n);
    case DLX_OP_RMS_NORM: return g->values[n->in[1]].kind == DLX_VALUE_CONST;
    case DLX_OP_ROPE: return x->rank == 3 && !n->attr.keep && n->attr.axis == 0 && x->dim[2] % 2 == 0;
    case DLX_OP_ATTENTION:
        return (n->inputs <= 3 || n->in[3] == DLX_NONE) == (n->inputs <= 4 || n->in[4] == DLX_NONE) && n->attr.f[0] > 0;
    case DLX_OP_CONVERT: return x->dtype == DLX_F16 || (x->dtype == DLX_F32 && out->dtype == DLX_QD8);
    case DLX_OP_CAST: return is_float(x) && is_float(out);
    case DLX_OP_BMM: return x->rank >= 2 && x->rank == g->values[n->in[1]].rank;
    case DLX_OP_SILU_MUL:
    case DLX_OP_SOFTMAX:
    case DLX_OP_TRANSPOSE:
    case DLX_OP_SLICE:
    case DLX_OP_CONCAT: return true;
    case DLX_OP_RESHAPE: return n->inputs == 1;
    default: return dlx_qnn_simple_operator(n->op) != NULL;
    }
}

bool dlx_qnn_takes(const dlx_graph *g, const dlx_node *n)
{
    if (dlx_qnn_rows(g, n->out[0])) return false; /* exact on the CPU, and few numbers */
    for (int i = 0; i < n->inputs; i++) {
        const dlx_value *v = n->in[i] == DLX_NONE ? NULL : &g->values[n->in[i]];
        bool weight = n->op == DLX_OP_LINEAR && i == 1, rows = n->op == DLX_OP_LINEAR && i == 0;
        if (v && !fits(v)) return false;
        if (v && !weight && !is_float(v) && !(rows && v->dtype == DLX_QD8)) return false;
    }
    for (int i = 0; i < n->outputs; i++) {
        const dlx_value *v = &g->values[n->out[i]];
        if (!fits(v) || (!is_float(v) && v->dtype != DLX_QD8)) return false;
    }
    return takes_attributes(g, n);
}

/* ---- one for one ------------------------------------------------------------------------------------------------ */

/* What value v is inside of the graph. */
static dlx_status operand(dlx_qnn_build *b, dlx_qnn_tensor **out, uint32_t v)
{
    if (!b->made[v] && b->g->values[v].kind == DLX_VALUE_CONST) DLX_TRY(dlx_qnn_constant(b, &b->made[v], v));
    if (!b->made[v]) return dlx_fail(b->err, DLX_E_INTERNAL, "QNN: value %u is used before it was made", v);
    *out = b->made[v];
    return DLX_OK;
}

static dlx_status add(dlx_qnn_build *b, const dlx_node *n, const char *type, dlx_qnn_tensor *const *in, uint32_t n_in,
                      const dlx_qnn_param *params, uint32_t n_params)
{
    dlx_qnn_shape shape = dlx_qnn_shape_of(&b->g->values[n->out[0]]);
    DLX_TRY(dlx_qnn_add_native(b, &b->made[n->out[0]], n->out[0], &shape));
    return dlx_qnn_add_op(b, type, b->g->values[n->out[0]].name, in, n_in, b->made[n->out[0]], params, n_params);
}

static dlx_status add_with(dlx_qnn_build *b, const dlx_node *n, const char *type, const dlx_qnn_param *params,
                           uint32_t n_params)
{
    dlx_qnn_tensor *in[DLX_MAX_INPUTS];
    for (int i = 0; i < n->inputs; i++) DLX_TRY(operand(b, &in[i], n->in[i]));
    return add(b, n, type, in, n->inputs, params, n_params);
}

/* Where numbers without the bias lie: the result's range, less that of the bias. */
static dlx_qnn_quant unbiased(const dlx_qnn_build *b, uint32_t out, const dlx_qnn_tensor *bias)
{
    dlx_qnn_scale o = b->grid[out], s = bias->quant.u.scale;
    float low = (float)o.offset * o.scale, high = (float)(o.offset + DLX_QNN_CODES) * o.scale;
    dlx_qnn_quant q = {.definition = DLX_QNN_DEFINED, .encoding = DLX_QNN_SCALE_OFFSET};
    q.u.scale = dlx_qnn_grid_over(low - (float)(s.offset + DLX_QNN_CODES) * s.scale, high - (float)s.offset * s.scale);
    return q;
}

/*
 * y [T, n] of x [T, k] as a convolution over T columns: x [1, 1, T, k], weights [1, 1, k, n]. Fully connected layers
 * compute other numbers from weights in blocks. What steps the bias of such a convolution is to have is said nowhere:
 * it is added behind.
 */
static dlx_status add_convolution(dlx_qnn_build *b, const dlx_node *n, dlx_qnn_tensor *in[2], uint32_t bias)
{
    static const uint32_t ones[2] = {1, 1}, zeros[4] = {0, 0, 0, 0};
    const dlx_value *out = &b->g->values[n->out[0]];
    int64_t columns = b->g->values[n->in[1]].dim[0], k = b->g->values[n->in[1]].dim[1], rows = 1;
    for (int i = 0; i + 1 < out->rank; i++) rows *= out->dim[i];
    dlx_qnn_shape wide = {.rank = 4, .dim = {1, 1, rows, k}}, made = {.rank = 4, .dim = {1, 1, rows, columns}};
    dlx_qnn_shape shape = dlx_qnn_shape_of(out);
    dlx_qnn_param params[3];
    dlx_qnn_tensor *x = in[0], *y, *last[2] = {NULL, NULL};
    dlx_qnn_quant quant = {
        .definition = DLX_QNN_DEFINED, .encoding = DLX_QNN_SCALE_OFFSET, .u.scale = b->grid[n->out[0]]};
    if (bias != DLX_NONE) {
        DLX_TRY(operand(b, &last[1], bias));
        quant = unbiased(b, n->out[0], last[1]);
    }
    DLX_TRY(dlx_qnn_add_native(b, &in[0], n->in[0], &wide));
    DLX_TRY(dlx_qnn_add_op(b, "Reshape", out->name, &x, 1, in[0], NULL, 0));
    DLX_TRY(dlx_qnn_numbers(b, &params[0], "stride", DLX_QNN_U32, ones, 0, 2));
    DLX_TRY(dlx_qnn_numbers(b, &params[1], "pad_amount", DLX_QNN_U32, zeros, 2, 2));
    DLX_TRY(dlx_qnn_numbers(b, &params[2], "dilation", DLX_QNN_U32, ones, 0, 2));
    DLX_TRY(dlx_qnn_add_tensor(b, &y, NULL, DLX_QNN_NATIVE, DLX_QNN_UFIX16, &quant, &made, NULL, 0));
    DLX_TRY(dlx_qnn_add_op(b, "Conv2d", out->name, in, 2, y, params, 3));
    DLX_TRY(dlx_qnn_add_tensor(b, &last[0], NULL, DLX_QNN_NATIVE, DLX_QNN_UFIX16, &quant, &shape, NULL, 0));
    DLX_TRY(dlx_qnn_add_op(b, "Reshape", out->name, &y, 1, last[0], NULL, 0));
    b->made[n->out[0]] = last[0];
    return bias == DLX_NONE ? DLX_OK : add(b, n, "ElementWiseAdd", last, 2, NULL, 0);
}

static dlx_status add_linear(dlx_qnn_build *b, const dlx_node *n)
{
    dlx_qnn_tensor *in[3];
    uint32_t bias = n->inputs == 3 ? n->in[2] : DLX_NONE;
    DLX_TRY(operand(b, &in[0], n->in[0]));
    if (!b->made[n->in[1]]) DLX_TRY(dlx_qnn_weights(b, &b->made[n->in[1]], n->in[1]));
    in[1] = b->made[n->in[1]];
    if (b->grid && dlx_qnn_in_blocks(b->g, n->in[1])) return add_convolution(b, n, in, bias);
    if (bias != DLX_NONE) DLX_TRY(dlx_qnn_bias(b, &in[2], bias, n->in[0], n->in[1]));
    dlx_qnn_param keep = dlx_qnn_number("keep_dims", DLX_QNN_BOOL, 1);
    return add(b, n, "FullyConnected", in, bias == DLX_NONE ? 2 : 3, &keep, b->g->values[n->out[0]].rank > 2);
}

/* Rows as a matrix: over more dimensions, floats of 16 bits come out wrong in some shapes. */
static dlx_status add_rms_norm(dlx_qnn_build *b, const dlx_node *n)
{
    static const uint32_t axis = 1;
    const dlx_value *out = &b->g->values[n->out[0]];
    int64_t d = out->dim[out->rank - 1], rows = 1;
    for (int i = 0; i + 1 < out->rank; i++) rows *= out->dim[i];
    dlx_qnn_shape flat = {.rank = 2, .dim = {rows, d}}, shape = dlx_qnn_shape_of(out);
    dlx_qnn_param params[2];
    dlx_qnn_tensor *in[3], *x, *y;
    DLX_TRY(operand(b, &x, n->in[0]));
    DLX_TRY(operand(b, &in[1], n->in[1]));
    DLX_TRY(dlx_qnn_zeros(b, &in[2], in[1]));
    params[0] = dlx_qnn_number("epsilon", DLX_QNN_F32, dlx_f32_to_bits(n->attr.f[0]));
    DLX_TRY(dlx_qnn_numbers(b, &params[1], "axes", DLX_QNN_U32, &axis, 0, 1));
    DLX_TRY(dlx_qnn_add_native(b, &in[0], n->in[0], &flat));
    DLX_TRY(dlx_qnn_add_op(b, "Reshape", out->name, &x, 1, in[0], NULL, 0));
    DLX_TRY(dlx_qnn_add_native(b, &y, n->out[0], &flat));
    DLX_TRY(dlx_qnn_add_op(b, "RmsNorm", out->name, in, 3, y, params, 2));
    DLX_TRY(dlx_qnn_add_native(b, &b->made[n->out[0]], n->out[0], &shape));
    return dlx_qnn_add_op(b, "Reshape", out->name, &y, 1, b->made[n->out[0]], NULL, 0);
}

static dlx_status add_transpose(dlx_qnn_build *b, const dlx_node *n)
{
    dlx_qnn_param perm;
    uint32_t order[DLX_MAX_RANK];
    for (int i = 0; i < n->attr.rank; i++) order[i] = (uint32_t)n->attr.shape[i];
    DLX_TRY(dlx_qnn_numbers(b, &perm, "perm", DLX_QNN_U32, order, 0, n->attr.rank));
    return add_with(b, n, "Transpose", &perm, 1);
}

static dlx_status add_slice(dlx_qnn_build *b, const dlx_node *n)
{
    dlx_qnn_param ranges;
    uint32_t range[DLX_MAX_RANK * 3];
    const dlx_value *out = &b->g->values[n->out[0]];
    for (int i = 0; i < out->rank; i++) {
        range[3 * i] = (uint32_t)n->attr.shape[i];
        range[3 * i + 1] = (uint32_t)(n->attr.shape[i] + out->dim[i]);
        range[3 * i + 2] = 1;
    }
    DLX_TRY(dlx_qnn_numbers(b, &ranges, "ranges", DLX_QNN_I32, range, out->rank, 3));
    return add_with(b, n, "StridedSlice", &ranges, 1);
}

/* The second operand in 8 bits: what chips multiply that have no products of 16 bits. */
static dlx_status narrow(dlx_qnn_build *b, dlx_qnn_tensor **out, uint32_t value)
{
    dlx_qnn_scale wide = b->grid[value];
    dlx_qnn_quant quant = {.definition = DLX_QNN_DEFINED, .encoding = DLX_QNN_SCALE_OFFSET};
    dlx_qnn_shape shape = dlx_qnn_shape_of(&b->g->values[value]);
    float low = (float)wide.offset * wide.scale, high = (float)(wide.offset + DLX_QNN_CODES) * wide.scale;
    dlx_qnn_tensor *in;
    quant.u.scale = dlx_qnn_narrow_grid_over(low, high);
    DLX_TRY(operand(b, &in, value));
    DLX_TRY(dlx_qnn_add_tensor(b, out, NULL, DLX_QNN_NATIVE, DLX_QNN_UFIX8, &quant, &shape, NULL, 0));
    return dlx_qnn_add_op(b, "Convert", b->g->values[value].name, &in, 1, *out, NULL, 0);
}

static dlx_status add_product(dlx_qnn_build *b, const dlx_node *n)
{
    dlx_qnn_tensor *in[2];
    dlx_qnn_param p = dlx_qnn_number("transpose_in1", DLX_QNN_BOOL, n->attr.transpose_b);
    DLX_TRY(operand(b, &in[0], n->in[0]));
    if (b->grid && !dlx_qnn_chip_has_u16_products(b->lib->chip))
        DLX_TRY(narrow(b, &in[1], n->in[1]));
    else
        DLX_TRY(operand(b, &in[1], n->in[1]));
    return add(b, n, "MatMul", in, 2, &p, 1);
}

static dlx_status add_node(dlx_qnn_build *b, const dlx_node *n)
{
    dlx_qnn_param p;
    switch (n->op) {
    case DLX_OP_LINEAR: return add_linear(b, n);
    case DLX_OP_RMS_NORM: return add_rms_norm(b, n);
    case DLX_OP_TRANSPOSE: return add_transpose(b, n);
    case DLX_OP_SLICE: return add_slice(b, n);
    case DLX_OP_CONCAT:
        p = dlx_qnn_number("axis", DLX_QNN_U32, (uint32_t)n->attr.axis);
        return add_with(b, n, "Concat", &p, 1);
    case DLX_OP_SOFTMAX:
        p = dlx_qnn_number("axis", DLX_QNN_U32, (uint32_t)b->g->values[n->in[0]].rank - 1);
        return add_with(b, n, "Softmax", &p, 1);
    case DLX_OP_BMM: return add_product(b, n);
    case DLX_OP_CONVERT: /* to what values are inside of the graph already */
    case DLX_OP_CAST: return operand(b, &b->made[n->out[0]], n->in[0]);
    default: break;
    }
    const char *simple = dlx_qnn_simple_operator(n->op);
    if (simple) return add_with(b, n, simple, NULL, 0);
    return dlx_fail(b->err, DLX_E_INTERNAL, "QNN: operator %s was taken and has no lowering", dlx_op_name(n->op));
}

dlx_status dlx_qnn_add_nodes(dlx_qnn_build *b)
{
    for (size_t i = 0; i < b->g->n_nodes; i++) DLX_TRY(add_node(b, &b->g->nodes[i]));
    return DLX_OK;
}
