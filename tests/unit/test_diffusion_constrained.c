/*
 * Decoding under constraints: every algorithm, over the scripted model, ends in a text that matches, or says why not
 * before its first model call; a constraint that excludes nothing changes no token; draws have the probabilities of
 * what is acceptable.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sizes.h"
#include "constrain_check.h"
#include "diffusion/sampling.h"
#include "test_diffusion_run.h"

/* Ids of the scripted model: 5 is its mask, 7 and 11 end an answer, and 46, 47 are spelled by bytes of a character. */
static const char *const words[48] = {
    "0", "1", "2", "3",   "4",   "",    "5",  "",    "6",    "7",    "8",    "",    "9", "10",       "20",     "-",
    "a", "b", "c", "ab",  "ba",  "abc", "aa", "-0",  "-1",   "1-",   "2024", "{",   "}", "\"",       "\"a\":", ":",
    ",", "[", "]", "\",", "\"}", "e",   "f",  "tru", "true", "fals", "ee",   "nul", "l", "\xC3\xA9", "\xC3",   "\xA9",
};

static const struct {
    int32_t attn_block, shift;
    const char *options;
} ways[] = {
    {0, 0, "gen_length=20 block_length=8 steps=12"},
    {0, 0, "algorithm=llada.generate gen_length=24 block_length=8 steps=12"},
    {0, 0, "gen_length=24 block_length=24 steps=4 remasking=random seed=3"},
    {0, 0, "gen_length=20 block_length=8 temperature=0.8 cfg_scale=1 seed=5"},
    {0, 0, "gen_length=20 block_length=8 logits_eos_inf=true confidence_eos_eot_inf=true"},
    {0, 0, "algorithm=llada.generate_fast published=false gen_length=20 block_length=8 threshold=0.6 cache=dual"},
    {0, 0, "algorithm=llada.generate_fast gen_length=24 block_length=8 factor=1.5 cache=prefix"},
    {0, 0, "algorithm=llada.generate_fast published=false gen_length=20 block_length=8 max_passes=1"},
    {0, 1, "max_new_tokens=20"},
    {0, 1, "max_new_tokens=20 steps=5 alg=topk_margin"},
    {0, 1, "algorithm=dream.diffusion_generate max_new_tokens=20 steps=6 alg=origin temperature=0.5 top_p=0.8 seed=2"},
    {0, 1, "max_new_tokens=20 alg=confidence_threshold threshold=0.5"},
    {0, 1, "max_new_tokens=20 alg=maskgit_plus alg_temp=0.4 temperature=1 top_k=5"},
    {0, 1, "algorithm=dream.generate_blocks published=false max_new_tokens=20 block_length=8 dual=true"},
    {0, 1, "algorithm=dream.generate_blocks max_new_tokens=24 block_length=8 steps=12 alg=entropy"},
    {8, 0, "max_new_tokens=20"},
    {8, 0, "algorithm=sdar.generate gen_length=20"},
    {8, 0, "max_new_tokens=20 strategy=sequential denoising_steps=3"},
    {8, 0, "max_new_tokens=20 strategy=entropy_bounded eb_threshold=2 temperature=0.7 top_k=9 top_p=0.9"},
    {8, 0, "max_new_tokens=20 strategy=low_confidence_static denoising_steps=2 fuse_commit=false"},
    {8, 0, "max_new_tokens=20 threshold=0.3 block_length=16"},
    {8, 1, "max_new_tokens=20 small_block_size=4"},
    {8, 1, "algorithm=fast_dllm_v2.generate max_new_tokens=24 small_block_size=4 threshold=0.5"},
    {8, 1, "max_new_tokens=20 small_block_size=4 block_cache=true temperature=1 top_p=0.7"},
    {1, 1, "max_new_tokens=20"},
    {1, 0, "algorithm=ar.generate max_new_tokens=20 temperature=1 top_p=0.9 repetition_penalty=1.2"},
};

/* Each has texts of at most 16 tokens. */
static const char *const regexes[] = {
    "20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])",
    "(ab|ba)*c?",
    "\\{\"a\":(true|false|null|\"[^\"\\\\]{0,4}\"),\"a\":-?(0|[1-9][0-9]{0,3})\\}",
    "[\xC3\xA0-\xC3\xBF]{3}|-{16}",
    "(a|b)*a(a|b){3}",
    "",
};

static dlx_constraint *make(const char *regex)
{
    built b;
    build(&b, regex);
    return small_constraint(&b, words, 48);
}

/* The answer's ids as text. */
static size_t spell(const dlx_generation *g, char *text)
{
    size_t n, used = 0;
    const int32_t *ids = dlx_generation_answer_ids(g, &n);
    for (size_t i = 0; i < n; i++) used += (size_t)sprintf(text + used, "%s", words[ids[i]]);
    text[used] = '\0';
    return used;
}

static void check_way(const dlx_constraint *c, size_t way, const char *regex, uint64_t seed)
{
    decode_run r;
    char text[512];
    run_init(&r, ways[way].attn_block, ways[way].shift, seed, 3 + (int32_t)(seed % 9));
    r.constraint = c;
    run(&r, ways[way].options);
    size_t n = spell(r.g, text);
    if (!dlx_machine_accepts(&c->machine, text, n))
        fail_msg("%s with %s, seed %d: '%s'", ways[way].options, regex, (int)seed, text);
    run_free(&r);
}

static void test_every_way_matches(void **state)
{
    (void)state;
    for (size_t k = 0; k < DLX_COUNT(regexes); k++) {
        dlx_constraint *c = make(regexes[k]);
        for (size_t way = 0; way < DLX_COUNT(ways); way++)
            for (uint64_t seed = 0; seed < 20; seed++) check_way(c, way, regexes[k], seed);
        dlx_constraint_destroy(c);
    }
}

/* Masks of the prompt are filled without a constraint, the answer with it. */
static void test_masks_of_the_prompt(void **state)
{
    (void)state;
    dlx_constraint *c = make(regexes[0]);
    for (size_t way = 0; way < DLX_COUNT(ways); way++)
        for (uint64_t seed = 0; seed < 4; seed++) {
            decode_run r;
            char text[512];
            bool published = strstr(ways[way].options, "algorithm=") && !strstr(ways[way].options, "published=false");
            if (ways[way].attn_block == 1 || published) continue;
            run_init(&r, ways[way].attn_block, ways[way].shift, seed, 9);
            run_hide(&r, 4, 9);
            r.constraint = c;
            run(&r, ways[way].options);
            size_t n = spell(r.g, text);
            if (!dlx_machine_accepts(&c->machine, text, n)) fail_msg("%s: '%s'", ways[way].options, text);
            run_free(&r);
        }
    dlx_constraint_destroy(c);
}

/* As published, masks of the prompt take shares from the answer: some are left in it, which is said. */
static void test_a_published_schedule_that_leaves_masks(void **state)
{
    decode_run r;
    (void)state;
    dlx_constraint *c = make("[a-c]{16,20}");
    run_init(&r, 0, 0, 3, 9);
    run_hide(&r, 2, 8);
    r.constraint = c;
    run_fails(&r, "algorithm=llada.generate gen_length=16 block_length=16 steps=16 stop_ids=11", DLX_E_LIMIT,
              "published");
    dlx_constraint_destroy(c);
}

static void test_too_few_tokens(void **state)
{
    (void)state;
    dlx_constraint *c = make("[b-c]{21}");
    for (size_t way = 0; way < DLX_COUNT(ways); way++) {
        decode_run r;
        run_init(&r, ways[way].attn_block, ways[way].shift, 1, 5);
        r.constraint = c;
        if (strstr(ways[way].options, "=24")) continue;
        run_fails(&r, ways[way].options, DLX_E_LIMIT, "shortest text that the constraint accepts takes 21 tokens");
        assert_int_equal(r.m.calls, 0);
    }
    dlx_constraint_destroy(c);
    /* Just enough, so that no stop id ends the answer. */
    c = make("[b-c]{20}");
    for (size_t way = 0; way < DLX_COUNT(ways); way++) check_way(c, way, "[b-c]{20}", 2);
    dlx_constraint_destroy(c);
}

/* Fast-dLLM v2 as published decodes fewer tokens than asked for; the constraint is told how many. */
static void test_published_lengths(void **state)
{
    static const char *const published = "algorithm=fast_dllm_v2.generate max_new_tokens=20 small_block_size=4";
    (void)state;
    for (int32_t n_prompt = 1; n_prompt < 20; n_prompt++)
        for (int32_t length = 6; length < 20; length++) {
            decode_run r;
            char regex[32], text[512];
            snprintf(regex, sizeof regex, "[b-c]{%d}", length);
            dlx_constraint *c = make(regex);
            run_init(&r, 8, 1, 4, n_prompt);
            r.constraint = c;
            /* Two blocks of 8 from the one on that the prompt ends in, and a token behind them. */
            if (length <= n_prompt / 8 * 8 + 17 - n_prompt) {
                run(&r, published);
                assert_true(dlx_machine_accepts(&c->machine, text, spell(r.g, text)));
            } else {
                run_fails(&r, published, DLX_E_LIMIT, "shortest text");
            }
            run_free(&r);
            dlx_constraint_destroy(c);
        }
}

static void test_what_cannot_be_decoded(void **state)
{
    decode_run r;
    (void)state;
    dlx_constraint *c = make("x+");
    run_init(&r, 8, 0, 1, 5);
    r.constraint = c;
    run_fails(&r, "max_new_tokens=20", DLX_E_INVALID, "no tokens of this model spell a text");
    dlx_constraint_destroy(c);
    c = make("a+");
    run_init(&r, 8, 0, 1, 5);
    r.constraint = c;
    run_fails(&r, "max_new_tokens=20 stop_ids=none", DLX_E_INVALID, "give option 'stop_ids'");
    dlx_constraint_destroy(c);
}

/* An id of the text that is made a stop id ends it, and is no part of it any more. */
static void test_text_that_is_a_stop_id(void **state)
{
    decode_run r;
    char text[512];
    size_t n;
    (void)state;
    dlx_constraint *c = make("(a|ab){4,9}");
    for (uint64_t seed = 0; seed < 20; seed++) {
        run_init(&r, 8, 0, seed, 5);
        r.constraint = c;
        run(&r, "max_new_tokens=20 stop_ids=16"); /* "a"; "aa", "ab" and "ba" are left */
        assert_true(dlx_machine_accepts(&c->machine, text, spell(r.g, text)));
        const int32_t *ids = dlx_generation_answer_ids(r.g, &n);
        for (size_t i = 0; i < n; i++) assert_int_not_equal(ids[i], 16);
        run_free(&r);
    }
    dlx_constraint_destroy(c);
}

/* A model that knows summaries, and whether it knows that logits are wanted beside them. */
static struct {
    decode_run *run;
    bool knows;
    int rows, calls;
} told;

static dlx_status summarising(void *ctx, const dlx_forward_call *call, dlx_error *err)
{
    int32_t vocab = told.run->m.facts.vocab_size;
    dlx_status s = model_forward(&told.run->m, call, err);
    (void)ctx;
    told.calls++;
    for (int32_t i = 0; i < call->n_rows && call->summaries; i++) {
        float *row = call->logits + (size_t)i * (size_t)vocab;
        assert_true(call->with_logits);
        dlx_summarise_row(row, vocab, call->never, call->known, &call->summaries[i]);
        for (int32_t k = 0; k < vocab && !told.knows; k++) row[k] = -7;
        told.rows++;
    }
    return s;
}

/* Summaries beside logits save the decoder work and change nothing; a model that leaves the logits out is asked again,
 * once. */
static void test_summaries_beside_logits(void **state)
{
    int summarised = 0;
    (void)state;
    dlx_constraint *c = make(regexes[0]);
    for (size_t way = 0; way < DLX_COUNT(ways); way++) {
        decode_run plain, runs[2];
        size_t n, m;
        run_init(&plain, ways[way].attn_block, ways[way].shift, way, 5);
        plain.constraint = c;
        run(&plain, ways[way].options);
        const int32_t *ids = dlx_generation_output_ids(plain.g, &n);
        for (int knows = 0; knows < 2; knows++) {
            decode_run *r = &runs[knows];
            run_init(r, ways[way].attn_block, ways[way].shift, way, 5);
            r->constraint = c;
            r->forward = summarising;
            told.run = r;
            told.knows = knows;
            told.rows = told.calls = 0;
            run(r, ways[way].options);
            const int32_t *other = dlx_generation_output_ids(r->g, &m);
            assert_int_equal(n, m);
            assert_memory_equal(ids, other, n * sizeof *ids);
            assert_int_equal(told.calls, plain.m.calls + (told.rows && !knows));
            summarised += told.rows && knows;
            run_free(r);
        }
        run_free(&plain);
    }
    assert_true(summarised > 12);
    dlx_constraint_destroy(c);
}

/* Every id a letter of its own, all texts accepted: what is decoded is what is decoded without. */
static void test_what_excludes_nothing_changes_nothing(void **state)
{
    const char *letters[48];
    char spelled[48][2];
    int compared = 0;
    built b;
    (void)state;
    for (int i = 0; i < 48; i++) {
        spelled[i][0] = (char)('A' + i);
        spelled[i][1] = '\0';
        letters[i] = spelled[i];
    }
    build(&b, "[A-p]*");
    dlx_constraint *c = small_constraint(&b, letters, 48);
    for (size_t way = 0; way < DLX_COUNT(ways); way++)
        for (uint64_t seed = 0; seed < 8; seed++) {
            decode_run without, with;
            char options[200];
            size_t n, n_with;
            if (strstr(ways[way].options, "temperature") || strstr(ways[way].options, "eos")) continue;
            /* A stop id behind which nothing but stop ids may stand: one that is never the likeliest. */
            snprintf(options, sizeof options, "%s stop_ids=47", ways[way].options);
            run_init(&without, ways[way].attn_block, ways[way].shift, seed, 7);
            run(&without, options);
            const int32_t *ids = dlx_generation_output_ids(without.g, &n);
            bool stopped = false;
            for (size_t i = 7; i < n; i++) stopped = stopped || ids[i] == 47;
            if (!stopped) {
                run_init(&with, ways[way].attn_block, ways[way].shift, seed, 7);
                with.constraint = c;
                run(&with, options);
                const int32_t *ids_with = dlx_generation_output_ids(with.g, &n_with);
                assert_int_equal(n, n_with);
                assert_memory_equal(ids, ids_with, n * sizeof *ids);
                run_free(&with);
                compared++;
            }
            run_free(&without);
        }
    assert_true(compared > 60);
    dlx_constraint_destroy(c);
}

/* Draws of the first token of "a|b|ab": in proportion to their probabilities, whichever class they are of. */
static void test_draws_are_fair(void **state)
{
    enum { RUNS = 4000, FIRST = 16, SECOND = 17, THIRD = 20 };
    static const char *const options[] = {"max_new_tokens=4 temperature=1.5", "max_new_tokens=4 temperature=0.7"};
    double p[48], sum = 0;
    float row[48];
    (void)state;
    dlx_constraint *c = make("a|b|ba"); /* "a" and "b" are classes of their own, "ba" another */
    for (size_t way = 0; way < DLX_COUNT(options); way++) {
        int counts[48] = {0};
        decode_run r;
        for (int k = 0; k < RUNS; k++) {
            char text[200];
            size_t n;
            snprintf(text, sizeof text, "%s seed=%d", options[way], k);
            run_init(&r, 1, 1, 11, 5);
            r.constraint = c;
            run(&r, text);
            counts[dlx_generation_answer_ids(r.g, &n)[0]]++;
            run_free(&r);
        }
        dlx_forward_call call = {.struct_size = sizeof call,
                                 .ids = r.prompt,
                                 .n_ids = 5,
                                 .attn_block = 1,
                                 .rows = (const int32_t[]){4},
                                 .n_rows = 1,
                                 .logits = row};
        run_init(&r, 1, 1, 11, 5);
        assert_int_equal(model_forward(&r.m, &call, &r.err), DLX_OK);
        static const int ids[] = {FIRST, SECOND, THIRD};
        sum = 0;
        for (int i = 0; i < 3; i++) sum += p[ids[i]] = exp((double)row[ids[i]] / (way ? 0.7 : 1.5));
        for (int i = 0; i < 3; i++) {
            double want = p[ids[i]] / sum, got = (double)counts[ids[i]] / RUNS;
            if (fabs(want - got) > 4 * sqrt(want * (1 - want) / RUNS) + 1e-9)
                fail_msg("id %d: %g of the draws, expected %g", ids[i], got, want);
        }
    }
    dlx_constraint_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_way_matches),
        cmocka_unit_test(test_masks_of_the_prompt),
        cmocka_unit_test(test_a_published_schedule_that_leaves_masks),
        cmocka_unit_test(test_too_few_tokens),
        cmocka_unit_test(test_published_lengths),
        cmocka_unit_test(test_what_cannot_be_decoded),
        cmocka_unit_test(test_text_that_is_a_stop_id),
        cmocka_unit_test(test_summaries_beside_logits),
        cmocka_unit_test(test_what_excludes_nothing_changes_nothing),
        cmocka_unit_test(test_draws_are_fair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
