/*
 * Sessions of fewer rows and a shorter context than the file's, over programs of the official exporter that compute
 * sizes, with their attention recognised and without: they open, take less memory, and give the logits of the largest
 * session; forks and batches too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "diffulex_edge/model.h"

enum { ROWS = 8, CONTEXT = 24, VOCABULARY = 64 };

static const int32_t ids[CONTEXT] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4};

static dlx_model *open_model(const char *name)
{
    char path[512];
    dlx_model *m;
    dlx_error err = {0};
    snprintf(path, sizeof path, DLX_TEST_DATA "/foreign/%s.pte", name);
    if (dlx_model_open(&m, path, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(dlx_model_get_facts(m)->max_rows, ROWS);
    assert_int_equal(dlx_model_get_facts(m)->max_context, CONTEXT);
    assert_in_range(dlx_model_get_facts(m)->vocab_size, 1, VOCABULARY);
    return m;
}

/* n rows at `start`, behind everything stored before them; stored as well. */
static dlx_forward_call call_of(int32_t start, int32_t n, float *logits)
{
    dlx_forward_call c = {.struct_size = sizeof c,
                          .ids = ids + start,
                          .n_ids = n,
                          .start = start,
                          .n_store = n,
                          .n_rows = n,
                          .logits = logits};
    if (start) c.context[c.n_context++] = (dlx_span){0, start};
    return c;
}

static void forward(dlx_session *s, int32_t start, int32_t n, float *logits)
{
    dlx_error err = {0};
    dlx_forward_call c = call_of(start, n, logits);
    memset(logits, 0, ROWS * VOCABULARY * sizeof *logits);
    if (dlx_session_forward(s, &c, &err) != DLX_OK) fail_msg("%d rows at %d: %s", n, start, err.message);
}

static void small_sessions_answer_as_large_ones(void **state)
{
    dlx_model *m = open_model(*state);
    int32_t most_cached = strstr(*state, "negated") ? CONTEXT - ROWS : CONTEXT;
    uint64_t least = 0, most = 0;
    for (int32_t rows = 1; rows <= ROWS; rows++)
        for (int32_t context = rows; context <= CONTEXT; context++) {
            static float want[ROWS * VOCABULARY], got[ROWS * VOCABULARY];
            dlx_session *large, *s;
            dlx_error err = {0};
            dlx_memory memory = {.struct_size = sizeof memory};
            if (dlx_model_memory(m, rows, context, &memory, &err) != DLX_OK ||
                dlx_session_open(&s, m, rows, context, &err) != DLX_OK)
                fail_msg("%d rows of %d positions: %s", rows, context, err.message);
            if (!least) least = memory.activations;
            most = memory.activations;
            assert_int_equal(dlx_session_open(&large, m, 0, 0, NULL), DLX_OK);
            for (int32_t start = 0; start + rows <= context; start += rows) {
                if (start > most_cached) { /* node by node, the program takes what it was exported for */
                    dlx_forward_call c = call_of(start, rows, got);
                    assert_int_equal(dlx_session_forward(s, &c, &err), DLX_E_LIMIT);
                    assert_non_null(strstr(err.message, "cached positions are more than the 16 that"));
                    break;
                }
                forward(large, start, rows, want);
                forward(s, start, rows, got);
                assert_memory_equal(want, got, sizeof want);
            }
            dlx_session_close(s);
            dlx_session_close(large);
        }
    assert_true(least < most);
    dlx_model_close(m);
}

static void forks_and_batches_answer_as_sessions(void **state)
{
    static float want[2][ROWS * VOCABULARY], got[2][ROWS * VOCABULARY];
    dlx_model *m = open_model(*state);
    dlx_workspace *w;
    dlx_session *s[2], *alone;
    dlx_error err = {0};
    dlx_workspace_options options = {
        .struct_size = sizeof options, .max_rows = 4, .max_context = 12, .max_sessions = 2};
    if (dlx_workspace_open(&w, m, &options, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(dlx_session_open_in(&s[0], w, NULL), DLX_OK);
    assert_int_equal(dlx_session_open(&alone, m, 0, 0, NULL), DLX_OK);
    forward(s[0], 0, 4, got[0]);
    forward(alone, 0, 4, want[0]);
    assert_memory_equal(want[0], got[0], sizeof want[0]);
    assert_int_equal(dlx_session_fork(&s[1], s[0], 4, NULL), DLX_OK);
    /* The fork goes on with two rows, the original with three, in one batch. */
    dlx_session_truncate(alone, 4);
    forward(alone, 4, 3, want[0]);
    dlx_session_truncate(alone, 4);
    forward(alone, 4, 2, want[1]);
    memset(got, 0, sizeof got);
    dlx_forward_call calls[2] = {call_of(4, 3, got[0]), call_of(4, 2, got[1])};
    const dlx_forward_call *both[2] = {&calls[0], &calls[1]};
    if (dlx_forward_batch(s, both, 2, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_memory_equal(want, got, sizeof want);
    dlx_session_close(alone);
    dlx_session_close(s[1]);
    dlx_session_close(s[0]);
    dlx_workspace_close(w);
    dlx_model_close(m);
}

int main(void)
{
    static const char *const names[] = {"decoder_explicit_sdpa", "decoder_explicit_negated"};
    struct CMUnitTest tests[4];
    for (size_t i = 0; i < 2; i++) {
        void *name = (void *)(uintptr_t)names[i];
        tests[2 * i] = (struct CMUnitTest){
            .name = names[i], .test_func = small_sessions_answer_as_large_ones, .initial_state = name};
        tests[2 * i + 1] = (struct CMUnitTest){
            .name = names[i], .test_func = forks_and_batches_answer_as_sessions, .initial_state = name};
    }
    return _cmocka_run_group_tests("small bounds", tests, 4, NULL, NULL);
}
