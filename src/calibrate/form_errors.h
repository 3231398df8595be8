/*
 * What each form costs each weight of a checkpoint's layers: the squared error of a linear's answers to calibration
 * data when its weights are rounded to that form, everything else being float32. (What quantised activations cost is
 * not in it.)
 */
#ifndef DLX_CALIBRATE_FORM_ERRORS_H
#define DLX_CALIBRATE_FORM_ERRORS_H

#include "calibrate/layerwise.h"
#include "quant/forms.h"

enum { DLX_MOST_FORMS = 16 };

typedef struct dlx_form_error {
    const dlx_weight_form *form;
    uint64_t bytes; /* of weights and scales, in a file */
    double error;   /* |X (w - q)|^2 */
} dlx_form_error;

typedef struct dlx_weight_errors {
    const char *name;   /* "layers.3.down.weight" */
    const char *tensor; /* what the checkpoint calls it */
    size_t n, k;
    double energy;                       /* |X w|^2 */
    dlx_form_error form[DLX_MOST_FORMS]; /* [forms] those that fit, in the order of the table; one for all that store
                                            the same bytes: the first */
    size_t forms;
} dlx_weight_errors;
typedef dlx_status (*dlx_weight_errors_fn)(void *ctx, const dlx_weight_errors *w, dlx_error *err);

/* Layer by layer, in the order of dlx_layer_linear. Memory beside that of dlx_layerwise: the four Hessians of a layer
 * (4 k * k bytes each), and twice the floats of one linear. */
dlx_status dlx_form_errors(const dlx_checkpoint *c, const dlx_samples *samples, const dlx_layerwise_options *run,
                           dlx_weight_errors_fn visit, void *ctx, dlx_error *err);

#endif
