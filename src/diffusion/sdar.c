/*
 * SDAR (JetAstra/SDAR generate.py): blocks on an absolute grid, block-causal attention, exact KV cache. Complete prompt
 * blocks fill the cache; every later block is denoised against it and, once full, run again to store its keys and
 * values. The prompt's tail shares a block with the first new tokens. Row i of the logits predicts position i.
 *
 * Unless run as published, decoding ends as soon as the answer is settled, masks of the prompt are filled block by
 * block, and what is to be stored (the prompt, a finished block) shares the next block's first pass: block-causal rows
 * do not see what lies behind their block, so that both get the values that two passes would give them.
 *
 * The published entropy_bounded branch cannot run; here it follows the intention of arXiv 2505.24857 with the sum of
 * entropies below the bound.
 */
#include "diffusion/decoder.h"

static dlx_status configure(dlx_settings *s, const dlx_decode_options *o, const dlx_model_facts *facts, dlx_error *err)
{
    int64_t block = dlx_int_option(o, DLX_OPT_BLOCK_LENGTH, dlx_default_block_length(facts));
    int64_t steps = dlx_int_option(o, DLX_OPT_DENOISING_STEPS, block);
    s->block_length = s->attn_block = (int32_t)block;
    s->steps_per_block = dlx_bounded_steps(s, (int32_t)steps);
    s->fuse_commit = dlx_int_option(o, DLX_OPT_FUSE_COMMIT, !s->published);
    s->strategy = (int)dlx_int_option(o, DLX_OPT_STRATEGY, DLX_STRATEGY_DYNAMIC);
    s->threshold = dlx_float_option(o, DLX_OPT_THRESHOLD, 0.85);
    s->eb_threshold = dlx_float_option(o, DLX_OPT_EB_THRESHOLD, 0.35);
    return dlx_check_block_rows(s, facts, err);
}

/* Whole blocks, the last one shorter where the context ends. */
static int32_t canvas_end(const dlx_settings *s)
{
    int64_t block = s->block_length, end = ((int64_t)s->n_prompt + s->max_new + block - 1) / block * block;
    return end < s->end ? (int32_t)end : s->end;
}

static void plan(const dlx_settings *s, dlx_capacity *out)
{
    int32_t end = canvas_end(s);
    out->canvas = end;
    out->candidates = s->block_length < end ? s->block_length : end;
    /* A pass reveals a mask or completes a block; the prefill is one more. */
    out->steps =
        (int64_t)s->max_new + s->prompt_masks + 2 * (int64_t)s->block_length + 2 * (int64_t)(end / s->block_length) + 2;
}

static void choose(dlx_decoder *d, int32_t share)
{
    const dlx_settings *s = d->set;
    dlx_candidate *c = d->candidates;
    int32_t n = d->n_candidates, sure = 0;
    switch (s->strategy) {
    case DLX_STRATEGY_SEQUENTIAL: dlx_choose_all(c, n); return;
    case DLX_STRATEGY_ENTROPY_BOUNDED: dlx_choose_entropy_bounded(c, n, s->eb_threshold); return;
    case DLX_STRATEGY_DYNAMIC: sure = dlx_choose_above(c, n, s->threshold); break;
    default: break;
    }
    /* The sure ones are the best ones. */
    dlx_choose_best(c, n, share - sure);
}

/* Stores [stored, end), whole blocks that hold no mask. */
static dlx_status store(dlx_decoder *d, int32_t stored, int32_t end, dlx_error *err)
{
    dlx_pass pass = dlx_pass_over(d, stored, end);
    pass.n_store = pass.n;
    dlx_pass_see(&pass, 0, stored);
    dlx_decoder_take_masks(d, 0, 0);
    DLX_TRY(dlx_decoder_call(d, &pass, err));
    return dlx_decoder_commit(d, end > d->set->n_prompt ? (end - 1) / d->set->block_length : -1, &pass, err);
}

/* Denoises [lo, hi). The first pass also stores [stored, lo). *done is set when the answer is settled. */
static dlx_status denoise(dlx_decoder *d, int32_t stored, int32_t lo, int32_t hi, bool *done, dlx_error *err)
{
    const dlx_settings *s = d->set;
    for (int32_t step = 0; !*done && dlx_decoder_has_mask(d, lo, hi); step++) {
        int32_t share = dlx_equal_share(s->block_length, s->steps_per_block, step);
        if (share < 1) share = 1;
        dlx_pass pass = dlx_pass_over(d, step ? lo : stored, hi);
        pass.n_store = lo - pass.first;
        dlx_pass_see(&pass, 0, pass.first);
        dlx_decoder_take_masks(d, lo, hi);
        if (s->strategy == DLX_STRATEGY_SEQUENTIAL && d->n_candidates > share) d->n_candidates = share;
        DLX_TRY(dlx_decoder_call(d, &pass, err));
        DLX_TRY(dlx_decoder_score(d, err));
        if (dlx_last_pass(s, step))
            dlx_choose_all(d->candidates, d->n_candidates);
        else
            choose(d, share);
        DLX_TRY(dlx_decoder_commit(d, lo / s->block_length, &pass, err));
        *done = !s->published && dlx_decoder_settled(d);
    }
    return DLX_OK;
}

static dlx_status run(dlx_decoder *d, dlx_error *err)
{
    const dlx_settings *s = d->set;
    int32_t block = s->block_length, end = canvas_end(s), stored = s->n_cached;
    bool done = false;
    d->sampling.top_k_first = true;
    d->sampling.before_filters = !s->published;
    d->sampling.entropy = s->strategy == DLX_STRATEGY_ENTROPY_BOUNDED;
    dlx_decoder_extend(d, end);
    /* As published, the prompt's complete blocks are taken as they are, masks or not. */
    int32_t lo = s->published ? s->n_prompt / block * block : s->n_cached;
    while (lo < end && !done) {
        int32_t hi = end - lo > block ? lo + block : end;
        if (dlx_decoder_has_mask(d, lo, hi)) {
            if (stored < lo && !(s->fuse_commit && hi - stored <= s->max_rows)) {
                DLX_TRY(store(d, stored, lo, err));
                stored = lo;
            }
            DLX_TRY(denoise(d, stored, lo, hi, &done, err));
            stored = lo;
        }
        lo = hi;
        if (!s->published) continue;
        if (!s->fuse_commit) {
            DLX_TRY(store(d, stored, lo, err));
            stored = lo;
        }
        /* The model's own stop ids count only when they are given as an option. */
        done = s->stop_ids_given && dlx_decoder_find_stop(d, s->n_prompt, end) >= 0;
    }
    return DLX_OK;
}

const dlx_algorithm dlx_sdar_generate = {
    .name = "sdar.generate",
    .attention = 1,
    .shift = 0,
    .needs_mask = true,
    .configure = configure,
    .plan = plan,
    .run = run,
};
