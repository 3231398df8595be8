/*
 * Files against their checkpoints: divergence and agreement are those of the logits that sessions give; a layer's error
 * is its own, whatever stands before it; what is refused, and what a cancellation says.
 */
#include "fail_fixture.h"

#include <math.h>

#include "base/half.h"
#include "calibrate/samples.h"
#include "export/tokenizer_folder.h"

typedef struct fixture {
    copy folder;
    char checkpoint[1024], exact[1024], file[1024], lines[1024];
    dlx_validate_options o;
    dlx_validation found;
} fixture;

static void open_fixture(fixture *f, const char *family)
{
    memset(f, 0, sizeof *f);
    f->folder = new_folder();
    checkpoint_of(f->checkpoint, family);
    path_in(f->exact, f->folder.folder, "exact.pte");
    path_in(f->file, f->folder.folder, "m.pte");
    path_in(f->lines, f->folder.folder, "lines.jsonl");
    write_text(&f->folder, "lines.jsonl",
               "{\"prompt\": \"What is two and two?\", \"answer\": \"It is four, as everybody knows.\"}\n"
               "{\"text\": \"It was a bright cold day in April\"}\n"
               "{\"ids\": [5, 3, 8, 120, 44, 17, 9, 300, 301, 302, 303, 304], \"answer_start\": 4}\n");
    f->o = (dlx_validate_options){.struct_size = sizeof f->o,
                                  .model_path = f->checkpoint,
                                  .file_path = f->file,
                                  .samples = f->lines,
                                  .count = 9,
                                  .length = 48,
                                  .seed = 4};
    f->found.struct_size = sizeof f->found;
}

static void close_fixture(fixture *f)
{
    dlx_free(f->found.layer_error);
    unlink(f->exact);
    unlink(f->file);
    remove_copy(&f->folder);
}

static void export_with(const fixture *f, const char *path, const char *quantization, const char *exclude,
                        const char *kv)
{
    dlx_export_options o = tiny_export(f->checkpoint, path, false);
    o.quantization = quantization;
    o.exclude = exclude;
    o.kv = kv;
    CHECK(dlx_export(&o, NULL, err));
}

/* ---- logits ----------------------------------------------------------------------------------------------------- */

/* [n, vocab] of all rows. */
static float *logits_of(const char *path, const dlx_sample *s, int32_t attn_block, size_t vocab)
{
    dlx_model *m;
    dlx_session *session;
    float *logits = calloc((size_t)s->n * vocab, sizeof *logits);
    dlx_forward_call call = {.struct_size = sizeof call,
                             .ids = s->ids,
                             .n_ids = s->n,
                             .attn_block = attn_block,
                             .n_rows = s->n,
                             .logits = logits};
    assert_non_null(logits);
    CHECK(dlx_model_open(&m, path, NULL, err));
    CHECK(dlx_session_open(&session, m, 0, 0, err));
    CHECK(dlx_session_forward(session, &call, err));
    dlx_session_close(session);
    dlx_model_close(m);
    return logits;
}

static double log_sum(const float *x, size_t n, size_t *best)
{
    double sum = 0;
    *best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[*best]) *best = i;
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - (double)x[*best]);
    return (double)x[*best] + log(sum);
}

static double divergence(const float *r, const float *f, size_t n, bool *same)
{
    size_t a, b;
    double sum = 0, whole_r = log_sum(r, n, &a), whole_f = log_sum(f, n, &b);
    for (size_t i = 0; i < n; i++) {
        double p = (double)r[i] - whole_r, q = (double)f[i] - whole_f;
        sum += exp(p) * (p - q);
    }
    *same = a == b;
    return sum;
}

static void expect_figures(fixture *f)
{
    dlx_checkpoint c;
    dlx_tokenizer *t;
    dlx_samples samples;
    const dlx_samples_options o = {.count = (size_t)f->o.count, .length = 48, .seed = 4};
    double sum = 0, most = 0;
    size_t rows = 0, same = 0;
    CHECK(dlx_checkpoint_open(&c, f->checkpoint, NULL, err));
    CHECK(dlx_checkpoint_tokenizer(&t, &c, NULL, err));
    CHECK(dlx_samples_read(&samples, f->lines, &c, t, &o, err));
    size_t vocab = (size_t)c.facts.vocab_size;
    dlx_model_facts facts = {.struct_size = sizeof facts};
    CHECK(dlx_model_read_facts(&facts, f->file, err));
    for (size_t i = 0; i < samples.n; i++) {
        const dlx_sample *s = &samples.list[i];
        float *r = logits_of(f->exact, s, samples.attn_block, vocab);
        float *q = logits_of(f->file, s, samples.attn_block, vocab);
        for (int32_t p = facts.logits_shift; p < s->n; p++) {
            size_t at = (size_t)(p - facts.logits_shift) * vocab;
            bool agree;
            if (s->ids[p] != c.facts.mask_id) continue;
            double d = divergence(r + at, q + at, facts.num_tokens ? (size_t)facts.num_tokens : vocab, &agree);
            rows++;
            sum += d;
            same += agree;
            most = fmax(most, d);
        }
        free(r);
        free(q);
    }
    assert_int_equal(f->found.samples, samples.n);
    assert_int_equal(f->found.rows, rows);
    assert_true(sum > 0);
    assert_true(fabs(f->found.kl_mean * (double)rows / sum - 1) < 1e-5);
    assert_true(fabs(f->found.kl_most / most - 1) < 1e-5);
    assert_true(fabs(f->found.agreement - (double)same / (double)rows) < 1e-12);
    dlx_samples_free(&samples);
    dlx_tokenizer_close(t);
    dlx_checkpoint_close(&c);
}

static void figures_are_those_of_logits(void **state)
{
    static const char *const forms[FAMILIES] = {"caller", "explicit", "state", "caller"};
    (void)state;
    for (int i = 0; i < FAMILIES; i++) {
        fixture f;
        open_fixture(&f, families[i]);
        export_with(&f, f.exact, "none", NULL, NULL);
        export_with(&f, f.file, "int8-dynamic", NULL, forms[i]);
        CHECK(dlx_validate(&f.o, &f.found, err));
        expect_figures(&f);
        close_fixture(&f);
    }
}

/* The tensor again with more rows, of noise; those behind `loud` are ten times as large. malloc'd data. */
static void add_words(dlx_st_tensor *t, int64_t words, int64_t loud)
{
    uint64_t state = 1;
    uint16_t *w = malloc((size_t)(words * t->dim[1]) * sizeof *w);
    assert_true(w && t->dtype == DLX_BF16 && t->dim[0] < loud);
    memcpy(w, t->data, (size_t)t->bytes);
    for (int64_t i = t->dim[0] * t->dim[1]; i < words * t->dim[1]; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        float x = (float)(state >> 40) * 0x1p-24f - 0.5f;
        w[i] = dlx_f32_to_bf16(x * (i / t->dim[1] < loud ? 0.1f : 1.0f));
    }
    t->data = (const uint8_t *)w;
    t->dim[0] = words;
    t->bytes = (uint64_t)(words * t->dim[1]) * sizeof *w;
}

typedef struct words {
    int64_t n, loud;
    void *data; /* of the table; malloc'd */
} words;

static bool enlarge_table(void *ctx, dlx_st_tensor *t)
{
    words *w = ctx;
    if (!strcmp(t->name, "lm_head.weight")) return false;
    if (strcmp(t->name, "model.embed_tokens.weight") != 0) return true;
    add_words(t, w->n, w->loud);
    w->data = (void *)(uintptr_t)t->data;
    return true;
}

/* So many words that the checkpoint's head runs in two pieces (64 MiB of its floats at one time), and the likeliest of
 * most rows are in the second. */
static void a_head_of_several_pieces(void **state)
{
    enum { PIECE = (64 << 20) / (128 * 4), WORDS = PIECE + 96 };
    words w = {.n = WORDS, .loud = WORDS - 48};
    (void)state;
    fixture f;
    open_fixture(&f, "sdar");
    copy c = copy_checkpoint(f.checkpoint);
    memcpy(f.checkpoint, c.folder, sizeof c.folder);
    edit_tensors(&c, "model.safetensors", enlarge_table, &w, NULL);
    free(w.data);
    edit_json(&c, "config.json", "vocab_size", "131168");
    edit_json(&c, "config.json", "tie_word_embeddings", "true");
    remove_file(&c, "tokenizer.json"); /* its size is that of the words which count */
    remove_file(&c, "vocab.json");
    write_text(&f.folder, "lines.jsonl",
               "{\"ids\": [5, 3, 8, 120, 44, 17, 9, 300, 131100, 302, 303, 304], \"answer_start\": 4}\n");
    f.o.count = 4;
    export_with(&f, f.exact, "none", NULL, NULL);
    export_with(&f, f.file, "int4-g32", NULL, NULL);
    CHECK(dlx_validate(&f.o, &f.found, err));
    expect_figures(&f);
    remove_copy(&c);
    close_fixture(&f);
}

/* ---- layers ----------------------------------------------------------------------------------------------------- */

/* Weights of one layer are int4, all others stay as they are. */
static void errors_are_of_their_layer(void **state)
{
    (void)state;
    for (int layer = 0; layer < 3; layer++) {
        fixture f;
        char exclude[256] = "embed,lm_head";
        open_fixture(&f, "llada");
        for (int k = 0; k < 3; k++)
            if (k != layer) snprintf(exclude + strlen(exclude), sizeof exclude - strlen(exclude), ",layers.%d.*", k);
        export_with(&f, f.file, "int4-g32", exclude, NULL);
        CHECK(dlx_validate(&f.o, &f.found, err));
        assert_int_equal(f.found.layers, 3);
        assert_int_equal(f.found.worst_layer, layer);
        for (int k = 0; k < 3; k++) {
            double e = f.found.layer_error[k];
            if (k == layer ? e < 0.03 || e > 0.3 : e != 0) fail_msg("layer %d: error %g", k, e);
        }
        assert_true(f.found.kl_mean > 0);
        close_fixture(&f);
    }
}

static void a_file_of_floats_is_the_checkpoint(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, "fast_dllm_v2");
    export_with(&f, f.file, "none", NULL, NULL);
    f.o.samples = NULL; /* the model writes them */
    f.o.count = f.o.length = 0;
    CHECK(dlx_validate(&f.o, &f.found, err));
    assert_int_equal(f.found.samples, 20);
    assert_true(f.found.kl_most < 1e-9 && f.found.agreement == 1);
    for (int k = 0; k < f.found.layers; k++) assert_true(f.found.layer_error[k] < 1e-5);
    close_fixture(&f);
}

/* ---- refusals --------------------------------------------------------------------------------------------------- */

static void expect_refusal(fixture *f, dlx_status status, const char *sentence)
{
    dlx_error err = {0};
    assert_int_equal(dlx_validate(&f->o, &f->found, &err), status);
    if (!strstr(err.message, sentence)) fail_msg("'%s' is not in '%s'", sentence, err.message);
    assert_null(f->found.layer_error);
}

/* The same numbers, in other places. */
static bool turn_around(void *ctx, dlx_st_tensor *t)
{
    (void)ctx;
    uint16_t *w = (uint16_t *)(uintptr_t)t->data;
    assert_int_equal(t->dtype, DLX_BF16);
    for (size_t i = 0, k = (size_t)t->bytes / sizeof *w; i + 1 < k; i++) {
        uint16_t kept = w[i];
        w[i] = w[--k];
        w[k] = kept;
    }
    return true;
}

static void what_is_no_such_file(void **state)
{
    (void)state;
    fixture f;
    char other[1024];
    open_fixture(&f, "llada");
    export_with(&f, f.file, "int8-dynamic", NULL, NULL);
    checkpoint_of(other, "sdar");
    f.o.model_path = other;
    expect_refusal(&f, DLX_E_INVALID,
                   "the file has family llada, layers 3, hidden size 96, head size 16, intermediate size 192, "
                   "vocabulary 1472, mask id 1416, attention block 0, ...; the checkpoint has family sdar, layers 2, "
                   "hidden size 128, head size 32, intermediate size 256, vocabulary 1280, mask id 1226, "
                   "attention block 4, ...");
    f.o.model_path = f.checkpoint;
    f.o.length = 65;
    expect_refusal(&f, DLX_E_LIMIT, "expected 2 to the 64 rows of a call");
    f.o.length = 0;
    f.o.file_path = DLX_TEST_DATA "/format/official_8da8w.pte";
    expect_refusal(&f, DLX_E_UNSUPPORTED, "was not written by this library's export");
    f.o.file_path = f.exact;
    expect_refusal(&f, DLX_E_IO, f.exact);
    export_with(&f, f.exact, "int8-dynamic", NULL, "fixed");
    expect_refusal(&f, DLX_E_UNSUPPORTED,
                   "cannot be validated, because its cache has the form 'fixed', and no session");
    close_fixture(&f);
}

/* The checkpoint again with other words, positions, or weights: what is said is that they do not belong together. */
static void a_checkpoint_that_became_another(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, "sdar");
    copy c = copy_checkpoint(f.checkpoint);
    export_with(&f, f.file, "int4-g32", NULL, NULL);
    f.o.model_path = c.folder;
    CHECK(dlx_validate(&f.o, &f.found, err));
    dlx_free(f.found.layer_error);
    edit_json(&c, "config.json", "max_position_embeddings", "32");
    expect_refusal(&f, DLX_E_INVALID, "the file has positions 64; the checkpoint has positions at most 32");
    remove_copy(&c);
    c = copy_checkpoint(f.checkpoint);
    edit_json(&c, "config.json", "hidden_act", "\"gelu\""); /* broken, but not another */
    expect_refusal(&f, DLX_E_UNSUPPORTED, "hidden_act");
    remove_copy(&c);
    c = copy_checkpoint(f.checkpoint);
    f.o.model_path = c.folder;
    edit_tensors(&c, "model.safetensors", turn_around, NULL, NULL);
    expect_refusal(&f, DLX_E_INVALID, "the sizes are the same, the weights are not; 2 of 2 layers miss");
    remove_copy(&c);
    close_fixture(&f);
}

/* An edit of a file of the checkpoint, NULL: of one that is removed; and what differs then. */
typedef struct edit {
    const char *family, *file, *key, *value, *sentence;
} edit;

static const edit edits[] = {
    {"fast_dllm_v2", "config.json", "eos_token_id", "1351",
     "the file has eos id 1352, stop ids 1352 1350; the checkpoint has eos id 1351, stop ids 1352 1350 1351"},
    {"sdar", "config.json", "bos_token_id", "1201", "the file has bos id 1200; the checkpoint has bos id 1201"},
    {"dream", "config.json", "pad_token_id", "1301", "the file has pad id 1300; the checkpoint has pad id 1301"},
    {"sdar", "generation_config.json", "eos_token_id", "[1228, 1200]",
     "the file has stop ids 1202 1200; the checkpoint has stop ids 1202 1228 1200"},
    {"sdar", "config.json", "rope_theta", "10000",
     "the file has rotary base 1e+06; the checkpoint has rotary base 10000"},
    {"llada", "config.json", "rope_theta", "500100",
     "the file has rotary base 500000; the checkpoint has rotary base 500100"},
    {"dream", "config.json", "rope_scaling", "{\"type\": \"linear\", \"factor\": 4.0}",
     "the file has rotary angle of pair 0 1; the checkpoint has rotary angle of pair 0 0.25"},
    {"sdar", "config.json", "rms_norm_eps", "1e-5",
     "the file has norm epsilon 1e-06; the checkpoint has norm epsilon 1e-05"},
    {"llada", "tokenizer.json", NULL, NULL, "the file has tokenizer there; the checkpoint has tokenizer none"},
};

/* Sizes and weights are the same: what decoding goes by is told by name, with both values. */
static void facts_are_compared_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        const edit *e = &edits[i];
        fixture f;
        open_fixture(&f, e->family);
        export_with(&f, f.file, "int8-dynamic", NULL, NULL);
        copy c = copy_checkpoint(f.checkpoint);
        if (e->key)
            edit_json(&c, e->file, e->key, e->value);
        else
            remove_file(&c, e->file);
        f.o.model_path = c.folder;
        expect_refusal(&f, DLX_E_INVALID, e->sentence);
        remove_copy(&c);
        close_fixture(&f);
    }
}

/* Two words of the tokenizer with each other's ids. */
static void exchange_words(const copy *c, const char *a, const char *b)
{
    char path[1024];
    path_in(path, c->folder, "tokenizer.json");
    json_t *root = json_load_file(path, 0, NULL), *ids = json_object_get(json_object_get(root, "model"), "vocab");
    json_t *first = json_incref(json_object_get(ids, a)), *second = json_incref(json_object_get(ids, b));
    assert_true(first && second);
    json_object_set_new(ids, a, second);
    json_object_set_new(ids, b, first);
    char *dumped = json_dumps(root, 0);
    assert_non_null(dumped);
    write_text(c, "tokenizer.json", dumped);
    free(dumped);
    json_decref(root);
}

static void words_are_compared(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, "dream");
    export_with(&f, f.file, "int8-dynamic", NULL, NULL);
    copy c = copy_checkpoint(f.checkpoint);
    exchange_words(&c, "!", "#");
    f.o.model_path = c.folder;
    expect_refusal(&f, DLX_E_INVALID, "the file has token 0 '!'; the checkpoint has token 0 '#'");
    remove_copy(&c);
    close_fixture(&f);
}

/* The table's numbers, kept, then those of a head of its own. */
static bool keep_table(void *ctx, dlx_st_tensor *t)
{
    dlx_st_tensor *table = ctx;
    if (strcmp(t->name, "model.embed_tokens.weight") != 0) return true;
    *table = *t;
    table->data = malloc((size_t)t->bytes);
    assert_non_null(table->data);
    memcpy((void *)(uintptr_t)table->data, t->data, (size_t)t->bytes);
    return true;
}

static bool put_head(void *ctx, dlx_st_tensor *t)
{
    const dlx_st_tensor *table = ctx;
    if (!strcmp(t->name, "lm_head.weight")) t->data = table->data;
    return true;
}

static void a_head_of_its_own(void **state)
{
    (void)state;
    fixture f;
    dlx_st_tensor table;
    open_fixture(&f, "sdar");
    copy c = copy_checkpoint(f.checkpoint);
    edit_tensors(&c, "model.safetensors", keep_table, &table, NULL);
    edit_tensors(&c, "model.safetensors", put_head, &table, NULL);
    free((void *)(uintptr_t)table.data);
    memcpy(f.checkpoint, c.folder, sizeof c.folder);
    export_with(&f, f.file, "int8-dynamic", NULL, NULL);
    edit_json(&c, "config.json", "tie_word_embeddings", "true");
    expect_refusal(&f, DLX_E_INVALID, "the file has head of its own; the checkpoint has head the embedding table");
    export_with(&f, f.file, "int8-dynamic", NULL, NULL);
    CHECK(dlx_validate(&f.o, &f.found, err));
    dlx_free(f.found.layer_error);
    f.found.layer_error = NULL;
    edit_json(&c, "config.json", "tie_word_embeddings", "false");
    expect_refusal(&f, DLX_E_INVALID, "the file has head the embedding table; the checkpoint has head of its own");
    remove_copy(&c);
    close_fixture(&f);
}

/* What the export was told besides, the validation has to be told as well. */
static void what_an_export_was_told(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, "sdar");
    dlx_export_options o = tiny_export(f.checkpoint, f.file, false);
    o.mask_id = 1225;
    o.block_size = 8;
    CHECK(dlx_export(&o, NULL, err));
    expect_refusal(&f, DLX_E_INVALID,
                   "the file has mask id 1225, attention block 8, block length 8; the checkpoint has mask id 1226, "
                   "attention block 4, block length 4; where the export was told so, tell it here, too (model_type, "
                   "mask_id, block_size)");
    f.o.mask_id = -1;
    expect_refusal(&f, DLX_E_INVALID, "block_size and mask_id must be 0 to");
    f.o.mask_id = o.mask_id;
    f.o.block_size = o.block_size;
    CHECK(dlx_validate(&f.o, &f.found, err));
    dlx_free(f.found.layer_error);
    CHECK(dlx_export_validated(&o, &f.o, NULL, &f.found, err));
    close_fixture(&f);
}

/* A renamed fork says nothing of its family; the file does. */
static void a_renamed_fork(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, "sdar");
    copy c = copy_checkpoint(f.checkpoint);
    edit_json(&c, "config.json", "architectures", "[\"Renamed\"]");
    dlx_export_options o = tiny_export(c.folder, f.file, false);
    o.model_type = "sdar";
    CHECK(dlx_export(&o, NULL, err));
    f.o.model_path = c.folder;
    CHECK(dlx_validate(&f.o, &f.found, err));
    remove_copy(&c);
    close_fixture(&f);
}

/* ---- behind an export -------------------------------------------------------------------------------------------- */

typedef struct counter {
    int progress, stages, most; /* most: stages until one is refused, 0: none is */
} counter;

static bool count_progress(void *ctx, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    ((counter *)ctx)->progress++;
    return true;
}

static bool count_stages(void *ctx, const char *stage, uint64_t done, uint64_t total)
{
    counter *c = ctx;
    (void)stage;
    (void)done;
    (void)total;
    return ++c->stages != c->most;
}

static dlx_export_options counted_export(const fixture *f, counter *c)
{
    dlx_export_options o = tiny_export(f->checkpoint, f->file, true);
    o.progress = count_progress;
    o.progress_ctx = c;
    return o;
}

/* Nothing is written, and the older file stays. */
static void expect_nothing(fixture *f, const dlx_export_options *o, dlx_status status, const char *sentence)
{
    dlx_export_result result = {.struct_size = sizeof result};
    dlx_error err = {0};
    char text[64] = "";
    assert_int_equal(dlx_export_validated(o, &f->o, &result, &f->found, &err), status);
    if (!strstr(err.message, sentence)) fail_msg("'%s' is not in '%s'", sentence, err.message);
    assert_true(!result.file_bytes && !f->found.layer_error && !((counter *)o->progress_ctx)->progress);
    FILE *file = fopen(f->file, "rb");
    assert_non_null(file);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    assert_true(n == strlen("an older file") && !strcmp(text, "an older file"));
}

static void what_is_wrong_is_told_before_anything_is_written(void **state)
{
    (void)state;
    fixture f;
    counter c = {0};
    open_fixture(&f, "llada");
    write_text(&f.folder, "m.pte", "an older file");
    dlx_export_options o = counted_export(&f, &c);
    f.o.samples = f.exact;
    expect_nothing(&f, &o, DLX_E_IO, "exact.pte");
    f.o.samples = f.file;
    expect_nothing(&f, &o, DLX_E_INVALID, "which is read");
    f.o.samples = f.lines;
    f.o.count = -1;
    expect_nothing(&f, &o, DLX_E_INVALID, "count and length");
    f.o.count = 3;
    f.o.length = 65;
    expect_nothing(&f, &o, DLX_E_LIMIT, "expected 2 to the 64 rows of a call");
    f.o.length = 0;
    o.max_rows = 1;
    expect_nothing(&f, &o, DLX_E_LIMIT, "takes 1 row");
    o.max_rows = 0;
    o.kv = "fixed";
    expect_nothing(&f, &o, DLX_E_UNSUPPORTED, "no session of this library runs it");
    o.kv = NULL;
    static const char *const wrong[][2] = {
        {"{\"ids\": [5, 99999]}\n", "line 1: entry 2 of its \"ids\" is 99999"},
        {"{\"text\": \"a\"}\nno JSON\n", "line 2"},
        {"{\"prompt\": \"a\"}\n", "line 1"},
        {"\n \r\n", "has no line to read"},
        {"\xFF\xFE{", "is text in UTF-16"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_text(&f.folder, "lines.jsonl", wrong[i][0]);
        expect_nothing(&f, &o, DLX_E_FORMAT, wrong[i][1]);
    }
    close_fixture(&f);
}

/* The figures are those of the same file by itself; the samples come through a pipe. */
static void an_export_is_validated(void **state)
{
    (void)state;
    fixture f;
    counter c = {0};
    int ends[2];
    char text[1024], through[64];
    open_fixture(&f, "dream");
    FILE *lines = fopen(f.lines, "rb");
    assert_non_null(lines);
    size_t n = fread(text, 1, sizeof text, lines);
    fclose(lines);
    assert_true(n > 0 && n < sizeof text && pipe(ends) == 0);
    assert_int_equal(write(ends[1], text, n), n);
    close(ends[1]);
    snprintf(through, sizeof through, "/dev/fd/%d", ends[0]);
    dlx_export_options o = counted_export(&f, &c);
    dlx_export_result result = {.struct_size = sizeof result};
    dlx_validation alone = {.struct_size = sizeof alone};
    o.kv = "explicit"; /* sessions take samples that are longer than one of its calls */
    f.o.samples = through;
    f.o.model_path = f.o.file_path = NULL;
    CHECK(dlx_export_validated(&o, &f.o, &result, &f.found, err));
    close(ends[0]);
    f.o.samples = f.lines;
    f.o.model_path = f.checkpoint;
    f.o.file_path = f.file;
    CHECK(dlx_validate(&f.o, &alone, err));
    assert_true(alone.rows > 9 && alone.rows == f.found.rows && alone.samples == f.found.samples);
    assert_true(alone.kl_mean == f.found.kl_mean && alone.kl_most == f.found.kl_most);
    assert_memory_equal(alone.layer_error, f.found.layer_error, (size_t)alone.layers * sizeof *alone.layer_error);
    assert_true(result.file_bytes > 0 && c.progress > 0);
    dlx_free(alone.layer_error);
    close_fixture(&f);
}

static void a_validation_that_fails_leaves_the_file(void **state)
{
    (void)state;
    fixture f;
    counter c = {.most = 2};
    open_fixture(&f, "llada");
    write_text(&f.folder, "m.pte", "an older file");
    dlx_export_options o = counted_export(&f, &c);
    dlx_export_result result = {.struct_size = sizeof result};
    dlx_error problem = {0};
    dlx_model_facts facts = {.struct_size = sizeof facts};
    f.o.stage = count_stages;
    f.o.stage_ctx = &c;
    assert_int_equal(dlx_export_validated(&o, &f.o, &result, &f.found, &problem), DLX_E_CANCELLED);
    assert_non_null(strstr(problem.message, "is complete and can be used, but it was not validated: the validation was "
                                            "cancelled"));
    assert_true(result.file_bytes > 0 && !f.found.layer_error && f.found.rows == 0);
    CHECK(dlx_model_read_facts(&facts, f.file, err));
    close_fixture(&f);
}

/* ---- cancelling -------------------------------------------------------------------------------------------------- */

typedef struct watcher {
    int calls, most;
    uint64_t done, total;
} watcher;

static bool on_stage(void *ctx, const char *stage, uint64_t done, uint64_t total)
{
    watcher *w = ctx;
    assert_string_equal(stage, "validating");
    assert_true(done >= w->done && done <= total);
    w->done = done;
    w->total = total;
    return ++w->calls != w->most;
}

static void it_can_be_cancelled(void **state)
{
    (void)state;
    fixture f;
    watcher all = {0};
    open_fixture(&f, "llada");
    export_with(&f, f.file, "int8-dynamic", NULL, NULL);
    f.o.stage = on_stage;
    f.o.stage_ctx = &all;
    CHECK(dlx_validate(&f.o, &f.found, err));
    assert_true(all.done == all.total && all.calls > 9);
    dlx_free(f.found.layer_error);
    for (int most = 1; most <= all.calls; most += 3) {
        watcher w = {.most = most};
        f.o.stage_ctx = &w;
        expect_refusal(&f, DLX_E_CANCELLED, "the validation was cancelled");
        assert_int_equal(w.calls, most);
    }
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_logits),
        cmocka_unit_test(a_head_of_several_pieces),
        cmocka_unit_test(errors_are_of_their_layer),
        cmocka_unit_test(a_file_of_floats_is_the_checkpoint),
        cmocka_unit_test(what_is_no_such_file),
        cmocka_unit_test(facts_are_compared_by_name),
        cmocka_unit_test(words_are_compared),
        cmocka_unit_test(a_head_of_its_own),
        cmocka_unit_test(what_an_export_was_told),
        cmocka_unit_test(a_renamed_fork),
        cmocka_unit_test(it_can_be_cancelled),
        cmocka_unit_test(a_checkpoint_that_became_another),
        cmocka_unit_test(what_is_wrong_is_told_before_anything_is_written),
        cmocka_unit_test(an_export_is_validated),
        cmocka_unit_test(a_validation_that_fails_leaves_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
