/* The verifier: everything that code behind it takes for granted. */
#include "graph/graph.h"

#include <stdlib.h>
#include <string.h>

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
    if (v->scales != DLX_NONE) {
        if (v->scales >= g->n_values || v->kind != DLX_VALUE_CONST || v->dtype != DLX_I8)
            return bad_value(i, v, "only int8 constants have scales", err);
        const dlx_value *w = &g->values[v->scales];
        if (w->kind != DLX_VALUE_CONST || w->dtype != DLX_F32 || w->rank < 1 || v->rank < 1 || w->dim[0] != v->dim[0])
            return bad_value(i, v, "scales must be constant floats, one a row", err);
    }
    return DLX_OK;
}

static dlx_status verify_types(const dlx_graph *g, size_t i, const dlx_node *n, dlx_error *err)
{
    dlx_dtype first = g->values[n->in[0]].dtype;
    switch (n->op) {
    case DLX_OP_CONVERT: {
        dlx_dtype out = g->values[n->out[0]].dtype;
        bool ok = (first == DLX_F32 && out == DLX_QD8) || (first == DLX_I8 && out == DLX_F32);
        return ok ? DLX_OK : bad_node(i, n, "converts only f32 to qd8 and i8 to f32", err);
    }
    case DLX_OP_LINEAR:
        if (dlx_linear_kind_of(&g->values[n->in[0]], &g->values[n->in[1]]) < DLX_LINEAR_KINDS) return DLX_OK;
        return bad_node(i, n, "its activations and weights must be of one of these kinds:" DLX_LINEAR_WORDS, err);
    case DLX_OP_EMBEDDING: {
        dlx_dtype ids = g->values[n->in[1]].dtype;
        if (ids != DLX_I64 && ids != DLX_I32) return bad_node(i, n, "ids must be integers", err);
        if (n->inputs == 3 && (first != DLX_I8 || g->values[n->in[2]].dtype != DLX_F32))
            return bad_node(i, n, "row scales go with an int8 table", err);
        return DLX_OK;
    }
    case DLX_OP_ROW_SELECT:
        return g->values[n->in[1]].dtype == DLX_I32 ? DLX_OK : bad_node(i, n, "rows must be i32", err);
    default: break;
    }
    if (n->op >= DLX_OP_RESHAPE || n->op == DLX_OP_COPY) return DLX_OK; /* data movement takes any type */
    for (int k = 0; k < n->inputs; k++)
        if (n->in[k] != DLX_NONE && g->values[n->in[k]].dtype != DLX_F32)
            return bad_node(i, n, "computes on f32 only", err);
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
    uint8_t *defined = calloc(g->n_values ? g->n_values : 1, 1);
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
    free(defined);
    return s;
}
