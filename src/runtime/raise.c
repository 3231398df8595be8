#include "runtime/raise.h"

#include <math.h>
#include <string.h>

#include "graph/rewrite.h"

/* A constant of `n` floats whose bytes are those floats. */
static const float *const_floats(const dlx_graph *g, uint32_t v, int64_t n)
{
    const dlx_value *c = &g->values[v];
    dlx_shape s = dlx_value_shape(c);
    if (c->kind != DLX_VALUE_CONST || c->dtype != DLX_F32 || c->source.transform != DLX_CONST_PLAIN ||
        c->scales != DLX_NONE || dlx_shape_elements(&s) != n || c->source.bytes / sizeof(float) < (uint64_t)n)
        return NULL;
    return c->source.data;
}

/* The single float of a constant with one element, which broadcasts to any operand of at least `rank` dimensions. */
static bool const_scalar(const dlx_graph *g, uint32_t v, int rank, float *out)
{
    const float *data = const_floats(g, v, 1);
    if (!data || g->values[v].rank > rank) return false;
    memcpy(out, data, sizeof *out); /* may lie at an odd address of the file */
    return isfinite(*out);
}

static bool const_filled(const dlx_graph *g, uint32_t v, int64_t n, float number)
{
    const float *data = const_floats(g, v, n);
    for (int64_t i = 0; data && i < n; i++)
        if (memcmp((const char *)data + (size_t)i * sizeof number, &number, sizeof number) != 0) return false;
    return data != NULL;
}

/* Same rank and dimensions, and the same ones of them vary. */
static bool same_shape(const dlx_value *a, const dlx_value *b)
{
    return a->rank == b->rank && a->dynamic == b->dynamic && memcmp(a->dim, b->dim, a->rank * sizeof a->dim[0]) == 0;
}

static bool shape_is(const dlx_value *v, unsigned dynamic, int rank, const int64_t *dim)
{
    return v->rank == rank && v->dynamic == dynamic && memcmp(v->dim, dim, (size_t)rank * sizeof *dim) == 0;
}

static bool last_is_fixed(const dlx_value *v)
{
    return v->rank >= 1 && !(v->dynamic >> (v->rank - 1) & 1);
}

static bool dims_are(const dlx_node *n, int rank, int64_t a, int64_t b, int64_t c, int64_t d)
{
    const int64_t want[4] = {a, b, c, d};
    if (n->attr.rank != rank) return false;
    for (int i = 0; i < rank; i++)
        if (n->attr.shape[i] != want[i]) return false;
    return true;
}

void dlx_raise_into(dlx_graph *g, size_t root, dlx_op op, const uint32_t *in, int inputs, float f)
{
    dlx_node *n = &g->nodes[root];
    n->op = op;
    n->inputs = (uint8_t)inputs;
    memset(&n->attr, 0, sizeof n->attr);
    n->attr.f[0] = f;
    memcpy(n->in, in, (size_t)inputs * sizeof *in);
}

/* x^2, as a square or a product of x with itself. */
static bool is_square(const dlx_graph *g, uint32_t v, uint32_t x)
{
    const dlx_node *square = dlx_made_as(g, v, DLX_OP_SQUARE), *product = dlx_made_as(g, v, DLX_OP_MUL);
    return (square && square->in[0] == x) || (product && product->in[0] == x && product->in[1] == x);
}

/* mean(x^2) + eps, written as a fully connected layer of weights 1/d, or as mean and add. */
static bool match_mean_square(const dlx_graph *g, uint32_t v, uint32_t x, float *eps)
{
    const dlx_value *xv = &g->values[x];
    int64_t d = xv->dim[xv->rank - 1];
    const dlx_node *fc = dlx_made_as(g, v, DLX_OP_LINEAR), *add = dlx_made_as(g, v, DLX_OP_ADD);
    if (d < 1) return false;
    if (fc && fc->inputs == 3 && fc->in[2] != DLX_NONE) {
        const dlx_value *w = &g->values[fc->in[1]];
        return is_square(g, fc->in[0], x) && w->rank == 2 && w->dim[0] == 1 && w->dim[1] == d &&
               const_filled(g, fc->in[1], d, 1.0f / (float)d) && const_scalar(g, fc->in[2], 1, eps);
    }
    for (int k = 0; add && k < 2; k++) {
        const dlx_node *mean = dlx_made_as(g, add->in[k], DLX_OP_MEAN);
        if (mean && is_square(g, mean->in[0], x) && mean->attr.keep && mean->attr.axis == xv->rank - 1 &&
            const_scalar(g, add->in[1 - k], xv->rank, eps))
            return true;
    }
    return false;
}

static bool raise_rms_norm(dlx_graph *g, size_t i)
{
    const dlx_node *n = &g->nodes[i];
    if (n->op != DLX_OP_MUL) return false;
    for (int k = 0; k < 2; k++) {
        const dlx_node *normed = dlx_made_as(g, n->in[k], DLX_OP_MUL);
        uint32_t w = n->in[1 - k];
        for (int j = 0; normed && j < 2; j++) {
            const dlx_node *r = dlx_made_as(g, normed->in[1 - j], DLX_OP_RSQRT);
            uint32_t x = normed->in[j];
            float eps;
            const dlx_value *xv = &g->values[x];
            if (!r || !last_is_fixed(xv) || g->values[w].rank != 1 || !const_floats(g, w, xv->dim[xv->rank - 1]) ||
                !match_mean_square(g, r->in[0], x, &eps) || eps < 0)
                continue;
            uint32_t in[2] = {x, w};
            dlx_raise_into(g, i, DLX_OP_RMS_NORM, in, 2, eps);
            return true;
        }
    }
    return false;
}

static bool raise_silu_mul(dlx_graph *g, size_t i)
{
    const dlx_node *n = &g->nodes[i];
    if (n->op != DLX_OP_MUL) return false;
    for (int k = 0; k < 2; k++) {
        const dlx_node *silu = dlx_made_as(g, n->in[k], DLX_OP_MUL);
        for (int j = 0; silu && j < 2; j++) {
            const dlx_node *s = dlx_made_as(g, silu->in[j], DLX_OP_SIGMOID);
            uint32_t in[2] = {silu->in[1 - j], n->in[1 - k]};
            if (!s || s->in[0] != in[0] || !same_shape(&g->values[in[0]], &g->values[in[1]])) continue;
            dlx_raise_into(g, i, DLX_OP_SILU_MUL, in, 2, 0.0f);
            return true;
        }
    }
    return false;
}

static bool raise_embedding(dlx_graph *g, size_t i)
{
    const dlx_node *n = &g->nodes[i];
    if (n->op != DLX_OP_MUL) return false;
    for (int k = 0; k < 2; k++) {
        const dlx_node *convert = dlx_made_as(g, n->in[k], DLX_OP_CONVERT);
        const dlx_node *scales = dlx_made_as(g, n->in[1 - k], DLX_OP_EMBEDDING);
        const dlx_node *rows = convert ? dlx_made_as(g, convert->in[0], DLX_OP_EMBEDDING) : NULL;
        if (!rows || !scales || rows->inputs != 2 || rows->in[1] != scales->in[1] || convert->attr.f[0] != 1.0f)
            continue;
        const dlx_value *table = &g->values[rows->in[0]], *s = &g->values[scales->in[0]];
        if (scales->inputs != 2 || table->dtype != DLX_I8 || table->kind != DLX_VALUE_CONST || s->dim[1] != 1 ||
            s->dim[0] != table->dim[0] || !const_floats(g, scales->in[0], table->dim[0]))
            continue;
        uint32_t in[3] = {rows->in[0], rows->in[1], scales->in[0]};
        dlx_raise_into(g, i, DLX_OP_EMBEDDING, in, 3, 0.0f);
        return true;
    }
    return false;
}

/* What an attention node reads, and the sizes that every step of its expansion must have. */
typedef struct attention {
    uint32_t q, k, v, kc, vc;
    int64_t rows, heads, kv, dim; /* rows: the bound */
    unsigned dynamic;             /* 1: rows vary */
    float scale;
} attention;

/* Keys or values in the order [K, S, D] (or [K, D, S]): the new rows, and the cached ones in front of them if any. */
static bool match_kv(const dlx_graph *g, uint32_t v, bool rows_last, uint32_t *fresh, uint32_t *cached)
{
    const dlx_node *t = dlx_made_as(g, v, DLX_OP_TRANSPOSE);
    if (!t || !(rows_last ? dims_are(t, 3, 1, 2, 0, 0) : dims_are(t, 3, 1, 0, 2, 0))) return false;
    const dlx_node *both = dlx_made_as(g, t->in[0], DLX_OP_CONCAT);
    *cached = DLX_NONE;
    *fresh = t->in[0];
    if (both && both->inputs == 2 && both->attr.axis == 0) {
        *cached = both->in[0];
        *fresh = both->in[1];
    }
    return true;
}

/* New rows [T,K,D] of both, and cached rows of both in front or of neither; the halves of a cache are alike. */
static bool same_cache(const dlx_graph *g, const attention *a)
{
    const int64_t fresh[3] = {a->rows, a->kv, a->dim};
    if (!shape_is(&g->values[a->k], a->dynamic, 3, fresh) || !shape_is(&g->values[a->v], a->dynamic, 3, fresh))
        return false;
    if (a->kc == DLX_NONE || a->vc == DLX_NONE) return a->kc == a->vc;
    const dlx_value *k = &g->values[a->kc], *v = &g->values[a->vc];
    return k->kind == v->kind && same_shape(k, v) && !(k->dynamic & ~1u);
}

/* Scaled queries [K, G*T, D] from q [T, H, D]. */
static bool match_query(const dlx_graph *g, uint32_t v, const attention *a, float *scale)
{
    const int64_t group = a->heads / a->kv, grouped[4] = {a->rows, a->kv, group, a->dim};
    const int64_t merged[3] = {a->kv, group * a->rows, a->dim};
    const dlx_node *merge = dlx_made_as(g, v, DLX_OP_RESHAPE);
    const dlx_node *mul = merge ? dlx_made_as(g, merge->in[0], DLX_OP_MUL) : NULL;
    for (int k = 0; mul && k < 2; k++) {
        const dlx_node *turn = dlx_made_as(g, mul->in[k], DLX_OP_TRANSPOSE);
        const dlx_node *split = turn ? dlx_made_as(g, turn->in[0], DLX_OP_RESHAPE) : NULL;
        if (!split || split->in[0] != a->q || !dims_are(turn, 4, 1, 2, 0, 3)) continue;
        return const_scalar(g, mul->in[1 - k], 4, scale) && shape_is(&g->values[v], a->dynamic << 1, 3, merged) &&
               shape_is(&g->values[split->out[0]], a->dynamic, 4, grouped);
    }
    return false;
}

/* The queries behind the steps of match_query, before anything is known of their shape. */
static uint32_t query_of(const dlx_graph *g, uint32_t v)
{
    const dlx_node *merge = dlx_made_as(g, v, DLX_OP_RESHAPE);
    const dlx_node *mul = merge ? dlx_made_as(g, merge->in[0], DLX_OP_MUL) : NULL;
    for (int k = 0; mul && k < 2; k++) {
        const dlx_node *turn = dlx_made_as(g, mul->in[k], DLX_OP_TRANSPOSE);
        const dlx_node *split = turn ? dlx_made_as(g, turn->in[0], DLX_OP_RESHAPE) : NULL;
        if (split) return split->in[0];
    }
    return DLX_NONE;
}

/* Sizes from queries [T,H,D] and keys [T,K,D]; only T may vary. */
static bool attention_sizes(const dlx_graph *g, attention *a)
{
    const dlx_value *q = &g->values[a->q], *k = &g->values[a->k];
    if (q->rank != 3 || k->rank != 3 || (q->dynamic & ~1u) || k->dim[1] < 1 || q->dim[1] % k->dim[1] || q->dim[2] < 1)
        return false;
    a->rows = q->dim[0];
    a->heads = q->dim[1];
    a->dim = q->dim[2];
    a->kv = k->dim[1];
    a->dynamic = q->dynamic;
    return true;
}

static bool raise_attention(dlx_graph *g, size_t i)
{
    const dlx_node *n = &g->nodes[i];
    if (n->op != DLX_OP_RESHAPE || g->values[n->out[0]].rank != 2) return false;
    const dlx_node *turn = dlx_made_as(g, n->in[0], DLX_OP_TRANSPOSE);
    const dlx_node *split = turn && dims_are(turn, 4, 2, 0, 1, 3) ? dlx_made_as(g, turn->in[0], DLX_OP_RESHAPE) : NULL;
    const dlx_node *mix = split ? dlx_made_as(g, split->in[0], DLX_OP_BMM) : NULL;
    const dlx_node *softmax = mix && !mix->attr.transpose_b ? dlx_made_as(g, mix->in[0], DLX_OP_SOFTMAX) : NULL;
    const dlx_node *scores = softmax ? dlx_made_as(g, softmax->in[0], DLX_OP_BMM) : NULL;
    if (!scores) return false;
    attention a = {.q = query_of(g, scores->in[0])};
    if (a.q == DLX_NONE || !match_kv(g, scores->in[1], !scores->attr.transpose_b, &a.k, &a.kc) ||
        !match_kv(g, mix->in[1], false, &a.v, &a.vc) || !attention_sizes(g, &a) || !same_cache(g, &a) ||
        !match_query(g, scores->in[0], &a, &a.scale))
        return false;
    const int64_t group = a.heads / a.kv, by_head[4] = {a.kv, group, a.rows, a.dim};
    const int64_t flat[2] = {a.rows, a.heads * a.dim}, mixed[3] = {a.kv, group * a.rows, a.dim};
    if (!shape_is(&g->values[n->out[0]], a.dynamic, 2, flat) ||
        !shape_is(&g->values[split->out[0]], a.dynamic << 2, 4, by_head) ||
        !shape_is(&g->values[mix->out[0]], a.dynamic << 1, 3, mixed))
        return false;
    uint32_t in[5] = {a.q, a.k, a.v, a.kc, a.vc};
    dlx_raise_into(g, i, DLX_OP_ATTENTION, in, a.kc == DLX_NONE ? 3 : 5, a.scale);
    return true;
}

dlx_status dlx_raise_attentions(dlx_graph *g, bool *any, dlx_error *err)
{
    *any = false;
    for (size_t i = 0; i < g->n_nodes; i++) *any = raise_attention(g, i) || *any;
    return *any ? dlx_graph_prune(g, err) : DLX_OK;
}

dlx_status dlx_raise(dlx_graph *g, dlx_error *err)
{
    dlx_graph_skip_copies(g);
    DLX_TRY(dlx_raise_stored(g, err));
    DLX_TRY(dlx_raise_constants(g, err));
    for (size_t i = 0; i < g->n_nodes; i++)
        (void)(raise_rms_norm(g, i) || dlx_raise_rope(g, i) || raise_silu_mul(g, i) || raise_embedding(g, i) ||
               dlx_raise_int4_embedding(g, i) || dlx_raise_bias(g, i) || raise_attention(g, i));
    DLX_TRY(dlx_graph_prune(g, err));
    DLX_TRY(dlx_raise_sdpa(g, err));
    return dlx_graph_verify(g, err);
}

/* An operator whose result rows depend on the same rows of its first operand only, and on constants. */
static bool row_wise(const dlx_graph *g, const dlx_node *n)
{
    if (n->op != DLX_OP_LINEAR && n->op != DLX_OP_CONVERT && n->op != DLX_OP_RMS_NORM) return false;
    for (int k = 1; k < n->inputs; k++)
        if (n->in[k] != DLX_NONE && g->values[n->in[k]].kind != DLX_VALUE_CONST) return false;
    const dlx_value *x = &g->values[n->in[0]];
    return x->rank >= 2 && (x->dynamic & 1);
}

bool dlx_single_use(const dlx_graph *g, uint32_t v)
{
    size_t uses = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].inputs; k++) uses += g->nodes[i].in[k] == v;
    for (size_t i = 0; i < g->n_outputs; i++) uses += g->outputs[i] == v;
    return uses == 1;
}

/* The result of the node that reads v, on the chain of row-wise nodes that ends in `last`. */
static uint32_t reader_of(const dlx_graph *g, uint32_t v, uint32_t last)
{
    while (g->nodes[g->values[last].producer].in[0] != v) last = g->nodes[g->values[last].producer].in[0];
    return last;
}

dlx_status dlx_demand_rows(dlx_graph *g, size_t output, uint32_t *rows, dlx_error *err)
{
    uint32_t v = g->outputs[output];
    *rows = DLX_NONE;
    if (g->n_states) return DLX_OK; /* states stay the last inputs */
    while (dlx_single_use(g, v) && g->values[v].producer != DLX_NONE && row_wise(g, &g->nodes[g->values[v].producer]))
        v = g->nodes[g->values[v].producer].in[0];
    /* Quantised rows are read by linear layers only; the rows in front of their CONVERT go to others as well. */
    if (g->values[v].dtype == DLX_QD8 || g->values[v].dtype == DLX_QS8) v = reader_of(g, v, g->outputs[output]);
    if (v == g->outputs[output]) return DLX_OK;
    dlx_rewrite r;
    dlx_error local = {0};
    dlx_status s = dlx_rewrite_begin(&r, g, &local);
    uint32_t demanded = DLX_NONE;
    if (s == DLX_OK) {
        demanded = dlx_graph_input(&r.to, "rows", DLX_I32, 1, &g->values[v].dim[0], 1);
        if (demanded == DLX_NONE) s = dlx_fail(&local, DLX_E_NOMEM, "out of memory preparing row demand");
    }
    /* The chain behind v reads the selected rows; everybody else keeps the whole of v. */
    uint32_t chain_first = DLX_NONE, whole = DLX_NONE;
    for (uint32_t c = g->outputs[output]; c != v; c = g->nodes[g->values[c].producer].in[0])
        chain_first = g->values[c].producer;
    for (size_t i = 0; s == DLX_OK && i < g->n_nodes; i++) {
        if (i == chain_first) {
            whole = dlx_rewrite_value(&r, v, &local);
            uint32_t in[2] = {whole, demanded};
            s = dlx_rewrite_set(&r, v, dlx_graph_node(&r.to, DLX_OP_ROW_SELECT, in, 2, NULL, -1, &local), &local);
            if (s == DLX_OK) s = dlx_rewrite_copy(&r, i, &local);
            r.map[v] = whole;
        } else {
            s = dlx_rewrite_copy(&r, i, &local);
        }
    }
    if (s == DLX_OK) s = dlx_rewrite_finish(&r, g, &local);
    if (s != DLX_OK) {
        dlx_rewrite_abandon(&r);
        if (err) *err = local;
        return s;
    }
    *rows = demanded;
    return dlx_graph_verify(g, err);
}
