/* The graph: builders, shape rules, verifier, pruning, rewriting, printing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/graph.h"
#include "graph/rewrite.h"

static uint32_t vector(dlx_graph *g, const char *name, int64_t rows, int64_t cols)
{
    int64_t dim[2] = {rows, cols};
    return dlx_graph_input(g, name, DLX_F32, 2, dim, 1);
}

static uint32_t floats(dlx_graph *g, const char *name, int rank, const int64_t *dim)
{
    size_t n = 1;
    for (int i = 0; i < rank; i++) n *= (size_t)dim[i];
    float *data = dlx_arena_array(&g->arena, n, sizeof *data);
    return dlx_graph_const(g, name, DLX_F32, rank, dim,
                           (dlx_const_source){.data = data, .bytes = n * sizeof *data, .stored = DLX_F32});
}

static uint32_t op(dlx_graph *g, dlx_op o, uint32_t a, uint32_t b, const dlx_attr *attr)
{
    uint32_t in[2] = {a, b};
    dlx_error err = {0};
    return dlx_graph_node(g, o, in, b == DLX_NONE ? 1 : 2, attr, 0, &err);
}

static void shapes_follow_the_operators(void **state)
{
    (void)state;
    dlx_graph g;
    dlx_graph_init(&g);
    uint32_t x = vector(&g, "x", 8, 6), p = vector(&g, "p", 32, 6);
    uint32_t both = op(&g, DLX_OP_CONCAT, p, x, &(dlx_attr){.axis = 0});
    assert_int_equal(g.values[both].dim[0], 40);
    assert_int_equal(g.values[both].dynamic, 1);
    uint32_t split = op(&g, DLX_OP_RESHAPE, both, DLX_NONE, &(dlx_attr){.rank = 3, .shape = {-1, 2, 3}});
    uint32_t turned = op(&g, DLX_OP_TRANSPOSE, split, DLX_NONE, &(dlx_attr){.rank = 3, .shape = {1, 0, 2}});
    assert_int_equal(g.values[turned].dim[1], 40);
    assert_int_equal(g.values[turned].dynamic, 2);
    uint32_t scores = op(&g, DLX_OP_BMM, turned, turned, &(dlx_attr){.transpose_b = true});
    assert_int_equal(g.values[scores].rank, 3);
    assert_int_equal(g.values[scores].dim[2], 40);
    uint32_t mean = op(&g, DLX_OP_MEAN, scores, DLX_NONE, &(dlx_attr){.axis = 2});
    assert_int_equal(g.values[mean].rank, 2);
    uint32_t part = op(&g, DLX_OP_SLICE, x, DLX_NONE, &(dlx_attr){.rank = 2, .shape = {0, 4}, .size = {-1, 100}});
    assert_int_equal(g.values[part].dim[1], 2);
    assert_true(dlx_graph_output(&g, mean));
    assert_int_equal(dlx_graph_verify(&g, NULL), DLX_OK);

    dlx_shape *s = calloc(g.n_values, sizeof *s);
    s[x] = (dlx_shape){.rank = 2, .dim = {3, 6}};
    s[p] = (dlx_shape){.rank = 2, .dim = {0, 6}};
    assert_int_equal(dlx_graph_infer(&g, s, NULL), DLX_OK);
    assert_int_equal(s[scores].dim[1], 3);
    free(s);
    dlx_graph_free(&g);
}

static void impossible_shapes_are_refused(void **state)
{
    (void)state;
    dlx_graph g;
    dlx_error err = {0};
    dlx_graph_init(&g);
    uint32_t x = vector(&g, "x", 8, 6), y = vector(&g, "y", 8, 5), in[3] = {x, y, DLX_NONE};
    assert_int_equal(dlx_graph_node(&g, DLX_OP_ADD, in, 2, NULL, 3, &err), DLX_NONE);
    assert_non_null(strstr(err.message, "ADD (layer 3)"));
    assert_int_equal(dlx_graph_node(&g, DLX_OP_LINEAR, in, 2, NULL, 0, &err), DLX_NONE);
    assert_int_equal(dlx_graph_node(&g, DLX_OP_RESHAPE, in, 1, &(dlx_attr){.rank = 2, .shape = {-1, 7}}, 0, &err),
                     DLX_NONE);
    assert_int_equal(dlx_graph_node(&g, DLX_OP_RESHAPE, in, 1, &(dlx_attr){.rank = 2, .shape = {-1, -1}}, 0, &err),
                     DLX_NONE);
    assert_int_equal(dlx_graph_node(&g, DLX_OP_TRANSPOSE, in, 1, &(dlx_attr){.rank = 2, .shape = {0, 0}}, 0, &err),
                     DLX_NONE);
    assert_int_equal(dlx_graph_node(&g, DLX_OP_CONCAT, in, 2, &(dlx_attr){.axis = 0}, 0, &err), DLX_NONE);
    assert_int_equal(dlx_graph_node(&g, DLX_OP_CONCAT, in, 2, &(dlx_attr){.axis = 2}, 0, &err), DLX_NONE);
    assert_int_equal(dlx_graph_node(&g, DLX_OP_ATTENTION, in, 3, NULL, 0, &err), DLX_NONE);
    assert_int_equal(dlx_graph_node(&g, DLX_OP_BMM, in, 2, NULL, 0, &err), DLX_NONE);
    /* A failed operand poisons what is built on it. */
    in[0] = DLX_NONE;
    assert_int_equal(dlx_graph_node(&g, DLX_OP_ADD, in, 2, NULL, 0, &err), DLX_NONE);
    dlx_graph_free(&g);
}

static void the_verifier_sees_every_damage(void **state)
{
    (void)state;
    dlx_graph g;
    dlx_graph_init(&g);
    uint32_t x = vector(&g, "x", 4, 6);
    uint32_t w = floats(&g, "w", 2, (int64_t[]){5, 6});
    uint32_t y = op(&g, DLX_OP_LINEAR, x, w, NULL), z = op(&g, DLX_OP_SIGMOID, y, DLX_NONE, NULL);
    assert_true(dlx_graph_output(&g, z));
    assert_int_equal(dlx_graph_verify(&g, NULL), DLX_OK);

    dlx_node saved = g.nodes[1];
    g.nodes[1].in[0] = z; /* reads itself */
    assert_int_equal(dlx_graph_verify(&g, NULL), DLX_E_FORMAT);
    g.nodes[1].in[0] = 1000;
    assert_int_equal(dlx_graph_verify(&g, NULL), DLX_E_FORMAT);
    g.nodes[1] = saved;
    g.nodes[1].out[0] = y; /* written twice */
    assert_int_equal(dlx_graph_verify(&g, NULL), DLX_E_FORMAT);
    g.nodes[1] = saved;
    g.nodes[1].op = DLX_OP_ADD; /* arity */
    assert_int_equal(dlx_graph_verify(&g, NULL), DLX_E_FORMAT);
    g.nodes[1] = saved;
    g.values[y].dim[1] = 7; /* shape */
    assert_int_equal(dlx_graph_verify(&g, NULL), DLX_E_FORMAT);
    g.values[y].dim[1] = 5;
    g.values[w].dtype = DLX_I8; /* int8 weights without scales under a float input */
    assert_int_equal(dlx_graph_verify(&g, NULL), DLX_E_FORMAT);
    g.values[w].dtype = DLX_F32;
    g.values[x].dim[0] = INT64_MAX;
    assert_int_equal(dlx_graph_verify(&g, NULL), DLX_E_FORMAT);
    dlx_graph_free(&g);
}

/* A linear layer on quantised rows, an int8 table, joined floats: what the verifier must know of each operand. */
static void build_typed(dlx_graph *g, uint32_t v[10])
{
    dlx_graph_init(g);
    uint32_t x = v[0] = vector(g, "x", 4, 6), in[3];
    v[1] = dlx_graph_const(g, "w", DLX_I8, 2, (int64_t[]){6, 6},
                           (dlx_const_source){.data = "123456123456123456123456123456123456", .bytes = 36});
    v[2] = g->values[v[1]].scales = floats(g, "w.scales", 1, (int64_t[]){6});
    v[3] = floats(g, "bias", 1, (int64_t[]){6});
    v[4] = op(g, DLX_OP_CONVERT, x, DLX_NONE, NULL);
    memcpy(in, (uint32_t[]){v[4], v[1], v[3]}, sizeof in);
    v[5] = dlx_graph_node(g, DLX_OP_LINEAR, in, 3, NULL, 0, NULL);
    v[6] = dlx_graph_input(g, "ids", DLX_I64, 1, (int64_t[]){4}, 1);
    v[7] = floats(g, "table", 2, (int64_t[]){3, 6});
    v[8] = op(g, DLX_OP_EMBEDDING, v[7], v[6], NULL);
    v[9] = op(g, DLX_OP_CONCAT, v[5], v[8], &(dlx_attr){.axis = 0});
    assert_true(dlx_graph_output(g, v[9]));
    assert_int_equal(dlx_graph_verify(g, NULL), DLX_OK);
}

static void expect_refused(dlx_graph *g, const char *sentence)
{
    dlx_error err = {0};
    assert_int_equal(dlx_graph_verify(g, &err), DLX_E_FORMAT);
    if (!strstr(err.message, sentence)) fail_msg("'%s' does not say '%s'", err.message, sentence);
    dlx_graph_free(g);
}

static void the_verifier_knows_types_and_kinds(void **state)
{
    (void)state;
    dlx_graph g;
    uint32_t v[10];
    build_typed(&g, v);
    g.values[v[3]].dtype = DLX_I32;
    expect_refused(&g, "bias must be a constant of floats");
    build_typed(&g, v);
    g.nodes[1].in[2] = op(&g, DLX_OP_NEG, v[3], DLX_NONE, NULL); /* computed */
    dlx_node negated = g.nodes[g.n_nodes - 1];
    memmove(g.nodes + 1, g.nodes, (g.n_nodes - 1) * sizeof *g.nodes);
    g.nodes[0] = negated;
    for (size_t i = 0; i < g.n_nodes; i++) g.values[g.nodes[i].out[0]].producer = (uint32_t)i;
    expect_refused(&g, "bias must be a constant of floats");
    build_typed(&g, v);
    g.values[v[1]].kind = DLX_VALUE_INPUT;
    g.values[v[1]].scales = DLX_NONE;
    g.inputs[1] = v[1];
    expect_refused(&g, "");
    build_typed(&g, v);
    g.values[v[1]].source.bytes = 35;
    expect_refused(&g, "fewer bytes than its shape");
    build_typed(&g, v);
    g.nodes[3].in[1] = v[4]; /* CONCAT of quantised rows */
    expect_refused(&g, "only a LINEAR reads dynamically quantised rows");
    build_typed(&g, v);
    g.nodes[3].in[1] = v[1]; /* CONCAT of int8 weights */
    expect_refused(&g, "does not honour the scales");
    build_typed(&g, v);
    g.outputs[0] = v[4];
    expect_refused(&g, "only a LINEAR reads such a value");
    build_typed(&g, v);
    g.values[v[7]].dtype = DLX_F16;
    expect_refused(&g, "");
    build_typed(&g, v);
    g.values[v[9]].dtype = DLX_I32;
    expect_refused(&g, "another element type than its operands give");
    build_typed(&g, v);
    g.values[v[8]].dtype = g.values[v[7]].dtype = DLX_I8; /* CONCAT of floats and int8 */
    expect_refused(&g, "differ in element type");
    build_typed(&g, v);
    g.values[v[0]].dtype = DLX_QD8;
    expect_refused(&g, "only a CONVERT makes them");
}

/* One node of an operator on new inputs, x first, as an output. */
static dlx_node *build_node(dlx_graph *g, dlx_op o, const uint32_t *in, int inputs, const dlx_attr *attr)
{
    dlx_error err = {0};
    uint32_t v = dlx_graph_node(g, o, in, inputs, attr, 0, &err);
    if (v == DLX_NONE) fail_msg("%s", err.message);
    assert_true(dlx_graph_output(g, v));
    if (dlx_graph_verify(g, &err) != DLX_OK) fail_msg("%s", err.message);
    return &g->nodes[g->n_nodes - 1];
}

static void the_verifier_knows_types_of_other_operators(void **state)
{
    (void)state;
    dlx_graph g;
    int64_t table[2] = {7, 6}, ids = 3, rows[2] = {7, 1}, heads[4] = {1, 4, 2, 8};
    /* Scales belong to int8 tables, and are floats. */
    for (int damage = 0; damage < 3; damage++) {
        dlx_graph_init(&g);
        int8_t *bytes = dlx_arena_array(&g.arena, 42, 1);
        uint32_t in[3] = {dlx_graph_const(&g, "table", DLX_I8, 2, table,
                                          (dlx_const_source){.data = bytes, .bytes = 42, .stored = DLX_I8}),
                          dlx_graph_input(&g, "ids", DLX_I64, 1, &ids, 1), floats(&g, "scales", 2, rows)};
        build_node(&g, DLX_OP_EMBEDDING, in, 3, NULL);
        uint32_t whole = floats(&g, "floats", 2, table);
        if (damage == 0) g.nodes[0].in[0] = whole;
        if (damage == 1) g.values[in[2]].dtype = DLX_I32;
        if (damage == 2) g.values[in[1]].dtype = DLX_F32;
        expect_refused(&g,
                       damage == 2 ? "ids must be integers" : "scales are floats, one a row, of an int8 or int4 table");
    }
    for (int k = 0; k < 3; k++) { /* every operand of an attention is a float */
        dlx_graph_init(&g);
        uint32_t in[3];
        for (int i = 0; i < 3; i++)
            in[i] = dlx_graph_input(&g, i == 0 ? "q" : i == 1 ? "k" : "v", DLX_F32, 4, heads, 0);
        build_node(&g, DLX_OP_SDPA, in, 3, &(dlx_attr){.f = {1.0f}});
        g.values[in[k]].dtype = DLX_I32;
        expect_refused(&g, "computes on f32");
    }
    for (int at = 0; at < 3; at++) { /* sizes read from operands, wherever they stand */
        dlx_graph_init(&g);
        uint32_t x = vector(&g, "x", 8, 6), y;
        dlx_attr attr = {.rank = 3, .shape = {8, 2, 3}, .bound = {8, 2, 3}};
        y = op(&g, DLX_OP_RESHAPE, x, DLX_NONE, &attr);
        assert_true(dlx_graph_output(&g, y));
        g.nodes[0].attr.shape[at] = DLX_RUN(1);
        expect_refused(&g, "a size refers to an operand that it does not have");
    }
}

static void dimensions_that_vary_are_found_behind_divisions(void **state)
{
    (void)state;
    dlx_graph g;
    dlx_graph_init(&g);
    uint32_t x = vector(&g, "x", 5, 6);
    uint32_t merged = op(&g, DLX_OP_RESHAPE, x, DLX_NONE, &(dlx_attr){.rank = 2, .shape = {-1, 2}});
    assert_int_equal(g.values[merged].dynamic, 1);
    uint32_t split = op(&g, DLX_OP_RESHAPE, merged, DLX_NONE, &(dlx_attr){.rank = 3, .shape = {3, -1, 2}});
    assert_int_equal(g.values[split].dynamic, 2);
    dlx_graph_free(&g);
}

static void pruning_keeps_what_outputs_need(void **state)
{
    (void)state;
    dlx_graph g;
    dlx_graph_init(&g);
    uint32_t x = vector(&g, "x", 4, 6);
    uint32_t a = op(&g, DLX_OP_EXP, x, DLX_NONE, NULL);
    op(&g, DLX_OP_LOG, a, DLX_NONE, NULL);
    uint32_t c = op(&g, DLX_OP_NEG, a, DLX_NONE, NULL);
    assert_true(dlx_graph_output(&g, c));
    assert_int_equal(dlx_graph_prune(&g, NULL), DLX_OK);
    assert_int_equal(g.n_nodes, 2);
    assert_int_equal(dlx_graph_verify(&g, NULL), DLX_OK);

    dlx_rewrite r;
    assert_int_equal(dlx_rewrite_begin(&r, &g, NULL), DLX_OK);
    for (size_t i = 0; i < g.n_nodes; i++) assert_int_equal(dlx_rewrite_copy(&r, i, NULL), DLX_OK);
    assert_int_equal(dlx_rewrite_finish(&r, &g, NULL), DLX_OK);
    assert_int_equal(g.n_nodes, 2);
    assert_int_equal(dlx_graph_verify(&g, NULL), DLX_OK);

    char *text = NULL, *dot = NULL;
    assert_int_equal(dlx_graph_print(&g, false, &text, NULL), DLX_OK);
    assert_non_null(strstr(text, "input x f32[<=4,6]"));
    assert_non_null(strstr(text, "= NEG(%"));
    assert_int_equal(dlx_graph_print(&g, true, &dot, NULL), DLX_OK);
    assert_non_null(strstr(dot, "digraph"));
    free(text);
    free(dot);
    dlx_graph_free(&g);
}

static void graphs_are_printed(void **state)
{
    (void)state;
    dlx_graph g;
    dlx_graph_init(&g);
    int64_t width = 6;
    uint32_t x = vector(&g, "x", 8, 6),
             y = vector(&g,
                        "a\"b\\c\nd\x7F"
                        "e",
                        8, 6),
             w = floats(&g, "gain", 1, &width);
    uint32_t n = op(&g, DLX_OP_RMS_NORM, x, w, &(dlx_attr){.f = {1e-6f}});
    uint32_t c = op(&g, DLX_OP_CLAMP, n, DLX_NONE, &(dlx_attr){.f = {-1, 2.5f}});
    uint32_t j = op(&g, DLX_OP_CONCAT, c, y, &(dlx_attr){.axis = 1});
    uint32_t r = op(&g, DLX_OP_RESHAPE, j, DLX_NONE, &(dlx_attr){.rank = 3, .shape = {-1, 3, 4}});
    uint32_t t = op(&g, DLX_OP_TRANSPOSE, r, DLX_NONE, &(dlx_attr){.rank = 3, .shape = {1, 0, 2}});
    uint32_t s = op(&g, DLX_OP_SLICE, t, DLX_NONE, &(dlx_attr){.rank = 3, .shape = {0, 0, 1}, .size = {2, -1, 3}});
    uint32_t b = op(&g, DLX_OP_BMM, s, s, &(dlx_attr){.transpose_b = true});
    uint32_t m = op(&g, DLX_OP_MEAN, b, DLX_NONE, &(dlx_attr){.axis = 2, .keep = true});
    uint32_t e = op(&g, DLX_OP_MUL, x, w, NULL);
    assert_true(dlx_graph_output(&g, m) && dlx_graph_output(&g, e));
    assert_int_equal(dlx_graph_verify(&g, NULL), DLX_OK);
    char *text = NULL, *dot = NULL;
    assert_int_equal(dlx_graph_print(&g, false, &text, NULL), DLX_OK);
    assert_string_equal(text, "input x f32[<=8,6]\n"
                              "input a?b?c?d?e f32[<=8,6]\n"
                              "%3 = RMS_NORM(x, gain) eps=1e-06 : f32[<=8,6]\n"
                              "%4 = CLAMP(%3) min=-1 max=2.5 : f32[<=8,6]\n"
                              "%5 = CONCAT(%4, a?b?c?d?e) axis=1 : f32[<=8,12]\n"
                              "%6 = RESHAPE(%5) shape=-1,3,4 : f32[<=8,3,4]\n"
                              "%7 = TRANSPOSE(%6) perm=1,0,2 : f32[3,<=8,4]\n"
                              "%8 = SLICE(%7) begin=0,0,1 size=2,-1,3 : f32[2,<=8,3]\n"
                              "%9 = BMM(%8, %8) transpose_b : f32[2,<=8,<=8]\n"
                              "%10 = MEAN(%9) axis=2 keep=1 : f32[2,<=8,1]\n"
                              "%11 = MUL(x, gain) : f32[<=8,6]\n"
                              "output %10\n"
                              "output %11\n");
    assert_int_equal(dlx_graph_print(&g, true, &dot, NULL), DLX_OK);
    assert_string_equal(dot, "digraph program {\n"
                             "  node [shape=box, fontname=\"monospace\"];\n"
                             "  v0 [shape=ellipse, label=\"x\\nf32[<=8,6]\"];\n"
                             "  v1 [shape=ellipse, label=\"a?b?c?d?e\\nf32[<=8,6]\"];\n"
                             "  v3 [label=\"RMS_NORM eps=1e-06\\ngain\\nf32[<=8,6]\"];\n"
                             "  v0 -> v3;\n"
                             "  v4 [label=\"CLAMP min=-1 max=2.5\\nf32[<=8,6]\"];\n"
                             "  v3 -> v4;\n"
                             "  v5 [label=\"CONCAT axis=1\\nf32[<=8,12]\"];\n"
                             "  v4 -> v5;\n"
                             "  v1 -> v5;\n"
                             "  v6 [label=\"RESHAPE shape=-1,3,4\\nf32[<=8,3,4]\"];\n"
                             "  v5 -> v6;\n"
                             "  v7 [label=\"TRANSPOSE perm=1,0,2\\nf32[3,<=8,4]\"];\n"
                             "  v6 -> v7;\n"
                             "  v8 [label=\"SLICE begin=0,0,1 size=2,-1,3\\nf32[2,<=8,3]\"];\n"
                             "  v7 -> v8;\n"
                             "  v9 [label=\"BMM transpose_b\\nf32[2,<=8,<=8]\"];\n"
                             "  v8 -> v9;\n"
                             "  v8 -> v9;\n"
                             "  v10 [label=\"MEAN axis=2 keep=1\\nf32[2,<=8,1]\"];\n"
                             "  v9 -> v10;\n"
                             "  v11 [label=\"MUL\\ngain\\nf32[<=8,6]\"];\n"
                             "  v0 -> v11;\n"
                             "  o0 [shape=ellipse, label=\"output 0\"]; v10 -> o0;\n"
                             "  o1 [shape=ellipse, label=\"output 1\"]; v11 -> o1;\n"
                             "}\n");
    free(text);
    free(dot);
    dlx_graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_follow_the_operators),
        cmocka_unit_test(impossible_shapes_are_refused),
        cmocka_unit_test(the_verifier_sees_every_damage),
        cmocka_unit_test(the_verifier_knows_types_and_kinds),
        cmocka_unit_test(the_verifier_knows_types_of_other_operators),
        cmocka_unit_test(dimensions_that_vary_are_found_behind_divisions),
        cmocka_unit_test(pruning_keeps_what_outputs_need),
        cmocka_unit_test(graphs_are_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
