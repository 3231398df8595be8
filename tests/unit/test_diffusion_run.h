/*
 * One decode with the scripted model, described by text: "algorithm=sdar.generate block_length=4". After every step the
 * canvas is copied, so that the model can compare its caches with a run without them. cmocka comes first.
 */
#ifndef TEST_DIFFUSION_RUN_H
#define TEST_DIFFUSION_RUN_H

#include <stdio.h>

#include "diffulex_edge/constraint.h"
#include "diffusion/generate.h"
#include "test_diffusion_model.h"

typedef struct decode_run {
    scripted_model m;
    dlx_forward_fn forward; /* NULL: model_forward with m */
    void *forward_ctx;
    void (*check)(struct decode_run *r, const dlx_step *step); /* before the canvas is copied; may be NULL */
    int32_t prompt[MODEL_POSITIONS], n_prompt;
    int32_t canvas[MODEL_POSITIONS]; /* as of the last step */
    size_t n_canvas;
    int32_t cancel_after; /* steps; 0: never */
    int32_t steps;
    const dlx_random *random;
    const dlx_constraint *constraint;
    dlx_generation *g;
    dlx_error err;
} decode_run;

/* Options of the form "name=value name=value" in one text. */
static inline dlx_decode_options *run_options(const char *text)
{
    dlx_decode_options *o;
    dlx_error err = {0};
    char copy[400], *rest = copy;
    assert_true(snprintf(copy, sizeof copy, "%s", text) < (int)sizeof copy);
    assert_int_equal(dlx_decode_options_create(&o, &err), DLX_OK);
    for (char *word; (word = strtok_r(rest, " ", &rest));) {
        char *value = strchr(word, '=');
        assert_non_null(value);
        *value++ = '\0';
        if (dlx_decode_options_set(o, word, value, &err) != DLX_OK) fail_msg("%s", err.message);
    }
    return o;
}

/* A prompt without masks and stop ids that differs with `seed`. */
static inline void run_init(decode_run *r, int32_t attn_block, int32_t shift, uint64_t seed, int32_t n_prompt)
{
    memset(r, 0, sizeof *r);
    model_init(&r->m, attn_block, shift, seed);
    r->n_prompt = n_prompt;
    for (int32_t i = 0; i < n_prompt; i++) r->prompt[i] = 12 + (int32_t)(model_mix(seed * 1000 + (uint64_t)i) % 36);
}

static inline bool run_on_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n)
{
    decode_run *r = ctx;
    assert_true(n <= MODEL_POSITIONS);
    if (r->check) r->check(r, step);
    memcpy(r->canvas, ids, n * sizeof *ids);
    r->n_canvas = n;
    return ++r->steps != r->cancel_after;
}

static inline dlx_status run_try(decode_run *r, const char *options)
{
    dlx_decode_options *o = run_options(options);
    assert_int_equal(dlx_decode_options_set_constraint(o, r->constraint, &r->err), DLX_OK);
    memcpy(r->canvas, r->prompt, sizeof r->canvas);
    r->n_canvas = (size_t)r->n_prompt;
    r->steps = 0;
    r->m.calls = 0;
    dlx_status status =
        dlx_generate_with(&r->m.facts, r->forward ? r->forward : model_forward, r->forward ? r->forward_ctx : &r->m, o,
                          r->prompt, (size_t)r->n_prompt, run_on_step, r, r->random, &r->g, &r->err);
    dlx_decode_options_free(o);
    return status;
}

/* r->g afterwards; run_free ends its life. */
static inline void run(decode_run *r, const char *options)
{
    if (run_try(r, options) != DLX_OK) fail_msg("%s: %s", options, r->err.message);
    assert_int_equal(dlx_generation_num_forwards(r->g), r->m.calls);
    assert_int_equal(dlx_generation_num_steps(r->g), r->steps);
}

static inline void run_fails(decode_run *r, const char *options, dlx_status status, const char *part)
{
    dlx_status got = run_try(r, options);
    if (got != status || !strstr(r->err.message, part))
        fail_msg("%s: status %d, \"%s\"", options, (int)got, r->err.message);
    assert_null(r->g);
}

static inline void run_free(decode_run *r)
{
    dlx_generation_free(r->g);
    r->g = NULL;
}

/* Positions of [begin, end) of the prompt become masks. */
static inline void run_hide(decode_run *r, int32_t begin, int32_t end)
{
    for (int32_t i = begin; i < end; i++) r->prompt[i] = r->m.facts.mask_id;
}

#endif
