/* dlx_generate with random numbers from outside, for tests that play them back. */
#ifndef DLX_DIFFUSION_GENERATE_H
#define DLX_DIFFUSION_GENERATE_H

#include "diffulex_edge/decode.h"
#include "diffusion/random.h"

/* random NULL: seeded from the options. */
dlx_status dlx_generate_with(const dlx_model_facts *facts, dlx_forward_fn forward, void *forward_ctx,
                             const dlx_decode_options *options, const int32_t *prompt, size_t n_prompt,
                             dlx_step_fn on_step, void *step_ctx, const dlx_random *random, dlx_generation **out,
                             dlx_error *err);

#endif
