/* The verifier: everything that code behind it takes for granted. */
#include "graph/graph.h"

#include <string.h>

#include "base/sizes.h"
#include "graph/linear_kinds.h"

static dlx_status bad_value(size_t i, const dlx_value *v, const char *rule, dlx_error *err)
{
    return dlx_fail(err, DLX_E_FORMAT, "value %zu (%s): %s", i, v->name ? v->name : "temporary", rule);
}

static dlx_status bad_node(size_t i, const dlx_node *n, const char *rule, dlx_error *err)
{
    return dlx_fail(err, DLX_E_FORMAT, "node %zu (%s, layer %d): %s", i, dlx_op_name(n->op), (int)n->layer, rule);
}

static dlx_status verify_value(const dlx_graph *g, size_t i, dlx_error *err)
{
    const dlx_value *v = &g->values[i];
    dlx_shape s = {.rank = v->rank};
    if (v->rank > DLX_MAX_RANK) return bad_value(i, v, "rank is above 6", err);
    for (int d = 0; d < v->rank; d++) {
        if (v->dim[d] < 0) return bad_value(i, v, "a dimension is negative", err);
        s.dim[d] = v->dim[d];
    }
    if (dlx_shape_elements(&s) < 0) return bad_value(i, v, "has more than 2^63 elements", err);
    if (!dlx_dtype_size(v->dtype)) return bad_value(i, v, "unknown element type", err);
    if (v->kind != DLX_VALUE_TEMP && v->producer != DLX_NONE)
        return bad_value(i, v, "inputs and constants have no producer", err);
    if (v->kind == DLX_VALUE_CONST && v->dynamic) return bad_value(i, v, "constants have fixed shapes", err);
    if (v->kind != DLX_VALUE_TEMP && v->dtype == DLX_QD8)
        return bad_value(i, v, "rows are quantised at run time; only a CONVERT makes them", err);
    if (v->kind == DLX_VALUE_CONST && v->source.transform == DLX_CONST_PLAIN) {
        uint64_t bytes;
        if (!dlx_mul_u64((uint64_t)dlx_shape_elements(&s), dlx_dtype_size(v->dtype), &bytes) || v->source.bytes < bytes)
            return bad_value(i, v, "the constant has fewer bytes than its shape asks for", err);
    }
    if (v->scales != DLX_NONE) {
        if (v->scales >= g->n_values || v->kind != DLX_VALUE_CONST || v->dtype != DLX_I8)
            return bad_value(i, v, "only int8 constants have scales", err);
        const dlx_value *w = &g->values[v->scales];
        if (w->kind != DLX_VALUE_CONST || w->dtype != DLX_F32 || w->rank < 1 || v->rank < 1 || w->dim[0] != v->dim[0])
            return bad_value(i, v, "scales must be constant floats, one a row", err);
    }
    return DLX_OK;
}

static const dlx_value *operand(const dlx_graph *g, const dlx_node *n, int k)
{
    return k < n->inputs && n->in[k] != DLX_NONE ? &g->values[n->in[k]] : NULL;
}

static bool is_float(const dlx_value *v)
{
    return v->dtype == DLX_F32;
}

static dlx_status verify_linear(const dlx_graph *g, size_t i, const dlx_node *n, dlx_error *err)
{
    const dlx_value *x = operand(g, n, 0), *w = operand(g, n, 1), *bias = operand(g, n, 2);
    if (dlx_linear_kind_of(x, w) == DLX_LINEAR_KINDS)
        return bad_node(i, n, "its activations and weights must be of one of these kinds:" DLX_LINEAR_WORDS, err);
    if (w->kind != DLX_VALUE_CONST) return bad_node(i, n, "its weight must be a constant", err);
    if (bias && (bias->kind != DLX_VALUE_CONST || !is_float(bias)))
        return bad_node(i, n, "its bias must be a constant of floats", err);
    return DLX_OK;
}

static dlx_status verify_embedding(const dlx_graph *g, size_t i, const dlx_node *n, dlx_error *err)
{
    const dlx_value *table = operand(g, n, 0), *ids = operand(g, n, 1), *scales = operand(g, n, 2);
    if (ids->dtype != DLX_I64 && ids->dtype != DLX_I32) return bad_node(i, n, "ids must be integers", err);
    if (table->dtype != DLX_F32 && table->dtype != DLX_I8)
        return bad_node(i, n, "its table must hold floats or int8", err);
    if (scales && (table->dtype != DLX_I8 || !is_float(scales)))
        return bad_node(i, n, "row scales are floats and go with an int8 table", err);
    return DLX_OK;
}

/* Data movement: any type, the same for all operands, but not what only a LINEAR can read. */
static bool moves_data(dlx_op op)
{
    return op == DLX_OP_COPY || op == DLX_OP_RESHAPE || op == DLX_OP_TRANSPOSE || op == DLX_OP_SLICE ||
           op == DLX_OP_CONCAT;
}

/* Rows of QD8 have a layout of their own and int8 constants with scales stand for other numbers than their bytes: both
 * are read by the operators that know, and by no other. */
static dlx_status verify_reader(const dlx_graph *g, size_t i, const dlx_node *n, int k, dlx_error *err)
{
    const dlx_value *v = operand(g, n, k);
    if (!v) return DLX_OK;
    if (v->dtype == DLX_QD8 && (n->op != DLX_OP_LINEAR || k != 0))
        return bad_node(i, n, "only a LINEAR reads dynamically quantised rows", err);
    if (v->scales != DLX_NONE && !(n->op == DLX_OP_LINEAR && k == 1) && !(n->op == DLX_OP_EMBEDDING && k == 0))
        return bad_node(i, n, "does not honour the scales of an int8 constant", err);
    return DLX_OK;
}

static dlx_status verify_types(const dlx_graph *g, size_t i, const dlx_node *n, dlx_error *err)
{
    const dlx_value *first = operand(g, n, 0);
    for (int k = 0; k < n->inputs; k++) DLX_TRY(verify_reader(g, i, n, k, err));
    if (g->values[n->out[0]].dtype != dlx_node_dtype(g, n))
        return bad_node(i, n, "its result has another element type than its operands give", err);
    switch (n->op) {
    case DLX_OP_CONVERT:
        if (first->dtype != DLX_F32 && first->dtype != DLX_I8)
            return bad_node(i, n, "converts only f32 to qd8 and i8 to f32", err);
        return DLX_OK;
    case DLX_OP_LINEAR: return verify_linear(g, i, n, err);
    case DLX_OP_EMBEDDING: return verify_embedding(g, i, n, err);
    case DLX_OP_ROW_SELECT:
        return operand(g, n, 1)->dtype == DLX_I32 ? DLX_OK : bad_node(i, n, "rows must be i32", err);
    default: break;
    }
    for (int k = 0; k < n->inputs; k++) {
        const dlx_value *v = operand(g, n, k);
        if (v && moves_data(n->op) && v->dtype != first->dtype)
            return bad_node(i, n, "its operands differ in element type", err);
        if (v && !moves_data(n->op) && !is_float(v)) return bad_node(i, n, "computes on f32 only", err);
    }
    return DLX_OK;
}

static dlx_status verify_node(const dlx_graph *g, size_t i, uint8_t *defined, dlx_error *err)
{
    const dlx_node *n = &g->nodes[i];
    dlx_shape in[DLX_MAX_INPUTS], out;
    if (!dlx_op_arity_ok(n->op, n->inputs, n->outputs)) return bad_node(i, n, "wrong number of operands", err);
    for (int k = 0; k < n->inputs; k++) {
        uint32_t v = n->in[k];
        if (v == DLX_NONE) {
            bool optional = (n->op == DLX_OP_LINEAR && k == 2) || (n->op == DLX_OP_ATTENTION && k >= 3);
            if (!optional) return bad_node(i, n, "an operand is missing", err);
            continue;
        }
        if (v >= g->n_values || !defined[v]) return bad_node(i, n, "an operand is used before it is computed", err);
        in[k].rank = g->values[v].rank;
        memcpy(in[k].dim, g->values[v].dim, sizeof in[k].dim);
    }
    uint32_t o = n->out[0];
    if (o >= g->n_values || g->values[o].kind != DLX_VALUE_TEMP || defined[o] || g->values[o].producer != i)
        return bad_node(i, n, "its result is written twice or belongs to another node", err);
    DLX_TRY(verify_types(g, i, n, err));
    DLX_TRY(dlx_infer_node(g, n, in, &out, err));
    const dlx_value *v = &g->values[o];
    if (out.rank != v->rank || memcmp(out.dim, v->dim, out.rank * sizeof out.dim[0]) != 0)
        return bad_node(i, n, "its result has another shape than its operands give", err);
    defined[o] = 1;
    return DLX_OK;
}

dlx_status dlx_graph_verify(const dlx_graph *g, dlx_error *err)
{
    uint8_t *defined = dlx_mem_zeroed(&g->arena.mem, g->n_values, 1);
    if (!defined) return dlx_fail(err, DLX_E_NOMEM, "out of memory verifying a graph of %zu values", g->n_values);
    dlx_status s = DLX_OK;
    for (size_t i = 0; s == DLX_OK && i < g->n_values; i++) {
        s = verify_value(g, i, err);
        defined[i] = g->values[i].kind == DLX_VALUE_CONST;
    }
    for (size_t i = 0; s == DLX_OK && i < g->n_inputs; i++) {
        if (g->inputs[i] >= g->n_values || g->values[g->inputs[i]].kind != DLX_VALUE_INPUT)
            s = dlx_fail(err, DLX_E_FORMAT, "graph input %zu is not an input value", i);
        else
            defined[g->inputs[i]] = 1;
    }
    for (size_t i = 0; s == DLX_OK && i < g->n_nodes; i++) s = verify_node(g, i, defined, err);
    for (size_t i = 0; s == DLX_OK && i < g->n_outputs; i++)
        if (g->outputs[i] >= g->n_values || !defined[g->outputs[i]])
            s = dlx_fail(err, DLX_E_FORMAT, "graph output %zu is never computed", i);
        else if (g->values[g->outputs[i]].dtype == DLX_QD8 || g->values[g->outputs[i]].scales != DLX_NONE)
            s = dlx_fail(err, DLX_E_FORMAT, "graph output %zu is quantised; only a LINEAR reads such a value", i);
    dlx_mem_free(&g->arena.mem, defined, g->n_values, 1);
    return s;
}
