#include "calibrate/form_errors.h"

#include <stdlib.h>

#include "base/memory.h"
#include "quant/quant.h"
#include "quant/rows.h"
#include "solve/factor.h"
#include "solve/grid.h"

static const float damping = 0.01f; /* the error is measured without it */

typedef struct meter {
    dlx_layerwise *w;
    dlx_kernels kernels;
    dlx_solve_on on;
    dlx_hessian hessian[DLX_LINEAR_INPUTS];
    dlx_factor factor[DLX_LINEAR_INPUTS];
    float *weights, *off; /* [n, k] of a linear, and what rounding takes from it */
    void *codes, *scales;
    size_t most; /* n * k of the largest linear of the layer */
    dlx_weight_errors_fn visit;
    void *ctx;
    dlx_error *err;
} meter;

static dlx_status add_rows(void *ctx, const dlx_linear_rows *l, dlx_error *err)
{
    meter *m = ctx;
    return dlx_linear_first(l->linear)
               ? dlx_hessian_add(&m->hessian[dlx_linear_input(l->linear)], l->x, l->n_in, l->rows, err)
               : DLX_OK;
}

/* ---- one weight ------------------------------------------------------------------------------------------------- */

static bool is_integer(const dlx_weight_form *f)
{
    return f->stored == DLX_I8 || f->stored == DLX_I4;
}

static dlx_grid grid_of(const dlx_weight_form *f)
{
    return (dlx_grid){.bits = f->stored == DLX_I4 ? 4 : 8, .group = f->group};
}

static bool fits(const meter *m, const dlx_weight_form *f, size_t n, size_t k)
{
    if (is_integer(f)) return dlx_grid_check(grid_of(f), k, "", NULL) == DLX_OK;
    return f->stored == DLX_F32 || dlx_rows_fit(dlx_rows_max(m->weights, n * k, DLX_F32), f->stored);
}

static uint64_t bytes_of(const dlx_weight_form *f, size_t n, size_t k)
{
    if (!is_integer(f)) return (uint64_t)n * k * dlx_dtype_size(f->stored);
    dlx_grid g = grid_of(f);
    size_t scale = g.group ? sizeof(uint16_t) : sizeof(float);
    return (uint64_t)n * (dlx_grid_row_bytes(g, k) + dlx_grid_row_scales(g, k) * scale);
}

/* m->off = what the weights become in the form, of less than 32 bits. */
static dlx_status restore(meter *m, const dlx_weight_form *f, const dlx_weight_errors *w)
{
    size_t all = w->n * w->k;
    if (is_integer(f)) {
        dlx_grid g = grid_of(f);
        dlx_gridded to = {.codes = m->codes};
        if (g.group)
            to.group_scale = m->scales;
        else
            to.scale = m->scales;
        DLX_TRY(dlx_grid_round(&to, m->weights, w->n, w->k, g, DLX_CLIP_NONE, NULL, &m->on, w->name, m->err));
        dlx_grid_restore(m->off, &to, w->n, w->k, g, &m->on);
        return DLX_OK;
    }
    dlx_rows_round(m->scales, f->stored, m->weights, all, DLX_F32);
    dlx_rows_widen(m->off, m->scales, all, f->stored);
    return DLX_OK;
}

static dlx_status measure_form(meter *m, const dlx_factor *factor, const dlx_weight_form *f, dlx_weight_errors *w)
{
    dlx_form_error *to = &w->form[w->forms++];
    size_t all = w->n * w->k;
    *to = (dlx_form_error){.form = f, .bytes = bytes_of(f, w->n, w->k)};
    if (f->stored == DLX_F32) return DLX_OK; /* nothing is lost */
    DLX_TRY(restore(m, f, w));
    for (size_t i = 0; i < all; i++) m->off[i] = m->weights[i] - m->off[i];
    return dlx_factor_energy(&to->error, factor, m->off, w->n, &m->on, w->name, m->err);
}

/* Whether an earlier form stores the same. */
static bool measured(const dlx_weight_errors *w, const dlx_weight_form *f)
{
    for (size_t i = 0; i < w->forms; i++)
        if (dlx_forms_store_alike(w->form[i].form, f)) return true;
    return false;
}

static dlx_status measure_weight(meter *m, int linear)
{
    const dlx_value *v = dlx_layerwise_weight(m->w, linear);
    const dlx_factor *factor = &m->factor[dlx_linear_input(linear)];
    dlx_weight_errors w = {.name = v->name, .tensor = v->source.tensor, .n = (size_t)v->dim[0], .k = (size_t)v->dim[1]};
    const dlx_weight_form *f;
    DLX_TRY(dlx_const_collect(v, m->on.pool, m->weights, m->err));
    DLX_TRY(dlx_factor_energy(&w.energy, factor, m->weights, w.n, &m->on, w.name, m->err));
    for (size_t i = 0; w.forms < DLX_MOST_FORMS && (f = dlx_form_at(i)) != NULL; i++)
        if (!measured(&w, f) && fits(m, f, w.n, w.k)) DLX_TRY(measure_form(m, factor, f, &w));
    return m->visit(m->ctx, &w, m->err);
}

/* ---- one layer -------------------------------------------------------------------------------------------------- */

static dlx_status make_room(meter *m)
{
    size_t most = 0;
    for (int i = 0; i < DLX_LAYER_LINEARS; i++) {
        const dlx_value *v = dlx_layerwise_weight(m->w, i);
        size_t all = (size_t)v->dim[0] * (size_t)v->dim[1];
        most = all > most ? all : most;
    }
    m->most = most;
    m->weights = dlx_mem_array(NULL, most, sizeof *m->weights);
    m->off = dlx_mem_array(NULL, most, sizeof *m->off);
    m->codes = dlx_mem_array(NULL, most, 1);
    m->scales = dlx_mem_array(NULL, most, sizeof(float)); /* rows may have one input; or the weights as halves */
    if (m->weights && m->off && m->codes && m->scales) return DLX_OK;
    return dlx_fail(m->err, DLX_E_NOMEM, "out of memory measuring a layer");
}

static void leave_layer(meter *m)
{
    for (int i = 0; i < DLX_LINEAR_INPUTS; i++) {
        dlx_hessian_free(&m->hessian[i]);
        dlx_factor_free(&m->factor[i]);
        m->factor[i] = (dlx_factor){.k = 0};
    }
    dlx_mem_free(NULL, m->weights, m->most, sizeof *m->weights);
    dlx_mem_free(NULL, m->off, m->most, sizeof *m->off);
    dlx_mem_free(NULL, m->codes, m->most, 1);
    dlx_mem_free(NULL, m->scales, m->most, sizeof(float));
    m->weights = m->off = m->scales = m->codes = NULL;
}

static dlx_status measure_layer(meter *m, int32_t layer)
{
    const dlx_factor_options o = {.damping = damping};
    DLX_TRY(dlx_layerwise_load(m->w, layer, m->err));
    DLX_TRY(make_room(m));
    for (int i = 0; i < DLX_LAYER_LINEARS; i++) {
        const dlx_value *v = dlx_layerwise_weight(m->w, i);
        if (dlx_linear_first(i))
            DLX_TRY(dlx_hessian_begin(&m->hessian[dlx_linear_input(i)], (size_t)v->dim[1], &m->on, v->name, m->err));
    }
    DLX_TRY(dlx_layerwise_run(m->w, DLX_LAYERWISE_ADVANCE, add_rows, m, m->err));
    for (int i = 0; i < DLX_LAYER_LINEARS; i++) {
        const dlx_value *v = dlx_layerwise_weight(m->w, i);
        if (dlx_linear_first(i)) {
            DLX_TRY(dlx_hessian_finish(&m->hessian[dlx_linear_input(i)], m->err));
            DLX_TRY(dlx_factor_make(&m->factor[dlx_linear_input(i)], &m->hessian[dlx_linear_input(i)], &o, &m->on,
                                    v->name, m->err));
        }
        DLX_TRY(measure_weight(m, i));
    }
    return DLX_OK;
}

dlx_status dlx_form_errors(const dlx_checkpoint *c, const dlx_samples *samples, const dlx_layerwise_options *run,
                           dlx_weight_errors_fn visit, void *ctx, dlx_error *err)
{
    meter *m = calloc(1, sizeof *m);
    if (!m) return dlx_fail(err, DLX_E_NOMEM, "out of memory measuring '%s'", c->folder);
    m->visit = visit;
    m->ctx = ctx;
    m->err = err;
    dlx_kernels_init(&m->kernels, run->limit);
    m->on = (dlx_solve_on){.kernels = &m->kernels, .pool = run->pool};
    dlx_status s = dlx_layerwise_open(&m->w, c, samples, run, err);
    if (s == DLX_OK) s = dlx_layerwise_start(m->w, NULL, err);
    for (int32_t i = 0; s == DLX_OK && i < c->shape.layers; i++) {
        s = measure_layer(m, i);
        leave_layer(m);
    }
    dlx_layerwise_close(m->w);
    free(m);
    return s;
}
