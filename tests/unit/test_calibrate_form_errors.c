/* What forms cost weights: the answers of a layer in its form against those in float32, multiplied out. */
#include "fail_fixture.h"

#include <math.h>

#include "calibrate/form_errors.h"
#include "calibrate/observe.h"
#include "calibrate/scales.h"
#include "quant/quant.h"
#include "solve/gptq.h"

enum { SEQUENCES = 3, LENGTH = DLX_SLOW ? 24 : 40, ROWS = SEQUENCES * LENGTH };

typedef struct fixture {
    dlx_checkpoint c;
    dlx_pool *pool;
    dlx_samples samples;
    dlx_sample list[SEQUENCES];
    int32_t ids[SEQUENCES][LENGTH];
    dlx_layerwise_options run;
    int seen;
    const char *linear; /* whose rows and weights are taken */
    int number;         /* dlx_layer_linear */
    float *x, *y, *w;
    dlx_layer_scales scales; /* of its layer's inputs, with `scale_inputs` */
    int columns, divided;    /* forms with scales of its inputs, and of those of `down` */
    const dlx_form_errors_options *o;
    size_t rows, n, k;
    dlx_weight_errors errors; /* of it */
} fixture;

static void open_fixture(fixture *f, const char *family)
{
    char folder[1024];
    memset(f, 0, sizeof *f);
    checkpoint_of(folder, family);
    CHECK(dlx_checkpoint_open(&f->c, folder, NULL, err));
    CHECK(dlx_pool_create(&f->pool, 2, err));
    f->run = dlx_layerwise_on(f->pool);
    f->samples = (dlx_samples){.list = f->list,
                               .n = SEQUENCES,
                               .attn_block = f->c.facts.attn_block,
                               .mask_id = f->c.facts.mask_id,
                               .rows = ROWS,
                               .longest = LENGTH};
    for (int i = 0; i < SEQUENCES; i++) {
        f->list[i] = (dlx_sample){.ids = f->ids[i], .n = LENGTH, .answer = LENGTH / 2};
        for (int p = 0; p < LENGTH; p++)
            f->ids[i][p] = p > LENGTH / 2 && p % 3 ? f->c.facts.mask_id : (p * 389 + 17 + i * 101) % 1000;
    }
}

static void close_fixture(fixture *f)
{
    free(f->x);
    free(f->y);
    free(f->w);
    dlx_layer_scales_free(&f->scales);
    dlx_pool_free(f->pool);
    dlx_checkpoint_close(&f->c);
}

static dlx_status take_rows(void *ctx, const dlx_linear_rows *l, dlx_error *err)
{
    fixture *f = ctx;
    (void)err;
    if (strcmp(l->name, f->linear) != 0) return DLX_OK;
    if (!f->x) f->x = calloc(ROWS * l->n_in, sizeof *f->x);
    if (!f->y) f->y = calloc(ROWS * l->n_out, sizeof *f->y);
    assert_true(f->x && f->y);
    memcpy(f->x + f->rows * l->n_in, l->x, l->rows * l->n_in * sizeof *l->x);
    memcpy(f->y + f->rows * l->n_out, l->y, l->rows * l->n_out * sizeof *l->y);
    f->rows += l->rows;
    return DLX_OK;
}

/* What goes into f->linear, and its weights. */
static void take_linear(fixture *f)
{
    dlx_layerwise *w;
    CHECK(dlx_layerwise_open(&w, &f->c, &f->samples, &f->run, err));
    CHECK(dlx_layerwise_start(w, NULL, err));
    for (int32_t i = 0; i < f->c.shape.layers; i++) {
        CHECK(dlx_layerwise_load(w, i, err));
        for (int k = 0; k < DLX_LAYER_LINEARS; k++) {
            const dlx_value *v = dlx_layerwise_weight(w, k);
            if (strcmp(v->name, f->linear) != 0) continue;
            f->number = k;
            f->n = (size_t)v->dim[0];
            f->k = (size_t)v->dim[1];
            f->w = calloc(f->n * f->k, sizeof *f->w);
            assert_non_null(f->w);
            CHECK(dlx_const_collect(v, f->pool, f->w, err));
        }
        CHECK(dlx_layerwise_run(w, DLX_LAYERWISE_ADVANCE, take_rows, f, err));
    }
    assert_int_equal(f->rows, ROWS);
    dlx_layerwise_close(w);
}

static dlx_status take_errors(void *ctx, const dlx_weight_errors *e, dlx_error *err)
{
    fixture *f = ctx;
    (void)err;
    f->seen++;
    if (!strcmp(e->name, f->linear)) f->errors = *e;
    return DLX_OK;
}

static double answers(const fixture *f, const float *w)
{
    double sum = 0;
    for (size_t r = 0; r < f->rows; r++)
        for (size_t n = 0; n < f->n; n++) {
            double y = 0;
            for (size_t k = 0; k < f->k; k++) y += (double)f->x[r * f->k + k] * (double)w[n * f->k + k];
            sum += y * y;
        }
    return sum;
}

/* ---- answers, as they are written down -------------------------------------------------------------------------- */

/* Weights on a grid, as an export with this rounding has them; w may be scaled. */
static void on_grid(const fixture *f, const dlx_weight_form *form, const float *x, const float *w, float *out)
{
    dlx_grid g = {.bits = form->stored == DLX_I4 ? 4 : 8, .group = form->group};
    size_t all = f->n * f->k;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    const dlx_solve_on on = {.kernels = &kernels, .pool = f->pool};
    void *codes = calloc(all, 1), *scales = calloc(all, sizeof(float));
    assert_true(codes && scales);
    dlx_gridded to = {.codes = codes, .scale = g.group ? NULL : scales, .group_scale = g.group ? scales : NULL};
    if (f->o->solve) {
        const dlx_factor_options damped = {.damping = f->o->damping};
        const dlx_gptq_options o = {.grid = g, .clip = DLX_CLIP_MSE};
        dlx_hessian h;
        dlx_factor factor;
        CHECK(dlx_hessian_begin(&h, f->k, &on, f->linear, err));
        CHECK(dlx_hessian_add(&h, x, f->k, f->rows, err));
        CHECK(dlx_hessian_finish(&h, err));
        CHECK(dlx_factor_make(&factor, &h, &damped, &on, f->linear, err));
        CHECK(dlx_gptq(&to, NULL, &factor, w, f->n, &o, &on, f->linear, err));
        dlx_factor_free(&factor);
    } else {
        CHECK(dlx_grid_round(&to, w, f->n, f->k, g, f->o->clip ? DLX_CLIP_MSE : DLX_CLIP_NONE,
                             f->scales.importance[dlx_linear_input(f->number)], &on, f->linear, err));
    }
    dlx_grid_restore(out, &to, f->n, f->k, g, &on);
    free(codes);
    free(scales);
}

static double within(double q)
{
    return q < -128 ? -128 : q > 127 ? 127 : q;
}

/* The row as it is multiplied: on a grid of its own. */
static void on_own_grid(float *out, const float *x, size_t k)
{
    float low = 0, high = 0;
    for (size_t i = 0; i < k; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    float scale = low == high ? 1.0f : (high - low) / 255.0f, at_low = low / scale, at_high = high / scale;
    double zero = (-128.0f + at_low) + (127.0f + at_high) > 0 ? -128.0f - at_low : 127.0f - at_high;
    zero = rint(within(zero));
    for (size_t i = 0; i < k; i++) out[i] = (float)(within(rint((double)x[i] / (double)scale) + zero) - zero) * scale;
}

static void on_fixed_grid(float *out, const float *x, size_t n, dlx_grid8 g)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(within(rint((double)x[i] / (double)g.scale) + g.zero) - g.zero) * g.scale;
}

static dlx_grid8 observed_grid(const fixture *f, const float *x, size_t n)
{
    dlx_histogram *h = calloc(3, sizeof *h);
    assert_non_null(h);
    dlx_histogram_clear(h);
    dlx_histogram_add(h, x, n, f->pool, h + 1);
    dlx_bounds b = dlx_observed(h, DLX_OBSERVE_MSE);
    free(h);
    return dlx_grid8_over(b.low, b.high);
}

static float product(const float *x, const float *w, size_t k)
{
    double y = 0;
    for (size_t i = 0; i < k; i++) y += (double)x[i] * (double)w[i];
    return (float)y;
}

/* The error of a form; x and w [n, k] are what it reads and rounds, `rows` what its outputs were divided by. */
static double error_of(const fixture *f, const dlx_weight_form *form, const float *x, const float *w, const float *rows)
{
    bool is_static = form->activations == DLX_QS8;
    float *q = calloc(f->n * f->k, sizeof *q), *in = calloc(f->k, sizeof *in), *y = calloc(f->n, sizeof *y),
          *bias = calloc(f->n, sizeof *bias);
    dlx_grid8 of_x = observed_grid(f, x, f->rows * f->k), of_y = observed_grid(f, f->y, f->rows * f->n);
    double sum = 0;
    assert_true(q && in && y && bias);
    on_grid(f, form, x, w, q);
    for (size_t n = 0; n < f->n; n++) bias[n] = f->y[n] - product(f->x, f->w + n * f->k, f->k);
    for (size_t r = 0; r < f->rows; r++) {
        memcpy(in, x + r * f->k, f->k * sizeof *in);
        if (form->activations == DLX_QD8) on_own_grid(in, x + r * f->k, f->k);
        if (is_static) on_fixed_grid(in, x + r * f->k, f->k, of_x);
        for (size_t n = 0; n < f->n; n++) y[n] = product(in, q + n * f->k, f->k) * (rows ? rows[n] : 1.0f) + bias[n];
        if (is_static) on_fixed_grid(y, y, f->n, of_y);
        for (size_t n = 0; n < f->n; n++) {
            double off = (double)y[n] - (double)f->y[r * f->n + n];
            sum += off * off;
        }
    }
    free(q);
    free(in);
    free(y);
    free(bias);
    return sum;
}

/* With scales of inputs as a search over the whole layer in this form finds them. */
static double error_scaled(fixture *f, const dlx_weight_form *form, int32_t layer)
{
    dlx_layer_grids grids = {.activations = false};
    dlx_layerwise *w;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    const dlx_solve_on on = {.kernels = &kernels, .pool = f->pool};
    for (int i = 0; i < DLX_LAYER_LINEARS; i++) {
        grids.grid[i] = (dlx_grid){.bits = form->stored == DLX_I4 ? 4 : 8, .group = form->group};
        grids.becomes[i] = true;
    }
    CHECK(dlx_layerwise_open(&w, &f->c, &f->samples, &f->run, err));
    CHECK(dlx_layerwise_start(w, NULL, err));
    for (int32_t i = 0; i < layer; i++) {
        CHECK(dlx_layerwise_load(w, i, err));
        CHECK(dlx_layerwise_run(w, DLX_LAYERWISE_ADVANCE, NULL, NULL, err));
    }
    CHECK(dlx_layerwise_load(w, layer, err));
    dlx_layer_scales_free(&f->scales);
    CHECK(dlx_layer_scales_find(&f->scales, w, &f->c, ROWS, &grids, DLX_CLIP_MSE, &on, err));
    dlx_layerwise_close(w);
    const float *by = f->scales.s[dlx_linear_input(f->number)];
    float *x = calloc(f->rows * f->k, sizeof *x), *scaled = calloc(f->n * f->k, sizeof *scaled);
    assert_true(x && scaled && f->number == DLX_LAYER_UP);
    f->columns += by != NULL;
    f->divided += f->scales.s[3] != NULL;
    for (size_t i = 0; i < f->rows * f->k; i++) x[i] = by ? f->x[i] / by[i % f->k] : f->x[i];
    memcpy(scaled, f->w, f->n * f->k * sizeof *scaled);
    dlx_layer_scales_fold(&f->scales, f->number, scaled, f->n, f->k, &on);
    double sum = error_of(f, form, x, scaled, f->scales.s[3]);
    free(x);
    free(scaled);
    return sum;
}

static const dlx_form_error *find(const fixture *f, const char *form)
{
    for (size_t i = 0; i < f->errors.forms; i++)
        if (!strcmp(f->errors.form[i].form->name, form)) return &f->errors.form[i];
    return NULL;
}

static const dlx_form_errors_options nearest = {.weight = take_errors}, clipped = {.clip = true, .weight = take_errors},
                                     solved = {.clip = true, .solve = true, .damping = 0.01f, .weight = take_errors},
                                     scaled = {.clip = true, .scale_inputs = true, .weight = take_errors};

static void measure(fixture *f, const char *family, const char *linear, const dlx_form_errors_options *rounding)
{
    dlx_form_errors_options o = *rounding;
    open_fixture(f, family);
    f->linear = linear;
    f->o = rounding;
    o.ctx = f;
    take_linear(f);
    CHECK(dlx_form_errors(NULL, &f->c, &f->samples, &o, &f->run, err));
    assert_int_equal(f->seen, f->c.shape.layers * DLX_LAYER_LINEARS);
    assert_true(f->errors.n == f->n && f->errors.k == f->k);
    assert_true(fabs(f->errors.energy / answers(f, f->w) - 1) < 1e-4);
}

/* A number on the edge between two steps may be rounded either way. */
static void expect_error(const fixture *f, const dlx_form_error *e, double expected)
{
    double off = fabs(e->error / expected - 1);
    if (off > (e->form->activations == DLX_F32 ? 1e-3 : 1e-2))
        fail_msg("%s %s: error %g, expected %g", f->linear, e->form->name, e->error, expected);
}

static void expect_linear(const char *family, const char *linear, const dlx_form_errors_options *rounding)
{
    fixture f;
    measure(&f, family, linear, rounding);
    for (size_t i = 0; !DLX_RACES && i < f.errors.forms; i++) { /* on one thread but for what was run above */
        const dlx_form_error *e = &f.errors.form[i];
        if (e->form->stored == DLX_I8 || e->form->stored == DLX_I4)
            expect_error(&f, e, error_of(&f, e->form, f.x, f.w, NULL));
    }
    assert_true(find(&f, "none")->error == 0 && find(&f, "none")->bytes == 4 * f.n * f.k);
    assert_true(find(&f, "fp16")->error < find(&f, "int8-weight-only")->error);
    assert_true(find(&f, "int8-weight-only")->error < find(&f, "int8-dynamic")->error);
    assert_true(find(&f, "int8-dynamic")->error < find(&f, "int8-static")->error);
    assert_true(find(&f, "int8-dynamic")->error < find(&f, "int4")->error);
    assert_int_equal(find(&f, "int8-dynamic")->bytes, f.n * f.k + 4 * f.n);
    assert_int_equal(find(&f, "int4")->bytes, f.n * f.k / 2 + 4 * f.n);
    const dlx_form_error *groups = find(&f, "int4-g32");
    assert_int_equal(groups != NULL, f.k % 32 == 0);
    if (groups) assert_int_equal(groups->bytes, f.n * f.k / 2 + f.n * f.k / 32 * 2);
    assert_int_equal(dlx_form_errors_runs(&f.c, rounding), 2);
    close_fixture(&f);
}

static void errors_are_those_of_answers(void **state)
{
    (void)state;
    expect_linear("llada", "layers.2.down.weight", &clipped);
    expect_linear("dream", "layers.1.o.weight", &solved);
    if (DLX_RACES) return; /* loops on the pool are those of any family */
    expect_linear("llada", "layers.0.q.weight", &nearest);
    expect_linear("dream", "layers.1.k.weight", &nearest);
    expect_linear("sdar", "layers.1.up.weight", &nearest);
    expect_linear("fast_dllm_v2", "layers.3.v.weight", &solved);
}

static void errors_with_scaled_inputs_are_those_of_the_layers_own_answers(void **state)
{
    fixture f;
    (void)state;
    measure(&f, "llada", "layers.1.up.weight", &scaled);
    assert_null(find(&f, "int8-static"));
    for (size_t i = 0; !DLX_RACES && i < f.errors.forms; i++) {
        const dlx_form_error *e = &f.errors.form[i];
        if (e->form->stored == DLX_I8 || e->form->stored == DLX_I4) expect_error(&f, e, error_scaled(&f, e->form, 1));
    }
    assert_true(DLX_RACES || (f.columns > 0 && f.divided > 0));
    double fp16 = find(&f, "fp16")->error;
    close_fixture(&f);
    if (DLX_RACES) return;
    measure(&f, "llada", "layers.1.up.weight", &nearest);
    assert_true(find(&f, "fp16")->error == fp16); /* floats are not scaled */
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_those_of_answers),
        cmocka_unit_test(errors_with_scaled_inputs_are_those_of_the_layers_own_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
