/* Shape rules of element-wise operators, reductions, gathers, and of everything whose sizes may come at run time. */
#include "graph/shape.h"

#include <string.h>

#include "base/sizes.h"

static bool axis_inside(const dlx_node *n, const dlx_shape *s)
{
    return n->attr.axis >= 0 && n->attr.axis < s->rank;
}

static bool same(const dlx_shape *a, const dlx_shape *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, a->rank * sizeof a->dim[0]) == 0;
}

static dlx_status infer_reduce(const dlx_node *n, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    if (!axis_inside(n, in)) return dlx_shape_refused(n, "axis is outside the rank", err);
    for (int i = 0; i < in->rank; i++) {
        if (i == n->attr.axis && !n->attr.keep) continue;
        out->dim[out->rank++] = i == n->attr.axis ? 1 : in->dim[i];
    }
    bool needs_one = n->op == DLX_OP_AMAX || n->op == DLX_OP_AMIN || n->op == DLX_OP_ARGMAX || n->op == DLX_OP_ARGMIN;
    if (needs_one && in->dim[n->attr.axis] == 0 && dlx_shape_elements(out) > 0)
        return dlx_shape_refused(n, "there is no largest of no elements", err);
    return DLX_OK;
}

static dlx_status infer_topk(const dlx_node *n, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    *out = *in;
    if (in->rank < 1 || n->attr.size[0] < 0 || n->attr.size[0] > in->dim[in->rank - 1])
        return dlx_shape_refused(n, "more elements are asked for than there are", err);
    out->dim[in->rank - 1] = n->attr.size[0];
    return DLX_OK;
}

static dlx_status infer_expand(const dlx_graph *g, const dlx_node *n, const dlx_shape *in, const dlx_known *known,
                               dlx_shape *out, dlx_error *err)
{
    out->rank = n->attr.rank;
    if (out->rank > DLX_MAX_RANK || out->rank < in->rank) return dlx_shape_refused(n, "the rank shrinks", err);
    for (int i = 0; i < out->rank; i++) {
        int d = i - (out->rank - in->rank);
        int64_t want = dlx_run_size(g, n, i, known), have = d < 0 ? 1 : in->dim[d];
        out->dim[i] = want == -1 ? have : want;
        if (out->dim[i] < 0 || (want == -1 && d < 0)) return dlx_shape_refused(n, "new shape is not valid", err);
        if (have != 1 && have != out->dim[i]) return dlx_shape_refused(n, "only dimensions of 1 expand", err);
    }
    return DLX_OK;
}

/* Python's rule for one bound of a slice. */
static int64_t clamp_bound(int64_t at, int64_t n)
{
    if (at < 0) at = at < -n ? 0 : at + n;
    return at > n ? n : at;
}

static dlx_status infer_narrow(const dlx_graph *g, const dlx_node *n, const dlx_shape *in, const dlx_known *known,
                               dlx_shape *out, dlx_error *err)
{
    *out = *in;
    if (!axis_inside(n, in) || n->attr.shape[2] < 1) return dlx_shape_refused(n, "axis or step is not valid", err);
    int axis = n->attr.axis;
    bool unknown = n->inputs > 1 && (!known || !known->data);
    if (unknown) {
        int64_t most = in->dim[axis] < n->attr.bound[0] ? in->dim[axis] : n->attr.bound[0];
        int64_t count = dlx_most_elements(n, in->dim[axis], known);
        if (count < most) most = count;
        out->dim[axis] = known && known->most < most ? known->most : most;
        return out->dim[axis] < 0 ? dlx_shape_refused(n, "bound is negative", err) : DLX_OK;
    }
    int64_t begin = clamp_bound(dlx_run_size(g, n, 0, known), in->dim[axis]);
    int64_t end = clamp_bound(dlx_run_size(g, n, 1, known), in->dim[axis]);
    out->dim[axis] = end <= begin ? 0 : (end - begin - 1) / n->attr.shape[2] + 1;
    return DLX_OK;
}

static dlx_status infer_pad(const dlx_node *n, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    *out = *in;
    for (int i = 0; i < in->rank; i++)
        if (n->attr.shape[i] < 0 || n->attr.size[i] < 0 ||
            __builtin_add_overflow(out->dim[i], n->attr.shape[i], &out->dim[i]) ||
            __builtin_add_overflow(out->dim[i], n->attr.size[i], &out->dim[i]))
            return dlx_shape_refused(n, "padding is negative or too large", err);
    return DLX_OK;
}

/* numpy's rule: the broadcast places go where the indexed dimensions were when those are neighbours, else in front. */
static dlx_status infer_index(const dlx_node *n, const dlx_shape *in, int first, dlx_shape *places, dlx_shape *out,
                              dlx_error *err)
{
    const dlx_shape *x = &in[0];
    int count = 0, at = -1, last = -1;
    bool neighbours = true;
    *places = in[first];
    for (int k = first + 1; k < n->inputs; k++) {
        dlx_shape both = {0};
        DLX_TRY(dlx_infer_broadcast(n, places, &in[k], 0, &both, err));
        *places = both;
    }
    for (int d = 0; d < 8; d++) {
        if (!(n->attr.axes >> d & 1)) continue;
        if (d >= x->rank) return dlx_shape_refused(n, "an indexed dimension is outside the rank", err);
        if (at < 0) at = d;
        if (last >= 0 && d != last + 1) neighbours = false;
        last = d;
        count++;
    }
    if (count != n->inputs - first) return dlx_shape_refused(n, "as many places as indexed dimensions are needed", err);
    if (x->rank - count + places->rank > DLX_MAX_RANK)
        return dlx_shape_refused(n, "the result's rank is too large", err);
    if (!neighbours) at = 0;
    bool placed = false;
    for (int d = 0;; d++) {
        if (out->rank == at && !placed) {
            for (int i = 0; i < places->rank; i++) out->dim[out->rank++] = places->dim[i];
            placed = true;
        }
        if (d == x->rank) break;
        if (!(n->attr.axes >> d & 1)) out->dim[out->rank++] = x->dim[d];
    }
    return DLX_OK;
}

static dlx_status infer_index_put(const dlx_node *n, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    dlx_shape places, picked = {0}, both = {0};
    DLX_TRY(infer_index(n, in, 2, &places, &picked, err));
    DLX_TRY(dlx_infer_broadcast(n, &picked, &in[1], 0, &both, err));
    if (!same(&both, &picked)) return dlx_shape_refused(n, "the values do not fit their places", err);
    *out = in[0];
    return DLX_OK;
}

/* x with places of the same rank, smaller or equal off the axis. */
static dlx_status infer_along(const dlx_node *n, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    if (!axis_inside(n, &in[0]) || in[1].rank != in[0].rank)
        return dlx_shape_refused(n, "places need the rank of x, and the axis must lie inside", err);
    for (int i = 0; i < in[0].rank; i++)
        if (i != n->attr.axis && in[1].dim[i] > in[0].dim[i])
            return dlx_shape_refused(n, "there are more places than elements", err);
    if (n->op == DLX_OP_SCATTER && !same(&in[1], &in[2]))
        return dlx_shape_refused(n, "each place needs its value", err);
    *out = n->op == DLX_OP_GATHER ? in[1] : in[0];
    return DLX_OK;
}

static dlx_status infer_slice_put(const dlx_node *n, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    if (!axis_inside(n, &in[0]) || in[1].rank != in[0].rank)
        return dlx_shape_refused(n, "needs two tensors of one rank, and an axis inside", err);
    for (int i = 0; i < in[0].rank; i++)
        if (i == n->attr.axis ? in[1].dim[i] > in[0].dim[i] : in[1].dim[i] != in[0].dim[i])
            return dlx_shape_refused(n, "the part does not fit", err);
    *out = in[0];
    return DLX_OK;
}

/* Rows before heads. */
static dlx_shape rows_first(const dlx_shape *s, bool heads_first)
{
    dlx_shape out = *s;
    if (heads_first && s->rank == 4) {
        out.dim[1] = s->dim[2];
        out.dim[2] = s->dim[1];
    }
    return out;
}

static dlx_status infer_sdpa(const dlx_node *n, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    unsigned axes = n->attr.axes;
    dlx_shape q = rows_first(&in[0], axes & DLX_SDPA_Q_HEADS_FIRST),
              k = rows_first(&in[1], axes & DLX_SDPA_K_HEADS_FIRST),
              v = rows_first(&in[2], axes & DLX_SDPA_V_HEADS_FIRST);
    bool bad = q.rank != 4 || k.rank != 4 || !same(&k, &v) || q.dim[0] != k.dim[0] || q.dim[3] != k.dim[3] ||
               k.dim[2] < 1 || q.dim[2] % (k.dim[2] < 1 ? 1 : k.dim[2]) != 0;
    bool start = n->inputs > 3 && n->in[3] != DLX_NONE, mask = n->inputs > 4 && n->in[4] != DLX_NONE;
    if (start && in[3].rank != 0) bad = true;
    if (mask && (start || in[4].rank != 2 || in[4].dim[0] != q.dim[1] || in[4].dim[1] != k.dim[1])) bad = true;
    if (bad)
        return dlx_shape_refused(n, "needs q [B,T,H,D], k and v [B,S,K,D], K dividing H, a start or a mask [T,S]", err);
    *out = rows_first(&q, axes & DLX_SDPA_OUT_HEADS_FIRST);
    return DLX_OK;
}

static dlx_status infer_layer_norm(const dlx_node *n, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    if (in[0].rank < 1) return dlx_shape_refused(n, "needs a dimension", err);
    for (int k = 1; k < n->inputs; k++)
        if (n->in[k] != DLX_NONE && (in[k].rank != 1 || in[k].dim[0] != in[0].dim[in[0].rank - 1]))
            return dlx_shape_refused(n, "weight and bias must be [d]", err);
    *out = in[0];
    return DLX_OK;
}

static dlx_status infer_arange(const dlx_graph *g, const dlx_node *n, const dlx_known *known, dlx_shape *out,
                               dlx_error *err)
{
    dlx_node ends = *n;
    int64_t step = n->attr.shape[2], distance;
    ends.attr.shape[0] = DLX_RUN(0);
    ends.attr.shape[1] = DLX_RUN(1);
    ends.attr.bound[0] = ends.attr.bound[1] = -1;
    int64_t first = dlx_run_size(g, &ends, 0, known), end = dlx_run_size(g, &ends, 1, known);
    bool constant = g->values[n->in[0]].kind == DLX_VALUE_CONST && g->values[n->in[1]].kind == DLX_VALUE_CONST;
    out->rank = 1;
    if (step == 0) return dlx_shape_refused(n, "the step is zero", err);
    if (!constant && (!known || !known->data)) {
        int64_t most = n->attr.bound[0], count = dlx_most_elements(&ends, INT64_MAX, known);
        if (count < most) most = count;
        out->dim[0] = known && known->most < most ? known->most : most;
        return out->dim[0] < 0 ? dlx_shape_refused(n, "bound is negative", err) : DLX_OK;
    }
    if (__builtin_sub_overflow(end, first, &distance) || step == INT64_MIN || distance == INT64_MIN)
        return dlx_shape_refused(n, "the range is too long", err);
    if (step < 0) {
        step = -step;
        distance = -distance;
    }
    out->dim[0] = distance <= 0 ? 0 : (distance - 1) / step + 1;
    return DLX_OK;
}

static dlx_status infer_where(const dlx_node *n, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    dlx_shape both = {0};
    DLX_TRY(dlx_infer_broadcast(n, &in[0], &in[1], 0, &both, err));
    return dlx_infer_broadcast(n, &both, &in[2], 0, out, err);
}

/* Operators whose result has the shape of their first operand, of which they need a rank. */
static dlx_status infer_like(const dlx_node *n, const dlx_shape *in, int least, bool axis, dlx_shape *out,
                             dlx_error *err)
{
    if (in->rank < least || (axis && !axis_inside(n, in)))
        return dlx_shape_refused(n, "needs a dimension that it does not have", err);
    *out = *in;
    return DLX_OK;
}

dlx_status dlx_infer_more(const dlx_graph *g, const dlx_node *n, const dlx_shape *in, const dlx_known *known,
                          dlx_shape *out, dlx_error *err)
{
    dlx_shape places;
    switch (n->op) {
    case DLX_OP_ADD:
    case DLX_OP_SUB:
    case DLX_OP_MUL:
    case DLX_OP_DIV:
    case DLX_OP_MIN:
    case DLX_OP_MAX:
    case DLX_OP_FLOORDIV:
    case DLX_OP_TRUNCDIV:
    case DLX_OP_MODULO:
    case DLX_OP_REMAINDER:
    case DLX_OP_POW:
    case DLX_OP_EQUAL:
    case DLX_OP_LESS:
    case DLX_OP_LESS_EQUAL:
    case DLX_OP_AND:
    case DLX_OP_OR:
    case DLX_OP_XOR: return dlx_infer_broadcast(n, &in[0], &in[1], 0, out, err);
    case DLX_OP_WHERE: return infer_where(n, in, out, err);
    case DLX_OP_MEAN:
    case DLX_OP_SUM:
    case DLX_OP_PROD:
    case DLX_OP_VARIANCE:
    case DLX_OP_AMAX:
    case DLX_OP_AMIN:
    case DLX_OP_ANY:
    case DLX_OP_ALL:
    case DLX_OP_ARGMAX:
    case DLX_OP_ARGMIN: return infer_reduce(n, in, out, err);
    case DLX_OP_TOPK: return infer_topk(n, in, out, err);
    case DLX_OP_LAYER_NORM: return infer_layer_norm(n, in, out, err);
    case DLX_OP_SDPA: return infer_sdpa(n, in, out, err);
    case DLX_OP_EXPAND: return infer_expand(g, n, in, known, out, err);
    case DLX_OP_EXPAND_AS:
        DLX_TRY(dlx_infer_broadcast(n, &in[0], &in[1], 0, out, err));
        return same(out, &in[1]) ? DLX_OK : dlx_shape_refused(n, "the shape is smaller than the operand", err);
    case DLX_OP_NARROW: return infer_narrow(g, n, in, known, out, err);
    case DLX_OP_PAD: return infer_pad(n, in, out, err);
    case DLX_OP_INDEX: return infer_index(n, in, 1, &places, out, err);
    case DLX_OP_INDEX_PUT: return infer_index_put(n, in, out, err);
    case DLX_OP_GATHER:
    case DLX_OP_SCATTER: return infer_along(n, in, out, err);
    case DLX_OP_SLICE_PUT: return infer_slice_put(n, in, out, err);
    case DLX_OP_SIZE: return axis_inside(n, in) ? DLX_OK : dlx_shape_refused(n, "axis is outside the rank", err);
    case DLX_OP_ARANGE: return infer_arange(g, n, known, out, err);
    case DLX_OP_SOFTMAX:
    case DLX_OP_LOG_SOFTMAX: return infer_like(n, in, 1, false, out, err);
    case DLX_OP_TRIANGLE: return infer_like(n, in, 2, false, out, err);
    case DLX_OP_CUMSUM:
    case DLX_OP_FLIP: return infer_like(n, in, 1, true, out, err);
    default: return infer_like(n, in, 0, false, out, err); /* unary element-wise operators, CONVERT and CAST */
    }
}
