#include "runtime/raise_view.h"

#include <string.h>

/* A view of `v` about which nothing is known yet. */
static dlx_view empty_view(uint32_t v)
{
    dlx_view x = {.v = v};
    for (int i = 0; i < DLX_MAX_RANK; i++) {
        x.at[i] = DLX_VIEW_WHOLE;
        x.name[i] = -1;
    }
    return x;
}

dlx_view dlx_view_of(const dlx_graph *g, uint32_t v)
{
    dlx_view x = empty_view(v);
    for (int i = 0; i < DLX_MAX_RANK && i < g->values[v].rank; i++) x.name[i] = (int8_t)i;
    return x;
}

int dlx_view_find(const dlx_graph *g, const dlx_view *x, int8_t name)
{
    for (int i = 0; i < g->values[x->v].rank; i++)
        if (x->at[i] == DLX_VIEW_WHOLE && x->name[i] == name) return i;
    return -1;
}

static void take(dlx_view *to, int i, const dlx_view *from, int k)
{
    to->at[i] = from->at[k];
    to->name[i] = from->name[k];
}

/* ---- steps: the view of an operand; false: the operator does more than move ---- */

/* Dimensions of 1 come and go. Those between two others stand for each other in order. */
static bool through_reshape(const dlx_graph *g, const dlx_node *n, const dlx_view *x, dlx_view *in)
{
    const dlx_value *from = &g->values[n->in[0]], *to = &g->values[n->out[0]];
    int k = 0;
    *in = empty_view(n->in[0]);
    for (int i = 0; i < to->rank; i++) {
        if (to->dim[i] == 1) {
            if (k < from->rank && from->dim[k] == 1) take(in, k++, x, i);
            continue;
        }
        while (k < from->rank && from->dim[k] == 1) k++;
        if (k == from->rank || from->dim[k] != to->dim[i]) return false;
        take(in, k++, x, i);
    }
    while (k < from->rank && from->dim[k] == 1) k++;
    for (int i = 0; i < from->rank; i++)
        if (from->dim[i] == 1 && in->at[i] != DLX_VIEW_WHOLE) in->at[i] = 0;
    return k == from->rank;
}

/* Operand of `rank` dimensions, the last ones of the view, of which those of 1 are repeated. `skip` last ones aside. */
static void through_broadcast(const dlx_graph *g, uint32_t operand, int rank, int skip, const dlx_view *x, dlx_view *in)
{
    const dlx_value *from = &g->values[operand];
    *in = empty_view(operand);
    for (int i = 0; i < from->rank - skip; i++) {
        int k = i + rank - from->rank;
        bool repeats = from->dim[i] == 1 && k >= 0 && g->values[x->v].dim[k] != 1;
        if (k >= 0 && !repeats) take(in, i, x, k);
    }
}

static bool through_slice(const dlx_graph *g, const dlx_node *n, const dlx_view *x, dlx_view *in)
{
    const dlx_value *from = &g->values[n->in[0]], *to = &g->values[n->out[0]];
    *in = *x;
    in->v = n->in[0];
    for (int i = 0; i < to->rank; i++) {
        int64_t begin = n->attr.shape[i];
        if (x->at[i] != DLX_VIEW_WHOLE) {
            in->at[i] = begin + x->at[i];
        } else if (from->dim[i] != to->dim[i]) {
            if (to->dim[i] != 1) return false;
            in->at[i] = begin;
        }
    }
    return true;
}

static bool through_concat(const dlx_graph *g, const dlx_node *n, const dlx_view *x, dlx_view *in)
{
    int axis = n->attr.axis;
    int64_t at = x->at[axis];
    if (at == DLX_VIEW_WHOLE) return false;
    *in = *x;
    for (int k = 0; k < n->inputs; k++) {
        int64_t size = g->values[n->in[k]].dim[axis];
        in->v = n->in[k];
        in->at[axis] = at;
        if (at < size) return true;
        at -= size;
    }
    return false;
}

static bool through_slice_put(const dlx_graph *g, const dlx_node *n, const dlx_view *x, dlx_view *in)
{
    int axis = n->attr.axis;
    int64_t at = x->at[axis], begin = n->attr.shape[0], size = g->values[n->in[1]].dim[axis];
    if (n->inputs != 2 || at == DLX_VIEW_WHOLE || begin < 0) return false;
    bool part = at >= begin && at < begin + size;
    *in = *x;
    in->v = n->in[part];
    if (part) in->at[axis] = at - begin;
    return true;
}

static bool step(const dlx_graph *g, dlx_view *x, bool selections);

/* Without selections, so that what they depend on does not depend on others in turn. */
static void walk_plainly(const dlx_graph *g, dlx_view *x)
{
    while (step(g, x, false)) {}
}

static bool const_integer(const dlx_graph *g, uint32_t v, int64_t *out)
{
    const dlx_value *c = &g->values[v];
    dlx_shape s = dlx_value_shape(c);
    if (c->kind != DLX_VALUE_CONST || c->dtype != DLX_I64 || !c->source.data || dlx_shape_elements(&s) != 1 ||
        c->source.bytes < sizeof *out)
        return false;
    memcpy(out, c->source.data, sizeof *out);
    return true;
}

static bool integer_at(const dlx_graph *g, dlx_view x, int64_t *out)
{
    int64_t first;
    walk_plainly(g, &x);
    if (const_integer(g, x.v, out)) return true;
    const dlx_node *n = dlx_made_as(g, x.v, DLX_OP_ARANGE);
    if (!n || !const_integer(g, n->in[0], &first)) return false;
    int64_t at = x.at[0] == DLX_VIEW_WHOLE && g->values[x.v].dim[0] == 1 ? 0 : x.at[0];
    if (at == DLX_VIEW_WHOLE) return false;
    return !__builtin_mul_overflow(at, n->attr.shape[2], out) && !__builtin_add_overflow(*out, first, out);
}

/* Whether a condition holds at fixed indices: an integer that follows from the index equals another. */
static bool holds_at(const dlx_graph *g, dlx_view x, bool *out)
{
    int64_t a, b;
    walk_plainly(g, &x);
    const dlx_node *n = dlx_made_as(g, x.v, DLX_OP_EQUAL);
    if (!n || !integer_at(g, dlx_view_operand(g, &x, n, 0, -1), &a) ||
        !integer_at(g, dlx_view_operand(g, &x, n, 1, -1), &b))
        return false;
    *out = a == b;
    return true;
}

static bool through_where(const dlx_graph *g, const dlx_node *n, const dlx_view *x, dlx_view *in)
{
    bool chosen;
    if (!holds_at(g, dlx_view_operand(g, x, n, 0, -1), &chosen)) return false;
    *in = dlx_view_operand(g, x, n, chosen ? 1 : 2, -1);
    return true;
}

static bool through_transpose(const dlx_graph *g, const dlx_node *n, const dlx_view *x, dlx_view *in)
{
    *in = empty_view(n->in[0]);
    for (int i = 0; i < g->values[n->out[0]].rank; i++) take(in, (int)n->attr.shape[i], x, i);
    return true;
}

static bool step(const dlx_graph *g, dlx_view *x, bool selections)
{
    const dlx_node *n = dlx_made_by(g, x->v);
    dlx_view in;
    bool moved = false;
    if (!n || g->values[x->v].dynamic) return false;
    switch (n->op) {
    case DLX_OP_COPY:
        in = *x;
        in.v = n->in[0];
        moved = true;
        break;
    case DLX_OP_RESHAPE: moved = n->inputs == 1 && through_reshape(g, n, x, &in); break;
    case DLX_OP_TRANSPOSE: moved = through_transpose(g, n, x, &in); break;
    case DLX_OP_SLICE: moved = through_slice(g, n, x, &in); break;
    case DLX_OP_CONCAT: moved = through_concat(g, n, x, &in); break;
    case DLX_OP_SLICE_PUT: moved = through_slice_put(g, n, x, &in); break;
    case DLX_OP_WHERE: moved = selections && through_where(g, n, x, &in); break;
    case DLX_OP_EXPAND:
    case DLX_OP_EXPAND_AS:
        through_broadcast(g, n->in[0], g->values[x->v].rank, 0, x, &in);
        moved = true;
        break;
    default: break;
    }
    if (moved) *x = in;
    return moved;
}

bool dlx_view_step(const dlx_graph *g, dlx_view *x)
{
    return step(g, x, true);
}

void dlx_view_walk(const dlx_graph *g, dlx_view *x)
{
    while (dlx_view_step(g, x)) {}
}

dlx_view dlx_view_operand(const dlx_graph *g, const dlx_view *x, const dlx_node *n, int k, int8_t inner)
{
    dlx_view in;
    int rank = g->values[x->v].rank, own = g->values[n->in[k]].rank;
    if (n->op != DLX_OP_BMM) {
        through_broadcast(g, n->in[k], rank, 0, x, &in);
        return in;
    }
    through_broadcast(g, n->in[k], rank, 2, x, &in);
    bool turned = k == 1 && n->attr.transpose_b;
    int mine = k == 0 || turned ? own - 2 : own - 1, shared = k == 0 || turned ? own - 1 : own - 2;
    take(&in, mine, x, k == 0 ? rank - 2 : rank - 1);
    in.at[shared] = DLX_VIEW_WHOLE;
    in.name[shared] = inner;
    return in;
}
