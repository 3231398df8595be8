/* Sizes and small JSON files of the four families, as their published checkpoints have them. */
#include <string.h>

#include "make_checkpoint.h"

#include "base/sizes.h"

const char *const family_names[FAMILIES] = {"llada", "dream", "sdar", "fast_dllm_v2"};

/* The tiny ones have the vocabularies of tests/data/checkpoints. */
static const shape shapes[] = {
    {LLADA, "8b", 4096, 32, 32, 32, 128, 12288, 126464, 4096, 0, false, 126336, 126080, 126081, 126348},
    {LLADA, "tiny", 96, 3, 6, 2, 16, 192, 1472, 128, 0, false, 1416, 1400, 1401, 1428},
    {DREAM, "7b", 3584, 28, 28, 4, 128, 18944, 152064, 131072, 0, false, 151666, 151643, 151643, 151645},
    {DREAM, "tiny", 112, 3, 7, 1, 16, 200, 1344, 160, 0, false, 1323, 1300, 1300, 1302},
    {SDAR, "4b", 2560, 36, 32, 8, 128, 9728, 151936, 32768, 4, false, 151669, 151643, 151643, 151645},
    {SDAR, "1.7b", 2048, 28, 16, 8, 128, 6144, 151936, 32768, 4, false, 151669, 151643, 151643, 151645},
    {SDAR, "8b", 4096, 36, 32, 8, 128, 12288, 151936, 32768, 4, false, 151669, 151643, 151643, 151645},
    {SDAR, "tiny", 128, 2, 6, 2, 32, 256, 1280, 192, 4, false, 1226, 1200, 1200, 1202},
    {FAST_DLLM_V2, "1.5b", 1536, 28, 12, 2, 128, 8960, 151936, 32768, 32, true, 151665, 151643, 151643, 151645},
    {FAST_DLLM_V2, "7b", 3584, 28, 28, 4, 128, 18944, 152064, 32768, 32, false, 151665, 151643, 151643, 151645},
    {FAST_DLLM_V2, "tiny", 96, 4, 6, 1, 16, 160, 1408, 256, 32, true, 1372, 1350, 1350, 1352},
};

const shape *find_shape(family f, const char *size)
{
    for (size_t i = 0; i < DLX_COUNT(shapes); i++)
        if (shapes[i].family == f && (!strcmp(size, "published") || !strcmp(size, shapes[i].size))) return &shapes[i];
    return NULL;
}

static const char *boolean(bool b)
{
    return b ? "true" : "false";
}

static const char *torch_dtype(dlx_dtype t)
{
    return t == DLX_F32 ? "float32" : t == DLX_F16 ? "float16" : "bfloat16";
}

static void put_llada(dlx_text_buffer *t, const shape *s, dlx_dtype dtype)
{
    dlx_put(t,
            "{\n  \"activation_type\": \"silu\",\n  \"alibi\": false,\n  \"alibi_bias_max\": 8.0,\n"
            "  \"architectures\": [\n    \"LLaDAModelLM\"\n  ],\n  \"attention_dropout\": 0.0,\n"
            "  \"attention_layer_norm\": false,\n  \"attention_layer_norm_with_affine\": true,\n"
            "  \"auto_map\": {\n    \"AutoConfig\": \"configuration_llada.LLaDAConfig\",\n"
            "    \"AutoModelForCausalLM\": \"modeling_llada.LLaDAModelLM\",\n"
            "    \"AutoModel\": \"modeling_llada.LLaDAModelLM\"\n  },\n  \"bias_for_layer_norm\": false,\n"
            "  \"block_group_size\": 1,\n  \"block_type\": \"llama\",\n  \"d_model\": %d,\n",
            s->hidden);
    dlx_put(t,
            "  \"embedding_dropout\": 0.0,\n  \"embedding_size\": %d,\n  \"eos_token_id\": %d,\n"
            "  \"flash_attention\": false,\n  \"include_bias\": false,\n  \"include_qkv_bias\": false,\n"
            "  \"init_cutoff_factor\": null,\n  \"init_device\": \"meta\",\n  \"init_fn\": \"mitchell\",\n"
            "  \"init_std\": 0.02,\n  \"input_emb_norm\": false,\n  \"layer_norm_type\": \"rms\",\n"
            "  \"layer_norm_with_affine\": true,\n  \"mask_token_id\": %d,\n  \"max_sequence_length\": %d,\n",
            s->vocab, s->eos_id, s->mask_id, s->positions);
    dlx_put(t,
            "  \"mlp_hidden_size\": %d,\n  \"mlp_ratio\": 4,\n  \"model_type\": \"llada\",\n"
            "  \"multi_query_attention\": null,\n  \"n_heads\": %d,\n  \"n_kv_heads\": %d,\n  \"n_layers\": %d,\n"
            "  \"pad_token_id\": %d,\n  \"precision\": \"amp_bf16\",\n  \"residual_dropout\": 0.0,\n"
            "  \"rms_norm_eps\": 1e-05,\n  \"rope\": true,\n  \"rope_full_precision\": true,\n",
            s->intermediate, s->heads, s->kv_heads, s->layers, s->eos_id);
    dlx_put(t,
            "  \"rope_theta\": 500000.0,\n  \"scale_logits\": false,\n  \"torch_dtype\": \"%s\",\n"
            "  \"transformers_version\": \"4.46.3\",\n  \"use_cache\": false,\n  \"vocab_size\": %d,\n"
            "  \"weight_tying\": %s\n}\n",
            torch_dtype(dtype), s->vocab, boolean(s->tied));
}

/* What the three Qwen-like families have in common; the last key has no comma behind it. */
static void put_qwen_shape(dlx_text_buffer *t, const shape *s, dlx_dtype dtype)
{
    dlx_put(t,
            "  \"attention_dropout\": 0.0,\n  \"bos_token_id\": %d,\n  \"hidden_act\": \"silu\",\n"
            "  \"hidden_size\": %d,\n  \"initializer_range\": 0.02,\n  \"intermediate_size\": %d,\n"
            "  \"max_position_embeddings\": %d,\n  \"num_attention_heads\": %d,\n  \"num_hidden_layers\": %d,\n"
            "  \"num_key_value_heads\": %d,\n  \"rms_norm_eps\": 1e-06,\n  \"rope_scaling\": null,\n",
            s->bos_id, s->hidden, s->intermediate, s->positions, s->heads, s->layers, s->kv_heads);
    dlx_put(t,
            "  \"sliding_window\": null,\n  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"%s\",\n"
            "  \"use_sliding_window\": false,\n  \"vocab_size\": %d\n}\n",
            boolean(s->tied), torch_dtype(dtype), s->vocab);
}

static void put_dream(dlx_text_buffer *t, const shape *s, dlx_dtype dtype)
{
    dlx_put(t,
            "{\n  \"architectures\": [\n    \"DreamModel\"\n  ],\n  \"auto_map\": {\n"
            "    \"AutoConfig\": \"configuration_dream.DreamConfig\",\n"
            "    \"AutoModel\": \"modeling_dream.DreamModel\"\n  },\n  \"eos_token_id\": %d,\n"
            "  \"mask_token_id\": %d,\n  \"max_window_layers\": %d,\n  \"model_type\": \"Dream\",\n"
            "  \"pad_token_id\": %d,\n  \"rope_theta\": 1000000.0,\n"
            "  \"transformers_version\": \"4.46.2\",\n  \"use_cache\": true,\n",
            s->eos_id, s->mask_id, s->layers, s->eos_id);
    put_qwen_shape(t, s, dtype);
}

static void put_sdar(dlx_text_buffer *t, const shape *s, dlx_dtype dtype)
{
    dlx_put(t,
            "{\n  \"architectures\": [\n    \"SDARForCausalLM\"\n  ],\n  \"attention_bias\": false,\n"
            "  \"attn_implementation\": \"flex_attention\",\n  \"auto_map\": {\n"
            "    \"AutoConfig\": \"configuration_sdar.SDARConfig\",\n"
            "    \"AutoModel\": \"modeling_sdar.SDARModel\",\n"
            "    \"AutoModelForCausalLM\": \"modeling_sdar.SDARForCausalLM\"\n  },\n  \"block_size\": %d,\n"
            "  \"debug\": false,\n  \"eos_token_id\": %d,\n  \"ep_size\": 1,\n  \"fuse_cross_entropy\": true,\n",
            s->block, s->eos_id);
    dlx_put(t,
            "  \"head_dim\": %d,\n  \"mask_token_id\": %d,\n  \"max_window_layers\": %d,\n"
            "  \"micro_forward\": false,\n  \"model_type\": \"sdar\",\n  \"rope_theta\": 1000000,\n"
            "  \"skip_checkpoint\": false,\n  \"transformers_version\": \"4.52.4\",\n  \"use_cache\": false,\n"
            "  \"use_deepep\": false,\n",
            s->head_dim, s->mask_id, s->layers);
    put_qwen_shape(t, s, dtype);
}

static void put_fast_dllm_v2(dlx_text_buffer *t, const shape *s, dlx_dtype dtype)
{
    dlx_put(t,
            "{\n  \"architectures\": [\n    \"Fast_dLLM_QwenForCausalLM\"\n  ],\n  \"auto_map\": {\n"
            "    \"AutoConfig\": \"configuration.Fast_dLLM_QwenConfig\",\n"
            "    \"AutoModel\": \"modeling.Fast_dLLM_QwenModel\",\n"
            "    \"AutoModelForCausalLM\": \"modeling.Fast_dLLM_QwenForCausalLM\"\n  },\n"
            "  \"bd_size\": %d,\n  \"eos_token_id\": %d,\n  \"layer_types\": [",
            s->block, s->turn_id);
    for (int i = 0; i < s->layers; i++) dlx_put(t, "%s\n    \"full_attention\"", i ? "," : "");
    dlx_put(t,
            "\n  ],\n  \"max_window_layers\": 21,\n  \"model_type\": \"Fast_dLLM_Qwen\",\n  \"pad_token_id\": %d,\n"
            "  \"rope_theta\": 1000000.0,\n  \"transformers_version\": \"4.53.1\",\n  \"use_cache\": true,\n",
            s->turn_id);
    put_qwen_shape(t, s, dtype);
}

void put_config(dlx_text_buffer *t, const shape *s, dlx_dtype dtype)
{
    switch (s->family) {
    case LLADA: put_llada(t, s, dtype); break;
    case DREAM: put_dream(t, s, dtype); break;
    case SDAR: put_sdar(t, s, dtype); break;
    default: put_fast_dllm_v2(t, s, dtype); break;
    }
}

void put_generation_config(dlx_text_buffer *t, const shape *s)
{
    switch (s->family) {
    case LLADA:
        dlx_put(t,
                "{\n  \"_from_model_config\": true,\n  \"bos_token_id\": %d,\n  \"eos_token_id\": %d,\n"
                "  \"transformers_version\": \"4.46.3\"\n}\n",
                s->bos_id, s->eos_id);
        break;
    case DREAM:
        dlx_put(t,
                "{\n  \"_from_model_config\": true,\n  \"alg\": \"origin\",\n  \"alg_temp\": null,\n"
                "  \"bos_token_id\": %d,\n  \"eos_token_id\": %d,\n  \"eps\": 0.001,\n  \"mask_token_id\": null,\n"
                "  \"output_history\": false,\n  \"pad_token_id\": %d,\n  \"steps\": 512,\n  \"temperature\": 0.0,\n"
                "  \"top_k\": null,\n  \"top_p\": null,\n  \"transformers_version\": \"4.46.2\"\n}\n",
                s->bos_id, s->eos_id, s->eos_id);
        break;
    case SDAR:
        dlx_put(t,
                "{\n  \"bos_token_id\": %d,\n  \"do_sample\": true,\n  \"eos_token_id\": [\n    %d,\n    %d\n  ],\n"
                "  \"pad_token_id\": %d,\n  \"temperature\": 0.6,\n  \"top_k\": 20,\n  \"top_p\": 0.95,\n"
                "  \"transformers_version\": \"4.51.0\"\n}\n",
                s->bos_id, s->turn_id, s->eos_id, s->eos_id);
        break;
    default:
        dlx_put(t,
                "{\n  \"bos_token_id\": %d,\n  \"do_sample\": true,\n  \"eos_token_id\": [\n    %d,\n    %d\n  ],\n"
                "  \"pad_token_id\": %d,\n  \"repetition_penalty\": 1.1,\n  \"temperature\": 0.7,\n"
                "  \"top_k\": 20,\n  \"top_p\": 0.8,\n  \"transformers_version\": \"4.53.1\"\n}\n",
                s->bos_id, s->turn_id, s->eos_id, s->eos_id);
        break;
    }
}

void put_added_tokens(dlx_text_buffer *t, const shape *s)
{
    dlx_put(t, "{\n  \"<|endoftext|>\": %d,\n  \"<|im_end|>\": %d,\n  \"|<MASK>|\": %d\n}\n", s->eos_id, s->turn_id,
            s->mask_id);
}
