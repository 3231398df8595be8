/*
 * Dream (Dream-org/Dream-v0-*-7B, Dream-Coder, apple/DiffuCoder-7B-*): Qwen2.5 with full attention; row i-1 of the
 * logits predicts position i. q, k and v have biases; checkpoints converted
 * from Llama-like models have none and say "attention_bias": false. The mask id comes from config.json: the one in
 * generation_config.json is null. DiffuCoder also ends its answers with <|dlm_pad|>.
 */
#include "model/family.h"

static dlx_status read_config(dlx_model_shape *shape, dlx_model_facts *facts, const dlx_config_files *f,
                              int32_t block_size, dlx_error *err)
{
    shape->qkv_bias = true; /* unless a converted checkpoint says otherwise */
    DLX_TRY(dlx_config_bool_if(f, "attention_bias", &shape->qkv_bias, err));
    facts->attn_block = 0;
    facts->logits_shift = 1;
    facts->block_length = block_size ? block_size : 32;
    return dlx_qwen_read(shape, f, false, err);
}

const dlx_family_rules dlx_dream_rules = {
    .family = DLX_FAMILY_DREAM,
    .architecture = "DreamModel",
    .model_type = "Dream",
    .mask_tokens = (const char *const[]){"<|mask|>", NULL},
    .stop_tokens = (const char *const[]){"<|im_end|>", "<|dlm_pad|>", NULL},
    .names = (const dlx_tensor_names *const[]){&dlx_qwen_names, NULL},
    .read = read_config,
};
