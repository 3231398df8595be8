/*
 * The worker pool: the workers serve one loop at a time, handed out in chunks through one atomic cursor.
 *
 * The right to publish a loop is the flag `busy`. A caller takes it by one attempt and gives it back when its loop is
 * over; who fails runs its loop alone and touches nothing of the pool. So there is one publisher at a time, no caller
 * waits for another, and a loop inside a loop cannot deadlock.
 *
 * A loop is published by opening a gate, one atomic word that holds the loop's number, an open bit and how many workers
 * have entered. Workers enter by compare-and-swap while the gate is open; the publisher works too, closes the gate when
 * the cursor has run out and waits only for those who entered. A worker that the scheduler did not run in time
 * therefore costs nothing.
 *
 * Job fields, cursor and `left` are written while the gate is closed and nobody is inside, and touched by workers only
 * between entering and counting themselves in `left`. Why no worker can ever see those of another loop:
 *   - Entering replaces the gate's present value, which has the open bit, so it succeeds only in the loop that is open
 *     at that moment, whatever the worker had looked at before. It acquires what that loop's publisher released by
 *     opening the gate; entries of other workers in between are read-modify-writes and keep that chain. (If the 32 bits
 *     of the number came round to an old value, a worker would still enter the loop that is open now; one that sleeps
 *     through all of them misses a loop, which costs its help and nothing else.)
 *   - Closing is a read-modify-write of the same word: every entry comes before it in the word's order and is counted
 *     in the value it returns, and none comes after it until the next opening.
 *   - The publisher waits until that many have counted themselves in `left` (release there, acquire here), then
 *     releases `busy`; the next publisher, on any thread, acquires it. So all that workers and publisher did in one
 *     loop happens before the next publisher writes the fields, and it reads the gate's last value when it takes the
 *     next number.
 *   - A worker enters a loop at most once: it remembers the number of the loop that it entered or found closed.
 *
 * Workers wait for the next loop by spinning for SPIN_NS, then on a condition variable. The publisher, when it has to
 * wait for the last chunk of another thread, spins and then yields.
 */
#include "base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/clock.h"

enum {
    MAX_THREADS = 1024,
    SPIN_NS = 80 * 1000,           /* longer than the serial work between two loops of a forward pass */
    SPIN_NS_OVERSUBSCRIBED = 2000, /* more threads than cores: whoever spins keeps another from working */
    PAUSES_PER_CLOCK_READ = 16,
    CHUNKS_PER_THREAD = 4, /* of the items that remain: chunks shrink towards the end of a loop */
};

#define GATE_OPEN   UINT64_C(1)
#define GATE_WORKER UINT64_C(2)
#define GATE_NUMBER UINT64_C(0x100000000)

typedef struct dlx_worker {
    dlx_pool *pool;
    size_t index;
    pthread_t thread;
} dlx_worker;

/* Each group of fields that one side writes often has its own cache line. */
struct dlx_thread_pool {
    alignas(64) atomic_bool busy;      /* a loop is published, or about to be */
    alignas(64) _Atomic uint64_t gate; /* loop number << 32 | workers entered << 1 | open */
    _Atomic int quit;
    alignas(64) _Atomic size_t cursor; /* first item that nobody has taken */
    alignas(64) _Atomic uint32_t left; /* workers that entered and are done */
    alignas(64) _Atomic int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t wake;

    alignas(64) dlx_loop_fn fn; /* the job: see the opening comment */
    void *arg;
    size_t count, grain;

    int threads;
    int64_t spin_ns;
    dlx_worker *workers; /* threads - 1 */
    dlx_allocator mem;   /* of this and of them */
};

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Takes the next chunk: a share of what remains, at least `grain`. False when nothing is left. */
static bool take_chunk(dlx_pool *pool, size_t *begin, size_t *end)
{
    size_t at = atomic_load_explicit(&pool->cursor, memory_order_relaxed);
    for (;;) {
        if (at >= pool->count) return false;
        size_t remaining = pool->count - at;
        size_t n = remaining / ((size_t)pool->threads * CHUNKS_PER_THREAD);
        if (n < pool->grain) n = pool->grain;
        if (n > remaining) n = remaining;
        if (atomic_compare_exchange_weak_explicit(&pool->cursor, &at, at + n, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            *begin = at;
            *end = at + n;
            return true;
        }
    }
}

static void work(dlx_pool *pool, size_t thread)
{
    size_t begin, end;
    while (take_chunk(pool, &begin, &end)) pool->fn(pool->arg, begin, end, thread);
}

/* Is there a loop that this worker has not been in, or an end? */
static bool has_news(dlx_pool *pool, uint64_t seen)
{
    uint64_t gate = atomic_load_explicit(&pool->gate, memory_order_acquire);
    return gate / GATE_NUMBER != seen || atomic_load_explicit(&pool->quit, memory_order_relaxed);
}

static void wait_for_news(dlx_pool *pool, uint64_t seen)
{
    int64_t until = dlx_clock_ns() + pool->spin_ns;
    do {
        for (int i = 0; i < PAUSES_PER_CLOCK_READ; i++) {
            if (has_news(pool, seen)) return;
            cpu_relax();
        }
    } while (dlx_clock_ns() < until);
    sched_yield();
    if (has_news(pool, seen)) return;

    /* Counting oneself before looking at the gate again, while the publisher opens the gate before it looks at the
     * count (both sequentially consistent), leaves no order in which both miss each other. */
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->gate) / GATE_NUMBER == seen && !atomic_load(&pool->quit))
        pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *arg)
{
    dlx_worker *self = arg;
    dlx_pool *pool = self->pool;
    uint64_t seen = 0;
    for (;;) {
        wait_for_news(pool, seen);
        if (atomic_load(&pool->quit)) return NULL;
        uint64_t gate = atomic_load_explicit(&pool->gate, memory_order_acquire);
        bool entered = false;
        while ((gate & GATE_OPEN) && !entered)
            entered = atomic_compare_exchange_weak_explicit(&pool->gate, &gate, gate + GATE_WORKER,
                                                            memory_order_acquire, memory_order_acquire);
        seen = gate / GATE_NUMBER;
        if (!entered) continue;
        work(pool, self->index);
        atomic_fetch_add_explicit(&pool->left, 1, memory_order_release);
    }
}

static void wake_sleepers(dlx_pool *pool, size_t wanted)
{
    int sleepers = atomic_load(&pool->sleepers);
    if (sleepers == 0) return;
    pthread_mutex_lock(&pool->mutex);
    if (wanted >= (size_t)sleepers)
        pthread_cond_broadcast(&pool->wake);
    else
        for (size_t i = 0; i < wanted; i++) pthread_cond_signal(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

/* One attempt. The first look keeps those who fail from taking the flag's cache line away from the publisher. */
static bool take_workers(dlx_pool *pool)
{
    if (atomic_load_explicit(&pool->busy, memory_order_relaxed)) return false;
    return !atomic_exchange_explicit(&pool->busy, true, memory_order_acquire);
}

void dlx_pool_for(dlx_pool *pool, size_t count, size_t grain, dlx_loop_fn fn, void *arg)
{
    if (count == 0) return;
    if (grain == 0) grain = 1;
    if (!pool || pool->threads == 1 || count <= grain || !take_workers(pool)) {
        fn(arg, 0, count, 0);
        return;
    }
    pool->fn = fn;
    pool->arg = arg;
    pool->count = count;
    pool->grain = grain;
    atomic_store_explicit(&pool->cursor, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->left, 0, memory_order_relaxed);
    uint64_t number = atomic_load_explicit(&pool->gate, memory_order_relaxed) / GATE_NUMBER;
    atomic_store(&pool->gate, (number + 1) * GATE_NUMBER | GATE_OPEN);
    wake_sleepers(pool, (count - 1) / grain);

    work(pool, 0);

    uint64_t closed = atomic_fetch_and_explicit(&pool->gate, ~GATE_OPEN, memory_order_relaxed);
    uint32_t entered = (uint32_t)closed / (uint32_t)GATE_WORKER;
    int64_t until = 0;
    while (atomic_load_explicit(&pool->left, memory_order_acquire) != entered) {
        if (until == 0) until = dlx_clock_ns() + pool->spin_ns;
        for (int i = 0; i < PAUSES_PER_CLOCK_READ; i++) cpu_relax();
        if (dlx_clock_ns() >= until) sched_yield();
    }
    atomic_store_explicit(&pool->busy, false, memory_order_release);
}

static void stop_workers(dlx_pool *pool, int started)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->quit, 1);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < started; i++) pthread_join(pool->workers[i].thread, NULL);
}

/* Starts the workers with all signals blocked, so that signals stay with the program's own threads. */
static dlx_status start_workers(dlx_pool *pool, dlx_error *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int started = 0, code = 0;
    for (; started < pool->threads - 1; started++) {
        dlx_worker *w = &pool->workers[started];
        *w = (dlx_worker){.pool = pool, .index = (size_t)started + 1};
        code = pthread_create(&w->thread, NULL, worker_main, w);
        if (code != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code == 0) return DLX_OK;
    stop_workers(pool, started);
    return dlx_fail(err, DLX_E_NOMEM, "thread pool: the system refused thread %d of %d (%s); use fewer threads",
                    started + 2, pool->threads, strerror(code));
}

static void release_memory(const dlx_allocator *mem, dlx_pool *pool, dlx_worker *workers, int threads)
{
    dlx_mem_free(mem, workers, (size_t)threads, sizeof *workers);
    dlx_mem_free(mem, pool, 1, sizeof *pool);
}

static void release(dlx_pool *pool)
{
    const dlx_allocator mem = pool->mem;
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    release_memory(&mem, pool, pool->workers, pool->threads);
}

static dlx_status make_locks(dlx_pool *pool, dlx_error *err)
{
    bool mutex_ok = pthread_mutex_init(&pool->mutex, NULL) == 0;
    if (mutex_ok && pthread_cond_init(&pool->wake, NULL) == 0) return DLX_OK;
    if (mutex_ok) pthread_mutex_destroy(&pool->mutex);
    return dlx_fail(err, DLX_E_NOMEM, "thread pool: the system refused a mutex or a condition variable");
}

size_t dlx_pool_bytes(int threads)
{
    return dlx_mem_bytes(1, sizeof(dlx_pool)) + dlx_mem_bytes((size_t)threads, sizeof(dlx_worker));
}

dlx_status dlx_pool_create_with(dlx_pool **out, int threads, const dlx_allocator *mem, dlx_error *err)
{
    *out = NULL;
    if (threads < 0 || threads > MAX_THREADS)
        return dlx_fail(err, DLX_E_INVALID, "thread pool: %d threads asked for, expected 1 to %d", threads,
                        MAX_THREADS);
    int cpus = dlx_cpu_count();
    if (!threads) threads = cpus < MAX_THREADS ? cpus : MAX_THREADS;
    _Static_assert(alignof(dlx_pool) <= DLX_ALIGN, "the lines of a pool");
    dlx_pool *pool = dlx_mem_zeroed(mem, 1, sizeof *pool);
    dlx_worker *workers = dlx_mem_zeroed(mem, (size_t)threads, sizeof *workers);
    dlx_status status = DLX_OK;
    if (!pool || !workers) status = dlx_fail(err, DLX_E_NOMEM, "thread pool: no memory for %d threads", threads);
    if (status == DLX_OK) status = make_locks(pool, err);
    if (status != DLX_OK) {
        release_memory(mem, pool, workers, threads);
        return status;
    }
    if (mem) pool->mem = *mem;
    pool->threads = threads;
    pool->workers = workers;
    pool->spin_ns = threads > cpus ? SPIN_NS_OVERSUBSCRIBED : SPIN_NS;
    status = start_workers(pool, err);
    if (status != DLX_OK) {
        release(pool);
        return status;
    }
    *out = pool;
    return DLX_OK;
}

dlx_status dlx_pool_create(dlx_pool **out, int threads, dlx_error *err)
{
    return dlx_pool_create_with(out, threads, NULL, err);
}

void dlx_pool_free(dlx_pool *pool)
{
    if (!pool) return;
    stop_workers(pool, pool->threads - 1);
    release(pool);
}

int dlx_pool_threads(const dlx_pool *pool)
{
    return pool ? pool->threads : 1;
}

dlx_status dlx_thread_pool_create(dlx_thread_pool **out, int32_t threads, dlx_error *err)
{
    if (!out) return dlx_fail(err, DLX_E_INVALID, "dlx_thread_pool_create: a place for the pool is needed");
    return dlx_pool_create(out, threads, err);
}

void dlx_thread_pool_free(dlx_thread_pool *pool)
{
    dlx_pool_free(pool);
}

int32_t dlx_thread_pool_size(const dlx_thread_pool *pool)
{
    return pool ? dlx_pool_threads(pool) : 0;
}
