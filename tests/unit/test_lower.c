/*
 * Methods of several delegates: a graph that goes to more than one home, or to delegates of a few layers each, is the
 * same program; what nobody takes is named.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "diffulex_edge/method.h"

#include "backends/coreml/coreml.h"
#include "backends/partition.h"
#include "backends/xnnpack/xnnpack.h"
#include "base/sizes.h"
#include "model/checkpoint.h"
#include "pte_file.h"

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        dlx_error of_call = {0}, *err = &of_call;                                                                      \
        if ((call) != DLX_OK) fail_msg("%s: %s", #call, of_call.message);                                              \
    } while (0)

enum { ROWS = 4, CONTEXT = 8, VOCAB = 1472 };

static bool takes_products(const dlx_graph *g, const dlx_node *n)
{
    (void)g;
    return n->op == DLX_OP_LINEAR || n->op == DLX_OP_BMM || n->op == DLX_OP_SOFTMAX;
}

static bool takes_all_but_softmax(const dlx_graph *g, const dlx_node *n)
{
    return n->op != DLX_OP_SOFTMAX && dlx_xnnpack_home.takes(g, n);
}

static void build(dlx_graph *g, dlx_checkpoint *c)
{
    CHECK(dlx_checkpoint_open(c, DLX_TEST_DATA "/checkpoints/llada-tiny", NULL, err));
    dlx_graph_init(g);
    CHECK(dlx_build_graph(g, c, DLX_KV_FIXED, ROWS, CONTEXT, err));
    CHECK(dlx_xnnpack_decompose(g, err));
    CHECK(dlx_graph_prune(g, err));
}

/* The logits of a call of the file, which is removed. */
static void run(const char *path, float *logits)
{
    static int64_t tokens[ROWS] = {5, 9, 200, 31}, positions[ROWS] = {2, 3, 4, 5};
    static float mask[ROWS * (CONTEXT + ROWS)], none[CONTEXT * 64 * 8];
    dlx_method *m;
    dlx_tensor in[16] = {{0}}, out = {.struct_size = sizeof out};
    CHECK(dlx_method_open(&m, path, "forward", NULL, err));
    for (int i = 0; i < ROWS * (CONTEXT + ROWS); i++) mask[i] = i % (CONTEXT + ROWS) < CONTEXT ? -10000.0f : 0.0f;
    size_t n = dlx_method_num_inputs(m);
    assert_true(n > 3 && n <= DLX_COUNT(in));
    for (size_t i = 0; i < n; i++) {
        dlx_tensor_info info = {.struct_size = sizeof info};
        CHECK(dlx_method_input_info(m, i, &info, err));
        in[i] = (dlx_tensor){.struct_size = sizeof in[i], .element = info.element, .rank = info.rank};
        memcpy(in[i].size, info.size, sizeof info.size);
        in[i].data = i == 0 ? (void *)tokens : i == 1 ? (void *)positions : i == 2 ? mask : none;
    }
    CHECK(dlx_method_run(m, in, n, err));
    CHECK(dlx_method_output(m, 0, &out, err));
    assert_true(out.size[0] == ROWS && out.size[1] == VOCAB);
    memcpy(logits, out.data, ROWS * VOCAB * sizeof(float));
    dlx_method_close(m);
    unlink(path);
}

/* Lowers, writes and runs the tiny model; how many delegates it has got. */
static uint32_t logits_of(float *logits, const dlx_home *homes, size_t n_homes)
{
    char path[] = "/tmp/dlx-test-XXXXXX";
    int fd = mkstemp(path);
    dlx_checkpoint c = {0};
    dlx_graph g;
    dlx_arena arena;
    dlx_pte_plan plan;
    dlx_pte_blob *blobs;
    uint32_t n_blobs;
    const dlx_lower_request request = {.how = {.method = "forward"}, .homes = homes, .n_homes = n_homes};
    assert_true(fd >= 0);
    close(fd);
    build(&g, &c);
    dlx_arena_init(&arena);
    CHECK(dlx_lower(&plan, &blobs, &n_blobs, &arena, &g, &request, err));
    CHECK(write_pte_file(path, &plan, blobs, n_blobs, err));
    uint32_t delegates = plan.n_delegates;
    dlx_arena_free(&arena);
    dlx_graph_free(&g);
    dlx_checkpoint_close(&c);
    run(path, logits);
    return delegates;
}

static void delegates_of_some_layers_or_operators_are_the_same_program(void **state)
{
    (void)state;
    static float whole[ROWS * VOCAB], parts[ROWS * VOCAB];
    dlx_home each = dlx_xnnpack_home, two = dlx_xnnpack_home, products = dlx_xnnpack_home;
    each.layers = 1;
    two.layers = 2;
    products.takes = takes_products;
    const dlx_home mixed[] = {products, dlx_xnnpack_home};
    assert_int_equal(logits_of(whole, &dlx_xnnpack_home, 1), 1);
    assert_true(whole[0] != whole[1]);
    assert_int_equal(logits_of(parts, &each, 1), 3); /* the last one has the head as well */
    assert_memory_equal(parts, whole, sizeof whole);
    assert_int_equal(logits_of(parts, &two, 1), 2);
    assert_memory_equal(parts, whole, sizeof whole);
    assert_true(logits_of(parts, mixed, 2) > 20); /* products and what is between them take turns */
    assert_memory_equal(parts, whole, sizeof whole);
}

static void parts_have_what_they_read_and_give(void **state)
{
    (void)state;
    dlx_checkpoint c = {0};
    dlx_graph g;
    dlx_arena arena;
    dlx_partition p;
    dlx_home each = dlx_xnnpack_home;
    each.layers = 1;
    dlx_arena_init(&arena);
    build(&g, &c);
    CHECK(dlx_partition_make(&p, &arena, &g, &each, 1, err));
    assert_int_equal(p.n_parts, 3);
    size_t nodes = 0;
    for (size_t i = 0; i < p.n_parts; i++) {
        const dlx_part *part = &p.parts[i].part;
        nodes += part->n_nodes;
        /* mask, two caches, hidden rows, cosines and sines; hidden rows or logits, and new rows of the two caches. */
        assert_int_equal(part->n_inputs, 6);
        assert_int_equal(part->n_outputs, 3);
        for (size_t k = 0; k < part->n_inputs; k++) assert_true(g.values[part->inputs[k]].kind != DLX_VALUE_CONST);
    }
    for (size_t i = 0; i < g.n_nodes; i++) nodes += dlx_is_outside(&g, &g.nodes[i]);
    assert_int_equal(nodes, g.n_nodes);
    dlx_arena_free(&arena);
    dlx_graph_free(&g);
    dlx_checkpoint_close(&c);
}

static void what_nobody_takes_is_named(void **state)
{
    (void)state;
    dlx_checkpoint c = {0};
    dlx_graph g;
    dlx_arena arena;
    dlx_pte_plan plan;
    dlx_pte_blob *blobs;
    uint32_t n_blobs;
    dlx_error refused = {0};
    dlx_home homes[2] = {dlx_xnnpack_home, dlx_xnnpack_home};
    homes[0].takes = takes_products;
    homes[0].name = "products";
    const dlx_lower_request request = {.how = {.method = "forward"}, .homes = homes, .n_homes = 1},
                            both = {.how = {.method = "forward"}, .homes = homes, .n_homes = 2};
    homes[1].takes = takes_all_but_softmax;
    dlx_arena_init(&arena);
    build(&g, &c);
    assert_int_equal(dlx_lower(&plan, &blobs, &n_blobs, &arena, &g, &request, &refused), DLX_E_UNSUPPORTED);
    assert_non_null(strstr(refused.message, "products has no operator"));
    CHECK(dlx_lower(&plan, &blobs, &n_blobs, &arena, &g, &both, err));
    dlx_arena_free(&arena);
    dlx_graph_free(&g);
    dlx_checkpoint_close(&c);
}

static bool takes_no_cache(const dlx_graph *g, const dlx_node *n)
{
    (void)g;
    return n->op != DLX_OP_ATTENTION && n->op != DLX_OP_CONVERT;
}

/* What one delegate keeps, another cannot have. */
static void a_cache_that_a_home_keeps_is_read_there(void **state)
{
    (void)state;
    dlx_checkpoint c = {0};
    dlx_graph g;
    dlx_arena arena;
    dlx_partition p;
    dlx_error refused = {0};
    dlx_home homes[2] = {dlx_coreml_home, dlx_coreml_home};
    dlx_arena_init(&arena);
    dlx_graph_init(&g);
    CHECK(dlx_checkpoint_open(&c, DLX_TEST_DATA "/checkpoints/llada-tiny", NULL, err));
    CHECK(dlx_build_graph(&g, &c, DLX_KV_FIXED_STATE, ROWS, CONTEXT, err));
    CHECK(dlx_partition_make(&p, &arena, &g, homes, 1, err));
    assert_int_equal(p.n_parts, 1);
    for (size_t i = 0; i < g.n_nodes; i++)
        assert_int_equal(p.outside[i], g.nodes[i].op == DLX_OP_EMBEDDING); /* which are not updates */
    homes[0].name = "products";
    homes[0].takes = takes_no_cache;
    assert_int_equal(dlx_partition_make(&p, &arena, &g, homes, 2, &refused), DLX_E_UNSUPPORTED);
    assert_non_null(
        strstr(refused.message, "products keeps a part of the cache (layer 0) that it does not read alone"));
    dlx_arena_free(&arena);
    dlx_graph_free(&g);
    dlx_checkpoint_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delegates_of_some_layers_or_operators_are_the_same_program),
        cmocka_unit_test(parts_have_what_they_read_and_give),
        cmocka_unit_test(what_nobody_takes_is_named),
        cmocka_unit_test(a_cache_that_a_home_keeps_is_read_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
