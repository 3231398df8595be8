/*
 * Static activations in an export: ranges are measured on calibration data, or read from a file, and become the grids
 * of the graph.
 */
#ifndef DLX_EXPORT_ACTIVATIONS_H
#define DLX_EXPORT_ACTIVATIONS_H

#include <stdbool.h>

#include "diffulex_edge/export.h"

#include "base/threads.h"
#include "calibrate/ranges.h"
#include "export/calibration.h"
#include "graph/graph.h"
#include "quant/recipe.h"

/* *measures: the recipe has static activations, and no file says their ranges; *observer: which ones those will be.
 * `ranged`: values of the backend have ranges of their own. DLX_E_INVALID for options about ranges that nothing would
 * use, or a word that names no observer. */
dlx_status dlx_export_measures(bool *measures, dlx_observer *observer, const dlx_export_options *options,
                               const dlx_recipe *recipe, bool ranged, dlx_error *err);

/*
 * Grids for n graphs of the same layers, after dlx_quantize (and with weights solved, where they are). Nothing happens
 * where the first needs none. *text: the ranges as they go into the program, malloc'd; NULL without any. `c` has begun
 * where ranges are measured; *measured holds them where they were with the weights, and is emptied. An interruption
 * (DLX_E_CANCELLED) leaves a folder from which the same call goes on.
 */
dlx_status dlx_export_activations(char **text, dlx_export_work *work, dlx_graph *graphs, size_t n,
                                  const dlx_checkpoint *checkpoint, const dlx_export_options *options,
                                  dlx_observer observer, dlx_calibration *c, dlx_ranges *measured, dlx_pool *pool,
                                  dlx_error *err);

/* Whether all static layers of the graph, after dlx_quantize, have ranges to be measured: else DLX_E_UNSUPPORTED, as
 * dlx_export_activations would say in the end. */
dlx_status dlx_export_activations_check(const dlx_graph *graph, dlx_error *err);

/* Of ranges from a file that does not say which checkpoint they are of, a notice. */
void dlx_export_notice_origin(const dlx_ranges *ranges, const dlx_export_options *options);

#endif
