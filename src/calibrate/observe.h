/*
 * Observers: which range of a tensor's numbers int8 is to stand for. A histogram counts all numbers; a rule makes a
 * range of it. Bins are halves of each other's whenever the histogram has to grow, so the counts, and with them the
 * ranges, do not depend on the order in which numbers come, nor on threads.
 */
#ifndef DLX_CALIBRATE_OBSERVE_H
#define DLX_CALIBRATE_OBSERVE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/threads.h"

typedef enum dlx_observer {
    DLX_OBSERVE_MSE,        /* the range whose 256 numbers miss the counted ones least, in the mean of squares */
    DLX_OBSERVE_MINMAX,     /* all that was seen */
    DLX_OBSERVE_PERCENTILE, /* all but 0.005 % at either end */
    DLX_OBSERVERS
} dlx_observer;

/* "mse", "minmax", "percentile"; NULL: the first. DLX_E_INVALID lists the words. */
dlx_status dlx_observer_find(dlx_observer *out, const char *word, dlx_error *err);
const char *dlx_observer_name(dlx_observer o);

enum { DLX_BINS = 4096 };

typedef struct dlx_histogram {
    uint64_t count[DLX_BINS]; /* bin i: [i - 2048, i - 2047) times reach / 2048 */
    float reach;              /* a power of two above all magnitudes; 0: nothing was counted */
    float low, high;          /* least and largest number; magnitudes below 2^-100 count as 0 */
    uint64_t n;
} dlx_histogram;

void dlx_histogram_clear(dlx_histogram *h);
/* Counts x [n], finite numbers. scratch: one for each thread of the pool, whatever is in them. */
void dlx_histogram_add(dlx_histogram *h, const float *x, size_t n, dlx_pool *pool, dlx_histogram *scratch);

/* Contains 0, as int8 needs it. Both are 0 when nothing but zeros was counted. */
typedef struct dlx_bounds {
    float low, high;
} dlx_bounds;
dlx_bounds dlx_observed(const dlx_histogram *h, dlx_observer o);

#endif
