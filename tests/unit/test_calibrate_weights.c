/*
 * Weights of a checkpoint's layers by GPTQ: what is written of them, that the model is nearer to itself than with
 * rounded weights, interruptions at every pass, and constants of a graph that are read from there.
 */
#include "fail_fixture.h"
#include "samples_check.h"

#include "base/io.h"
#include "base/sizes.h"
#include "calibrate/weights.h"
#include "quant/quant.h"

enum { SAMPLES = 12, LENGTH = 48 };

typedef struct fixture {
    dlx_checkpoint c;
    dlx_samples s;
    dlx_pool *pool;
    dlx_kernels kernels;
    copy parent;
    char folder[1024];
    dlx_grid grid;
    const char *only; /* the linears whose names have this; NULL: all */
    int solved;
    double relative;
    int ticks, most; /* the tick that is refused; 0: none */
} fixture;

static fixture open_fixture(const char *family, int bits, size_t group)
{
    fixture f = {.parent = new_folder(), .grid = {bits, group}};
    path_in(f.folder, f.parent.folder, "m.pte.work");
    open_samples(&f.c, &f.s, family, SAMPLES, LENGTH, random_id);
    CHECK(dlx_pool_create(&f.pool, 2, err));
    dlx_kernels_init(&f.kernels, dlx_cpu_best_isa());
    return f;
}

static void close_fixture(fixture *f)
{
    dlx_samples_free(&f->s);
    dlx_pool_free(f->pool);
    dlx_checkpoint_close(&f->c);
    remove_copy(&f->parent);
}

static bool grid_of(void *ctx, const char *name, size_t n, size_t k, dlx_grid *out)
{
    const fixture *f = ctx;
    assert_true(n > 0 && k > 0);
    *out = f->grid;
    return !f->only || strstr(name, f->only);
}

static void take_solved(void *ctx, const dlx_solved *s)
{
    fixture *f = ctx;
    assert_non_null(strstr(s->name, ".weight"));
    assert_true(s->relative >= 0 && s->relative < 0.5 && s->damping > 0);
    f->solved++;
    f->relative += s->relative;
}

static bool tick(void *ctx, uint64_t rows)
{
    fixture *f = ctx;
    assert_true(rows > 0);
    return ++f->ticks != f->most;
}

static dlx_layerwise_options run_of(fixture *f)
{
    return (dlx_layerwise_options){
        .limit = dlx_cpu_best_isa(), .pool = f->pool, .pass_rows = 300, .tick = tick, .tick_ctx = f};
}

static dlx_status solve(fixture *f, dlx_work *work, bool one_by_one, dlx_error *err)
{
    dlx_layerwise_options run = run_of(f);
    dlx_weights_options o = {.grid = grid_of,
                             .grid_ctx = f,
                             .solved = take_solved,
                             .solved_ctx = f,
                             .factor = {.damping = 0.01f},
                             .clip = DLX_CLIP_MSE,
                             .one_by_one = one_by_one};
    return dlx_weights_solve(work, &f->c, &f->s, &o, NULL, &run, err);
}

/* ---- what is written -------------------------------------------------------------------------------------------- */

static char *file_of(const fixture *f, int32_t layer, size_t *n)
{
    char path[1200], *text;
    snprintf(path, sizeof path, "%s/layer-%05d.safetensors", f->folder, layer);
    CHECK(dlx_read_file(&text, n, path, 1 << 24, err));
    return text;
}

static void every_linear_becomes_codes_and_scales(void **state)
{
    static const char *const names[DLX_LAYER_LINEARS] = {"q", "k", "v", "o", "gate", "up", "down"};
    static const dlx_grid grids[] = {{8, 0}, {4, 0}, {4, 8}};
    (void)state;
    for (int k = 0; k < FAMILIES; k++)
        for (size_t g = 0; g < DLX_COUNT(grids); g++) {
            if (DLX_SLOW && g != (size_t)k % DLX_COUNT(grids)) continue; /* one grid each */
            fixture f = open_fixture(families[k], grids[g].bits, grids[g].group);
            dlx_work work;
            dlx_precomputed p;
            CHECK(dlx_work_open(&work, f.folder, 5, err));
            CHECK(solve(&f, &work, false, err));
            assert_int_equal(f.solved, DLX_LAYER_LINEARS * f.c.shape.layers);
            CHECK(dlx_precomputed_open(&p, &work, f.c.shape.layers, err));
            assert_int_equal(p.n, f.c.shape.layers);
            for (int32_t layer = 0; layer < f.c.shape.layers; layer++)
                for (int i = 0; i < DLX_LAYER_LINEARS; i++) {
                    char name[64];
                    const dlx_st_tensor *codes = NULL, *scales = NULL;
                    for (size_t t = 0; t < p.files[layer].n_tensors; t++) {
                        const dlx_st_tensor *x = &p.files[layer].tensors[t];
                        snprintf(name, sizeof name, "layers.%d.%s.weight", layer, names[i]);
                        if (!strcmp(x->name, name)) codes = x;
                        strcat(name, ".scales");
                        if (!strcmp(x->name, name)) scales = x;
                    }
                    assert_true(codes && scales);
                    size_t inputs = (size_t)codes->dim[1] * (grids[g].bits == 4 ? 2 : 1);
                    assert_int_equal(codes->dtype, grids[g].bits == 4 ? DLX_U8 : DLX_I8);
                    assert_int_equal(scales->dtype, grids[g].group ? DLX_BF16 : DLX_F32);
                    assert_int_equal(scales->dim[0], codes->dim[0]);
                    if (grids[g].group) assert_int_equal(scales->dim[1], inputs / grids[g].group);
                }
            dlx_precomputed_close(&p);
            dlx_work_close(&work);
            close_fixture(&f);
        }
}

static void what_has_no_grid_stays(void **state)
{
    (void)state;
    fixture f = open_fixture("llada", 8, 0);
    dlx_work work;
    dlx_precomputed p;
    f.only = "layers.1.down";
    CHECK(dlx_work_open(&work, f.folder, 5, err));
    CHECK(solve(&f, &work, true, err));
    assert_int_equal(f.solved, 1);
    CHECK(dlx_precomputed_open(&p, &work, f.c.shape.layers, err));
    assert_int_equal(p.n, 1);
    assert_int_equal(p.files[0].n_tensors, 2);
    dlx_precomputed_close(&p);
    dlx_work_close(&work);
    f.grid = (dlx_grid){4, 7}; /* 7 divides no row of it */
    dlx_error problem;
    CHECK(dlx_work_open(&work, f.folder, 6, err));
    assert_int_equal(solve(&f, &work, true, &problem), DLX_E_INVALID);
    assert_non_null(strstr(problem.message, "layers.1.down"));
    dlx_work_close(&work);
    close_fixture(&f);
}

/* ---- how good it is --------------------------------------------------------------------------------------------- */

/* Rounds all linears of the loaded layer, or takes what was solved. */
static void replace(fixture *f, dlx_layerwise *w, const dlx_precomputed *p)
{
    dlx_solve_on on = {.kernels = &f->kernels, .pool = f->pool};
    for (int i = 0; i < DLX_LAYER_LINEARS; i++) {
        const dlx_value *v = dlx_layerwise_weight(w, i);
        size_t n = (size_t)v->dim[0], k = (size_t)v->dim[1], scales = dlx_grid_row_scales(f->grid, k);
        float *x = calloc(n * k, sizeof *x);
        dlx_gridded g = {.codes = calloc(n, k), .scale = calloc(n, 4), .group_scale = calloc(n * scales, 2)};
        assert_true(x && g.codes && g.scale && g.group_scale);
        CHECK(dlx_const_collect(v, NULL, x, err));
        if (!p) CHECK(dlx_grid_round(&g, x, n, k, f->grid, DLX_CLIP_NONE, NULL, &on, v->name, err));
        for (size_t t = 0; p && t < p->n; t++)
            for (size_t at = 0; at < p->files[t].n_tensors; at++) {
                const dlx_st_tensor *of = &p->files[t].tensors[at];
                if (strncmp(of->name, v->name, strlen(v->name))) continue;
                void *to = strcmp(of->name, v->name) ? (void *)g.group_scale : g.codes;
                CHECK(dlx_file_read(of->source, of->offset, to, of->bytes, err));
            }
        dlx_grid_restore(x, &g, n, k, f->grid, &on);
        CHECK(dlx_layerwise_replace(w, i, x, err));
        free(x), free(g.codes), free(g.scale), free(g.group_scale);
    }
}

static double *hidden_after(fixture *f, bool quantised, const dlx_precomputed *p)
{
    size_t n = (size_t)f->s.rows * (size_t)f->c.shape.hidden;
    double *out = calloc(n, sizeof *out);
    float *h = calloc(n, sizeof *h);
    dlx_layerwise *w;
    dlx_layerwise_options run = run_of(f);
    assert_true(out && h);
    CHECK(dlx_layerwise_open(&w, &f->c, &f->s, &run, err));
    CHECK(dlx_layerwise_start(w, NULL, err));
    for (int32_t layer = 0; layer < f->c.shape.layers; layer++) {
        CHECK(dlx_layerwise_load(w, layer, err));
        if (quantised) replace(f, w, p);
        CHECK(dlx_layerwise_run(w, DLX_LAYERWISE_ADVANCE, NULL, NULL, err));
    }
    CHECK(dlx_layerwise_hidden(w, 0, f->s.rows, h, err));
    dlx_layerwise_close(w);
    for (size_t i = 0; i < n; i++) out[i] = (double)h[i];
    free(h);
    return out;
}

static double distance(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

static void it_is_better_than_rounding(void **state)
{
    (void)state;
    for (int k = 0; k < FAMILIES; k += DLX_SLOW ? 2 : 1) {
        fixture f = open_fixture(families[k], 4, 8);
        size_t n = (size_t)f.s.rows * (size_t)f.c.shape.hidden;
        dlx_work work;
        dlx_precomputed p;
        CHECK(dlx_work_open(&work, f.folder, 5, err));
        CHECK(solve(&f, &work, false, err));
        CHECK(dlx_precomputed_open(&p, &work, f.c.shape.layers, err));
        double *exact = hidden_after(&f, false, NULL), *rounded = hidden_after(&f, true, NULL),
               *solved = hidden_after(&f, true, &p);
        double by_rounding = distance(exact, rounded, n), by_solving = distance(exact, solved, n);
        assert_true(by_rounding > 0);
        if (!(by_solving < 0.7 * by_rounding)) fail_msg("%s: %g, by rounding %g", families[k], by_solving, by_rounding);
        free(exact), free(rounded), free(solved);
        dlx_precomputed_close(&p);
        dlx_work_close(&work);
        close_fixture(&f);
    }
}

/* Each layer is run with what its weights became: what is kept behind the last one is what the solved model makes. */
static void hidden_states_are_those_of_the_solved_weights(void **state)
{
    (void)state;
    for (int k = DLX_SLOW; k < FAMILIES; k += DLX_SLOW ? 2 : 1) {
        fixture f = open_fixture(families[k], 4, 8);
        size_t width = (size_t)f.c.shape.hidden, n = (size_t)f.s.rows * width;
        dlx_layerwise_options run = run_of(&f);
        dlx_layerwise *w;
        dlx_work work;
        dlx_precomputed p;
        CHECK(dlx_work_open(&work, f.folder, 5, err));
        CHECK(solve(&f, &work, false, err));
        CHECK(dlx_precomputed_open(&p, &work, f.c.shape.layers, err));
        double *want = hidden_after(&f, true, &p);
        float *got = calloc(n, sizeof *got);
        assert_non_null(got);
        CHECK(dlx_layerwise_open(&w, &f.c, &f.s, &run, err));
        CHECK(dlx_work_start(&work, w, f.s.rows, width, err));
        CHECK(dlx_layerwise_hidden(w, 0, f.s.rows, got, err));
        for (size_t i = 0; i < n; i++) assert_true((double)got[i] == want[i]);
        free(got), free(want);
        dlx_layerwise_close(w);
        dlx_precomputed_close(&p);
        dlx_work_close(&work);
        close_fixture(&f);
    }
}

/* ---- interruptions ---------------------------------------------------------------------------------------------- */

static void run_once(fixture *f, bool one_by_one, char *files[2], size_t n[2])
{
    dlx_work work;
    f->ticks = f->most = 0;
    CHECK(dlx_work_open(&work, f->folder, 5, err));
    CHECK(solve(f, &work, one_by_one, err));
    for (int32_t layer = 0; layer < 2; layer++) files[layer] = file_of(f, layer, &n[layer]);
    CHECK(dlx_work_remove(&work, err));
    dlx_work_close(&work);
}

/* Stopped at tick `stop`, begun again: the files are the ones of a run that was left alone. */
static void run_twice(fixture *f, bool one_by_one, int stop, int all, char *const want[2], const size_t n[2])
{
    dlx_work work;
    dlx_error problem;
    int done = (stop - 1) / (all / 2);
    f->ticks = 0;
    f->most = stop;
    CHECK(dlx_work_open(&work, f->folder, 5, err));
    assert_int_equal(solve(f, &work, one_by_one, &problem), DLX_E_CANCELLED);
    dlx_work_close(&work);
    f->ticks = f->most = 0;
    CHECK(dlx_work_open(&work, f->folder, 5, err));
    assert_int_equal(work.done, done);
    CHECK(solve(f, &work, one_by_one, err));
    assert_int_equal(f->ticks, all - done * (all / 2));
    for (int32_t layer = 0; layer < 2; layer++) {
        size_t m;
        char *got = file_of(f, layer, &m);
        assert_int_equal(m, n[layer]);
        assert_memory_equal(got, want[layer], m);
        free(got);
    }
    CHECK(dlx_work_remove(&work, err));
    dlx_work_close(&work);
}

static void interruptions_change_nothing(void **state)
{
    (void)state;
    int all[2];
    for (int one_by_one = 0; one_by_one < 2; one_by_one++) {
        fixture f = open_fixture("sdar", 4, 32);
        char *want[2];
        size_t n[2];
        assert_int_equal(f.c.shape.layers, 2);
        run_once(&f, one_by_one, want, n);
        all[one_by_one] = f.ticks;
        for (int stop = 1; stop <= all[one_by_one]; stop += (1 + one_by_one) * (DLX_SLOW ? 5 : 1))
            run_twice(&f, one_by_one, stop, all[one_by_one], want, n);
        free(want[0]), free(want[1]);
        close_fixture(&f);
    }
    assert_true(all[0] > 4 && all[1] * 2 == all[0] * 5);
}

/* ---- graphs ----------------------------------------------------------------------------------------------------- */

static void constants_are_read_from_there(void **state)
{
    (void)state;
    fixture f = open_fixture("dream", 8, 0);
    dlx_work work;
    dlx_precomputed p;
    dlx_graph g;
    dlx_error problem;
    size_t n;
    CHECK(dlx_work_open(&work, f.folder, 5, err));
    CHECK(solve(&f, &work, false, err));
    CHECK(dlx_precomputed_open(&p, &work, f.c.shape.layers, err));
    const dlx_st_tensor *t = NULL;
    for (size_t i = 0; i < p.files[1].n_tensors; i++)
        if (!strcmp(p.files[1].tensors[i].name, "layers.1.up.weight")) t = &p.files[1].tensors[i];
    assert_non_null(t);
    dlx_graph_init(&g);
    dlx_const_source none = {.stored = DLX_F32, .transform = DLX_CONST_INT8_ROWS};
    int64_t dim[2] = {t->dim[0], t->dim[1]};
    uint32_t weight = dlx_graph_const(&g, "layers.1.up.weight", DLX_I8, 2, dim, none);
    uint32_t other = dlx_graph_const(&g, "layers.1.up", DLX_I8, 2, dim, none);
    uint32_t scales = dlx_graph_const(&g, "layers.1.up.weight.scales", DLX_F32, 1, dim, none);
    CHECK(dlx_precomputed_apply(&p, &g, &n, err));
    assert_int_equal(n, 2);
    assert_int_equal(g.values[other].source.transform, DLX_CONST_INT8_ROWS);
    assert_int_equal(g.values[scales].source.transform, DLX_CONST_PLAIN);
    int8_t *codes = calloc((size_t)t->bytes, 1), *want = calloc((size_t)t->bytes, 1);
    assert_true(codes && want);
    CHECK(dlx_const_collect(&g.values[weight], NULL, codes, err));
    CHECK(dlx_file_read(t->source, t->offset, want, (size_t)t->bytes, err));
    assert_memory_equal(codes, want, (size_t)t->bytes);
    g.values[weight].dim[0]++;
    assert_int_equal(dlx_precomputed_apply(&p, &g, &n, &problem), DLX_E_FORMAT);
    assert_non_null(strstr(problem.message, "layers.1.up.weight"));
    free(codes), free(want);
    dlx_graph_free(&g);
    dlx_precomputed_close(&p);
    dlx_work_close(&work);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_linear_becomes_codes_and_scales),
        cmocka_unit_test(what_has_no_grid_stays),
        cmocka_unit_test(it_is_better_than_rounding),
        cmocka_unit_test(hidden_states_are_those_of_the_solved_weights),
        cmocka_unit_test(interruptions_change_nothing),
        cmocka_unit_test(constants_are_read_from_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
