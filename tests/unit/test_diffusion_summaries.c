/*
 * Summaries of rows instead of logits: every algorithm asks for them exactly where it is greedy, and decodes the same,
 * to the bit, whether the model gives them, with logits that hold nothing, or does not know them and writes logits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "base/sizes.h"
#include "diffusion/sampling.h"
#include "test_diffusion_run.h"

typedef enum asks { NEVER, ALWAYS, SOMETIMES } asks;

static const struct {
    int32_t attn_block, shift;
    const char *options;
    asks asks;
} runs[] = {
    {0, 0, "preset=exact", ALWAYS},
    {0, 0, "preset=balanced", ALWAYS},
    {0, 0, "preset=fast", ALWAYS},
    {0, 0, "algorithm=llada.generate_fast factor=1", ALWAYS},
    {0, 0, "remasking=random", ALWAYS},
    {0, 0, "temperature=1", NEVER},
    {0, 0, "algorithm=llada.generate gen_length=32 block_length=8 cfg_scale=1", NEVER},
    {0, 0, "algorithm=llada.generate logits_eos_inf=true", NEVER},
    {0, 0, "algorithm=llada.generate confidence_eos_eot_inf=true", NEVER},
    {0, 1, "preset=exact", ALWAYS},
    {0, 1, "preset=balanced", ALWAYS},
    {0, 1, "preset=fast", ALWAYS},
    {0, 1, "alg=topk_margin", ALWAYS},
    {0, 1, "alg=topk_margin top_k=5", NEVER},
    {0, 1, "alg=maskgit_plus alg_temp=0.5", ALWAYS},
    {0, 1, "alg=origin temperature=1 top_p=0.9", NEVER},
    {4, 0, "preset=exact", ALWAYS},
    {4, 0, "preset=balanced", ALWAYS},
    {4, 0, "strategy=entropy_bounded eb_threshold=2", ALWAYS},
    {4, 0, "strategy=sequential top_k=48", ALWAYS}, /* no filter: the vocabulary */
    {4, 0, "top_p=0.9", NEVER},
    {32, 1, "preset=exact", ALWAYS},
    {32, 1, "preset=fast", ALWAYS},
    {32, 1, "preset=fast temperature=1", SOMETIMES}, /* the first token of a block is greedy all the same */
    {4, 0, "algorithm=ar.generate", ALWAYS},
    {4, 0, "algorithm=ar.generate repetition_penalty=1.2", NEVER},
};

static decode_run plain, given;
static int32_t asked, wanted;

/* A model that knows summaries. */
static dlx_status summarising(void *ctx, const dlx_forward_call *call, dlx_error *err)
{
    decode_run *r = ctx;
    int32_t vocab = r->m.facts.vocab_size;
    dlx_status s = model_forward(&r->m, call, err);
    wanted += call->n_rows;
    for (int32_t i = 0; i < call->n_rows && call->summaries; i++) {
        float *row = call->logits + (size_t)i * (size_t)vocab;
        assert_true(call->summaries[i].sum == 0);
        assert_int_equal(call->never, r->m.facts.mask_id);
        assert_int_equal(call->known, r->m.facts.num_tokens);
        dlx_summarise_row(row, vocab, call->never, call->known, &call->summaries[i]);
        for (int32_t k = 0; k < vocab; k++) row[k] = NAN;
        asked++;
    }
    return s;
}

static void assert_same_decode(const dlx_generation *x, const dlx_generation *y)
{
    size_t n, m;
    const int32_t *p = dlx_generation_output_ids(x, &n), *q = dlx_generation_output_ids(y, &m);
    assert_int_equal(n, m);
    assert_memory_equal(p, q, n * sizeof *p);
    assert_int_equal(dlx_generation_num_steps(x), dlx_generation_num_steps(y));
    for (size_t i = 0; i < dlx_generation_num_steps(x); i++) {
        dlx_step s = {.struct_size = sizeof s}, t = s;
        assert_true(dlx_generation_step(x, i, &s) && dlx_generation_step(y, i, &t));
        assert_int_equal(s.n_accepted, t.n_accepted);
        assert_memory_equal(s.accepted, t.accepted, s.n_accepted * sizeof *s.accepted);
    }
}

static void prepare(decode_run *r, size_t i, int32_t num_tokens)
{
    run_init(r, runs[i].attn_block, runs[i].shift, i, 19);
    r->m.facts.num_stop_ids = 0;
    r->m.facts.num_tokens = num_tokens;
}

static void the_same_decodes(void **state)
{
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(runs); i++)
        for (int32_t num_tokens = 0; num_tokens <= 40; num_tokens += 40) {
            prepare(&plain, i, num_tokens);
            prepare(&given, i, num_tokens);
            given.forward = summarising;
            given.forward_ctx = &given;
            asked = wanted = 0;
            run(&plain, runs[i].options);
            run(&given, runs[i].options);
            assert_same_decode(plain.g, given.g);
            asks found = asked == wanted ? ALWAYS : asked ? SOMETIMES : NEVER;
            if (!wanted || found != runs[i].asks)
                fail_msg("%s: summaries of %d of %d rows", runs[i].options, asked, wanted);
            run_free(&plain);
            run_free(&given);
        }
}

/* A row that cannot be used is told all the same. */
static dlx_status damaged(void *ctx, const dlx_forward_call *call, dlx_error *err)
{
    (void)ctx, (void)err;
    for (int32_t i = 0; i < call->n_rows; i++) call->summaries[i] = (dlx_row_summary){.id = 3, .sum = NAN};
    return DLX_OK;
}

static dlx_status nothing_to_choose(void *ctx, const dlx_forward_call *call, dlx_error *err)
{
    (void)ctx, (void)err;
    for (int32_t i = 0; i < call->n_rows; i++) call->summaries[i] = (dlx_row_summary){.id = -1, .sum = 1};
    return DLX_OK;
}

static void rows_that_cannot_be_used(void **state)
{
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(runs); i++) {
        if (runs[i].asks != ALWAYS) continue;
        prepare(&given, i, 0);
        given.forward = damaged;
        run_fails(&given, runs[i].options, DLX_E_INTERNAL, "hold NaN or infinity");
        given.forward = nothing_to_choose;
        run_fails(&given, runs[i].options, DLX_E_INTERNAL, "no token at all");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_same_decodes), cmocka_unit_test(rows_that_cannot_be_used)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
