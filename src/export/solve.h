/*
 * Weights that are found by calibration, in an export: what the graph wants of the layers' weights becomes the solvers'
 * task, the work folder's contents become sources of its constants.
 */
#ifndef DLX_EXPORT_SOLVE_H
#define DLX_EXPORT_SOLVE_H

#include <stdbool.h>

#include "calibrate/ranges.h"
#include "export/backend_use.h"
#include "export/calibration.h"
#include "export/choices.h"
#include "quant/recipe.h"

#define DLX_EXPORT_DAMPING 0.01f /* as in the published code of GPTQ */

/* The rounding that the options ask for; where they are silent, that of static activations where ranges are measured
 * for this export alone. DLX_E_INVALID for a word that is none, for calibration that nothing uses, and
 * for scaled inputs of weights whose ranges are of inputs as they are. `measures`: ranges of static activations are
 * measured on it; `use`: of the backend, which may have such ranges of all values. */
dlx_status dlx_export_rounding(const dlx_rounding **out, const dlx_export_options *options, const dlx_recipe *recipe,
                               bool measures, const dlx_backend_use *use, dlx_error *err);

/*
 * Solves the weights that the recipe made int8 or int4 in the layers of g, the graph after dlx_quantize, and has them
 * read from the work folder. A rounding for activations is for layers that are to have static ones; their ranges are
 * measured with what the weights became, into *ranges (else it stays as it is), by the rule `observer`. An interruption
 * (DLX_E_CANCELLED) leaves a folder from which the same call goes on.
 */
dlx_status dlx_export_solve(dlx_export_work *out, dlx_ranges *ranges, dlx_graph *g, const dlx_rounding *rounding,
                            dlx_observer observer, dlx_calibration *c, dlx_error *err);
/* Whether the rounding finds weights of g by calibration. Where it is to do better than the nearest code, but no weight
 * (of a layer, for what calibrates) becomes int8 or int4: DLX_E_INVALID, or with a recipe of a file, which may be a mix
 * that leaves them floats, a notice; nothing is said of the default. */
dlx_status dlx_export_solves(bool *solves, const dlx_graph *g, const dlx_rounding *rounding,
                             const dlx_export_options *options, dlx_error *err);

#endif
