#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dlx_arena_block {
    struct dlx_arena_block *next;
    size_t bytes; /* header included: a multiple of 16, which keeps the payload 16-byte aligned */
};

enum { BLOCK_BYTES = 64 * 1024 };

void dlx_arena_init(dlx_arena *a)
{
    memset(a, 0, sizeof *a);
}

void dlx_arena_init_with(dlx_arena *a, const dlx_allocator *mem)
{
    dlx_arena_init(a);
    if (mem) a->mem = *mem;
}

static size_t rounded(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

/* Of a new block for an allocation of `size` bytes, without its header. */
static size_t block_capacity(size_t size)
{
    return size > BLOCK_BYTES ? size : BLOCK_BYTES;
}

dlx_arena_count dlx_arena_count_begin(const dlx_arena *a)
{
    return (dlx_arena_count){.used = a->used, .capacity = a->capacity};
}

void dlx_arena_count_add(dlx_arena_count *c, size_t size)
{
    size = rounded(size);
    if (!c->capacity || size > c->capacity - c->used) {
        c->capacity = block_capacity(size);
        c->used = 0;
        c->bytes += dlx_mem_bytes(sizeof(struct dlx_arena_block) + c->capacity, 1);
    }
    c->used += size;
}

void *dlx_arena_alloc(dlx_arena *a, size_t size)
{
    if (size > SIZE_MAX / 2) return NULL;
    size = rounded(size);
    if (!a->blocks || size > a->capacity - a->used) {
        size_t capacity = block_capacity(size);
        struct dlx_arena_block *b = dlx_mem_zeroed(&a->mem, sizeof *b + capacity, 1);
        if (!b) return NULL;
        b->next = a->blocks;
        b->bytes = sizeof *b + capacity;
        a->blocks = b;
        a->used = 0;
        a->capacity = capacity;
    }
    void *p = (char *)(a->blocks + 1) + a->used;
    a->used += size;
    return p;
}

void *dlx_arena_array(dlx_arena *a, size_t count, size_t size)
{
    if (size && count > SIZE_MAX / 2 / size) return NULL;
    return dlx_arena_alloc(a, count * size);
}

char *dlx_arena_strndup(dlx_arena *a, const char *s, size_t n)
{
    if (n == SIZE_MAX) return NULL;
    char *p = dlx_arena_alloc(a, n + 1);
    if (p && n) memcpy(p, s, n);
    return p;
}

char *dlx_arena_path(dlx_arena *a, const char *folder, const char *name)
{
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = dlx_arena_alloc(a, n);
    if (path) snprintf(path, n, "%s/%s", folder, name);
    return path;
}

size_t dlx_arena_bytes(const dlx_arena *a)
{
    size_t bytes = 0;
    for (const struct dlx_arena_block *b = a->blocks; b; b = b->next) bytes += dlx_mem_bytes(b->bytes, 1);
    return bytes;
}

void dlx_arena_free(dlx_arena *a)
{
    while (a->blocks) {
        struct dlx_arena_block *next = a->blocks->next;
        dlx_mem_free(&a->mem, a->blocks, a->blocks->bytes, 1);
        a->blocks = next;
    }
    a->used = a->capacity = 0;
}

void dlx_arena_adopt(dlx_arena *to, dlx_arena *from)
{
    if (!from->blocks) return;
    if (!to->blocks) {
        to->blocks = from->blocks;
        to->used = from->used;
        to->capacity = from->capacity;
    } else {
        /* Behind the newest block, whose used and capacity stay the arena's. */
        struct dlx_arena_block *last = from->blocks;
        while (last->next) last = last->next;
        last->next = to->blocks->next;
        to->blocks->next = from->blocks;
    }
    from->blocks = NULL;
    from->used = from->capacity = 0;
}

int dlx_grow(void *items, size_t *capacity, size_t need, size_t size)
{
    if (need <= *capacity) return 0;
    size_t grown = *capacity < 16 ? 16 : *capacity + *capacity / 2;
    if (grown < need) grown = need;
    if (grown > SIZE_MAX / 2 / size) return -1;
    void *old;
    memcpy(&old, items, sizeof old);
    void *p = realloc(old, grown * size);
    if (!p) return -1;
    memcpy(items, &p, sizeof p);
    *capacity = grown;
    return 0;
}
