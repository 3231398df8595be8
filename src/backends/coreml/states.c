/*
 * States: caches that a program keeps. The graph has one as an input, reads it, and puts a call's rows into it by
 * INDEX_PUT; that output is the same state behind the call. The program reads it first and writes it last.
 *
 * Rows of a call stand behind each other, so the first of their positions says where all are: an INDEX of them is a
 * slice, and an INDEX_PUT MIL's slice_update. The caller leaves room for all rows of a call, padding too.
 */
#include "backends/coreml/emitter.h"

/* The state, counted from the first, whose value in front of a call that is; n_states: none. */
static size_t state_of(const dlx_graph *g, const uint32_t *list, size_t n, uint32_t value)
{
    for (size_t i = 0; i < g->n_states; i++)
        if (list[n - g->n_states + i] == value) return i;
    return g->n_states;
}

/* Whether the node puts rows into a state, and is what becomes of it. */
static bool updates_state(const dlx_graph *g, const dlx_node *n)
{
    size_t i = n->op == DLX_OP_INDEX_PUT ? state_of(g, g->inputs, g->n_inputs, n->in[0]) : g->n_states;
    return i < g->n_states && g->outputs[g->n_outputs - g->n_states + i] == n->out[0];
}

/* A call's positions, one for each of `rows`, which are rows of the state. */
static bool are_positions(const dlx_value *at, const dlx_value *rows, const dlx_value *state)
{
    bool ok = at->rank == 1 && at->dtype == DLX_I64 && !at->dynamic && at->kind == DLX_VALUE_INPUT;
    ok = ok && state->rank >= 2 && rows->rank == state->rank && rows->dim[0] == at->dim[0];
    return ok && rows->dim[0] <= state->dim[0];
}

bool dlx_coreml_takes_put(const dlx_graph *g, const dlx_node *n)
{
    if (!updates_state(g, n) || n->inputs != 3 || n->attr.axes != 1 || n->attr.keep) return false;
    return are_positions(&g->values[n->in[2]], &g->values[n->in[1]], &g->values[n->in[0]]);
}

/* Of rows that the call may put back, and so at its positions. */
bool dlx_coreml_takes_index(const dlx_graph *g, const dlx_node *n)
{
    const dlx_node *wide = dlx_made_as(g, n->in[0], DLX_OP_CONVERT);
    uint32_t state = wide ? wide->in[0] : n->in[0];
    if (n->inputs != 2 || n->attr.axes != 1) return false;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *put = &g->nodes[i];
        if (put->op == DLX_OP_INDEX_PUT && put->in[0] == state && dlx_coreml_takes_put(g, put))
            return n->in[1] == put->in[2];
    }
    return false;
}

static bool keeps(const dlx_part *part, uint32_t value, bool before)
{
    for (size_t i = 0; part->g->n_states && i < part->n_nodes; i++) {
        const dlx_node *n = &part->g->nodes[part->nodes[i]];
        if (n->op == DLX_OP_INDEX_PUT && (before ? n->in[0] : n->out[0]) == value) return updates_state(part->g, n);
    }
    return false;
}

bool dlx_coreml_keeps_input(const dlx_part *part, uint32_t value)
{
    return keeps(part, value, true);
}

bool dlx_coreml_keeps_output(const dlx_part *part, uint32_t value)
{
    return keeps(part, value, false);
}

/* Where the rows begin in a tensor of that rank: [first position, 0, ...], made once. */
static dlx_mil_value place(dlx_coreml_emitter *e, uint32_t positions, int rank)
{
    dlx_mil *m = &e->mil;
    const int64_t zeros[DLX_MIL_MAX_RANK] = {0}, one[1] = {1};
    dlx_coreml_shared *shared = dlx_coreml_share(e, positions, DLX_COREML_PLACE, rank);
    if (!shared) return (dlx_mil_value){0};
    if (!shared->value.name) {
        const dlx_mil_type others = {DLX_MIL_I32, 1, {rank - 1}};
        dlx_mil_value parts[2] = {dlx_mil_slice(m, e->value[positions], zeros, one)};
        parts[1] = (dlx_mil_value){dlx_mil_ints(m, zeros, rank - 1), others};
        shared->value = dlx_mil_concat(m, parts, 2, 0);
    }
    return shared->value;
}

dlx_mil_value dlx_coreml_rows(dlx_coreml_emitter *e, const dlx_node *n)
{
    const dlx_value *rows = &e->g->values[n->out[0]];
    dlx_mil_value x = dlx_coreml_operand(e, n->in[0]), begin = place(e, n->in[1], rows->rank);
    dlx_mil_type type = x.type;
    for (int i = 0; i < rows->rank; i++) type.dim[i] = rows->dim[i];
    const dlx_mil_arg args[] = {
        {"x", x.name}, {"begin", begin.name}, {"size", dlx_mil_ints(&e->mil, rows->dim, rows->rank)}};
    return dlx_mil_op(&e->mil, "slice_by_size", NULL, type, args, 3);
}

void dlx_coreml_put_rows(dlx_coreml_emitter *e, const dlx_node *n)
{
    dlx_mil *m = &e->mil;
    const dlx_coreml_features *f = &e->features;
    const dlx_value *rows = &e->g->values[n->in[1]];
    dlx_mil_value old = e->value[n->in[0]], begin = place(e, n->in[2], rows->rank);
    dlx_mil_value end = {dlx_mil_ints(m, rows->dim, rows->rank), begin.type};
    const dlx_mil_arg args[] = {{"x", old.name},
                                {"update", dlx_coreml_operand(e, n->in[1]).name},
                                {"begin", begin.name},
                                {"end", dlx_mil_binary(m, "add", begin, end).name}};
    dlx_mil_value fresh = dlx_mil_op(m, "slice_update", NULL, old.type, args, 4);
    for (size_t i = 0; i < f->n_states; i++)
        if (f->state[i].value == n->in[0]) dlx_mil_write_state(m, f->state[i].name, fresh);
}
