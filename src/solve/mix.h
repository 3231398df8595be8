/*
 * A form for every tensor under a budget, by dynamic programming over bytes: the least sum of errors that a number of
 * bytes allows, or the fewest bytes for a sum of errors.
 *
 * Bytes beyond those of each tensor's smallest choice are counted in units. The unit is the greatest common divisor of
 * all of them where that makes at most 65536 units, and then the answer is exact. Otherwise it is what makes 65536
 * units of the range, and the bytes of each choice are rounded up to whole units: a budget is never exceeded, and the
 * errors are at most those of the best mix under a budget that is smaller by one unit a tensor.
 */
#ifndef DLX_SOLVE_MIX_H
#define DLX_SOLVE_MIX_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct dlx_mix_choice {
    uint64_t bytes;
    double error; /* >= 0; what adds up over tensors */
} dlx_mix_choice;

typedef struct dlx_mix_tensor {
    const dlx_mix_choice *choice; /* [choices], in any order */
    size_t choices;               /* 1 to 255 */
    const char *name;             /* for messages */
} dlx_mix_tensor;

typedef struct dlx_mix_total {
    uint64_t bytes;
    double error; /* the sum in the order of the tensors */
} dlx_mix_total;

/* picked [n]: the number of each tensor's choice. Of mixes with the same error one of the fewest units. Both take 66 KB
 * a tensor and 1 MB. A budget that no mix meets is DLX_E_LIMIT, and the sentence says what is possible. */
dlx_status dlx_mix_least_error(size_t *picked, dlx_mix_total *total, const dlx_mix_tensor *tensor, size_t n,
                               uint64_t max_bytes, dlx_error *err);
dlx_status dlx_mix_fewest_bytes(size_t *picked, dlx_mix_total *total, const dlx_mix_tensor *tensor, size_t n,
                                double max_error, dlx_error *err);

#endif
