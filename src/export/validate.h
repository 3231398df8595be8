/* Validating in two steps, for an export: samples before anything is written, figures when the file is there. */
#ifndef DLX_EXPORT_VALIDATE_H
#define DLX_EXPORT_VALIDATE_H

#include "diffulex_edge/export.h"

#include "calibrate/samples.h"
#include "model/checkpoint.h"

/*
 * Everything that can be wrong with the options and with data (`text`, NULL: the model is to write it) is an error
 * here. *out: the samples; without a text empty, for the file's export has to come before. `rows`: most of
 * a call of the file, as a session makes it. options->file_path is for messages.
 */
dlx_status dlx_validate_prepare(dlx_samples *out, const dlx_validate_options *options, const dlx_samples_text *text,
                                const dlx_checkpoint *c, const dlx_tokenizer *tokenizer, int32_t rows, dlx_error *err);

/* dlx_validate of options that were read (dlx_struct_in) into a structure that has its struct_size. `made`: what
 * dlx_validate_prepare made, which goes over; the file comes from an export of just now. NULL: it may come from
 * anywhere. */
dlx_status dlx_validate_run(const dlx_validate_options *options, dlx_samples *made, dlx_validation *out,
                            dlx_error *err);

#endif
