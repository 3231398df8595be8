/*
 * The worker pool: every item exactly once, under every number of threads and of callers, with loops of all sizes in
 * quick succession.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/threads.h"

static const int thread_counts[] = {1, 2, 3, 4, 7, 16, 33};
enum { THREAD_COUNTS = sizeof thread_counts / sizeof thread_counts[0], MAX_THREADS = 33 };

typedef struct loop {
    uint8_t *seen; /* times each item was run: plain memory, so a race would show up under ThreadSanitizer */
    size_t count, grain;
    int threads;
    _Atomic int inside[MAX_THREADS];
    _Atomic size_t bad; /* chunks that break a promise */
    bool over;          /* plain memory too: no chunk may come before it is false or after it is true */
} loop;

static void visit(void *arg, size_t begin, size_t end, size_t thread)
{
    loop *l = arg;
    if (l->over || thread >= (size_t)l->threads || begin >= end || end > l->count) {
        atomic_fetch_add(&l->bad, 1);
        return;
    }
    if (end - begin < l->grain && end != l->count) atomic_fetch_add(&l->bad, 1);
    if (atomic_fetch_add(&l->inside[thread], 1) != 0) atomic_fetch_add(&l->bad, 1);
    for (size_t i = begin; i < end; i++) l->seen[i]++;
    atomic_fetch_sub(&l->inside[thread], 1);
}

static void check_loop(dlx_pool *pool, size_t count, size_t grain)
{
    loop l = {.count = count, .grain = grain, .threads = dlx_pool_threads(pool)};
    l.seen = calloc(count + 1, 1);
    assert_non_null(l.seen);
    dlx_pool_for(pool, count, grain, visit, &l);
    assert_int_equal(atomic_load(&l.bad), 0);
    for (size_t i = 0; i < count; i++)
        if (l.seen[i] != 1) fail_msg("item %zu of %zu ran %d times", i, count, l.seen[i]);
    assert_int_equal(l.seen[count], 0);
    free(l.seen);
}

static dlx_pool *pool_new(int threads)
{
    dlx_pool *pool;
    dlx_error err;
    assert_int_equal(dlx_pool_create(&pool, threads, &err), DLX_OK);
    assert_int_equal(dlx_pool_threads(pool), threads);
    return pool;
}

static void test_every_item_once(void **state)
{
    (void)state;
    static const size_t counts[] = {0, 1, 2, 3, 5, 31, 48, 100, 1000, 12345};
    static const size_t grains[] = {1, 2, 7, 64, 100000};
    for (size_t t = 0; t < THREAD_COUNTS; t++) {
        dlx_pool *pool = pool_new(thread_counts[t]);
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
            for (size_t g = 0; g < sizeof grains / sizeof grains[0]; g++) check_loop(pool, counts[c], grains[g]);
        dlx_pool_free(pool);
    }
}

static void add_up(void *arg, size_t begin, size_t end, size_t thread)
{
    (void)thread;
    uint64_t sum = 0;
    for (size_t i = begin; i < end; i++) sum += i * i;
    atomic_fetch_add((_Atomic uint64_t *)arg, sum);
}

/* Loops so short that workers keep arriving late: a late one must neither run old items nor be missed. */
static void test_tiny_loops(void **state)
{
    (void)state;
    for (size_t t = 0; t < THREAD_COUNTS; t++) {
        dlx_pool *pool = pool_new(thread_counts[t]);
        int loops = thread_counts[t] <= 4 ? 10000 : 500;
        for (int i = 0; i < loops; i++) {
            _Atomic uint64_t sum = 0;
            size_t count = 1 + (size_t)i % 17;
            dlx_pool_for(pool, count, 1, add_up, &sum);
            uint64_t n = count - 1;
            assert_int_equal(atomic_load(&sum), n * (n + 1) * (2 * n + 1) / 6);
        }
        dlx_pool_free(pool);
    }
}

/* Long enough pauses for the workers to go to sleep in between. */
static void test_sleep_and_wake(void **state)
{
    (void)state;
    dlx_pool *pool = pool_new(4);
    for (int i = 0; i < 30; i++) {
        struct timespec pause = {.tv_nsec = 2000000};
        nanosleep(&pause, NULL);
        check_loop(pool, 100 + (size_t)i, 1);
        check_loop(pool, 3, 1);
    }
    dlx_pool_free(pool);
}

static void test_create_free_storm(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        dlx_pool *pool = pool_new(1 + i % 6);
        if (i % 3) check_loop(pool, (size_t)i, 1 + (size_t)i % 4);
        dlx_pool_free(pool);
    }
    dlx_pool_free(NULL);
}

static void meet(void *arg, size_t begin, size_t end, size_t thread)
{
    (void)begin, (void)end, (void)thread;
    _Atomic int *waiting = arg;
    atomic_fetch_sub(waiting, 1);
    while (atomic_load(waiting) > 0) {
        struct timespec pause = {.tv_nsec = 100000};
        nanosleep(&pause, NULL);
    }
}

/* Two chunks that wait for each other: only possible when two threads are in the loop. */
static void test_really_parallel(void **state)
{
    (void)state;
    dlx_pool *pool = pool_new(2);
    for (int i = 0; i < 20; i++) {
        _Atomic int waiting = 2;
        dlx_pool_for(pool, 2, 1, meet, &waiting);
        assert_int_equal(atomic_load(&waiting), 0);
    }
    dlx_pool_free(pool);
}

/* ---- several callers of one pool --------------------------------------------------------------------------------- */

enum { CALLERS = 6 };

typedef struct caller {
    dlx_pool *pool;
    int loops;
    size_t most; /* items */
    loop jobs[2];
    uint8_t *seen;
    const char *wrong;
    pthread_t thread;
} caller;

/* Loops one after the other, in two jobs by turns: whoever enters a loop late finds the job of one that is over. */
static void *call_pool(void *arg)
{
    caller *c = arg;
    for (int i = 0; i < c->loops && !c->wrong; i++) {
        loop *l = &c->jobs[i % 2];
        l->count = 1 + (size_t)i * 7 % c->most;
        l->grain = 1 + (size_t)i % 3;
        l->seen = c->seen;
        l->threads = dlx_pool_threads(c->pool);
        l->over = false;
        memset(l->seen, 0, c->most);
        dlx_pool_for(c->pool, l->count, l->grain, visit, l);
        l->over = true;
        if (atomic_load(&l->bad)) c->wrong = "a chunk broke a promise";
        for (size_t k = 0; k < c->most; k++)
            if (l->seen[k] != (k < l->count)) c->wrong = "an item was left out or ran twice";
    }
    return NULL;
}

static void hammer(int threads, int loops, size_t most)
{
    static caller callers[CALLERS];
    dlx_pool *pool = pool_new(threads);
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (caller){.pool = pool, .loops = loops, .most = most, .seen = calloc(most, 1)};
        assert_non_null(callers[i].seen);
        callers[i].jobs[0].over = callers[i].jobs[1].over = true;
    }
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&callers[i].thread, NULL, call_pool, &callers[i]), 0);
    for (int i = 0; i < CALLERS; i++) pthread_join(callers[i].thread, NULL);
    for (int i = 0; i < CALLERS; i++) {
        if (callers[i].wrong) fail_msg("%d threads, caller %d: %s", threads, i, callers[i].wrong);
        free(callers[i].seen);
    }
    check_loop(pool, 1000, 1);
    dlx_pool_free(pool);
}

static void test_many_callers(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 5; threads++) {
        hammer(threads, 2000, 17);
        hammer(threads, 100, 5000);
    }
}

typedef struct blocking {
    dlx_pool *pool;
    _Atomic int inside, go_on;
} blocking;

static void block(void *arg, size_t begin, size_t end, size_t thread)
{
    (void)begin, (void)end, (void)thread;
    blocking *b = arg;
    atomic_fetch_add(&b->inside, 1);
    while (!atomic_load(&b->go_on)) sched_yield();
}

static void *call_and_block(void *arg)
{
    blocking *b = arg;
    dlx_pool_for(b->pool, 8, 1, block, b);
    return NULL;
}

typedef struct alone {
    pthread_t thread;
    size_t items, chunks, elsewhere;
} alone;

static void note(void *arg, size_t begin, size_t end, size_t thread)
{
    alone *a = arg;
    a->items += end - begin;
    a->chunks++;
    a->elsewhere += thread != 0 || !pthread_equal(a->thread, pthread_self());
}

/* While one caller is stuck in its loop, and the workers with it, another's loops are done, by itself, in one piece. */
static void test_a_stuck_caller_keeps_nobody_waiting(void **state)
{
    (void)state;
    for (int threads = 2; threads <= 4; threads++) {
        blocking b = {.pool = pool_new(threads)};
        pthread_t stuck;
        assert_int_equal(pthread_create(&stuck, NULL, call_and_block, &b), 0);
        while (atomic_load(&b.inside) < threads) sched_yield();
        for (int i = 0; i < 100; i++) {
            alone a = {.thread = pthread_self()};
            dlx_pool_for(b.pool, 1000, 1, note, &a);
            assert_int_equal(a.items, 1000);
            assert_int_equal(a.chunks, 1);
            assert_int_equal(a.elsewhere, 0);
        }
        assert_int_equal(atomic_load(&b.inside), threads);
        atomic_store(&b.go_on, 1);
        pthread_join(stuck, NULL);
        _Atomic int waiting = 2; /* the workers are back */
        dlx_pool_for(b.pool, 2, 1, meet, &waiting);
        dlx_pool_free(b.pool);
    }
}

typedef struct outer {
    dlx_pool *pool;
    _Atomic uint64_t sum;
    _Atomic size_t wrong;
} outer;

static void start_another(void *arg, size_t begin, size_t end, size_t thread)
{
    (void)thread;
    outer *o = arg;
    for (size_t i = begin; i < end; i++) {
        alone a = {.thread = pthread_self()};
        dlx_pool_for(o->pool, 50, 1, note, &a);
        if (a.items != 50 || a.chunks != 1 || a.elsewhere != 0) atomic_fetch_add(&o->wrong, 1);
        dlx_pool_for(o->pool, i + 1, 1, add_up, &o->sum);
    }
}

static void test_loops_inside_loops(void **state)
{
    (void)state;
    for (int threads = 2; threads <= 5; threads++) {
        outer o = {.pool = pool_new(threads)};
        uint64_t want = 0;
        for (uint64_t i = 0; i < 40; i++) want += i * (i + 1) * (2 * i + 1) / 6;
        dlx_pool_for(o.pool, 40, 1, start_another, &o);
        assert_int_equal(atomic_load(&o.sum), want);
        assert_int_equal(atomic_load(&o.wrong), 0);
        dlx_pool_free(o.pool);
    }
}

static void *session(void *arg)
{
    (void)arg;
    dlx_pool *pool;
    if (dlx_pool_create(&pool, 3, NULL) != DLX_OK) return arg;
    for (int i = 0; i < 200; i++) {
        _Atomic uint64_t sum = 0;
        dlx_pool_for(pool, 100, 3, add_up, &sum);
        if (atomic_load(&sum) != 328350) return arg;
    }
    dlx_pool_free(pool);
    return NULL;
}

static void test_pools_side_by_side(void **state)
{
    (void)state;
    pthread_t threads[4];
    int failed = 1;
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, session, &failed), 0);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_null(result);
    }
}

static void test_arguments(void **state)
{
    (void)state;
    dlx_pool *pool = (dlx_pool *)state;
    dlx_error err = {0};
    assert_int_equal(dlx_pool_create(&pool, -1, &err), DLX_E_INVALID);
    assert_null(pool);
    assert_non_null(strstr(err.message, "-1 threads"));
    assert_int_equal(dlx_pool_create(&pool, -3, NULL), DLX_E_INVALID);
    assert_int_equal(dlx_pool_create(&pool, 1000000, &err), DLX_E_INVALID);
    assert_in_range(dlx_cpu_count(), 1, 1 << 20);
}

static void test_public_interface(void **state)
{
    dlx_thread_pool *pool = (dlx_thread_pool *)state;
    dlx_error err = {0};
    assert_int_equal(dlx_thread_pool_create(&pool, 0, &err), DLX_OK);
    assert_int_equal(dlx_thread_pool_size(pool), dlx_cpu_count() < 1024 ? dlx_cpu_count() : 1024);
    check_loop(pool, 100, 1);
    dlx_thread_pool_free(pool);
    assert_int_equal(dlx_thread_pool_create(&pool, 3, &err), DLX_OK);
    assert_int_equal(dlx_thread_pool_size(pool), 3);
    dlx_thread_pool_free(pool);
    assert_int_equal(dlx_thread_pool_create(&pool, -1, &err), DLX_E_INVALID);
    assert_null(pool);
    assert_non_null(strstr(err.message, "-1 threads"));
    assert_int_equal(dlx_thread_pool_create(&pool, 1025, NULL), DLX_E_INVALID);
    dlx_thread_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_item_once),    cmocka_unit_test(test_tiny_loops),
        cmocka_unit_test(test_sleep_and_wake),     cmocka_unit_test(test_create_free_storm),
        cmocka_unit_test(test_really_parallel),    cmocka_unit_test(test_pools_side_by_side),
        cmocka_unit_test(test_many_callers),       cmocka_unit_test(test_a_stuck_caller_keeps_nobody_waiting),
        cmocka_unit_test(test_loops_inside_loops), cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_public_interface),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
