/*
 * The published vocabulary of Qwen with 151,643 entries, as SDAR ships it (vocab.json, merges.txt), against recorded
 * ids. It is too large for this tree: the folder fixtures/qwen3-tokenizer is looked for in the one that DLX_SHARED
 * names, else in ../shared beside the tree. Without it the test is skipped, and says so.
 */
#include "text_check.h"
#include "left_out.h"

#include <time.h>

enum { SKIPPED = 77 };

static char folder[1024];

/* Of this process: a busy machine does not count. */
static double seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static void test_recorded_vectors(void **state)
{
    (void)state;
    char path[1100];
    double start = seconds();
    dlx_tokenizer *t = open_folder(folder), *u;
    double took = seconds() - start;
    print_message("opened in %.3f s\n", took);
    assert_true(took < 60); /* a guard against the wrong order of growth only, like the one below */
    assert_int_equal(dlx_tokenizer_size(t), 151670);
    assert_int_equal(dlx_tokenizer_mask_id(t), 151669);
    assert_true(dlx_tokenizer_has_chat_template(t));
    void *packed;
    size_t n, i;
    assert_ok(dlx_tokenizer_pack(t, &packed, &n, err));
    assert_true(n < (size_t)5 << 20);
    assert_ok(dlx_tokenizer_open_packed(&u, packed, n, err));
    free(packed);
    snprintf(path, sizeof path, "%s/golden.json", folder);
    json_t *golden = load_json(path), *e;
    assert_true(json_array_size(golden) > 200);
    const dlx_tokenizer *const both[] = {t, u};
    for (int k = 0; k < 2; k++) json_array_foreach(golden, i, e)
        {
            json_t *text = json_object_get(e, "text"), *list = json_object_get(e, "ids");
            size_t count;
            int32_t *ids = json_ids(list, &count);
            if (text) assert_encodes(both[k], json_string_value(text), json_string_length(text), list);
            assert_decodes(both[k], ids, count, false, json_object_get(e, "decoded"));
            assert_decodes(both[k], ids, count, true, json_object_get(e, "decoded_skip_special"));
            free(ids);
        }
    json_decref(golden);
    dlx_tokenizer_close(t);
    dlx_tokenizer_close(u);
}

static void test_speed(void **state)
{
    (void)state;
    static const char line[] = "The quick brown fox jumps over the lazy dog; it's 12:45 on a sunny day, isn't it?\n"
                               "static int compare(const void *a, const void *b)\n{\n    return *(int *)a - 7;\n}\n";
    enum { REPEATS = 8000 };
    size_t n = REPEATS * (sizeof line - 1), count;
    char *text = malloc(n);
    int32_t *ids;
    assert_non_null(text);
    for (size_t i = 0; i < REPEATS; i++) memcpy(text + i * (sizeof line - 1), line, sizeof line - 1);
    dlx_tokenizer *t = open_folder(folder);
    double start = seconds();
    assert_ok(dlx_tokenizer_encode(t, text, n, DLX_ENCODE_PLAIN, &ids, &count, err));
    double took = seconds() - start;
    print_message("encoded %.1f MB in %.3f s: %.1f MB/s\n", (double)n / 1e6, took, (double)n / took / 1e6);
    assert_true(took < 60); /* builds with sanitizers are slow */
    free(ids);
    free(text);
    dlx_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_recorded_vectors), portable_test(test_speed)};
    const char *shared = getenv("DLX_SHARED");
    snprintf(folder, sizeof folder, "%s/fixtures/qwen3-tokenizer", shared ? shared : DLX_SHARED_DEFAULT);
    if (!dlx_is_folder(folder)) {
        printf(
            "SKIPPED: the published vocabulary of Qwen is NOT checked: there is no folder '%s'; set DLX_SHARED to the "
            "folder that holds fixtures/qwen3-tokenizer\n",
            folder);
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
