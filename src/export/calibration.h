/*
 * What an export calibrates with: samples, made once for all that need them, and where work lies that another call can
 * go on with.
 */
#ifndef DLX_EXPORT_CALIBRATION_H
#define DLX_EXPORT_CALIBRATION_H

#include "diffulex_edge/export.h"

#include "base/threads.h"
#include "calibrate/layerwise.h"
#include "calibrate/weights.h"
#include "export/stages.h"
#include "text/tokenizer.h"

typedef struct dlx_calibration {
    const dlx_export_options *o;
    const dlx_checkpoint *c;
    dlx_samples samples;
    dlx_layerwise_options run; /* ticks go to `stages` */
    dlx_stages stages;
} dlx_calibration;

/* Whether the options say anything about calibration. */
bool dlx_calibration_asked(const dlx_export_options *options);
/* DLX_E_INVALID for numbers out of range. */
dlx_status dlx_calibration_check(const dlx_export_options *options, dlx_error *err);
/* Behind the name of the work folder of ranges. */
#define DLX_RANGES_WORK ".ranges"
/* DLX_E_INVALID where two of the program, the ranges and the work folders would be one, or an output would go with a
 * work folder, however their paths are spelled. Nothing of it needs to be there. */
dlx_status dlx_calibration_places(const dlx_export_options *options, dlx_error *err);
/* The samples that the options describe, of `text`, where the file that they name is in memory already (else NULL);
 * `tokenizer` may be NULL. Where `ranges` are measured on them, which cut off what is beyond, canvases are as long as
 * decoders make them. *out does not move until dlx_calibration_free, which is fine on zeros. */
dlx_status dlx_calibration_begin(dlx_calibration *out, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                                 const dlx_export_options *options, const dlx_samples_text *text, bool ranges,
                                 dlx_pool *pool, dlx_error *err);
void dlx_calibration_free(dlx_calibration *c);

/* Work of one kind, until the output is complete. */
typedef struct dlx_export_work {
    dlx_work work;
    dlx_precomputed precomputed; /* files that the graph's constants are read from */
} dlx_export_work;

/* Opens it for the samples and everything else that `print` says results depend on; `end` is behind the folder's name.
 * What it holds and cannot be gone on with is noticed.
 * Large hidden states go there too, not to memory that poses as /tmp. */
dlx_status dlx_calibration_work(dlx_export_work *out, dlx_calibration *c, uint64_t print, const char *end,
                                dlx_error *err);
/* The files are closed. With `done`, the folder goes too, or a notice says why it did not. Fine on zeros. */
void dlx_export_work_close(dlx_export_work *w, bool done, const dlx_export_options *options);

#endif
