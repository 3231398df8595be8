/*
 * Nodes of a graph as operators of MIL: which are taken, and what each becomes. What only changes an element type is
 * nothing here, where all numbers are float16.
 */
#include <string.h>

#include "backends/coreml/emitter.h"
#include "base/half.h"
#include "base/sizes.h"

/* ---- which ---- */

/* Operators that MIL has under a name, of one operand or of two that are broadcast. */
static const char *const unary_names[DLX_OP_COUNT] = {
    [DLX_OP_ABS] = "abs",       [DLX_OP_SIGN] = "sign",       [DLX_OP_SQUARE] = "square", [DLX_OP_SQRT] = "sqrt",
    [DLX_OP_EXP] = "exp",       [DLX_OP_SIN] = "sin",         [DLX_OP_COS] = "cos",       [DLX_OP_TANH] = "tanh",
    [DLX_OP_ERF] = "erf",       [DLX_OP_SIGMOID] = "sigmoid", [DLX_OP_FLOOR] = "floor",   [DLX_OP_CEIL] = "ceil",
    [DLX_OP_COPY] = "identity",
};
static const char *const binary_names[DLX_OP_COUNT] = {
    [DLX_OP_ADD] = "add",      [DLX_OP_SUB] = "sub",     [DLX_OP_MUL] = "mul",
    [DLX_OP_DIV] = "real_div", [DLX_OP_MIN] = "minimum", [DLX_OP_MAX] = "maximum",
};
static const char *const reduce_names[DLX_OP_COUNT] = {
    [DLX_OP_MEAN] = "reduce_mean",
    [DLX_OP_SUM] = "reduce_sum",
    [DLX_OP_AMAX] = "reduce_max",
    [DLX_OP_AMIN] = "reduce_min",
};

static bool is_float(dlx_dtype t)
{
    return t == DLX_F32 || t == DLX_F16;
}

/* A tensor that can be float16 in a program: fixed, of one to five dimensions. */
static bool fits(const dlx_graph *g, uint32_t id, bool quantised)
{
    const dlx_value *v = &g->values[id];
    bool type = is_float(v->dtype) || (v->kind == DLX_VALUE_CONST && v->dtype == DLX_BF16) ||
                (quantised && v->dtype == DLX_QD8);
    if (!type || v->dynamic || v->rank < 1 || v->rank > DLX_MIL_MAX_RANK) return false;
    for (int i = 0; i < v->rank; i++)
        if (v->dim[i] < 1 || v->dim[i] > INT32_MAX) return false;
    return true;
}

/* eps is a float16 above 0. */
static bool takes_norm(const dlx_graph *g, const dlx_node *n)
{
    return g->values[n->in[1]].rank == 1 && dlx_f16_to_f32(dlx_f32_to_f16(n->attr.f[0])) > 0.0f;
}

static bool takes_rope(const dlx_graph *g, const dlx_node *n)
{
    const dlx_value *x = &g->values[n->in[0]];
    return !n->attr.keep && x->rank >= 3 && g->values[n->in[1]].rank == 2 && x->dim[x->rank - 1] % 2 == 0;
}

static bool takes_attention(const dlx_graph *g, const dlx_node *n)
{
    const dlx_value *q = &g->values[n->in[0]], *k = &g->values[n->in[1]];
    bool caches = n->inputs < 4 || (n->inputs >= 5 && (n->in[3] == DLX_NONE) == (n->in[4] == DLX_NONE));
    return caches && q->rank == 3 && k->rank == 3 && q->dim[1] % k->dim[1] == 0;
}

/* Quantised rows that linear layers of ours alone read: nothing but these can do without their being quantised. */
static bool rows_are_ours(const dlx_graph *g, uint32_t rows)
{
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i] == rows) return false;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].inputs; k++)
            if (g->nodes[i].in[k] == rows && !dlx_coreml_takes(g, &g->nodes[i])) return false;
    return true;
}

static bool takes_conversion(const dlx_graph *g, const dlx_node *n)
{
    dlx_dtype from = g->values[n->in[0]].dtype, to = g->values[n->out[0]].dtype;
    if (n->op == DLX_OP_CONVERT && to == DLX_QD8) return is_float(from) && rows_are_ours(g, n->out[0]);
    return is_float(from) && is_float(to);
}

static bool takes_op(const dlx_graph *g, const dlx_node *n)
{
    switch (n->op) {
    case DLX_OP_LINEAR: return dlx_coreml_takes_linear(g, n);
    case DLX_OP_RMS_NORM: return takes_norm(g, n);
    case DLX_OP_ROPE: return takes_rope(g, n);
    case DLX_OP_ATTENTION: return takes_attention(g, n);
    case DLX_OP_CONVERT:
    case DLX_OP_CAST: return takes_conversion(g, n);
    case DLX_OP_INDEX: return dlx_coreml_takes_index(g, n);
    case DLX_OP_INDEX_PUT: return dlx_coreml_takes_put(g, n);
    case DLX_OP_BMM: return g->values[n->in[0]].rank >= 2 && g->values[n->in[1]].rank >= 2;
    case DLX_OP_SLICE:
    case DLX_OP_SILU_MUL:
    case DLX_OP_NEG:
    case DLX_OP_SOFTMAX:
    case DLX_OP_TRANSPOSE:
    case DLX_OP_CONCAT: return true;
    case DLX_OP_RESHAPE: return n->inputs == 1;
    default: break;
    }
    if (reduce_names[n->op]) return g->values[n->in[0]].rank > 1 || n->attr.keep;
    return unary_names[n->op] || binary_names[n->op];
}

bool dlx_coreml_takes(const dlx_graph *g, const dlx_node *n)
{
    if (n->outputs != 1 || !takes_op(g, n)) return false;
    bool linear = n->op == DLX_OP_LINEAR;
    int places = n->op == DLX_OP_INDEX ? 1 : n->op == DLX_OP_INDEX_PUT ? 2 : -1;
    for (int k = 0; k < n->inputs; k++) {
        bool other = (linear && k == 1) || k == places;
        if (n->in[k] != DLX_NONE && !other && !fits(g, n->in[k], linear)) return false;
    }
    return fits(g, n->out[0], n->op == DLX_OP_CONVERT);
}

/* ---- what they become ---- */

dlx_mil_value dlx_coreml_operand(dlx_coreml_emitter *e, uint32_t id)
{
    const dlx_value *v = &e->g->values[id];
    dlx_mil_value *kept = &e->value[id];
    if (kept->name || v->kind != DLX_VALUE_CONST) return *kept;
    dlx_mil_type type = {.dtype = DLX_MIL_F16, .rank = v->rank};
    for (int i = 0; i < v->rank; i++) type.dim[i] = v->dim[i];
    dlx_value half = dlx_coreml_half(v);
    return *kept = dlx_mil_weight(&e->mil, &half, type);
}

dlx_coreml_shared *dlx_coreml_share(dlx_coreml_emitter *e, uint32_t of, dlx_coreml_use use, int64_t number)
{
    for (size_t i = 0; i < e->n_shared; i++)
        if (e->shared[i].of == of && e->shared[i].use == use && e->shared[i].number == number) return &e->shared[i];
    /* Room is doubled at each power of two. */
    if ((e->n_shared & (e->n_shared - 1)) == 0) {
        dlx_coreml_shared *more = dlx_arena_array(e->arena, e->n_shared ? 2 * e->n_shared : 1, sizeof *more);
        if (!more) {
            e->mil.failed = true;
            return NULL;
        }
        if (e->n_shared) memcpy(more, e->shared, e->n_shared * sizeof *more);
        e->shared = more;
    }
    e->shared[e->n_shared] = (dlx_coreml_shared){.of = of, .use = use, .number = number};
    return &e->shared[e->n_shared++];
}

/* Both with the sizes of the result in place of the numbers that the graph leaves open. */
static dlx_mil_value slice(dlx_coreml_emitter *e, const dlx_node *n)
{
    const dlx_value *out = &e->g->values[n->out[0]];
    return dlx_mil_slice(&e->mil, dlx_coreml_operand(e, n->in[0]), n->attr.shape, out->dim);
}

static dlx_mil_value reshape(dlx_coreml_emitter *e, const dlx_node *n)
{
    const dlx_value *out = &e->g->values[n->out[0]];
    return dlx_mil_reshape(&e->mil, dlx_coreml_operand(e, n->in[0]), out->rank, out->dim);
}

static dlx_mil_value concat(dlx_coreml_emitter *e, const dlx_node *n)
{
    dlx_mil_value x[DLX_MAX_INPUTS];
    for (int i = 0; i < n->inputs; i++) x[i] = dlx_coreml_operand(e, n->in[i]);
    return dlx_mil_concat(&e->mil, x, n->inputs, n->attr.axis);
}

/* x * sigmoid(x) * y */
static dlx_mil_value silu_mul(dlx_coreml_emitter *e, const dlx_node *n)
{
    dlx_mil *m = &e->mil;
    dlx_mil_value x = dlx_coreml_operand(e, n->in[0]);
    dlx_mil_value gate = dlx_mil_binary(m, "mul", x, dlx_mil_unary(m, "sigmoid", x, NULL));
    return dlx_mil_binary(m, "mul", gate, dlx_coreml_operand(e, n->in[1]));
}

/* Operators of MIL's that have one name. */
static dlx_mil_value named(dlx_coreml_emitter *e, const dlx_node *n)
{
    dlx_mil_value x = dlx_coreml_operand(e, n->in[0]);
    if (binary_names[n->op]) return dlx_mil_binary(&e->mil, binary_names[n->op], x, dlx_coreml_operand(e, n->in[1]));
    if (reduce_names[n->op]) return dlx_mil_reduce(&e->mil, reduce_names[n->op], x, n->attr.axis, n->attr.keep);
    return dlx_mil_unary(&e->mil, unary_names[n->op], x, NULL);
}

static dlx_status node_value(dlx_coreml_emitter *e, const dlx_node *n, dlx_mil_value *out)
{
    dlx_mil *m = &e->mil;
    switch (n->op) {
    case DLX_OP_LINEAR: return dlx_coreml_linear(e, n, out);
    case DLX_OP_RMS_NORM: *out = dlx_coreml_rms_norm(e, n); break;
    case DLX_OP_ROPE: *out = dlx_coreml_rope(e, n); break;
    case DLX_OP_ATTENTION: *out = dlx_coreml_attention(e, n); break;
    case DLX_OP_CONVERT:
    case DLX_OP_CAST: *out = dlx_coreml_operand(e, n->in[0]); break;
    case DLX_OP_INDEX: *out = dlx_coreml_rows(e, n); break;
    case DLX_OP_INDEX_PUT: dlx_coreml_put_rows(e, n); break;
    case DLX_OP_SILU_MUL: *out = silu_mul(e, n); break;
    case DLX_OP_NEG: *out = dlx_mil_scale(m, dlx_coreml_operand(e, n->in[0]), -1.0f); break;
    case DLX_OP_SOFTMAX: *out = dlx_mil_softmax(m, dlx_coreml_operand(e, n->in[0])); break;
    case DLX_OP_TRANSPOSE: *out = dlx_mil_transpose(m, dlx_coreml_operand(e, n->in[0]), n->attr.shape); break;
    case DLX_OP_SLICE: *out = slice(e, n); break;
    case DLX_OP_RESHAPE: *out = reshape(e, n); break;
    case DLX_OP_CONCAT: *out = concat(e, n); break;
    case DLX_OP_BMM:
        *out = dlx_mil_matmul(m, dlx_coreml_operand(e, n->in[0]), dlx_coreml_operand(e, n->in[1]), n->attr.transpose_b);
        break;
    default: *out = named(e, n); break;
    }
    return DLX_OK;
}

dlx_status dlx_coreml_node(dlx_coreml_emitter *e, const dlx_node *n)
{
    if (!dlx_coreml_takes(e->g, n))
        return dlx_fail(e->err, DLX_E_UNSUPPORTED, "CoreML has no operator %s for these operands (layer %d)",
                        dlx_op_name(n->op), (int)n->layer);
    return node_value(e, n, &e->value[n->out[0]]);
}
