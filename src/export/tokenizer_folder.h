/*
 * The tokenizer that a checkpoint folder has, if it has one.
 */
#ifndef DLX_EXPORT_TOKENIZER_FOLDER_H
#define DLX_EXPORT_TOKENIZER_FOLDER_H

#include <stdbool.h>

#include "base/status.h"
#include "model/checkpoint.h"
#include "text/tokenizer.h"

/* Whether the folder has that file; half fetched ones are an error. */
dlx_status dlx_folder_fetched(bool *there, const char *folder, const char *file, dlx_error *err);
dlx_status dlx_folder_has_tokenizer(bool *there, const char *folder, dlx_error *err);
/* *out: NULL where the folder has none: then there are ids only. `chat_template` as for an export, may be NULL. */
dlx_status dlx_checkpoint_tokenizer(dlx_tokenizer **out, const dlx_checkpoint *c, const char *chat_template,
                                    dlx_error *err);

#endif
