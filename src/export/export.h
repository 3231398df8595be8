/* The export driver, for those who do more than it. */
#ifndef DLX_EXPORT_EXPORT_H
#define DLX_EXPORT_EXPORT_H

#include "diffulex_edge/export.h"

#include "calibrate/samples.h"

/* dlx_export. With `validate` (NULL: without) everything that dlx_validate_prepare checks is checked before the first
 * byte of output, and *samples are what it made. */
dlx_status dlx_export_run(const dlx_export_options *options, const dlx_validate_options *validate, dlx_samples *samples,
                          dlx_export_result *result, dlx_error *err);

#endif
