/* A program part that is written again behind the data, when it is known what keys the data have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(keys_may_follow_the_data)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
