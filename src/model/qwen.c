/*
 * What Dream, SDAR and Fast-dLLM v2 share: the keys and tensor names of Qwen2 and Qwen3 as transformers writes them,
 * and the values that change the arithmetic and are refused.
 */
#include "model/family.h"

#include "base/sizes.h"

const dlx_tensor_names dlx_qwen_names = {
    .embed = "model.embed_tokens",
    .norm = "model.norm",
    .lm_head = "lm_head",
    .layer = "model.layers.",
    .attn_norm = "input_layernorm",
    .mlp_norm = "post_attention_layernorm",
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .o = "self_attn.o_proj",
    .q_norm = "self_attn.q_norm",
    .k_norm = "self_attn.k_norm",
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
};

static const dlx_config_rule rules[] = {{"hidden_act", "silu", false}};

static dlx_status read_head_dim(dlx_model_shape *shape, const dlx_config_files *f, bool own, dlx_error *err)
{
    if (own || dlx_config_value(f, "head_dim"))
        return dlx_config_int(f, "head_dim", 2, DLX_MOST_HEAD_DIM, &shape->head_dim, err);
    if (shape->hidden % shape->heads)
        return dlx_fail(err, DLX_E_FORMAT,
                        "'%s/config.json': key 'hidden_size' is %d; expected a multiple of num_attention_heads, %d",
                        f->folder, shape->hidden, shape->heads);
    shape->head_dim = shape->hidden / shape->heads;
    return DLX_OK;
}

dlx_status dlx_qwen_read(dlx_model_shape *shape, const dlx_config_files *f, bool own_head_dim, dlx_error *err)
{
    double eps;
    DLX_TRY(dlx_config_check(f, rules, DLX_COUNT(rules), err));
    DLX_TRY(dlx_config_int(f, "hidden_size", 1, DLX_MOST_HIDDEN, &shape->hidden, err));
    DLX_TRY(dlx_config_int(f, "num_hidden_layers", 1, DLX_MOST_LAYERS, &shape->layers, err));
    DLX_TRY(dlx_config_int(f, "num_attention_heads", 1, DLX_MOST_HEADS, &shape->heads, err));
    DLX_TRY(dlx_config_int(f, "num_key_value_heads", 1, DLX_MOST_HEADS, &shape->kv_heads, err));
    DLX_TRY(read_head_dim(shape, f, own_head_dim, err));
    DLX_TRY(dlx_config_int(f, "intermediate_size", 1, DLX_MOST_HIDDEN, &shape->intermediate, err));
    DLX_TRY(dlx_config_int(f, "vocab_size", 1, DLX_MOST_VOCAB, &shape->vocab_size, err));
    DLX_TRY(dlx_config_int(f, "max_position_embeddings", 1, DLX_MOST_POSITIONS, &shape->max_positions, err));
    DLX_TRY(dlx_config_real(f, "rms_norm_eps", 1e-12, 0.1, &eps, err));
    DLX_TRY(dlx_read_shared_keys(shape, f, err));
    DLX_TRY(dlx_config_bool_if(f, "tie_word_embeddings", &shape->tied, err));
    shape->norm_eps = (float)eps;
    return dlx_check_heads(shape, f, "num_attention_heads", "num_key_value_heads", err);
}
