/* The doctor's limit on memory, from made-up control groups of both versions. */
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

#include "doctor_machine.h"

static char root[] = "/tmp/dlx-doctor-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *s = path + strlen(root) + 1; (s = strchr(s, '/')); s++) {
        *s = '\0';
        mkdir(path, 0700);
        *s = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static uint64_t limit(const char *cgroup)
{
    char groups[256];
    snprintf(groups, sizeof groups, "%s/groups", root);
    write_file("cgroup", cgroup);
    return dlx_cli_memory_limit(root, groups);
}

static void test_limits(void **state)
{
    (void)state;
    write_file("groups/a/memory.max", "max\n");
    write_file("groups/a/b/memory.max", "2000000000\n");
    write_file("groups/a/b/c/memory.max", "3000000000\n");
    assert_int_equal(limit("0::/a/b/c\n"), 2000000000);
    assert_int_equal(limit("0::/a/b\n"), 2000000000);
    assert_int_equal(limit("0::/a\n"), 0);
    assert_int_equal(limit("0::/a/elsewhere\n"), 0);
    write_file("groups/memory.max", "1000\n");
    assert_int_equal(limit("0::/a/b/c\n"), 1000);
    assert_int_equal(limit("0::/\n"), 1000);
    write_file("groups/memory/x/memory.limit_in_bytes", "500\n");
    write_file("groups/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(limit("5:cpu,cpuacct:/x\n4:memory:/x\n"), 500);
    assert_int_equal(limit("4:memory:/\n"), 0);
    assert_int_equal(limit("4:memory:/x\n0::/a\n"), 500);
}

static void test_damaged(void **state)
{
    static const char *const texts[] = {"", "\n", "0:", "0::", "::::\n", "0::/../..\n", "x\n"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) (void)limit(texts[i]);
    assert_int_equal(limit("0::/../groups/a/b\n"), 1000);
    assert_int_equal(dlx_cli_memory_limit("/nowhere", root), 0);
}

static void test_this_machine(void **state)
{
    dlx_cli_machine m;
    (void)state;
    dlx_cli_machine_read(&m);
    assert_true(m.cpus_online >= 1);
    assert_true(m.available <= m.memory);
    assert_true(!m.limit || !m.memory || m.limit < m.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_this_machine),
    };
    if (!mkdtemp(root)) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command) != 0 || failed;
}
