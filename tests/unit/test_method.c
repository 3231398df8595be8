/* Methods of programs: what they say about their tensors, what calls are refused, and what is kept between calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "diffulex_edge/method.h"

#define PROGRAM(name) DLX_TEST_DATA "/foreign/" name ".pte"

static dlx_method *open_method(const char *path, const dlx_method_options *o)
{
    dlx_method *m;
    dlx_error err = {0};
    if (dlx_method_open(&m, path, NULL, o, &err) != DLX_OK) fail_msg("%s", err.message);
    return m;
}

static void fails(dlx_status got, dlx_status want, const dlx_error *err, const char *message)
{
    if (got != want || err->status != want || !strstr(err->message, message))
        fail_msg("%d, '%s'; expected %d, '%s'", got, err->message, want, message);
}

static void elements_have_names_and_sizes(void **state)
{
    (void)state;
    static const struct {
        int32_t element;
        const char *name;
        size_t size;
    } all[] = {
        {DLX_ELEMENT_UINT8, "uint8", 1},
        {DLX_ELEMENT_INT8, "int8", 1},
        {DLX_ELEMENT_INT32, "int32", 4},
        {DLX_ELEMENT_INT64, "int64", 8},
        {DLX_ELEMENT_FLOAT16, "float16", 2},
        {DLX_ELEMENT_FLOAT32, "float32", 4},
        {DLX_ELEMENT_BOOL, "bool", 1},
        {DLX_ELEMENT_BFLOAT16, "bfloat16", 2},
        {2, "?", 0},
        {-1, "?", 0},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_string_equal(dlx_element_name(all[i].element), all[i].name);
        assert_int_equal(dlx_element_size(all[i].element), all[i].size);
    }
}

static void tensors_are_described(void **state)
{
    (void)state;
    dlx_method *m = open_method(PROGRAM("decoder_cache_dynamic"), NULL);
    dlx_error err = {0};
    dlx_tensor_info info = {.struct_size = sizeof info};
    assert_int_equal(dlx_method_num_inputs(m), 2);
    assert_int_equal(dlx_method_num_outputs(m), 1);
    assert_int_equal(dlx_method_state_bytes(m), 4 * 24 * 2 * 8 * sizeof(float));
    assert_int_equal(dlx_method_input_info(m, 0, &info, &err), DLX_OK);
    assert_int_equal(info.element, DLX_ELEMENT_INT64);
    assert_int_equal(info.rank, 2);
    assert_true(info.size[0] == 1 && info.size[1] == 8 && info.dynamic == 2);
    assert_int_equal(dlx_method_input_info(m, 1, &info, &err), DLX_OK);
    assert_true(info.rank == 1 && info.size[0] == 8 && info.dynamic == 1);
    assert_int_equal(dlx_method_output_info(m, 0, &info, &err), DLX_OK);
    assert_int_equal(info.element, DLX_ELEMENT_FLOAT32);
    assert_true(info.rank == 3 && info.size[0] == 1 && info.size[1] == 8 && info.size[2] == 40 && info.dynamic == 2);
    fails(dlx_method_input_info(m, 2, &info, &err), DLX_E_INVALID, &err, "input 2 was asked for; the method has 2");
    fails(dlx_method_output_info(m, 1, &info, &err), DLX_E_INVALID, &err, "output 1 was asked for; the method has 1");
    info.struct_size = 0;
    fails(dlx_method_input_info(m, 0, &info, &err), DLX_E_INVALID, &err, "dlx_tensor_info");
    dlx_method_close(m);
    dlx_method_close(NULL);
}

static void *refuse(void *ctx, size_t size, size_t align)
{
    (void)ctx;
    (void)size;
    (void)align;
    return NULL;
}

static void what_cannot_open_is_said(void **state)
{
    (void)state;
    dlx_method *m = (dlx_method *)1;
    dlx_error err = {0};
    dlx_method_options o = dlx_method_options_default();
    const char *mlp = PROGRAM("mlp_static");
    fails(dlx_method_open(NULL, mlp, NULL, NULL, &err), DLX_E_INVALID, &err, "must not be NULL");
    fails(dlx_method_open(&m, NULL, NULL, NULL, &err), DLX_E_INVALID, &err, "must not be NULL");
    fails(dlx_method_open(&m, PROGRAM("nothing"), NULL, NULL, &err), DLX_E_IO, &err, "nothing.pte");
    assert_null(m);
    fails(dlx_method_open(&m, mlp, "backward", NULL, &err), DLX_E_UNSUPPORTED, &err, "no method 'backward'");
    assert_non_null(strstr(err.message, "mlp_static.pte"));
    o.threads = -1;
    fails(dlx_method_open(&m, mlp, NULL, &o, &err), DLX_E_INVALID, &err, "threads is -1");
    o.threads = 0;
    o.cpu = "abacus";
    fails(dlx_method_open(&m, mlp, NULL, &o, &err), DLX_E_INVALID, &err, "abacus");
    o.cpu = NULL;
    dlx_allocator half = {.alloc = refuse};
    o.allocator = &half;
    fails(dlx_method_open(&m, mlp, NULL, &o, &err), DLX_E_INVALID, &err, "both of its functions");
    o.allocator = NULL;
    dlx_thread_pool *pool;
    assert_int_equal(dlx_thread_pool_create(&pool, 2, &err), DLX_OK);
    o.pool = pool;
    o.threads = 2;
    fails(dlx_method_open(&m, mlp, NULL, &o, &err), DLX_E_INVALID, &err, "a pool was given");
    o.threads = 0;
    dlx_method_close(open_method(mlp, &o));
    dlx_thread_pool_free(pool);
    o.struct_size = 3;
    fails(dlx_method_open(&m, mlp, NULL, &o, &err), DLX_E_INVALID, &err, "dlx_method_options");
}

static void calls_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    dlx_method *m = open_method(PROGRAM("mlp_dynamic"), NULL);
    static float data[17 * 12];
    dlx_error err = {0};
    const dlx_tensor good = {sizeof good, DLX_ELEMENT_FLOAT32, 2, {5, 12}, data};
    dlx_tensor x = good, out = {.struct_size = sizeof out};
    fails(dlx_method_output(m, 0, &out, &err), DLX_E_INVALID, &err, "before a call succeeded");
    fails(dlx_method_run(m, &x, 0, &err), DLX_E_INVALID, &err, "0 inputs were given; the method takes 1");
    x.element = DLX_ELEMENT_INT64;
    fails(dlx_method_run(m, &x, 1, &err), DLX_E_INVALID, &err, "input 0 holds int64; expected float32");
    x = good;
    x.rank = 1;
    fails(dlx_method_run(m, &x, 1, &err), DLX_E_INVALID, &err, "input 0 has 1 dimensions; expected 2");
    x = good;
    x.size[0] = -5;
    fails(dlx_method_run(m, &x, 1, &err), DLX_E_INVALID, &err, "dimension 0 is -5");
    x.size[0] = 17;
    fails(dlx_method_run(m, &x, 1, &err), DLX_E_LIMIT, &err, "17");
    x = good;
    x.size[1] = 11;
    fails(dlx_method_run(m, &x, 1, &err), DLX_E_LIMIT, &err, "expected exactly 12");
    x = good;
    x.data = (char *)data + 1;
    fails(dlx_method_run(m, &x, 1, &err), DLX_E_INVALID, &err, "a multiple of 4 bytes");
    x.data = NULL;
    fails(dlx_method_run(m, &x, 1, &err), DLX_E_INVALID, &err, "a multiple of 4 bytes");
    x = good;
    x.struct_size = 0;
    fails(dlx_method_run(m, &x, 1, &err), DLX_E_INVALID, &err, "dlx_tensor");
    assert_int_equal(dlx_method_run(m, &good, 1, &err), DLX_OK);
    assert_int_equal(dlx_method_output(m, 0, &out, &err), DLX_OK);
    assert_true(out.rank == 2 && out.size[0] == 5);
    fails(dlx_method_output(m, 1, &out, &err), DLX_E_INVALID, &err, "output 1 was asked for; the method has 1");
    fails(dlx_method_run(m, &x, 1, &err), DLX_E_INVALID, &err, "dlx_tensor"); /* takes the outputs away */
    fails(dlx_method_output(m, 0, &out, &err), DLX_E_INVALID, &err, "before a call succeeded");
    dlx_method_close(m);
}

/* Two handles of one program, each with its state, and a reset. */
static void every_handle_has_its_own_state(void **state)
{
    (void)state;
    static const float one[3] = {1, 2, 3}, two[3] = {-4, 0, 4};
    dlx_method *m[2] = {open_method(PROGRAM("running_mean"), NULL), open_method(PROGRAM("running_mean"), NULL)};
    float first[3];
    dlx_error err = {0};
    dlx_tensor x = {sizeof x, DLX_ELEMENT_FLOAT32, 1, {3}, (void *)(uintptr_t)one}, out = {.struct_size = sizeof out};
    assert_true(dlx_method_state_bytes(m[0]) >= 3 * sizeof(float) + 8);
    for (int round = 0; round < 3; round++) {
        x.data = (void *)(uintptr_t)(round == 1 ? two : one);
        int k = round == 2;
        assert_int_equal(dlx_method_run(m[k], &x, 1, &err), DLX_OK);
        assert_int_equal(dlx_method_output(m[k], 0, &out, &err), DLX_OK);
        if (round == 0) memcpy(first, out.data, sizeof first);
        assert_int_equal(memcmp(first, out.data, sizeof first) == 0, round != 1);
    }
    dlx_method_reset(m[0]);
    fails(dlx_method_output(m[0], 0, &out, &err), DLX_E_INVALID, &err, "before a call succeeded");
    assert_int_equal(dlx_method_run(m[0], &x, 1, &err), DLX_OK);
    assert_int_equal(dlx_method_output(m[0], 0, &out, &err), DLX_OK);
    assert_memory_equal(first, out.data, sizeof first);
    for (int k = 0; k < 2; k++) dlx_method_close(m[k]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_have_names_and_sizes),  cmocka_unit_test(tensors_are_described),
        cmocka_unit_test(what_cannot_open_is_said),       cmocka_unit_test(calls_that_do_not_fit_are_refused),
        cmocka_unit_test(every_handle_has_its_own_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
