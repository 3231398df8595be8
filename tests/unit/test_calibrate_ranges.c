/*
 * Observers against definitions over all numbers, and independent of order and threads; ranges of a checkpoint's
 * linears against what a visitor sees; files of ranges, and what is refused of them.
 */
#include "fail_fixture.h"
#include "samples_check.h"

#include <float.h>
#include <math.h>

#include "base/io.h"
#include "base/sizes.h"
#include "calibrate/ranges.h"

/* ---- observers -------------------------------------------------------------------------------------------------- */

enum { NUMBERS = 100000, THREADS = 3 };

typedef struct numbers {
    float *x;
    dlx_pool *pool;
    dlx_histogram h, scratch[THREADS];
} numbers;

static double unit(uint64_t i)
{
    return dlx_samples_uniform(9, i, 0);
}

/* Nearly normal, shifted, with a few numbers far out. */
static numbers *open_numbers(void)
{
    numbers *n = calloc(1, sizeof *n);
    assert_non_null(n);
    n->x = calloc(NUMBERS, sizeof *n->x);
    assert_non_null(n->x);
    CHECK(dlx_pool_create(&n->pool, THREADS, err));
    for (uint64_t i = 0; i < NUMBERS; i++) {
        double sum = -6;
        for (uint64_t k = 0; k < 12; k++) sum += unit(12 * i + k);
        n->x[i] = (float)(sum + 0.25);
    }
    n->x[777] = 90.0f;
    n->x[50000] = -31.5f;
    n->x[99999] = 0x1p-120f;
    return n;
}

static void close_numbers(numbers *n)
{
    dlx_pool_free(n->pool);
    free(n->x);
    free(n);
}

static void counts_do_not_depend_on_order(void **state)
{
    (void)state;
    numbers *n = open_numbers();
    static dlx_histogram once, pieces, backwards;
    dlx_pool *one;
    CHECK(dlx_pool_create(&one, 1, err));
    dlx_histogram_add(&once, n->x, NUMBERS, n->pool, n->scratch);
    dlx_histogram_clear(&pieces);
    for (size_t at = 0; at < NUMBERS; at += 1000) dlx_histogram_add(&pieces, n->x + at, 1000, one, n->scratch);
    dlx_histogram_clear(&backwards);
    for (size_t at = NUMBERS; at; at -= 500) dlx_histogram_add(&backwards, n->x + at - 500, 500, n->pool, n->scratch);
    assert_memory_equal(&once, &pieces, sizeof once);
    assert_memory_equal(&once, &backwards, sizeof once);
    assert_int_equal(once.n, NUMBERS);
    assert_true(once.low == -31.5f && once.high == 90.0f && once.reach == 128.0f);
    uint64_t total = 0, wanted = 0;
    for (int i = 0; i < DLX_BINS; i++) total += once.count[i];
    assert_int_equal(total, NUMBERS);
    for (int i = 0; i < NUMBERS; i++) wanted += n->x[i] >= 0.5f && n->x[i] < 0.5625f;
    assert_true(wanted > 1000);
    assert_int_equal(once.count[DLX_BINS / 2 + 8], wanted); /* bins are 128 / 2048 wide */
    dlx_pool_free(one);
    close_numbers(n);
}

/* Squares that rounding to the 256 numbers of a range misses, for the numbers themselves. */
static double missed(const numbers *n, dlx_bounds b)
{
    double step = ((double)b.high - (double)b.low) / 255, sum = 0;
    for (int i = 0; i < NUMBERS; i++) {
        double q = rint(((double)n->x[i] - (double)b.low) / step), x;
        q = q < 0 ? 0 : q > 255 ? 255 : q;
        x = (double)b.low + q * step - (double)n->x[i];
        sum += x * x;
    }
    return sum;
}

static void rules_make_ranges_of_counts(void **state)
{
    (void)state;
    numbers *n = open_numbers();
    dlx_histogram_add(&n->h, n->x, NUMBERS, n->pool, n->scratch);
    dlx_bounds all = dlx_observed(&n->h, DLX_OBSERVE_MINMAX), most = dlx_observed(&n->h, DLX_OBSERVE_PERCENTILE),
               best = dlx_observed(&n->h, DLX_OBSERVE_MSE);
    assert_true(all.low == -31.5f && all.high == 90.0f);
    int below = 0, above = 0;
    for (int i = 0; i < NUMBERS; i++) {
        below += n->x[i] < most.low;
        above += n->x[i] > most.high;
    }
    assert_true(below <= 5 && above <= 5);       /* 0.005 % of 100000 */
    assert_true(most.low > -6 && most.high < 7); /* but the ones far out are left out */
    double least = INFINITY;
    for (float low = -32; low < -2; low += 1.0f)
        for (float high = 2; high < 91; high += 1.0f) least = fmin(least, missed(n, (dlx_bounds){low, high}));
    double off = missed(n, best);
    assert_true(off <= 1.02 * least);
    assert_true(off < 0.9 * missed(n, all));
    close_numbers(n);
}

static void degenerate_numbers(void **state)
{
    static const float zeros[3] = {0, -0.0f, 0}, positive[2] = {3, 5}, negative[2] = {-3, -5},
                       huge[2] = {FLT_MAX, -FLT_MAX}, tiny[2] = {0x1p-140f, -0x1p-90f};
    static const struct {
        const float *x;
        size_t n;
        dlx_bounds all;
    } cases[] = {{zeros, 0, {0, 0}},
                 {zeros, 3, {0, 0}},
                 {positive, 2, {0, 5}},
                 {negative, 2, {-5, 0}},
                 {huge, 2, {-FLT_MAX, FLT_MAX}},
                 {tiny, 2, {-0x1p-90f, 0}}};
    (void)state;
    numbers *n = open_numbers();
    for (size_t i = 0; i < DLX_COUNT(cases); i++) {
        dlx_histogram_clear(&n->h);
        dlx_histogram_add(&n->h, cases[i].x, cases[i].n, n->pool, n->scratch);
        for (int o = 0; o < DLX_OBSERVERS; o++) {
            dlx_bounds b = dlx_observed(&n->h, (dlx_observer)o);
            assert_true(b.low >= cases[i].all.low && b.high <= cases[i].all.high);
            assert_true(b.low <= 0 && b.high >= 0);
            if (o == DLX_OBSERVE_MINMAX) assert_true(b.low == cases[i].all.low && b.high == cases[i].all.high);
        }
        uint64_t total = 0;
        for (int k = 0; k < DLX_BINS; k++) total += n->h.count[k];
        assert_int_equal(total, cases[i].n);
    }
    close_numbers(n);
}

static void observers_have_names(void **state)
{
    (void)state;
    dlx_observer o;
    dlx_error problem;
    for (int i = 0; i < DLX_OBSERVERS; i++) {
        CHECK(dlx_observer_find(&o, dlx_observer_name((dlx_observer)i), err));
        assert_int_equal(o, i);
    }
    CHECK(dlx_observer_find(&o, NULL, err));
    assert_int_equal(o, 0);
    assert_int_equal(dlx_observer_find(&o, "min", &problem), DLX_E_INVALID);
    assert_string_equal(problem.message, "observer 'min' is not known; expected mse, minmax or percentile");
}

/* ---- ranges of a checkpoint ------------------------------------------------------------------------------------- */

enum { SAMPLES = 6 };

typedef struct fixture {
    dlx_checkpoint c;
    dlx_samples s;
    dlx_ranges r;
} fixture;

static fixture open_fixture(const char *family)
{
    fixture f = {.r = {.n = 0}};
    open_samples(&f.c, &f.s, family, SAMPLES, 50, counted_id);
    return f;
}

static void close_fixture(fixture *f)
{
    dlx_ranges_free(&f->r);
    dlx_samples_free(&f->s);
    dlx_checkpoint_close(&f->c);
}

static void measure(fixture *f, dlx_observer o, int threads, int32_t pass_rows)
{
    dlx_layerwise_options run = {.limit = dlx_cpu_best_isa(), .pass_rows = pass_rows};
    CHECK(dlx_pool_create(&run.pool, threads, err));
    dlx_ranges_free(&f->r);
    CHECK(dlx_ranges_measure(&f->r, NULL, &f->c, &f->s, o, &run, err));
    dlx_pool_free(run.pool);
}

typedef struct ends {
    float low[2 * DLX_LAYER_LINEARS], high[2 * DLX_LAYER_LINEARS];
} ends;

static dlx_status look(void *ctx, const dlx_linear_rows *l, dlx_error *err)
{
    ends *e = ctx;
    (void)err;
    for (int output = 0; output < 2; output++) {
        const float *x = output ? l->y : l->x;
        float *low = &e->low[2 * l->linear + output], *high = &e->high[2 * l->linear + output];
        for (size_t i = 0; i < l->rows * (output ? l->n_out : l->n_in); i++) {
            *low = fminf(*low, x[i]);
            *high = fmaxf(*high, x[i]);
        }
    }
    return DLX_OK;
}

static void minmax_is_what_linears_read_and_write(void **state)
{
    static const char *const names[DLX_LAYER_LINEARS] = {"q", "k", "v", "o", "gate", "up", "down"};
    (void)state;
    for (int k = 0; k < FAMILIES; k++) {
        fixture f = open_fixture(families[k]);
        dlx_layerwise *w;
        dlx_layerwise_options run = {.limit = dlx_cpu_best_isa()};
        measure(&f, DLX_OBSERVE_MINMAX, 2, 0);
        assert_int_equal(f.r.n, 2 * DLX_LAYER_LINEARS * f.c.shape.layers);
        assert_int_equal(f.r.samples, SAMPLES);
        assert_int_equal(f.r.rows, f.s.rows);
        CHECK(dlx_pool_create(&run.pool, 1, err));
        CHECK(dlx_layerwise_open(&w, &f.c, &f.s, &run, err));
        CHECK(dlx_layerwise_start(w, NULL, err));
        for (int32_t layer = 0; layer < f.c.shape.layers; layer++) {
            ends e = {{0}, {0}};
            CHECK(dlx_layerwise_load(w, layer, err));
            CHECK(dlx_layerwise_run(w, DLX_LAYERWISE_ADVANCE, look, &e, err));
            for (int i = 0; i < 2 * DLX_LAYER_LINEARS; i++) {
                char name[64];
                snprintf(name, sizeof name, "layers.%d.%s.%s", layer, names[i / 2], i % 2 ? "output" : "input");
                const dlx_tensor_range *r = dlx_ranges_find(&f.r, name);
                assert_non_null(r);
                assert_true(r->bounds.low == e.low[i] && r->bounds.high == e.high[i]);
                assert_true(r->bounds.high > 0);
            }
        }
        assert_null(dlx_ranges_find(&f.r, "layers.0.q"));
        dlx_layerwise_close(w);
        dlx_pool_free(run.pool);
        close_fixture(&f);
    }
}

static void take_text(const fixture *f, char **text)
{
    CHECK(dlx_ranges_text(&f->r, text, err));
}

static void ranges_do_not_depend_on_passes_or_threads(void **state)
{
    (void)state;
    for (int o = 0; o < DLX_OBSERVERS; o++) {
        fixture f = open_fixture("sdar");
        char *a, *b;
        measure(&f, (dlx_observer)o, 1, 50);
        take_text(&f, &a);
        measure(&f, (dlx_observer)o, 3, 0);
        take_text(&f, &b);
        assert_string_equal(a, b);
        free(a);
        free(b);
        close_fixture(&f);
    }
}

static void files_give_back_the_same_ranges(void **state)
{
    (void)state;
    for (int k = 0; k < FAMILIES; k++) {
        fixture f = open_fixture(families[k]);
        copy c = new_folder();
        char path[1024];
        dlx_ranges back;
        path_in(path, c.folder, "ranges.json");
        measure(&f, DLX_OBSERVE_MSE, 2, 0);
        CHECK(dlx_ranges_write(&f.r, path, err));
        CHECK(dlx_ranges_read(&back, path, &f.c, err));
        assert_int_equal(back.n, f.r.n);
        assert_int_equal(back.observer, f.r.observer);
        assert_true(back.samples == f.r.samples && back.rows == f.r.rows);
        for (size_t i = 0; i < back.n; i++) {
            assert_string_equal(back.list[i].name, f.r.list[i].name);
            assert_memory_equal(&back.list[i].bounds, &f.r.list[i].bounds, sizeof(dlx_bounds));
        }
        dlx_ranges_free(&back);
        remove_copy(&c);
        close_fixture(&f);
    }
}

/* A good file with one thing changed: `from` becomes `to`. */
static void bad_files_are_refused(void **state)
{
    static const struct {
        const char *from, *to, *words;
        dlx_status status;
    } bad[] = {
        {"{", "[", "is not valid JSON", DLX_E_FORMAT},
        {"\"ranges\": 1", "\"ranges\": 2", "ranges of version 2", DLX_E_UNSUPPORTED},
        {"\"ranges\": 1", "\"range\": 1", "no number \"ranges\"", DLX_E_FORMAT},
        {"\"observer\": \"mse\"", "\"observer\": 1", "names no \"observer\"", DLX_E_FORMAT},
        {"\"observer\": \"mse\"", "\"observer\": \"m\"", "observer 'm' is not known", DLX_E_FORMAT},
        {"\"samples\": 6", "\"samples\": -6", "are negative", DLX_E_FORMAT},
        {"\"tensors\"", "\"tensor\"", "no object \"tensors\"", DLX_E_FORMAT},
        {"layers.1.up.input", "layers.2.up.input", "has no range of 'layers.1.up.input'", DLX_E_FORMAT},
        {"\"layers.0.k.input\": [", "\"layers.0.k.input\": [0, ", "the range of 'layers.0.k.input'", DLX_E_FORMAT},
        {"\"layers.0.k.input\": [-", "\"layers.0.k.input\": [1", "the range of 'layers.0.k.input'", DLX_E_FORMAT},
        {"\"layers.0.k.input\": [-", "\"layers.0.k.input\": [-1e39, 1], \"x\": [-", "is [-1e39, 1]", DLX_E_FORMAT},
        {"\"layers.0.k.input\": [-", "\"layers.0.k.input\": [0, 3.5e38], \"x\": [-", "two numbers of float32",
         DLX_E_FORMAT},
        {"\"layers.0.k.input\": [-", "\"layers.0.k.input\": [1, -1], \"x\": [-", "is [1, -1]; expected", DLX_E_FORMAT},
        {"\"layers.0.k.input\": [-", "\"layers.0.k.input\": [\"a\", 1], \"x\": [-", "is [\"a\", 1]", DLX_E_FORMAT},
        {"\"layers.0.k.input\": [-", "\"layers.0.k.input\": [NaN, -", "JSON has no NaN and no infinities",
         DLX_E_FORMAT},
        {"\"layers.0.k.input\": [", "\"layers.0.k.input\": [-Infinity, ", "no NaN and no infinities", DLX_E_FORMAT},
        {"\"layers.0.k.input\"", "\"more\": [0, 0], \"layers.0.k.input\"", "measured on another", DLX_E_FORMAT},
    };
    (void)state;
    fixture f = open_fixture("sdar");
    dlx_ranges r;
    dlx_error problem;
    copy c = new_folder();
    char path[1024], *text;
    measure(&f, DLX_OBSERVE_MSE, 1, 0);
    take_text(&f, &text);
    path_in(path, c.folder, "ranges.json");
    for (size_t i = 0; i < DLX_COUNT(bad); i++) {
        char *at = strstr(text, bad[i].from), *changed = calloc(strlen(text) + 200, 1);
        assert_non_null(at);
        assert_non_null(changed);
        memcpy(changed, text, (size_t)(at - text));
        strcat(strcat(changed, bad[i].to), at + strlen(bad[i].from));
        write_text(&c, "ranges.json", changed);
        assert_int_equal(dlx_ranges_read(&r, path, &f.c, &problem), bad[i].status);
        if (!strstr(problem.message, bad[i].words) || !strstr(problem.message, "ranges.json"))
            fail_msg("%s: %s", bad[i].to, problem.message);
        assert_int_equal(r.n, 0);
        free(changed);
    }
    assert_int_equal(dlx_ranges_read(&r, "/nowhere/ranges.json", &f.c, &problem), DLX_E_IO);
    assert_int_equal(dlx_ranges_write(&f.r, "/nowhere/ranges.json", &problem), DLX_E_IO);
    free(text);
    remove_copy(&c);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_do_not_depend_on_order),
        cmocka_unit_test(rules_make_ranges_of_counts),
        cmocka_unit_test(degenerate_numbers),
        cmocka_unit_test(observers_have_names),
        cmocka_unit_test(minmax_is_what_linears_read_and_write),
        cmocka_unit_test(ranges_do_not_depend_on_passes_or_threads),
        cmocka_unit_test(files_give_back_the_same_ranges),
        cmocka_unit_test(bad_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
