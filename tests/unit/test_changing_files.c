/*
 * Files that somebody shortens or overwrites while they are in use: at every moment of an export and of loading this is
 * an error that names the file, or changes nothing; once a model is open, its file may go. Never a signal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/time.h>
#include <unistd.h>

#include "fail_fixture.h"
#include "left_out.h"

#include "whole_file.h"

enum { CUT, OVERWRITE, WAYS };

static copy place;
static char checkpoint[1024], weights[1024], program[1024];
static whole_file weights_before, program_before;

/* As it was, and long ago, so that every change shows in its time. */
static void restore(const char *path, const whole_file *bytes)
{
    const struct timeval old[2] = {{1000, 0}, {1000, 0}};
    unlink(path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes->data, 1, (size_t)bytes->size, f), bytes->size);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(utimes(path, old), 0);
}

static void change(const char *path, int way, uint64_t size)
{
    if (way == CUT) {
        assert_int_equal(truncate(path, (off_t)(size / 3)), 0);
        return;
    }
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    for (uint64_t i = 0; i < size; i++) fputc(0x7F, f);
    assert_int_equal(fclose(f), 0);
}

static int prepare(void **state)
{
    dlx_error err;
    (void)state;
    place = copy_checkpoint(DLX_TEST_DATA "/checkpoints/sdar-tiny");
    snprintf(checkpoint, sizeof checkpoint, "%s", place.folder);
    path_in(weights, place.folder, "model.safetensors");
    path_in(program, place.folder, "model.pte");
    assert_int_equal(read_whole_file(&weights_before, weights, &err), DLX_OK);
    restore(weights, &weights_before); /* no link into the tests' data any more */
    dlx_export_options o = tiny_export(checkpoint, program, true);
    if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(read_whole_file(&program_before, program, &err), DLX_OK);
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    free_whole_file(&weights_before);
    free_whole_file(&program_before);
    remove_copy(&place);
    return 0;
}

static void expect_sentence(const dlx_error *err, const char *path, int way)
{
    if (err->status != DLX_E_IO || !strstr(err->message, path) ||
        !strstr(err->message, way == CUT ? "became shorter while it was read" : "changed while it was read"))
        fail_msg("(%s) %s", dlx_status_name(err->status), err->message);
}

/* ---- export ------------------------------------------------------------------------------------------------------ */

static struct {
    size_t calls, change_at;
    int way;
} progress;

static bool on_progress(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx;
    (void)done;
    (void)total;
    if (++progress.calls == progress.change_at) change(weights, progress.way, weights_before.size);
    return true;
}

static void an_export_ends_with_an_error(void **state)
{
    dlx_error err;
    target out = new_target("out.pte");
    (void)state;
    for (progress.way = 0; progress.way < WAYS; progress.way++)
        for (size_t at = 1; at == 1 || progress.calls >= at - 7; at += 7) {
            restore(weights, &weights_before);
            reset_target(&out, at % 2);
            dlx_export_options o = tiny_export(checkpoint, out.path, true);
            o.progress = on_progress;
            progress.calls = 0;
            progress.change_at = at;
            dlx_status s = dlx_export(&o, NULL, &err);
            if (progress.calls < at) {
                assert_int_equal(s, DLX_OK); /* it was through */
                break;
            }
            /* Numbers that are no numbers may have been found first. */
            expect_sentence(&err, weights, progress.way);
            assert_target_untouched(&out);
        }
    restore(weights, &weights_before);
    remove_target(&out);
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */

static struct {
    size_t requests, change_at;
    int way;
} load;

static void *allocate(void *ctx, size_t bytes, size_t align)
{
    (void)ctx;
    if (++load.requests == load.change_at) change(program, load.way, program_before.size);
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}

static void release(void *ctx, void *p, size_t bytes, size_t align)
{
    (void)ctx;
    (void)bytes;
    (void)align;
    free(p);
}

enum { ROWS = 6 };

static float *logits_of(dlx_model *m, size_t *n)
{
    static const int32_t ids[ROWS] = {5, 9, 17, 3, 40, 8};
    dlx_session *s;
    dlx_error err;
    *n = (size_t)dlx_model_get_facts(m)->vocab_size * ROWS;
    float *logits = calloc(*n, sizeof *logits);
    assert_non_null(logits);
    dlx_forward_call call = {.struct_size = sizeof call, .ids = ids, .n_ids = ROWS, .n_rows = ROWS, .logits = logits};
    assert_int_equal(dlx_session_open(&s, m, 0, 0, &err), DLX_OK);
    if (dlx_session_forward(s, &call, &err) != DLX_OK) fail_msg("%s", err.message);
    dlx_session_close(s);
    return logits;
}

/* Memory is asked for at every step of loading: there the file changes. */
static void loading_ends_with_an_error_or_the_model(void **state)
{
    static const dlx_allocator allocator = {.alloc = allocate, .free = release};
    dlx_model_options o = dlx_model_options_default();
    dlx_error err;
    dlx_model *m;
    size_t n, failures = 0, all;
    (void)state;
    restore(program, &program_before);
    assert_int_equal(dlx_model_open(&m, program, NULL, &err), DLX_OK);
    float *want = logits_of(m, &n);
    dlx_model_close(m);
    o.allocator = &allocator;
    o.threads = 1;
    load.requests = load.change_at = 0;
    assert_int_equal(dlx_model_open(&m, program, &o, &err), DLX_OK);
    dlx_model_close(m);
    all = load.requests;
    for (load.way = 0; load.way < WAYS; load.way++)
        for (size_t at = 1; at <= all; at++) {
            restore(program, &program_before);
            load.requests = 0;
            load.change_at = at;
            dlx_status s = dlx_model_open(&m, program, &o, &err);
            load.change_at = 0;
            if (s == DLX_OK) {
                float *got = logits_of(m, &n);
                assert_memory_equal(got, want, n * sizeof *got);
                free(got);
                dlx_model_close(m);
                continue;
            }
            failures++;
            /* What lies there before it is opened is refused as what it is; so may be what is read instead of it. */
            if (load.way == CUT && !strstr(err.message, "is it complete?")) expect_sentence(&err, program, CUT);
            assert_non_null(strstr(err.message, program));
        }
    assert_true(failures > all);
    free(want);
}

/* ---- use --------------------------------------------------------------------------------------------------------- */

static void an_open_model_needs_no_file(void **state)
{
    dlx_error err;
    dlx_model *m;
    size_t n;
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        restore(program, &program_before);
        assert_int_equal(dlx_model_open(&m, program, NULL, &err), DLX_OK);
        float *before = logits_of(m, &n);
        change(program, way, program_before.size);
        float *after = logits_of(m, &n);
        assert_memory_equal(after, before, n * sizeof *before);
        unlink(program);
        free(after);
        after = logits_of(m, &n);
        assert_memory_equal(after, before, n * sizeof *before);
        free(after);
        free(before);
        dlx_model_close(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_export_ends_with_an_error),
        one_thread_test(loading_ends_with_an_error_or_the_model),
        cmocka_unit_test(an_open_model_needs_no_file),
    };
    return cmocka_run_group_tests(tests, prepare, clean_up);
}
