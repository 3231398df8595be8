/*
 * The caller's memory: an application that manages memory itself (a pool, a locked region, a meter) hands these two
 * functions to the objects that keep memory. What is not given an allocator uses the C library's.
 *
 * dlx_model_options.allocator serves the model, the thread pool that it makes, its workspaces, sessions, batchers and
 * seats: all that they allocate comes from it, for a moment or to keep, and has come back when the model is closed.
 * From the system they have beside that stacks and locks of threads. (Without an allocator the packed weights are a
 * mapping, in huge pages where there are any.)
 *
 * The C library serves everything else: dlx_thread_pool_create, tokenizers, text streams and chat templates, decode
 * options, generations and completions, exports, inspection, and whatever dlx_free frees.
 */
#ifndef DIFFULEX_EDGE_ALLOCATOR_H
#define DIFFULEX_EDGE_ALLOCATOR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Never grows. */
typedef struct dlx_allocator {
    /* `size` >= 1 bytes at a multiple of `alignment` (a power of two up to 4096), contents undefined; NULL: refused,
     * which the library reports as DLX_E_NOMEM. */
    void *(*alloc)(void *ctx, size_t size, size_t alignment);
    /* Gets back what alloc returned, with the same size and alignment. Never NULL. */
    void (*free)(void *ctx, void *p, size_t size, size_t alignment);
    /* Handed to both. They may be called from several threads at once: by every thread that uses the object they were
     * given to. The structure is copied; what ctx points to must outlive the object. */
    void *ctx;
} dlx_allocator;

#ifdef __cplusplus
}
#endif
#endif
