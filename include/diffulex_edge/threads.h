/*
 * Threads: how many CPUs this process may use, and pools of worker threads that models share.
 *
 * A pool serves any number of callers at one time. One of them has the workers; whoever finds them taken does its work
 * alone, at once, on its own thread, so nobody ever waits for another caller. Results do not depend on the number of
 * threads, nor on who had the workers.
 */
#ifndef DIFFULEX_EDGE_THREADS_H
#define DIFFULEX_EDGE_THREADS_H

#include <stdint.h>

#include "diffulex_edge/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* May be shared by several models, and used from any number of threads at one time. */
typedef struct dlx_thread_pool dlx_thread_pool;

/*
 * Starts a pool whose loops run on `threads` threads, 1 to 1024: the caller's own and threads - 1 workers, which sleep
 * while there is nothing to do and take no signals. 0: dlx_cpu_count(). The caller owns *out and frees it with
 * dlx_thread_pool_free. DLX_E_INVALID: another number. DLX_E_NOMEM: no memory, or the system refused a thread.
 */
DLX_API dlx_status dlx_thread_pool_create(dlx_thread_pool **out, int32_t threads, dlx_error *err);
/* Ends the workers. Nothing that was given the pool may be alive any more: close models first. NULL is fine. */
DLX_API void dlx_thread_pool_free(dlx_thread_pool *pool);
/* Threads of one loop, the caller's own included. */
DLX_API int32_t dlx_thread_pool_size(const dlx_thread_pool *pool);

/*
 * CPUs that this process may use, at least 1: those of the calling thread's affinity mask, or the CPU time that control
 * groups grant per unit of time, rounded up, where that is less (Linux: cpu.max of version 2, cpu.cfs_quota_us of
 * version 1, of the process's group and of every group above it that is visible). Read anew by every call, which takes
 * some tens of microseconds and opens a few files: ask once and keep the answer.
 */
DLX_API int32_t dlx_cpu_count(void);

#ifdef __cplusplus
}
#endif
#endif
