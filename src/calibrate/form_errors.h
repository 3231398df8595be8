/*
 * What each form costs each weight of a checkpoint's layers: the squared error of a linear's answers to calibration
 * data when it is computed in that form, on quantised activations where the form has them, everything before it being
 * float32.
 *
 * Weights are rounded, or solved on those rows, as an export with that rounding does; scales of inputs are looked for
 * as if the whole layer took the form. Grids of static activations are those of the `mse` observer.
 */
#ifndef DLX_CALIBRATE_FORM_ERRORS_H
#define DLX_CALIBRATE_FORM_ERRORS_H

#include "calibrate/layerwise.h"
#include "calibrate/work.h"
#include "quant/forms.h"

typedef struct dlx_form_error {
    const dlx_weight_form *form;
    uint64_t bytes; /* of weights and scales, in a file */
    double error;   /* |y' - y|^2 over all rows, y' computed in this form */
} dlx_form_error;

typedef struct dlx_weight_errors {
    const char *name;   /* "layers.3.down.weight" */
    const char *tensor; /* what the checkpoint calls it */
    size_t n, k;
    double energy;                       /* |y - bias|^2 */
    dlx_form_error form[DLX_MOST_FORMS]; /* [forms] those that fit, in the order of the table */
    size_t forms;
} dlx_weight_errors;

typedef struct dlx_form_errors_options {
    /* The rounding: scales that clip; inputs that are scaled (then there is no static form); codes by GPTQ. */
    bool clip, scale_inputs, solve;
    float damping;
    /* Layer by layer, in the order of dlx_layer_linear; then `layer` (may be NULL), before the layer counts as done. */
    dlx_status (*weight)(void *ctx, const dlx_weight_errors *w, dlx_error *err);
    dlx_status (*layer)(void *ctx, int32_t done, dlx_error *err);
    void *ctx;
} dlx_form_errors_options;

/* Runs over the samples that a layer of the checkpoint takes, for whoever shows how far the work is. */
uint64_t dlx_form_errors_runs(const dlx_checkpoint *c, const dlx_form_errors_options *o);

/* The fewest bytes that all weights can have together, each in the smallest of the forms with allowed[place] that fit
 * its shape. *n: how many they are. DLX_E_UNSUPPORTED names a weight that none of them fits. */
dlx_status dlx_form_errors_least(uint64_t *bytes, size_t *n, const dlx_checkpoint *c,
                                 const bool allowed[DLX_MOST_FORMS], dlx_error *err);

/*
 * From layer work->done on (`work` NULL: from the first). Memory beside that of dlx_layerwise: the linears of a layer
 * in all forms, 9 to 10 bytes a weight, and what solving a layer takes.
 */
dlx_status dlx_form_errors(dlx_work *work, const dlx_checkpoint *c, const dlx_samples *samples,
                           const dlx_form_errors_options *o, const dlx_layerwise_options *run, dlx_error *err);

#endif
