/* A trial of a set before it is used. */
#ifndef DLX_KERNELS_AGREE_H
#define DLX_KERNELS_AGREE_H

#include <stdbool.h>

#include "kernels/kernels.h"

/* Whether two sets compute the same bits of small products of quantised rows with int8 weights: of odd sizes, with
 * numbers at both ends of their ranges. Takes microseconds; what it needs is on the stack. */
bool dlx_kernels_agree(const dlx_kernels *a, const dlx_kernels *b);

#endif
