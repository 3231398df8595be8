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

#include "base/half.h"
#include "graph/linear_kinds.h"
#include "runtime/linear.h"

static const dlx_grid8 in_grid = {1.0f, 0}, out_grid = {16384.0f, -3}; /* of QS8 */

enum { ROWS = 3, OUT = 37, IN = 64, GROUP = 32, GROUPS = IN / GROUP };

static const struct {
    const char *word;
    dlx_dtype x, w;
    dlx_scaling scaling;
} kinds[DLX_LINEAR_KINDS] = {
#define ROW(name, word, x, w, scaling) {word, x, w, scaling},
    DLX_LINEAR_MAP(ROW)
#undef ROW
};

static uint32_t constant(dlx_graph *g, const char *name, dlx_dtype type, int rank, int64_t a, int64_t b)
{
    int64_t dim[2] = {a, b};
    uint64_t bytes;
    assert_true(dlx_dtype_bytes(type, (uint64_t)(rank == 2 ? a * b : a), &bytes));
    void *data = dlx_arena_alloc(&g->arena, bytes);
    assert_non_null(data);
    memset(data, 0, bytes);
    return dlx_graph_const(g, name, type, rank, dim, (dlx_const_source){.data = data, .bytes = bytes, .stored = type});
}

/* One LINEAR with a bias; activations of QD8 and QS8 come from a CONVERT of the float input. */
static uint32_t build(dlx_graph *g, dlx_dtype x, dlx_dtype w, dlx_scaling scaling)
{
    int64_t dim[2] = {ROWS, IN};
    uint32_t in[3] = {dlx_graph_input(g, "x", x == DLX_QD8 || x == DLX_QS8 ? DLX_F32 : x, 2, dim, 1)};
    dlx_attr attr = x == DLX_QS8 ? dlx_grid8_attr(out_grid) : (dlx_attr){0};
    dlx_error err = {0};
    if (x == DLX_QD8 || x == DLX_QS8) {
        dlx_value q = {.dtype = x,
                       .kind = DLX_VALUE_TEMP,
                       .rank = 2,
                       .dynamic = 1,
                       .dim = {ROWS, IN},
                       .scales = DLX_NONE,
                       .producer = DLX_NONE};
        dlx_node convert = {.op = DLX_OP_CONVERT, .inputs = 1, .outputs = 1, .in = {in[0]}};
        if (x == DLX_QS8) convert.attr = dlx_grid8_attr(in_grid);
        in[0] = dlx_graph_node_to(g, convert, dlx_graph_value(g, &q), &err);
        assert_int_not_equal(in[0], DLX_NONE);
    }
    in[1] = constant(g, "w", w, 2, OUT, IN);
    in[2] = constant(g, "bias", x == DLX_QS8 ? DLX_I32 : DLX_F32, 1, OUT, 0);
    if (scaling == DLX_PER_ROW) g->values[in[1]].scales = constant(g, "scales", DLX_F32, 1, OUT, 0);
    if (scaling == DLX_PER_GROUP) g->values[in[1]].scales = constant(g, "scales", DLX_BF16, 2, OUT, GROUPS);
    uint32_t y = dlx_graph_node(g, DLX_OP_LINEAR, in, 3, &attr, 0, &err);
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
            for (int scaling = DLX_UNSCALED; scaling <= DLX_PER_GROUP; scaling++) {
                if (x == DLX_I4 || (scaling && w != DLX_I8 && w != DLX_I4)) continue; /* those cannot be built */
                dlx_graph g;
                dlx_error err = {0};
                bool listed = false;
                for (size_t i = 0; i < DLX_LINEAR_KINDS; i++)
                    listed =
                        listed || ((int)kinds[i].x == x && (int)kinds[i].w == w && (int)kinds[i].scaling == scaling);
                dlx_graph_init(&g);
                build(&g, (dlx_dtype)x, (dlx_dtype)w, (dlx_scaling)scaling);
                dlx_status s = dlx_graph_verify(&g, &err);
                assert_int_equal(s, listed ? DLX_OK : DLX_E_FORMAT);
                bool of_values = w == DLX_QD8 || w == DLX_QS8 || (w == DLX_I8 && scaling == DLX_PER_GROUP);
                if (!listed && x != DLX_QD8 && !of_values) assert_non_null(strstr(err.message, "f32-f32w f32-f16w"));
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
    return (int)((n * 7 + k * 5) % 16) - 8;
}

/* Of the weight's group; a power of two, so that it is exact in every type. */
static float scale_at(dlx_scaling scaling, size_t n, size_t k)
{
    if (scaling == DLX_PER_ROW) return 0.25f * (float)(n + 1);
    return scaling == DLX_PER_GROUP ? ldexpf(1.0f, (int)((n + k / GROUP) % 5) - 2) : 1.0f;
}

static void put_weight(void *data, dlx_dtype type, size_t i, int w)
{
    switch (type) {
    case DLX_F32: ((float *)data)[i] = (float)w; return;
    case DLX_F16: ((uint16_t *)data)[i] = dlx_f32_to_f16((float)w); return;
    case DLX_BF16: ((uint16_t *)data)[i] = dlx_f32_to_bf16((float)w); return;
    case DLX_I8: ((int8_t *)data)[i] = (int8_t)w; return;
    default: ((uint8_t *)data)[i / 2] |= (uint8_t)((w + 8) << (i % 2 * 4)); return; /* I4, of zeros */
    }
}

/* Of products of QS8: far more than half a step of the output. */
static int32_t bias_steps(size_t n)
{
    return (int32_t)(n * 5000) - 60000;
}

static void fill_constants(dlx_graph *g, const dlx_node *n, dlx_scaling scaling)
{
    const dlx_value *w = &g->values[n->in[1]], *bias = &g->values[n->in[2]];
    void *data = (void *)(uintptr_t)w->source.data;
    for (size_t i = 0; i < OUT; i++) {
        if (bias->dtype == DLX_I32)
            ((int32_t *)(uintptr_t)bias->source.data)[i] = bias_steps(i);
        else
            ((float *)(uintptr_t)bias->source.data)[i] = 0.5f * (float)i;
        void *scales = scaling ? (void *)(uintptr_t)g->values[w->scales].source.data : NULL;
        if (scaling == DLX_PER_ROW) ((float *)scales)[i] = scale_at(scaling, i, 0);
        for (size_t k = 0; k < GROUPS && scaling == DLX_PER_GROUP; k++)
            ((uint16_t *)scales)[i * GROUPS + k] = dlx_f32_to_bf16(scale_at(scaling, i, k * GROUP));
        for (size_t k = 0; k < IN; k++) put_weight(data, w->dtype, i * IN + k, weight_at(i, k));
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
    build(&g, kinds[kind].x, kinds[kind].w, kinds[kind].scaling);
    const dlx_node *n = &g.nodes[g.n_nodes - 1];
    assert_int_equal(dlx_linear_kind_of(&g, &g.values[n->in[0]], &g.values[n->in[1]]), kind);
    fill_constants(&g, n, kinds[kind].scaling);
    const dlx_gemm *gemm = dlx_linear_gemm(kernels, &g, n);
    const dlx_quantizer *quantizer = dlx_linear_quantizer(kernels, kinds[kind].x);
    bool on_grid = kinds[kind].x == DLX_QS8;
    assert_int_equal(quantizer != NULL, kinds[kind].x == DLX_QD8 || on_grid);
    dlx_gemm_shape s = dlx_linear_shape(&g, n);
    assert_int_equal(s.n_out, OUT);
    assert_int_equal(s.n_in, IN);
    assert_int_equal(s.group, kinds[kind].scaling == DLX_PER_GROUP ? GROUP : 0);
    assert_string_equal(dlx_linear_word((dlx_linear_kind)kind), kinds[kind].word);
    size_t strips = dlx_linear_strips(gemm, s);
    assert_int_equal(strips, (OUT + gemm->strip - 1) / gemm->strip);
    assert_int_equal(dlx_linear_strips(gemm, (dlx_gemm_shape){.n_out = 2 * gemm->strip, .n_in = IN}), 2);

    float x[ROWS * IN], y[ROWS * OUT];
    fill_rows(x);
    void *packed = aligned_alloc(64, (gemm->packed_size(s) + 63) / 64 * 64), *rows = x;
    assert_non_null(packed);
    dlx_gemm_weights w = dlx_linear_weights(&g, n);
    dlx_qs8_params grids = dlx_linear_grids(&g, n);
    w.qs8 = on_grid ? &grids : NULL;
    gemm->pack(packed, &w, s, 0, strips);
    if (quantizer) {
        rows = aligned_alloc(64, (quantizer->size(ROWS, IN) + 63) / 64 * 64);
        assert_non_null(rows);
        if (on_grid)
            kernels->quantize_qs8(rows, x, IN, ROWS, IN, 0, ROWS, in_grid.scale, in_grid.zero);
        else
            quantizer->quantize(rows, x, IN, ROWS, IN, 0, ROWS);
    }
    gemm->run(y, OUT, rows, IN, ROWS, packed, s, 0, strips);
    for (size_t m = 0; m < ROWS; m++) {
        for (size_t i = 0; i < OUT; i++) {
            double sum = 0;
            for (size_t k = 0; k < IN; k++)
                sum += (double)x[m * IN + k] * weight_at(i, k) * (double)scale_at(kinds[kind].scaling, i, k);
            sum += on_grid ? bias_steps(i) * (double)scale_at(DLX_PER_ROW, i, 0) : 0.5 * (double)i;
            double near = on_grid ? 0.5001 * (double)out_grid.scale : 1e-6 * fabs(sum) + 1e-6;
            if (!(fabs((double)y[m * OUT + i] - sum) <= near))
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
        if (!dlx_isa_available(list[i])) continue;
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
