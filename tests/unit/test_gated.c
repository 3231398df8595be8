/*
 * The two sides of a gated MLP and their product as one loop (runtime/linears.c): the same bits as operator by
 * operator, for either order of the sides, widths that are no multiple of a strip, any number of rows and threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "runtime/program.h"
#include "tiny_decoder.h"

enum { MOST_ROWS = 300, MOST_WIDTH = 131 };

/* What is different from one program to the next. */
typedef struct variant {
    int64_t width;
    bool swapped; /* the first LINEAR is the side without SiLU */
    bool shown;   /* both sides are outputs as well, so they are not one loop with their product */
} variant;

static void build(dlx_graph *g, const variant *v)
{
    dlx_graph_init(g);
    int64_t dim[2] = {MOST_ROWS, HIDDEN};
    uint32_t x = dlx_graph_input(g, "x", DLX_F32, 2, dim, 1);
    uint32_t a = node(g, DLX_OP_LINEAR, 2, (uint32_t[]){x, weight(g, "a", 2, v->width, HIDDEN, 1)}, NULL);
    uint32_t b =
        node(g, DLX_OP_LINEAR, 3,
             (uint32_t[]){x, weight(g, "b", 2, v->width, HIDDEN, 2), weight(g, "bias", 1, v->width, 0, 3)}, NULL);
    uint32_t y = node(g, DLX_OP_SILU_MUL, 2, v->swapped ? (uint32_t[]){b, a} : (uint32_t[]){a, b}, NULL);
    assert_true(dlx_graph_output(g, y));
    if (v->shown) assert_true(dlx_graph_output(g, a) && dlx_graph_output(g, b));
    assert_int_equal(dlx_graph_verify(g, NULL), DLX_OK);
}

static void run(float *y, const variant *v, dlx_isa isa, int threads, int64_t rows)
{
    dlx_error err = {0};
    dlx_graph g;
    dlx_program p;
    dlx_pool *pool;
    dlx_executor *ex;
    uint32_t seed = 9;
    float *x = malloc(MOST_ROWS * HIDDEN * sizeof *x);
    for (size_t i = 0; i < MOST_ROWS * HIDDEN; i++) x[i] = 4 * noise(&seed);
    build(&g, v);
    assert_int_equal(dlx_pool_create(&pool, threads, NULL), DLX_OK);
    const dlx_program_options options = {.limit = isa, .pool = pool};
    if (dlx_program_prepare(&p, &g, &options, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(p.stages[0].kind, v->shown ? DLX_STAGE_LINEARS : DLX_STAGE_GATED);
    dlx_shape most = {2, {MOST_ROWS, HIDDEN}};
    dlx_executor_bounds bounds = {.max_shape = &most};
    if (dlx_executor_open(&ex, &p, &bounds, pool, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    dlx_tensor_ref in = {x, {2, {rows, HIDDEN}}}, out[3];
    if (dlx_executor_run(ex, &(dlx_pass){.inputs = &in}, out, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(out[0].shape.dim[0], rows);
    memcpy(y, out[0].data, (size_t)(rows * v->width) * sizeof *y);
    dlx_executor_close(ex);
    dlx_pool_free(pool);
    dlx_program_free(&p);
    free(x);
}

static void one_loop_or_three(void **state)
{
    static const int64_t rows[] = {0, 1, 2, 7, 33, 255, 256, MOST_ROWS}, widths[] = {1, 32, 40, MOST_WIDTH};
    static float expected[MOST_ROWS * MOST_WIDTH], y[MOST_ROWS * MOST_WIDTH];
    const dlx_isa isas[] = {DLX_ISA_REF, dlx_cpu_best_isa()};
    (void)state;
    for (size_t i = 0; i < 2; i++)
        for (size_t w = 0; w < 4; w++)
            for (size_t r = 0; r < 8; r++)
                for (int swapped = 0; swapped < 2; swapped++) {
                    const variant three = {widths[w], swapped, true}, one = {widths[w], swapped, false};
                    run(expected, &three, isas[i], 1, rows[r]);
                    run(y, &one, isas[i], 1 + (int)(r % 3), rows[r]);
                    assert_memory_equal(expected, y, (size_t)(rows[r] * widths[w]) * sizeof *y);
                }
}

/* What is not written down takes no memory. */
static void takes_less_memory(void **state)
{
    const variant variants[] = {{MOST_WIDTH, false, true}, {MOST_WIDTH, false, false}};
    uint64_t bytes[2];
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        dlx_graph g;
        dlx_program p;
        dlx_shape most = {2, {MOST_ROWS, HIDDEN}};
        const dlx_executor_bounds bounds = {.max_shape = &most};
        build(&g, &variants[i]);
        assert_int_equal(dlx_program_prepare(&p, &g, &(dlx_program_options){.limit = DLX_ISA_REF}, NULL), DLX_OK);
        assert_int_equal(dlx_executor_size(&p, &bounds, 1, &bytes[i], NULL), DLX_OK);
        dlx_program_free(&p);
    }
    assert_true(bytes[1] + MOST_ROWS * MOST_WIDTH * sizeof(float) < bytes[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_loop_or_three),
        cmocka_unit_test(takes_less_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
