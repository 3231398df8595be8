/*
 * The runtime without files: a decoder layer built from high-level operators, the same layer decomposed into
 * XNNPACK's primitives, and the primitives raised again must compute the same numbers; raising must find every form.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/xnnpack/xnnpack.h"
#include "runtime/program.h"
#include "runtime/raise.h"
#include "tiny_decoder.h"

enum { ROWS = 5, CACHED = 7 };

typedef struct result {
    float logits[ROWS * VOCAB], k[ROWS * KV * DIM], v[ROWS * KV * DIM];
} result;

/* Runs `rows` rows behind `cached` cache rows, asking for logits of all rows (or, with demand, of row 1 and the last).
 */
static void run_graph(dlx_graph *g, dlx_isa isa, int threads, bool demand, int64_t rows, int64_t cached, result *out)
{
    dlx_error err = {0};
    dlx_program p;
    dlx_pool *pool;
    dlx_executor *ex;
    int64_t ids[ROWS], positions[ROWS];
    int32_t wanted[2] = {1, (int32_t)rows - 1};
    float cache[2][CACHED * KV * DIM];
    uint32_t seed = 77;
    for (int i = 0; i < ROWS; i++) ids[i] = (i * 7 + 3) % VOCAB, positions[i] = i + 9;
    for (size_t t = 0; t < 2; t++)
        for (size_t i = 0; i < CACHED * KV * DIM; i++) cache[t][i] = noise(&seed);
    assert_int_equal(dlx_pool_create(&pool, threads, NULL), DLX_OK);
    dlx_program_options options = {.limit = isa, .demand = demand, .pool = pool};
    if (dlx_program_prepare(&p, g, &options, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(p.rows != DLX_NONE, demand);
    dlx_shape most[5], now[5];
    for (size_t i = 0; i < p.g.n_inputs; i++) {
        const dlx_value *v = &p.g.values[p.g.inputs[i]];
        most[i] = (dlx_shape){.rank = v->rank};
        memcpy(most[i].dim, v->dim, sizeof v->dim);
        now[i] = most[i];
        now[i].dim[0] = i < 2 ? rows : i < 4 ? cached : 2;
    }
    dlx_executor_bounds bounds = {.max_shape = most};
    if (dlx_executor_open(&ex, &p, &bounds, pool, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    dlx_tensor_ref in[5] = {{ids, now[0]},
                            {positions, now[1]},
                            {cache[0], now[2]},
                            {cache[1], now[3]},
                            {wanted, now[4]}},
                   outputs[3];
    memset(out, 0, sizeof *out);
    dlx_logits_part logits = {.data = out->logits, .rows = 2};
    dlx_pass pass = {.inputs = in, .logits = &logits, .n_logits = demand ? 1 : 0};
    if (dlx_executor_run(ex, &pass, outputs, &err) != DLX_OK) fail_msg("%s", err.message);
    if (!demand) memcpy(out->logits, outputs[0].data, (size_t)rows * VOCAB * sizeof(float));
    memcpy(out->k, outputs[1].data, (size_t)rows * KV * DIM * sizeof(float));
    memcpy(out->v, outputs[2].data, (size_t)rows * KV * DIM * sizeof(float));
    dlx_executor_close(ex);
    dlx_pool_free(pool);
    dlx_program_free(&p);
}

static void assert_close(const float *a, const float *b, size_t n, float tolerance)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= tolerance)) fail_msg("element %zu: %g and %g", i, (double)a[i], (double)b[i]);
}

static size_t count(const dlx_graph *g, dlx_op op)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].op == op;
    return n;
}

static void decomposed_and_raised_agree(void **state)
{
    (void)state;
    for (int64_t rows = 1; rows <= ROWS; rows += 2)
        for (int64_t cached = 0; cached <= CACHED; cached += 7) {
            dlx_graph g;
            result fused, primitive, raised;
            build_layer(&g, ROWS, CACHED);
            run_graph(&g, DLX_ISA_REF, 1, false, rows, cached, &fused);
            build_layer(&g, ROWS, CACHED);
            assert_int_equal(dlx_xnnpack_decompose(&g, NULL), DLX_OK);
            assert_int_equal(count(&g, DLX_OP_ATTENTION) + count(&g, DLX_OP_ROPE) + count(&g, DLX_OP_RMS_NORM) +
                                 count(&g, DLX_OP_SILU_MUL),
                             0);
            run_graph(&g, DLX_ISA_REF, 1, false, rows, cached, &primitive);
            build_layer(&g, ROWS, CACHED);
            assert_int_equal(dlx_xnnpack_decompose(&g, NULL), DLX_OK);
            assert_int_equal(dlx_raise(&g, NULL), DLX_OK);
            assert_int_equal(count(&g, DLX_OP_ATTENTION), 1);
            assert_int_equal(count(&g, DLX_OP_ROPE), 2);
            assert_int_equal(count(&g, DLX_OP_RMS_NORM), 4);
            assert_int_equal(count(&g, DLX_OP_SILU_MUL), 1);
            assert_int_equal(count(&g, DLX_OP_MUL) + count(&g, DLX_OP_BMM) + count(&g, DLX_OP_CONCAT), 0);
            run_graph(&g, dlx_cpu_best_isa(), 2, false, rows, cached, &raised);
            assert_close(fused.logits, primitive.logits, ROWS * VOCAB, 2e-5f);
            assert_close(fused.k, primitive.k, ROWS * KV * DIM, 1e-5f);
            assert_close(fused.logits, raised.logits, ROWS * VOCAB, 2e-5f);
            assert_close(fused.v, raised.v, ROWS * KV * DIM, 1e-5f);
        }
}

static void demanded_rows_equal_those_of_all(void **state)
{
    (void)state;
    dlx_graph g;
    result all, some;
    build_layer(&g, ROWS, CACHED);
    run_graph(&g, dlx_cpu_best_isa(), 1, false, ROWS, CACHED, &all);
    build_layer(&g, ROWS, CACHED);
    run_graph(&g, dlx_cpu_best_isa(), 3, true, ROWS, CACHED, &some);
    assert_memory_equal(some.logits, all.logits + VOCAB, VOCAB * sizeof(float));
    assert_memory_equal(some.logits + VOCAB, all.logits + (ROWS - 1) * VOCAB, VOCAB * sizeof(float));
}

static void thread_count_changes_nothing(void **state)
{
    (void)state;
    result one, many;
    dlx_graph g;
    build_layer(&g, ROWS, CACHED);
    run_graph(&g, dlx_cpu_best_isa(), 1, false, ROWS, CACHED, &one);
    for (int threads = 2; threads <= 5; threads++) {
        build_layer(&g, ROWS, CACHED);
        run_graph(&g, dlx_cpu_best_isa(), threads, false, ROWS, CACHED, &many);
        assert_memory_equal(&one, &many, sizeof one);
    }
}

static void ids_outside_tables_are_errors(void **state)
{
    (void)state;
    dlx_graph g;
    dlx_program p;
    dlx_pool *pool;
    dlx_executor *ex;
    dlx_error err = {0};
    build_layer(&g, ROWS, CACHED);
    assert_int_equal(dlx_pool_create(&pool, 1, NULL), DLX_OK);
    dlx_program_options options = {.limit = DLX_ISA_REF, .pool = pool};
    assert_int_equal(dlx_program_prepare(&p, &g, &options, NULL), DLX_OK);
    dlx_shape s[4] = {{1, {ROWS}}, {1, {ROWS}}, {3, {CACHED, KV, DIM}}, {3, {CACHED, KV, DIM}}};
    dlx_executor_bounds bounds = {.max_shape = s};
    assert_int_equal(dlx_executor_open(&ex, &p, &bounds, pool, NULL, NULL), DLX_OK);
    int64_t ids[ROWS] = {0, VOCAB}, positions[ROWS] = {0};
    float cache[CACHED * KV * DIM] = {0};
    dlx_tensor_ref in[4] = {{ids, s[0]}, {positions, s[1]}, {cache, s[2]}, {cache, s[3]}}, out[3];
    dlx_pass pass = {.inputs = in};
    assert_int_equal(dlx_executor_run(ex, &pass, out, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "id 11 is outside the table of 11 rows"));
    ids[1] = 1;
    in[0].shape.dim[0] = ROWS + 1;
    assert_int_equal(dlx_executor_run(ex, &pass, out, &err), DLX_E_LIMIT);
    dlx_executor_close(ex);
    dlx_pool_free(pool);
    dlx_program_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decomposed_and_raised_agree),
        cmocka_unit_test(demanded_rows_equal_those_of_all),
        cmocka_unit_test(thread_count_changes_nothing),
        cmocka_unit_test(ids_outside_tables_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
