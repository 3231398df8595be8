#include "api/inspect_operators.h"

#include "base/sizes.h"

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
