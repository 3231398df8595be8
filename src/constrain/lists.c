#include "constrain/lists.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

void dlx_lists_free(dlx_lists *l)
{
    free(l->items);
    free(l->start);
    free(l->slots);
}

size_t dlx_lists_length(const dlx_lists *l, int32_t i)
{
    return l->start[i + 1] - l->start[i];
}

static size_t used(const dlx_lists *l)
{
    return l->n ? l->start[l->n] : 0;
}

static uint64_t hash_of(const int32_t *items, size_t n)
{
    uint64_t h = n;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ (uint32_t)items[i]) * 0x9E3779B97F4A7C15u;
        h ^= h >> 32;
    }
    return h;
}

static bool rehash(dlx_lists *l)
{
    size_t size = l->n_slots ? 2 * l->n_slots : 256;
    int32_t *slots = malloc(size * sizeof *slots);
    if (!slots) return false;
    memset(slots, 0xFF, size * sizeof *slots);
    for (int32_t i = 0; i < l->n; i++) {
        size_t at = hash_of(l->items + l->start[i], dlx_lists_length(l, i)) & (size - 1);
        while (slots[at] >= 0) at = (at + 1) & (size - 1);
        slots[at] = i;
    }
    free(l->slots);
    l->slots = slots;
    l->n_slots = size;
    return true;
}

int32_t *dlx_lists_tail(dlx_lists *l, size_t n)
{
    /* One more, so that there is memory for a list of none. */
    if (dlx_grow(&l->items, &l->items_capacity, used(l) + n + 1, sizeof *l->items) != 0) return NULL;
    return l->items + used(l);
}

int32_t dlx_lists_keep(dlx_lists *l, size_t n)
{
    const int32_t *tail = l->items + used(l);
    if (l->n == INT32_MAX || (l->n_slots <= 2 * (size_t)l->n && !rehash(l))) return -1;
    size_t at = hash_of(tail, n) & (l->n_slots - 1);
    for (; l->slots[at] >= 0; at = (at + 1) & (l->n_slots - 1)) {
        int32_t i = l->slots[at];
        if (dlx_lists_length(l, i) == n && !memcmp(l->items + l->start[i], tail, n * sizeof *tail)) return i;
    }
    size_t begin = used(l);
    if (dlx_grow(&l->start, &l->start_capacity, (size_t)l->n + 2, sizeof *l->start) != 0) return -1;
    l->start[l->n] = begin;
    l->start[l->n + 1] = begin + n;
    return l->slots[at] = l->n++;
}
