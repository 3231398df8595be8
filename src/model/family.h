/*
 * What a family of models is: which keys of config.json it reads, which values its arithmetic does not cover, how its
 * tensors are named, which tokens end an answer. One file family_<name>.c each.
 */
#ifndef DLX_MODEL_FAMILY_H
#define DLX_MODEL_FAMILY_H

#include "model/checkpoint.h"
#include "model/config.h"

/* Names in the safetensors files; ".weight" or ".bias" follows. A layer's tensor is <layer><number>.<leaf>.weight. */
typedef struct dlx_tensor_names {
    const char *embed, *norm, *lm_head;
    const char *layer; /* with its dot at the end */
    const char *attn_norm, *mlp_norm;
    const char *q, *k, *v, *o;
    const char *q_norm, *k_norm; /* NULL where no family with these names has them */
    const char *gate, *up, *down;
} dlx_tensor_names;

typedef struct dlx_family_rules {
    dlx_family family;
    const char *architecture, *model_type; /* in config.json */
    const char *const *mask_tokens; /* names of the mask token, NULL at the end; used when config.json has no id */
    const char *const *stop_tokens; /* tokens that end an answer wherever the tokenizer names them */
    const dlx_tensor_names *const *names; /* as published first, then those of known re-uploads; NULL at the end */
    /*
     * Fills shape (tied is what the config says) and, of facts, attn_block, logits_shift, block_length and
     * small_block_size. block_size: the caller's override, or 0.
     */
    dlx_status (*read)(dlx_model_shape *shape, dlx_model_facts *facts, const dlx_config_files *f, int32_t block_size,
                       dlx_error *err);
} dlx_family_rules;

extern const dlx_family_rules dlx_llada_rules, dlx_dream_rules, dlx_sdar_rules, dlx_fast_dllm_v2_rules;

/* Hugging Face's names of a Llama-like decoder, which Qwen2 and Qwen3 share. */
extern const dlx_tensor_names dlx_qwen_names;

/* Largest sizes that a configuration may claim: far above any published model, and products of two fit 64 bits. */
enum {
    DLX_MOST_HIDDEN = 1 << 20,
    DLX_MOST_LAYERS = 1024,
    DLX_MOST_HEADS = 4096,
    DLX_MOST_HEAD_DIM = 4096,
    DLX_MOST_VOCAB = 1 << 24,
    DLX_MOST_POSITIONS = 1 << 24,
    DLX_MOST_BLOCK = 1 << 16,
};

/* Rotary embeddings, and what no family here has: windows, experts, caps. shape->max_positions is read before. */
dlx_status dlx_read_shared_keys(dlx_model_shape *shape, const dlx_config_files *f, dlx_error *err);

/* Everything of Qwen2 and Qwen3 configurations but the switches; with `own_head_dim` the key head_dim is required. */
dlx_status dlx_qwen_read(dlx_model_shape *shape, const dlx_config_files *f, bool own_head_dim, dlx_error *err);

/* Divisibility of heads, even head_dim, widths within bounds: what attention and RoPE ask for. `heads_key` and
 * `kv_key` are the keys for the message. */
dlx_status dlx_check_heads(const dlx_model_shape *shape, const dlx_config_files *f, const char *heads_key,
                           const char *kv_key, dlx_error *err);

/* The family of a configuration, or the one that options->model_type names; options may be NULL. */
dlx_status dlx_find_family(const dlx_family_rules **out, const dlx_config_files *f,
                           const dlx_checkpoint_options *options, dlx_error *err);

/* The small files to facts (max_context and max_rows 0) and shape. Reads no weights and no files. */
dlx_status dlx_parse_config(const dlx_family_rules **rules, dlx_model_facts *facts, dlx_model_shape *shape,
                            const dlx_config_files *f, const dlx_checkpoint_options *options, dlx_error *err);

#endif
