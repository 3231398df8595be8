/* What the system tells about CPU and memory, for the doctor. */
#ifndef DLX_CLI_DOCTOR_MACHINE_H
#define DLX_CLI_DOCTOR_MACHINE_H

#include <stdint.h>

typedef struct dlx_cli_machine {
    char cpu[128]; /* "" where the system does not say */
    long cpus_online;
    uint64_t memory, available; /* bytes; 0: unknown */
    uint64_t limit;             /* of the control groups; 0: none */
    char huge_pages[64];        /* "transparent: madvise"; "" unknown */
} dlx_cli_machine;

void dlx_cli_machine_read(dlx_cli_machine *m);

/* The least memory.max (version 2) or memory.limit_in_bytes (version 1) of the process's group and those above it:
 * bytes, 0 for none. `self`: its folder in /proc; `groups`: where control groups are mounted. Apart for tests. */
uint64_t dlx_cli_memory_limit(const char *self, const char *groups);

#endif
