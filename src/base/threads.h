/*
 * A pool of worker threads for data-parallel loops. Owned by one session; not shared. Workers spin briefly between
 * loops, then sleep. The calling thread works too.
 */
#ifndef DLX_BASE_THREADS_H
#define DLX_BASE_THREADS_H

#include <stddef.h>

#include "base/status.h"

typedef struct dlx_pool dlx_pool;

/* Items [begin, end) of a loop; `thread` is 0 .. threads-1 and unique among the calls that run at one time. */
typedef void (*dlx_loop_fn)(void *arg, size_t begin, size_t end, size_t thread);

/* threads >= 1; 1 starts no thread at all. */
dlx_status dlx_pool_create(dlx_pool **out, int threads, dlx_error *err);
void dlx_pool_free(dlx_pool *pool); /* NULL is fine */
int dlx_pool_threads(const dlx_pool *pool);

/*
 * Runs fn over items 0 .. count-1 in chunks of at least `grain` (>= 1) items and returns when all are done. Chunks are
 * handed out dynamically, so fn's result for an item must not depend on the chunk it came in. Allocates nothing. Not
 * reentrant: fn must not start another loop on this pool.
 */
void dlx_pool_for(dlx_pool *pool, size_t count, size_t grain, dlx_loop_fn fn, void *arg);

/* Cores this process may use (affinity mask, not the machine's total); at least 1. */
int dlx_cpu_count(void);

#endif
