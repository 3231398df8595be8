/* What forms cost weights: the answers of a layer with rounded weights against those without, multiplied out. */
#include "fail_fixture.h"

#include <math.h>

#include "calibrate/form_errors.h"
#include "quant/quant.h"
#include "solve/grid.h"

enum { SEQUENCES = 3, LENGTH = 40, ROWS = SEQUENCES * LENGTH };

typedef struct fixture {
    dlx_checkpoint c;
    dlx_pool *pool;
    dlx_samples samples;
    dlx_sample list[SEQUENCES];
    int32_t ids[SEQUENCES][LENGTH];
    dlx_layerwise_options run;
    int seen;
    const char *linear; /* whose rows and weights are taken */
    float *x, *w;
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
    free(f->w);
    dlx_pool_free(f->pool);
    dlx_checkpoint_close(&f->c);
}

static dlx_status take_rows(void *ctx, const dlx_linear_rows *l, dlx_error *err)
{
    fixture *f = ctx;
    (void)err;
    if (strcmp(l->name, f->linear) != 0) return DLX_OK;
    if (!f->x) f->x = calloc(ROWS * l->n_in, sizeof *f->x);
    assert_non_null(f->x);
    memcpy(f->x + f->rows * l->n_in, l->x, l->rows * l->n_in * sizeof *l->x);
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

/* The error of a form, as it is written down. */
static double expected(const fixture *f, const dlx_weight_form *form)
{
    dlx_grid g = {.bits = form->stored == DLX_I4 ? 4 : 8, .group = form->group};
    size_t all = f->n * f->k;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, DLX_ISA_REF);
    const dlx_solve_on on = {.kernels = &kernels, .pool = f->pool};
    void *codes = calloc(all, 1), *scales = calloc(all, sizeof(float));
    float *off = calloc(all, sizeof *off);
    assert_true(codes && scales && off);
    dlx_gridded to = {.codes = codes, .scale = g.group ? NULL : scales, .group_scale = g.group ? scales : NULL};
    CHECK(dlx_grid_round(&to, f->w, f->n, f->k, g, DLX_CLIP_NONE, NULL, &on, f->linear, err));
    dlx_grid_restore(off, &to, f->n, f->k, g, &on);
    for (size_t i = 0; i < all; i++) off[i] = f->w[i] - off[i];
    double sum = answers(f, off);
    free(codes);
    free(scales);
    free(off);
    return sum;
}

static const dlx_form_error *find(const fixture *f, const char *form)
{
    for (size_t i = 0; i < f->errors.forms; i++)
        if (!strcmp(f->errors.form[i].form->name, form)) return &f->errors.form[i];
    return NULL;
}

static void expect_linear(const char *family, const char *linear)
{
    fixture f;
    open_fixture(&f, family);
    f.linear = linear;
    take_linear(&f);
    CHECK(dlx_form_errors(&f.c, &f.samples, &f.run, take_errors, &f, err));
    assert_int_equal(f.seen, f.c.shape.layers * DLX_LAYER_LINEARS);
    assert_true(f.errors.n == f.n && f.errors.k == f.k);
    assert_true(fabs(f.errors.energy / answers(&f, f.w) - 1) < 1e-4);
    for (size_t i = 0; i < f.errors.forms; i++) {
        const dlx_form_error *e = &f.errors.form[i];
        bool integer = e->form->stored == DLX_I8 || e->form->stored == DLX_I4;
        if (integer && fabs(e->error / expected(&f, e->form) - 1) > 1e-3)
            fail_msg("%s %s: error %g", linear, e->form->name, e->error);
    }
    assert_true(find(&f, "none")->error == 0 && find(&f, "none")->bytes == 4 * f.n * f.k);
    assert_true(find(&f, "fp16")->error < find(&f, "int8-dynamic")->error);
    assert_true(find(&f, "int8-dynamic")->error < find(&f, "int4")->error);
    assert_int_equal(find(&f, "int8-dynamic")->bytes, f.n * f.k + 4 * f.n);
    assert_int_equal(find(&f, "int4")->bytes, f.n * f.k / 2 + 4 * f.n);
    assert_null(find(&f, "int8-weight-only")); /* the same bytes as int8-dynamic */
    const dlx_form_error *groups = find(&f, "int4-g32");
    assert_int_equal(groups != NULL, f.k % 32 == 0);
    if (groups) assert_int_equal(groups->bytes, f.n * f.k / 2 + f.n * f.k / 32 * 2);
    close_fixture(&f);
}

static void errors_are_those_of_answers(void **state)
{
    (void)state;
    expect_linear("llada", "layers.0.q.weight");
    expect_linear("llada", "layers.2.down.weight");
    expect_linear("dream", "layers.1.o.weight");
    expect_linear("sdar", "layers.1.up.weight");
    expect_linear("fast_dllm_v2", "layers.3.v.weight");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(errors_are_those_of_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
