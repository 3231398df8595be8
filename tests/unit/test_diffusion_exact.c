/*
 * Exact caches. The scripted model compares every row and every stored value of a call with a run over all tokens
 * without a cache; whoever claims exactness must pass: SDAR with and without fused commits, Fast-dLLM v2 without its
 * block cache, autoregressive decoding of all families, each with masks in the prompt where it can fill them, and with
 * part of the prompt cached from before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sizes.h"
#include "test_diffusion_run.h"

static decode_run a, b;

static void assert_same_output(const dlx_generation *x, const dlx_generation *y)
{
    size_t n, m;
    const int32_t *p = dlx_generation_output_ids(x, &n), *q = dlx_generation_output_ids(y, &m);
    assert_int_equal(n, m);
    assert_memory_equal(p, q, n * sizeof *p);
    assert_string_equal(dlx_generation_finish_reason(x), dlx_generation_finish_reason(y));
}

static void exact_init(decode_run *r, int32_t attn_block, int32_t shift, uint64_t seed, int32_t n_prompt)
{
    run_init(r, attn_block, shift, seed, n_prompt);
    r->m.canvas = r->canvas;
}

/* What an earlier turn left in the cache: the first n prompt tokens, stored under width `block`. */
static void warm(decode_run *r, int32_t n, int32_t block)
{
    dlx_forward_call call = {
        .struct_size = sizeof call, .ids = r->prompt, .n_ids = n, .attn_block = block, .n_store = n};
    memcpy(r->canvas, r->prompt, sizeof r->canvas);
    if (n) assert_int_equal(model_forward(&r->m, &call, &r->err), DLX_OK);
}

/* The scripted model can tell: one wrong value, one wrong token. */
static void test_the_model_notices(void **state)
{
    (void)state;
    exact_init(&a, 4, 0, 1, 9);
    warm(&a, 8, 4);
    a.m.stored.second[3] ^= 1;
    run_fails(&a, "n_cached=8 max_new_tokens=8", DLX_E_INTERNAL, "broke the call contract");
    exact_init(&a, 4, 0, 1, 9);
    a.prompt[2]++;
    warm(&a, 8, 4);
    a.prompt[2]--;
    run_fails(&a, "n_cached=8 max_new_tokens=8", DLX_E_INTERNAL, "broke the call contract");
    exact_init(&a, 4, 0, 1, 9);
    run_fails(&a, "n_cached=8 max_new_tokens=8", DLX_E_INTERNAL, "has[p]");
}

static const char *const strategies[] = {"sequential", "low_confidence_static", "low_confidence_dynamic",
                                         "entropy_bounded"};
static const int32_t widths[] = {1, 4, 5, 8, 16};

static void test_sdar_fused_commits(void **state)
{
    int32_t fused = 0, plain = 0, most = 0;
    (void)state;
    for (int32_t i = 0; i < 400; i++) {
        char options[300];
        int32_t block = widths[i % 5], n_prompt = 1 + i * 7 % 23, new = 1 + i * 5 % 40;
        exact_init(&a, 4, 0, (uint64_t)i, n_prompt);
        if (i % 3 == 0) a.m.stop_at = n_prompt + i % 17, a.m.stop_id = 11;
        b = a;
        b.m.canvas = b.canvas;
        int n =
            snprintf(options, sizeof options,
                     "block_length=%d max_new_tokens=%d denoising_steps=%d strategy=%s threshold=0.6 eb_threshold=2",
                     block, new, 1 + i % (block + 2), strategies[i / 5 % 4]);
        run(&a, options);
        snprintf(options + n, sizeof options - (size_t)n, " fuse_commit=false");
        run(&b, options);
        assert_same_output(a.g, b.g);
        assert_true(a.m.calls <= b.m.calls);
        fused += a.m.calls;
        plain += b.m.calls;
        if (b.m.calls - a.m.calls > most) most = b.m.calls - a.m.calls;
        run_free(&a);
        run_free(&b);
    }
    print_message("passes: %d with fused commits, %d without; at most %d saved in one decode\n", fused, plain, most);
    assert_true(fused < plain * 9 / 10);
}

/* As published the commit passes are separate; fused there, too, they give the same tokens. */
static void test_sdar_published_fused(void **state)
{
    (void)state;
    for (int32_t i = 0; i < 60; i++) {
        exact_init(&a, 4, 0, (uint64_t)i, 1 + i % 13);
        b = a;
        b.m.canvas = b.canvas;
        run(&a, "algorithm=sdar.generate gen_length=17 stop_ids=7,11");
        run(&b, "algorithm=sdar.generate gen_length=17 stop_ids=7,11 fuse_commit=true");
        assert_same_output(a.g, b.g);
        assert_true(b.m.calls < a.m.calls);
        run_free(&a);
        run_free(&b);
    }
}

/* A fused pass that the program cannot run in one call is not fused. */
static void test_sdar_fusion_needs_rows(void **state)
{
    (void)state;
    for (int32_t rows = 4; rows <= 16; rows++) {
        exact_init(&a, 4, 0, 5, 11);
        a.m.facts.max_rows = rows;
        run(&a, "max_new_tokens=20");
        dlx_step step = {.struct_size = sizeof step};
        bool fused = false;
        for (size_t i = 0; dlx_generation_step(a.g, i, &step); i++) {
            assert_true(step.rows <= rows || step.block == -1);
            fused = fused || (step.rows > 4 && step.block >= 0);
        }
        assert_int_equal(fused, rows >= 8);
        run_free(&a);
    }
}

static void test_fast_dllm_v2(void **state)
{
    static const int32_t shapes[][2] = {{32, 8}, {32, 32}, {16, 4}, {8, 2}, {8, 1}};
    (void)state;
    for (int32_t i = 0; i < 300; i++) {
        char options[300];
        int32_t block = shapes[i % 5][0], n_prompt = 1 + i * 7 % 70;
        exact_init(&a, 32, 1, (uint64_t)i, n_prompt);
        if (i % 3 == 0) a.m.stop_at = n_prompt + i % 17, a.m.stop_id = 7;
        snprintf(options, sizeof options, "block_size=%d small_block_size=%d max_new_tokens=%d threshold=%g", block,
                 shapes[i % 5][1], 1 + i * 5 % 80, i % 2 ? 0.5 : 0.9);
        run(&a, options);
        run_free(&a);
    }
}

static void test_autoregressive(void **state)
{
    static const int32_t kinds[][3] = {{0, 0, 5}, {0, 1, 5}, {4, 0, 5}, {32, 1, 5}, {1, 0, -1}, {1, 1, -1}};
    (void)state;
    for (int32_t i = 0; i < 120; i++) {
        char options[100];
        exact_init(&a, kinds[i % 6][0], kinds[i % 6][1], (uint64_t)i, 1 + i * 7 % 23);
        a.m.facts.mask_id = kinds[i % 6][2];
        snprintf(options, sizeof options, "algorithm=ar.generate max_new_tokens=%d", 1 + i % 20);
        run(&a, options);
        assert_true(a.m.calls == (int32_t)dlx_generation_num_steps(a.g));
        run_free(&a);
    }
}

/* ---- prompts that are cached from before ------------------------------------------------------------------------ */

static void check_cached(int32_t attn_block, int32_t shift, int32_t block, const char *options)
{
    for (int32_t n_prompt = 1; n_prompt <= 70; n_prompt += n_prompt < 12 ? 1 : 7)
        for (int32_t cached = 0; cached < n_prompt; cached += block) {
            char with[300];
            exact_init(&a, attn_block, shift, (uint64_t)n_prompt, n_prompt);
            run(&a, options);
            exact_init(&b, attn_block, shift, (uint64_t)n_prompt, n_prompt);
            warm(&b, cached, block);
            b.m.rows_run = 0;
            snprintf(with, sizeof with, "%s n_cached=%d", options, cached);
            run(&b, with);
            assert_same_output(a.g, b.g);
            assert_int_equal(a.m.rows_run - b.m.rows_run, cached);
            assert_true(b.m.calls <= a.m.calls);
            run_free(&a);
            run_free(&b);
        }
}

static void test_cached_prompts(void **state)
{
    (void)state;
    check_cached(4, 0, 4, "max_new_tokens=9");
    check_cached(4, 0, 4, "max_new_tokens=9 fuse_commit=false");
    check_cached(4, 0, 8, "max_new_tokens=9 block_length=8");
    check_cached(32, 1, 32, "max_new_tokens=40");
    check_cached(32, 1, 16, "max_new_tokens=20 block_size=16");
    check_cached(32, 1, 32, "algorithm=fast_dllm_v2.generate max_new_tokens=64 prefill_exact=true");
    check_cached(4, 0, 1, "algorithm=ar.generate max_new_tokens=3");
    check_cached(0, 1, 1, "algorithm=ar.generate max_new_tokens=3");
}

static void test_cached_refusals(void **state)
{
    (void)state;
    run_init(&a, 4, 0, 1, 9);
    run_fails(&a, "n_cached=6", DLX_E_INVALID, "multiple of the block of 4");
    run_fails(&a, "n_cached=12", DLX_E_INVALID, "below the prompt's length of 9");
    run_hide(&a, 5, 6);
    run_fails(&a, "n_cached=8", DLX_E_INVALID, "give at most 4");
    run_init(&a, 4, 0, 1, 8);
    run_fails(&a, "n_cached=8", DLX_E_INVALID, "below the prompt's length of 8");
    for (int32_t shift = 0; shift < 2; shift++) {
        run_init(&a, 0, shift, 1, 9);
        run_fails(&a, "n_cached=4", DLX_E_INVALID, "every position see all others");
        run(&a, "n_cached=0");
        run_free(&a);
    }
}

/* ---- masks in the prompt ---------------------------------------------------------------------------------------- */

static void check_infill(int32_t attn_block, int32_t shift, const char *options)
{
    for (int32_t n_prompt = 1; n_prompt <= 70; n_prompt += n_prompt < 12 ? 1 : 7)
        for (int32_t hole = 0; hole < n_prompt; hole += 1 + n_prompt / 8)
            for (int32_t length = 1; length < 20 && hole + length <= n_prompt; length += 6) {
                exact_init(&a, attn_block, shift, (uint64_t)n_prompt, n_prompt);
                run_hide(&a, hole, hole + length);
                run(&a, options);
                size_t n;
                const int32_t *ids = dlx_generation_output_ids(a.g, &n);
                assert_true(n >= (size_t)n_prompt);
                for (size_t i = 0; i < n; i++) assert_int_not_equal(ids[i], a.m.facts.mask_id);
                for (int32_t i = 0; i < n_prompt; i++)
                    if (i < hole || i >= hole + length) assert_int_equal(ids[i], a.prompt[i]);
                run_free(&a);
            }
}

static void test_infilling(void **state)
{
    (void)state;
    check_infill(4, 0, "max_new_tokens=6");
    check_infill(4, 0, "max_new_tokens=0");
    check_infill(4, 0, "max_new_tokens=5 fuse_commit=false strategy=low_confidence_static");
    check_infill(4, 0, "max_new_tokens=6 block_length=16");
    check_infill(32, 1, "max_new_tokens=40");
    check_infill(32, 1, "max_new_tokens=0");
    check_infill(32, 1, "max_new_tokens=9 block_size=8 small_block_size=4");
}

/* Whole blocks in front of the hole may be cached, also those that end right before it. */
static void test_infilling_behind_a_cache(void **state)
{
    (void)state;
    for (int32_t kind = 0; kind < 2; kind++)
        for (int32_t hole = 1; hole < 60; hole++) {
            int32_t block = kind ? 32 : 4, cached = hole / block * block;
            char options[100];
            exact_init(&a, block, kind, (uint64_t)hole, 70);
            run_hide(&a, hole, hole + 5);
            b = a;
            b.m.canvas = b.canvas;
            run(&a, "max_new_tokens=0");
            warm(&b, cached, block);
            snprintf(options, sizeof options, "max_new_tokens=0 n_cached=%d", cached);
            run(&b, options);
            assert_same_output(a.g, b.g);
            run_free(&a);
            run_free(&b);
        }
}

/* A mask at the start of a block of Fast-dLLM v2 gets its token from the row in front of it, when that block is stored.
 */
static void test_infilling_at_a_block_start(void **state)
{
    (void)state;
    for (int32_t hole = 32; hole <= 64; hole += 32) {
        exact_init(&a, 32, 1, (uint64_t)hole, 80);
        run_hide(&a, hole, hole + 3);
        run(&a, "max_new_tokens=0");
        dlx_step step = {.struct_size = sizeof step};
        bool found = false;
        for (size_t i = 0; dlx_generation_step(a.g, i, &step); i++) {
            if (step.n_accepted != 1 || step.accepted[0].position != hole) continue;
            assert_int_equal(step.start + step.rows, hole);
            found = true;
        }
        assert_true(found);
        run_free(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_model_notices),
        cmocka_unit_test(test_sdar_fused_commits),
        cmocka_unit_test(test_sdar_published_fused),
        cmocka_unit_test(test_sdar_fusion_needs_rows),
        cmocka_unit_test(test_fast_dllm_v2),
        cmocka_unit_test(test_autoregressive),
        cmocka_unit_test(test_cached_prompts),
        cmocka_unit_test(test_cached_refusals),
        cmocka_unit_test(test_infilling),
        cmocka_unit_test(test_infilling_behind_a_cache),
        cmocka_unit_test(test_infilling_at_a_block_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
