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
#include "export/solve.h"
#include "graph/graph.h"
#include "quant/recipe.h"
#include "text/tokenizer.h"

/* *measures: the recipe has static activations, and no file says their ranges. DLX_E_INVALID for options about ranges
 * that nothing would use, or a word that names no observer. */
dlx_status dlx_export_measures(bool *measures, const dlx_export_options *options, const dlx_recipe *recipe,
                               dlx_error *err);

/*
 * Grids for n graphs of the same layers, after dlx_quantize (and with weights solved, where they are). Nothing happens
 * where the first needs none. *text: the ranges as they go into the program, malloc'd; NULL without any. `tokenizer`
 * may be NULL. An interruption (DLX_E_CANCELLED) leaves a folder from which the same call goes on.
 */
dlx_status dlx_export_activations(char **text, dlx_export_work *work, dlx_graph *graphs, size_t n,
                                  const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                                  const dlx_export_options *options, dlx_pool *pool, dlx_error *err);

#endif
