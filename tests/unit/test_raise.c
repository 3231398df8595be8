/*
 * What raising takes for granted, fact by fact: the tiny decoder in XNNPACK's primitives, with one fact changed, must
 * not be raised there, or be raised to what the primitives compute.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/xnnpack/xnnpack.h"
#include "runtime/raise.h"
#include "tiny_decoder.h"

enum { ROWS = 4, CACHED = 6 };

static size_t count(const dlx_graph *g, dlx_op op)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
    return n;
}

static dlx_node *find(dlx_graph *g, dlx_op op, size_t nth)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == op && nth-- == 0) return &g->nodes[i];
    fail_msg("there is no such %s", dlx_op_name(op));
    return NULL;
}

static void build(dlx_graph *g)
{
    build_layer(g, ROWS, CACHED);
    assert_int_equal(dlx_xnnpack_decompose(g, NULL), DLX_OK);
}

/* Raises and tells what was found; the graph is freed. */
static void raised(dlx_graph *g, size_t norms, size_t ropes, size_t attentions, size_t gates)
{
    dlx_error err = {0};
    if (dlx_graph_verify(g, &err) != DLX_OK || dlx_raise(g, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(count(g, DLX_OP_RMS_NORM), norms);
    assert_int_equal(count(g, DLX_OP_ROPE), ropes);
    assert_int_equal(count(g, DLX_OP_ATTENTION), attentions);
    assert_int_equal(count(g, DLX_OP_SILU_MUL), gates);
    dlx_graph_free(g);
}

static float *constant(dlx_graph *g, const char *name)
{
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].kind == DLX_VALUE_CONST && g->values[i].name && !strcmp(g->values[i].name, name))
            return (float *)(uintptr_t)g->values[i].source.data;
    fail_msg("there is no constant %s", name);
    return NULL;
}

/* A unary node in front of operand k of `at`; the pointer of `at` is no longer valid. */
static void insert_unary(dlx_graph *g, dlx_node *at, int k, dlx_op op)
{
    size_t place = (size_t)(at - g->nodes);
    dlx_value copy = g->values[at->in[k]];
    copy.producer = DLX_NONE;
    copy.kind = DLX_VALUE_TEMP;
    copy.name = NULL;
    uint32_t v = dlx_graph_value(g, &copy);
    dlx_node n = {.op = op, .inputs = 1, .in = {g->nodes[place].in[k]}};
    assert_int_not_equal(dlx_graph_node_to(g, n, v, NULL), DLX_NONE);
    dlx_node last = g->nodes[g->n_nodes - 1];
    memmove(&g->nodes[place + 1], &g->nodes[place], (g->n_nodes - 1 - place) * sizeof *g->nodes);
    g->nodes[place] = last;
    g->nodes[place + 1].in[k] = v;
    for (size_t i = 0; i < g->n_nodes; i++) g->values[g->nodes[i].out[0]].producer = (uint32_t)i;
}

static dlx_node *cache_concat(dlx_graph *g, size_t nth)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_CONCAT && g->nodes[i].attr.axis == 0 && nth-- == 0) return &g->nodes[i];
    fail_msg("there is no such cache");
    return NULL;
}

static void constants_are_compared(void **state)
{
    (void)state;
    dlx_graph g;
    build(&g);
    raised(&g, 4, 2, 1, 1);
    build(&g);
    constant(&g, "rms.mean.24")[23] *= 1.0001f; /* of the three norms of 24 numbers */
    raised(&g, 1, 2, 1, 1);
    build(&g);
    constant(&g, "rms.eps.9.99999975e-06")[0] = -1e-5f;
    raised(&g, 0, 2, 1, 1);
    build(&g);
    constant(&g, "rms.eps.9.99999975e-06")[0] = INFINITY;
    raised(&g, 0, 2, 1, 1);
    build(&g);
    constant(&g, "attn.scale.0.353553385")[0] = NAN;
    raised(&g, 4, 2, 0, 1);
    build(&g);
    for (size_t i = 0; i < g.n_values; i++) /* bytes that are not the value's */
        if (g.values[i].name && !strcmp(g.values[i].name, "attn.scale.0.353553385")) {
            g.values[i].source.transform = DLX_CONST_WIDEN;
            g.values[i].source.stored = DLX_BF16;
        }
    raised(&g, 4, 2, 0, 1);
}

static void both_halves_of_a_cache_are_alike(void **state)
{
    (void)state;
    dlx_graph g;
    build(&g);
    insert_unary(&g, cache_concat(&g, 1), 0, DLX_OP_NEG); /* keys from an input, values computed */
    raised(&g, 4, 2, 0, 1);
    build(&g);
    uint32_t k = cache_concat(&g, 0)->in[0];
    g.values[k].dynamic = 0; /* one half varies, the other does not */
    raised(&g, 4, 2, 0, 1);
}

static void steps_have_the_shapes_of_their_meaning(void **state)
{
    (void)state;
    dlx_graph g;
    build(&g);
    /* Queries grouped [T,K,G,D]; 4 = 2 x 2 heads in the same order of bytes, but of [T, 1, 4, D] the scores differ. */
    dlx_node *turn = NULL;
    for (size_t i = 0; i < g.n_nodes; i++)
        if (g.nodes[i].op == DLX_OP_TRANSPOSE && g.nodes[i].attr.rank == 4 && g.nodes[i].attr.shape[0] == 1)
            turn = &g.nodes[i];
    assert_non_null(turn);
    dlx_node *split = &g.nodes[g.values[turn->in[0]].producer];
    split->attr.shape[1] = 1;
    split->attr.shape[2] = 4;
    memcpy(g.values[split->out[0]].dim, (int64_t[]){ROWS, 1, 4, DIM}, 4 * sizeof(int64_t));
    uint32_t v = turn->out[0];
    memcpy(g.values[v].dim, (int64_t[]){1, 4, ROWS, DIM}, 4 * sizeof(int64_t));
    for (size_t i = 0; i < g.n_nodes; i++)
        if (g.nodes[i].op == DLX_OP_MUL && (g.nodes[i].in[0] == v || g.nodes[i].in[1] == v))
            memcpy(g.values[g.nodes[i].out[0]].dim, (int64_t[]){1, 4, ROWS, DIM}, 4 * sizeof(int64_t));
    raised(&g, 4, 2, 0, 1);
    build(&g);
    find(&g, DLX_OP_SLICE, 0)->attr.shape[2] = 3; /* three numbers past the middle */
    find(&g, DLX_OP_SLICE, 0)->attr.size[2] = 4;
    raised(&g, 4, 1, 1, 1);
    build(&g);
    find(&g, DLX_OP_SLICE, 1)->in[0] = find(&g, DLX_OP_SLICE, 0)->in[0]; /* the same x twice: still a rotation */
    raised(&g, 4, 2, 1, 1);
    build(&g);
    insert_unary(&g, find(&g, DLX_OP_SLICE, 0), 0, DLX_OP_ABS); /* one half of |x| */
    raised(&g, 4, 1, 1, 1);
    build(&g);
    insert_unary(&g, find(&g, DLX_OP_SIGMOID, 0), 0, DLX_OP_NEG); /* sigmoid of another number */
    raised(&g, 4, 2, 1, 0);
}

/* The rows of the last norm are quantised once for two linear layers, of which one is the first output. */
static void rows_are_demanded_in_front_of_quantised_ones(void **state)
{
    (void)state;
    for (int readers = 1; readers <= 2; readers++) {
        dlx_graph g;
        dlx_graph_init(&g);
        static const int8_t w[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
        static const float s[3] = {1, 1, 1};
        const int64_t dim[2] = {3, 4}, scales = 3, shape[2] = {5, 4};
        uint32_t x = dlx_graph_input(&g, "x", DLX_F32, 2, shape, 1), rows;
        uint32_t a = dlx_graph_const(&g, "w", DLX_I8, 2, dim, (dlx_const_source){.data = w, .bytes = sizeof w});
        g.values[a].scales =
            dlx_graph_const(&g, "s", DLX_F32, 1, &scales, (dlx_const_source){.data = s, .bytes = sizeof s});
        uint32_t q = node(&g, DLX_OP_CONVERT, 1, &x, NULL);
        for (int i = 0; i < readers; i++)
            assert_true(dlx_graph_output(&g, node(&g, DLX_OP_LINEAR, 2, (uint32_t[]){q, a}, NULL)));
        dlx_error err = {0};
        if (dlx_demand_rows(&g, 0, &rows, &err) != DLX_OK) fail_msg("%s", err.message);
        assert_int_equal(rows != DLX_NONE, readers == 1);
        assert_int_equal(count(&g, DLX_OP_ROW_SELECT), readers == 1);
        dlx_graph_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constants_are_compared),
        cmocka_unit_test(both_halves_of_a_cache_are_alike),
        cmocka_unit_test(steps_have_the_shapes_of_their_meaning),
        cmocka_unit_test(rows_are_demanded_in_front_of_quantised_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
