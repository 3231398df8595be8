/* The value that each option has in a decode: given, from a preset, published or the model's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diffusion/settings.h"

enum { VALUE_SIZE = 256, SHORTEST = 1, LONGEST = 17 };

static void put_int(char *text, int64_t value)
{
    snprintf(text, VALUE_SIZE, "%lld", (long long)value);
}

static void put_bool(char *text, bool value)
{
    snprintf(text, VALUE_SIZE, "%s", value ? "true" : "false");
}

/* With as few digits as read back the same, and a point, whatever the C library's locale has. */
static void put_float(char *text, double value)
{
    char digits[64];
    size_t n = 0;
    for (int p = SHORTEST; p <= LONGEST; p++) {
        snprintf(digits, sizeof digits, "%.*g", p, value);
        if (strtod(digits, NULL) == value) break;
    }
    for (const char *s = digits; *s; s++) {
        bool kept = strchr("0123456789e+-", *s);
        if (kept || (n && text[n - 1] != '.')) text[n++] = kept ? *s : '.';
    }
    text[n] = '\0';
}

static void put_word(char *text, const char *words, int64_t i)
{
    for (; i > 0; i--) words += strcspn(words, "|") + 1;
    snprintf(text, VALUE_SIZE, "%.*s", (int)strcspn(words, "|"), words);
}

static void put_ids(char *text, const int32_t *ids, int32_t count)
{
    size_t n = 0;
    if (!count) snprintf(text, VALUE_SIZE, "none");
    for (int32_t i = 0; i < count; i++) n += (size_t)snprintf(text + n, VALUE_SIZE - n, "%s%d", i ? "," : "", ids[i]);
}

/* Numbers that mean "none" are left out: `text` is empty then. */
static void put_number(char *text, dlx_option_slot slot, const dlx_settings *s)
{
    switch (slot) {
    case DLX_OPT_MAX_NEW_TOKENS: put_int(text, s->max_new); break;
    case DLX_OPT_BLOCK_LENGTH: put_int(text, s->block_length); break;
    case DLX_OPT_SMALL_BLOCK_SIZE: put_int(text, s->small_block_size); break;
    case DLX_OPT_STEPS: put_int(text, (int64_t)s->steps_per_block * s->blocks); break;
    case DLX_OPT_DENOISING_STEPS: put_int(text, s->steps_per_block); break;
    case DLX_OPT_MAX_PASSES:
        if (s->max_passes) put_int(text, s->max_passes);
        break;
    case DLX_OPT_TEMPERATURE: put_float(text, s->temperature); break;
    case DLX_OPT_TOP_K: put_int(text, s->top_k); break;
    case DLX_OPT_TOP_P: put_float(text, s->top_p); break;
    case DLX_OPT_SEED: put_int(text, (int64_t)s->seed); break;
    case DLX_OPT_FACTOR:
        if (s->has_factor) put_float(text, s->factor);
        break;
    case DLX_OPT_EB_THRESHOLD: put_float(text, s->eb_threshold); break;
    case DLX_OPT_CFG_SCALE: put_float(text, s->cfg_scale); break;
    case DLX_OPT_ALG_TEMP: put_float(text, s->alg_temp); break;
    case DLX_OPT_EPS: put_float(text, s->eps); break;
    case DLX_OPT_REPETITION_PENALTY: put_float(text, s->repetition_penalty); break;
    case DLX_OPT_REFRESH_INTERVAL: put_int(text, s->refresh_interval); break;
    case DLX_OPT_N_CACHED: put_int(text, s->n_cached); break;
    default: break;
    }
}

static void put_value(char *text, dlx_option_slot slot, const char *words, const dlx_settings *s,
                      const dlx_decode_options *o)
{
    switch (slot) {
    case DLX_OPT_ALGORITHM: snprintf(text, VALUE_SIZE, "%s", s->algorithm->name); break;
    case DLX_OPT_PRESET:
        if (o && dlx_given(o, slot)) put_word(text, words, o->value[slot].i);
        break;
    case DLX_OPT_PUBLISHED: put_bool(text, s->published); break;
    case DLX_OPT_STOP_IDS: put_ids(text, s->stop_ids, s->n_stop_ids); break;
    case DLX_OPT_THRESHOLD: /* LLaDA reveals equal shares where there is none */
        if (s->algorithm != &dlx_llada_generate_fast || s->has_threshold) put_float(text, s->threshold);
        break;
    case DLX_OPT_REMASKING: put_word(text, words, s->remasking); break;
    case DLX_OPT_CACHE: put_word(text, words, s->cache); break;
    case DLX_OPT_ALG: put_word(text, words, s->alg); break;
    case DLX_OPT_STRATEGY: put_word(text, words, s->strategy); break;
    case DLX_OPT_LOGITS_EOS_INF: put_bool(text, s->logits_eos_inf); break;
    case DLX_OPT_CONFIDENCE_EOS_EOT_INF: put_bool(text, s->confidence_eos_eot_inf); break;
    case DLX_OPT_EARLY_STOP: put_bool(text, s->early_stop); break;
    case DLX_OPT_DUAL: put_bool(text, s->dual); break;
    case DLX_OPT_BLOCK_CACHE: put_bool(text, s->block_cache); break;
    case DLX_OPT_PREFILL_EXACT: put_bool(text, s->prefill_exact); break;
    case DLX_OPT_FUSE_COMMIT: put_bool(text, s->fuse_commit); break;
    default: put_number(text, slot, s); break;
    }
}

dlx_status dlx_decode_option_in_force(const dlx_model_facts *facts, const dlx_decode_options *options,
                                      const int32_t *prompt, size_t n_prompt, const char *name, char *text, size_t size,
                                      dlx_error *err)
{
    dlx_model_facts f;
    dlx_settings s;
    dlx_option_slot slot;
    const char *words;
    char value[VALUE_SIZE] = "";
    bool has;
    if (text && size) *text = '\0';
    if (!name || !text || !size)
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_decode_option_in_force: the name of an option and a place for its value are needed");
    DLX_TRY(dlx_facts_in(&f, facts, err));
    DLX_TRY(dlx_settings_resolve(&s, options, &f, prompt, n_prompt, err));
    DLX_TRY(dlx_option_find(&slot, &words, &has, name, s.algorithm->name, err));
    if (has) put_value(value, slot, words, &s, options);
    if (strlen(value) >= size)
        return dlx_fail(err, DLX_E_LIMIT, "the value of option '%s' takes %zu bytes, and there is room for %zu", name,
                        strlen(value) + 1, size);
    memcpy(text, value, strlen(value) + 1);
    return DLX_OK;
}
