#include "backends/partition.h"

#include <string.h>

enum { OUTSIDE = UINT32_MAX };

/* Where a node stands: nodes of one home, group and level are a part. A node's level is above those of what it reads,
 * unless they are of its part. */
typedef struct place {
    uint32_t home;
    int32_t group, level;
} place;

typedef struct partitioner {
    const dlx_graph *g;
    const dlx_home *homes;
    size_t n_homes;
    dlx_arena *arena;
    dlx_error *err;
    place *at;       /* [n_nodes] */
    bool *is_output; /* [n_values] of the graph */
} partitioner;

static dlx_status no_memory(const partitioner *p)
{
    return dlx_fail(p->err, DLX_E_NOMEM, "out of memory partitioning a graph of %zu nodes", p->g->n_nodes);
}

bool dlx_is_outside(const dlx_graph *g, const dlx_node *n)
{
    return n->op == DLX_OP_EMBEDDING || n->op == DLX_OP_NARROW || g->values[n->out[0]].dtype == DLX_I64;
}

/* ---- homes ---- */

static dlx_status find_home(const partitioner *p, const dlx_node *n, uint32_t *home)
{
    *home = OUTSIDE;
    if (dlx_is_outside(p->g, n)) return DLX_OK;
    for (uint32_t i = 0; i < p->n_homes; i++)
        if (p->homes[i].takes(p->g, n)) {
            *home = i;
            return DLX_OK;
        }
    if (n->op == DLX_OP_INDEX_PUT) return DLX_OK;
    return dlx_fail(p->err, DLX_E_UNSUPPORTED, "%s has no operator %s (layer %d)", p->homes[p->n_homes - 1].name,
                    dlx_op_name(n->op), (int)n->layer);
}

/* The delegate of its home that a node goes to: by its layer, or where what it reads went. */
static int32_t group_of(const partitioner *p, const dlx_node *n, uint32_t home)
{
    int32_t layers = p->homes[home].layers, group = 0;
    if (!layers) return 0;
    if (n->layer >= 0) return n->layer / layers;
    for (int k = 0; k < n->inputs; k++) {
        const dlx_node *from = dlx_made_by(p->g, n->in[k]);
        if (from && p->at[from - p->g->nodes].home == home && p->at[from - p->g->nodes].group > group)
            group = p->at[from - p->g->nodes].group;
    }
    return group;
}

/* ---- levels ---- */

static bool together(const place *a, const place *b)
{
    return a->home == b->home && a->group == b->group;
}

static dlx_status place_early(const partitioner *p)
{
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        const dlx_node *n = &p->g->nodes[i];
        place *at = &p->at[i];
        DLX_TRY(find_home(p, n, &at->home));
        if (at->home == OUTSIDE) continue;
        at->group = group_of(p, n, at->home);
        for (int k = 0; k < n->inputs; k++) {
            const dlx_node *from = dlx_made_by(p->g, n->in[k]);
            if (!from) continue;
            const place *before = &p->at[from - p->g->nodes];
            int32_t level = before->home == OUTSIDE ? 0 : before->level + !together(before, at);
            if (level > at->level) at->level = level;
        }
    }
    return DLX_OK;
}

/* Results that leave the graph stay where they arise. */
static dlx_status place_late(const partitioner *p)
{
    int32_t *latest = dlx_arena_array(p->arena, p->g->n_nodes + 1, sizeof *latest);
    if (!latest) return no_memory(p);
    for (size_t i = 0; i < p->g->n_nodes; i++) latest[i] = INT32_MAX;
    for (size_t i = p->g->n_nodes; i-- > 0;) {
        const dlx_node *n = &p->g->nodes[i];
        place *at = &p->at[i];
        if (at->home == OUTSIDE) continue;
        if (latest[i] != INT32_MAX && !p->is_output[n->out[0]]) at->level = latest[i];
        for (int k = 0; k < n->inputs; k++) {
            const dlx_node *from = dlx_made_by(p->g, n->in[k]);
            if (!from) continue;
            size_t f = (size_t)(from - p->g->nodes);
            int32_t level = at->level - !together(&p->at[f], at);
            if (level < latest[f]) latest[f] = level;
        }
    }
    return DLX_OK;
}

/* ---- parts ---- */

static bool same_part(const place *a, const place *b)
{
    return together(a, b) && a->level == b->level;
}

/* Whether somebody outside of the part of `at` needs the value. */
static bool leaves(const partitioner *p, uint32_t value, const place *at)
{
    if (p->is_output[value]) return true;
    for (size_t i = 0; i < p->g->n_nodes; i++)
        for (int k = 0; k < p->g->nodes[i].inputs; k++)
            if (p->g->nodes[i].in[k] == value && !same_part(&p->at[i], at)) return true;
    return false;
}

/* A part's values from outside, and those that leave it. */
static void mark_values(const partitioner *p, const dlx_part *part, const place *at, uint8_t *mark)
{
    enum { COMES = 1, LEAVES = 2 };
    for (size_t i = 0; i < part->n_nodes; i++) {
        const dlx_node *n = &p->g->nodes[part->nodes[i]];
        for (int k = 0; k < n->inputs; k++) {
            if (n->in[k] == DLX_NONE || p->g->values[n->in[k]].kind == DLX_VALUE_CONST) continue;
            const dlx_node *from = dlx_made_by(p->g, n->in[k]);
            if (!from || !same_part(&p->at[from - p->g->nodes], at)) mark[n->in[k]] |= COMES;
        }
        for (int k = 0; k < n->outputs; k++)
            if (leaves(p, n->out[k], at)) mark[n->out[k]] |= LEAVES;
    }
}

static dlx_status list_values(const partitioner *p, dlx_part *part, const place *at)
{
    size_t n = p->g->n_values;
    uint8_t *mark = dlx_arena_array(p->arena, n + 1, 1);
    if (!mark) return no_memory(p);
    mark_values(p, part, at, mark);
    for (size_t i = 0; i < n; i++) {
        part->n_inputs += mark[i] & 1;
        part->n_outputs += mark[i] >> 1;
    }
    uint32_t *in = dlx_arena_array(p->arena, part->n_inputs + 1, sizeof *in), *out;
    out = dlx_arena_array(p->arena, part->n_outputs + 1, sizeof *out);
    if (!in || !out) return no_memory(p);
    part->inputs = in;
    part->outputs = out;
    for (size_t i = 0; i < n; i++) {
        if (mark[i] & 1) *in++ = (uint32_t)i;
        if (mark[i] >> 1) *out++ = (uint32_t)i;
    }
    return DLX_OK;
}

static dlx_status make_part(const partitioner *p, dlx_placed *out, size_t first, bool *done)
{
    const place *at = &p->at[first];
    uint32_t *nodes = dlx_arena_array(p->arena, p->g->n_nodes - first, sizeof *nodes);
    if (!nodes) return no_memory(p);
    *out = (dlx_placed){.part = {.g = p->g, .nodes = nodes}, .home = at->home};
    for (size_t i = first; i < p->g->n_nodes; i++) {
        if (!same_part(&p->at[i], at)) continue;
        nodes[out->part.n_nodes++] = (uint32_t)i;
        done[i] = true;
    }
    return list_values(p, &out->part, at);
}

/* Levels in ascending order; within one, parts do not need each other. */
static dlx_status make_parts(const partitioner *p, dlx_partition *out)
{
    size_t n = p->g->n_nodes;
    int32_t last = -1;
    bool *done = dlx_arena_array(p->arena, n + 1, sizeof *done);
    out->parts = dlx_arena_array(p->arena, n + 1, sizeof *out->parts);
    if (!done || !out->parts) return no_memory(p);
    for (size_t i = 0; i < n; i++)
        if (p->at[i].home != OUTSIDE && p->at[i].level > last) last = p->at[i].level;
    for (int32_t level = 0; level <= last; level++)
        for (size_t i = 0; i < n; i++)
            if (p->at[i].home != OUTSIDE && p->at[i].level == level && !done[i])
                DLX_TRY(make_part(p, &out->parts[out->n_parts++], i, done));
    return DLX_OK;
}

/* A home that updates a state keeps it, so nobody else can read it. */
static dlx_status check_states(const partitioner *p)
{
    for (size_t i = 0; i < p->g->n_nodes; i++) {
        const dlx_node *put = &p->g->nodes[i];
        if (put->op != DLX_OP_INDEX_PUT || p->at[i].home == OUTSIDE) continue;
        for (size_t k = 0; k < p->g->n_nodes; k++)
            for (int j = 0; j < p->g->nodes[k].inputs; j++)
                if (p->g->nodes[k].in[j] == put->in[0] && !same_part(&p->at[k], &p->at[i]))
                    return dlx_fail(p->err, DLX_E_UNSUPPORTED,
                                    "%s keeps a part of the cache (layer %d) that it does not read alone: leave out "
                                    "what gives single layers another form, or let the caller keep the cache",
                                    p->homes[p->at[i].home].name, (int)put->layer);
    }
    return DLX_OK;
}

static dlx_status list_outside(const partitioner *p, dlx_partition *out)
{
    bool *outside = dlx_arena_array(p->arena, p->g->n_nodes + 1, sizeof *outside);
    if (!outside) return no_memory(p);
    for (size_t i = 0; i < p->g->n_nodes; i++) outside[i] = p->at[i].home == OUTSIDE;
    out->outside = outside;
    return DLX_OK;
}

dlx_status dlx_partition_make(dlx_partition *out, dlx_arena *arena, const dlx_graph *g, const dlx_home *homes,
                              size_t n_homes, dlx_error *err)
{
    partitioner p = {.g = g, .homes = homes, .n_homes = n_homes, .arena = arena, .err = err};
    memset(out, 0, sizeof *out);
    p.at = dlx_arena_array(arena, g->n_nodes + 1, sizeof *p.at);
    p.is_output = dlx_arena_array(arena, g->n_values + 1, sizeof *p.is_output);
    if (!p.at || !p.is_output) return no_memory(&p);
    for (size_t i = 0; i < g->n_outputs; i++) p.is_output[g->outputs[i]] = true;
    DLX_TRY(place_early(&p));
    DLX_TRY(place_late(&p));
    DLX_TRY(check_states(&p));
    DLX_TRY(list_outside(&p, out));
    return make_parts(&p, out);
}
