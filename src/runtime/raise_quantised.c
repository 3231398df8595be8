/*
 * Quantised weights that the delegate has no operator for, so that files take several: lookups in a table of 4-bit
 * codes, whose bytes are gathered and taken apart with exact float arithmetic, and biases that are added behind a
 * linear layer (backends/xnnpack/decompose.c, which says why).
 */
#include "graph/linear_kinds.h"
#include "runtime/raise.h"

static bool is_number(const dlx_graph *g, uint32_t v, float number)
{
    dlx_shape s = dlx_value_shape(&g->values[v]);
    float x;
    return g->values[v].dtype == DLX_F32 && dlx_shape_elements(&s) == 1 && dlx_const_number(g, v, 0, &x) && x == number;
}

/* The other operand of `v`, an `op` with that number. */
static uint32_t with_number(const dlx_graph *g, uint32_t v, dlx_op op, float number)
{
    const dlx_node *n = dlx_made_as(g, v, op);
    return n && is_number(g, n->in[1], number) ? n->in[0] : DLX_NONE;
}

static bool is_rows(const dlx_value *v, int64_t d)
{
    return v->rank == 2 && v->dim[1] == d && !(v->dynamic & 2);
}

/* Rows of a constant table, gathered by ids. */
static const dlx_node *lookup(const dlx_graph *g, uint32_t v)
{
    const dlx_node *n = dlx_made_as(g, v, DLX_OP_EMBEDDING);
    return n && n->inputs == 2 && g->values[n->in[0]].kind == DLX_VALUE_CONST ? n : NULL;
}

/* The lookup of bytes whose 4-bit codes make up the floats v [T, d]. */
static const dlx_node *codes_of(const dlx_graph *g, uint32_t v, int64_t d)
{
    const dlx_node *row = dlx_made_as(g, with_number(g, v, DLX_OP_SUB, 8.0f), DLX_OP_RESHAPE);
    const dlx_node *turn = row ? dlx_made_as(g, row->in[0], DLX_OP_TRANSPOSE) : NULL;
    const dlx_node *halves = turn ? dlx_made_as(g, turn->in[0], DLX_OP_RESHAPE) : NULL;
    const dlx_node *both = halves ? dlx_made_as(g, halves->in[0], DLX_OP_CONCAT) : NULL;
    if (!both || both->inputs != 2 || both->attr.axis != 1 || !is_rows(&g->values[v], d) ||
        !is_rows(&g->values[both->out[0]], d))
        return NULL;
    const int64_t *size = g->values[halves->out[0]].dim, *perm = turn->attr.shape;
    if (turn->attr.rank != 3 || perm[0] != 0 || perm[1] != 2 || perm[2] != 1 || size[1] != 2 || size[2] * 2 != d)
        return NULL;
    uint32_t hi = both->in[1];
    const dlx_node *floor = dlx_made_as(g, hi, DLX_OP_FLOOR), *low = dlx_made_as(g, both->in[0], DLX_OP_SUB);
    if (!floor || !low || with_number(g, low->in[1], DLX_OP_MUL, 16.0f) != hi) return NULL;
    uint32_t bytes = low->in[0];
    const dlx_node *convert = dlx_made_as(g, bytes, DLX_OP_CONVERT);
    if (with_number(g, floor->in[0], DLX_OP_MUL, 0.0625f) != bytes || !convert || convert->attr.f[0] != 1.0f)
        return NULL;
    const dlx_node *rows = lookup(g, convert->in[0]);
    return rows && g->values[rows->in[0]].dtype == DLX_U8 && g->values[rows->in[0]].dim[1] * 2 == d ? rows : NULL;
}

/* The lookup of scales behind v: floats as they are, or bf16 as floats. */
static const dlx_node *scales_of(const dlx_graph *g, uint32_t v)
{
    const dlx_node *convert = dlx_made_as(g, v, DLX_OP_CONVERT);
    const dlx_node *n = lookup(g, convert ? convert->in[0] : v);
    return n && g->values[n->in[0]].dtype == (convert ? DLX_BF16 : DLX_F32) ? n : NULL;
}

typedef struct match {
    const dlx_node *codes, *scales;
    int64_t d, groups;
} match;

/* codes [T,d] * scales [T,1] */
static bool match_rows(const dlx_graph *g, const dlx_node *n, match *m)
{
    const dlx_value *out = &g->values[n->out[0]];
    if (n->op != DLX_OP_MUL || out->rank != 2 || !(m->scales = scales_of(g, n->in[1]))) return false;
    m->d = out->dim[1];
    m->groups = 1;
    m->codes = codes_of(g, n->in[0], m->d);
    return m->codes != NULL;
}

/* codes [T,groups,d/groups] * scales [T,groups,1], as rows [T,d] */
static bool match_groups(const dlx_graph *g, const dlx_node *n, match *m)
{
    const dlx_node *product = n->op == DLX_OP_RESHAPE ? dlx_made_as(g, n->in[0], DLX_OP_MUL) : NULL;
    const dlx_node *grouped = product ? dlx_made_as(g, product->in[0], DLX_OP_RESHAPE) : NULL;
    const dlx_node *each = product ? dlx_made_as(g, product->in[1], DLX_OP_RESHAPE) : NULL;
    if (!grouped || !each || !(m->scales = scales_of(g, each->in[0]))) return false;
    const dlx_value *out = &g->values[n->out[0]], *x = &g->values[grouped->out[0]], *s = &g->values[each->out[0]];
    if (out->rank != 2 || x->rank != 3 || s->rank != 3) return false;
    m->d = out->dim[1];
    m->groups = x->dim[1];
    m->codes = is_rows(out, m->d) ? codes_of(g, grouped->in[0], m->d) : NULL;
    return m->codes && s->dim[1] == m->groups && s->dim[2] == 1 && m->groups > 0 && x->dim[2] * m->groups == m->d &&
           !(x->dynamic & ~1u) && !(s->dynamic & ~1u);
}

bool dlx_raise_int4_embedding(dlx_graph *g, size_t i)
{
    match m;
    if (!match_rows(g, &g->nodes[i], &m) && !match_groups(g, &g->nodes[i], &m)) return false;
    const dlx_value *scales = &g->values[m.scales->in[0]];
    dlx_value table = g->values[m.codes->in[0]];
    if (m.codes->in[1] != m.scales->in[1] || scales->rank != 2 || scales->dim[0] != table.dim[0] ||
        scales->dim[1] != m.groups)
        return false;
    table.dtype = DLX_I4;
    table.dim[1] = m.d;
    uint32_t in[3] = {DLX_NONE, m.codes->in[1], m.scales->in[0]};
    in[0] = dlx_graph_value(g, &table);
    if (in[0] == DLX_NONE) return false; /* stays as it is, which is right as well */
    dlx_raise_into(g, i, DLX_OP_EMBEDDING, in, 3, 0.0f);
    return true;
}

bool dlx_raise_bias(dlx_graph *g, size_t i)
{
    const dlx_node *add = &g->nodes[i];
    for (int k = 0; add->op == DLX_OP_ADD && k < 2; k++) {
        const dlx_node *n = dlx_made_as(g, add->in[k], DLX_OP_LINEAR);
        const dlx_value *bias = &g->values[add->in[1 - k]];
        if (!n || n->inputs != 2 || bias->kind != DLX_VALUE_CONST || bias->dtype != DLX_F32 || bias->rank != 1 ||
            bias->dim[0] != g->values[n->in[1]].dim[0] || !dlx_single_use(g, add->in[k]))
            continue;
        dlx_linear_kind kind = dlx_linear_kind_of(g, &g->values[n->in[0]], &g->values[n->in[1]]);
        if (kind != DLX_LINEAR_F32_QC8W && kind != DLX_LINEAR_F32_F16W && kind != DLX_LINEAR_F32_BF16W) continue;
        uint32_t in[3] = {n->in[0], n->in[1], add->in[1 - k]};
        dlx_raise_into(g, i, DLX_OP_LINEAR, in, 3, 0.0f);
        return true;
    }
    return false;
}
