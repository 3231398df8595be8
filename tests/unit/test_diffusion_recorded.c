/*
 * The decodes recorded with the tiny checkpoints of the four families (float and int8), without their models: in every
 * call the tokens that were accepted get logits that give their recorded score, all other masks less. Each decode must
 * make the same calls and accept the same positions in each, under the options' own names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "test_diffusion_json.h"

typedef struct playback {
    dlx_model_facts facts;
    const char *name;
    json_t *options, *steps;
    size_t step;
    int32_t lost; /* Fast-dLLM v2 as published loses a prompt of one block: it runs at position 0 what lies behind */
    bool guided, second; /* classifier-free guidance makes two calls a step */
} playback;

/* A distribution over `id` (first), n others with equal shares, and the rest of the vocabulary with what is left. */
typedef struct shape {
    double first, others;
    int n;
} shape;

static double entropy_of(shape s)
{
    double h = s.first > 0 ? -s.first * log(s.first) : 0;
    return s.others > 0 ? h - s.n * s.others * log(s.others) : h;
}

/* The narrowest shape of this kind whose score is `score`. */
static shape shape_of_score(const char *alg, double score)
{
    shape s = {.n = 1};
    if (alg && !strcmp(alg, "topk_margin")) {
        s.first = (1 + score) / 2;
    } else if (score <= 0) { /* negative entropy; generate_blocks takes a block's first token by its probability */
        while (log(s.n + 1) < -score + 0.05) s.n++;
        double lo = 1.0 / (s.n + 1), hi = 1;
        for (int i = 0; i < 100; i++) {
            s.first = (lo + hi) / 2;
            s.others = (1 - s.first) / s.n;
            *(entropy_of(s) > -score ? &lo : &hi) = s.first;
        }
    } else {
        s.n = (int)(1 / score);
        s.first = score;
    }
    if (s.first > 1) s.first = 1;
    s.others = (1 - s.first) / s.n;
    return s;
}

/* Logits whose filtered distribution has this score. */
static void write_row(const playback *p, float *row, int32_t id, double score)
{
    json_t *top_p = json_object_get(p->options, "top_p");
    const char *alg = case_text(p->options, "alg");
    shape s = shape_of_score(alg, score);
    double bound = top_p ? json_number_value(top_p) : 1, mass = 1;
    int32_t left = p->facts.vocab_size - 1 - s.n;
    /* top_p keeps the token that crosses the bound: all kept ones must, all but the last must not. */
    if (bound < 1) mass = s.others > 1e-6 ? bound * (1 + 0.5 * s.others) : bound + 0.5 * (1 - bound);
    if (mass > 1) mass = 1;
    for (int32_t t = 0, n = 0; t < p->facts.vocab_size; t++) {
        double q = t == id                            ? s.first * mass
                   : t != p->facts.mask_id && n < s.n ? (n++, s.others * mass)
                                                      : (1 - mass) / left;
        row[t] = q > 1e-30 ? (float)log(q) : -70.0f;
    }
}

/* A score below all accepted ones and every bound. */
static double low_score(const playback *p, json_t *accepted)
{
    const char *alg = case_text(p->options, "alg");
    double low = alg && !strcmp(alg, "entropy") ? 0 : 1;
    const char *strategy = case_text(p->options, "strategy");
    if (strategy && !strcmp(strategy, "entropy_bounded")) return 0.01; /* the lower, the higher the entropy */
    for (size_t i = 0; i < json_array_size(accepted); i++)
        low = fmin(low, json_number_value(json_array_get(json_array_get(accepted, i), 2)));
    static const char *const bounds[] = {"threshold", "confidence_threshold"};
    for (size_t i = 0; i < 2 && !(alg && strcmp(alg, "confidence_threshold")); i++) {
        json_t *bound = json_object_get(p->options, bounds[i]);
        if (json_is_number(bound)) low = fmin(low, json_number_value(bound));
    }
    return alg && !strcmp(alg, "entropy") ? low - 0.1 : alg && !strcmp(alg, "topk_margin") ? low * 0.9 : low * 0.95;
}

static dlx_status play(void *ctx, const dlx_forward_call *call, dlx_error *err)
{
    playback *p = ctx;
    json_t *step = json_array_get(p->steps, p->step);
    (void)err;
    if (!step) fail_msg("%s: more than %zu calls", p->name, p->step);
    json_t *accepted = json_array_get(step, 4);
    double low = low_score(p, accepted);
    int32_t shift = p->facts.logits_shift;
    for (int32_t i = 0; i < call->n_rows; i++) {
        int32_t position = p->lost + call->start + (call->rows ? call->rows[i] : i) + shift, id = p->facts.mask_id + 1;
        double score = low;
        for (size_t k = 0; k < json_array_size(accepted); k++) {
            json_t *a = json_array_get(accepted, k);
            if (json_integer_value(json_array_get(a, 0)) != position) continue;
            id = (int32_t)json_integer_value(json_array_get(a, 1));
            score = json_number_value(json_array_get(a, 2));
        }
        write_row(p, call->logits + (size_t)i * (size_t)p->facts.vocab_size, id, score);
    }
    p->second = p->guided && !p->second;
    p->step += !p->second;
    return DLX_OK;
}

static void test_recorded_decodes(void **state)
{
    json_t *file = case_file(DLX_TEST_DATA "/diffusion/recorded.json"), *c;
    (void)state;
    assert_non_null(file);
    size_t i, int8 = 0;
    json_array_foreach(json_object_get(file, "cases"), i, c)
    {
        json_t *model = json_object_get(json_object_get(file, "models"), case_text(c, "model"));
        playback p = {.name = case_text(c, "name"),
                      .options = json_object_get(c, "options"),
                      .steps = json_object_get(c, "steps")};
        p.guided = json_object_get(p.options, "cfg_scale");
        p.facts = (dlx_model_facts){.struct_size = sizeof p.facts,
                                    .family = dlx_family_from_name(case_text(c, "model")),
                                    .vocab_size = case_int(model, "vocab_size"),
                                    .max_context = 512,
                                    .max_rows = 512,
                                    .mask_id = case_int(model, "mask_id"),
                                    .attn_block = case_int(model, "attn_block"),
                                    .logits_shift = case_int(model, "logits_shift"),
                                    .bos_id = -1,
                                    .eos_id = -1,
                                    .pad_id = -1};
        p.facts.block_length = p.facts.attn_block;
        int32_t prompt[512];
        size_t n = case_ids(json_object_get(c, "prompt_ids"), prompt, 512);
        json_t *block = json_object_get(p.options, "block_size");
        int32_t width = block ? (int32_t)json_integer_value(block) : p.facts.attn_block;
        if (!strncmp(p.name, "fast", 4) && (int32_t)n == width &&
            !json_is_true(json_object_get(p.options, "prefill_exact")))
            p.lost = width;
        dlx_decode_options *o = case_options(c);
        dlx_generation *g;
        dlx_error err = {0};
        if (dlx_generate(&p.facts, play, &p, o, prompt, n, NULL, NULL, &g, &err) != DLX_OK)
            fail_msg("%s: %s", case_text(c, "name"), err.message);
        case_check(i, g, c);
        int8 += strstr(case_text(c, "name"), "int8") != NULL;
        dlx_generation_free(g);
        dlx_decode_options_free(o);
    }
    print_message("%zu recorded decodes, %zu of them of int8 models\n", i, int8);
    assert_int_equal(i, 283);
    assert_int_equal(int8, 20);
    json_decref(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_recorded_decodes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
