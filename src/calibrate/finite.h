/*
 * Damage that a run layer by layer does not meet: it reads single rows of the table of tokens, and the head not at all.
 */
#ifndef DLX_CALIBRATE_FINITE_H
#define DLX_CALIBRATE_FINITE_H

#include "base/status.h"
#include "base/threads.h"
#include "model/checkpoint.h"

/* DLX_E_FORMAT names the first weight outside the layers that holds NaN or infinity, as an export does. Reads them
 * once. */
dlx_status dlx_ends_finite(const dlx_checkpoint *c, dlx_pool *pool, dlx_error *err);

#endif
