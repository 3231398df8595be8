/*
 * Scales that are folded into a layer: the model answers as before, in all families (biases, head norms, shared
 * key-value heads); what is left out where a weight keeps its floats; and what they are worth.
 */
#include "fail_fixture.h"
#include "samples_check.h"

#include <math.h>

#include "base/sizes.h"
#include "calibrate/scales.h"
#include "quant/quant.h"

enum { SAMPLES = 12, LENGTH = 48 };

typedef struct fixture {
    dlx_checkpoint c;
    dlx_samples s;
    dlx_pool *pool;
    dlx_kernels kernels;
    dlx_layer_grids grids;
    int scaled[DLX_LINEAR_INPUTS];     /* layers */
    double *square[DLX_LINEAR_INPUTS]; /* [k] sums of x * x before scaling; malloc'd */
    double *reach[DLX_LINEAR_INPUTS];  /* [k] largest magnitudes, likewise */
    double *made[DLX_LINEAR_INPUTS];   /* [v_rows], [k] of answers of v and up; NULL: a norm makes the input */
    double most;                       /* of the ratio of two scales */
} fixture;

static fixture open_fixture(const char *family)
{
    fixture f = {.most = 1};
    open_samples(&f.c, &f.s, family, SAMPLES, LENGTH, random_id);
    CHECK(dlx_pool_create(&f.pool, 2, err));
    dlx_kernels_init(&f.kernels, dlx_cpu_best_isa());
    for (int l = 0; l < DLX_LAYER_LINEARS; l++) {
        f.grids.grid[l] = (dlx_grid){4, 8};
        f.grids.becomes[l] = true;
    }
    return f;
}

static void close_fixture(fixture *f)
{
    dlx_samples_free(&f->s);
    dlx_pool_free(f->pool);
    dlx_checkpoint_close(&f->c);
}

typedef struct logits {
    float *list;
    size_t n, at, all;
} logits;

static dlx_status take_logits(void *ctx, const dlx_logits_rows *l, dlx_error *err)
{
    logits *to = ctx;
    (void)err;
    assert_true(to->at + l->rows * (size_t)l->n <= to->n);
    memcpy(to->list + to->at, l->logits, l->rows * (size_t)l->n * sizeof(float));
    to->at += l->rows * (size_t)l->n;
    return DLX_OK;
}

static void add_most(double **most, const float *x, size_t rows, size_t n)
{
    if (!*most) *most = calloc(n, sizeof **most);
    assert_non_null(*most);
    for (size_t i = 0; i < rows * n; i++) (*most)[i % n] = fmax((*most)[i % n], fabs((double)x[i]));
}

static dlx_status add_squares(void *ctx, const dlx_linear_rows *l, dlx_error *err)
{
    fixture *f = ctx;
    int input = dlx_linear_input(l->linear);
    double **sum = &f->square[input];
    (void)err;
    if (l->linear == DLX_LAYER_V) add_most(&f->made[1], l->y, l->rows, l->n_out);
    if (l->linear == DLX_LAYER_UP) add_most(&f->made[3], l->y, l->rows, l->n_out);
    if (!dlx_linear_first(l->linear)) return DLX_OK;
    add_most(&f->reach[input], l->x, l->rows, l->n_in);
    if (!*sum) *sum = calloc(l->n_in, sizeof **sum);
    assert_non_null(*sum);
    for (size_t i = 0; i < l->rows * l->n_in; i++) (*sum)[i % l->n_in] += (double)l->x[i] * (double)l->x[i];
    return DLX_OK;
}

/* The squares of what the weights read then, relative to their mean, and a little for all. */
static void check_importance(const fixture *f, const dlx_layer_scales *s, int i)
{
    double mean = 0;
    for (size_t c = 0; c < s->k[i]; c++) {
        double scale = s->s[i] ? (double)s->s[i][c] : 1;
        mean += (f->square[i][c] /= scale * scale) / (double)s->k[i];
    }
    for (size_t c = 0; c < s->k[i]; c++) {
        double want = f->square[i][c] / mean + 0.01, got = (double)s->importance[i][c];
        if (!(fabs(got - want) <= 1e-5 * want)) fail_msg("input %d, column %zu: %g, expected %g", i, c, got, want);
    }
}

static double largest(const double *list, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) most = fmax(most, list[i]);
    return most;
}

/* For activations on grids: a power of how far an input reaches, which is at least half of how far its maker's answers
 * do, each over the farthest; the mean over heads that share. */
static void check_reach(const fixture *f, const dlx_layer_scales *s, int i)
{
    const dlx_model_shape *shape = &f->c.shape;
    size_t k = s->k[i], dim = (size_t)shape->head_dim, queries = (size_t)(shape->heads / shape->kv_heads);
    size_t n_made = i == 1 ? (size_t)shape->kv_heads * dim : k;
    double far = largest(f->reach[i], k), far_made = f->made[i] ? largest(f->made[i], n_made) : 0;
    double *m = calloc(k, sizeof *m);
    assert_non_null(m);
    for (size_t c = 0; c < k; c++) {
        size_t first = i == 1 ? c / dim / queries * queries * dim + c % dim : c, of = i == 1 ? queries : 1;
        for (size_t q = 0; q < of; q++) {
            size_t maker = i == 1 ? first / dim / queries * dim + c % dim : c;
            double own = f->reach[i][first + q * dim] / far, made = f->made[i] ? f->made[i][maker] / far_made / 2 : 0;
            m[c] += fmax(own, made) / (double)of;
        }
        m[c] = fmax(m[c], 0x1p-20);
    }
    size_t least = 0, most = 0;
    for (size_t c = 0; c < k; c++) {
        least = m[c] < m[least] ? c : least;
        most = m[c] > m[most] ? c : most;
    }
    double exponent = log((double)s->s[i][most] / (double)s->s[i][least]) / log(m[most] / m[least]);
    assert_true(fabs(exponent * DLX_AWQ_STEPS - rint(exponent * DLX_AWQ_STEPS)) < 1e-3);
    for (size_t c = 0; c < k; c++) {
        double want = pow(m[c] / m[least], exponent), got = (double)s->s[i][c] / (double)s->s[i][least];
        if (!(fabs(got - want) <= 1e-4 * want)) fail_msg("input %d, column %zu: %g, expected %g", i, c, got, want);
    }
    free(m);
}

static void look_at(fixture *f, const dlx_layer_scales *s)
{
    for (int i = 0; i < DLX_LINEAR_INPUTS; i++) {
        double least = INFINITY, most = 0;
        if (f->grids.becomes[dlx_linear_inputs[i].first])
            assert_true((s->importance[i] != NULL) == !f->grids.activations);
        if (s->importance[i]) check_importance(f, s, i);
        if (f->grids.activations && s->s[i]) check_reach(f, s, i);
        free(f->square[i]), free(f->reach[i]), free(f->made[i]);
        f->square[i] = f->reach[i] = f->made[i] = NULL;
        if (!s->s[i]) continue;
        f->scaled[i]++;
        assert_true(s->error[i] < s->before[i]);
        for (size_t c = 0; c < s->k[i]; c++) {
            assert_true(s->s[i][c] > 0);
            least = fmin(least, (double)s->s[i][c]);
            most = fmax(most, (double)s->s[i][c]);
        }
        f->most = fmax(f->most, most / least);
    }
    assert_true((s->s[1] != NULL) == (s->rows_of_v != NULL));
}

/* malloc'd; *n of them. */
static float *logits_of(fixture *f, bool scaled, size_t *n)
{
    dlx_solve_on on = {.kernels = &f->kernels, .pool = f->pool};
    dlx_layerwise_options run = {.limit = dlx_cpu_best_isa(), .pool = f->pool, .pass_rows = 300};
    logits l = {.n = (size_t)f->s.rows * (size_t)f->c.facts.vocab_size};
    dlx_layerwise *w;
    l.list = calloc(l.n, sizeof *l.list);
    assert_non_null(l.list);
    CHECK(dlx_layerwise_open(&w, &f->c, &f->s, &run, err));
    CHECK(dlx_layerwise_start(w, NULL, err));
    for (int32_t layer = 0; layer < f->c.shape.layers; layer++) {
        dlx_layer_scales s = {.rows_of_v = NULL};
        CHECK(dlx_layerwise_load(w, layer, err));
        if (scaled) {
            CHECK(dlx_layerwise_run(w, 0, add_squares, f, err));
            CHECK(dlx_layer_scales_find(&s, w, &f->c, f->s.rows, &f->grids, DLX_CLIP_NONE, &on, err));
            look_at(f, &s);
        }
        CHECK(dlx_layerwise_run(w, DLX_LAYERWISE_ADVANCE, NULL, NULL, err));
        dlx_layer_scales_free(&s);
    }
    CHECK(dlx_layerwise_head(w, NULL, take_logits, &l, err));
    dlx_layerwise_close(w);
    *n = l.at;
    return l.list;
}

static void check_same(fixture *f, const char *family)
{
    size_t n, m;
    float *want = logits_of(f, false, &n), *got = logits_of(f, true, &m), most = 0;
    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(want[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(want[i] - got[i]) <= 1e-5f * most))
            fail_msg("%s: logit %zu is %g, was %g", family, i, (double)got[i], (double)want[i]);
    free(want), free(got);
}

static void a_scaled_model_answers_as_before(void **state)
{
    (void)state;
    for (int k = 0; k < FAMILIES; k++) {
        fixture f = open_fixture(families[k]);
        check_same(&f, families[k]);
        for (int i = 0; i < DLX_LINEAR_INPUTS; i++)
            if (!f.scaled[i]) fail_msg("%s: input %d of no layer is scaled", families[k], i);
        assert_true(f.most > 1.5);
        close_fixture(&f);
    }
}

/* So it does with activations on grids, for which inputs count by how far they reach. */
static void a_model_for_grids_answers_as_before(void **state)
{
    (void)state;
    for (int k = 0; k < FAMILIES; k++) {
        fixture f = open_fixture(families[k]);
        f.grids.activations = true;
        for (int l = 0; l < DLX_LAYER_LINEARS; l++) f.grids.grid[l] = (dlx_grid){.bits = 8};
        check_same(&f, families[k]);
        if (!f.scaled[3]) fail_msg("%s: no inputs of down are scaled", families[k]);
        assert_true(f.most > 1.5);
        close_fixture(&f);
    }
}

/* A weight that keeps its floats: what would be folded into it is left out, the rest is not. */
static void what_keeps_its_floats_is_not_scaled(void **state)
{
    static const struct {
        int floats;
        bool scaled[DLX_LINEAR_INPUTS];
    } cases[] = {{DLX_LAYER_Q, {0, 1, 1, 1}},  {DLX_LAYER_V, {0, 0, 1, 1}},    {DLX_LAYER_O, {1, 0, 1, 1}},
                 {DLX_LAYER_UP, {1, 1, 0, 0}}, {DLX_LAYER_GATE, {1, 1, 0, 1}}, {DLX_LAYER_DOWN, {1, 1, 1, 0}}};
    (void)state;
    for (size_t k = 0; k < DLX_COUNT(cases); k++) {
        fixture f = open_fixture("dream");
        f.grids.becomes[cases[k].floats] = false;
        check_same(&f, "dream");
        for (int i = 0; i < DLX_LINEAR_INPUTS; i++)
            if ((f.scaled[i] > 0) != cases[k].scaled[i]) fail_msg("case %zu: input %d", k, i);
        close_fixture(&f);
    }
}

/* Of a linear: the weights with everything folded in, and rows of v divided by what its heads share. */
static void weights_are_folded_in_both_directions(void **state)
{
    (void)state;
    dlx_kernels kernels;
    dlx_kernels_init(&kernels, dlx_cpu_best_isa());
    const dlx_solve_on on = {.kernels = &kernels};
    float in[2] = {2, 4}, mixed[4] = {8, 16, 8, 16}, products[3] = {2, 4, 8}, rows[2] = {8, 16};
    const dlx_layer_scales s = {.s = {in, mixed, NULL, products}, .rows_of_v = rows};
    float v[4] = {1, 1, 1, 1}, q[4] = {1, 1, 1, 1}, up[6] = {1, 1, 1, 1, 1, 1}, down[3] = {1, 1, 1},
          o[4] = {1, 1, 1, 1};
    dlx_layer_scales_fold(&s, DLX_LAYER_Q, q, 2, 2, &on);
    assert_true(q[0] == 2 && q[1] == 4 && q[2] == 2 && q[3] == 4);
    dlx_layer_scales_fold(&s, DLX_LAYER_V, v, 2, 2, &on);
    assert_true(v[0] == 0.25f && v[1] == 0.5f && v[2] == 0.125f && v[3] == 0.25f);
    dlx_layer_scales_fold(&s, DLX_LAYER_O, o, 1, 4, &on);
    assert_true(o[0] == 8 && o[1] == 16 && o[2] == 8 && o[3] == 16);
    dlx_layer_scales_fold(&s, DLX_LAYER_UP, up, 3, 2, &on);
    assert_true(up[0] == 0.5f && up[1] == 0.5f && up[2] == 0.25f && up[5] == 0.125f);
    dlx_layer_scales_fold(&s, DLX_LAYER_DOWN, down, 1, 3, &on);
    assert_true(down[0] == 2 && down[1] == 4 && down[2] == 8);
    assert_true(dlx_layer_scales_changed(&s, 0) && !dlx_layer_scales_changed(&s, 1) && dlx_layer_scales_changed(&s, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scaled_model_answers_as_before),
        cmocka_unit_test(a_model_for_grids_answers_as_before),
        cmocka_unit_test(what_keeps_its_floats_is_not_scaled),
        cmocka_unit_test(weights_are_folded_in_both_directions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
