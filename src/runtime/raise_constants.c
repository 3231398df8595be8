/*
 * Constants in the form that fused operators want, made once.
 *
 * Rotary embeddings as PyTorch writes them negate a half of x: x * cos + concat(-b, a) * sin. The sign moves into the
 * table of sines, where it costs nothing: x * cos + concat(b, a) * [-sin, +sin], the form that raise.c knows. The
 * numbers stay the same bits: a product's sign is the product of signs.
 *
 * Products with constant weights [k,n] become linear layers, whose weights are [n,k]: a copy, which packing reads.
 */
#include <string.h>

#include "graph/rewrite.h"
#include "runtime/raise.h"

/* Reshapes between a lookup and where its rows are used; exporters write a handful. */
enum { MOST_STEPS = 8 };

/* concat(-b, a) of two halves along the last dimension */
static const dlx_node *turned_halves(const dlx_graph *g, uint32_t v)
{
    const dlx_node *both = dlx_made_as(g, v, DLX_OP_CONCAT);
    int last = g->values[v].rank - 1;
    if (!both || both->inputs != 2 || last < 0 || both->attr.axis != last || !dlx_made_as(g, both->in[0], DLX_OP_NEG))
        return NULL;
    const dlx_value *b = &g->values[both->in[0]], *a = &g->values[both->in[1]];
    return b->dim[last] == a->dim[last] && !((a->dynamic | b->dynamic) >> last & 1) ? both : NULL;
}

/* Rows of a constant table [S,D] of floats, by places or from one to another, perhaps in another shape: the last
 * dimension stays. */
static const dlx_node *sines(const dlx_graph *g, uint32_t v, int64_t width)
{
    const dlx_value *out = &g->values[v];
    const dlx_node *shaped;
    if (out->rank < 1 || out->dim[out->rank - 1] != width || (out->dynamic >> (out->rank - 1) & 1)) return NULL;
    for (int i = 0; i < MOST_STEPS && (shaped = dlx_made_as(g, v, DLX_OP_RESHAPE)) != NULL; i++) v = shaped->in[0];
    const dlx_node *rows = dlx_made_by(g, v);
    bool looked_up = rows && ((rows->op == DLX_OP_EMBEDDING && rows->inputs == 2) ||
                              (rows->op == DLX_OP_INDEX && rows->inputs == 2 && rows->attr.axes == 1) ||
                              (rows->op == DLX_OP_NARROW && rows->attr.axis == 0));
    if (!looked_up) return NULL;
    const dlx_value *table = &g->values[rows->in[0]];
    bool floats = table->kind == DLX_VALUE_CONST && table->dtype == DLX_F32 && table->rank == 2 &&
                  table->source.transform == DLX_CONST_PLAIN;
    return floats && table->dim[1] == width ? rows : NULL;
}

typedef struct pass {
    dlx_rewrite r;
    uint32_t *with_signs, *turned; /* [n_values of the old graph] what a table, or weights, became in the new one */
    dlx_error *err;
} pass;

static dlx_status signed_table(pass *p, uint32_t old, uint32_t *out)
{
    const dlx_value *t = &p->r.from->values[old];
    *out = p->with_signs[old];
    if (*out != DLX_NONE) return DLX_OK;
    size_t rows = (size_t)t->dim[0], width = (size_t)t->dim[1];
    float *data = dlx_arena_array(&p->r.to.arena, rows * width, sizeof *data);
    if (!data) return dlx_fail(p->err, DLX_E_NOMEM, "out of memory preparing constants");
    DLX_TRY(dlx_const_read(t, 0, data, rows * width * sizeof *data, p->err));
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < width / 2; c++) data[r * width + c] = -data[r * width + c];
    dlx_const_source source = {.data = data, .bytes = rows * width * sizeof *data, .stored = DLX_F32};
    *out = p->with_signs[old] = dlx_graph_const(&p->r.to, t->name, DLX_F32, 2, t->dim, source);
    return *out == DLX_NONE ? dlx_fail(p->err, DLX_E_NOMEM, "out of memory preparing constants") : DLX_OK;
}

/* Value v, reshaped rows of the table, as the same of the table with signs. */
static dlx_status signed_rows(pass *p, uint32_t v, uint32_t *out)
{
    const dlx_graph *from = p->r.from;
    const dlx_node *n = &from->nodes[from->values[v].producer];
    uint32_t in[DLX_MAX_INPUTS];
    if (n->op == DLX_OP_RESHAPE)
        DLX_TRY(signed_rows(p, n->in[0], &in[0]));
    else
        DLX_TRY(signed_table(p, n->in[0], &in[0]));
    for (int k = 1; k < n->inputs; k++) in[k] = dlx_rewrite_value(&p->r, n->in[k], p->err);
    *out = dlx_graph_node(&p->r.to, n->op, in, n->inputs, &n->attr, n->layer, p->err);
    return *out == DLX_NONE ? p->err->status : DLX_OK;
}

/* Node i, a product of concat(-b, a) and rows of sines, with the sign in the table. */
static dlx_status move_sign(pass *p, size_t i, int k, const dlx_node *both)
{
    const dlx_graph *from = p->r.from;
    const dlx_node *n = &from->nodes[i], *negated = dlx_made_as(from, both->in[0], DLX_OP_NEG);
    uint32_t in[2], half[2];
    half[0] = dlx_rewrite_value(&p->r, negated->in[0], p->err);
    half[1] = dlx_rewrite_value(&p->r, both->in[1], p->err);
    in[k] = dlx_graph_node(&p->r.to, DLX_OP_CONCAT, half, 2, &both->attr, both->layer, p->err);
    DLX_TRY(signed_rows(p, n->in[1 - k], &in[1 - k]));
    return dlx_rewrite_set(&p->r, n->out[0], dlx_graph_node(&p->r.to, DLX_OP_MUL, in, 2, NULL, n->layer, p->err),
                           p->err);
}

static bool is_plain_matrix(const dlx_value *w)
{
    return w->kind == DLX_VALUE_CONST && w->dtype == DLX_F32 && w->rank == 2 &&
           w->source.transform == DLX_CONST_PLAIN && w->dim[0] > 0 && w->dim[1] > 0;
}

static bool is_product(const dlx_graph *g, const dlx_node *n)
{
    return n->op == DLX_OP_BMM && !n->attr.transpose_b && is_plain_matrix(&g->values[n->in[1]]);
}

static dlx_status turned_weights(pass *p, uint32_t old, uint32_t *out)
{
    const dlx_value *w = &p->r.from->values[old];
    int64_t dim[2] = {w->dim[1], w->dim[0]};
    size_t n = (size_t)dim[0], k = (size_t)dim[1];
    *out = p->turned[old];
    if (*out != DLX_NONE) return DLX_OK;
    float *data = dlx_arena_array(&p->r.to.arena, n * k, sizeof *data);
    if (!data) return dlx_fail(p->err, DLX_E_NOMEM, "out of memory turning weights of %zu x %zu", k, n);
    float *row = dlx_mem_array(&p->r.to.arena.mem, n, sizeof *row);
    if (!row) return dlx_fail(p->err, DLX_E_NOMEM, "out of memory turning weights of %zu x %zu", k, n);
    dlx_status s = DLX_OK;
    for (size_t i = 0; s == DLX_OK && i < k; i++) {
        s = dlx_const_read(w, i * n * sizeof *row, row, n * sizeof *row, p->err);
        for (size_t j = 0; s == DLX_OK && j < n; j++) data[j * k + i] = row[j];
    }
    dlx_mem_free(&p->r.to.arena.mem, row, n, sizeof *row);
    if (s != DLX_OK) return s;
    dlx_const_source source = {.data = data, .bytes = n * k * sizeof *data, .stored = DLX_F32};
    *out = p->turned[old] = dlx_graph_const(&p->r.to, w->name, DLX_F32, 2, dim, source);
    return *out == DLX_NONE ? dlx_fail(p->err, DLX_E_NOMEM, "out of memory turning weights") : DLX_OK;
}

static dlx_status make_linear(pass *p, const dlx_node *n)
{
    uint32_t in[2] = {dlx_rewrite_value(&p->r, n->in[0], p->err)};
    DLX_TRY(turned_weights(p, n->in[1], &in[1]));
    uint32_t out = dlx_graph_node(&p->r.to, DLX_OP_LINEAR, in, 2, NULL, n->layer, p->err);
    return dlx_rewrite_set(&p->r, n->out[0], out, p->err);
}

static dlx_status one_node(pass *p, size_t i)
{
    const dlx_graph *g = p->r.from;
    const dlx_node *n = &g->nodes[i];
    if (is_product(g, n)) return make_linear(p, n);
    for (int k = 0; n->op == DLX_OP_MUL && k < 2; k++) {
        const dlx_node *both = turned_halves(g, n->in[k]);
        const dlx_value *v = &g->values[n->in[k]];
        if (both && sines(g, n->in[1 - k], v->dim[v->rank - 1])) return move_sign(p, i, k, both);
    }
    return dlx_rewrite_copy(&p->r, i, p->err);
}

static bool worth_it(const dlx_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if ((g->nodes[i].op == DLX_OP_CONCAT && turned_halves(g, g->nodes[i].out[0])) || is_product(g, &g->nodes[i]))
            return true;
    return false;
}

dlx_status dlx_raise_constants(dlx_graph *g, dlx_error *err)
{
    if (!worth_it(g)) return DLX_OK;
    dlx_error local = {0};
    pass p = {.err = &local};
    dlx_status s = dlx_rewrite_begin(&p.r, g, &local);
    if (s == DLX_OK) {
        p.with_signs = dlx_arena_array(&p.r.to.arena, 2 * g->n_values, sizeof *p.with_signs);
        if (p.with_signs) {
            memset(p.with_signs, 0xFF, 2 * g->n_values * sizeof *p.with_signs);
            p.turned = p.with_signs + g->n_values;
        } else
            s = dlx_fail(&local, DLX_E_NOMEM, "out of memory preparing constants");
    }
    for (size_t i = 0; s == DLX_OK && i < g->n_nodes; i++) s = one_node(&p, i);
    if (s == DLX_OK) s = dlx_rewrite_finish(&p.r, g, &local);
    if (s == DLX_OK) return DLX_OK;
    dlx_rewrite_abandon(&p.r);
    if (err) *err = local;
    return s;
}
