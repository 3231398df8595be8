#include "calibrate/form_errors.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "calibrate/form_linear.h"
#include "calibrate/layer_solve.h"
#include "quant/quant.h"

enum { ROWS = 64 }; /* that go through a form at a time */

/* A linear in a form. */
typedef struct candidate {
    bool fits;
    dlx_form_linear *linear; /* NULL: floats, which lose nothing */
    double error;
} candidate;

typedef struct meter {
    const dlx_form_errors_options *o;
    const dlx_checkpoint *c;
    const dlx_layerwise_options *run;
    uint64_t rows;
    dlx_layerwise *w;
    int32_t layer;
    dlx_kernels kernels;
    dlx_solve_on on;
    dlx_layer_solver solver;
    const dlx_weight_form *solved; /* the form that the solver works for */
    candidate candidate[DLX_LAYER_LINEARS][DLX_MOST_FORMS];
    dlx_layer_scales scales[DLX_MOST_FORMS]; /* of inputs, for all forms that store what this one does */
    dlx_histogram *range;                    /* [2 * DLX_LAYER_LINEARS] inputs and outputs; NULL: no static form */
    dlx_histogram *scratch;
    double energy[DLX_LAYER_LINEARS];
    float *scaled;    /* [ROWS, widest input] */
    double sum[ROWS]; /* of each row */
    dlx_error *err;
} meter;

static dlx_status no_memory(const meter *m)
{
    return dlx_fail(m->err, DLX_E_NOMEM, "out of memory measuring '%s'", m->c->folder);
}

/* ---- forms ------------------------------------------------------------------------------------------------------ */

static bool is_integer(const dlx_weight_form *f)
{
    return f->stored == DLX_I8 || f->stored == DLX_I4;
}

static dlx_grid grid_of(const dlx_weight_form *f)
{
    return (dlx_grid){.bits = f->stored == DLX_I4 ? 4 : 8, .group = f->group};
}

static bool grid_fits(const dlx_weight_form *f, size_t k)
{
    return dlx_grid_check(grid_of(f), k, "", NULL) == DLX_OK;
}

static uint64_t bytes_of(const dlx_weight_form *f, size_t n, size_t k)
{
    if (!is_integer(f)) return (uint64_t)n * k * dlx_dtype_size(f->stored);
    dlx_grid g = grid_of(f);
    size_t scale = g.group ? sizeof(uint16_t) : sizeof(float);
    return (uint64_t)n * (dlx_grid_row_bytes(g, k) + dlx_grid_row_scales(g, k) * scale);
}

/* The first form of the table that stores the same. */
static size_t first_alike(size_t form)
{
    size_t i = 0;
    while (!dlx_forms_store_alike(dlx_form_at(i), dlx_form_at(form))) i++;
    return i;
}

/* Whether the rounding has this form: ranges of activations and scaled inputs exclude each other. */
static bool is_measured(const meter *m, const dlx_weight_form *f)
{
    return f->activations != DLX_QS8 || !m->o->scale_inputs;
}

/* ---- what has to be known before -------------------------------------------------------------------------------- */

static dlx_status count_rows(void *ctx, const dlx_linear_rows *l, dlx_error *err)
{
    meter *m = ctx;
    int i = dlx_linear_input(l->linear);
    dlx_histogram_add(&m->range[2 * l->linear + 1], l->y, l->rows * l->n_out, m->run->pool, m->scratch);
    if (!dlx_linear_first(l->linear)) return DLX_OK;
    dlx_histogram_add(&m->range[2 * l->linear], l->x, l->rows * l->n_in, m->run->pool, m->scratch);
    return m->o->solve ? dlx_hessian_add(&m->solver.hessian[i], l->x, l->n_in, l->rows, err) : DLX_OK;
}

/* Ranges, and the factors that all forms share. */
static dlx_status collect(meter *m)
{
    const dlx_factor_options o = {.damping = m->o->damping};
    dlx_hessian *h = m->solver.hessian;
    for (int i = 0; i < 2 * DLX_LAYER_LINEARS; i++) dlx_histogram_clear(&m->range[i]);
    for (int i = 0; m->o->solve && i < DLX_LINEAR_INPUTS; i++) {
        const dlx_value *v = dlx_layerwise_weight(m->w, dlx_linear_inputs[i].first);
        DLX_TRY(dlx_hessian_begin(&h[i], (size_t)v->dim[1], &m->on, v->name, m->err));
    }
    DLX_TRY(dlx_layerwise_run(m->w, 0, count_rows, m, m->err));
    for (int i = 0; m->o->solve && i < DLX_LINEAR_INPUTS; i++) {
        const char *name = dlx_layerwise_weight(m->w, dlx_linear_inputs[i].first)->name;
        DLX_TRY(dlx_hessian_finish(&h[i], m->err));
        DLX_TRY(dlx_factor_make(&m->solver.factor[i], &h[i], &o, &m->on, name, m->err));
    }
    return DLX_OK;
}

/* ---- the linears in their forms --------------------------------------------------------------------------------- */

static const float *bias_of(const meter *m, int linear)
{
    static const char *const names[DLX_LAYER_LINEARS] = {"q.bias", "k.bias", "v.bias"};
    size_t n;
    return names[linear] ? dlx_layerwise_small(m->w, names[linear], &n) : NULL;
}

/* A form that does not fit is none of the linear's. */
static dlx_status add(meter *m, int linear, size_t form, const dlx_gridded *codes)
{
    candidate *to = &m->candidate[linear][form];
    const dlx_weight_form *f = dlx_form_at(form);
    dlx_form_linear_source from = {.form = f,
                                   .clip = m->o->clip,
                                   .weight = dlx_layerwise_weight(m->w, linear),
                                   .bias = bias_of(m, linear),
                                   .codes = codes};
    if (f->activations == DLX_QS8) {
        int input = dlx_linear_inputs[dlx_linear_input(linear)].first;
        from.in = dlx_observed(&m->range[2 * input], DLX_OBSERVE_MSE);
        from.out = dlx_observed(&m->range[2 * linear + 1], DLX_OBSERVE_MSE);
    }
    *to = (candidate){.fits = true};
    if (f->stored == DLX_F32) return DLX_OK;
    to->linear = calloc(1, sizeof *to->linear);
    if (!to->linear) return no_memory(m);
    dlx_error why = {0};
    dlx_status s = dlx_form_linear_open(to->linear, &from, ROWS, m->run, &why);
    if (s == DLX_OK) return DLX_OK;
    free(to->linear);
    *to = (candidate){.fits = false};
    if (s != DLX_E_UNSUPPORTED && m->err) *m->err = why;
    return s == DLX_E_UNSUPPORTED ? DLX_OK : s;
}

static bool grid_of_weight(void *ctx, const char *name, size_t n, size_t k, dlx_grid *out)
{
    const meter *m = ctx;
    (void)name;
    (void)n;
    *out = grid_of(m->solved);
    return grid_fits(m->solved, k);
}

/* The form with that number, and all behind it that store the same, of codes that are found once. */
static dlx_status add_solved(meter *m, size_t form)
{
    const dlx_weights_options o = {.grid = grid_of_weight,
                                   .grid_ctx = m,
                                   .scale_inputs = m->o->scale_inputs,
                                   .round_only = !m->o->solve,
                                   .factor = {.damping = m->o->damping},
                                   .clip = DLX_CLIP_MSE,
                                   .keep_factors = !m->o->scale_inputs};
    const dlx_weight_form *f;
    dlx_layer_solver *s = &m->solver;
    m->solved = dlx_form_at(form);
    if (m->o->scale_inputs) DLX_TRY(dlx_layerwise_load(m->w, m->layer, m->err));
    DLX_TRY(dlx_layer_solve(s, &o, m->w, m->c, m->rows, &m->on, m->err));
    for (size_t i = form; (f = dlx_form_at(i)) != NULL; i++)
        for (int l = 0; l < DLX_LAYER_LINEARS && first_alike(i) == form && is_measured(m, f); l++)
            if (s->grids.becomes[l]) DLX_TRY(add(m, l, i, &s->codes[l]));
    m->scales[form] = s->scales;
    s->scales = (dlx_layer_scales){.rows_of_v = NULL};
    dlx_layer_solver_clear(s);
    return DLX_OK;
}

static dlx_status add_all(meter *m)
{
    const dlx_weight_form *f;
    bool finds = m->o->scale_inputs || m->o->solve;
    for (size_t i = 0; i < DLX_MOST_FORMS && (f = dlx_form_at(i)) != NULL; i++) {
        bool solved = finds && is_integer(f);
        if (solved && first_alike(i) == i) DLX_TRY(add_solved(m, i));
        for (int l = 0; l < DLX_LAYER_LINEARS && !solved && is_measured(m, f); l++) DLX_TRY(add(m, l, i, NULL));
    }
    return DLX_OK;
}

/* ---- measuring -------------------------------------------------------------------------------------------------- */

typedef struct comparison {
    meter *m;
    const float *y, *of; /* [rows, n]; of the form, NULL: energies */
    const float *rows;   /* [n] what outputs of the form are divided by; NULL: ones */
    const float *bias;   /* [n] NULL: none */
    size_t n;
} comparison;

/* One sum for each row, so that nothing depends on threads. */
static void compare(void *arg, size_t begin, size_t end, size_t thread)
{
    const comparison *c = arg;
    (void)thread;
    for (size_t r = begin; r < end; r++) {
        const float *y = c->y + r * c->n, *of = c->of ? c->of + r * c->n : NULL;
        double sum = 0;
        for (size_t i = 0; i < c->n; i++) {
            double other = !of ? (c->bias ? (double)c->bias[i] : 0.0) : (double)of[i];
            if (of && c->rows) other *= (double)c->rows[i];
            sum += ((double)y[i] - other) * ((double)y[i] - other);
        }
        c->m->sum[r] = sum;
    }
}

static double sum_of(comparison *c, size_t rows)
{
    double sum = 0;
    dlx_pool_for(c->m->run->pool, rows, 4, compare, c);
    for (size_t r = 0; r < rows; r++) sum += c->m->sum[r];
    return sum;
}

static const float *rows_of(const dlx_layer_scales *s, int linear)
{
    if (linear == DLX_LAYER_V) return s->rows_of_v;
    return linear == DLX_LAYER_UP ? s->s[dlx_linear_input(DLX_LAYER_DOWN)] : NULL;
}

/* What goes into a form: the rows, divided by the scales of inputs where it has them. */
static const float *inputs_of(meter *m, const dlx_layer_scales *s, int linear, const float *x, size_t rows, size_t k)
{
    const float *by = s->s[dlx_linear_input(linear)];
    for (size_t r = 0; by && r < rows; r++)
        for (size_t i = 0; i < k; i++) m->scaled[r * k + i] = x[r * k + i] / by[i];
    return by ? m->scaled : x;
}

static dlx_status measure_piece(meter *m, const dlx_linear_rows *l, size_t first, size_t rows, dlx_error *err)
{
    const float *x = l->x + first * l->n_in;
    comparison c = {.m = m, .y = l->y + first * l->n_out, .bias = bias_of(m, l->linear), .n = l->n_out};
    m->energy[l->linear] += sum_of(&c, rows);
    for (size_t i = 0; i < DLX_MOST_FORMS; i++) {
        candidate *to = &m->candidate[l->linear][i];
        if (!to->linear) continue;
        const dlx_layer_scales *s = &m->scales[first_alike(i)];
        c.rows = rows_of(s, l->linear);
        DLX_TRY(dlx_form_linear_run(to->linear, inputs_of(m, s, l->linear, x, rows, l->n_in), rows, &c.of, err));
        to->error += sum_of(&c, rows);
    }
    return DLX_OK;
}

static dlx_status measure_rows(void *ctx, const dlx_linear_rows *l, dlx_error *err)
{
    for (size_t first = 0, n; first < l->rows; first += n) {
        n = l->rows - first < ROWS ? l->rows - first : ROWS;
        DLX_TRY(measure_piece(ctx, l, first, n, err));
    }
    return DLX_OK;
}

/* ---- one layer -------------------------------------------------------------------------------------------------- */

static dlx_status tell(meter *m, int linear)
{
    const dlx_value *v = dlx_layerwise_weight(m->w, linear);
    dlx_weight_errors e = {.name = v->name,
                           .tensor = v->source.tensor,
                           .n = (size_t)v->dim[0],
                           .k = (size_t)v->dim[1],
                           .energy = m->energy[linear]};
    for (size_t i = 0; i < DLX_MOST_FORMS; i++) {
        const candidate *c = &m->candidate[linear][i];
        const dlx_weight_form *f = dlx_form_at(i);
        if (c->fits) e.form[e.forms++] = (dlx_form_error){.form = f, .bytes = bytes_of(f, e.n, e.k), .error = c->error};
    }
    return m->o->weight(m->o->ctx, &e, m->err);
}

static dlx_status measure_layer(meter *m)
{
    bool finds = m->o->scale_inputs || m->o->solve;
    DLX_TRY(dlx_layerwise_load(m->w, m->layer, m->err));
    if (!m->o->scale_inputs) DLX_TRY(collect(m));
    DLX_TRY(add_all(m));
    if (finds) DLX_TRY(dlx_layerwise_load(m->w, m->layer, m->err)); /* it holds what was found */
    DLX_TRY(dlx_layerwise_run(m->w, DLX_LAYERWISE_ADVANCE, measure_rows, m, m->err));
    for (int i = 0; i < DLX_LAYER_LINEARS; i++) DLX_TRY(tell(m, i));
    return DLX_OK;
}

static void leave_layer(meter *m)
{
    for (int l = 0; l < DLX_LAYER_LINEARS; l++)
        for (size_t i = 0; i < DLX_MOST_FORMS; i++) {
            candidate *c = &m->candidate[l][i];
            if (c->linear) dlx_form_linear_close(c->linear);
            free(c->linear);
            *c = (candidate){.fits = false};
        }
    for (size_t i = 0; i < DLX_MOST_FORMS; i++) dlx_layer_scales_free(&m->scales[i]);
    dlx_layer_solver_free(&m->solver);
    memset(m->energy, 0, sizeof m->energy);
}

/* ---- all of them ------------------------------------------------------------------------------------------------ */

static size_t widest(const dlx_checkpoint *c)
{
    size_t attention = (size_t)c->shape.heads * (size_t)c->shape.head_dim, most = (size_t)c->shape.hidden;
    if (attention > most) most = attention;
    return most > (size_t)c->shape.intermediate ? most : (size_t)c->shape.intermediate;
}

uint64_t dlx_form_errors_runs(const dlx_checkpoint *c, const dlx_form_errors_options *o)
{
    const size_t inputs[] = {(size_t)c->shape.hidden, (size_t)c->shape.heads * (size_t)c->shape.head_dim,
                             (size_t)c->shape.intermediate};
    const dlx_weight_form *f;
    uint64_t runs = 1;
    if (!o->scale_inputs) return runs + 1;
    for (size_t i = 0; (f = dlx_form_at(i)) != NULL; i++) {
        bool fits = false;
        for (size_t k = 0; k < sizeof inputs / sizeof *inputs; k++) fits = fits || grid_fits(f, inputs[k]);
        if (is_integer(f) && first_alike(i) == i && fits) runs += 1 + (uint64_t)o->solve;
    }
    return runs;
}

dlx_status dlx_form_errors_least(uint64_t *bytes, size_t *n, const dlx_checkpoint *c,
                                 const bool allowed[DLX_MOST_FORMS], dlx_error *err)
{
    static const char *const names[DLX_LAYER_LINEARS] = {"q", "k", "v", "o", "gate", "up", "down"};
    const size_t hidden = (size_t)c->shape.hidden, wide = (size_t)c->shape.intermediate;
    const size_t rows = (size_t)c->shape.heads * (size_t)c->shape.head_dim;
    const size_t kv = (size_t)c->shape.kv_heads * (size_t)c->shape.head_dim;
    const size_t shape[DLX_LAYER_LINEARS][2] = {{rows, hidden}, {kv, hidden},   {kv, hidden},  {hidden, rows},
                                                {wide, hidden}, {wide, hidden}, {hidden, wide}};
    const dlx_weight_form *f;
    uint64_t layer = 0;
    for (int l = 0; l < DLX_LAYER_LINEARS; l++) {
        uint64_t least = UINT64_MAX;
        for (size_t i = 0; (f = dlx_form_at(i)) != NULL; i++) {
            if (!allowed[i] || (is_integer(f) && !grid_fits(f, shape[l][1]))) continue;
            uint64_t of = bytes_of(f, shape[l][0], shape[l][1]);
            least = of < least ? of : least;
        }
        if (least == UINT64_MAX)
            return dlx_fail(err, DLX_E_UNSUPPORTED,
                            "none of the forms that may be chosen fits 'layers.0.%s', which has %zu inputs; allow one "
                            "that does, as int8-dynamic",
                            names[l], shape[l][1]);
        layer += least;
    }
    *n = (size_t)c->shape.layers * DLX_LAYER_LINEARS;
    *bytes = layer * (uint64_t)c->shape.layers;
    return DLX_OK;
}

static dlx_status allocate(meter *m)
{
    size_t threads = (size_t)dlx_pool_threads(m->run->pool);
    m->scaled = dlx_mem_array(NULL, ROWS * widest(m->c), sizeof *m->scaled);
    m->range = calloc(2 * DLX_LAYER_LINEARS, sizeof *m->range);
    m->scratch = calloc(threads, sizeof *m->scratch);
    return m->scaled && m->range && m->scratch ? DLX_OK : no_memory(m);
}

static dlx_status measure(meter *m, dlx_work *work)
{
    size_t width = (size_t)m->c->shape.hidden;
    int32_t first = work ? work->done : 0;
    DLX_TRY(work ? dlx_work_start(work, m->w, m->rows, width, m->err) : dlx_layerwise_start(m->w, NULL, m->err));
    for (m->layer = first; m->layer < m->c->shape.layers; m->layer++) {
        dlx_status s = measure_layer(m);
        leave_layer(m);
        if (s != DLX_OK) return s;
        if (m->o->layer) DLX_TRY(m->o->layer(m->o->ctx, m->layer + 1, m->err));
        if (work) DLX_TRY(dlx_work_save(work, m->w, m->rows, width, m->layer + 1, m->err));
    }
    return DLX_OK;
}

dlx_status dlx_form_errors(dlx_work *work, const dlx_checkpoint *c, const dlx_samples *samples,
                           const dlx_form_errors_options *o, const dlx_layerwise_options *run, dlx_error *err)
{
    meter *m = calloc(1, sizeof *m);
    if (!m) return dlx_fail(err, DLX_E_NOMEM, "out of memory measuring '%s'", c->folder);
    m->o = o;
    m->c = c;
    m->run = run;
    m->rows = samples->rows;
    m->err = err;
    dlx_kernels_init(&m->kernels, run->limit);
    m->on = (dlx_solve_on){.kernels = &m->kernels, .pool = run->pool};
    dlx_status s = allocate(m);
    if (s == DLX_OK) s = dlx_layerwise_open(&m->w, c, samples, run, err);
    if (s == DLX_OK) s = measure(m, work);
    dlx_layerwise_close(m->w);
    dlx_mem_free(NULL, m->scaled, ROWS * widest(c), sizeof *m->scaled);
    free(m->range);
    free(m->scratch);
    free(m);
    return s;
}
