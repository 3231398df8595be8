/* Which nodes run together: decided once, when a program is loaded. */
#include "runtime/stages.h"

#include <string.h>

#include "runtime/executor.h"
#include "runtime/linear.h"

/* Moves node `from` to the earlier place `to`. */
static void move_node(dlx_graph *g, size_t from, size_t to)
{
    dlx_node n = g->nodes[from];
    memmove(&g->nodes[to + 1], &g->nodes[to], (from - to) * sizeof n);
    g->nodes[to] = n;
}

/* A LINEAR reads its rows and constants, so it may run as soon as another one of the same rows does. */
static void gather_linears(dlx_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].op != DLX_OP_LINEAR) continue;
        uint32_t rows = g->nodes[i].in[0];
        for (size_t j = i + 1; j < g->n_nodes; j++)
            if (g->nodes[j].op == DLX_OP_LINEAR && g->nodes[j].in[0] == rows) move_node(g, j, ++i);
    }
    for (size_t i = 0; i < g->n_nodes; i++) g->values[g->nodes[i].out[0]].producer = (uint32_t)i;
}

/* How many of node n's first operands it works on row by row, each alone, as execute.c runs it; 0: it does not. */
static int row_operands(const dlx_program *p, const dlx_node *n)
{
    const dlx_value *out = &p->g.values[n->out[0]];
    switch (n->op) {
    case DLX_OP_RMS_NORM: return 1;
    case DLX_OP_SILU_MUL: return 2;
    case DLX_OP_ROPE: return n->attr.axis ? 0 : 1; /* rows in front of heads */
    case DLX_OP_ADD: return out->dtype == DLX_F32 ? 2 : 0;
    case DLX_OP_CONVERT: return dlx_linear_quantizer(&p->k, out->dtype) ? 1 : 0;
    default: return 0;
    }
}

/* Whether a node of [first, end) makes value v, or the bytes that it is another view of. */
static bool made_in(const dlx_graph *g, size_t first, size_t end, uint32_t v)
{
    return g->values[v].producer != DLX_NONE && g->values[v].producer >= first && g->values[v].producer < end;
}

static size_t linears_from(const dlx_program *p, size_t first)
{
    const dlx_graph *g = &p->g;
    size_t end = first;
    for (; end < g->n_nodes && end - first < DLX_STAGE_NODES; end++) {
        const dlx_node *n = &g->nodes[end];
        if (n->op != DLX_OP_LINEAR || n->out[0] == dlx_caller_output(p) || made_in(g, first, end, n->in[0])) break;
    }
    return end;
}

/* How often node results and the program itself ask for value v. */
static size_t uses_of(const dlx_graph *g, uint32_t v)
{
    size_t uses = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].inputs; k++) uses += g->nodes[i].in[k] == v;
    for (size_t i = 0; i < g->n_outputs; i++) uses += g->outputs[i] == v;
    return uses;
}

/* Whether [first, end) are two LINEARs that are there for the SILU_MUL behind them only, and have strips of the same
 * columns. */
static bool is_gated(const dlx_program *p, size_t first, size_t end)
{
    const dlx_graph *g = &p->g;
    if (end - first != 2 || end == g->n_nodes) return false;
    const dlx_node *n = &g->nodes[first], *product = &g->nodes[end];
    if (product->op != DLX_OP_SILU_MUL) return false;
    uint32_t a = n[0].out[0], b = n[1].out[0], gate = product->in[0], up = product->in[1];
    if (!((gate == a && up == b) || (gate == b && up == a)) || uses_of(g, a) != 1 || uses_of(g, b) != 1) return false;
    return g->values[a].dtype == DLX_F32 && g->values[b].dtype == DLX_F32 &&
           dlx_linear_shape(g, n).n_out == dlx_linear_shape(g, n + 1).n_out &&
           dlx_linear_gemm(&p->k, g, n)->strip == dlx_linear_gemm(&p->k, g, n + 1)->strip;
}

/* Whether node i may be taken row by row with those from `first` on: what it reads otherwise is there before them. */
static bool joins_rows(const dlx_program *p, size_t first, size_t i)
{
    const dlx_node *n = &p->g.nodes[i];
    int rows = row_operands(p, n);
    for (int k = rows; k < n->inputs; k++)
        if (n->in[k] != DLX_NONE && made_in(&p->g, first, i, n->in[k])) return false;
    return rows > 0;
}

/* With views between them, which take nothing to run. */
static size_t rows_from(const dlx_program *p, size_t first)
{
    const dlx_graph *g = &p->g;
    size_t last = first, operators = 0;
    for (size_t i = first; i < g->n_nodes && i - first < DLX_STAGE_NODES; i++) {
        if (joins_rows(p, first, i)) {
            last = i;
            operators++;
        } else if (!dlx_shares_operand(&g->nodes[i])) {
            break;
        }
    }
    return operators > 1 ? last + 1 : first;
}

static dlx_stage stage_from(const dlx_program *p, size_t first, bool single)
{
    dlx_stage s = {.first = (uint32_t)first, .end = (uint32_t)first + 1, .kind = DLX_STAGE_NODE};
    size_t linears = single ? first : linears_from(p, first), rows = single ? first : rows_from(p, first);
    if (is_gated(p, first, linears)) {
        s.end = (uint32_t)linears + 1;
        s.kind = DLX_STAGE_GATED;
    } else if (linears > first + 1) {
        s.end = (uint32_t)linears;
        s.kind = DLX_STAGE_LINEARS;
    } else if (rows > first + 1) {
        s.end = (uint32_t)rows;
        s.kind = DLX_STAGE_ROWS;
    }
    return s;
}

dlx_status dlx_stages_find(dlx_program *p, dlx_error *err)
{
    bool single = dlx_sized_at_run(&p->g); /* its shapes are known node by node */
    p->stages = dlx_mem_zeroed(&p->mem, p->g.n_nodes + 1, sizeof *p->stages);
    if (!p->stages) return dlx_fail(err, DLX_E_NOMEM, "out of memory loading a program of %zu operators", p->g.n_nodes);
    if (!single) gather_linears(&p->g);
    for (size_t i = 0; i < p->g.n_nodes; i = p->stages[p->n_stages++].end)
        p->stages[p->n_stages] = stage_from(p, i, single);
    return DLX_OK;
}

void dlx_stages_free(dlx_program *p)
{
    dlx_mem_free(&p->mem, p->stages, p->g.n_nodes + 1, sizeof *p->stages);
    p->stages = NULL;
}
