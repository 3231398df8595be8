/*
 * Operators outside the fused set, one by one: what the executor computes for a graph of one node is what the
 * operator's definition says, written out over indices in double precision. And layers that share a matrix but not a
 * bias.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/program.h"
#include "tiny_decoder.h" /* noise, node */

enum { T = 30, BOUND = 37, H = 3, D = 5, N = T * H * D, MOST = 8 * BOUND * H * D };

typedef struct bench {
    dlx_graph g;
    uint32_t x, y; /* inputs [T, H, D] */
} bench;

static float x_data[N], y_data[N], got[MOST];
static dlx_shape got_shape;
static uint64_t got_packed; /* bytes of the program's packed weights */

static int fill(void **state)
{
    (void)state;
    uint32_t seed = 5;
    for (size_t i = 0; i < N; i++) {
        x_data[i] = 4.0f * noise(&seed);
        y_data[i] = 4.0f * noise(&seed);
        if (fabsf(y_data[i]) < 0.1f) y_data[i] = 0.1f;
    }
    return 0;
}

static bench new_bench(void)
{
    bench b;
    int64_t dim[3] = {BOUND, H, D};
    dlx_graph_init(&b.g);
    b.x = dlx_graph_input(&b.g, "x", DLX_F32, 3, dim, 1);
    b.y = dlx_graph_input(&b.g, "y", DLX_F32, 3, dim, 1);
    return b;
}

/* Runs the graph, whose only output is v, and takes it apart; with every number of threads the same. */
static dlx_status try_run(bench *b, uint32_t v, dlx_error *why)
{
    dlx_error err = {0};
    dlx_status status = DLX_OK;
    dlx_program p;
    dlx_pool *pool;
    assert_true(dlx_graph_output(&b->g, v));
    if (dlx_graph_verify(&b->g, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(dlx_pool_create(&pool, 3, NULL), DLX_OK);
    dlx_program_options options = {.limit = DLX_ISA_REF, .pool = pool};
    if (dlx_program_prepare(&p, &b->g, &options, &err) != DLX_OK) fail_msg("%s", err.message);
    got_packed = p.packed_bytes;
    assert_int_equal(dlx_program_packed_size(&p), got_packed);
    for (int threads = 1; threads <= 3 && status == DLX_OK; threads += 2) {
        dlx_pool *own;
        dlx_executor *ex;
        dlx_shape most[2] = {{3, {BOUND, H, D}}, {3, {BOUND, H, D}}}, now = {3, {T, H, D}};
        dlx_tensor_ref in[2] = {{x_data, now}, {y_data, now}}, out = {0};
        dlx_executor_bounds bounds = {.max_shape = most};
        dlx_pass pass = {.inputs = in};
        assert_int_equal(dlx_pool_create(&own, threads, NULL), DLX_OK);
        if (dlx_executor_open(&ex, &p, &bounds, own, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
        status = dlx_executor_run(ex, &pass, &out, why);
        size_t n = status == DLX_OK ? (size_t)dlx_shape_elements(&out.shape) : 0;
        assert_true(n <= MOST);
        if (n && threads == 1)
            memcpy(got, out.data, n * sizeof *got);
        else if (n)
            assert_memory_equal(got, out.data, n * sizeof *got);
        got_shape = out.shape;
        dlx_executor_close(ex);
        dlx_pool_free(own);
    }
    dlx_program_free(&p);
    dlx_pool_free(pool);
    return status;
}

static void run(bench *b, uint32_t v)
{
    dlx_error err = {0};
    if (try_run(b, v, &err) != DLX_OK) fail_msg("%s", err.message);
}

static void expect_shape(int rank, int64_t a, int64_t b, int64_t c)
{
    int64_t dim[3] = {a, b, c};
    assert_int_equal(got_shape.rank, rank);
    for (int i = 0; i < rank; i++) assert_int_equal(got_shape.dim[i], dim[i]);
}

static void expect(size_t i, double want, double tolerance)
{
    double difference = fabs((double)got[i] - want);
    if (!(difference <= tolerance * (1 + fabs(want))) && !(isnan(want) && isnan(got[i])))
        fail_msg("element %zu: %.9g, expected %.9g", i, (double)got[i], want);
}

/* Element (t, h, d) of a tensor that broadcasts to [T, H, D]. */
static size_t place(int rank, const int64_t *dim, size_t t, size_t h, size_t d)
{
    size_t index[3] = {t, h, d}, at = 0;
    for (int i = 0; i < rank; i++) {
        size_t k = index[3 - rank + i];
        at = at * (size_t)dim[i] + (dim[i] == 1 ? 0 : k);
    }
    return at;
}

/* ---- element by element ------------------------------------------------------------------------------------------ */

static double binary(dlx_op op, double a, double b)
{
    switch (op) {
    case DLX_OP_ADD: return a + b;
    case DLX_OP_SUB: return a - b;
    case DLX_OP_MUL: return a * b;
    case DLX_OP_DIV: return a / b;
    case DLX_OP_MIN: return fmin(a, b);
    default: return fmax(a, b);
    }
}

static void binary_operators_broadcast(void **state)
{
    (void)state;
    static const dlx_op ops[] = {DLX_OP_ADD, DLX_OP_SUB, DLX_OP_MUL, DLX_OP_DIV, DLX_OP_MIN, DLX_OP_MAX};
    static const struct {
        int rank;
        int64_t dim[3];
    } shapes[] = {{0, {0}}, {1, {D}}, {1, {1}}, {2, {H, D}}, {2, {H, 1}}, {2, {1, D}}, {3, {1, H, 1}}};
    for (size_t o = 0; o < sizeof ops / sizeof *ops; o++) {
        bench b = new_bench();
        run(&b, node(&b.g, ops[o], 2, (uint32_t[]){b.x, b.y}, NULL));
        expect_shape(3, T, H, D);
        for (size_t i = 0; i < N; i++) expect(i, binary(ops[o], (double)x_data[i], (double)y_data[i]), 1e-6);
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int turned = 0; turned < 2; turned++) {
                b = new_bench();
                uint32_t c =
                    dlx_graph_const(&b.g, "c", DLX_F32, shapes[s].rank, shapes[s].dim,
                                    (dlx_const_source){.data = y_data, .bytes = sizeof y_data, .stored = DLX_F32});
                run(&b, node(&b.g, ops[o], 2, (uint32_t[]){turned ? c : b.x, turned ? b.x : c}, NULL));
                expect_shape(3, T, H, D);
                for (size_t i = 0; i < N; i++) {
                    double p = (double)x_data[i],
                           q = (double)y_data[place(shapes[s].rank, shapes[s].dim, i / (H * D), i / D % H, i % D)];
                    expect(i, turned ? binary(ops[o], q, p) : binary(ops[o], p, q), 1e-6);
                }
            }
    }
}

static double negative(double x)
{
    return -x;
}
static double square(double x)
{
    return x * x;
}
static double rsqrt(double x)
{
    return 1 / sqrt(x);
}
static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}
static double gelu(double x)
{
    return 0.5 * x * (1 + erf(x / sqrt(2)));
}
static double clamp(double x)
{
    return fmin(fmax(x, -1.5), 2.25);
}

static void unary_operators(void **state)
{
    (void)state;
    static const struct {
        dlx_op op;
        double (*f)(double);
    } rows[] = {{DLX_OP_NEG, negative}, {DLX_OP_ABS, fabs},  {DLX_OP_SQUARE, square},   {DLX_OP_SQRT, sqrt},
                {DLX_OP_RSQRT, rsqrt},  {DLX_OP_EXP, exp},   {DLX_OP_LOG, log},         {DLX_OP_SIN, sin},
                {DLX_OP_COS, cos},      {DLX_OP_TANH, tanh}, {DLX_OP_SIGMOID, sigmoid}, {DLX_OP_GELU, gelu},
                {DLX_OP_FLOOR, floor},  {DLX_OP_CEIL, ceil}, {DLX_OP_CLAMP, clamp}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        bench b = new_bench();
        run(&b, node(&b.g, rows[r].op, 1, &b.x, &(dlx_attr){.f = {-1.5f, 2.25f}}));
        expect_shape(3, T, H, D);
        for (size_t i = 0; i < N; i++) expect(i, rows[r].f((double)x_data[i]), 1e-6);
    }
}

static void softmax_of_rows(void **state)
{
    (void)state;
    bench b = new_bench();
    run(&b, node(&b.g, DLX_OP_SOFTMAX, 1, &b.x, NULL));
    for (size_t r = 0; r < T * H; r++) {
        double sum = 0;
        for (size_t d = 0; d < D; d++) sum += exp((double)x_data[r * D + d]);
        for (size_t d = 0; d < D; d++) expect(r * D + d, exp((double)x_data[r * D + d]) / sum, 1e-6);
    }
}

static void means_over_every_dimension(void **state)
{
    (void)state;
    static const size_t dim[3] = {T, H, D}, step[3] = {H * D, D, 1};
    for (int axis = 0; axis < 3; axis++)
        for (int keep = 0; keep < 2; keep++) {
            bench b = new_bench();
            run(&b, node(&b.g, DLX_OP_MEAN, 1, &b.x, &(dlx_attr){.axis = axis, .keep = keep}));
            assert_int_equal(got_shape.rank, keep ? 3 : 2);
            assert_int_equal(dlx_shape_elements(&got_shape), N / dim[axis]);
            size_t at = 0;
            for (size_t i = 0; i < N; i++) {
                if (i / step[axis] % dim[axis]) continue; /* not the first along the axis */
                double sum = 0;
                for (size_t k = 0; k < dim[axis]; k++) sum += (double)x_data[i + k * step[axis]];
                expect(at++, sum / (double)dim[axis], 1e-6);
            }
        }
}

/* ---- matrices ---------------------------------------------------------------------------------------------------- */

/* x [T, H, D] by [.., D, n] or [.., n, D], the same for all T or not. */
static void products_of_matrices(void **state)
{
    (void)state;
    for (int turned = 0; turned < 2; turned++)
        for (int many = 0; many < 2; many++) {
            enum { OUT = 4 };
            bench b = new_bench();
            int64_t dim[3] = {1, turned ? OUT : D, turned ? D : OUT};
            uint32_t w = dlx_graph_const(&b.g, "w", DLX_F32, 3, dim,
                                         (dlx_const_source){.data = y_data, .bytes = sizeof y_data, .stored = DLX_F32});
            if (many) { /* y [T, H, D] itself: turned, a matrix [H, D] for each t; else [D, H] by a transpose */
                w = b.y;
                if (!turned) w = node(&b.g, DLX_OP_TRANSPOSE, 1, &w, &(dlx_attr){.rank = 3, .shape = {0, 2, 1}});
            }
            size_t n = many ? H : OUT;
            run(&b, node(&b.g, DLX_OP_BMM, 2, (uint32_t[]){b.x, w}, &(dlx_attr){.transpose_b = turned}));
            expect_shape(3, T, H, (int64_t)n);
            for (size_t t = 0; t < T; t++)
                for (size_t h = 0; h < H; h++)
                    for (size_t j = 0; j < n; j++) {
                        double sum = 0;
                        for (size_t k = 0; k < D; k++) {
                            size_t at = many ? (t * H + j) * D + k : turned ? j * D + k : k * n + j;
                            sum += (double)x_data[(t * H + h) * D + k] * (double)y_data[at];
                        }
                        expect((t * H + h) * n + j, sum, 1e-6);
                    }
        }
}

/* Layers of one matrix: a packed block serves those whose bias is the same, and no others. */
static void layers_that_share_a_matrix_keep_their_bias(void **state)
{
    (void)state;
    enum { OUT = 3 };
    static const float weights[OUT * D] = {1, 2, 3, 4, 5, -1, 0.5f, 2, -2, 1, 0, 1, 0, 1, 0};
    static const float biases[2][OUT] = {{10, 20, 30}, {-4, -5, -6}};
    bench b = new_bench();
    int64_t dim[2] = {OUT, D}, n = OUT;
    uint32_t w = dlx_graph_const(&b.g, "w", DLX_F32, 2, dim,
                                 (dlx_const_source){.data = weights, .bytes = sizeof weights, .stored = DLX_F32});
    uint32_t bias[2], parts[4], x = node(&b.g, DLX_OP_RESHAPE, 1, &b.x, &(dlx_attr){.rank = 2, .shape = {-1, D}});
    for (int i = 0; i < 2; i++)
        bias[i] = dlx_graph_const(&b.g, i ? "b1" : "b0", DLX_F32, 1, &n,
                                  (dlx_const_source){.data = biases[i], .bytes = sizeof biases[i], .stored = DLX_F32});
    static const int order[4] = {0, 1, -1, 0}; /* which bias each layer has */
    for (int i = 0; i < 4; i++)
        parts[i] = node(&b.g, DLX_OP_LINEAR, order[i] < 0 ? 2 : 3, (uint32_t[]){x, w, bias[order[i] > 0]}, NULL);
    run(&b, node(&b.g, DLX_OP_CONCAT, 4, parts, &(dlx_attr){.axis = 1}));
    expect_shape(2, T * H, 4 * OUT, 0);
    assert_int_equal(got_packed, 2 * 4096 + got_packed % 4096); /* three blocks, each at a page */
    for (size_t r = 0; r < T * H; r++)
        for (size_t p = 0; p < 4; p++)
            for (size_t j = 0; j < OUT; j++) {
                double sum = order[p] < 0 ? 0 : (double)biases[order[p]][j];
                for (size_t k = 0; k < D; k++) sum += (double)x_data[r * D + k] * (double)weights[j * D + k];
                expect(r * 4 * OUT + p * OUT + j, sum, 1e-6);
            }
}

/* ---- moving ------------------------------------------------------------------------------------------------------ */

static void transposes_of_every_order(void **state)
{
    (void)state;
    static const int64_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static const int64_t dim[3] = {T, H, D};
    for (int o = 0; o < 6; o++) {
        bench b = new_bench();
        dlx_attr attr = {.rank = 3};
        memcpy(attr.shape, orders[o], sizeof orders[o]);
        run(&b, node(&b.g, DLX_OP_TRANSPOSE, 1, &b.x, &attr));
        expect_shape(3, dim[orders[o][0]], dim[orders[o][1]], dim[orders[o][2]]);
        for (size_t i = 0; i < N; i++) {
            size_t to[3] = {i / (size_t)(got_shape.dim[1] * got_shape.dim[2]),
                            i / (size_t)got_shape.dim[2] % (size_t)got_shape.dim[1], i % (size_t)got_shape.dim[2]};
            size_t from[3];
            for (int k = 0; k < 3; k++) from[orders[o][k]] = to[k];
            assert_true(got[i] == x_data[(from[0] * H + from[1]) * D + from[2]]);
        }
    }
}

static void slices_begin_and_end_anywhere(void **state)
{
    (void)state;
    static const struct {
        int64_t begin[3], size[3], result[3];
    } cases[] = {{{0, 0, 0}, {-1, 3, 5}, {T, 3, 5}},
                 {{0, 1, 2}, {-1, 2, 3}, {T, 2, 3}},
                 {{0, 2, 4}, {-1, 1, 1}, {T, 1, 1}},
                 {{0, 0, 1}, {-1, -1, -1}, {T, 3, 4}},
                 {{4, 1, 0}, {2, 1, 5}, {2, 1, 5}}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        bench b = new_bench();
        dlx_attr attr = {.rank = 3};
        memcpy(attr.shape, cases[c].begin, sizeof cases[c].begin);
        memcpy(attr.size, cases[c].size, sizeof cases[c].size);
        run(&b, node(&b.g, DLX_OP_SLICE, 1, &b.x, &attr));
        const int64_t *r = cases[c].result, *s = cases[c].begin;
        expect_shape(3, r[0], r[1], r[2]);
        for (int64_t t = 0; t < r[0]; t++)
            for (int64_t h = 0; h < r[1]; h++)
                for (int64_t d = 0; d < r[2]; d++)
                    assert_true(got[(t * r[1] + h) * r[2] + d] == x_data[((t + s[0]) * H + h + s[1]) * D + d + s[2]]);
    }
}

static void two_to_five_tensors_are_joined_along_every_dimension(void **state)
{
    (void)state;
    static const size_t dim[3] = {T, H, D};
    for (int axis = 0; axis < 3; axis++)
        for (int n = 2; n <= 5; n++) {
            bench b = new_bench();
            uint32_t in[5];
            for (int k = 0; k < n; k++) in[k] = k % 2 ? b.y : b.x;
            run(&b, node(&b.g, DLX_OP_CONCAT, n, in, &(dlx_attr){.axis = axis}));
            int64_t to[3] = {T, H, D};
            to[axis] *= n;
            expect_shape(3, to[0], to[1], to[2]);
            for (size_t i = 0; i < N * (size_t)n; i++) {
                size_t at[3] = {i / (size_t)(to[1] * to[2]), i / (size_t)to[2] % (size_t)to[1], i % (size_t)to[2]};
                size_t part = at[axis] / dim[axis];
                at[axis] %= dim[axis];
                assert_true(got[i] == (part % 2 ? y_data : x_data)[(at[0] * H + at[1]) * D + at[2]]);
            }
        }
}

/* ---- places ------------------------------------------------------------------------------------------------------ */

static uint32_t numbers(dlx_graph *g, int rank, const int64_t *dim, const int64_t *data, size_t n)
{
    return dlx_graph_const(g, NULL, DLX_I64, rank, dim,
                           (dlx_const_source){.data = data, .bytes = n * sizeof *data, .stored = DLX_I64});
}

/* numpy: x[p] for the dimensions in `axes`, places of all of them broadcast to [2, 3]; they stand where the dimensions
 * were when those are neighbours, else in front. */
static void elements_at_places(void **state)
{
    (void)state;
    static const int64_t column[2] = {2, 1}, row[1] = {3}, both[2] = {2, 3};
    static const int64_t places[3][6] = {{2, 0}, {1, 1, 0}, {4, 0, 1, 3, 3, 2}}; /* of T, H and D */
    static const int64_t *const shape[3] = {column, row, both};
    static const int rank[3] = {2, 1, 2};
    static const size_t count[3] = {2, 3, 6};
    for (unsigned axes = 1; axes < 8; axes++) {
        bench b = new_bench();
        uint32_t in[4] = {b.x};
        int n = 1, first = axes & 1 ? 0 : axes & 2 ? 1 : 2;
        for (int d = 0; d < 3; d++)
            if (axes >> d & 1) in[n++] = numbers(&b.g, rank[d], shape[d], places[d], count[d]);
        run(&b, node(&b.g, DLX_OP_INDEX, n, in, &(dlx_attr){.axes = (uint8_t)axes}));
        /* The sizes of the broadcast places. */
        bool tall = axes & 1 || axes & 4, wide = axes & 2 || axes & 4, flat = axes == 2;
        size_t rows = tall ? 2 : 1, columns = wide ? 3 : 1;
        if (axes == 5) first = 0; /* T and D: not neighbours */
        int64_t want[8];
        int dims = 0;
        for (int d = 0;; d++) {
            if (d == first || (axes == 5 && d == 0)) {
                if (!flat) want[dims++] = (int64_t)rows;
                want[dims++] = (int64_t)columns;
            }
            if (d == 3) break;
            if (!(axes >> d & 1)) want[dims++] = d == 0 ? T : d == 1 ? H : D;
        }
        assert_int_equal(got_shape.rank, dims);
        for (int d = 0; d < dims; d++) assert_int_equal(got_shape.dim[d], want[d]);
        size_t elements = (size_t)dlx_shape_elements(&got_shape);
        for (size_t i = 0; i < elements; i++) {
            size_t index[8], rest = i, at[3], next = 0;
            for (int d = dims - 1; d >= 0; d--) {
                index[d] = rest % (size_t)want[d];
                rest /= (size_t)want[d];
            }
            size_t r = flat ? 0 : index[first], c = index[first + !flat];
            for (int d = 0; d < 3; d++) {
                if (next == (size_t)first) next += flat ? 1 : 2;
                if (axes >> d & 1)
                    at[d] = (size_t)(d == 0 ? places[0][r] : d == 1 ? places[1][c] : places[2][r * 3 + c]);
                else
                    at[d] = index[next++];
            }
            assert_true(got[i] == x_data[(at[0] * H + at[1]) * D + at[2]]);
        }
    }
}

/* x with two of its three columns replaced, from a place on that is written in the node or read when it runs. */
static void parts_are_put_into_place(void **state)
{
    (void)state;
    static const int64_t begins[] = {0, 1, 2, -1, INT64_MAX};
    for (size_t k = 0; k < sizeof begins / sizeof *begins; k++) {
        bench b = new_bench();
        dlx_error err = {0};
        dlx_attr cut = {.rank = 3, .shape = {0, 0, 0}, .size = {-1, 2, -1}};
        uint32_t in[3] = {b.x, node(&b.g, DLX_OP_SLICE, 1, &b.y, &cut), numbers(&b.g, 0, NULL, &begins[k], 1)};
        dlx_status s =
            try_run(&b, node(&b.g, DLX_OP_SLICE_PUT, 3, in, &(dlx_attr){.axis = 1, .shape = {DLX_RUN(2)}}), &err);
        assert_int_equal(s, k < 2 ? DLX_OK : DLX_E_INVALID);
        if (s != DLX_OK) {
            assert_non_null(strstr(err.message, "2 rows from "));
            continue;
        }
        expect_shape(3, T, H, D);
        for (size_t i = 0; i < N; i++) {
            size_t h = i / D % H, begin = (size_t)begins[k];
            bool put = h >= begin && h < begin + 2;
            assert_true(got[i] == (put ? y_data[i - begin * D] : x_data[i]));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binary_operators_broadcast),
        cmocka_unit_test(unary_operators),
        cmocka_unit_test(softmax_of_rows),
        cmocka_unit_test(means_over_every_dimension),
        cmocka_unit_test(products_of_matrices),
        cmocka_unit_test(layers_that_share_a_matrix_keep_their_bias),
        cmocka_unit_test(transposes_of_every_order),
        cmocka_unit_test(slices_begin_and_end_anywhere),
        cmocka_unit_test(elements_at_places),
        cmocka_unit_test(parts_are_put_into_place),
        cmocka_unit_test(two_to_five_tensors_are_joined_along_every_dimension),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
