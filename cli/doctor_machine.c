/* Reading /proc and /sys for the doctor. What is absent there is unknown, never an error. */
#include "doctor_machine.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LONGEST = 4096 };

/* What stands behind `key` and a colon in the first line of `path` that begins with it; false when there is none. */
static bool find_line(const char *path, const char *key, char *to, size_t size)
{
    char line[LONGEST];
    FILE *f = fopen(path, "re");
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        const char *s = strchr(line, ':');
        if (!s) continue;
        s += 1 + strspn(s + 1, " \t");
        snprintf(to, size, "%.*s", (int)strcspn(s, "\n"), s);
        found = true;
    }
    if (f) fclose(f);
    return found;
}

/* The first line of a file. */
static bool first_line(const char *path, char *to, size_t size)
{
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(to, (int)size, f);
    if (f) fclose(f);
    if (ok) to[strcspn(to, "\n")] = '\0';
    return ok;
}

static uint64_t kibibytes(const char *key)
{
    char text[64];
    return find_line("/proc/meminfo", key, text, sizeof text) ? strtoull(text, NULL, 10) * 1024 : 0;
}

/* ---- control groups --------------------------------------------------------------------------------------------- */

/* Values beyond this are the system's way to say "none" in version 1. */
#define NO_LIMIT (UINT64_MAX / 4)

static uint64_t limit_at(const char *folder, const char *file)
{
    char path[2 * LONGEST + 64], text[64];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    if (!first_line(path, text, sizeof text) || !strcmp(text, "max")) return 0;
    uint64_t bytes = strtoull(text, NULL, 10);
    return bytes < NO_LIMIT ? bytes : 0;
}

/* The least limit from mount/group up to the mount. */
static uint64_t limit_upwards(const char *mount, const char *group, const char *file)
{
    char folder[2 * LONGEST];
    uint64_t least = 0;
    snprintf(folder, sizeof folder, "%s%s", mount, strcmp(group, "/") ? group : "");
    for (;;) {
        uint64_t bytes = limit_at(folder, file);
        if (bytes && (!least || bytes < least)) least = bytes;
        char *slash = strrchr(folder + strlen(mount), '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

uint64_t dlx_cli_memory_limit(const char *self, const char *groups)
{
    char path[LONGEST], mount[LONGEST], line[LONGEST];
    uint64_t least = 0;
    snprintf(path, sizeof path, "%s/cgroup", self);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *colon = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!colon) continue;
        *colon = '\0';
        const char *group = colon + 1;
        if (strstr(group, "/..")) group = "/"; /* of another name space: the mount is what can be seen */
        bool v2 = !strcmp(controllers, ":"), v1 = !strcmp(controllers, ":memory");
        if (!v2 && !v1) continue;
        snprintf(mount, sizeof mount, "%s%s", groups, v1 ? "/memory" : "");
        uint64_t bytes = limit_upwards(mount, group, v1 ? "memory.limit_in_bytes" : "memory.max");
        if (bytes && (!least || bytes < least)) least = bytes;
    }
    if (f) fclose(f);
    return least;
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

/* "always [madvise] never": the word in brackets holds. */
static void read_huge_pages(char *to, size_t size)
{
    char line[128];
    if (!first_line("/sys/kernel/mm/transparent_hugepage/enabled", line, sizeof line)) return;
    const char *open = strchr(line, '['), *close = open ? strchr(open, ']') : NULL;
    if (close) snprintf(to, size, "transparent: %.*s", (int)(close - open - 1), open + 1);
}

void dlx_cli_machine_read(dlx_cli_machine *m)
{
    *m = (dlx_cli_machine){.cpus_online = sysconf(_SC_NPROCESSORS_ONLN)};
    if (!find_line("/proc/cpuinfo", "model name", m->cpu, sizeof m->cpu))
        (void)first_line("/proc/device-tree/model", m->cpu, sizeof m->cpu);
    m->memory = kibibytes("MemTotal");
    m->available = kibibytes("MemAvailable");
    m->limit = dlx_cli_memory_limit("/proc/self", "/sys/fs/cgroup");
    if (m->limit >= m->memory && m->memory) m->limit = 0;
    read_huge_pages(m->huge_pages, sizeof m->huge_pages);
}
