/*
 * How many CPUs this process may use: its affinity mask, and the quotas of its control groups. A container or a service
 * with two CPUs' worth of time on a machine of 64 has an affinity mask of 64, and 64 threads would spend the quota at
 * once and then all stand still until the next period.
 *
 * Control groups form a tree, or several; a quota holds for everything below it, so the least one from the process's
 * group upwards counts. Two files of /proc tell where that is (cgroups(7), proc_pid_cgroup(5), proc_pid_mountinfo(5)):
 *   cgroup     one line a tree, "number:controllers:/path of the process's group"; version 2 is the line "0::/path"
 *   mountinfo  one line a mount, "id parent device ROOT POINT options ... - type source TREE'S-OPTIONS"
 * A mount shows the part of its tree below ROOT at POINT. In a container ROOT is often the container's own group, seen
 * from outside: a path below ROOT is found at POINT without that prefix. Both are seen from the process's namespace; a
 * ROOT of "/.." and more lies above the namespace's own root, and just the group at POINT itself is known to be one of
 * the process's.
 *
 * Nothing is kept: quotas change while a process runs, and the library has no state of its own.
 *
 * Tiles (AMX) are registers of 8 KiB that Linux gives to processes that ask (Documentation/arch/x86/xstate.rst).
 */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_getaffinity, CPU_COUNT_S */
#endif

#include "base/cpu.h"

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "diffulex_edge/threads.h"

#include "base/path.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#endif

enum {
    LONGEST_LINE = 4096,
    MOST_LINES = 1 << 16, /* mounts of a very busy machine, and an end to a file that has none */
};

/* A group in one of the trees. */
typedef struct group {
    bool v2;
    char path[LONGEST_LINE];
} group;

/* A line without its end; one that is too long is passed over. False at the end of the file. */
static bool next_line(FILE *f, char line[LONGEST_LINE], int *lines)
{
    bool inside = false; /* of a line that is passed over */
    while (++*lines <= MOST_LINES && fgets(line, LONGEST_LINE, f)) {
        size_t n = strlen(line);
        bool whole = n > 0 && line[n - 1] == '\n';
        if (whole) line[n - 1] = '\0';
        if (!inside && (whole || feof(f))) return true;
        inside = !whole;
    }
    return false;
}

/* Ends the word that *s begins with, moves *s behind it, and returns the word; empty at the end of the line. */
static char *next_word(char **s, char separator)
{
    char *word = *s;
    *s = strchr(word, separator);
    if (*s)
        *(*s)++ = '\0';
    else
        *s = word + strlen(word);
    return word;
}

/* Whether `list` ("cpu,cpuacct") has the controller `cpu`. */
static bool has_cpu(const char *list)
{
    for (const char *s = list; s; s = strchr(s, ',')) {
        s += *s == ',';
        if (!strncmp(s, "cpu", 3) && (s[3] == '\0' || s[3] == ',')) return true;
    }
    return false;
}

/* Spaces and the like in paths of mountinfo are written as a backslash and three octal digits. */
static void unescape(char *s)
{
    char *to = s;
    while (*s) {
        bool octal =
            s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7';
        *to++ = octal ? (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + s[3] - '0') : *s;
        s += octal ? 4 : 1;
    }
    *to = '\0';
}

/* The whole number that *s begins with, 0 when there is none or it is too large; moves *s behind it. */
static uint64_t number(const char **s)
{
    uint64_t value = 0;
    for (; **s >= '0' && **s <= '9'; (*s)++) {
        if (value > UINT64_MAX / 10 - 1) return 0;
        value = value * 10 + (uint64_t)(**s - '0');
    }
    return value;
}

static FILE *open_in(const char *folder, const char *file)
{
    char path[LONGEST_LINE];
    return dlx_path_join(path, sizeof path, folder, file) ? fopen(path, "re") : NULL;
}

static bool read_line(const char *folder, const char *file, char line[64])
{
    FILE *f = open_in(folder, file);
    if (!f) return false;
    bool ok = fgets(line, 64, f) != NULL;
    fclose(f);
    if (ok) line[strcspn(line, "\n")] = '\0';
    return ok;
}

/* CPUs that the group at `folder` grants by itself; INT32_MAX: no limit. */
static int32_t quota_at(const char *folder, bool v2)
{
    char line[64], period_line[64];
    if (!read_line(folder, v2 ? "cpu.max" : "cpu.cfs_quota_us", line)) return INT32_MAX;
    const char *s = line; /* version 2: "150000 100000" or "max 100000"; version 1: "150000" or "-1" */
    uint64_t quota = number(&s), period;
    if (v2) {
        if (*s++ != ' ') return INT32_MAX;
    } else {
        if (*s || !read_line(folder, "cpu.cfs_period_us", period_line)) return INT32_MAX;
        s = period_line;
    }
    period = number(&s);
    if (*s || quota == 0 || period == 0) return INT32_MAX;
    uint64_t cpus = quota / period + (quota % period != 0);
    return cpus < INT32_MAX ? (int32_t)cpus : INT32_MAX;
}

/* Is there a component ".."? */
static bool goes_up(const char *path)
{
    for (const char *s = path; (s = strstr(s, "/..")); s += 3)
        if (s[3] == '\0' || s[3] == '/') return true;
    return false;
}

/* The part of `path` that a mount of `root` shows: "" or "/a/b"; NULL when it shows another part of the tree. */
static const char *below(const char *path, const char *root)
{
    if (goes_up(root)) return "";
    size_t n = strcmp(root, "/") ? strlen(root) : 0;
    if (strncmp(path, root, n) != 0 || (path[n] != '/' && path[n] != '\0') || goes_up(path + n)) return NULL;
    return strcmp(path + n, "/") ? path + n : "";
}

/* The least quota from a group up to where the mount begins. Groups that are not there are passed over. */
static int32_t quota_upwards(const char *point, const char *path, bool v2)
{
    char folder[2 * LONGEST_LINE];
    int n = snprintf(folder, sizeof folder, "%s%s", point, path);
    if (n < 0 || (size_t)n >= sizeof folder) return INT32_MAX;
    int32_t least = INT32_MAX;
    for (size_t top = strlen(point);;) {
        int32_t q = quota_at(folder, v2);
        if (q < least) least = q;
        char *slash = strrchr(folder + top, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

/* The process's groups in the tree of version 2 and in that of version 1 that has the controller `cpu`. */
static int find_groups(FILE *f, group groups[2])
{
    char line[LONGEST_LINE];
    int found = 0, lines = 0;
    while (found < 2 && next_line(f, line, &lines)) {
        char *s = line;
        const char *id = next_word(&s, ':'), *controllers = next_word(&s, ':');
        bool v2 = !strcmp(id, "0") && !*controllers;
        if (*s != '/' || (!v2 && !has_cpu(controllers))) continue;
        groups[found].v2 = v2;
        snprintf(groups[found++].path, LONGEST_LINE, "%s", s);
    }
    return found;
}

static int32_t quota_of_mount(char *line, const group *groups, int n)
{
    char *s = line;
    for (int i = 0; i < 3; i++) next_word(&s, ' ');
    char *root = next_word(&s, ' '), *point = next_word(&s, ' ');
    while (*s && strcmp(next_word(&s, ' '), "-") != 0) continue;
    const char *type = next_word(&s, ' ');
    next_word(&s, ' ');
    bool v2 = !strcmp(type, "cgroup2");
    if (!v2 && (strcmp(type, "cgroup") != 0 || !has_cpu(s))) return INT32_MAX;
    unescape(root);
    unescape(point);
    int32_t least = INT32_MAX;
    for (int i = 0; i < n; i++) {
        const char *path = groups[i].v2 == v2 ? below(groups[i].path, root) : NULL;
        int32_t q = path ? quota_upwards(point, path, v2) : INT32_MAX;
        if (q < least) least = q;
    }
    return least;
}

int32_t dlx_cpu_quota(const char *self)
{
    group groups[2];
    char line[LONGEST_LINE];
    FILE *f = open_in(self, "cgroup");
    int n = f ? find_groups(f, groups) : 0, lines = 0;
    if (f) fclose(f);
    f = n ? open_in(self, "mountinfo") : NULL;
    if (!f) return INT32_MAX;
    int32_t least = INT32_MAX;
    while (next_line(f, line, &lines)) {
        int32_t q = quota_of_mount(line, groups, n);
        if (q < least) least = q;
    }
    fclose(f);
    return least;
}

/* CPUs of the affinity mask, at least 1. */
static int32_t cpus_of_mask(void)
{
#if defined(__linux__)
    /* The kernel refuses a mask smaller than its own; machines with more CPUs than cpu_set_t holds exist. */
    for (int cpus = CPU_SETSIZE; cpus <= 64 * CPU_SETSIZE; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        if (!set) break;
        size_t size = CPU_ALLOC_SIZE(cpus);
        int n = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (n > 0) return n;
    }
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 && n < INT32_MAX ? (int32_t)n : 1;
}

int32_t dlx_cpu_count(void)
{
    int32_t mask = cpus_of_mask(), quota = dlx_cpu_quota("/proc/self");
    return mask < quota ? mask : quota;
}

#if defined(__x86_64__) && defined(SYS_arch_prctl)
/* Of arch/x86/include/uapi/asm/prctl.h, and the number of the state of tile data. */
enum { GET_SUPPORTED = 0x1021, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };

/* Intel SDM, volume 2, CPUID: leaf 7, EDX, AMX-TILE and AMX-INT8; leaf 1DH, palette 1: bytes of a row, registers, rows.
 */
static bool cpu_has_tiles(void)
{
    const unsigned wanted = 1u << 24 | 1u << 25;
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & wanted) != wanted) return false;
    return __get_cpuid_count(0x1D, 1, &a, &b, &c, &d) && (b & 0xFFFF) == 64 && b >> 16 == 8 && (c & 0xFFFF) == 16;
}

bool dlx_cpu_has_tiles(void)
{
    uint64_t states = 0;
    return cpu_has_tiles() && syscall(SYS_arch_prctl, GET_SUPPORTED, &states) == 0 && (states >> TILE_DATA & 1) != 0;
}

bool dlx_cpu_take_tiles(void)
{
    return dlx_cpu_has_tiles() && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#else
bool dlx_cpu_has_tiles(void)
{
    return false;
}

bool dlx_cpu_take_tiles(void)
{
    return false;
}
#endif
