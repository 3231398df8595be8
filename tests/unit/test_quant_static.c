/*
 * Static activations: grids from ranges, biases as integers, and what the layers then compute, against the rule in
 * other words; what is refused, by the pass and by the graph.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/linear_kinds.h"
#include "quant/quant.h"
#include "runtime/program.h"
#include "constants_check.h"
#include "tiny_decoder.h"

enum { ROWS = 7, WIDTH = 48, OUT = 20 };

typedef struct known {
    const char *name;
    float low, high;
} known;

static const known usual[] = {
    {"a.input", -2.5f, 1.75f}, {"a.output", -3.0f, 4.0f}, {"b.input", -2.5f, 1.75f},
    {"b.output", 0.0f, 0.75f}, {"c.input", 0.0f, 0.75f},  {"c.output", -1.0f, 0.0f},
};

typedef struct table {
    const known *list;
    size_t n;
} table;

static bool find(void *ctx, const char *name, float *low, float *high)
{
    const table *t = ctx;
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->list[i].name, name) != 0) continue;
        *low = t->list[i].low;
        *high = t->list[i].high;
        return true;
    }
    return false;
}

/* a and b read x, a with a bias; c reads what b makes. */
static void build(dlx_graph *g)
{
    int64_t x[2] = {ROWS, WIDTH};
    dlx_error err = {0};
    const dlx_weight_form *f = dlx_form_find("int8-static");
    assert_non_null(f);
    dlx_graph_init(g);
    uint32_t in = dlx_graph_input(g, "x", DLX_F32, 2, x, 1);
    uint32_t a[3] = {in, weight(g, "a.weight", 2, OUT, WIDTH, 4), weight(g, "a.bias", 1, OUT, 0, 5)};
    uint32_t b[2] = {in, weight(g, "b.weight", 2, WIDTH, WIDTH, 6)};
    assert_true(dlx_graph_output(g, node(g, DLX_OP_LINEAR, 3, a, NULL)));
    uint32_t c[2] = {node(g, DLX_OP_LINEAR, 2, b, NULL), weight(g, "c.weight", 2, OUT, WIDTH, 7)};
    assert_true(dlx_graph_output(g, node(g, DLX_OP_LINEAR, 2, c, NULL)));
    if (dlx_quantize(g, &(dlx_recipe){.body = f, .head = f, .table = f}, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_true(dlx_wants_ranges(g));
}

static dlx_status give(dlx_graph *g, const known *list, size_t n, dlx_error *err)
{
    table t = {list, n};
    const dlx_activation_ranges ranges = {find, &t};
    return dlx_quantize_static(g, &ranges, NULL, err);
}

static const dlx_value *named(const dlx_graph *g, const char *name)
{
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].name && !strcmp(g->values[i].name, name)) return &g->values[i];
    fail_msg("no constant %s", name);
    return NULL;
}

static void grids_hold_their_ranges(void **state)
{
    static const struct {
        float low, high, scale;
        int32_t zero;
    } cases[] = {
        {0.0f, 0.0f, 1.0f, 0},
        {0.0f, 2.55f, 2.55f / 255, -128},
        {-2.55f, 0.0f, 2.55f / 255, 127},
        {-1.0f, 1.5f, 2.5f / 255, -26},
        {-0.5f, 1.5f, 2.0f / 255, -64},
        {0.0f, 1e-40f, 0x1p-100f, -128},
        {-3e38f, 2.9e38f, 2.3137e36f, 2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dlx_grid8 g = dlx_grid8_over(cases[i].low, cases[i].high);
        assert_true(dlx_grid8_ok(g));
        if (fabsf(g.scale - cases[i].scale) > 0.01f * cases[i].scale) fail_msg("case %zu: %g", i, (double)g.scale);
        if (g.zero != cases[i].zero) fail_msg("case %zu: zero %d", i, g.zero);
    }
}

/* Both outputs [ROWS, width] of a program over x; takes the graph. */
static void compute(dlx_graph *g, const float *x, float *first, float *second, size_t width)
{
    dlx_program p;
    dlx_pool *pool;
    dlx_executor *ex;
    dlx_error err = {0};
    assert_int_equal(dlx_pool_create(&pool, 1, NULL), DLX_OK);
    dlx_program_options options = {.limit = dlx_cpu_best_isa(), .pool = pool};
    if (dlx_program_prepare(&p, g, &options, &err) != DLX_OK) fail_msg("%s", err.message);
    dlx_shape s = {2, {ROWS, WIDTH}};
    dlx_executor_bounds bounds = {.max_shape = &s};
    assert_int_equal(dlx_executor_open(&ex, &p, &bounds, pool, NULL, NULL), DLX_OK);
    dlx_tensor_ref in = {(void *)(uintptr_t)x, s}, out[2];
    dlx_pass pass = {.inputs = &in};
    if (dlx_executor_run(ex, &pass, out, &err) != DLX_OK) fail_msg("%s", err.message);
    memcpy(first, out[0].data, ROWS * width * sizeof *first);
    memcpy(second, out[1].data, ROWS * width * sizeof *second);
    dlx_executor_close(ex);
    dlx_program_free(&p);
    dlx_pool_free(pool);
}

/* The rule in double, but for what it rounds to float. */
static float expected(const dlx_graph *g, const dlx_node *n, const float *x, size_t column)
{
    const dlx_node *convert = dlx_made_as(g, n->in[0], DLX_OP_CONVERT);
    const dlx_value *w = &g->values[n->in[1]];
    const float *scales = g->values[w->scales].source.data;
    const int8_t *q = (const int8_t *)w->source.data + column * WIDTH;
    float sx = convert->attr.f[0], sy = n->attr.f[0], up = 1.0f / sx;
    int zx = convert->attr.axis, zy = n->attr.axis;
    long sum = n->inputs == 3 ? ((const int32_t *)g->values[n->in[2]].source.data)[column] : 0;
    for (size_t k = 0; k < WIDTH; k++) {
        float t = rintf(x[k] * up) + (float)zx;
        sum += (long)((t < -128 ? -128 : t > 127 ? 127 : t) - (float)zx) * q[k];
    }
    float t = rintf((float)sum * (sx * scales[column] / sy)) + (float)zy;
    return ((t < -128 ? -128 : t > 127 ? 127 : t) - (float)zy) * sy;
}

static void layers_compute_the_rule(void **state)
{
    dlx_graph g;
    dlx_error err = {0};
    dlx_program p;
    dlx_pool *pool;
    dlx_executor *ex;
    float x[ROWS * WIDTH];
    uint32_t seed = 77;
    (void)state;
    for (size_t i = 0; i < ROWS * WIDTH; i++) x[i] = 3.0f * noise(&seed);
    build(&g);
    if (give(&g, usual, 6, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_false(dlx_wants_ranges(&g));
    assert_int_equal(g.n_nodes, 5); /* a and b share a CONVERT */
    materialise(&g);
    if (dlx_graph_verify(&g, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(dlx_pool_create(&pool, 1, NULL), DLX_OK);
    dlx_program_options options = {.limit = DLX_ISA_REF, .pool = pool};
    if (dlx_program_prepare(&p, &g, &options, &err) != DLX_OK) fail_msg("%s", err.message);
    dlx_shape s = {2, {ROWS, WIDTH}};
    dlx_executor_bounds bounds = {.max_shape = &s};
    assert_int_equal(dlx_executor_open(&ex, &p, &bounds, pool, NULL, NULL), DLX_OK);
    dlx_tensor_ref in = {x, s}, out[2];
    dlx_pass pass = {.inputs = &in};
    if (dlx_executor_run(ex, &pass, out, &err) != DLX_OK) fail_msg("%s", err.message);
    const dlx_node *a = dlx_made_by(&p.g, p.g.outputs[0]), *c = dlx_made_by(&p.g, p.g.outputs[1]),
                   *b = dlx_made_by(&p.g, dlx_made_by(&p.g, c->in[0])->in[0]);
    for (size_t r = 0; r < ROWS; r++) {
        float middle[WIDTH];
        for (size_t k = 0; k < WIDTH; k++) middle[k] = expected(&p.g, b, x + r * WIDTH, k);
        for (size_t k = 0; k < OUT; k++) {
            assert_true(((float *)out[0].data)[r * OUT + k] == expected(&p.g, a, x + r * WIDTH, k));
            assert_true(((float *)out[1].data)[r * OUT + k] == expected(&p.g, c, middle, k));
        }
    }
    dlx_executor_close(ex);
    dlx_program_free(&p);
    dlx_pool_free(pool);
}

/* One weight, two layers on different grids: what is packed for one is not the other's. */
static void grids_are_not_shared_with_weights(void **state)
{
    dlx_graph g;
    dlx_error err = {0};
    int64_t dim[2] = {ROWS, WIDTH};
    const dlx_weight_form *f = dlx_form_find("int8-static");
    float x[ROWS * WIDTH], out[2][ROWS * OUT];
    uint32_t seed = 5;
    (void)state;
    for (size_t i = 0; i < ROWS * WIDTH; i++) x[i] = noise(&seed);
    dlx_graph_init(&g);
    uint32_t in[2] = {dlx_graph_input(&g, "x", DLX_F32, 2, dim, 1), weight(&g, "a.weight", 2, OUT, WIDTH, 4)};
    for (int i = 0; i < 2; i++) assert_true(dlx_graph_output(&g, node(&g, DLX_OP_LINEAR, 2, in, NULL)));
    assert_int_equal(dlx_quantize(&g, &(dlx_recipe){.body = f, .head = f, .table = f}, &err), DLX_OK);
    if (give(&g, usual, 6, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(g.n_nodes, 3);
    g.nodes[2].attr.f[0] *= 0.5f; /* outputs beyond half the range are cut off */
    materialise(&g);
    compute(&g, x, out[0], out[1], OUT);
    size_t differ = 0;
    for (size_t i = 0; i < ROWS * OUT; i++) differ += out[0][i] != out[1][i];
    assert_true(differ > ROWS * OUT / 4);
}

static void biases_are_integers(void **state)
{
    dlx_graph g;
    float bias[OUT];
    dlx_error err = {0};
    (void)state;
    build(&g);
    memcpy(bias, named(&g, "a.bias")->source.data, sizeof bias);
    if (give(&g, usual, 6, &err) != DLX_OK) fail_msg("%s", err.message);
    materialise(&g);
    const int32_t *q = named(&g, "a.bias")->source.data;
    const float *step = named(&g, "a.bias.scales")->source.data, *scale = named(&g, "a.weight.scales")->source.data;
    assert_int_equal(named(&g, "a.bias")->dtype, DLX_I32);
    for (size_t i = 0; i < OUT; i++) {
        assert_true(step[i] == dlx_grid8_over(-2.5f, 1.75f).scale * scale[i]);
        assert_true(fabs((double)q[i] * (double)step[i] - (double)bias[i]) <= 0.5 * (double)step[i]);
        assert_true(q[i] != 0);
    }
    dlx_graph_free(&g);
}

static void what_does_not_fit_is_refused(void **state)
{
    dlx_graph g;
    dlx_error err = {0};
    (void)state;
    build(&g);
    assert_int_equal(give(&g, usual, 5, &err), DLX_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'c.weight'"));
    assert_non_null(strstr(err.message, "its output"));
    assert_true(dlx_wants_ranges(&g)); /* as it was */
    ((float *)(uintptr_t)named(&g, "a.bias")->source.data)[3] = 1e9f;
    assert_int_equal(give(&g, usual, 6, &err), DLX_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'a.weight'"));
    assert_non_null(strstr(err.message, "1e+09 of row 3"));
    dlx_graph_free(&g);
}

/* A step of the products is no more than 255 of the output, which XNNPACK asks for. */
static void outputs_are_not_finer_than_products(void **state)
{
    static const known narrow[] = {
        {"a.input", -2.5f, 1.75f}, {"a.output", 0.0f, 1e-20f}, {"b.input", 0, 0},
        {"b.output", 0.0f, 0.75f}, {"c.input", 0.0f, 0.75f},   {"c.output", -1.0f, 0.0f},
    };
    dlx_graph g;
    dlx_error err = {0};
    float most = 0.0f;
    (void)state;
    build(&g);
    if (give(&g, narrow, 6, &err) != DLX_OK) fail_msg("%s", err.message);
    materialise(&g);
    const float *scale = named(&g, "a.weight.scales")->source.data;
    for (size_t i = 0; i < OUT; i++) most = scale[i] > most ? scale[i] : most;
    const dlx_node *a = dlx_made_by(&g, g.outputs[0]);
    float requant = dlx_grid8_over(-2.5f, 1.75f).scale * most / a->attr.f[0];
    assert_true(requant < 256.0f && requant > 254.0f);
    assert_int_equal(g.n_nodes, 6); /* a and b read x on different grids */
    dlx_graph_free(&g);
}

static void graphs_that_break_the_rules_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 7; i++) {
        dlx_graph g;
        dlx_error err = {0};
        build(&g);
        if (give(&g, usual, 6, &err) != DLX_OK) fail_msg("%s", err.message);
        dlx_node *a = (dlx_node *)(uintptr_t)dlx_made_by(&g, g.outputs[0]);
        dlx_node *convert = (dlx_node *)(uintptr_t)dlx_made_by(&g, a->in[0]);
        assert_int_equal(dlx_graph_verify(&g, &err), DLX_OK);
        switch (i) {
        case 0: a->attr.f[0] = 0.0f; break;
        case 1: a->attr.f[0] = NAN; break;
        case 2: a->attr.axis = 128; break;
        case 3: convert->attr.f[0] = 1e-42f; break;
        case 4: convert->attr.axis = -129; break;
        case 5: g.values[a->in[2]].dtype = DLX_F32; break;
        default: g.outputs[0] = a->in[0]; break; /* rows leave the program */
        }
        assert_int_equal(dlx_graph_verify(&g, &err), DLX_E_FORMAT);
        dlx_graph_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grids_hold_their_ranges),
        cmocka_unit_test(layers_compute_the_rule),
        cmocka_unit_test(grids_are_not_shared_with_weights),
        cmocka_unit_test(biases_are_integers),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(outputs_are_not_finer_than_products),
        cmocka_unit_test(graphs_that_break_the_rules_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
