/*
 * Quantised weights that take several operators in a file: raised they give the bits that the operators give one by
 * one, and what differs from the pattern in one number stays as it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/xnnpack/xnnpack.h"
#include "quant/quant.h"
#include "runtime/program.h"
#include "runtime/raise.h"
#include "constants_check.h"
#include "tiny_decoder.h"

enum { ROWS = 5, WORDS = 9, WIDTH = 64, OUT = 6 };

/* Rows of a table, or a linear layer with a bias over float rows, in that form and in the delegate's operators. */
static void build(dlx_graph *g, const char *form, bool table)
{
    int64_t rows = ROWS, x[2] = {ROWS, WIDTH};
    dlx_error err = {0};
    const dlx_weight_form *f = dlx_form_find(form);
    dlx_graph_init(g);
    if (table) {
        uint32_t ids = dlx_graph_input(g, "ids", DLX_I64, 1, &rows, 1), w = weight(g, "table", 2, WORDS, WIDTH, 3);
        assert_true(dlx_graph_output(g, node(g, DLX_OP_EMBEDDING, 2, (uint32_t[]){w, ids}, NULL)));
    } else {
        uint32_t in[3] = {dlx_graph_input(g, "x", DLX_F32, 2, x, 1), weight(g, "w", 2, OUT, WIDTH, 4),
                          weight(g, "bias", 1, OUT, 0, 5)};
        assert_true(dlx_graph_output(g, node(g, DLX_OP_LINEAR, 3, in, NULL)));
    }
    if (dlx_quantize(g, &(dlx_recipe){.body = f, .head = f, .table = f}, &err) != DLX_OK) fail_msg("%s", err.message);
    materialise(g);
    if (dlx_xnnpack_decompose(g, &err) != DLX_OK) fail_msg("%s", err.message);
    /* What gathers bytes of a file reads bytes. */
    for (size_t i = 0; i < g->n_nodes; i++) {
        dlx_value *t = &g->values[g->nodes[i].in[0]];
        if (g->nodes[i].op != DLX_OP_EMBEDDING || t->dtype != DLX_I4) continue;
        t->dtype = t->source.stored = DLX_U8;
        t->dim[1] /= 2;
        t->scales = DLX_NONE;
    }
    if (dlx_graph_verify(g, &err) != DLX_OK) fail_msg("%s", err.message);
}

static int count(const dlx_graph *g, dlx_op op)
{
    int n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
    return n;
}

/* Takes the graph. */
static void run(dlx_graph *g, float *out, size_t n)
{
    dlx_program p;
    dlx_pool *pool;
    dlx_executor *ex;
    dlx_error err = {0};
    int64_t ids[ROWS] = {3, 0, 8, 8, 1};
    float x[ROWS * WIDTH];
    uint32_t seed = 77;
    for (size_t i = 0; i < ROWS * WIDTH; i++) x[i] = noise(&seed);
    assert_int_equal(dlx_pool_create(&pool, 1, NULL), DLX_OK);
    dlx_program_options options = {.limit = DLX_ISA_REF, .pool = pool};
    bool floats = g->values[g->inputs[0]].dtype == DLX_F32;
    if (dlx_program_prepare(&p, g, &options, &err) != DLX_OK) fail_msg("%s", err.message);
    dlx_shape s = floats ? (dlx_shape){2, {ROWS, WIDTH}} : (dlx_shape){1, {ROWS}};
    dlx_executor_bounds bounds = {.max_shape = &s};
    assert_int_equal(dlx_executor_open(&ex, &p, &bounds, pool, NULL, NULL), DLX_OK);
    dlx_tensor_ref in = {floats ? (void *)x : ids, s}, result;
    dlx_pass pass = {.inputs = &in};
    if (dlx_executor_run(ex, &pass, &result, &err) != DLX_OK) fail_msg("%s", err.message);
    memcpy(out, result.data, n * sizeof *out);
    dlx_executor_close(ex);
    dlx_program_free(&p);
    dlx_pool_free(pool);
}

static void a_table_of_4_bits_is_one_lookup(void **state)
{
    static const char *const forms[] = {"int4", "int4-g32"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        float apart[ROWS * WIDTH], whole[ROWS * WIDTH];
        dlx_graph g;
        build(&g, forms[i], true);
        assert_int_equal(count(&g, DLX_OP_FLOOR), 1);
        run(&g, apart, ROWS * WIDTH);
        build(&g, forms[i], true);
        assert_int_equal(dlx_raise(&g, NULL), DLX_OK);
        assert_int_equal(g.n_nodes, 1);
        assert_int_equal(g.nodes[0].op, DLX_OP_EMBEDDING);
        assert_int_equal(g.values[g.nodes[0].in[0]].dtype, DLX_I4);
        run(&g, whole, ROWS * WIDTH);
        assert_memory_equal(apart, whole, sizeof apart);
        assert_true(apart[0] != 0.0f && apart[1] != apart[0]);
    }
}

static void a_bias_added_behind_becomes_the_layers(void **state)
{
    static const char *const forms[] = {"int8-weight-only", "bf16"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        float apart[ROWS * OUT], whole[ROWS * OUT];
        dlx_graph g;
        build(&g, forms[i], false);
        assert_int_equal(count(&g, DLX_OP_ADD), 1);
        run(&g, apart, ROWS * OUT);
        build(&g, forms[i], false);
        assert_int_equal(dlx_raise(&g, NULL), DLX_OK);
        assert_int_equal(g.n_nodes, 1);
        assert_int_equal(g.nodes[0].inputs, 3);
        run(&g, whole, ROWS * OUT);
        for (size_t k = 0; k < ROWS * OUT; k++)
            assert_float_equal(apart[k], whole[k], 1e-6f * (1 + whole[k] * whole[k]));
    }
}

static float *number(dlx_graph *g, const char *name)
{
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].name && !strcmp(g->values[i].name, name)) return (float *)(uintptr_t)g->values[i].source.data;
    fail_msg("no constant %s", name);
    return NULL;
}

static void check_not_raised(dlx_graph *g, dlx_op op)
{
    int before = count(g, op);
    assert_true(before > 0);
    assert_int_equal(dlx_raise(g, NULL), DLX_OK);
    assert_int_equal(count(g, op), before);
    dlx_graph_free(g);
}

static void what_differs_stays(void **state)
{
    static const char *const numbers[] = {"int4.sixteenth", "int4.sixteen", "int4.eight"};
    static const char *const forms[] = {"int4", "int4-g32"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        dlx_graph g;
        for (size_t k = 0; k < 3; k++) {
            build(&g, forms[i], true);
            *number(&g, numbers[k]) *= 2;
            check_not_raised(&g, DLX_OP_FLOOR);
        }
        build(&g, forms[i], true); /* halves the other way round */
        for (size_t k = 0; k < g.n_nodes; k++)
            if (g.nodes[k].op == DLX_OP_CONCAT) {
                uint32_t low = g.nodes[k].in[0];
                g.nodes[k].in[0] = g.nodes[k].in[1];
                g.nodes[k].in[1] = low;
            }
        check_not_raised(&g, DLX_OP_FLOOR);
        build(&g, forms[i], true); /* a table of another length than its scales */
        for (size_t k = 0; k < g.n_values; k++)
            if (g.values[k].dtype == DLX_U8 && g.values[k].kind == DLX_VALUE_CONST) g.values[k].dim[0]--;
        check_not_raised(&g, DLX_OP_FLOOR);
        build(&g, forms[i], true); /* codes that the file scales when it widens them */
        for (size_t k = 0; k < g.n_nodes; k++)
            if (g.nodes[k].op == DLX_OP_CONVERT && g.values[g.nodes[k].in[0]].dtype == DLX_U8)
                g.nodes[k].attr.f[0] = 0.5f;
        check_not_raised(&g, DLX_OP_FLOOR);
    }
    dlx_graph g;
    build(&g, "int8-weight-only", false); /* somebody else reads what has no bias yet */
    assert_true(dlx_graph_output(&g, g.nodes[0].out[0]));
    check_not_raised(&g, DLX_OP_ADD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_of_4_bits_is_one_lookup),
        cmocka_unit_test(a_bias_added_behind_becomes_the_layers),
        cmocka_unit_test(what_differs_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
