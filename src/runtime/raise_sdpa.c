/*
 * Attention as PyTorch decomposes F.scaled_dot_product_attention, or as people write it, in programs that no session
 * runs: softmax(scale q k' + mask) v becomes one SDPA. Scales on either side, transposes, batch dimensions that were
 * merged with heads, repeated key/value heads and the safe softmax between them are understood for what they are. Sizes
 * that vary are followed to where they come from: a reshape to computed sizes counts only when they are those that were
 * there. Whatever else needs the weights leaves them as they are.
 */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "graph/rewrite.h"
#include "runtime/raise.h"

/* Views and scales that are looked through one after the other; exporters write a handful. */
enum { MOST_STEPS = 16 };

static bool number_of(const dlx_graph *g, uint32_t v, float *out)
{
    const dlx_shape s = dlx_value_shape(&g->values[v]);
    return g->values[v].dtype == DLX_F32 && dlx_shape_elements(&s) == 1 && dlx_const_number(g, v, 0, out);
}

/* ---- sizes ---- */

/* Where a size comes from: dimension `axis` of value `v`; equal sources are equal sizes in every call. */
typedef struct source {
    uint32_t v;
    int32_t axis;
} source;

/* What is known of a graph before anything is matched. */
typedef struct graph_facts {
    const dlx_graph *g;
    source (*from)[DLX_MAX_RANK]; /* [n_values] of each dimension; of a size that the program computes: entry 0 */
    uint32_t *uses;               /* [n_values] how often it is read, or is an output */
} graph_facts;

static bool varies(const dlx_graph *g, uint32_t v, int axis)
{
    return g->values[v].dynamic >> axis & 1;
}

static int only_one_varies(const dlx_value *v)
{
    int at = -1;
    for (int i = 0; i < v->rank; i++) {
        if (!(v->dynamic >> i & 1)) continue;
        if (at >= 0) return -1;
        at = i;
    }
    return at;
}

/* The dimensions but one hold as many elements: if everything else is the same, that one is. */
static bool same_rest(const dlx_value *a, int i, const dlx_value *b, int k)
{
    int64_t x = 1, y = 1;
    for (int d = 0; d < a->rank; d++)
        if (d != i && __builtin_mul_overflow(x, a->dim[d], &x)) return false;
    for (int d = 0; d < b->rank; d++)
        if (d != k && __builtin_mul_overflow(y, b->dim[d], &y)) return false;
    return x == y && x > 0;
}

/* Along dimension `axis` of a broadcast result. Two operands that vary there are equal in every call that the exporter
 * allows (it broadcasts what is 1 always, and guards the rest), and the shapes of each call are checked where they come
 * together: what counts is the one that leads to an input, if one does. */
static void from_broadcast(const graph_facts *f, const dlx_node *n, int axis, source *s)
{
    const dlx_graph *g = f->g;
    source found = *s;
    for (int k = n->inputs - 1; k >= 0; k--) {
        int at = axis - (g->values[n->out[0]].rank - g->values[n->in[k]].rank);
        if (at < 0 || !varies(g, n->in[k], at) || g->values[n->in[k]].dim[at] != g->values[n->out[0]].dim[axis])
            continue;
        const source *x = &f->from[n->in[k]][at];
        bool to_input = g->values[x->v].kind == DLX_VALUE_INPUT;
        if (to_input || g->values[found.v].kind != DLX_VALUE_INPUT) found = *x;
    }
    *s = found;
}

/* Of a dimension that varies; *s is "from here" before. */
static void find_source(const graph_facts *f, const dlx_node *n, int axis, source *s)
{
    const dlx_graph *g = f->g;
    const dlx_value *out = &g->values[n->out[0]], *x = &g->values[n->in[0]];
    int shift = out->rank - x->rank, from;
    const source *of = f->from[n->in[0]];
    switch (n->op) {
    case DLX_OP_LINEAR:
    case DLX_OP_RMS_NORM:
    case DLX_OP_LAYER_NORM:
    case DLX_OP_ROPE:
    case DLX_OP_CONVERT:
    case DLX_OP_CAST:
    case DLX_OP_SOFTMAX: *s = of[axis]; return;
    case DLX_OP_TRANSPOSE: *s = of[n->attr.shape[axis]]; return;
    case DLX_OP_EXPAND_AS: *s = f->from[n->in[1]][axis]; return;
    case DLX_OP_ANY:
        if (n->attr.keep) *s = of[axis];
        return;
    case DLX_OP_RESHAPE:
        from = only_one_varies(x);
        if (only_one_varies(out) == axis && from >= 0 && same_rest(x, from, out, axis))
            *s = of[from];
        else if (DLX_IS_RUN(n->attr.shape[axis]))
            *s = f->from[n->in[n->attr.shape[axis] - INT64_MIN]][0];
        return;
    case DLX_OP_EXPAND:
        if (DLX_IS_RUN(n->attr.shape[axis]))
            *s = f->from[n->in[n->attr.shape[axis] - INT64_MIN]][0];
        else if (axis >= shift && varies(g, n->in[0], axis - shift))
            *s = of[axis - shift];
        return;
    case DLX_OP_EMBEDDING:
        if (axis < g->values[n->in[1]].rank) *s = f->from[n->in[1]][axis];
        return;
    case DLX_OP_INDEX:
        if (n->attr.axes == 1 && n->inputs == 2 && axis < g->values[n->in[1]].rank) *s = f->from[n->in[1]][axis];
        return;
    case DLX_OP_BMM: {
        const dlx_value *b = &g->values[n->in[1]];
        if (axis == out->rank - 1)
            *s = f->from[n->in[1]][n->attr.transpose_b ? b->rank - 2 : b->rank - 1];
        else if (axis == out->rank - 2)
            *s = of[x->rank - 2];
        else
            from_broadcast(f, n, axis, s);
        return;
    }
    case DLX_OP_SLICE:
        if (n->attr.shape[axis] == 0 && n->attr.size[axis] == -1) *s = of[axis];
        return;
    case DLX_OP_INDEX_PUT:
    case DLX_OP_SLICE_PUT: *s = of[axis]; return;
    case DLX_OP_WHERE:
    case DLX_OP_EQUAL:
    case DLX_OP_LESS:
    case DLX_OP_LESS_EQUAL:
    case DLX_OP_AND:
    case DLX_OP_NOT:
    case DLX_OP_ADD:
    case DLX_OP_SUB:
    case DLX_OP_MUL:
    case DLX_OP_DIV:
    case DLX_OP_NEG:
    case DLX_OP_SQUARE:
    case DLX_OP_GELU:
    case DLX_OP_SIGMOID:
    case DLX_OP_TANH:
    case DLX_OP_CLAMP:
    case DLX_OP_SILU_MUL: from_broadcast(f, n, axis, s); return;
    default: return;
    }
}

static void find_sources(const graph_facts *f)
{
    const dlx_graph *g = f->g;
    for (size_t v = 0; v < g->n_values; v++)
        for (int d = 0; d < DLX_MAX_RANK; d++) f->from[v][d] = (source){.v = (uint32_t)v, .axis = d};
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        uint32_t out = n->out[0];
        if (n->op == DLX_OP_SIZE) f->from[out][0] = f->from[n->in[0]][n->attr.axis];
        for (int d = 0; d < g->values[out].rank; d++)
            if (varies(g, out, d)) find_source(f, n, d, &f->from[out][d]);
        for (int k = 0; k < n->inputs; k++)
            if (n->in[k] != DLX_NONE) f->uses[n->in[k]]++;
    }
    for (size_t i = 0; i < g->n_outputs; i++) f->uses[g->outputs[i]]++;
}

static bool same_size(const graph_facts *f, uint32_t a, int i, uint32_t b, int k)
{
    const dlx_graph *g = f->g;
    if (g->values[a].dim[i] != g->values[b].dim[k] || varies(g, a, i) != varies(g, b, k)) return false;
    if (!varies(g, a, i)) return true;
    return f->from[a][i].v == f->from[b][k].v && f->from[a][i].axis == f->from[b][k].axis;
}

/* ---- steps that change nothing but how dimensions are counted ---- */

static bool same_dims(const graph_facts *f, uint32_t a, uint32_t b)
{
    const dlx_graph *g = f->g;
    if (g->values[a].rank != g->values[b].rank) return false;
    for (int i = 0; i < g->values[a].rank; i++)
        if (!same_size(f, a, i, b, i)) return false;
    return true;
}

/* [B, H, m, n] seen as [B * H, m, n], or back. Of m and n one may follow from the other and the number of elements. */
static bool merges_heads(const graph_facts *f, uint32_t four, uint32_t three)
{
    const dlx_graph *g = f->g;
    const dlx_value *a = &g->values[four], *b = &g->values[three];
    if (a->rank != 4 || b->rank != 3 || (a->dynamic & 3u) || (b->dynamic & 1u) || a->dim[0] < 1 || a->dim[1] < 1 ||
        a->dim[0] * a->dim[1] != b->dim[0])
        return false;
    bool alike = a->dim[2] == b->dim[1] && a->dim[3] == b->dim[2] && a->dynamic >> 1 == b->dynamic;
    return alike && (same_size(f, four, 2, three, 1) || same_size(f, four, 3, three, 2));
}

/* The operand that v shows in another way: a repeat that repeats nothing, heads merged or divided; else DLX_NONE. */
static uint32_t behind_view(const graph_facts *f, uint32_t v)
{
    const dlx_graph *g = f->g;
    const dlx_node *n = dlx_made_by(g, v);
    if (n && n->op == DLX_OP_EXPAND && same_dims(f, n->in[0], v)) return n->in[0];
    if (n && n->op == DLX_OP_RESHAPE &&
        (merges_heads(f, n->in[0], v) || merges_heads(f, v, n->in[0]) || same_dims(f, n->in[0], v)))
        return n->in[0];
    return DLX_NONE;
}

static uint32_t skip_views(const graph_facts *f, uint32_t v)
{
    uint32_t next;
    for (int i = 0; i < MOST_STEPS && (next = behind_view(f, v)) != DLX_NONE; i++) v = next;
    return v;
}

/* A product with a number, or a quotient: *scale takes it up. */
static uint32_t behind_scale(const dlx_graph *g, uint32_t v, float *scale)
{
    const dlx_node *n = dlx_made_by(g, v);
    float number;
    for (int k = 0; n && (n->op == DLX_OP_MUL || n->op == DLX_OP_DIV) && k < 2; k++) {
        if ((k && n->op == DLX_OP_DIV) || !number_of(g, n->in[1 - k], &number) || !isfinite(number) || number == 0 ||
            g->values[n->in[1 - k]].rank > g->values[n->in[k]].rank)
            continue;
        *scale = n->op == DLX_OP_MUL ? *scale * number : *scale / number;
        return n->in[k];
    }
    return DLX_NONE;
}

static bool swaps_last(const dlx_node *n, int rank)
{
    for (int i = 0; i + 2 < rank; i++)
        if (n->attr.shape[i] != i) return false;
    return n->attr.shape[rank - 2] == rank - 1 && n->attr.shape[rank - 1] == rank - 2;
}

/* Queries, keys or values behind their views and scales. `turned`: the last two dimensions are swapped so far. */
static uint32_t strip(const graph_facts *f, uint32_t v, float *scale, bool *turned)
{
    const dlx_graph *g = f->g;
    for (int i = 0; i < MOST_STEPS; i++) {
        const dlx_node *n = dlx_made_by(g, v);
        uint32_t next = behind_view(f, v);
        if (next == DLX_NONE) next = behind_scale(g, v, scale);
        if (next == DLX_NONE && turned && n && n->op == DLX_OP_TRANSPOSE && swaps_last(n, g->values[v].rank)) {
            next = n->in[0];
            *turned = !*turned;
        }
        if (next == DLX_NONE) break;
        v = next;
    }
    return v;
}

/* [B, K, S, D] behind [B, K * G, S, D], each head repeated G times; v itself where none is. */
static uint32_t behind_repeat(const graph_facts *f, uint32_t v)
{
    const dlx_graph *g = f->g;
    const dlx_node *merged = dlx_made_as(g, v, DLX_OP_RESHAPE);
    const dlx_node *repeated = merged ? dlx_made_as(g, merged->in[0], DLX_OP_EXPAND) : NULL;
    const dlx_node *inserted = repeated ? dlx_made_as(g, repeated->in[0], DLX_OP_RESHAPE) : NULL;
    if (!inserted) return v;
    uint32_t base = inserted->in[0];
    const dlx_value *b = &g->values[base], *one = &g->values[repeated->in[0]], *many = &g->values[merged->in[0]],
                    *out = &g->values[v];
    if (b->rank != 4 || one->rank != 5 || many->rank != 5 || out->rank != 4 || one->dim[2] != 1 ||
        ((b->dynamic | out->dynamic) & ~4u) || ((one->dynamic | many->dynamic) & ~8u))
        return v;
    static const int at[4] = {0, 1, 3, 4};
    for (int i = 0; i < 4; i++) {
        bool same = same_size(f, base, i, repeated->in[0], at[i]) && same_size(f, base, i, merged->in[0], at[i]);
        if (!same || (i != 1 && !same_size(f, base, i, v, i))) return v;
    }
    return many->dim[1] * many->dim[2] == out->dim[1] ? base : v;
}

/* ---- the match ---- */

typedef struct match {
    uint32_t q, k, v; /* of rank 4, or 3: [N, T, D] */
    uint32_t mask;    /* [T, S] floats that are added, or bools; DLX_NONE: all keys are seen */
    bool hides;       /* bools: true hides a key, not false */
    unsigned axes;
    float scale;
    bool nan; /* a row that sees nothing is NaN */
} match;

/* With the transpose in front taken away where there is one. */
static uint32_t in_order(const dlx_graph *g, uint32_t v, unsigned flag, unsigned *axes)
{
    const dlx_node *n = dlx_made_as(g, v, DLX_OP_TRANSPOSE);
    if (n && g->values[v].rank == 4 && n->attr.shape[0] == 0 && n->attr.shape[1] == 2 && n->attr.shape[2] == 1 &&
        n->attr.shape[3] == 3)
        return n->in[0];
    *axes |= flag;
    return v;
}

static bool is_number(const dlx_graph *g, uint32_t v, float number)
{
    float found;
    return number_of(g, v, &found) && found == number;
}

/* where(not any(not (scores == -inf)), 0, softmax(scores)): *softmax, whose operand the scores are. */
static bool is_safe(const dlx_graph *g, const dlx_node *where, const dlx_node **softmax)
{
    const dlx_node *never = dlx_made_as(g, where->in[0], DLX_OP_NOT);
    const dlx_node *any = never ? dlx_made_as(g, never->in[0], DLX_OP_ANY) : NULL;
    const dlx_node *seen = any ? dlx_made_as(g, any->in[0], DLX_OP_NOT) : NULL;
    const dlx_node *hidden = seen ? dlx_made_as(g, seen->in[0], DLX_OP_EQUAL) : NULL;
    const dlx_node *zeros = dlx_made_by(g, where->in[1]);
    *softmax = dlx_made_as(g, where->in[2], DLX_OP_SOFTMAX);
    bool zero = is_number(g, zeros && zeros->op == DLX_OP_EXPAND_AS ? zeros->in[0] : where->in[1], 0.0f);
    return hidden && *softmax && zero && any->attr.keep && any->attr.axis == g->values[any->in[0]].rank - 1 &&
           hidden->in[0] == (*softmax)->in[0] && is_number(g, hidden->in[1], -INFINITY);
}

/* A mask [T, S], perhaps with dimensions of 1 in front. */
static uint32_t mask_of(const graph_facts *f, uint32_t v, uint32_t scores, dlx_dtype type)
{
    const dlx_graph *g = f->g;
    const dlx_value *s = &g->values[scores];
    const dlx_node *n;
    for (int k = 0; k < MOST_STEPS && g->values[v].rank > 2 && (n = dlx_made_as(g, v, DLX_OP_RESHAPE)) != NULL; k++) {
        const dlx_value *out = &g->values[v], *in = &g->values[n->in[0]];
        for (int i = 0; i + 2 < out->rank; i++)
            if (out->dim[i] != 1 || (out->dynamic >> i & 1)) return DLX_NONE;
        if (in->rank < 2 || !(same_size(f, v, out->rank - 2, n->in[0], in->rank - 2) ||
                              same_size(f, v, out->rank - 1, n->in[0], in->rank - 1)))
            return DLX_NONE;
        if (in->dim[in->rank - 2] != out->dim[out->rank - 2] || in->dim[in->rank - 1] != out->dim[out->rank - 1])
            return DLX_NONE;
        v = n->in[0];
    }
    const dlx_value *m = &g->values[v];
    bool fits = m->rank == 2 && m->dtype == type && m->dim[0] == s->dim[s->rank - 2] &&
                m->dim[1] == s->dim[s->rank - 1] && m->dynamic == (unsigned)s->dynamic >> (s->rank - 2);
    return fits ? v : DLX_NONE;
}

/* masked_fill(scores, hidden, -inf), or where(seen, scores, -inf): *scores is what was filled. */
static bool is_filled(const graph_facts *f, uint32_t *scores, match *m)
{
    const dlx_graph *g = f->g;
    const dlx_node *where = dlx_made_as(g, *scores, DLX_OP_WHERE);
    for (int k = 1; where && k < 3; k++) {
        uint32_t kept = where->in[3 - k];
        if (!is_number(g, where->in[k], -INFINITY) || g->values[kept].rank != g->values[*scores].rank) continue;
        m->mask = mask_of(f, where->in[0], *scores, DLX_BOOL);
        m->hides = k == 1;
        *scores = kept;
        return m->mask != DLX_NONE;
    }
    return false;
}

/* The product of queries and keys behind scores; a mask may have been added to it. */
static const dlx_node *product_behind(const graph_facts *f, uint32_t scores, match *m)
{
    const dlx_graph *g = f->g;
    const dlx_node *add;
    m->mask = DLX_NONE;
    scores = skip_views(f, scores);
    if (is_filled(f, &scores, m)) return dlx_made_as(g, strip(f, scores, &m->scale, NULL), DLX_OP_BMM);
    if (m->mask != DLX_NONE) return NULL;
    add = dlx_made_as(g, scores, DLX_OP_ADD);
    for (int k = 0; add && k < 2; k++) {
        float scale = m->scale;
        const dlx_node *bmm = dlx_made_as(g, strip(f, add->in[k], &scale, NULL), DLX_OP_BMM);
        uint32_t mask = bmm && g->values[add->in[k]].rank == g->values[scores].rank
                            ? mask_of(f, add->in[1 - k], scores, DLX_F32)
                            : DLX_NONE;
        if (mask == DLX_NONE) continue;
        m->mask = mask;
        m->scale = scale;
        return bmm;
    }
    return dlx_made_as(g, strip(f, scores, &m->scale, NULL), DLX_OP_BMM);
}

/* Batch and heads of what was stripped: heads do not vary, and there are as many as the others say. */
static bool heads_of(const dlx_value *v, bool heads_first, int64_t *batch, int64_t *heads)
{
    if (v->rank != 3 && v->rank != 4) return false;
    int at = heads_first ? 1 : 2, head = v->rank == 4 ? at : -1;
    *batch = v->dim[0];
    *heads = head < 0 ? 1 : v->dim[head];
    unsigned fixed = 1u | (head < 0 ? 0 : 1u << head) | 1u << (v->rank - 1);
    return v->dtype == DLX_F32 && !(v->dynamic & fixed) && *heads >= 1 && *batch >= 1;
}

static bool sizes_fit(const graph_facts *f, const dlx_node *mix, const match *m)
{
    const dlx_graph *g = f->g;
    const dlx_value *q = &g->values[m->q], *k = &g->values[m->k], *v = &g->values[m->v], *out = &g->values[mix->out[0]];
    int64_t batch[3], heads[3];
    if (!heads_of(q, m->axes & DLX_SDPA_Q_HEADS_FIRST, &batch[0], &heads[0]) ||
        !heads_of(k, m->axes & DLX_SDPA_K_HEADS_FIRST, &batch[1], &heads[1]) ||
        !heads_of(v, m->axes & DLX_SDPA_V_HEADS_FIRST, &batch[2], &heads[2]))
        return false;
    int t = m->axes & DLX_SDPA_Q_HEADS_FIRST ? q->rank - 2 : 1;
    bool divided = q->rank == k->rank && k->rank == v->rank && batch[0] == batch[1] && batch[1] == batch[2] &&
                   heads[1] == heads[2] && heads[0] % heads[1] == 0;
    if (!divided || q->dim[q->rank - 1] != k->dim[k->rank - 1] || k->dim[k->rank - 1] != v->dim[v->rank - 1])
        return false;
    int64_t all = batch[0] * heads[0];
    bool merged = out->rank == 3 && out->dim[0] == all, four = out->rank == 4 && out->dim[0] == batch[0];
    if (out->rank == 4) four = four && out->dim[1] == heads[0];
    return (merged || four) && same_size(f, m->q, t, mix->out[0], out->rank - 2) &&
           out->dim[out->rank - 1] == v->dim[v->rank - 1] && !(out->dynamic >> (out->rank - 1) & 1);
}

static bool matches(const graph_facts *f, const dlx_node *mix, match *m)
{
    const dlx_graph *g = f->g;
    *m = (match){.scale = 1.0f, .nan = true};
    if (mix->op != DLX_OP_BMM || mix->attr.transpose_b || f->uses[mix->in[0]] != 1) return false;
    uint32_t weights = skip_views(f, mix->in[0]);
    const dlx_node *where = dlx_made_as(g, weights, DLX_OP_WHERE), *softmax = dlx_made_as(g, weights, DLX_OP_SOFTMAX);
    if (where) {
        if (!is_safe(g, where, &softmax)) return false;
        m->nan = false;
    }
    const dlx_node *scores = softmax ? product_behind(f, softmax->in[0], m) : NULL;
    if (!scores) return false;
    bool turned = !scores->attr.transpose_b, plain = false;
    float one = 1.0f;
    m->q = strip(f, scores->in[0], &m->scale, NULL);
    m->k = behind_repeat(f, strip(f, scores->in[1], &m->scale, &turned));
    m->v = behind_repeat(f, strip(f, mix->in[1], &one, &plain));
    if (turned || plain || one != 1.0f || !isfinite(m->scale)) return false;
    m->q = in_order(g, m->q, DLX_SDPA_Q_HEADS_FIRST, &m->axes);
    m->k = in_order(g, m->k, DLX_SDPA_K_HEADS_FIRST, &m->axes);
    m->v = in_order(g, m->v, DLX_SDPA_V_HEADS_FIRST, &m->axes);
    return sizes_fit(f, mix, m);
}

/* ---- the rewrite ---- */

/* Value v of the new graph in another shape; a dimension that varies follows from the others. */
static uint32_t reshaped(dlx_graph *to, uint32_t v, int rank, const int64_t *dim, unsigned dynamic, dlx_error *err)
{
    dlx_attr attr = {.rank = (uint8_t)rank};
    for (int i = 0; i < rank; i++) attr.shape[i] = dynamic >> i & 1 ? -1 : dim[i];
    return dlx_graph_node(to, DLX_OP_RESHAPE, &v, 1, &attr, -1, err);
}

/* An operand of rank 4: [N, T, D] has one head. */
static uint32_t operand(dlx_rewrite *r, uint32_t old, dlx_error *err)
{
    const dlx_value *v = &r->from->values[old];
    uint32_t fresh = dlx_rewrite_value(r, old, err);
    const int64_t dim[4] = {v->dim[0], 1, v->dim[1], v->dim[2]};
    if (v->rank == 4 || fresh == DLX_NONE) return fresh;
    return reshaped(&r->to, fresh, 4, dim, (unsigned)(v->dynamic & 2) << 1, err);
}

static uint32_t number(dlx_graph *to, float x, dlx_error *err)
{
    float *data = dlx_arena_alloc(&to->arena, sizeof *data);
    uint32_t v = DLX_NONE;
    if (data) {
        *data = x;
        v = dlx_graph_const(to, NULL, DLX_F32, 0, NULL,
                            (dlx_const_source){.data = data, .bytes = sizeof *data, .stored = DLX_F32});
    }
    if (v == DLX_NONE) dlx_fail(err, DLX_E_NOMEM, "out of memory raising attention");
    return v;
}

/* The mask as floats that are added. */
static uint32_t added_mask(dlx_rewrite *r, const match *m, dlx_error *err)
{
    uint32_t mask = dlx_rewrite_value(r, m->mask, err);
    if (mask == DLX_NONE || r->from->values[m->mask].dtype == DLX_F32) return mask;
    uint32_t in[3] = {mask, number(&r->to, m->hides ? -INFINITY : 0.0f, err),
                      number(&r->to, m->hides ? 0.0f : -INFINITY, err)};
    if (in[1] == DLX_NONE || in[2] == DLX_NONE) return DLX_NONE;
    return dlx_graph_node(&r->to, DLX_OP_WHERE, in, 3, NULL, -1, err);
}

static dlx_status emit(dlx_rewrite *r, const dlx_node *mix, const match *m, dlx_error *err)
{
    const dlx_value *out = &r->from->values[mix->out[0]];
    dlx_attr attr = {.f = {m->scale, 0}, .keep = m->nan};
    uint32_t in[5] = {operand(r, m->q, err), operand(r, m->k, err), operand(r, m->v, err), DLX_NONE, DLX_NONE};
    for (int k = 0; k < 3; k++)
        if (in[k] == DLX_NONE) return err->status;
    attr.axes = (uint8_t)(m->axes | DLX_SDPA_OUT_HEADS_FIRST);
    if (m->mask != DLX_NONE) {
        in[4] = added_mask(r, m, err);
        if (in[4] == DLX_NONE) return err->status;
    }
    uint32_t y = dlx_graph_node(&r->to, DLX_OP_SDPA, in, m->mask == DLX_NONE ? 3 : 5, &attr, mix->layer, err);
    if (y != DLX_NONE && out->rank == 3) y = reshaped(&r->to, y, 3, out->dim, out->dynamic, err);
    return dlx_rewrite_set(r, mix->out[0], y, err);
}

static bool worth_it(const graph_facts *f)
{
    const dlx_graph *g = f->g;
    match m;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (matches(f, &g->nodes[i], &m)) return true;
    return false;
}

static dlx_status rewrite_all(const graph_facts *f, dlx_graph *g, dlx_error *err)
{
    dlx_rewrite r;
    dlx_error local = {0};
    dlx_status s = dlx_rewrite_begin(&r, g, &local);
    for (size_t i = 0; s == DLX_OK && i < g->n_nodes; i++) {
        match m;
        s = matches(f, &g->nodes[i], &m) ? emit(&r, &g->nodes[i], &m, &local) : dlx_rewrite_copy(&r, i, &local);
    }
    if (s == DLX_OK) s = dlx_rewrite_finish(&r, g, &local);
    if (s == DLX_OK) return dlx_graph_prune(g, err);
    dlx_rewrite_abandon(&r);
    if (err) *err = local;
    return s;
}

dlx_status dlx_raise_sdpa(dlx_graph *g, dlx_error *err)
{
    bool softmax = false;
    for (size_t i = 0; i < g->n_nodes; i++) softmax = softmax || g->nodes[i].op == DLX_OP_SOFTMAX;
    if (!softmax) return DLX_OK;
    dlx_allocator mem = g->arena.mem;
    size_t n = g->n_values;
    graph_facts f = {
        .g = g, .from = dlx_mem_array(&mem, n, sizeof *f.from), .uses = dlx_mem_zeroed(&mem, n, sizeof *f.uses)};
    dlx_status s = f.from && f.uses
                       ? DLX_OK
                       : dlx_fail(err, DLX_E_NOMEM, "out of memory raising attention in a graph of %zu values", n);
    if (s == DLX_OK) find_sources(&f);
    if (s == DLX_OK && worth_it(&f)) s = rewrite_all(&f, g, err);
    dlx_mem_free(&mem, f.from, n, sizeof *f.from);
    dlx_mem_free(&mem, f.uses, n, sizeof *f.uses);
    return s;
}
