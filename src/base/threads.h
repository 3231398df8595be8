/*
 * A pool of worker threads for data-parallel loops: the inside of diffulex_edge/threads.h. Any number of threads may
 * call it at one time. Workers spin briefly between loops, then sleep. The calling thread works too.
 */
#ifndef DLX_BASE_THREADS_H
#define DLX_BASE_THREADS_H

#include <stddef.h>

#include "diffulex_edge/threads.h"

#include "base/memory.h"
#include "base/status.h"

typedef struct dlx_thread_pool dlx_pool;

/* Items [begin, end) of a loop; `thread` is 0 .. threads-1 and unique among the calls of one loop that run at one
 * time. Loops of other callers count their own, so memory that it indexes belongs to a loop's job, not to the pool. */
typedef void (*dlx_loop_fn)(void *arg, size_t begin, size_t end, size_t thread);

/* As dlx_thread_pool_create; 1 starts no thread at all. */
dlx_status dlx_pool_create(dlx_pool **out, int threads, dlx_error *err);
/* With memory from `mem`, which is copied; NULL: the C library. Stacks are the system's. */
dlx_status dlx_pool_create_with(dlx_pool **out, int threads, const dlx_allocator *mem, dlx_error *err);
/* Bytes that a pool of so many threads takes; their stacks are the system's. */
size_t dlx_pool_bytes(int threads);
void dlx_pool_free(dlx_pool *pool);         /* NULL is fine; no loop may be running */
int dlx_pool_threads(const dlx_pool *pool); /* NULL: 1, the caller */

/*
 * Runs fn over items 0 .. count-1 in chunks of at least `grain` (>= 1) items and returns when all are done. Chunks are
 * handed out dynamically, so fn's result for an item must not depend on the chunk it came in. Allocates nothing.
 * Without a pool (NULL) the caller runs all items.
 *
 * The workers serve one loop at a time. A caller that finds them busy with another's loop does not wait: it runs all
 * items itself, in one chunk, as thread 0. So does fn when it starts a loop on the pool that runs it.
 */
void dlx_pool_for(dlx_pool *pool, size_t count, size_t grain, dlx_loop_fn fn, void *arg);

#endif
