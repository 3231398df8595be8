/*
 * Weights that are found by calibration, in an export: what the graph wants of the layers' weights becomes the solvers'
 * task, the work folder's contents become sources of its constants.
 */
#ifndef DLX_EXPORT_SOLVE_H
#define DLX_EXPORT_SOLVE_H

#include <stdbool.h>

#include "diffulex_edge/export.h"

#include "base/threads.h"
#include "calibrate/weights.h"
#include "text/tokenizer.h"

typedef struct dlx_export_work {
    dlx_work work;
    dlx_precomputed precomputed; /* files that the graph's constants are read from */
} dlx_export_work;

/* Whether the options ask for it: DLX_E_INVALID for a word that is none, or calibration that nothing uses. `measures`:
 * ranges are measured on it. */
dlx_status dlx_export_solves(bool *yes, const dlx_export_options *options, bool measures, dlx_error *err);

/* Where work lies until the output is complete, with `end` behind the name; malloc'd, NULL: out of memory. */
char *dlx_export_work_folder(const dlx_export_options *options, const char *end);

/* The calibration data that the options describe; `tokenizer` may be NULL. */
dlx_status dlx_export_samples(dlx_samples *out, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                              const dlx_export_options *options, const dlx_layerwise_options *run, dlx_error *err);

/*
 * Solves the weights that the recipe made int8 or int4 in the layers of g, the graph after dlx_quantize, and has them
 * read from the work folder. `tokenizer` may be NULL. An interruption (DLX_E_CANCELLED) leaves a folder from which the
 * same call goes on.
 */
dlx_status dlx_export_solve(dlx_export_work *out, dlx_graph *g, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                            const dlx_export_options *options, dlx_pool *pool, dlx_error *err);
/* The files are closed. With `done`, the folder goes too, or a notice says why it did not. Fine on zeros. */
void dlx_export_work_close(dlx_export_work *w, bool done, const dlx_export_options *options);

#endif
