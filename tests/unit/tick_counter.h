/* Ticks of a measurement that are counted, one of which may be refused. cmocka comes first. */
#ifndef DLX_TESTS_TICK_COUNTER_H
#define DLX_TESTS_TICK_COUNTER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct counter {
    int calls, most; /* the tick that is refused; 0: none */
} counter;

static bool count(void *ctx, uint64_t rows)
{
    counter *c = ctx;
    assert_true(rows > 0);
    return ++c->calls != c->most;
}

#endif
