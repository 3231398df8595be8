/*
 * Outputs of the export half: none of them may be a file that is read.
 */
#ifndef DLX_EXPORT_TARGET_H
#define DLX_EXPORT_TARGET_H

#include "base/output.h"

/*
 * Opens an output, before anything is read: where it cannot be written, nothing needs to be done. DLX_E_INVALID when it
 * would replace a file of the checkpoint that `model_path` names, or one of `reading` [n] (entries may be NULL).
 * dlx_output_close also after a failure.
 */
dlx_status dlx_target_open(dlx_output *out, const char *path, const char *model_path, const char *const *reading,
                           size_t n, dlx_error *err);

#endif
