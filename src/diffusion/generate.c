/*
 * dlx_generate: options and facts become settings, the algorithm runs on a decoder, and the canvas becomes a generation
 * with its answer.
 */
#include "diffusion/generate.h"

#include <string.h>

#include "diffusion/decoder.h"

dlx_status dlx_generate_with(const dlx_model_facts *facts, dlx_forward_fn forward, void *forward_ctx,
                             const dlx_decode_options *options, const int32_t *prompt, size_t n_prompt,
                             dlx_step_fn on_step, void *step_ctx, const dlx_random *random, dlx_generation **out,
                             dlx_error *err)
{
    dlx_settings set;
    dlx_model_facts f;
    dlx_decoder d;
    if (out) *out = NULL;
    if (!out || !forward)
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_generate: a forward function and a place for the generation are needed");
    if (err) memset(err, 0, sizeof *err);
    DLX_TRY(dlx_facts_in(&f, facts, err));
    DLX_TRY(dlx_settings_resolve(&set, options, &f, prompt, n_prompt, err));
    dlx_status status = dlx_decoder_open(&d, &f, &set, prompt, err);
    if (status == DLX_OK) {
        d.forward = forward;
        d.forward_ctx = forward_ctx;
        d.on_step = on_step;
        d.step_ctx = step_ctx;
        if (random) d.random = *random;
        status = set.algorithm->run(&d, err);
    }
    bool cancelled = d.cancelled;
    if (status == DLX_E_CANCELLED && cancelled) status = DLX_OK;
    const dlx_ending ending = {
        .n_prompt = n_prompt,
        .max_new = (size_t)set.max_new,
        .mask_id = f.mask_id,
        .stop_ids = set.stop_ids,
        .n_stop_ids = set.n_stop_ids,
        .cancelled = cancelled,
        .published = set.published,
    };
    if (status == DLX_OK) dlx_generation_finish(d.gen, &ending);
    if (status == DLX_OK && !cancelled) status = dlx_decoder_check_answer(&d, d.gen->answer, d.gen->n_answer, err);
    dlx_decoder_close(&d);
    if (status == DLX_OK)
        *out = d.gen;
    else
        dlx_generation_free(d.gen);
    return status;
}

dlx_status dlx_generate(const dlx_model_facts *facts, dlx_forward_fn forward, void *forward_ctx,
                        const dlx_decode_options *options, const int32_t *prompt, size_t n_prompt, dlx_step_fn on_step,
                        void *step_ctx, dlx_generation **out, dlx_error *err)
{
    return dlx_generate_with(facts, forward, forward_ctx, options, prompt, n_prompt, on_step, step_ctx, NULL, out, err);
}
