/*
 * Memory runs out at every place where exporting and finding checkpoints ask for it, as in test_out_of_memory.c: a
 * sentence, an older file as it was, and the same call succeeds afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fail_fixture.h"
#include "fail_memory.h"

#include "backends/coreml/coreml.h"
#include "backends/partition.h"
#include "base/sizes.h"
#include "model/checkpoint.h"
#include "quant/quant.h"

typedef struct exporting {
    dlx_export_options options;
    target target;
} exporting;

static dlx_status run_export(void *ctx, dlx_error *err)
{
    exporting *x = ctx;
    dlx_export_result result;
    dlx_status s;
    poison(&result, sizeof result);
    result.struct_size = sizeof result;
    reset_target(&x->target, !x->target.exists); /* both are tried, in turns */
    WATCHED(s, dlx_export(&x->options, &result, err));
    if (s == DLX_OK) {
        assert_target_written(&x->target, result.file_bytes);
    } else {
        assert_target_untouched(&x->target);
        assert_zero(&result.file_bytes, sizeof result - sizeof result.struct_size);
    }
    return s;
}

static void exports(void **state)
{
    (void)state;
    exporting x = {.target = new_target("model.pte")};
    char checkpoint[1024], what[64];
    /* Together: both layouts of tensor names, one file and shards, with biases and with norms of heads. */
    static const struct {
        const char *family;
        bool int8;
        const char *kv;
        size_t methods; /* further ones */
    } kinds[] = {{"sdar", true, "explicit", 0},
                 {"llada", false, "caller", 1},
                 {"sdar", false, "state", 0},
                 {"fast_dllm_v2", true, "caller", 0}};
    static const int32_t rows[] = {8};
    for (size_t i = 0; i < DLX_COUNT(kinds); i++) {
        checkpoint_of(checkpoint, kinds[i].family);
        x.options = tiny_export(checkpoint, x.target.path, kinds[i].int8);
        x.options.kv = kinds[i].kv;
        x.options.method_rows = rows;
        x.options.n_method_rows = kinds[i].methods;
        snprintf(what, sizeof what, "export %s %s %s", kinds[i].family, x.options.quantization, kinds[i].kv);
        every_request_fails(what, run_export, &x);
    }
    remove_target(&x.target);
}

static dlx_status run_resolve(void *ctx, dlx_error *err)
{
    char *folder = (char *)1;
    dlx_status s;
    WATCHED(s, dlx_resolve_checkpoint(&folder, ctx, err));
    if (s != DLX_OK) assert_null(folder);
    if (s == DLX_OK) assert_true(dlx_is_folder(folder) && strstr(folder, "snapshots/abc"));
    free(folder);
    return s;
}

/* A repository of the Hugging Face cache, by name and as a folder. */
static void finding_checkpoints(void **state)
{
    (void)state;
    copy cache = new_folder();
    char path[1024], repository[1024], snapshot[1024];
    path_in(repository, cache.folder, "models--org--name");
    path_in(path, repository, "snapshots");
    path_in(snapshot, path, "abc");
    assert_int_equal(mkdir(repository, 0777) | mkdir(path, 0777) | mkdir(snapshot, 0777), 0);
    setenv("HF_HUB_CACHE", cache.folder, 1);
    every_request_fails("find the only snapshot", run_resolve, "org/name");
    every_request_fails("find a checkpoint in a folder", run_resolve, repository);
    path_in(path, repository, "refs");
    assert_int_equal(mkdir(path, 0777), 0);
    write_text(&cache, "models--org--name/refs/main", "abc\n");
    every_request_fails("find the revision that refs/main names", run_resolve, "org/name");
    remove_copy(&cache);
}

typedef struct lowering {
    dlx_part part;
    dlx_lowering how;
    char package[1024];
} lowering;

static dlx_status run_lower(void *ctx, dlx_error *err)
{
    lowering *l = ctx;
    dlx_delegate d;
    dlx_arena arena;
    dlx_status s;
    poison(&d, sizeof d);
    dlx_arena_init(&arena);
    WATCHED(s, dlx_coreml_lower_part(&d, &arena, &l->part, &l->how, err));
    if (s != DLX_OK) assert_zero(&d, sizeof d);
    if (s == DLX_OK) assert_int_equal(d.n_args, l->part.n_inputs + l->part.n_outputs);
    dlx_arena_free(&arena);
    return s;
}

/* Of the part that brings the program along. */
static dlx_status run_siblings(void *ctx, dlx_error *err)
{
    const lowering *l = ctx;
    dlx_delegate d;
    dlx_arena arena;
    dlx_status s;
    poison(&d, sizeof d);
    dlx_arena_init(&arena);
    WATCHED(s, dlx_coreml_lower_part(&d, &arena, l->how.siblings->part, &l->how, err));
    if (s != DLX_OK) assert_zero(&d, sizeof d);
    if (s == DLX_OK) assert_true(d.data.key && d.data.n_pieces > 1);
    dlx_arena_free(&arena);
    return s;
}

static dlx_status run_package(void *ctx, dlx_error *err)
{
    lowering *l = ctx;
    struct stat st;
    dlx_status s;
    WATCHED(s, dlx_coreml_package(l->package, &l->part, &l->how, NULL, err));
    if (s == DLX_OK)
        remove_tree(l->package);
    else
        assert_int_not_equal(stat(l->package, &st), 0);
    return s;
}

static void parts_become_coreml_programs(void **state)
{
    (void)state;
    copy c = new_folder();
    lowering l = {.how = {.method = "forward", .mark = "#0123456789abcdef"}};
    dlx_checkpoint checkpoint;
    dlx_graph g;
    dlx_arena arena;
    dlx_partition parts;
    const dlx_weight_form *form = dlx_form_find("int4-g32");
    path_in(l.package, c.folder, "model.mlpackage");
    dlx_graph_init(&g);
    dlx_arena_init(&arena);
    CHECK(dlx_checkpoint_open(&checkpoint, TINY("sdar"), NULL, err));
    CHECK(dlx_build_graph(&g, &checkpoint, DLX_KV_FIXED_F16, 4, 8, err));
    CHECK(dlx_quantize(&g, &(dlx_recipe){.body = form, .head = form, .table = dlx_form_find("none")}, err));
    dlx_home by_layer = dlx_coreml_home;
    by_layer.layers = 1;
    CHECK(dlx_partition_make(&parts, &arena, &g, &by_layer, 1, err));
    assert_int_equal(parts.n_parts, 2);
    l.part = parts.parts[0].part;
    every_request_fails("lower a part to CoreML", run_lower, &l);
    every_request_fails("write a model package", run_package, &l);
    dlx_arena_free(&arena);
    dlx_graph_free(&g);
    dlx_checkpoint_close(&checkpoint);
    remove_copy(&c);
}

/* Of a layer that is there in two methods. */
static void siblings_become_one_program(void **state)
{
    (void)state;
    static const float weights[8 * 32], one[1];
    const int64_t in[2] = {3, 32}, shape[2] = {8, 32}, single = 1;
    const dlx_const_source w = {.data = weights, .bytes = sizeof weights, .stored = DLX_F32},
                           s = {.data = one, .bytes = sizeof one, .stored = DLX_F32};
    dlx_graph g;
    dlx_arena arena;
    dlx_partition parts;
    dlx_error e = {0};
    dlx_graph_init(&g);
    dlx_arena_init(&arena);
    uint32_t x = dlx_graph_input(&g, "x", DLX_F32, 2, in, 0);
    uint32_t y[2] = {x, dlx_graph_const(&g, "w", DLX_F32, 2, shape, w)};
    y[0] = dlx_graph_node(&g, DLX_OP_LINEAR, y, 2, NULL, 0, &e);
    y[1] = dlx_graph_const(&g, "s", DLX_F32, 1, &single, s);
    assert_true(dlx_graph_output(&g, dlx_graph_node(&g, DLX_OP_MUL, y, 2, NULL, 0, &e)));
    CHECK(dlx_partition_make(&parts, &arena, &g, &dlx_coreml_home, 1, err));
    const dlx_part *part = &parts.parts[0].part;
    const dlx_sibling siblings[2] = {{"forward", part}, {"forward_2", part}};
    lowering l = {.how = {.method = "forward", .siblings = siblings, .n_siblings = 2}};
    every_request_fails("lower siblings to CoreML", run_siblings, &l);
    dlx_arena_free(&arena);
    dlx_graph_free(&g);
}

static void requests_were_seen(void **state)
{
    (void)state;
    assert_seen(1u << REQUEST_HEAP | 1u << REQUEST_ARENA | 1u << REQUEST_FOLDER | 1u << REQUEST_HINT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exports),
        cmocka_unit_test(finding_checkpoints),
        cmocka_unit_test(parts_become_coreml_programs),
        cmocka_unit_test(siblings_become_one_program),
        cmocka_unit_test(requests_were_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
