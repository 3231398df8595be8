#include "graph/rewrite.h"

#include <string.h>

dlx_status dlx_rewrite_begin(dlx_rewrite *r, const dlx_graph *from, dlx_error *err)
{
    r->from = from;
    dlx_graph_init_with(&r->to, &from->arena.mem);
    r->to.n_states = from->n_states;
    r->to.attn_block = from->attn_block;
    r->to.max_context = from->max_context;
    r->n_map = from->n_values;
    r->map = dlx_mem_array(&from->arena.mem, r->n_map, sizeof *r->map);
    if (!r->map) return dlx_fail(err, DLX_E_NOMEM, "out of memory rewriting a graph of %zu values", from->n_values);
    memset(r->map, 0xFF, from->n_values * sizeof *r->map);
    for (size_t i = 0; i < from->n_inputs; i++) {
        const dlx_value *v = &from->values[from->inputs[i]];
        uint32_t id = dlx_graph_input(&r->to, v->name, v->dtype, v->rank, v->dim, v->dynamic);
        if (id == DLX_NONE) return dlx_fail(err, DLX_E_NOMEM, "out of memory rewriting a graph");
        r->to.values[id].source = v->source;
        r->map[from->inputs[i]] = id;
    }
    return DLX_OK;
}

uint32_t dlx_rewrite_value(dlx_rewrite *r, uint32_t old, dlx_error *err)
{
    if (old == DLX_NONE) return DLX_NONE;
    if (r->map[old] != DLX_NONE) return r->map[old];
    const dlx_value *v = &r->from->values[old];
    if (v->kind != DLX_VALUE_CONST) {
        dlx_fail(err, DLX_E_INTERNAL, "graph rewrite: value %u is used before it was carried over", old);
        return DLX_NONE;
    }
    uint32_t scales = DLX_NONE;
    if (v->scales != DLX_NONE) {
        scales = dlx_rewrite_value(r, v->scales, err);
        if (scales == DLX_NONE) return DLX_NONE;
    }
    uint32_t id = dlx_graph_value(&r->to, v);
    if (id == DLX_NONE) {
        dlx_fail(err, DLX_E_NOMEM, "out of memory rewriting a graph");
        return DLX_NONE;
    }
    r->to.values[id].scales = scales;
    return r->map[old] = id;
}

dlx_status dlx_rewrite_copy(dlx_rewrite *r, size_t i, dlx_error *err)
{
    const dlx_node *n = &r->from->nodes[i];
    uint32_t in[DLX_MAX_INPUTS];
    for (int k = 0; k < n->inputs; k++) {
        in[k] = dlx_rewrite_value(r, n->in[k], err);
        if (in[k] == DLX_NONE && n->in[k] != DLX_NONE) return err ? err->status : DLX_E_NOMEM;
    }
    uint32_t out = dlx_graph_node(&r->to, n->op, in, n->inputs, &n->attr, n->layer, err);
    return dlx_rewrite_set(r, n->out[0], out, err);
}

dlx_status dlx_rewrite_set(dlx_rewrite *r, uint32_t old, uint32_t fresh, dlx_error *err)
{
    if (fresh == DLX_NONE) return err && err->status != DLX_OK ? err->status : DLX_E_NOMEM;
    r->map[old] = fresh;
    const char *name = r->from->values[old].name;
    if (name && !r->to.values[fresh].name) {
        r->to.values[fresh].name = dlx_arena_strndup(&r->to.arena, name, strlen(name));
        if (!r->to.values[fresh].name) return dlx_fail(err, DLX_E_NOMEM, "out of memory rewriting a graph");
    }
    return DLX_OK;
}

dlx_status dlx_rewrite_finish(dlx_rewrite *r, dlx_graph *g, dlx_error *err)
{
    for (size_t i = 0; i < r->from->n_outputs; i++) {
        uint32_t v = dlx_rewrite_value(r, r->from->outputs[i], err);
        if (v == DLX_NONE || !dlx_graph_output(&r->to, v))
            return dlx_fail(err, DLX_E_NOMEM, "out of memory rewriting a graph");
    }
#ifdef DLX_DEBUG
    DLX_TRY(dlx_graph_verify(&r->to, err));
#endif
    /* Constants that a pass materialised live in the old arena; both arenas now belong to the new graph. */
    dlx_arena_adopt(&r->to.arena, &g->arena);
    dlx_graph_free(g);
    *g = r->to;
    dlx_mem_free(&g->arena.mem, r->map, r->n_map, sizeof *r->map);
    memset(r, 0, sizeof *r);
    return DLX_OK;
}

void dlx_rewrite_abandon(dlx_rewrite *r)
{
    dlx_mem_free(&r->to.arena.mem, r->map, r->n_map, sizeof *r->map);
    dlx_graph_free(&r->to);
    memset(r, 0, sizeof *r);
}

void dlx_graph_skip_copies(dlx_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].inputs; k++) {
            const dlx_node *copy;
            while ((copy = dlx_made_as(g, g->nodes[i].in[k], DLX_OP_COPY)) != NULL) g->nodes[i].in[k] = copy->in[0];
        }
}
