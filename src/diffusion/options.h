/*
 * The table of decode options and the set of options a caller gave. Names, kinds, ranges and words live here; defaults
 * and contradictions belong to settings.c, which knows the algorithm and the model.
 */
#ifndef DLX_DIFFUSION_OPTIONS_H
#define DLX_DIFFUSION_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "diffulex_edge/decode.h"

/* Two names of one option share a slot. */
typedef enum dlx_option_slot {
    DLX_OPT_ALGORITHM = 0,
    DLX_OPT_PUBLISHED,
    DLX_OPT_MAX_NEW_TOKENS,
    DLX_OPT_BLOCK_LENGTH,
    DLX_OPT_SMALL_BLOCK_SIZE,
    DLX_OPT_STEPS,
    DLX_OPT_DENOISING_STEPS,
    DLX_OPT_TEMPERATURE,
    DLX_OPT_TOP_K,
    DLX_OPT_TOP_P,
    DLX_OPT_SEED,
    DLX_OPT_STOP_IDS,
    DLX_OPT_THRESHOLD,
    DLX_OPT_FACTOR,
    DLX_OPT_EB_THRESHOLD,
    DLX_OPT_CFG_SCALE,
    DLX_OPT_REMASKING,
    DLX_OPT_LOGITS_EOS_INF,
    DLX_OPT_CONFIDENCE_EOS_EOT_INF,
    DLX_OPT_EARLY_STOP,
    DLX_OPT_CACHE,
    DLX_OPT_ALG,
    DLX_OPT_ALG_TEMP,
    DLX_OPT_EPS,
    DLX_OPT_DUAL,
    DLX_OPT_STRATEGY,
    DLX_OPT_BLOCK_CACHE,
    DLX_OPT_PREFILL_EXACT,
    DLX_OPT_REPETITION_PENALTY,
    DLX_OPT_PRESET,
    DLX_OPT_N_CACHED,
    DLX_OPT_FUSE_COMMIT,
    DLX_OPT_REFRESH_INTERVAL,
    DLX_OPT_MAX_PASSES,
    DLX_OPT_SLOTS
} dlx_option_slot;

/* Values of word options are positions in these lists, in the order of the table's words. */
enum { DLX_REMASK_LOW_CONFIDENCE, DLX_REMASK_RANDOM };
enum { DLX_CACHE_NONE, DLX_CACHE_PREFIX, DLX_CACHE_DUAL };
enum { DLX_ALG_ORIGIN, DLX_ALG_MASKGIT_PLUS, DLX_ALG_TOPK_MARGIN, DLX_ALG_ENTROPY, DLX_ALG_CONFIDENCE_THRESHOLD };
enum { DLX_PRESET_EXACT, DLX_PRESET_BALANCED, DLX_PRESET_FAST };
enum { DLX_STRATEGY_SEQUENTIAL, DLX_STRATEGY_STATIC, DLX_STRATEGY_DYNAMIC, DLX_STRATEGY_ENTROPY_BOUNDED };

typedef struct dlx_option_value {
    const char *given; /* the name it was given under; NULL: unset */
    int64_t i;         /* int, bool, word */
    double f;          /* float */
} dlx_option_value;

struct dlx_decode_options {
    dlx_option_value value[DLX_OPT_SLOTS];
    int32_t stop_ids[DLX_MAX_STOP_IDS];
    int32_t n_stop_ids;
    const struct dlx_constraint *constraint; /* the caller's, or NULL */
};

/* DLX_E_INVALID when an option was given that `algorithm` does not have. */
dlx_status dlx_options_check(const dlx_decode_options *o, const char *algorithm, dlx_error *err);

/* Slot and words (NULL: it takes none) of option `name`, and whether `algorithm` has it. */
dlx_status dlx_option_find(dlx_option_slot *slot, const char **words, bool *has, const char *name,
                           const char *algorithm, dlx_error *err);

/* Sets an option by name unless it was given before, under any of its names, or `algorithm` does not have it. */
dlx_status dlx_options_set_default(dlx_decode_options *o, const char *name, const char *value, const char *algorithm,
                                   dlx_error *err);

/* Sets what the preset in `o` says for models that decode with `usual` by default and have such facts, wherever `o`
 * says nothing itself. */
dlx_status dlx_options_apply_preset(dlx_decode_options *o, const char *usual, const dlx_model_facts *facts,
                                    dlx_error *err);

#endif
