/*
 * Configurations to facts: the four tiny checkpoints, whose layouts are the published ones, and copies of them with one
 * key changed at a time. A refusal names the key, what was expected and what was found.
 */
#include "checkpoint_copy.h"

#include "base/sizes.h"
#include "model/checkpoint.h"

static void open_or_fail(dlx_checkpoint *c, const char *folder, const dlx_checkpoint_options *options)
{
    dlx_error err = {0};
    if (dlx_checkpoint_open(c, folder, options, &err) != DLX_OK) fail_msg("%s", err.message);
}

/* ---- facts and shapes ------------------------------------------------------------------------------------------- */

static const struct {
    const char *folder;
    dlx_model_facts facts;
    dlx_model_shape shape;
} known[] = {
    {TINY("llada"),
     {.family = DLX_FAMILY_LLADA,
      .vocab_size = 1472,
      .mask_id = 1416,
      .block_length = 32,
      .bos_id = 1400,
      .eos_id = 1401,
      .pad_id = 1401,
      .num_stop_ids = 2,
      .stop_ids = {1428, 1401}},
     {.hidden = 96,
      .layers = 3,
      .heads = 6,
      .kv_heads = 2,
      .head_dim = 16,
      .intermediate = 192,
      .vocab_size = 1472,
      .max_positions = 128,
      .norm_eps = 1e-5f,
      .rope_theta = 500000}},
    {TINY("dream"),
     {.family = DLX_FAMILY_DREAM,
      .vocab_size = 1344,
      .mask_id = 1323,
      .logits_shift = 1,
      .block_length = 32,
      .bos_id = 1300,
      .eos_id = 1300,
      .pad_id = 1300,
      .num_stop_ids = 2,
      .stop_ids = {1302, 1300}},
     {.hidden = 112,
      .layers = 3,
      .heads = 7,
      .kv_heads = 1,
      .head_dim = 16,
      .intermediate = 200,
      .vocab_size = 1344,
      .max_positions = 160,
      .norm_eps = 1e-6f,
      .rope_theta = 1000000,
      .qkv_bias = true}},
    {TINY("sdar"),
     {.family = DLX_FAMILY_SDAR,
      .vocab_size = 1280,
      .mask_id = 1226,
      .attn_block = 4,
      .block_length = 4,
      .bos_id = 1200,
      .eos_id = 1200,
      .pad_id = 1200,
      .num_stop_ids = 2,
      .stop_ids = {1202, 1200}},
     {.hidden = 128,
      .layers = 2,
      .heads = 6,
      .kv_heads = 2,
      .head_dim = 32,
      .intermediate = 256,
      .vocab_size = 1280,
      .max_positions = 192,
      .norm_eps = 1e-6f,
      .rope_theta = 1000000,
      .qk_norm = true}},
    {TINY("fast_dllm_v2"),
     {.family = DLX_FAMILY_FAST_DLLM_V2,
      .vocab_size = 1408,
      .mask_id = 1372,
      .attn_block = 32,
      .logits_shift = 1,
      .block_length = 32,
      .small_block_size = 8,
      .bos_id = 1350,
      .eos_id = 1352,
      .pad_id = 1350,
      .num_stop_ids = 2,
      .stop_ids = {1352, 1350}},
     {.hidden = 96,
      .layers = 4,
      .heads = 6,
      .kv_heads = 1,
      .head_dim = 16,
      .intermediate = 160,
      .vocab_size = 1408,
      .max_positions = 256,
      .norm_eps = 1e-6f,
      .rope_theta = 1000000,
      .qkv_bias = true,
      .tied = true}},
    {DLX_TEST_DATA "/../../demo/sudoku6-llada",
     {.family = DLX_FAMILY_LLADA,
      .vocab_size = 288,
      .mask_id = 258,
      .block_length = 32,
      .bos_id = 256,
      .eos_id = 257,
      .pad_id = 257,
      .num_stop_ids = 2,
      .stop_ids = {261, 257}},
     {.hidden = 192,
      .layers = 6,
      .heads = 6,
      .kv_heads = 6,
      .head_dim = 32,
      .intermediate = 384,
      .vocab_size = 288,
      .max_positions = 128,
      .norm_eps = 1e-5f,
      .rope_theta = 500000}},
};

#define SAME(field) assert_int_equal(c.field, known[i].field)

static void checkpoints_say_what_they_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(known); i++) {
        dlx_checkpoint c;
        open_or_fail(&c, known[i].folder, NULL);
        SAME(facts.family), SAME(facts.vocab_size), SAME(facts.mask_id), SAME(facts.attn_block);
        SAME(facts.logits_shift), SAME(facts.block_length), SAME(facts.small_block_size);
        SAME(facts.bos_id), SAME(facts.eos_id), SAME(facts.pad_id), SAME(facts.num_stop_ids);
        assert_memory_equal(c.facts.stop_ids, known[i].facts.stop_ids, sizeof c.facts.stop_ids);
        assert_int_equal(c.facts.struct_size, sizeof c.facts);
        SAME(shape.hidden), SAME(shape.layers), SAME(shape.heads), SAME(shape.kv_heads), SAME(shape.head_dim);
        SAME(shape.intermediate), SAME(shape.vocab_size), SAME(shape.max_positions), SAME(shape.qkv_bias);
        SAME(shape.qk_norm), SAME(shape.tied);
        assert_true(c.shape.norm_eps == known[i].shape.norm_eps && c.shape.rope_theta == known[i].shape.rope_theta);
        dlx_checkpoint_close(&c);
    }
}

/* ---- changes that are taken ------------------------------------------------------------------------------------- */

typedef struct edit {
    const char *file, *key, *value;
} edit;

static void apply(const copy *c, const edit *e, size_t n)
{
    for (size_t i = 0; i < n && e[i].file; i++) edit_json(c, e[i].file, e[i].key, e[i].value);
}

static dlx_model_facts facts_with(const char *folder, const edit *e, size_t n, const dlx_checkpoint_options *options)
{
    copy at = copy_checkpoint(folder);
    dlx_checkpoint c;
    apply(&at, e, n);
    open_or_fail(&c, at.folder, options);
    dlx_model_facts facts = c.facts;
    dlx_checkpoint_close(&c);
    remove_copy(&at);
    return facts;
}

#define CONFIG           "config.json"
#define GENERATION       "generation_config.json"
#define TOKENIZER_CONFIG "tokenizer_config.json"
#define FACTS(folder, options, ...)                                                                                    \
    facts_with(folder, (const edit[]){__VA_ARGS__}, DLX_COUNT(((edit[]){__VA_ARGS__})), options)

static void equivalent_configurations_are_taken(void **state)
{
    (void)state;
    static const struct {
        const char *folder;
        edit e[3];
    } cases[] = {
        {TINY("llada"), {{CONFIG, "rope_theta", "500000"}, {CONFIG, "d_model", "96.0"}}},
        {TINY("llada"),
         {{CONFIG, "embedding_size", "null"}, {CONFIG, "mlp_hidden_size", "null"}, {CONFIG, "mlp_ratio", "2"}}},
        {TINY("llada"), {{CONFIG, "alibi", NULL}, {CONFIG, "block_group_size", NULL}, {CONFIG, "clip_qkv", "null"}}},
        {TINY("llada"), {{CONFIG, "rope_theta", "7"}, {CONFIG, "rope_parameters", "{\"rope_theta\": 500000}"}}},
        {TINY("llada"), {{CONFIG, "rope_scaling", "{}"}, {CONFIG, "partial_rotary_factor", "1.0"}}},
        {TINY("llada"), {{CONFIG, "rope_scaling", "{\"rope_type\": \"default\"}"}, {CONFIG, "num_experts", "null"}}},
        {TINY("llada"), {{CONFIG, "use_sliding_window", "false"}, {CONFIG, "sliding_window", "4"}}},
        {TINY("llada"), {{CONFIG, "mask_token_id", NULL}}},
        {TINY("llada"), {{CONFIG, "architectures", NULL}}},
        {TINY("dream"), {{CONFIG, "rope_scaling", "{\"rope_type\": \"default\"}"}}},
        {TINY("dream"),
         {{CONFIG, "rope_theta", NULL},
          {CONFIG, "rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": 1e6}"}}},
        {TINY("dream"), {{CONFIG, "head_dim", "16"}, {CONFIG, "sliding_window", "4096"}}},
        {TINY("dream"), {{CONFIG, "use_sliding_window", "true"}, {CONFIG, "sliding_window", "1000000"}}},
        {TINY("dream"), {{CONFIG, "rope_theta", "7"}, {CONFIG, "rope_parameters", "{\"rope_theta\": 1000000}"}}},
        {TINY("dream"), {{CONFIG, "rope_scaling", "{\"type\": \"dynamic\", \"factor\": 4}"}}},
        {TINY("dream"), {{CONFIG, "rope_parameters", "{\"full_attention\": {\"rope_theta\": 1000000}}"}}},
        {TINY("dream"), {{CONFIG, "mask_token_id", "null"}}},
        {TINY("sdar"), {{CONFIG, "block_size", NULL}, {CONFIG, "attention_bias", NULL}}},
        {TINY("sdar"), {{CONFIG, "mask_token_id", NULL}, {CONFIG, "model_type", "\"renamed\""}}},
        {TINY("fast_dllm_v2"), {{CONFIG, "bd_size", NULL}, {CONFIG, "layer_types", NULL}}},
        {TINY("fast_dllm_v2"), {{CONFIG, "mask_token_id", "1372"}}},
        {TINY("dream"), {{CONFIG, "quantization_config", "{}"}, {CONFIG, "quantization", "null"}}},
        {TINY("llada"), {{CONFIG, "quantization_config", "{\"quant_method\": \"none\"}"}}},
    };
    for (size_t i = 0; i < DLX_COUNT(cases); i++) {
        dlx_model_facts was = facts_with(cases[i].folder, NULL, 0, NULL);
        dlx_model_facts is = facts_with(cases[i].folder, cases[i].e, DLX_COUNT(cases[i].e), NULL);
        assert_memory_equal(&was, &is, offsetof(dlx_model_facts, stop_ids) + sizeof is.stop_ids);
    }
}

static void block_sizes_come_from_the_files_or_the_caller(void **state)
{
    (void)state;
    dlx_checkpoint_options eight = {.block_size = 8};
    dlx_model_facts f = FACTS(TINY("sdar"), NULL, {CONFIG, "block_size", "64"});
    assert_true(f.attn_block == 64 && f.block_length == 64);
    f = FACTS(TINY("sdar"), &eight, {CONFIG, "block_size", "64"});
    assert_true(f.attn_block == 8 && f.block_length == 8);
    f = FACTS(TINY("fast_dllm_v2"), NULL, {CONFIG, "bd_size", "16"});
    assert_true(f.attn_block == 16 && f.block_length == 16 && f.small_block_size == 8);
    f = FACTS(TINY("fast_dllm_v2"), &eight, {CONFIG, "bd_size", "16"});
    assert_true(f.attn_block == 8 && f.block_length == 8);
    f = facts_with(TINY("llada"), NULL, 0, &eight); /* a schedule there, never the attention */
    assert_true(f.attn_block == 0 && f.block_length == 8);
    f = facts_with(TINY("dream"), NULL, 0, &eight);
    assert_true(f.attn_block == 0 && f.block_length == 8);
}

static void the_caller_may_name_the_family(void **state)
{
    (void)state;
    const dlx_checkpoint_options options = {.model_type = "llada"}, alias = {.model_type = "fast_dllm"};
    dlx_model_facts f =
        FACTS(TINY("llada"), &options, {CONFIG, "architectures", "[\"Quantised\"]"}, {CONFIG, "model_type", "\"q\""});
    assert_int_equal(f.family, DLX_FAMILY_LLADA);
    f = FACTS(TINY("fast_dllm_v2"), &alias, {CONFIG, "architectures", "[\"Fork\"]"});
    assert_int_equal(f.family, DLX_FAMILY_FAST_DLLM_V2);
}

static void token_ids_come_from_where_they_are(void **state)
{
    (void)state;
    dlx_model_facts f = FACTS(TINY("sdar"), NULL, {GENERATION, "eos_token_id", "1200"});
    assert_true(f.num_stop_ids == 2 && f.stop_ids[0] == 1202 && f.stop_ids[1] == 1200); /* <|im_end|> by its name */
    f = FACTS(TINY("sdar"), NULL, {GENERATION, "eos_token_id", "[1207, 1202]"});
    assert_true(f.num_stop_ids == 3 && f.stop_ids[0] == 1202 && f.stop_ids[1] == 1207 && f.stop_ids[2] == 1200);
    f = FACTS(TINY("llada"), NULL, {CONFIG, "eos_token_id", NULL}, {GENERATION, "eos_token_id", NULL},
              {CONFIG, "pad_token_id", "-1"});
    assert_true(f.eos_id == 1401 && f.num_stop_ids == 2); /* the tokenizer names it */
    f = FACTS(TINY("llada"), NULL, {TOKENIZER_CONFIG, "bos_token", NULL});
    assert_int_equal(f.bos_id, -1);
    f = FACTS(TINY("llada"), NULL, {GENERATION, "bos_token_id", "7"});
    assert_int_equal(f.bos_id, 7);
    /* The mask of one family is not the mask of another. */
    dlx_checkpoint_options given = {.mask_id = 1311}; /* an id that is given wins over both, which disagree */
    f = FACTS(TINY("dream"), &given, {CONFIG, "mask_token_id", "1310"});
    assert_int_equal(f.mask_id, 1311);
}

/* added_tokens.json, tokenizer_config.json and tokenizer.json each do alone. */
static void any_tokenizer_file_names_the_mask(void **state)
{
    (void)state;
    static const char *const files[] = {"added_tokens.json", TOKENIZER_CONFIG, "tokenizer.json"};
    for (size_t keep = 0; keep < DLX_COUNT(files); keep++) {
        copy at = copy_checkpoint(TINY("fast_dllm_v2"));
        for (size_t i = 0; i < DLX_COUNT(files); i++)
            if (i != keep) remove_file(&at, files[i]);
        dlx_checkpoint c;
        open_or_fail(&c, at.folder, NULL);
        assert_int_equal(c.facts.mask_id, 1372);
        assert_int_equal(c.facts.stop_ids[0], 1352);
        dlx_checkpoint_close(&c);
        remove_file(&at, files[keep]);
        dlx_error err = {0};
        assert_int_equal(dlx_checkpoint_open(&c, at.folder, NULL, &err), DLX_E_FORMAT);
        assert_non_null(strstr(err.message, "'|<MASK>|'"));
        remove_copy(&at);
    }
}

/* ---- changes that are refused ----------------------------------------------------------------------------------- */

static const struct {
    const char *folder;
    dlx_status status;
    const char *parts[3]; /* of the sentence */
    edit e[2];
} refused[] = {
    /* the family */
    {TINY("llada"),
     DLX_E_UNSUPPORTED,
     {"'architectures'", "\"LLaDAMoEModelLM\"", "SDARForCausalLM"},
     {{CONFIG, "architectures", "[\"LLaDAMoEModelLM\"]"}}},
    {TINY("sdar"),
     DLX_E_UNSUPPORTED,
     {"'model_type'", "\"sdar_moe\"", "fast_dllm_v2"},
     {{CONFIG, "architectures", NULL}, {CONFIG, "model_type", "\"sdar_moe\""}}},
    {TINY("sdar"),
     DLX_E_UNSUPPORTED,
     {"'architectures'", "nothing", "llada"},
     {{CONFIG, "architectures", NULL}, {CONFIG, "model_type", NULL}}},
    {TINY("sdar"), DLX_E_UNSUPPORTED, {"'architectures'", "an object", "llada"}, {{CONFIG, "architectures", "[{}]"}}},
    /* LLaDA: missing */
    {TINY("llada"), DLX_E_FORMAT, {"'d_model'", "missing", "an integer"}, {{CONFIG, "d_model", NULL}}},
    {TINY("llada"), DLX_E_FORMAT, {"'n_layers'", "missing", "an integer"}, {{CONFIG, "n_layers", NULL}}},
    {TINY("llada"), DLX_E_FORMAT, {"'n_heads'", "missing", "an integer"}, {{CONFIG, "n_heads", "null"}}},
    {TINY("llada"), DLX_E_FORMAT, {"'vocab_size'", "missing", "an integer"}, {{CONFIG, "vocab_size", NULL}}},
    {TINY("llada"),
     DLX_E_FORMAT,
     {"'max_sequence_length'", "missing", "an integer"},
     {{CONFIG, "max_sequence_length", NULL}}},
    {TINY("llada"), DLX_E_FORMAT, {"'rms_norm_eps'", "missing", "a number"}, {{CONFIG, "rms_norm_eps", NULL}}},
    {TINY("llada"), DLX_E_FORMAT, {"'rope_theta'", "missing", "a number"}, {{CONFIG, "rope_theta", NULL}}},
    {TINY("llada"), DLX_E_FORMAT, {"'weight_tying'", "missing", "true or false"}, {{CONFIG, "weight_tying", NULL}}},
    {TINY("llada"), DLX_E_FORMAT, {"'block_type'", "missing", "llama"}, {{CONFIG, "block_type", NULL}}},
    {TINY("llada"), DLX_E_FORMAT, {"'rope'", "missing", "true"}, {{CONFIG, "rope", NULL}}},
    {TINY("llada"), DLX_E_FORMAT, {"'activation_type'", "missing", "silu"}, {{CONFIG, "activation_type", NULL}}},
    {TINY("llada"), DLX_E_FORMAT, {"'layer_norm_type'", "missing", "rms"}, {{CONFIG, "layer_norm_type", NULL}}},
    {TINY("llada"), DLX_E_FORMAT, {"'include_bias'", "missing", "false"}, {{CONFIG, "include_bias", NULL}}},
    {TINY("llada"),
     DLX_E_FORMAT,
     {"'mlp_ratio'", "missing", "an integer"},
     {{CONFIG, "mlp_ratio", NULL}, {CONFIG, "mlp_hidden_size", NULL}}},
    /* LLaDA: what the arithmetic does not cover */
    {TINY("llada"), DLX_E_UNSUPPORTED, {"'alibi'", "is true", "only false"}, {{CONFIG, "alibi", "true"}}},
    {TINY("llada"), DLX_E_UNSUPPORTED, {"'rope'", "is false", "only true"}, {{CONFIG, "rope", "false"}}},
    {TINY("llada"),
     DLX_E_UNSUPPORTED,
     {"'block_type'", "\"sequential\"", "only llama"},
     {{CONFIG, "block_type", "\"sequential\""}}},
    {TINY("llada"), DLX_E_UNSUPPORTED, {"'block_group_size'", "is 2", "only 1"}, {{CONFIG, "block_group_size", "2"}}},
    {TINY("llada"),
     DLX_E_UNSUPPORTED,
     {"'activation_type'", "\"swiglu\"", "only silu"},
     {{CONFIG, "activation_type", "\"swiglu\""}}},
    {TINY("llada"),
     DLX_E_UNSUPPORTED,
     {"'layer_norm_type'", "\"default\"", "only rms"},
     {{CONFIG, "layer_norm_type", "\"default\""}}},
    {TINY("llada"),
     DLX_E_UNSUPPORTED,
     {"'attention_layer_norm'", "is true", "only false"},
     {{CONFIG, "attention_layer_norm", "true"}}},
    {TINY("llada"), DLX_E_UNSUPPORTED, {"'scale_logits'", "is true", "only false"}, {{CONFIG, "scale_logits", "true"}}},
    {TINY("llada"),
     DLX_E_UNSUPPORTED,
     {"'input_emb_norm'", "is true", "only false"},
     {{CONFIG, "input_emb_norm", "true"}}},
    {TINY("llada"), DLX_E_UNSUPPORTED, {"'include_bias'", "is true", "only false"}, {{CONFIG, "include_bias", "true"}}},
    {TINY("llada"),
     DLX_E_UNSUPPORTED,
     {"'include_qkv_bias'", "is true", "only false"},
     {{CONFIG, "include_qkv_bias", "true"}}},
    {TINY("llada"),
     DLX_E_UNSUPPORTED,
     {"'bias_for_layer_norm'", "is true", "only false"},
     {{CONFIG, "bias_for_layer_norm", "true"}}},
    {TINY("llada"), DLX_E_UNSUPPORTED, {"'clip_qkv'", "is 8", "only null"}, {{CONFIG, "clip_qkv", "8.0"}}},
    {TINY("llada"), DLX_E_UNSUPPORTED, {"'alibi'", "\"yes\"", "only false"}, {{CONFIG, "alibi", "\"yes\""}}},
    {TINY("llada"),
     DLX_E_UNSUPPORTED,
     {"'quantization'", "by MLX with 4 bits", "let the export quantise"},
     {{CONFIG, "quantization", "{\"bits\": 4}"}}},
    {TINY("llada"),
     DLX_E_UNSUPPORTED,
     {"'rope_parameters'", "\"longrope\"", "yarn"},
     {{CONFIG, "rope_parameters", "{\"rope_type\": \"longrope\", \"factor\": 4}"}}},
    {TINY("llada"),
     DLX_E_UNSUPPORTED,
     {"'partial_rotary_factor'", "is 0.5", "only 1"},
     {{CONFIG, "partial_rotary_factor", "0.5"}}},
    {TINY("llada"),
     DLX_E_UNSUPPORTED,
     {"'use_sliding_window'", "sliding_window 4", "only false"},
     {{CONFIG, "use_sliding_window", "true"}, {CONFIG, "sliding_window", "4"}}},
    {TINY("llada"),
     DLX_E_UNSUPPORTED,
     {"'layer_types'", "sliding_attention", "full_attention"},
     {{CONFIG, "layer_types", "[\"full_attention\", \"sliding_attention\"]"}}},
    {TINY("llada"), DLX_E_UNSUPPORTED, {"'num_experts'", "is 8", "only null"}, {{CONFIG, "num_experts", "8"}}},
    /* LLaDA: contradictions and ranges */
    {TINY("llada"), DLX_E_FORMAT, {"'n_kv_heads'", "is 4", "divisor of n_heads, 6"}, {{CONFIG, "n_kv_heads", "4"}}},
    {TINY("llada"),
     DLX_E_FORMAT,
     {"'n_kv_heads'", "is 2", "1 is expected"},
     {{CONFIG, "multi_query_attention", "true"}}},
    {TINY("llada"),
     DLX_E_FORMAT,
     {"'n_kv_heads'", "is 2", "6 is expected"},
     {{CONFIG, "multi_query_attention", "false"}}},
    {TINY("llada"),
     DLX_E_FORMAT,
     {"'multi_query_attention'", "is 1", "true or false"},
     {{CONFIG, "multi_query_attention", "1"}}},
    {TINY("llada"), DLX_E_FORMAT, {"'d_model'", "is 96", "multiple of n_heads, 5"}, {{CONFIG, "n_heads", "5"}}},
    {TINY("llada"), DLX_E_UNSUPPORTED, {"'n_heads'", "3 elements", "even"}, {{CONFIG, "n_heads", "32"}}},
    {TINY("llada"), DLX_E_FORMAT, {"'embedding_size'", "is 1471", "1472"}, {{CONFIG, "embedding_size", "1471"}}},
    {TINY("llada"), DLX_E_FORMAT, {"'mask_token_id'", "is 1472", "0 to 1471"}, {{CONFIG, "mask_token_id", "1472"}}},
    {TINY("llada"), DLX_E_FORMAT, {"'eos_token_id'", "is 99999", "1471"}, {{CONFIG, "eos_token_id", "99999"}}},
    {TINY("llada"),
     DLX_E_FORMAT,
     {"token 1401 ('<|endoftext|>')", "token 1416", "--mask-id"},
     {{CONFIG, "mask_token_id", "1401"}}},
    {TINY("llada"), DLX_E_FORMAT, {"token 1416", "both the mask", "end"}, {{CONFIG, "eos_token_id", "1416"}}},
    {TINY("llada"), DLX_E_FORMAT, {"'n_layers'", "is 0", "1 to"}, {{CONFIG, "n_layers", "0"}}},
    {TINY("llada"), DLX_E_FORMAT, {"'n_layers'", "is 2000000", "1 to"}, {{CONFIG, "n_layers", "2000000"}}},
    {TINY("llada"), DLX_E_FORMAT, {"'d_model'", "is 96.5", "an integer"}, {{CONFIG, "d_model", "96.5"}}},
    {TINY("llada"), DLX_E_FORMAT, {"'d_model'", "is \"96\"", "an integer"}, {{CONFIG, "d_model", "\"96\""}}},
    {TINY("llada"),
     DLX_E_FORMAT,
     {"'d_model'", "is 9223372036854775807", "an integer"},
     {{CONFIG, "d_model", "9223372036854775807"}}},
    {TINY("llada"), DLX_E_FORMAT, {"'d_model'", "is -1e+300", "an integer"}, {{CONFIG, "d_model", "-1e300"}}},
    {TINY("llada"), DLX_E_FORMAT, {"'rope_theta'", "is 0", "from 1"}, {{CONFIG, "rope_theta", "0"}}},
    {TINY("llada"),
     DLX_E_FORMAT,
     {"'rms_norm_eps'", "is \"1e-5\"", "a number"},
     {{CONFIG, "rms_norm_eps", "\"1e-5\""}}},
    {TINY("llada"),
     DLX_E_FORMAT,
     {"'weight_tying'", "is \"no\"", "true or false"},
     {{CONFIG, "weight_tying", "\"no\""}}},
    /* Qwen's keys */
    {TINY("dream"), DLX_E_FORMAT, {"'hidden_size'", "missing", "an integer"}, {{CONFIG, "hidden_size", NULL}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'num_hidden_layers'", "missing", "an integer"},
     {{CONFIG, "num_hidden_layers", NULL}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'num_attention_heads'", "missing", "an integer"},
     {{CONFIG, "num_attention_heads", NULL}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'num_key_value_heads'", "missing", "an integer"},
     {{CONFIG, "num_key_value_heads", NULL}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'intermediate_size'", "missing", "an integer"},
     {{CONFIG, "intermediate_size", NULL}}},
    {TINY("dream"), DLX_E_FORMAT, {"'vocab_size'", "missing", "an integer"}, {{CONFIG, "vocab_size", NULL}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'max_position_embeddings'", "missing", "an integer"},
     {{CONFIG, "max_position_embeddings", NULL}}},
    {TINY("dream"), DLX_E_FORMAT, {"'rms_norm_eps'", "missing", "a number"}, {{CONFIG, "rms_norm_eps", NULL}}},
    {TINY("dream"), DLX_E_FORMAT, {"'rope_theta'", "missing", "a number"}, {{CONFIG, "rope_theta", NULL}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'rope_parameters.rope_theta'", "is 0.5", "1 to 1e+12"},
     {{CONFIG, "rope_theta", NULL}, {CONFIG, "rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": 0.5}"}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'rope_parameters.rope_theta'", "1e+13", "1 to 1e+12"},
     {{CONFIG, "rope_theta", NULL}, {CONFIG, "rope_parameters", "{\"rope_theta\": 1e13, \"rope_type\": \"default\"}"}}},
    {TINY("llada"), DLX_E_FORMAT, {"'mlp_hidden_size'", "is 0", "from 1"}, {{CONFIG, "mlp_hidden_size", "0"}}},
    {TINY("sdar"), DLX_E_FORMAT, {"'head_dim'", "missing", "an integer"}, {{CONFIG, "head_dim", NULL}}},
    {TINY("sdar"), DLX_E_FORMAT, {"'head_dim'", "is 1", "from 2"}, {{CONFIG, "head_dim", "1"}}},
    {TINY("sdar"), DLX_E_FORMAT, {"q_proj.weight", "[192,128]", "makes it [12,128]"}, {{CONFIG, "head_dim", "2"}}},
    {TINY("sdar"), DLX_E_UNSUPPORTED, {"33 elements", "even", "num_attention_heads"}, {{CONFIG, "head_dim", "33"}}},
    {TINY("sdar"), DLX_E_FORMAT, {"'block_size'", "is 0", "1 to"}, {{CONFIG, "block_size", "0"}}},
    {TINY("sdar"), DLX_E_FORMAT, {"'block_size'", "is \"4\"", "1 to"}, {{CONFIG, "block_size", "\"4\""}}},
    {TINY("sdar"),
     DLX_E_UNSUPPORTED,
     {"'attention_bias'", "is true", "only false"},
     {{CONFIG, "attention_bias", "true"}}},
    {TINY("sdar"), DLX_E_UNSUPPORTED, {"'num_experts'", "is 128", "only null"}, {{CONFIG, "num_experts", "128"}}},
    {TINY("sdar"),
     DLX_E_UNSUPPORTED,
     {"'moe_intermediate_size'", "is 768", "only null"},
     {{CONFIG, "moe_intermediate_size", "768"}}},
    {TINY("dream"), DLX_E_UNSUPPORTED, {"'hidden_act'", "\"gelu\"", "only silu"}, {{CONFIG, "hidden_act", "\"gelu\""}}},
    {TINY("dream"),
     DLX_E_UNSUPPORTED,
     {"'rope_scaling'", "\"longrope\"", "default"},
     {{CONFIG, "rope_scaling", "{\"type\": \"longrope\", \"factor\": 4}"}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'rope_scaling.factor'", "is nothing", "1 to 1e+06"},
     {{CONFIG, "rope_scaling", "{\"type\": \"yarn\"}"}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'rope_scaling.high_freq_factor'", "is 1", "more than low_freq_factor"},
     {{CONFIG, "rope_scaling",
       "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 1}"}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'rope_parameters.partial_rotary_factor'", "is 0.5", "expected 1"},
     {{CONFIG, "rope_parameters", "{\"partial_rotary_factor\": 0.5}"}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'rope_scaling' and 'rope_parameters'", "different things", "remove"},
     {{CONFIG, "rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": 5}"},
      {CONFIG, "rope_scaling", "{\"rope_type\": \"linear\", \"factor\": 2}"}}},
    {TINY("dream"),
     DLX_E_UNSUPPORTED,
     {"'rope_scaling'", "type nothing", "only default"},
     {{CONFIG, "rope_scaling", "{\"factor\": 4}"}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'rope_parameters.factor'", "is nothing", "1 to 1e+06"},
     {{CONFIG, "rope_parameters", "{\"rope_type\": \"linear\"}"}}},
    {TINY("dream"),
     DLX_E_UNSUPPORTED,
     {"'use_sliding_window'", "is true", "40"},
     {{CONFIG, "use_sliding_window", "true"}, {CONFIG, "sliding_window", "40"}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'sliding_window'", "missing", "an integer"},
     {{CONFIG, "use_sliding_window", "true"}, {CONFIG, "sliding_window", NULL}}},
    {TINY("fast_dllm_v2"),
     DLX_E_UNSUPPORTED,
     {"'layer_types'", "\"sliding_attention\"", "layer 1"},
     {{CONFIG, "layer_types", "[\"full_attention\", \"sliding_attention\"]"}}},
    {TINY("fast_dllm_v2"), DLX_E_FORMAT, {"'layer_types'", "is 3", "an array"}, {{CONFIG, "layer_types", "3"}}},
    {TINY("dream"),
     DLX_E_UNSUPPORTED,
     {"'quantization_config'", "by an unnamed method", "let the export quantise"},
     {{CONFIG, "quantization_config", "{\"bits\": null}"}}},
    {TINY("sdar"),
     DLX_E_UNSUPPORTED,
     {"'quantization_config'", "by GPTQ with 8 bits", "float32"},
     {{CONFIG, "quantization_config", "{\"quant_method\": \"gptq\", \"bits\": 8}"}}},
    {TINY("sdar"),
     DLX_E_UNSUPPORTED,
     {"'quantization_config'", "by AWQ", "float32"},
     {{CONFIG, "quantization_config", "{\"quant_method\": \"awq\"}"}}},
    {TINY("sdar"),
     DLX_E_UNSUPPORTED,
     {"'quantization_config'", "by bitsandbytes", "float32"},
     {{CONFIG, "quantization_config", "{\"load_in_4bit\": true}"}}},
    {TINY("llada"),
     DLX_E_UNSUPPORTED,
     {"'quantization_config'", "by compressed-tensors", "float32"},
     {{CONFIG, "quantization_config", "{\"quant_method\": \"compressed-tensors\"}"}}},
    {TINY("fast_dllm_v2"),
     DLX_E_UNSUPPORTED,
     {"'quantization_config'", "by FP8", "float32"},
     {{CONFIG, "quantization_config", "{\"quant_method\": \"fp8\"}"}}},
    {TINY("fast_dllm_v2"),
     DLX_E_UNSUPPORTED,
     {"'quantization_config'", "by new-method", "float32"},
     {{CONFIG, "quantization_config", "{\"quant_method\": \"new-method\"}"}}},
    /* the mask, which two files name */
    {TINY("sdar"),
     DLX_E_FORMAT,
     {"token 1225 ('</think>')", "'<|MASK|>', token 1226", "--mask-id"},
     {{CONFIG, "mask_token_id", "1225"}}},
    {TINY("llada"),
     DLX_E_FORMAT,
     {"the mask is token 5, the tokenizer", "'<|mdm_mask|>'", "--mask-id"},
     {{CONFIG, "mask_token_id", "5"}}},
    {TINY("dream"),
     DLX_E_UNSUPPORTED,
     {"'partial_rotary_factor'", "is 0.5", "only 1"},
     {{CONFIG, "partial_rotary_factor", "0.5"}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'num_key_value_heads'", "is 2", "num_attention_heads, 7"},
     {{CONFIG, "num_key_value_heads", "2"}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'hidden_size'", "is 112", "num_attention_heads, 5"},
     {{CONFIG, "num_attention_heads", "5"}}},
    {TINY("dream"),
     DLX_E_FORMAT,
     {"'tie_word_embeddings'", "is 0", "true or false"},
     {{CONFIG, "tie_word_embeddings", "0"}}},
    {TINY("dream"), DLX_E_FORMAT, {"'mask_token_id'", "is 151666", "0 to 1343"}, {{CONFIG, "mask_token_id", "151666"}}},
    {TINY("fast_dllm_v2"), DLX_E_FORMAT, {"'bd_size'", "is -32", "1 to"}, {{CONFIG, "bd_size", "-32"}}},
    {TINY("fast_dllm_v2"),
     DLX_E_FORMAT,
     {"added_tokens.json", "'|<MASK>|'", "is 99999"},
     {{"added_tokens.json", "|<MASK>|", "99999"}}},
    {TINY("fast_dllm_v2"),
     DLX_E_FORMAT,
     {"'|<MASK>|'", "id 1372", "id 1371"},
     {{"added_tokens.json", "|<MASK>|", "1371"}}},
    {TINY("sdar"),
     DLX_E_FORMAT,
     {GENERATION, "'eos_token_id'", "\"1202\""},
     {{GENERATION, "eos_token_id", "[\"1202\"]"}}},
    {TINY("sdar"),
     DLX_E_LIMIT,
     {"more than 16 tokens", "end", "answer"},
     {{GENERATION, "eos_token_id", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]"}}},
};

static void a_refusal_names_the_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(refused); i++) {
        copy at = copy_checkpoint(refused[i].folder);
        dlx_checkpoint c;
        dlx_error err = {0};
        apply(&at, refused[i].e, DLX_COUNT(refused[i].e));
        dlx_status s = dlx_checkpoint_open(&c, at.folder, NULL, &err);
        if (s != refused[i].status) fail_msg("case %zu, key %s: status %d, %s", i, refused[i].e[0].key, s, err.message);
        for (size_t k = 0; k < DLX_COUNT(refused[i].parts); k++)
            if (!strstr(err.message, refused[i].parts[k]))
                fail_msg("case %zu: '%s' is not in: %s", i, refused[i].parts[k], err.message);
        assert_true(!c.folder && !c.files && !c.layer);
        remove_copy(&at);
    }
}

static void expect_error(const copy *at, const dlx_checkpoint_options *options, dlx_status status, const char *part)
{
    dlx_checkpoint c;
    dlx_error err = {0};
    assert_int_equal(dlx_checkpoint_open(&c, at->folder, options, &err), status);
    if (!strstr(err.message, part)) fail_msg("'%s' is not in: %s", part, err.message);
}

static void rotary_scaling_means_the_same_in_every_family(void **state)
{
    (void)state;
    static const char *const folders[] = {TINY("llada"), TINY("dream"), TINY("sdar"), TINY("fast_dllm_v2")};
    for (size_t i = 0; i < DLX_COUNT(folders); i++) {
        copy at = copy_checkpoint(folders[i]);
        dlx_checkpoint c;
        edit_json(&at, CONFIG, "rope_scaling", "{\"type\": \"linear\", \"factor\": 3}");
        open_or_fail(&c, at.folder, NULL);
        assert_true(c.shape.rope_scaling.kind == DLX_ROPE_LINEAR && c.shape.rope_scaling.factor == 3);
        dlx_checkpoint_close(&c);
        remove_copy(&at);
    }
}

/* The tensors have two heads of keys, so what the configuration makes of null shows in the refusal. */
static void null_kv_heads_follow_multi_query_attention(void **state)
{
    (void)state;
    copy at = copy_checkpoint(TINY("llada"));
    edit_json(&at, CONFIG, "n_kv_heads", "null");
    expect_error(&at, NULL, DLX_E_FORMAT, "k_proj.weight' in '");
    expect_error(&at, NULL, DLX_E_FORMAT, "has shape [32,96]; config.json makes it [96,96]");
    edit_json(&at, CONFIG, "multi_query_attention", "false");
    expect_error(&at, NULL, DLX_E_FORMAT, "has shape [32,96]; config.json makes it [96,96]");
    edit_json(&at, CONFIG, "multi_query_attention", "true");
    expect_error(&at, NULL, DLX_E_FORMAT, "has shape [32,96]; config.json makes it [16,96]");
    remove_copy(&at);
}

static void files_that_are_not_what_they_should_be(void **state)
{
    (void)state;
    copy at = copy_checkpoint(TINY("sdar"));
    expect_error(&at, &(dlx_checkpoint_options){.model_type = "gpt2"}, DLX_E_INVALID,
                 "'gpt2' is not known; expected llada, dream, sdar or fast_dllm_v2");
    expect_error(&at, &(dlx_checkpoint_options){.block_size = -1}, DLX_E_INVALID, "block size -1");
    expect_error(&at, &(dlx_checkpoint_options){.block_size = 1 << 20}, DLX_E_INVALID, "block size 1048576");
    expect_error(&at, &(dlx_checkpoint_options){.model_type = "llada"}, DLX_E_FORMAT, "'block_type' is missing");
    write_text(&at, GENERATION, "[1]");
    expect_error(&at, NULL, DLX_E_FORMAT, "holds an array; expected an object");
    write_text(&at, GENERATION, "{\"eos_token_id\": 1,");
    expect_error(&at, NULL, DLX_E_FORMAT, "generation_config.json' is not valid JSON: line 1");
    remove_file(&at, GENERATION);
    write_text(&at, CONFIG, "{\"hidden_size\": 1, \"hidden_size\": 2}");
    expect_error(&at, NULL, DLX_E_FORMAT, "config.json' is not valid JSON");
    write_text(&at, CONFIG, "");
    expect_error(&at, NULL, DLX_E_FORMAT, "config.json' is not valid JSON");
    remove_file(&at, CONFIG);
    expect_error(&at, NULL, DLX_E_IO, "has no config.json; a Hugging Face checkpoint folder is expected");
    remove_copy(&at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoints_say_what_they_are),
        cmocka_unit_test(equivalent_configurations_are_taken),
        cmocka_unit_test(block_sizes_come_from_the_files_or_the_caller),
        cmocka_unit_test(the_caller_may_name_the_family),
        cmocka_unit_test(token_ids_come_from_where_they_are),
        cmocka_unit_test(any_tokenizer_file_names_the_mask),
        cmocka_unit_test(a_refusal_names_the_key),
        cmocka_unit_test(rotary_scaling_means_the_same_in_every_family),
        cmocka_unit_test(null_kv_heads_follow_multi_query_attention),
        cmocka_unit_test(files_that_are_not_what_they_should_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
