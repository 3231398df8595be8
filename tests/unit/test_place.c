/* Places: paths that lead to one file or folder are told from others, whatever they are written like. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/place.h"
#include "base/sizes.h"

static char top[PATH_MAX];

/* A folder for all tests, which is the working folder, too:
 *   file, sub/, sub/deep/, link -> file, dangling -> missing, way -> sub, round -> round */
static int make_folder(void **state)
{
    (void)state;
    char name[] = "/tmp/dlx-place-XXXXXX";
    if (!mkdtemp(name) || chdir(name) != 0 || !realpath(name, top)) return -1;
    int fd = open("file", O_WRONLY | O_CREAT, 0600);
    if (fd < 0 || close(fd) != 0) return -1;
    return mkdir("sub", 0700) || mkdir("sub/deep", 0700) || symlink("file", "link") || symlink("missing", "dangling") ||
           symlink("sub", "way") || symlink("round", "round");
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"file", "link", "dangling", "way", "round"};
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(names); i++) unlink(names[i]);
    return rmdir("sub/deep") || rmdir("sub") || chdir("/") || rmdir(top);
}

/* "@/" at the beginning stands for the folder. */
static const char *whole(char out[PATH_MAX + 64], const char *path)
{
    if (path[0] != '@') return path;
    snprintf(out, PATH_MAX + 64, "%s%s", top, path + 1);
    return out;
}

static void two_spellings_are_one_place(void **state)
{
    static const struct {
        const char *a, *b;
        bool one;
    } cases[] = {
        {"new", "new", true},
        {"new", "./new", true},
        {"new", "sub/../new", true},
        {"new", "way/../new", true},
        {"new", "@/new", true},
        {"new", ".//new", true},
        {"new", "new/", true},
        {"sub/new", "way/new", true},
        {"file", "link", true},
        {"missing", "dangling", true},
        {"@/missing", "./dangling", true},
        {"new", "sub/new", false},
        {"new", "newer", false},
        {"file", "dangling", false},
        {"new", "nowhere/new", false}, /* leads nowhere: others say so */
        {"nowhere/new", "nowhere/new", false},
        {"round", "round", false},
    };
    static const char *const what[2] = {"the one", "the other"};
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(cases); i++) {
        char a[PATH_MAX + 64], b[PATH_MAX + 64];
        const char *const path[2] = {whole(a, cases[i].a), whole(b, cases[i].b)};
        dlx_error err = {0};
        dlx_status s = dlx_places_apart(path, what, &err);
        if (s != (cases[i].one ? DLX_E_INVALID : DLX_OK)) fail_msg("%s and %s: %s", path[0], path[1], err.message);
        if (cases[i].one && !strstr(err.message, "cannot be both the one and the other; name another one"))
            fail_msg("%s", err.message);
    }
    char name[256] = {0}, longer[264]; /* no file can be called that */
    memset(name, 'b', sizeof name - 1);
    snprintf(longer, sizeof longer, "%s.work", name);
    const char *const names[2] = {name, longer};
    assert_int_equal(dlx_places_apart(names, what, NULL), DLX_OK);
    const char *const half[2] = {"file", NULL};
    assert_int_equal(dlx_places_apart(half, what, NULL), DLX_OK);
}

static void what_lies_in_a_folder_is_found(void **state)
{
    static const struct {
        const char *path, *folder, *part; /* NULL: outside */
    } cases[] = {
        {"new", "new", "cannot be both the program and the work folder"},
        {"./new", "sub/../new/", "cannot be both"},
        {"missing", "dangling", "cannot be both"},
        {"file", "file", "cannot be both"},
        {"sub/new", "sub", "lies in the work folder 'sub'"},
        {"sub/deep/new", "sub", "lies in"},
        {"sub/deep/new", "way/", "lies in"},
        {"way/deep/../new", "@/sub", "lies in"},
        {"new", ".", "lies in"},
        {"new", "@/..", "lies in"}, /* not "/": emulators have one of their own */
        {"new", "sub", NULL},
        {"sub/new", "sub/deep", NULL},
        {"sub/new", "new", NULL},
        {"sub", "sub/deep", NULL},
        {"new", "new.work", NULL},
        {"nowhere/new", "sub", NULL},
        {"new", "file", NULL}, /* no folder */
    };
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(cases); i++) {
        char a[PATH_MAX + 64], b[PATH_MAX + 64];
        dlx_error err = {0};
        dlx_status s = dlx_place_outside(whole(a, cases[i].path), "the program", whole(b, cases[i].folder), &err);
        if (s != (cases[i].part ? DLX_E_INVALID : DLX_OK) || (cases[i].part && !strstr(err.message, cases[i].part)))
            fail_msg("%s and %s: %d %s", cases[i].path, cases[i].folder, s, err.message);
    }
    assert_int_equal(dlx_place_outside(NULL, "the program", "sub", NULL), DLX_OK);
    assert_int_equal(dlx_place_outside("new", "the program", NULL, NULL), DLX_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_spellings_are_one_place),
        cmocka_unit_test(what_lies_in_a_folder_is_found),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
