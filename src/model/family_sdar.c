/*
 * SDAR (JetLM/SDAR-*-Chat, TraDo): Qwen3 with block-causal attention of width block_size on absolute positions; logits
 * unshifted; per-head norms of q and k; head_dim as the config says, not hidden / heads. Repositories named -b8, -b16,
 * ... may still say 4, so the caller can override the width. The mask token has two names in the published files and
 * one id: config.json's id comes first.
 */
#include "model/family.h"

#include "base/sizes.h"

static const dlx_config_rule rules[] = {
    {"attention_bias", "false", false},
};

static dlx_status read_config(dlx_model_shape *shape, dlx_model_facts *facts, const dlx_config_files *f,
                              int32_t block_size, dlx_error *err)
{
    int32_t block = 4;
    DLX_TRY(dlx_config_check(f, rules, DLX_COUNT(rules), err));
    DLX_TRY(dlx_config_int_if(f, "block_size", 1, DLX_MOST_BLOCK, &block, err));
    shape->qk_norm = true;
    facts->attn_block = block_size ? block_size : block;
    facts->logits_shift = 0;
    facts->block_length = facts->attn_block;
    return dlx_qwen_read(shape, f, true, err);
}

const dlx_family_rules dlx_sdar_rules = {
    .family = DLX_FAMILY_SDAR,
    .architecture = "SDARForCausalLM",
    .model_type = "sdar",
    .mask_tokens = (const char *const[]){"<|MASK|>", "<MASK>", NULL},
    .stop_tokens = (const char *const[]){"<|im_end|>", NULL},
    .names = (const dlx_tensor_names *const[]){&dlx_qwen_names, NULL},
    .read = read_config,
};
