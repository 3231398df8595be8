/*
 * Results as files: tensors of every element type come back, wrong descriptions of them are refused by name, and what
 * must not be written over is known before the work.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#include "fail_fixture.h"

#include "base/sizes.h"

static target place;

static int prepare(void **state)
{
    (void)state;
    place = new_target("tensors.safetensors");
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    remove_target(&place);
    return 0;
}

static void tensors_come_back(void **state)
{
    static const struct {
        int32_t element;
        dlx_dtype dtype;
    } types[] = {{DLX_ELEMENT_UINT8, DLX_U8},      {DLX_ELEMENT_INT8, DLX_I8},     {DLX_ELEMENT_INT32, DLX_I32},
                 {DLX_ELEMENT_INT64, DLX_I64},     {DLX_ELEMENT_FLOAT16, DLX_F16}, {DLX_ELEMENT_FLOAT32, DLX_F32},
                 {DLX_ELEMENT_BFLOAT16, DLX_BF16}, {DLX_ELEMENT_BOOL, DLX_BOOL}};
    enum { N = DLX_COUNT(types) };
    static const char *const names[N] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    dlx_tensor tensors[N];
    uint64_t bytes[N][6];
    dlx_arena arena;
    dlx_safetensors st;
    dlx_error err;
    (void)state;
    memset(bytes, 1, sizeof bytes);
    for (size_t i = 0; i < N; i++)
        tensors[i] = (dlx_tensor){.struct_size = sizeof *tensors,
                                  .element = types[i].element,
                                  .rank = (int32_t)(i % 4),
                                  .size = {3, i == 7 ? 0 : 2, 1},
                                  .data = bytes[i]};
    reset_target(&place, false);
    if (dlx_write_tensors(place.path, names, tensors, N, &err) != DLX_OK) fail_msg("%s", err.message);
    dlx_arena_init(&arena);
    if (dlx_safetensors_open(&st, &arena, place.path, &err) != DLX_OK) fail_msg("%s", err.message);
    take_tensors(&st, &arena);
    assert_int_equal(st.n_tensors, N);
    for (size_t i = 0; i < N; i++) {
        const dlx_st_tensor *t = &st.tensors[i];
        size_t k = (size_t)(t->name[0] - 'a');
        assert_int_equal(t->dtype, types[k].dtype);
        assert_int_equal(t->rank, tensors[k].rank);
        for (int d = 0; d < t->rank; d++) assert_int_equal(t->dim[d], tensors[k].size[d]);
        assert_memory_equal(t->data, bytes[k], t->bytes);
    }
    dlx_safetensors_close(&st);
    dlx_arena_free(&arena);
    assert_int_equal(dlx_write_tensors(place.path, NULL, NULL, 0, &err), DLX_OK); /* none are a file, too */
}

static void expect_refusal(const char *name, dlx_tensor t, const char *words)
{
    dlx_error err;
    assert_int_equal(dlx_write_tensors(place.path, &name, &t, 1, &err), DLX_E_INVALID);
    if (!strstr(err.message, words)) fail_msg("'%s' is not in: %s", words, err.message);
    assert_target_untouched(&place);
}

static void wrong_tensors_are_refused(void **state)
{
    static float numbers[4];
    static const char *const twice[] = {"a", "a"};
    const dlx_tensor good = {
        .struct_size = sizeof good, .element = DLX_ELEMENT_FLOAT32, .rank = 2, .size = {2, 2}, .data = numbers};
    dlx_tensor t = good;
    dlx_error err;
    (void)state;
    reset_target(&place, true);
    t.element = 7;
    expect_refusal("x", t, "'x' has element type 7");
    t = good;
    t.rank = DLX_TENSOR_MAX_RANK + 1;
    expect_refusal("x", t, "'x' has rank 7");
    t.rank = -1;
    expect_refusal("x", t, "'x' has rank -1");
    t = good;
    t.size[1] = -2;
    expect_refusal("x", t, "'x' has a size of -2");
    t.size[0] = t.size[1] = INT64_MAX;
    expect_refusal("x", t, "'x' has a size of");
    t = good;
    t.data = NULL;
    expect_refusal("x", t, "'x' has no data");
    expect_refusal(NULL, good, "has no name");
    t = good;
    t.struct_size = 0;
    expect_refusal("x", t, "struct_size");
    const dlx_tensor both[] = {good, good};
    assert_int_not_equal(dlx_write_tensors(place.path, twice, both, 2, &err), DLX_OK);
    assert_int_equal(dlx_write_tensors(NULL, twice, both, 2, &err), DLX_E_INVALID);
    assert_int_equal(dlx_write_tensors(place.path, NULL, both, 2, &err), DLX_E_INVALID);
    assert_target_untouched(&place);
}

static void what_must_not_be_written_over_is_known_before(void **state)
{
    char other[1024];
    dlx_error err;
    (void)state;
    reset_target(&place, true);
    path_in(other, place.folder, "other");
    assert_int_equal(link(place.path, other), 0);
    const char *const reading[] = {NULL, other};
    assert_int_equal(dlx_check_output(place.path, reading, 1, &err), DLX_OK);
    assert_int_equal(dlx_check_output(place.path, reading, 2, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "which is read"));
    assert_int_equal(unlink(other), 0);
    assert_int_equal(dlx_check_output(place.path, reading, 2, &err), DLX_OK);
    assert_int_equal(dlx_check_output(place.folder, NULL, 0, &err), DLX_E_IO);
    assert_int_equal(dlx_check_output(place.path, NULL, 1, &err), DLX_E_INVALID);
    assert_int_equal(dlx_check_output(NULL, NULL, 0, &err), DLX_E_INVALID);
    assert_target_untouched(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_come_back),
        cmocka_unit_test(wrong_tensors_are_refused),
        cmocka_unit_test(what_must_not_be_written_over_is_known_before),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
