/*
 * Which 16-bit grid each value is on. Values that an operator only moves are in one class: what is moved stays the same
 * code, and a concatenation has one grid. A class lies where all of its values do.
 */
#include <math.h>
#include <string.h>

#include "backends/qnn/blocks.h"
#include "backends/qnn/build.h"
#include "backends/qnn/operators.h"

/* e^-24 of the largest weight is less than half a step of 16 bits. */
#define BELOW_ALL 24.0f

typedef struct grids {
    const dlx_graph *g;
    const dlx_activation_ranges *ranges;
    uint32_t *leader;  /* [n_values] of the class */
    float *low, *high; /* [n_values] of classes, at their leader */
    bool *known;
    dlx_error *err;
} grids;

static uint32_t leader_of(grids *x, uint32_t v)
{
    while (x->leader[v] != v) v = x->leader[v] = x->leader[x->leader[v]];
    return v;
}

static void unite(grids *x, uint32_t a, uint32_t b)
{
    x->leader[leader_of(x, a)] = leader_of(x, b);
}

static bool moves(dlx_op op)
{
    return op == DLX_OP_RESHAPE || op == DLX_OP_TRANSPOSE || op == DLX_OP_SLICE || op == DLX_OP_CONCAT ||
           op == DLX_OP_CONVERT || op == DLX_OP_CAST;
}

static void classes(grids *x)
{
    for (size_t i = 0; i < x->g->n_values; i++) x->leader[i] = (uint32_t)i;
    for (size_t i = 0; i < x->g->n_nodes; i++) {
        const dlx_node *n = &x->g->nodes[i];
        for (int k = 0; moves(n->op) && k < n->inputs; k++)
            if (x->g->values[n->in[k]].kind != DLX_VALUE_CONST) unite(x, n->in[k], n->out[0]);
    }
}

static void widen(grids *x, uint32_t v, float low, float high)
{
    uint32_t c = leader_of(x, v);
    x->low[c] = x->known[c] ? fminf(x->low[c], low) : fminf(low, 0.0f);
    x->high[c] = x->known[c] ? fmaxf(x->high[c], high) : fmaxf(high, 0.0f);
    x->known[c] = true;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t n = name ? strlen(name) : 0, m = strlen(suffix);
    return n > m && name[n - m - 1] == '.' && !strcmp(name + n - m, suffix);
}

/* The sum of scores and a mask, whose operands they are; NULL: no such node. */
static const dlx_node *adds_mask(const dlx_graph *g, const dlx_node *n)
{
    return n->op == DLX_OP_ADD && ends_with(g->values[n->out[0]].name, DLX_QNN_MASKED) ? n : NULL;
}

/* Values whose numbers say nothing about how they are to be stored: a mask, and sums with it. */
static void find_masks(grids *x, bool *masks)
{
    for (size_t i = 0; i < x->g->n_nodes; i++) {
        const dlx_node *n = adds_mask(x->g, &x->g->nodes[i]);
        if (!n) continue;
        masks[leader_of(x, n->in[1])] = true;
        masks[leader_of(x, n->out[0])] = true;
    }
}

static dlx_status no_range(grids *x, const dlx_value *v)
{
    return dlx_fail(x->err, DLX_E_UNSUPPORTED, "QNN: there is no range of '%s', and it is to have 16 bits",
                    v->name ? v->name : "(unnamed)");
}

/* Inputs that nothing measured, as stored keys and values, lie where others of their class do. */
static dlx_status check_inputs(grids *x, const bool *masks)
{
    for (size_t i = 0; i < x->g->n_values; i++) {
        const dlx_value *v = &x->g->values[i];
        uint32_t c = leader_of(x, (uint32_t)i);
        if (v->kind == DLX_VALUE_INPUT && !x->known[c] && !masks[c]) return no_range(x, v);
    }
    return DLX_OK;
}

static dlx_status measured(grids *x, const bool *masks)
{
    for (size_t i = 0; i < x->g->n_values; i++) {
        const dlx_value *v = &x->g->values[i];
        const dlx_node *by = dlx_made_by(x->g, (uint32_t)i);
        float low = 0, high = 1, headroom = 1;
        if (v->kind == DLX_VALUE_CONST || (v->kind == DLX_VALUE_TEMP && !by)) continue;
        if (masks[leader_of(x, (uint32_t)i)] || (by && moves(by->op))) continue;
        if (!by || (by->op != DLX_OP_SOFTMAX && by->op != DLX_OP_SIGMOID)) {
            headroom = DLX_QNN_HEADROOM;
            if (!x->ranges->find(x->ranges->ctx, v->name ? v->name : "", &low, &high)) {
                if (v->kind == DLX_VALUE_INPUT) continue;
                return no_range(x, v);
            }
        }
        if (!isfinite(low) || !isfinite(high) || low > high)
            return dlx_fail(x->err, DLX_E_UNSUPPORTED, "QNN: the range of '%s' is from %g to %g",
                            v->name ? v->name : "(unnamed)", (double)low, (double)high);
        widen(x, (uint32_t)i, headroom * low, headroom * high);
    }
    return check_inputs(x, masks);
}

/* Masks reach as far down as makes any weight 0; what is below is that too, for grids saturate. */
static void place_masks(grids *x)
{
    float reach = 0;
    for (size_t i = 0; i < x->g->n_nodes; i++) {
        const dlx_node *n = adds_mask(x->g, &x->g->nodes[i]);
        uint32_t scores = n ? leader_of(x, n->in[0]) : DLX_NONE;
        if (n) reach = fmaxf(reach, x->high[scores] - x->low[scores] + BELOW_ALL);
    }
    for (size_t i = 0; i < x->g->n_nodes; i++) {
        const dlx_node *n = adds_mask(x->g, &x->g->nodes[i]);
        if (!n) continue;
        uint32_t scores = leader_of(x, n->in[0]);
        widen(x, n->in[1], -reach, 0);
        widen(x, n->out[0], x->low[scores] - reach, x->high[scores]);
    }
}

dlx_status dlx_qnn_grids(const dlx_qnn_scale **out, dlx_arena *arena, const dlx_graph *g,
                         const dlx_activation_ranges *ranges, dlx_error *err)
{
    size_t n = g->n_values + 1;
    grids x = {.g = g, .ranges = ranges, .err = err};
    dlx_qnn_scale *grid = dlx_arena_array(arena, n, sizeof *grid);
    bool *masks = dlx_arena_array(arena, n, sizeof *masks);
    x.leader = dlx_arena_array(arena, n, sizeof *x.leader);
    x.low = dlx_arena_array(arena, n, sizeof *x.low);
    x.high = dlx_arena_array(arena, n, sizeof *x.high);
    x.known = dlx_arena_array(arena, n, sizeof *x.known);
    if (!grid || !masks || !x.leader || !x.low || !x.high || !x.known)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory lowering a graph of %zu nodes to QNN", g->n_nodes);
    classes(&x);
    find_masks(&x, masks);
    DLX_TRY(measured(&x, masks));
    place_masks(&x);
    for (size_t i = 0; i < g->n_values; i++) {
        uint32_t c = leader_of(&x, (uint32_t)i);
        grid[i] = dlx_qnn_grid_over(x.low[c], x.high[c]);
    }
    *out = grid;
    return DLX_OK;
}
