/* Numbers of JSON between bounds, as expressions of their digits. */
#ifndef DLX_CONSTRAIN_FULL_NUMBERS_H
#define DLX_CONSTRAIN_FULL_NUMBERS_H

#include <stdbool.h>

#include "constrain/expr.h"

/* Whole bounds, each there or not, and itself allowed or not. Magnitudes below 10^18. */
typedef struct dlx_bounds {
    bool has_low, has_high, low_open, high_open;
    int64_t low, high;
} dlx_bounds;

/* Whole numbers, written without fraction, exponent or leading zeros. */
const dlx_expr *dlx_expr_integers(dlx_arena *a, const dlx_bounds *b);
/* Numbers; where there are no bounds, with an exponent of at most two digits, which every reader can hold. */
const dlx_expr *dlx_expr_numbers(dlx_arena *a, const dlx_bounds *b);

#endif
