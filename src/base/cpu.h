/* Where dlx_cpu_count (diffulex_edge/threads.h) looks, apart from it for tests; and the registers of a CPU that the
 * system gives to a process that asks. */
#ifndef DLX_BASE_CPU_H
#define DLX_BASE_CPU_H

#include <stdbool.h>
#include <stdint.h>

/*
 * CPUs that the control groups of a process grant, rounded up, at least 1; INT32_MAX where they set no limit or nothing
 * is to be learned from them. `self` is the process's folder in /proc ("/proc/self"): its file `cgroup` says which
 * groups the process is in, its file `mountinfo` where they can be seen. Whatever is absent or malformed sets no limit.
 */
int32_t dlx_cpu_quota(const char *self);

/* Whether this CPU has tiles of 16 rows of 64 bytes with products of int8 (Intel AMX), and the system saves them with a
 * thread. Nothing is asked for. */
bool dlx_cpu_has_tiles(void);
/*
 * The same, and the system gives them to this process. It is the one thing here that stays: from the first time that
 * this is answered with true, every thread of the process may use tiles, and the system keeps room for them (8 KiB) for
 * each thread that does and in each frame of a signal. It refuses a process one of whose threads has a stack for
 * signals that such a frame would not fit.
 */
bool dlx_cpu_take_tiles(void);

#endif
