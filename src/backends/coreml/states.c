/*
 * States: caches that a program keeps. The graph has one as an input, reads it, and puts a call's rows into it by
 * INDEX_PUT; that output is the same state behind the call. The program reads it first and writes it last.
 *
 * Rows of a call stand behind each other, so the first of their positions says where all go: MIL's slice_update, which
 * the caller must leave room for, all rows of a call being written whether they are padding or not.
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

bool dlx_coreml_takes_put(const dlx_graph *g, const dlx_node *n)
{
    if (!updates_state(g, n) || n->inputs != 3 || n->attr.axes != 1 || n->attr.keep) return false;
    const dlx_value *state = &g->values[n->in[0]], *rows = &g->values[n->in[1]], *at = &g->values[n->in[2]];
    bool ok = state->rank >= 2 && rows->rank == state->rank && at->rank == 1 && at->dtype == DLX_I64 && !at->dynamic &&
              at->kind == DLX_VALUE_INPUT;
    return ok && rows->dim[0] == at->dim[0] && rows->dim[0] <= state->dim[0];
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

void dlx_coreml_put_rows(dlx_coreml_emitter *e, const dlx_node *n)
{
    dlx_mil *m = &e->mil;
    const dlx_coreml_features *f = &e->features;
    const dlx_value *state = &e->g->values[n->in[0]];
    const int64_t zero[1] = {0}, one[1] = {1}, rows[1] = {e->g->values[n->in[1]].dim[0]};
    const dlx_mil_type single = {DLX_MIL_I32, 1, {1}};
    dlx_mil_value begin[DLX_MIL_MAX_RANK], end[DLX_MIL_MAX_RANK];
    begin[0] = dlx_mil_slice(m, e->value[n->in[2]], zero, one);
    end[0] = dlx_mil_binary(m, "add", begin[0], (dlx_mil_value){dlx_mil_ints(m, rows, 1), single});
    for (int i = 1; i < state->rank; i++) {
        begin[i] = (dlx_mil_value){dlx_mil_ints(m, zero, 1), single};
        end[i] = (dlx_mil_value){dlx_mil_ints(m, &state->dim[i], 1), single};
    }
    dlx_mil_value old = e->value[n->in[0]];
    const dlx_mil_arg args[] = {{"x", old.name},
                                {"update", dlx_coreml_operand(e, n->in[1]).name},
                                {"begin", dlx_mil_concat(m, begin, state->rank, 0).name},
                                {"end", dlx_mil_concat(m, end, state->rank, 0).name}};
    dlx_mil_value fresh = dlx_mil_op(m, "slice_update", NULL, old.type, args, 4);
    for (size_t i = 0; i < f->n_states; i++)
        if (f->state[i].value == n->in[0]) dlx_mil_write_state(m, f->state[i].name, fresh);
}
