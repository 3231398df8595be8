/*
 * What the tests of missing and wrong arguments share: good things to call with, what a refusal is, and rows, one for
 * each public function that can fail. cmocka comes first.
 */
#ifndef NULL_CHECK_H
#define NULL_CHECK_H

#include "fail_fixture.h"

#include "diffulex_edge/diffulex_edge.h"

/* What the calls need, all of it good. */
static struct {
    copy folder;
    char path[1024], checkpoint[1024];
    dlx_model *model;
    dlx_workspace *workspace;
    dlx_session *session, *alone;
    dlx_batcher *batcher;
    dlx_seat *seat;
    dlx_method *method;
    dlx_tokenizer *tokenizer;
    dlx_text_stream *stream;
    dlx_decode_options *options;
} g;

static const int32_t prompt[] = {5, 6, 7};
static dlx_error err;

static inline void forget(void)
{
    memset(&err, 0, sizeof err);
}

/* The call is refused as the caller's mistake, with a sentence; and it does not need a place for that. */
#define REFUSED(call)                                                                                                  \
    do {                                                                                                               \
        forget();                                                                                                      \
        assert_int_equal((call), DLX_E_INVALID);                                                                       \
        assert_int_equal(err.status, DLX_E_INVALID);                                                                   \
        assert_true(strlen(err.message) > 15);                                                                         \
    } while (0)
/* The same with another status: the arguments are there, but wrong. */
#define FAILS(call, code)                                                                                              \
    do {                                                                                                               \
        forget();                                                                                                      \
        assert_int_equal((call), code);                                                                                \
        assert_true(strlen(err.message) > 15);                                                                         \
    } while (0)
/* A place that holds rubbish before the call, and NULL behind it. */
#define EMPTIED(type, var, call)                                                                                       \
    do {                                                                                                               \
        type *var = (type *)&g;                                                                                        \
        REFUSED(call);                                                                                                 \
        assert_null(var);                                                                                              \
    } while (0)
/* Likewise a number, and a structure behind its struct_size. */
#define ZEROED(n, call)                                                                                                \
    do {                                                                                                               \
        size_t n = 77;                                                                                                 \
        REFUSED(call);                                                                                                 \
        assert_int_equal(n, 0);                                                                                        \
    } while (0)
#define CLEARED_BY(type, var, call, check)                                                                             \
    do {                                                                                                               \
        type var, zero;                                                                                                \
        memset(&var, 0x5A, sizeof var);                                                                                \
        memset(&zero, 0, sizeof zero);                                                                                 \
        var.struct_size = zero.struct_size = sizeof var;                                                               \
        check(call);                                                                                                   \
        assert_memory_equal(&var, &zero, sizeof var);                                                                  \
    } while (0)
#define CLEARED(type, var, call) CLEARED_BY(type, var, call, REFUSED)
#define FAILS_LIMIT(call)        FAILS(call, DLX_E_LIMIT)

#define ROW(function)                                                                                                  \
    {                                                                                                                  \
#function, test_##function                                                                                     \
    }
enum { MOST_ROWS = 64 };

typedef struct null_row {
    const char *name;
    void (*test)(void);
} null_row;

static inline void run_row(void **state)
{
    const null_row *row = *state;
    row->test();
}

static inline void good(dlx_status status)
{
    if (status != DLX_OK) fail_msg("%s", err.message);
}

static inline int set_up(void **state)
{
    (void)state;
    g.folder = new_folder();
    path_in(g.path, g.folder.folder, "sdar.pte");
    checkpoint_of(g.checkpoint, "sdar");
    export_tiny(g.path, "sdar", false);
    good(dlx_model_open(&g.model, g.path, NULL, &err));
    good(dlx_workspace_open(&g.workspace, g.model, NULL, &err));
    good(dlx_session_open_in(&g.session, g.workspace, &err));
    good(dlx_session_open(&g.alone, g.model, 0, 0, &err));
    good(dlx_batcher_open(&g.batcher, g.workspace, NULL, &err));
    good(dlx_batcher_join(&g.seat, g.batcher, g.session, &err));
    good(dlx_method_open(&g.method, DLX_TEST_DATA "/foreign/arithmetic.pte", NULL, NULL, &err));
    good(dlx_tokenizer_open_folder(&g.tokenizer, g.checkpoint, &err));
    good(dlx_text_stream_open(&g.stream, g.tokenizer, true, &err));
    good(dlx_decode_options_create(&g.options, &err));
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    dlx_decode_options_free(g.options);
    dlx_text_stream_close(g.stream);
    dlx_tokenizer_close(g.tokenizer);
    dlx_method_close(g.method);
    dlx_batcher_leave(g.seat);
    dlx_batcher_close(g.batcher);
    dlx_session_close(g.alone);
    dlx_session_close(g.session);
    dlx_workspace_close(g.workspace);
    dlx_model_close(g.model);
    remove_copy(&g.folder);
    return 0;
}

static inline int run_rows(const null_row *rows, size_t n)
{
    struct CMUnitTest tests[MOST_ROWS];
    assert_in_range(n, 1, MOST_ROWS);
    for (size_t i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){
            .name = rows[i].name, .test_func = run_row, .initial_state = (void *)(uintptr_t)&rows[i]};
    return _cmocka_run_group_tests("arguments", tests, n, set_up, tear_down);
}

#endif
