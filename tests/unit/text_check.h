/* Shared by the tests of src/text/: test data, checkpoint folders, comparison of ids. */
#ifndef DLX_TESTS_UNIT_TEXT_CHECK_H
#define DLX_TESTS_UNIT_TEXT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "diffulex_edge/text.h"

#include "base/io.h"

static const char *const text_families[4] = {"llada", "dream", "sdar", "fast_dllm_v2"};

static inline json_t *load_json(const char *path)
{
    json_error_t e;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL | JSON_DECODE_ANY, &e);
    if (!root) fail_msg("%s: line %d: %s", path, e.line, e.text);
    return root;
}

/* Recorded vectors of a family. */
static inline json_t *load_vectors(const char *family)
{
    char path[512];
    snprintf(path, sizeof path, DLX_TEST_DATA "/text/%s.json", family);
    return load_json(path);
}

static inline const char *checkpoint_folder(const char *family)
{
    static char path[512];
    snprintf(path, sizeof path, DLX_TEST_DATA "/checkpoints/%s-tiny", family);
    return path;
}

#define assert_ok(expr)                                                                                                \
    do {                                                                                                               \
        dlx_error check_err = {0};                                                                                     \
        dlx_error *err = &check_err;                                                                                   \
        if ((expr) != DLX_OK) fail_msg("%s: %s", #expr, check_err.message);                                            \
    } while (0)

static inline dlx_tokenizer *open_folder(const char *folder)
{
    dlx_tokenizer *t = NULL;
    assert_ok(dlx_tokenizer_open_folder(&t, folder, err));
    return t;
}

static inline dlx_tokenizer *open_family(const char *family)
{
    return open_folder(checkpoint_folder(family));
}

/* A new empty folder below the system's one for temporary files; removed by remove_folder. */
static inline char *make_folder(void)
{
    const char *tmp = getenv("TMPDIR");
    static char path[512];
    snprintf(path, sizeof path, "%s/dlx-text-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void write_file(const char *folder, const char *name, const void *data, size_t n)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Copies a file where the source has it. */
static inline void copy_file(const char *to, const char *from, const char *name)
{
    char path[1024], *data;
    size_t n;
    snprintf(path, sizeof path, "%s/%s", from, name);
    if (!dlx_is_file(path)) return;
    assert_ok(dlx_read_file(&data, &n, path, 64 << 20, err));
    write_file(to, name, data, n);
    free(data);
}

static const char *const tokenizer_files[] = {
    "tokenizer.json",          "vocab.json",        "merges.txt",          "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
};

static inline void remove_folder(const char *folder)
{
    for (size_t i = 0; i < sizeof tokenizer_files / sizeof tokenizer_files[0]; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, tokenizer_files[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(folder), 0);
}

/* The tokenizer of a folder, read without its tokenizer.json. */
static inline dlx_tokenizer *open_without_json(const char *source)
{
    char *folder = make_folder();
    for (size_t i = 1; i < sizeof tokenizer_files / sizeof tokenizer_files[0]; i++)
        copy_file(folder, source, tokenizer_files[i]);
    dlx_tokenizer *t = open_folder(folder);
    remove_folder(folder);
    return t;
}

static inline void show_ids(const char *what, const int32_t *ids, size_t n)
{
    print_error("%s:", what);
    for (size_t i = 0; i < n && i < 64; i++) print_error(" %d", (int)ids[i]);
    print_error("\n");
}

/* Reads a JSON array of ids; malloc'd. */
static inline int32_t *json_ids(const json_t *list, size_t *n)
{
    *n = json_array_size(list);
    int32_t *ids = malloc((*n + 1) * sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < *n; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return ids;
}

static inline void assert_ids(const int32_t *ids, size_t n, const json_t *expected, const char *text)
{
    size_t m;
    int32_t *want = json_ids(expected, &m);
    if (n != m || memcmp(ids, want, n * sizeof *ids) != 0) {
        show_ids("got", ids, n);
        show_ids("expected", want, m);
        fail_msg("other ids for '%s'", text);
    }
    free(want);
}

static inline void assert_encodes(const dlx_tokenizer *t, const char *text, size_t n, const json_t *expected)
{
    int32_t *ids;
    size_t count;
    assert_ok(dlx_tokenizer_encode(t, text, n, DLX_ENCODE_SPECIAL, &ids, &count, err));
    assert_ids(ids, count, expected, text);
    free(ids);
}

static inline void assert_decodes(const dlx_tokenizer *t, const int32_t *ids, size_t count, bool skip_special,
                                  const json_t *expected)
{
    char *text;
    size_t n;
    assert_ok(dlx_tokenizer_decode(t, ids, count, skip_special, &text, &n, err));
    if (n != json_string_length(expected) || memcmp(text, json_string_value(expected), n + 1) != 0) {
        show_ids("ids", ids, count);
        fail_msg("decoded '%s', expected '%s'", text, json_string_value(expected));
    }
    free(text);
}

/* Every recorded vector of encoding and decoding: [text, ids, decoded, decoded without special tokens], where the last
 * two are left out when they are the same as before. */
static inline void assert_vectors(const dlx_tokenizer *t, const json_t *vectors)
{
    size_t i;
    json_t *e;
    assert_true(json_array_size(json_object_get(vectors, "encode")) > 200);
    json_array_foreach(json_object_get(vectors, "encode"), i, e)
    {
        json_t *text = json_array_get(e, 0), *list = json_array_get(e, 1);
        json_t *decoded = json_array_size(e) > 2 ? json_array_get(e, 2) : text;
        json_t *skipped = json_array_size(e) > 3 ? json_array_get(e, 3) : decoded;
        size_t count;
        int32_t *ids = json_ids(list, &count);
        assert_encodes(t, json_string_value(text), json_string_length(text), list);
        assert_decodes(t, ids, count, false, decoded);
        assert_decodes(t, ids, count, true, skipped);
        free(ids);
    }
    json_array_foreach(json_object_get(vectors, "decode"), i, e)
    {
        json_t *decoded = json_array_get(e, 1), *skipped = json_array_size(e) > 2 ? json_array_get(e, 2) : decoded;
        size_t count;
        int32_t *ids = json_ids(json_array_get(e, 0), &count);
        assert_decodes(t, ids, count, false, decoded);
        assert_decodes(t, ids, count, true, skipped);
        free(ids);
    }
}

/* A small generator of numbers that are the same everywhere. */
static inline uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

#endif
