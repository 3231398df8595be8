/*
 * Programs whose whole cache comes in and goes out: what the exporter of the original system wrote is raised, and with
 * one fact changed stays as it is.
 */
#include "foreign_graph.h"
#include "graph/rewrite.h"
#include "runtime/raise_decoder.h"

enum { CACHE = 2, MASK, INSERT, KEEP };

/* The n-th node of an operator that reads value v. */
static dlx_node *reader(dlx_graph *g, uint32_t v, dlx_op op, size_t nth)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].inputs; k++)
            if (g->nodes[i].op == op && g->nodes[i].in[k] == v && nth-- == 0) return &g->nodes[i];
    fail_msg("there is no such reader");
    return NULL;
}

/* A selection of layer 0 becomes one of layer 1. */
static void other_layer(dlx_graph *g, int input)
{
    dlx_node *slice = reader(g, g->inputs[input], DLX_OP_SLICE, 0);
    assert_int_equal(slice->attr.shape[0], 0);
    slice->attr.shape[0] = 1;
}

static dlx_node *made_by(dlx_graph *g, uint32_t v)
{
    assert_true(g->values[v].producer != DLX_NONE);
    return &g->nodes[g->values[v].producer];
}

/* ADD(cache * keep, insert @ rows) of the first layer's keys, which the output is made of. */
static dlx_node *update(dlx_graph *g, size_t nth)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i], *a = dlx_made_as(g, n->in[0], DLX_OP_MUL);
        bool sum = n->op == DLX_OP_ADD && a && g->values[n->out[0]].rank == 4 &&
                   g->values[n->out[0]].dim[2] == g->values[g->inputs[CACHE]].dim[4];
        if (sum && nth-- == 0) return &g->nodes[i];
    }
    fail_msg("the cache is not updated");
    return NULL;
}

/* ---- changes ---- */

static void nothing(dlx_graph *g)
{
    (void)g;
}

static void the_mask_is_another_layers(dlx_graph *g)
{
    other_layer(g, MASK);
}

static void rows_go_where_another_layers_do(dlx_graph *g)
{
    other_layer(g, INSERT);
}

static void another_layers_slots_stay(dlx_graph *g)
{
    other_layer(g, KEEP);
}

static void attention_reads_another_layer(dlx_graph *g)
{
    other_layer(g, CACHE);
}

static void no_mask_is_added(dlx_graph *g)
{
    dlx_node *add = made_by(g, find(g, DLX_OP_SOFTMAX, 0)->in[0]);
    assert_int_equal(add->op, DLX_OP_ADD);
    replace(g, add->out[0], add->in[0]);
}

static void the_mask_is_turned(dlx_graph *g)
{
    dlx_node *add = made_by(g, find(g, DLX_OP_SOFTMAX, 0)->in[0]);
    add->op = DLX_OP_SUB;
}

static void rows_stand_in_front_of_the_cache(dlx_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        dlx_node *n = &g->nodes[i];
        if (n->op != DLX_OP_CONCAT || n->attr.axis != 2) continue;
        uint32_t cache = n->in[0];
        n->in[0] = n->in[1];
        n->in[1] = cache;
        return;
    }
    fail_msg("no cache is joined");
}

static void every_slot_stays(dlx_graph *g)
{
    dlx_node *sum = update(g, 0), *kept = made_by(g, sum->in[0]);
    sum->in[0] = kept->in[0];
}

static void what_stays_is_taken_away(dlx_graph *g)
{
    update(g, 0)->op = DLX_OP_SUB;
}

static void values_are_stored_as_keys(dlx_graph *g)
{
    update(g, 0)->in[1] = update(g, 1)->in[1];
}

static void no_rows_are_stored(dlx_graph *g)
{
    dlx_node *sum = update(g, 0);
    replace(g, sum->out[0], sum->in[0]);
}

static void keys_become_those_of_another_layer(dlx_graph *g)
{
    uint32_t first = update(g, 0)->out[0], third = update(g, 2)->out[0];
    replace(g, third, first);
}

static void a_part_goes_to_another_place(dlx_graph *g)
{
    *(int64_t *)own(g, find(g, DLX_OP_EQUAL, 1)->in[1]) = 1;
}

static void places_are_counted_from_one(dlx_graph *g)
{
    *(int64_t *)own(g, find(g, DLX_OP_ARANGE, 0)->in[0]) = 1;
}

static void all_other_parts_change(dlx_graph *g)
{
    dlx_node *where = find(g, DLX_OP_WHERE, 0);
    uint32_t chosen = where->in[1];
    where->in[1] = where->in[2];
    where->in[2] = chosen;
}

static void the_cache_goes_out_as_it_came(dlx_graph *g)
{
    g->outputs[1] = g->inputs[CACHE];
}

static void the_head_mixes_rows(dlx_graph *g)
{
    find(g, DLX_OP_MEAN, 0)->attr.axis = 1;
}

/* The n-th product with the widened weights of a linear layer, [m,k] x [k,n]. */
static dlx_node *product(dlx_graph *g, size_t nth)
{
    dlx_graph_skip_copies(g);
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_BMM && g->values[g->nodes[i].out[0]].rank == 2 && nth-- == 0) return &g->nodes[i];
    fail_msg("there is no such product");
    return NULL;
}

/* A square matrix that is not turned: its columns are another layer's rows. */
static void weights_are_not_turned(dlx_graph *g)
{
    for (size_t i = 0; i < 8; i++) {
        dlx_node *n = product(g, i), *turn = made_by(g, n->in[1]);
        const dlx_value *w = &g->values[turn->in[0]];
        if (w->dim[0] != w->dim[1]) continue;
        n->in[1] = turn->in[0];
        return;
    }
    fail_msg("no weights are square");
}

static void weights_are_a_result(dlx_graph *g)
{
    dlx_node *turn = made_by(g, product(g, 0)->in[1]);
    dlx_node *widened = made_by(g, turn->in[0]);
    if (widened->op == DLX_OP_MUL) widened = made_by(g, widened->in[0]);
    g->values[widened->in[0]].source.transform = DLX_CONST_ROUND; /* of other bytes than its own */
}

static void scales_are_added(dlx_graph *g)
{
    made_by(g, made_by(g, product(g, 0)->in[1])->in[0])->op = DLX_OP_ADD;
}

/* One number for all rows is no row of scales. */
static void one_scale_is_for_all(dlx_graph *g)
{
    dlx_node *scaled = made_by(g, made_by(g, product(g, 0)->in[1])->in[0]);
    dlx_node *column = made_by(g, scaled->in[1]);
    g->values[column->in[0]].dim[0] = g->values[column->out[0]].dim[0] = 1;
}

static const struct {
    const char *program;
    void (*change)(dlx_graph *g);
    bool raised;
} cases[] = {
    {"six_inputs", nothing, true},
    {"six_inputs_single_head", nothing, true},
    {"six_inputs_portable", nothing, true},
    {"six_inputs", the_mask_is_another_layers, false},
    {"six_inputs", rows_go_where_another_layers_do, false},
    {"six_inputs", another_layers_slots_stay, false},
    {"six_inputs", attention_reads_another_layer, false},
    {"six_inputs", no_mask_is_added, false},
    {"six_inputs", the_mask_is_turned, false},
    {"six_inputs", rows_stand_in_front_of_the_cache, false},
    {"six_inputs", every_slot_stays, false},
    {"six_inputs", what_stays_is_taken_away, false},
    {"six_inputs", values_are_stored_as_keys, false},
    {"six_inputs", no_rows_are_stored, false},
    {"six_inputs", keys_become_those_of_another_layer, false},
    {"six_inputs", a_part_goes_to_another_place, false},
    {"six_inputs", places_are_counted_from_one, false},
    {"six_inputs", all_other_parts_change, false},
    {"six_inputs", the_cache_goes_out_as_it_came, false},
    {"six_inputs", the_head_mixes_rows, false},
    {"six_inputs_single_head", no_mask_is_added, false},
    {"six_inputs_single_head", values_are_stored_as_keys, false},
    {"six_inputs_portable", the_mask_is_another_layers, false},
    {"six_inputs_portable", every_slot_stays, false},
    {"six_inputs_float16", nothing, true},
    {"six_inputs_float16", weights_are_not_turned, false},
    {"six_inputs_float16", weights_are_a_result, false},
    {"six_inputs_float16", no_mask_is_added, false},
    {"six_inputs_int8", nothing, true},
    {"six_inputs_int8", weights_are_a_result, false},
    {"six_inputs_int8", scales_are_added, false},
    {"six_inputs_int8", one_scale_is_for_all, false},
};

static void every_fact_is_compared(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        loaded l;
        dlx_error err = {0};
        bool raised;
        dlx_graph *g = load(&l, cases[k].program);
        cases[k].change(g);
        if (dlx_raise_decoder(g, &raised, &err) != DLX_OK) fail_msg("%s", err.message);
        if (raised != cases[k].raised)
            fail_msg("case %zu, a %s, is%s raised", k, cases[k].program, raised ? "" : " not");
        if (!raised) assert_true(dlx_is_whole(g));
        done(&l);
    }
}

/* What a session gets: a cache of each layer, any number of rows up to all slots, and the context of those. */
static void the_raised_program_is_layout_a(void **state)
{
    (void)state;
    loaded l;
    dlx_error err = {0};
    bool raised;
    dlx_graph *g = load(&l, "six_inputs");
    assert_int_equal(dlx_raise_decoder(g, &raised, &err), DLX_OK);
    assert_true(raised);
    assert_int_equal(g->n_inputs, 2 + 4);
    assert_int_equal(g->n_outputs, 1 + 4);
    for (size_t i = 0; i < 6; i++) {
        const dlx_value *v = &g->values[g->inputs[i]];
        assert_int_equal(v->rank, i < 2 ? 1 : 3);
        assert_int_equal(v->dim[0], 12);
        assert_int_equal(v->dynamic, 1);
    }
    assert_int_equal(g->max_context, 12);
    assert_int_equal(g->attn_block, 0);
    done(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fact_is_compared),
        cmocka_unit_test(the_raised_program_is_layout_a),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
