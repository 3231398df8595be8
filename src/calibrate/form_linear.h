/*
 * One linear layer in a form, ready to be run on rows: the arithmetic that an exported file has, on weights and on
 * activations, by the same passes and the same kernels.
 */
#ifndef DLX_CALIBRATE_FORM_LINEAR_H
#define DLX_CALIBRATE_FORM_LINEAR_H

#include "calibrate/layerwise.h"
#include "calibrate/observe.h"
#include "quant/forms.h"
#include "runtime/program.h"
#include "solve/grid.h"

typedef struct dlx_form_linear_source {
    const dlx_weight_form *form;
    bool clip;                /* scales that miss the weights least */
    const dlx_value *weight;  /* [n, k] as the checkpoint has it */
    const float *bias;        /* [n]; NULL: none */
    const dlx_gridded *codes; /* what its weights became; NULL: they are rounded */
    dlx_bounds in, out;       /* ranges of static activations */
} dlx_form_linear_source;

typedef struct dlx_form_linear {
    dlx_program program;
    dlx_executor *ex;
    size_t k;
} dlx_form_linear;

/* For at most `rows` rows at a time. DLX_E_UNSUPPORTED: the form does not fit this weight. What the source points to is
 * not needed afterwards. Takes the packed weights, and their codes and one copy of them meanwhile. Must stay where it
 * is. */
dlx_status dlx_form_linear_open(dlx_form_linear *out, const dlx_form_linear_source *from, size_t rows,
                                const dlx_layerwise_options *run, dlx_error *err);
void dlx_form_linear_close(dlx_form_linear *l); /* fine on zeros */
/* x [rows, k] -> *y [rows, n], until the next run. */
dlx_status dlx_form_linear_run(dlx_form_linear *l, const float *x, size_t rows, const float **y, dlx_error *err);

#endif
