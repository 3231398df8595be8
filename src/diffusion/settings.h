/*
 * Settings: what an algorithm runs with, once the options that were given, the published defaults and the model's facts
 * have been put together and found free of contradictions. Algorithms read settings, never options.
 */
#ifndef DLX_DIFFUSION_SETTINGS_H
#define DLX_DIFFUSION_SETTINGS_H

#include "diffusion/options.h"

struct dlx_decoder;

typedef struct dlx_settings {
    const struct dlx_algorithm *algorithm;
    bool published; /* lengths and stop rules of the published code, to the pass */
    int32_t n_prompt, prompt_masks, max_new;
    int32_t
        answer_end; /* positions of the answer end here: those of max_new tokens, or fewer where so many are decoded */
    const struct dlx_constraint *constraint; /* what the answer must be, or NULL */
    int32_t n_cached;                        /* prompt positions that the cache holds already, whole blocks */
    int32_t end;                             /* no position at or behind it is ever run */
    int32_t max_rows;                        /* most rows of one pass */
    int32_t attn_block;                      /* of every pass; 0: all rows see each other */
    int32_t block_length, small_block_size;
    int32_t gen_length, blocks; /* LLaDA, Dream: positions behind the prompt, in blocks from the prompt's end on */
    int32_t steps_per_block;    /* diffusion_generate: one block; SDAR: denoising steps */
    int32_t first_steps;        /* LLaDA: steps of the first block */
    int32_t refresh_interval;   /* passes between refreshes of an approximate cache; 0: one refresh a block */
    int32_t max_passes;         /* most denoising passes a block; 0: no bound */
    double temperature, top_p, threshold, factor, eb_threshold, cfg_scale, alg_temp, eps, repetition_penalty;
    bool has_threshold, has_factor;
    int32_t top_k;
    uint64_t seed;
    int32_t stop_ids[DLX_MAX_STOP_IDS], n_stop_ids; /* what ends an answer */
    bool stop_ids_given;
    int32_t eos_id, eot_id; /* -1: none */
    int remasking, cache, alg, strategy;
    bool logits_eos_inf, confidence_eos_eot_inf, early_stop, dual, block_cache, prefill_exact, fuse_commit;
} dlx_settings;

/* What a run allocates before it starts. */
typedef struct dlx_capacity {
    int32_t canvas;     /* ids */
    int32_t candidates; /* rows of logits asked for at once */
    int64_t steps;
    bool second_logits; /* classifier-free guidance */
    bool seen;          /* a flag for every id of the vocabulary */
} dlx_capacity;

typedef struct dlx_algorithm {
    const char *name;
    int attention; /* 0: full, 1: block-causal, -1: any */
    int shift;     /* 0, 1, -1: any */
    bool needs_mask;
    /* Fills the algorithm's own settings from options; the common ones are there already. */
    dlx_status (*configure)(dlx_settings *s, const dlx_decode_options *o, const dlx_model_facts *facts, dlx_error *err);
    void (*plan)(const dlx_settings *s, dlx_capacity *out);
    dlx_status (*run)(struct dlx_decoder *d, dlx_error *err);
} dlx_algorithm;

extern const dlx_algorithm dlx_llada_generate, dlx_llada_generate_fast, dlx_dream_diffusion_generate,
    dlx_dream_generate_blocks, dlx_sdar_generate, dlx_fast_dllm_v2_generate, dlx_ar_generate;

/* A caller's facts, those that its structure lacks completed. */
dlx_status dlx_facts_in(dlx_model_facts *out, const dlx_model_facts *facts, dlx_error *err);

/* Options (may be NULL) + facts + prompt -> settings. The prompt's ids are checked, too. */
dlx_status dlx_settings_resolve(dlx_settings *s, const dlx_decode_options *options, const dlx_model_facts *facts,
                                const int32_t *prompt, size_t n_prompt, dlx_error *err);

/* ---- for configure functions ------------------------------------------------------------------------------------ */

/* Name of the algorithm that is word `word` of option "algorithm". */
const char *dlx_algorithm_name(int64_t word);

bool dlx_given(const dlx_decode_options *o, dlx_option_slot slot);
int64_t dlx_int_option(const dlx_decode_options *o, dlx_option_slot slot, int64_t otherwise);
double dlx_float_option(const dlx_decode_options *o, dlx_option_slot slot, double otherwise);

/*
 * Blocks counted from the prompt's end (LLaDA, Dream generate_blocks): block_length, blocks, gen_length and
 * steps_per_block. As published, gen_length is rounded up to whole blocks where the context allows, and given under
 * that name it must be whole blocks if block_length is given as well; otherwise the last block is shorter. steps must
 * be a multiple of the number of blocks; max_passes bounds what a block gets of them.
 */
dlx_status dlx_configure_blocks(dlx_settings *s, const dlx_decode_options *o, const dlx_model_facts *facts,
                                dlx_error *err);

/* A number of steps, at most max_passes. */
int32_t dlx_bounded_steps(const dlx_settings *s, int32_t steps);
/* Whether a block's denoising pass i, from 0, is the last one that max_passes allows. */
bool dlx_last_pass(const dlx_settings *s, int32_t i);

/* The model's block length, 32 where it names none. */
int32_t dlx_default_block_length(const dlx_model_facts *facts);
/* DLX_E_LIMIT when a block is more than one pass may run. */
dlx_status dlx_check_block_rows(const dlx_settings *s, const dlx_model_facts *facts, dlx_error *err);

#endif
