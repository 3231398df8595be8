/* Kinds of linear layers: the verifier accepts what the table lists and nothing else, and every kind's node leads to
 * the loops, the weights, the scales and the bias that belong to it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/linear_kinds.h"
#include "runtime/linear.h"

enum { ROWS = 3, OUT = 37, IN = 21 };

static const struct {
    const char *word;
    dlx_dtype x, w;
    bool scaled;
} kinds[DLX_LINEAR_KINDS] = {
#define ROW(name, word, x, w, scaled) {word, x, w, scaled},
    DLX_LINEAR_MAP(ROW)
#undef ROW
};

static uint32_t constant(dlx_graph *g, const char *name, dlx_dtype type, int rank, int64_t a, int64_t b)
{
    int64_t dim[2] = {a, b};
    size_t bytes = (size_t)(rank == 2 ? a * b : a) * dlx_dtype_size(type);
    void *data = dlx_arena_alloc(&g->arena, bytes);
    assert_non_null(data);
    memset(data, 0, bytes);
    return dlx_graph_const(g, name, type, rank, dim, (dlx_const_source){.data = data, .bytes = bytes, .stored = type});
}

/* One LINEAR with a bias; activations of QD8 come from a CONVERT of the float input. */
static uint32_t build(dlx_graph *g, dlx_dtype x, dlx_dtype w, bool scaled)
{
    int64_t dim[2] = {ROWS, IN};
    uint32_t in[3] = {dlx_graph_input(g, "x", x == DLX_QD8 ? DLX_F32 : x, 2, dim, 1)};
    dlx_error err = {0};
    if (x == DLX_QD8) {
        dlx_value q = {.dtype = DLX_QD8,
                       .kind = DLX_VALUE_TEMP,
                       .rank = 2,
                       .dynamic = 1,
                       .dim = {ROWS, IN},
                       .scales = DLX_NONE,
                       .producer = DLX_NONE};
        dlx_node convert = {.op = DLX_OP_CONVERT, .inputs = 1, .outputs = 1, .in = {in[0]}};
        in[0] = dlx_graph_node_to(g, convert, dlx_graph_value(g, &q), &err);
        assert_int_not_equal(in[0], DLX_NONE);
    }
    in[1] = constant(g, "w", w, 2, OUT, IN);
    in[2] = constant(g, "bias", DLX_F32, 1, OUT, 0);
    if (scaled) g->values[in[1]].scales = constant(g, "scales", DLX_F32, 1, OUT, 0);
    uint32_t y = dlx_graph_node(g, DLX_OP_LINEAR, in, 3, NULL, 0, &err);
    if (y == DLX_NONE) fail_msg("%s", err.message);
    assert_true(dlx_graph_output(g, y));
    return y;
}

static void the_table_is_what_the_verifier_accepts(void **state)
{
    (void)state;
    int accepted = 0;
    for (int x = 0; x < DLX_DTYPE_COUNT; x++) {
        for (int w = 0; w < DLX_DTYPE_COUNT; w++) {
            for (int scaled = 0; scaled < 2; scaled++) {
                if (scaled && w != DLX_I8) continue; /* only int8 constants may have scales */
                dlx_graph g;
                dlx_error err = {0};
                bool listed = false;
                for (size_t i = 0; i < DLX_LINEAR_KINDS; i++)
                    listed = listed || ((int)kinds[i].x == x && (int)kinds[i].w == w && kinds[i].scaled == scaled);
                dlx_graph_init(&g);
                build(&g, (dlx_dtype)x, (dlx_dtype)w, scaled);
                dlx_status s = dlx_graph_verify(&g, &err);
                assert_int_equal(s, listed ? DLX_OK : DLX_E_FORMAT);
                if (!listed && x != DLX_QD8 && w != DLX_QD8) assert_non_null(strstr(err.message, "f32 qd8-qc8w"));
                accepted += listed;
                dlx_graph_free(&g);
            }
        }
    }
    assert_int_equal(accepted, DLX_LINEAR_KINDS);
}

/* Weight n, k as a number of its element type; small integers, so that float sums are exact. */
static int weight_at(size_t n, size_t k)
{
    return (int)((n * 7 + k * 5) % 23) - 11;
}

static void fill_constants(dlx_graph *g, const dlx_node *n)
{
    const dlx_value *w = &g->values[n->in[1]], *bias = &g->values[n->in[2]];
    void *data = (void *)(uintptr_t)w->source.data;
    for (size_t i = 0; i < OUT; i++) {
        ((float *)(uintptr_t)bias->source.data)[i] = 0.5f * (float)i;
        if (w->scales != DLX_NONE) ((float *)(uintptr_t)g->values[w->scales].source.data)[i] = 0.25f * (float)(i + 1);
        for (size_t k = 0; k < IN; k++) {
            if (w->dtype == DLX_I8)
                ((int8_t *)data)[i * IN + k] = (int8_t)weight_at(i, k);
            else
                ((float *)data)[i * IN + k] = (float)weight_at(i, k);
        }
    }
}

/* Activations that quantisation keeps: integers of [-128, 127] with both ends in every row. */
static void fill_rows(float *x)
{
    for (size_t m = 0; m < ROWS; m++) {
        for (size_t k = 0; k < IN; k++) x[m * IN + k] = (float)((m * 31 + k * 17) % 200) - 100.0f;
        x[m * IN] = -128.0f;
        x[m * IN + 1] = 127.0f;
    }
}

static void check_kind(const dlx_kernels *kernels, size_t kind)
{
    dlx_graph g;
    dlx_graph_init(&g);
    build(&g, kinds[kind].x, kinds[kind].w, kinds[kind].scaled);
    const dlx_node *n = &g.nodes[g.n_nodes - 1];
    assert_int_equal(dlx_linear_kind_of(&g.values[n->in[0]], &g.values[n->in[1]]), kind);
    fill_constants(&g, n);
    const dlx_gemm *gemm = dlx_linear_gemm(kernels, &g, n);
    const dlx_quantizer *quantizer = dlx_linear_quantizer(kernels, kinds[kind].x);
    assert_int_equal(quantizer != NULL, kinds[kind].x == DLX_QD8);
    dlx_gemm_shape s = dlx_linear_shape(&g, n);
    assert_int_equal(s.n_out, OUT);
    assert_int_equal(s.n_in, IN);
    size_t strips = dlx_linear_strips(gemm, s);
    assert_int_equal(strips, (OUT + gemm->strip - 1) / gemm->strip);
    assert_int_equal(dlx_linear_strips(gemm, (dlx_gemm_shape){.n_out = 2 * gemm->strip, .n_in = IN}), 2);

    float x[ROWS * IN], y[ROWS * OUT];
    fill_rows(x);
    void *packed = aligned_alloc(64, (gemm->packed_size(s) + 63) / 64 * 64), *rows = x;
    assert_non_null(packed);
    dlx_gemm_weights w = dlx_linear_weights(&g, n);
    gemm->pack(packed, &w, s, 0, strips);
    if (quantizer) {
        rows = aligned_alloc(64, (quantizer->size(ROWS, IN) + 63) / 64 * 64);
        assert_non_null(rows);
        quantizer->quantize(rows, x, IN, ROWS, IN, 0, ROWS);
    }
    gemm->run(y, OUT, rows, IN, ROWS, packed, s, 0, strips);
    for (size_t m = 0; m < ROWS; m++) {
        for (size_t i = 0; i < OUT; i++) {
            double sum = 0;
            for (size_t k = 0; k < IN; k++) sum += (double)x[m * IN + k] * weight_at(i, k);
            if (kinds[kind].scaled) sum *= 0.25 * (double)(i + 1);
            sum += 0.5 * (double)i;
            if (!(fabs((double)y[m * OUT + i] - sum) <= 1e-6 * fabs(sum) + 1e-6))
                fail_msg("%s on %s: row %zu, column %zu: %g, expected %g", kinds[kind].word, kernels->name, m, i,
                         (double)y[m * OUT + i], sum);
        }
    }
    if (quantizer) free(rows);
    free(packed);
    dlx_graph_free(&g);
}

static void every_kind_computes_its_product(void **state)
{
    (void)state;
    dlx_isa list[8];
    size_t n = dlx_isa_list(list);
    for (size_t i = 0; i < n; i++) {
        if (list[i] > dlx_cpu_best_isa()) continue;
        dlx_kernels kernels;
        dlx_kernels_init(&kernels, list[i]);
        for (size_t kind = 0; kind < DLX_LINEAR_KINDS; kind++) check_kind(&kernels, kind);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_what_the_verifier_accepts),
        cmocka_unit_test(every_kind_computes_its_product),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
