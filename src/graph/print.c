/* Graphs as text, one line a node, or as Graphviz dot. */
#include "graph/graph.h"

#include "base/text_buffer.h"

static void put_name(dlx_text_buffer *t, const dlx_graph *g, uint32_t v)
{
    if (v == DLX_NONE)
        dlx_put(t, "none");
    else if (g->values[v].name)
        /* Names come from files: nothing in them may end a label or reach a terminal as a control sequence. */
        for (const char *c = g->values[v].name; *c; c++)
            dlx_put(t, "%c", *c < 0x20 || *c == 0x7F || *c == '"' || *c == '\\' ? '?' : *c);
    else
        dlx_put(t, "%%%u", v);
}

/* "f32[<=32,128]": a bound is marked where the dimension may be smaller. */
static void put_type(dlx_text_buffer *t, const dlx_value *v)
{
    dlx_put(t, "%s[", dlx_dtype_name(v->dtype));
    for (int i = 0; i < v->rank; i++)
        dlx_put(t, "%s%s%lld", i ? "," : "", v->dynamic >> i & 1 ? "<=" : "", (long long)v->dim[i]);
    dlx_put(t, "]");
}

static void put_attr(dlx_text_buffer *t, const dlx_node *n)
{
    const dlx_attr *a = &n->attr;
    switch (n->op) {
    case DLX_OP_RMS_NORM: dlx_put(t, " eps=%g", (double)a->f[0]); break;
    case DLX_OP_ATTENTION: dlx_put(t, " scale=%g", (double)a->f[0]); break;
    case DLX_OP_CONVERT:
    case DLX_OP_LINEAR:
        if (a->dtype == DLX_QS8) dlx_put(t, " scale=%g zero=%d", (double)a->f[0], (int)a->axis);
        break;
    case DLX_OP_CLAMP: dlx_put(t, " min=%g max=%g", (double)a->f[0], (double)a->f[1]); break;
    case DLX_OP_MEAN: dlx_put(t, " axis=%d keep=%d", (int)a->axis, a->keep); break;
    case DLX_OP_CONCAT: dlx_put(t, " axis=%d", (int)a->axis); break;
    case DLX_OP_BMM:
        if (a->transpose_b) dlx_put(t, " transpose_b");
        break;
    case DLX_OP_RESHAPE:
    case DLX_OP_TRANSPOSE:
    case DLX_OP_SLICE:
        dlx_put(t, n->op == DLX_OP_TRANSPOSE ? " perm=" : n->op == DLX_OP_SLICE ? " begin=" : " shape=");
        for (int i = 0; i < a->rank; i++) dlx_put(t, "%s%lld", i ? "," : "", (long long)a->shape[i]);
        if (n->op != DLX_OP_SLICE) break;
        dlx_put(t, " size=");
        for (int i = 0; i < a->rank; i++) dlx_put(t, "%s%lld", i ? "," : "", (long long)a->size[i]);
        break;
    default: break;
    }
}

static void print_text(dlx_text_buffer *t, const dlx_graph *g)
{
    for (size_t i = 0; i < g->n_inputs; i++) {
        dlx_put(t, "input ");
        put_name(t, g, g->inputs[i]);
        dlx_put(t, " ");
        put_type(t, &g->values[g->inputs[i]]);
        dlx_put(t, "\n");
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        put_name(t, g, n->out[0]);
        dlx_put(t, " = %s(", dlx_op_name(n->op));
        for (int k = 0; k < n->inputs; k++) {
            if (k) dlx_put(t, ", ");
            put_name(t, g, n->in[k]);
        }
        dlx_put(t, ")");
        put_attr(t, n);
        dlx_put(t, " : ");
        put_type(t, &g->values[n->out[0]]);
        dlx_put(t, "\n");
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        dlx_put(t, "output ");
        put_name(t, g, g->outputs[i]);
        dlx_put(t, "\n");
    }
}

static void print_dot(dlx_text_buffer *t, const dlx_graph *g)
{
    dlx_put(t, "digraph program {\n  node [shape=box, fontname=\"monospace\"];\n");
    for (size_t i = 0; i < g->n_inputs; i++) {
        dlx_put(t, "  v%u [shape=ellipse, label=\"", g->inputs[i]);
        put_name(t, g, g->inputs[i]);
        dlx_put(t, "\\n");
        put_type(t, &g->values[g->inputs[i]]);
        dlx_put(t, "\"];\n");
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        dlx_put(t, "  v%u [label=\"%s", n->out[0], dlx_op_name(n->op));
        put_attr(t, n);
        for (int k = 0; k < n->inputs; k++)
            if (n->in[k] != DLX_NONE && g->values[n->in[k]].kind == DLX_VALUE_CONST) {
                dlx_put(t, "\\n");
                put_name(t, g, n->in[k]);
            }
        dlx_put(t, "\\n");
        put_type(t, &g->values[n->out[0]]);
        dlx_put(t, "\"];\n");
        for (int k = 0; k < n->inputs; k++)
            if (n->in[k] != DLX_NONE && g->values[n->in[k]].kind != DLX_VALUE_CONST)
                dlx_put(t, "  v%u -> v%u;\n", n->in[k], n->out[0]);
    }
    for (size_t i = 0; i < g->n_outputs; i++)
        dlx_put(t, "  o%zu [shape=ellipse, label=\"output %zu\"]; v%u -> o%zu;\n", i, i, g->outputs[i], i);
    dlx_put(t, "}\n");
}

dlx_status dlx_graph_print(const dlx_graph *g, bool dot, char **out, dlx_error *err)
{
    dlx_text_buffer t = {0};
    if (dot)
        print_dot(&t, g);
    else
        print_text(&t, g);
    return dlx_text_take(&t, out, "printing a graph", err);
}
