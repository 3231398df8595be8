/*
 * Calibration data: sequences of ids as the model meets them while it decodes. Prompts are clean; of an answer, tokens
 * are masked.
 */
#ifndef DLX_CALIBRATE_SAMPLES_H
#define DLX_CALIBRATE_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

typedef struct dlx_sample {
    int32_t *ids; /* [n] masks included; in the arena of the samples */
    int32_t n;
    int32_t answer; /* first position that is not prompt */
} dlx_sample;

typedef struct dlx_samples {
    dlx_arena arena;
    dlx_sample *list; /* [n] in the arena */
    size_t n;
    int32_t attn_block; /* who sees whom, as in dlx_model_facts */
    int32_t mask_id;    /* -1: none */
    uint64_t rows;      /* of all samples together */
    int32_t longest;
} dlx_samples;

#endif
