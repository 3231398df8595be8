/*
 * Calibrations that are interrupted: at every pass of a measurement, the next one goes on behind the last layer that
 * was done and finds the same; folders of other runs, of other people, and damaged ones.
 */
#include "fail_fixture.h"
#include "samples_check.h"
#include "tick_counter.h"

#include "base/io.h"
#include "base/sizes.h"
#include "calibrate/ranges.h"
#include "format/safetensors.h"

enum { SAMPLES = 6, LENGTH = 40 };

typedef struct fixture {
    dlx_checkpoint c;
    dlx_samples s;
    dlx_pool *pool;
    copy parent;
    char folder[1024];
} fixture;

/* The work folder as one whose files are replaced. */
static copy folder_of(const fixture *f)
{
    copy c;
    int n = snprintf(c.folder, sizeof c.folder, "%s", f->folder);
    assert_true(n > 0 && (size_t)n < sizeof c.folder);
    return c;
}

static fixture open_fixture(const char *family)
{
    fixture f = {.parent = new_folder()};
    path_in(f.folder, f.parent.folder, "m.pte.work");
    open_samples(&f.c, &f.s, family, SAMPLES, LENGTH, counted_id);
    CHECK(dlx_pool_create(&f.pool, 1, err));
    return f;
}

static void close_fixture(fixture *f)
{
    dlx_samples_free(&f->s);
    dlx_pool_free(f->pool);
    dlx_checkpoint_close(&f->c);
    remove_copy(&f->parent);
}

static dlx_status measure(fixture *f, dlx_work *work, counter *c, char **text, dlx_error *err)
{
    dlx_ranges r;
    dlx_layerwise_options run = {
        .limit = dlx_cpu_best_isa(), .pool = f->pool, .pass_rows = 2 * LENGTH, .tick = count, .tick_ctx = c};
    dlx_status s = dlx_ranges_measure(&r, work, &f->c, &f->s, DLX_OBSERVE_PERCENTILE, &run, err);
    *text = NULL;
    if (s == DLX_OK) s = dlx_ranges_text(&r, text, err);
    dlx_ranges_free(&r);
    return s;
}

static void interrupted_at_every_pass(void **state)
{
    (void)state;
    for (int k = 0; k < FAMILIES; k++) {
        fixture f = open_fixture(families[k]);
        char *want, *got;
        counter all = {0};
        CHECK(measure(&f, NULL, &all, &want, err));
        assert_int_equal(all.calls % f.c.shape.layers, 0);
        int passes = all.calls / f.c.shape.layers;
        assert_true(passes > 1);
        for (int stop = 1; stop <= all.calls; stop++) {
            dlx_work work;
            counter first = {.most = stop}, second = {0};
            CHECK(dlx_work_open(&work, f.folder, 77, err));
            assert_int_equal(work.done, 0);
            assert_int_equal(measure(&f, &work, &first, &got, NULL), DLX_E_CANCELLED);
            dlx_work_close(&work);
            assert_int_equal(dlx_exists(f.folder), stop > passes); /* nothing is done: nothing is left */
            CHECK(dlx_work_open(&work, f.folder, 77, err));
            assert_int_equal(work.done, (stop - 1) / passes);
            assert_string_equal(work.notice, "");
            CHECK(measure(&f, &work, &second, &got, err));
            assert_string_equal(got, want);
            assert_int_equal(second.calls, all.calls - (stop - 1) / passes * passes);
            free(got);
            CHECK(dlx_work_remove(&work, err));
            dlx_work_close(&work);
            assert_false(dlx_exists(f.folder));
        }
        free(want);
        close_fixture(&f);
    }
}

/* A run that was interrupted in its last layer. */
static void leave_behind(fixture *f, uint64_t fingerprint)
{
    dlx_work work;
    counter c = {.most = 4};
    char *text;
    CHECK(dlx_work_open(&work, f->folder, fingerprint, err));
    assert_int_equal(measure(f, &work, &c, &text, NULL), DLX_E_CANCELLED);
    assert_int_equal(work.done, 1);
    dlx_work_close(&work);
}

/* A measurement with fingerprint 78 in a folder whose work it cannot go on with, which it says in these words. */
static void check_begun_anew(fixture *f, const char *words)
{
    dlx_work work;
    char *want, *got;
    counter all = {0}, again = {0};
    CHECK(measure(f, NULL, &all, &want, err));
    CHECK(dlx_work_open(&work, f->folder, 78, err));
    assert_int_equal(work.done, 0);
    if (!strstr(work.notice, words) || !strstr(work.notice, f->folder)) fail_msg("%s: %s", words, work.notice);
    CHECK(measure(f, &work, &again, &got, err));
    assert_int_equal(again.calls, all.calls);
    assert_string_equal(got, want);
    free(got), free(want);
    dlx_work_close(&work);
    CHECK(dlx_work_open(&work, f->folder, 78, err));
    assert_int_equal(work.done, f->c.shape.layers);
    assert_string_equal(work.notice, "");
    CHECK(dlx_work_remove(&work, err));
    dlx_work_close(&work);
}

/* Another run's work is replaced when there is something to replace it with, and not before. */
static void another_run_begins_anew(void **state)
{
    (void)state;
    fixture f = open_fixture("dream");
    dlx_work work;
    char *text;
    counter first = {.most = 1};
    copy folder = folder_of(&f);
    leave_behind(&f, 77);
    CHECK(dlx_work_open(&work, f.folder, 78, err));
    assert_int_equal(work.done, 0);
    assert_non_null(strstr(work.notice, "holds 1 layer of another run"));
    assert_int_equal(measure(&f, &work, &first, &text, NULL), DLX_E_CANCELLED);
    dlx_work_close(&work);
    CHECK(dlx_work_open(&work, f.folder, 77, err));
    assert_int_equal(work.done, 1);
    dlx_work_close(&work);
    check_begun_anew(&f, "holds 1 layer of another run");
    /* As earlier versions left it: without digests, results beside it. */
    const dlx_st_tensor old = {.name = "000000000000004e.2",
                               .dtype = DLX_F32,
                               .rank = 2,
                               .dim = {1, 1},
                               .data = (const uint8_t *)"abcd",
                               .bytes = 4};
    char path[1024];
    assert_int_equal(mkdir(f.folder, 0700), 0);
    path_in(path, f.folder, "hidden.safetensors");
    CHECK(dlx_safetensors_write(path, &old, 1, err));
    write_text(&folder, "ranges.json", "{}");
    check_begun_anew(&f, "or of another version of this program");
    assert_false(dlx_exists(f.folder));
    close_fixture(&f);
}

static void write_bytes(const char *path, const char *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void check_refused(const fixture *f, size_t at)
{
    dlx_work work;
    CHECK(dlx_work_open(&work, f->folder, 78, err));
    if (work.done) fail_msg("damaged at %zu, it was taken", at);
    assert_null(work.results);
    assert_non_null(strstr(work.notice, "'hidden.safetensors' in the work folder"));
    dlx_work_close(&work);
}

/* One byte is another, or the file is shorter, wherever that is. */
static void what_is_damaged_is_not_taken(void **state)
{
    enum { STEP = 1543, HEAD = 400 };
    (void)state;
    fixture f = open_fixture("dream");
    char path[1024], *bytes;
    dlx_work work;
    size_t n;
    leave_behind(&f, 78);
    path_in(path, f.folder, "hidden.safetensors");
    CHECK(dlx_read_file(&bytes, &n, path, 1 << 24, err));
    for (size_t at = 0; at < n; at += at < HEAD || at + 1200 > n ? 1 : STEP) {
        bytes[at] ^= 0x10;
        write_bytes(path, bytes, n);
        check_refused(&f, at);
        bytes[at] ^= 0x10;
    }
    for (size_t length = 0; length < n; length += length < 16 ? 1 : STEP) {
        write_bytes(path, bytes, length);
        check_refused(&f, length);
    }
    write_bytes(path, bytes, n);
    CHECK(dlx_work_open(&work, f.folder, 78, err));
    assert_int_equal(work.done, 1);
    dlx_work_close(&work);
    free(bytes);
    write_bytes(path, "no such thing", 13);
    check_begun_anew(&f, "is not as it was written");
    assert_false(dlx_exists(f.folder));
    close_fixture(&f);
}

static void folders_of_others_are_left_alone(void **state)
{
    (void)state;
    fixture f = open_fixture("dream");
    dlx_work work;
    dlx_error problem;
    char photo[1024], hidden[1024];
    leave_behind(&f, 77);
    copy folder = folder_of(&f);
    write_text(&folder, "holiday.jpg", "a photo");
    path_in(photo, f.folder, "holiday.jpg");
    path_in(hidden, f.folder, "hidden.safetensors");
    for (uint64_t print = 77; print < 79; print++) {
        assert_int_equal(dlx_work_open(&work, f.folder, print, &problem), DLX_E_INVALID);
        assert_non_null(strstr(problem.message, "holiday.jpg"));
        assert_true(dlx_exists(photo));
        assert_true(dlx_exists(hidden));
    }
    assert_int_equal(dlx_work_open(&work, "/nowhere/at/all", 77, &problem), DLX_E_IO);
    assert_int_equal(dlx_work_open(&work, hidden, 77, &problem), DLX_E_INVALID); /* a file */
    close_fixture(&f);
}

static void refused(const fixture *f, const char *folder, const char *words)
{
    dlx_work work;
    dlx_error problem = {0};
    (void)f;
    assert_int_equal(dlx_work_open(&work, folder, 77, &problem), DLX_E_INVALID);
    if (!strstr(problem.message, words)) fail_msg("'%s' is not in '%s'", words, problem.message);
}

/* What is written to a link would land elsewhere, and a stranger's results in the file. */
static void links_are_not_followed(void **state)
{
    (void)state;
    fixture f = open_fixture("dream");
    char victim[1024], layer[1024], link[1024];
    path_in(victim, f.parent.folder, "victim");
    path_in(layer, f.folder, "layer-00001.safetensors");
    path_in(link, f.parent.folder, "link.work");
    leave_behind(&f, 77);
    write_text(&f.parent, "victim", "mine");
    assert_int_equal(symlink(victim, layer), 0);
    refused(&f, f.folder, "'layer-00001.safetensors', which is no regular file of this user");
    assert_int_equal(unlink(layer), 0);
    assert_int_equal(mkfifo(layer, 0600), 0);
    refused(&f, f.folder, "no regular file of this user");
    assert_int_equal(unlink(layer), 0);
    assert_int_equal(symlink(f.folder, link), 0);
    refused(&f, link, "is a symbolic link");
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink("/nowhere", link), 0);
    refused(&f, link, "is a symbolic link");
    refused(&f, victim, "or no folder");
    if (geteuid() == 0) {
        assert_int_equal(chown(f.folder, 65534, 65534), 0);
        refused(&f, f.folder, "belongs to another user");
        assert_int_equal(chown(f.folder, 0, 0), 0);
    }
    dlx_work work;
    CHECK(dlx_work_open(&work, f.folder, 77, err));
    assert_int_equal(work.done, 1);
    dlx_work_close(&work);
    close_fixture(&f);
}

/* Results of two runs would be mixed: whoever comes second is told, and what the first has is left alone. */
static void one_run_at_a_time(void **state)
{
    (void)state;
    fixture f = open_fixture("dream");
    dlx_work first, second;
    dlx_error problem;
    char hidden[1024];
    path_in(hidden, f.folder, "hidden.safetensors");
    leave_behind(&f, 77);
    CHECK(dlx_work_open(&first, f.folder, 77, err));
    for (uint64_t print = 77; print < 79; print++) {
        assert_int_equal(dlx_work_open(&second, f.folder, print, &problem), DLX_E_INVALID);
        assert_non_null(strstr(problem.message, "another export or report is at work in '"));
        assert_non_null(strstr(problem.message, f.folder));
        assert_true(dlx_exists(hidden));
    }
    dlx_work_close(&first);
    CHECK(dlx_work_open(&second, f.folder, 77, err));
    assert_int_equal(second.done, 1);
    CHECK(dlx_work_remove(&second, err));
    CHECK(dlx_work_open(&first, f.folder, 77, err)); /* a new folder, though the old one is still held */
    assert_int_equal(first.done, 0);
    dlx_work_close(&second);
    CHECK(dlx_work_remove(&first, err));
    dlx_work_close(&first);
    close_fixture(&f);
}

/* A checkpoint's folder, by mistake: its files stay, whatever they are called. */
static void a_checkpoint_is_no_work_folder(void **state)
{
    static const char *const names[] = {"model.safetensors",
                                        "config.json",
                                        "layer-1.safetensors.bak",
                                        "layer-.safetensors",
                                        "layer-00001.safetensorsx",
                                        "hidden.safetensors.old",
                                        "ranges.json5"};
    (void)state;
    fixture f = open_fixture("dream");
    dlx_work work;
    dlx_error problem;
    for (size_t i = 0; i < DLX_COUNT(names); i++) {
        copy folder = new_folder();
        char path[1024];
        write_text(&folder, names[i], "mine");
        assert_int_equal(dlx_work_open(&work, folder.folder, 77, &problem), DLX_E_INVALID);
        assert_non_null(strstr(problem.message, names[i]));
        path_in(path, folder.folder, names[i]);
        assert_true(dlx_exists(path));
        remove_copy(&folder);
    }
    copy folder = new_folder();
    write_text(&folder, "layer-00003.safetensors", "ours");
    write_text(&folder, "hidden.safetensors", "ours");
    CHECK(dlx_work_open(&work, folder.folder, 77, err));
    CHECK(dlx_work_remove(&work, err));
    dlx_work_close(&work);
    assert_false(dlx_exists(folder.folder));
    close_fixture(&f);
}

static void fingerprints_tell_checkpoints_apart(void **state)
{
    (void)state;
    uint64_t print[FAMILIES];
    for (int k = 0; k < FAMILIES; k++) {
        fixture f = open_fixture(families[k]);
        print[k] = dlx_work_checkpoint(&f.c);
        assert_true(print[k] == dlx_work_checkpoint(&f.c));
        for (int i = 0; i < k; i++) assert_true(print[i] != print[k]);
        close_fixture(&f);
    }
    assert_true(dlx_work_print(0, "ab", 2) == dlx_work_print(dlx_work_print(0, "a", 1), "b", 1));
    assert_true(dlx_work_print(0, "ab", 2) != dlx_work_print(0, "ba", 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interrupted_at_every_pass),      cmocka_unit_test(another_run_begins_anew),
        cmocka_unit_test(what_is_damaged_is_not_taken),   cmocka_unit_test(folders_of_others_are_left_alone),
        cmocka_unit_test(links_are_not_followed),         cmocka_unit_test(one_run_at_a_time),
        cmocka_unit_test(a_checkpoint_is_no_work_folder), cmocka_unit_test(fingerprints_tell_checkpoints_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
