/*
 * A Hugging Face checkpoint folder of one of the four families: facts from config.json, generation_config.json and the
 * tokenizer files, and every weight as a checked place in the safetensors, which stay open.
 *
 * A family is one small file (family_*.c): which config keys, which tensor names, which switches, which defaults.
 */
#ifndef DLX_MODEL_CHECKPOINT_H
#define DLX_MODEL_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "diffulex_edge/decode.h"

#include "base/arena.h"
#include "base/status.h"
#include "format/safetensors.h"
#include "graph/graph.h"
#include "model/rope.h"

typedef struct dlx_model_shape {
    int32_t hidden, layers, heads, kv_heads, head_dim, intermediate;
    int32_t vocab_size;    /* rows of the embedding table */
    int32_t max_positions; /* as the config says */
    float norm_eps;
    double rope_theta;
    dlx_rope_scaling rope_scaling;
    bool qkv_bias;
    bool qk_norm; /* per-head RMSNorm of q and k before RoPE */
    bool tied;    /* lm_head is the embedding table */
} dlx_model_shape;

/* Weights; NULL where the family (or this checkpoint) has none. */
typedef struct dlx_layer_weights {
    const dlx_st_tensor *attn_norm, *mlp_norm;
    const dlx_st_tensor *q, *k, *v, *o;
    const dlx_st_tensor *q_bias, *k_bias, *v_bias;
    const dlx_st_tensor *q_norm, *k_norm;
    const dlx_st_tensor *gate, *up, *down;
} dlx_layer_weights;

typedef struct dlx_checkpoint {
    dlx_arena arena;
    char *folder;          /* resolved */
    dlx_model_facts facts; /* max_context and max_rows are set by the caller of dlx_build_graph */
    dlx_model_shape shape;
    const dlx_st_tensor *embed, *norm, *lm_head; /* lm_head == embed when tied */
    dlx_layer_weights *layer;                    /* [shape.layers] */
    dlx_safetensors *files;
    size_t n_files;
} dlx_checkpoint;

typedef struct dlx_checkpoint_options {
    const char *model_type; /* family name that overrides config.json, or NULL */
    int32_t block_size;     /* overrides the family's block length, 0: none */
    int32_t mask_id;        /* overrides what config.json and the tokenizer say, 0: none */
} dlx_checkpoint_options;

/*
 * `path`: what dlx_resolve_checkpoint takes: a folder, or "org/name" found in the Hugging Face cache ($HF_HUB_CACHE,
 * $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub;
 * models--org--name/{refs/main,snapshots/REV}). Nothing is downloaded: when it is absent the message gives the `hf
 * download` command. Refused, with the key or tensor, what was expected and what was found: config values the
 * arithmetic does not cover (alibi, rope_scaling, sliding windows, other activations, MoE, ...), a missing, extra or
 * misshapen tensor, an unsupported dtype.
 */
dlx_status dlx_checkpoint_open(dlx_checkpoint *out, const char *path, const dlx_checkpoint_options *options,
                               dlx_error *err);
void dlx_checkpoint_close(dlx_checkpoint *c);
/* DLX_E_IO when a file of weights has changed since it was opened. */
dlx_status dlx_checkpoint_unchanged(const dlx_checkpoint *c, dlx_error *err);
/* What work on the checkpoint came to: where it found fault with contents that somebody wrote over meanwhile, *err says
 * that instead. */
dlx_status dlx_checkpoint_reason(const dlx_checkpoint *c, dlx_status found, dlx_error *err);

/* "org/name" or folder -> folder; malloc'd. */
dlx_status dlx_resolve_checkpoint(char **folder, const char *path, dlx_error *err);
/* The folder that holds the cache, malloc'd, as the environment says; it need not exist. DLX_E_INVALID: no variable
 * says where it is. */
dlx_status dlx_cache_folder(char **out, dlx_error *err);

/* The form of the cache of keys and values. */
typedef enum dlx_kv {
    DLX_KV_CALLER,     /* its rows come in, layer by layer, and new rows go out: layout A */
    DLX_KV_EXPLICIT,   /* comes in and goes out as one tensor, with masks and matrices: the six inputs */
    DLX_KV_STATE,      /* stays inside the program */
    DLX_KV_FIXED,      /* all of it comes in, with a mask, and new rows go out; no shape varies */
    DLX_KV_FIXED_F16,  /* the same in float16 */
    DLX_KV_FIXED_STATE /* stays inside the program, in float16; no shape varies */
} dlx_kv;

/*
 * Builds the forward graph into the empty graph g, high-level operators only, constants as views. Layout A:
 *   inputs   tokens [T] I64, positions [T] I64, k_0 [P,K,D], v_0 [P,K,D], ... (F32; T, P dynamic)
 *   outputs  logits [T,V], k_0 [T,K,D], v_0 [T,K,D], ...   (keys after RoPE)
 * T <= max_rows, P <= max_context. State:
 *   inputs   tokens [1,T] I64, positions [T] I64, and the states k_0 [S,K,D], v_0, ...; S is max_context
 *   outputs  logits [1,T,V], and the states
 * A row sees the rows stored before the first position, and all rows of the call. Explicit (build_explicit.c), B being
 * max_rows and M max_context, nothing varies:
 *   inputs   input_ids [1,B], positions [1,B] I64, kv_cache [L,2,1,K,M,D], attention_mask [L,1,1,B,M+B],
 *            insert_matrix [L,1,1,M,B], keep_mask [L,1,1,M,1]
 *   outputs  logits [1,B,V], kv_cache [L,2,1,K,M,D]
 * Fixed, T being max_rows and P max_context, nothing varies:
 *   inputs   tokens [T], positions [T] I64, mask [T,P+T] F32, which is added to scores, k_0 [P,K,D], v_0, ... (F32 or
 *            F16)
 *   outputs  logits [T,V], k_0 [T,K,D], v_0 [T,K,D], ... (of the caches' type)
 * Fixed state: the same without caches, which are states k_0 [P,K,D], v_0, ... (F16), and with
 *   input    stored [T] F32: 1 for rows that go into the states, at their positions, 0 for those that leave them alone
 * Constants are named like "layers.0.q.weight", "layers.0.q.bias", "layers.0.attn_norm.weight", "embed.weight",
 * "lm_head.weight", "norm.weight", "rope.cos", "rope.sin" ([max_context, D]; sin with the sign folded in: [-sin, +sin];
 * angles formed in float32 as the published code does). RoPE tables are allocated in g->arena. When tied, LINEAR and
 * EMBEDDING share one constant value.
 */
dlx_status dlx_build_graph(dlx_graph *g, const dlx_checkpoint *c, dlx_kv kv, int32_t max_rows, int32_t max_context,
                           dlx_error *err);

/* The linears of a decoder layer, in the order in which they run. */
enum dlx_layer_linear {
    DLX_LAYER_Q,
    DLX_LAYER_K,
    DLX_LAYER_V,
    DLX_LAYER_O,
    DLX_LAYER_GATE,
    DLX_LAYER_UP,
    DLX_LAYER_DOWN,
    DLX_LAYER_LINEARS
};

/*
 * Parts of that graph, for whoever runs a checkpoint layer by layer. The same operators over the same constants, so the
 * numbers are those of the whole. A call may have more rows than there are positions: those of several sequences.
 *
 * Layer `layer`:
 *   inputs   hidden [T,d] F32, positions [T] I64, k_N [P,K,D], v_N [P,K,D]
 *   outputs  hidden [T,d], k_N [T,K,D], v_N [T,K,D]; then input and output of each linear, in the order above
 */
dlx_status dlx_build_layer(dlx_graph *g, const dlx_checkpoint *c, int32_t layer, int32_t max_rows, int32_t max_context,
                           dlx_error *err);
/*
 * The last norm, and logits first .. first + n - 1 of the head, which may be larger than all layers together:
 *   inputs   hidden [T,d] F32
 *   outputs  logits [T,n], normed hidden [T,d]
 */
dlx_status dlx_build_head(dlx_graph *g, const dlx_checkpoint *c, int32_t max_rows, int64_t first, int64_t n,
                          dlx_error *err);

#endif
