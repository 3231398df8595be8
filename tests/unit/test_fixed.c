/*
 * Sessions over programs whose shapes never vary: calls give what a native session of the same checkpoint gives,
 * however they are padded and cut; recorded decodes come out; what is refused is refused in the same words; and
 * whatever fails leaves the cache as it was.
 */
#include "fixed_calls.h"
#include "fixed_runner.h"

#include <math.h>

#include "base/half.h"
#include "base/sizes.h"
#include "shared_folder.h"
#include "test_diffusion_json.h"

/* A native session and a fixed one of the same checkpoint. */
typedef struct pair {
    runner r;
    dlx_model *model;
    both_sides s;
} pair;

static void open_pair(pair *p, const char *family, const char *kv, const char *quantization, int32_t max_rows,
                      const int32_t *more, size_t n_more)
{
    char path[1024];
    dlx_model_options o = dlx_model_options_default();
    o.threads = 1;
    path_in(path, folder.folder, "fixed.pte");
    export_fixed(path, family, kv, quantization, max_rows, more, n_more);
    open_runner(&p->r, path);
    path_in(path, folder.folder, "caller.pte");
    export_fixed(path, family, "caller", quantization, 0, NULL, 0);
    CHECK(dlx_model_open(&p->model, path, &o, err));
    open_sides(&p->s, p->model, p->r.session);
}

static void close_pair(pair *p)
{
    close_runner(&p->r);
    close_sides(&p->s);
    dlx_model_close(p->model);
}

static void calls_give_what_a_native_session_gives(void **state)
{
    static const struct {
        const char *kv, *quantization;
        float tolerance;
    } forms[] = {{"fixed", "none", 1e-5f}, {"fixed", "int8-dynamic", 2e-2f}, {"fixed-fp16", "none", 2e-2f}};
    (void)state;
    for (size_t f = 0; f < DLX_COUNT(forms); f++)
        for (int i = 0; i < FAMILIES; i++) {
            pair p;
            char what[64];
            int32_t block = i < 2 ? 0 : i == 2 ? 4 : 32;
            snprintf(what, sizeof what, "%s, %s, %s", families[i], forms[f].kv, forms[f].quantization);
            open_pair(&p, families[i], forms[f].kv, forms[f].quantization, block == 4 ? 8 : 64,
                      (const int32_t[]){16, 4}, 2);
            assert_int_equal(dlx_model_get_facts(p.model)->attn_block, block);
            if (block == 0) full_calls(&p.s, forms[f].tolerance, what);
            if (block) block_calls(&p.s, 4, forms[f].tolerance, what);
            if (block) block_calls(&p.s, 8, forms[f].tolerance, what);
            close_pair(&p);
        }
}

/* ---- which methods run ------------------------------------------------------------------------------------------ */

static void expect_runs(runner *r, int32_t start, int32_t n, const int *rows, size_t passes)
{
    dlx_forward_call c = {.struct_size = sizeof c, .ids = ids, .n_ids = n, .start = start, .attn_block = 4};
    r->runs = 0;
    CHECK(dlx_fixed_forward(r->session, &c, err));
    assert_int_equal(r->runs, passes);
    for (size_t i = 0; i < passes; i++) assert_int_equal(r->ran[i], rows[i]);
}

static void passes_are_few_and_small(void **state)
{
    runner r;
    char path[1024];
    (void)state;
    path_in(path, folder.folder, "methods.pte");
    export_fixed(path, "sdar", "fixed", "none", 8, (const int32_t[]){16, 4}, 2);
    open_runner(&r, path);
    assert_int_equal(r.program->n_methods, 3);
    assert_string_equal(r.program->method_names[0], "forward");
    assert_string_equal(r.program->method_names[1], "forward_16");
    assert_int_equal(r.program->facts->max_rows, 16);
    assert_int_equal(r.program->facts->max_context, 128);
    expect_runs(&r, 0, 1, (int[]){4}, 1);
    expect_runs(&r, 0, 4, (int[]){4}, 1);
    expect_runs(&r, 0, 5, (int[]){8}, 1);
    expect_runs(&r, 0, 9, (int[]){16}, 1);
    expect_runs(&r, 0, 17, (int[]){16, 4}, 2);
    expect_runs(&r, 0, 40, (int[]){16, 16, 8}, 3);
    expect_runs(&r, 2, 17, (int[]){16, 4}, 2); /* to the end of a block: 14 rows, and 3 */
    close_runner(&r);
}

/* ---- recorded decodes ------------------------------------------------------------------------------------------- */

enum { MOST_IDS = 192 };

static void replay(runner *r, json_t *t, bool steps)
{
    int32_t prompt[MOST_IDS], want[MOST_IDS];
    size_t n_prompt = case_ids(json_object_get(t, "prompt_ids"), prompt, MOST_IDS),
           n_want = case_ids(json_object_get(t, "output_ids"), want, MOST_IDS), n;
    dlx_generation *g;
    dlx_decode_options *o = case_options(t);
    dlx_fixed_truncate(r->session, 0);
    CHECK(dlx_generate(r->program->facts, dlx_fixed_forward, r->session, o, prompt, n_prompt, NULL, NULL, &g, err));
    const int32_t *got = dlx_generation_output_ids(g, &n);
    if (n != n_want || memcmp(got, want, n * sizeof *got) != 0) fail_msg("%s: other tokens", case_text(t, "name"));
    assert_int_equal(dlx_generation_num_forwards(g), case_int(t, "num_forwards"));
    json_t *list = json_object_get(t, "steps");
    for (size_t i = 0; steps && i < dlx_generation_num_steps(g); i++) {
        dlx_step step = {.struct_size = sizeof step};
        json_t *s = json_array_get(list, i), *accepted = json_array_get(s, 2);
        assert_true(dlx_generation_step(g, i, &step));
        assert_int_equal(step.block, json_integer_value(json_array_get(s, 0)));
        assert_int_equal(step.n_accepted, json_array_size(accepted));
        for (size_t k = 0; k < step.n_accepted; k++) {
            assert_int_equal(step.accepted[k].position,
                             json_integer_value(json_array_get(json_array_get(accepted, k), 0)));
            assert_int_equal(step.accepted[k].id, json_integer_value(json_array_get(json_array_get(accepted, k), 1)));
        }
    }
    dlx_generation_free(g);
    dlx_decode_options_free(o);
}

static void recorded_decodes_come_out(void **state)
{
    static const struct {
        const char *file, *kv, *quantization;
        size_t least;
    } runs[] = {{"/traces/float32.json", "fixed", "none", 12},
                {"/traces/int8.json", "fixed", "int8-dynamic", 4},
                {"/traces/float32.json", "fixed-fp16", "none", 12}};
    (void)state;
    for (size_t k = 0; k < DLX_COUNT(runs); k++) {
        char file[1024];
        snprintf(file, sizeof file, "%s%s", DLX_TEST_DATA, runs[k].file);
        json_t *traces = case_file(file);
        size_t replayed = 0;
        for (int i = 0; i < FAMILIES; i++) {
            if (DLX_SLOW && i % DLX_COUNT(runs) != k) continue; /* one each */
            runner r;
            char path[1024], checkpoint[64];
            snprintf(checkpoint, sizeof checkpoint, "%s-tiny", families[i]);
            path_in(path, folder.folder, "decode.pte");
            export_fixed(path, families[i], runs[k].kv, runs[k].quantization, i < 2 ? 128 : 32, (const int32_t[]){8},
                         1);
            open_runner(&r, path);
            for (size_t t = 0; t < json_array_size(traces); t++) {
                json_t *trace = json_array_get(traces, t);
                if (strcmp(case_text(trace, "checkpoint"), checkpoint) != 0) continue;
                replay(&r, trace, k == 0);
                replayed++;
            }
            close_runner(&r);
        }
        assert_true(DLX_SLOW ? replayed > 0 : replayed == runs[k].least);
        json_decref(traces);
    }
}

/* ---- what is refused -------------------------------------------------------------------------------------------- */

/* The same status and the same sentence as a native session's, and nothing runs. */
static void wrong_calls_are_refused_in_the_same_words(void **state)
{
    static const int32_t wrong[] = {1, -1, 2, 3}, large[] = {1, 2000000}, down[] = {2, 1}, outside[] = {4};
    const dlx_forward_call calls[] = {
        {.n_ids = 4},
        {.ids = ids, .n_ids = 0},
        {.ids = ids, .n_ids = -1},
        {.ids = ids, .n_ids = 4, .start = -1},
        {.ids = ids, .n_ids = 4, .start = 125},
        {.ids = ids, .n_ids = INT32_MAX, .start = INT32_MAX},
        {.ids = wrong, .n_ids = 4},
        {.ids = large, .n_ids = 2},
        {.ids = ids, .n_ids = 4, .n_rows = 5},
        {.ids = ids, .n_ids = 4, .n_rows = -1},
        {.ids = ids, .n_ids = 4, .rows = down, .n_rows = 2},
        {.ids = ids, .n_ids = 4, .rows = outside, .n_rows = 1},
        {.ids = ids, .n_ids = 4, .attn_block = -4},
        {.ids = ids, .n_ids = 4, .n_store = 5},
        {.ids = ids, .n_ids = 4, .n_store = -1},
        {.ids = ids, .n_ids = 8, .attn_block = 4, .n_store = 3},
        {.ids = ids, .n_ids = 4, .n_context = 3},
        {.ids = ids, .n_ids = 4, .start = 8, .context = {{0, 9}}, .n_context = 1},
        {.ids = ids, .n_ids = 4, .start = 20, .context = {{5, 3}}, .n_context = 1},
        {.ids = ids, .n_ids = 4, .start = 20, .context = {{0, 129}}, .n_context = 1},
        {.ids = ids, .n_ids = 4, .start = 20, .context = {{0, 17}}, .n_context = 1}, /* 16 are stored */
        {.ids = ids, .n_ids = 4, .start = 4, .context = {{8, 12}}, .n_context = 1, .attn_block = 4},
        {.ids = ids, .n_ids = 16, .start = 8, .attn_block = 4}, /* several passes would overwrite what is stored */
        {.ids = ids, .n_ids = 9},                               /* all see each other */
        {.ids = ids, .n_ids = 12, .attn_block = 12},            /* a block does not fit */
    };
    pair p;
    dlx_session *small;
    (void)state;
    open_pair(&p, "sdar", "fixed", "none", 8, (const int32_t[]){4}, 1);
    CHECK(dlx_session_open(&small, p.model, 8, 0, err)); /* as many rows a pass */
    dlx_forward_call store = {.struct_size = sizeof store, .ids = ids, .n_ids = 16, .attn_block = 4, .n_store = 16};
    CHECK(dlx_session_forward(small, &store, err));
    CHECK(dlx_fixed_forward(p.r.session, &store, err));
    p.r.runs = 0;
    for (size_t i = 0; i < DLX_COUNT(calls); i++) {
        dlx_forward_call c = calls[i];
        dlx_error want = {0}, got = {0};
        c.struct_size = sizeof c;
        c.logits = p.s.got;
        dlx_status a = dlx_session_forward(small, &c, &want), b = dlx_fixed_forward(p.r.session, &c, &got);
        if (a == DLX_OK || a != b || strcmp(want.message, got.message) != 0)
            fail_msg("call %zu: %d, '%s'; a native session says %d, '%s'", i, b, got.message, a, want.message);
        assert_int_equal(dlx_fixed_forward(p.r.session, &c, NULL), b);
    }
    assert_int_equal(p.r.runs, 0);
    store.struct_size = 3;
    assert_int_equal(dlx_fixed_forward(p.r.session, &store, NULL), DLX_E_INVALID);
    dlx_session_close(small);
    close_pair(&p);
}

/* ---- what fails ------------------------------------------------------------------------------------------------- */

static void logits_behind_the_cache(runner *r, float *out)
{
    dlx_forward_call c = {.struct_size = sizeof c,
                          .ids = ids + 5,
                          .n_ids = 4,
                          .start = 24,
                          .context = {{0, 24}},
                          .n_context = 1,
                          .attn_block = 4,
                          .n_rows = 4,
                          .logits = out};
    CHECK(dlx_fixed_forward(r->session, &c, err));
}

/* Calls of 8 rows, of the family whose blocks have 4. */
static void open_small(runner *r, const char *kv)
{
    char path[1024];
    path_in(path, folder.folder, "small.pte");
    export_fixed(path, "sdar", kv, "none", 8, NULL, 0);
    open_runner(r, path);
}

/* A call of three passes over what is stored, of which each fails once; then one that only stores. */
static void a_runner_that_fails_leaves_the_cache(void **state)
{
    runner r;
    (void)state;
    open_small(&r, "fixed");
    size_t n = 4 * (size_t)r.program->facts->vocab_size;
    float *before = calloc(n, sizeof *before), *after = calloc(n, sizeof *after);
    assert_true(before && after);
    dlx_forward_call c = {.struct_size = sizeof c, .ids = ids, .n_ids = 24, .attn_block = 4, .n_store = 24};
    CHECK(dlx_fixed_forward(r.session, &c, err));
    logits_behind_the_cache(&r, before);
    for (size_t at = 1; at <= 4; at++) {
        dlx_error err = {0};
        c.ids = ids + 30;
        c.n_ids = c.n_store = at == 4 ? 8 : 24;
        r.runs = 0;
        r.fail_at = at == 4 ? 1 : at;
        assert_int_equal(dlx_fixed_forward(r.session, &c, &err), DLX_E_IO);
        assert_int_equal(r.runs, r.fail_at);
        assert_string_equal(err.message, "the accelerator was unplugged");
        assert_int_equal(err.status, DLX_E_IO);
        r.fail_at = 0;
        assert_int_equal(dlx_fixed_reusable(r.session, ids, 24, 4), 20);
        logits_behind_the_cache(&r, after);
        assert_memory_equal(before, after, n * sizeof *before);
    }
    CHECK(dlx_fixed_forward(r.session, &c, err)); /* without a failure it is another sequence, and a shorter one */
    assert_int_equal(dlx_fixed_reusable(r.session, ids, 24, 4), 0);
    assert_int_equal(dlx_fixed_reusable(r.session, ids + 30, 24, 4), 8);
    dlx_fixed_truncate(r.session, 5);
    assert_int_equal(dlx_fixed_reusable(r.session, ids + 30, 24, 4), 4);
    free(before);
    free(after);
    close_runner(&r);
}

static float numbers[1 << 16];
static uint16_t halves[1 << 16];

static void no_output(const runner *r, const void **outputs)
{
    (void)r;
    outputs[3] = NULL;
}

static void crooked(const runner *r, const void **outputs)
{
    (void)r;
    outputs[0] = (const char *)outputs[0] + 1;
}

static void keys_are_no_numbers(const runner *r, const void **outputs)
{
    (void)r;
    for (size_t i = 0; i < DLX_COUNT(numbers); i++) numbers[i] = i == 5 ? NAN : 0;
    outputs[1] = numbers;
}

static void values_are_infinite(const runner *r, const void **outputs)
{
    (void)r;
    for (size_t i = 0; i < DLX_COUNT(halves); i++) halves[i] = dlx_f32_to_f16(i == 7 ? 1e9f : 1);
    outputs[4] = halves;
}

static void halves_are_no_numbers(const runner *r, const void **outputs)
{
    (void)r;
    for (size_t i = 0; i < DLX_COUNT(halves); i++) halves[i] = i == 7 ? 0x7E00 : 0;
    outputs[4] = halves;
}

static void logits_are_no_numbers(const runner *r, const void **outputs)
{
    (void)r;
    numbers[7] = NAN;
    outputs[0] = numbers;
}

static void outputs_that_cannot_be_are_errors(void **state)
{
    static const struct {
        void (*spoil)(const runner *r, const void **outputs);
        bool halves;
        dlx_status status;
        const char *sentence;
    } cases[] = {
        {no_output, false, DLX_E_INVALID, "the runner of method 'forward' left output 3 NULL"},
        {crooked, false, DLX_E_INVALID, "left output 0 at an address that is no multiple of its element size"},
        {keys_are_no_numbers, false, DLX_E_INTERNAL, "the keys of layer 0 are NaN or infinite"},
        {logits_are_no_numbers, false, DLX_E_INTERNAL, "NaN or infinite logits"},
        {values_are_infinite, true, DLX_E_LIMIT, "the values of layer 1 are too large for a float16 cache"},
        {halves_are_no_numbers, true, DLX_E_INTERNAL, "the values of layer 1 are NaN"},
    };
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        runner r;
        open_small(&r, kind ? "fixed-fp16" : "fixed");
        float *logits = calloc(4 * (size_t)r.program->facts->vocab_size, sizeof *logits);
        dlx_forward_call c = {.struct_size = sizeof c, .ids = ids, .n_ids = 4, .attn_block = 4};
        c.n_rows = c.n_store = 4;
        c.logits = logits;
        assert_non_null(logits);
        for (size_t i = 0; i < DLX_COUNT(cases); i++) {
            dlx_error said = {0};
            if (cases[i].halves != (kind == 1)) continue;
            memset(numbers, 0, sizeof numbers);
            r.spoil = cases[i].spoil;
            if (dlx_fixed_forward(r.session, &c, &said) != cases[i].status || !strstr(said.message, cases[i].sentence))
                fail_msg("case %zu: %d, %s", i, said.status, said.message);
            r.spoil = NULL;
            dlx_forward_call behind = c;
            behind.start = 4;
            behind.context[0] = (dlx_span){0, 4};
            behind.n_context = 1;
            assert_int_equal(dlx_fixed_forward(r.session, &behind, NULL), DLX_E_INVALID); /* nothing was stored */
            behind.start = behind.n_context = behind.n_store = 0;
            CHECK(dlx_fixed_forward(r.session, &behind, err));
        }
        free(logits);
        close_runner(&r);
    }
}

/* ---- descriptions ----------------------------------------------------------------------------------------------- */

static dlx_status never(void *ctx, size_t method, const void **outputs, dlx_error *err)
{
    (void)ctx;
    (void)method;
    (void)outputs;
    (void)err;
    return (dlx_status)99;
}

static void impossible_descriptions_are_refused(void **state)
{
    (void)state;
    const dlx_model_facts facts = {.struct_size = sizeof facts, .max_context = 32, .vocab_size = 8};
    const int32_t rows[2] = {4, 4}, none[1] = {0}, huge[1] = {1 << 24};
    const char *const name[2] = {"forward", NULL};
    const dlx_fixed_program good = {.struct_size = sizeof good,
                                    .facts = &facts,
                                    .layers = 1,
                                    .kv_heads = 2,
                                    .head_dim = 4,
                                    .element = DLX_ELEMENT_FLOAT32,
                                    .n_methods = 1,
                                    .method_rows = rows};
    dlx_model_facts f[4] = {facts, facts, facts, facts};
    f[0].max_context = 0;
    f[1].vocab_size = -1;
    f[2].struct_size = 0;
    f[3].max_context = 1 << 24;
    dlx_fixed_program bad[16];
    for (size_t i = 0; i < DLX_COUNT(bad); i++) bad[i] = good;
    bad[0].facts = NULL;
    bad[1].facts = &f[0];
    bad[2].facts = &f[1];
    bad[3].facts = &f[2];
    bad[4].layers = 0;
    bad[5].kv_heads = -1;
    bad[6].head_dim = INT32_MAX;
    bad[7].element = DLX_ELEMENT_BFLOAT16;
    bad[8].n_methods = 0;
    bad[9].n_methods = SIZE_MAX;
    bad[10].method_rows = NULL;
    bad[11].method_rows = none;
    bad[12].n_methods = 2; /* of as many rows */
    bad[13].method_names = name + 1;
    bad[14].struct_size = 0;
    bad[15].method_rows = huge; /* the mask alone */
    bad[15].facts = &f[3];
    for (size_t i = 0; i < DLX_COUNT(bad); i++) {
        dlx_fixed_session *s = (dlx_fixed_session *)&bad;
        dlx_error err = {0};
        dlx_status status = dlx_fixed_open(&s, &bad[i], never, NULL, NULL, &err);
        if (status != (i < 15 ? DLX_E_INVALID : DLX_E_NOMEM) || s || strlen(err.message) < 15)
            fail_msg("description %zu: %d, %s", i, status, err.message);
        if (i < 15) assert_int_equal(dlx_fixed_bytes(&bad[i]), 0);
    }
    bad[6] = good;
    bad[6].layers = 4096;
    bad[6].kv_heads = bad[6].head_dim = 1 << 24;
    assert_int_equal(dlx_fixed_open(&(dlx_fixed_session *){NULL}, &bad[6], never, NULL, NULL, NULL), DLX_E_LIMIT);
}

/* A status that nobody knows, and no word. */
static void a_silent_failure_gets_a_sentence(void **state)
{
    (void)state;
    const dlx_model_facts facts = {.struct_size = sizeof facts, .max_context = 32, .vocab_size = 100};
    const dlx_fixed_program p = {.struct_size = sizeof p,
                                 .facts = &facts,
                                 .layers = 1,
                                 .kv_heads = 2,
                                 .head_dim = 4,
                                 .element = DLX_ELEMENT_FLOAT16,
                                 .n_methods = 1,
                                 .method_rows = (const int32_t[]){6}};
    dlx_fixed_session *s;
    dlx_error said = {0};
    CHECK(dlx_fixed_open(&s, &p, never, NULL, NULL, err));
    dlx_forward_call c = {.struct_size = sizeof c, .ids = ids, .n_ids = 1};
    assert_int_equal(dlx_fixed_forward(s, &c, &said), 99);
    assert_string_equal(said.message, "the runner of method of 6 rows failed and did not say why");
    for (size_t i = 0; i < 5; i++) {
        static const int64_t sizes[5][3] = {{6}, {6}, {6, 38}, {32, 2, 4}, {32, 2, 4}};
        dlx_tensor t = {.struct_size = sizeof t};
        CHECK(dlx_fixed_input(s, 0, i, &t, err));
        assert_int_equal((uintptr_t)t.data % 64, 0);
        assert_memory_equal(t.size, sizes[i], sizeof sizes[i]);
    }
    dlx_fixed_close(s);
}

typedef struct looker {
    dlx_fixed_session *s;
    bool looks; /* else it answers with zeros */
} looker;

/* What a padded call looks like from inside: rows that fill up repeat the last one and see themselves. */
static void look(dlx_fixed_session *s)
{
    static const char *const wanted[6] = {"..xxxx............xx....", "..xxxx............xx....",
                                          "..xxxx............xxxx..", "..xxxx............xxxx..",
                                          "......................x.", ".......................x"};
    dlx_tensor t[3];
    for (size_t i = 0; i < 3; i++) {
        t[i].struct_size = sizeof t[i];
        CHECK(dlx_fixed_input(s, 0, i, &t[i], err));
    }
    const int64_t *tokens = t[0].data, *positions = t[1].data;
    const float *mask = t[2].data;
    assert_int_equal(t[2].size[1], 24);
    for (int r = 0; r < 6; r++) {
        assert_int_equal(tokens[r], ids[r < 4 ? r : 3]);
        assert_int_equal(positions[r], 10 + (r < 4 ? r : 3));
        for (int c = 0; c < 24; c++)
            if (mask[r * 24 + c] != (wanted[r][c] == 'x' ? 0 : DLX_FIXED_HIDDEN)) fail_msg("row %d, key %d", r, c);
    }
}

static dlx_status run_looker(void *ctx, size_t method, const void **outputs, dlx_error *err)
{
    static const float zeros[6 * 1000];
    looker *l = ctx;
    (void)method;
    (void)err;
    if (l->looks) look(l->s);
    for (size_t i = 0; i < 3; i++) outputs[i] = zeros;
    return l->looks ? DLX_E_CANCELLED : DLX_OK;
}

static void padding_sees_itself_and_is_not_seen(void **state)
{
    (void)state;
    const dlx_model_facts facts = {.struct_size = sizeof facts, .max_context = 18, .vocab_size = 1000};
    const dlx_fixed_program p = {.struct_size = sizeof p,
                                 .facts = &facts,
                                 .layers = 1,
                                 .kv_heads = 2,
                                 .head_dim = 4,
                                 .element = DLX_ELEMENT_FLOAT32,
                                 .n_methods = 1,
                                 .method_rows = (const int32_t[]){6}};
    looker l = {.looks = false};
    CHECK(dlx_fixed_open(&l.s, &p, run_looker, &l, NULL, err));
    dlx_forward_call c = {.struct_size = sizeof c, .ids = ids, .n_ids = 6, .n_store = 6};
    CHECK(dlx_fixed_forward(l.s, &c, err));
    l.looks = true;
    c = (dlx_forward_call){.struct_size = sizeof c,
                           .ids = ids,
                           .n_ids = 4,
                           .start = 10,
                           .attn_block = 4,
                           .context = {{2, 6}},
                           .n_context = 1};
    assert_int_equal(dlx_fixed_forward(l.s, &c, NULL), DLX_E_CANCELLED);
    dlx_fixed_close(l.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_give_what_a_native_session_gives),
        cmocka_unit_test(passes_are_few_and_small),
        cmocka_unit_test(recorded_decodes_come_out),
        cmocka_unit_test(wrong_calls_are_refused_in_the_same_words),
        cmocka_unit_test(a_runner_that_fails_leaves_the_cache),
        cmocka_unit_test(outputs_that_cannot_be_are_errors),
        cmocka_unit_test(impossible_descriptions_are_refused),
        cmocka_unit_test(a_silent_failure_gets_a_sentence),
        cmocka_unit_test(padding_sees_itself_and_is_not_seen),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_it);
}
