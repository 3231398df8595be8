/*
 * Calibration data: sequences of ids as the model meets them while it decodes. Prompts are clean; of an answer, tokens
 * are masked at 20 levels in turn, sample i with probability (i mod 20 + 0.5) / 20 each, at least one of them. Where
 * every row sees every row, that is the whole answer. Under block-causal attention it is one block of it: those before
 * are clean, those behind are not there; of a block that is decoded in smaller ones, those before are clean and those
 * behind masked. A model without a mask token gets clean sequences.
 *
 * Everything follows from file, checkpoint, options and seed.
 */
#ifndef DLX_CALIBRATE_SAMPLES_H
#define DLX_CALIBRATE_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

#include "diffulex_edge/text.h"

#include "base/arena.h"
#include "base/status.h"
#include "model/checkpoint.h"

enum { DLX_MASK_LEVELS = 20 };

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

typedef struct dlx_samples_options {
    size_t count;   /* 0: 128 */
    int32_t length; /* most ids of one, at least 2; 0: 256, or the checkpoint's positions where they are fewer */
    uint64_t seed;
    /* Where every row sees every row, each other answer is filled up to so many ids with what stands behind the end of
     * an answer, some of it masked like the rest: a decoder that does not know how long the answer will be begins with
     * as many masks. Not beyond `length`, nor where there is no prompt; 0: none is. */
    int32_t canvas;
} dlx_samples_options;

/*
 * From lines of JSON, evenly spaced over the file, or used several times where it has fewer than are asked for:
 *   {"text": "..."}                                    all of it may be masked
 *   {"prompt": "...", "answer": "..."}
 *   {"messages": [...], "tools": [...]?}               the last message is the answer, and the assistant's
 *   {"messages": [...], "tools": [...]?, "answer": "..."}
 *   {"ids": [...], "answer_start": n?}
 * Other keys are not looked at, null is as good as absent. A text that is too long gives a piece of it; a prompt that
 * is too long loses its front. `tokenizer` may be NULL: then only ids are taken. Keys of two kinds in a line, ids that
 * have no token, masks in prompts, and answers that consist of masks, are errors, in all lines: of those that no sample
 * is made of, what can be seen without the tokenizer's work. Errors name file and line.
 */
dlx_status dlx_samples_read(dlx_samples *out, const char *path, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                            const dlx_samples_options *options, dlx_error *err);

/* Such a file in memory, for those who make samples of it several times: a pipe can be read only once. */
typedef struct dlx_samples_text {
    const char *path; /* for messages; not owned. NULL: nothing was read */
    char *text;       /* [size] */
    size_t size;
} dlx_samples_text;

dlx_status dlx_samples_text_read(dlx_samples_text *out, const char *path, dlx_error *err);
void dlx_samples_text_free(dlx_samples_text *text); /* fine on zeros */
dlx_status dlx_samples_of(dlx_samples *out, const dlx_samples_text *text, const dlx_checkpoint *c,
                          const dlx_tokenizer *tokenizer, const dlx_samples_options *options, dlx_error *err);

void dlx_samples_free(dlx_samples *samples); /* fine on zeros */

/* Changes with everything that the samples hold. */
uint64_t dlx_samples_fingerprint(const dlx_samples *samples);

/* How many ids have a token: the tokenizer's (NULL: those of the table), and those that the configuration names
 * besides. The rows of the table behind them are padding that was never trained. */
int32_t dlx_samples_ids(const dlx_model_facts *facts, const dlx_tokenizer *tokenizer);

/* ---- for those who make samples --------------------------------------------------------------------------------- */

/* What options mean for a checkpoint: numbers that are not 0, or DLX_E_INVALID. */
dlx_status dlx_samples_options_complete(dlx_samples_options *options, const dlx_checkpoint *c, dlx_error *err);
/* Empty, with room for `count`. */
dlx_status dlx_samples_begin(dlx_samples *out, const dlx_checkpoint *c, size_t count, dlx_error *err);
/* Adds one of clean ids [n], of which those from `answer` < n on may be masked: cut to length and masked. */
dlx_status dlx_samples_add(dlx_samples *samples, const dlx_checkpoint *c, const dlx_samples_options *options,
                           const int32_t *ids, size_t n, size_t answer, dlx_error *err);

/* A number in [0, 1) that depends on all three and nothing else. */
double dlx_samples_uniform(uint64_t seed, uint64_t a, uint64_t b);

#endif
