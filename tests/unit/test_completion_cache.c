/*
 * Completions over a real session: what of a prompt is taken from its cache, that answers do not depend on it, and that
 * a prompt's masks are filled every time.
 */
#include "fixed_runner.h"

enum { LENGTH = 14, BLOCK = 4, MASK = 1226 };

static const int32_t text_ids[LENGTH] = {31, 77, 502, 9, 610, 33, 8, 250, 611, 90, 1001, 45, 3, 700};

typedef struct fixture {
    target file;
    dlx_model *model;
} fixture;

static int open_fixture(void **state)
{
    static fixture f;
    dlx_error err = {0};
    f.file = new_target("sdar.pte");
    export_tiny(f.file.path, "sdar", false);
    if (dlx_model_open(&f.model, f.file.path, NULL, &err) != DLX_OK) fail_msg("%s", err.message);
    assert_int_equal(dlx_model_get_facts(f.model)->mask_id, MASK);
    assert_int_equal(dlx_model_get_facts(f.model)->block_length, BLOCK);
    *state = &f;
    return 0;
}

static int close_fixture(void **state)
{
    fixture *f = *state;
    dlx_model_close(f->model);
    remove_target(&f->file);
    return 0;
}

static dlx_session *open_session(const fixture *f)
{
    dlx_session *s;
    dlx_error err = {0};
    if (dlx_session_open(&s, f->model, 0, 0, &err) != DLX_OK) fail_msg("%s", err.message);
    return s;
}

typedef struct answer {
    int32_t ids[16];
    size_t n;
    dlx_statistics statistics;
} answer;

/* o: whose cache may be used; n_cached, block: the decode options, or NULL. */
static answer complete_with(const fixture *f, dlx_forward_fn forward, void *ctx, dlx_completion_options o,
                            const int32_t *prompt, size_t n, const char *n_cached, const char *block)
{
    dlx_decode_options *decode;
    dlx_completion *c;
    dlx_error err = {0};
    answer a = {.statistics = {.struct_size = sizeof a.statistics}};
    assert_int_equal(dlx_decode_options_create(&decode, &err), DLX_OK);
    assert_int_equal(dlx_decode_options_set(decode, "max_new_tokens", "6", &err), DLX_OK);
    assert_int_equal(dlx_decode_options_set(decode, "stop_ids", "none", &err), DLX_OK);
    if (n_cached) assert_int_equal(dlx_decode_options_set(decode, "n_cached", n_cached, &err), DLX_OK);
    if (block) assert_int_equal(dlx_decode_options_set(decode, "block_length", block, &err), DLX_OK);
    o.decode = decode;
    if (dlx_complete(dlx_model_get_facts(f->model), forward, ctx, &o, prompt, n, &c, &err) != DLX_OK)
        fail_msg("%s", err.message);
    const int32_t *ids = dlx_completion_ids(c, &a.n);
    assert_int_equal(a.n, 6);
    memcpy(a.ids, ids, a.n * sizeof *ids);
    assert_int_equal(dlx_completion_statistics(c, &a.statistics, NULL), DLX_OK);
    dlx_completion_free(c);
    dlx_decode_options_free(decode);
    return a;
}

/* `cache`: the session whose cache may be used, NULL for none. */
static answer complete_by(const fixture *f, dlx_session *s, const dlx_session *cache, const int32_t *prompt, size_t n,
                          const char *n_cached, const char *block)
{
    dlx_completion_options o = dlx_completion_options_default();
    o.session = cache;
    return complete_with(f, dlx_session_forward, s, o, prompt, n, n_cached, block);
}

static answer complete(const fixture *f, dlx_session *s, const dlx_session *cache, const int32_t *prompt, size_t n,
                       const char *n_cached)
{
    return complete_by(f, s, cache, prompt, n, n_cached, NULL);
}

static void assert_same_answer(const answer *a, const answer *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->ids, b->ids, a->n * sizeof *a->ids);
}

static void a_prompt_is_run_once(void **state)
{
    const fixture *f = *state;
    dlx_session *s = open_session(f), *other = open_session(f);
    answer first = complete(f, s, s, text_ids, LENGTH, NULL);
    assert_int_equal(first.statistics.cached_tokens, 0);
    assert_int_equal(first.statistics.prompt_tokens, LENGTH);
    answer again = complete(f, s, s, text_ids, LENGTH, NULL);
    assert_int_equal(again.statistics.cached_tokens, LENGTH / BLOCK * BLOCK);
    assert_true(again.statistics.rows < first.statistics.rows);
    assert_same_answer(&first, &again);
    /* A prompt that parts from it in the third block shares the two before. */
    int32_t parted[LENGTH];
    memcpy(parted, text_ids, sizeof parted);
    parted[9]++;
    answer fresh = complete(f, other, NULL, parted, LENGTH, NULL);
    answer shared = complete(f, s, s, parted, LENGTH, NULL);
    assert_int_equal(fresh.statistics.cached_tokens, 0);
    assert_int_equal(shared.statistics.cached_tokens, 2 * BLOCK);
    assert_same_answer(&fresh, &shared);
    dlx_session_close(s);
    dlx_session_close(other);
}

static void the_option_goes_before_the_session(void **state)
{
    const fixture *f = *state;
    dlx_session *s = open_session(f);
    answer first = complete(f, s, s, text_ids, LENGTH, NULL);
    answer none = complete(f, s, s, text_ids, LENGTH, "0");
    assert_int_equal(none.statistics.cached_tokens, 0);
    assert_int_equal(none.statistics.rows, first.statistics.rows);
    answer one = complete(f, s, NULL, text_ids, LENGTH, "4");
    assert_int_equal(one.statistics.cached_tokens, BLOCK);
    assert_same_answer(&first, &none);
    assert_same_answer(&first, &one);
    dlx_session_close(s);
}

/* Blocks of one token are blocks: all of a prompt but its last token is reused. */
static void causal_prompts_are_run_once(void **state)
{
    const fixture *f = *state;
    dlx_session *s = open_session(f), *other = open_session(f);
    answer first = complete_by(f, s, s, text_ids, LENGTH, NULL, "1");
    assert_int_equal(first.statistics.cached_tokens, 0);
    answer again = complete_by(f, s, s, text_ids, LENGTH, NULL, "1");
    assert_int_equal(again.statistics.cached_tokens, LENGTH - 1);
    answer alone = complete_by(f, other, NULL, text_ids, LENGTH, NULL, "1");
    assert_same_answer(&first, &again);
    assert_same_answer(&first, &alone);
    dlx_session_close(s);
    dlx_session_close(other);
}

/* The cache may hold the keys of a mask: reuse ends at the block before. */
static void a_mask_of_the_prompt_is_not_reused(void **state)
{
    const fixture *f = *state;
    for (int32_t at = 0; at < 12; at++) {
        dlx_session *s = open_session(f), *fresh = open_session(f);
        int32_t prompt[LENGTH];
        dlx_error err = {0};
        memcpy(prompt, text_ids, sizeof prompt);
        prompt[at] = MASK;
        dlx_forward_call stored = {
            .struct_size = sizeof stored, .ids = prompt, .n_ids = 12, .n_store = 12, .attn_block = BLOCK};
        if (dlx_session_forward(s, &stored, &err) != DLX_OK) fail_msg("%s", err.message);
        assert_int_equal(dlx_session_reusable(s, prompt, LENGTH, BLOCK), 12);
        answer reused = complete(f, s, s, prompt, LENGTH, NULL);
        assert_int_equal(reused.statistics.cached_tokens, at / BLOCK * BLOCK);
        answer expected = complete(f, fresh, NULL, prompt, LENGTH, NULL);
        assert_same_answer(&expected, &reused);
        dlx_session_close(s);
        dlx_session_close(fresh);
    }
}

/* A session over a program that somebody else runs has a cache like any other. */
static void fixed_sessions_are_asked_too(void **state)
{
    const fixture *f = *state;
    target file = new_target("fixed.pte");
    runner r;
    export_fixed(file.path, "sdar", "fixed", "none", 8, NULL, 0);
    open_runner(&r, file.path);
    dlx_session *s = open_session(f);
    dlx_completion_options o = dlx_completion_options_default();
    o.fixed = r.session;
    for (int turn = 0; turn < 2; turn++) {
        answer native = complete(f, s, s, text_ids, LENGTH, NULL);
        answer fixed = complete_with(f, dlx_fixed_forward, r.session, o, text_ids, LENGTH, NULL, NULL);
        assert_same_answer(&native, &fixed);
        assert_int_equal(fixed.statistics.cached_tokens, turn ? 12 : 0);
        assert_int_equal(native.statistics.cached_tokens, fixed.statistics.cached_tokens);
    }
    dlx_error err = {0};
    dlx_completion *c = (dlx_completion *)&r;
    o.session = s;
    assert_int_equal(
        dlx_complete(dlx_model_get_facts(f->model), dlx_session_forward, s, &o, text_ids, LENGTH, &c, &err),
        DLX_E_INVALID);
    assert_non_null(strstr(err.message, "a session and a fixed session were given"));
    assert_null(c);
    dlx_session_close(s);
    close_runner(&r);
    remove_target(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prompt_is_run_once),         cmocka_unit_test(the_option_goes_before_the_session),
        cmocka_unit_test(causal_prompts_are_run_once),  cmocka_unit_test(a_mask_of_the_prompt_is_not_reused),
        cmocka_unit_test(fixed_sessions_are_asked_too),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
