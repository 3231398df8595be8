/*
 * LLaDA (GSAI-ML/LLaDA-8B-Base, -Instruct, LLaDA-1.5): a Llama-like decoder with the configuration keys and tensor
 * names of OLMo. Full attention, logits unshifted. ff_proj is the gate; "ff_out" is the name of both the MLP's last
 * matrix and the LM head. Re-uploads that went through MLX carry Llama's tensor names instead.
 */
#include "model/family.h"

#include "base/sizes.h"

static const dlx_tensor_names olmo_names = {
    .embed = "model.transformer.wte",
    .norm = "model.transformer.ln_f",
    .lm_head = "model.transformer.ff_out",
    .layer = "model.transformer.blocks.",
    .attn_norm = "attn_norm",
    .mlp_norm = "ff_norm",
    .q = "q_proj",
    .k = "k_proj",
    .v = "v_proj",
    .o = "attn_out",
    .gate = "ff_proj",
    .up = "up_proj",
    .down = "ff_out",
};

/* Keys whose default in configuration_llada.py is another value are required. */
static const dlx_config_rule rules[] = {
    {"block_type", "llama", true},
    {"activation_type", "silu", true},
    {"layer_norm_type", "rms", true},
    {"rope", "true", true},
    {"include_bias", "false", true},
    {"layer_norm_with_affine", "true", false},
    {"block_group_size", "1", false},
    {"alibi", "false", false},
    {"include_qkv_bias", "false", false},
    {"bias_for_layer_norm", "false", false},
    {"attention_layer_norm", "false", false},
    {"input_emb_norm", "false", false},
    {"norm_after", "false", false},
    {"scale_logits", "false", false},
    {"clip_qkv", "null", false},
};

/* n_kv_heads, or where it is null what multi_query_attention makes of it. */
static dlx_status read_kv_heads(dlx_model_shape *shape, const dlx_config_files *f, dlx_error *err)
{
    bool given = dlx_config_value(f, "multi_query_attention") != NULL, one = false;
    DLX_TRY(dlx_config_bool_if(f, "multi_query_attention", &one, err));
    int32_t implied = one ? 1 : shape->heads;
    shape->kv_heads = implied;
    DLX_TRY(dlx_config_int_if(f, "n_kv_heads", 1, DLX_MOST_HEADS, &shape->kv_heads, err));
    if (given && shape->kv_heads != implied)
        return dlx_fail(err, DLX_E_FORMAT,
                        "'%s/config.json': key 'n_kv_heads' is %d; with multi_query_attention %s, %d is expected",
                        f->folder, shape->kv_heads, one ? "true" : "false", implied);
    return DLX_OK;
}

static dlx_status read_intermediate(dlx_model_shape *shape, const dlx_config_files *f, dlx_error *err)
{
    if (dlx_config_value(f, "mlp_hidden_size"))
        return dlx_config_int(f, "mlp_hidden_size", 1, DLX_MOST_HIDDEN, &shape->intermediate, err);
    int32_t ratio;
    DLX_TRY(dlx_config_int(f, "mlp_ratio", 1, DLX_MOST_HIDDEN / shape->hidden, &ratio, err));
    shape->intermediate = ratio * shape->hidden;
    return DLX_OK;
}

static dlx_status read_config(dlx_model_shape *shape, dlx_model_facts *facts, const dlx_config_files *f,
                              int32_t block_size, dlx_error *err)
{
    double eps;
    DLX_TRY(dlx_config_check(f, rules, DLX_COUNT(rules), err));
    DLX_TRY(dlx_config_int(f, "d_model", 1, DLX_MOST_HIDDEN, &shape->hidden, err));
    DLX_TRY(dlx_config_int(f, "n_layers", 1, DLX_MOST_LAYERS, &shape->layers, err));
    DLX_TRY(dlx_config_int(f, "n_heads", 1, DLX_MOST_HEADS, &shape->heads, err));
    DLX_TRY(read_kv_heads(shape, f, err));
    DLX_TRY(read_intermediate(shape, f, err));
    DLX_TRY(dlx_config_int(f, "max_sequence_length", 1, DLX_MOST_POSITIONS, &shape->max_positions, err));
    DLX_TRY(dlx_config_real(f, "rms_norm_eps", 1e-12, 0.1, &eps, err));
    DLX_TRY(dlx_read_shared_keys(shape, f, err));
    if (!dlx_config_value(f, "weight_tying"))
        return dlx_fail(err, DLX_E_FORMAT, "'%s/config.json': key 'weight_tying' is missing; expected true or false",
                        f->folder);
    DLX_TRY(dlx_config_bool_if(f, "weight_tying", &shape->tied, err));
    /* The table has embedding_size rows, padding included; without that key vocab_size. */
    int32_t vocab;
    DLX_TRY(dlx_config_int(f, "vocab_size", 1, DLX_MOST_VOCAB, &vocab, err));
    shape->vocab_size = vocab;
    DLX_TRY(dlx_config_int_if(f, "embedding_size", vocab, DLX_MOST_VOCAB, &shape->vocab_size, err));
    shape->norm_eps = (float)eps;
    if (shape->hidden % shape->heads)
        return dlx_fail(err, DLX_E_FORMAT, "'%s/config.json': key 'd_model' is %d; expected a multiple of n_heads, %d",
                        f->folder, shape->hidden, shape->heads);
    shape->head_dim = shape->hidden / shape->heads;
    facts->attn_block = 0;
    facts->logits_shift = 0;
    facts->block_length = block_size ? block_size : 32;
    return dlx_check_heads(shape, f, "n_heads", "n_kv_heads", err);
}

const dlx_family_rules dlx_llada_rules = {
    .family = DLX_FAMILY_LLADA,
    .architecture = "LLaDAModelLM",
    .model_type = "llada",
    .mask_tokens = (const char *const[]){"<|mdm_mask|>", NULL},
    .stop_tokens = (const char *const[]){"<|eot_id|>", NULL},
    .names = (const dlx_tensor_names *const[]){&olmo_names, &dlx_qwen_names, NULL},
    .read = read_config,
};
