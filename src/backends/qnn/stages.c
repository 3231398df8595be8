#include "backends/qnn/stages.h"

#include <string.h>

#include "backends/qnn/qnn.h"

static bool any(const dlx_graph *g, const dlx_node *n)
{
    (void)g;
    (void)n;
    return true;
}

static dlx_status find_lookups(dlx_qnn_stages *s, dlx_arena *arena, dlx_error *err)
{
    const dlx_graph *g = s->g;
    uint32_t *nodes = dlx_arena_array(arena, g->n_nodes + 1, sizeof *nodes);
    uint32_t *outputs = dlx_arena_array(arena, g->n_nodes + 1, sizeof *outputs);
    uint32_t *inputs = dlx_arena_array(arena, g->n_inputs + 1, sizeof *inputs);
    if (!nodes || !outputs || !inputs)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory cutting a graph of %zu nodes", g->n_nodes);
    s->lookups = (dlx_part){.g = g, .nodes = nodes, .inputs = inputs, .outputs = outputs};
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (!dlx_is_outside(g, &g->nodes[i])) continue;
        nodes[s->lookups.n_nodes++] = (uint32_t)i;
        outputs[s->lookups.n_outputs++] = g->nodes[i].out[0];
    }
    for (size_t i = 0; i < g->n_inputs; i++)
        if (g->values[g->inputs[i]].dtype == DLX_I64) inputs[s->lookups.n_inputs++] = g->inputs[i];
    return DLX_OK;
}

dlx_status dlx_qnn_stages_make(dlx_qnn_stages *out, dlx_arena *arena, const dlx_graph *g, dlx_error *err)
{
    static const dlx_home layerwise = {.name = "measuring", .takes = any, .layers = 1};
    *out = (dlx_qnn_stages){.g = g};
    DLX_TRY(find_lookups(out, arena, err));
    DLX_TRY(dlx_partition_make(&out->layers, arena, g, &layerwise, 1, err));
    out->n = 1 + out->layers.n_parts;
    return DLX_OK;
}

dlx_status dlx_qnn_stage(void *ctx, size_t i, dlx_graph *out, dlx_error *err)
{
    const dlx_qnn_stages *s = ctx;
    return dlx_qnn_expand(out, i ? &s->layers.parts[i - 1].part : &s->lookups, err);
}
