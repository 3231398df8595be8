/*
 * Dream. `diffusion_generate` is the decoder published with the model (Dream generation_utils.py): passes over the
 * whole canvas on a time schedule. `generate_blocks` is Fast-dLLM v1's block decoder (generation_utils_block.py) with a
 * prefix or dual KV cache, refreshed at the start of every block, or more often. Row i-1 of the logits predicts
 * position i.
 *
 * As published, steps without a share still cost a pass, and generate_blocks leaves masks of the prompt alone.
 * Otherwise such steps are left out, and generate_blocks fills the prompt first.
 */
#include "diffusion/decoder.h"

static const dlx_score_kind score_of_alg[] = {
    [DLX_ALG_ORIGIN] = DLX_SCORE_PROBABILITY,
    [DLX_ALG_MASKGIT_PLUS] = DLX_SCORE_PROBABILITY,
    [DLX_ALG_TOPK_MARGIN] = DLX_SCORE_MARGIN,
    [DLX_ALG_ENTROPY] = DLX_SCORE_NEGATIVE_ENTROPY,
    [DLX_ALG_CONFIDENCE_THRESHOLD] = DLX_SCORE_PROBABILITY,
};

/* ---- settings --------------------------------------------------------------------------------------------------- */

static void configure_common(dlx_settings *s, const dlx_decode_options *o, int usual_alg)
{
    s->alg = (int)dlx_int_option(o, DLX_OPT_ALG, usual_alg);
    s->alg_temp = dlx_float_option(o, DLX_OPT_ALG_TEMP, 0);
    s->eps = dlx_float_option(o, DLX_OPT_EPS, 1e-3);
    s->threshold = dlx_float_option(o, DLX_OPT_THRESHOLD, 0.9);
}

static dlx_status configure_whole(dlx_settings *s, const dlx_decode_options *o, const dlx_model_facts *facts,
                                  dlx_error *err)
{
    (void)facts;
    configure_common(s, o, DLX_ALG_ENTROPY);
    int32_t masks = s->max_new + s->prompt_masks;
    bool whole = !s->published || s->alg == DLX_ALG_CONFIDENCE_THRESHOLD;
    s->gen_length = s->max_new;
    s->blocks = 1;
    s->steps_per_block = (int32_t)dlx_int_option(o, DLX_OPT_STEPS, whole ? masks : s->max_new);
    if (s->published && s->alg == DLX_ALG_CONFIDENCE_THRESHOLD && masks % s->steps_per_block)
        return dlx_fail(
            err, DLX_E_INVALID,
            "option 'steps': alg confidence_threshold splits %d masks into equal parts, which %d steps do not give",
            masks, s->steps_per_block);
    s->steps_per_block = dlx_bounded_steps(s, s->steps_per_block);
    return DLX_OK;
}

static dlx_status configure_blocks(dlx_settings *s, const dlx_decode_options *o, const dlx_model_facts *facts,
                                   dlx_error *err)
{
    configure_common(s, o, DLX_ALG_CONFIDENCE_THRESHOLD);
    s->dual = dlx_int_option(o, DLX_OPT_DUAL, false);
    s->refresh_interval = (int32_t)dlx_int_option(o, DLX_OPT_REFRESH_INTERVAL, 0);
    if (s->alg == DLX_ALG_ORIGIN)
        return dlx_fail(err, DLX_E_INVALID,
                        "option 'alg': dream.generate_blocks has no origin; dream.diffusion_generate does");
    DLX_TRY(dlx_configure_blocks(s, o, facts, err));
    if (s->alg != DLX_ALG_CONFIDENCE_THRESHOLD && s->steps_per_block == 1 && s->block_length > 1 && s->max_passes != 1)
        return dlx_fail(err, DLX_E_INVALID,
                        "option 'steps': one step a block reveals only its first token; take at least %d, or alg "
                        "confidence_threshold",
                        2 * s->blocks);
    return DLX_OK;
}

/* A step of confidence_threshold behind the last planned one reveals at least one token. */
static void plan_whole(const dlx_settings *s, dlx_capacity *out)
{
    out->canvas = s->n_prompt + s->gen_length;
    out->candidates = s->gen_length + s->prompt_masks;
    out->steps = (int64_t)s->steps_per_block + out->candidates;
}

static void plan_blocks(const dlx_settings *s, dlx_capacity *out)
{
    int64_t steps = s->alg == DLX_ALG_CONFIDENCE_THRESHOLD ? s->block_length : s->steps_per_block;
    out->canvas = s->n_prompt + s->gen_length;
    out->candidates = s->block_length > s->prompt_masks ? s->block_length : s->prompt_masks;
    out->steps = s->blocks * (steps + 2) + s->prompt_masks;
}

/* ---- steps ------------------------------------------------------------------------------------------------------ */

/* The `share` best masks, or that many draws without replacement. */
static void choose_share(dlx_decoder *d, int32_t share)
{
    if (d->set->alg_temp > 0) dlx_perturb_ranks(d->candidates, d->n_candidates, d->set->alg_temp, &d->random);
    dlx_choose_best(d->candidates, d->n_candidates, share);
}

/* Alg origin: every mask is revealed with probability 1 - s/t, whatever its logits. The others need none. */
static void draw_positions(dlx_decoder *d, int32_t i)
{
    const dlx_settings *s = d->set;
    float kept = dlx_dream_time(i + 1, s->steps_per_block, s->eps) / dlx_dream_time(i, s->steps_per_block, s->eps);
    int32_t n = 0;
    for (int32_t k = 0; k < d->n_candidates; k++)
        if (i == s->steps_per_block - 1 || dlx_random_uniform(&d->random) < (double)(1.0f - kept))
            d->candidates[n++] = d->candidates[k];
    d->n_candidates = n;
}

/* Fast-dLLM v1 on the whole canvas: each step may reveal its equal share and what the step before held back. When the
 * last step holds tokens back the schedule grows, and from then on only they count. */
static dlx_status run_by_threshold(dlx_decoder *d, dlx_error *err)
{
    const dlx_settings *s = d->set;
    int32_t total = s->n_prompt + s->gen_length, steps = s->steps_per_block, masks = s->max_new + s->prompt_masks,
            held = 0;
    dlx_pass pass = dlx_pass_over(d, 0, total);
    for (int32_t i = 0; i < steps || held; i++) {
        int32_t share = dlx_equal_share(masks, steps, i) + held;
        dlx_decoder_take_masks(d, 0, total);
        if (!s->published && !(share && d->n_candidates)) break;
        DLX_TRY(dlx_decoder_call(d, &pass, err));
        DLX_TRY(dlx_decoder_score(d, err));
        held = dlx_choose_sure_of_best(d->candidates, d->n_candidates, share, s->threshold);
        bool last = dlx_last_pass(s, i);
        if (last) dlx_choose_all(d->candidates, d->n_candidates);
        DLX_TRY(dlx_decoder_commit(d, 0, &pass, err));
        if (last || (s->early_stop && dlx_decoder_settled(d))) break;
    }
    return DLX_OK;
}

static dlx_status run_by_time(dlx_decoder *d, dlx_error *err)
{
    const dlx_settings *s = d->set;
    int32_t total = s->n_prompt + s->gen_length;
    dlx_pass pass = dlx_pass_over(d, 0, total);
    for (int32_t i = 0; i < s->steps_per_block; i++) {
        dlx_decoder_take_masks(d, 0, total);
        int32_t share = dlx_dream_share(d->n_candidates, i, s->steps_per_block, s->eps);
        if (s->alg == DLX_ALG_ORIGIN) {
            draw_positions(d, i);
            share = d->n_candidates;
        }
        if (!share) d->n_candidates = 0;
        if (!share && !s->published) continue;
        DLX_TRY(dlx_decoder_call(d, &pass, err));
        DLX_TRY(dlx_decoder_score(d, err));
        choose_share(d, share);
        DLX_TRY(dlx_decoder_commit(d, 0, &pass, err));
        if (s->early_stop && dlx_decoder_settled(d)) break;
    }
    return DLX_OK;
}

static dlx_status run_diffusion_generate(dlx_decoder *d, dlx_error *err)
{
    const dlx_settings *s = d->set;
    d->sampling.score = score_of_alg[s->alg];
    dlx_decoder_extend(d, s->n_prompt + s->gen_length);
    return s->alg == DLX_ALG_CONFIDENCE_THRESHOLD ? run_by_threshold(d, err) : run_by_time(d, err);
}

/* One step over masks of [begin, end): the sure ones, or the `share` best; `last`: all of them. */
static dlx_status reveal(dlx_decoder *d, int32_t b, const dlx_pass *pass, int32_t begin, int32_t end, int32_t share,
                         bool last, dlx_error *err)
{
    const dlx_settings *s = d->set;
    bool by_threshold = s->alg == DLX_ALG_CONFIDENCE_THRESHOLD;
    dlx_decoder_take_masks(d, begin, by_threshold || share || last ? end : begin);
    DLX_TRY(dlx_decoder_call(d, pass, err));
    DLX_TRY(dlx_decoder_score(d, err));
    if (last)
        dlx_choose_all(d->candidates, d->n_candidates);
    else if (by_threshold)
        dlx_choose_best_and_sure(d->candidates, d->n_candidates, s->threshold, true);
    else
        choose_share(d, share);
    return dlx_decoder_commit(d, b, pass, err);
}

/* The full pass that refreshes the cache; it reveals the block's first token only, unless it has to be the only one. */
static dlx_status open_block(dlx_decoder *d, int32_t b, int32_t lo, int32_t hi, dlx_error *err)
{
    dlx_pass pass = dlx_pass_over(d, 0, d->set->n_prompt + d->set->gen_length);
    pass.n_store = pass.n;
    d->sampling.score = DLX_SCORE_PROBABILITY;
    dlx_decoder_take_masks(d, lo, dlx_last_pass(d->set, 0) ? hi : lo + 1);
    DLX_TRY(dlx_decoder_call(d, &pass, err));
    DLX_TRY(dlx_decoder_score(d, err));
    dlx_choose_all(d->candidates, d->n_candidates);
    d->sampling.score = score_of_alg[d->set->alg];
    return dlx_decoder_commit(d, b, &pass, err);
}

/* Later passes run from the block's start to the end of the canvas, or (dual) over the block alone. Their first row has
 * no row before it, and its position is known. */
static dlx_status run_block(dlx_decoder *d, int32_t b, int32_t lo, int32_t hi, dlx_error *err)
{
    const dlx_settings *s = d->set;
    int32_t total = s->n_prompt + s->gen_length;
    bool by_time = s->alg != DLX_ALG_CONFIDENCE_THRESHOLD;
    dlx_pass full = dlx_pass_over(d, 0, total), pass = dlx_pass_over(d, lo, s->dual ? hi : total);
    full.n_store = total;
    dlx_pass_see(&pass, 0, lo);
    dlx_pass_see(&pass, lo + pass.n, total);
    DLX_TRY(open_block(d, b, lo, hi, err));
    /* The published loop has a second pass even when there is nothing to do. */
    bool second = s->published && s->max_passes != 1;
    int32_t since = 0; /* passes without a refresh */
    for (int32_t i = 1; (second && i == 1) || dlx_decoder_has_mask(d, lo, hi); i++) {
        if (s->early_stop && dlx_decoder_settled(d)) break;
        int32_t masks = dlx_decoder_count_masks(d, lo, hi);
        int32_t share = i < s->steps_per_block ? dlx_dream_share(masks, i, s->steps_per_block, s->eps) : 0;
        if (by_time && !share && !s->published) continue;
        since = s->refresh_interval && since + 1 >= s->refresh_interval ? 0 : since + 1;
        DLX_TRY(reveal(d, b, since ? &pass : &full, lo, hi, share, dlx_last_pass(s, i), err));
    }
    return DLX_OK;
}

/* Masks of the prompt, over the whole canvas, as one block. */
static dlx_status fill_prompt(dlx_decoder *d, dlx_error *err)
{
    const dlx_settings *s = d->set;
    dlx_pass pass = dlx_pass_over(d, 0, s->n_prompt + s->gen_length);
    d->sampling.score = score_of_alg[s->alg];
    int32_t steps = dlx_bounded_steps(s, s->prompt_masks);
    for (int32_t i = 0; dlx_decoder_has_mask(d, 0, s->n_prompt); i++) {
        int32_t share = dlx_equal_share(s->prompt_masks, steps, i);
        DLX_TRY(reveal(d, 0, &pass, 0, s->n_prompt, share, dlx_last_pass(s, i), err));
    }
    return DLX_OK;
}

static dlx_status run_generate_blocks(dlx_decoder *d, dlx_error *err)
{
    const dlx_settings *s = d->set;
    int32_t total = s->n_prompt + s->gen_length;
    dlx_decoder_extend(d, total);
    if (!s->published) DLX_TRY(fill_prompt(d, err));
    for (int32_t b = 0; b < s->blocks; b++) {
        int32_t lo = s->n_prompt + b * s->block_length,
                hi = total - lo > s->block_length ? lo + s->block_length : total;
        if (lo == hi || (s->early_stop && dlx_decoder_settled(d))) break;
        DLX_TRY(run_block(d, b, lo, hi, err));
    }
    return DLX_OK;
}

const dlx_algorithm dlx_dream_diffusion_generate = {
    .name = "dream.diffusion_generate",
    .attention = 0,
    .shift = 1,
    .needs_mask = true,
    .configure = configure_whole,
    .plan = plan_whole,
    .run = run_diffusion_generate,
};

const dlx_algorithm dlx_dream_generate_blocks = {
    .name = "dream.generate_blocks",
    .attention = 0,
    .shift = 1,
    .needs_mask = true,
    .configure = configure_blocks,
    .plan = plan_blocks,
    .run = run_generate_blocks,
};
