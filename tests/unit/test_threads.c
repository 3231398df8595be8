/* The worker pool: every item exactly once, under every number of threads, with loops of all sizes in quick succession.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
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
} loop;

static void visit(void *arg, size_t begin, size_t end, size_t thread)
{
    loop *l = arg;
    if (thread >= (size_t)l->threads || begin >= end || end > l->count) {
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
    assert_int_equal(dlx_pool_create(&pool, 0, &err), DLX_E_INVALID);
    assert_null(pool);
    assert_non_null(strstr(err.message, "0 threads"));
    assert_int_equal(dlx_pool_create(&pool, -3, NULL), DLX_E_INVALID);
    assert_int_equal(dlx_pool_create(&pool, 1000000, &err), DLX_E_INVALID);
    assert_in_range(dlx_cpu_count(), 1, 1 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_item_once), cmocka_unit_test(test_tiny_loops),
        cmocka_unit_test(test_sleep_and_wake),  cmocka_unit_test(test_create_free_storm),
        cmocka_unit_test(test_really_parallel), cmocka_unit_test(test_pools_side_by_side),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
