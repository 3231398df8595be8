/*
 * Memory that objects keep, from the caller's allocator or the C library. A `const dlx_allocator *` that is NULL, or
 * whose functions are NULL, means the C library.
 */
#ifndef DLX_BASE_MEMORY_H
#define DLX_BASE_MEMORY_H

#include <stddef.h>

#include "diffulex_edge/allocator.h"

enum { DLX_ALIGN = 64 }; /* of everything that kernels read: a cache line and the widest vector */

/* What an array takes of the allocator: a multiple of DLX_ALIGN, never 0; 0 when there cannot be such an array. */
size_t dlx_mem_bytes(size_t count, size_t size);
/* count * size bytes, DLX_ALIGN-aligned, contents undefined; NULL when memory is out or the product overflows. */
void *dlx_mem_array(const dlx_allocator *a, size_t count, size_t size);
/* The same, all bytes 0. */
void *dlx_mem_zeroed(const dlx_allocator *a, size_t count, size_t size);
/* With the counts that the array was made with. p may be NULL. */
void dlx_mem_free(const dlx_allocator *a, void *p, size_t count, size_t size);
/* Makes room in the array `*items` of *capacity elements (NULL and 0 at first) for at least `need` of them; what was
 * there stays. Returns 0, or -1 when memory is out (then nothing changed). Free it with *capacity. */
int dlx_mem_grow(const dlx_allocator *a, void *items, size_t *capacity, size_t need, size_t size);

#endif
