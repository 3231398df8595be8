/*
 * The room everything stands on: error records, bits of floats, text buffers. Files are in test_files.c, memory is in
 * test_base_memory.c.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"
#include "base/half.h"
#include "base/sizes.h"
#include "base/text_buffer.h"

/* ---- error records ----------------------------------------------------------------------------------------------- */

/* A message of `fill` letters and then `end`, cut to what a record holds. */
static void expect_message_end(size_t fill, const char *end, const char *expected)
{
    char letters[DLX_ERROR_MESSAGE_SIZE + 1];
    dlx_error err;
    memset(letters, 'a', sizeof letters);
    memset(&err, 0x55, sizeof err);
    assert_int_equal(dlx_fail(&err, DLX_E_LIMIT, "%.*s%s", (int)fill, letters, end), DLX_E_LIMIT);
    assert_int_equal(err.status, DLX_E_LIMIT);
    size_t n = strlen(err.message);
    assert_int_equal(n, fill + strlen(expected));
    assert_memory_equal(err.message, letters, fill);
    assert_string_equal(err.message + fill, expected);
}

static void messages_are_cut_between_characters(void **state)
{
    (void)state;
    static const char *const whole[] = {"z", "\xC3\xBC", "\xE4\xB8\x96", "\xF0\x9F\x98\x80"};
    const size_t most = DLX_ERROR_MESSAGE_SIZE - 1;
    for (size_t w = 0; w < DLX_COUNT(whole); w++) {
        size_t n = strlen(whole[w]);
        expect_message_end(0, whole[w], whole[w]);
        expect_message_end(most - n, whole[w], whole[w]);
        for (size_t cut = 1; cut < n; cut++) expect_message_end(most - cut, whole[w], "");
    }
    expect_message_end(most, "", "");
    expect_message_end(most, "and more", "");
    expect_message_end(0, "", "");
    /* A beginning without its end goes wherever it came from. */
    expect_message_end(3, "\xC3", "");
    expect_message_end(3, "\xF0\x9F\x98", "");
    expect_message_end(3, "\xC3z", "\xC3z");
}

static void messages_hold_no_control_characters(void **state)
{
    (void)state;
    dlx_error err;
    dlx_set_error(&err, DLX_E_FORMAT, "a\nb\x1B[0m\x1F\x7F ~\xC3\xBC");
    assert_string_equal(err.message, "a?b?[0m?? ~\xC3\xBC");
    assert_int_equal(dlx_fail(NULL, DLX_E_IO, "nobody listens"), DLX_E_IO);
}

static void a_prefix_keeps_the_message(void **state)
{
    (void)state;
    dlx_error err;
    dlx_set_error(&err, DLX_E_FORMAT, "it ends early");
    assert_int_equal(dlx_fail_prefix(&err, DLX_E_IO, "file %d", 7), DLX_E_IO);
    assert_int_equal(err.status, DLX_E_IO);
    assert_string_equal(err.message, "file 7: it ends early");
    assert_int_equal(dlx_fail_prefix(NULL, DLX_E_NOMEM, "x"), DLX_E_NOMEM);
    assert_string_equal(dlx_status_name(DLX_OK), "ok");
    assert_string_equal(dlx_status_name(DLX_E_INTERNAL), "internal error");
    assert_string_equal(dlx_status_name((dlx_status)99), "unknown status");
}

/* ---- floats ------------------------------------------------------------------------------------------------------ */

/* Every half, from the definition: (-1)^s 2^(e-15) (1 + m/1024), 2^-14 m/1024 where e is 0. */
static void halves_widen_exactly(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        int exponent = (int)(h >> 10 & 31), mantissa = (int)(h & 1023);
        float got = dlx_f16_to_f32((uint16_t)h);
        assert_int_equal(signbit(got) != 0, h >> 15);
        if (exponent == 31) {
            assert_true(mantissa ? isnan(got) : isinf(got));
            assert_int_equal(dlx_f32_to_bits(got) >> 13 & 1023, mantissa ? mantissa | 512 : 0); /* a NaN's payload */
            continue;
        }
        double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
        assert_true((double)got == (h >> 15 ? -value : value));
    }
}

/* The half that is nearest to a finite float, the even one of two: by trying those around it. */
static uint16_t nearest_half(float f)
{
    uint16_t sign = signbit(f) ? 0x8000 : 0, best = 0;
    double x = fabs((double)f), least = INFINITY;
    if (x >= 65520) return sign | 0x7C00;
    int low = 0, high = 0x7BFF; /* the largest half not above x */
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if ((double)dlx_f16_to_f32((uint16_t)middle) <= x)
            low = middle;
        else
            high = middle - 1;
    }
    for (int h = low; h <= low + 1 && h <= 0x7BFF; h++) {
        double distance = fabs((double)dlx_f16_to_f32((uint16_t)h) - x);
        if (distance < least || (distance == least && h % 2 == 0)) {
            least = distance;
            best = (uint16_t)h;
        }
    }
    return sign | best;
}

static void halves_round_to_nearest_even(void **state)
{
    (void)state;
    uint32_t seed = 7;
    for (uint32_t h = 0; h < 0x7C00; h++) { /* every half, what lies midway to the next, and its neighbours */
        float f = dlx_f16_to_f32((uint16_t)h), next = h < 0x7BFF ? dlx_f16_to_f32((uint16_t)(h + 1)) : 65536.0f;
        float middle = 0.5f * (f + next), around[] = {f, -f, middle, nextafterf(middle, 0), nextafterf(middle, 1e9f)};
        for (size_t i = 0; i < DLX_COUNT(around); i++)
            assert_int_equal(dlx_f32_to_f16(around[i]), nearest_half(around[i]));
    }
    for (int i = 0; i < 100000; i++) {
        seed = seed * 1664525u + 1013904223u;
        float f = dlx_bits_to_f32(seed);
        if (isnan(f))
            assert_true(isnan(dlx_f16_to_f32(dlx_f32_to_f16(f))));
        else
            assert_int_equal(dlx_f32_to_f16(f), nearest_half(f));
    }
    assert_int_equal(dlx_f32_to_f16(dlx_bits_to_f32(0x7F800001)), 0x7E00); /* its payload is cut off, it stays a NaN */
    assert_int_equal(dlx_f32_to_f16(dlx_bits_to_f32(0xFFFFE000)), 0xFFFF);
    assert_int_equal(dlx_f32_to_f16(-INFINITY), 0xFC00);
}

static void bfloat16_rounds_to_nearest_even(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (uint32_t i = 0; i < 200000; i++) {
        seed = seed * 1664525u + 1013904223u;
        /* Whole numbers of steps, halves of them, and anything between. */
        uint32_t bits = i % 3 == 0 ? seed & 0xFFFF0000 : i % 3 == 1 ? (seed & 0xFFFF0000) | 0x8000 : seed;
        float f = dlx_bits_to_f32(bits), low = dlx_bits_to_f32(bits & 0xFFFF0000);
        uint16_t h = dlx_f32_to_bf16(f);
        if (isnan(f)) {
            assert_true(isnan(dlx_bf16_to_f32(h)));
            continue;
        }
        uint32_t rest = bits & 0xFFFF, expected = bits >> 16;
        if (rest > 0x8000 || (rest == 0x8000 && (expected & 1))) expected++;
        assert_int_equal(h, expected);
        if (!rest) assert_true(dlx_bf16_to_f32(h) == low);
    }
    assert_true(isinf(dlx_bf16_to_f32(dlx_f32_to_bf16(3.4028235e38f))));
    assert_true(
        isnan(dlx_bf16_to_f32(dlx_f32_to_bf16(dlx_bits_to_f32(0x7F800001))))); /* its payload would be cut off */
    assert_true(isinf(dlx_bf16_to_f32(dlx_f32_to_bf16(-INFINITY))));
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static void expect_json(const char *text, const char *expected)
{
    dlx_text_buffer t = {0};
    char *out;
    dlx_put_json(&t, text);
    assert_int_equal(dlx_text_take(&t, &out, "here", NULL), DLX_OK);
    assert_string_equal(out, expected);
    free(out);
}

static void json_strings_are_valid_utf8(void **state)
{
    (void)state;
    expect_json(NULL, "null");
    expect_json("", "\"\"");
    expect_json("a\"b\\c/d\x7F", "\"a\\\"b\\\\c/d\x7F\"");
    expect_json("\x01\n\x1F ", "\"\\u0001\\u000a\\u001f \"");
    static const char *const valid[] = {"\xC2\x80",     "\xDF\xBF",     "\xE0\xA0\x80",     "\xED\x9F\xBF",
                                        "\xEE\x80\x80", "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"};
    for (size_t i = 0; i < DLX_COUNT(valid); i++) {
        char expected[16];
        snprintf(expected, sizeof expected, "\"%s\"", valid[i]);
        expect_json(valid[i], expected);
    }
    expect_json("\x80", "\"\\ufffd\"");
    expect_json("\xC1\x80", "\"\\ufffd\\ufffd\"");
    expect_json("\xC2", "\"\\ufffd\"");
    expect_json("\xC2x", "\"\\ufffdx\"");
    expect_json("\xE0\x9F\xBF", "\"\\ufffd\\ufffd\\ufffd\"");
    expect_json("\xED\xA0\x80", "\"\\ufffd\\ufffd\\ufffd\"");
    expect_json("\xE4\xB8", "\"\\ufffd\\ufffd\"");
    expect_json("\xF0\x8F\xBF\xBF", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
    expect_json("\xF4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
    expect_json("\xF5\x80\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
}

static void a_text_grows_and_is_handed_over(void **state)
{
    (void)state;
    dlx_text_buffer t = {0};
    char *out, expected[4096];
    size_t n = 0;
    for (int i = 0; i < 500; i++) {
        dlx_put(&t, "%d,", i);
        n += (size_t)snprintf(expected + n, sizeof expected - n, "%d,", i);
    }
    assert_int_equal(t.n, n);
    assert_int_equal(dlx_text_take(&t, &out, "here", NULL), DLX_OK);
    assert_string_equal(out, expected);
    free(out);
    assert_int_equal(t.n, 0);
    assert_int_equal(dlx_text_take(&t, &out, "here", NULL), DLX_OK); /* nothing was put: an empty string */
    assert_string_equal(out, "");
    free(out);
    dlx_put(&t, "lost");
    t.failed = true;
    dlx_put(&t, "more");
    dlx_error err;
    assert_int_equal(dlx_text_take(&t, &out, "writing a list", &err), DLX_E_NOMEM);
    assert_string_equal(err.message, "out of memory writing a list");
    assert_null(out);
    assert_null(t.s);
    assert_false(t.failed);
}

static uint64_t digest_of(const uint8_t *bytes, size_t n, size_t piece)
{
    dlx_digest d = {.bytes = 0};
    for (size_t i = 0; i < n; i += piece) dlx_digest_add(&d, bytes + i, n - i < piece ? n - i : piece);
    return dlx_digest_end(&d);
}

/* The pieces do not matter; each bit does, and how many bytes there are. */
static void digests_are_those_of_the_bytes(void **state)
{
    enum { N = 131 };
    uint8_t bytes[N];
    (void)state;
    for (size_t i = 0; i < N; i++) bytes[i] = (uint8_t)(i * 37);
    uint64_t whole = digest_of(bytes, N, N);
    for (size_t piece = 1; piece < N; piece++) assert_true(digest_of(bytes, N, piece) == whole);
    for (size_t i = 0; i < N; i++)
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1 << bit);
            assert_true(digest_of(bytes, N, N) != whole);
            bytes[i] ^= (uint8_t)(1 << bit);
        }
    memset(bytes, 0, N);
    for (size_t n = 1; n <= N; n++) assert_true(digest_of(bytes, n, N) != digest_of(bytes, n - 1, N));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_cut_between_characters), cmocka_unit_test(messages_hold_no_control_characters),
        cmocka_unit_test(a_prefix_keeps_the_message),          cmocka_unit_test(halves_widen_exactly),
        cmocka_unit_test(halves_round_to_nearest_even),        cmocka_unit_test(bfloat16_rounds_to_nearest_even),
        cmocka_unit_test(json_strings_are_valid_utf8),         cmocka_unit_test(a_text_grows_and_is_handed_over),
        cmocka_unit_test(digests_are_those_of_the_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
