/* Time that passes: a clock that nobody sets, from any beginning. */
#ifndef DLX_BASE_CLOCK_H
#define DLX_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t dlx_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline double dlx_clock_ms(void)
{
    return 1e-6 * (double)dlx_clock_ns();
}

#endif
