/*
 * LLaDA. `generate` is the decoder published with the model (ML-GSAI/LLaDA generate.py): blocks of masks behind the
 * prompt, each revealed in equal shares, the surest position first, every pass over the whole canvas. `generate_fast`
 * is Fast-dLLM v1 (NVlabs, arXiv 2505.22618): acceptance by threshold, and approximate KV caches that are refreshed at
 * the start of every block, or more often. Positions are ranked over all masks up to the block's end, the prompt's
 * included.
 *
 * As published, steps without a share still cost a pass, and masks of the prompt take shares from the blocks, so that
 * some are left in the end. Otherwise such steps are left out, and the first block gets the prompt's masks on top.
 */
#include <math.h>

#include "diffusion/decoder.h"

static int32_t block_begin(const dlx_settings *s, int32_t block)
{
    return s->n_prompt + block * s->block_length;
}

static int32_t block_end(const dlx_settings *s, int32_t block)
{
    int32_t end = block_begin(s, block) + s->block_length, last = s->n_prompt + s->gen_length;
    return end < last ? end : last;
}

/* Masks in front of the block that count for it. */
static int32_t first_candidate(const dlx_settings *s, int32_t block)
{
    return s->published ? block_begin(s, block) : 0;
}

/* ---- settings --------------------------------------------------------------------------------------------------- */

static dlx_status configure_common(dlx_settings *s, const dlx_decode_options *o, const dlx_model_facts *facts,
                                   dlx_error *err)
{
    s->remasking = (int)dlx_int_option(o, DLX_OPT_REMASKING, DLX_REMASK_LOW_CONFIDENCE);
    s->logits_eos_inf = dlx_int_option(o, DLX_OPT_LOGITS_EOS_INF, false);
    s->confidence_eos_eot_inf = dlx_int_option(o, DLX_OPT_CONFIDENCE_EOS_EOT_INF, false);
    DLX_TRY(dlx_configure_blocks(s, o, facts, err));
    int32_t more = s->published || dlx_given(o, DLX_OPT_STEPS) ? 0 : s->prompt_masks;
    s->first_steps = dlx_bounded_steps(s, s->steps_per_block + more);
    return DLX_OK;
}

static dlx_status configure_generate(dlx_settings *s, const dlx_decode_options *o, const dlx_model_facts *facts,
                                     dlx_error *err)
{
    s->cfg_scale = dlx_float_option(o, DLX_OPT_CFG_SCALE, 0);
    return configure_common(s, o, facts, err);
}

static dlx_status configure_fast(dlx_settings *s, const dlx_decode_options *o, const dlx_model_facts *facts,
                                 dlx_error *err)
{
    s->has_threshold = dlx_given(o, DLX_OPT_THRESHOLD);
    s->threshold = dlx_float_option(o, DLX_OPT_THRESHOLD, 0);
    s->has_factor = dlx_given(o, DLX_OPT_FACTOR);
    s->factor = dlx_float_option(o, DLX_OPT_FACTOR, 0);
    s->cache = (int)dlx_int_option(o, DLX_OPT_CACHE, DLX_CACHE_NONE);
    s->refresh_interval = (int32_t)dlx_int_option(o, DLX_OPT_REFRESH_INTERVAL, 0);
    if (s->has_factor && s->has_threshold)
        return dlx_fail(err, DLX_E_INVALID, "option 'factor': it replaces 'threshold'; give only one of the two");
    return configure_common(s, o, facts, err);
}

/* As published, prompt masks take shares from the blocks, so that at most that many masks are left behind a block. */
static void plan(const dlx_settings *s, dlx_capacity *out)
{
    out->canvas = s->n_prompt + s->gen_length;
    out->candidates = s->block_length + s->prompt_masks;
    out->whole_rows = s->logits_eos_inf || s->confidence_eos_eot_inf;
}

static void plan_generate(const dlx_settings *s, dlx_capacity *out)
{
    plan(s, out);
    out->steps = (int64_t)(s->blocks - 1) * s->steps_per_block + s->first_steps;
    out->second_logits = s->cfg_scale > 0;
    out->whole_rows |= out->second_logits;
}

/* Every pass that finds a mask reveals one; a block can have two that find none. */
static void plan_fast(const dlx_settings *s, dlx_capacity *out)
{
    plan(s, out);
    out->steps = (int64_t)s->gen_length + s->prompt_masks + 2 * (int64_t)s->blocks;
}

/* ---- steps ------------------------------------------------------------------------------------------------------ */

/*
 * The token of a row of logits, unless one is given, and, as `summary`, the softmax that is its confidence. With
 * confidence_eos_eot_inf the published code takes both end ids out of that softmax at temperature 0 and only the second
 * one above.
 */
static bool choose_token(dlx_decoder *d, float *row, int32_t given, dlx_row_summary *summary)
{
    const dlx_settings *s = d->set;
    int32_t vocab = d->facts->vocab_size, known = d->facts->num_tokens ? d->facts->num_tokens : vocab;
    int32_t id = given;
    if (id < 0)
        id = s->temperature > 0 ? dlx_gumbel_argmax(row, vocab, s->temperature, d->facts->mask_id, known, &d->random)
                                : dlx_argmax(row, known, d->facts->mask_id);
    if (id < 0) return false;
    if (s->confidence_eos_eot_inf) {
        if (s->temperature <= 0 && s->eos_id >= 0) row[s->eos_id] = -INFINITY;
        if (s->eot_id >= 0) row[s->eot_id] = -INFINITY;
    }
    dlx_summarise_row(row, vocab, -1, 0, summary);
    summary->id = id;
    summary->logit = row[id];
    return true;
}

/* Token and confidence of every candidate; `precise`: not rounded to float32, as Fast-dLLM's softmax in float64. */
static dlx_status score(dlx_decoder *d, bool precise, dlx_error *err)
{
    const dlx_settings *s = d->set;
    int32_t vocab = d->facts->vocab_size;
    if (s->logits_eos_inf && s->eos_id >= 0)
        for (int32_t i = 0; i < d->n_rows; i++) d->logits[(size_t)i * (size_t)vocab + (size_t)s->eos_id] = -INFINITY;
    DLX_TRY(dlx_decoder_constrain(d, err));
    for (int32_t i = 0; i < d->n_candidates; i++) {
        dlx_candidate *c = &d->candidates[i];
        dlx_row_summary row;
        bool summarised = !s->confidence_eos_eot_inf && dlx_decoder_summary(d, c, &row);
        if (!summarised && !choose_token(d, dlx_decoder_row(d, c), c->id, &row)) return dlx_decoder_bad_row(c, err);
        double probability = dlx_summary_probability(&row, row.logit);
        c->id = row.id;
        c->score = precise ? probability : (double)(float)probability;
        if (c->id < 0 || !isfinite(c->score)) return dlx_decoder_bad_row(c, err);
        if (s->remasking == DLX_REMASK_RANDOM) c->score = dlx_random_uniform(&d->random);
        c->rank = c->score;
    }
    return DLX_OK;
}

/* logits = u + (cfg_scale + 1) * (logits - u), where u sees every token that was given masked out. */
static dlx_status guide(dlx_decoder *d, const dlx_pass *pass, dlx_error *err)
{
    int32_t mask = d->facts->mask_id;
    for (int32_t i = 0; i < pass->n; i++)
        d->second_ids[i] = i < d->set->n_prompt && d->prompt[i] != mask ? mask : d->x[i];
    DLX_TRY(dlx_decoder_call_with(d, pass, d->second_ids, d->second_logits, err));
    size_t n = (size_t)d->n_rows * (size_t)d->facts->vocab_size;
    float scale = (float)(d->set->cfg_scale + 1);
    for (size_t i = 0; i < n; i++) d->logits[i] = d->second_logits[i] + scale * (d->logits[i] - d->second_logits[i]);
    return DLX_OK;
}

static int32_t steps_of(const dlx_settings *s, int32_t block)
{
    return block ? s->steps_per_block : s->first_steps;
}

static dlx_status run_generate(dlx_decoder *d, dlx_error *err)
{
    const dlx_settings *s = d->set;
    int32_t total = s->n_prompt + s->gen_length;
    dlx_decoder_extend(d, total);
    dlx_pass pass = dlx_pass_over(d, 0, total);
    for (int32_t b = 0; b < s->blocks; b++) {
        int32_t masks = dlx_decoder_count_masks(d, first_candidate(s, b), block_end(s, b)), steps = steps_of(s, b);
        for (int32_t i = 0; i < steps; i++) {
            int32_t share = dlx_equal_share(masks, steps, i);
            if (!share && !s->published) break;
            dlx_decoder_take_masks(d, 0, share || dlx_last_pass(s, i) ? block_end(s, b) : 0);
            DLX_TRY(dlx_decoder_call(d, &pass, err));
            if (s->cfg_scale > 0) DLX_TRY(guide(d, &pass, err));
            DLX_TRY(score(d, false, err));
            dlx_choose_best(d->candidates, d->n_candidates, dlx_last_pass(s, i) ? d->n_candidates : share);
            DLX_TRY(dlx_decoder_commit(d, b, &pass, err));
            if (s->early_stop && dlx_decoder_settled(d)) return DLX_OK;
        }
    }
    return DLX_OK;
}

/* One pass, whose masks up to the block's end are candidates; `last`: all of them are revealed. */
static dlx_status reveal(dlx_decoder *d, int32_t block, const dlx_pass *pass, int32_t share, bool last, dlx_error *err)
{
    const dlx_settings *s = d->set;
    dlx_decoder_take_masks(d, pass->first, block_end(s, block));
    DLX_TRY(dlx_decoder_call(d, pass, err));
    DLX_TRY(score(d, true, err));
    if (last)
        dlx_choose_all(d->candidates, d->n_candidates);
    else if (s->has_factor)
        dlx_choose_by_factor(d->candidates, d->n_candidates, s->factor);
    else if (s->has_threshold)
        dlx_choose_best_and_sure(d->candidates, d->n_candidates, s->threshold, false);
    else
        dlx_choose_best(d->candidates, d->n_candidates, share);
    return dlx_decoder_commit(d, block, pass, err);
}

/* Whether pass i of a block runs the whole canvas, and with it refreshes the cache: the first one does, those that the
 * interval asks for, and those that can reach masks of the prompt. */
static bool runs_whole(const dlx_decoder *d, int32_t i)
{
    const dlx_settings *s = d->set;
    return i == 0 || s->cache == DLX_CACHE_NONE || (s->refresh_interval && i % s->refresh_interval == 0) ||
           (!s->published && s->prompt_masks && dlx_decoder_has_mask(d, 0, s->n_prompt));
}

static dlx_status run_fast_block(dlx_decoder *d, int32_t b, dlx_error *err)
{
    const dlx_settings *s = d->set;
    int32_t total = s->n_prompt + s->gen_length, lo = block_begin(s, b), hi = block_end(s, b),
            begin = first_candidate(s, b);
    int32_t masks = dlx_decoder_count_masks(d, begin, hi);
    bool cached = s->cache != DLX_CACHE_NONE, shares = !s->has_factor && !s->has_threshold;
    dlx_pass full = dlx_pass_over(d, 0, total), later = dlx_pass_over(d, lo, s->cache == DLX_CACHE_DUAL ? hi : total);
    full.n_store = cached ? total : 0;
    dlx_pass_see(&later, 0, lo);
    dlx_pass_see(&later, lo + later.n, total);
    /* The published cached loops run one more pass even when the first one filled the block, and fail where the shares
     * have no second step: there it is left out. */
    int32_t least = !s->published ? 0 : cached && !(shares && s->steps_per_block == 1) ? 2 : 1;
    least = dlx_bounded_steps(s, least);
    for (int32_t i = 0; i < least || dlx_decoder_has_mask(d, begin, hi); i++) {
        int32_t share = dlx_equal_share(masks, steps_of(s, b), i);
        DLX_TRY(reveal(d, b, runs_whole(d, i) ? &full : &later, share > 0 ? share : 1, dlx_last_pass(s, i), err));
        if (s->early_stop && dlx_decoder_settled(d)) return DLX_OK;
    }
    return DLX_OK;
}

static dlx_status run_fast(dlx_decoder *d, dlx_error *err)
{
    dlx_decoder_extend(d, d->set->n_prompt + d->set->gen_length);
    for (int32_t b = 0; b < d->set->blocks; b++) {
        DLX_TRY(run_fast_block(d, b, err));
        if (d->set->early_stop && dlx_decoder_settled(d)) break;
    }
    return DLX_OK;
}

const dlx_algorithm dlx_llada_generate = {
    .name = "llada.generate",
    .attention = 0,
    .shift = 0,
    .needs_mask = true,
    .configure = configure_generate,
    .plan = plan_generate,
    .run = run_generate,
};

const dlx_algorithm dlx_llada_generate_fast = {
    .name = "llada.generate_fast",
    .attention = 0,
    .shift = 0,
    .needs_mask = true,
    .configure = configure_fast,
    .plan = plan_fast,
    .run = run_fast,
};
