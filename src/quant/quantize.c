/* The pass that turns linears and embeddings of a graph into their int8 forms. */
#include "quant/quant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/rewrite.h"

/* What a value is used for. A constant becomes int8 when it is a weight or a table and nothing else. */
enum { USE_WEIGHT = 1, USE_TABLE = 2, USE_OTHER = 4, IS_ANGLE = 8 };

typedef struct quantizer {
    dlx_rewrite r;
    uint8_t *uses;    /* [from->n_values] */
    uint32_t *as_qd8; /* [from->n_values] the value's CONVERT to QD8, DLX_NONE */
    dlx_error *err;   /* never NULL */
} quantizer;

static bool float_matrix(const dlx_value *v)
{
    if (v->kind != DLX_VALUE_CONST || v->dtype != DLX_F32 || v->rank != 2) return false;
    return v->source.transform == DLX_CONST_PLAIN || v->source.transform == DLX_CONST_WIDEN;
}

static int use_of(const dlx_graph *g, const uint8_t *uses, const dlx_node *n, int operand)
{
    if (!float_matrix(&g->values[n->in[operand]])) return USE_OTHER;
    if (n->op == DLX_OP_LINEAR && operand == 1 && g->values[n->in[0]].dtype == DLX_F32) return USE_WEIGHT;
    if (n->op == DLX_OP_EMBEDDING && operand == 0 && n->inputs == 2 && !(uses[n->out[0]] & IS_ANGLE)) return USE_TABLE;
    return USE_OTHER;
}

static void find_uses(const dlx_graph *g, uint8_t *uses)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_ROPE) {
            uses[g->nodes[i].in[1]] |= IS_ANGLE;
            uses[g->nodes[i].in[2]] |= IS_ANGLE;
        }
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].inputs; k++) {
            uint32_t v = g->nodes[i].in[k];
            if (v != DLX_NONE) uses[v] |= (uint8_t)use_of(g, uses, &g->nodes[i], k);
        }
    for (size_t i = 0; i < g->n_outputs; i++) uses[g->outputs[i]] |= USE_OTHER;
}

static bool becomes_int8(const quantizer *q, uint32_t old)
{
    return (q->uses[old] & (USE_WEIGHT | USE_TABLE)) && !(q->uses[old] & USE_OTHER);
}

static dlx_status no_memory(quantizer *q)
{
    return dlx_fail(q->err, DLX_E_NOMEM, "out of memory quantising a graph of %zu nodes", q->r.from->n_nodes);
}

static dlx_status scales_of(quantizer *q, uint32_t old, dlx_const_source source, uint32_t *out)
{
    const dlx_value *v = &q->r.from->values[old];
    int64_t dim[2] = {v->dim[0], 1};
    char *name = NULL;
    if (v->name) {
        size_t n = strlen(v->name) + sizeof ".scales";
        name = dlx_arena_alloc(&q->r.to.arena, n);
        if (!name) return no_memory(q);
        snprintf(name, n, "%s.scales", v->name);
    }
    source.transform = DLX_CONST_INT8_ROW_SCALES;
    *out = dlx_graph_const(&q->r.to, name, DLX_F32, q->uses[old] & USE_TABLE ? 2 : 1, dim, source);
    return *out == DLX_NONE ? no_memory(q) : DLX_OK;
}

/* The int8 constant for an old float one, made when first asked for. */
static dlx_status int8_rows(quantizer *q, uint32_t old, uint32_t *out)
{
    *out = q->r.map[old];
    if (*out != DLX_NONE) return DLX_OK;
    dlx_value v = q->r.from->values[old];
    if (v.source.transform == DLX_CONST_PLAIN) v.source.stored = DLX_F32;
    DLX_TRY(scales_of(q, old, v.source, &v.scales));
    v.dtype = DLX_I8;
    v.source.transform = DLX_CONST_INT8_ROWS;
    *out = q->r.map[old] = dlx_graph_value(&q->r.to, &v);
    return *out == DLX_NONE ? no_memory(q) : DLX_OK;
}

static dlx_status int8_linear(quantizer *q, const dlx_node *n)
{
    uint32_t in[DLX_MAX_INPUTS];
    uint32_t x = dlx_rewrite_value(&q->r, n->in[0], q->err);
    if (x == DLX_NONE) return q->err->status;
    if (q->as_qd8[n->in[0]] == DLX_NONE)
        q->as_qd8[n->in[0]] = dlx_graph_node(&q->r.to, DLX_OP_CONVERT, &x, 1, NULL, n->layer, q->err);
    in[0] = q->as_qd8[n->in[0]];
    if (in[0] == DLX_NONE) return q->err->status;
    DLX_TRY(int8_rows(q, n->in[1], &in[1]));
    for (int k = 2; k < n->inputs; k++) {
        in[k] = dlx_rewrite_value(&q->r, n->in[k], q->err);
        if (in[k] == DLX_NONE && n->in[k] != DLX_NONE) return q->err->status;
    }
    uint32_t out = dlx_graph_node(&q->r.to, DLX_OP_LINEAR, in, n->inputs, &n->attr, n->layer, q->err);
    return dlx_rewrite_set(&q->r, n->out[0], out, q->err);
}

static dlx_status int8_embedding(quantizer *q, const dlx_node *n)
{
    uint32_t in[3];
    DLX_TRY(int8_rows(q, n->in[0], &in[0]));
    in[1] = dlx_rewrite_value(&q->r, n->in[1], q->err);
    in[2] = q->r.to.values[in[0]].scales;
    if (in[1] == DLX_NONE) return q->err->status;
    uint32_t out = dlx_graph_node(&q->r.to, DLX_OP_EMBEDDING, in, 3, &n->attr, n->layer, q->err);
    return dlx_rewrite_set(&q->r, n->out[0], out, q->err);
}

static dlx_status quantise_node(quantizer *q, size_t i)
{
    const dlx_node *n = &q->r.from->nodes[i];
    if (n->op == DLX_OP_LINEAR && becomes_int8(q, n->in[1])) return int8_linear(q, n);
    if (n->op == DLX_OP_EMBEDDING && becomes_int8(q, n->in[0])) return int8_embedding(q, n);
    return dlx_rewrite_copy(&q->r, i, q->err);
}

static dlx_status quantise_graph(quantizer *q, dlx_graph *g)
{
    size_t n = g->n_values ? g->n_values : 1;
    DLX_TRY(dlx_rewrite_begin(&q->r, g, q->err));
    q->uses = calloc(n, sizeof *q->uses);
    q->as_qd8 = malloc(n * sizeof *q->as_qd8);
    if (!q->uses || !q->as_qd8) return no_memory(q);
    memset(q->as_qd8, 0xFF, n * sizeof *q->as_qd8);
    find_uses(g, q->uses);
    for (size_t i = 0; i < g->n_nodes; i++) DLX_TRY(quantise_node(q, i));
    return dlx_rewrite_finish(&q->r, g, q->err);
}

dlx_status dlx_quantize_int8_dynamic(dlx_graph *g, dlx_error *err)
{
    dlx_error local = {0};
    quantizer q = {.err = &local};
    dlx_status s = quantise_graph(&q, g);
    free(q.uses);
    free(q.as_qd8);
    if (s != DLX_OK) {
        dlx_rewrite_abandon(&q.r);
        if (local.status == DLX_OK) dlx_fail(&local, s, "out of memory quantising a graph");
        if (err) *err = local;
    }
    return s;
}
