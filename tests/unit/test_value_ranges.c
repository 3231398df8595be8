/*
 * Ranges of all values of a decoder: measurements that are interrupted at every sample of every graph go on behind the
 * last graph that was done and find the same; files of ranges give it back, and others are refused.
 */
#include "fail_fixture.h"
#include "samples_check.h"
#include "tick_counter.h"

#include "backends/qnn/stages.h"
#include "base/io.h"
#include "base/sizes.h"
#include "calibrate/value_ranges.h"

enum { SAMPLES = 3, LENGTH = 14 };

typedef struct fixture {
    dlx_checkpoint c;
    dlx_samples s;
    dlx_pool *pool;
    dlx_graph g;
    dlx_arena arena;
    dlx_qnn_stages stages;
    dlx_value_stages chain;
    copy parent;
    char folder[1024];
} fixture;

static void open_fixture(fixture *f, const char *family)
{
    f->parent = new_folder();
    path_in(f->folder, f->parent.folder, "m.pte.work.ranges");
    open_samples(&f->c, &f->s, family, SAMPLES, LENGTH, counted_id);
    CHECK(dlx_pool_create(&f->pool, 1, err));
    dlx_graph_init(&f->g);
    dlx_arena_init(&f->arena);
    CHECK(dlx_build_graph(&f->g, &f->c, DLX_KV_FIXED, f->s.longest, f->s.longest, err));
    CHECK(dlx_qnn_stages_make(&f->stages, &f->arena, &f->g, err));
    f->chain = (dlx_value_stages){f->stages.n, dlx_qnn_stage, &f->stages};
}

static void close_fixture(fixture *f)
{
    dlx_arena_free(&f->arena);
    dlx_graph_free(&f->g);
    dlx_samples_free(&f->s);
    dlx_pool_free(f->pool);
    dlx_checkpoint_close(&f->c);
    remove_copy(&f->parent);
}

static dlx_status measure(fixture *f, dlx_work *work, counter *c, char **text, dlx_error *err)
{
    dlx_ranges r;
    dlx_layerwise_options run = {.limit = dlx_cpu_best_isa(), .pool = f->pool, .tick = count, .tick_ctx = c};
    dlx_status s = dlx_value_ranges_measure(&r, work, &f->chain, &f->s, &run, err);
    *text = NULL;
    if (s == DLX_OK) s = dlx_ranges_text(&r, text, err);
    dlx_ranges_free(&r);
    return s;
}

/* The first graph is run each time; it alone leaves nothing behind. */
static void interrupted_at_every_sample(void **state)
{
    static const char *const of[] = {"sdar", "llada"};
    (void)state;
    for (size_t k = 0; k < DLX_COUNT(of); k++) {
        fixture f;
        char *want, *got;
        counter all = {0};
        open_fixture(&f, of[k]);
        int graphs = (int)f.stages.n;
        CHECK(measure(&f, NULL, &all, &want, err));
        assert_int_equal(all.calls, graphs * SAMPLES);
        for (int stop = 1; stop <= all.calls; stop++) {
            dlx_work work;
            counter first = {.most = stop}, second = {0};
            int done = (stop - 1) / SAMPLES > 1 ? (stop - 1) / SAMPLES : 0;
            CHECK(dlx_work_open(&work, f.folder, 5, err));
            assert_int_equal(measure(&f, &work, &first, &got, NULL), DLX_E_CANCELLED);
            dlx_work_close(&work);
            assert_int_equal(dlx_exists(f.folder), done > 0);
            CHECK(dlx_work_open(&work, f.folder, 5, err));
            assert_int_equal(work.done, done);
            assert_string_equal(work.notice, "");
            CHECK(measure(&f, &work, &second, &got, err));
            assert_string_equal(got, want);
            assert_int_equal(second.calls, (graphs - done + (done > 0)) * SAMPLES);
            free(got);
            dlx_work_close(&work);
            CHECK(dlx_work_open(&work, f.folder, 5, err)); /* all is done: nothing is run */
            second.calls = 0;
            CHECK(measure(&f, &work, &second, &got, err));
            assert_string_equal(got, want);
            assert_int_equal(second.calls, 0);
            free(got);
            CHECK(dlx_work_remove(&work, err));
            dlx_work_close(&work);
        }
        free(want);
        close_fixture(&f);
    }
}

static void check_file(fixture *f, const char *text, dlx_status status, const char *words)
{
    char path[1024], *got;
    dlx_ranges r;
    dlx_error problem = {0};
    write_text(&f->parent, "ranges.json", text);
    path_in(path, f->parent.folder, "ranges.json");
    assert_int_equal(dlx_value_ranges_read(&r, path, &f->chain, &f->c, &problem), status);
    if (status != DLX_OK) {
        if (!strstr(problem.message, words)) fail_msg("%s", problem.message);
        return;
    }
    CHECK(dlx_ranges_text(&r, &got, err));
    assert_string_equal(got, words ? words : text);
    free(got);
    dlx_ranges_free(&r);
}

/* With `to` for `from`: refused with these words, or, where words are a whole file, as that. */
static void check_changed(fixture *f, const char *text, const char *from, const char *to, const char *words)
{
    const char *at = strstr(text, from);
    char *changed = calloc(strlen(text) + strlen(to) + 1, 1);
    assert_true(at && changed);
    memcpy(changed, text, (size_t)(at - text));
    strcat(strcat(changed, to), at + strlen(from));
    check_file(f, changed, words == text ? DLX_OK : DLX_E_FORMAT, words);
    free(changed);
}

static void files_give_back_the_same_ranges(void **state)
{
    fixture f;
    char *text, *linears;
    counter c = {0};
    dlx_ranges of_linears;
    const dlx_layerwise_options run = {.limit = dlx_cpu_best_isa(), .pass_rows = LENGTH};
    (void)state;
    open_fixture(&f, "dream");
    CHECK(measure(&f, NULL, &c, &text, err));
    check_file(&f, text, DLX_OK, NULL);
    check_changed(&f, text, "\"layers.1.attention.0.scores\"", "\"layers.1.attention.0.score\"",
                  "has no range of 'layers.1.attention.0.scores'; was it measured on '");
    check_changed(&f, text, "\"layers.1.attention.0.scores\": [-", "\"layers.1.attention.0.scores\": [",
                  "the range of 'layers.1.attention.0.scores' is");
    check_changed(&f, text, "\"tensors\": {", "\"tensors\": {\"more\": [-1, 1],", "was it measured on another?");
    /* Nothing measures stored keys and values; earlier versions wrote [0, 0] of them. */
    assert_null(strstr(text, "\"k_0\""));
    check_changed(&f, text, "\"tensors\": {", "\"tensors\": {\"k_0\": [0, 0], \"v_1\": [0, 0],", text);
    check_changed(&f, text, "\"tensors\": {", "\"tensors\": {\"k_9\": [0, 0],", "was it measured on another?");
    dlx_layerwise_options on = run;
    on.pool = f.pool;
    CHECK(dlx_ranges_measure(&of_linears, NULL, &f.c, &f.s, DLX_OBSERVE_MINMAX, &on, err));
    CHECK(dlx_ranges_text(&of_linears, &linears, err));
    check_file(&f, linears, DLX_E_FORMAT, "for this backend?"); /* those of int8-static */
    dlx_ranges_free(&of_linears);
    free(linears);
    free(text);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interrupted_at_every_sample),
        cmocka_unit_test(files_give_back_the_same_ranges),
    };
    return cmocka_run_group_tests_name("value_ranges", tests, NULL, NULL);
}
