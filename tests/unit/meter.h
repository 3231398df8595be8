/*
 * An allocator that watches: every block is aligned as it was asked for, comes back once, with the size and alignment
 * it was asked for with, and is full of garbage at first. It refuses a request on demand. The C library is watched
 * beside it: blocks that the library's own objects take from there (--wrap, see failures.cmake) are counted.
 *
 * cmocka comes first.
 */
#ifndef DLX_TESTS_METER_H
#define DLX_TESTS_METER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "diffulex_edge/allocator.h"

enum { METER_BLOCKS = 1 << 14 };

typedef struct metered_block {
    void *p;
    size_t size, alignment;
} metered_block;

typedef struct meter {
    dlx_allocator allocator; /* hand this to the library */
    pthread_mutex_t lock;
    metered_block block[METER_BLOCKS]; /* alive */
    size_t alive, bytes, requests, fail_at;
    const char *wrong; /* what the library did wrong first, or NULL */
} meter;

static atomic_long heap_alive; /* blocks from the C library */
static atomic_size_t heap_requests;

#define METER_WRAPPED(type, name, ...)                                                                                 \
    type __real_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

static void *heap_counted(void *p)
{
    heap_alive += p != NULL;
    heap_requests++;
    return p;
}

METER_WRAPPED(void *, malloc, size_t n)
{
    return heap_counted(__real_malloc(n));
}

METER_WRAPPED(void *, calloc, size_t n, size_t size)
{
    return heap_counted(__real_calloc(n, size));
}

METER_WRAPPED(void *, realloc, void *old, size_t n)
{
    heap_alive -= old != NULL;
    return heap_counted(__real_realloc(old, n));
}

METER_WRAPPED(void *, aligned_alloc, size_t alignment, size_t n)
{
    return heap_counted(__real_aligned_alloc(alignment, n));
}

METER_WRAPPED(char *, strdup, const char *s)
{
    return heap_counted(__real_strdup(s));
}

METER_WRAPPED(void, free, void *p)
{
    heap_alive -= p != NULL;
    __real_free(p);
}

static void *meter_alloc(void *ctx, size_t size, size_t alignment)
{
    meter *m = ctx;
    void *p = NULL;
    pthread_mutex_lock(&m->lock);
    bool refused = ++m->requests == m->fail_at || m->alive == METER_BLOCKS;
    if (!size || alignment < 1 || alignment > 4096 || (alignment & (alignment - 1))) m->wrong = "asks for nonsense";
    /* At an odd multiple of the alignment, so that nobody relies on more. */
    if (!refused && (p = __real_aligned_alloc(4096, (2 * 4096 + size + 4095) / 4096 * 4096))) {
        p = (char *)p + alignment;
        memset(p, 0x5A, size);
        m->block[m->alive++] = (metered_block){p, size, alignment};
        m->bytes += size;
    }
    pthread_mutex_unlock(&m->lock);
    return p;
}

static void meter_free(void *ctx, void *p, size_t size, size_t alignment)
{
    meter *m = ctx;
    size_t i = 0;
    pthread_mutex_lock(&m->lock);
    while (i < m->alive && m->block[i].p != p) i++;
    if (i == m->alive) {
        m->wrong = "gives back what it does not have";
    } else {
        if (m->block[i].size != size || m->block[i].alignment != alignment) m->wrong = "gives back another size";
        m->bytes -= m->block[i].size;
        m->block[i] = m->block[--m->alive];
        memset(p, 0xA5, size < 4096 ? size : 4096);
        __real_free((char *)p - alignment);
    }
    pthread_mutex_unlock(&m->lock);
}

static void meter_init(meter *m)
{
    memset(m, 0, sizeof *m);
    m->allocator = (dlx_allocator){meter_alloc, meter_free, m};
    assert_int_equal(pthread_mutex_init(&m->lock, NULL), 0);
}

/* Everything has come back, as it should. */
static void meter_assert_empty(const meter *m)
{
    if (m->wrong) fail_msg("the library %s", m->wrong);
    if (m->alive) fail_msg("%zu blocks, %zu bytes never came back", m->alive, m->bytes);
}

#endif
