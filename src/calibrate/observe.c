#include "calibrate/observe.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/sizes.h"

enum { HALF = DLX_BINS / 2, GRAIN = 1 << 14 };

static const char *const names[DLX_OBSERVERS] = {
    [DLX_OBSERVE_MSE] = "mse", [DLX_OBSERVE_MINMAX] = "minmax", [DLX_OBSERVE_PERCENTILE] = "percentile"};

dlx_status dlx_observer_find(dlx_observer *out, const char *word, dlx_error *err)
{
    *out = (dlx_observer)0;
    for (size_t i = 0; i < DLX_COUNT(names); i++) {
        if (word && strcmp(word, names[i])) continue;
        *out = (dlx_observer)i;
        return DLX_OK;
    }
    return dlx_fail(err, DLX_E_INVALID, "observer '%.100s' is not known; expected mse, minmax or percentile", word);
}

const char *dlx_observer_name(dlx_observer o)
{
    return names[o];
}

/* ---- counting --------------------------------------------------------------------------------------------------- */

void dlx_histogram_clear(dlx_histogram *h)
{
    memset(h, 0, sizeof *h);
}

/* Two bins become one of twice the width. */
static void widen(dlx_histogram *h)
{
    for (int i = HALF; i < DLX_BINS; i++) {
        int from = HALF + 2 * (i - HALF);
        h->count[i] = from < DLX_BINS ? h->count[from] + h->count[from + 1] : 0;
    }
    for (int i = HALF - 1; i >= 0; i--) {
        int from = HALF - 2 * (HALF - i);
        h->count[i] = from >= 0 ? h->count[from] + h->count[from + 1] : 0;
    }
    h->reach *= 2;
}

typedef struct counting {
    const float *x;
    size_t n;
    dlx_histogram *scratch;
    float scale; /* bins of a unit */
} counting;

static float tiny_is_zero(float x)
{
    return fabsf(x) < 0x1p-100f ? 0.0f : x;
}

static void find_ends(void *arg, size_t begin, size_t end, size_t thread)
{
    const counting *c = arg;
    float low = c->scratch[thread].low, high = c->scratch[thread].high;
    size_t last = end * GRAIN < c->n ? end * GRAIN : c->n;
    for (size_t i = begin * GRAIN; i < last; i++) {
        low = c->x[i] < low ? c->x[i] : low;
        high = c->x[i] > high ? c->x[i] : high;
    }
    c->scratch[thread].low = low;
    c->scratch[thread].high = high;
}

static void count(void *arg, size_t begin, size_t end, size_t thread)
{
    const counting *c = arg;
    uint64_t *bins = c->scratch[thread].count;
    size_t last = end * GRAIN < c->n ? end * GRAIN : c->n;
    for (size_t i = begin * GRAIN; i < last; i++) {
        float place = tiny_is_zero(c->x[i]) * c->scale; /* exact: the scale is a power of two */
        int bin = place >= HALF ? HALF - 1 : place > -HALF ? (int)place : -HALF;
        bin -= bin > -HALF && (float)bin > place;
        bins[HALF + bin]++;
    }
}

/* The largest finite one stands for all beyond it. */
static float power_above(float x)
{
    int exponent;
    (void)frexpf(x, &exponent);
    return exponent < 128 ? ldexpf(1.0f, exponent) : 0x1p127f;
}

void dlx_histogram_add(dlx_histogram *h, const float *x, size_t n, dlx_pool *pool, dlx_histogram *scratch)
{
    size_t threads = (size_t)dlx_pool_threads(pool), grains = (n + GRAIN - 1) / GRAIN;
    counting c = {.x = x, .n = n, .scratch = scratch};
    if (!n) return;
    for (size_t t = 0; t < threads; t++) {
        dlx_histogram_clear(&scratch[t]);
        scratch[t].low = scratch[t].high = x[0];
    }
    dlx_pool_for(pool, grains, 1, find_ends, &c);
    float low = h->n ? h->low : tiny_is_zero(x[0]), high = h->n ? h->high : low;
    for (size_t t = 0; t < threads; t++) {
        low = fminf(low, tiny_is_zero(scratch[t].low));
        high = fmaxf(high, tiny_is_zero(scratch[t].high));
    }
    h->low = low;
    h->high = high;
    float most = fmaxf(-low, high), reach = most > 0 ? power_above(most) : 0x1p-99f;
    if (!h->n) h->reach = reach;
    while (h->reach < reach) widen(h);
    c.scale = HALF / h->reach;
    dlx_pool_for(pool, grains, 1, count, &c);
    for (size_t t = 0; t < threads; t++)
        for (int i = 0; i < DLX_BINS; i++) h->count[i] += scratch[t].count[i];
    h->n += n;
}

/* ---- ranges ----------------------------------------------------------------------------------------------------- */

static double edge(const dlx_histogram *h, int bin)
{
    return (double)(bin - HALF) * (double)h->reach / HALF;
}

static dlx_bounds with_zero(float low, float high)
{
    return (dlx_bounds){low < 0 ? low : 0.0f, high > 0 ? high : 0.0f};
}

static dlx_bounds percentile(const dlx_histogram *h)
{
    uint64_t most = h->n / 20000, below = 0, above = 0; /* 0.005 % */
    int first = 0, last = DLX_BINS - 1;
    while (below + h->count[first] <= most) below += h->count[first++];
    while (above + h->count[last] <= most) above += h->count[last--];
    float low = (float)edge(h, first), high = (float)edge(h, last + 1);
    return with_zero(low > h->low ? low : h->low, high < h->high ? high : h->high);
}

/* Squares that [low, high] in 256 steps misses the counted numbers by: numbers inside by the variance of rounding,
 * those outside by what is cut off of them and that variance. */
static double missed(const dlx_histogram *h, double low, double high)
{
    double step = (high - low) / 255, sum = (double)h->n * step * step / 12;
    for (int i = 0; i < DLX_BINS; i++) {
        if (!h->count[i]) continue;
        double x = 0.5 * (edge(h, i) + edge(h, i + 1)), off = x < low ? low - x : x > high ? x - high : 0;
        sum += (double)h->count[i] * off * off;
    }
    return sum;
}

/* The best end of the range among 64 steps from `from` to 0, the other end being `other`. */
static double best_end(const dlx_histogram *h, double from, double other, bool is_low)
{
    enum { STEPS = 64 };
    double best = from, least = INFINITY;
    for (int k = 0; k < STEPS; k++) {
        double end = from * (STEPS - k) / STEPS;
        double off = is_low ? missed(h, end, other) : missed(h, other, end);
        if (off >= least) continue;
        least = off;
        best = end;
    }
    return best;
}

/* One end after the other until neither moves. */
static dlx_bounds least_squares(const dlx_histogram *h)
{
    enum { ROUNDS = 8 };
    dlx_bounds all = with_zero(h->low, h->high);
    double low = (double)all.low, high = (double)all.high;
    for (int i = 0; i < ROUNDS; i++) {
        double h1 = best_end(h, (double)all.high, low, false), l1 = best_end(h, (double)all.low, h1, true);
        bool same = h1 == high && l1 == low;
        high = h1;
        low = l1;
        if (same) break;
    }
    return (dlx_bounds){(float)low, (float)high};
}

dlx_bounds dlx_observed(const dlx_histogram *h, dlx_observer o)
{
    if (!h->n) return (dlx_bounds){0, 0};
    switch (o) {
    case DLX_OBSERVE_MSE: return least_squares(h);
    case DLX_OBSERVE_PERCENTILE: return percentile(h);
    case DLX_OBSERVE_MINMAX:
    case DLX_OBSERVERS: break;
    }
    return with_zero(h->low, h->high);
}
