/*
 * Options: names, values of every kind and their refusals, which algorithm has which, and what settings become of them.
 */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sizes.h"
#include "diffusion/settings.h"
#include "test_diffusion_run.h"

static dlx_decode_options *o;
static dlx_error err;

static int open_options(void **state)
{
    (void)state;
    memset(&err, 0, sizeof err);
    return dlx_decode_options_create(&o, NULL) == DLX_OK ? 0 : -1;
}

static int close_options(void **state)
{
    (void)state;
    dlx_decode_options_free(o);
    dlx_decode_options_free(NULL);
    return 0;
}

static void set(const char *name, const char *value)
{
    if (dlx_decode_options_set(o, name, value, &err) != DLX_OK) fail_msg("%s = %s: %s", name, value, err.message);
}

static void refuses(const char *name, const char *value, const char *part)
{
    if (dlx_decode_options_set(o, name, value, &err) != DLX_E_INVALID || !strstr(err.message, part) ||
        !strstr(err.message, name))
        fail_msg("%s = %s: \"%s\"", name, value, err.message);
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0},
                {"1", 1},
                {"0.9", 0.9},
                {".5", 0.5},
                {"5e-1", 0.5},
                {"0.85", 0.85},
                {"1E0", 1},
                {"+0.25", 0.25},
                {"-0", 0},
                {"100e-3", 0.1},
                {"0.1", 0.1},
                {"1e-400", 0},
                {"0.0000001", 1e-7},
                {"9e-1", 0.9},
                {"0.30000000000000004", 0.30000000000000004},
                {"0.123456789012345678901234567890", 0.12345678901234568}};
    static const char *const bad[] = {"x", "1.2.3", "0.5x", " 0.5", "0.5 ",  "1e",   "e5",  "-",
                                      ".", "1,5",   "nan",  "inf",  "1e400", "-0.1", "1.1", "0x1"};
    (void)state;
    /* A program's locale must not matter; where there is none with a comma the test still runs. */
    setlocale(LC_ALL, "de_DE.UTF-8");
    for (size_t i = 0; i < DLX_COUNT(good); i++) {
        set("threshold", good[i].text);
        assert_true(o->value[DLX_OPT_THRESHOLD].f == good[i].value);
    }
    for (size_t i = 0; i < DLX_COUNT(bad); i++) refuses("threshold", bad[i], "a number from 0 to 1");
    setlocale(LC_ALL, "C");
    set("seed", "9007199254740992");
    assert_true(o->value[DLX_OPT_SEED].i == 9007199254740992);
    refuses("seed", "9007199254740993", "a whole number from 0 to 9007199254740992");
    refuses("seed", "99999999999999999999", "a whole number");
    refuses("steps", "1.5", "a whole number from 1");
    refuses("steps", "0", "got '0'");
    refuses("steps", "--1", "got '--1'");
}

static void test_words_and_bools(void **state)
{
    static const char *const yes[] = {"true", "True", "1", "yes", "ON"}, *const no[] = {"false", "0", "no", "Off"};
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(yes); i++) {
        set("dual", yes[i]);
        assert_int_equal(o->value[DLX_OPT_DUAL].i, 1);
    }
    for (size_t i = 0; i < DLX_COUNT(no); i++) {
        set("dual", no[i]);
        assert_int_equal(o->value[DLX_OPT_DUAL].i, 0);
    }
    refuses("dual", "maybe", "true or false");
    set("alg", "ENTROPY");
    assert_int_equal(o->value[DLX_OPT_ALG].i, DLX_ALG_ENTROPY);
    refuses("alg", "entrop", "origin|maskgit_plus|topk_margin|entropy|confidence_threshold");
    refuses("algorithm", "sdar", "sdar.generate");
    set("preset", "fast");
    assert_int_equal(o->value[DLX_OPT_PRESET].i, DLX_PRESET_FAST);
}

/* Each name of a published script, the option it sets, and what it sets it to. */
static void test_published_names(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        dlx_option_slot slot;
        int64_t i;
    } cases[] = {
        {"gen_length", "12", DLX_OPT_MAX_NEW_TOKENS, 12},
        {"block_size", "8", DLX_OPT_BLOCK_LENGTH, 8},
        {"remasking_strategy", "low_confidence_static", DLX_OPT_STRATEGY, DLX_STRATEGY_STATIC},
        {"remasking-strategy", "entropy_bounded", DLX_OPT_STRATEGY, DLX_STRATEGY_ENTROPY_BOUNDED},
        {"dual_cache", "true", DLX_OPT_DUAL, 1},
        {"use_block_cache", "true", DLX_OPT_BLOCK_CACHE, 1},
    };
    for (size_t i = 0; i < DLX_COUNT(cases); i++) {
        set(cases[i].name, cases[i].value);
        assert_int_equal(o->value[cases[i].slot].i, cases[i].i);
    }
    set("stop_token", "9");
    assert_true(o->n_stop_ids == 1 && o->stop_ids[0] == 9);
    set("confidence_threshold", "0.5");
    assert_true(o->value[DLX_OPT_THRESHOLD].f == 0.5);
}

static void test_ids(void **state)
{
    (void)state;
    set("stop_ids", "5");
    assert_int_equal(o->n_stop_ids, 1);
    set("stop_ids", "[1, 2,3]");
    assert_true(o->n_stop_ids == 3 && o->stop_ids[2] == 3);
    set("stop_id", "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15");
    assert_int_equal(o->n_stop_ids, DLX_MAX_STOP_IDS);
    static const char *const bad[] = {
        "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", "-1", "1,", ",1", "1 2", "x", "4294967296", "1;2", "1,none"};
    for (size_t i = 0; i < DLX_COUNT(bad); i++) refuses("stop_ids", bad[i], "at most 16 token ids");
    assert_int_equal(o->n_stop_ids, DLX_MAX_STOP_IDS);
    set("stop_ids", "none");
    assert_true(o->n_stop_ids == 0 && o->value[DLX_OPT_STOP_IDS].given);
}

static void test_names(void **state)
{
    (void)state;
    set("block-length", "16");
    assert_int_equal(o->value[DLX_OPT_BLOCK_LENGTH].i, 16);
    set("block_size", "8"); /* the same option by another name */
    assert_int_equal(o->value[DLX_OPT_BLOCK_LENGTH].i, 8);
    set("block_length", "null");
    assert_null(o->value[DLX_OPT_BLOCK_LENGTH].given);
    set("block_length", "16");
    assert_int_equal(dlx_decode_options_set(o, "block_length", NULL, &err), DLX_OK);
    assert_null(o->value[DLX_OPT_BLOCK_LENGTH].given);
    /* A variable that is not set, in a script, is no value. */
    static const char *const kinds[] = {"block_length", "temperature", "stop_ids", "algorithm", "published"};
    set("block_length", "16");
    for (size_t i = 0; i < DLX_COUNT(kinds); i++) {
        assert_int_equal(dlx_decode_options_set(o, kinds[i], "", &err), DLX_E_INVALID);
        if (!strstr(err.message, "got ''")) fail_msg("%s", err.message);
    }
    assert_int_equal(o->value[DLX_OPT_BLOCK_LENGTH].i, 16);
    static const char *const unknown[] = {"block", "block__length", "Block_Length", "", "block_length_"};
    for (size_t i = 0; i < DLX_COUNT(unknown); i++) {
        assert_int_equal(dlx_decode_options_set(o, unknown[i], "1", &err), DLX_E_INVALID);
        assert_non_null(strstr(err.message, "there is no decode option"));
    }
    assert_int_equal(dlx_decode_options_set(NULL, "steps", "1", &err), DLX_E_INVALID);
    assert_int_equal(dlx_decode_options_set(o, NULL, "1", NULL), DLX_E_INVALID);
    assert_int_equal(dlx_decode_options_create(NULL, &err), DLX_E_INVALID);
}

static dlx_status set_number(const char *name, double value)
{
    char text[64];
    dlx_decode_options *options;
    assert_int_equal(dlx_decode_options_create(&options, &err), DLX_OK);
    snprintf(text, sizeof text, "%.17g", value);
    dlx_status s = dlx_decode_options_set(options, name, text, &err);
    dlx_decode_options_free(options);
    return s;
}

/* Numbers are taken from the lower bound that is told to the upper one, and no further. */
static void check_bounds(const dlx_option_info *info)
{
    bool number = !strcmp(info->kind, "int") || !strcmp(info->kind, "float");
    assert_true(number ? info->min < info->max : info->min == 0 && info->max == 0);
    if (!number) return;
    assert_int_equal(set_number(info->name, info->min), DLX_OK);
    assert_int_equal(set_number(info->name, info->max), DLX_OK);
    assert_int_equal(set_number(info->name, info->min - 1), DLX_E_INVALID);
    assert_int_equal(set_number(info->name, info->max + 2), DLX_E_INVALID);
}

/* Every option is taken by the algorithms that the table names, and refused by the others. */
static void test_who_has_what(void **state)
{
    static const struct {
        const char *name;
        int32_t attn_block, shift;
    } algorithms[] = {{"llada.generate", 0, 0},
                      {"llada.generate_fast", 0, 0},
                      {"dream.diffusion_generate", 0, 1},
                      {"dream.generate_blocks", 0, 1},
                      {"sdar.generate", 4, 0},
                      {"fast_dllm_v2.generate", 32, 1},
                      {"ar.generate", 4, 0}};
    static const int32_t prompt[] = {20, 21, 22};
    dlx_option_info info = {.struct_size = sizeof info};
    size_t n = dlx_decode_option_count(), pairs = 0;
    (void)state;
    assert_false(dlx_decode_option_info(n, &info));
    for (size_t i = 0; i < n; i++) {
        assert_true(dlx_decode_option_info(i, &info));
        assert_true(*info.name && *info.help && *info.algorithms);
        check_bounds(&info);
        for (size_t k = 0; k < DLX_COUNT(algorithms); k++) {
            scripted_model m;
            dlx_settings s;
            const char *value = !strcmp(info.kind, "int")     ? "4"
                                : !strcmp(info.kind, "float") ? "0.5"
                                : !strcmp(info.kind, "bool")  ? "false"
                                : !strcmp(info.kind, "ids")   ? "7"
                                                              : NULL;
            if (!strcmp(info.name, "n_cached")) value = "0";
            if (!value) continue;
            model_init(&m, algorithms[k].attn_block, algorithms[k].shift, 1);
            dlx_decode_options *mine;
            assert_int_equal(dlx_decode_options_create(&mine, &err), DLX_OK);
            assert_int_equal(dlx_decode_options_set(mine, "algorithm", algorithms[k].name, &err), DLX_OK);
            assert_int_equal(dlx_decode_options_set(mine, "max_new_tokens", "4", &err), DLX_OK);
            if (dlx_decode_options_set(mine, info.name, value, &err) != DLX_OK) fail_msg("%s", err.message);
            char list[300], word[100];
            snprintf(list, sizeof list, " %s,", info.algorithms);
            snprintf(word, sizeof word, " %s,", algorithms[k].name);
            bool has = strstr(list, word) || !strcmp(info.algorithms, "all");
            dlx_status status = dlx_settings_resolve(&s, mine, &m.facts, prompt, 3, &err);
            if (has != (status == DLX_OK))
                fail_msg("%s, %s: %s", algorithms[k].name, info.name, status == DLX_OK ? "taken" : err.message);
            if (!has) assert_non_null(strstr(err.message, "does not have it"));
            dlx_decode_options_free(mine);
            pairs++;
        }
    }
    print_message("%zu options, %zu pairs\n", n, pairs);
}

static const char *resolve(dlx_settings *s, int32_t attn_block, int32_t shift, const char *options)
{
    static const int32_t prompt[] = {20, 21, 22};
    static char message[DLX_ERROR_MESSAGE_SIZE];
    scripted_model m;
    model_init(&m, attn_block, shift, 1);
    dlx_decode_options *mine = run_options(options);
    dlx_status status = dlx_settings_resolve(s, mine, &m.facts, prompt, 3, &err);
    snprintf(message, sizeof message, "%s", status == DLX_OK ? "" : err.message);
    dlx_decode_options_free(mine);
    return message;
}

static void resolves(dlx_settings *s, int32_t attn_block, int32_t shift, const char *options)
{
    const char *message = resolve(s, attn_block, shift, options);
    if (*message) fail_msg("%s: %s", options, message);
}

/* ---- values in force ---- */

/* "name=value ..." of all options that have one, second names left out. */
static const char *in_force(int32_t attn_block, int32_t shift, const char *options)
{
    static const int32_t prompt[] = {20, 21, 22};
    static char all[2000];
    scripted_model m;
    dlx_option_info info = {.struct_size = sizeof info};
    model_init(&m, attn_block, shift, 1);
    dlx_decode_options *mine = run_options(options), *again;
    assert_int_equal(dlx_decode_options_create(&again, &err), DLX_OK);
    all[0] = '\0';
    for (size_t i = 0; dlx_decode_option_info(i, &info); i++) {
        char value[256];
        if (dlx_decode_option_in_force(&m.facts, mine, prompt, 3, info.name, value, sizeof value, &err) != DLX_OK)
            fail_msg("%s: %s", info.name, err.message);
        if (info.same_as) continue;
        size_t n = strlen(all);
        if (*value) snprintf(all + n, sizeof all - n, "%s%s=%s", n ? " " : "", info.name, value);
        if (dlx_decode_options_set(again, info.name, *value ? value : NULL, &err) != DLX_OK)
            fail_msg("%s", err.message);
    }
    /* Given back as options, the values stand for themselves. */
    for (size_t i = 0; dlx_decode_option_info(i, &info); i++) {
        char first[256], second[256];
        if (!strcmp(info.name, "preset") || !strcmp(info.name, "factor")) continue;
        assert_int_equal(dlx_decode_option_in_force(&m.facts, mine, prompt, 3, info.name, first, sizeof first, &err),
                         DLX_OK);
        if (dlx_decode_option_in_force(&m.facts, again, prompt, 3, info.name, second, sizeof second, &err) != DLX_OK)
            fail_msg("%s: %s", info.name, err.message);
        assert_string_equal(first, second);
    }
    dlx_decode_options_free(mine);
    dlx_decode_options_free(again);
    return all;
}

static void values_in_force(void **state)
{
    (void)state;
    assert_string_equal(in_force(0, 0, "max_new_tokens=8 block_length=4"),
                        "algorithm=llada.generate published=false max_new_tokens=8 block_length=4 steps=8 "
                        "temperature=0 seed=0 stop_ids=7,11 cfg_scale=0 remasking=low_confidence logits_eos_inf=false "
                        "confidence_eos_eot_inf=false early_stop=true n_cached=0");
    assert_string_equal(
        in_force(0, 0, "max_new_tokens=8 block_length=4 preset=fast seed=7 max_passes=3"),
        "algorithm=llada.generate_fast preset=fast published=false max_new_tokens=8 block_length=4 steps=6 "
        "max_passes=3 temperature=0 seed=7 stop_ids=7,11 threshold=0.8 remasking=low_confidence logits_eos_inf=false "
        "confidence_eos_eot_inf=false early_stop=true cache=dual refresh_interval=0 n_cached=0");
    assert_string_equal(
        in_force(0, 1, "max_new_tokens=8 algorithm=dream.diffusion_generate temperature=0.1"),
        "algorithm=dream.diffusion_generate published=true max_new_tokens=8 steps=8 temperature=0.1 top_k=0 top_p=1 "
        "seed=0 stop_ids=7,11 threshold=0.9 early_stop=false alg=entropy alg_temp=0 eps=0.001 n_cached=0");
    assert_string_equal(in_force(4, 0, "max_new_tokens=8 stop_ids=none top_p=0.3 temperature=1e-7"),
                        "algorithm=sdar.generate published=false max_new_tokens=8 block_length=4 denoising_steps=4 "
                        "temperature=1e-07 top_k=0 top_p=0.3 seed=0 stop_ids=none threshold=0.85 eb_threshold=0.35 "
                        "strategy=low_confidence_dynamic fuse_commit=true n_cached=0");
    assert_string_equal(
        in_force(32, 1, "max_new_tokens=8"),
        "algorithm=fast_dllm_v2.generate published=false max_new_tokens=8 block_length=32 small_block_size=8 "
        "temperature=0 top_p=0.95 seed=0 stop_ids=7,11 threshold=0.9 block_cache=false prefill_exact=true n_cached=0");
    assert_string_equal(in_force(4, 0, "max_new_tokens=8 algorithm=ar.generate repetition_penalty=1.1"),
                        "algorithm=ar.generate published=true max_new_tokens=8 temperature=0 top_k=0 top_p=1 seed=0 "
                        "stop_ids=7,11 n_cached=0 repetition_penalty=1.1");
    dlx_option_info info = {.struct_size = sizeof info};
    for (size_t i = 0; dlx_decode_option_info(i, &info); i++)
        assert_int_equal(info.same_as != NULL, strstr(info.help, " name for ") != NULL);
    /* It fails as a decode would. */
    static const int32_t prompt[] = {20, 21, 22};
    char value[8] = "x";
    scripted_model m;
    model_init(&m, 4, 0, 1);
    dlx_decode_options *mine = run_options("algorithm=llada.generate");
    assert_int_equal(dlx_decode_option_in_force(&m.facts, mine, prompt, 3, "seed", value, sizeof value, &err),
                     DLX_E_INVALID);
    assert_non_null(strstr(err.message, "llada.generate is for full attention"));
    assert_string_equal(value, "");
    dlx_decode_options_free(mine);
}

/* The threshold that a preset comes to for weights that were rounded to so many bits. */
static const char *preset_threshold(int32_t attn_block, int32_t shift, int32_t bits, const char *options)
{
    static const int32_t prompt[] = {20, 21, 22};
    static char value[256];
    scripted_model m;
    model_init(&m, attn_block, shift, 1);
    m.facts.rounded_bits = bits;
    dlx_decode_options *mine = run_options(options);
    if (dlx_decode_option_in_force(&m.facts, mine, prompt, 3, "threshold", value, sizeof value, &err) != DLX_OK)
        fail_msg("%s: %s", options, err.message);
    dlx_decode_options_free(mine);
    return value;
}

static void thresholds_of_presets(void **state)
{
    static const int32_t fine[] = {0, 8, 16, 32};
    (void)state;
    for (size_t i = 0; i < DLX_COUNT(fine); i++) {
        assert_string_equal(preset_threshold(0, 0, fine[i], "preset=balanced"), "0.9");
        assert_string_equal(preset_threshold(0, 0, fine[i], "preset=fast"), "0.8");
        assert_string_equal(preset_threshold(4, 0, fine[i], "preset=balanced"), "0.9");
        assert_string_equal(preset_threshold(4, 0, fine[i], "preset=fast"), "0.85");
    }
    assert_string_equal(preset_threshold(0, 0, 4, "preset=balanced"), "0.96");
    assert_string_equal(preset_threshold(0, 0, 4, "preset=fast"), "0.9");
    assert_string_equal(preset_threshold(4, 0, 4, "preset=balanced"), "0.96");
    assert_string_equal(preset_threshold(4, 0, 4, "preset=fast"), "0.9");
    /* Families that nothing is measured of keep float32's. */
    assert_string_equal(preset_threshold(0, 1, 4, "preset=fast"), "0.8");
    assert_string_equal(preset_threshold(32, 1, 4, "preset=balanced"), "0.9");
    /* What a caller gives wins, and without a preset the published value stands. */
    assert_string_equal(preset_threshold(4, 0, 4, "preset=balanced threshold=0.7"), "0.7");
    assert_string_equal(preset_threshold(4, 0, 4, "algorithm=sdar.generate"), "0.85");
}

static void contradicts(int32_t attn_block, int32_t shift, const char *options, const char *part)
{
    dlx_settings s;
    const char *message = resolve(&s, attn_block, shift, options);
    if (!*message || !strstr(message, part)) fail_msg("%s: \"%s\"", options, message);
}

static void test_defaults(void **state)
{
    dlx_settings s;
    (void)state;
    resolves(&s, 0, 0, "");
    assert_true(!strcmp(s.algorithm->name, "llada.generate") && !s.published && s.early_stop && s.max_new == 128 &&
                s.block_length == 32);
    assert_true(s.blocks == 4 && s.steps_per_block == 32 && s.gen_length == 128 && s.eos_id == 7 && s.eot_id == 11);
    resolves(&s, 0, 0, "algorithm=llada.generate");
    assert_true(s.published && !s.early_stop);
    resolves(&s, 0, 0, "algorithm=llada.generate preset=exact");
    assert_false(s.published);
    resolves(&s, 0, 0, "max_new_tokens=20 block_length=8");
    assert_true(s.gen_length == 20 && s.blocks == 3 && s.steps_per_block == 8);
    resolves(&s, 0, 0, "published=true max_new_tokens=20 block_length=8");
    assert_true(s.gen_length == 24 && s.max_new == 20);
    resolves(&s, 0, 1, "");
    assert_true(!strcmp(s.algorithm->name, "dream.diffusion_generate") && s.alg == DLX_ALG_ENTROPY &&
                s.steps_per_block == 128);
    resolves(&s, 4, 0, "");
    assert_true(!strcmp(s.algorithm->name, "sdar.generate") && s.block_length == 4 && s.steps_per_block == 4 &&
                s.fuse_commit);
    assert_true(s.strategy == DLX_STRATEGY_DYNAMIC && s.threshold == 0.85 && s.attn_block == 4);
    resolves(&s, 4, 0, "algorithm=sdar.generate");
    assert_false(s.fuse_commit);
    resolves(&s, 32, 1, "");
    assert_true(!strcmp(s.algorithm->name, "fast_dllm_v2.generate") && s.small_block_size == 8 && s.threshold == 0.9 &&
                s.prefill_exact);
    resolves(&s, 32, 1, "max_new_tokens=250");
    assert_int_equal(s.max_new, 250);
}

static void test_contradictions(void **state)
{
    (void)state;
    contradicts(0, 0, "algorithm=sdar.generate",
                "sdar.generate is for block-causal attention and unshifted logits, this model (llada)");
    contradicts(0, 1, "algorithm=llada.generate", "use dream.diffusion_generate");
    contradicts(4, 0, "algorithm=fast_dllm_v2.generate", "use sdar.generate");
    contradicts(0, 0, "algorithm=llada.generate_fast threshold=0.9 factor=1", "give only one of the two");
    contradicts(0, 0, "algorithm=llada.generate gen_length=20 block_length=8", "not a multiple of 8");
    contradicts(0, 0, "max_new_tokens=24 block_length=8 steps=7", "not a multiple of the 3 blocks of 8 tokens; take 9");
    contradicts(0, 1, "algorithm=dream.generate_blocks alg=origin", "has no origin");
    contradicts(0, 1, "algorithm=dream.generate_blocks alg=entropy max_new_tokens=16 block_length=8 steps=2",
                "take at least 4");
    contradicts(0, 1, "algorithm=dream.diffusion_generate alg=confidence_threshold max_new_tokens=16 steps=5",
                "equal parts");
    contradicts(32, 1, "block_size=24", "does not divide the model's attention block of 32");
    contradicts(32, 1, "small_block_size=7", "does not divide the block of 32");
    contradicts(4, 0, "block_length=300", "more than the 256 rows");
    contradicts(4, 0, "max_new_tokens=254", "at most 253 new tokens are possible");
    contradicts(4, 0, "stop_ids=48", "outside the vocabulary of 48");
    contradicts(4, 0, "cache=dual", "belongs to llada.generate_fast");
}

static void test_facts_and_prompts(void **state)
{
    dlx_settings s;
    scripted_model m;
    static const int32_t prompt[] = {20, 48, -1};
    (void)state;
    model_init(&m, 4, 0, 1);
    assert_int_equal(dlx_settings_resolve(&s, NULL, &m.facts, prompt, 1, &err), DLX_OK);
    assert_int_equal(dlx_settings_resolve(&s, NULL, &m.facts, prompt, 2, &err), DLX_E_INVALID);
    assert_non_null(strstr(err.message, "prompt id 48 at position 1"));
    assert_int_equal(dlx_settings_resolve(&s, NULL, &m.facts, prompt + 2, 1, &err), DLX_E_INVALID);
    assert_int_equal(dlx_settings_resolve(&s, NULL, &m.facts, prompt, 0, &err), DLX_E_INVALID);
    assert_int_equal(dlx_settings_resolve(&s, NULL, &m.facts, NULL, 1, &err), DLX_E_INVALID);
    for (int i = 0; i < 6; i++) {
        model_init(&m, 4, 0, 1);
        int32_t *fields[] = {&m.facts.vocab_size, &m.facts.max_context,  &m.facts.mask_id,
                             &m.facts.attn_block, &m.facts.num_stop_ids, &m.facts.max_context};
        static const int32_t values[] = {0, 0, 48, -1, DLX_MAX_STOP_IDS + 1, INT32_MAX};
        *fields[i] = values[i];
        assert_int_equal(dlx_settings_resolve(&s, NULL, &m.facts, prompt, 1, &err), DLX_E_INVALID);
    }
    model_init(&m, 4, 0, 1);
    /* Facts of an older program: what it does not know is 0, ids are -1. */
    dlx_model_facts taken;
    m.facts.struct_size = offsetof(dlx_model_facts, mask_id) / 8 * 8;
    assert_int_equal(dlx_facts_in(&taken, &m.facts, &err), DLX_OK);
    assert_int_equal(taken.struct_size, sizeof taken);
    assert_int_equal(taken.vocab_size, m.facts.vocab_size);
    assert_true(taken.mask_id == -1 && taken.bos_id == -1 && taken.eos_id == -1 && taken.pad_id == -1);
    assert_true(!taken.attn_block && !taken.block_length && !taken.num_stop_ids);
    assert_int_equal(dlx_facts_in(&taken, NULL, &err), DLX_E_INVALID);
    model_init(&m, 0, 0, 1); /* full attention: the canvas is one pass */
    m.facts.max_rows = 16;
    assert_int_equal(dlx_settings_resolve(&s, NULL, &m.facts, prompt, 1, &err), DLX_OK);
    assert_int_equal(s.max_new, 15);
    m.facts.mask_id = -1;
    assert_int_equal(dlx_settings_resolve(&s, NULL, &m.facts, prompt, 1, &err), DLX_OK);
    assert_string_equal(s.algorithm->name, "ar.generate");
    /* A block is at most the rows of a pass; facts that do not say how many there are bound nothing. */
    model_init(&m, 4, 0, 1);
    m.facts.max_rows = 4;
    assert_int_equal(dlx_settings_resolve(&s, NULL, &m.facts, prompt, 1, &err), DLX_OK);
    assert_int_equal(s.max_rows, 4);
    m.facts.max_rows = 3;
    assert_int_equal(dlx_settings_resolve(&s, NULL, &m.facts, prompt, 1, &err), DLX_E_LIMIT);
    assert_non_null(strstr(err.message, "set option 'block_length' to at most 3"));
    m.facts.max_rows = 0;
    assert_int_equal(dlx_settings_resolve(&s, NULL, &m.facts, prompt, 1, &err), DLX_OK);
    assert_int_equal(s.max_rows, m.facts.max_context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_numbers, open_options, close_options),
        cmocka_unit_test_setup_teardown(test_words_and_bools, open_options, close_options),
        cmocka_unit_test_setup_teardown(test_published_names, open_options, close_options),
        cmocka_unit_test_setup_teardown(test_ids, open_options, close_options),
        cmocka_unit_test_setup_teardown(test_names, open_options, close_options),
        cmocka_unit_test(test_who_has_what),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_contradictions),
        cmocka_unit_test(values_in_force),
        cmocka_unit_test(thresholds_of_presets),
        cmocka_unit_test(test_facts_and_prompts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
