/*
 * Files: what is written is read; outputs appear when they are complete, replace files and nothing else, follow links
 * and keep permissions; files that shrink or change while they are read are errors. What fails when the system refuses
 * is in test_io_failures.c and test_out_of_memory.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "base/sizes.h"

typedef struct place {
    char folder[64], path[96];
} place;

static place new_place(void)
{
    place p = {.folder = "/tmp/dlx-files-XXXXXX"};
    assert_non_null(mkdtemp(p.folder));
    snprintf(p.path, sizeof p.path, "%s/file", p.folder);
    return p;
}

/* The folder must be empty by then. */
static void leave_place(const place *p)
{
    unlink(p->path);
    assert_int_equal(rmdir(p->folder), 0);
}

static const char *in(const place *p, const char *name)
{
    static char path[64][512];
    static int turn;
    turn = (turn + 1) % 64;
    snprintf(path[turn], sizeof path[turn], "%s/%s", p->folder, name);
    return path[turn];
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void expect_text(const char *path, const char *text)
{
    char *got;
    size_t n;
    assert_int_equal(dlx_read_file(&got, &n, path, 4096, NULL), DLX_OK);
    assert_string_equal(got, text);
    free(got);
}

/* Opens, writes and commits. */
static dlx_status write_text(const char *path, const char *text, dlx_error *err)
{
    dlx_output out;
    dlx_status s = dlx_output_open(&out, path, err);
    if (s == DLX_OK) s = dlx_output_write(&out, text, strlen(text), err);
    if (s == DLX_OK) s = dlx_output_commit(&out, err);
    dlx_output_close(&out);
    return s;
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode;
}

static size_t entries(const char *folder)
{
    size_t n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static uint8_t byte_at(uint64_t i)
{
    return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

static void expect_bytes(const uint8_t *p, uint64_t from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != byte_at(from + i)) fail_msg("byte %llu", (unsigned long long)(from + i));
}

/* Ranges of a file, whichever way it was opened. */
static void read_ranges(dlx_file *file, uint64_t total)
{
    static uint8_t range[1000];
    dlx_error err;
    assert_true(file->size == total);
    dlx_file_expect(file, 0, total);
    for (uint64_t at = 0; at + sizeof range <= total; at += 77777) {
        assert_int_equal(dlx_file_read(file, at, range, sizeof range, &err), DLX_OK);
        expect_bytes(range, at, sizeof range);
    }
    assert_int_equal(dlx_file_read(file, total, range, 0, &err), DLX_OK);
    assert_int_equal(dlx_file_read(file, total - 1, range, 1, &err), DLX_OK);
    assert_int_equal(dlx_file_read(file, total - 1, range, 2, &err), DLX_E_INTERNAL);
    assert_int_equal(dlx_file_read(file, UINT64_MAX, range, 2, &err), DLX_E_INTERNAL);
    assert_int_equal(dlx_file_unchanged(file, &err), DLX_OK);
    dlx_file_close(file);
    assert_int_equal(file->fd, -1);
    dlx_file_close(file); /* again is fine */
}

/* Writes pieces of all sizes around the write buffer's, and reads the file in every way. */
static void what_is_written_is_read(void **state)
{
    (void)state;
    enum { BUFFER = 1 << 20, MOST = 3 << 20 };
    static const size_t pieces[] = {0, 1,          BUFFER - 1, 1,    BUFFER - 1, 2,           BUFFER,
                                    5, BUFFER + 1, BUFFER - 6, MOST, 17,         BUFFER - 17, 100};
    place p = new_place();
    uint8_t *data = malloc(MOST);
    dlx_output out;
    dlx_error err;
    uint64_t total = 0;
    assert_int_equal(dlx_output_open(&out, p.path, &err), DLX_OK);
    for (size_t i = 0; i < DLX_COUNT(pieces); i++) {
        for (size_t k = 0; k < pieces[i]; k++) data[k] = byte_at(total + k);
        assert_int_equal(dlx_output_write(&out, data, pieces[i], &err), DLX_OK);
        total += pieces[i];
        assert_true(out.position == total);
    }
    assert_false(dlx_is_file(p.path)); /* not before it is complete */
    assert_int_equal(dlx_output_commit(&out, &err), DLX_OK);
    dlx_output_close(&out);
    free(data);

    char *text;
    size_t n;
    assert_int_equal(dlx_read_file(&text, &n, p.path, (size_t)total, &err), DLX_OK);
    assert_int_equal(n, total);
    expect_bytes((uint8_t *)text, 0, n);
    assert_int_equal(text[n], 0);
    dlx_file file;
    assert_int_equal(dlx_file_open(&file, p.path, &err), DLX_OK);
    read_ranges(&file, total);
    int fd = open(p.path, O_RDONLY);
    assert_true(fd >= 0 && lseek(fd, 12, SEEK_SET) == 12);
    assert_int_equal(dlx_file_from_fd(&file, fd, "a descriptor", &err), DLX_OK);
    read_ranges(&file, total);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 12); /* still open, where it was */
    close(fd);
    dlx_file_from_memory(&file, text, total, "memory");
    read_ranges(&file, total);
    free(text);
    assert_int_equal(dlx_read_file(&text, &n, p.path, (size_t)total - 1, &err), DLX_E_LIMIT);
    assert_null(text);
    assert_int_equal(n, 0);
    leave_place(&p);
}

static void a_file_that_shrinks_or_changes_is_an_error(void **state)
{
    (void)state;
    place p = new_place();
    dlx_file file;
    dlx_error err;
    char bytes[8];
    put(p.path, "0123456789");
    assert_int_equal(dlx_file_open(&file, p.path, &err), DLX_OK);
    assert_int_equal(truncate(p.path, 5), 0);
    assert_int_equal(dlx_file_read(&file, 0, bytes, 5, &err), DLX_OK);
    assert_int_equal(dlx_file_read(&file, 1, bytes, 5, &err), DLX_E_IO);
    assert_non_null(strstr(err.message, "became shorter while it was read"));
    assert_non_null(strstr(err.message, p.path));
    assert_int_equal(dlx_file_unchanged(&file, &err), DLX_E_IO);
    assert_non_null(strstr(err.message, "became shorter"));
    dlx_file_close(&file);

    /* Overwritten in place: the same size, another time. */
    put(p.path, "0123456789");
    const struct timeval old[2] = {{1000, 0}, {1000, 0}};
    assert_int_equal(utimes(p.path, old), 0);
    assert_int_equal(dlx_file_open(&file, p.path, &err), DLX_OK);
    put(p.path, "9876543210");
    assert_int_equal(dlx_file_unchanged(&file, &err), DLX_E_IO);
    assert_non_null(strstr(err.message, "changed while it was read"));
    dlx_file_close(&file);
    /* Replaced by another file of that name, as outputs do it: what is open stays as it was. */
    assert_int_equal(dlx_file_open(&file, p.path, &err), DLX_OK);
    assert_int_equal(write_text(p.path, "another", &err), DLX_OK);
    assert_int_equal(dlx_file_read(&file, 0, bytes, 8, &err), DLX_OK);
    assert_memory_equal(bytes, "98765432", 8);
    assert_int_equal(dlx_file_unchanged(&file, &err), DLX_OK);
    dlx_file_close(&file);
    leave_place(&p);
}

/* A FIFO nobody writes to would block whoever opens it. */
static void what_is_no_file_is_not_read(void **state)
{
    (void)state;
    place p = new_place();
    dlx_file file;
    dlx_error err;
    char *text;
    size_t n;
    int ends[2];
    assert_true(dlx_is_folder(p.folder) && dlx_exists(p.folder) && !dlx_is_file(p.folder));
    assert_true(!dlx_is_file(p.path) && !dlx_is_folder(p.path) && !dlx_exists(p.path));
    assert_int_equal(dlx_file_open(&file, p.folder, &err), DLX_E_IO);
    assert_non_null(strstr(err.message, "is not a regular file"));
    assert_int_equal(file.fd, -1);
    assert_int_equal(dlx_file_open(&file, p.path, &err), DLX_E_IO);
    assert_non_null(strstr(err.message, "cannot open"));
    assert_int_equal(mkfifo(p.path, 0600), 0);
    assert_int_equal(dlx_file_open(&file, p.path, &err), DLX_E_IO);
    assert_non_null(strstr(err.message, "is not a regular file"));
    assert_int_equal(dlx_read_file(&text, &n, p.path, 10, &err), DLX_E_IO);
    assert_null(text);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dlx_file_from_fd(&file, ends[0], "a pipe", &err), DLX_E_IO);
    assert_string_equal(err.message, "'a pipe' is not a regular file");
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(dlx_file_from_fd(&file, ends[0], "closed", &err), DLX_E_IO);
    unlink(p.path);
    /* An empty file is a file. */
    assert_int_equal(write_text(p.path, "", &err), DLX_OK);
    assert_true(dlx_is_file(p.path) && dlx_exists(p.path) && !dlx_is_folder(p.path));
    assert_int_equal(dlx_file_open(&file, p.path, &err), DLX_OK);
    assert_true(file.size == 0);
    dlx_file_close(&file);
    expect_text(p.path, "");
    leave_place(&p);
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

static void expect_read(const char *path, dlx_status status, const char *want)
{
    dlx_error err = {0};
    char *text;
    size_t n;
    assert_int_equal(dlx_read_text(&text, &n, path, 100000, &err), status);
    if (status != DLX_OK) {
        assert_null(text);
        if (!strstr(err.message, want)) fail_msg("'%s' is not in '%s'", want, err.message);
        return;
    }
    assert_string_equal(text, want);
    assert_int_equal(n, strlen(want));
    free(text);
}

/* As files, and through pipes, which do not tell their length. */
static void texts_lose_their_byte_order_mark(void **state)
{
    static const char *const rows[][2] = {
        {"", ""},
        {"text", "text"},
        {"\xEF\xBB\xBF", ""},
        {"\xEF\xBB\xBFline\r\n", "line\r\n"},
        {"\xEF\xBB\xBF\xEF\xBB\xBF", "\xEF\xBB\xBF"},
        {"\xEF\xBB", "\xEF\xBB"},
        {"in \xEF\xBB\xBF it", "in \xEF\xBB\xBF it"},
        {"\xFF\xFE{", NULL},
        {"\xFE\xFF{", NULL},
    };
    (void)state;
    place p = new_place();
    dlx_error err;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[64];
        int ends[2];
        dlx_status want = rows[i][1] ? DLX_OK : DLX_E_FORMAT;
        assert_int_equal(write_text(p.path, rows[i][0], &err), DLX_OK);
        expect_read(p.path, want, rows[i][1] ? rows[i][1] : "is text in UTF-16");
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(write(ends[1], rows[i][0], strlen(rows[i][0])), strlen(rows[i][0]));
        close(ends[1]);
        snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
        expect_read(path, want, rows[i][1] ? rows[i][1] : "is text in UTF-16");
        close(ends[0]);
    }
    expect_read(p.folder, DLX_E_IO, "Is a directory");
    expect_read(in(&p, "missing"), DLX_E_IO, "cannot open");
    expect_read("/dev/zero", DLX_E_LIMIT, "more than 100000 bytes");
    unlink(p.path);
    leave_place(&p);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i]) return false;
    return true;
}

static void padding_is_zeros(void **state)
{
    (void)state;
    place p = new_place();
    dlx_output out;
    dlx_error err;
    assert_int_equal(dlx_output_open(&out, p.path, &err), DLX_OK);
    assert_int_equal(dlx_output_write(&out, "abc", 3, &err), DLX_OK);
    assert_int_equal(dlx_output_pad_to(&out, 3, &err), DLX_OK);
    assert_int_equal(dlx_output_pad_to(&out, 1000, &err), DLX_OK);
    assert_int_equal(dlx_output_write(&out, "d", 1, &err), DLX_OK);
    assert_int_equal(dlx_output_pad_to(&out, 1000, &err), DLX_E_INTERNAL);
    assert_int_equal(dlx_output_commit(&out, &err), DLX_OK);
    dlx_output_close(&out);
    char *text;
    size_t n;
    assert_int_equal(dlx_read_file(&text, &n, p.path, 2000, &err), DLX_OK);
    assert_int_equal(n, 1001);
    assert_memory_equal(text, "abc", 3);
    assert_true(all_zero((uint8_t *)text + 3, 997));
    assert_int_equal(text[1000], 'd');
    free(text);
    leave_place(&p);
}

/* Also what is still in the buffer; what was written last goes on behind it, and the digest is that of the first bytes.
 */
static void what_was_written_can_be_written_again(void **state)
{
    (void)state;
    place p = new_place();
    dlx_output out;
    dlx_error err;
    dlx_digest digest = {.bytes = 0}, expected = {.bytes = 0};
    char *text;
    size_t n;
    assert_int_equal(dlx_output_open(&out, p.path, &err), DLX_OK);
    out.digest = &digest;
    assert_int_equal(dlx_output_write(&out, "one two", 7, &err), DLX_OK);
    assert_int_equal(dlx_output_rewrite(&out, 4, "six", 3, &err), DLX_OK);
    assert_int_equal(dlx_output_write(&out, " ten", 4, &err), DLX_OK);
    assert_int_equal(dlx_output_rewrite(&out, 0, "ONE", 3, &err), DLX_OK);
    assert_int_equal(dlx_output_pad_to(&out, 12, &err), DLX_OK);
    assert_int_equal(dlx_output_rewrite(&out, 10, "abc", 3, &err), DLX_E_INTERNAL);
    assert_int_equal(dlx_output_rewrite(&out, 13, "", 0, &err), DLX_E_INTERNAL);
    assert_int_equal(dlx_output_commit(&out, &err), DLX_OK);
    dlx_output_close(&out);
    assert_int_equal(dlx_read_file(&text, &n, p.path, 2000, &err), DLX_OK);
    assert_int_equal(n, 12);
    assert_memory_equal(text, "ONE six ten", 12);
    free(text);
    dlx_digest_add(&expected, "one two ten", 12);
    assert_true(dlx_digest_end(&digest) == dlx_digest_end(&expected));
    leave_place(&p);
}

/* Until it is committed, an output is not seen; the older file lives on when it never is. */
static void an_output_replaces_a_file_at_once_or_not_at_all(void **state)
{
    (void)state;
    place p = new_place();
    dlx_output out;
    dlx_error err;
    for (int round = 0; round < 3; round++) { /* written; given up; written over */
        assert_int_equal(dlx_output_open(&out, p.path, &err), DLX_OK);
        assert_int_equal(dlx_output_write(&out, round ? "new" : "old", 3, &err), DLX_OK);
        if (round != 1) assert_int_equal(dlx_output_commit(&out, &err), DLX_OK);
        dlx_output_close(&out);
        assert_int_equal(out.fd, -1);
        dlx_output_close(&out); /* again is fine */
        expect_text(p.path, round == 2 ? "new" : "old");
        assert_int_equal(entries(p.folder), 1);
    }
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(mode_of(p.path) & 07777, 0666 & ~mask);
    leave_place(&p);
}

static void two_outputs_of_one_name_do_not_meet(void **state)
{
    (void)state;
    place p = new_place();
    dlx_output a, b;
    dlx_error err;
    assert_int_equal(dlx_output_open(&a, p.path, &err), DLX_OK);
    assert_int_equal(dlx_output_open(&b, p.path, &err), DLX_OK);
    assert_int_equal(dlx_output_write(&a, "first", 5, &err), DLX_OK);
    assert_int_equal(dlx_output_write(&b, "second", 6, &err), DLX_OK);
    assert_int_equal(dlx_output_commit(&a, &err), DLX_OK);
    expect_text(p.path, "first");
    assert_int_equal(dlx_output_commit(&b, &err), DLX_OK);
    dlx_output_close(&a);
    dlx_output_close(&b);
    expect_text(p.path, "second");
    leave_place(&p);
}

static void permissions_of_a_replaced_file_are_kept(void **state)
{
    (void)state;
    static const mode_t modes[] = {0600, 0640, 0666, 0755, 04711};
    place p = new_place();
    dlx_error err;
    for (size_t i = 0; i < DLX_COUNT(modes); i++) {
        put(p.path, "old");
        assert_int_equal(chmod(p.path, modes[i]), 0);
        bool owner = geteuid() == 0;
        if (owner) assert_int_equal(chown(p.path, 12, 34), 0);
        if (owner) assert_int_equal(chmod(p.path, modes[i]), 0);
        assert_int_equal(write_text(p.path, "new", &err), DLX_OK);
        expect_text(p.path, "new");
        assert_int_equal(mode_of(p.path) & 07777, modes[i]);
        struct stat st;
        assert_int_equal(stat(p.path, &st), 0);
        if (owner) assert_true(st.st_uid == 12 && st.st_gid == 34);
        assert_int_equal(unlink(p.path), 0);
    }
    /* What may not be written is not replaced; nothing is forbidden to root. */
    put(p.path, "old");
    assert_int_equal(chmod(p.path, 0400), 0);
    if (geteuid() != 0) {
        assert_int_equal(write_text(p.path, "new", &err), DLX_E_IO);
        assert_non_null(strstr(err.message, "Permission denied"));
        expect_text(p.path, "old");
    }
    leave_place(&p);
}

static void links_are_followed(void **state)
{
    (void)state;
    place p = new_place();
    dlx_error err;
    const char *soft = in(&p, "soft"), *chain = in(&p, "chain"), *loop = in(&p, "round");
    assert_int_equal(mkdir(in(&p, "deep"), 0700), 0);
    assert_int_equal(symlink("file", soft), 0);
    assert_int_equal(symlink(soft, chain), 0); /* an absolute one */
    assert_int_equal(symlink("round", loop), 0);
    for (int i = 0; i < 2; i++) { /* nothing at their end; a file */
        assert_int_equal(write_text(i ? chain : soft, i ? "second" : "first", &err), DLX_OK);
        assert_true(S_ISLNK(mode_of(soft)) && S_ISLNK(mode_of(chain)) && S_ISREG(mode_of(p.path)));
        expect_text(p.path, i ? "second" : "first");
    }
    assert_int_equal(write_text(loop, "x", &err), DLX_E_IO);
    assert_int_equal(unlink(loop), 0);
    assert_int_equal(symlink("../file", in(&p, "deep/up")), 0);
    assert_int_equal(write_text(in(&p, "deep/up"), "third", &err), DLX_OK);
    expect_text(p.path, "third");
    assert_int_equal(symlink("nowhere/file", loop), 0);
    assert_int_equal(write_text(loop, "x", &err), DLX_E_IO);
    assert_true(S_ISLNK(mode_of(loop)));
    unlink(in(&p, "deep/up"));
    rmdir(in(&p, "deep"));
    unlink(soft);
    unlink(chain);
    unlink(loop);
    leave_place(&p);
}

static void expect_refusal(const char *path, const char *what)
{
    dlx_output out;
    dlx_error err;
    mode_t before = mode_of(path);
    assert_int_equal(dlx_output_open(&out, path, &err), DLX_E_IO);
    assert_int_equal(out.fd, -1);
    if (!strstr(err.message, what) || !strstr(err.message, path)) fail_msg("'%s' is not in: %s", what, err.message);
    assert_int_equal(dlx_output_possible(path, NULL, 0, &err), DLX_E_IO);
    assert_int_equal(mode_of(path), before);
}

static void what_is_no_file_is_not_replaced(void **state)
{
    (void)state;
    place p = new_place();
    dlx_output out;
    dlx_error err;
    expect_refusal(p.folder, "it is a folder");
    expect_refusal("/dev/null", "it is a device");
    assert_int_equal(mkfifo(p.path, 0600), 0);
    expect_refusal(p.path, "it is a FIFO");
    assert_int_equal(symlink("file", in(&p, "link")), 0);
    expect_refusal(in(&p, "link"), "it is a FIFO");
    unlink(in(&p, "link"));
    unlink(p.path);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", p.path);
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&at, sizeof at), 0);
    expect_refusal(p.path, "it is a socket");
    close(s);
    unlink(p.path);
    assert_int_equal(dlx_output_open(&out, in(&p, "missing/file"), &err), DLX_E_IO);
    assert_non_null(strstr(err.message, "cannot create a file beside"));
    assert_int_equal(dlx_output_open(&out, in(&p, "missing/"), &err), DLX_E_IO);
    assert_non_null(strstr(err.message, "it is a folder"));
    /* What came in the place of a file meanwhile is left alone as well. */
    assert_int_equal(dlx_output_open(&out, p.path, &err), DLX_OK);
    assert_int_equal(mkfifo(p.path, 0600), 0);
    assert_int_equal(dlx_output_commit(&out, &err), DLX_E_IO);
    assert_non_null(strstr(err.message, "no regular file any more"));
    dlx_output_close(&out);
    assert_true(S_ISFIFO(mode_of(p.path)));
    assert_int_equal(entries(p.folder), 1);
    leave_place(&p);
}

static void names_may_be_as_long_as_the_system_allows(void **state)
{
    (void)state;
    place p = new_place();
    dlx_error err;
    char name[NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    name[NAME_MAX] = '\0';
    for (int i = 0; i < 2; i++) {
        assert_int_equal(write_text(in(&p, name), i ? "new" : "old", &err), DLX_OK);
        expect_text(in(&p, name), i ? "new" : "old");
    }
    unlink(in(&p, name));
    name[NAME_MAX] = 'n';
    name[NAME_MAX + 1] = '\0';
    assert_int_equal(write_text(in(&p, name), "new", &err), DLX_E_IO);
    assert_int_equal(entries(p.folder), 0);
    /* Without a folder in it: the current one. */
    char before[1024];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(p.folder), 0);
    assert_int_equal(write_text("file", "here", &err), DLX_OK);
    assert_int_equal(chdir(before), 0);
    expect_text(p.path, "here");
    leave_place(&p);
}

static bool not_pte(const char *name)
{
    return !strstr(name, ".pte");
}

static void what_is_read_is_not_replaced(void **state)
{
    (void)state;
    place p = new_place();
    dlx_output out;
    dlx_error err;
    const char *hard = in(&p, "hard"), *soft = in(&p, "soft"), *other = in(&p, "other");
    put(p.path, "read");
    put(other, "other");
    assert_int_equal(link(p.path, hard), 0);
    assert_int_equal(symlink("file", soft), 0);
    const char *const names[] = {p.path, hard, soft};
    for (size_t i = 0; i < DLX_COUNT(names); i++) {
        const char *const reading[] = {NULL, other, names[i]};
        assert_int_equal(dlx_output_possible(p.path, reading, 3, &err), DLX_E_INVALID);
        assert_non_null(strstr(err.message, names[i]));
        assert_int_equal(dlx_output_possible(p.path, reading, 2, &err), DLX_OK);
        assert_int_equal(dlx_output_open(&out, names[i], &err), DLX_OK);
        assert_int_equal(dlx_output_apart(&out, p.folder, not_pte, &err), DLX_E_INVALID);
        dlx_output_close(&out);
    }
    assert_int_equal(dlx_output_possible(in(&p, "new"), names, 3, &err), DLX_OK);
    assert_int_equal(entries(p.folder), 4); /* nothing was made to find out */
    expect_text(p.path, "read");
    assert_int_equal(rename(other, in(&p, "x.pte")), 0);
    assert_int_equal(dlx_output_open(&out, in(&p, "x.pte"), &err), DLX_OK);
    assert_int_equal(dlx_output_apart(&out, p.folder, not_pte, &err), DLX_OK);
    dlx_output_close(&out);
    unlink(hard);
    unlink(soft);
    unlink(in(&p, "x.pte"));
    leave_place(&p);
}

/* Leftovers of processes that no longer exist, of the same target alone. */
static void leftovers_are_swept(void **state)
{
    (void)state;
    place p = new_place();
    dlx_output out;
    dlx_error err;
    /* "file" by 64-bit FNV-1a */
    const char *dead = in(&p, ".dlx-aad01178f02a6a23-1-0"), *alive = in(&p, ".dlx-aad01178f02a6a23-1-1"),
               *foreign = in(&p, ".dlx-0000000000000000-1-0");
    put(dead, "x");
    put(alive, "x");
    put(foreign, "x");
    int fd = open(alive, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(dlx_output_open(&out, p.path, &err), DLX_OK);
    assert_false(dlx_exists(dead));
    assert_true(dlx_exists(alive) && dlx_exists(foreign));
    dlx_output_close(&out);
    close(fd);
    assert_int_equal(write_text(p.path, "x", &err), DLX_OK);
    assert_true(!dlx_exists(alive) && dlx_exists(foreign) && entries(p.folder) == 2);
    unlink(foreign);
    leave_place(&p);
}

/* A process whose standard output is closed must not print into its files. */
static void outputs_are_not_the_standard_ones(void **state)
{
    (void)state;
    place p = new_place();
    dlx_output out;
    dlx_error err;
    int saved = dup(STDIN_FILENO);
    close(STDIN_FILENO);
    dlx_status s = dlx_output_open(&out, p.path, &err);
    int fd = out.fd;
    if (s == DLX_OK) s = dlx_output_commit(&out, &err);
    dlx_output_close(&out);
    if (saved >= 0) dup2(saved, STDIN_FILENO);
    if (saved >= 0) close(saved);
    assert_int_equal(s, DLX_OK);
    assert_true(fd > STDERR_FILENO);
    leave_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_file_that_shrinks_or_changes_is_an_error),
        cmocka_unit_test(what_is_no_file_is_not_read),
        cmocka_unit_test(padding_is_zeros),
        cmocka_unit_test(what_was_written_can_be_written_again),
        cmocka_unit_test(an_output_replaces_a_file_at_once_or_not_at_all),
        cmocka_unit_test(two_outputs_of_one_name_do_not_meet),
        cmocka_unit_test(permissions_of_a_replaced_file_are_kept),
        cmocka_unit_test(links_are_followed),
        cmocka_unit_test(texts_lose_their_byte_order_mark),
        cmocka_unit_test(what_is_no_file_is_not_replaced),
        cmocka_unit_test(names_may_be_as_long_as_the_system_allows),
        cmocka_unit_test(what_is_read_is_not_replaced),
        cmocka_unit_test(leftovers_are_swept),
        cmocka_unit_test(outputs_are_not_the_standard_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
