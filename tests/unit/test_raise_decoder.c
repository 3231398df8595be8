/*
 * What raising a decoder takes for granted, fact by fact: programs of the official exporter that are raised, with one
 * fact changed, stay as they are.
 */
#include <math.h>

#include "foreign_graph.h"
#include "runtime/raise_decoder.h"
#include "runtime/rows.h"

/* The n-th table that is looked up by the given operator and has as many columns as the context. */
static uint32_t mask(dlx_graph *g, dlx_op op)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_value *v = &g->values[g->nodes[i].in[0]];
        if (g->nodes[i].op == op && v->kind == DLX_VALUE_CONST && v->rank == 2 && v->dim[0] == v->dim[1])
            return g->nodes[i].in[0];
    }
    fail_msg("there is no mask");
    return 0;
}

/* ---- changes ---- */

static void nothing(dlx_graph *g)
{
    (void)g;
}

static void a_key_behind_the_row_is_seen(dlx_graph *g)
{
    uint32_t m = mask(g, DLX_OP_INDEX);
    ((float *)own(g, m))[3 * g->values[m].dim[1] + 4] = 0;
}

static void a_key_behind_the_row_is_half_hidden(dlx_graph *g)
{
    uint32_t m = mask(g, DLX_OP_INDEX);
    ((float *)own(g, m))[g->values[m].dim[1] - 1] = -5;
}

static void a_key_before_the_row_is_hidden(dlx_graph *g)
{
    uint32_t m = mask(g, DLX_OP_INDEX);
    ((float *)own(g, m))[5 * g->values[m].dim[1]] = -INFINITY;
}

static void a_bool_mask_hides_a_key(dlx_graph *g)
{
    uint32_t m = mask(g, DLX_OP_NARROW);
    ((uint8_t *)own(g, m))[7 * g->values[m].dim[1] + 2] = 0;
}

static void hidden_keys_get_a_little_less(dlx_graph *g)
{
    *(float *)own(g, find(g, DLX_OP_WHERE, 0)->in[2]) = -4;
}

static void seen_keys_get_more(dlx_graph *g)
{
    *(float *)own(g, find(g, DLX_OP_WHERE, 0)->in[1]) = 0.5f;
}

static void no_mask_is_added(dlx_graph *g)
{
    dlx_node *softmax = find(g, DLX_OP_SOFTMAX, 0);
    dlx_node *add = &g->nodes[g->values[softmax->in[0]].producer];
    assert_int_equal(add->op, DLX_OP_ADD);
    replace(g, add->out[0], add->in[0]);
}

static void softmax_runs_over_rows(dlx_graph *g)
{
    dlx_node *softmax = find(g, DLX_OP_SOFTMAX, 0);
    dlx_node *expand = find(g, DLX_OP_EXPAND, 0);
    replace(g, softmax->out[0], expand->out[0]); /* not scores at all */
}

static void rows_are_added_to_the_cache(dlx_graph *g)
{
    find(g, DLX_OP_INDEX_PUT, 0)->attr.keep = true;
}

static void rows_go_to_other_dimensions(dlx_graph *g)
{
    find(g, DLX_OP_INDEX_PUT, 0)->attr.axes = 1u << 2;
}

static void rows_go_to_fixed_places(dlx_graph *g)
{
    int64_t n = g->values[g->inputs[1]].dim[0], *data = dlx_arena_array(&g->arena, (size_t)n, sizeof *data);
    assert_non_null(data);
    for (int64_t i = 0; i < n; i++) data[i] = i;
    find(g, DLX_OP_INDEX_PUT, 1)->in[2] =
        dlx_graph_const(g, NULL, DLX_I64, 1, &n,
                        (dlx_const_source){.data = data, .bytes = (uint64_t)n * sizeof *data, .stored = DLX_I64});
}

static void keys_are_values(dlx_graph *g)
{
    replace(g, find(g, DLX_OP_INDEX_PUT, 1)->out[0], find(g, DLX_OP_INDEX_PUT, 0)->out[0]);
}

static void a_layer_reads_the_keys_of_another(dlx_graph *g)
{
    replace(g, find(g, DLX_OP_INDEX_PUT, 2)->out[0], find(g, DLX_OP_INDEX_PUT, 0)->out[0]);
}

static void a_layer_reads_the_caches_of_another(dlx_graph *g)
{
    a_layer_reads_the_keys_of_another(g);
    replace(g, find(g, DLX_OP_INDEX_PUT, 3)->out[0], find(g, DLX_OP_INDEX_PUT, 1)->out[0]);
}

static void keys_are_read_before_they_are_stored(dlx_graph *g)
{
    dlx_node *put = find(g, DLX_OP_INDEX_PUT, 0);
    replace(g, put->out[0], put->in[0]);
}

static void a_state_does_not_keep_its_rows(dlx_graph *g)
{
    g->outputs[g->n_outputs - 1] = g->inputs[g->n_inputs - 1];
}

static void states_change_places(dlx_graph *g)
{
    uint32_t last = g->outputs[g->n_outputs - 1];
    g->outputs[g->n_outputs - 1] = g->outputs[g->n_outputs - 2];
    g->outputs[g->n_outputs - 2] = last;
}

static void scores_are_scaled_by_infinity(dlx_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_value *c = g->nodes[i].inputs == 2 ? &g->values[g->nodes[i].in[1]] : NULL;
        dlx_node *n = &g->nodes[i];
        if (n->op == DLX_OP_MUL && c->kind == DLX_VALUE_CONST && c->source.bytes == 4 &&
            g->values[n->out[0]].rank == 4 && g->values[n->out[0]].dim[3] == g->values[mask(g, DLX_OP_INDEX)].dim[1]) {
            *(float *)own(g, n->in[1]) = INFINITY;
            return;
        }
    }
    fail_msg("keys are not scaled");
}

static void attention_is_not_causal(dlx_graph *g)
{
    find(g, DLX_OP_SDPA, 1)->attr.causal = false;
}

static void attention_starts_elsewhere(dlx_graph *g)
{
    uint32_t zero = number(g, 0);
    find(g, DLX_OP_SDPA, 0)->in[3] = zero;
}

static void rows_are_stored_elsewhere(dlx_graph *g)
{
    uint32_t zero = number(g, 0);
    find(g, DLX_OP_SLICE_PUT, 0)->in[2] = zero;
}

static void values_are_the_other_layers(dlx_graph *g)
{
    find(g, DLX_OP_SDPA, 1)->in[2] = find(g, DLX_OP_SDPA, 0)->in[2];
}

static void tables_begin_behind_the_start(dlx_graph *g)
{
    find(g, DLX_OP_NARROW, 0)->attr.shape[2] = 2;
}

static void every_other_row_of_the_mask(dlx_graph *g)
{
    find(g, DLX_OP_NARROW, 2)->attr.shape[2] = 2;
}

static void rope_is_of_other_positions(dlx_graph *g)
{
    uint32_t zero = number(g, 0);
    dlx_node *narrow = find(g, DLX_OP_NARROW, 0);
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_NARROW && g->nodes[i].in[1] == narrow->in[1] && &g->nodes[i] != narrow)
            g->nodes[i].in[1] = zero;
}

static void the_row_before_the_last_answers(dlx_graph *g)
{
    *(int64_t *)own(g, find(g, DLX_OP_INDEX, 0)->in[1]) = -2;
}

static void a_reshape_has_another_number_of_rows(dlx_graph *g)
{
    uint32_t four = number(g, 4);
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_RESHAPE && g->nodes[i].inputs == 2) {
            g->nodes[i].in[1] = four;
            return;
        }
    fail_msg("no reshape has computed sizes");
}

static void scores_have_another_number_of_keys(dlx_graph *g)
{
    uint32_t four = number(g, 4);
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_RESHAPE && g->nodes[i].inputs == 3) {
            g->nodes[i].in[2] = four;
            return;
        }
    fail_msg("no reshape has two computed sizes");
}

static void rows_stand_in_front_of_the_cache(dlx_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        dlx_node *n = &g->nodes[i];
        if (n->op != DLX_OP_CONCAT || g->values[n->in[0]].kind != DLX_VALUE_INPUT) continue;
        uint32_t cache = n->in[0];
        n->in[0] = n->in[1];
        n->in[1] = cache;
        return;
    }
    fail_msg("no cache is joined");
}

/* Rows that see no key are those of another layer's mask. */
static void rows_without_keys_are_of_another_layer(dlx_graph *g)
{
    find(g, DLX_OP_WHERE, 1)->in[0] = find(g, DLX_OP_WHERE, 0)->in[0];
}

static void new_rows_are_not_given(dlx_graph *g)
{
    g->outputs[1] = g->outputs[2];
}

static void the_head_mixes_rows(dlx_graph *g)
{
    find(g, DLX_OP_MEAN, 0)->attr.axis = 1;
}

static const struct {
    const char *program;
    void (*change)(dlx_graph *g);
    bool raised;
} cases[] = {
    {"decoder_cache_static", nothing, true},
    {"decoder_cache_static", a_key_behind_the_row_is_seen, false},
    {"decoder_cache_static", a_key_behind_the_row_is_half_hidden, false},
    {"decoder_cache_static", a_key_before_the_row_is_hidden, false},
    {"decoder_cache_static", no_mask_is_added, false},
    {"decoder_cache_static", softmax_runs_over_rows, false},
    {"decoder_cache_static", rows_are_added_to_the_cache, false},
    {"decoder_cache_static", rows_go_to_other_dimensions, false},
    {"decoder_cache_static", rows_go_to_fixed_places, false},
    {"decoder_cache_static", keys_are_values, false},
    {"decoder_cache_static", a_layer_reads_the_keys_of_another, false},
    {"decoder_cache_static", a_layer_reads_the_caches_of_another, false},
    {"decoder_cache_static", keys_are_read_before_they_are_stored, false},
    {"decoder_cache_static", a_state_does_not_keep_its_rows, false},
    {"decoder_cache_static", states_change_places, false},
    {"decoder_cache_static", scores_are_scaled_by_infinity, false},
    {"decoder_cache_static", the_head_mixes_rows, false},
    {"decoder_cache_static", rows_without_keys_are_of_another_layer, false},
    {"llama_cache", nothing, true},
    {"llama_cache", a_bool_mask_hides_a_key, false},
    {"llama_cache", hidden_keys_get_a_little_less, false},
    {"llama_cache", seen_keys_get_more, false},
    {"llama_cache", tables_begin_behind_the_start, false},
    {"llama_cache", every_other_row_of_the_mask, false},
    {"llama_cache", rope_is_of_other_positions, false},
    {"llama_cache", the_row_before_the_last_answers, false},
    {"llama_cache", a_reshape_has_another_number_of_rows, false},
    {"llama_custom_sdpa", nothing, true},
    {"llama_custom_sdpa", attention_is_not_causal, false},
    {"llama_custom_sdpa", attention_starts_elsewhere, false},
    {"llama_custom_sdpa", rows_are_stored_elsewhere, false},
    {"llama_custom_sdpa", values_are_the_other_layers, false},
    {"decoder_explicit_sdpa", nothing, true},
    {"decoder_explicit_sdpa", scores_have_another_number_of_keys, false},
    {"decoder_explicit_sdpa", rows_stand_in_front_of_the_cache, false},
    {"decoder_explicit_sdpa", new_rows_are_not_given, false},
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
        size_t nodes = g->n_nodes, states = g->n_states;
        if (dlx_raise_decoder(g, &raised, &err) != DLX_OK) fail_msg("%s", err.message);
        if (raised != cases[k].raised)
            fail_msg("case %zu, a %s, is%s raised", k, cases[k].program, raised ? "" : " not");
        if (!raised) assert_true(g->n_nodes == nodes && g->n_states == states);
        if (raised) assert_true(g->n_nodes < nodes && g->n_states == 0);
        done(&l);
    }
}

/* What stands in the way of sessions is who reads the cache, not that sizes were asked for before. */
static void the_fact_that_fails_is_the_one_to_mend(void **state)
{
    (void)state;
    loaded l;
    dlx_row_table t;
    dlx_error err = {0};
    dlx_graph *g = load(&l, "decoder_explicit_sdpa");
    assert_int_equal(g->nodes[0].op == DLX_OP_SIZE || g->nodes[1].op == DLX_OP_SIZE, true);
    dlx_signature sig = {.row_inputs = {g->inputs[0], g->inputs[1]},
                         .demand = DLX_NONE,
                         .layers = 1,
                         .cache = g->inputs + 2,
                         .fresh = g->outputs + 1,
                         .logits = g->outputs[0]};
    assert_int_equal(dlx_rows_analyse(&t, g, &sig, NULL, &err), DLX_OK);
    assert_false(t.holds);
    if (!strstr(t.why_not, "(CONCAT) reads a cache")) fail_msg("%s", t.why_not);
    dlx_rows_free(&t, NULL);
    done(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fact_that_fails_is_the_one_to_mend),
        cmocka_unit_test(every_fact_is_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
