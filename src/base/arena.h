/*
 * Build arena: many small allocations with one lifetime, freed together. Used while a graph, a plan or a parsed file is
 * built; never inside a denoising step.
 */
#ifndef DLX_BASE_ARENA_H
#define DLX_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"

typedef struct dlx_arena {
    struct dlx_arena_block *blocks; /* newest first */
    size_t used, capacity;          /* of the newest block */
    dlx_allocator mem;              /* of the blocks */
} dlx_arena;

void dlx_arena_init(dlx_arena *a);
/* With memory from `mem`, which is copied; NULL: the C library. */
void dlx_arena_init_with(dlx_arena *a, const dlx_allocator *mem);
/* 16-byte aligned, zeroed; NULL when memory is out. size 0 gives a valid pointer. */
void *dlx_arena_alloc(dlx_arena *a, size_t size);
/* count * size with overflow check. */
void *dlx_arena_array(dlx_arena *a, size_t count, size_t size);
/* NUL-terminated copy of n bytes; NULL when memory is out. */
char *dlx_arena_strndup(dlx_arena *a, const char *s, size_t n);
/* "folder/name"; NULL when memory is out. */
char *dlx_arena_path(dlx_arena *a, const char *folder, const char *name);
/* Bytes that its blocks take of the allocator. */
size_t dlx_arena_bytes(const dlx_arena *a);
/* What allocations would add to that: begin with the arena as it is, count each allocation, read bytes. */
typedef struct dlx_arena_count {
    size_t used, capacity;
    uint64_t bytes;
} dlx_arena_count;
dlx_arena_count dlx_arena_count_begin(const dlx_arena *a);
void dlx_arena_count_add(dlx_arena_count *c, size_t size);
/* Leaves an empty arena over the same allocator. */
void dlx_arena_free(dlx_arena *a);
/* Moves everything that `from` owns into `to`; `from` is empty afterwards. Pointers stay valid. Both were made with the
 * same allocator. */
void dlx_arena_adopt(dlx_arena *to, dlx_arena *from);

/*
 * dlx_mem_grow for arrays of the C library that others free(): grows `*items` (malloc'd, element size `size`) so that
 * it holds at least `need` elements; *capacity is updated. Returns 0, or -1 when memory is out (then nothing changed).
 */
int dlx_grow(void *items, size_t *capacity, size_t need, size_t size);

#endif
