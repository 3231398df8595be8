/*
 * Exports whose weights are found by calibration: nearer to the float32 model than rounded ones, in files of the same
 * size; the same bytes whether or not they were interrupted; what an interruption leaves, and what is refused.
 */
#include "fail_fixture.h"

#include "base/io.h"
#include "base/sizes.h"

typedef struct watcher {
    int calls, most; /* the call that is refused; 0: none */
    uint64_t done, total;
    char stage[64];
    char notice[1024]; /* all of them */
} watcher;

static bool on_stage(void *ctx, const char *stage, uint64_t done, uint64_t total)
{
    watcher *w = ctx;
    if (!strcmp(w->stage, stage)) assert_true(done > w->done);
    assert_true(!total || done <= total);
    snprintf(w->stage, sizeof w->stage, "%s", stage);
    w->done = done;
    w->total = total;
    return ++w->calls != w->most;
}

static void on_notice(void *ctx, const char *sentence)
{
    watcher *w = ctx;
    size_t n = strlen(w->notice);
    snprintf(w->notice + n, sizeof w->notice - n, "%s\n", sentence);
}

static const char chats[] =
    "{\"prompt\": \"What is two and two?\", \"answer\": \"It is four, as everybody knows.\"}\n"
    "{\"prompt\": \"Say something\", \"answer\": \"The quick brown fox jumps over the dog.\"}\n"
    "{\"text\": \"It was a bright cold day in April, and the clocks were striking thirteen.\"}\n"
    "{\"prompt\": \"List three colours\", \"answer\": \"red, green and blue\"}\n";

typedef struct fixture {
    copy folder;
    char checkpoint[1024], output[1024], calibration[1024], work[1024];
    watcher w;
} fixture;

static fixture open_fixture(const char *family)
{
    fixture f = {.folder = new_folder()};
    checkpoint_of(f.checkpoint, family);
    path_in(f.output, f.folder.folder, "m.pte");
    path_in(f.work, f.folder.folder, "m.pte.work");
    path_in(f.calibration, f.folder.folder, "chats.jsonl");
    write_text(&f.folder, "chats.jsonl", chats);
    return f;
}

/* Text of a model that was trained on nothing is any ids: lines of them. */
static void write_ids(const fixture *f)
{
    enum { LINES = 60, IDS = 48 };
    uint64_t state = 1;
    size_t n = 0, room = LINES * (IDS * 6 + 40);
    char *text = calloc(room, 1);
    assert_non_null(text);
    for (int line = 0; line < LINES; line++) {
        n += (size_t)snprintf(text + n, room - n, "{\"ids\": [1");
        for (int i = 0; i < IDS; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            n += (size_t)snprintf(text + n, room - n, ", %u", (unsigned)(state >> 40) % 900);
        }
        n += (size_t)snprintf(text + n, room - n, "]}\n");
    }
    write_text(&f->folder, "chats.jsonl", text);
    free(text);
}

static dlx_export_options options_of(fixture *f, const char *quantization, const char *rounding)
{
    dlx_export_options o = tiny_export(f->checkpoint, f->output, false);
    o.quantization = quantization;
    o.rounding = rounding;
    o.stage = on_stage;
    o.stage_ctx = o.notice_ctx = &f->w;
    o.notice = on_notice;
    if (rounding && strcmp(rounding, "nearest") != 0 && strcmp(rounding, "mse") != 0) o.calibration = f->calibration;
    if (o.calibration) o.calibration_samples = 40;
    return o;
}

static char *file_of(const char *path, size_t *n)
{
    char *bytes;
    CHECK(dlx_read_file(&bytes, n, path, 1 << 26, err));
    return bytes;
}

/* ---- how good it is --------------------------------------------------------------------------------------------- */

static float *logits_of(fixture *f, const char *quantization, const char *rounding, size_t *n, uint64_t *bytes)
{
    enum { ROWS = 40 };
    dlx_model *m;
    dlx_session *s;
    int32_t ids[ROWS];
    dlx_export_options o = options_of(f, quantization, rounding);
    dlx_export_result r = {.struct_size = sizeof r};
    CHECK(dlx_export(&o, &r, err));
    *bytes = r.file_bytes;
    CHECK(dlx_model_open(&m, f->output, NULL, err));
    const dlx_model_facts *facts = dlx_model_get_facts(m);
    for (int i = 0; i < ROWS; i++) ids[i] = i % 3 == 2 ? facts->mask_id : (i * i * 71 + 5) % 900;
    *n = ROWS * (size_t)facts->vocab_size;
    float *logits = calloc(*n, sizeof *logits);
    assert_non_null(logits);
    dlx_forward_call call = {.struct_size = sizeof call,
                             .ids = ids,
                             .n_ids = ROWS,
                             .attn_block = facts->attn_block,
                             .n_rows = ROWS,
                             .logits = logits};
    CHECK(dlx_session_open(&s, m, 0, 0, err));
    CHECK(dlx_session_forward(s, &call, err));
    dlx_session_close(s);
    dlx_model_close(m);
    return logits;
}

static double distance(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)(a[i] - b[i]) * (double)(a[i] - b[i]);
    return sum;
}

/* The same with scaled inputs; '-' and '_' are the same. */
static void check_scaled(fixture *f, const char *scheme, const float *exact, double by_rounding, uint64_t bytes)
{
    static const char *const names[] = {"awq-gptq", "awq_gptq"};
    for (size_t i = 0; i < DLX_COUNT(names); i++) {
        size_t n;
        uint64_t size;
        f->w = (watcher){.calls = 0};
        float *logits = logits_of(f, scheme, names[i], &n, &size);
        double off = distance(exact, logits, n);
        assert_true(size == bytes);
        assert_string_equal(f->w.stage, names[0]);
        assert_true(f->w.done == f->w.total && f->w.total > 0);
        assert_false(dlx_exists(f->work));
        if (!(off < 0.8 * by_rounding)) fail_msg("%s: %g, by rounding %g", scheme, off, by_rounding);
        free(logits);
    }
}

/* What scales were folded into fits together in the file: with 8 bits and float activations little is lost, and a norm
 * or bias that were left out would be seen. */
static void scaled_inputs_are_folded_in_the_file(void **state)
{
    (void)state;
    for (int k = DLX_SLOW; k < FAMILIES; k += DLX_SLOW ? FAMILIES : 1) {
        fixture f = open_fixture(families[k]);
        size_t n;
        uint64_t bytes[3];
        write_ids(&f);
        float *exact = logits_of(&f, "none", NULL, &n, &bytes[0]);
        float *rounded = logits_of(&f, "int8-weight-only", NULL, &n, &bytes[1]);
        float *scaled = logits_of(&f, "int8-weight-only", "awq", &n, &bytes[2]);
        assert_string_equal(f.w.stage, "awq");
        assert_true(f.w.done == f.w.total && f.w.total > 0 && bytes[1] == bytes[2]);
        double by_rounding = distance(exact, rounded, n), off = distance(exact, scaled, n);
        if (!(off > 0 && off < 2 * by_rounding)) fail_msg("%s: %g, by rounding %g", families[k], off, by_rounding);
        free(exact), free(rounded), free(scaled);
        remove_copy(&f.folder);
    }
}

/* Grids of activations: scales are found unless somebody asks for another rounding or keeps the ranges. Weights that
 * were trained on nothing have no inputs that are far larger than others, so little is to be had; a norm or bias that
 * were left out would be seen. */
static void static_layers_are_scaled_by_default(void **state)
{
    (void)state;
    for (int k = DLX_SLOW; k < FAMILIES; k += DLX_SLOW ? FAMILIES : 1) {
        fixture f = open_fixture(families[k]);
        size_t n;
        uint64_t bytes[3];
        char ranges[1024];
        path_in(ranges, f.folder.folder, "ranges.json");
        write_ids(&f);
        float *exact = logits_of(&f, "none", NULL, &n, &bytes[0]);
        float *rounded = logits_of(&f, "int8-static", "nearest", &n, &bytes[1]);
        assert_string_equal(f.w.stage, "ranges");
        float *scaled = logits_of(&f, "int8-static", "smooth", &n, &bytes[2]);
        assert_string_equal(f.w.stage, "smooth");
        assert_true(f.w.done == f.w.total && f.w.total > 0);
        double by_rounding = distance(exact, rounded, n), off = distance(exact, scaled, n);
        if (!(off > 0 && off < 2 * by_rounding)) fail_msg("%s: %g, by rounding %g", families[k], off, by_rounding);
        dlx_export_options o = options_of(&f, "int8-static", NULL);
        o.calibration = f.calibration;
        o.calibration_samples = 40;
        size_t of_named, of_default;
        char *named = file_of(f.output, &of_named);
        f.w = (watcher){.calls = 0};
        CHECK(dlx_export(&o, NULL, err));
        char *by_default = file_of(f.output, &of_default);
        assert_int_equal(of_named, of_default);
        assert_memory_equal(named, by_default, of_named);
        assert_string_equal(f.w.stage, "smooth");
        f.w = (watcher){.calls = 0};
        o.save_ranges = ranges;
        CHECK(dlx_export(&o, NULL, err));
        assert_string_equal(f.w.stage, "ranges");
        free(exact), free(rounded), free(scaled), free(named), free(by_default);
        remove_copy(&f.folder);
    }
}

static void gptq_is_nearer_than_rounding(void **state)
{
    static const char *const schemes[FAMILIES] = {"int4-g32", "int4", "int4-g32", "int4"};
    (void)state;
    for (int k = 0; k < FAMILIES; k += DLX_SLOW ? FAMILIES : 1) {
        fixture f = open_fixture(families[k]);
        size_t n;
        uint64_t bytes[3];
        write_ids(&f);
        float *exact = logits_of(&f, "none", NULL, &n, &bytes[0]);
        assert_int_equal(f.w.calls, 0);
        float *rounded = logits_of(&f, schemes[k], "nearest", &n, &bytes[1]);
        assert_int_equal(f.w.calls, 0);
        float *solved = logits_of(&f, schemes[k], "gptq", &n, &bytes[2]);
        assert_string_equal(f.w.stage, "gptq");
        assert_true(f.w.done == f.w.total && f.w.total > 0);
        assert_true(bytes[2] == bytes[1]);
        assert_false(dlx_exists(f.work));
        double by_rounding = distance(exact, rounded, n), by_solving = distance(exact, solved, n);
        if (!(by_solving < 0.8 * by_rounding)) fail_msg("%s: %g, by rounding %g", families[k], by_solving, by_rounding);
        check_scaled(&f, schemes[k], exact, by_rounding, bytes[2]);
        free(exact), free(rounded), free(solved);
        remove_copy(&f.folder);
    }
}

/* No data is asked for, and layers, table and head get other scales. */
static void mse_needs_no_data(void **state)
{
    static const char *const recipes[] = {"{\"default\": \"int4\"}", "{\"embedding\": \"int4\"}",
                                          "{\"head\": \"int4\"}"};
    (void)state;
    for (size_t k = 0; k < DLX_COUNT(recipes); k++) {
        fixture f = open_fixture("sdar");
        char recipe[1024], *file[2];
        size_t n[2];
        path_in(recipe, f.folder.folder, "recipe.json");
        write_text(&f.folder, "recipe.json", recipes[k]);
        for (int i = 0; i < 2; i++) {
            dlx_export_options o = options_of(&f, k ? "none" : NULL, i ? "mse" : "nearest");
            o.quantization_config = recipe;
            CHECK(dlx_export(&o, NULL, err));
            file[i] = file_of(f.output, &n[i]);
        }
        assert_int_equal(f.w.calls, 0);
        assert_int_equal(n[0], n[1]);
        assert_true(memcmp(file[0], file[1], n[0]) != 0);
        free(file[0]), free(file[1]);
        remove_copy(&f.folder);
    }
}

/* Without a file: its own answers. The same seed gives the same file, another one another. */
static void a_model_calibrates_itself(void **state)
{
    (void)state;
    fixture f = open_fixture("sdar");
    char *file[3];
    size_t n[3];
    for (int i = 0; i < 3; i++) {
        dlx_export_options o = options_of(&f, "int8-dynamic", "gptq");
        o.calibration = NULL;
        o.calibration_samples = 8;
        o.calibration_length = 32;
        o.calibration_seed = i / 2;
        f.w = (watcher){.calls = 0};
        CHECK(dlx_export(&o, NULL, err));
        assert_true(f.w.calls > 2);
        file[i] = file_of(f.output, &n[i]);
    }
    assert_true(n[0] == n[1] && n[0] == n[2]);
    assert_memory_equal(file[0], file[1], n[0]);
    assert_true(memcmp(file[0], file[2], n[0]) != 0);
    for (int i = 0; i < 3; i++) free(file[i]);
    remove_copy(&f.folder);
}

/* ---- interruptions ---------------------------------------------------------------------------------------------- */

static bool stop_writing(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx;
    (void)done;
    (void)total;
    return false;
}

static void check_interruptions(const char *scheme, const char *rounding, const char *end)
{
    fixture f = open_fixture("dream");
    dlx_export_options o = options_of(&f, scheme, rounding);
    char sentence[128], folder[1100];
    o.calibration = f.calibration;
    o.calibration_samples = 24;
    snprintf(folder, sizeof folder, "%s%s", f.work, end);
    snprintf(sentence, sizeof sentence, "m.pte.work%s': the same export goes on from there", end);
    dlx_error problem;
    size_t n, m;
    CHECK(dlx_export(&o, NULL, err));
    char *want = file_of(f.output, &n);
    int calls = f.w.calls;
    assert_true(calls > 3 && calls % 3 == 0); /* layers */
    for (int stop = 1; stop <= calls; stop += DLX_SLOW ? 11 : 3) {
        write_text(&f.folder, "m.pte", older);
        f.w = (watcher){.most = stop};
        assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_CANCELLED);
        int layers = (stop - 1) / (calls / 3);
        assert_non_null(strstr(problem.message, "m.pte' was left as it was"));
        assert_true(!strstr(problem.message, sentence) == !layers);
        assert_true(!strstr(problem.message, "what was found") == !layers);
        char *got = file_of(f.output, &m);
        assert_string_equal(got, older);
        free(got);
        assert_int_equal(dlx_exists(folder), layers > 0);
        f.w = (watcher){.most = 0};
        CHECK(dlx_export(&o, NULL, err));
        assert_string_equal(f.w.notice, "");
        assert_int_equal(f.w.calls, calls - layers * (calls / 3));
        got = file_of(f.output, &m);
        assert_int_equal(m, n);
        assert_memory_equal(got, want, n);
        assert_false(dlx_exists(folder));
        free(got);
    }
    free(want);
    remove_copy(&f.folder);
}

static void interruptions_leave_the_old_file_and_a_folder(void **state)
{
    (void)state;
    check_interruptions("int4", "gptq", "");
    check_interruptions("int4", "awq", "");
    check_interruptions("int4", "awq-gptq", "");
    check_interruptions("int8-static", "nearest", ".ranges");
    check_interruptions("int8-static", NULL, "");
}

/* Ranges that were measured, and then the file was stopped. */
static void what_was_measured_is_not_measured_again(void **state)
{
    (void)state;
    fixture f = open_fixture("sdar");
    dlx_export_options o = options_of(&f, "int8-static", "nearest");
    dlx_error problem;
    char folder[1100];
    snprintf(folder, sizeof folder, "%s.ranges", f.work);
    o.calibration = f.calibration;
    o.progress = stop_writing;
    assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_CANCELLED);
    assert_non_null(strstr(problem.message, "was found so far is in '"));
    assert_non_null(strstr(problem.message, "m.pte.work.ranges': the same export goes on"));
    assert_true(dlx_is_folder(folder));
    o.progress = NULL;
    f.w = (watcher){.most = 0};
    CHECK(dlx_export(&o, NULL, err));
    assert_int_equal(f.w.calls, 0);
    assert_false(dlx_exists(folder));
    remove_copy(&f.folder);
}

/* Solved, and then stopped while it was written: nothing is solved again. */
static void an_output_that_is_cancelled_is_not_solved_again(void **state)
{
    (void)state;
    fixture f = open_fixture("sdar");
    dlx_export_options o = options_of(&f, "int4-g32", "gptq");
    dlx_error problem;
    char folder[1024];
    path_in(folder, f.folder.folder, "elsewhere");
    o.work_folder = folder;
    o.progress = stop_writing;
    assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_CANCELLED);
    assert_non_null(strstr(problem.message, "elsewhere': the same export goes on"));
    assert_true(dlx_is_folder(folder));
    assert_false(dlx_exists(f.work));
    o.progress = NULL;
    f.w = (watcher){.most = 0};
    CHECK(dlx_export(&o, NULL, err));
    assert_int_equal(f.w.calls, 0);
    assert_false(dlx_exists(folder));
    assert_true(dlx_is_file(f.output));
    remove_copy(&f.folder);
}

typedef struct left_out {
    const char *name;
    int n;
} left_out;

static bool leave_out(void *ctx, dlx_st_tensor *t)
{
    left_out *l = ctx;
    if (strcmp(t->name, l->name) != 0) return true;
    l->n++;
    return false;
}

/* Weights and ranges: both folders are named when both hold something. */
static void both_folders_are_named(void **state)
{
    (void)state;
    fixture f = open_fixture("sdar");
    dlx_export_options o = options_of(&f, "int8-static", "gptq");
    dlx_error problem;
    o.progress = stop_writing;
    assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_CANCELLED);
    assert_non_null(strstr(problem.message, "m.pte.work' and '"));
    assert_non_null(strstr(problem.message, "m.pte.work.ranges': the same export goes on"));
    remove_copy(&f.folder);
}

typedef enum damage { FLIP_FIRST, FLIP_MIDDLE, FLIP_LAST, CUT, CUT_TO_NOTHING, GONE, DAMAGES } damage;

static void damage_file(const char *path, damage how)
{
    size_t n;
    char *bytes = file_of(path, &n);
    size_t at = how == FLIP_FIRST ? 9 : how == FLIP_MIDDLE ? n / 2 : n - 1;
    if (how <= FLIP_LAST) bytes[at] ^= 1;
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    if (how == CUT) n -= 3;
    if (how == CUT_TO_NOTHING) n = 0;
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    if (how == GONE) assert_int_equal(remove(path), 0);
    free(bytes);
}

/* An export that was stopped when all but its last layer was done, whose folder somebody or some disk changed: the
 * same file as without all that, and a sentence. */
static void check_damaged(fixture *f, const dlx_export_options *o, const char *folder, const char *name, int first)
{
    dlx_error problem;
    char path[1200];
    size_t n, m;
    f->w = (watcher){.most = 0};
    CHECK(dlx_export(o, NULL, err));
    char *want = file_of(f->output, &n);
    int calls = f->w.calls;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (int how = first; how < DAMAGES; how += DLX_SLOW ? DAMAGES : 1) {
        assert_int_equal(remove(f->output), 0);
        f->w = (watcher){.most = calls};
        assert_int_equal(dlx_export(o, NULL, &problem), DLX_E_CANCELLED);
        damage_file(path, (damage)how);
        f->w = (watcher){.most = 0};
        CHECK(dlx_export(o, NULL, err));
        if (!strstr(f->w.notice, name) || !strstr(f->w.notice, "is not as it was written"))
            fail_msg("%s, %d: '%s'", name, how, f->w.notice);
        assert_int_equal(f->w.calls, calls);
        char *got = file_of(f->output, &m);
        assert_true(m == n && !memcmp(got, want, n));
        assert_false(dlx_exists(folder));
        free(got);
    }
    free(want);
}

static void damaged_work_folders_are_not_gone_on_with(void **state)
{
    static const char *const names[] = {"hidden.safetensors", "layer-00000.safetensors", "layer-00001.safetensors"};
    (void)state;
    fixture f = open_fixture("dream");
    char ranges[1100];
    dlx_export_options o = options_of(&f, "int4", "gptq");
    o.calibration_samples = 12;
    for (int i = 0; i < 3; i++) check_damaged(&f, &o, f.work, names[i], DLX_SLOW ? 2 * i : 0);
    snprintf(ranges, sizeof ranges, "%s.ranges", f.work);
    o = options_of(&f, "int8-static", "nearest");
    o.calibration = f.calibration;
    o.calibration_samples = 12;
    for (int how = 0; how < DAMAGES; how += DLX_SLOW ? 2 : 1) {
        if (how == GONE) continue; /* then there is nothing */
        dlx_error problem;
        f.w = (watcher){.most = 0};
        CHECK(dlx_export(&o, NULL, err));
        f.w = (watcher){.most = f.w.calls};
        assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_CANCELLED);
        char path[1200];
        snprintf(path, sizeof path, "%s/hidden.safetensors", ranges);
        damage_file(path, (damage)how);
        f.w = (watcher){.most = 0};
        CHECK(dlx_export(&o, NULL, err));
        assert_non_null(strstr(f.w.notice, "is not as it was written"));
    }
    remove_copy(&f.folder);
}

/* Whoever adds a file of a layer that has none. */
static void a_file_too_many_is_noticed(void **state)
{
    (void)state;
    fixture f = open_fixture("dream");
    dlx_error problem;
    dlx_export_options o = options_of(&f, "int4", "gptq");
    copy work;
    o.exclude = "layers.0.*";
    CHECK(dlx_export(&o, NULL, err));
    f.w = (watcher){.most = f.w.calls};
    assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_CANCELLED);
    assert_true(snprintf(work.folder, sizeof work.folder, "%s", f.work) < (int)sizeof work.folder);
    write_text(&work, "layer-00000.safetensors", "a stranger's");
    f.w = (watcher){.most = 0};
    CHECK(dlx_export(&o, NULL, err));
    assert_non_null(strstr(f.w.notice, "'layer-00000.safetensors' in the work folder"));
    remove_copy(&f.folder);
}

typedef struct intruder {
    const fixture *f;
    left_out left;
    const dlx_st_tensor *more;
    bool done;
} intruder;

/* While the second layer is solved, somebody changes what was found of the first. */
static bool intrude(void *ctx, const char *stage, uint64_t done, uint64_t total)
{
    intruder *x = ctx;
    copy work;
    (void)stage;
    if (x->done || done < total / 2) return true;
    assert_true(snprintf(work.folder, sizeof work.folder, "%s", x->f->work) < (int)sizeof work.folder);
    edit_tensors(&work, "layer-00000.safetensors", leave_out, &x->left, x->more);
    x->done = true;
    return true;
}

/* A tensor more than the graph has, one fewer than the weights need. */
static void a_work_folder_that_somebody_changes_meanwhile_is_refused(void **state)
{
    static const float numbers[4] = {0};
    const dlx_st_tensor stranger = {
        .name = "stranger", .dtype = DLX_F32, .rank = 1, .dim = {4}, .data = (const uint8_t *)numbers, .bytes = 16};
    (void)state;
    for (int more = 0; more < 2; more++) {
        fixture f = open_fixture("sdar");
        intruder x = {.f = &f, .left = {.name = more ? "" : "layers.0.down.weight"}, .more = more ? &stranger : NULL};
        dlx_export_options o = options_of(&f, "int4", "gptq");
        dlx_error problem;
        o.stage = intrude;
        o.stage_ctx = &x;
        assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_FORMAT);
        assert_true(x.done && x.left.n == !more);
        if (!strstr(problem.message, "m.pte.work' has") || !strstr(problem.message, "remove it"))
            fail_msg("%s", problem.message);
        assert_false(dlx_exists(f.output));
        remove_copy(&f.folder);
    }
}

static bool leave_a_note(void *ctx, uint64_t done, uint64_t total)
{
    copy work;
    const fixture *f = ctx;
    (void)done;
    (void)total;
    assert_true(snprintf(work.folder, sizeof work.folder, "%s", f->work) < (int)sizeof work.folder);
    write_text(&work, "note", "somebody's");
    return true;
}

/* A file of somebody else's that came meanwhile stays, and the export says so. */
static void a_work_folder_that_cannot_go_is_noticed(void **state)
{
    (void)state;
    fixture f = open_fixture("sdar");
    dlx_export_options o = options_of(&f, "int4", "gptq");
    char note[1100];
    o.progress = leave_a_note;
    o.progress_ctx = &f;
    CHECK(dlx_export(&o, NULL, err));
    assert_non_null(strstr(f.w.notice, "the export is complete, but its work folder is left: "));
    assert_non_null(strstr(f.w.notice, "holds 'note'"));
    snprintf(note, sizeof note, "%s/note", f.work);
    assert_true(dlx_is_file(note) && dlx_is_file(f.output));
    remove_copy(&f.folder);
}

/* ---- refusals --------------------------------------------------------------------------------------------------- */

static void what_contradicts_itself_is_refused(void **state)
{
    (void)state;
    fixture f = open_fixture("sdar");
    dlx_error problem;
    dlx_export_options o = options_of(&f, "int8", "best");
    assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_INVALID);
    assert_string_equal(problem.message,
                        "rounding 'best' is not known; expected one of: nearest, mse, gptq, awq, awq-gptq, smooth");
    o = options_of(&f, "none", "gptq");
    assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_INVALID);
    assert_non_null(strstr(problem.message, "nothing to do"));
    o = options_of(&f, "none", "mse");
    assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_INVALID);
    assert_string_equal(problem.message, "rounding mse has nothing to do: no weight becomes int8 or int4");
    o = options_of(&f, "fp16", "mse");
    assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_INVALID);
    o = options_of(&f, "int8", "gptq");
    o.exclude = "layers.*";
    assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_INVALID);
    assert_non_null(strstr(problem.message, "nothing to do"));
    for (int i = 0; i < 5; i++) {
        o = options_of(&f, "int8", i % 2 ? NULL : "nearest");
        if (i == 0) o.calibration = f.calibration;
        if (i == 1) o.calibration_samples = 4;
        if (i == 2) o.calibration_length = 4;
        if (i == 3) o.calibration_seed = 4;
        if (i == 4) o.work_folder = f.work;
        assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_INVALID);
        assert_non_null(strstr(problem.message, "rounding gptq, awq, awq-gptq and smooth use it"));
    }
    for (int i = 0; i < 2; i++) {
        o = options_of(&f, "int8-static", i ? "awq" : "awq-gptq");
        assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_INVALID);
        assert_non_null(strstr(problem.message, "int8-static has ranges of it as it is"));
    }
    o = options_of(&f, "int8", "smooth");
    assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_INVALID);
    assert_non_null(
        strstr(problem.message, "rounding smooth is for grids of activations, but no weight is int8-static"));
    for (int i = 0; i < 2; i++) {
        o = options_of(&f, "int8-static", "smooth");
        *(i ? &o.ranges : &o.save_ranges) = f.output;
        if (i) o.calibration = NULL;
        assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_INVALID);
        assert_non_null(strstr(problem.message, "a file of ranges is of it as it is"));
    }
    o = options_of(&f, "none", "awq");
    assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_INVALID);
    assert_non_null(strstr(problem.message, "rounding awq has nothing to do"));
    static const int64_t bad[][2] = {{-1, 0}, {(int64_t)INT32_MAX + 1, 0}, {4, -1}, {4, (int64_t)INT32_MAX + 1}};
    for (size_t i = 0; i < DLX_COUNT(bad); i++) {
        o = options_of(&f, "int8", "gptq");
        o.calibration_samples = bad[i][0];
        o.calibration_length = bad[i][1];
        assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_INVALID);
        assert_string_equal(problem.message, "calibration_samples and calibration_length must be 0 to 2147483647");
    }
    o = options_of(&f, "int8", "gptq");
    o.calibration = "/nowhere.jsonl";
    assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_IO);
    o = options_of(&f, "int8", "gptq");
    o.work_folder = f.folder.folder; /* the calibration data lies there, and the output */
    assert_int_equal(dlx_export(&o, NULL, &problem), DLX_E_INVALID);
    assert_non_null(strstr(problem.message, "the program, '"));
    assert_non_null(strstr(problem.message, "lies in the work folder '"));
    assert_true(dlx_exists(f.calibration));
    assert_false(dlx_exists(f.output));
    remove_copy(&f.folder);
}

/* A mix may leave all layers floats: the file is that of the recipe alone, and says what it is. */
static void a_recipe_may_leave_nothing_to_solve(void **state)
{
    static const char *const words[] = {"nearest", "gptq", "awq", "awq-gptq"};
    (void)state;
    fixture f = open_fixture("sdar");
    char recipe[1024], *want = NULL;
    size_t n, m;
    path_in(recipe, f.folder.folder, "recipe.json");
    write_text(&f.folder, "recipe.json", "{\"default\": \"fp16\", \"head\": \"int8-dynamic\", \"tensors\": []}");
    for (size_t i = 0; i < DLX_COUNT(words); i++) {
        dlx_export_options o = options_of(&f, NULL, words[i]);
        o.quantization_config = recipe;
        CHECK(dlx_export(&o, NULL, err));
        assert_int_equal(f.w.calls, 0);
        assert_false(dlx_exists(f.work));
        if (i) assert_non_null(strstr(f.w.notice, words[i]));
        if (i) assert_non_null(strstr(f.w.notice, "has nothing to do"));
        if (i) assert_non_null(strstr(f.w.notice, "calibration was asked for, but no weight of a layer took a form"));
        char *got = file_of(f.output, &m);
        if (i) {
            assert_true(m == n && !memcmp(got, want, n)); /* of nearest: all is rounded alike */
            free(got);
        } else {
            want = got;
            n = m;
        }
        f.w = (watcher){.calls = 0};
    }
    free(want);
    remove_copy(&f.folder);
}

/* What stays float has no scales that mse could find; the head has some here, so that it has something to do. */
static void mse_is_told_when_there_is_nothing(void **state)
{
    static const char *const recipes[] = {"{\"default\": \"fp16\"}", "{\"default\": \"fp16\", \"head\": \"int8\"}"};
    (void)state;
    fixture f = open_fixture("sdar");
    char recipe[1024];
    path_in(recipe, f.folder.folder, "recipe.json");
    for (size_t i = 0; i < DLX_COUNT(recipes); i++) {
        dlx_export_options o = options_of(&f, NULL, "mse");
        write_text(&f.folder, "recipe.json", recipes[i]);
        o.quantization_config = recipe;
        f.w = (watcher){.calls = 0};
        CHECK(dlx_export(&o, NULL, err));
        assert_string_equal(f.w.notice, i ? "" : "rounding mse has nothing to do: no weight becomes int8 or int4\n");
    }
    remove_copy(&f.folder);
}

/* A recipe that speaks of int8-static and gives it to none. */
static void ranges_that_nothing_has_are_noticed(void **state)
{
    (void)state;
    fixture f = open_fixture("sdar");
    char recipe[1024], ranges[1024];
    path_in(recipe, f.folder.folder, "recipe.json");
    path_in(ranges, f.folder.folder, "ranges.json");
    write_text(&f.folder, "recipe.json",
               "{\"default\": \"int8-static\", \"tensors\": [{\"pattern\": \"layers.*\", \"scheme\": \"int8\"}]}");
    dlx_export_options o = options_of(&f, NULL, NULL);
    o.quantization_config = recipe;
    o.save_ranges = ranges;
    CHECK(dlx_export(&o, NULL, err));
    assert_non_null(strstr(f.w.notice, "no weight is int8-static, which alone has them: none were read or written"));
    assert_false(dlx_exists(ranges));
    assert_int_equal(f.w.calls, 0);
    remove_copy(&f.folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gptq_is_nearer_than_rounding),
        cmocka_unit_test(scaled_inputs_are_folded_in_the_file),
        cmocka_unit_test(static_layers_are_scaled_by_default),
        cmocka_unit_test(mse_needs_no_data),
        cmocka_unit_test(a_model_calibrates_itself),
        cmocka_unit_test(interruptions_leave_the_old_file_and_a_folder),
        cmocka_unit_test(what_was_measured_is_not_measured_again),
        cmocka_unit_test(an_output_that_is_cancelled_is_not_solved_again),
        cmocka_unit_test(both_folders_are_named),
        cmocka_unit_test(damaged_work_folders_are_not_gone_on_with),
        cmocka_unit_test(a_file_too_many_is_noticed),
        cmocka_unit_test(a_work_folder_that_somebody_changes_meanwhile_is_refused),
        cmocka_unit_test(a_work_folder_that_cannot_go_is_noticed),
        cmocka_unit_test(what_contradicts_itself_is_refused),
        cmocka_unit_test(a_recipe_may_leave_nothing_to_solve),
        cmocka_unit_test(mse_is_told_when_there_is_nothing),
        cmocka_unit_test(ranges_that_nothing_has_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
