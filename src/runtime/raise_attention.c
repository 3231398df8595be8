/* Forms of attention: caches, masks, scores. Their axes are named, so that any order of transposes, reshapes, repeats
 * of key/value heads and scalings between them is understood for what it is. */
#include <math.h>
#include <string.h>

#include "runtime/constants.h"
#include "runtime/raise_decoder.h"

/* What a mask adds to the scores of keys that a row must not see: at least so little that their weight is 0. */
#define HIDDEN_SCORE (-1e30f)

static const dlx_value *old_value(const dlx_decoder *d, uint32_t v)
{
    return &d->r.from->values[v];
}

static const dlx_form *form_of(const dlx_decoder *d, const dlx_node *n, int k)
{
    static const dlx_form none = {.kind = DLX_FORM_NONE};
    return k < n->inputs && n->in[k] != DLX_NONE ? &d->form[n->in[k]] : &none;
}

static bool emit(dlx_decoder *d, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr, int32_t layer,
                 uint32_t *out)
{
    *out = dlx_graph_node(&d->r.to, op, in, inputs, attr, layer, d->err);
    return *out != DLX_NONE;
}

/* The number of a constant of one element. */
static bool scalar_of(const dlx_decoder *d, uint32_t v, float *out)
{
    const dlx_value *c = old_value(d, v);
    dlx_shape s = dlx_value_shape(c);
    return dlx_shape_elements(&s) == 1 && dlx_const_number(d->r.from, v, 0, out);
}

bool dlx_rows_by_head(dlx_decoder *d, uint32_t value, int row, int head, int dim, int64_t heads, int64_t size,
                      uint32_t *out)
{
    const dlx_form *f = &d->form[value];
    const dlx_value *old = old_value(d, value);
    bool single = d->rows == 1 && !d->dynamic; /* then the row dimension may be any of those of 1 */
    if (f->kind != DLX_FORM_ROWS || f->last || row < 0 || head < 0) return false;
    if (f->axis[row] != 0 && !(single && f->axis[row] < 0 && old->dim[row] == 1)) return false;
    const dlx_value *v = &d->r.to.values[f->v];
    int next = 1;
    for (int k = 0; k < 2; k++) {
        int i = k ? dim : head;
        if (f->axis[i] < 0 ? old->dim[i] != 1 : f->axis[i] != next++) return false;
    }
    for (int i = 0; i < f->rank; i++)
        if (i != row && i != head && i != dim && f->axis[i] >= (single ? 1 : 0)) return false;
    *out = f->v;
    if (old->dim[head] != heads || old->dim[dim] != size || next != v->rank || v->dtype != DLX_F32) return false;
    if (v->rank == 3) return true;
    return emit(d, DLX_OP_RESHAPE, out, 1, &(dlx_attr){.rank = 3, .shape = {-1, heads, size}}, -1, out);
}

/* ---- caches ---- */

static int32_t find_cache(const dlx_decoder *d, uint32_t old)
{
    for (size_t i = 0; i < d->n_caches; i++)
        if (d->cache[i].old == old) return (int32_t)i;
    return -1;
}

bool dlx_same_rows(const dlx_decoder *d, uint32_t a, uint32_t b)
{
    const dlx_node *n; /* reshapes keep the order of elements, and both have one shape in the end */
    while ((n = dlx_made_as(&d->r.to, a, DLX_OP_RESHAPE)) != NULL) a = n->in[0];
    while ((n = dlx_made_as(&d->r.to, b, DLX_OP_RESHAPE)) != NULL) b = n->in[0];
    return a == b;
}

/* This call's rows put at their positions along axis `at` of a state [1,S,K,D] or [1,K,S,D] (without the 1, too). */
static bool store(dlx_decoder *d, const dlx_node *n, int at, dlx_form *f)
{
    int32_t c = find_cache(d, n->in[0]);
    const dlx_value *x = old_value(d, n->in[0]), *values = old_value(d, n->in[1]);
    bool stored = c >= 0 && d->cache[c].fresh != DLX_NONE;
    if (c < 0 || !d->cache[c].state || (stored && !d->cache[c].joined) || x->rank < 3 || x->rank > 4 ||
        (x->rank == 4 && x->dim[0] != 1))
        return false;
    int first = x->rank - 3, dim = x->rank - 1, kv = at == first ? first + 1 : first, shift = x->rank - values->rank;
    if (at != first && at != first + 1) return false;
    if (first - shift < 0) return false;
    uint32_t rows;
    if (!dlx_rows_by_head(d, n->in[1], at - shift, kv - shift, dim - shift, x->dim[kv], x->dim[dim], &rows))
        return false;
    if (stored && (!dlx_same_rows(d, rows, d->cache[c].fresh) || d->cache[c].positions != x->dim[at])) return false;
    if (!stored) d->cache[c].fresh = rows;
    d->cache[c].positions = x->dim[at];
    d->cache[c].kv = x->dim[kv];
    d->cache[c].dim = x->dim[dim];
    *f = (dlx_form){.kind = DLX_FORM_CACHE, .rank = x->rank, .cache = c, .scale = 1.0f};
    f->axis[at] = DLX_AXIS_KEY;
    f->axis[kv] = DLX_AXIS_KV;
    f->axis[dim] = DLX_AXIS_DIM;
    return true;
}

static bool form_index_put(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    int at = 0;
    if (n->inputs != 3 || n->attr.keep || !dlx_is_positions(d, form_of(d, n, 2)) || form_of(d, n, 2)->rank != 1)
        return false;
    while (at < DLX_MAX_RANK && n->attr.axes != 1u << at) at++;
    return at < DLX_MAX_RANK && store(d, n, at, f);
}

static bool form_slice_put(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    if (n->inputs != 3 || n->attr.shape[0] != DLX_RUN(2) || form_of(d, n, 2)->kind != DLX_FORM_START) return false;
    return store(d, n, n->attr.axis, f);
}

/* Rows of a state [S,K,D] before the start. */
static bool form_past(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    int32_t c = n->inputs == 2 ? find_cache(d, n->in[0]) : -1;
    const dlx_value *x = old_value(d, n->in[0]);
    if (c < 0 || !d->cache[c].state || x->rank != 3 || n->attr.axis != 0 || n->attr.shape[0] != 0 ||
        n->attr.shape[1] != DLX_RUN(1) || n->attr.shape[2] != 1 || n->attr.bound[0] < x->dim[0] ||
        form_of(d, n, 1)->kind != DLX_FORM_START)
        return false;
    *f = (dlx_form){.kind = DLX_FORM_PAST, .rank = 3, .cache = c, .scale = 1.0f};
    f->axis[0] = DLX_AXIS_KEY;
    f->axis[1] = DLX_AXIS_KV;
    f->axis[2] = DLX_AXIS_DIM;
    return true;
}

/* The axis of that kind; -1: none. */
static int axis_of(const dlx_form *f, int8_t axis)
{
    for (int i = 0; i < f->rank; i++)
        if (f->axis[i] == axis) return i;
    return -1;
}

/* Earlier rows with this call's behind them. */
static bool form_continued(dlx_decoder *d, const dlx_node *n, const dlx_form *past, dlx_form *f)
{
    int key = axis_of(past, DLX_AXIS_KEY), kv = axis_of(past, DLX_AXIS_KV), dim = axis_of(past, DLX_AXIS_DIM);
    dlx_decoder_cache *c = &d->cache[past->cache];
    uint32_t rows;
    if (n->inputs != 2 || key < 0 || kv < 0 || dim < 0 || n->attr.axis != key || past->scale != 1.0f ||
        c->fresh != DLX_NONE || old_value(d, n->in[1])->rank != past->rank)
        return false;
    if (!dlx_rows_by_head(d, n->in[1], key, kv, dim, c->kv, c->dim, &rows)) return false;
    c->fresh = rows;
    c->joined = true;
    *f = *past;
    f->kind = DLX_FORM_CACHE;
    return true;
}

/* A cache that came in, with this call's rows behind it. */
static bool form_joined(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    dlx_form past;
    if (form_of(d, n, 0)->kind == DLX_FORM_PAST) return form_continued(d, n, form_of(d, n, 0), f);
    if (d->whole) return dlx_whole_past(d, n->in[0], &past) && form_continued(d, n, &past, f);
    int32_t c = n->inputs == 2 ? find_cache(d, n->in[0]) : -1;
    if (c < 0 || n->attr.axis != 0 || d->cache[c].state || d->cache[c].fresh != DLX_NONE ||
        old_value(d, n->in[1])->rank != 3)
        return false;
    if (!dlx_rows_by_head(d, n->in[1], 0, 1, 2, d->cache[c].kv, d->cache[c].dim, &d->cache[c].fresh)) {
        d->cache[c].fresh = DLX_NONE;
        return false;
    }
    *f = (dlx_form){.kind = DLX_FORM_CACHE, .rank = 3, .cache = c, .scale = 1.0f};
    f->axis[0] = DLX_AXIS_KEY;
    f->axis[1] = DLX_AXIS_KV;
    f->axis[2] = DLX_AXIS_DIM;
    return true;
}

/* ---- axes ---- */

static bool has_axes(const dlx_form *f)
{
    return f->kind >= DLX_FORM_CACHE;
}

static bool form_transpose(const dlx_form *x, const dlx_node *n, dlx_form *f)
{
    *f = *x;
    for (int i = 0; i < x->rank; i++) f->axis[i] = x->axis[n->attr.shape[i]];
    return true;
}

static bool same_size(const dlx_value *a, int i, const dlx_value *b, int k)
{
    return a->dim[i] == b->dim[k] && (a->dynamic >> i & 1) == (b->dynamic >> k & 1);
}

/* The number of all keys: the size of that axis, or of a cache that came in, plus the rows of the call. */
static bool counts_keys(const dlx_decoder *d, uint32_t v)
{
    const dlx_graph *g = d->r.from;
    const dlx_node *n = dlx_made_by(g, v);
    if (!n) return false;
    if (n->op == DLX_OP_SIZE) {
        const dlx_form *of = form_of(d, n, 0);
        return has_axes(of) && of->kind != DLX_FORM_PAST && of->axis[n->attr.axis] == DLX_AXIS_KEY;
    }
    for (int k = 0; k < 2 && n->op == DLX_OP_ADD; k++) {
        const dlx_node *size = dlx_made_as(g, n->in[k], DLX_OP_SIZE);
        if (form_of(d, n, 1 - k)->kind == DLX_FORM_COUNT && size && size->attr.axis == 0 &&
            find_cache(d, size->in[0]) >= 0)
            return true;
    }
    return false;
}

/* Whether size i of a reshape is stated by the program, or follows, or is computed as the size of that axis. */
static bool sized_as(const dlx_decoder *d, const dlx_node *n, int i, int8_t axis)
{
    if (!DLX_IS_RUN(n->attr.shape[i])) return true;
    uint32_t v = n->in[n->attr.shape[i] - INT64_MIN];
    return axis == DLX_AXIS_ROW ? d->form[v].kind == DLX_FORM_COUNT : axis == DLX_AXIS_KEY && counts_keys(d, v);
}

/* Dimensions of 1 come and go; key/value heads and their repeats become heads. */
static bool form_reshape(dlx_decoder *d, const dlx_form *x, const dlx_node *n, dlx_form *f)
{
    const dlx_value *in = old_value(d, n->in[0]), *out = old_value(d, n->out[0]);
    uint8_t rank = f->rank;
    int from = 0;
    *f = *x;
    f->rank = rank;
    for (int i = 0; i < rank; i++) {
        while (from < in->rank && x->axis[from] == DLX_AXIS_ONE) from++;
        f->axis[i] = DLX_AXIS_ONE;
        if (from < in->rank && same_size(in, from, out, i)) {
            f->axis[i] = x->axis[from++];
        } else if (from + 1 < in->rank && x->axis[from] == DLX_AXIS_KV && x->axis[from + 1] == DLX_AXIS_GROUP &&
                   in->dim[from] * in->dim[from + 1] == out->dim[i] && !(out->dynamic >> i & 1)) {
            f->axis[i] = DLX_AXIS_HEAD;
            from += 2;
        } else if (out->dim[i] != 1 || (out->dynamic >> i & 1)) {
            return false;
        }
        if (!sized_as(d, n, i, f->axis[i])) return false;
    }
    while (from < in->rank && (x->axis[from] == DLX_AXIS_ONE || (in->dim[from] == 1 && !(in->dynamic >> from & 1))))
        from++;
    return from == in->rank;
}

/* A repeat along a dimension of 1; everything else stays. */
static bool form_expand(dlx_decoder *d, const dlx_form *x, const dlx_node *n, dlx_form *f)
{
    const dlx_value *in = old_value(d, n->in[0]), *out = old_value(d, n->out[0]);
    int shift = out->rank - in->rank;
    uint8_t rank = f->rank;
    *f = *x;
    f->rank = rank;
    for (int i = 0; i < rank; i++) {
        int k = i - shift;
        f->axis[i] = k < 0 ? DLX_AXIS_ONE : x->axis[k];
        if (k >= 0 ? same_size(in, k, out, i) : out->dim[i] == 1) continue;
        bool repeats = x->kind == DLX_FORM_CACHE && k >= 0 && x->axis[k] == DLX_AXIS_ONE && !(out->dynamic >> i & 1);
        for (int j = 0; j < in->rank; j++)
            repeats = repeats && x->axis[j] != DLX_AXIS_GROUP && x->axis[j] != DLX_AXIS_HEAD;
        if (!repeats) return false;
        f->axis[i] = DLX_AXIS_GROUP;
    }
    return true;
}

/* ---- masks ---- */

/* Entry (i, k): what shows key k to row i and what hides it. */
static bool is_causal(const dlx_decoder *d, uint32_t table)
{
    const dlx_value *v = old_value(d, table);
    float x;
    if (v->rank != 2 || (v->dtype != DLX_F32 && v->dtype != DLX_BOOL) || v->dim[0] > v->dim[1]) return false;
    if (dlx_constant_load(d->old, table, d->err) != DLX_OK) return false;
    for (int64_t i = 0; i < v->dim[0]; i++)
        for (int64_t k = 0; k < v->dim[1]; k++) {
            if (!dlx_const_number(d->r.from, table, (size_t)(i * v->dim[1] + k), &x)) return false;
            bool shown = v->dtype == DLX_BOOL ? x != 0 : x == 0,
                 hidden = v->dtype == DLX_BOOL ? x == 0 : x <= HIDDEN_SCORE;
            if (k <= i ? !shown : !hidden) return false;
        }
    return true;
}

/* Rows of a causal table, by position. */
static bool form_mask(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    bool rows =
        (n->op == DLX_OP_INDEX && n->inputs == 2 && n->attr.axes == 1) || (n->op == DLX_OP_EMBEDDING && n->inputs == 2);
    bool part = n->op == DLX_OP_NARROW && n->inputs == 3 && n->attr.axis == 0 && n->attr.shape[2] == 1 &&
                n->attr.shape[0] == DLX_RUN(1) && n->attr.shape[1] == DLX_RUN(2) &&
                form_of(d, n, 1)->kind == DLX_FORM_START && form_of(d, n, 2)->kind == DLX_FORM_END;
    if (rows) rows = dlx_is_positions(d, form_of(d, n, 1)) && form_of(d, n, 1)->rank == 1;
    if ((!rows && !part) || !is_causal(d, n->in[0])) return false;
    *f = (dlx_form){.kind = DLX_FORM_MASK, .rank = 2, .masked = old_value(d, n->in[0])->dtype == DLX_F32};
    f->axis[0] = DLX_AXIS_ROW;
    f->axis[1] = DLX_AXIS_KEY;
    return true;
}

/* Whether the mask lies along the last two axes of scores, over all keys of their cache. */
static bool mask_fits(const dlx_decoder *d, const dlx_node *n, int mask, int scores)
{
    const dlx_form *m = form_of(d, n, mask), *s = form_of(d, n, scores);
    const dlx_value *v = old_value(d, n->in[mask]);
    if (m->kind != DLX_FORM_MASK || s->kind != DLX_FORM_SCORES || m->rank < 2 || m->rank > s->rank) return false;
    for (int i = 0; i < m->rank; i++) {
        int want = i == m->rank - 1 ? DLX_AXIS_KEY : i == m->rank - 2 ? DLX_AXIS_ROW : DLX_AXIS_ONE;
        if (m->axis[i] != want) return false;
    }
    return s->axis[s->rank - 1] == DLX_AXIS_KEY && s->axis[s->rank - 2] == DLX_AXIS_ROW && d->cache[s->cache].state &&
           v->dim[m->rank - 1] == d->cache[s->cache].positions;
}

static bool form_where(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *c = form_of(d, n, 0), *a = form_of(d, n, 1), *b = form_of(d, n, 2);
    float shown, hidden;
    if (c->kind == DLX_FORM_MASK && !c->masked && a->kind == DLX_FORM_CONST && scalar_of(d, n->in[1], &shown) &&
        scalar_of(d, n->in[2], &hidden) && shown == 0 && hidden <= HIDDEN_SCORE && f->rank == c->rank) {
        *f = *c;
        f->masked = true;
        return true;
    }
    if (c->kind == DLX_FORM_MASK && !c->masked && a->kind == DLX_FORM_SCORES && mask_fits(d, n, 0, 1) &&
        f->rank == a->rank && scalar_of(d, n->in[2], &hidden) && hidden <= HIDDEN_SCORE) {
        *f = *a;
        f->masked = true;
        return true;
    }
    /* Zeros for a row that sees nothing: there is none. */
    const dlx_graph *g = d->r.from;
    const dlx_node *zeros = dlx_made_as(g, n->in[1], DLX_OP_EXPAND_AS);
    bool filled = zeros && scalar_of(d, zeros->in[0], &shown);
    if (c->kind != DLX_FORM_NEVER || b->kind != DLX_FORM_WEIGHTS || b->cache != c->cache || !(filled && shown == 0) ||
        f->rank != b->rank)
        return false;
    *f = *b;
    return true;
}

/* ---- scores ---- */

/* Which heads the axis of a cache counts: query heads, or key/value heads when there are as many. */
static bool heads_fit(const dlx_decoder *d, const dlx_form *c, int axis, int64_t heads)
{
    int64_t kv = d->cache[c->cache].kv;
    if (c->axis[axis] == DLX_AXIS_KV) return kv == heads || kv == 1;
    return c->axis[axis] == DLX_AXIS_HEAD && heads % kv == 0;
}

static bool leading_ones(const dlx_form *f, int n)
{
    for (int i = 0; i < n; i++)
        if (f->axis[i] != DLX_AXIS_ONE) return false;
    return true;
}

/* Queries [K,G,T,D] times keys [K,1,D,S], which all G of a group read. */
static bool form_grouped_scores(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *k = form_of(d, n, 1), *q = form_of(d, n, 0);
    const dlx_value *x = old_value(d, n->in[0]);
    int key = n->attr.transpose_b ? 2 : 3, next = 1;
    static const int order[3] = {0, 1, 3};
    if (k->kind != DLX_FORM_CACHE || q->kind != DLX_FORM_ROWS || q->last || k->rank != 4 || q->rank != 4 ||
        k->axis[0] != DLX_AXIS_KV || k->axis[1] != DLX_AXIS_ONE || k->axis[key] != DLX_AXIS_KEY ||
        k->axis[5 - key] != DLX_AXIS_DIM || q->axis[2] != 0 || x->dim[0] != d->cache[k->cache].kv ||
        x->dim[3] != d->cache[k->cache].dim)
        return false;
    for (int i = 0; i < 3; i++)
        if (q->axis[order[i]] < 0 ? x->dim[order[i]] != 1 : q->axis[order[i]] != next++) return false;
    if (next != d->r.to.values[q->v].rank) return false;
    dlx_attr flat = {.rank = 3, .shape = {-1, x->dim[0] * x->dim[1], x->dim[3]}};
    *f = (dlx_form){.kind = DLX_FORM_SCORES, .rank = 4, .cache = k->cache, .scale = k->scale};
    static const int8_t axes[4] = {DLX_AXIS_KV, DLX_AXIS_GROUP, DLX_AXIS_ROW, DLX_AXIS_KEY};
    memcpy(f->axis, axes, sizeof axes);
    return emit(d, DLX_OP_RESHAPE, &q->v, 1, &flat, -1, &f->v);
}

/* Queries [..,H,T,D] times keys [..,H,D,S] */
static bool form_scores(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *k = form_of(d, n, 1);
    const dlx_value *q = old_value(d, n->in[0]);
    int r = q->rank, key = n->attr.transpose_b ? r - 2 : r - 1, dim = n->attr.transpose_b ? r - 1 : r - 2;
    uint32_t queries;
    if (k->kind != DLX_FORM_CACHE || r < 3 || k->rank != r || k->axis[key] != DLX_AXIS_KEY ||
        k->axis[dim] != DLX_AXIS_DIM || !heads_fit(d, k, r - 3, q->dim[r - 3]) || !leading_ones(k, r - 3))
        return false;
    if (!dlx_rows_by_head(d, n->in[0], r - 2, r - 3, r - 1, q->dim[r - 3], d->cache[k->cache].dim, &queries))
        return false;
    *f = (dlx_form){.kind = DLX_FORM_SCORES, .rank = (uint8_t)r, .v = queries, .cache = k->cache, .scale = k->scale};
    f->axis[r - 3] = DLX_AXIS_HEAD;
    f->axis[r - 2] = DLX_AXIS_ROW;
    f->axis[r - 1] = DLX_AXIS_KEY;
    return true;
}

/* The input of a cache in the new graph. One position of the buffer is a row's own. */
static bool cache_input(dlx_decoder *d, dlx_decoder_cache *c)
{
    int64_t dim[3] = {c->state ? c->positions - 1 : c->positions, c->kv, c->dim};
    if (dim[0] < 1) return false;
    const char *name = c->old == DLX_NONE ? NULL : old_value(d, c->old)->name;
    c->input = dlx_graph_input(&d->r.to, name, DLX_F32, 3, dim, 1);
    if (c->input == DLX_NONE) dlx_fail(d->err, DLX_E_NOMEM, "out of memory raising a decoder");
    return c->input != DLX_NONE;
}

/* One ATTENTION of queries [T,H,D] over two caches that nobody else reads; *out is [T,H,D]. */
static bool attend(dlx_decoder *d, uint32_t q, int32_t keys, int32_t values, float scale, bool masked, int32_t layer,
                   uint32_t *out)
{
    dlx_decoder_cache *k = &d->cache[keys], *v = &d->cache[values];
    const dlx_value *query = &d->r.to.values[q];
    int64_t heads = query->dim[1], dim = query->dim[2];
    bool alike = k->state == v->state && k->joined == v->joined && k->positions == v->positions && k->kv == v->kv &&
                 k->dim == v->dim;
    if (keys == values || !alike || k->layer >= 0 || v->layer >= 0 || k->fresh == DLX_NONE || v->fresh == DLX_NONE ||
        masked != (d->whole || (k->state && !k->joined)) || !isfinite(scale) || d->layers == DLX_MOST_LAYERS)
        return false;
    if (!cache_input(d, k) || !cache_input(d, v)) return false;
    uint32_t in[5] = {q, k->fresh, v->fresh, k->input, v->input};
    if (!emit(d, DLX_OP_ATTENTION, in, 5, &(dlx_attr){.f = {scale, 0}}, layer, out)) return false;
    d->order[0][d->layers] = (uint32_t)keys;
    d->order[1][d->layers] = (uint32_t)values;
    k->layer = v->layer = d->layers++;
    d->causal = masked;
    return emit(d, DLX_OP_RESHAPE, out, 1, &(dlx_attr){.rank = 3, .shape = {-1, heads, dim}}, layer, out);
}

/* Weights [..,H,T,S] times values [..,H,S,D] */
static bool form_mixed(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *w = form_of(d, n, 0), *v = form_of(d, n, 1);
    int r = w->rank;
    if (v->kind != DLX_FORM_CACHE || n->attr.transpose_b || r < 3 || v->rank != r || v->scale != 1.0f) return false;
    if (w->axis[r - 3] != DLX_AXIS_HEAD || w->axis[r - 2] != DLX_AXIS_ROW || w->axis[r - 1] != DLX_AXIS_KEY ||
        v->axis[r - 2] != DLX_AXIS_KEY || v->axis[r - 1] != DLX_AXIS_DIM || !leading_ones(w, r - 3) ||
        !leading_ones(v, r - 3) || !heads_fit(d, v, r - 3, d->r.to.values[w->v].dim[1]))
        return false;
    uint32_t out;
    if (!attend(d, w->v, w->cache, v->cache, w->scale, w->masked, n->layer, &out)) return false;
    *f = (dlx_form){.kind = DLX_FORM_ROWS, .rank = (uint8_t)r, .v = out};
    for (int i = 0; i < r; i++) f->axis[i] = -1;
    f->axis[r - 3] = 1;
    f->axis[r - 2] = 0;
    f->axis[r - 1] = 2;
    return true;
}

/* Rows [T,H,D] over those before the start and the call's own: all of them are seen. */
static bool form_fused(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    uint32_t in[3], out;
    int32_t cache[2];
    if (n->inputs != 5 || n->in[3] == DLX_NONE) return false;
    for (int k = 0; k < 3; k++) {
        const dlx_value *v = old_value(d, n->in[k]);
        if (!dlx_rows_by_head(d, n->in[k], 0, 1, 2, v->dim[1], v->dim[2], &in[k])) return false;
    }
    for (int k = 0; k < 2; k++) {
        const dlx_form *past = form_of(d, n, 3 + k);
        cache[k] = past->cache;
        if (past->kind != DLX_FORM_PAST || past->scale != 1.0f || past->rank != 3 || past->axis[0] != DLX_AXIS_KEY ||
            past->axis[1] != DLX_AXIS_KV || past->axis[2] != DLX_AXIS_DIM || d->cache[cache[k]].fresh != DLX_NONE)
            return false;
        d->cache[cache[k]].fresh = in[1 + k];
        d->cache[cache[k]].joined = true;
    }
    if (!attend(d, in[0], cache[0], cache[1], n->attr.f[0], false, n->layer, &out)) return false;
    const dlx_value *q = old_value(d, n->in[0]);
    out = d->r.to.nodes[d->r.to.values[out].producer].in[0]; /* [T,H*D], as the operator gives it */
    *f = (dlx_form){.kind = DLX_FORM_ROWS, .rank = 2, .v = out, .axis = {0, 1}};
    return q->rank == 3;
}

/* Weights [K,G,T,S] times values [K,1,S,D] */
static bool form_grouped_mixed(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *w = form_of(d, n, 0), *v = form_of(d, n, 1);
    static const int8_t weights[4] = {DLX_AXIS_KV, DLX_AXIS_GROUP, DLX_AXIS_ROW, DLX_AXIS_KEY},
                        values[4] = {DLX_AXIS_KV, DLX_AXIS_ONE, DLX_AXIS_KEY, DLX_AXIS_DIM};
    const dlx_value *x = old_value(d, n->in[0]);
    uint32_t out;
    if (v->kind != DLX_FORM_CACHE || n->attr.transpose_b || w->rank != 4 || v->rank != 4 || v->scale != 1.0f ||
        memcmp(w->axis, weights, sizeof weights) != 0 || memcmp(v->axis, values, sizeof values) != 0)
        return false;
    if (!attend(d, w->v, w->cache, v->cache, w->scale, w->masked, n->layer, &out)) return false;
    dlx_attr split = {.rank = 4, .shape = {-1, x->dim[0], x->dim[1], d->cache[v->cache].dim}};
    *f = (dlx_form){.kind = DLX_FORM_ROWS, .rank = 4, .axis = {1, 2, 0, 3}};
    return emit(d, DLX_OP_RESHAPE, &out, 1, &split, n->layer, &f->v);
}

/* Rows [T,H,D], turned by rows [T,D] of tables. */
static bool form_rope(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_value *x = old_value(d, n->in[0]);
    uint32_t in[3];
    if (n->attr.keep || n->attr.axis != 0 || x->rank != 3) return false;
    if (!dlx_rows_by_head(d, n->in[0], 0, 1, 2, x->dim[1], x->dim[2], &in[0])) return false;
    for (int k = 1; k < 3; k++) {
        const dlx_form *table = form_of(d, n, k);
        if (table->kind != DLX_FORM_ROWS || table->last || table->rank != 2 || table->axis[0] != 0 ||
            table->axis[1] != 1)
            return false;
        in[k] = table->v;
    }
    *f = (dlx_form){.kind = DLX_FORM_ROWS, .rank = 3, .axis = {0, 1, 2}};
    return emit(d, DLX_OP_ROPE, in, 3, &n->attr, n->layer, &f->v);
}

/* The operator of ExecuTorch's LLM library: q [1,T,H,D], caches [1,S,K,D], from the start position. */
static bool form_sdpa(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *k = form_of(d, n, 1), *v = form_of(d, n, 2);
    const dlx_value *q = old_value(d, n->in[0]);
    static const int8_t axes[4] = {DLX_AXIS_ONE, DLX_AXIS_KEY, DLX_AXIS_KV, DLX_AXIS_DIM};
    uint32_t queries, out;
    if (k->kind != DLX_FORM_CACHE || v->kind != DLX_FORM_CACHE || n->inputs != 4 || !n->attr.causal ||
        form_of(d, n, 3)->kind != DLX_FORM_START || k->scale != 1.0f || v->scale != 1.0f || k->rank != 4 ||
        v->rank != 4)
        return false;
    if (memcmp(k->axis, axes, sizeof axes) != 0 || memcmp(v->axis, axes, sizeof axes) != 0) return false;
    if (!dlx_rows_by_head(d, n->in[0], 1, 2, 3, q->dim[2], d->cache[k->cache].dim, &queries)) return false;
    if (!attend(d, queries, k->cache, v->cache, n->attr.f[0], true, n->layer, &out)) return false;
    *f = (dlx_form){.kind = DLX_FORM_ROWS, .rank = 4, .v = out, .axis = {-1, 0, 1, 2}};
    return true;
}

/* Scores and caches times a number. */
static bool form_scaled(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    for (int k = 0; k < 2; k++) {
        const dlx_form *x = form_of(d, n, k);
        float number;
        if ((x->kind != DLX_FORM_CACHE && (x->kind != DLX_FORM_SCORES || x->masked)) || f->rank != x->rank ||
            !scalar_of(d, n->in[1 - k], &number))
            continue;
        if (n->op == DLX_OP_DIV && (k || number == 0)) return false;
        *f = *x;
        f->scale = n->op == DLX_OP_DIV ? x->scale / number : x->scale * number;
        return true;
    }
    return false;
}

/* What the safe softmax asks of scores: is any of them not -inf. */
static bool form_asked(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *x = form_of(d, n, 0);
    dlx_form_kind kind = DLX_FORM_NONE;
    float number;
    if (n->op == DLX_OP_EQUAL && x->kind == DLX_FORM_SCORES && scalar_of(d, n->in[1], &number) && number == -INFINITY)
        kind = DLX_FORM_HIDDEN;
    if (n->op == DLX_OP_NOT && x->kind == DLX_FORM_HIDDEN) kind = DLX_FORM_SEEN;
    if (n->op == DLX_OP_ANY && x->kind == DLX_FORM_SEEN && x->axis[n->attr.axis] == DLX_AXIS_KEY && n->attr.keep)
        kind = DLX_FORM_ANY;
    if (n->op == DLX_OP_NOT && x->kind == DLX_FORM_ANY) kind = DLX_FORM_NEVER;
    if (kind == DLX_FORM_NONE || f->rank != x->rank) return false;
    *f = *x;
    f->kind = kind;
    if (kind == DLX_FORM_ANY) f->axis[n->attr.axis] = DLX_AXIS_ONE;
    return true;
}

static bool form_masked(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    for (int k = 0; d->whole && k < 2; k++) {
        const dlx_form *scores = form_of(d, n, 1 - k);
        if (scores->kind != DLX_FORM_SCORES || scores->masked || f->rank != scores->rank ||
            !dlx_whole_mask(d, n->in[k], scores))
            continue;
        *f = *scores;
        f->masked = true;
        return true;
    }
    for (int k = 0; k < 2; k++)
        if (mask_fits(d, n, k, 1 - k) && form_of(d, n, k)->masked) {
            *f = *form_of(d, n, 1 - k);
            f->masked = true;
            return true;
        }
    return false;
}

bool dlx_form_attention(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *x = form_of(d, n, 0);
    switch (n->op) {
    case DLX_OP_INDEX_PUT: return form_index_put(d, n, f);
    case DLX_OP_SLICE_PUT: return form_slice_put(d, n, f);
    case DLX_OP_CONCAT: return form_joined(d, n, f);
    case DLX_OP_SDPA: return form_sdpa(d, n, f);
    case DLX_OP_ATTENTION: return form_fused(d, n, f);
    case DLX_OP_ROPE: return form_rope(d, n, f);
    case DLX_OP_INDEX:
    case DLX_OP_EMBEDDING:
    case DLX_OP_NARROW: return form_past(d, n, f) || form_mask(d, n, f);
    case DLX_OP_WHERE: return form_where(d, n, f);
    case DLX_OP_BMM:
        return x->kind == DLX_FORM_WEIGHTS ? form_mixed(d, n, f) || form_grouped_mixed(d, n, f)
                                           : form_scores(d, n, f) || form_grouped_scores(d, n, f);
    case DLX_OP_SOFTMAX:
        if (x->kind != DLX_FORM_SCORES || x->axis[x->rank - 1] != DLX_AXIS_KEY) return false;
        *f = *x;
        f->kind = DLX_FORM_WEIGHTS;
        return true;
    case DLX_OP_MUL:
    case DLX_OP_DIV: return form_scaled(d, n, f);
    case DLX_OP_ADD: return form_masked(d, n, f);
    case DLX_OP_EQUAL:
    case DLX_OP_NOT:
    case DLX_OP_ANY: return form_asked(d, n, f);
    default: break;
    }
    if (!has_axes(x)) return false;
    switch (n->op) {
    case DLX_OP_COPY: *f = *x; return true;
    case DLX_OP_TRANSPOSE: return form_transpose(x, n, f);
    case DLX_OP_RESHAPE: return n->inputs >= 1 && form_reshape(d, x, n, f);
    case DLX_OP_EXPAND: return form_expand(d, x, n, f);
    case DLX_OP_SLICE: {
        const dlx_value *in = old_value(d, n->in[0]), *out = old_value(d, n->out[0]);
        bool whole = in->dynamic == out->dynamic && memcmp(in->dim, out->dim, in->rank * sizeof in->dim[0]) == 0;
        for (int i = 0; i < in->rank; i++) whole = whole && n->attr.shape[i] == 0;
        if (whole) *f = *x;
        return whole;
    }
    default: return false;
    }
}
