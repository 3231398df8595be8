#include "solve/mix.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/sizes.h"

enum { UNITS = 65536, MAX_CHOICES = 255 };
#define MOST_BYTES (UINT64_C(1) << 48) /* of all tensors: sums of units stay far from 64 bits */

typedef struct table {
    const dlx_mix_tensor *tensor;
    size_t n;
    uint64_t least, most; /* bytes of the smallest and of the largest choices together */
    uint64_t unit;
    size_t states;   /* units spent: 0 .. states - 1 */
    double *error;   /* [states] least of the tensors so far, for at most so many units; INFINITY: impossible */
    double *before;  /* [states] without the last tensor */
    uint8_t *choice; /* [n, states] */
} table;

static uint64_t smallest(const dlx_mix_tensor *t)
{
    uint64_t bytes = UINT64_MAX;
    for (size_t i = 0; i < t->choices; i++)
        if (t->choice[i].bytes < bytes) bytes = t->choice[i].bytes;
    return bytes;
}

static uint64_t units_of(const table *t, const dlx_mix_tensor *tensor, size_t choice)
{
    uint64_t extra = tensor->choice[choice].bytes - smallest(tensor);
    return extra / t->unit + (extra % t->unit != 0);
}

static dlx_status check_tensors(table *t, dlx_error *err)
{
    for (size_t i = 0; i < t->n; i++) {
        const dlx_mix_tensor *tensor = &t->tensor[i];
        uint64_t largest = 0;
        if (tensor->choices < 1 || tensor->choices > MAX_CHOICES)
            return dlx_fail(err, DLX_E_INVALID, "'%s' has %zu forms to choose from, expected 1 to %d", tensor->name,
                            tensor->choices, MAX_CHOICES);
        for (size_t c = 0; c < tensor->choices; c++) {
            if (!(tensor->choice[c].error >= 0) || isinf(tensor->choice[c].error))
                return dlx_fail(err, DLX_E_INVALID, "'%s': the error of form %zu is %g, expected a number from 0",
                                tensor->name, c, tensor->choice[c].error);
            if (tensor->choice[c].bytes > largest) largest = tensor->choice[c].bytes;
        }
        if (largest > MOST_BYTES || t->most + largest > MOST_BYTES)
            return dlx_fail(err, DLX_E_LIMIT, "'%s' and those before it have more than 2^48 bytes", tensor->name);
        t->least += smallest(tensor);
        t->most += largest;
    }
    return DLX_OK;
}

/* The unit for a range of bytes above the least. */
static uint64_t choose_unit(const table *t, uint64_t range)
{
    uint64_t divisor = 0;
    for (size_t i = 0; i < t->n; i++)
        for (size_t c = 0; c < t->tensor[i].choices; c++) {
            uint64_t a = t->tensor[i].choice[c].bytes - smallest(&t->tensor[i]);
            while (a) {
                uint64_t rest = divisor % a;
                divisor = a;
                a = rest;
            }
        }
    if (divisor == 0) return 1;
    return range / divisor <= UNITS ? divisor : range / UNITS + (range % UNITS != 0);
}

static dlx_status get_room(table *t, dlx_error *err)
{
    uint64_t cells;
    bool ok = dlx_mul_u64(t->n, t->states, &cells) && cells <= SIZE_MAX;
    t->error = dlx_mem_array(NULL, t->states, sizeof *t->error);
    t->before = dlx_mem_array(NULL, t->states, sizeof *t->before);
    t->choice = ok ? dlx_mem_array(NULL, (size_t)cells, 1) : NULL;
    if (t->error && t->before && t->choice) return DLX_OK;
    return dlx_fail(err, DLX_E_NOMEM, "no memory to choose forms for %zu tensors", t->n);
}

static void free_room(table *t)
{
    dlx_mem_free(NULL, t->error, t->states, sizeof *t->error);
    dlx_mem_free(NULL, t->before, t->states, sizeof *t->before);
    dlx_mem_free(NULL, t->choice, t->n * t->states, 1);
}

/* One more tensor. Of equal errors the choice of fewer units is taken. */
static void add_tensor(table *t, size_t i)
{
    const dlx_mix_tensor *tensor = &t->tensor[i];
    uint8_t *choice = t->choice + i * t->states;
    uint64_t units[MAX_CHOICES];
    double *swap = t->before;
    t->before = t->error;
    t->error = swap;
    for (size_t c = 0; c < tensor->choices; c++) units[c] = units_of(t, tensor, c);
    for (size_t s = 0; s < t->states; s++) {
        size_t best = 0;
        double least = INFINITY;
        for (size_t c = 0; c < tensor->choices; c++) {
            if (units[c] > s) continue;
            double error = t->before[s - units[c]] + tensor->choice[c].error;
            if (error < least || (error == least && units[c] < units[best])) {
                least = error;
                best = c;
            }
        }
        t->error[s] = least;
        choice[s] = (uint8_t)best;
    }
}

static dlx_status fill_table(table *t, uint64_t range, dlx_error *err)
{
    t->states = (size_t)(range / t->unit) + 1;
    DLX_TRY(get_room(t, err));
    for (size_t s = 0; s < t->states; s++) t->error[s] = 0;
    for (size_t i = 0; i < t->n; i++) add_tensor(t, i);
    return DLX_OK;
}

static void trace(const table *t, size_t state, size_t *picked, dlx_mix_total *total)
{
    *total = (dlx_mix_total){0};
    for (size_t i = t->n; i-- > 0;) {
        picked[i] = t->choice[i * t->states + state];
        state -= (size_t)units_of(t, &t->tensor[i], picked[i]);
    }
    for (size_t i = 0; i < t->n; i++) {
        total->bytes += t->tensor[i].choice[picked[i]].bytes;
        total->error += t->tensor[i].choice[picked[i]].error;
    }
}

/* The first state that reaches `error`. */
static size_t first_state(const table *t, double error)
{
    size_t s = 0;
    while (t->error[s] > error) s++;
    return s;
}

static dlx_status least_error(table *t, size_t *picked, dlx_mix_total *total, uint64_t max_bytes, dlx_error *err)
{
    DLX_TRY(check_tensors(t, err));
    if (max_bytes < t->least)
        return dlx_fail(err, DLX_E_LIMIT, "%llu bytes are too few for %zu tensors, their smallest forms have %llu",
                        (unsigned long long)max_bytes, t->n, (unsigned long long)t->least);
    /* Where everything fits, rounding up must not stand in the way: a unit more for every tensor. */
    bool all = max_bytes >= t->most;
    uint64_t range = (all ? t->most : max_bytes) - t->least;
    t->unit = choose_unit(t, range);
    DLX_TRY(fill_table(t, all ? range + t->n * t->unit : range, err));
    trace(t, first_state(t, t->error[t->states - 1]), picked, total);
    return DLX_OK;
}

static dlx_status fewest_bytes(table *t, size_t *picked, dlx_mix_total *total, double max_error, dlx_error *err)
{
    DLX_TRY(check_tensors(t, err));
    t->unit = choose_unit(t, t->most - t->least);
    DLX_TRY(fill_table(t, t->most - t->least + t->n * t->unit, err));
    double possible = t->error[t->states - 1];
    if (!(max_error >= possible))
        return dlx_fail(err, DLX_E_LIMIT,
                        "an error of %g is less than %zu tensors can have, their best forms add up to %g", max_error,
                        t->n, possible);
    trace(t, first_state(t, max_error), picked, total);
    return DLX_OK;
}

dlx_status dlx_mix_least_error(size_t *picked, dlx_mix_total *total, const dlx_mix_tensor *tensor, size_t n,
                               uint64_t max_bytes, dlx_error *err)
{
    table t = {.tensor = tensor, .n = n};
    *total = (dlx_mix_total){0};
    dlx_status status = least_error(&t, picked, total, max_bytes, err);
    free_room(&t);
    return status;
}

dlx_status dlx_mix_fewest_bytes(size_t *picked, dlx_mix_total *total, const dlx_mix_tensor *tensor, size_t n,
                                double max_error, dlx_error *err)
{
    table t = {.tensor = tensor, .n = n};
    *total = (dlx_mix_total){0};
    dlx_status status = fewest_bytes(&t, picked, total, max_error, err);
    free_room(&t);
    return status;
}
