/*
 * What every algorithm promises whatever the model says: the exact number of new tokens, no mask in any output, stop
 * ids, an early end, cancelling between passes, masks in the prompt, errors of the model call; bounds on passes,
 * refresh intervals, presets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sizes.h"
#include "test_diffusion_run.h"

/* Every algorithm in the variants that take different ways through the code. `full`: attention in both directions. */
static const struct variant {
    int32_t attn_block, shift;
    bool full, fills; /* fills: masks of the prompt */
    const char *options;
} variants[] = {
    {0, 0, true, true, ""},
    {0, 0, true, true, "algorithm=llada.generate published=false block_length=8"},
    {0, 0, true, true, "algorithm=llada.generate published=false cfg_scale=1 block_length=8"},
    {0, 0, true, true, "algorithm=llada.generate published=false temperature=0.7 remasking=random"},
    {0, 0, true, true, "algorithm=llada.generate_fast published=false block_length=8"},
    {0, 0, true, true, "algorithm=llada.generate_fast published=false block_length=8 threshold=0.9 cache=prefix"},
    {0, 0, true, true,
     "algorithm=llada.generate_fast published=false block_length=8 threshold=0.9 cache=dual refresh_interval=2"},
    {0, 0, true, true, "algorithm=llada.generate_fast published=false block_length=8 factor=1 cache=dual"},
    {0, 0, true, true, "algorithm=llada.generate_fast published=false block_length=4 cache=prefix"},
    {0, 1, true, true, ""},
    {0, 1, true, true, "alg=origin"},
    {0, 1, true, true, "alg=maskgit_plus temperature=0.8 top_p=0.9 top_k=20 alg_temp=0.5"},
    {0, 1, true, true, "alg=confidence_threshold threshold=0.9"},
    {0, 1, true, true, "algorithm=dream.generate_blocks published=false block_length=8"},
    {0, 1, true, true, "algorithm=dream.generate_blocks published=false block_length=8 dual=true refresh_interval=3"},
    {0, 1, true, true, "algorithm=dream.generate_blocks published=false block_length=8 alg=entropy"},
    {0, 1, true, true,
     "algorithm=dream.generate_blocks published=false block_length=8 alg=topk_margin dual=true alg_temp=0.3"},
    {4, 0, false, true, ""},
    {4, 0, false, true, "strategy=sequential fuse_commit=false"},
    {4, 0, false, true, "strategy=low_confidence_static denoising_steps=2 block_length=8"},
    {4, 0, false, true, "strategy=entropy_bounded eb_threshold=1 temperature=1 top_k=20 top_p=0.9"},
    {32, 1, false, true, ""},
    {32, 1, false, true, "block_cache=true threshold=0.6"},
    {32, 1, false, true, "block_size=8 small_block_size=2 temperature=0.9"},
    {4, 0, false, false, "algorithm=ar.generate"},
    {0, 1, false, false, "algorithm=ar.generate temperature=0.8 top_k=10 repetition_penalty=1.3"},
    {1, 0, false, false, ""},
};

static decode_run a, b;
static char text[400];

static const char *with(const char *options, const char *more, int32_t value)
{
    assert_true(snprintf(text, sizeof text, "%s %s%d", options, more, value) < (int)sizeof text);
    return text;
}

static void variant_init(decode_run *r, const struct variant *v, uint64_t seed, int32_t n_prompt)
{
    run_init(r, v->attn_block, v->shift, seed, n_prompt);
    r->m.facts.num_stop_ids = 1; /* 7 alone; what the tests plant is the only stop id, most of the time */
    if (v->attn_block == 1) r->m.facts.mask_id = -1;
}

static bool contains(const int32_t *ids, size_t n, int32_t id)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] == id) return true;
    return false;
}

/* Output is prompt, answer, and the stop id if there is one. */
static void check_output(const decode_run *r, int32_t max_new)
{
    size_t n, m;
    const int32_t *out = dlx_generation_output_ids(r->g, &n), *answer = dlx_generation_answer_ids(r->g, &m);
    const char *reason = dlx_generation_finish_reason(r->g);
    bool stop = !strcmp(reason, "stop");
    assert_int_equal(n, (size_t)r->n_prompt + m + stop);
    assert_memory_equal(out, r->prompt, (size_t)r->n_prompt * sizeof *out);
    assert_memory_equal(out + r->n_prompt, answer, m * sizeof *answer);
    assert_false(contains(out, n, r->m.facts.mask_id));
    assert_false(contains(answer, m, 7));
    if (stop) {
        assert_int_equal(out[n - 1], 7);
        assert_true(m < (size_t)max_new);
    } else {
        assert_string_equal(reason, "length");
        assert_int_equal(m, max_new);
    }
}

static void test_lengths(void **state)
{
    (void)state;
    for (size_t v = 0; v < DLX_COUNT(variants); v++)
        for (int32_t new = 1; new <= 40; new += new < 10 ? 1 : 5)
            for (int32_t n_prompt = 1; n_prompt < 40; n_prompt += 1 + n_prompt / 2) {
                variant_init(&a, &variants[v], (uint64_t)(new * 100 + n_prompt), n_prompt);
                run(&a, with(variants[v].options, "max_new_tokens=", new));
                check_output(&a, new);
                run_free(&a);
            }
}

/* Up to the last position of the context, and not beyond it. */
static void test_whole_context(void **state)
{
    (void)state;
    for (size_t v = 0; v < DLX_COUNT(variants); v++)
        for (int32_t context = 17; context <= 34; context += 5) {
            variant_init(&a, &variants[v], v + 9, 13);
            a.m.facts.max_context = context;
            a.m.facts.max_rows = context;
            if (variants[v].attn_block == 32 && context < 32 && !strstr(variants[v].options, "block_size=8")) continue;
            run(&a, with(variants[v].options, "max_new_tokens=", context - 13));
            check_output(&a, context - 13);
            run_free(&a);
            run(&a, variants[v].options); /* the default fits as well */
            check_output(&a, context - 13);
            run_free(&a);
            run_fails(&a, with(variants[v].options, "max_new_tokens=", context - 12), DLX_E_LIMIT, "do not fit");
        }
}

static void test_stop_ids(void **state)
{
    int32_t stopped = 0, early = 0;
    (void)state;
    for (size_t v = 0; v < DLX_COUNT(variants); v++) {
        if (strstr(variants[v].options, "temperature") || strstr(variants[v].options, "cfg_scale")) continue;
        for (int32_t at = 0; at < 20; at++) {
            variant_init(&a, &variants[v], (uint64_t)at * 77 + v, 9);
            b = a;
            run(&b, with(variants[v].options, "stop_ids=none max_new_tokens=", 24));
            a.m.stop_at = a.n_prompt + at;
            a.m.stop_id = 7;
            run(&a, with(variants[v].options, "max_new_tokens=", 24));
            check_output(&a, 24);
            size_t n;
            dlx_generation_answer_ids(a.g, &n);
            if (strcmp(dlx_generation_finish_reason(a.g), "stop") || n > (size_t)at)
                fail_msg("%s: %zu tokens in front of a stop id at %d", variants[v].options, n, at);
            stopped++;
            early += a.m.calls < b.m.calls;
            run_free(&a);
            run_free(&b);
        }
    }
    print_message("%d decodes stopped, %d of them in fewer passes\n", stopped, early);
    assert_true(early > stopped / 2);
}

/* What lies behind a stop id is not decoded, and as published everything is. */
static void test_early_end(void **state)
{
    static const struct {
        int32_t shift;
        const char *options;
    } full[] = {{0, "algorithm=llada.generate block_length=8"},
                {0, "algorithm=llada.generate_fast block_length=8 cache=dual threshold=0.9"},
                {1, "algorithm=dream.generate_blocks block_length=8"}};
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(full); i++) {
        int32_t calls[4];
        for (int kind = 0; kind < 4; kind++) {
            static const char *const kinds[] = {
                "published=true max_new_tokens=", "published=true early_stop=true max_new_tokens=",
                "published=false max_new_tokens=", "published=false early_stop=false max_new_tokens="};
            run_init(&a, 0, full[i].shift, 4, 6);
            a.m.stop_at = 6 + 3;
            a.m.stop_id = 7;
            run(&a, with(full[i].options, kinds[kind], 40));
            assert_string_equal(dlx_generation_finish_reason(a.g), "stop");
            calls[kind] = a.m.calls;
            run_free(&a);
        }
        assert_true(calls[1] * 2 < calls[0]);
        assert_true(calls[2] <= calls[1]);
        assert_true(calls[3] > calls[2] * 2);
    }
}

/* Also in the middle of a block. */
static void test_early_end_inside_blocks(void **state)
{
    static const struct {
        int32_t attn_block, shift;
        const char *options;
    } causal[] = {{4, 0, "strategy=sequential block_length=16"}, {32, 1, "threshold=1 small_block_size=2"}};
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(causal); i++) {
        run_init(&a, causal[i].attn_block, causal[i].shift, 4, causal[i].attn_block + 2);
        a.m.stop_at = a.n_prompt + 3;
        a.m.stop_id = 7;
        run(&a, with(causal[i].options, "max_new_tokens=", 64));
        size_t n;
        dlx_generation_answer_ids(a.g, &n);
        assert_true(n <= 3);
        assert_true(a.m.calls <= 8);
        run_free(&a);
    }
}

static void test_cancelling(void **state)
{
    (void)state;
    for (size_t v = 0; v < DLX_COUNT(variants); v++)
        for (int32_t after = 1; after < 14; after++) {
            variant_init(&a, &variants[v], v * 31 + 5, 9);
            a.cancel_after = after;
            run(&a, with(variants[v].options, "stop_ids=none max_new_tokens=", 24));
            size_t known = 9, n;
            while (known < a.n_canvas && known < 9 + 24 && a.canvas[known] != a.m.facts.mask_id) known++;
            const int32_t *answer = dlx_generation_answer_ids(a.g, &n);
            if (a.steps == after) {
                assert_string_equal(dlx_generation_finish_reason(a.g), "cancelled");
                assert_int_equal(n, known - 9);
                assert_memory_equal(answer, a.canvas + 9, n * sizeof *answer);
                dlx_generation_output_ids(a.g, &n);
                assert_int_equal(n, known);
            }
            run_free(&a);
        }
    /* A stop id that was reached before counts. */
    run_init(&a, 4, 0, 3, 4);
    a.m.stop_at = 4;
    a.m.stop_id = 7;
    a.cancel_after = 4;
    run(&a, "strategy=sequential published=true");
    assert_string_equal(dlx_generation_finish_reason(a.g), "stop");
    run_free(&a);
}

static void test_failing_calls(void **state)
{
    (void)state;
    for (size_t v = 0; v < DLX_COUNT(variants); v++)
        for (int32_t at = 1; at < 8; at += 3) {
            variant_init(&a, &variants[v], v, 9);
            run(&a, with(variants[v].options, "stop_ids=none max_new_tokens=", 24));
            int32_t calls = a.m.calls;
            run_free(&a);
            if (at > calls) continue;
            a.m.fail_at = at;
            run_fails(&a, with(variants[v].options, "stop_ids=none max_new_tokens=", 24), DLX_E_IO, "scripted failure");
        }
}

/* ---- masks in the prompt ---------------------------------------------------------------------------------------- */

static void check_filled(const decode_run *r, int32_t begin, int32_t end, int32_t max_new)
{
    size_t n, m;
    const int32_t *out = dlx_generation_output_ids(r->g, &n);
    dlx_generation_answer_ids(r->g, &m);
    assert_true(n >= (size_t)r->n_prompt);
    assert_false(contains(out, n, r->m.facts.mask_id));
    for (int32_t i = 0; i < r->n_prompt; i++)
        if (i < begin || i >= end) assert_int_equal(out[i], r->prompt[i]);
    if (strcmp(dlx_generation_finish_reason(r->g), "stop")) assert_int_equal(m, max_new);
}

static void test_infilling(void **state)
{
    (void)state;
    for (size_t v = 0; v < DLX_COUNT(variants); v++) {
        for (int32_t begin = 0; begin < 20; begin += 3)
            for (int32_t new = 0; new < 12; new += 5) {
                variant_init(&a, &variants[v], v + 50, 21);
                if (a.m.facts.mask_id < 0) continue;
                int32_t end = begin + 1 + begin % 7 < 21 ? begin + 1 + begin % 7 : 21;
                run_hide(&a, begin, end);
                if (!variants[v].fills) {
                    run_fails(&a, with(variants[v].options, "published=false max_new_tokens=", new), DLX_E_INVALID,
                              "cannot fill");
                    continue;
                }
                run(&a, with(variants[v].options, "max_new_tokens=", new));
                check_filled(&a, begin, end, new);
                run_free(&a);
            }
        if (!variants[v].fills) continue;
        /* a prompt that is nothing but masks and fills the context */
        variant_init(&a, &variants[v], v, 32);
        a.m.facts.max_context = a.m.facts.max_rows = 32;
        run_hide(&a, 0, 32);
        run(&a, with(variants[v].options, "max_new_tokens=", 0));
        check_filled(&a, 0, 32, 0);
        run_free(&a);
    }
    run_init(&a, 0, 0, 1, 5);
    run_fails(&a, "max_new_tokens=0", DLX_E_INVALID, "holds no mask");
    run_hide(&a, 2, 3);
    run_fails(&a, "algorithm=llada.generate max_new_tokens=0", DLX_E_INVALID, "'published' to false");
    run_init(&a, 0, 0, 1, 256);
    run_fails(&a, "", DLX_E_LIMIT, "leaves no room");
}

/* ---- max_passes ------------------------------------------------------------------------------------------------- */

/* A pass that reveals masks it ran, not one that only stores or predicts what comes next. */
static bool denoises(const dlx_step *step)
{
    for (size_t i = 0; i < step->n_accepted; i++)
        if (step->accepted[i].position >= step->start && step->accepted[i].position < step->start + step->rows)
            return true;
    return false;
}

/* Most denoising passes of a block; *total: of all blocks. */
static int32_t most_passes(const dlx_generation *g, int32_t *total, int32_t *blocks)
{
    int32_t counts[64] = {0}, most = 0;
    dlx_step step = {.struct_size = sizeof step};
    *total = *blocks = 0;
    for (size_t i = 0; dlx_generation_step(g, i, &step); i++) {
        if (!denoises(&step)) continue;
        assert_in_range(step.block, 0, 63);
        ++*total;
        *blocks += counts[step.block] == 0;
        if (++counts[step.block] > most) most = counts[step.block];
    }
    return most;
}

static void assert_same_steps(const dlx_generation *x, const dlx_generation *y)
{
    dlx_step p = {.struct_size = sizeof p}, q = p;
    assert_int_equal(dlx_generation_num_forwards(x), dlx_generation_num_forwards(y));
    assert_int_equal(dlx_generation_num_steps(x), dlx_generation_num_steps(y));
    for (size_t i = 0; dlx_generation_step(x, i, &p) && dlx_generation_step(y, i, &q); i++) {
        assert_true(p.block == q.block && p.start == q.start && p.rows == q.rows && p.cached == q.cached);
        assert_int_equal(p.n_accepted, q.n_accepted);
        if (p.n_accepted) assert_memory_equal(p.accepted, q.accepted, p.n_accepted * sizeof *p.accepted);
    }
}

static void test_max_passes(void **state)
{
    int32_t total, blocks, reached = 0, runs = 0;
    (void)state;
    for (size_t v = 0; v < DLX_COUNT(variants); v++)
        for (int32_t limit = 1; variants[v].fills && limit <= 6; limit += limit < 3 ? 1 : 3)
            for (int32_t n_prompt = 3; n_prompt < 50; n_prompt += 9)
                for (int32_t hole = 0; hole < 3; hole++) {
                    variant_init(&a, &variants[v], v * 100 + (uint64_t)n_prompt, n_prompt);
                    a.m.facts.num_stop_ids = 0;
                    if (hole) run_hide(&a, n_prompt / 3, n_prompt / 3 + hole * hole);
                    run(&a, with(variants[v].options, "max_new_tokens=45 max_passes=", limit));
                    check_filled(&a, hole ? n_prompt / 3 : 0, hole ? n_prompt / 3 + hole * hole : 0, 45);
                    /* Dream's block decoder fills the prompt first, as a block of its own. */
                    bool first = hole && strstr(variants[v].options, "dream.generate_blocks");
                    int32_t most = most_passes(a.g, &total, &blocks);
                    if (most > limit + (first ? limit : 0) || total > limit * (blocks + first))
                        fail_msg("%s: %d passes in a block, %d in %d blocks", text, most, total, blocks);
                    reached += most >= limit;
                    runs++;
                    run_free(&a);
                }
    print_message("%d of %d decodes reached the bound\n", reached, runs);
    assert_true(reached > runs * 3 / 4);
}

/* As published, too; and a bound that is never reached changes nothing. */
static void test_max_passes_published(void **state)
{
    int32_t total, blocks;
    (void)state;
    for (size_t v = 0; v < DLX_COUNT(variants); v++) {
        if (!variants[v].fills) continue;
        for (int32_t i = 0; i < 8; i++) {
            int32_t limit = 1 + i / 2, hole = i % 2; /* some published decoders leave the prompt's masks */
            variant_init(&a, &variants[v], v + 3, 9);
            if (hole) run_hide(&a, 2, 5);
            run(&a, with(variants[v].options, "published=true max_new_tokens=64 stop_ids=none max_passes=", limit));
            assert_true(most_passes(a.g, &total, &blocks) <= limit);
            size_t n;
            const int32_t *out = dlx_generation_output_ids(a.g, &n);
            assert_false(contains(out + (hole ? 9 : 0), n - (hole ? 9 : 0), a.m.facts.mask_id));
            run_free(&a);
        }
        for (int published = 0; published < 2; published++) {
            variant_init(&a, &variants[v], v + 3, 9);
            b = a;
            run(&a, with(variants[v].options, "max_new_tokens=64 published=", published));
            run(&b, with(variants[v].options, "max_passes=1000 max_new_tokens=64 published=", published));
            assert_same_steps(a.g, b.g);
            run_free(&a);
            run_free(&b);
        }
    }
    /* The passes that published cached loops take in vain count as well. */
    run_init(&a, 0, 0, 3, 10);
    run(&a, "algorithm=llada.generate_fast threshold=0 cache=dual gen_length=32 block_length=8 max_passes=1");
    assert_int_equal(a.m.calls, 4);
    run_free(&a);
    run_init(&a, 0, 1, 3, 10);
    run(&a, "algorithm=dream.generate_blocks max_new_tokens=32 block_length=8 max_passes=1");
    assert_int_equal(a.m.calls, 4);
    run_free(&a);
}

/* Where a number of steps makes equal shares, the bound is that number. */
static void test_max_passes_and_steps(void **state)
{
    static const struct {
        int32_t attn_block, shift;
        const char *common, *bound, *steps;
        int32_t hole;
    } same[] = {
        {0, 0, "block_length=16", "max_passes=3", "steps=12", 0},
        {0, 0, "block_length=16", "max_passes=3", "steps=12", 5},
        {0, 0, "block_length=16 steps=12", "max_passes=8", "", 0},
        {0, 0, "algorithm=llada.generate_fast cache=dual block_length=16", "max_passes=3", "steps=12", 0},
        {0, 1, "", "max_passes=5", "steps=5", 0},
        {0, 1, "steps=5", "max_passes=6", "", 0},
        {0, 1, "algorithm=dream.generate_blocks block_length=16 alg=entropy", "max_passes=4", "steps=16", 0},
        {4, 0, "strategy=low_confidence_static block_length=8", "max_passes=3", "denoising_steps=3", 0},
        {4, 0, "strategy=sequential block_length=8", "max_passes=3", "denoising_steps=3", 0},
        {4, 0, "strategy=low_confidence_static denoising_steps=2", "max_passes=3", "", 0},
    };
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(same); i++) {
        char options[400];
        run_init(&a, same[i].attn_block, same[i].shift, i + 5, 8);
        a.m.facts.num_stop_ids = 0;
        run_hide(&a, 1, 1 + same[i].hole);
        b = a;
        snprintf(options, sizeof options, "max_new_tokens=64 %s %s", same[i].common, same[i].bound);
        run(&a, options);
        snprintf(options, sizeof options, "max_new_tokens=64 %s %s", same[i].common, same[i].steps);
        run(&b, options);
        assert_same_steps(a.g, b.g);
        run_free(&a);
        run_free(&b);
    }
    /* What can be revealed in one pass needs no second one. */
    run_init(&a, 0, 1, 3, 10);
    run(&a, "algorithm=dream.generate_blocks alg=entropy max_new_tokens=32 block_length=8 steps=4 max_passes=1");
    assert_int_equal(a.m.calls, 4);
    run_free(&a);
}

/* Fast-dLLM v2: passes in each small block of the first block, every small block of which gets its share. */
static void test_max_passes_of_small_blocks(void **state)
{
    static const struct {
        const char *options;
        int32_t prompt, small, passes[4];
    } cases[] = {
        {"threshold=1 max_passes=7", 32, 8, {1, 2, 2, 2}},
        {"threshold=1 max_passes=4 block_cache=true", 32, 8, {1, 1, 1, 1}},
        {"threshold=1 max_passes=3", 32, 16, {1, 2, 0, 0}},
        {"threshold=1 max_passes=2", 32, 16, {1, 1, 0, 0}},
        {"threshold=1 max_passes=1", 32, 32, {1, 0, 0, 0}},
        {"threshold=1 max_passes=1000", 32, 8, {7, 8, 8, 8}},
        {"threshold=1 max_passes=9", 50, 8, {0, 0, 4, 5}}, /* the prompt's tail holds no masks */
        {"threshold=1 max_passes=26", 32, 8, {6, 6, 7, 7}},
        {"threshold=1 max_passes=28", 32, 8, {7, 7, 7, 7}}, /* the first token is known */
        {"threshold=0 max_passes=5", 32, 8, {1, 1, 1, 1}},
    };
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(cases); i++) {
        int32_t passes[4] = {0};
        dlx_step step = {.struct_size = sizeof step};
        run_init(&a, 32, 1, i + 1, cases[i].prompt);
        a.m.facts.num_stop_ids = 0;
        run(&a, with(cases[i].options, "max_new_tokens=", 64 - cases[i].prompt));
        for (size_t k = 0; dlx_generation_step(a.g, k, &step); k++)
            if (denoises(&step) && step.accepted[0].position < 64)
                passes[(step.accepted[0].position - 32) / cases[i].small]++;
        for (int k = 0; k < 4; k++)
            if (passes[k] != cases[i].passes[k])
                fail_msg("%s: small block %d took %d passes", cases[i].options, k, passes[k]);
        run_free(&a);
    }
}

/* ---- approximate caches ----------------------------------------------------------------------------------------- */

/* Passes over the whole canvas refresh the cache; the others read it and keep nothing. */
static dlx_status check_stores(void *ctx, const dlx_forward_call *c, dlx_error *err)
{
    assert_int_equal(c->n_store, c->n_context ? 0 : c->n_ids);
    return model_forward(ctx, c, err);
}

static void test_refresh_interval(void **state)
{
    static const struct {
        int32_t shift;
        const char *options;
    } cached[] = {
        {0, "algorithm=llada.generate_fast cache=prefix threshold=1 gen_length=32 block_length=16"},
        {0, "algorithm=llada.generate_fast cache=dual threshold=1 gen_length=32 block_length=16"},
        {0, "algorithm=llada.generate_fast cache=dual gen_length=32 block_length=16"},
        {1, "algorithm=dream.generate_blocks threshold=1 max_new_tokens=32 block_length=16"},
        {1, "algorithm=dream.generate_blocks threshold=1 max_new_tokens=32 block_length=16 dual=true"},
        {1, "algorithm=dream.generate_blocks alg=entropy max_new_tokens=32 block_length=16 steps=32"},
    };
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(cached); i++)
        for (int32_t interval = 0; interval < 6; interval++) {
            run_init(&a, 0, cached[i].shift, i + 1, 10);
            a.forward = check_stores;
            a.forward_ctx = &a.m;
            run(&a, with(cached[i].options, "refresh_interval=", interval));
            dlx_step step = {.struct_size = sizeof step};
            int32_t block = -1, since = 0;
            for (size_t k = 0; dlx_generation_step(a.g, k, &step); k++) {
                since = step.block == block ? since + 1 : 0;
                bool whole = step.rows == 10 + 32 && step.start == 0;
                assert_int_equal(whole, interval ? since % interval == 0 : since == 0);
                block = step.block;
            }
            run_free(&a);
        }
    /* An interval of 1 is no cache at all. */
    for (uint64_t seed = 0; seed < 20; seed++) {
        run_init(&a, 0, 0, seed, 10);
        b = a;
        run(&a, "algorithm=llada.generate_fast cache=dual threshold=0.9 refresh_interval=1");
        run(&b, "algorithm=llada.generate_fast cache=none threshold=0.9");
        size_t n, m;
        const int32_t *p = dlx_generation_output_ids(a.g, &n), *q = dlx_generation_output_ids(b.g, &m);
        assert_int_equal(n, m);
        assert_memory_equal(p, q, n * sizeof *p);
        run_free(&a);
        run_free(&b);
    }
}

/* When the first pass of a block fills it, the published cached loops run another one all the same. */
static void test_full_blocks(void **state)
{
    static const char *const caches[] = {"none", "prefix", "dual"};
    (void)state;
    for (int cache = 0; cache < 3; cache++)
        for (int published = 0; published < 2; published++) {
            char options[200];
            run_init(&a, 0, 0, 3, 10);
            snprintf(options, sizeof options,
                     "algorithm=llada.generate_fast threshold=0 cache=%s gen_length=32 block_length=8 stop_ids=none "
                     "published=%d",
                     caches[cache], published);
            run(&a, options);
            assert_int_equal(a.m.calls, published && cache ? 8 : 4);
            run_free(&a);
        }
}

/* Steps without a share are left out unless published; the tokens are the same. */
static void test_idle_steps(void **state)
{
    static const struct {
        int32_t shift;
        const char *options;
    } idle[] = {{0, "algorithm=llada.generate max_new_tokens=8 block_length=8 early_stop=false"},
                {1, "algorithm=dream.diffusion_generate max_new_tokens=16 early_stop=false"}};
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(idle); i++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            size_t n;
            run_init(&a, 0, idle[i].shift, seed, 7);
            a.m.facts.num_stop_ids = 0;
            b = a;
            run(&a, with(idle[i].options, "published=true steps=", 40));
            run(&b, with(idle[i].options, "published=false steps=", 40));
            assert_true(b.m.calls < a.m.calls);
            const int32_t *p = dlx_generation_output_ids(a.g, &n), *q = dlx_generation_output_ids(b.g, &n);
            assert_memory_equal(p, q, n * sizeof *p);
            run_free(&a);
            run_free(&b);
        }
}

/* LLaDA's switches for end ids (7 is the end of text, 11 the end of a turn): never, or last and with confidence 0. */
static void test_llada_end_ids(void **state)
{
    int32_t checked = 0;
    (void)state;
    for (int32_t id = 7; id <= 11; id += 4)
        for (uint64_t seed = 0; seed < 10; seed++) {
            dlx_step step = {.struct_size = sizeof step};
            size_t n;
            run_init(&a, 0, 0, seed, 9);
            a.m.stop_at = 9 + 2;
            a.m.stop_id = id;
            run(&a, "algorithm=llada.generate gen_length=8 block_length=8 confidence_eos_eot_inf=true");
            assert_true(dlx_generation_step(a.g, 7, &step));
            const int32_t *out = dlx_generation_output_ids(a.g, &n);
            bool alone = out[step.accepted[0].position] == id;
            for (int32_t i = 9; i < 17; i++) alone = alone && (i == 11 || (out[i] != 7 && out[i] != 11));
            if (alone) {
                assert_int_equal(step.accepted[0].position, 11);
                assert_true(step.accepted[0].confidence == 0);
                checked++;
            } else {
                assert_true(contains(out + 9, 8, 7) || contains(out + 9, 8, 11)); /* a hash chose another end id */
            }
            run_free(&a);
            run(&a, "algorithm=llada.generate gen_length=8 block_length=8 logits_eos_inf=true");
            out = dlx_generation_output_ids(a.g, &n);
            assert_int_equal(contains(out + 9, 8, 7), false);
            if (id == 11) assert_int_equal(out[11], 11);
            run_free(&a);
        }
    assert_true(checked >= 10);
}

/* ---- presets ---------------------------------------------------------------------------------------------------- */

static void test_presets(void **state)
{
    static const struct {
        int32_t attn_block, shift;
        const char *algorithms[3];
    } families[] = {
        {0, 0, {"llada.generate", "llada.generate_fast", "llada.generate_fast"}},
        {0, 1, {"dream.diffusion_generate", "dream.generate_blocks", "dream.generate_blocks"}},
        {4, 0, {"sdar.generate", "sdar.generate", "sdar.generate"}},
        {32, 1, {"fast_dllm_v2.generate", "fast_dllm_v2.generate", "fast_dllm_v2.generate"}},
        {1, 0, {"ar.generate", "ar.generate", "ar.generate"}},
    };
    static const char *const presets[] = {"exact", "balanced", "fast"};
    (void)state;
    for (size_t f = 0; f < DLX_COUNT(families); f++) {
        int32_t calls[3];
        for (int p = 0; p < 3; p++) {
            char options[100];
            run_init(&a, families[f].attn_block, families[f].shift, 8, 10);
            if (families[f].attn_block == 1) a.m.facts.mask_id = -1;
            snprintf(options, sizeof options, "preset=%s stop_ids=none max_new_tokens=64", presets[p]);
            run(&a, options);
            assert_string_equal(dlx_generation_algorithm(a.g), families[f].algorithms[p]);
            size_t n;
            dlx_generation_answer_ids(a.g, &n);
            assert_int_equal(n, 64);
            calls[p] = a.m.calls;
            run_free(&a);
        }
        print_message("%s: 64 tokens in %d, %d, %d passes\n", families[f].algorithms[0], calls[0], calls[1], calls[2]);
        if (families[f].attn_block != 1) assert_true(calls[1] < calls[0]);
    }
    /* What the caller says wins, and what another algorithm lacks is left out. */
    run_init(&a, 0, 0, 8, 10);
    run(&a, "preset=fast algorithm=llada.generate max_new_tokens=8");
    assert_string_equal(dlx_generation_algorithm(a.g), "llada.generate");
    run_free(&a);
    run(&a, "preset=fast factor=1 cache=none max_new_tokens=8");
    assert_string_equal(dlx_generation_algorithm(a.g), "llada.generate_fast");
    run_free(&a);
    run(&a, "preset=balanced threshold=1 max_new_tokens=8 block_length=8 stop_ids=none");
    assert_int_equal(a.m.calls, 8);
    run_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_whole_context),
        cmocka_unit_test(test_stop_ids),
        cmocka_unit_test(test_early_end),
        cmocka_unit_test(test_early_end_inside_blocks),
        cmocka_unit_test(test_cancelling),
        cmocka_unit_test(test_failing_calls),
        cmocka_unit_test(test_infilling),
        cmocka_unit_test(test_max_passes),
        cmocka_unit_test(test_max_passes_published),
        cmocka_unit_test(test_max_passes_and_steps),
        cmocka_unit_test(test_max_passes_of_small_blocks),
        cmocka_unit_test(test_refresh_interval),
        cmocka_unit_test(test_full_blocks),
        cmocka_unit_test(test_idle_steps),
        cmocka_unit_test(test_llada_end_ids),
        cmocka_unit_test(test_presets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
