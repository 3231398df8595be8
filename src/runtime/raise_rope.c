/*
 * Rotary embeddings in primitive nodes: of rotated halves (x * cos + swapped halves of x * sin, the sign in the table
 * of sines: raise_constants.c), and of pairs of neighbours, as Llama's reference code has them. Rows may lie in front
 * of the heads or behind them, with dimensions of 1 in front of both.
 */
#include <string.h>

#include "runtime/raise.h"

/* Reshapes that are looked through one after the other; exporters write a handful. */
enum { MOST_STEPS = 8 };

/* What is rotated: its dimensions from the right. */
typedef struct rotated {
    const dlx_value *x;
    int rank; /* of x without the dimension of pairs */
    int64_t width;
    bool heads_first;
} rotated;

/* Leading dimensions are 1, and none but the rows and those in front may vary. */
static bool is_rotated(const dlx_value *x, bool pairs, rotated *r)
{
    int rank = x->rank - pairs;
    *r = (rotated){.x = x, .rank = rank};
    if (rank < 3) return false;
    for (int i = 0; i + 3 < rank; i++)
        if (x->dim[i] != 1 || (x->dynamic >> i & 1)) return false;
    for (int i = rank - 1; i < x->rank; i++)
        if (x->dynamic >> i & 1) return false;
    r->width = pairs ? x->dim[rank - 1] : x->dim[rank - 1] / 2;
    return r->width > 0 && (pairs ? x->dim[rank] == 2 : x->dim[rank - 1] % 2 == 0);
}

/* Dimension `from_right` of a table that broadcasts to rank `rank`; absent ones are 1. */
static int64_t dim_of(const dlx_value *t, int from_right, bool *varies)
{
    int i = t->rank - 1 - from_right;
    *varies = i >= 0 && (t->dynamic >> i & 1);
    return i >= 0 ? t->dim[i] : 1;
}

/* Whether table v [.., T, 1, W] or [.., 1, T, W] belongs to the rows of r, and the rows [T, W] behind its reshapes. */
static bool find_rows(const dlx_graph *g, uint32_t v, const rotated *r, int64_t width, bool heads_first, uint32_t *rows)
{
    const dlx_value *t = &g->values[v], *x = r->x;
    int at = heads_first ? 1 : 2, row = r->rank - 1 - at, head = r->rank - 1 - (3 - at);
    bool width_varies, row_varies, head_varies, front_varies;
    if (t->rank > r->rank || dim_of(t, 0, &width_varies) != width || width_varies ||
        dim_of(t, at, &row_varies) != x->dim[row] || row_varies != (x->dynamic >> row & 1) ||
        dim_of(t, 3 - at, &head_varies) != 1 || head_varies || (x->dynamic >> head & 1))
        return false;
    for (int i = 3; i < t->rank; i++)
        if (dim_of(t, i, &front_varies) != 1 || front_varies) return false;
    const dlx_node *n;
    for (int i = 0; i < MOST_STEPS && g->values[v].rank != 2 && (n = dlx_made_as(g, v, DLX_OP_RESHAPE)) != NULL; i++)
        v = n->in[0];
    const dlx_value *base = &g->values[v];
    *rows = v;
    return base->rank == 2 && base->dim[0] == x->dim[row] && base->dim[1] == width &&
           base->dynamic == (unsigned)row_varies;
}

static void become_rope(dlx_graph *g, size_t i, uint32_t x, uint32_t cos, uint32_t sin, bool pairs, bool heads_first)
{
    dlx_raise_into(g, i, DLX_OP_ROPE, (uint32_t[]){x, cos, sin}, 3, 0);
    g->nodes[i].attr.keep = pairs;
    g->nodes[i].attr.axis = heads_first;
}

/* ---- halves ---- */

/* Half of the last dimension of x, from `begin` on. */
static bool is_half(const dlx_graph *g, uint32_t v, uint32_t x, int64_t begin)
{
    const dlx_node *n = dlx_made_as(g, v, DLX_OP_SLICE);
    const dlx_value *xv = &g->values[x], *part = &g->values[v];
    int last = xv->rank - 1;
    if (!n || n->in[0] != x || n->attr.shape[last] != begin || part->dynamic != xv->dynamic ||
        part->dim[last] * 2 != xv->dim[last])
        return false;
    for (int i = 0; i < last; i++)
        if (n->attr.shape[i] || part->dim[i] != xv->dim[i]) return false;
    return true;
}

/* Both tables, with the rows in one place. */
static bool find_tables(const dlx_graph *g, uint32_t cos, uint32_t sin, rotated *r, int64_t width, uint32_t rows[2])
{
    for (int first = 0; first < 2; first++) {
        r->heads_first = first;
        if (find_rows(g, cos, r, width, first, &rows[0]) && find_rows(g, sin, r, width, first, &rows[1])) return true;
    }
    return false;
}

static bool raise_halves(dlx_graph *g, size_t i)
{
    dlx_node *n = &g->nodes[i];
    if (n->op != DLX_OP_ADD) return false;
    for (int k = 0; k < 2; k++) {
        const dlx_node *straight = dlx_made_as(g, n->in[k], DLX_OP_MUL),
                       *turned = dlx_made_as(g, n->in[1 - k], DLX_OP_MUL);
        for (int a = 0; straight && turned && a < 2; a++)
            for (int b = 0; b < 2; b++) {
                uint32_t x = straight->in[a], rows[2];
                const dlx_node *swap = dlx_made_as(g, turned->in[b], DLX_OP_CONCAT);
                rotated r;
                if (!swap || swap->inputs != 2 || swap->attr.axis != g->values[x].rank - 1 ||
                    !is_rotated(&g->values[x], false, &r) || !is_half(g, swap->in[0], x, r.width) ||
                    !is_half(g, swap->in[1], x, 0) ||
                    !find_tables(g, straight->in[1 - a], turned->in[1 - b], &r, 2 * r.width, rows))
                    continue;
                become_rope(g, i, x, rows[0], rows[1], false, r.heads_first);
                return true;
            }
    }
    return false;
}

/* ---- pairs ---- */

/* The first (0) or second (1) of each pair, [.., P], of pairs [.., P, 2]. */
static uint32_t pairs_of(const dlx_graph *g, uint32_t v, int64_t which)
{
    const dlx_node *shaped = dlx_made_as(g, v, DLX_OP_RESHAPE);
    const dlx_node *part = shaped ? dlx_made_as(g, shaped->in[0], DLX_OP_SLICE) : NULL;
    if (!part) return DLX_NONE;
    const dlx_value *x = &g->values[part->in[0]], *taken = &g->values[shaped->in[0]], *out = &g->values[v];
    int last = x->rank - 1;
    bool fits = x->rank >= 4 && x->dim[last] == 2 && taken->dim[last] == 1 && part->attr.shape[last] == which &&
                out->rank == last && out->dynamic == x->dynamic;
    for (int i = 0; fits && i < last; i++)
        fits = !part->attr.shape[i] && taken->dim[i] == x->dim[i] && out->dim[i] == x->dim[i];
    return fits ? part->in[0] : DLX_NONE;
}

/* v is a * b with a the given half of the pairs: the other operand. */
static uint32_t other_factor(const dlx_graph *g, uint32_t v, int64_t which, uint32_t *pairs)
{
    const dlx_node *n = dlx_made_as(g, v, DLX_OP_MUL);
    for (int k = 0; n && k < 2; k++) {
        *pairs = pairs_of(g, n->in[k], which);
        if (*pairs != DLX_NONE) return n->in[1 - k];
    }
    return DLX_NONE;
}

/* What goes into place `which` of the new pairs, before it got a dimension of its own. */
static const dlx_node *part_of(const dlx_graph *g, const dlx_node *both, int which, dlx_op op)
{
    const dlx_node *shaped = dlx_made_as(g, both->in[which], DLX_OP_RESHAPE);
    const dlx_value *in = shaped ? &g->values[shaped->in[0]] : NULL, *out = &g->values[both->in[which]];
    if (!in || in->rank + 1 != out->rank || out->dim[in->rank] != 1 || in->dynamic != out->dynamic ||
        memcmp(in->dim, out->dim, in->rank * sizeof in->dim[0]) != 0)
        return NULL;
    return dlx_made_as(g, shaped->in[0], op);
}

/* concat([a cos - b sin], [a sin + b cos]) along a new last dimension */
static bool raise_pairs(dlx_graph *g, size_t i)
{
    dlx_node *n = &g->nodes[i];
    if (n->op != DLX_OP_CONCAT || n->inputs != 2 || n->attr.axis != g->values[n->out[0]].rank - 1) return false;
    const dlx_node *re = part_of(g, n, 0, DLX_OP_SUB), *im = part_of(g, n, 1, DLX_OP_ADD);
    uint32_t x[4], table[4], rows[4];
    rotated r;
    if (!re || !im) return false;
    for (int k = 0; k < 2; k++) {
        table[0] = other_factor(g, re->in[0], 0, &x[0]);
        table[1] = other_factor(g, re->in[1], 1, &x[1]);
        table[2] = other_factor(g, im->in[k], 0, &x[2]);
        table[3] = other_factor(g, im->in[1 - k], 1, &x[3]);
        bool found = true;
        for (int t = 0; t < 4; t++) found = found && table[t] != DLX_NONE && x[t] == x[0];
        if (!found || !is_rotated(&g->values[x[0]], true, &r)) continue;
        /* a cos - b sin and a sin + b cos: the tables cross. */
        if (!find_tables(g, table[0], table[1], &r, r.width, rows) ||
            !find_rows(g, table[3], &r, r.width, r.heads_first, &rows[2]) ||
            !find_rows(g, table[2], &r, r.width, r.heads_first, &rows[3]) || rows[2] != rows[0] || rows[3] != rows[1])
            continue;
        become_rope(g, i, x[0], rows[0], rows[1], true, r.heads_first);
        return true;
    }
    return false;
}

bool dlx_raise_rope(dlx_graph *g, size_t i)
{
    return raise_halves(g, i) || raise_pairs(g, i);
}
