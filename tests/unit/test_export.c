/*
 * The export driver: exact numbers in its result, progress, lengths and bounds, what it refuses, and that a folder
 * without a tokenizer is exported for ids only.
 */
#include "fail_fixture.h"

#include "base/sizes.h"

enum {
    /* Of sdar-tiny: 2 layers of width 128, 6 query and 2 key heads of 32, 256 inner, 1280 words. */
    LAYER = 192 * 128 + 2 * 64 * 128 + 128 * 192 + 3 * 256 * 128,
    TABLE = 1280 * 128,
    MATRICES = 2 * LAYER + 2 * TABLE,
    ROWS = 2 * (192 + 2 * 64 + 128 + 2 * 256 + 128) + 2 * 1280 /* of all matrices: one scale each in int8 */
};

typedef struct progress {
    uint64_t done, total, calls;
    uint64_t stop_at; /* cancels once so many bytes were written; 0: never */
} progress;

static bool watch(void *ctx, uint64_t done, uint64_t total)
{
    progress *p = ctx;
    assert_true(done > p->done);
    assert_true(done <= total);
    if (p->calls++) assert_true(total == p->total);
    p->done = done;
    p->total = total;
    return !p->stop_at || done < p->stop_at;
}

static void numbers_are_exact(void **state)
{
    (void)state;
    char checkpoint[1024];
    target t = new_target("m.pte");
    checkpoint_of(checkpoint, "sdar");
    for (int int8 = 0; int8 < 2; int8++) {
        progress p = {0};
        dlx_export_options o = tiny_export(checkpoint, t.path, int8);
        dlx_export_result r = {.struct_size = sizeof r, .seconds = -1};
        dlx_error err = {0};
        o.progress = watch;
        o.progress_ctx = &p;
        reset_target(&t, int8);
        if (dlx_export(&o, &r, &err) != DLX_OK) fail_msg("%s", err.message);
        assert_target_written(&t, r.file_bytes);
        assert_int_equal(r.quantised_tensors, int8 ? 2 * 7 + 2 : 0);
        assert_int_equal(r.quantised_bytes, int8 ? MATRICES : 0);
        /* What stays float: norms (a gain of 128 before attention and MLP and at the end, of 32 for the heads of q and
         * k), cos and sin of 64 positions, and the matrices or their scales. */
        uint64_t rest = 4 * ((2 * 2 + 1) * 128 + 2 * 2 * 32 + 2 * 64 * 32);
        assert_true(r.float_bytes >= rest + (int8 ? 4 * ROWS : 4 * MATRICES));
        assert_true(r.float_bytes <= rest + (int8 ? 4 * ROWS : 4 * MATRICES) + 1024); /* and single numbers */
        assert_true(r.float_tensors > 2 * 4);
        assert_true(r.file_bytes > r.quantised_bytes + r.float_bytes);
        assert_true(r.file_bytes < r.quantised_bytes + r.float_bytes + (256 << 10)); /* a tokenizer is in it, too */
        assert_true(r.seconds > 0 && r.seconds < 600);
        assert_true(p.calls > 1);
        assert_true(p.total > r.quantised_bytes + r.float_bytes); /* the tokenizer counts */
        assert_true(p.total < r.file_bytes);
        assert_true(p.done >= r.quantised_bytes + r.float_bytes);
    }
    remove_target(&t);
}

static void progress_cancels_and_leaves_nothing(void **state)
{
    (void)state;
    char checkpoint[1024];
    target t = new_target("m.pte");
    checkpoint_of(checkpoint, "llada");
    for (int exists = 0; exists < 2; exists++) {
        progress p = {.stop_at = 100000};
        dlx_export_options o = tiny_export(checkpoint, t.path, false);
        dlx_error err = {0};
        o.progress = watch;
        o.progress_ctx = &p;
        reset_target(&t, exists);
        assert_int_equal(dlx_export(&o, NULL, &err), DLX_E_CANCELLED);
        assert_non_null(strstr(err.message, "was left as it was"));
        assert_true(p.done >= 100000 && p.done < p.total);
        assert_target_untouched(&t);
    }
    remove_target(&t);
}

/* The lengths of a program exported with these bounds (0: as the checkpoint has it). */
static dlx_status lengths(const char *checkpoint, int32_t max_seq_len, int32_t max_rows, int32_t *context,
                          int32_t *rows, dlx_error *err)
{
    target t = new_target("m.pte");
    dlx_export_options o = dlx_export_options_default();
    dlx_model *m = NULL;
    o.model_path = checkpoint;
    o.output_path = t.path;
    o.max_seq_len = max_seq_len;
    o.max_rows = max_rows;
    dlx_status s = dlx_export(&o, NULL, err);
    if (s == DLX_OK) {
        assert_int_equal(dlx_model_open(&m, t.path, NULL, err), DLX_OK);
        *context = dlx_model_get_facts(m)->max_context;
        *rows = dlx_model_get_facts(m)->max_rows;
        dlx_model_close(m);
    } else {
        assert_int_equal(files_beside(&t), 0);
    }
    remove_target(&t);
    return s;
}

static void on_notice(void *ctx, const char *sentence)
{
    char *all = ctx;
    snprintf(all + strlen(all), 600 - strlen(all), "%s|", sentence);
}

/* A file that has no room for one of the model's blocks is written, and said to be one. */
static void a_program_too_small_for_a_block_is_noticed(void **state)
{
    (void)state;
    for (int32_t rows = 3; rows <= 4; rows++) {
        target t = new_target("m.pte");
        dlx_error err = {0};
        char said[600] = "";
        dlx_export_options o = dlx_export_options_default();
        o.model_path = TINY("sdar");
        o.output_path = t.path;
        o.max_rows = rows;
        o.notice = on_notice;
        o.notice_ctx = said;
        if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
        assert_string_equal(said, rows == 4 ? ""
                                            : "this model decodes blocks of 4 tokens, but the program takes at most "
                                              "3 rows a pass: decoding will need block_length 3 or less; max_seq_len "
                                              "and max_rows of 4 or more avoid that|");
        remove_target(&t);
    }
}

/* Without a tokenizer the program takes ids only, and says so; what is left of one that was not fetched is refused. */
static void a_folder_without_a_tokenizer_is_noticed(void **state)
{
    (void)state;
    copy at = new_folder();
    char path[1024], said[600] = "";
    target t = new_target("m.pte");
    dlx_error err = {0};
    dlx_export_options o = dlx_export_options_default();
    path_in(path, at.folder, "config.json");
    assert_int_equal(symlink(TINY("sdar") "/config.json", path), 0);
    path_in(path, at.folder, "model.safetensors");
    assert_int_equal(symlink(TINY("sdar") "/model.safetensors", path), 0);
    o.model_path = at.folder;
    o.output_path = t.path;
    if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    o.notice = on_notice;
    o.notice_ctx = said;
    if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_non_null(strstr(said, "has no tokenizer: the program takes token ids only, no text; fetch tokenizer.json"));
    static const char *const rests[] = {"tokenizer.json", "vocab.json", "tokenizer_config.json"};
    for (size_t i = 0; i < sizeof rests / sizeof *rests; i++) {
        path_in(path, at.folder, rests[i]);
        assert_int_equal(symlink("../../blobs/0123", path), 0);
        assert_int_equal(dlx_export(&o, NULL, &err), DLX_E_IO);
        if (!strstr(err.message, "the download is incomplete") || !strstr(err.message, rests[i]))
            fail_msg("%s", err.message);
        remove_file(&at, rests[i]);
    }
    remove_target(&t);
    remove_copy(&at);
}

static void expect_lengths(const char *checkpoint, int32_t max_seq_len, int32_t max_rows, int32_t context, int32_t rows)
{
    int32_t c = 0, r = 0;
    dlx_error err = {0};
    if (lengths(checkpoint, max_seq_len, max_rows, &c, &r, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(c, context);
    assert_int_equal(r, rows);
}

static void lengths_are_the_checkpoints_or_smaller(void **state)
{
    (void)state;
    copy c = copy_checkpoint(TINY("sdar"));
    int32_t context, rows;
    dlx_error err = {0};
    expect_lengths(c.folder, 0, 0, 192, 192);
    expect_lengths(c.folder, 0, 8, 192, 8);
    expect_lengths(c.folder, 64, 0, 64, 64);
    expect_lengths(c.folder, 64, 64, 64, 64);
    expect_lengths(c.folder, 192, 4, 192, 4);
    assert_int_equal(lengths(c.folder, 193, 0, &context, &rows, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "max_seq_len 193 is above the checkpoint's 192 positions"));
    assert_int_equal(lengths(c.folder, 64, 65, &context, &rows, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "max_rows 65 is above max_seq_len 64"));
    assert_int_equal(lengths(c.folder, -1, 0, &context, &rows, &err), DLX_E_INVALID);
    assert_int_equal(lengths(c.folder, 0, -1, &context, &rows, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "must not be negative"));
    /* Long contexts are exported when they are asked for. */
    edit_json(&c, "config.json", "max_position_embeddings", "2049");
    expect_lengths(c.folder, 0, 16, 2048, 16);
    expect_lengths(c.folder, 2049, 16, 2049, 16);
    edit_json(&c, "config.json", "max_position_embeddings", "2047");
    expect_lengths(c.folder, 0, 16, 2047, 16);
    remove_copy(&c);
}

static void expect_refusal(dlx_export_options o, dlx_status status, const char *words)
{
    target t = new_target("m.pte");
    dlx_error err = {0};
    if (!o.output_path) o.output_path = t.path;
    assert_int_equal(dlx_export(&o, NULL, &err), status);
    if (!strstr(err.message, words)) fail_msg("'%s' does not say '%s'", err.message, words);
    assert_int_equal(files_beside(&t), 0);
    remove_target(&t);
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    dlx_error err = {0};
    dlx_export_options good = dlx_export_options_default(), o;
    good.model_path = TINY("sdar");
    assert_int_equal(dlx_export(NULL, NULL, &err), DLX_E_INVALID);
    o = good;
    o.struct_size = 1;
    expect_refusal(o, DLX_E_INVALID, "struct_size");
    o = good;
    o.model_path = NULL;
    expect_refusal(o, DLX_E_INVALID, "no checkpoint folder was given");
    o.model_path = "";
    expect_refusal(o, DLX_E_INVALID, "no checkpoint folder was given");
    o = good;
    o.output_path = "";
    expect_refusal(o, DLX_E_INVALID, "no output path was given");
    o = good;
    o.quantization = "int9";
    expect_refusal(o, DLX_E_UNSUPPORTED, "quantization 'int9'");
    o = good;
    o.backend = "toaster";
    expect_refusal(o, DLX_E_UNSUPPORTED, "backend 'toaster'");
    o = good;
    o.block_size = -1;
    expect_refusal(o, DLX_E_INVALID, "must not be negative");
    o = good;
    o.output_path = "/tmp";
    expect_refusal(o, DLX_E_IO, "it is a folder");
    o = good;
    o.model_path = DLX_TEST_DATA "/no-such-folder";
    expect_refusal(o, DLX_E_IO, "no-such-folder");
}

/* What lies in a checkpoint's folder is not replaced, but for programs, under whatever names. */
static void a_checkpoint_keeps_its_files(void **state)
{
    static const char *const kept[] = {"pte", "x", "mpte", "m.pte.txt", "m.PTE", "notes.txt"};
    static const char *const replaced[] = {".pte", "m.pte", "m.txt.pte"};
    (void)state;
    copy c = copy_checkpoint(TINY("sdar"));
    char path[1024];
    dlx_error err = {0};
    dlx_export_options o = tiny_export(c.folder, path, false);
    for (size_t i = 0; i < DLX_COUNT(kept); i++) {
        write_text(&c, kept[i], older);
        path_in(path, c.folder, kept[i]);
        assert_int_equal(dlx_export(&o, NULL, &err), DLX_E_INVALID);
        if (!strstr(err.message, kept[i])) fail_msg("%s", err.message);
        struct stat st;
        assert_true(stat(path, &st) == 0 && st.st_size == (off_t)strlen(older));
    }
    for (size_t i = 0; i < DLX_COUNT(replaced); i++) {
        write_text(&c, replaced[i], older);
        path_in(path, c.folder, replaced[i]);
        if (dlx_export(&o, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    }
    remove_copy(&c);
}

static void a_folder_without_a_tokenizer_is_exported_for_ids(void **state)
{
    (void)state;
    copy c = copy_checkpoint(TINY("sdar"));
    target t = new_target("m.pte");
    dlx_export_options o = tiny_export(c.folder, t.path, false);
    dlx_export_result with = {.struct_size = sizeof with}, without = with;
    dlx_tokenizer *tokenizer;
    dlx_error err = {0};
    assert_int_equal(dlx_export(&o, &with, &err), DLX_OK);
    assert_int_equal(dlx_tokenizer_open_pte(&tokenizer, t.path, &err), DLX_OK);
    dlx_tokenizer_close(tokenizer);
    static const char *const files[] = {"tokenizer.json", "vocab.json"};
    char path[1024];
    for (size_t i = 0; i < 2; i++) {
        path_in(path, c.folder, files[i]);
        unlink(path);
    }
    if (dlx_export(&o, &without, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_true(without.file_bytes < with.file_bytes);
    assert_int_equal(without.float_bytes, with.float_bytes);
    assert_int_not_equal(dlx_tokenizer_open_pte(&tokenizer, t.path, &err), DLX_OK);
    remove_target(&t);
    remove_copy(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_exact),
        cmocka_unit_test(progress_cancels_and_leaves_nothing),
        cmocka_unit_test(lengths_are_the_checkpoints_or_smaller),
        cmocka_unit_test(a_program_too_small_for_a_block_is_noticed),
        cmocka_unit_test(a_folder_without_a_tokenizer_is_noticed),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(a_checkpoint_keeps_its_files),
        cmocka_unit_test(a_folder_without_a_tokenizer_is_exported_for_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
