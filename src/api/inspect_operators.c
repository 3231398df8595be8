#include "api/inspect_operators.h"

#include <stdio.h>

#include "base/sizes.h"
#include "graph/linear_kinds.h"

/* Operators with kernels of their own, in words. Reshapes and copies are views: they run nothing. */
static const struct {
    dlx_op op;
    const char *word;
} fused[] = {
    {DLX_OP_ATTENTION, "attention"}, {DLX_OP_RMS_NORM, "rms_norm"},     {DLX_OP_ROPE, "rope"},
    {DLX_OP_SILU_MUL, "silu_mul"},   {DLX_OP_LINEAR, "linear"},         {DLX_OP_EMBEDDING, "embedding"},
    {DLX_OP_CONVERT, "quantize"},    {DLX_OP_ROW_SELECT, "row_select"}, {DLX_OP_SDPA, "sdpa"},
};

static size_t count(const dlx_graph *g, dlx_op op)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
    return n;
}

static bool runs_alone(dlx_op op)
{
    for (size_t i = 0; i < DLX_COUNT(fused); i++)
        if (fused[i].op == op) return false;
    return op != DLX_OP_RESHAPE && op != DLX_OP_COPY;
}

void dlx_put_operators(dlx_text_buffer *t, const dlx_graph *g)
{
    const char *between = "";
    dlx_put(t, "  fused            ");
    for (size_t i = 0; i < DLX_COUNT(fused); i++) {
        size_t n = count(g, fused[i].op);
        if (n) dlx_put(t, "%s%zu %s", between, n, fused[i].word);
        if (n) between = ", ";
    }
    dlx_put(t, "%s\n  node by node     ", *between ? "" : "nothing");
    between = "";
    for (int op = 0; op < DLX_OP_COUNT; op++) {
        size_t n = runs_alone((dlx_op)op) ? count(g, (dlx_op)op) : 0;
        if (n) dlx_put(t, "%s%zu %s", between, n, dlx_op_name((dlx_op)op));
        if (n) between = ", ";
    }
    dlx_put(t, "%s\n", *between ? "" : "nothing");
}

void dlx_put_operators_json(dlx_text_buffer *t, const dlx_graph *g)
{
    const char *between = "";
    dlx_put(t, "{\"fused\":{");
    for (size_t i = 0; i < DLX_COUNT(fused); i++) {
        size_t n = count(g, fused[i].op);
        if (n) dlx_put(t, "%s\"%s\":%zu", between, fused[i].word, n);
        if (n) between = ",";
    }
    dlx_put(t, "},\"node_by_node\":{");
    between = "";
    for (int op = 0; op < DLX_OP_COUNT; op++) {
        size_t n = runs_alone((dlx_op)op) ? count(g, (dlx_op)op) : 0;
        if (n) dlx_put(t, "%s\"%s\":%zu", between, dlx_op_name((dlx_op)op), n);
        if (n) between = ",";
    }
    dlx_put(t, "}}");
}

/* Linear layers of one kind. */
typedef struct linear_group {
    dlx_linear_kind kind;
    size_t group; /* inputs that share a scale, 0: a row */
    size_t layers;
    uint64_t bytes; /* of their weights and scales, in the file */
} linear_group;

static uint64_t bytes_of(const dlx_graph *g, uint32_t v)
{
    uint64_t bytes = 0;
    dlx_shape s = v == DLX_NONE ? (dlx_shape){0} : dlx_value_shape(&g->values[v]);
    if (v != DLX_NONE) (void)dlx_dtype_bytes(g->values[v].dtype, (uint64_t)dlx_shape_elements(&s), &bytes);
    return bytes;
}

/* Whether an earlier layer reads the same weights. */
static bool seen_before(const dlx_graph *g, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (g->nodes[k].op == DLX_OP_LINEAR && g->nodes[k].in[1] == g->nodes[i].in[1]) return true;
    return false;
}

/* All layers of the kind of LINEAR i; false when an earlier layer is of that kind. */
static bool group_at(const dlx_graph *g, size_t i, linear_group *out)
{
    *out = (linear_group){.layers = 0};
    for (size_t k = 0; k < g->n_nodes; k++) {
        const dlx_node *n = &g->nodes[k], *first = &g->nodes[i];
        if (n->op != DLX_OP_LINEAR) continue;
        const dlx_value *w = &g->values[n->in[1]], *v = &g->values[first->in[1]];
        dlx_linear_kind kind = dlx_linear_kind_of(g, &g->values[n->in[0]], w);
        if (kind != dlx_linear_kind_of(g, &g->values[first->in[0]], v) || dlx_group_of(g, w) != dlx_group_of(g, v))
            continue;
        if (k < i) return false;
        out->kind = kind;
        out->group = dlx_group_of(g, w);
        out->layers++;
        if (!seen_before(g, k)) out->bytes += bytes_of(g, n->in[1]) + bytes_of(g, w->scales);
    }
    return out->layers > 0;
}

void dlx_put_linears(dlx_text_buffer *t, const dlx_graph *g)
{
    linear_group l;
    char kind[64];
    dlx_put(t, "linear layers (activations-weights)\n");
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op != DLX_OP_LINEAR || !group_at(g, i, &l)) continue;
        if (l.group)
            snprintf(kind, sizeof kind, "%s, %zu", dlx_linear_word(l.kind), l.group);
        else
            snprintf(kind, sizeof kind, "%s", dlx_linear_word(l.kind));
        dlx_put(t, "  %-16s %6zu layers %12llu bytes %10.1f MB\n", kind, l.layers, (unsigned long long)l.bytes,
                (double)l.bytes / 1e6);
    }
}

void dlx_put_linears_json(dlx_text_buffer *t, const dlx_graph *g)
{
    linear_group l;
    const char *between = "";
    dlx_put(t, "[");
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op != DLX_OP_LINEAR || !group_at(g, i, &l)) continue;
        dlx_put(t, "%s{\"kind\":\"%s\",\"group\":%zu,\"layers\":%zu,\"bytes\":%llu}", between, dlx_linear_word(l.kind),
                l.group, l.layers, (unsigned long long)l.bytes);
        between = ",";
    }
    dlx_put(t, "]");
}

/* ---- ranges of static activations ---- */

/* A statically quantised layer with a name, and the numbers at the ends of its grids. */
typedef struct static_layer {
    const char *name;
    double in[2], out[2];
} static_layer;

static void ends_of(double ends[2], dlx_grid8 grid)
{
    ends[0] = (double)grid.scale * (-128 - grid.zero);
    ends[1] = (double)grid.scale * (127 - grid.zero);
}

static bool static_at(const dlx_graph *g, size_t i, static_layer *out)
{
    const dlx_node *n = &g->nodes[i];
    if (n->op != DLX_OP_LINEAR || g->values[n->in[0]].dtype != DLX_QS8) return false;
    out->name = g->values[n->in[1]].name ? g->values[n->in[1]].name : "(unnamed)";
    ends_of(out->in, dlx_grid8_of(dlx_made_by(g, n->in[0])));
    ends_of(out->out, dlx_grid8_of(n));
    return true;
}

void dlx_put_ranges(dlx_text_buffer *t, const dlx_graph *g)
{
    static_layer l;
    bool any = false;
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (!static_at(g, i, &l)) continue;
        if (!any) dlx_put(t, "ranges of static activations (inputs, outputs)\n");
        any = true;
        dlx_put(t, "  %-32s %.4g to %.4g, %.4g to %.4g\n", l.name, l.in[0], l.in[1], l.out[0], l.out[1]);
    }
}

/* Whether an earlier layer has the same name: an object has each once. */
static bool is_again(const dlx_graph *g, size_t node, const char *name)
{
    static_layer l;
    for (size_t i = 0; i < node; i++)
        if (static_at(g, i, &l) && !strcmp(l.name, name)) return true;
    return false;
}

void dlx_put_ranges_json(dlx_text_buffer *t, const dlx_graph *g)
{
    static_layer l;
    const char *between = ",\"ranges\":{";
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (!static_at(g, i, &l) || is_again(g, i, l.name)) continue;
        dlx_put(t, "%s", between);
        dlx_put_json(t, l.name);
        dlx_put(t, ":{\"input\":[%.9g,%.9g],\"output\":[%.9g,%.9g]}", l.in[0], l.in[1], l.out[0], l.out[1]);
        between = ",";
    }
    if (!between[1]) dlx_put(t, "}"); /* something was put */
}
