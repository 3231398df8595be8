/*
 * Decoders whose whole cache comes in and goes out, as the Python system that this one succeeds exported them and as
 * `--kv explicit` does. What they are asked to see and to store is up to their driver: the mask and the two matrices.
 * Three things are proven, and then the driver can be this library's sessions: attention reads its layer's part of the
 * cache with the rows of the call behind it; what is added to the scores is the mask, or the mask as the exporter
 * corrects it; and the cache that goes out is cache * keep + insert @ rows, part by part, with the rows that
 * attention read. How the program picks parts and puts them together again is followed by views.
 */
#include <string.h>

#include "graph/explicit_mask.h"
#include "runtime/constants.h"
#include "runtime/raise_decoder.h"
#include "runtime/raise_view.h"

enum { IDS, POSITIONS, CACHE, MASK, INSERT, KEEP, INPUTS };
enum { MOST_ROWS = 2048, INNER = DLX_MAX_RANK }; /* rows of a call in sessions; the name of what a product sums over */

static const dlx_value *input(const dlx_graph *g, int i)
{
    return &g->values[g->inputs[i]];
}

static bool shape_is(const dlx_value *v, dlx_dtype dtype, int rank, const int64_t *dim)
{
    return v->dtype == dtype && v->rank == rank && !v->dynamic && memcmp(v->dim, dim, (size_t)rank * sizeof *dim) == 0;
}

bool dlx_is_whole(const dlx_graph *g)
{
    if (g->n_inputs != INPUTS || g->n_outputs != 2 || g->n_states) return false;
    const dlx_value *c = input(g, CACHE), *ids = input(g, IDS), *out = &g->values[g->outputs[1]];
    if (c->rank != 6 || ids->rank != 2) return false;
    int64_t l = c->dim[0], m = c->dim[4], b = ids->dim[1];
    if (l < 1 || l > DLX_MOST_LAYERS || m < 1 || b < 1 || c->dim[3] < 1 || c->dim[5] < 1 || m > 1 << 24 || b > 1 << 24)
        return false;
    const int64_t cache[6] = {l, 2, 1, c->dim[3], m, c->dim[5]}, row[2] = {1, b}, mask[5] = {l, 1, 1, b, m + b};
    const int64_t insert[5] = {l, 1, 1, m, b}, keep[5] = {l, 1, 1, m, 1};
    return shape_is(ids, DLX_I64, 2, row) && shape_is(input(g, POSITIONS), DLX_I64, 2, row) &&
           shape_is(c, DLX_F32, 6, cache) && shape_is(input(g, MASK), DLX_F32, 5, mask) &&
           shape_is(input(g, INSERT), DLX_F32, 5, insert) && shape_is(input(g, KEEP), DLX_F32, 5, keep) &&
           shape_is(out, DLX_F32, 6, cache);
}

bool dlx_whole_bind(dlx_decoder *d)
{
    const dlx_graph *g = d->r.from;
    const dlx_value *c = input(g, CACHE);
    d->tokens = g->inputs[IDS];
    d->positions = g->inputs[POSITIONS];
    d->rows = d->most = input(g, IDS)->dim[1];
    /* Rows do not depend on how many there are, so a session's calls may have more of them. */
    if (d->rows > 1) d->most = c->dim[4] < MOST_ROWS ? c->dim[4] : MOST_ROWS;
    if (d->most < d->rows) d->most = d->rows;
    dlx_form row = {.kind = DLX_FORM_ROWS, .rank = 2, .axis = {-1, 0}};
    if (!dlx_decoder_input(d, "tokens", NULL, &row.v)) return false;
    d->form[d->tokens] = row;
    if (!dlx_decoder_input(d, "positions", NULL, &row.v)) return false;
    d->form[d->positions] = row;
    d->new_positions = row.v;
    d->n_caches = 2 * (size_t)c->dim[0];
    for (size_t i = 0; i < d->n_caches; i++)
        d->cache[i] = (dlx_decoder_cache){.old = DLX_NONE,
                                          .fresh = DLX_NONE,
                                          .input = DLX_NONE,
                                          .positions = c->dim[4],
                                          .kv = c->dim[3],
                                          .dim = c->dim[5],
                                          .layer = -1};
    return true;
}

/* ---- parts ---- */

/* Whether a view has come to input i, its first dimension fixed to a layer. */
static bool part_of(const dlx_decoder *d, const dlx_view *x, int i, int64_t *layer)
{
    const dlx_graph *g = d->r.from;
    if (x->v != g->inputs[i]) return false;
    *layer = g->values[x->v].dim[0] == 1 ? 0 : x->at[0];
    return *layer != DLX_VIEW_WHOLE;
}

/* The cache that a view shows, all of it. */
static int32_t cache_of(const dlx_decoder *d, const dlx_view *x)
{
    int64_t layer;
    if (!part_of(d, x, CACHE, &layer) || x->at[1] == DLX_VIEW_WHOLE) return -1;
    for (int i = 3; i < 6; i++)
        if (x->at[i] != DLX_VIEW_WHOLE) return -1;
    return (int32_t)(2 * layer + x->at[1]);
}

bool dlx_whole_past(const dlx_decoder *d, uint32_t v, dlx_form *out)
{
    const dlx_graph *g = d->r.from;
    static const int8_t kind[3] = {DLX_AXIS_KV, DLX_AXIS_KEY, DLX_AXIS_DIM};
    dlx_view x = dlx_view_of(g, v);
    dlx_view_walk(g, &x);
    int32_t cache = cache_of(d, &x);
    if (cache < 0) return false;
    *out = (dlx_form){.kind = DLX_FORM_PAST, .rank = g->values[v].rank, .cache = cache, .scale = 1.0f};
    for (int i = 0; i < out->rank; i++) out->axis[i] = DLX_AXIS_ONE;
    for (int i = 0; i < 3; i++)
        if (x.name[3 + i] >= 0)
            out->axis[x.name[3 + i]] = kind[i];
        else if (i || g->values[x.v].dim[3] != 1)
            return false;
    /* A single head is one of the dimensions of 1: the one where heads are. */
    for (int i = out->rank - 1; i >= 0 && x.name[3] < 0; i--)
        if (out->axis[i] == DLX_AXIS_ONE) {
            out->axis[i] = DLX_AXIS_KV;
            return true;
        }
    return x.name[3] >= 0;
}

/* ---- the mask ---- */

/* The mask of a layer, rows and keys where those of scores are. */
static bool is_mask(const dlx_decoder *d, uint32_t v, const dlx_form *scores)
{
    const dlx_graph *g = d->r.from;
    dlx_view x = dlx_view_of(g, v);
    int64_t layer;
    int shift = scores->rank - g->values[v].rank;
    dlx_view_walk(g, &x);
    if (!part_of(d, &x, MASK, &layer) || layer != scores->cache / 2 || shift < 0) return false;
    for (int i = 3; i < 5; i++) {
        int8_t want = i == 3 ? DLX_AXIS_ROW : DLX_AXIS_KEY;
        if (x.at[i] != DLX_VIEW_WHOLE || x.name[i] < 0 || scores->axis[x.name[i] + shift] != want) return false;
    }
    return true;
}

/* The bytes of two constants of one type and shape. */
static bool same_const(dlx_graph *g, uint32_t a, const dlx_graph *h, uint32_t b, dlx_error *err)
{
    const dlx_value *x = &g->values[a], *y = &h->values[b];
    dlx_shape s = dlx_value_shape(x);
    if (x->kind != DLX_VALUE_CONST || y->kind != DLX_VALUE_CONST || x->source.transform != DLX_CONST_PLAIN)
        return false;
    if (x->dtype != y->dtype || dlx_constant_load(g, a, err) != DLX_OK) return false;
    size_t bytes = (size_t)dlx_shape_elements(&s) * dlx_dtype_size(x->dtype);
    return x->source.data && bytes <= x->source.bytes && bytes <= y->source.bytes &&
           memcmp(x->source.data, y->source.data, bytes) == 0;
}

static bool same_attr(const dlx_graph *g, const dlx_node *x, const dlx_node *y)
{
    if (x->op == DLX_OP_SLICE)
        return memcmp(x->attr.shape, y->attr.shape, g->values[x->in[0]].rank * sizeof(int64_t)) == 0;
    if (x->op == DLX_OP_CLAMP) return x->attr.f[0] == y->attr.f[0] && x->attr.f[1] == y->attr.f[1];
    if (x->op == DLX_OP_CONCAT) return x->attr.axis == y->attr.axis;
    return x->attr.transpose_b == y->attr.transpose_b; /* shapes say the rest */
}

/* Whether value a of g is computed as value b of h is. Values that were found to be are remembered in `as`. */
static bool same_value(dlx_decoder *d, uint32_t a, const dlx_graph *h, uint32_t b, uint32_t *as)
{
    dlx_graph *g = d->old;
    const dlx_value *x = &g->values[a], *y = &h->values[b];
    if (as[b] != DLX_NONE) return as[b] == a;
    if (x->dtype != y->dtype || x->rank != y->rank || x->dynamic ||
        memcmp(x->dim, y->dim, x->rank * sizeof x->dim[0]) != 0)
        return false;
    const dlx_node *m = dlx_made_by(g, a), *n = dlx_made_by(h, b);
    if (!n) {
        if (m || !same_const(g, a, h, b, d->err)) return false; /* inputs were given */
        as[b] = a;
        return true;
    }
    if (!m || m->op != n->op || m->inputs != n->inputs || !same_attr(g, m, n)) return false;
    for (int k = 0; k < n->inputs; k++)
        if (!same_value(d, m->in[k], h, n->in[k], as)) return false;
    as[b] = a;
    return true;
}

/* Whether v is what the exporter adds to the scores of a layer: it is built once more, and compared. */
static bool is_corrected(dlx_decoder *d, uint32_t v, int32_t layer)
{
    const dlx_graph *g = d->r.from;
    static const int source[4] = {POSITIONS, MASK, INSERT, KEEP};
    dlx_error local = {0};
    dlx_graph h;
    dlx_explicit_mask x = {.g = &h, .rows = d->rows, .slots = d->cache[0].positions, .err = &local};
    uint32_t *place[4] = {&x.positions, &x.mask, &x.insert, &x.keep}, bias = DLX_NONE, as_given = DLX_NONE, *as = NULL;
    bool same = false;
    if (g->values[v].rank != 2) return false;
    dlx_graph_init_with(&h, &d->r.to.arena.mem);
    for (int i = 0; i < 4; i++) {
        const dlx_value *in = input(g, source[i]);
        *place[i] = dlx_graph_input(&h, NULL, in->dtype, in->rank, in->dim, 0);
        if (*place[i] == DLX_NONE) dlx_fail(&local, DLX_E_NOMEM, "out of memory raising a decoder");
    }
    if (local.status == DLX_OK) {
        as_given = x.positions;
        x.positions =
            dlx_graph_node(&h, DLX_OP_RESHAPE, &as_given, 1, &(dlx_attr){.rank = 1, .shape = {d->rows}}, -1, &local);
        dlx_explicit_before(&x);
        bias = dlx_explicit_bias(&x, layer);
    }
    size_t n = h.n_values;
    if (bias != DLX_NONE) as = dlx_mem_array(&d->r.to.arena.mem, n, sizeof *as);
    if (as) {
        memset(as, 0xFF, n * sizeof *as);
        place[0] = &as_given;
        for (int i = 0; i < 4; i++) as[*place[i]] = g->inputs[source[i]];
        same = same_value(d, v, &h, bias, as);
    } else {
        dlx_fail(d->err, DLX_E_NOMEM, "out of memory raising a decoder");
    }
    dlx_mem_free(&d->r.to.arena.mem, as, n, sizeof *as);
    dlx_graph_free(&h);
    return same;
}

bool dlx_whole_mask(dlx_decoder *d, uint32_t v, const dlx_form *scores)
{
    int r = scores->rank;
    if (scores->axis[r - 1] != DLX_AXIS_KEY || scores->axis[r - 2] != DLX_AXIS_ROW) return false;
    return is_mask(d, v, scores) || is_corrected(d, v, scores->cache / 2);
}

/* ---- what goes out ---- */

/* cache * keep: `root` names the dimensions of the cache as they are named there. */
static bool is_kept(const dlx_decoder *d, const dlx_view *x, int32_t cache)
{
    const dlx_graph *g = d->r.from;
    const dlx_node *mul = dlx_made_as(g, x->v, DLX_OP_MUL);
    for (int k = 0; mul && k < 2; k++) {
        dlx_view past = dlx_view_operand(g, x, mul, k, -1), keep = dlx_view_operand(g, x, mul, 1 - k, -1);
        int64_t layer;
        dlx_view_walk(g, &past);
        dlx_view_walk(g, &keep);
        if (cache_of(d, &past) != cache || !part_of(d, &keep, KEEP, &layer) || layer != cache / 2) continue;
        bool named = keep.at[3] == DLX_VIEW_WHOLE && (keep.name[3] == 4 || g->values[keep.v].dim[3] == 1);
        for (int i = 3; i < 6; i++) named = named && (past.name[i] == i || g->values[past.v].dim[i] == 1);
        if (named) return true;
    }
    return false;
}

/* insert @ rows, the rows being those that attention read. */
static bool is_put(dlx_decoder *d, const dlx_view *x, int32_t cache)
{
    const dlx_graph *g = d->r.from;
    const dlx_node *bmm = dlx_made_as(g, x->v, DLX_OP_BMM);
    const dlx_decoder_cache *c = &d->cache[cache];
    int64_t layer;
    uint32_t fresh;
    if (!bmm || c->fresh == DLX_NONE) return false;
    dlx_view insert = dlx_view_operand(g, x, bmm, 0, INNER), rows = dlx_view_operand(g, x, bmm, 1, INNER);
    dlx_view_walk(g, &insert);
    if (!part_of(d, &insert, INSERT, &layer) || layer != cache / 2 || insert.at[3] != DLX_VIEW_WHOLE ||
        insert.at[4] != DLX_VIEW_WHOLE || (insert.name[3] != 4 && g->values[insert.v].dim[3] != 1) ||
        (insert.name[4] != INNER && g->values[insert.v].dim[4] != 1))
        return false;
    do { /* back until they are the rows that attention read */
        int row = dlx_view_find(g, &rows, INNER), head = dlx_view_find(g, &rows, 3), dim = dlx_view_find(g, &rows, 5);
        for (int i = 0; head < 0 && i < g->values[rows.v].rank; i++) /* the only head is a dimension of 1 */
            if (i != row && i != dim && g->values[rows.v].dim[i] == 1) head = i;
        if (row >= 0 && head >= 0 && dim >= 0 && dlx_rows_by_head(d, rows.v, row, head, dim, c->kv, c->dim, &fresh) &&
            dlx_same_rows(d, fresh, c->fresh))
            return true;
    } while (dlx_view_step(g, &rows));
    return false;
}

bool dlx_whole_kept(dlx_decoder *d)
{
    const dlx_graph *g = d->r.from;
    for (int32_t cache = 0; cache < (int32_t)d->n_caches; cache++) {
        dlx_view x = dlx_view_of(g, g->outputs[1]);
        x.at[0] = cache / 2;
        x.at[1] = cache % 2;
        dlx_view_walk(g, &x);
        const dlx_node *sum = dlx_made_as(g, x.v, DLX_OP_ADD);
        bool found = false;
        for (int k = 0; sum && k < 2 && !found; k++) {
            dlx_view kept = dlx_view_operand(g, &x, sum, k, -1), put = dlx_view_operand(g, &x, sum, 1 - k, -1);
            dlx_view_walk(g, &kept);
            dlx_view_walk(g, &put);
            found = is_kept(d, &kept, cache) && is_put(d, &put, cache);
        }
        if (!found) return false;
    }
    return true;
}
