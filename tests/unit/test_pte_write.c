/* Programs being written: blobs that are streamed, payloads of pieces, and parts that are written again behind the
 * data, when it is known what keys the data have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sizes.h"
#include "pte_sample.h"

/* Other keys of the same length and other bytes of a payload give the file that would have been written with them. */
static void keys_may_follow_the_data(void **state)
{
    char folder[] = "/tmp/dlx-test-XXXXXX", path[64], *bytes;
    size_t size, expected_size;
    pte_sample a, b;
    dlx_output out;
    dlx_status status;
    dlx_error err = {0};
    (void)state;
    pte_sample_make(&a);
    pte_sample_make(&b);
    b.blobs[B_OWN].key = "b.own";
    uint8_t *payload = malloc(b.blobs[B_FIRST].size);
    assert_non_null(payload);
    memcpy(payload, a.blobs[B_FIRST].data, b.blobs[B_FIRST].size);
    payload[3] ^= 1;
    b.blobs[B_FIRST].data = payload;
    uint8_t *expected = pte_sample_write(&b.pte, &expected_size, &status, &err);
    if (!expected) fail_msg("not written: %s", err.message);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/again.pte", folder);
    assert_int_equal(dlx_output_open(&out, path, &err), DLX_OK);
    assert_int_equal(dlx_pte_write(&a.pte, &out, NULL, NULL, &err), DLX_OK);
    assert_int_equal(dlx_pte_rewrite(&b.pte, &a.pte, &out, &err), DLX_OK);
    b.blobs[B_OWN].key =
        "a.longer key, behind which all lies elsewhere, be there room or not: alignment takes up to 128";
    assert_int_equal(dlx_pte_rewrite(&b.pte, &a.pte, &out, &err), DLX_E_INTERNAL);
    assert_int_equal(dlx_output_commit(&out, &err), DLX_OK);
    dlx_output_close(&out);
    assert_int_equal(dlx_read_file(&bytes, &size, path, SIZE_MAX / 2, &err), DLX_OK);
    assert_int_equal(size, expected_size);
    assert_memory_equal(bytes, expected, size);
    free(payload);
    free(bytes);
    free(expected);
    unlink(path);
    rmdir(folder);
}

/* Writes `size + extra` bytes: 0, 1, 2 ... */
static dlx_status stream_about(void *ctx, const void *user, uint64_t size, dlx_output *out, dlx_error *err)
{
    const int *extra = ctx;
    if (*extra == 99) return dlx_fail(err, DLX_E_CANCELLED, "stopped at '%s'", (const char *)user);
    for (uint64_t i = 0; i < size + (uint64_t)(int64_t)*extra; i++) DLX_TRY(dlx_output_write(out, &i, 1, err));
    return DLX_OK;
}

static void blobs_are_streamed_and_measured(void **state)
{
    (void)state;
    static const struct {
        int extra;
        dlx_status status;
        const char *words;
    } cases[] = {{0, DLX_OK, ""},
                 {-1, DLX_E_INTERNAL, "'a.own' gave 7 bytes; 8 were announced"},
                 {1, DLX_E_INTERNAL, "gave 9 bytes"},
                 {99, DLX_E_CANCELLED, "stopped at 'what is to be streamed'"}};
    char folder[] = "/tmp/dlx-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/streamed.pte", folder);
    for (size_t i = 0; i < DLX_COUNT(cases); i++) {
        pte_sample s;
        dlx_output out;
        dlx_error err = {0};
        int extra = cases[i].extra;
        pte_sample_make(&s);
        s.blobs[B_OWN].data = NULL;
        s.blobs[B_OWN].user = "what is to be streamed";
        assert_int_equal(dlx_output_open(&out, path, &err), DLX_OK);
        assert_int_equal(dlx_pte_write(&s.pte, &out, stream_about, &extra, &err), cases[i].status);
        assert_non_null(strstr(err.message, cases[i].words));
        dlx_output_close(&out);
    }
    pte_sample s;
    dlx_status status;
    size_t size;
    dlx_error err = {0};
    pte_sample_make(&s);
    s.blobs[B_OWN].data = NULL;
    assert_null(pte_sample_write(&s.pte, &size, &status, &err));
    assert_int_equal(status, DLX_E_INTERNAL);
    assert_non_null(strstr(err.message, "has no data"));
    assert_int_equal(rmdir(folder), 0); /* empty: nothing was committed, nothing left behind */
}

/* `size` bytes: 0, 1, 2 ... */
static dlx_status stream(void *ctx, const void *user, uint64_t size, dlx_output *out, dlx_error *err)
{
    int *calls = ctx;
    ++*calls;
    assert_string_equal(user, "five");
    for (uint64_t i = 0; i < size; i++) DLX_TRY(dlx_output_write(out, &i, 1, err));
    return DLX_OK;
}

/* A payload of pieces, some of them streamed, is what the same bytes are in one; those that have their bytes may change
 * behind the others. */
static void payloads_have_pieces(void **state)
{
    (void)state;
    static const char wrong[] = "hole", head[] = "head", tail[] = "the tail";
    char folder[] = "/tmp/dlx-test-XXXXXX", path[64], *bytes;
    dlx_pte_piece first[] = {{.data = wrong, .size = sizeof wrong},
                             {.user = "five", .size = 5},
                             {.size = 0},
                             {.data = tail, .size = sizeof tail}},
                  again[DLX_COUNT(first)];
    uint8_t whole[sizeof head + 5 + sizeof tail] = {'h', 'e', 'a', 'd', 0, 0, 1, 2, 3, 4};
    memcpy(whole + sizeof head + 5, tail, sizeof tail);
    memcpy(again, first, sizeof first);
    again[0].data = head;
    pte_sample s;
    dlx_output out;
    dlx_status status;
    dlx_error err = {0};
    int calls = 0;
    size_t expected_size, size;
    pte_sample_make(&s);
    dlx_pte_blob *payload = &s.blobs[B_FIRST];
    payload->data = whole;
    payload->size = sizeof whole;
    uint8_t *expected = pte_sample_write(&s.pte, &expected_size, &status, &err);
    assert_non_null(expected);
    payload->data = NULL;
    payload->pieces = first;
    payload->n_pieces = DLX_COUNT(first);
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/pieces.pte", folder);
    assert_int_equal(dlx_output_open(&out, path, &err), DLX_OK);
    if (dlx_pte_write(&s.pte, &out, stream, &calls, &err) != DLX_OK) fail_msg("%s", err.message);
    dlx_pte written = s.pte;
    payload->pieces = again;
    assert_int_equal(dlx_pte_rewrite(&s.pte, &written, &out, &err), DLX_OK);
    assert_int_equal(calls, 1);
    assert_int_equal(dlx_output_commit(&out, &err), DLX_OK);
    dlx_output_close(&out);
    assert_int_equal(dlx_read_file(&bytes, &size, path, SIZE_MAX / 2, &err), DLX_OK);
    assert_int_equal(size, expected_size);
    assert_memory_equal(bytes, expected, size);
    payload->size++;
    assert_null(pte_sample_write(&s.pte, &size, &status, &err));
    assert_non_null(strstr(err.message, "have 19 bytes; 20 were announced"));
    free(bytes);
    free(expected);
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(keys_may_follow_the_data),
                                       cmocka_unit_test(blobs_are_streamed_and_measured),
                                       cmocka_unit_test(payloads_have_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
