/*
 * Weights that a program stores as float16, or as int8 with a scale for each row, and widens in every call before it
 * multiplies with them or looks rows up: the product becomes a linear layer over what is stored, and a lookup widens
 * the rows it found. Whatever else reads the widened numbers keeps them.
 */
#include <string.h>

#include "graph/rewrite.h"
#include "runtime/raise.h"

/* What a matrix [n,k] of floats is stored as. */
typedef struct stored {
    uint32_t data, scales; /* constants; scales: DLX_NONE for float16 */
} stored;

/* The constant matrix of that type which v widens; DLX_NONE: v is something else. */
static uint32_t widened(const dlx_graph *g, uint32_t v, dlx_dtype type)
{
    const dlx_node *cast = dlx_made_as(g, v, DLX_OP_CAST);
    const dlx_value *c = cast ? &g->values[cast->in[0]] : NULL;
    bool known = c && cast->attr.dtype == DLX_F32 && c->kind == DLX_VALUE_CONST && c->dtype == type && c->rank == 2 &&
                 c->source.transform == DLX_CONST_PLAIN && c->scales == DLX_NONE && c->dim[0] > 0 && c->dim[1] > 0;
    return known ? cast->in[0] : DLX_NONE;
}

/* The constant of n floats that v has as [n,1]; DLX_NONE: v is something else. */
static uint32_t column(const dlx_graph *g, uint32_t v, int64_t n)
{
    const dlx_node *shaped = dlx_made_as(g, v, DLX_OP_RESHAPE);
    const dlx_value *as = &g->values[v], *c = &g->values[shaped ? shaped->in[0] : v];
    dlx_shape size = dlx_value_shape(c);
    bool known = as->rank == 2 && as->dim[0] == n && as->dim[1] == 1 && c->kind == DLX_VALUE_CONST &&
                 c->dtype == DLX_F32 && dlx_shape_elements(&size) == n && c->scales == DLX_NONE &&
                 c->source.transform == DLX_CONST_PLAIN;
    if (!known) return DLX_NONE;
    return shaped ? shaped->in[0] : v;
}

/* float(int8 [n,k]) * floats [n,1] */
static bool match_int8(const dlx_graph *g, uint32_t v, stored *s)
{
    const dlx_node *product = dlx_made_as(g, v, DLX_OP_MUL);
    for (int k = 0; product && k < 2; k++) {
        s->data = widened(g, product->in[k], DLX_I8);
        if (s->data == DLX_NONE) continue;
        s->scales = column(g, product->in[1 - k], g->values[s->data].dim[0]);
        if (s->scales != DLX_NONE) return true;
    }
    return false;
}

static bool match_stored(const dlx_graph *g, uint32_t v, stored *s)
{
    *s = (stored){.data = widened(g, v, DLX_F16), .scales = DLX_NONE};
    return s->data != DLX_NONE || match_int8(g, v, s);
}

/* x [m,k] times such a matrix, turned */
static bool match_product(const dlx_graph *g, const dlx_node *n, stored *s)
{
    if (n->op != DLX_OP_BMM || g->values[n->in[0]].rank != 2) return false;
    if (n->attr.transpose_b) return match_stored(g, n->in[1], s);
    const dlx_node *turn = dlx_made_as(g, n->in[1], DLX_OP_TRANSPOSE);
    return turn && turn->attr.rank == 2 && turn->attr.shape[0] == 1 && turn->attr.shape[1] == 0 &&
           match_stored(g, turn->in[0], s);
}

static bool match_lookup(const dlx_graph *g, const dlx_node *n, stored *s)
{
    return n->op == DLX_OP_EMBEDDING && n->inputs == 2 && match_stored(g, n->in[0], s);
}

/* The scales as [n], or as [n,1]. */
static uint32_t scales_of(dlx_rewrite *r, const stored *s, int rank)
{
    dlx_value v = r->from->values[s->scales];
    v.rank = (uint8_t)rank;
    v.dim[0] = r->from->values[s->data].dim[0];
    v.dim[1] = 1;
    return dlx_graph_value(&r->to, &v);
}

/* Weights of a linear layer: float16 as they are, int8 with their scales. */
static uint32_t weights_of(dlx_rewrite *r, const stored *s, dlx_error *err)
{
    if (s->scales == DLX_NONE) return dlx_rewrite_value(r, s->data, err);
    dlx_value rows = r->from->values[s->data];
    rows.scales = scales_of(r, s, 1);
    uint32_t out = rows.scales == DLX_NONE ? DLX_NONE : dlx_graph_value(&r->to, &rows);
    if (out == DLX_NONE) dlx_fail(err, DLX_E_NOMEM, "out of memory preparing weights");
    return out;
}

static dlx_status make_linear(dlx_rewrite *r, const dlx_node *n, const stored *s, dlx_error *err)
{
    uint32_t in[2] = {dlx_rewrite_value(r, n->in[0], err), weights_of(r, s, err)};
    return dlx_rewrite_set(r, n->out[0], dlx_graph_node(&r->to, DLX_OP_LINEAR, in, 2, NULL, n->layer, err), err);
}

static dlx_status make_lookup(dlx_rewrite *r, const dlx_node *n, const stored *s, dlx_error *err)
{
    bool scaled = s->scales != DLX_NONE;
    uint32_t in[3] = {dlx_rewrite_value(r, s->data, err), dlx_rewrite_value(r, n->in[1], err)};
    if (scaled) {
        in[2] = scales_of(r, s, 2);
        if (in[2] == DLX_NONE) return dlx_fail(err, DLX_E_NOMEM, "out of memory preparing a table");
    }
    uint32_t rows = dlx_graph_node(&r->to, DLX_OP_EMBEDDING, in, scaled ? 3 : 2, NULL, n->layer, err);
    dlx_attr attr = {.f = {1.0f, 0.0f}};
    if (!scaled) rows = dlx_graph_node(&r->to, DLX_OP_CONVERT, &rows, 1, &attr, n->layer, err);
    return dlx_rewrite_set(r, n->out[0], rows, err);
}

static bool worth_it(const dlx_graph *g)
{
    stored s;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (match_product(g, &g->nodes[i], &s) || match_lookup(g, &g->nodes[i], &s)) return true;
    return false;
}

dlx_status dlx_raise_stored(dlx_graph *g, dlx_error *err)
{
    if (!worth_it(g)) return DLX_OK;
    dlx_error local = {0};
    dlx_rewrite r;
    dlx_status s = dlx_rewrite_begin(&r, g, &local);
    for (size_t i = 0; s == DLX_OK && i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        stored found;
        if (match_product(g, n, &found))
            s = make_linear(&r, n, &found, &local);
        else if (match_lookup(g, n, &found))
            s = make_lookup(&r, n, &found, &local);
        else
            s = dlx_rewrite_copy(&r, i, &local);
    }
    if (s == DLX_OK) s = dlx_rewrite_finish(&r, g, &local);
    if (s == DLX_OK) return dlx_graph_prune(g, err);
    dlx_rewrite_abandon(&r);
    if (err) *err = local;
    return s;
}
