/*
 * Sessions over programs that keep the cache themselves. Such a program is made here of one that does not: its caches
 * are the runner's, which does with a call's rows what the program is told to. Calls give what a native session gives,
 * what is stored stays as it is where nobody stores, and what fails is forgotten.
 */
#include "fixed_runner.h"

#include "fixed_calls.h"
#include "shared_folder.h"

enum { CONTEXT = 128, MOST_LAYERS = 8 };

typedef struct keeper {
    dlx_fixed_program *file;   /* whose session keeps the cache */
    dlx_fixed_program program; /* the same as one that keeps it */
    dlx_fixed_session *session;
    dlx_method *method;
    dlx_tensor input[4]; /* of the session */
    float *cache;        /* [2 * layers][CONTEXT][row] */
    size_t row;
    size_t runs, fail_at; /* this run fails behind its work, counted from 1 */
    float spoil;          /* in place of the first logit of the last row of that run, unless 0 */
    float *logits;        /* [rows, vocab] what was spoilt */
} keeper;

static float *slot(const keeper *k, size_t tensor, int64_t position)
{
    return k->cache + (tensor * CONTEXT + (size_t)position) * k->row;
}

/* Positions count up and have slots, and each row is stored or not. */
static void check_call(const keeper *k)
{
    const int64_t *positions = k->input[1].data;
    const float *stored = k->input[3].data;
    int32_t rows = k->program.method_rows[0];
    assert_true(positions[0] >= 0 && positions[0] + rows <= CONTEXT);
    for (int32_t r = 0; r < rows; r++) {
        assert_int_equal(positions[r], positions[0] + r);
        assert_true(stored[r] == 0.0f || stored[r] == 1.0f);
    }
}

static void store_rows(const keeper *k)
{
    const int64_t *positions = k->input[1].data;
    const float *stored = k->input[3].data;
    for (size_t t = 0; t < 2 * (size_t)k->file->layers; t++) {
        dlx_tensor out = {.struct_size = sizeof out};
        CHECK(dlx_method_output(k->method, 1 + t, &out, err));
        const float *rows = out.data;
        for (int32_t r = 0; r < k->program.method_rows[0]; r++)
            if (stored[r] != 0.0f) memcpy(slot(k, t, positions[r]), rows + (size_t)r * k->row, k->row * sizeof *rows);
    }
}

static dlx_status run_keeper(void *ctx, size_t method, const void **outputs, dlx_error *said)
{
    keeper *k = ctx;
    dlx_tensor in[3 + 2 * MOST_LAYERS], out = {.struct_size = sizeof out};
    size_t caches = 2 * (size_t)k->file->layers, n;
    assert_int_equal(method, 0);
    assert_null(outputs[0]);
    check_call(k);
    memcpy(in, k->input, 3 * sizeof *in);
    for (size_t t = 0; t < caches; t++)
        in[3 + t] = (dlx_tensor){.struct_size = sizeof *in,
                                 .element = DLX_ELEMENT_FLOAT32,
                                 .rank = 3,
                                 .size = {CONTEXT, k->file->kv_heads, k->file->head_dim},
                                 .data = slot(k, t, 0)};
    CHECK(dlx_method_run(k->method, in, 3 + caches, err));
    CHECK(dlx_method_output(k->method, 0, &out, err));
    store_rows(k);
    n = (size_t)(out.size[0] * out.size[1]);
    memcpy(k->logits, out.data, n * sizeof *k->logits);
    outputs[0] = k->logits;
    if (++k->runs != k->fail_at) return DLX_OK;
    if (k->spoil == 0.0f) return dlx_fixed_forward(NULL, NULL, said); /* any failure with a sentence */
    k->logits[n - (size_t)out.size[1]] = k->spoil;
    return DLX_OK;
}

static void open_keeper(keeper *k, const char *family, int32_t rows)
{
    char path[1024];
    dlx_method_options o = dlx_method_options_default();
    memset(k, 0, sizeof *k);
    o.threads = 1;
    path_in(path, folder.folder, "keeper.pte");
    export_fixed(path, family, "fixed", "none", rows, NULL, 0);
    CHECK(dlx_fixed_program_read(&k->file, path, err));
    assert_in_range(k->file->layers, 1, MOST_LAYERS);
    k->program = (dlx_fixed_program){.struct_size = sizeof k->program,
                                     .facts = k->file->facts,
                                     .n_methods = 1,
                                     .method_rows = k->file->method_rows,
                                     .keeps_cache = 1};
    k->row = (size_t)k->file->kv_heads * (size_t)k->file->head_dim;
    k->cache = calloc(2 * (size_t)k->file->layers * CONTEXT * k->row, sizeof *k->cache);
    k->logits = calloc((size_t)rows * (size_t)k->file->facts->vocab_size, sizeof *k->logits);
    assert_true(k->cache && k->logits);
    CHECK(dlx_method_open(&k->method, path, "forward", &o, err));
    CHECK(dlx_fixed_open(&k->session, &k->program, run_keeper, k, NULL, err));
    for (size_t i = 0; i < 4; i++) {
        k->input[i].struct_size = sizeof k->input[i];
        CHECK(dlx_fixed_input(k->session, 0, i, &k->input[i], err));
    }
}

static void close_keeper(keeper *k)
{
    dlx_fixed_close(k->session);
    dlx_method_close(k->method);
    dlx_fixed_program_free(k->file);
    free(k->cache);
    free(k->logits);
}

/* ---- calls ------------------------------------------------------------------------------------------------------ */

/* Where the program's rows reach beyond its slots, so that some fill up in front; and over what is stored there. */
static void last_calls(both_sides *p, const char *what)
{
    const dlx_forward_call calls[] = {
        {.ids = ids + 4, .n_ids = 8, .start = 116, .n_rows = 8, .n_store = 8},
        {.ids = ids + 9, .n_ids = 3, .start = 124, .context = {{116, 124}}, .n_context = 1, .n_rows = 3, .n_store = 2},
        {.ids = ids + 2, .n_ids = 4, .start = 124, .context = {{116, 124}}, .n_context = 1, .n_rows = 4},
        {.ids = ids + 1, .n_ids = 1, .start = 127, .context = {{116, 126}}, .n_context = 1, .n_rows = 1, .n_store = 1},
        {.ids = ids + 6, .n_ids = 2, .start = 118, .context = {{116, 118}, {120, 126}}, .n_context = 2, .n_rows = 2},
    };
    for (size_t i = 0; i < DLX_COUNT(calls); i++) compare(p, &calls[i], 1e-5f, what);
}

static void calls_give_what_a_native_session_gives(void **state)
{
    (void)state;
    for (int i = 0; i < FAMILIES; i++) {
        keeper k;
        both_sides p;
        dlx_model *model;
        char path[1024];
        dlx_model_options o = dlx_model_options_default();
        int32_t block = i < 2 ? 0 : i == 2 ? 4 : 32;
        o.threads = 1;
        path_in(path, folder.folder, "caller.pte");
        export_fixed(path, families[i], "caller", "none", 0, NULL, 0);
        CHECK(dlx_model_open(&model, path, &o, err));
        open_keeper(&k, families[i], block == 4 ? 16 : 64);
        open_sides(&p, model, k.session);
        if (block == 0) full_calls(&p, 1e-5f, families[i]);
        if (block) block_calls(&p, 4, 1e-5f, families[i]);
        if (block) block_calls(&p, 8, 1e-5f, families[i]);
        last_calls(&p, families[i]);
        close_sides(&p);
        dlx_model_close(model);
        close_keeper(&k);
    }
}

/* ---- what fails ------------------------------------------------------------------------------------------------- */

static dlx_forward_call stores(const int32_t *of, int32_t start, int32_t n)
{
    dlx_forward_call c = {.struct_size = sizeof c, .ids = of, .n_ids = n, .start = start, .attn_block = 4};
    c.n_store = n;
    if (start) c.context[c.n_context++] = (dlx_span){0, start};
    return c;
}

/* Of a call of three passes, of which each fails once, those positions that passes up to it were to store. */
static void a_call_that_fails_is_forgotten(void **state)
{
    (void)state;
    for (size_t at = 1; at <= 3; at++) {
        keeper k;
        dlx_error said = {0};
        open_keeper(&k, "sdar", 8);
        dlx_forward_call c = stores(ids, 0, 32), again = stores(ids, 0, 8), over = stores(ids + 30, 8, 24);
        CHECK(dlx_fixed_forward(k.session, &c, err));
        k.runs = 0;
        k.fail_at = at;
        assert_int_equal(dlx_fixed_forward(k.session, &over, &said), DLX_E_INVALID);
        assert_int_equal(k.runs, at);
        assert_int_equal(dlx_fixed_reusable(k.session, ids, 32, 4), 8);
        for (int32_t p = 0; p < 32; p += 8) { /* which are still there? */
            dlx_forward_call probe = {
                .struct_size = sizeof probe, .ids = ids, .n_ids = 4, .start = 32, .attn_block = 4};
            probe.context[probe.n_context++] = (dlx_span){p, p + 8};
            bool there = p == 0 || p >= 8 + 8 * (int32_t)at;
            assert_int_equal(dlx_fixed_forward(k.session, &probe, NULL), there ? DLX_OK : DLX_E_INVALID);
        }
        CHECK(dlx_fixed_forward(k.session, &again, err)); /* what stayed can be used, and written over */
        CHECK(dlx_fixed_forward(k.session, &over, err));
        close_keeper(&k);
    }
}

static void rows_that_are_no_numbers_end_the_session(void **state)
{
    keeper k;
    dlx_error said = {0}, later = {0};
    (void)state;
    open_keeper(&k, "sdar", 8);
    dlx_forward_call c = stores(ids, 0, 8), wrong = c;
    wrong.n_store = 9;
    k.fail_at = 1;
    k.spoil = NAN;
    assert_int_equal(dlx_fixed_forward(k.session, &wrong, &said), DLX_E_INVALID); /* nothing ran */
    assert_int_equal(dlx_fixed_forward(k.session, &c, &said), DLX_E_INTERNAL);
    assert_non_null(strstr(said.message, "the logits of position 7 are NaN"));
    dlx_fixed_truncate(k.session, 0);
    assert_int_equal(dlx_fixed_forward(k.session, &c, &later), DLX_E_INVALID);
    assert_non_null(strstr(later.message, "load the program again"));
    assert_int_equal(k.runs, 1);
    close_keeper(&k);
}

/* Logits alone can be infinite; and rows that only fill up may be anything. */
static void other_numbers_do_not(void **state)
{
    keeper k;
    (void)state;
    open_keeper(&k, "sdar", 8);
    float *out = calloc(8 * (size_t)k.file->facts->vocab_size, sizeof *out);
    assert_non_null(out);
    dlx_forward_call c = stores(ids, 0, 8), few = stores(ids, 0, 4);
    c.n_rows = 8;
    c.logits = out;
    k.fail_at = 1;
    k.spoil = INFINITY;
    assert_int_equal(dlx_fixed_forward(k.session, &c, NULL), DLX_E_INTERNAL);
    k.fail_at = 2;
    k.spoil = NAN;
    CHECK(dlx_fixed_forward(k.session, &few, err));
    k.fail_at = 0;
    CHECK(dlx_fixed_forward(k.session, &c, err));
    free(out);
    close_keeper(&k);
}

/* ---- descriptions ----------------------------------------------------------------------------------------------- */

static void impossible_descriptions_are_refused(void **state)
{
    (void)state;
    const dlx_model_facts facts = {.struct_size = sizeof facts, .max_context = 32, .vocab_size = 8};
    const dlx_fixed_program good = {.struct_size = sizeof good,
                                    .facts = &facts,
                                    .n_methods = 1,
                                    .method_rows = (const int32_t[]){32, 4},
                                    .keeps_cache = 1};
    dlx_fixed_program bad[3] = {good, good, good};
    static const char *const sentences[] = {"keeps_cache is 2", "2 methods, each of which would keep a cache",
                                            "its method takes 33 rows"};
    dlx_fixed_session *s;
    bad[0].keeps_cache = 2;
    bad[1].n_methods = 2;
    bad[2].method_rows = (const int32_t[]){33};
    for (size_t i = 0; i < DLX_COUNT(bad); i++) {
        dlx_error said = {0};
        assert_int_equal(dlx_fixed_open(&s, &bad[i], run_keeper, NULL, NULL, &said), DLX_E_INVALID);
        if (s || !strstr(said.message, sentences[i])) fail_msg("description %zu: %s", i, said.message);
        assert_int_equal(dlx_fixed_bytes(&bad[i]), 0);
    }
    CHECK(dlx_fixed_open(&s, &good, run_keeper, NULL, NULL, err));
    static const int64_t sizes[4][2] = {{32}, {32}, {32, 64}, {32}};
    for (size_t i = 0; i < 5; i++) {
        dlx_tensor t = {.struct_size = sizeof t};
        dlx_error said = {0};
        dlx_status status = dlx_fixed_input(s, 0, i, &t, &said);
        if (i == 4) {
            assert_int_equal(status, DLX_E_INVALID);
            assert_non_null(strstr(said.message, "there are 4 inputs of 1 methods"));
            continue;
        }
        assert_int_equal(status, DLX_OK);
        assert_int_equal(t.element, i < 2 ? DLX_ELEMENT_INT64 : DLX_ELEMENT_FLOAT32);
        assert_int_equal((uintptr_t)t.data % 64, 0);
        assert_memory_equal(t.size, sizes[i], sizeof sizes[i]);
    }
    dlx_fixed_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_give_what_a_native_session_gives),   cmocka_unit_test(a_call_that_fails_is_forgotten),
        cmocka_unit_test(rows_that_are_no_numbers_end_the_session), cmocka_unit_test(other_numbers_do_not),
        cmocka_unit_test(impossible_descriptions_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_it);
}
