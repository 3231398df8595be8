/* Bounds of sizes that programs compute: random integer arithmetic over sizes, against its values at every size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/graph.h"

enum { ROWS = 9, CACHED = 7, NUMBERS = 24, PROGRAMS = 400 };

static uint32_t number(dlx_graph *g, int64_t v)
{
    int64_t *data = dlx_arena_array(&g->arena, 1, sizeof *data);
    assert_non_null(data);
    *data = v;
    return dlx_graph_const(g, NULL, DLX_I64, 0, NULL,
                           (dlx_const_source){.data = data, .bytes = sizeof *data, .stored = DLX_I64});
}

static uint32_t next(uint32_t *seed, uint32_t n)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % n;
}

static uint32_t random_number(dlx_graph *g, const uint32_t *made, int n, uint32_t *seed)
{
    static const dlx_op two[] = {DLX_OP_ADD, DLX_OP_SUB, DLX_OP_MUL,      DLX_OP_MIN,
                                 DLX_OP_MAX, DLX_OP_NEG, DLX_OP_FLOORDIV, DLX_OP_MODULO};
    dlx_op op = two[next(seed, 8)];
    uint32_t in[2] = {made[next(seed, (uint32_t)n)], made[next(seed, (uint32_t)n)]};
    if (op == DLX_OP_FLOORDIV || op == DLX_OP_MODULO) in[1] = number(g, 1 + next(seed, 5));
    return dlx_graph_node(g, op, in, op == DLX_OP_NEG ? 1 : 2, NULL, 0, NULL);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* The numbers of a program whose inputs have these sizes; they are small, so that nothing overflows. */
static void evaluate(const dlx_graph *g, int64_t rows, int64_t cached, int64_t *value)
{
    for (size_t v = 0; v < g->n_values; v++)
        if (g->values[v].kind == DLX_VALUE_CONST) memcpy(&value[v], g->values[v].source.data, sizeof value[v]);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        int64_t a = value[n->in[0]], b = n->inputs > 1 ? value[n->in[1]] : 0, *y = &value[n->out[0]];
        switch (n->op) {
        case DLX_OP_SIZE: *y = n->in[0] == g->inputs[0] ? rows : cached; break;
        case DLX_OP_ADD: *y = a + b; break;
        case DLX_OP_SUB: *y = a - b; break;
        case DLX_OP_MUL: *y = a * b; break;
        case DLX_OP_MIN: *y = a < b ? a : b; break;
        case DLX_OP_MAX: *y = a > b ? a : b; break;
        case DLX_OP_NEG: *y = -a; break;
        case DLX_OP_FLOORDIV: *y = floor_div(a, b); break;
        case DLX_OP_MODULO: *y = a - b * floor_div(a, b); break;
        default: break; /* shapes: below */
        }
    }
}

static bool small(const dlx_graph *g, uint32_t v)
{
    int64_t value[4 * NUMBERS];
    for (int64_t rows = 0; rows <= ROWS; rows++) {
        evaluate(g, rows, CACHED, value);
        if (value[v] > 1 << 20 || value[v] < -(1 << 20)) return false;
    }
    return true;
}

static void check_program(uint32_t seed)
{
    dlx_graph g;
    uint32_t made[NUMBERS];
    int n = 0;
    int64_t dim[2] = {ROWS, 2}, past[2] = {CACHED, 2};
    dlx_graph_init(&g);
    uint32_t x = dlx_graph_input(&g, "x", DLX_F32, 2, dim, 1), c = dlx_graph_input(&g, "c", DLX_F32, 2, past, 1);
    made[n++] = dlx_graph_node(&g, DLX_OP_SIZE, &x, 1, &(dlx_attr){.axis = 0}, 0, NULL);
    made[n++] = dlx_graph_node(&g, DLX_OP_SIZE, &c, 1, &(dlx_attr){.axis = 0}, 0, NULL);
    made[n++] = number(&g, 2);
    while (n < NUMBERS - 3) {
        made[n] = random_number(&g, made, n, &seed);
        assert_int_not_equal(made[n], DLX_NONE);
        n += small(&g, made[n]);
    }
    /* A range and a part of x whose ends are among them. */
    uint32_t ends[2] = {made[next(&seed, (uint32_t)n)], made[next(&seed, (uint32_t)n)]};
    int64_t step = 1 + next(&seed, 3);
    uint32_t range = dlx_graph_node(&g, DLX_OP_ARANGE, ends, 2,
                                    &(dlx_attr){.dtype = DLX_I64, .shape = {0, 0, step}, .bound = {1 << 22}}, 0, NULL);
    uint32_t part_in[3] = {x, ends[0], ends[1]};
    dlx_attr part_attr = {.shape = {DLX_RUN(1), DLX_RUN(2), step}, .bound = {ROWS, ROWS}};
    uint32_t part = dlx_graph_node(&g, DLX_OP_NARROW, part_in, 3, &part_attr, 0, NULL);
    assert_int_not_equal(range, DLX_NONE);
    assert_int_not_equal(part, DLX_NONE);
    assert_true(g.n_values < (size_t)4 * NUMBERS);
    for (int64_t most = 0; most <= ROWS; most++) {
        dlx_shape bound[4 * NUMBERS], actual;
        dlx_range between[4 * NUMBERS];
        dlx_error err = {0};
        bound[x] = (dlx_shape){.rank = 2, .dim = {most, 2}};
        bound[c] = (dlx_shape){.rank = 2, .dim = {CACHED, 2}};
        if (dlx_graph_infer_bounds(&g, bound, between, &err) != DLX_OK) fail_msg("%s", err.message);
        for (int64_t rows = 0; rows <= most; rows++)
            for (int64_t cached = 0; cached <= CACHED; cached += CACHED) {
                int64_t value[4 * NUMBERS];
                void *data[4 * NUMBERS];
                evaluate(&g, rows, cached, value);
                for (size_t v = 0; v < g.n_values; v++) data[v] = &value[v];
                for (int i = 0; i < n; i++)
                    if (value[made[i]] < between[made[i]].low || value[made[i]] > between[made[i]].high)
                        fail_msg("a %s of %d rows is %d, outside %d .. %d",
                                 dlx_op_name(g.nodes[g.values[made[i]].producer].op), (int)rows, (int)value[made[i]],
                                 (int)between[made[i]].low, (int)between[made[i]].high);
                dlx_known known = {.data = data, .most = INT64_MAX};
                dlx_shape in[3] = {{.rank = 2, .dim = {rows, 2}}, {0}, {0}};
                const dlx_node *node = &g.nodes[g.values[part].producer];
                assert_int_equal(dlx_infer_node_known(&g, node, in, &known, &actual, NULL), DLX_OK);
                assert_in_range(actual.dim[0], 0, bound[part].dim[0]);
                node = &g.nodes[g.values[range].producer];
                assert_int_equal(dlx_infer_node_known(&g, node, in + 1, &known, &actual, NULL), DLX_OK);
                assert_in_range(actual.dim[0], 0, bound[range].dim[0]);
            }
    }
    dlx_graph_free(&g);
}

static void every_value_lies_within_its_bounds(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < PROGRAMS; seed++) check_program(seed * 2654435761u + 1);
}

/* (rows + cached) // 1 * 2 sizes a reshape: few rows must plan for few. */
static void sizes_follow_what_they_are_computed_from(void **state)
{
    (void)state;
    dlx_graph g;
    int64_t dim[2] = {ROWS, 2}, past[2] = {CACHED, 2};
    dlx_graph_init(&g);
    uint32_t x = dlx_graph_input(&g, "x", DLX_F32, 2, dim, 1), c = dlx_graph_input(&g, "c", DLX_F32, 2, past, 1);
    uint32_t rows = dlx_graph_node(&g, DLX_OP_SIZE, &x, 1, &(dlx_attr){.axis = 0}, 0, NULL);
    uint32_t cached = dlx_graph_node(&g, DLX_OP_SIZE, &c, 1, &(dlx_attr){.axis = 0}, 0, NULL);
    uint32_t both = dlx_graph_node(&g, DLX_OP_CONCAT, (uint32_t[]){c, x}, 2, &(dlx_attr){.axis = 0}, 0, NULL);
    uint32_t sum = dlx_graph_node(&g, DLX_OP_ADD, (uint32_t[]){rows, cached}, 2, NULL, 0, NULL);
    dlx_attr flat = {.rank = 2, .shape = {DLX_RUN(1), 2}, .bound = {ROWS + CACHED, 0}};
    uint32_t y = dlx_graph_node(&g, DLX_OP_RESHAPE, (uint32_t[]){both, sum}, 2, &flat, 0, NULL);
    assert_int_not_equal(y, DLX_NONE);
    dlx_shape shape[16];
    dlx_range range[16];
    shape[x] = (dlx_shape){.rank = 2, .dim = {3, 2}};
    shape[c] = (dlx_shape){.rank = 2, .dim = {4, 2}};
    assert_int_equal(dlx_graph_infer_bounds(&g, shape, range, NULL), DLX_OK);
    assert_int_equal(shape[y].dim[0], 7);
    assert_int_equal(range[sum].low, 0);
    assert_int_equal(range[sum].high, 7);

    /* What contradicts itself is reported: nine rows do not lie in a reshape to two. */
    uint32_t half = dlx_graph_node(&g, DLX_OP_FLOORDIV, (uint32_t[]){rows, number(&g, 2)}, 2, NULL, 0, NULL);
    flat.bound[0] = ROWS;
    assert_int_not_equal(dlx_graph_node(&g, DLX_OP_RESHAPE, (uint32_t[]){x, half}, 2, &flat, 0, NULL), DLX_NONE);
    assert_int_equal(dlx_graph_infer_bounds(&g, shape, range, NULL), DLX_E_FORMAT);
    dlx_graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_lies_within_its_bounds),
        cmocka_unit_test(sizes_follow_what_they_are_computed_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
