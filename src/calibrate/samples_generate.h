/*
 * Calibration data that the model writes itself, for want of texts: it answers a few built-in questions in its chat
 * template (or goes on with them, without one; without a tokenizer it begins with a random token), and what it wrote is
 * masked like other answers. Answers are sampled at temperature 1 with few passes: the whole answer at once under full
 * attention, block after block under block-causal attention.
 *
 * All answers are written together, so the checkpoint is read once a pass, layer by layer: 8 passes under full
 * attention, 2 a block (4 of those decoded in smaller ones) under block-causal attention.
 */
#ifndef DLX_CALIBRATE_SAMPLES_GENERATE_H
#define DLX_CALIBRATE_SAMPLES_GENERATE_H

#include "calibrate/layerwise.h"
#include "calibrate/samples.h"

enum { DLX_WRITTEN_TEXTS = 32, DLX_WRITTEN_TOKENS = 64 }; /* at most; each text is used several times */

/* `tokenizer` may be NULL. `run`: how it runs; cache and ticks as there. A model without a mask token is
 * DLX_E_UNSUPPORTED. */
dlx_status dlx_samples_generate(dlx_samples *out, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                                const dlx_samples_options *options, const dlx_layerwise_options *run, dlx_error *err);
/* Whether it would be refused, whatever the model writes. */
dlx_status dlx_samples_can_generate(const dlx_checkpoint *c, const dlx_samples_options *options, dlx_error *err);
/* dlx_samples_read of `path`, or without one (NULL) dlx_samples_generate. */
dlx_status dlx_samples_make(dlx_samples *out, const char *path, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                            const dlx_samples_options *options, const dlx_layerwise_options *run, dlx_error *err);

#endif
