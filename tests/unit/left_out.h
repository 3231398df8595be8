/*
 * Tests that a build skips because it can see nothing in them that other builds do not: DLX_RACES is 1 with the thread
 * sanitizer, DLX_EMULATED on an emulated processor.
 */
#ifndef LEFT_OUT_H
#define LEFT_OUT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static inline void left_out(void **state)
{
    (void)state;
    skip();
}

/* For cmocka_unit_test(test): starts no thread. */
#define one_thread_test(test) ((struct CMUnitTest){.name = #test, .test_func = DLX_RACES ? left_out : test})

/* The same: what it tries is plain C over kernels, number formats and files that other tests have on every processor.
 */
#define portable_test(test)                                                                                            \
    ((struct CMUnitTest){.name = #test, .test_func = DLX_RACES || DLX_EMULATED ? left_out : test})

#endif
