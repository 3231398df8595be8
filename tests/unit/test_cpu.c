/*
 * How many CPUs there are: made-up control groups as Linux describes them, damaged descriptions of them, and, where
 * this process may make one, a real group.
 */
#define _GNU_SOURCE /* sched_setaffinity */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/sizes.h"
#include "diffulex_edge/threads.h"

enum { NONE = INT32_MAX, MOST_FILES = 8 };

/* ---- trees of files ---------------------------------------------------------------------------------------------- */

typedef struct entry {
    const char *path, *text; /* below the folder of the test; '@' in the text is that folder */
} entry;

static char folder[] = "/tmp/dlx_test_cpu_XXXXXX";
static char self[64];

static void shell(const char *format, const char *argument)
{
    char command[512];
    snprintf(command, sizeof command, format, argument);
    assert_int_equal(system(command), 0);
}

static void put_bytes(const char *path, const void *bytes, size_t n)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", folder, path);
    for (char *s = full + strlen(folder) + 1; (s = strchr(s, '/')); *s++ = '/') {
        *s = '\0';
        mkdir(full, 0777);
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void put(const char *path, const char *text)
{
    char filled[16384];
    size_t n = 0;
    for (const char *s = text; *s; s++) {
        n += (size_t)snprintf(filled + n, sizeof filled - n, *s == '@' ? "%s" : "%.1s", *s == '@' ? folder : s);
        assert_in_range(n, 0, sizeof filled - 1);
    }
    put_bytes(path, filled, n);
}

static void clear(void)
{
    shell("rm -rf '%s'/*", folder);
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(self, sizeof self, "%s/self", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    shell("rm -rf '%s'", folder);
    return 0;
}

/* ---- made-up groups ---------------------------------------------------------------------------------------------- */

#define V2_MOUNT                                                                                                       \
    "25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n30 23 0:26 / @/fs rw,relatime shared:4 - cgroup2 cgroup2 " \
    "rw\n"

static const struct {
    const char *what;
    int32_t want;
    entry files[MOST_FILES];
} trees[] = {
    {"a quota is rounded up",
     2,
     {{"self/cgroup", "0::/user/app\n"}, {"self/mountinfo", V2_MOUNT}, {"fs/user/app/cpu.max", "150000 100000\n"}}},
    {"less than one CPU is one",
     1,
     {{"self/cgroup", "0::/app\n"}, {"self/mountinfo", V2_MOUNT}, {"fs/app/cpu.max", "1 100000\n"}}},
    {"no limit",
     NONE,
     {{"self/cgroup", "0::/app\n"}, {"self/mountinfo", V2_MOUNT}, {"fs/app/cpu.max", "max 100000\n"}}},
    {"a group above grants less",
     3,
     {{"self/cgroup", "0::/user/slice/app\n"},
      {"self/mountinfo", V2_MOUNT},
      {"fs/user/slice/app/cpu.max", "800000 100000\n"},
      {"fs/user/slice/cpu.max", "max 100000\n"},
      {"fs/user/cpu.max", "60000 20000\n"},
      {"fs/cpu.max", "900000 100000\n"}}},
    {"a group beside it does not count",
     8,
     {{"self/cgroup", "0::/user/app\n"},
      {"self/mountinfo", V2_MOUNT},
      {"fs/user/app/cpu.max", "800000 100000\n"},
      {"fs/user/other/cpu.max", "100000 100000\n"},
      {"fs/user/app/below/cpu.max", "100000 100000\n"},
      {"fs/user/ap/cpu.max", "100000 100000\n"}}},
    {"a container with a namespace of its own",
     3,
     {{"self/cgroup", "0::/\n"}, {"self/mountinfo", V2_MOUNT}, {"fs/cpu.max", "250000 100000\n"}}},
    {"a container that sees its path from outside",
     3,
     {{"self/cgroup", "0::/docker/abc/sub\n"},
      {"self/mountinfo", "30 23 0:26 /docker/abc @/fs ro - cgroup2 cgroup rw\n"},
      {"fs/cpu.max", "max 100000\n"},
      {"fs/sub/cpu.max", "300000 100000\n"},
      {"fs/docker/abc/sub/cpu.max", "100000 100000\n"}}},
    {"a path that is not there, the group's own folder at the mount",
     2,
     {{"self/cgroup", "0::/docker/abc\n"}, {"self/mountinfo", V2_MOUNT}, {"fs/cpu.max", "200000 100000\n"}}},
    {"a mount from above the namespace",
     2,
     {{"self/cgroup", "0::/sub\n"},
      {"self/mountinfo", "30 23 0:26 /../.. @/fs rw - cgroup2 cgroup2 rw\n"},
      {"fs/cpu.max", "200000 100000\n"},
      {"fs/sub/cpu.max", "100000 100000\n"}}},
    {"a mount of another container",
     NONE,
     {{"self/cgroup", "0::/docker/abc\n"},
      {"self/mountinfo", "30 23 0:26 /docker/ab @/fs rw - cgroup2 cgroup2 rw\n"},
      {"fs/cpu.max", "200000 100000\n"},
      {"fsc/cpu.max", "100000 100000\n"}}},
    {"a process outside the namespace",
     NONE,
     {{"self/cgroup", "0::/../other\n"},
      {"self/mountinfo", V2_MOUNT},
      {"fs/cpu.max", "200000 100000\n"},
      {"other/cpu.max", "100000 100000\n"}}},
    {"blanks and other marks in a path",
     2,
     {{"self/cgroup", "0::/my app:1\n"},
      {"self/mountinfo", "30 23 0:26 / @/a\\040b\\134 rw - cgroup2 cgroup2 rw"},
      {"a b\\/my app:1/cpu.max", "200000 100000"}}},
    {"version 1",
     4,
     {{"self/cgroup", "9:cpuset:/s\n4:cpuacct:/t\n3:cpu_x,xcpu:/u\n2:cpu,cpuacct:/a/b\n1:name=systemd:/\n"},
      {"self/mountinfo", "31 25 0:27 / @/set rw - cgroup cgroup rw,cpuset\n"
                         "32 25 0:28 / @/cpu,cpuacct rw shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct\n"},
      {"set/a/b/cpu.cfs_quota_us", "100000\n"},
      {"set/a/b/cpu.cfs_period_us", "100000\n"},
      {"cpu,cpuacct/a/b/cpu.cfs_quota_us", "350000\n"},
      {"cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n"},
      {"cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n"},
      {"cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"}}},
    {"version 1 without the period",
     NONE,
     {{"self/cgroup", "2:cpu:/\n"},
      {"self/mountinfo", "32 25 0:28 / @/cpu rw - cgroup cgroup rw,cpu\n"},
      {"cpu/cpu.cfs_quota_us", "100000\n"}}},
    {"both versions",
     2,
     {{"self/cgroup", "1:cpu:/old\n0::/new\n"},
      {"self/mountinfo",
       "31 25 0:27 / @/unified rw - cgroup2 cgroup2 rw\n32 25 0:28 / @/cpu rw - cgroup cgroup rw,cpu\n"},
      {"unified/new/cpu.max", "200000 100000\n"},
      {"unified/old/cpu.max", "100000 100000\n"},
      {"cpu/old/cpu.cfs_quota_us", "300000\n"},
      {"cpu/old/cpu.cfs_period_us", "100000\n"},
      {"cpu/new/cpu.max", "100000 100000\n"}}},
    {"no list of groups", NONE, {{"self/mountinfo", V2_MOUNT}, {"fs/cpu.max", "200000 100000\n"}}},
    {"no list of mounts", NONE, {{"self/cgroup", "0::/\n"}, {"fs/cpu.max", "200000 100000\n"}}},
    {"files that are folders", NONE, {{"self/cgroup/x", ""}, {"self/mountinfo/x", ""}, {"fs/cpu.max/x", ""}}},
    {"nothing at all", NONE, {{NULL, NULL}}},
};

static void test_groups(void **state)
{
    (void)state;
    for (size_t t = 0; t < DLX_COUNT(trees); t++) {
        for (size_t i = 0; i < MOST_FILES && trees[t].files[i].path; i++)
            put(trees[t].files[i].path, trees[t].files[i].text);
        int32_t got = dlx_cpu_quota(self);
        if (got != trees[t].want) fail_msg("%s: %d CPUs, expected %d", trees[t].what, got, trees[t].want);
        clear();
    }
}

/* ---- damage ------------------------------------------------------------------------------------------------------ */

static void test_quotas_that_are_none(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "\n",
        "max",
        "max 100000",
        "-5 100000",
        "100000",
        "100000 ",
        "100000 0",
        "0 0",
        "0 100000",
        " 100000 1",
        "99999999999999999999999 100000",
        "1e5 1000",
        "100000 1000x",
        "100000 100000 100000",
        "100000 -100000",
        "100000\t100000",
        "\xff\xfe\xfd 1",
        "1000000000000000000 1",
        "18446744073709551629 1", /* 13 more than 64 bits hold */
    };
    put("self/cgroup", "0::/\n");
    put("self/mountinfo", V2_MOUNT);
    for (size_t i = 0; i < DLX_COUNT(texts); i++) {
        put("fs/cpu.max", texts[i]);
        int32_t got = dlx_cpu_quota(self);
        if (got != NONE) fail_msg("cpu.max '%s': %d CPUs", texts[i], got);
    }
    put("fs/cpu.max", "200000 100000");
    assert_int_equal(dlx_cpu_quota(self), 2);
    clear();
}

/* Every beginning of the two lists, and every byte of them replaced: the quota is found, or there is none. */
static void test_damaged_lists(void **state)
{
    (void)state;
    static const char *const names[] = {"self/cgroup", "self/mountinfo"};
    static const char *const texts[] = {"2:cpu,cpuacct:/a\n0::/user/app\n",
                                        "30 23 0:26 /user/app @/fs rw shared:4 - cgroup2 cgroup2 rw\n"};
    static const char bytes[] = {'\0', '\n', ' ', ':', '/', '.', '\\', '\xff'};
    put("fs/cpu.max", "200000 100000\n");
    for (size_t k = 0; k < DLX_COUNT(names); k++) {
        int without = 0, tried = 0;
        put(names[1 - k], texts[1 - k]);
        char text[256];
        size_t n = 0;
        for (const char *s = texts[k]; *s; s++)
            n += (size_t)snprintf(text + n, sizeof text - n, *s == '@' ? "%s" : "%.1s", *s == '@' ? folder : s);
        for (size_t i = 0; i < n; i++)
            for (size_t b = 0; b <= sizeof bytes; b++, tried++) {
                char kept = text[i];
                if (b < sizeof bytes) text[i] = bytes[b];
                put_bytes(names[k], text, b < sizeof bytes ? n : i);
                text[i] = kept;
                int32_t got = dlx_cpu_quota(self);
                if (got != 2 && got != NONE) fail_msg("%s, byte %zu: %d CPUs", names[k], i, got);
                without += got == NONE;
            }
        assert_in_range(without, tried / 4, tried - 1);
        put_bytes(names[k], text, n);
        assert_int_equal(dlx_cpu_quota(self), 2);
    }
    clear();
}

/* A line that is longer than any path is passed over; what stands behind it is read. */
static void test_long_lines(void **state)
{
    (void)state;
    char text[16000];
    put("fs/cpu.max", "200000 100000\n");
    put("self/mountinfo", V2_MOUNT);
    for (size_t n = 4080; n < 4110; n++) {
        memset(text, 'a', n);
        memcpy(text, "0::/", 4);
        snprintf(text + n, sizeof text - n, "\n2:pids:/x\n0::/\n");
        put("self/cgroup", text);
        assert_int_equal(dlx_cpu_quota(self), 2);
    }
    memset(text, 'a', 4095); /* what stands behind the part that fits is no line of its own */
    snprintf(text + 4095, sizeof text - 4095, "0::/bad\n0::/\n");
    put("fs/bad/cpu.max", "100000 100000\n");
    put("self/cgroup", text);
    assert_int_equal(dlx_cpu_quota(self), 2);
    memset(text, '\0', sizeof text);
    put_bytes("self/cgroup", text, sizeof text);
    assert_int_equal(dlx_cpu_quota(self), NONE);
    clear();
    char path[9000];
    memset(path, 'a', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(dlx_cpu_quota(path), NONE);
}

/* ---- this machine ------------------------------------------------------------------------------------------------ */

static int status_of(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_affinity(void **state)
{
    (void)state;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) skip(); /* more CPUs than cpu_set_t holds */
    assert_in_range(dlx_cpu_count(), 1, CPU_COUNT(&set));
    int first = 0;
    while (!CPU_ISSET(first, &set)) first++;
    pid_t child = fork();
    if (child == 0) {
        CPU_ZERO(&set);
        CPU_SET(first, &set);
        _exit(sched_setaffinity(0, sizeof set, &set) != 0 ? 99 : dlx_cpu_count());
    }
    assert_int_equal(status_of(child), 1);
}

static bool write_to(const char *group, const char *file, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", group, file);
    FILE *f = fopen(path, "w");
    if (!f) return false;
    bool ok = fputs(text, f) >= 0;
    return fclose(f) == 0 && ok;
}

/* In `group`, whose quota is one CPU: what a process there counts; -1 when the group cannot be used. */
static int count_in(const char *group, bool v2)
{
    char mine[32];
    int got = -1;
    if (mkdir(group, 0755) != 0) return -1;
    if (v2 ? write_to(group, "cpu.max", "100000 100000") : write_to(group, "cpu.cfs_quota_us", "100000")) {
        pid_t child = fork();
        if (child == 0) {
            snprintf(mine, sizeof mine, "%d", (int)getpid());
            _exit(write_to(group, "cgroup.procs", mine) ? dlx_cpu_count() : 99);
        }
        got = status_of(child);
    }
    rmdir(group);
    return got == 99 ? -1 : got;
}

static void test_a_real_group(void **state)
{
    (void)state;
    char v1[64], v2[64];
    snprintf(v1, sizeof v1, "/sys/fs/cgroup/cpu/dlx_test_cpu_%d", (int)getpid());
    snprintf(v2, sizeof v2, "/sys/fs/cgroup/dlx_test_cpu_%d", (int)getpid());
    int before = dlx_cpu_count(), got = count_in(v1, false);
    if (got < 0) got = count_in(v2, true);
    if (got < 0 || before < 2) {
        print_message("[  SKIPPED ] this process may not make a control group with a quota, or has one CPU anyway\n");
        skip();
    }
    assert_int_equal(got, 1);
    assert_int_equal(dlx_cpu_count(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups),        cmocka_unit_test(test_quotas_that_are_none),
        cmocka_unit_test(test_damaged_lists), cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_affinity),      cmocka_unit_test(test_a_real_group),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
