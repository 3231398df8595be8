/*
 * Attention and rotary embeddings as operators of a program: every layout, every kind of mask, batches, shared heads,
 * all instruction sets, against the definitions over indices in double precision; with every number of threads the
 * same bits.
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
#include "tiny_decoder.h" /* noise */

enum { MOST_ROWS = 40, MOST_KEYS = 50, MOST = 2 * MOST_KEYS * 4 * 24 };

typedef enum mask_kind { NO_MASK, PREFIXES, HOLES, NOTHING_SEEN, STARTED, STARTED_CAUSAL } mask_kind;

typedef struct problem {
    int64_t batch, rows, keys, heads, kv, dim, start;
    mask_kind mask;
    unsigned axes;
    bool nan;
} problem;

static float q[MOST], k[MOST], v[MOST], mask[MOST_ROWS * MOST_KEYS], got[MOST];
static int64_t start;

static int fill(void **state)
{
    (void)state;
    uint32_t seed = 9;
    for (size_t i = 0; i < MOST; i++) {
        q[i] = 3.0f * noise(&seed);
        k[i] = 3.0f * noise(&seed);
        v[i] = noise(&seed);
    }
    return 0;
}

static void make_mask(const problem *p)
{
    uint32_t seed = 3;
    for (int64_t t = 0; t < p->rows; t++)
        for (int64_t s = 0; s < p->keys; s++) {
            float *m = &mask[t * p->keys + s];
            if (p->mask == PREFIXES) *m = s <= t * 2 % p->keys ? 0.0f : -INFINITY;
            if (p->mask == HOLES) *m = (s + t) % 3 == 1 ? -INFINITY : noise(&seed);
            if (p->mask == NOTHING_SEEN) *m = t % 2 || s < 2 ? -INFINITY : 0.0f;
        }
}

static void set_dims(int64_t dim[4], int64_t batch, int64_t rows, int64_t heads, int64_t width, bool heads_first)
{
    dim[0] = batch;
    dim[1] = heads_first ? heads : rows;
    dim[2] = heads_first ? rows : heads;
    dim[3] = width;
}

/* Vector (b, t, h) of a tensor with these dimensions. */
static size_t at(const int64_t dim[4], bool heads_first, int64_t b, int64_t t, int64_t h)
{
    return (size_t)((heads_first ? (b * dim[1] + h) * dim[2] + t : (b * dim[1] + t) * dim[2] + h) * dim[3]);
}

static void run(dlx_graph *g, uint32_t out, const dlx_tensor_ref *in, const dlx_shape *most, dlx_isa isa, size_t n)
{
    dlx_error err = {0};
    dlx_program p;
    dlx_pool *pool;
    assert_true(dlx_graph_output(g, out));
    if (dlx_graph_verify(g, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(dlx_pool_create(&pool, 1, NULL), DLX_OK);
    dlx_program_options options = {.limit = isa, .pool = pool};
    if (dlx_program_prepare(&p, g, &options, &err) != DLX_OK) fail_msg("%s", err.message);
    for (int threads = 1; threads <= 3; threads += 2) {
        dlx_pool *own;
        dlx_executor *ex;
        dlx_tensor_ref result = {0};
        dlx_executor_bounds bounds = {.max_shape = most};
        assert_int_equal(dlx_pool_create(&own, threads, NULL), DLX_OK);
        if (dlx_executor_open(&ex, &p, &bounds, own, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
        if (dlx_executor_run(ex, &(dlx_pass){.inputs = in}, &result, &err) != DLX_OK) fail_msg("%s", err.message);
        assert_int_equal(dlx_shape_elements(&result.shape), n);
        if (threads == 1)
            memcpy(got, result.data, n * sizeof *got);
        else
            assert_memory_equal(got, result.data, n * sizeof *got);
        dlx_executor_close(ex);
        dlx_pool_free(own);
    }
    dlx_program_free(&p);
    dlx_pool_free(pool);
}

static double weight_of(const problem *p, const int64_t dq[4], const int64_t dk[4], int64_t b, int64_t t, int64_t h,
                        int64_t s)
{
    const float *a = q + at(dq, p->axes & DLX_SDPA_Q_HEADS_FIRST, b, t, h);
    const float *c = k + at(dk, p->axes & DLX_SDPA_K_HEADS_FIRST, b, s, h / (p->heads / p->kv));
    double score = 0;
    if (p->mask >= STARTED && s >= p->start + p->rows) return 0;
    if (p->mask == STARTED_CAUSAL && s > p->start + t) return 0;
    for (int64_t i = 0; i < p->dim; i++) score += (double)a[i] * (double)c[i];
    score *= 0.25;
    if (p->mask > NO_MASK && p->mask < STARTED) score += (double)mask[t * p->keys + s];
    return exp(score);
}

static void compare(const problem *p, const int64_t dq[4], const int64_t dk[4], const int64_t dv[4],
                    const int64_t dy[4])
{
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t t = 0; t < p->rows; t++)
            for (int64_t h = 0; h < p->heads; h++) {
                double sum = 0, want[32] = {0};
                for (int64_t s = 0; s < p->keys; s++) {
                    double w = weight_of(p, dq, dk, b, t, h, s);
                    const float *value = v + at(dv, p->axes & DLX_SDPA_V_HEADS_FIRST, b, s, h / (p->heads / p->kv));
                    sum += w;
                    for (int64_t i = 0; i < p->dim; i++) want[i] += w * (double)value[i];
                }
                const float *y = got + at(dy, p->axes & DLX_SDPA_OUT_HEADS_FIRST, b, t, h);
                for (int64_t i = 0; i < p->dim; i++) {
                    if (sum == 0 ? (p->nan ? isnan(y[i]) : y[i] == 0) : fabs((double)y[i] - want[i] / sum) < 3e-6)
                        continue;
                    fail_msg("mask %d, axes %u, row %d, head %d: %g, expected %g", (int)p->mask, p->axes, (int)t,
                             (int)h, (double)y[i], want[i] / sum);
                }
            }
}

static void attend(const problem *p, dlx_isa isa)
{
    dlx_graph g;
    int64_t dq[4], dk[4], dv[4], dy[4];
    set_dims(dq, p->batch, p->rows, p->heads, p->dim, p->axes & DLX_SDPA_Q_HEADS_FIRST);
    set_dims(dk, p->batch, p->keys, p->kv, p->dim, p->axes & DLX_SDPA_K_HEADS_FIRST);
    set_dims(dv, p->batch, p->keys, p->kv, p->dim, p->axes & DLX_SDPA_V_HEADS_FIRST);
    set_dims(dy, p->batch, p->rows, p->heads, p->dim, p->axes & DLX_SDPA_OUT_HEADS_FIRST);
    const int64_t dm[2] = {p->rows, p->keys};
    bool masked = p->mask > NO_MASK && p->mask < STARTED, started = p->mask >= STARTED;
    dlx_graph_init(&g);
    uint32_t in[5] = {dlx_graph_input(&g, "q", DLX_F32, 4, dq, 0), dlx_graph_input(&g, "k", DLX_F32, 4, dk, 0),
                      dlx_graph_input(&g, "v", DLX_F32, 4, dv, 0), DLX_NONE, DLX_NONE};
    dlx_tensor_ref tensor[4] = {
        {q, {4, {0}}}, {k, {4, {0}}}, {v, {4, {0}}}, {masked ? (void *)mask : (void *)&start, {0}}};
    memcpy(tensor[0].shape.dim, dq, sizeof dq);
    memcpy(tensor[1].shape.dim, dk, sizeof dk);
    memcpy(tensor[2].shape.dim, dv, sizeof dv);
    if (masked) {
        in[4] = dlx_graph_input(&g, "mask", DLX_F32, 2, dm, 0);
        tensor[3].shape = (dlx_shape){.rank = 2, .dim = {dm[0], dm[1]}};
        make_mask(p);
    }
    if (started) in[3] = dlx_graph_input(&g, "start", DLX_I64, 0, NULL, 0);
    start = p->start;
    dlx_shape most[4];
    for (int i = 0; i < 4; i++) most[i] = tensor[i].shape;
    dlx_attr attr = {.f = {0.25f, 0}, .causal = p->mask == STARTED_CAUSAL, .axes = (uint8_t)p->axes, .keep = p->nan};
    uint32_t y = dlx_graph_node(&g, DLX_OP_SDPA, in, masked ? 5 : started ? 4 : 3, &attr, -1, NULL);
    assert_true(y != DLX_NONE);
    run(&g, y, tensor, most, isa, (size_t)(p->batch * p->rows * p->heads * p->dim));
    compare(p, dq, dk, dv, dy);
}

static void attention_in_every_layout(void **state)
{
    (void)state;
    dlx_isa isa[8];
    size_t sets = dlx_isa_list(isa);
    static const problem sizes[] = {
        {.batch = 1, .rows = 7, .keys = 7, .heads = 4, .kv = 2, .dim = 8},
        {.batch = 2, .rows = 5, .keys = 13, .heads = 3, .kv = 3, .dim = 20},
        {.batch = 1, .rows = 33, .keys = 50, .heads = 4, .kv = 1, .dim = 24, .start = 11},
        {.batch = 1, .rows = 1, .keys = 19, .heads = 2, .kv = 1, .dim = 5, .start = 18},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int m = NO_MASK; m <= STARTED_CAUSAL; m++)
            for (unsigned axes = 0; axes < 16; axes++)
                for (size_t s = 0; s < sets; s++) {
                    if (DLX_SLOW && (i + axes + s) % 3) continue;
                    problem p = sizes[i];
                    p.mask = (mask_kind)m;
                    p.axes = axes;
                    p.nan = (axes ^ (unsigned)m) & 1;
                    attend(&p, isa[s]);
                }
}

/* ---- rotary embeddings ---- */

static void rotate(int64_t front, int64_t rows, int64_t heads, int64_t width, bool pairs, bool heads_first, dlx_isa isa)
{
    dlx_graph g;
    int64_t dx[5] = {1, heads_first ? heads : rows, heads_first ? rows : heads, width, 2},
            table = pairs ? width / 2 : width;
    const int64_t *from = front ? dx : dx + 1;
    int rank = (int)front + 3 + pairs;
    const int64_t dt[2] = {rows, table};
    if (pairs) dx[3] = width / 2;
    dlx_graph_init(&g);
    uint32_t in[3] = {dlx_graph_input(&g, "x", DLX_F32, rank, from, 0), dlx_graph_input(&g, "cos", DLX_F32, 2, dt, 0),
                      dlx_graph_input(&g, "sin", DLX_F32, 2, dt, 0)};
    dlx_tensor_ref tensor[3] = {{q, {.rank = (uint8_t)rank}}, {k, {2, {dt[0], dt[1]}}}, {v, {2, {dt[0], dt[1]}}}};
    memcpy(tensor[0].shape.dim, from, (size_t)rank * sizeof *from);
    dlx_shape most[3] = {tensor[0].shape, tensor[1].shape, tensor[2].shape};
    uint32_t y = dlx_graph_node(&g, DLX_OP_ROPE, in, 3, &(dlx_attr){.keep = pairs, .axis = heads_first}, -1, NULL);
    assert_true(y != DLX_NONE);
    run(&g, y, tensor, most, isa, (size_t)(rows * heads * width));
    for (int64_t i = 0; i < rows * heads * width; i++) {
        int64_t vector = i / width, t = heads_first ? vector % rows : vector / heads, c = i % width, half = width / 2;
        int64_t other = pairs ? i ^ 1 : c < half ? i + half : i - half, column = pairs ? c / 2 : c;
        double sign = pairs && !(c & 1) ? -1 : 1;
        double want =
            (double)q[i] * (double)k[t * table + column] + sign * (double)q[other] * (double)v[t * table + column];
        if (fabs((double)got[i] - want) > 3e-6 * (1 + fabs(want)))
            fail_msg("pairs %d, heads first %d, element %d: %g, expected %g", pairs, heads_first, (int)i,
                     (double)got[i], want);
    }
}

static void rotations_in_every_layout(void **state)
{
    (void)state;
    dlx_isa isa[8];
    size_t sets = dlx_isa_list(isa);
    for (size_t s = 0; s < sets; s++)
        for (int way = 0; way < 8; way++) {
            rotate(way & 1, 7, 3, 20, way & 2, way & 4, isa[s]);
            rotate(way & 1, 1, 4, 2, way & 2, way & 4, isa[s]);
            rotate(way & 1, 30, 1, 6, way & 2, way & 4, isa[s]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_in_every_layout),
        cmocka_unit_test(rotations_in_every_layout),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
