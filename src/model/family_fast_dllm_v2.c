/*
 * Fast-dLLM v2 (Efficient-Large-Model/Fast_dLLM_v2_*): Qwen2.5 with block-causal attention of width bd_size on absolute
 * positions, decoded in sub-blocks of 8; row i-1 of the logits predicts position i. config.json names no mask id: it is
 * that of the added token |<MASK>|.
 */
#include "model/family.h"

static dlx_status read_config(dlx_model_shape *shape, dlx_model_facts *facts, const dlx_config_files *f,
                              int32_t block_size, dlx_error *err)
{
    int32_t block = 32;
    DLX_TRY(dlx_config_int_if(f, "bd_size", 1, DLX_MOST_BLOCK, &block, err));
    shape->qkv_bias = true; /* unless a converted checkpoint says otherwise */
    DLX_TRY(dlx_config_bool_if(f, "attention_bias", &shape->qkv_bias, err));
    facts->attn_block = block_size ? block_size : block;
    facts->logits_shift = 1;
    facts->block_length = facts->attn_block;
    facts->small_block_size = 8;
    return dlx_qwen_read(shape, f, false, err);
}

const dlx_family_rules dlx_fast_dllm_v2_rules = {
    .family = DLX_FAMILY_FAST_DLLM_V2,
    .architecture = "Fast_dLLM_QwenForCausalLM",
    .model_type = "Fast_dLLM_Qwen",
    .mask_tokens = (const char *const[]){"|<MASK>|", NULL},
    .stop_tokens = (const char *const[]){"<|im_end|>", NULL},
    .names = (const dlx_tensor_names *const[]){&dlx_qwen_names, NULL},
    .read = read_config,
};
