/*
 * The JSON reader against jansson's own: documents, fragments of the grammar put together at random, and documents of
 * the tiny checkpoints with bytes changed are accepted by both with equal values, or refused by both.
 */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/sizes.h"
#include "format/json/json_file.h"

/* True when the text is accepted. The bytes lie at the end of their memory, so that reading behind them is seen. */
static bool same_as_jansson(const char *text, size_t n)
{
    json_error_t e;
    dlx_error err = {0};
    json_t *ours = (json_t *)1, *theirs = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
    char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, text, n);
    dlx_status s = dlx_json_parse(&ours, copy, n, "it", &err);
    free(copy);
    if ((s == DLX_OK) != (theirs != NULL))
        fail_msg("%.*s\nours: %s\ntheirs: %s", (int)n, text, s == DLX_OK ? "fine" : err.message,
                 theirs ? "fine" : e.text);
    if (s != DLX_OK) {
        assert_int_equal(s, DLX_E_FORMAT);
        assert_null(ours);
        assert_true(strncmp(err.message, "it is not valid JSON: line ", 27) == 0);
        return false;
    }
    if (!json_equal(ours, theirs)) fail_msg("other values: %.*s", (int)n, text);
    json_decref(ours);
    json_decref(theirs);
    return true;
}

static const char *const good[] = {
    "{}",
    "[]",
    " \t\r\n[ ] \n",
    "[null,true,false,0,-0,10,-7,9223372036854775807,-9223372036854775808]",
    "[0.1,-0.0,1e5,1E+5,1.5e-7,1e-400,123456789012345678901234567890.5,0.30000000000000004,1.7976931348623157e308]",
    "{\"a\":{\"b\":[1,{\"c\":\"d\"},[]]},\"\":\"\",\"A\":{}}",
    "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20ac\\ud83d\\ude00\\uFFFF\"]",
    "[\"\x7F \xC2\x80 \xE0\xA0\x80 \xED\x9F\xBF \xEE\x80\x80 \xF0\x90\x80\x80 \xF4\x8F\xBF\xBF\"]",
    "[[[[[[[[[[1]]]]]]]]],2]",
};
static const char *const bad[] = {
    "",
    " ",
    "1",
    "\"a\"",
    "null",
    "[",
    "{",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1]]",
    "[] []",
    "{}x",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,}",
    "{\"a\" 1}",
    "{a:1}",
    "{1:1}",
    "{\"a\":1,\"a\":2}",
    "[}",
    "{]",
    "[01]",
    "[-]",
    "[+1]",
    "[.5]",
    "[1.]",
    "[1.e5]",
    "[1e]",
    "[1e+]",
    "[0x10]",
    "[1e999]",
    "[-1e999]",
    "[NaN]",
    "[Infinity]",
    "[nul]",
    "[nulls]",
    "[True]",
    "[truefalse]",
    "['a']",
    "[\"a]",
    "[\"\\\"]",
    "[\"\\x\"]",
    "[\"\\u12\"]",
    "[\"\\u12g4\"]",
    "[\"\\ud83d\"]",
    "[\"\\ude00\"]",
    "[\"\\ud83d\\u0041\"]",
    "[\"\\ud83dx\"]",
    "[\"\\u0000\"]",
    "{\"\\u0000\":1}",
    "[\"\n\"]",
    "[\"\x1F\"]",
    "[\"\x80\"]",
    "[\"\xC0\x80\"]",
    "[\"\xC3\"]",
    "[\"\xE0\x80\x80\"]",
    "[\"\xED\xA0\x80\"]",
    "[\"\xF4\x90\x80\x80\"]",
    "[\"\xF8\"]",
    "[\xC3\xA9]",
    "[\x0B]",
    "\xEF\xBB\xBF[]",
    "[]/**/",
    "[1//\n]",
};

static void documents(void **state)
{
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(good); i++) assert_true(same_as_jansson(good[i], strlen(good[i])));
    for (size_t i = 0; i < DLX_COUNT(bad); i++)
        if (same_as_jansson(bad[i], strlen(bad[i]))) fail_msg("accepted: %s", bad[i]);
    assert_false(same_as_jansson("[1]\0", 4));
    assert_false(same_as_jansson("[\"\0\"]", 5));
}

static uint32_t next(uint32_t *state, uint32_t below)
{
    *state = *state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)*state * below) >> 32);
}

static void random_fragments(void **state)
{
    static const char *const piece[] = {
        "{", "}",  "[",  "]",  ",",       ":", "\"a\"", "\"b\"",     "1",       "-2.5",     "1e3",  "true",   "null",
        " ", "\n", "\"", "\\", "\\u00e9", "u", "[]",    "{\"x\":1}", "\"\\n\"", "\xC3\xA9", "\xFF", "\"k\":", "0"};
    uint32_t random = 7;
    size_t accepted = 0;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        char text[128] = "";
        uint32_t n = 1 + next(&random, 7);
        strcat(text, next(&random, 2) ? "[" : "{");
        for (uint32_t k = 0; k < n; k++) strcat(text, piece[next(&random, DLX_COUNT(piece))]);
        strcat(text, text[0] == '[' ? "]" : "}");
        accepted += same_as_jansson(text, strlen(text));
    }
    assert_true(accepted > 150);
}

static void changed_documents(void **state)
{
    static const char *const files[] = {"sdar-tiny/tokenizer_config.json", "llada-tiny/config.json",
                                        "fast_dllm_v2-tiny/model.safetensors.index.json", "dream-tiny/config.json"};
    uint32_t random = 11;
    (void)state;
    for (size_t f = 0; f < DLX_COUNT(files); f++) {
        char path[1024], *text;
        size_t n;
        dlx_error err = {0};
        snprintf(path, sizeof path, DLX_TEST_DATA "/checkpoints/%s", files[f]);
        if (dlx_read_file(&text, &n, path, 1 << 20, &err) != DLX_OK) fail_msg("%s", err.message);
        assert_true(same_as_jansson(text, n));
        for (int i = 0; i < 400; i++) {
            size_t at = next(&random, (uint32_t)n);
            char kept = text[at];
            text[at] = next(&random, 2) ? "\"\\{}[],:0-.eu \n"[next(&random, 15)] : (char)(1 + next(&random, 255));
            same_as_jansson(text, n);
            text[at] = kept;
            same_as_jansson(text, at);
        }
        free(text);
    }
}

/* What differs from jansson: large integers come as reals, each for itself, and nesting ends earlier. */
static void our_own_rules(void **state)
{
    json_t *json;
    dlx_error err = {0};
    (void)state;
    const char *large = "[9223372036854775808, -9223372036854775809, 1000000000000000019884624838656, 5]";
    assert_int_equal(dlx_json_parse(&json, large, strlen(large), "it", &err), DLX_OK);
    assert_true(json_real_value(json_array_get(json, 0)) == 0x1p63);
    assert_true(json_real_value(json_array_get(json, 1)) == -0x1p63);
    assert_true(json_real_value(json_array_get(json, 2)) == 1e30);
    assert_int_equal(json_integer_value(json_array_get(json, 3)), 5);
    json_decref(json);
    char deep[2000];
    for (int depth = 512; depth <= 513; depth++) {
        memset(deep, '[', (size_t)depth);
        memset(deep + depth, ']', (size_t)depth);
        dlx_status s = dlx_json_parse(&json, deep, 2 * (size_t)depth, "it", &err);
        assert_int_equal(s, depth == 512 ? DLX_OK : DLX_E_FORMAT);
        json_decref(json);
    }
    assert_non_null(strstr(err.message, "line 1, column 513: maximum parsing depth"));
    const char *lines = "{\"\xC3\xA9\": 1,\n\n  \"b\" 2}";
    assert_int_equal(dlx_json_parse(&json, lines, strlen(lines), "it", &err), DLX_E_FORMAT);
    assert_string_equal(err.message, "it is not valid JSON: line 3, column 7: ':' expected");
}

/* A program may run with a decimal comma. Where no such locale is installed there is nothing to see. */
static void locales_do_not_matter(void **state)
{
    json_t *json;
    (void)state;
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8")) skip();
    assert_int_equal(dlx_json_parse(&json, "[1.25e1]", 8, "it", NULL), DLX_OK);
    assert_true(json_real_value(json_array_get(json, 0)) == 12.5);
    json_decref(json);
    setlocale(LC_NUMERIC, "C");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents),     cmocka_unit_test(random_fragments),      cmocka_unit_test(changed_documents),
        cmocka_unit_test(our_own_rules), cmocka_unit_test(locales_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
