/* The arena's plan around SILU_MUL: it is computed where its first operand lies, if nobody reads that later, and what
 * it reads is not overwritten by a quantiser that begins before all its rows are computed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/executor.h"

enum { ROWS = 32, WIDTH = 64, MOST_VALUES = 16 };

typedef struct plan {
    dlx_program p;
    dlx_shape shape[MOST_VALUES];
    uint64_t offset[MOST_VALUES], total;
    uint32_t root[MOST_VALUES];
    uint32_t gate, up, product, quantised;
} plan;

static uint32_t add(dlx_graph *g, dlx_op op, uint32_t a, uint32_t b)
{
    const uint32_t in[2] = {a, b};
    uint32_t v = dlx_graph_node(g, op, in, b == DLX_NONE ? 1 : 2, NULL, -1, NULL);
    assert_int_not_equal(v, DLX_NONE);
    return v;
}

/* silu(-x) * (x + x), quantised; `again`: somebody reads -x behind it; `between`: something runs in between. */
static void make_plan(plan *l, bool again, bool between)
{
    dlx_graph *g = &l->p.g;
    const int64_t dim[2] = {ROWS, WIDTH};
    dlx_error err = {0};
    *l = (plan){.p = {.rows = DLX_NONE}};
    dlx_graph_init(g);
    dlx_kernels_init(&l->p.k, DLX_ISA_REF);
    uint32_t x = dlx_graph_input(g, "x", DLX_F32, 2, dim, 1);
    l->gate = add(g, DLX_OP_NEG, x, DLX_NONE);
    l->up = add(g, DLX_OP_ADD, x, x);
    l->product = add(g, DLX_OP_SILU_MUL, l->gate, l->up);
    if (between) dlx_graph_output(g, add(g, DLX_OP_NEG, x, DLX_NONE));
    dlx_value q = {.dtype = DLX_QD8,
                   .kind = DLX_VALUE_TEMP,
                   .rank = 2,
                   .dynamic = 1,
                   .dim = {ROWS, WIDTH},
                   .scales = DLX_NONE,
                   .producer = DLX_NONE};
    dlx_node convert = {.op = DLX_OP_CONVERT, .inputs = 1, .outputs = 1, .in = {l->product}};
    l->quantised = dlx_graph_node_to(g, convert, dlx_graph_value(g, &q), &err);
    assert_int_not_equal(l->quantised, DLX_NONE);
    if (again) dlx_graph_output(g, add(g, DLX_OP_NEG, l->gate, DLX_NONE));
    assert_true(g->n_values < MOST_VALUES);
    l->shape[x] = (dlx_shape){.rank = 2, .dim = {ROWS, WIDTH}};
    if (dlx_graph_infer(g, l->shape, &err) != DLX_OK) fail_msg("%s", err.message);
    if (dlx_plan_arena(&l->p, l->shape, l->offset, l->root, &l->total, &err) != DLX_OK) fail_msg("%s", err.message);
}

static bool overlap(const plan *l, uint32_t a, uint32_t b)
{
    uint64_t from = l->offset[l->root[a]], to = l->offset[l->root[b]];
    return from < to + dlx_value_bytes(&l->p, b, &l->shape[b]) && to < from + dlx_value_bytes(&l->p, a, &l->shape[a]);
}

static void silu_mul(void **state)
{
    (void)state;
    for (int again = 0; again < 2; again++)
        for (int between = 0; between < 2; between++) {
            plan l;
            make_plan(&l, again, between);
            assert_int_equal(dlx_quantises_next(&l.p, 2), !between);
            assert_int_equal(l.root[l.product], again ? l.product : l.gate);
            assert_int_equal(overlap(&l, l.product, l.gate), !again);
            assert_false(overlap(&l, l.product, l.up));
            assert_false(overlap(&l, l.quantised, l.product));
            if (!between) assert_false(overlap(&l, l.quantised, l.up));
            dlx_graph_free(&l.p.g);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(silu_mul)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
