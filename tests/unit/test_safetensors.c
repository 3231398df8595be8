/* Reading safetensors: round trips, the recorded checkpoints, and headers that lie in every way the format allows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "format/json/json_file.h"
#include "format/safetensors.h"
#include "tensors_in_memory.h"

static dlx_status read_bytes(dlx_safetensors *st, dlx_arena *arena, const char *header, uint64_t length, size_t data,
                             dlx_error *err)
{
    size_t n = strlen(header);
    uint8_t *file = calloc(1, 8 + n + data); /* no byte more than the file has */
    for (int i = 0; i < 8; i++) file[i] = (uint8_t)(length >> (8 * i));
    memcpy(file + 8, header, n);
    dlx_status s = dlx_safetensors_read(st, arena, file, 8 + n + data, "f.safetensors", err);
    free(file);
    return s;
}

static void expect(const char *header, size_t data, dlx_status status, const char *words)
{
    dlx_arena arena;
    dlx_safetensors st;
    dlx_error err = {0};
    dlx_arena_init(&arena);
    dlx_status s = read_bytes(&st, &arena, header, strlen(header), data, &err);
    if (s != status)
        fail_msg("%s: %s (%s), expected %s", header, dlx_status_name(s), err.message, dlx_status_name(status));
    if (words && !strstr(err.message, words)) fail_msg("%s: '%s' lacks '%s'", header, err.message, words);
    if (s != DLX_OK) {
        assert_non_null(strstr(err.message, "f.safetensors"));
        assert_int_equal(st.n_tensors, 0);
        assert_null(st.tensors);
    }
    dlx_arena_free(&arena);
}

#define T(dtype, shape, offsets) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void good_headers_are_read(void **state)
{
    (void)state;
    expect("{}", 0, DLX_OK, NULL);
    expect("{}   ", 0, DLX_OK, NULL);
    expect("{\"__metadata__\":{\"a\":\"b\"}}", 0, DLX_OK, NULL);
    expect("{\"a\":" T("F32", "[2]", "[0,8]") "}", 8, DLX_OK, NULL);
    expect("{\"a\":" T("F32", "[]", "[0,4]") "}", 4, DLX_OK, NULL);
    expect("{\"a\":" T("BOOL", "[1,1,1,1,1,1,1,3]", "[0,3]") "}", 3, DLX_OK, NULL);
    expect("{\"a\":" T("F16", "[0,9]", "[0,0]") ",\"b\":" T("I64", "[1]", "[0,8]") "}", 8, DLX_OK, NULL);
    /* Any order, any alignment. */
    expect("{\"a\":" T("F32", "[1]", "[1,5]") ",\"b\":" T("U8", "[1]", "[0,1]") "}", 5, DLX_OK, NULL);
}

static void lying_headers_are_refused(void **state)
{
    (void)state;
    expect("", 0, DLX_E_FORMAT, "line 1");
    expect("{\"a\"", 0, DLX_E_FORMAT, "line 1");
    expect("[]", 0, DLX_E_FORMAT, "an array");
    expect("{}x", 0, DLX_E_FORMAT, "end of file expected");
    expect("{\"__metadata__\":[]}", 0, DLX_E_FORMAT, "__metadata__");
    expect("{\"__metadata__\":{\"a\":1}}", 0, DLX_E_FORMAT, "'a' should be a string, not an integer");
    expect("{\"a\":3}", 0, DLX_E_FORMAT, "tensor 'a' should be described by an object, found an integer");
    expect("{\"a\":{}}", 0, DLX_E_FORMAT, "dtype should be a string, found nothing");
    expect("{\"a\":" T("F64", "[1]", "[0,8]") "}", 8, DLX_E_UNSUPPORTED, "'a' has type F64");
    expect("{\"a\":" T("f32", "[1]", "[0,4]") "}", 4, DLX_E_UNSUPPORTED, "f32");
    expect("{\"a\":" T("F32", "4", "[0,4]") "}", 4, DLX_E_FORMAT, "shape should be an array, found an integer");
    expect("{\"a\":" T("F32", "[-1]", "[0,4]") "}", 4, DLX_E_FORMAT, "dimension 0");
    expect("{\"a\":" T("F32", "[1,1.5]", "[0,4]") "}", 4, DLX_E_FORMAT, "dimension 1");
    expect("{\"a\":" T("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, DLX_E_UNSUPPORTED, "9 dimensions");
    expect("{\"a\":" T("F32", "[4294967296,4294967296]", "[0,0]") "}", 0, DLX_E_FORMAT, "2^64");
    expect("{\"a\":" T("U8", "[4294967296,4294967295]", "[0,0]") "}", 0, DLX_E_FORMAT, "has 0");
    expect("{\"a\":" T("F32", "[99999999999999999999]", "[0,4]") "}", 4, DLX_E_FORMAT, "dimension 0");
    expect("{\"a\":" T("F32", "[1]", "[0]") "}", 4, DLX_E_FORMAT, "two integers");
    expect("{\"a\":" T("F32", "[1]", "[0,4,8]") "}", 4, DLX_E_FORMAT, "two integers");
    expect("{\"a\":" T("F32", "[1]", "[0.0,4]") "}", 4, DLX_E_FORMAT, "two integers");
    expect("{\"a\":" T("F32", "[1]", "[-4,0]") "}", 4, DLX_E_FORMAT, "lies at bytes -4 to 0");
    expect("{\"a\":" T("F32", "[1]", "[4,0]") "}", 4, DLX_E_FORMAT, "lies at bytes 4 to 0");
    expect("{\"a\":" T("F32", "[2]", "[0,8]") "}", 7, DLX_E_FORMAT, "the file has 7");
    expect("{\"a\":" T("F32", "[2]", "[0,8]") "}", 7, DLX_E_FORMAT, "it was cut short, fetch it again");
    expect("{\"a\":" T("F8_E4M3", "[4]", "[0,4]") "}", 4, DLX_E_UNSUPPORTED, "Fetch the one that it was made from");
    expect("{\"a\":" T("F64", "[1]", "[0,8]") "}", 8, DLX_E_UNSUPPORTED, "I64 and BOOL");
    expect("{\"a\":" T("F32", "[3]", "[0,8]") "}", 8, DLX_E_FORMAT, "takes 12 bytes by shape and type F32, but has 8");
    expect("{\"a\":" T("F32", "[1]", "[0,4]") ",\"a\":" T("F32", "[1]", "[4,8]") "}", 8, DLX_E_FORMAT, "duplicate");
    expect("{\"a\":" T("F32", "[2]", "[0,8]") ",\"b\":" T("F32", "[1]", "[4,8]") "}", 8, DLX_E_FORMAT,
           "'a' and 'b' share");
    expect("{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[0,4]") "}", 4, DLX_E_FORMAT, "share bytes");
    expect("{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[6,10]") "}", 10, DLX_E_FORMAT,
           "2 bytes before tensor 'b'");
    expect("{\"a\":" T("F32", "[1]", "[0,4]") "}", 9, DLX_E_FORMAT, "the last 5 bytes belong to no tensor");
    expect("{\"a\\u0000\":" T("F32", "[1]", "[0,4]") "}", 4, DLX_E_FORMAT, "not valid JSON");
}

static void nesting_is_bounded(void **state)
{
    char *deep = malloc(200001);
    (void)state;
    memset(deep, '[', 200000);
    deep[200000] = '\0';
    expect(deep, 0, DLX_E_FORMAT, "maximum parsing depth");
    free(deep);
}

static void lengths_are_checked(void **state)
{
    dlx_arena arena;
    dlx_safetensors st;
    dlx_error err = {0};
    (void)state;
    dlx_arena_init(&arena);
    assert_int_equal(dlx_safetensors_read(&st, &arena, "1234567", 7, "f", &err), DLX_E_FORMAT);
    assert_int_equal(read_bytes(&st, &arena, "{}", 3, 0, &err), DLX_E_FORMAT);
    assert_non_null(strstr(err.message, "should have 3 bytes"));
    assert_int_equal(read_bytes(&st, &arena, "{}", UINT64_MAX - 7, 0, &err), DLX_E_FORMAT);
    uint8_t *large = calloc(1, 8 + 100000001);
    assert_non_null(large);
    for (int i = 0; i < 4; i++) large[i] = (uint8_t)(100000001u >> (8 * i));
    assert_int_equal(dlx_safetensors_read(&st, &arena, large, 8 + 100000001, "f", &err), DLX_E_LIMIT);
    free(large);
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    assert_int_equal(dlx_safetensors_read(&st, &arena, lfs, sizeof lfs - 1, "f", &err), DLX_E_FORMAT);
    assert_non_null(strstr(err.message, "git lfs pull"));
    dlx_arena_free(&arena);
}

static void what_was_written_is_read(void **state)
{
    static const float values[6] = {1, 2, 3, 4, 5, 6};
    static const uint16_t halves[2] = {0x3C00, 0x3F80};
    static const int32_t ints[1] = {7};
    const dlx_st_tensor tensors[] = {
        {.name = "half \"x\"", .dtype = DLX_F16, .rank = 1, .dim = {1}, .data = (const uint8_t *)halves, .bytes = 2},
        {.name = "brain", .dtype = DLX_BF16, .rank = 1, .dim = {2}, .data = (const uint8_t *)halves, .bytes = 4},
        {.name = "matrix", .dtype = DLX_F32, .rank = 2, .dim = {2, 3}, .data = (const uint8_t *)values, .bytes = 24},
        {.name = "int", .dtype = DLX_I32, .rank = 0, .data = (const uint8_t *)ints, .bytes = 4},
    };
    char path[] = "/tmp/dlx_st_XXXXXX";
    dlx_arena arena;
    dlx_safetensors st;
    (void)state;
    close(mkstemp(path));
    dlx_arena_init(&arena);
    assert_int_equal(dlx_safetensors_write(path, tensors, 4, NULL), DLX_OK);
    assert_int_equal(dlx_safetensors_open(&st, &arena, path, NULL), DLX_OK);
    take_tensors(&st, &arena);
    assert_int_equal(st.n_tensors, 4);
    for (size_t i = 0; i < 4; i++) {
        const dlx_st_tensor *got = NULL;
        for (size_t k = 0; k < 4; k++)
            if (!strcmp(st.tensors[k].name, tensors[i].name)) got = &st.tensors[k];
        assert_non_null(got);
        assert_int_equal(got->dtype, tensors[i].dtype);
        assert_int_equal(got->rank, tensors[i].rank);
        assert_memory_equal(got->dim, tensors[i].dim, sizeof got->dim);
        assert_int_equal(got->bytes, tensors[i].bytes);
        assert_memory_equal(got->data, tensors[i].data, got->bytes);
        assert_string_equal(got->file, path);
        assert_int_equal((uintptr_t)got->data % dlx_dtype_size(got->dtype), 0);
    }
    dlx_safetensors_close(&st);
    assert_null(st.tensors);
    unlink(path);
    assert_int_equal(dlx_safetensors_open(&st, &arena, path, NULL), DLX_E_IO);
    dlx_arena_free(&arena);
}

static void recorded_checkpoints_are_read(void **state)
{
    static const struct {
        const char *file;
        size_t tensors;
        dlx_dtype dtype;
    } files[] = {
        {"llada-tiny/model.safetensors", 3 * 9 + 3, DLX_F32},
        {"dream-tiny/model.safetensors", 3 * 12 + 3, DLX_F32},
        {"sdar-tiny/model.safetensors", 2 * 11 + 3, DLX_BF16},
    };
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char path[512];
        dlx_arena arena;
        dlx_safetensors st;
        dlx_error err = {0};
        dlx_arena_init(&arena);
        snprintf(path, sizeof path, "%s/checkpoints/%s", DLX_TEST_DATA, files[i].file);
        if (dlx_safetensors_open(&st, &arena, path, &err) != DLX_OK) fail_msg("%s", err.message);
        assert_int_equal(st.n_tensors, files[i].tensors);
        for (size_t k = 0; k < st.n_tensors; k++) {
            assert_int_equal(st.tensors[k].dtype, files[i].dtype);
            assert_null(st.tensors[k].data);
            assert_ptr_equal(st.tensors[k].source, st.file);
            assert_true(st.tensors[k].offset > 8 && st.tensors[k].offset + st.tensors[k].bytes <= st.file->size);
        }
        dlx_safetensors_close(&st);
        dlx_arena_free(&arena);
    }
}

static void json_files_have_a_place_for_every_fault(void **state)
{
    char path[] = "/tmp/dlx_json_XXXXXX";
    dlx_error err = {0};
    json_t *json;
    (void)state;
    FILE *f = fdopen(mkstemp(path), "w");
    fputs("{\"a\": 1,\n \"a\": 2}", f);
    fclose(f);
    assert_int_equal(dlx_json_load(&json, path, 1000, &err), DLX_E_FORMAT);
    assert_null(json);
    assert_non_null(strstr(err.message, path));
    assert_non_null(strstr(err.message, "line 2, column"));
    assert_non_null(strstr(err.message, "duplicate"));
    assert_int_equal(dlx_json_load(&json, path, 10, &err), DLX_E_LIMIT);
    f = fopen(path, "w");
    fputs("{\"a\": [1, null]}", f);
    fclose(f);
    assert_int_equal(dlx_json_load(&json, path, 1000, &err), DLX_OK);
    const json_t *a = json_object_get(json, "a");
    assert_string_equal(dlx_json_type_name(json_array_get(a, 1)), "null");
    assert_string_equal(dlx_json_type_name(a), "an array");
    assert_string_equal(dlx_json_type_name(NULL), "nothing");
    json_decref(json);
    f = fopen(path, "w");
    fputs("{\"model_max_length\": 1000000000000000019884624838656, \"b\": 2}", f);
    fclose(f);
    assert_int_equal(dlx_json_load(&json, path, 1000, &err), DLX_OK);
    assert_true(json_number_value(json_object_get(json, "b")) == 2.0);
    json_decref(json);
    unlink(path);
    assert_int_equal(dlx_json_load(&json, path, 1000, &err), DLX_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_headers_are_read),
        cmocka_unit_test(lying_headers_are_refused),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(lengths_are_checked),
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(recorded_checkpoints_are_read),
        cmocka_unit_test(json_files_have_a_place_for_every_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
