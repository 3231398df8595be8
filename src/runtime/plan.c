/*
 * Memory planning: values that are alive at the same time get disjoint ranges of one arena (first fit by start, largest
 * lifetimes first come in node order). Reshapes and copies share their operand's bytes, and so does an operator that
 * changes few places of its first operand when nobody reads that operand later: a state is updated where it lies.
 * Smaller calls use the same places: sizes only shrink. Nodes of one stage run at the same time, so all that they read
 * and write is alive throughout it.
 */
#include <string.h>

#include "base/sizes.h"
#include "runtime/executor.h"
#include "runtime/linear.h"
#include "runtime/stages.h"

enum { VALUE_ALIGN = 64, OVERREAD = 64 };

uint64_t dlx_value_bytes(const dlx_program *p, uint32_t value, const dlx_shape *s)
{
    const dlx_value *v = &p->g.values[value];
    uint64_t n = (uint64_t)dlx_shape_elements(s);
    const dlx_quantizer *quantizer = dlx_linear_quantizer(&p->k, v->dtype);
    if (!quantizer) return n * dlx_dtype_size(v->dtype);
    uint64_t k = s->rank ? (uint64_t)s->dim[s->rank - 1] : 1;
    return k ? quantizer->size((size_t)(n / k), (size_t)k) : 0;
}

typedef struct range {
    uint64_t begin, end; /* bytes */
    size_t last;         /* stage that reads it last */
} range;

typedef struct planner {
    const dlx_program *p;
    size_t *last_use; /* [n_values] of the root: a node, later its stage */
    range *live;      /* sorted by begin */
    size_t n_live;
    uint64_t total;
} planner;

static void find_last_uses(planner *pl, const uint32_t *root)
{
    const dlx_graph *g = &pl->p->g;
    for (size_t i = 0; i < g->n_nodes; i++) {
        pl->last_use[root[g->nodes[i].out[0]]] = i;
        for (int k = 0; k < g->nodes[i].inputs; k++)
            if (g->nodes[i].in[k] != DLX_NONE) pl->last_use[root[g->nodes[i].in[k]]] = i;
    }
    for (size_t i = 0; i < g->n_outputs; i++) pl->last_use[root[g->outputs[i]]] = SIZE_MAX;
}

/* Whether value v lies in memory that a program may write: its own, or that of a state. */
static bool writable(const dlx_graph *g, uint32_t v)
{
    if (g->values[v].kind != DLX_VALUE_INPUT) return g->values[v].kind == DLX_VALUE_TEMP;
    for (size_t i = g->n_inputs - g->n_states; i < g->n_inputs; i++)
        if (g->inputs[i] == v) return true;
    return false;
}

/* Gives an update the bytes of its first operand where that is read by it for the last time. */
static void share_updates(planner *pl, uint32_t *root)
{
    const dlx_graph *g = &pl->p->g;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        if (!dlx_op_updates(n->op)) continue;
        uint32_t from = root[n->in[0]], out = n->out[0];
        bool last = pl->last_use[from] == i && writable(g, from);
        for (int k = 1; k < n->inputs; k++) last = last && root[n->in[k]] != from;
        if (!last) continue;
        pl->last_use[from] = pl->last_use[out];
        for (size_t v = 0; v < g->n_values; v++)
            if (root[v] == out) root[v] = from;
    }
}

/* From nodes to their stages. */
static void use_stages(planner *pl)
{
    const dlx_program *p = pl->p;
    for (size_t v = 0; v < p->g.n_values; v++) {
        size_t low = 0, high = p->n_stages;
        if (pl->last_use[v] == SIZE_MAX) continue;
        while (high - low > 1) {
            size_t middle = (low + high) / 2;
            if (p->stages[middle].first <= pl->last_use[v])
                low = middle;
            else
                high = middle;
        }
        pl->last_use[v] = low;
    }
}

/* Lowest gap that holds `bytes`; ranges whose last reader lies before stage s are gone. */
static uint64_t place(planner *pl, size_t s, uint64_t bytes, size_t last)
{
    size_t kept = 0;
    for (size_t r = 0; r < pl->n_live; r++)
        if (pl->live[r].last >= s) pl->live[kept++] = pl->live[r];
    pl->n_live = kept;
    uint64_t at = 0;
    size_t slot = 0;
    while (slot < pl->n_live && at + bytes > pl->live[slot].begin) {
        if (pl->live[slot].end > at) at = pl->live[slot].end;
        slot++;
    }
    memmove(pl->live + slot + 1, pl->live + slot, (pl->n_live - slot) * sizeof *pl->live);
    pl->live[slot] = (range){.begin = at, .end = at + bytes, .last = last};
    pl->n_live++;
    if (at + bytes > pl->total) pl->total = at + bytes;
    return at;
}

dlx_status dlx_plan_arena(const dlx_program *p, const dlx_shape *shape, uint64_t *offset, uint32_t *root,
                          uint64_t *total, dlx_error *err)
{
    const dlx_graph *g = &p->g;
    size_t n = g->n_values + 1;
    planner pl = {.p = p,
                  .last_use = dlx_mem_zeroed(&p->mem, n, sizeof *pl.last_use),
                  .live = dlx_mem_zeroed(&p->mem, n + 1, sizeof *pl.live)};
    dlx_status s = DLX_OK;
    *total = 0;
    if (!pl.last_use || !pl.live) s = dlx_fail(err, DLX_E_NOMEM, "out of memory planning %zu values", g->n_values);
    for (size_t i = 0; s == DLX_OK && i < g->n_values; i++) {
        root[i] = (uint32_t)i;
        offset[i] = UINT64_MAX;
    }
    for (size_t i = 0; s == DLX_OK && i < g->n_nodes; i++)
        if (dlx_shares_operand(&g->nodes[i])) root[g->nodes[i].out[0]] = root[g->nodes[i].in[0]];
    if (s == DLX_OK) find_last_uses(&pl, root);
    if (s == DLX_OK) share_updates(&pl, root);
    if (s == DLX_OK) use_stages(&pl);
    for (size_t i = 0, stage = 0; s == DLX_OK && i < g->n_nodes; i++) {
        uint32_t out = g->nodes[i].out[0];
        if (i >= p->stages[stage].end) stage++;
        bool passing = p->stages[stage].kind == DLX_STAGE_GATED && i + 1 < p->stages[stage].end;
        if (root[out] != out || out == dlx_caller_output(p) || passing) continue;
        uint64_t bytes = dlx_value_bytes(p, out, &shape[out]);
        if (dlx_shape_elements(&shape[out]) < 0 || bytes > UINT64_MAX / 4 || pl.total > UINT64_MAX / 4)
            s = dlx_fail(err, DLX_E_LIMIT, "the activations of operator %s are too large", dlx_op_name(g->nodes[i].op));
        else
            offset[out] = place(&pl, stage, dlx_align_up(bytes, VALUE_ALIGN), pl.last_use[out]);
    }
    dlx_mem_free(&p->mem, pl.last_use, n, sizeof *pl.last_use);
    dlx_mem_free(&p->mem, pl.live, n + 1, sizeof *pl.live);
    if (s == DLX_OK) *total = pl.total + OVERREAD;
    return s;
}
