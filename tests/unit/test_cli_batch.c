/* The parts of `batch` by themselves: ids of a million lines, lines of any length from files and pipes, and the file of
 * results in every state that an end in the middle leaves. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "full/batch_ids.h"
#include "full/batch_lines.h"
#include "full/batch_results.h"

static char path[] = "/tmp/dlx-batch-XXXXXX";

static int make_path(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_text(const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* ---- ids --------------------------------------------------------------------------------------------------------- */

static void test_hash_is_siphash(void **state)
{
    /* The example of the paper: keys and text are the numbers from 0 on. */
    char text[15];
    dlx_cli_ids ids;
    (void)state;
    dlx_cli_ids_open(&ids);
    for (int i = 0; i < 15; i++) text[i] = (char)i;
    ids.keys[0] = 0x0706050403020100u;
    ids.keys[1] = 0x0f0e0d0c0b0a0908u;
    dlx_cli_id *id = dlx_cli_ids_add(&ids, text, sizeof text);
    assert_non_null(id);
    assert_true(id->hash[0] == 0xa129ca6149be45e5u);
    dlx_cli_ids_close(&ids);
}

static void test_ids_are_found_again_and_stay_small(void **state)
{
    enum { N = DLX_SLOW ? 20000 : 200000 };
    char text[32];
    dlx_cli_ids ids;
    (void)state;
    dlx_cli_ids_open(&ids);
    assert_null(dlx_cli_ids_find(&ids, "request-0", 9));
    for (int i = 0; i < N; i++) {
        int n = snprintf(text, sizeof text, "request-%d", i);
        dlx_cli_id *id = dlx_cli_ids_add(&ids, text, (size_t)n);
        assert_non_null(id);
        assert_true(id->line == 0 && !id->done && !id->taken);
        id->line = (uint64_t)i + 1;
        id->done = i % 3 == 0;
    }
    assert_int_equal(ids.n, N);
    assert_true(ids.capacity * sizeof *ids.table <= 64 * (size_t)N);
    for (int i = 0; i < N; i++) {
        int n = snprintf(text, sizeof text, "request-%d", i);
        const dlx_cli_id *id = dlx_cli_ids_add(&ids, text, (size_t)n);
        assert_true(id == dlx_cli_ids_find(&ids, text, (size_t)n));
        assert_true(id->line == (uint64_t)i + 1 && id->done == (i % 3 == 0));
    }
    assert_int_equal(ids.n, N);
    assert_null(dlx_cli_ids_find(&ids, "request", 7));
    dlx_cli_ids_close(&ids);
}

static void test_keys_differ(void **state)
{
    dlx_cli_ids a, b;
    (void)state;
    dlx_cli_ids_open(&a);
    dlx_cli_ids_open(&b);
    assert_memory_not_equal(a.keys, b.keys, sizeof a.keys);
    dlx_cli_ids_close(&a);
    dlx_cli_ids_close(&b);
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static void expect_line(dlx_cli_line_reader *r, const char *expected, uint64_t begin, bool whole)
{
    const char *line;
    size_t n;
    dlx_error err;
    assert_int_equal(dlx_cli_line_next(r, &line, &n, &err), DLX_OK);
    if (!expected) {
        assert_null(line);
        return;
    }
    assert_non_null(line);
    assert_string_equal(line, expected);
    assert_int_equal(n, strlen(expected));
    assert_true(r->begin == begin && r->whole == whole && r->end == begin + n + whole);
}

static void test_lines_of_a_file(void **state)
{
    static char text[300000];
    (void)state;
    memset(text, 'x', sizeof text);
    memcpy(text, "a\n\nbc\n", 6);
    text[200005] = '\n';
    write_text(text, sizeof text);
    dlx_cli_line_reader r = {.name = "f", .fd = open(path, O_RDONLY), .most = sizeof text};
    for (int round = 0; round < 2; round++) {
        text[200005] = text[sizeof text - 1] = '\0';
        expect_line(&r, "a", 0, true);
        expect_line(&r, "", 2, true);
        expect_line(&r, "bc", 3, true);
        expect_line(&r, text + 6, 6, true);
        text[sizeof text - 1] = 'x';
        assert_int_equal(r.number, 4);
        const char *line;
        size_t n;
        assert_int_equal(dlx_cli_line_next(&r, &line, &n, NULL), DLX_OK);
        assert_int_equal(n, sizeof text - 200006);
        assert_true(!r.whole && r.begin == 200006 && r.end == sizeof text);
        expect_line(&r, NULL, 0, false);
        expect_line(&r, NULL, 0, false);
        assert_true(dlx_cli_line_rewind(&r));
    }
    close(r.fd);
    dlx_cli_line_free(&r);
}

static void expect_refused(const char *text, size_t n, size_t most, const char *why)
{
    const char *line;
    dlx_error err = {0};
    write_text(text, n);
    dlx_cli_line_reader r = {.name = "f", .fd = open(path, O_RDONLY), .most = most};
    assert_int_not_equal(dlx_cli_line_next(&r, &line, &n, &err), DLX_OK);
    assert_non_null(strstr(err.message, why));
    close(r.fd);
    dlx_cli_line_free(&r);
}

static void test_lines_that_are_refused(void **state)
{
    static char text[1 << 20];
    (void)state;
    memset(text, 'x', sizeof text);
    expect_refused(text, sizeof text, 100000, "line 1 is longer than 100000 bytes");
    expect_refused("abcdef\n", 7, 5, "line 1 is longer than 5 bytes");
    expect_refused("\xFF\xFEx\0\n\0", 6, 100, "UTF-16");
}

static bool asked(const void *ctx)
{
    (void)ctx;
    return true;
}

static void test_lines_of_a_pipe(void **state)
{
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    dlx_cli_line_reader r = {.name = "p", .fd = ends[0], .most = 100, .stopped = asked};
    assert_int_equal(write(ends[1],
                           "\xEF\xBB\xBF"
                           "one\ntw",
                           9),
                     9);
    const char *line;
    size_t n;
    assert_int_equal(dlx_cli_line_next(&r, &line, &n, NULL), DLX_OK);
    assert_string_equal(line, "one");
    expect_line(&r, NULL, 0, false); /* the half line waits for its rest: who is told to stop does */
    assert_int_equal(write(ends[1], "o\n", 2), 2);
    expect_line(&r, "two", 7, true);
    assert_false(dlx_cli_line_rewind(&r));
    close(ends[1]);
    expect_line(&r, NULL, 0, false);
    close(ends[0]);
    dlx_cli_line_free(&r);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

#define DIGITS "0123456789abcdef01234567"
static const char first[] = "{\"id\":\"batch_req_" DIGITS "\",\"custom_id\":\"a\",\"response\":{\"status_code\":200,"
                            "\"request_id\":\"req_" DIGITS "\",\"body\":{}},\"error\":null}\n";

/* What reading a file says of it, and how long it is then. */
static dlx_status read_results(const char *text, size_t n, bool known, size_t *size, char message[])
{
    dlx_cli_results r;
    dlx_cli_ids ids;
    dlx_error err = {0};
    struct stat st;
    write_text(text, n);
    dlx_cli_ids_open(&ids);
    for (const char *id = "abc"; *id; id++) assert_non_null(dlx_cli_ids_add(&ids, id, 1));
    dlx_status s = dlx_cli_results_open(&r, path, &err);
    assert_int_equal(s, DLX_OK);
    s = dlx_cli_results_read(&r, &ids, known, &err);
    if (s == DLX_OK) assert_true(dlx_cli_ids_find(&ids, "a", 1)->done == (n >= sizeof first - 1));
    if (s == DLX_OK) assert_int_equal(dlx_cli_results_append(&r, "{}\n", 3, &err), DLX_OK);
    strcpy(message, err.message);
    assert_int_equal(dlx_cli_results_close(&r, &err), DLX_OK);
    assert_int_equal(stat(path, &st), 0);
    *size = (size_t)st.st_size - (s == DLX_OK ? 3 : 0);
    dlx_cli_ids_close(&ids);
    return s;
}

static void test_a_result_is_one_line(void **state)
{
    size_t n;
    (void)state;
    char *line = dlx_cli_result_line(DIGITS, "\"a\"", 200, "{}", &n);
    assert_int_equal(n, sizeof first - 1);
    assert_string_equal(line, first);
    free(line);
}

/* Wherever a write ended: the whole lines stay, the cut one goes. */
static void test_a_line_that_was_cut_is_taken_off(void **state)
{
    char text[2 * sizeof first + 10], message[sizeof(((dlx_error *)0)->message)];
    size_t size, n = sizeof first - 1;
    (void)state;
    for (size_t cut = 0; cut < n; cut++) {
        memcpy(text, first, n);
        memcpy(text + n, first, n);
        text[n + 56] = 'b'; /* the second one's id */
        assert_int_equal(read_results(text, n + cut, true, &size, message), DLX_OK);
        assert_int_equal(size, n);
        memset(text + n + cut, 0, 10); /* what some file systems leave behind a crash */
        assert_int_equal(read_results(text, n + cut + 10, true, &size, message), DLX_OK);
        assert_int_equal(size, n);
    }
    assert_int_equal(read_results(text, n, true, &size, message), DLX_OK);
    assert_int_equal(size, n);
}

static void test_what_is_not_ours_is_left_alone(void **state)
{
    static const char other[] = "{\"id\":\"batch_req_" DIGITS "\",\"custom_id\":\"z\",\"resp";
    static const char *const texts[] = {
        "a letter to somebody",  "{\"id\": \"batch_req_1", "{}\n", "{\"custom_id\":\"a\"}\n", "[1]\n", "\n",
        "{\"id\":\"batch_req_xy"};
    char message[sizeof(((dlx_error *)0)->message)];
    size_t size;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_not_equal(read_results(texts[i], strlen(texts[i]), true, &size, message), DLX_OK);
        assert_non_null(strstr(message, "line 1 is no result of a batch"));
        assert_int_equal(size, strlen(texts[i]));
    }
    /* Of an id that the input does not have: known of a file, of a pipe not yet. */
    assert_int_not_equal(read_results(other, sizeof other - 1, true, &size, message), DLX_OK);
    assert_int_equal(size, sizeof other - 1);
    char text[512] = {0};
    memcpy(text, first, sizeof first - 1);
    memcpy(text + sizeof first - 1, first,
           sizeof first - 10); /* the same id a second time is no result that was being written */
    assert_int_not_equal(read_results(text, strlen(text), true, &size, message), DLX_OK);
}

static void test_one_at_a_time(void **state)
{
    dlx_cli_results a, b;
    dlx_cli_ids ids;
    dlx_error err;
    (void)state;
    write_text("", 0);
    dlx_cli_ids_open(&ids);
    assert_int_equal(dlx_cli_results_open(&a, path, &err), DLX_OK);
    assert_int_equal(dlx_cli_results_open(&b, path, &err), DLX_OK);
    assert_int_equal(dlx_cli_results_read(&a, &ids, true, &err), DLX_OK);
    assert_int_not_equal(dlx_cli_results_read(&b, &ids, true, &err), DLX_OK);
    assert_non_null(strstr(err.message, "is being written by another batch"));
    assert_int_equal(dlx_cli_results_close(&a, &err), DLX_OK);
    assert_int_equal(dlx_cli_results_read(&b, &ids, true, &err), DLX_OK);
    assert_int_equal(dlx_cli_results_close(&b, &err), DLX_OK);
    dlx_cli_ids_close(&ids);
    assert_int_not_equal(dlx_cli_results_open(&a, "/tmp", &err), DLX_OK);
    assert_non_null(strstr(err.message, "'/tmp' is a folder, a device or a pipe"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_is_siphash),
        cmocka_unit_test(test_ids_are_found_again_and_stay_small),
        cmocka_unit_test(test_keys_differ),
        cmocka_unit_test(test_lines_of_a_file),
        cmocka_unit_test(test_lines_that_are_refused),
        cmocka_unit_test(test_lines_of_a_pipe),
        cmocka_unit_test(test_a_result_is_one_line),
        cmocka_unit_test(test_a_line_that_was_cut_is_taken_off),
        cmocka_unit_test(test_what_is_not_ours_is_left_alone),
        cmocka_unit_test(test_one_at_a_time),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
