/* Shared libraries are looked at before the system's loader has them: cut off at any byte, damaged, no file, or needing
 * one that is. The loader would wait for a FIFO, and end the process by SIGBUS for a file that is too short. */
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

#include "backends/qnn/elf.h"

enum { SEGMENTS = 64, DYNAMIC = SEGMENTS + 2 * 56, STRINGS = DYNAMIC + 5 * 16, BYTES = 1024, ADDRESS = 0x10000 };

static char folder[256];

static const char *in_folder(const char *name)
{
    static char path[32][512]; /* of one round of a test */
    static unsigned next;
    char *p = path[next++ % 32];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static void put(uint8_t *at, uint64_t value, size_t n)
{
    memcpy(at, &value, n);
}

/* A library that is all one segment, which needs `needed` along `path` (kind 15: RPATH, 29: RUNPATH). */
static void make(uint8_t b[BYTES], const char *needed, int kind, const char *path)
{
    const uint64_t entries[5][2] = {{5, ADDRESS + STRINGS}, {(uint64_t)kind, 1 + strlen(needed) + 1}, {1, 1}};
    memset(b, 0, BYTES);
    memcpy(b,
           "\x7F"
           "ELF\2\1\1",
           7);
    put(b + 32, SEGMENTS, 8);
    put(b + 54, 56, 2);
    put(b + 56, 2, 2);
    for (int i = 0; i < 2; i++) {
        uint8_t *s = b + SEGMENTS + 56 * i;
        uint64_t at = i ? DYNAMIC : 0, n = i ? sizeof entries : BYTES;
        put(s, (uint64_t)i + 1, 4);
        put(s + 8, at, 8);
        put(s + 16, ADDRESS + at, 8);
        put(s + 32, n, 8);
        put(s + 40, n, 8);
    }
    memcpy(b + DYNAMIC, entries, sizeof entries);
    snprintf((char *)b + STRINGS + 1, BYTES - STRINGS - 1, "%s", needed);
    snprintf((char *)b + STRINGS + 2 + strlen(needed), BYTES - STRINGS - 2 - strlen(needed), "%s", path);
}

static const char *write_as(const char *name, const uint8_t *bytes, size_t n)
{
    const char *path = in_folder(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

static void says(const char *path, dlx_status status, const char *what)
{
    dlx_error err = {0};
    assert_int_equal(dlx_elf_whole(path, &err), status);
    if (!strstr(err.message, what)) fail_msg("'%s' is not in: %s", what, err.message);
}

static void cut_off(void **state)
{
    (void)state;
    uint8_t b[BYTES];
    char text[64];
    make(b, "libsystem.so", 29, "$ORIGIN");
    assert_int_equal(dlx_elf_whole(write_as("a.so", b, BYTES), NULL), DLX_OK);
    for (size_t n = 0; n < BYTES; n += n < 70 ? 1 : 61) {
        snprintf(text, sizeof text, "is cut off: it has %zu bytes of ", n);
        says(write_as("a.so", b, n), DLX_E_FORMAT, text);
    }
}

static void needed(void **state)
{
    static const struct {
        int kind;
        const char *path, *file;
    } cases[] = {{15, "$ORIGIN", "lib/b.so"}, {29, "/nowhere:${ORIGIN}/../libs", "libs/b.so"}, {15, "", "lib/b.so"}};
    (void)state;
    uint8_t a[BYTES], b[BYTES], c[BYTES];
    assert_int_equal(mkdir(in_folder("lib"), 0700) | mkdir(in_folder("libs"), 0700), 0);
    for (size_t i = 0; i < 3; i++) {
        make(a, "b.so", cases[i].kind, cases[i].path);
        make(b, "c.so", 29, "$ORIGIN");
        make(c, "a.so", 29, "$ORIGIN/../lib:$ORIGIN"); /* a circle */
        const char *of_c = i == 1 ? "libs/c.so" : "lib/c.so", *path = write_as("lib/a.so", a, BYTES);
        write_as(cases[i].file, b, BYTES);
        write_as(of_c, c, BYTES);
        assert_int_equal(dlx_elf_whole(path, NULL), DLX_OK);
        write_as(of_c, c, 500);
        says(path, DLX_E_FORMAT, "c.so' is cut off: it has 500 bytes of 1024");
        write_as(cases[i].file, b, 400);
        says(path, DLX_E_FORMAT, "b.so' is cut off: it has 400 bytes of 1024");
        unlink(in_folder(cases[i].file));
        assert_int_equal(mkfifo(in_folder(cases[i].file), 0600), 0);
        says(path, DLX_E_IO, "b.so' is not a regular file");
        unlink(in_folder(cases[i].file));
        unlink(in_folder(of_c));
        assert_int_equal(dlx_elf_whole(path, NULL), DLX_OK); /* the system may have it */
        unlink(path);
    }
    assert_int_equal(rmdir(in_folder("lib")) | rmdir(in_folder("libs")), 0);
}

static void damaged(void **state)
{
    (void)state;
    uint8_t b[BYTES];
    make(b, "libsystem.so", 29, "$ORIGIN");
    for (size_t i = 0; i < BYTES; i++) { /* any answer */
        uint8_t was = b[i];
        b[i] = (uint8_t)(was ^ 0xFF);
        (void)dlx_elf_whole(write_as("a.so", b, BYTES), NULL);
        b[i] = was;
    }
    memset(b + STRINGS, 'x', BYTES - STRINGS);
    says(write_as("a.so", b, BYTES), DLX_E_FORMAT, "is damaged, or no shared library");
    b[0] = 'I'; /* as text begins that linkers read in place of a library */
    says(write_as("a.so", b, BYTES), DLX_E_FORMAT, "is damaged, or no shared library");
    unlink(in_folder("a.so"));
    says(folder, DLX_E_IO, "is not a regular file");
    says(in_folder("none"), DLX_E_IO, "No such file");
    assert_int_equal(mkfifo(in_folder("a.so"), 0600), 0);
    says(in_folder("a.so"), DLX_E_IO, "is not a regular file");
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s", "test_qnn_elf.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(in_folder("a.so"));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cut_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(needed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("qnn_elf", tests, NULL, NULL);
}
