/*
 * Which nodes run together: linear layers of the same rows and operators over the same rows, never one that would read
 * what another thread has not computed yet.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/program.h"
#include "runtime/stages.h"
#include "tiny_decoder.h"

/* Stages cover the nodes in order, nodes come behind what they read, and linear layers of a stage do not read each
 * other. */
static void check_order(const dlx_program *p)
{
    const dlx_graph *g = &p->g;
    size_t at = 0;
    for (size_t s = 0; s < p->n_stages; at = p->stages[s++].end) {
        const dlx_stage *stage = &p->stages[s];
        assert_int_equal(stage->first, at);
        assert_in_range(stage->end - stage->first, 1, DLX_STAGE_NODES);
        for (size_t i = stage->first; i < stage->end; i++) {
            assert_int_equal(g->values[g->nodes[i].out[0]].producer, i);
            for (int k = 0; k < g->nodes[i].inputs; k++) {
                uint32_t v = g->nodes[i].in[k], made = v == DLX_NONE ? DLX_NONE : g->values[v].producer;
                if (made == DLX_NONE) continue;
                assert_true(made < i);
                if (g->nodes[i].op == DLX_OP_LINEAR) assert_true(made < stage->first);
            }
        }
    }
    assert_int_equal(at, g->n_nodes);
}

static void prepare(dlx_program *p, dlx_graph *g, bool demand)
{
    dlx_error err = {0};
    const dlx_program_options o = {.limit = DLX_ISA_REF, .demand = demand};
    if (dlx_program_prepare(p, g, &o, &err) != DLX_OK) fail_msg("%s", err.message);
    check_order(p);
}

/* "q k v | ..." of a stage's nodes. */
static void describe(const dlx_program *p, char *out, size_t room)
{
    size_t n = 0;
    for (size_t s = 0; s < p->n_stages; s++) {
        for (size_t i = p->stages[s].first; i < p->stages[s].end; i++)
            n += (size_t)snprintf(out + n, room - n, "%s ", dlx_op_name(p->g.nodes[i].op));
        n += (size_t)snprintf(out + n, room - n, "| ");
        assert_true(n < room);
    }
}

static void stages_of_a_decoder(void **state)
{
    char text[1024];
    dlx_graph g;
    dlx_program p;
    (void)state;
    build_layer(&g, 16, 24);
    prepare(&p, &g, true);
    describe(&p, text, sizeof text);
    assert_string_equal(text, "EMBEDDING | EMBEDDING | EMBEDDING | RMS_NORM | LINEAR LINEAR LINEAR | "
                              "RESHAPE RMS_NORM ROPE RESHAPE ROPE | RESHAPE | ATTENTION | LINEAR | ADD RMS_NORM | "
                              "LINEAR LINEAR SILU_MUL | LINEAR | ADD | ROW_SELECT | RMS_NORM | LINEAR | ");
    dlx_program_free(&p);
}

static uint32_t rows_input(dlx_graph *g, const char *name)
{
    int64_t dim[2] = {16, HIDDEN};
    return dlx_graph_input(g, name, DLX_F32, 2, dim, 1);
}

/* A layer over what another one gives waits for it. */
static void a_chain_of_linears(void **state)
{
    char text[256];
    dlx_graph g;
    dlx_program p;
    (void)state;
    dlx_graph_init(&g);
    uint32_t x = rows_input(&g, "x"), w = weight(&g, "w", 2, HIDDEN, HIDDEN, 1),
             u = weight(&g, "u", 2, HIDDEN, HIDDEN, 2);
    uint32_t a = node(&g, DLX_OP_LINEAR, 2, (uint32_t[]){x, w}, NULL);
    uint32_t b = node(&g, DLX_OP_LINEAR, 2, (uint32_t[]){a, w}, NULL);
    uint32_t c = node(&g, DLX_OP_LINEAR, 2, (uint32_t[]){x, u}, NULL);
    assert_true(dlx_graph_output(&g, b) && dlx_graph_output(&g, c));
    prepare(&p, &g, false);
    describe(&p, text, sizeof text);
    assert_string_equal(text, "LINEAR LINEAR | LINEAR | ");
    dlx_program_free(&p);
}

/* Rotations whose angles an operator of the same loop would still be computing are not of that loop. */
static void angles_come_first(void **state)
{
    char text[256];
    dlx_graph g;
    dlx_program p;
    (void)state;
    dlx_graph_init(&g);
    int64_t three[3] = {16, HEADS, DIM}, two[2] = {16, DIM};
    uint32_t x = dlx_graph_input(&g, "x", DLX_F32, 3, three, 1), cos = dlx_graph_input(&g, "cos", DLX_F32, 2, two, 1),
             sin = dlx_graph_input(&g, "sin", DLX_F32, 2, two, 1);
    uint32_t twice = node(&g, DLX_OP_ADD, 2, (uint32_t[]){cos, cos}, NULL);
    uint32_t y = node(&g, DLX_OP_ROPE, 3, (uint32_t[]){x, twice, sin}, NULL);
    assert_true(dlx_graph_output(&g, node(&g, DLX_OP_ADD, 2, (uint32_t[]){y, x}, NULL)));
    prepare(&p, &g, false);
    describe(&p, text, sizeof text);
    assert_string_equal(text, "ADD | ROPE ADD | ");
    dlx_program_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_of_a_decoder),
        cmocka_unit_test(a_chain_of_linears),
        cmocka_unit_test(angles_come_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
