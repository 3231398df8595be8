/* Scales of inputs: every candidate's error in double precision, what they are worth, and folding, which must not
 * change what a layer answers. */
#include "solve/awq.h"
#include "solve_check.h"
#include "left_out.h"

enum { LAYERS = 3 };

typedef struct inputs {
    float *x, *w[LAYERS];
    double *magnitude;
    dlx_awq_weights layer[LAYERS];
    dlx_awq_search search;
} inputs;

static const size_t outputs[LAYERS] = {270, 7, 33}; /* the first in more than one batch */

static inputs inputs_new(rng *r, size_t rows, size_t k, dlx_grid g, dlx_clip clip, const dlx_solve_on *on)
{
    inputs in = {.x = rows_new(r, rows, k), .magnitude = doubles_new(1, k)};
    for (size_t l = 0; l < LAYERS; l++) {
        in.w[l] = weights_new(r, outputs[l], k);
        in.layer[l] = (dlx_awq_weights){.w = in.w[l], .n = outputs[l], .grid = g};
    }
    for (size_t m = 0; m < rows; m++) in.x[m * k] = in.x[m * k + k / 2] = 0; /* inputs that never come */
    dlx_inputs_add(in.magnitude, in.x, k, rows, k, on);
    in.search = (dlx_awq_search){.layers = LAYERS, .k = k, .x_stride = k, .rows = rows, .clip = clip};
    return in;
}

/* The structure moves, what it points to does not. */
static const dlx_awq_search *search_of(inputs *in)
{
    in->search.layer = in->layer;
    in->search.x = in->x;
    in->search.magnitude = in->magnitude;
    return &in->search;
}

static void inputs_free(inputs *in)
{
    for (size_t l = 0; l < LAYERS; l++) free(in->w[l]);
    free(in->x);
    free(in->magnitude);
}

static void check_scales(const inputs *in, const float *s, double exponent)
{
    size_t k = in->search.k;
    double most = 0, least = INFINITY;
    for (size_t c = 0; c < k; c++) most = fmax(most, in->magnitude[c]);
    for (size_t c = 0; c < k; c++)
        if (in->magnitude[c] > 0) least = fmin(least, in->magnitude[c]);
    least = fmax(least, most * 0x1p-20);
    for (size_t c = 0; c < k; c++) {
        double expected =
            pow(fmax(in->magnitude[c], least), exponent) / sqrt(pow(most, exponent) * pow(least, exponent));
        check_close("scale", c, s[c], (float)expected, 1e-5 * expected);
    }
}

/* Rows are on a grid as well: 64 steps to the largest magnitude over s. */
static void to_steps(void *ctx, float *x, size_t rows, size_t k, const float *s)
{
    float most = 0;
    ++*(int *)ctx;
    for (size_t i = 0; i < rows * k; i++) most = fmaxf(most, fabsf(x[i] / s[i % k]));
    float step = most / 64;
    for (size_t i = 0; i < rows * k; i++) x[i] = rintf(x[i] / s[i % k] / step) * step * s[i % k];
}

/* |X' q(w s) / s - X w|^2 / |X w|^2 over all layers, X' what they read of X. */
static double candidate_error(const inputs *in, double exponent, const dlx_kernels *kernels)
{
    size_t k = in->search.k, share = in->layer[0].grid.group ? in->layer[0].grid.group : k;
    float *s = floats_new(1, k), *e = floats_new(1, k), *read = floats_new(in->search.rows, k);
    double most = 0, least = INFINITY, error = 0, answers = 0;
    for (size_t c = 0; c < k; c++) most = fmax(most, in->magnitude[c]);
    for (size_t c = 0; c < k; c++)
        if (in->magnitude[c] > 0) least = fmin(least, in->magnitude[c]);
    least = fmax(least, most * 0x1p-20);
    for (size_t c = 0; c < k; c++) s[c] = (float)pow(fmax(in->magnitude[c], least) / sqrt(most * least), exponent);
    memcpy(read, in->x, in->search.rows * k * sizeof *read);
    if (in->search.inputs) in->search.inputs(in->search.inputs_ctx, read, in->search.rows, k, s);
    for (size_t l = 0; l < LAYERS; l++)
        for (size_t row = 0; row < outputs[l]; row++) {
            const float *w = in->w[l] + row * k;
            for (size_t c = 0; c < k; c++) e[c] = w[c] * s[c];
            for (size_t c = 0; c < k; c += share) {
                float scale = dlx_grid_scale(kernels, in->layer[l].grid, in->search.clip, e + c, NULL, share);
                for (size_t i = c; i < c + share; i++)
                    e[i] = dlx_grid_nearest(in->layer[l].grid, e[i], scale) * scale / s[i];
            }
            for (size_t m = 0; m < in->search.rows; m++) {
                double off = 0;
                for (size_t c = 0; c < k; c++)
                    off += (double)read[m * k + c] * (double)e[c] - (double)in->x[m * k + c] * (double)w[c];
                error += off * off;
            }
            answers += plain_energy(in->x, in->search.rows, w, 1, k);
        }
    free(s);
    free(e);
    free(read);
    return error / answers;
}

static void test_search(void **state)
{
    (void)state;
    dlx_kernels kernels[8];
    size_t sets = all_kernels(kernels);
    rng r = {41};
    const dlx_grid grids[] = {{4, 0}, {4, 32}, {8, 0}, {8, 0}};
    int changes = 0;
    for (size_t set = 0; set < sets; set++)
        for (size_t i = 0; i < DLX_COUNT(grids); i++) {
            dlx_solve_on on = {.kernels = &kernels[set]};
            inputs in = inputs_new(&r, 13, 192, grids[i], i == 0 ? DLX_CLIP_MSE : DLX_CLIP_NONE, &on);
            if (i == 1) in.magnitude[0] = 1e-30; /* as good as never there */
            in.search.inputs = i == 3 ? to_steps : NULL;
            in.search.inputs_ctx = &changes;
            float s[192];
            dlx_awq_result result;
            dlx_error err = {0};
            check_ok(dlx_awq_find(s, &result, search_of(&in), &on, "layer", &err), &err);
            check_scales(&in, s, (double)result.exponent);
            double least = INFINITY;
            for (int a = 0; a <= DLX_AWQ_STEPS; a++) {
                double error = candidate_error(&in, (double)a / DLX_AWQ_STEPS, &kernels[set]);
                least = fmin(least, error);
                if (a == 0) check_close("plain rounding", i, (float)result.before, (float)error, 1e-3 * error);
            }
            check_close("the least error", i, (float)result.error, (float)least, 1e-3 * least);
            /* One input in 29 is eight times the others: a good deal for groups, and for the fine steps of 8 bits. */
            if (i > 0 && !(result.error < 0.8 * result.before))
                fail_msg("form %zu: %g, rounded %g", i, result.error, result.before);
            inputs_free(&in);
        }
}

static void test_threads(void **state)
{
    (void)state;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    dlx_solve_on alone = {.kernels = &kernels};
    rng r = {42};
    inputs in = inputs_new(&r, 70, 192, (dlx_grid){4, 32}, DLX_CLIP_NONE, &alone);
    float *apart = floats_new(70, 200);
    for (size_t m = 0; m < 70; m++) memcpy(apart + m * 200, in.x + m * 192, 192 * sizeof *apart);
    float expected[192], s[192];
    dlx_awq_result first, result;
    dlx_error err = {0};
    check_ok(dlx_awq_find(expected, &first, search_of(&in), &alone, "layer", &err), &err);
    for (int threads = 1; threads <= 4; threads++) {
        dlx_solve_on on = on_threads(&kernels, threads);
        double magnitude[192] = {0};
        dlx_inputs_add(magnitude, apart, 200, 31, 192, &on);
        dlx_inputs_add(magnitude, apart + 31 * 200, 200, 39, 192, &on);
        check_bits("magnitudes", magnitude, in.magnitude, sizeof magnitude);
        dlx_awq_search search = *search_of(&in);
        search.x = apart;
        search.x_stride = 200;
        check_ok(dlx_awq_find(s, &result, &search, &on, "layer", &err), &err);
        check_bits("scales", s, expected, sizeof s);
        assert_true(result.error == first.error && result.before == first.before);
        dlx_pool_free(on.pool);
    }
    free(apart);
    inputs_free(&in);
}

/* Nothing to gain: all ones, bit by bit. */
static void test_degenerate(void **state)
{
    (void)state;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    dlx_solve_on on = {.kernels = &kernels};
    const float w[6] = {1, -1, 7, 1, 0, 3}, x[2] = {2, 3}, zeros[2] = {0};
    const double equal[2] = {5, 5}, none[2] = {0}, tiny[2] = {1, 1e-30};
    const dlx_awq_weights layer = {.w = w, .n = 3, .grid = {4, 0}};
    dlx_awq_search a = {.layer = &layer, .layers = 1, .k = 2, .magnitude = equal, .x = x, .rows = 1};
    float s[2];
    dlx_awq_result result;
    dlx_error err = {0};
    check_ok(dlx_awq_find(s, &result, &a, &on, "layer", &err), &err);
    assert_true(s[0] == 1 && s[1] == 1 && result.exponent == 0);
    a.magnitude = none;
    a.x = zeros;
    check_ok(dlx_awq_find(s, &result, &a, &on, "layer", &err), &err);
    assert_true(s[0] == 1 && s[1] == 1 && result.error == 0 && result.before == 0);
    a.magnitude = tiny; /* counts as 2^-20: the ratio of the scales is at most 2^20 */
    a.x = x;
    check_ok(dlx_awq_find(s, &result, &a, &on, "layer", &err), &err);
    assert_true(s[0] / s[1] <= 0x1p20f && s[1] > 0);
}

static void test_refusals(void **state)
{
    (void)state;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    dlx_solve_on on = {.kernels = &kernels};
    rng r = {43};
    inputs in = inputs_new(&r, 9, 96, (dlx_grid){4, 64}, DLX_CLIP_NONE, &on);
    float s[96];
    dlx_awq_result result;
    dlx_error err = {0};
#define REFUSED(status, a, b)                                                                                          \
    check_refused(dlx_awq_find(s, &result, search_of(&in), &on, "mlp", &err), status, &err, a, b)
    REFUSED(DLX_E_INVALID, "mlp", "groups of 64");
    for (size_t l = 0; l < LAYERS; l++) in.layer[l].grid.group = 32;
    in.search.rows = 0;
    REFUSED(DLX_E_INVALID, "mlp", "0 x 96");
    in.search.rows = 9;
    in.magnitude[90] = -1;
    REFUSED(DLX_E_FORMAT, "input 90", "-1");
    in.magnitude[90] = NAN;
    REFUSED(DLX_E_FORMAT, "input 90", "nan");
    in.magnitude[90] = 1;
    in.x[8 * 96 + 95] = INFINITY;
    REFUSED(DLX_E_FORMAT, "row 8 of the inputs", "mlp");
    in.x[8 * 96 + 95] = 0;
    in.w[1][6 * 96] = NAN;
    REFUSED(DLX_E_FORMAT, "row 6 of the weights", "mlp");
    in.w[1][6 * 96] = 3e38f;
    in.x[5 * 96 + 1] = 3e38f;
    in.w[1][1] = 3e38f;
    REFUSED(DLX_E_FORMAT, "beyond float32", "mlp");
    inputs_free(&in);
}

/* ---- folding ----------------------------------------------------------------------------------------------------- */

enum { HIDDEN = 12, INTER = 10, HEADS = 6, KV = 2, DIM = 4, TOKENS = 5 };

/* y [n] = w [n, k] x + bias */
static void linear(double *y, const float *w, const float *bias, const double *x, size_t n, size_t k)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = bias ? (double)bias[i] : 0;
        for (size_t c = 0; c < k; c++) y[i] += (double)w[i * k + c] * x[c];
    }
}

/* Powers of two: what is folded has the same bits after it. */
static void powers(rng *r, float *s, size_t n)
{
    for (size_t i = 0; i < n; i++) s[i] = ldexpf(1, (int)rng_below(r, 9) - 4);
}

static void mlp(double *y, const float *norm, const float *gate, const float *up, const float *bias, const float *down,
                const double *x)
{
    double g[INTER], u[INTER], n[HIDDEN];
    for (size_t i = 0; i < HIDDEN; i++) n[i] = x[i] * (double)norm[i];
    linear(g, gate, NULL, n, INTER, HIDDEN);
    linear(u, up, bias, n, INTER, HIDDEN);
    for (size_t i = 0; i < INTER; i++) g[i] = g[i] / (1 + exp(-g[i])) * u[i];
    linear(y, down, NULL, g, HIDDEN, INTER);
}

static void test_fold_mlp(void **state)
{
    (void)state;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, DLX_ISA_REF);
    dlx_solve_on on = {.kernels = &kernels};
    rng r = {44};
    float *norm = weights_new(&r, HIDDEN, 1), *gate = weights_new(&r, INTER, HIDDEN),
          *up = weights_new(&r, INTER, HIDDEN);
    float *bias = weights_new(&r, INTER, 1), *down = weights_new(&r, HIDDEN, INTER), s[HIDDEN], t[INTER];
    double x[HIDDEN], before[HIDDEN], after[HIDDEN];
    for (size_t i = 0; i < HIDDEN; i++) x[i] = (double)rng_f32(&r);
    mlp(before, norm, gate, up, bias, down, x);
    powers(&r, s, HIDDEN);
    powers(&r, t, INTER);
    dlx_scale_outputs(norm, HIDDEN, 1, s, &on);
    dlx_scale_inputs(gate, INTER, HIDDEN, s, &on);
    dlx_scale_inputs(up, INTER, HIDDEN, s, &on);
    dlx_scale_outputs(up, INTER, HIDDEN, t, &on);
    dlx_scale_outputs(bias, INTER, 1, t, &on);
    dlx_scale_inputs(down, HIDDEN, INTER, t, &on);
    mlp(after, norm, gate, up, bias, down, x);
    for (size_t i = 0; i < HIDDEN; i++) assert_true(before[i] == after[i] && before[i] != 0);
    free(norm);
    free(gate);
    free(up);
    free(bias);
    free(down);
}

/* Query head h reads key-value head h / (HEADS / KV); the weights of the mixture are given. */
static void attend(double *y, const float *v, const float *bias, const float *o, double (*x)[HIDDEN],
                   double (*mixture)[TOKENS])
{
    double values[TOKENS][KV * DIM], heads[HEADS * DIM] = {0};
    for (size_t t = 0; t < TOKENS; t++) linear(values[t], v, bias, x[t], KV * DIM, HIDDEN);
    for (size_t h = 0; h < HEADS; h++)
        for (size_t t = 0; t < TOKENS; t++)
            for (size_t d = 0; d < DIM; d++)
                heads[h * DIM + d] += mixture[h][t] * values[t][h / (HEADS / KV) * DIM + d];
    linear(y, o, NULL, heads, HIDDEN, HEADS * DIM);
}

static void test_fold_attention(void **state)
{
    (void)state;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, DLX_ISA_REF);
    dlx_solve_on on = on_threads(&kernels, 2);
    rng r = {45};
    float *v = weights_new(&r, KV * DIM, HIDDEN), *bias = weights_new(&r, KV * DIM, 1);
    float *o = weights_new(&r, HIDDEN, HEADS * DIM), s[HEADS * DIM], shared[KV * DIM];
    double x[TOKENS][HIDDEN], mixture[HEADS][TOKENS], before[HIDDEN], after[HIDDEN], magnitude[HEADS * DIM];
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t i = 0; i < HIDDEN; i++) x[t][i] = (double)rng_f32(&r);
    for (size_t h = 0; h < HEADS; h++)
        for (size_t t = 0; t < TOKENS; t++) mixture[h][t] = 0.5 + (double)rng_f32(&r) / 2;
    attend(before, v, bias, o, x, mixture);

    /* Tied magnitudes are means over the heads that share, so that any function of them can be folded. */
    for (size_t i = 0; i < HEADS * DIM; i++) magnitude[i] = (double)(1 + i);
    dlx_heads_tie(magnitude, HEADS, KV, DIM);
    for (size_t h = 0; h < HEADS; h++)
        for (size_t d = 0; d < DIM; d++) {
            size_t first = h / (HEADS / KV) * (HEADS / KV);
            assert_true(magnitude[h * DIM + d] == (double)((first + 1) * DIM + d + 1));
            s[h * DIM + d] = ldexpf(1, (int)magnitude[h * DIM + d] % 7 - 3);
        }
    dlx_heads_shared(shared, s, HEADS, KV, DIM);
    dlx_scale_outputs(v, KV * DIM, HIDDEN, shared, &on);
    dlx_scale_outputs(bias, KV * DIM, 1, shared, &on);
    dlx_scale_inputs(o, HIDDEN, HEADS * DIM, s, &on);
    attend(after, v, bias, o, x, mixture);
    for (size_t i = 0; i < HIDDEN; i++) assert_true(before[i] == after[i] && before[i] != 0);
    free(v);
    free(bias);
    free(o);
    dlx_pool_free(on.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {one_thread_test(test_search),      cmocka_unit_test(test_threads),
                                       cmocka_unit_test(test_degenerate), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_fold_mlp),   cmocka_unit_test(test_fold_attention)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
