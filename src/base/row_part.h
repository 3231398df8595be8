/* Parts of rows of logits, of which base/row_summary.h makes summaries: what crosses folders. */
#ifndef DLX_BASE_ROW_PART_H
#define DLX_BASE_ROW_PART_H

#include "diffulex_edge/decode.h"

enum { DLX_ROW_PART = 512 };

/* Which ids may be chosen: all below `known` (0: all) but `never`. */
typedef struct dlx_row_rules {
    int32_t never, known;
} dlx_row_rules;

/* Some columns of a row. Exponentials are those of x - top. The likeliest column counts as a one apart from the sum of
 * the others, whose digits would be lost in a float beside it. */
typedef struct dlx_row_part {
    float top, second; /* largest logit, and the largest of the other columns */
    float logit;       /* largest logit that may be chosen, -infinity: none */
    int32_t id;        /* its column, the lowest one; -1: none */
    int32_t ones;      /* columns that have the largest logit */
    int32_t finite;    /* whether all logits are */
    double rest;       /* sum of the exponentials of the other columns */
    double moment;     /* sum of e^(x - top) * (x - top) */
} dlx_row_part;

#endif
