/*
 * Workspaces over files made here: many sequences against each alone, pages that are shared and copied, memory that
 * runs out, calls that fail half way, caches of halves, and programs whose rows promise nothing.
 */
#define TINY_ROWS      48
#define TINY_CONTEXT   400
#define TINY_POSITIONS 400
#include "tiny_file.h"

#include <stdio.h>
#include <unistd.h>

#include "batch_check.h"
#include "engine/model.h"

static dlx_model *open_tiny(int what, int32_t threads, const char *cpu)
{
    char path[] = "/tmp/dlx-workspace-XXXXXX";
    dlx_error err = {0};
    dlx_model *m;
    dlx_model_options o = dlx_model_options_default();
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    o.threads = threads;
    o.cpu = cpu;
    write_tiny_file(path, what);
    if (dlx_model_open(&m, path, &o, &err) != DLX_OK) fail_msg("%s", err.message);
    unlink(path);
    return m;
}

static dlx_workspace *open_workspace(const dlx_model *m, dlx_workspace_options o)
{
    dlx_workspace *w;
    dlx_error err = {0};
    o.struct_size = sizeof o;
    if (dlx_workspace_open(&w, m, &o, &err) != DLX_OK) fail_msg("%s", err.message);
    return w;
}

static dlx_session *open_in(dlx_workspace *w)
{
    dlx_session *s;
    dlx_error err = {0};
    if (dlx_session_open_in(&s, w, &err) != DLX_OK) fail_msg("%s", err.message);
    return s;
}

static int32_t ids[CONTEXT];

static const char *const kv_types[] = {"float32", "int8", "float16"};
enum { KV_TYPES = sizeof kv_types / sizeof kv_types[0] };

static int make_ids(void **state)
{
    (void)state;
    for (int32_t i = 0; i < CONTEXT; i++) ids[i] = (i * 7 + i / 5) % NAN_TOKEN; /* never NAN_TOKEN */
    return 0;
}

static dlx_forward_call call_at(int32_t start, int32_t n, int32_t block, int32_t store, float *logits)
{
    dlx_forward_call c = {.struct_size = sizeof c,
                          .ids = ids + start,
                          .n_ids = n,
                          .start = start,
                          .context = {{0, start}},
                          .n_context = start > 0,
                          .attn_block = block,
                          .n_store = store,
                          .n_rows = logits ? n : 0,
                          .logits = logits};
    return c;
}

static void run(dlx_session *s, dlx_forward_call c)
{
    dlx_error err = {0};
    if (dlx_session_forward(s, &c, &err) != DLX_OK) fail_msg("%s", err.message);
}

static void expect(dlx_session *s, dlx_forward_call c, dlx_status status, const char *text)
{
    dlx_error err = {0};
    assert_int_equal(dlx_session_forward(s, &c, &err), status);
    if (!strstr(err.message, text)) fail_msg("'%s' does not say '%s'", err.message, text);
}

/* ---- many sequences ---- */

static void sequences_do_not_notice_each_other(void **state)
{
    (void)state;
    for (int what = 0; what < 2; what++)
        for (int32_t threads = 1; threads <= 4; threads++) {
            if (DLX_SLOW && threads != 3) continue;
            batch_check b = {.model = open_tiny(what ? TINY_HIDDEN : TINY_PLAIN, threads, NULL),
                             .mirror = open_tiny(what ? TINY_HIDDEN : TINY_PLAIN, 1, NULL),
                             .rows = 12 + 9 * threads,
                             .context = 330,
                             .block = 4,
                             .kv_type = what || threads < 2 ? NULL : kv_types[(threads - 1) % KV_TYPES],
                             .seed = (uint32_t)(100 * what + threads)};
            live(&b, 40);
            assert_true(b.batched > 20 * LIFE && b.forked >= LIFE && b.refused >= LIFE);
            dlx_model_close(b.model);
            dlx_model_close(b.mirror);
        }
}

/* A fork shares pages until somebody writes, and each sees what it wrote. */
static void share_until_they_write(const char *kv_type)
{
    dlx_model *m = open_tiny(TINY_PLAIN, 2, NULL);
    dlx_workspace *w = open_workspace(
        m, (dlx_workspace_options){.max_sessions = 3, .kv_positions = 5 * DLX_KV_PAGE, .kv_type = kv_type});
    dlx_session *a = open_in(w), *b, *c;
    float of_a[4 * VOCAB], of_b[4 * VOCAB], again[4 * VOCAB];
    for (int32_t p = 0; p < 148; p += 4) run(a, call_at(p, 4, 4, 4, NULL)); /* two pages and a part of a third */
    assert_int_equal(dlx_workspace_free_positions(w), 2 * DLX_KV_PAGE);
    assert_int_equal(dlx_session_fork(&b, a, 148, NULL), DLX_OK);
    assert_int_equal(dlx_workspace_free_positions(w), 2 * DLX_KV_PAGE); /* nothing was copied */
    assert_int_equal(dlx_session_reusable(b, ids, CONTEXT, 4), 148);
    run(a, call_at(148, 4, 4, 0, of_a));
    run(b, call_at(148, 4, 4, 0, of_b));
    assert_memory_equal(of_a, of_b, sizeof of_a);
    dlx_forward_call other = call_at(148, 4, 4, 4, NULL);
    other.ids = ids + 1;
    run(b, other); /* copies the third page */
    assert_int_equal(dlx_workspace_free_positions(w), DLX_KV_PAGE);
    run(a, call_at(148, 4, 4, 4, NULL));
    assert_int_equal(dlx_workspace_free_positions(w), DLX_KV_PAGE); /* it was a's alone by then */
    run(a, call_at(152, 4, 4, 0, of_a));
    run(b, call_at(152, 4, 4, 0, of_b));
    assert_memory_not_equal(of_a, of_b, sizeof of_a);
    assert_int_equal(dlx_session_fork(&c, a, 70, NULL), DLX_OK);
    assert_int_equal(dlx_session_reusable(c, ids, CONTEXT, 4), 68);
    dlx_session_close(a); /* ends in any order */
    assert_int_equal(dlx_session_fork(&a, c, 0, NULL), DLX_OK);
    run(b, call_at(152, 4, 4, 0, again));
    assert_memory_equal(of_b, again, sizeof again);
    dlx_session_truncate(b, 0);
    assert_int_equal(dlx_workspace_free_positions(w), 3 * DLX_KV_PAGE);
    dlx_session_close(b);
    dlx_session_close(c);
    dlx_session_close(a);
    assert_int_equal(dlx_workspace_free_positions(w), 5 * DLX_KV_PAGE);
    dlx_workspace_close(w);
    dlx_model_close(m);
}

static void forks_share_until_they_write(void **state)
{
    (void)state;
    for (size_t i = 0; i < KV_TYPES; i++) share_until_they_write(kv_types[i]);
}

static void memory_is_shared_and_runs_out_with_a_sentence(void **state)
{
    (void)state;
    dlx_model *m = open_tiny(TINY_PLAIN, 1, NULL);
    dlx_workspace *w = open_workspace(m, (dlx_workspace_options){.max_sessions = 2, .kv_positions = 3 * DLX_KV_PAGE});
    dlx_session *a = open_in(w), *b = open_in(w), *c;
    dlx_error err = {0};
    float before[4 * VOCAB], after[4 * VOCAB];
    assert_int_equal(dlx_session_open_in(&c, w, &err), DLX_E_LIMIT);
    assert_non_null(strstr(err.message, "2 sessions are open"));
    run(a, call_at(0, 40, 4, 40, NULL));
    run(a, call_at(40, 40, 4, 40, NULL));
    run(a, call_at(80, 40, 4, 40, NULL));
    run(b, call_at(0, 40, 4, 40, NULL));
    run(b, call_at(40, 4, 4, 0, before));
    expect(b, call_at(40, 40, 4, 40, NULL), DLX_E_LIMIT,
           "storing positions 40 to 79 takes 1 pages of 64 positions, but only 0 of 3 are free");
    assert_int_equal(dlx_session_reusable(b, ids, CONTEXT, 4), 40);
    run(b, call_at(40, 4, 4, 0, after));
    assert_memory_equal(before, after, sizeof before);
    dlx_session_truncate(a, 64); /* shrinking makes room */
    run(b, call_at(40, 40, 4, 40, NULL));
    dlx_session_close(a);
    dlx_session_close(b);
    dlx_workspace_close(w);
    dlx_model_close(m);
}

/* ---- calls that fail ---- */

static float worst_difference(dlx_session *a, dlx_session *b, int32_t start)
{
    float x[4 * VOCAB], y[4 * VOCAB], worst = 0;
    run(a, call_at(start, 4, 4, 0, x));
    run(b, call_at(start, 4, 4, 0, y));
    for (int i = 0; i < 4 * VOCAB; i++) worst = fmaxf(worst, fabsf(x[i] - y[i]));
    return worst;
}

/* Stored rows that a call of several passes overwrites before one of them fails. */
static void fail_and_leave_the_cache(const char *kv_type)
{
    dlx_model *m = open_tiny(TINY_NAN, 2, NULL);
    dlx_workspace *w = open_workspace(m, (dlx_workspace_options){.max_sessions = 3, .max_rows = 8, .kv_type = kv_type});
    dlx_session *s = open_in(w), *untouched = open_in(w), *fork;
    int32_t other[CONTEXT];
    float logits[64 * VOCAB];
    for (int32_t i = 0; i < CONTEXT; i++) other[i] = (ids[i] + 5) % NAN_TOKEN;
    run(s, call_at(0, 100, 4, 100, NULL));
    run(untouched, call_at(0, 100, 4, 100, NULL));
    assert_int_equal(dlx_session_fork(&fork, s, 100, NULL), DLX_OK);
    int32_t room = dlx_workspace_free_positions(w);

    dlx_forward_call c = call_at(4, 40, 4, 40, logits); /* five passes; the last row of the fourth is NaN */
    c.ids = other;
    other[31] = NAN_TOKEN;
    expect(s, c, DLX_E_INTERNAL, "NaN");
    assert_int_equal(dlx_session_reusable(s, ids, CONTEXT, 4), 100);
    assert_true(worst_difference(s, untouched, 100) == 0.0f);
    assert_true(worst_difference(fork, untouched, 100) == 0.0f);

    c = call_at(4, 20, 12, 20, NULL); /* a block that does not fit is known before the first pass */
    c.ids = other;
    expect(s, c, DLX_E_LIMIT, "a block of 12 rows is more than the 8 rows");
    assert_int_equal(dlx_session_reusable(s, ids, CONTEXT, 4), 100);
    assert_true(worst_difference(s, untouched, 100) == 0.0f);

    c = call_at(100, 200, 4, 200, logits); /* nothing was stored there, so nothing is left of it */
    c.n_rows = 1;
    c.rows = (const int32_t[]){199};
    c.ids = other;
    other[199] = NAN_TOKEN;
    expect(s, c, DLX_E_INTERNAL, "NaN");
    assert_true(worst_difference(s, untouched, 100) == 0.0f);
    assert_in_range(dlx_workspace_free_positions(w), room - 2 * DLX_KV_PAGE, room); /* the fork's pages were copied */

    /* A call that succeeds in several passes, over stored rows, is there afterwards. */
    run(s, call_at(4, 60, 4, 60, NULL));
    assert_int_equal(dlx_session_reusable(s, ids, CONTEXT, 4), 64);
    dlx_session_truncate(untouched, 64);
    assert_true(worst_difference(s, untouched, 64) == 0.0f);
    dlx_session_close(s);
    dlx_session_close(untouched);
    dlx_session_close(fork);
    dlx_workspace_close(w);
    dlx_model_close(m);
}

static void a_call_that_fails_leaves_the_cache_as_it_was(void **state)
{
    (void)state;
    for (size_t i = 0; i < KV_TYPES; i++) fail_and_leave_the_cache(kv_types[i]);
}

/* In a batch, who fails fails alone. */
static void fail_in_a_batch(const char *kv_type, bool summarised)
{
    dlx_row_summary rows[3][4] = {0};
    dlx_model *m = open_tiny(TINY_NAN, 2, NULL);
    dlx_workspace *w = open_workspace(m, (dlx_workspace_options){.max_sessions = 3, .kv_type = kv_type});
    dlx_session *s[3] = {open_in(w), open_in(w), open_in(w)};
    float got[3][4 * VOCAB], alone[4 * VOCAB];
    int32_t nan_ids[4] = {1, 2, NAN_TOKEN, 3};
    dlx_forward_call calls[3];
    const dlx_forward_call *pointers[3];
    dlx_status status[3];
    dlx_error errors[3] = {0};
    for (int i = 0; i < 3; i++) {
        calls[i] = call_at(0, 4, 4, 4, got[i]);
        calls[i].summaries = summarised ? rows[i] : NULL;
        pointers[i] = &calls[i];
    }
    calls[1].ids = nan_ids;
    assert_int_equal(dlx_forward_batch(s, pointers, 3, status, errors), DLX_E_INTERNAL);
    assert_int_equal(status[0], DLX_OK);
    assert_int_equal(status[1], DLX_E_INTERNAL);
    assert_int_equal(status[2], DLX_OK);
    assert_non_null(strstr(errors[1].message, "NaN"));
    assert_int_equal(dlx_session_reusable(s[0], ids, CONTEXT, 4), 4);
    assert_int_equal(dlx_session_reusable(s[1], ids, CONTEXT, 4), 0);
    dlx_session_truncate(s[0], 0);
    calls[0].summaries = NULL;
    run(s[0], calls[0]);
    memcpy(alone, got[0], sizeof alone);
    if (!summarised) assert_memory_equal(alone, got[2], sizeof alone);
    for (int i = 0; i < 4 && summarised; i++) {
        dlx_row_summary want = dlx_summary_of_row(alone + (size_t)i * VOCAB, VOCAB, (dlx_row_rules){0, 0});
        assert_memory_equal(&rows[2][i], &want, sizeof want);
    }

    dlx_session *twice[2] = {s[0], s[0]};
    assert_int_equal(dlx_forward_batch(twice, pointers, 2, status, errors), DLX_E_INVALID);
    assert_non_null(strstr(errors[1].message, "a session occurs twice"));
    dlx_workspace *elsewhere = open_workspace(m, (dlx_workspace_options){.max_sessions = 1});
    dlx_session *mixed[2] = {s[0], open_in(elsewhere)};
    assert_int_equal(dlx_forward_batch(mixed, pointers, 2, NULL, errors), DLX_E_INVALID);
    assert_non_null(strstr(errors[0].message, "different workspaces"));
    assert_int_equal(dlx_forward_batch(s, pointers, 0, NULL, NULL), DLX_E_INVALID);
    dlx_session_close(mixed[1]);
    dlx_workspace_close(elsewhere);
    for (int i = 0; i < 3; i++) dlx_session_close(s[i]);
    dlx_workspace_close(w);
    dlx_model_close(m);
}

static void one_of_a_batch_fails(void **state)
{
    (void)state;
    for (size_t i = 0; i < KV_TYPES; i++)
        for (int summarised = 0; summarised < 2; summarised++) fail_in_a_batch(kv_types[i], summarised);
}

/* A page that was copied for a call is shared again when the call fails, and nobody has less room than before. */
static void fail_and_take_no_page(const char *kv_type)
{
    dlx_model *m = open_tiny(TINY_NAN, 1, NULL);
    dlx_workspace *w = open_workspace(
        m, (dlx_workspace_options){.max_sessions = 3, .kv_positions = 2 * DLX_KV_PAGE, .kv_type = kv_type});
    dlx_session *s = open_in(w), *fork, *third = open_in(w);
    float before[4 * VOCAB], behind[4 * VOCAB];
    run(s, call_at(0, 4, 4, 4, NULL));
    assert_int_equal(dlx_session_fork(&fork, s, 4, NULL), DLX_OK);
    run(fork, call_at(4, 4, 4, 0, before));
    assert_int_equal(dlx_workspace_free_positions(w), DLX_KV_PAGE);
    int32_t bad[4] = {NAN_TOKEN, 1, 2, 3};
    dlx_forward_call c = call_at(4, 4, 4, 4, behind);
    c.ids = bad;
    expect(s, c, DLX_E_INTERNAL, "NaN");
    assert_int_equal(dlx_workspace_free_positions(w), DLX_KV_PAGE);
    run(s, call_at(4, 4, 4, 0, behind));
    assert_memory_equal(before, behind, sizeof before);
    run(third, call_at(0, 4, 4, 4, NULL)); /* there is room */
    dlx_session_close(third);

    /* In one batch the fork becomes the only owner of the shared page and writes to it: then the copy stays. */
    dlx_forward_call good = call_at(4, 4, 4, 4, before);
    dlx_session *both[2] = {s, fork};
    const dlx_forward_call *calls[2] = {&c, &good};
    dlx_status status[2];
    assert_int_equal(dlx_forward_batch(both, calls, 2, status, NULL), DLX_E_INTERNAL);
    assert_true(status[0] == DLX_E_INTERNAL && status[1] == DLX_OK);
    run(s, call_at(4, 4, 4, 4, behind));
    assert_memory_equal(before, behind, sizeof before);
    dlx_session_close(fork);
    dlx_session_close(s);
    assert_int_equal(dlx_workspace_free_positions(w), 2 * DLX_KV_PAGE);
    dlx_workspace_close(w);
    dlx_model_close(m);
}

static void a_failure_takes_no_page(void **state)
{
    (void)state;
    for (size_t i = 0; i < KV_TYPES; i++) fail_and_take_no_page(kv_types[i]);
}

/* ---- types of caches ---- */

/* The logits are of order 1. */
static void compare_caches(const char *kv_type, size_t position_bytes, float apart)
{
    dlx_model *m = open_tiny(TINY_PLAIN, 1, NULL);
    dlx_workspace_options o = {.struct_size = sizeof o, .max_sessions = 1, .kv_type = kv_type}, full = o;
    dlx_memory small = {.struct_size = sizeof small}, floats = small;
    full.kv_type = "float32";
    assert_int_equal(dlx_workspace_memory(m, &o, &small, NULL), DLX_OK);
    assert_int_equal(dlx_workspace_memory(m, &full, &floats, NULL), DLX_OK);
    assert_int_equal(small.kv_cache * 2 * KV * DIM * sizeof(float), floats.kv_cache * position_bytes);
    assert_int_equal(small.activations, floats.activations);
    dlx_workspace *a = open_workspace(m, o), *b = open_workspace(m, full);
    dlx_session *x = open_in(a), *y = open_in(b);
    run(x, call_at(0, 40, 4, 40, NULL));
    run(y, call_at(0, 40, 4, 40, NULL));
    float worst = worst_difference(x, y, 40);
    if (!(worst > 0.0f && worst < apart)) fail_msg("%s: apart by %g", kv_type, (double)worst);
    dlx_session_close(x);
    dlx_session_close(y);
    dlx_workspace_close(a);
    dlx_workspace_close(b);
    dlx_model_close(m);
}

static void caches_of_fewer_bits(void **state)
{
    (void)state;
    compare_caches("float16", 2 * KV * DIM * sizeof(uint16_t), 5e-3f); /* eleven bits, not twenty-four */
    compare_caches("int8", 2 * KV * (DIM + sizeof(uint16_t)), 3e-2f);

    dlx_error err = {0};
    dlx_workspace *w;
    dlx_model *m = open_tiny(TINY_HIDDEN, 1, NULL);
    dlx_workspace_options o = {.struct_size = sizeof o};
    for (size_t i = 1; i < KV_TYPES; i++) {
        o.kv_type = kv_types[i];
        assert_int_equal(dlx_workspace_open(&w, m, &o, &err), DLX_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, kv_types[i]));
        assert_non_null(strstr(err.message, "use float32"));
    }
    o.kv_type = "float8";
    assert_int_equal(dlx_workspace_open(&w, m, &o, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "expected float32, float16 or int8"));
    dlx_model_close(m);
}

/* Whether the rows stay or not, and whether their logits are asked for or not. */
static void refuse_rows(int what, const char *kv_type, dlx_status status, const char *words)
{
    static float logits[4 * VOCAB];
    dlx_model *m = open_tiny(what, 1, NULL);
    dlx_workspace *w = open_workspace(m, (dlx_workspace_options){.max_sessions = 1, .kv_type = kv_type});
    dlx_session *s = open_in(w);
    int32_t bad[4] = {1, NAN_TOKEN, 2, 3};
    for (int i = 0; i < 4; i++) {
        dlx_forward_call c = call_at(0, 4, 4, i & 1 ? 4 : 0, i & 2 ? logits : NULL);
        if (what == TINY_NAN) c.ids = bad;
        expect(s, c, status, words);
    }
    assert_int_equal(dlx_session_reusable(s, ids, CONTEXT, 4), 0);
    dlx_session_close(s);
    dlx_workspace_close(w);
    dlx_model_close(m);
}

static void what_a_cache_cannot_hold(void **state)
{
    (void)state;
    refuse_rows(TINY_LARGE, "float16", DLX_E_LIMIT, "the values of layer 0 are too large for a float16 cache");
    refuse_rows(TINY_HUGE, "float16", DLX_E_LIMIT, "the values of layer 0 are too large for a float16 cache");
    refuse_rows(TINY_NAN, "float16", DLX_E_INTERNAL, "the keys of layer 0 are NaN");
    refuse_rows(TINY_HUGE, "int8", DLX_E_INTERNAL, "the values of layer 0 are NaN, infinite or beyond 1.7e38");
    refuse_rows(TINY_NAN, "int8", DLX_E_INTERNAL, "the keys of layer 0 are NaN, infinite or beyond 1.7e38");
    /* What is too large for halves is not for int8, whose scales have the range of floats. */
    dlx_model *m = open_tiny(TINY_LARGE, 1, NULL);
    dlx_workspace *w = open_workspace(m, (dlx_workspace_options){.max_sessions = 1, .kv_type = "int8"});
    dlx_session *s = open_in(w);
    run(s, call_at(0, 4, 4, 4, NULL));
    assert_int_equal(dlx_session_reusable(s, ids, CONTEXT, 4), 4);
    dlx_session_close(s);
    dlx_workspace_close(w);
    dlx_model_close(m);
}

/* Rows of earlier passes are read from the cache, those of the same pass are not: both must be what it holds. */
static void caches_do_not_depend_on_the_cut(void **state)
{
    (void)state;
    static float want[40 * VOCAB], got[40 * VOCAB], behind[2][4 * VOCAB];
    dlx_model *m = open_tiny(TINY_PLAIN, 2, NULL);
    for (size_t t = 0; t < KV_TYPES; t++)
        for (int32_t rows = 48; rows >= 4; rows -= 4) {
            dlx_workspace *w =
                open_workspace(m, (dlx_workspace_options){.max_sessions = 1, .max_rows = rows, .kv_type = kv_types[t]});
            dlx_session *s = open_in(w);
            run(s, call_at(0, 40, 4, 40, got));
            run(s, call_at(40, 4, 4, 0, behind[1]));
            if (rows == 48) {
                memcpy(want, got, sizeof got);
                memcpy(behind[0], behind[1], sizeof behind[0]);
            }
            assert_memory_equal(got, want, sizeof got);
            assert_memory_equal(behind[1], behind[0], sizeof behind[0]);
            dlx_session_close(s);
            dlx_workspace_close(w);
        }
    dlx_model_close(m);
}

/* ---- programs that promise nothing ---- */

/* What the program says, whatever a reader of its shape would think: the same file with its attention hidden runs node
 * by node and must agree. */
static void compare_with_hidden(int what, const char *cpu)
{
    dlx_model *m[2] = {open_tiny(what, 1, cpu), open_tiny(what | TINY_HIDDEN, 1, cpu)};
    float logits[2][4 * VOCAB], worst = 0;
    assert_false(m[0]->program.table.holds);
    assert_true(m[0]->program.table.why_not[0] != '\0');
    for (int32_t begin = 0; begin <= 8; begin += 8) {
        for (int i = 0; i < 2; i++) {
            dlx_session *s;
            dlx_error err = {0};
            if (dlx_session_open(&s, m[i], 0, 0, &err) != DLX_OK) fail_msg("%s", err.message);
            run(s, call_at(0, 16, 0, 16, NULL));
            dlx_forward_call c = call_at(16, 4, 0, 0, logits[i]);
            c.context[0].begin = begin;
            run(s, c);
            dlx_session_close(s);
        }
        for (int i = 0; i < 4 * VOCAB; i++) worst = fmaxf(worst, fabsf(logits[0][i] - logits[1][i]));
    }
    assert_true(worst < 1e-4f);
    for (int i = 0; i < 2; i++) dlx_model_close(m[i]);
}

static void a_cache_that_is_not_read_as_it_is(void **state)
{
    (void)state;
    static const int kinds[] = {TINY_NEG_CACHE, TINY_NO_CACHE, TINY_SWAPPED};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (int ref = 0; ref < 2; ref++) compare_with_hidden(kinds[i], ref ? "ref" : NULL);
    dlx_model *m = open_tiny(TINY_PLAIN, 1, NULL);
    assert_string_equal(m->program.table.why_not, "");
    assert_true(m->program.table.holds);
    dlx_model_close(m);
}

static void bounds_are_checked(void **state)
{
    (void)state;
    static const struct {
        dlx_workspace_options o;
        dlx_status status;
        const char *text;
    } cases[] = {
        {{.max_rows = MAX_ROWS + 1}, DLX_E_LIMIT, "the file allows 1 to 48"},
        {{.max_rows = -1}, DLX_E_LIMIT, "-1 rows"},
        {{.max_context = CONTEXT + 1}, DLX_E_LIMIT, "the file allows 1 to 400"},
        {{.max_sessions = 1025}, DLX_E_INVALID, "expected 1 to 1024"},
        {{.kv_positions = -1}, DLX_E_INVALID, "kv_positions is -1"},
    };
    dlx_model *m = open_tiny(TINY_PLAIN, 1, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dlx_workspace *w;
        dlx_workspace_options o = cases[i].o;
        dlx_error err = {0};
        o.struct_size = sizeof o;
        assert_int_equal(dlx_workspace_open(&w, m, &o, &err), cases[i].status);
        assert_null(w);
        if (!strstr(err.message, cases[i].text)) fail_msg("'%s' does not say '%s'", err.message, cases[i].text);
    }
    dlx_workspace *w = open_workspace(m, (dlx_workspace_options){.max_sessions = 2, .kv_positions = INT32_MAX});
    assert_int_equal(dlx_workspace_free_positions(w), 2 * 7 * DLX_KV_PAGE); /* what two sessions of 400 can use */
    dlx_workspace_close(w);
    dlx_session *s, *t;
    dlx_error err = {0};
    assert_int_equal(dlx_session_open(&s, m, 0, 0, NULL), DLX_OK);
    assert_int_equal(dlx_session_fork(&t, s, 0, &err), DLX_E_LIMIT);
    assert_non_null(strstr(err.message, "dlx_session_open_in"));
    dlx_session_close(s);
    dlx_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_do_not_notice_each_other),
        cmocka_unit_test(forks_share_until_they_write),
        cmocka_unit_test(memory_is_shared_and_runs_out_with_a_sentence),
        cmocka_unit_test(a_call_that_fails_leaves_the_cache_as_it_was),
        cmocka_unit_test(one_of_a_batch_fails),
        cmocka_unit_test(a_failure_takes_no_page),
        cmocka_unit_test(caches_of_fewer_bits),
        cmocka_unit_test(what_a_cache_cannot_hold),
        cmocka_unit_test(caches_do_not_depend_on_the_cut),
        cmocka_unit_test(a_cache_that_is_not_read_as_it_is),
        cmocka_unit_test(bounds_are_checked),
    };
    return cmocka_run_group_tests(tests, make_ids, NULL);
}
