/*
 * Decodes on threads of their own that share passes: all four tiny models, float32 and int8, every published algorithm.
 * A decode's tokens, steps and confidences do not depend on its neighbours; errors and cancelling concern one decode;
 * nobody waits for somebody who left. Then random lives of batched sequences on the same models.
 */
#include "fail_fixture.h"

#include <pthread.h>

#include "batch_check.h"

enum { DECODES = 6, NEW_TOKENS = 24 };

static copy programs;

static const char *program(char path[1024], const char *family, bool int8)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s.pte", family, int8 ? "-int8" : "");
    path_in(path, programs.folder, name);
    return path;
}

static int make_programs(void **state)
{
    (void)state;
    char path[1024];
    programs = new_folder();
    for (size_t i = 0; i < FAMILIES; i++)
        for (int int8 = 0; int8 < 2; int8++) export_tiny(program(path, families[i], int8), families[i], int8);
    return 0;
}

static int remove_programs(void **state)
{
    (void)state;
    remove_copy(&programs);
    return 0;
}

static dlx_model *open_model(const char *family, bool int8, int32_t threads)
{
    char path[1024];
    dlx_model *m;
    dlx_error err = {0};
    dlx_model_options o = dlx_model_options_default();
    o.threads = threads;
    if (dlx_model_open(&m, program(path, family, int8), &o, &err) != DLX_OK) fail_msg("%s", err.message);
    return m;
}

/* ---- decodes ---- */

static const struct {
    const char *family, *options[3][2];
} kinds[] = {
    {"llada", {{"algorithm", "llada.generate"}, {"steps", "12"}, {"block_length", "8"}}},
    {"llada", {{"algorithm", "llada.generate_fast"}, {"cache", "dual"}, {"block_length", "8"}}},
    {"llada", {{"algorithm", "llada.generate_fast"}, {"cache", "prefix"}, {"threshold", "0.9"}}},
    {"dream", {{"steps", "12"}, {"temperature", "0.7"}, {"seed", "7"}}},
    {"sdar", {{"block_length", "4"}, {"threshold", "0.02"}}},
    {"sdar", {{"algorithm", "ar.generate"}}},
    {"fast_dllm_v2", {{"block_length", "32"}, {"small_block_size", "8"}}},
};

typedef struct decode {
    pthread_t thread;
    const dlx_model *m;
    const dlx_decode_options *options;
    dlx_workspace *w;
    dlx_batcher *b;
    int32_t prompt[17], n_prompt, cancel_after, fail_at; /* negative: never */
    int32_t calls;
    dlx_forward_fn inner;
    void *inner_ctx;
    dlx_generation *g;
    dlx_status status;
    dlx_error err;
} decode;

static dlx_status counted_forward(void *ctx, const dlx_forward_call *call, dlx_error *err)
{
    decode *d = ctx;
    dlx_forward_call c = *call;
    int32_t bad = -1;
    if (d->calls++ == d->fail_at) {
        c.ids = &bad;
        c.n_ids = 1;
    }
    return d->inner(d->inner_ctx, &c, err);
}

static bool on_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n)
{
    const decode *d = ctx;
    (void)step, (void)ids, (void)n;
    return d->cancel_after < 0 || d->calls < d->cancel_after;
}

static void *run_decode(void *arg)
{
    decode *d = arg;
    dlx_session *s = NULL;
    dlx_seat *seat = NULL;
    d->status = d->w ? dlx_session_open_in(&s, d->w, &d->err) : dlx_session_open(&s, d->m, 0, 0, &d->err);
    if (d->status == DLX_OK && d->b) d->status = dlx_batcher_join(&seat, d->b, s, &d->err);
    d->inner = seat ? dlx_batcher_forward : dlx_session_forward;
    d->inner_ctx = seat ? (void *)seat : (void *)s;
    if (d->status == DLX_OK)
        d->status = dlx_generate(dlx_model_get_facts(d->m), counted_forward, d, d->options, d->prompt,
                                 (size_t)d->n_prompt, on_step, d, &d->g, &d->err);
    dlx_batcher_leave(seat);
    dlx_session_close(s);
    return NULL;
}

static void prepare(decode *d, int i, const dlx_model *m, const dlx_decode_options *options)
{
    *d = (decode){.m = m, .options = options, .n_prompt = 5 + 2 * i, .cancel_after = -1, .fail_at = -1};
    for (int32_t k = 0; k < d->n_prompt; k++) d->prompt[k] = 3 + (k * 7 + i * 11) % 40;
}

static dlx_decode_options *options_of(size_t kind)
{
    dlx_decode_options *o;
    dlx_error err = {0};
    char most[16];
    snprintf(most, sizeof most, "%d", NEW_TOKENS);
    assert_int_equal(dlx_decode_options_create(&o, NULL), DLX_OK);
    if (dlx_decode_options_set(o, "max_new_tokens", most, &err) != DLX_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < 3 && kinds[kind].options[i][0]; i++)
        if (dlx_decode_options_set(o, kinds[kind].options[i][0], kinds[kind].options[i][1], &err) != DLX_OK)
            fail_msg("%s", err.message);
    return o;
}

static void assert_same(const decode *a, const decode *b)
{
    size_t n, m;
    if (a->status != DLX_OK) fail_msg("%s", a->err.message);
    const int32_t *x = dlx_generation_output_ids(a->g, &n), *y = dlx_generation_output_ids(b->g, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n * sizeof *x);
    assert_int_equal(dlx_generation_num_steps(a->g), dlx_generation_num_steps(b->g));
    for (size_t i = 0; i < dlx_generation_num_steps(a->g); i++) {
        dlx_step s = {.struct_size = sizeof s}, t = s;
        assert_true(dlx_generation_step(a->g, i, &s) && dlx_generation_step(b->g, i, &t));
        assert_int_equal(s.n_accepted, t.n_accepted);
        for (size_t k = 0; k < s.n_accepted; k++) {
            assert_int_equal(s.accepted[k].position, t.accepted[k].position);
            assert_int_equal(s.accepted[k].id, t.accepted[k].id);
            assert_memory_equal(&s.accepted[k].confidence, &t.accepted[k].confidence, sizeof(float));
        }
    }
}

static void decodes_do_not_notice_each_other(void **state)
{
    (void)state;
    int n_cancelled = 0;
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++)
        for (int int8 = 0; int8 < 2; int8++) {
            if (DLX_SLOW && int8 != (int)(kind % 2)) continue;
            dlx_model *m = open_model(kinds[kind].family, int8, 2);
            dlx_decode_options *options = options_of(kind);
            dlx_workspace *w;
            dlx_batcher *b;
            dlx_workspace_options o = {.struct_size = sizeof o, .max_sessions = DECODES};
            dlx_batcher_options wait = {.struct_size = sizeof wait, .max_wait_us = 500};
            decode alone[DECODES], together[DECODES];
            dlx_error err = {0};
            if (dlx_workspace_open(&w, m, &o, &err) != DLX_OK) fail_msg("%s", err.message);
            if (dlx_batcher_open(&b, w, &wait, &err) != DLX_OK) fail_msg("%s", err.message);
            for (int i = 0; i < DECODES; i++) {
                prepare(&alone[i], i, m, options);
                together[i] = alone[i];
                run_decode(&alone[i]);
                if (alone[i].status != DLX_OK) fail_msg("%s", alone[i].err.message);
                together[i].w = w;
                together[i].b = b;
            }
            together[1].cancel_after = 1;
            together[2].fail_at = 0;
            for (int i = 0; i < DECODES; i++)
                assert_int_equal(pthread_create(&together[i].thread, NULL, run_decode, &together[i]), 0);
            for (int i = 0; i < DECODES; i++) pthread_join(together[i].thread, NULL);
            for (int i = 0; i < DECODES; i++) {
                if (i == 1) {
                    assert_int_equal(together[i].status, DLX_OK);
                    /* Unless its first step was its last one. */
                    bool cancelled = !strcmp(dlx_generation_finish_reason(together[i].g), "cancelled");
                    assert_true(cancelled || dlx_generation_num_steps(alone[i].g) == 1);
                    n_cancelled += cancelled;
                } else if (i == 2) {
                    assert_int_equal(together[i].status, DLX_E_INVALID);
                    assert_non_null(strstr(together[i].err.message, "outside the vocabulary"));
                } else {
                    assert_same(&together[i], &alone[i]);
                }
                dlx_generation_free(together[i].g);
                dlx_generation_free(alone[i].g);
            }
            dlx_batcher_close(b);
            dlx_workspace_close(w);
            dlx_decode_options_free(options);
            dlx_model_close(m);
        }
    assert_true(n_cancelled > (DLX_SLOW ? 3 : 7));
}

/* ---- seats ---- */

typedef struct waiting {
    dlx_seat *seat;
    dlx_status status;
} waiting;

static void *wait_for_pass(void *arg)
{
    waiting *x = arg;
    int32_t id = 3;
    dlx_forward_call c = {.struct_size = sizeof c, .ids = &id, .n_ids = 1, .attn_block = 4};
    x->status = dlx_batcher_forward(x->seat, &c, NULL);
    return NULL;
}

/* A seat that never calls delays the others by the bound at most; one that leaves, not at all. */
static void nobody_waits_for_who_left(void **state)
{
    (void)state;
    dlx_model *m = open_model("sdar", false, 1);
    dlx_workspace *w;
    dlx_batcher *b;
    dlx_workspace_options o = {.struct_size = sizeof o, .max_sessions = 3};
    dlx_batcher_options wait = {.struct_size = sizeof wait, .max_wait_us = 20000};
    dlx_session *s[3];
    dlx_seat *seat[3];
    dlx_error err = {0};
    assert_int_equal(dlx_workspace_open(&w, m, &o, NULL), DLX_OK);
    for (int i = 0; i < 3; i++) assert_int_equal(dlx_session_open_in(&s[i], w, NULL), DLX_OK);
    assert_int_equal(dlx_batcher_open(&b, w, &wait, NULL), DLX_OK);
    for (int i = 0; i < 3; i++) assert_int_equal(dlx_batcher_join(&seat[i], b, s[i], NULL), DLX_OK);
    dlx_seat *twice;
    assert_int_equal(dlx_batcher_join(&twice, b, s[0], &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "has a seat already"));
    waiting one = {.seat = seat[0]};
    wait_for_pass(&one); /* the bound */
    assert_int_equal(one.status, DLX_OK);
    for (int i = 0; i < 3; i++) dlx_batcher_leave(seat[i]);
    dlx_batcher_close(b);

    wait.max_wait_us = 60 * 1000 * 1000; /* now nothing but leaving can end the wait */
    assert_int_equal(dlx_batcher_open(&b, w, &wait, NULL), DLX_OK);
    for (int i = 0; i < 3; i++) assert_int_equal(dlx_batcher_join(&seat[i], b, s[i], NULL), DLX_OK);
    waiting two[2] = {{.seat = seat[0]}, {.seat = seat[1]}};
    pthread_t t[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, wait_for_pass, &two[i]), 0);
    dlx_batcher_leave(seat[2]);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < 2; i++) assert_int_equal(two[i].status, DLX_OK);
    dlx_batcher_leave(seat[0]);
    one.seat = seat[1];
    dlx_batcher_counts counts = {.struct_size = sizeof counts};
    assert_int_equal(dlx_batcher_get_counts(b, &counts, NULL), DLX_OK);
    assert_true(counts.passes == 1 && counts.shared == 1 && counts.calls == 2 && counts.rows == 2);
    wait_for_pass(&one); /* alone: at once */
    assert_int_equal(one.status, DLX_OK);
    assert_int_equal(dlx_batcher_get_counts(b, &counts, NULL), DLX_OK);
    assert_true(counts.passes == 2 && counts.shared == 1 && counts.calls == 3 && counts.rows == 3);
    dlx_batcher_leave(seat[1]);
    dlx_batcher_close(b);
    for (int i = 0; i < 3; i++) dlx_session_close(s[i]);
    dlx_workspace_close(w);
    wait.max_wait_us = -1;
    assert_int_equal(dlx_workspace_open(&w, m, &o, NULL), DLX_OK);
    assert_int_equal(dlx_batcher_open(&b, w, &wait, &err), DLX_E_INVALID);
    dlx_workspace_close(w);
    dlx_model_close(m);
}

static void *long_call(void *arg)
{
    waiting *x = arg;
    int32_t ids[32];
    for (int32_t i = 0; i < 32; i++) ids[i] = 3 + i % 7;
    dlx_forward_call c = {.struct_size = sizeof c, .ids = ids, .n_ids = 32, .attn_block = 4, .n_store = 32};
    x->status = dlx_batcher_forward(x->seat, &c, NULL);
    return NULL;
}

static int64_t passes_of(dlx_batcher *b)
{
    dlx_batcher_counts counts = {.struct_size = sizeof counts};
    assert_int_equal(dlx_batcher_get_counts(b, &counts, NULL), DLX_OK);
    return counts.passes;
}

/* Whoever a pass has finished is waited for before the next one, even if others have calls left; whoever stays away is
 * waited for once, not at every call. */
static void who_comes_back_is_waited_for(void **state)
{
    (void)state;
    dlx_model *m = open_model("sdar", false, 1);
    dlx_workspace *w;
    dlx_batcher *b;
    dlx_workspace_options o = {.struct_size = sizeof o, .max_sessions = 2, .max_rows = 8};
    dlx_batcher_options wait = {.struct_size = sizeof wait, .max_wait_us = 60 * 1000 * 1000};
    dlx_session *s[2];
    dlx_seat *seat[2];
    assert_int_equal(dlx_workspace_open(&w, m, &o, NULL), DLX_OK);
    for (int i = 0; i < 2; i++) assert_int_equal(dlx_session_open_in(&s[i], w, NULL), DLX_OK);
    assert_int_equal(dlx_batcher_open(&b, w, &wait, NULL), DLX_OK);
    for (int i = 0; i < 2; i++) assert_int_equal(dlx_batcher_join(&seat[i], b, s[i], NULL), DLX_OK);
    waiting both[2] = {{.seat = seat[0]}, {.seat = seat[1]}};
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, long_call, &both[0]), 0);
    wait_for_pass(&both[1]); /* it goes first, and the other one's first part takes what it leaves */
    const struct timespec a_while = {.tv_nsec = 30 * 1000 * 1000};
    nanosleep(&a_while, NULL);
    assert_int_equal(passes_of(b), 1); /* the other one has parts left, and waits */
    dlx_batcher_leave(seat[1]);
    pthread_join(t, NULL);
    assert_true(both[0].status == DLX_OK && both[1].status == DLX_OK);
    assert_int_equal(passes_of(b), 5);
    dlx_batcher_leave(seat[0]);
    dlx_batcher_close(b);

    wait.max_wait_us = 300 * 1000;
    struct timespec begin, end;
    assert_int_equal(dlx_batcher_open(&b, w, &wait, NULL), DLX_OK);
    for (int i = 0; i < 2; i++) assert_int_equal(dlx_batcher_join(&seat[i], b, s[i], NULL), DLX_OK);
    both[0].seat = seat[0];
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < 40; i++) wait_for_pass(&both[0]);
    clock_gettime(CLOCK_MONOTONIC, &end);
    assert_int_equal(passes_of(b), 40);
    assert_true(end.tv_sec - begin.tv_sec < 10); /* not 40 times the bound */
    for (int i = 0; i < 2; i++) dlx_batcher_leave(seat[i]);
    dlx_batcher_close(b);
    for (int i = 0; i < 2; i++) dlx_session_close(s[i]);
    dlx_workspace_close(w);
    dlx_model_close(m);
}

/* ---- parts of long calls ---- */

enum { LONG = 40, DECODERS = 3, ITS_ROWS = 4, PASS = 16 };

typedef struct rider {
    pthread_t thread;
    dlx_seat *seat;
    int calls;
    dlx_status status;
} rider;

/* As decoders do: a block, once in every pass. */
static void *ride(void *arg)
{
    rider *r = arg;
    const int32_t ids[ITS_ROWS] = {3, 4, 5, 6};
    dlx_forward_call c = {.struct_size = sizeof c, .ids = ids, .n_ids = ITS_ROWS, .attn_block = 4};
    for (int i = 0; i < r->calls && r->status == DLX_OK; i++) r->status = dlx_batcher_forward(r->seat, &c, NULL);
    dlx_batcher_leave(r->seat);
    return NULL;
}

/* The logits of a long call, [LONG][vocab], in passes of `most` rows beside so many who decode, each for so many
 * passes; *n counts passes. */
static float *read_beside(const dlx_model *m, int32_t most, int decoders, int calls, dlx_batcher_counts *n)
{
    const dlx_workspace_options o = {.struct_size = sizeof o, .max_sessions = DECODERS + 1, .max_rows = most};
    const dlx_batcher_options wait = {.struct_size = sizeof wait, .max_wait_us = 60 * 1000 * 1000};
    size_t vocab = (size_t)dlx_model_get_facts(m)->vocab_size;
    float *logits = calloc(LONG * vocab, sizeof *logits);
    dlx_workspace *w;
    dlx_batcher *b;
    dlx_session *s[DECODERS + 1];
    dlx_seat *own;
    rider r[DECODERS] = {{.calls = calls}, {.calls = calls}, {.calls = calls}};
    int32_t ids[LONG];
    for (int32_t i = 0; i < LONG; i++) ids[i] = 3 + i % 7;
    assert_int_equal(dlx_workspace_open(&w, m, &o, NULL), DLX_OK);
    assert_int_equal(dlx_batcher_open(&b, w, &wait, NULL), DLX_OK);
    for (int i = 0; i <= decoders; i++) {
        assert_int_equal(dlx_session_open_in(&s[i], w, NULL), DLX_OK);
        assert_int_equal(dlx_batcher_join(i < decoders ? &r[i].seat : &own, b, s[i], NULL), DLX_OK);
    }
    for (int i = 0; i < decoders; i++) assert_int_equal(pthread_create(&r[i].thread, NULL, ride, &r[i]), 0);
    const dlx_forward_call c = {.struct_size = sizeof c,
                                .ids = ids,
                                .n_ids = LONG,
                                .attn_block = 4,
                                .n_store = LONG,
                                .logits = logits,
                                .n_rows = LONG};
    assert_int_equal(dlx_batcher_forward(own, &c, NULL), DLX_OK);
    dlx_batcher_leave(own);
    for (int i = 0; i < decoders; i++) pthread_join(r[i].thread, NULL);
    for (int i = 0; i < decoders; i++) assert_int_equal(r[i].status, DLX_OK);
    n->struct_size = sizeof *n;
    assert_int_equal(dlx_batcher_get_counts(b, n, NULL), DLX_OK);
    dlx_batcher_close(b);
    for (int i = 0; i <= decoders; i++) dlx_session_close(s[i]);
    dlx_workspace_close(w);
    return logits;
}

/* Whoever decodes rides in the passes that read a prompt; which parts that leaves changes no bit of it. */
static void decoders_ride_with_a_prompt(void **state)
{
    (void)state;
    for (int int8 = 0; int8 < 2; int8++) {
        dlx_model *m = open_model("sdar", int8, 2);
        size_t bytes = LONG * (size_t)dlx_model_get_facts(m)->vocab_size * sizeof(float);
        dlx_batcher_counts n = {0};
        float *alone = read_beside(m, PASS, 0, 0, &n), *beside;
        assert_true(n.passes == 3 && n.rows == LONG); /* 16, 16, 8 */
        /* One block leaves 12 rows of 16; two leave half of them. */
        const int passes[] = {0, 4, 5};
        for (int decoders = 1; decoders < 3; decoders++) {
            beside = read_beside(m, PASS, decoders, passes[decoders], &n);
            assert_int_equal(n.passes, passes[decoders]);
            assert_int_equal(n.shared, n.passes);
            assert_int_equal(n.rows, LONG + decoders * ITS_ROWS * passes[decoders]);
            assert_memory_equal(beside, alone, bytes);
            free(beside);
        }
        /* Three need more than the prompt leaves them: they take turns, and the prompt has half of every pass. */
        beside = read_beside(m, PASS, 3, 3, &n);
        assert_int_equal(n.passes, 5);
        assert_int_equal(n.rows, LONG + 3 * 3 * ITS_ROWS);
        assert_memory_equal(beside, alone, bytes);
        free(beside);
        /* Where a block takes all rows of a pass there is nothing to share. */
        beside = read_beside(m, ITS_ROWS, 1, LONG / ITS_ROWS, &n);
        assert_true(n.passes == 2 * LONG / ITS_ROWS && n.shared == 0);
        assert_memory_equal(beside, alone, bytes);
        free(beside);
        free(alone);
        dlx_model_close(m);
    }
}

/* ---- real models ---- */

static void lives_on_all_models(void **state)
{
    static const char *const kv_types[] = {"float32", "float16", "int8"};
    (void)state;
    for (size_t i = 0; i < FAMILIES; i++)
        for (int int8 = 0; int8 < 2; int8++)
            for (int type = 0; type < 3; type++) {
                if (DLX_SLOW && int8 != type - 1) continue;
                static const int32_t threads[] = {1, 4, 8};
                batch_check b = {.model = open_model(families[i], int8, threads[type]),
                                 .mirror = open_model(families[i], int8, 2),
                                 .rows = 24 + 8 * type,
                                 .context = TINY_CONTEXT,
                                 .block = 4,
                                 .kv_type = kv_types[type],
                                 .seed = (uint32_t)(i * 6 + (size_t)(3 * int8 + type))};
                live(&b, 15);
                assert_true(b.batched > 5 * LIFE && b.summarised > 5 * LIFE);
                dlx_model_close(b.model);
                dlx_model_close(b.mirror);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_do_not_notice_each_other),
        cmocka_unit_test(nobody_waits_for_who_left),
        cmocka_unit_test(who_comes_back_is_waited_for),
        cmocka_unit_test(decoders_ride_with_a_prompt),
        cmocka_unit_test(lives_on_all_models),
    };
    return cmocka_run_group_tests(tests, make_programs, remove_programs);
}
