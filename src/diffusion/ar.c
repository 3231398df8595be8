/*
 * Plain autoregressive decoding, for every model: causal attention (blocks of one), one token a pass, exact KV cache.
 *
 * In a shifted model the row of the last known token predicts the next one, and so it does in a model without a mask.
 * In an unshifted model (LLaDA, SDAR) a row predicts its own position: one mask is put behind the known tokens, and its
 * row is read. The mask's keys and values are not kept.
 */
#include "diffusion/decoder.h"

static dlx_status configure(dlx_settings *s, const dlx_decode_options *o, const dlx_model_facts *facts, dlx_error *err)
{
    if (s->prompt_masks)
        return dlx_fail(err, DLX_E_INVALID,
                        "ar.generate only writes behind the prompt and cannot fill the %d masks (id %d) in it; use the "
                        "model's own algorithm",
                        s->prompt_masks, facts->mask_id);
    s->attn_block = 1;
    s->repetition_penalty = dlx_float_option(o, DLX_OPT_REPETITION_PENALTY, 1);
    return DLX_OK;
}

static void plan(const dlx_settings *s, dlx_capacity *out)
{
    out->canvas = s->n_prompt + s->max_new;
    out->candidates = 1;
    out->steps = s->max_new;
    out->seen = out->whole_rows = s->repetition_penalty != 1;
}

/* Every id that occurred, once: positive logits are divided, the others multiplied. */
static void penalise(dlx_decoder *d, int32_t known)
{
    if (!d->seen) return;
    float penalty = (float)d->set->repetition_penalty;
    for (int32_t i = 0; i < known; i++) {
        int32_t id = d->x[i];
        if (d->seen[id]) continue;
        d->seen[id] = 1;
        d->logits[id] = d->logits[id] > 0 ? d->logits[id] / penalty : d->logits[id] * penalty;
    }
    for (int32_t i = 0; i < known; i++) d->seen[d->x[i]] = 0;
}

static dlx_status run(dlx_decoder *d, dlx_error *err)
{
    const dlx_settings *s = d->set;
    bool own_row = !d->facts->logits_shift && d->facts->mask_id >= 0;
    for (int32_t n = s->n_prompt, done = s->n_cached; n < s->n_prompt + s->max_new; n++) {
        dlx_decoder_extend(d, n + 1);
        dlx_decoder_take_masks(d, n, n + 1);
        dlx_pass pass = dlx_pass_over(d, done, own_row ? n + 1 : n);
        pass.shift = !own_row;
        pass.n_store = n - done;
        dlx_pass_see(&pass, 0, done);
        DLX_TRY(dlx_decoder_call(d, &pass, err));
        penalise(d, n);
        DLX_TRY(dlx_decoder_score(d, err));
        dlx_choose_best(d->candidates, d->n_candidates, 1);
        DLX_TRY(dlx_decoder_commit(d, n == s->n_prompt ? -1 : 0, &pass, err));
        if (dlx_decoder_find_stop(d, n, n + 1) >= 0) break;
        done = n;
    }
    return DLX_OK;
}

const dlx_algorithm dlx_ar_generate = {
    .name = "ar.generate",
    .attention = -1,
    .shift = -1,
    .needs_mask = false,
    .configure = configure,
    .plan = plan,
    .run = run,
};
