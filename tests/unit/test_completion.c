/*
 * Completions over a scripted model: the text it wants is known, and so is the order in which it becomes sure of it.
 * Streamed text is append-only and whole characters, stop strings are never seen, cancelling keeps what is known.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "diffulex_edge/completion.h"

/* The byte-level tokenizer of the demo model: ids 0..255 are bytes in GPT-2's order, 257 ends a text, 258 is the mask.
 */
enum { VOCAB = 288, EOS = 257, MASK = 258, PROMPT = 4, MOST = 64 };

typedef struct script {
    const dlx_tokenizer *tokenizer;
    int32_t want[MOST];
    int32_t n;
    int32_t calls;
    bool in_order; /* the answer fills up from left to right instead */
} script;

static dlx_tokenizer *open_tokenizer(void)
{
    dlx_tokenizer *t;
    dlx_error err = {0};
    if (dlx_tokenizer_open_folder(&t, DLX_TEST_DATA "/../../demo/sudoku6-llada", &err) != DLX_OK)
        fail_msg("%s", err.message);
    return t;
}

static script write_script(const dlx_tokenizer *t, const char *text)
{
    script s = {.tokenizer = t};
    int32_t *ids;
    size_t n;
    assert_int_equal(dlx_tokenizer_encode(t, text, strlen(text), DLX_ENCODE_PLAIN, &ids, &n, NULL), DLX_OK);
    assert_true(n < MOST);
    memcpy(s.want, ids, n * sizeof *ids);
    s.n = (int32_t)n;
    dlx_free(ids);
    return s;
}

/* Row p is the surer of its token the larger (p * 7 + 40) mod 64 is: the answer fills up in a scattered order. */
static dlx_status forward(void *ctx, const dlx_forward_call *call, dlx_error *err)
{
    script *s = ctx;
    (void)err;
    s->calls++;
    for (int32_t i = 0; i < call->n_rows; i++) {
        int32_t row = call->rows ? call->rows[i] : i, p = call->start + row - PROMPT;
        float *logits = call->logits + (size_t)i * VOCAB;
        memset(logits, 0, VOCAB * sizeof *logits);
        logits[p >= 0 && p < s->n ? s->want[p] : EOS] =
            5.0f + 0.1f * (float)(s->in_order ? MOST - p : (p * 7 + 168) % 64);
    }
    return DLX_OK;
}

static const dlx_model_facts facts = {.struct_size = sizeof facts,
                                      .family = DLX_FAMILY_LLADA,
                                      .vocab_size = VOCAB,
                                      .max_context = 128,
                                      .max_rows = 128,
                                      .mask_id = MASK,
                                      .block_length = 32,
                                      .bos_id = 256,
                                      .eos_id = EOS,
                                      .pad_id = EOS,
                                      .num_stop_ids = 1,
                                      .stop_ids = {EOS}};
static const int32_t prompt[PROMPT] = {1, 2, 3, 4};

typedef struct listener {
    char text[1024];
    size_t n, calls, stop_after; /* cancels at the call with this number */
} listener;

static bool valid_utf8(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        size_t more = c < 0x80 ? 0 : c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : c >= 0xC2 ? 1 : 9;
        if (more == 9 || i + more >= n) return false;
        for (size_t k = 1; k <= more; k++)
            if (((unsigned char)s[i + k] & 0xC0) != 0x80) return false;
        i += more + 1;
    }
    return true;
}

static bool listen(void *ctx, const char *text, size_t n)
{
    listener *l = ctx;
    assert_true(n > 0);
    assert_int_equal(strlen(text), n); /* a NUL stands behind the piece */
    assert_true(valid_utf8(text, n));
    assert_true(l->n + n < sizeof l->text);
    memcpy(l->text + l->n, text, n);
    l->n += n;
    l->text[l->n] = '\0';
    return ++l->calls != l->stop_after;
}

typedef struct result {
    char text[1024], reason[16];
    size_t n_ids;
    dlx_statistics statistics;
    listener heard;
} result;

static result complete(const char *text, const char *const *stop, size_t n_stop, const char *max_new, size_t stop_after)
{
    dlx_tokenizer *t = open_tokenizer();
    script s = write_script(t, text);
    result r = {.heard = {.stop_after = stop_after}, .statistics = {.struct_size = sizeof r.statistics}};
    dlx_completion_options o = dlx_completion_options_default();
    dlx_decode_options *decode;
    dlx_completion *c;
    dlx_error err = {0};
    assert_int_equal(dlx_decode_options_create(&decode, &err), DLX_OK);
    assert_int_equal(dlx_decode_options_set(decode, "max_new_tokens", max_new, &err), DLX_OK);
    o.decode = decode;
    o.tokenizer = t;
    o.stop = stop;
    o.n_stop = n_stop;
    o.on_text = listen;
    o.text_ctx = &r.heard;
    if (dlx_complete(&facts, forward, &s, &o, prompt, PROMPT, &c, &err) != DLX_OK) fail_msg("%s", err.message);
    size_t n;
    const char *got = dlx_completion_text(c, &n);
    assert_int_equal(strlen(got), n);
    snprintf(r.text, sizeof r.text, "%s", got);
    snprintf(r.reason, sizeof r.reason, "%s", dlx_completion_finish_reason(c));
    const int32_t *ids = dlx_completion_ids(c, &r.n_ids);
    for (size_t i = 0; i < r.n_ids; i++) assert_int_equal(ids[i], s.want[i]);
    assert_int_equal(dlx_completion_statistics(c, &r.statistics, &err), DLX_OK);
    assert_non_null(dlx_completion_generation(c));
    dlx_completion_free(c);
    dlx_decode_options_free(decode);
    dlx_tokenizer_close(t);
    return r;
}

static void text_streams_as_its_left_prefix_grows(void **state)
{
    (void)state;
    const char *text = "Gr\xC3\xBC\xC3\x9F"
                       "e, \xE4\xB8\x96\xE7\x95\x8C \xF0\x9F\x98\x80!";
    result r = complete(text, NULL, 0, "40", 0);
    assert_string_equal(r.text, text);
    assert_string_equal(r.heard.text, text);
    assert_true(r.heard.calls > 1);
    assert_string_equal(r.reason, "stop");
    assert_int_equal(r.statistics.prompt_tokens, PROMPT);
    assert_int_equal(r.statistics.new_tokens, (int)strlen(text)); /* one token a byte */
    assert_true(r.statistics.forwards > 10);
    assert_int_equal(r.statistics.cached_tokens, 0);
}

static void length_ends_an_answer_inside_a_character(void **state)
{
    (void)state;
    result r = complete("abc\xE4\xB8\x96zz", NULL, 0, "5", 0);
    assert_string_equal(r.text, "abc\xEF\xBF\xBD");
    assert_string_equal(r.heard.text, r.text);
    assert_string_equal(r.reason, "length");
    assert_int_equal(r.n_ids, 5);
}

static void stop_strings_are_held_back(void **state)
{
    (void)state;
    static const char *const two[] = {"User:", "\n\n"};
    result r = complete("one\ntwo\n\nthree User: four", two, 2, "40", 0);
    assert_string_equal(r.text, "one\ntwo");
    assert_string_equal(r.heard.text, r.text);
    assert_string_equal(r.reason, "stop");
    assert_int_equal(r.n_ids, 7);
    /* What only looked like the beginning of a stop string comes out. */
    r = complete("a Use b\nc Us", two, 2, "40", 0);
    assert_string_equal(r.text, "a Use b\nc Us");
    assert_string_equal(r.heard.text, r.text);
    /* The earliest one counts, and one that begins at once leaves nothing. */
    static const char *const nested[] = {"bcd", "abcde"};
    r = complete("xabcde", nested, 2, "40", 0);
    assert_string_equal(r.text, "x");
    static const char *const first[] = {"Hello"};
    r = complete("Hello world", first, 1, "40", 0);
    assert_string_equal(r.text, "");
    assert_int_equal(r.heard.calls, 0);
    assert_int_equal(r.n_ids, 0);
}

/* Where the text grows byte by byte, the beginnings of every stop string are held back, not only of the first. */
static void beginnings_of_all_stop_strings_are_held_back(void **state)
{
    (void)state;
    static const char *const stop[] = {"User:", "\n\n", "----"};
    static const struct {
        const char *text, *heard;
    } cases[] = {{"one\n\ntwo", "one"},
                 {"a User: b", "a "},
                 {"x---- y", "x"},
                 {"a--\nb\nUs", "a--\nb\nUs"},
                 {"\nU-\n", "\nU-\n"}};
    dlx_tokenizer *t = open_tokenizer();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        script s = write_script(t, cases[i].text);
        s.in_order = true;
        listener heard = {.n = 0};
        dlx_completion_options o = dlx_completion_options_default();
        dlx_completion *c;
        dlx_error err = {0};
        o.tokenizer = t;
        o.stop = stop;
        o.n_stop = sizeof stop / sizeof *stop;
        o.on_text = listen;
        o.text_ctx = &heard;
        if (dlx_complete(&facts, forward, &s, &o, prompt, PROMPT, &c, &err) != DLX_OK) fail_msg("%s", err.message);
        assert_string_equal(heard.text, cases[i].heard);
        assert_string_equal(dlx_completion_text(c, NULL), cases[i].heard);
        dlx_completion_free(c);
    }
    dlx_tokenizer_close(t);
}

static void a_listener_cancels(void **state)
{
    (void)state;
    result r = complete("abcdefghijklmnopqrstuvwxyz", NULL, 0, "26", 2);
    assert_string_equal(r.reason, "cancelled");
    assert_int_equal(r.heard.calls, 2);
    assert_true(strlen(r.text) >= 2 && strlen(r.text) < 26);
    assert_int_equal(strncmp("abcdefghijklmnopqrstuvwxyz", r.text, strlen(r.text)), 0);
}

/* Who cancels, and how many calls of the model had been made by then. */
typedef struct canceller {
    const script *script;
    int32_t made, heard;
} canceller;

static bool cancel_text(void *ctx, const char *text, size_t n)
{
    canceller *c = ctx;
    assert_true(text && n > 0);
    c->made = c->script->calls;
    c->heard++;
    return false;
}

static bool cancel_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n)
{
    canceller *c = ctx;
    assert_true(step && ids && n > PROMPT);
    c->made = c->script->calls;
    c->heard++;
    return c->made < 3;
}

/* The model is not called again, from whichever function and with or without text; nothing is said behind the cancel.
 */
static void nothing_runs_behind_a_cancel(void **state)
{
    (void)state;
    dlx_tokenizer *t = open_tokenizer();
    for (int way = 0; way < 3; way++) {
        script s = write_script(t, "abcdefghijklmnopqrstuvwxyz");
        canceller text = {.script = &s}, step = {.script = &s};
        dlx_completion_options o = dlx_completion_options_default();
        dlx_completion *c;
        dlx_error err = {0};
        if (way != 2) o.tokenizer = t;
        if (way == 0) o.on_text = cancel_text;
        if (way != 0) o.on_step = cancel_step;
        o.text_ctx = &text;
        o.step_ctx = &step;
        if (dlx_complete(&facts, forward, &s, &o, prompt, PROMPT, &c, &err) != DLX_OK) fail_msg("%s", err.message);
        assert_string_equal(dlx_completion_finish_reason(c), "cancelled");
        assert_int_equal(dlx_generation_num_forwards(dlx_completion_generation(c)), s.calls);
        assert_int_equal(way == 0 ? text.heard : step.heard, way == 0 ? 1 : 3);
        assert_int_equal(s.calls, way == 0 ? text.made : 3);
        assert_true(s.calls < s.n);
        dlx_completion_free(c);
    }
    dlx_tokenizer_close(t);
}

/* A step that is refused ends the text too: what came with it is part of the answer, and is not said. */
static bool never_heard(void *ctx, const char *text, size_t n)
{
    (void)ctx;
    (void)text;
    (void)n;
    fail_msg("text behind a cancel");
    return true;
}

static bool cancel_first_text(void *ctx, const dlx_step *step, const int32_t *ids, size_t n)
{
    (void)ctx;
    (void)step;
    return !(n > PROMPT && ids[PROMPT] != MASK);
}

static void a_step_that_cancels_ends_the_text(void **state)
{
    (void)state;
    dlx_tokenizer *t = open_tokenizer();
    script s = write_script(t, "abcdefgh");
    dlx_completion_options o = dlx_completion_options_default();
    dlx_completion *c;
    dlx_error err = {0};
    o.tokenizer = t;
    o.on_text = never_heard;
    o.on_step = cancel_first_text;
    if (dlx_complete(&facts, forward, &s, &o, prompt, PROMPT, &c, &err) != DLX_OK) fail_msg("%s", err.message);
    size_t n;
    const char *text = dlx_completion_text(c, &n);
    assert_true(n > 0 && n < 8);
    assert_int_equal(strncmp(text, "abcdefgh", n), 0);
    assert_string_equal(dlx_completion_finish_reason(c), "cancelled");
    dlx_completion_free(c);
    dlx_tokenizer_close(t);
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    static const char *const empty[] = {""}, *const broken[] = {"fine", "\xE4\xB8"};
    dlx_completion_options o = dlx_completion_options_default();
    dlx_completion *c = NULL;
    dlx_error err = {0};
    script s = {0};
    o.stop = empty;
    o.n_stop = 1;
    assert_int_equal(dlx_complete(&facts, forward, &s, &o, prompt, PROMPT, &c, &err), DLX_E_INVALID);
    assert_null(c);
    assert_non_null(strstr(err.message, "need a tokenizer"));
    o.tokenizer = open_tokenizer();
    assert_int_equal(dlx_complete(&facts, forward, &s, &o, prompt, PROMPT, &c, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "stop string 1 is empty"));
    o.stop = broken; /* it would end an answer inside a character */
    o.n_stop = 2;
    assert_int_equal(dlx_complete(&facts, forward, &s, &o, prompt, PROMPT, &c, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "stop string 2 is not valid UTF-8"));
    dlx_tokenizer_close((dlx_tokenizer *)(uintptr_t)o.tokenizer);
    o.struct_size = 1;
    assert_int_equal(dlx_complete(&facts, forward, &s, &o, prompt, PROMPT, &c, &err), DLX_E_INVALID);
    assert_int_equal(dlx_complete(&facts, forward, &s, NULL, prompt, 0, &c, &err), DLX_E_INVALID);
    assert_null(c);
    /* Without a tokenizer there are ids and no text. */
    assert_int_equal(dlx_complete(&facts, forward, &s, NULL, prompt, PROMPT, &c, &err), DLX_OK);
    assert_string_equal(dlx_completion_text(c, NULL), "");
    dlx_completion_free(c);
    dlx_completion_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_streams_as_its_left_prefix_grows),
        cmocka_unit_test(length_ends_an_answer_inside_a_character),
        cmocka_unit_test(stop_strings_are_held_back),
        cmocka_unit_test(beginnings_of_all_stop_strings_are_held_back),
        cmocka_unit_test(a_listener_cancels),
        cmocka_unit_test(nothing_runs_behind_a_cancel),
        cmocka_unit_test(a_step_that_cancels_ends_the_text),
        cmocka_unit_test(wrong_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
