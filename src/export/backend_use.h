/*
 * A backend while an export uses it: options that only some know, what it has opened, what it measures.
 */
#ifndef DLX_EXPORT_BACKEND_USE_H
#define DLX_EXPORT_BACKEND_USE_H

#include <stdbool.h>

#include "diffulex_edge/export.h"

#include "base/arena.h"
#include "base/text_buffer.h"
#include "calibrate/ranges.h"
#include "export/calibration.h"
#include "quant/quant.h"
#include "quant/recipe.h"

typedef struct dlx_backend_use {
    const void *options; /* of its parts (dlx_lowering) */
    bool measures;       /* it needs ranges of all values, on calibration data, or looks whether halves hold them */
    bool halves;         /* it computes in float16 */
    bool ranged;         /* its numbers are on grids: of ranges that are measured, or read from a file */
    dlx_ranges ranges;   /* what was measured */
    dlx_activation_ranges find;
    struct dlx_qnn *qnn;
} dlx_backend_use;

/* DLX_E_INVALID: an option was given that backend `name` does not know; the sentence says whose it is. */
dlx_status dlx_backend_options_check(const char *name, const dlx_export_options *o, dlx_error *err);

/* dlx_backend.open: before anything is read. DLX_E_INVALID for words that the backend does not know, with those that it
 * does; DLX_E_UNSUPPORTED: what it needs is not installed. *out does not move afterwards. */
dlx_status dlx_open_coreml(dlx_backend_use *out, dlx_arena *arena, const dlx_export_options *o,
                           const dlx_recipe *recipe, dlx_error *err);
dlx_status dlx_open_qnn(dlx_backend_use *out, dlx_arena *arena, const dlx_export_options *o, const dlx_recipe *recipe,
                        dlx_error *err);

/* dlx_backend.check */
dlx_status dlx_check_qnn(const dlx_backend_use *use, const dlx_graph *g, dlx_error *err);
/* Tables of tokens, whose rows go into a backend that computes in float16: numbers beyond are an error of the writer.
 */
void dlx_backend_mark_tables(const dlx_backend_use *use, dlx_graph *g);
/* dlx_backend.describe: the libraries of Qualcomm's that it opened. */
void dlx_describe_qnn(const dlx_backend_use *use, dlx_text_buffer *t);

/* Weights that were solved with scaled inputs: what goes from layer to layer is no longer what it was. */
typedef struct dlx_scaled_weights {
    const dlx_recipe *recipe;
    const dlx_export_work *solved;
} dlx_scaled_weights;

/*
 * Ranges of all values: measured over the samples of the calibration, in float32, or with the weights of `scaled`
 * (else NULL) as they are stored, or read from the file that the options name, then written where they say. Without
 * `work` (NULL) an interruption leaves nothing. *text: the ranges as they go into the program, malloc'd, where grids
 * are of them; else NULL. An interruption (DLX_E_CANCELLED) leaves a folder from which the same call goes on.
 * DLX_E_UNSUPPORTED names a value that is beyond float16 where the backend computes in that.
 */
dlx_status dlx_backend_ranges(dlx_backend_use *use, char **text, dlx_export_work *work,
                              const dlx_scaled_weights *scaled, dlx_calibration *c, dlx_error *err);
/* Fine on zeros. */
void dlx_backend_close(dlx_backend_use *use);

#endif
