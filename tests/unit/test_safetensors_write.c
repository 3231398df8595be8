/* Writing safetensors: exact bytes, order, alignment, escaped names, and refusals that leave nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "format/safetensors.h"

static char folder[] = "/tmp/dlx_st_XXXXXX", path[64];

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    strcpy(path, folder);
    strcat(path, "/x.safetensors");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder); /* fails when a temporary file was left */
}

static char *written(size_t *n)
{
    char *bytes;
    assert_int_equal(dlx_read_file(&bytes, n, path, 1 << 20, NULL), DLX_OK);
    return bytes;
}

static void bytes_are_as_the_format_says(void **state)
{
    static const float values[2] = {1.0f, -2.0f};
    static const int8_t small[3] = {1, 2, 3};
    static const int64_t wide[1] = {-5};
    const dlx_st_tensor tensors[] = {
        {.name = "b", .dtype = DLX_I8, .rank = 1, .dim = {3}, .data = (const uint8_t *)small, .bytes = 3},
        {.name = "a", .dtype = DLX_F32, .rank = 2, .dim = {1, 2}, .data = (const uint8_t *)values, .bytes = 8},
        {.name = "w", .dtype = DLX_I64, .rank = 0, .data = (const uint8_t *)wide, .bytes = 8},
    };
    static const char header[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                                 "\"w\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
                                 "\"a\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[8,16]},"
                                 "\"b\":{\"dtype\":\"I8\",\"shape\":[3],\"data_offsets\":[16,19]}}";
    (void)state;
    size_t n, length = sizeof header - 1, padded = (length + 7) & ~(size_t)7;
    assert_int_equal(dlx_safetensors_write(path, tensors, 3, NULL), DLX_OK);
    char *bytes = written(&n);
    assert_int_equal(n, 8 + padded + 19);
    assert_int_equal((uint8_t)bytes[0] | (uint8_t)bytes[1] << 8, padded);
    for (int i = 2; i < 8; i++) assert_int_equal(bytes[i], 0);
    assert_memory_equal(bytes + 8, header, length);
    for (size_t i = length; i < padded; i++) assert_int_equal(bytes[8 + i], ' ');
    const char *data = bytes + 8 + padded;
    assert_memory_equal(data, wide, 8);
    assert_memory_equal(data + 8, values, 8);
    assert_memory_equal(data + 16, small, 3);
    free(bytes);
}

static void names_are_escaped(void **state)
{
    const dlx_st_tensor t = {.name = "a\"\\\n\xC3\xA9\xFF", .dtype = DLX_BF16, .rank = 1, .dim = {0}};
    size_t n;
    (void)state;
    assert_int_equal(dlx_safetensors_write(path, &t, 1, NULL), DLX_OK);
    char *bytes = written(&n);
    assert_non_null(strstr(bytes + 8, "\"a\\\"\\\\\\u000a\xC3\xA9\\ufffd\":{"));
    free(bytes);
}

static void nothing_at_all_can_be_written(void **state)
{
    size_t n;
    (void)state;
    assert_int_equal(dlx_safetensors_write(path, NULL, 0, NULL), DLX_OK);
    free(written(&n));
    assert_int_equal(n % 8, 0);
}

static void refused(const dlx_st_tensor *tensors, size_t n, const char *words)
{
    dlx_error err = {0};
    unlink(path);
    assert_int_equal(dlx_safetensors_write(path, tensors, n, &err), DLX_E_INVALID);
    if (!strstr(err.message, words)) fail_msg("'%s' lacks '%s'", err.message, words);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void contradictions_are_refused(void **state)
{
    static const uint8_t data[16];
    const dlx_st_tensor good = {.name = "a", .dtype = DLX_F16, .rank = 1, .dim = {4}, .data = data, .bytes = 8};
    dlx_st_tensor t[2] = {good, good};
    (void)state;
    refused(t, 2, "two tensors are named 'a'");
    t[0].name = "__metadata__";
    refused(t, 2, "__metadata__");
    t[0] = good;
    t[0].bytes = 7;
    refused(t, 1, "'a' has 7 bytes");
    t[0].dim[0] = -4;
    refused(t, 1, "'a'");
    t[0].dtype = DLX_QD8;
    refused(t, 1, "type qd8");
    t[0] = good;
    t[0].rank = DLX_ST_MAX_RANK + 1;
    refused(t, 1, "'a'");
}

/* Streaming callers keep the order themselves. */
static void a_header_alone_wants_wide_types_first(void **state)
{
    const dlx_st_tensor t[2] = {{.name = "a", .dtype = DLX_I8, .rank = 1, .dim = {1}, .bytes = 1},
                                {.name = "b", .dtype = DLX_F32, .rank = 1, .dim = {1}, .bytes = 4}};
    dlx_output out;
    dlx_error err = {0};
    (void)state;
    assert_int_equal(dlx_output_open(&out, path, NULL), DLX_OK);
    assert_int_equal(dlx_safetensors_write_header(&out, t, 2, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "'b'"));
    assert_int_equal(dlx_safetensors_write_header(&out, t, 1, NULL), DLX_OK);
    dlx_output_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_as_the_format_says),          cmocka_unit_test(names_are_escaped),
        cmocka_unit_test(nothing_at_all_can_be_written),         cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(a_header_alone_wants_wide_types_first),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
