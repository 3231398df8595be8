/*
 * Reports of files, as text and as JSON, against those kept in tests/data/inspect; the sizes in them against the file
 * and against each other; graphs; what cannot be described.
 */
#include "fail_fixture.h"

#include "base/io.h"
#include "pte_sample.h"

static char *read_text(const char *path)
{
    char *text;
    size_t n;
    dlx_error err = {0};
    if (dlx_read_file(&text, &n, path, 1 << 20, &err) != DLX_OK) fail_msg("%s", err.message);
    return text;
}

/* Whether `text` is `pattern`, where '*' stands for anything but line ends, commas, quotes and braces. */
static bool like(const char *text, const char *pattern)
{
    for (; *pattern && *pattern != '*'; pattern++, text++)
        if (*text != *pattern) return false;
    if (!*pattern) return !*text;
    for (size_t n = 0;; n++) {
        if (like(text + n, pattern + 1)) return true;
        if (!text[n] || strchr("\n,\"}", text[n])) return false;
    }
}

static void expect_report(const char *file, const char *name, bool json)
{
    char path[1024], *report;
    dlx_error err = {0};
    snprintf(path, sizeof path, DLX_TEST_DATA "/inspect/%s.%s", name, json ? "json" : "txt");
    char *expected = read_text(path);
    if (dlx_inspect(file, json, NULL, &report, &err) != DLX_OK) fail_msg("%s", err.message);
    if (!like(report, expected)) fail_msg("%s is not described as in %s:\n%s", file, path, report);
    assert_non_null(strstr(report, file)); /* its path, whole */
    if (json) {
        json_error_t e;
        json_t *parsed = json_loads(report, 0, &e);
        if (!parsed) fail_msg("%s: %s", file, e.text);
        json_decref(parsed);
    }
    dlx_free(report);
    free(expected);
}

static uint64_t number(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_integer(v)) fail_msg("no number '%s'", key);
    return (uint64_t)json_integer_value(v);
}

/* The line of the text that states a part of the memory. */
static void expect_line(const char *text, const char *what, uint64_t bytes)
{
    char line[128];
    snprintf(line, sizeof line, "\n  %-16s %12llu bytes %10.1f MB\n", what, (unsigned long long)bytes,
             (double)bytes / 1e6);
    if (!strstr(text, line)) fail_msg("'%s' is not in:\n%s", line, text);
}

/* Every byte of the file belongs to one part. */
static void expect_parts(const char *text, json_t *parts, uint64_t file)
{
    static const char *const words[] = {"embedding", "head", "layers", "norms", "tokenizer", "other", "program"};
    uint64_t sum = 0;
    assert_int_equal(json_object_size(parts), sizeof words / sizeof *words);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        uint64_t bytes = number(parts, words[i]);
        if (bytes) expect_line(text, strcmp(words[i], "other") == 0 ? "other constants" : words[i], bytes);
        sum += bytes;
    }
    assert_int_equal(sum, file);
}

static void expect_sizes(const target *t)
{
    char *text, *report;
    struct stat st;
    dlx_model *m;
    dlx_memory memory = {.struct_size = sizeof memory};
    dlx_error err = {0};
    assert_int_equal(stat(t->path, &st), 0);
    assert_int_equal(dlx_inspect(t->path, false, NULL, &text, &err), DLX_OK);
    assert_int_equal(dlx_inspect(t->path, true, NULL, &report, &err), DLX_OK);
    assert_int_equal(dlx_model_open(&m, t->path, NULL, &err), DLX_OK);
    assert_int_equal(dlx_model_memory(m, 0, 0, &memory, &err), DLX_OK);
    json_t *root = json_loads(report, 0, NULL), *parts = json_object_get(root, "memory");
    assert_int_equal(number(root, "file_bytes"), st.st_size);
    assert_int_equal(number(parts, "file"), memory.file);
    assert_in_range(memory.file, 1, st.st_size - 1); /* weights are packed and leave the rest behind */
    assert_int_equal(number(parts, "packed"), memory.packed);
    assert_int_equal(number(parts, "kv_cache"), memory.kv_cache);
    assert_int_equal(number(parts, "activations"), memory.activations);
    assert_int_equal(number(parts, "program"), memory.program);
    uint64_t total = memory.file + memory.packed + memory.kv_cache + memory.activations + memory.program;
    assert_int_equal(number(parts, "total"), total);
    expect_line(text, "file, in memory", memory.file);
    expect_line(text, "packed weights", memory.packed);
    expect_line(text, "KV cache", memory.kv_cache);
    expect_line(text, "activations", memory.activations);
    expect_line(text, "program", memory.program);
    expect_line(text, "all together", total);
    expect_parts(text, json_object_get(root, "parts"), (uint64_t)st.st_size);
    char head[64];
    uint64_t program = number(root, "program_bytes");
    assert_in_range(program, 1000, 100000);
    snprintf(head, sizeof head, "\n  %lld bytes, program %llu bytes, ", (long long)st.st_size,
             (unsigned long long)program);
    assert_non_null(strstr(text, head));
    json_decref(root);
    dlx_model_close(m);
    dlx_free(text);
    dlx_free(report);
}

static void files_are_described(void **state)
{
    (void)state;
    target t = new_target("m.pte");
    export_tiny(t.path, "sdar", false);
    expect_report(t.path, "sdar-tiny-none", false);
    expect_report(t.path, "sdar-tiny-none", true);
    expect_sizes(&t);
    export_tiny(t.path, "fast_dllm_v2", true);
    expect_report(t.path, "fast_dllm_v2-tiny-int8", false);
    expect_report(t.path, "fast_dllm_v2-tiny-int8", true);
    expect_sizes(&t);
    expect_report(DLX_TEST_DATA "/format/official_8da8w.pte", "official_8da8w", false);
    expect_report(DLX_TEST_DATA "/format/official_8da8w.pte", "official_8da8w", true);
    expect_report(DLX_TEST_DATA "/format/official_coreml.pte", "official_coreml", false);
    expect_report(DLX_TEST_DATA "/format/official_coreml.pte", "official_coreml", true);
    expect_report(DLX_TEST_DATA "/format/official_coreml_shared.pte", "official_coreml_shared", false);
    expect_report(DLX_TEST_DATA "/format/official_coreml_shared.pte", "official_coreml_shared", true);
    remove_target(&t);
}

/* Constant methods are metadata, in whichever order a file has its methods. */
static void methods_behind_constants_are_described(void **state)
{
    (void)state;
    pte_sample s;
    dlx_pte_plan first;
    target t = new_target("m.pte");
    dlx_output out;
    dlx_error err = {0};
    char *text, *report;
    pte_sample_make(&s);
    first = s.plans[0];
    s.plans[0] = s.plans[1];
    s.plans[1] = first;
    assert_int_equal(dlx_output_open(&out, t.path, &err), DLX_OK);
    if (dlx_pte_write(&s.pte, &out, NULL, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(dlx_output_commit(&out, &err), DLX_OK);
    dlx_output_close(&out);
    assert_int_equal(dlx_inspect(t.path, false, NULL, &text, &err), DLX_OK);
    assert_int_equal(dlx_inspect(t.path, true, NULL, &report, &err), DLX_OK);
    assert_non_null(strstr(text, "\nmethod forward\n"));
    assert_non_null(strstr(text, "\n  get_max_seq_len "));
    json_t *root = json_loads(report, 0, NULL), *methods = json_object_get(root, "methods");
    assert_int_equal(json_array_size(methods), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(methods, 0), "name")), "forward");
    assert_non_null(json_object_get(json_object_get(root, "metadata"), "get_max_seq_len"));
    json_decref(root);
    dlx_free(text);
    dlx_free(report);
    remove_target(&t);
}

static void graphs_are_described(void **state)
{
    (void)state;
    char *primitive, *raised, *dot;
    target t = new_target("m.pte");
    dlx_error err = {0};
    export_tiny(t.path, "sdar", false);
    assert_int_equal(dlx_inspect_graph(t.path, false, false, &primitive, &err), DLX_OK);
    assert_int_equal(dlx_inspect_graph(t.path, true, false, &raised, &err), DLX_OK);
    assert_int_equal(dlx_inspect_graph(t.path, true, true, &dot, &err), DLX_OK);
    assert_non_null(strstr(primitive, " = SOFTMAX("));
    assert_null(strstr(primitive, " = ATTENTION("));
    assert_non_null(strstr(raised, " = ATTENTION("));
    assert_null(strstr(raised, " = SOFTMAX("));
    assert_int_equal(strncmp(dot, "digraph program {", 17), 0);
    assert_non_null(strstr(dot, "ATTENTION"));
    dlx_free(primitive);
    dlx_free(raised);
    dlx_free(dot);
    remove_target(&t);
}

static void what_cannot_be_described(void **state)
{
    (void)state;
    char *text = (char *)&text;
    dlx_error err = {0};
    assert_int_equal(dlx_inspect(NULL, false, NULL, &text, &err), DLX_E_INVALID);
    assert_int_equal(dlx_inspect("x", false, NULL, NULL, &err), DLX_E_INVALID);
    assert_int_equal(dlx_inspect_graph(NULL, false, false, &text, &err), DLX_E_INVALID);
    assert_int_equal(dlx_inspect_graph("x", false, false, NULL, &err), DLX_E_INVALID);
    assert_int_equal(dlx_inspect(DLX_TEST_DATA "/no-such-file", false, NULL, &text, &err), DLX_E_IO);
    assert_null(text);
    assert_int_equal(dlx_inspect(DLX_TEST_DATA "/inspect/README.md", true, NULL, &text, &err), DLX_E_FORMAT);
    assert_null(text);
    text = (char *)&text;
    assert_int_equal(dlx_inspect_graph(DLX_TEST_DATA "/no-such-file", true, false, &text, &err), DLX_E_IO);
    assert_null(text);
    text = (char *)&text;
    assert_int_equal(dlx_inspect_graph(DLX_TEST_DATA "/inspect/README.md", true, false, &text, &err), DLX_E_FORMAT);
    assert_null(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_described),
        cmocka_unit_test(methods_behind_constants_are_described),
        cmocka_unit_test(graphs_are_described),
        cmocka_unit_test(what_cannot_be_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
