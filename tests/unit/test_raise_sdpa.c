/*
 * What raising attention in methods takes for granted, fact by fact: programs of the official exporter whose attention
 * is raised, with one fact changed, keep their softmax. (That raised ones answer the same is what test_foreign shows.)
 */
#include <math.h>

#include "foreign_graph.h"
#include "runtime/raise.h"

static void nothing(dlx_graph *g)
{
    (void)g;
}

static dlx_node *made_by(dlx_graph *g, uint32_t v)
{
    assert_true(g->values[v].producer != DLX_NONE);
    return &g->nodes[g->values[v].producer];
}

/* The product with the values: the last BMM. */
static dlx_node *mix(dlx_graph *g)
{
    dlx_node *last = NULL;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_BMM) last = &g->nodes[i];
    assert_non_null(last);
    return last;
}

static void values_are_scaled(dlx_graph *g)
{
    /* the scale of the queries in front of the values, too */
    dlx_node *scale = find(g, DLX_OP_MUL, 0);
    dlx_node *view = made_by(g, made_by(g, mix(g)->in[1])->in[0]);
    assert_int_equal(view->op, DLX_OP_EXPAND);
    view->op = DLX_OP_MUL; /* instead of a repeat that repeats nothing */
    view->in[1] = scale->in[1];
    view->inputs = 2;
    memset(&view->attr, 0, sizeof view->attr);
}

static void weights_are_asked_for(dlx_graph *g)
{
    assert_true(dlx_graph_output(g, mix(g)->in[0]));
}

static void a_row_that_sees_nothing_is_a_half(dlx_graph *g)
{
    dlx_node *where = find(g, DLX_OP_WHERE, 0);
    *(float *)own(g, made_by(g, where->in[1])->in[0]) = 0.5f;
}

static void little_weight_counts_as_none(dlx_graph *g)
{
    *(float *)own(g, find(g, DLX_OP_EQUAL, 0)->in[1]) = -5.0f;
}

static void other_scores_are_asked(dlx_graph *g)
{
    dlx_node *softmax = find(g, DLX_OP_SOFTMAX, 0), *equal = find(g, DLX_OP_EQUAL, 0);
    equal->in[0] = made_by(g, softmax->in[0])->in[0];
}

static void the_scale_is_infinite(dlx_graph *g)
{
    *(float *)own(g, find(g, DLX_OP_MUL, 0)->in[1]) = INFINITY;
}

static void keys_are_not_turned(dlx_graph *g)
{
    /* 6 rows and 8 columns of a key would not fit: the permutation of the first two dimensions does. */
    dlx_node *turn = find(g, DLX_OP_TRANSPOSE, 0);
    assert_int_equal(turn->attr.shape[3], 2);
    turn->op = DLX_OP_RESHAPE;
    for (int i = 0; i < 4; i++) turn->attr.shape[i] = g->values[turn->out[0]].dim[i];
}

/* Another attention: raised, without it. */
static void the_mask_is_left_out(dlx_graph *g)
{
    uint32_t scores = find(g, DLX_OP_ADD, 0)->in[0];
    find(g, DLX_OP_SOFTMAX, 0)->in[0] = scores;
    find(g, DLX_OP_EQUAL, 0)->in[0] = scores;
}

static void sizes_are_those_of_something_else(dlx_graph *g)
{
    uint32_t other = dlx_graph_input(g, "n", DLX_I64, 0, NULL, 0);
    size_t changed = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < 6 && g->nodes[i].op == DLX_OP_RESHAPE; k++)
            if (DLX_IS_RUN(g->nodes[i].attr.shape[k]) && g->values[g->nodes[i].out[0]].rank == 4) {
                g->nodes[i].in[g->nodes[i].attr.shape[k] - INT64_MIN] = other;
                changed++;
            }
    assert_true(changed > 0);
}

static const struct {
    const char *program;
    void (*change)(dlx_graph *g);
    int attentions;
} cases[] = {
    {"sdpa", nothing, 1},
    {"sdpa", values_are_scaled, 0},
    {"sdpa", weights_are_asked_for, 0},
    {"sdpa", a_row_that_sees_nothing_is_a_half, 0},
    {"sdpa", little_weight_counts_as_none, 0},
    {"sdpa", the_scale_is_infinite, 1}, /* it stays a product in front of the attention */
    {"sdpa", keys_are_not_turned, 0},
    {"sdpa_mask", nothing, 1},
    {"sdpa_mask", other_scores_are_asked, 0},
    {"sdpa_mask", the_mask_is_left_out, 1},
    {"sdpa_masked_fill", nothing, 1},
    {"sdpa_dynamic", nothing, 1},
    {"sdpa_dynamic", sizes_are_those_of_something_else, 0},
    {"sdpa_causal_gqa", nothing, 0}, /* queries and keys are inputs of their own: their rows may differ */
    {"decoder_cache_dynamic", nothing, 2},
    {"decoder_cache_static", nothing, 2},
    {"llama_cache", nothing, 2},
    {"official_kv", nothing, 2},
    {"official_kv_sdpa", nothing, 2},
};

static int count(const dlx_graph *g, dlx_op op)
{
    int n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
    return n;
}

static void every_fact_is_compared(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        loaded l;
        dlx_error err = {0};
        dlx_graph *g = load(&l, cases[k].program);
        cases[k].change(g);
        if (dlx_graph_verify(g, &err) != DLX_OK) fail_msg("case %zu: %s", k, err.message);
        int softmax = count(g, DLX_OP_SOFTMAX) + count(g, DLX_OP_SDPA);
        if (dlx_raise(g, &err) != DLX_OK) fail_msg("%s", err.message);
        if (count(g, DLX_OP_SDPA) != cases[k].attentions)
            fail_msg("case %zu, a %s: %d attentions, expected %d", k, cases[k].program, count(g, DLX_OP_SDPA),
                     cases[k].attentions);
        assert_int_equal(count(g, DLX_OP_SOFTMAX) + count(g, DLX_OP_SDPA), softmax);
        done(&l);
    }
}

/* Which rotary embeddings are raised in methods, whatever stands in front of rows and heads. */
static void rotary_embeddings_are_recognised(void **state)
{
    (void)state;
    static const struct {
        const char *program;
        int ropes;
    } known[] = {{"rope_half", 1},   {"rope_interleaved", 1}, {"rope_behind_heads", 1}, {"decoder_stateless", 4},
                 {"llama_cache", 4}, {"official_kv", 4},      {"llama_qwen3", 4}};
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        loaded l;
        dlx_error err = {0};
        dlx_graph *g = load(&l, known[k].program);
        if (dlx_raise(g, &err) != DLX_OK) fail_msg("%s", err.message);
        if (count(g, DLX_OP_ROPE) != known[k].ropes)
            fail_msg("%s: %d rotary embeddings, expected %d", known[k].program, count(g, DLX_OP_ROPE), known[k].ropes);
        done(&l);
    }
}

static void signs_change(dlx_graph *g)
{
    dlx_node *sub = find(g, DLX_OP_SUB, 0);
    sub->op = DLX_OP_ADD; /* a cos + b sin: no rotation */
}

static void tables_change_places(dlx_graph *g)
{
    dlx_node *sub = find(g, DLX_OP_SUB, 0), *first = made_by(g, sub->in[0]), *second = made_by(g, sub->in[1]);
    uint32_t cos = first->in[1];
    first->in[1] = second->in[1];
    second->in[1] = cos; /* a sin - b cos, and a sin + b cos */
}

static void both_parts_are_the_first(dlx_graph *g)
{
    dlx_node *slice = find(g, DLX_OP_SLICE, 1);
    slice->attr.shape[3] = 0;
    slice->attr.size[3] = 1;
}

static void parts_change_places(dlx_graph *g)
{
    dlx_node *both = find(g, DLX_OP_CONCAT, 0);
    uint32_t first = both->in[0];
    both->in[0] = both->in[1];
    both->in[1] = first;
}

static void every_fact_of_a_rotation_is_compared(void **state)
{
    (void)state;
    static void (*const changes[])(dlx_graph * g) = {signs_change, tables_change_places, both_parts_are_the_first,
                                                     parts_change_places};
    for (size_t k = 0; k < sizeof changes / sizeof changes[0]; k++) {
        loaded l;
        dlx_error err = {0};
        dlx_graph *g = load(&l, "rope_interleaved");
        changes[k](g);
        if (dlx_raise(g, &err) != DLX_OK) fail_msg("%s", err.message);
        if (count(g, DLX_OP_ROPE) != 0) fail_msg("change %zu is not noticed", k);
        done(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fact_is_compared),
        cmocka_unit_test(rotary_embeddings_are_recognised),
        cmocka_unit_test(every_fact_of_a_rotation_is_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
