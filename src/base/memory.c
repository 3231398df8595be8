#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

size_t dlx_mem_bytes(size_t count, size_t size)
{
    if (size && count > (SIZE_MAX / 2 - DLX_ALIGN) / size) return 0;
    size_t bytes = (count * size + DLX_ALIGN - 1) / DLX_ALIGN * DLX_ALIGN;
    return bytes ? bytes : DLX_ALIGN;
}

void *dlx_mem_array(const dlx_allocator *a, size_t count, size_t size)
{
    size_t bytes = dlx_mem_bytes(count, size);
    if (!bytes) return NULL;
    return a && a->alloc ? a->alloc(a->ctx, bytes, DLX_ALIGN) : aligned_alloc(DLX_ALIGN, bytes);
}

void *dlx_mem_zeroed(const dlx_allocator *a, size_t count, size_t size)
{
    void *p = dlx_mem_array(a, count, size);
    if (p) memset(p, 0, dlx_mem_bytes(count, size));
    return p;
}

void dlx_mem_free(const dlx_allocator *a, void *p, size_t count, size_t size)
{
    if (!p) return;
    if (a && a->alloc)
        a->free(a->ctx, p, dlx_mem_bytes(count, size), DLX_ALIGN);
    else
        free(p);
}

int dlx_mem_grow(const dlx_allocator *a, void *items, size_t *capacity, size_t need, size_t size)
{
    if (need <= *capacity) return 0;
    size_t grown = *capacity < 16 ? 16 : *capacity + *capacity / 2;
    if (grown < need) grown = need;
    void *old, *p = dlx_mem_array(a, grown, size);
    if (!p) return -1;
    memcpy(&old, items, sizeof old);
    if (*capacity) memcpy(p, old, *capacity * size);
    dlx_mem_free(a, old, *capacity, size);
    memcpy(items, &p, sizeof p);
    *capacity = grown;
    return 0;
}
