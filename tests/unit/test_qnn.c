/* The QNN backend on the emulator of Qualcomm's libraries: each operator, and a decoder layer with its cache and mask,
 * against the project's own executor; as floats of 16 bits, and as numbers of 16 bits with int8 and int4 weights. */
#include "qnn_run.h"

#include "base/half.h"

static dlx_qnn_library lib;
static bool have;
static numbers in, out, right;
static seen ranges;

/* What a graph is built for. The same numbers in each. */
typedef enum form { REFERENCE, HALVES, INT8, INT4, BLOCKS } form;
static const char *const form_names[] = {"reference", "f16", "int8", "int4", "int4 blocks"};

static float noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) / 8388608.0f - 1.0f;
}

static uint32_t constant(dlx_graph *g, const char *name, dlx_dtype dtype, int rank, const int64_t *dim,
                         const void *data)
{
    uint64_t bytes, n = 1;
    for (int i = 0; i < rank; i++) n *= (uint64_t)dim[i];
    assert_true(dlx_dtype_bytes(dtype, n, &bytes));
    return dlx_graph_const(g, name, dtype, rank, dim,
                           (dlx_const_source){.data = data, .bytes = bytes, .stored = dtype});
}

static uint32_t floats(dlx_graph *g, const char *name, int64_t n, float scale, uint32_t seed)
{
    float *data = dlx_arena_array(&g->arena, (size_t)n, sizeof *data);
    for (int64_t i = 0; i < n; i++) data[i] = scale * noise(&seed);
    return constant(g, name, DLX_F32, 1, &n, data);
}

static uint32_t node(dlx_graph *g, dlx_op op, int inputs, const uint32_t *operands, const dlx_attr *attr)
{
    dlx_error err = {0};
    uint32_t v = dlx_graph_node(g, op, operands, inputs, attr, 0, &err);
    if (v == DLX_NONE) fail_msg("%s", err.message);
    return v;
}

static uint32_t input(dlx_graph *g, dlx_dtype dtype, int rank, int64_t a, int64_t b, int64_t c)
{
    const int64_t dim[3] = {a, b, c};
    char name[16];
    snprintf(name, sizeof name, "x%zu", g->n_inputs);
    return dlx_graph_input(g, name, dtype, rank, dim, 0);
}

static void output(dlx_graph *g, uint32_t v)
{
    assert_true(dlx_graph_output(g, v));
}

/* ---- linears ---------------------------------------------------------------------------------------------------- */

enum { GROUP = 32 };

/* Codes of +-`most`, and a scale for each `group` of them. Those of blocks are 1 .. 16 times one of their row's, with
 * 16 among them: what the chip can have. */
static void make_weights(int8_t *code, float *scale, size_t n, size_t k, size_t group, int most, uint32_t seed)
{
    size_t blocks = k / group;
    for (size_t i = 0; i < n * k; i++) code[i] = (int8_t)rintf((float)most * noise(&seed));
    for (size_t i = 0; i < n; i++) {
        float row = ldexpf(1.0f + (float)(i % 3) / 4, -10);
        for (size_t b = 0; b < blocks; b++)
            scale[i * blocks + b] = row * (blocks == 1 ? 1.0f : b == i % blocks ? 16.0f : (float)(1 + (i + b) % 16));
    }
}

static uint32_t quantised(dlx_graph *g, const char *name, const int64_t dim[2], const int8_t *code, const float *scale,
                          form f)
{
    size_t count = (size_t)(dim[0] * dim[1]);
    char scales[64];
    snprintf(scales, sizeof scales, "%s.scales", name);
    uint8_t *bytes = dlx_arena_array(&g->arena, count, 1);
    if (f == INT8)
        memcpy(bytes, code, count);
    else
        for (size_t i = 0; i < count; i++) bytes[i / 2] |= (uint8_t)((code[i] + 8) << 4 * (i % 2));
    uint32_t w = constant(g, name, f == INT8 ? DLX_I8 : DLX_I4, 2, dim, bytes), s;
    if (f == BLOCKS) {
        int64_t blocks[2] = {dim[0], dim[1] / GROUP};
        uint16_t *half = dlx_arena_array(&g->arena, (size_t)(blocks[0] * blocks[1]), sizeof *half);
        for (int64_t i = 0; i < blocks[0] * blocks[1]; i++) half[i] = dlx_f32_to_bf16(scale[i]);
        s = constant(g, scales, DLX_BF16, 2, blocks, half);
    } else {
        s = constant(g, scales, DLX_F32, 1, dim, scale);
    }
    g->values[w].scales = s;
    return w;
}

/* Weights [n, k] of what is made for `as`, which only the reference knows as well. */
static uint32_t linear(dlx_graph *g, uint32_t x, const char *name, int64_t n, int64_t k, bool biased, uint32_t seed,
                       form f, form as)
{
    const int64_t dim[2] = {n, k};
    size_t group = as == BLOCKS ? GROUP : (size_t)k, blocks = (size_t)k / group, count = (size_t)(n * k);
    int8_t *code = dlx_arena_array(&g->arena, count, 1);
    float *scale = dlx_arena_array(&g->arena, (size_t)n * blocks, sizeof *scale);
    uint32_t operands[3] = {x, DLX_NONE, DLX_NONE};
    char bias[64];
    make_weights(code, scale, (size_t)n, (size_t)k, group, as == INT4 || as == BLOCKS ? 7 : 127, seed);
    if (f == REFERENCE || f == HALVES) {
        float *data = dlx_arena_array(&g->arena, count, sizeof *data);
        for (size_t i = 0; i < count; i++) data[i] = (float)code[i] * scale[i / group];
        operands[1] = constant(g, name, DLX_F32, 2, dim, data);
    } else {
        operands[1] = quantised(g, name, dim, code, scale, f);
        dlx_attr rows = {.dtype = DLX_QD8};
        if (f != INT8) operands[0] = node(g, DLX_OP_CONVERT, 1, &x, &rows);
    }
    snprintf(bias, sizeof bias, "%s.bias", name);
    if (biased) operands[2] = floats(g, bias, n, 1, seed + 1);
    return node(g, DLX_OP_LINEAR, biased ? 3 : 2, operands, NULL);
}

/* ---- graphs ----------------------------------------------------------------------------------------------------- */

enum { T = 5, K = 64, N = 48 };

typedef void (*build_fn)(dlx_graph *g, form f, form as);

static void build_linear(dlx_graph *g, form f, form as)
{
    uint32_t x = input(g, DLX_F32, 2, T, K, 0);
    output(g, linear(g, x, "a", N, K, false, 5, f, as));
    output(g, linear(g, x, "b", N, K, true, 7, f, as));
}

static void build_rms_norm(dlx_graph *g, form f, form as)
{
    (void)f, (void)as;
    enum { ROWS = 33, H = 6, D = 32 };
    uint32_t x = input(g, DLX_F32, 2, T, K, 0), h = input(g, DLX_F32, 3, ROWS, H, D);
    dlx_attr eps = {.f = {1e-5f, 0}};
    output(g, node(g, DLX_OP_RMS_NORM, 2, (uint32_t[]){x, floats(g, "w", K, 1, 5)}, &eps));
    output(g, node(g, DLX_OP_RMS_NORM, 2, (uint32_t[]){h, floats(g, "v", D, 1, 6)}, &eps));
}

static void build_rope(dlx_graph *g, form f, form as)
{
    (void)f, (void)as;
    uint32_t x = input(g, DLX_F32, 3, T, 4, 16), c = input(g, DLX_F32, 2, T, 16, 0), s = input(g, DLX_F32, 2, T, 16, 0);
    output(g, node(g, DLX_OP_ROPE, 3, (uint32_t[]){x, c, s}, NULL));
}

static void build_silu_mul(dlx_graph *g, form f, form as)
{
    (void)f, (void)as;
    uint32_t x = input(g, DLX_F32, 2, T, K, 0), y = input(g, DLX_F32, 2, T, K, 0);
    uint32_t z = node(g, DLX_OP_SILU_MUL, 2, (uint32_t[]){x, y}, NULL);
    output(g, z);
    output(g, node(g, DLX_OP_ADD, 2, (uint32_t[]){z, x}, NULL));
}

static void build_attention(dlx_graph *g, form f, form as)
{
    (void)f, (void)as;
    enum { P = 7, H = 4, KV = 2, D = 16 };
    uint32_t q = input(g, DLX_F32, 3, T, H, D), k = input(g, DLX_F32, 3, T, KV, D), v = input(g, DLX_F32, 3, T, KV, D);
    uint32_t kc = input(g, DLX_F16, 3, P, KV, D), vc = input(g, DLX_F16, 3, P, KV, D);
    uint32_t mask = input(g, DLX_F32, 2, T, P + T, 0);
    kc = node(g, DLX_OP_CONVERT, 1, &kc, &(dlx_attr){.f = {1, 0}});
    vc = node(g, DLX_OP_CONVERT, 1, &vc, &(dlx_attr){.f = {1, 0}});
    output(g, node(g, DLX_OP_ATTENTION, 6, (uint32_t[]){q, k, v, kc, vc, mask}, &(dlx_attr){.f = {0.25f, 0}}));
    output(g, node(g, DLX_OP_CAST, 1, &k, &(dlx_attr){.dtype = DLX_F16}));
}

/* ---- comparing -------------------------------------------------------------------------------------------------- */

static void expand(dlx_graph *expanded, build_fn build, form f, form as)
{
    dlx_graph g;
    dlx_error err = {0};
    whole_part all;
    dlx_graph_init(&g);
    build(&g, f, as);
    for (size_t i = 0; i < g.n_nodes; i++) assert_true(dlx_qnn_takes(&g, &g.nodes[i]));
    take_all(&all, &g);
    if (dlx_qnn_expand(expanded, &all.part, &err) != DLX_OK) fail_msg("%s", err.message);
    dlx_arena_adopt(&expanded->arena, &g.arena);
    dlx_graph_free(&g);
}

static void compare(const char *what, build_fn build, form f, float scale, float tolerance)
{
    dlx_graph g, reference;
    dlx_error err = {0};
    dlx_qnn_build b;
    dlx_arena arena;
    const dlx_qnn_scale *grid = NULL;
    dlx_activation_ranges find = {.find = find_seen, .ctx = &ranges};
    uint32_t seed = 3;
    for (size_t t = 0; t < QNN_TENSORS; t++)
        for (size_t i = 0; i < QNN_NUMBERS; i++) in.x[t][i] = scale * noise(&seed);
    if (build == build_attention) /* a third of the keys is not seen, one row sees a single one */
        for (size_t i = 0; i < T * 12; i++) in.x[5][i] = i % 3 == 0 || (i / 12 == 2 && i % 12 != 4) ? -10000.0f : 0;
    expand(&reference, build, REFERENCE, f);
    reference_run(&reference, &in, &right, &ranges);
    expand(&g, build, f, f);
    dlx_arena_init(&arena);
    if (f != HALVES && dlx_qnn_grids(&grid, &arena, &g, &find, &err) != DLX_OK) fail_msg("%s", err.message);
    if (dlx_qnn_build_begin(&b, &lib, &g, grid, "forward", NULL, &err) != DLX_OK)
        fail_msg("%s, %s: %s", what, form_names[f], err.message);
    qnn_execute(&b, &in, &out);
    dlx_qnn_build_end(&b);
    for (size_t i = 0; i < g.n_outputs; i++) {
        float r = relative(out.x[i], right.x[i], count_of(&g.values[g.outputs[i]]));
        printf("%s, %s, output %zu: %g\n", what, form_names[f], i, (double)r);
        if (!(r <= tolerance))
            fail_msg("%s, %s: output %zu is off by %g of its largest number", what, form_names[f], i, (double)r);
    }
    dlx_arena_free(&arena);
    dlx_graph_free(&g);
}

static void operators(void **state)
{
    (void)state;
    if (!have) return;
    for (form f = HALVES; f <= INT8; f++) {
        float tolerance = f == HALVES ? 2e-3f : 2e-4f;
        compare("rms_norm", build_rms_norm, f, 1, tolerance);
        compare("rms_norm of small rows", build_rms_norm, f, 1e-3f, tolerance);
        compare("rms_norm of zeros", build_rms_norm, f, 0, tolerance);
        compare("rope", build_rope, f, 1, tolerance);
        compare("silu_mul", build_silu_mul, f, 1, tolerance);
        compare("attention", build_attention, f, 1, 2e-3f);
        compare("attention of large scores", build_attention, f, 8, 4e-3f);
    }
}

static void linears(void **state)
{
    (void)state;
    if (!have) return;
    for (form f = HALVES; f <= BLOCKS; f++) compare("linear", build_linear, f, 1, f == HALVES ? 1e-3f : 5e-4f);
}

int main(void)
{
    have = qnn_libraries(&lib, "SM8650");
    const struct CMUnitTest tests[] = {cmocka_unit_test(operators), cmocka_unit_test(linears)};
    int failed = cmocka_run_group_tests_name("qnn", tests, NULL, NULL);
    dlx_qnn_library_close(&lib);
    return failed;
}
