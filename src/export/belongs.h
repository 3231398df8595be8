/* Whether a file was made of a checkpoint: by what both say of themselves, and by what comparing them found. */
#ifndef DLX_EXPORT_BELONGS_H
#define DLX_EXPORT_BELONGS_H

#include "diffulex_edge/export.h"

#include "export/differences.h"
#include "model/checkpoint.h"

/*
 * The checkpoint of a file, as it was read for the export: `told` is what that was told besides; a family that the
 * checkpoint does not name is the file's. DLX_E_INVALID where both say different things: the sentence has them by name,
 * with both values. What is wrong with the checkpoint alone is its own error.
 */
dlx_status dlx_checkpoint_of_file(dlx_checkpoint *out, const char *model_path, const dlx_checkpoint_options *told,
                                  const dlx_file_said *file, dlx_error *err);

/* DLX_E_INVALID where most layers of the file are further from the checkpoint's than layers that do nothing, or its
 * answers than those of a model that knows nothing: the sizes are the same, the weights have nothing in common. */
dlx_status dlx_weights_belong(const dlx_validation *found, int32_t vocabulary, const char *file_path,
                              const char *folder, dlx_error *err);

#endif
