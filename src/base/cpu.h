/* Where dlx_cpu_count (diffulex_edge/threads.h) looks; apart from it for tests. */
#ifndef DLX_BASE_CPU_H
#define DLX_BASE_CPU_H

#include <stdint.h>

/*
 * CPUs that the control groups of a process grant, rounded up, at least 1; INT32_MAX where they set no limit or nothing
 * is to be learned from them. `self` is the process's folder in /proc ("/proc/self"): its file `cgroup` says which
 * groups the process is in, its file `mountinfo` where they can be seen. Whatever is absent or malformed sets no limit.
 */
int32_t dlx_cpu_quota(const char *self);

#endif
