/*
 * Sessions over a file made here: one call against many, block-causal rows, cache spans, calls larger than a session's
 * bound, a file whose attention is not recognised, and every refusal.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "diffulex_edge/model.h"
#include "tiny_file.h"

static dlx_model *open_model(bool recognisable)
{
    char path[] = "/tmp/dlx-session-XXXXXX";
    dlx_error err = {0};
    dlx_model *m;
    dlx_model_options o = dlx_model_options_default();
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    o.threads = 2;
    write_tiny_file(path, recognisable ? TINY_PLAIN : TINY_HIDDEN);
    if (dlx_model_open(&m, path, &o, &err) != DLX_OK) fail_msg("%s", err.message);
    unlink(path);
    return m;
}

static dlx_session *open_session(dlx_model *m, int32_t rows)
{
    dlx_error err = {0};
    dlx_session *s;
    if (dlx_session_open(&s, m, rows, 0, &err) != DLX_OK) fail_msg("%s", err.message);
    return s;
}

static const int32_t ids[CONTEXT] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4};

static void run(dlx_session *s, int32_t start, int32_t n, dlx_span a, dlx_span b, int32_t block, bool store,
                float *logits)
{
    dlx_error err = {0};
    dlx_forward_call c = {.struct_size = sizeof c,
                          .ids = ids + start,
                          .n_ids = n,
                          .start = start,
                          .attn_block = block,
                          .n_store = store ? n : 0,
                          .n_rows = logits ? n : 0,
                          .logits = logits};
    if (a.end > a.begin) c.context[c.n_context++] = a;
    if (b.end > b.begin) c.context[c.n_context++] = b;
    if (dlx_session_forward(s, &c, &err) != DLX_OK) fail_msg("%s", err.message);
}

static const dlx_span none = {0, 0};

static void assert_close(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= 2e-5f)) fail_msg("element %zu: %g and %g", i, (double)a[i], (double)b[i]);
}

static void facts_travel_in_the_file(void **state)
{
    (void)state;
    dlx_model *m = open_model(true);
    const dlx_model_facts *f = dlx_model_get_facts(m);
    assert_int_equal(f->family, DLX_FAMILY_SDAR);
    assert_int_equal(f->mask_id, 10);
    assert_int_equal(f->attn_block, 4);
    assert_int_equal(f->max_context, CONTEXT);
    assert_int_equal(f->num_stop_ids, 2);
    assert_int_equal(f->stop_ids[1], 2);
    dlx_memory memory = {.struct_size = sizeof memory};
    assert_int_equal(dlx_model_memory(m, 0, 0, &memory, NULL), DLX_OK);
    assert_int_equal(memory.kv_cache, 2 * DLX_KV_PAGE * KV * DIM * sizeof(float)); /* CONTEXT begins one page */
    dlx_model_close(m);
}

/* 14 rows block-causally in one call; as blocks of 4 through the cache; split by a session of 8 rows; demanded singly.
 */
static void one_call_equals_many(void **state)
{
    (void)state;
    for (int recognisable = 0; recognisable < 2; recognisable++) {
        dlx_model *m = open_model(recognisable);
        dlx_session *whole = open_session(m, 0), *small = open_session(m, 8), *steps = open_session(m, 4);
        float a[14 * VOCAB], b[14 * VOCAB], c[14 * VOCAB];
        run(whole, 0, 14, none, none, 4, false, a);
        run(small, 0, 14, none, none, 4, true, b);
        assert_close(a, b, 14 * VOCAB);
        for (int32_t p = 0; p < 14; p += 4)
            run(steps, p, p + 4 <= 14 ? 4 : 14 - p, (dlx_span){0, p}, none, 0, true, c + p * VOCAB);
        assert_close(a, c, 14 * VOCAB);
        run(whole, 0, 6, none, none, 1, false, a); /* causal */
        dlx_session_truncate(steps, 0);
        for (int32_t p = 0; p < 6; p++) run(steps, p, 1, (dlx_span){0, p}, none, 0, true, c + p * VOCAB);
        assert_close(a, c, 6 * VOCAB);
        float last[VOCAB];
        int32_t row = 5;
        dlx_forward_call call = {.struct_size = sizeof call,
                                 .ids = ids,
                                 .n_ids = 6,
                                 .attn_block = 1,
                                 .rows = &row,
                                 .n_rows = 1,
                                 .logits = last};
        assert_int_equal(dlx_session_forward(whole, &call, NULL), DLX_OK);
        assert_memory_equal(last, a + 5 * VOCAB, sizeof last);
        dlx_session_close(whole);
        dlx_session_close(small);
        dlx_session_close(steps);
        dlx_model_close(m);
    }
}

/* Rows 8..11 against everything else as two spans equal the same rows inside one full pass over the kept rows. */
static void two_spans_of_context(void **state)
{
    (void)state;
    dlx_model *m = open_model(true);
    dlx_session *s = open_session(m, 0);
    float part[4 * VOCAB], again[4 * VOCAB];
    run(s, 0, 16, none, none, 0, true, NULL);
    run(s, 8, 4, (dlx_span){0, 8}, (dlx_span){12, 16}, 0, false, part);
    run(s, 8, 4, (dlx_span){0, 8}, (dlx_span){12, 16}, 0, true, again); /* the discarded pass left no trace */
    assert_memory_equal(part, again, sizeof part);
    float whole[16 * VOCAB];
    run(s, 0, 16, none, none, 0, false, whole);
    assert_close(whole + 8 * VOCAB, part, 4 * VOCAB);
    dlx_session_close(s);
    dlx_model_close(m);
}

/* One call that stores the first block and denoises the second gives what a commit and then a denoising pass give. */
static void a_commit_fused_with_the_next_block(void **state)
{
    (void)state;
    for (int32_t rows = 4; rows <= 8; rows += 4) { /* 4: the call is made in two passes */
        dlx_model *m = open_model(true);
        dlx_session *apart = open_session(m, 8), *fused = open_session(m, rows);
        float a[8 * VOCAB], b[8 * VOCAB], c[4 * VOCAB], d[4 * VOCAB];
        for (int k = 0; k < 2; k++) run(k ? fused : apart, 0, 4, none, none, 4, true, NULL);
        run(apart, 4, 4, (dlx_span){0, 4}, none, 4, true, a);
        run(apart, 8, 4, (dlx_span){0, 8}, none, 4, false, a + 4 * VOCAB);
        dlx_forward_call call = {.struct_size = sizeof call,
                                 .ids = ids + 4,
                                 .n_ids = 8,
                                 .start = 4,
                                 .context = {{0, 4}},
                                 .n_context = 1,
                                 .attn_block = 4,
                                 .n_store = 4,
                                 .n_rows = 8,
                                 .logits = b};
        assert_int_equal(dlx_session_forward(fused, &call, NULL), DLX_OK);
        assert_close(a, b, 8 * VOCAB);
        run(apart, 8, 4, (dlx_span){0, 8}, none, 4, false, c);
        run(fused, 8, 4, (dlx_span){0, 8}, none, 4, false, d);
        assert_close(c, d, 4 * VOCAB);
        assert_int_equal(dlx_session_reusable(fused, ids, CONTEXT, 4), 8); /* the second block was not stored */
        call.n_store = 3;
        assert_int_equal(dlx_session_forward(fused, &call, NULL), DLX_E_INVALID);
        dlx_session_close(apart);
        dlx_session_close(fused);
        dlx_model_close(m);
    }
}

static void what_of_a_prompt_is_cached(void **state)
{
    (void)state;
    dlx_model *m = open_model(true);
    dlx_session *s = open_session(m, 0);
    int32_t other[CONTEXT];
    memcpy(other, ids, sizeof other);
    other[6]++;
    assert_int_equal(dlx_session_reusable(s, ids, CONTEXT, 4), 0);
    run(s, 0, 14, none, none, 4, true, NULL);
    assert_int_equal(dlx_session_reusable(s, ids, CONTEXT, 4), 12); /* the last block was not whole */
    assert_int_equal(dlx_session_reusable(s, ids, 12, 4), 8);       /* the last token of a prompt is always run */
    assert_int_equal(dlx_session_reusable(s, other, CONTEXT, 4), 4);
    assert_int_equal(dlx_session_reusable(s, ids, CONTEXT, 8), 0);
    assert_int_equal(dlx_session_reusable(s, ids, CONTEXT, 0), 0);
    run(s, 10, 1, (dlx_span){0, 8}, none, 4, true, NULL); /* a part of a block, run without the rest of it */
    assert_int_equal(dlx_session_reusable(s, ids, CONTEXT, 4), 8);
    run(s, 4, 4, (dlx_span){0, 4}, none, 4, true, NULL); /* what lay behind depended on the old rows */
    assert_int_equal(dlx_session_reusable(s, ids, CONTEXT, 4), 8);
    dlx_forward_call behind = {.struct_size = sizeof behind,
                               .ids = ids + 12,
                               .n_ids = 4,
                               .start = 12,
                               .context = {{0, 12}},
                               .n_context = 1,
                               .attn_block = 4};
    dlx_error err = {0};
    assert_int_equal(dlx_session_forward(s, &behind, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "position 8 of the context is not stored"));
    dlx_session_truncate(s, 7);
    assert_int_equal(dlx_session_reusable(s, ids, CONTEXT, 4), 4);
    run(s, 0, 16, none, none, 0, true, NULL);
    assert_int_equal(dlx_session_reusable(s, ids, CONTEXT, 4), 0); /* full attention: rows depend on what follows */
    dlx_session_close(s);
    dlx_model_close(m);
}

static void expect(dlx_session *s, const dlx_forward_call *c, dlx_status status, const char *text)
{
    dlx_error err = {0};
    assert_int_equal(dlx_session_forward(s, c, &err), status);
    if (!strstr(err.message, text)) fail_msg("'%s' does not say '%s'", err.message, text);
}

static void wrong_calls_are_refused(void **state)
{
    (void)state;
    dlx_model *m = open_model(true);
    dlx_session *s = open_session(m, 8);
    float logits[MAX_ROWS * VOCAB];
    int32_t bad[2] = {1, VOCAB}, rows[2] = {1, 1};
    expect(s, &(dlx_forward_call){.struct_size = sizeof(dlx_forward_call), .ids = bad, .n_ids = 2}, DLX_E_INVALID,
           "id 11 at position 1 is outside the vocabulary of 11");
    expect(s, &(dlx_forward_call){.struct_size = sizeof(dlx_forward_call), .ids = ids, .n_ids = 4, .start = 21},
           DLX_E_LIMIT, "positions 21 to 24 do not fit the context of 24");
    expect(s, &(dlx_forward_call){.struct_size = sizeof(dlx_forward_call), .ids = ids, .n_ids = 4, .start = INT32_MAX},
           DLX_E_LIMIT, "do not fit");
    expect(s, &(dlx_forward_call){.struct_size = sizeof(dlx_forward_call), .ids = ids, .n_ids = 0}, DLX_E_INVALID,
           "at least one token");
    expect(s, &(dlx_forward_call){.struct_size = sizeof(dlx_forward_call), .ids = ids, .n_ids = 9}, DLX_E_LIMIT,
           "9 rows that all see each other");
    expect(s, &(dlx_forward_call){.struct_size = sizeof(dlx_forward_call), .ids = ids, .n_ids = 9, .attn_block = 16},
           DLX_E_LIMIT, "a block of 16 rows");
    expect(s,
           &(dlx_forward_call){.struct_size = sizeof(dlx_forward_call),
                               .ids = ids,
                               .n_ids = 4,
                               .start = 4,
                               .context = {{0, 4}},
                               .n_context = 1},
           DLX_E_INVALID, "position 0 of the context is not stored");
    expect(s,
           &(dlx_forward_call){.struct_size = sizeof(dlx_forward_call),
                               .ids = ids,
                               .n_ids = 4,
                               .rows = rows,
                               .n_rows = 2,
                               .logits = logits},
           DLX_E_INVALID, "must ascend");
    expect(s, &(dlx_forward_call){.struct_size = sizeof(dlx_forward_call), .ids = ids, .n_ids = 4, .n_rows = 2},
           DLX_E_INVALID, "buffer");
    run(s, 0, 8, none, none, 4, true, NULL);
    expect(s,
           &(dlx_forward_call){.struct_size = sizeof(dlx_forward_call),
                               .ids = ids,
                               .n_ids = 4,
                               .start = 4,
                               .context = {{0, 5}},
                               .n_context = 1},
           DLX_E_INVALID, "overlaps");
    expect(s,
           &(dlx_forward_call){.struct_size = sizeof(dlx_forward_call),
                               .ids = ids,
                               .n_ids = 4,
                               .start = 0,
                               .context = {{4, 8}},
                               .n_context = 1,
                               .attn_block = 4},
           DLX_E_INVALID, "lies in a block behind");
    dlx_session_truncate(s, 4);
    expect(s,
           &(dlx_forward_call){.struct_size = sizeof(dlx_forward_call),
                               .ids = ids,
                               .n_ids = 4,
                               .start = 8,
                               .context = {{0, 8}},
                               .n_context = 1},
           DLX_E_INVALID, "position 4 of the context");
    dlx_session_close(s);
    dlx_session *none_yet;
    dlx_error err = {0};
    assert_int_equal(dlx_session_open(&none_yet, m, MAX_ROWS + 1, 0, &err), DLX_E_LIMIT);
    assert_null(none_yet);
    dlx_model_close(m);
    dlx_model *missing;
    assert_int_equal(dlx_model_open(&missing, "/tmp", NULL, &err), DLX_E_IO);
    assert_int_equal(dlx_model_open(&missing, "/nonexistent/x.pte", NULL, &err), DLX_E_IO);
    assert_null(missing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_travel_in_the_file),   cmocka_unit_test(one_call_equals_many),
        cmocka_unit_test(two_spans_of_context),       cmocka_unit_test(a_commit_fused_with_the_next_block),
        cmocka_unit_test(what_of_a_prompt_is_cached), cmocka_unit_test(wrong_calls_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
