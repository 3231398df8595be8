/*
 * States: caches that stay inside the program. They lie in an arena of their own, which the runtime zeroes once. What
 * the delegate reads of them is a second tensor over the same memory, whose size `aten::empty.out` sets to the number
 * of stored rows; nothing is copied. Behind the delegate call `aten::index_put_` writes the new rows to their
 * positions. Core operators only, so every runtime has them. States that a delegate keeps are not the method's.
 */
#include "backends/emitter.h"

static dlx_status refuse(const dlx_emitter *e)
{
    return dlx_fail(e->err, DLX_E_UNSUPPORTED,
                    "a state must be read from its first row to the first of the positions, and end with rows "
                    "put at those positions");
}

/* The only reader of a state besides its update. */
static const dlx_node *part_of(const dlx_graph *g, uint32_t state)
{
    const dlx_node *part = NULL;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        for (int k = 0; k < n->inputs; k++) {
            if (n->in[k] != state || n->op == DLX_OP_INDEX_PUT) continue;
            if (n->op != DLX_OP_NARROW || part) return NULL;
            part = n;
        }
    }
    return part;
}

/* The positions whose first one says how many rows are stored: an input; DLX_NONE: it is no such number. */
static uint32_t positions_of(const dlx_graph *g, uint32_t stored)
{
    const dlx_node *number = dlx_made_as(g, stored, DLX_OP_RESHAPE);
    const dlx_node *first = number ? dlx_made_as(g, number->in[0], DLX_OP_SLICE) : NULL;
    if (!first || number->attr.rank != 0 || first->attr.shape[0] != 0 || first->attr.size[0] != 1) return DLX_NONE;
    const dlx_value *v = &g->values[first->in[0]];
    return v->kind == DLX_VALUE_INPUT && v->rank == 1 && v->dtype == DLX_I64 ? first->in[0] : DLX_NONE;
}

/* What all states have in common. */
typedef struct states {
    const dlx_node *part; /* of the first one */
    uint32_t positions;
} states;

static dlx_status check_states(const dlx_emitter *e, states *out)
{
    const dlx_graph *g = e->g;
    *out = (states){.positions = DLX_NONE};
    for (size_t i = 0; i < g->n_states; i++) {
        if (dlx_emit_is_kept(e, i)) continue;
        uint32_t state = g->inputs[g->n_inputs - g->n_states + i];
        const dlx_node *part = part_of(g, state),
                       *put = dlx_made_as(g, g->outputs[g->n_outputs - g->n_states + i], DLX_OP_INDEX_PUT);
        if (!part || !put || part->inputs != 2 || part->attr.axis != 0 || part->attr.shape[0] != 0 ||
            part->attr.shape[1] != DLX_RUN(1) || part->attr.shape[2] != 1)
            return refuse(e);
        if (!out->part) *out = (states){.part = part, .positions = positions_of(g, part->in[1])};
        const dlx_value *v = &g->values[state], *first = &g->values[out->part->in[0]];
        bool alike = v->rank == 3 && v->dtype == DLX_F32;
        for (int d = 0; d < 3 && alike; d++) alike = v->dim[d] == first->dim[d];
        if (!alike || out->positions == DLX_NONE || part->in[1] != out->part->in[1] || put->in[0] != state ||
            put->inputs != 3 || put->attr.keep || put->attr.axes != 1 || put->in[2] != out->positions)
            return refuse(e);
    }
    return DLX_OK;
}

static int32_t integer(dlx_emitter *e, int64_t number)
{
    return (int32_t)dlx_emit_evalue(e, (dlx_evalue){.kind = DLX_EV_INT, .u.i = number});
}

/* The Int that holds the first position while the method runs. */
static dlx_status emit_first(dlx_emitter *e, uint32_t positions, int32_t *out)
{
    dlx_evalue t = {.kind = DLX_EV_TENSOR};
    t.u.tensor = (dlx_pte_tensor){.scalar_type = DLX_ST_LONG, .blob = DLX_PTE_NO_BLOB, .bytes = sizeof(int64_t)};
    int32_t from = (int32_t)dlx_emit_tensor(e, positions), zero = integer(e, 0), first = (int32_t)dlx_emit_evalue(e, t);
    dlx_emit_plan(e, (uint32_t)first, 1);
    *out = integer(e, 0);
    const int32_t select[5] = {from, zero, zero, first, first}, item[2] = {first, *out};
    DLX_TRY(dlx_emit_kernel(e, "aten::select_copy", "int_out", select, 5));
    return dlx_emit_kernel(e, "aten::_local_scalar_dense", "", item, 2);
}

/* The list of sizes [stored, K, D] */
static dlx_status emit_sizes(dlx_emitter *e, const dlx_value *state, int32_t stored, int32_t *out)
{
    int64_t *items = dlx_arena_array(e->arena, 3, sizeof *items);
    if (!items) return dlx_emit_no_memory(e);
    items[0] = stored;
    for (int d = 1; d < 3; d++) items[d] = integer(e, state->dim[d]);
    *out = (int32_t)dlx_emit_evalue(e, (dlx_evalue){.kind = DLX_EV_INT_LIST, .u.list = {.count = 3, .ints = items}});
    return DLX_OK;
}

dlx_status dlx_emit_parts(dlx_emitter *e)
{
    const dlx_graph *g = e->g;
    states s;
    int32_t stored = 0, sizes = 0, format;
    DLX_TRY(check_states(e, &s));
    if (!s.part) return DLX_OK;
    DLX_TRY(emit_first(e, s.positions, &stored));
    DLX_TRY(emit_sizes(e, &g->values[s.part->in[0]], stored, &sizes));
    format = (int32_t)dlx_emit_evalue(e, (dlx_evalue){.kind = DLX_EV_NULL});
    for (size_t i = 0; i < g->n_states; i++) {
        if (dlx_emit_is_kept(e, i)) continue;
        uint32_t state = g->inputs[g->n_inputs - g->n_states + i];
        uint32_t whole = dlx_emit_tensor(e, state), part = dlx_emit_tensor(e, part_of(g, state)->out[0]);
        dlx_emit_plan(e, whole, 2);
        e->values[part].u.tensor.memory_id = e->values[whole].u.tensor.memory_id;
        e->values[part].u.tensor.memory_offset = e->values[whole].u.tensor.memory_offset;
        const int32_t args[4] = {sizes, format, (int32_t)part, (int32_t)part};
        DLX_TRY(dlx_emit_kernel(e, "aten::empty", "out", args, 4));
    }
    return DLX_OK;
}

dlx_status dlx_emit_puts(dlx_emitter *e)
{
    const dlx_graph *g = e->g;
    states s;
    DLX_TRY(check_states(e, &s));
    if (!s.part) return DLX_OK;
    /* Runners in C++ bring no memory for results. */
    for (size_t i = 0; i < g->n_outputs - g->n_states; i++) dlx_emit_plan(e, dlx_emit_tensor(e, g->outputs[i]), 1);
    int64_t *items = dlx_arena_array(e->arena, 1, sizeof *items);
    if (!items) return dlx_emit_no_memory(e);
    items[0] = (int64_t)dlx_emit_tensor(e, s.positions);
    int32_t places = (int32_t)dlx_emit_evalue(
        e, (dlx_evalue){.kind = DLX_EV_OPTIONAL_TENSOR_LIST, .u.list = {.count = 1, .ints = items}});
    int32_t added = (int32_t)dlx_emit_evalue(e, (dlx_evalue){.kind = DLX_EV_BOOL, .u.b = false});
    for (size_t i = 0; i < g->n_states; i++) {
        if (dlx_emit_is_kept(e, i)) continue;
        int32_t state = (int32_t)dlx_emit_tensor(e, g->inputs[g->n_inputs - g->n_states + i]);
        const dlx_node *put = dlx_made_as(g, g->outputs[g->n_outputs - g->n_states + i], DLX_OP_INDEX_PUT);
        int32_t rows = (int32_t)dlx_emit_tensor(e, put->in[1]);
        const int32_t args[5] = {state, places, rows, added, state};
        dlx_emit_plan(e, (uint32_t)rows, 1);
        DLX_TRY(dlx_emit_kernel(e, "aten::index_put_", "", args, 5));
    }
    return DLX_OK;
}
