/*
 * Decodes above temperature 0, and those that draw positions. Random numbers are given, and every step is worked out
 * again from the logits that the model gave, with the C library's exp and log. Then seeds: the same one gives the same
 * tokens, on every machine.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sizes.h"
#include "test_diffusion_run.h"

enum { VOCAB = 48, NUMBERS = 200000 };

static decode_run a;
static double numbers[NUMBERS];
static size_t next;
static float rows[64][VOCAB]; /* of the last call */
static int32_t predicted[64], n_rows;

/* What the test expects of the options in use. */
static struct how {
    double temperature, top_p, alg_temp;
    int32_t top_k, steps;
    bool top_k_first, before_filters, random_ranks;
    const char *options;
} how;

static dlx_status keep_rows(void *ctx, const dlx_forward_call *c, dlx_error *err)
{
    decode_run *r = ctx;
    dlx_status status = model_forward(&r->m, c, err);
    n_rows = c->n_rows;
    assert_true(n_rows <= 64);
    for (int32_t i = 0; i < n_rows; i++) {
        memcpy(rows[i], c->logits + (size_t)i * VOCAB, sizeof rows[i]);
        predicted[i] = c->start + (c->rows ? c->rows[i] : i) + r->m.facts.logits_shift;
    }
    return status;
}

static const float *row_of(int32_t position)
{
    for (int32_t i = 0; i < n_rows; i++)
        if (predicted[i] == position) return rows[i];
    fail_msg("position %d had no row", position);
    return NULL;
}

static void start(int32_t attn_block, int32_t shift, uint64_t seed, int32_t n_prompt, struct how h)
{
    static dlx_random random;
    dlx_random source = dlx_random_seeded(seed + 1000);
    for (size_t i = 0; i < NUMBERS; i++) numbers[i] = dlx_random_uniform(&source);
    random = dlx_random_seeded(0);
    random.script = numbers;
    random.script_n = NUMBERS;
    next = 0;
    how = h;
    run_init(&a, attn_block, shift, seed, n_prompt);
    a.forward = keep_rows;
    a.forward_ctx = &a;
    a.random = &random;
}

/* ---- one row, one choice, as the formulas say -------------------------------------------------------------------- */

typedef struct pick {
    int32_t position, id;
    double score, rank;
} pick;

/* Softmax over the tokens in `kept`; kept NULL: all. */
static void softmax(const float *row, double temperature, const bool *kept, double *p)
{
    double sum = 0;
    for (int t = 0; t < VOCAB; t++) sum += p[t] = !kept || kept[t] ? exp((double)row[t] / temperature) : 0;
    for (int t = 0; t < VOCAB; t++) p[t] /= sum;
}

static void keep_top_k(const float *row, bool *kept, int32_t k)
{
    if (k <= 0) return;
    bool in[VOCAB];
    for (int t = 0; t < VOCAB; t++) {
        int32_t better = 0;
        for (int o = 0; o < VOCAB; o++) better += kept[o] && row[o] > row[t];
        in[t] = kept[t] && better < k;
    }
    memcpy(kept, in, sizeof in);
}

static void keep_top_p(const float *row, double temperature, bool *kept, double top_p)
{
    double p[VOCAB];
    bool in[VOCAB];
    if (top_p >= 1) return;
    softmax(row, temperature, kept, p);
    for (int t = 0; t < VOCAB; t++) {
        double mass = 0; /* of what comes before it */
        for (int o = 0; o < VOCAB; o++) mass += kept[o] && (row[o] > row[t] || (row[o] == row[t] && o < t)) ? p[o] : 0;
        in[t] = kept[t] && mass <= top_p;
    }
    memcpy(kept, in, sizeof in);
}

/* A categorical draw by the inverse of the cumulative distribution. */
static pick draw_row(int32_t position)
{
    const float *row = row_of(position);
    bool kept[VOCAB];
    double p[VOCAB], plain[VOCAB], sum = 0;
    for (int t = 0; t < VOCAB; t++) kept[t] = true;
    if (how.top_k_first) keep_top_k(row, kept, how.top_k);
    keep_top_p(row, how.temperature, kept, how.top_p);
    if (!how.top_k_first) keep_top_k(row, kept, how.top_k);
    softmax(row, how.temperature, kept, p);
    softmax(row, how.temperature, NULL, plain);
    pick c = {.position = position, .id = -1};
    double u = numbers[next++] * (1 - p[a.m.facts.mask_id]);
    for (int t = 0; t < VOCAB; t++) {
        if (t == a.m.facts.mask_id || p[t] == 0) continue;
        c.id = t;
        if ((sum += p[t]) > u) break;
    }
    c.score = c.rank = how.before_filters ? plain[c.id] : p[c.id];
    return c;
}

/* LLaDA: argmax of exp(logit) / (-ln u)^temperature, with one number a token; confidence of the plain softmax. */
static pick gumbel_row(int32_t position)
{
    const float *row = row_of(position);
    double best = -1, p[VOCAB];
    pick c = {.position = position};
    for (int t = 0; t < VOCAB; t++) {
        double value = exp((double)row[t]) / pow(-log(numbers[next++]), how.temperature);
        if (t == a.m.facts.mask_id || value <= best) continue;
        best = value;
        c.id = t;
    }
    softmax(row, 1, NULL, p);
    c.score = c.rank = how.random_ranks ? numbers[next++] : p[c.id];
    return c;
}

static pick best_of_row(int32_t position)
{
    const float *row = row_of(position);
    double p[VOCAB];
    pick c = {.position = position};
    softmax(row, 1, NULL, p);
    for (int t = 0; t < VOCAB; t++)
        if (t != a.m.facts.mask_id && (p[t] > p[c.id] || c.id == a.m.facts.mask_id)) c.id = t;
    c.score = c.rank = p[c.id];
    return c;
}

/* The k best picks must be what the step accepted. */
static void check_accepted(const pick *c, int32_t n, int32_t k, const dlx_step *step)
{
    size_t found = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t better = 0;
        for (int32_t o = 0; o < n; o++) better += c[o].rank > c[i].rank || (c[o].rank == c[i].rank && o < i);
        if (better >= k) continue;
        assert_true(found < step->n_accepted);
        const dlx_accepted *got = &step->accepted[found++];
        if (got->position != c[i].position || got->id != c[i].id || fabs((double)got->confidence - c[i].score) > 1e-5)
            fail_msg("%s: %d = %d (%g), not %d = %d (%g)", how.options, got->position, got->id, (double)got->confidence,
                     c[i].position, c[i].id, c[i].score);
    }
    assert_int_equal(found, step->n_accepted);
}

static int32_t masks_between(int32_t begin, int32_t end, int32_t *out)
{
    int32_t n = 0;
    for (int32_t i = begin; i < end && i < (int32_t)a.n_canvas; i++)
        if (a.canvas[i] == a.m.facts.mask_id) out[n++] = i;
    return n;
}

/* ---- algorithms -------------------------------------------------------------------------------------------------- */

/* Blocks of 8 in 4 steps: two tokens a step. */
static void check_llada(decode_run *r, const dlx_step *step)
{
    int32_t lo = r->n_prompt + step->block * 8, masks[64], n;
    pick c[64];
    if ((int32_t)r->n_canvas == r->n_prompt) /* nothing was copied yet */
        for (; (int32_t)r->n_canvas < r->n_prompt + 16; r->n_canvas++) r->canvas[r->n_canvas] = r->m.facts.mask_id;
    n = masks_between(lo, lo + 8, masks);
    for (int32_t i = 0; i < n; i++) c[i] = gumbel_row(masks[i]);
    check_accepted(c, n, 2, step);
}

static void test_llada(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        static const double temperatures[] = {0.3, 1, 1.6};
        char options[200];
        double t = temperatures[seed % 3];
        bool random = seed % 2;
        snprintf(options, sizeof options,
                 "algorithm=llada.generate gen_length=16 block_length=8 steps=8 temperature=%g remasking=%s", t,
                 random ? "random" : "low_confidence");
        start(0, 0, seed, 7, (struct how){.temperature = t, .random_ranks = random, .options = options});
        a.check = check_llada;
        run(&a, options);
        assert_int_equal(a.steps, 8);
        run_free(&a);
    }
}

static float time_of(int32_t i)
{
    return (float)(1 + (0.001 - 1) * i / how.steps); /* close enough for numbers that are not at the border */
}

static int32_t dream_masks(decode_run *r, int32_t *masks)
{
    if ((int32_t)r->n_canvas == r->n_prompt)
        for (; (int32_t)r->n_canvas < r->n_prompt + 16; r->n_canvas++) r->canvas[r->n_canvas] = r->m.facts.mask_id;
    return masks_between(0, (int32_t)r->n_canvas, masks);
}

static void check_origin(decode_run *r, const dlx_step *step)
{
    int32_t masks[64], n = dream_masks(r, masks), drawn = 0;
    bool last = r->steps == how.steps - 1;
    pick c[64];
    int32_t kept[64];
    double reveal = 1 - (double)time_of(r->steps + 1) / (double)time_of(r->steps);
    for (int32_t i = 0; i < n; i++)
        if (last || numbers[next++] < reveal) kept[drawn++] = masks[i];
    for (int32_t i = 0; i < drawn; i++) c[i] = how.temperature > 0 ? draw_row(kept[i]) : best_of_row(kept[i]);
    check_accepted(c, drawn, drawn, step);
}

static void test_dream_origin(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        char options[200];
        double t = seed % 2 ? 0 : 0.8;
        int32_t steps = 4 + (int32_t)(seed % 13);
        snprintf(options, sizeof options,
                 "algorithm=dream.diffusion_generate alg=origin max_new_tokens=16 steps=%d temperature=%g%s", steps, t,
                 t > 0 ? " top_p=0.9" : "");
        start(0, 1, seed, 7, (struct how){.temperature = t, .top_p = 0.9, .steps = steps, .options = options});
        a.check = check_origin;
        run(&a, options);
        assert_int_equal(a.steps, steps);
        run_free(&a);
    }
}

/* Scores first, then one number a mask: draws without replacement from softmax(score / alg_temp). */
static void check_alg_temp(decode_run *r, const dlx_step *step)
{
    int32_t masks[64], n = dream_masks(r, masks);
    pick c[64];
    if (!step->n_accepted) {
        assert_int_equal(r->steps, 0); /* 16 tokens in 16 steps: the first share is 0 */
        return;
    }
    for (int32_t i = 0; i < n; i++) c[i] = how.temperature > 0 ? draw_row(masks[i]) : best_of_row(masks[i]);
    for (int32_t i = 0; i < n; i++) c[i].rank = c[i].score / how.alg_temp - log(-log(numbers[next++]));
    check_accepted(c, n, (int32_t)step->n_accepted, step);
}

static void test_dream_alg_temp(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        static const double temperatures[] = {0.1, 0.5, 2};
        char options[200];
        double t = seed % 2 ? 0 : 1.2, alg_temp = temperatures[seed % 3];
        snprintf(options, sizeof options,
                 "algorithm=dream.diffusion_generate alg=maskgit_plus max_new_tokens=16 steps=16 temperature=%g "
                 "alg_temp=%g%s",
                 t, alg_temp, t > 0 ? " top_k=9 top_p=0.8" : "");
        start(0, 1, seed, 7,
              (struct how){.temperature = t, .top_p = 0.8, .top_k = 9, .alg_temp = alg_temp, .options = options});
        a.check = check_alg_temp;
        run(&a, options);
        run_free(&a);
    }
}

/* Blocks of 4, static: one token a step. */
static void check_sdar(decode_run *r, const dlx_step *step)
{
    int32_t masks[64], n, lo = step->block * 4;
    pick c[64];
    if (!n_rows) return; /* a pass that only stores */
    for (; (int32_t)r->n_canvas < lo + 4; r->n_canvas++) r->canvas[r->n_canvas] = r->m.facts.mask_id;
    n = masks_between(lo, lo + 4, masks);
    for (int32_t i = 0; i < n; i++) c[i] = draw_row(masks[i]);
    check_accepted(c, n, 1, step);
}

static void test_sdar(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        char options[200];
        bool published = seed % 2;
        int32_t top_k = seed % 3 ? 7 : 0;
        snprintf(options, sizeof options,
                 "strategy=low_confidence_static max_new_tokens=16 temperature=1.1 top_p=0.85 top_k=%d published=%s",
                 top_k, published ? "true" : "false");
        start(4, 0, seed, 1 + (int32_t)(seed % 9),
              (struct how){.temperature = 1.1,
                           .top_p = 0.85,
                           .top_k = top_k,
                           .top_k_first = true,
                           .before_filters = !published,
                           .options = options});
        a.check = check_sdar;
        run(&a, options);
        run_free(&a);
    }
}

/* One small block of 8 at a time, threshold 1: one token a pass. What a finished block hands on is not drawn. */
static void check_fast_dllm_v2(decode_run *r, const dlx_step *step)
{
    int32_t masks[64], n;
    pick c[64];
    if (!step->n_accepted) return;
    int32_t at = step->accepted[0].position, lo = at / 8 * 8;
    if (at % 32 == 0) {
        pick best = best_of_row(at);
        check_accepted(&best, 1, 1, step);
        return;
    }
    for (; (int32_t)r->n_canvas < lo + 8; r->n_canvas++) r->canvas[r->n_canvas] = r->m.facts.mask_id;
    n = masks_between(lo, lo + 8, masks);
    for (int32_t i = 0; i < n; i++) c[i] = draw_row(masks[i]);
    check_accepted(c, n, 1, step);
}

static void test_fast_dllm_v2(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        char options[200];
        bool published = seed % 2;
        snprintf(options, sizeof options, "max_new_tokens=64 threshold=1 temperature=0.9 published=%s stop_ids=none",
                 published ? "true" : "false");
        start(32, 1, seed, 1 + (int32_t)(seed * 5),
              (struct how){.temperature = 0.9, .top_p = 0.95, .before_filters = !published, .options = options});
        if (a.n_prompt == 32) continue; /* lost as published */
        a.check = check_fast_dllm_v2;
        run(&a, options);
        run_free(&a);
    }
}

/* Earlier ids are penalised once each, before anything else. */
static void check_autoregressive(decode_run *r, const dlx_step *step)
{
    int32_t n = r->n_prompt + r->steps;
    for (int32_t t = 0; t < VOCAB; t++) {
        bool seen = false;
        for (int32_t i = 0; i < n; i++) seen = seen || r->canvas[i] == t;
        if (seen) rows[0][t] = rows[0][t] > 0 ? rows[0][t] / 1.4f : rows[0][t] * 1.4f;
    }
    pick c = draw_row(n);
    check_accepted(&c, 1, 1, step);
}

static void test_autoregressive(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        const char *options =
            "algorithm=ar.generate max_new_tokens=12 temperature=1.3 top_k=11 repetition_penalty=1.4 stop_ids=none";
        start(seed % 2 ? 4 : 0, seed % 2 ? 0 : 1, seed, 5,
              (struct how){.temperature = 1.3, .top_p = 1, .top_k = 11, .options = options});
        a.check = check_autoregressive;
        run(&a, options);
        assert_int_equal(a.steps, 12);
        run_free(&a);
    }
}

/* ---- seeds ------------------------------------------------------------------------------------------------------- */

static uint64_t output_hash(int32_t attn_block, int32_t shift, const char *options, int seed)
{
    char all[300];
    size_t n;
    run_init(&a, attn_block, shift, 77, 9);
    snprintf(all, sizeof all, "%s seed=%d stop_ids=none max_new_tokens=40", options, seed);
    run(&a, all);
    const int32_t *ids = dlx_generation_output_ids(a.g, &n);
    uint64_t hash = 0;
    for (size_t i = 0; i < n; i++) hash = model_mix(hash + (uint64_t)ids[i] * 0x9E3779B97F4A7C15u);
    run_free(&a);
    return hash;
}

/* These hashes hold on every machine, with every compiler and C library. */
static void test_seeds(void **state)
{
    static const struct {
        int32_t attn_block, shift;
        const char *options;
        uint64_t hash[2]; /* seeds 0 and 1 */
    } known[] = {
        {0,
         0,
         "algorithm=llada.generate published=false temperature=0.9 block_length=8",
         {0xC9D513488DE41F56u, 0x413AA38355E5C71Cu}},
        {0,
         0,
         "algorithm=llada.generate_fast published=false temperature=0.5 threshold=0.7 cache=dual remasking=random",
         {0x84E3915AA4E1BC34u, 0xFD116270C14E4F89u}},
        {0, 1, "alg=origin temperature=0.7 top_p=0.9", {0xB3A2815D80F03ECEu, 0xD0C550520BA18CDCu}},
        {0, 1, "alg=entropy alg_temp=0.4 temperature=1 top_k=12", {0xB6513A39436B74A3u, 0x8420B6B84D52EA44u}},
        {4, 0, "temperature=1 top_k=20 top_p=0.95 threshold=0.5", {0xD51E0F3EFEAEF3E5u, 0x8A9FFF5288105D65u}},
        {4, 0, "temperature=0.8 strategy=entropy_bounded", {0xF7897F4B16F62ED3u, 0x5573A364C7CCDCE7u}},
        {32, 1, "temperature=1 threshold=0.5", {0xA5322A4A4422903Cu, 0x581A9E09DFD98A9Au}},
        {4,
         0,
         "algorithm=ar.generate temperature=1 repetition_penalty=1.1",
         {0xD94DC8DEDD96F699u, 0x6B062585145CD2A9u}},
    };
    (void)state;
    bool same = true;
    for (size_t i = 0; i < DLX_COUNT(known); i++)
        for (int seed = 0; seed < 2; seed++) {
            uint64_t hash = output_hash(known[i].attn_block, known[i].shift, known[i].options, seed);
            assert_true(hash == output_hash(known[i].attn_block, known[i].shift, known[i].options, seed));
            assert_true(hash != output_hash(known[i].attn_block, known[i].shift, known[i].options, seed + 5));
            if (hash == known[i].hash[seed]) continue;
            print_error("%s, seed %d: 0x%016llXu\n", known[i].options, seed, (unsigned long long)hash);
            same = false;
        }
    assert_true(same);
}

/* ---- rows of the table without a token --------------------------------------------------------------------------- */

enum { TOKENS = 20 };

static void check_known(decode_run *r, const dlx_step *step)
{
    for (size_t i = 0; i < step->n_accepted; i++) {
        assert_in_range(step->accepted[i].id, 0, r->m.facts.num_tokens - 1);
        next++;
    }
}

/* Most rows of the scripted model favour an id from TOKENS on; nothing may choose one, drawn or not. */
static void test_ids_without_a_token(void **state)
{
    static const struct {
        int32_t attn_block, shift;
        const char *options;
    } kinds[] = {
        {0, 0, "algorithm=llada.generate"},
        {0, 0, "algorithm=llada.generate cfg_scale=1.5"},
        {0, 0, "algorithm=llada.generate_fast cache=dual threshold=0.4"},
        {0, 1, "algorithm=dream.diffusion_generate alg=origin"},
        {0, 1, "algorithm=dream.diffusion_generate alg=topk_margin top_k=2"},
        {0, 1, "algorithm=dream.generate_blocks dual=true top_p=0.3"},
        {4, 0, "algorithm=sdar.generate strategy=entropy_bounded"},
        {4, 0, "algorithm=sdar.generate strategy=low_confidence_static top_k=3"},
        {32, 1, "algorithm=fast_dllm_v2.generate block_cache=true"},
        {32, 1, "algorithm=ar.generate repetition_penalty=2"},
        {0, 0, "algorithm=ar.generate top_p=0.2"},
    };
    static const char *const temperatures[] = {"0", "0.7", "40"};
    (void)state;
    for (size_t k = 0; k < DLX_COUNT(kinds) * 3; k++) {
        char options[200];
        run_init(&a, kinds[k / 3].attn_block, kinds[k / 3].shift, k, 5);
        a.m.facts.num_tokens = TOKENS;
        a.check = check_known;
        next = 0;
        snprintf(options, sizeof options, "%s temperature=%s max_new_tokens=32 stop_ids=none", kinds[k / 3].options,
                 temperatures[k % 3]);
        run(&a, options);
        assert_true(next >= 24);
        run_free(&a);
    }
    run_init(&a, 4, 0, 1, 5);
    a.m.facts.num_tokens = VOCAB + 1; /* the tokenizer has more ids than the model: all may be chosen */
    run(&a, "max_new_tokens=32 stop_ids=none");
    run_free(&a);
    a.m.facts.num_tokens = -1;
    run_fails(&a, "max_new_tokens=8", DLX_E_INVALID, "num_tokens is -1");
    a.m.facts.num_tokens = 1;
    a.m.facts.mask_id = 0;
    run_fails(&a, "max_new_tokens=8", DLX_E_INVALID, "num_tokens is 1, which leaves no token to choose");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llada), cmocka_unit_test(test_dream_origin),        cmocka_unit_test(test_dream_alg_temp),
        cmocka_unit_test(test_sdar),  cmocka_unit_test(test_fast_dllm_v2),        cmocka_unit_test(test_autoregressive),
        cmocka_unit_test(test_seeds), cmocka_unit_test(test_ids_without_a_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
