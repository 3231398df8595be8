/* Tokenizers of the four families: recorded vectors through every way of opening one, special-token safety, streams. */
#include "text_check.h"
#include "text/tokenizer.h"
#include "left_out.h"

#include <pthread.h>

static void test_vectors(void **state)
{
    (void)state;
    for (int f = 0; f < 4; f++) {
        json_t *vectors = load_vectors(text_families[f]);
        dlx_tokenizer *t = open_family(text_families[f]);
        assert_vectors(t, vectors);
        dlx_tokenizer_close(t);
        json_decref(vectors);
    }
}

/* vocab.json and merges.txt give the same tokenizer as tokenizer.json, to the last byte of its packed form. */
static void test_vocab_and_merges(void **state)
{
    (void)state;
    for (int f = 1; f < 4; f++) {
        json_t *vectors = load_vectors(text_families[f]);
        dlx_tokenizer *a = open_family(text_families[f]), *b = open_without_json(checkpoint_folder(text_families[f]));
        void *pa, *pb;
        size_t na, nb;
        assert_vectors(b, vectors);
        assert_ok(dlx_tokenizer_pack(a, &pa, &na, err));
        assert_ok(dlx_tokenizer_pack(b, &pb, &nb, err));
        assert_int_equal(na, nb);
        assert_memory_equal(pa, pb, na);
        free(pa);
        free(pb);
        dlx_tokenizer_close(a);
        dlx_tokenizer_close(b);
        json_decref(vectors);
    }
}

static void test_packed_vectors(void **state)
{
    (void)state;
    for (int f = 0; f < 4; f++) {
        json_t *vectors = load_vectors(text_families[f]);
        dlx_tokenizer *a = open_family(text_families[f]), *b;
        void *packed, *again;
        size_t n, m;
        assert_ok(dlx_tokenizer_pack(a, &packed, &n, err));
        assert_ok(dlx_tokenizer_open_packed(&b, packed, n, err));
        assert_vectors(b, vectors);
        assert_ok(dlx_tokenizer_pack(b, &again, &m, err));
        assert_int_equal(n, m);
        assert_memory_equal(packed, again, n);
        assert_int_equal(dlx_tokenizer_has_chat_template(a), dlx_tokenizer_has_chat_template(b));
        assert_int_equal(dlx_tokenizer_mask_id(a), dlx_tokenizer_mask_id(b));
        free(packed);
        free(again);
        dlx_tokenizer_close(a);
        dlx_tokenizer_close(b);
        json_decref(vectors);
    }
}

static void test_named_tokens(void **state)
{
    (void)state;
    static const struct {
        const char *family, *mask;
        int32_t mask_id, size;
    } expected[] = {
        {"llada", "<|mdm_mask|>", 1416, 1429},
        {"dream", "<|mask|>", 1323, 1324},
        {"sdar", "<|MASK|>", 1226, 1227},
        {"fast_dllm_v2", "|<MASK>|", 1372, 1373},
    };
    for (int f = 0; f < 4; f++) {
        dlx_tokenizer *t = open_family(expected[f].family);
        assert_int_equal(dlx_tokenizer_mask_id(t), dlx_tokenizer_special_id(t, expected[f].mask));
        assert_int_equal(dlx_tokenizer_mask_id(t), expected[f].mask_id);
        assert_int_equal(dlx_tokenizer_size(t), expected[f].size);
        assert_true(dlx_tokenizer_has_chat_template(t));
        assert_int_equal(dlx_tokenizer_special_id(t, "hello"), -1);
        assert_int_equal(dlx_tokenizer_special_id(t, ""), -1);
        assert_int_equal(dlx_tokenizer_special_id(t, "<|mask"), -1);
        assert_int_equal(dlx_tokenizer_special_id(t, "<|mask|>x"), -1);
        dlx_tokenizer_close(t);
    }
}

static void test_demo(void **state)
{
    (void)state;
    dlx_tokenizer *t = open_folder(DLX_TEST_DATA "/../../demo/sudoku6-llada");
    assert_int_equal(dlx_tokenizer_size(t), 262);
    assert_int_equal(dlx_tokenizer_mask_id(t), 258);
    assert_false(dlx_tokenizer_has_chat_template(t));
    int32_t *ids;
    size_t n;
    assert_ok(dlx_tokenizer_encode(t, "12<|mdm_mask|>\n", 15, DLX_ENCODE_SPECIAL, &ids, &n, err));
    json_t *expected = json_loads("[16, 17, 258, 198]", 0, NULL);
    assert_ids(ids, n, expected, "12<|mdm_mask|>");
    json_decref(expected);
    free(ids);
    dlx_tokenizer_close(t);
}

/* Text that a user typed: no control token, whatever it spells; and it comes back as it was. */
static void assert_plain(const dlx_tokenizer *t, const char *text)
{
    int32_t *ids;
    size_t n;
    char *back;
    assert_ok(dlx_tokenizer_encode(t, text, strlen(text), DLX_ENCODE_PLAIN, &ids, &n, err));
    for (size_t i = 0; i < n; i++)
        if (t->kind[ids[i]] & DLX_TOKEN_SPECIAL || ids[i] == t->mask_id)
            fail_msg("'%s' became token %d", text, (int)ids[i]);
    assert_ok(dlx_tokenizer_decode(t, ids, n, true, &back, NULL, err));
    assert_string_equal(back, text);
    free(ids);
    free(back);
}

static void test_plain_text_gives_no_special_token(void **state)
{
    (void)state;
    for (int f = 0; f < 4; f++) {
        dlx_tokenizer *t = open_family(text_families[f]);
        for (uint32_t i = 0; i < t->n_added; i++) {
            char text[256];
            snprintf(text, sizeof text, "%.*s", (int)t->added[i].length, t->added[i].text);
            assert_plain(t, text);
            snprintf(text, sizeof text, "a%.*s b\n%.*s%.*s", (int)t->added[i].length, t->added[i].text,
                     (int)t->added[i].length, t->added[i].text, (int)t->added[i].length, t->added[i].text);
            assert_plain(t, text);
            int32_t *ids;
            size_t n;
            assert_ok(dlx_tokenizer_encode(t, t->added[i].text, t->added[i].length, DLX_ENCODE_SPECIAL, &ids, &n, err));
            assert_int_equal(n, 1);
            assert_int_equal(ids[0], t->added[i].id);
            free(ids);
        }
        dlx_tokenizer_close(t);
    }
}

/* Pushes ids in pieces of random length; the pieces of text together are the whole text, each of them valid UTF-8. */
static void assert_streams(const dlx_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, uint64_t *random)
{
    char *whole, *joined;
    size_t length, used = 0, got;
    const char *text;
    dlx_text_stream *s;
    assert_ok(dlx_tokenizer_decode(t, ids, n, skip_special, &whole, &length, err));
    joined = malloc(length + 1);
    assert_non_null(joined);
    assert_ok(dlx_text_stream_open(&s, t, skip_special, err));
    for (size_t i = 0; i < n;) {
        size_t step = next_random(random) % 4;
        if (step > n - i) step = n - i;
        assert_ok(dlx_text_stream_push(s, ids + i, step, &text, &got, err));
        assert_true(got <= length - used);
        assert_int_equal(strlen(text) <= got, 1);
        memcpy(joined + used, text, got);
        used += got;
        i += step;
    }
    assert_ok(dlx_text_stream_flush(s, &text, &got, err));
    assert_true(got <= length - used);
    memcpy(joined + used, text, got);
    used += got;
    assert_int_equal(used, length);
    assert_memory_equal(joined, whole, length);
    assert_ok(dlx_text_stream_flush(s, &text, &got, err));
    assert_int_equal(got, 0);
    dlx_text_stream_close(s);
    free(joined);
    free(whole);
}

static void test_streams(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (int f = 0; f < 4; f++) {
        json_t *vectors = load_vectors(text_families[f]), *e;
        dlx_tokenizer *t = open_family(text_families[f]);
        size_t i;
        json_array_foreach(json_object_get(vectors, "encode"), i, e)
        {
            size_t n;
            int32_t *ids = json_ids(json_array_get(e, 1), &n);
            assert_streams(t, ids, n, i & 1, &random);
            free(ids);
        }
        for (int round = 0; round < 3000; round++) { /* mostly the 256 single bytes: cut and broken characters */
            int32_t ids[12];
            for (int k = 0; k < 12; k++)
                ids[k] = (int32_t)(next_random(&random) % (k % 3 ? 256 : t->size + 4)) - (round % 7 == 0);
            assert_streams(t, ids, 12, round & 1, &random);
        }
        dlx_tokenizer_close(t);
        json_decref(vectors);
    }
}

/* Characters come as soon as they are complete, not later. */
static void test_stream_holds_back_no_more_than_needed(void **state)
{
    (void)state;
    dlx_tokenizer *t = open_family("dream");
    dlx_text_stream *s;
    const char *text;
    size_t n;
    assert_ok(dlx_text_stream_open(&s, t, false, err));
    static const char bytes[] = "\xF0\x9F\x99\x82"
                                "a"
                                "\xE2\x82"
                                "z";
    static const char *const expected[] = {"", "", "", "\xF0\x9F\x99\x82", "a", "", "", "\xEF\xBF\xBDz"};
    for (int i = 0; i < 8; i++) {
        int32_t id = (int32_t)t->byte_id[(unsigned char)bytes[i]];
        assert_ok(dlx_text_stream_push(s, &id, 1, &text, &n, err));
        assert_string_equal(text, expected[i]);
        assert_int_equal(n, strlen(expected[i]));
    }
    int32_t cut = (int32_t)t->byte_id[0xE2];
    assert_ok(dlx_text_stream_push(s, &cut, 1, &text, &n, err));
    assert_int_equal(n, 0);
    assert_ok(dlx_text_stream_flush(s, &text, &n, err));
    assert_string_equal(text, "\xEF\xBF\xBD");
    dlx_text_stream_close(s);
    dlx_tokenizer_close(t);
}

static void test_invalid_utf8_is_replaced(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"\xFF", "\xEF\xBF\xBD"},
        {"a\xE2\x82z", "a\xEF\xBF\xBDz"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"x\xF0\x9F\x98", "x\xEF\xBF\xBD"},
    };
    dlx_tokenizer *t = open_family("sdar");
    for (int i = 0; i < 4; i++) {
        int32_t *a, *b;
        size_t na, nb;
        assert_ok(dlx_tokenizer_encode(t, pairs[i][0], strlen(pairs[i][0]), 0, &a, &na, err));
        assert_ok(dlx_tokenizer_encode(t, pairs[i][1], strlen(pairs[i][1]), 0, &b, &nb, err));
        assert_int_equal(na, nb);
        assert_memory_equal(a, b, na * sizeof *a);
        free(a);
        free(b);
    }
    dlx_tokenizer_close(t);
}

/* Runs that would take quadratic time or deep recursion in a careless splitter, normaliser or merger. */
static void test_long_runs(void **state)
{
    (void)state;
    static const char *const units[] = {
        " ",        "a",  "ab",  "\n", " \n", "7", "'s", "\xCC\x81", "a\xCC\x81\xCC\xA3", "\xE4\xB8\xAD",
        "<|mask|>", "<|", " \t", "."};
    enum { LENGTH = DLX_SLOW ? 1 << 15 : 1 << 18 };
    dlx_tokenizer *t = open_family("dream");
    char *text = malloc(LENGTH);
    assert_non_null(text);
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        size_t n = strlen(units[u]), used = 0;
        while (used + n <= LENGTH) {
            memcpy(text + used, units[u], n);
            used += n;
        }
        for (int flags = 0; flags < 2; flags++) {
            int32_t *ids;
            size_t count;
            char *back;
            assert_ok(dlx_tokenizer_encode(t, text, used, flags, &ids, &count, err));
            if (u != 8) { /* NFC changes that one */
                assert_ok(dlx_tokenizer_decode(t, ids, count, false, &back, &n, err));
                assert_int_equal(n, used);
                assert_memory_equal(back, text, used);
                free(back);
            }
            free(ids);
            n = strlen(units[u]);
        }
    }
    free(text);
    dlx_tokenizer_close(t);
}

typedef struct encoding {
    const dlx_tokenizer *t;
    const char *text;
    size_t n;
    const int32_t *ids;
    size_t n_ids;
    int failures;
} encoding;

static void *encode_again(void *arg)
{
    encoding *e = arg;
    for (int round = 0; round < 100; round++) {
        int32_t *ids;
        size_t n;
        if (dlx_tokenizer_encode(e->t, e->text, e->n, DLX_ENCODE_SPECIAL, &ids, &n, NULL) != DLX_OK) return arg;
        e->failures += n != e->n_ids || memcmp(ids, e->ids, n * sizeof *ids) != 0;
        free(ids);
    }
    return NULL;
}

static void test_one_tokenizer_in_many_threads(void **state)
{
    (void)state;
    static const char text[] =
        "<|im_start|>user\nThe quick brown caf\u00E9, e\u0301 \u4E2D\u6587 12345 it's <|im_end|>\n";
    dlx_tokenizer *t = open_family("dream");
    int32_t *ids;
    size_t n;
    pthread_t threads[4];
    encoding e[4];
    assert_ok(dlx_tokenizer_encode(t, text, sizeof text - 1, DLX_ENCODE_SPECIAL, &ids, &n, err));
    for (int i = 0; i < 4; i++) {
        e[i] = (encoding){t, text, sizeof text - 1, ids, n, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_again, &e[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
        assert_int_equal(e[i].failures, 0);
    }
    free(ids);
    dlx_tokenizer_close(t);
}

static void test_arguments(void **state)
{
    (void)state;
    dlx_tokenizer *t = open_family("dream"), *none;
    dlx_error e;
    int32_t *ids = (int32_t *)&e, id = 5;
    size_t n = 7;
    char *text;
    void *bytes;
    dlx_text_stream *s;
    const char *view;
    assert_int_equal(dlx_tokenizer_encode(NULL, "a", 1, 0, &ids, &n, &e), DLX_E_INVALID);
    assert_null(ids);
    assert_int_equal(n, 0);
    assert_int_equal(dlx_tokenizer_encode(t, NULL, 1, 0, &ids, &n, &e), DLX_E_INVALID);
    assert_int_equal(dlx_tokenizer_encode(t, "a", 1, 4, &ids, &n, &e), DLX_E_INVALID);
    assert_int_equal(dlx_tokenizer_encode(t, "a", 1, 0, NULL, &n, &e), DLX_E_INVALID);
    assert_ok(dlx_tokenizer_encode(t, NULL, 0, 0, &ids, &n, err));
    assert_non_null(ids);
    assert_int_equal(n, 0);
    free(ids);
    assert_int_equal(dlx_tokenizer_decode(NULL, &id, 1, false, &text, &n, &e), DLX_E_INVALID);
    assert_int_equal(dlx_tokenizer_decode(t, NULL, 1, false, &text, &n, &e), DLX_E_INVALID);
    assert_int_equal(dlx_tokenizer_decode(t, &id, 1, false, NULL, &n, &e), DLX_E_INVALID);
    assert_ok(dlx_tokenizer_decode(t, NULL, 0, false, &text, NULL, err));
    assert_string_equal(text, "");
    free(text);
    assert_int_equal(dlx_tokenizer_pack(NULL, &bytes, &n, &e), DLX_E_INVALID);
    assert_int_equal(dlx_tokenizer_pack(t, NULL, &n, &e), DLX_E_INVALID);
    assert_int_equal(dlx_text_stream_open(NULL, t, false, &e), DLX_E_INVALID);
    assert_int_equal(dlx_text_stream_open(&s, NULL, false, &e), DLX_E_INVALID);
    assert_null(s);
    assert_int_equal(dlx_text_stream_push(NULL, &id, 1, &view, &n, &e), DLX_E_INVALID);
    assert_int_equal(dlx_text_stream_flush(NULL, &view, &n, &e), DLX_E_INVALID);
    assert_int_equal(dlx_tokenizer_open_folder(NULL, ".", &e), DLX_E_INVALID);
    assert_int_equal(dlx_tokenizer_open_folder(&none, NULL, &e), DLX_E_INVALID);
    assert_int_equal(dlx_tokenizer_open_packed(&none, NULL, 9, &e), DLX_E_INVALID);
    assert_int_equal(dlx_tokenizer_size(NULL), 0);
    assert_int_equal(dlx_tokenizer_special_id(NULL, "a"), -1);
    assert_int_equal(dlx_tokenizer_special_id(t, NULL), -1);
    assert_int_equal(dlx_tokenizer_mask_id(NULL), -1);
    assert_false(dlx_tokenizer_has_chat_template(NULL));
    dlx_tokenizer_close(NULL);
    dlx_text_stream_close(NULL);
    dlx_tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        one_thread_test(test_vectors),
        one_thread_test(test_vocab_and_merges),
        one_thread_test(test_packed_vectors),
        one_thread_test(test_named_tokens),
        one_thread_test(test_demo),
        cmocka_unit_test(test_plain_text_gives_no_special_token),
        one_thread_test(test_streams),
        cmocka_unit_test(test_stream_holds_back_no_more_than_needed),
        cmocka_unit_test(test_invalid_utf8_is_replaced),
        one_thread_test(test_long_runs),
        cmocka_unit_test(test_one_tokenizer_in_many_threads),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
