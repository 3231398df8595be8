/* What the kernels' tests use of cmocka, for WebAssembly: a test that fails says where and ends the program, because
 * wasi-libc has no longjmp. */
#ifndef DLX_TESTS_WASM_CMOCKA_H
#define DLX_TESTS_WASM_CMOCKA_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct CMUnitTest {
    const char *name;
    void (*test_func)(void **state);
    int (*setup_func)(void **state), (*teardown_func)(void **state);
    void *initial_state;
} CMUnitTest;

#define cmocka_unit_test(f)                                                                                            \
    {                                                                                                                  \
#f, f, NULL, NULL, NULL                                                                                        \
    }
#define cmocka_run_group_tests(tests, setup, teardown)                                                                 \
    _cmocka_run_group_tests(#tests, tests, sizeof tests / sizeof tests[0], setup, teardown)

#define fail_msg(...) (printf("[  ERROR   ] %s:%d: ", __FILE__, __LINE__), printf(__VA_ARGS__), puts(""), exit(1))
#define fail()        fail_msg("failed")
#define skip()                                                                                                         \
    do {                                                                                                               \
        puts("[  SKIPPED ]");                                                                                          \
        return;                                                                                                        \
    } while (0)
#define assert_true(a)                                                                                                 \
    do {                                                                                                               \
        if (!(a)) fail_msg("%s", #a);                                                                                  \
    } while (0)
#define assert_false(a)    assert_true(!(a))
#define assert_null(a)     assert_true((a) == NULL)
#define assert_non_null(a) assert_true((a) != NULL)
#define assert_int_equal(a, b)                                                                                         \
    do {                                                                                                               \
        long long is = (long long)(a), wanted = (long long)(b);                                                        \
        if (is != wanted) fail_msg("%s is %lld, expected %lld", #a, is, wanted);                                       \
    } while (0)
#define assert_int_not_equal(a, b)       assert_true((long long)(a) != (long long)(b))
#define assert_in_range(a, low, high)    assert_true((uint64_t)(a) >= (low) && (uint64_t)(a) <= (high))
#define assert_string_equal(a, b)        assert_true(strcmp(a, b) == 0)
#define assert_ptr_equal(a, b)           assert_true((a) == (b))
#define assert_memory_equal(a, b, bytes) assert_true(memcmp(a, b, bytes) == 0)

static inline int _cmocka_run_group_tests(const char *group, const CMUnitTest *tests, size_t n,
                                          int (*setup)(void **state), int (*teardown)(void **state))
{
    void *shared = NULL;
    if (setup && setup(&shared) != 0) return 1;
    for (size_t i = 0; i < n; i++) {
        void *state = tests[i].initial_state ? tests[i].initial_state : shared;
        printf("[ RUN      ] %s\n", tests[i].name);
        if (tests[i].setup_func && tests[i].setup_func(&state) != 0) return 1;
        tests[i].test_func(&state);
        if (tests[i].teardown_func && tests[i].teardown_func(&state) != 0) return 1;
        printf("[       OK ] %s\n", tests[i].name);
    }
    printf("[  PASSED  ] %s: %zu test(s).\n", group, n);
    return teardown ? teardown(&shared) : 0;
}

#endif
