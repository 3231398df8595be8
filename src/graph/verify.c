/* The verifier: everything that code behind it takes for granted. */
#include "graph/graph.h"

#include <string.h>

#include "base/sizes.h"

static dlx_status bad_value(size_t i, const dlx_value *v, const char *rule, dlx_error *err)
{
    return dlx_fail(err, DLX_E_FORMAT, "value %zu (%s): %s", i, v->name ? v->name : "temporary", rule);
}

static dlx_status bad_node(size_t i, const dlx_node *n, const char *rule, dlx_error *err)
{
    if (n->layer < 0) return dlx_fail(err, DLX_E_FORMAT, "node %zu (%s): %s", i, dlx_op_name(n->op), rule);
    return dlx_fail(err, DLX_E_FORMAT, "node %zu (%s, layer %d): %s", i, dlx_op_name(n->op), (int)n->layer, rule);
}

/* Groups are of whole blocks of 32, as XNNPACK has them. */
enum { GROUP_UNIT = 32 };

static const char *scales_rule(const dlx_graph *g, const dlx_value *v)
{
    if (v->scales == DLX_NONE) return NULL;
    bool numbers = v->dtype == DLX_I8 || v->dtype == DLX_I4 || (v->dtype == DLX_I32 && v->rank == 1);
    if (v->scales >= g->n_values || v->kind != DLX_VALUE_CONST || !numbers)
        return "only constants of int8, int4 and biases of i32 have scales";
    const dlx_value *s = &g->values[v->scales];
    if (s->kind != DLX_VALUE_CONST || s->rank < 1 || v->rank < 1 || s->dim[0] != v->dim[0])
        return "scales must be constants, one a row";
    if (s->dtype == DLX_F32) return NULL;
    if (s->dtype != DLX_BF16 || v->dtype != DLX_I4 || v->rank != 2 || s->rank != 2)
        return "scales must be floats, one a row, or bf16, one for each group of an int4 matrix";
    if (s->dim[1] < 1 || v->dim[1] % s->dim[1] || v->dim[1] / s->dim[1] % GROUP_UNIT)
        return "groups must divide the rows into multiples of 32";
    return NULL;
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
    if ((size_t)v->dtype >= DLX_DTYPE_COUNT) return bad_value(i, v, "unknown element type", err);
    if (v->kind != DLX_VALUE_TEMP && v->producer != DLX_NONE)
        return bad_value(i, v, "inputs and constants have no producer", err);
    if (v->kind == DLX_VALUE_CONST && v->dynamic) return bad_value(i, v, "constants have fixed shapes", err);
    if (v->kind != DLX_VALUE_TEMP && (v->dtype == DLX_QD8 || v->dtype == DLX_QS8))
        return bad_value(i, v, "rows are quantised at run time; only a CONVERT makes them", err);
    if (v->dtype == DLX_I4 && (v->kind != DLX_VALUE_CONST || v->rank < 1 || v->dim[v->rank - 1] % 2))
        return bad_value(i, v, "4-bit elements are constants, and an even number of them is in a row", err);
    if (v->kind == DLX_VALUE_CONST && v->source.transform == DLX_CONST_PLAIN) {
        uint64_t bytes;
        if (!dlx_dtype_bytes(v->dtype, (uint64_t)dlx_shape_elements(&s), &bytes) || v->source.bytes < bytes)
            return bad_value(i, v, "the constant has fewer bytes than its shape asks for", err);
    }
    const char *rule = scales_rule(g, v);
    return rule ? bad_value(i, v, rule, err) : DLX_OK;
}

/* Operands that may be absent. */
static bool optional(dlx_op op, int k)
{
    return (op == DLX_OP_LINEAR && k == 2) || (op == DLX_OP_ATTENTION && k >= 3) || (op == DLX_OP_SDPA && k >= 3) ||
           (op == DLX_OP_LAYER_NORM && k >= 1);
}

/* Sizes that are read from operands name operands, and have bounds. */
static const char *run_sizes_rule(const dlx_node *n)
{
    int entries = n->op == DLX_OP_NARROW ? 2 : n->op == DLX_OP_SLICE_PUT ? 1 : n->attr.rank;
    if (n->attr.rank > DLX_MAX_RANK) return "its rank is above 6";
    for (int i = 0; i < entries; i++) {
        if (!DLX_IS_RUN(n->attr.shape[i])) continue;
        int64_t k = n->attr.shape[i] - INT64_MIN;
        if (n->op != DLX_OP_RESHAPE && n->op != DLX_OP_EXPAND && n->op != DLX_OP_NARROW && n->op != DLX_OP_SLICE_PUT)
            return "its sizes must be numbers";
        if (k < 1 || k >= n->inputs) return "a size refers to an operand that it does not have";
        if (n->op != DLX_OP_SLICE_PUT && n->attr.bound[n->op == DLX_OP_NARROW ? 0 : i] < 0)
            return "a size known at run time has no bound";
    }
    return NULL;
}

static dlx_status verify_node(const dlx_graph *g, size_t i, uint8_t *defined, dlx_error *err)
{
    const dlx_node *n = &g->nodes[i];
    dlx_shape in[DLX_MAX_INPUTS], out;
    if (!dlx_op_arity_ok(n->op, n->inputs, n->outputs)) return bad_node(i, n, "wrong number of operands", err);
    for (int k = 0; k < n->inputs; k++) {
        uint32_t v = n->in[k];
        if (v == DLX_NONE) {
            if (!optional(n->op, k)) return bad_node(i, n, "an operand is missing", err);
            continue;
        }
        if (v >= g->n_values || !defined[v]) return bad_node(i, n, "an operand is used before it is computed", err);
        in[k].rank = g->values[v].rank;
        memcpy(in[k].dim, g->values[v].dim, sizeof in[k].dim);
    }
    uint32_t o = n->out[0];
    if (o >= g->n_values || g->values[o].kind != DLX_VALUE_TEMP || defined[o] || g->values[o].producer != i)
        return bad_node(i, n, "its result is written twice or belongs to another node", err);
    const char *rule = dlx_types_rule(g, n);
    if (!rule) rule = run_sizes_rule(n);
    if (rule) return bad_node(i, n, rule, err);
    DLX_TRY(dlx_infer_node(g, n, in, &out, err));
    const dlx_value *v = &g->values[o];
    if (out.rank != v->rank || memcmp(out.dim, v->dim, out.rank * sizeof out.dim[0]) != 0)
        return bad_node(i, n, "its result has another shape than its operands give", err);
    defined[o] = 1;
    return DLX_OK;
}

/* A state comes back as it went in, and its shape does not vary. */
static dlx_status verify_states(const dlx_graph *g, dlx_error *err)
{
    if (g->n_states > g->n_inputs || g->n_states > g->n_outputs)
        return dlx_fail(err, DLX_E_FORMAT, "a graph of %zu inputs and %zu outputs has %zu states", g->n_inputs,
                        g->n_outputs, g->n_states);
    for (size_t i = 0; i < g->n_states; i++) {
        const dlx_value *in = &g->values[g->inputs[g->n_inputs - g->n_states + i]];
        uint32_t o = g->outputs[g->n_outputs - g->n_states + i];
        const dlx_value *out = o < g->n_values ? &g->values[o] : in;
        bool same = in->dtype == out->dtype && in->rank == out->rank && !in->dynamic && !out->dynamic &&
                    memcmp(in->dim, out->dim, in->rank * sizeof in->dim[0]) == 0;
        if (!same) return dlx_fail(err, DLX_E_FORMAT, "state %zu comes back with another type or shape", i);
    }
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
    if (s == DLX_OK) s = verify_states(g, err);
    for (size_t i = 0; s == DLX_OK && i < g->n_nodes; i++) s = verify_node(g, i, defined, err);
    for (size_t i = 0; s == DLX_OK && i < g->n_outputs; i++)
        if (g->outputs[i] >= g->n_values || !defined[g->outputs[i]])
            s = dlx_fail(err, DLX_E_FORMAT, "graph output %zu is never computed", i);
        else if (g->values[g->outputs[i]].dtype == DLX_QD8 || g->values[g->outputs[i]].dtype == DLX_QS8 ||
                 g->values[g->outputs[i]].dtype == DLX_I4 || g->values[g->outputs[i]].scales != DLX_NONE)
            s = dlx_fail(err, DLX_E_FORMAT, "graph output %zu is quantised; only a LINEAR reads such a value", i);
    dlx_mem_free(&g->arena.mem, defined, g->n_values, 1);
    return s;
}
