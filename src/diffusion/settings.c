/*
 * From options and facts to settings: the algorithm, the lengths that every algorithm shares, and the checks that need
 * more than one option to be seen. Each algorithm's configure function adds its own.
 */
#include "diffusion/settings.h"

#include <limits.h>
#include <string.h>

#include "base/sizes.h"
#include "base/structs.h"

enum { DEFAULT_NEW_TOKENS = 128, DEFAULT_BLOCK = 32, MOST_POSITIONS = 1 << 24 };

/* In the order of the words of option `algorithm`. */
static const dlx_algorithm *const algorithms[] = {
    &dlx_llada_generate,        &dlx_llada_generate_fast, &dlx_dream_diffusion_generate,
    &dlx_dream_generate_blocks, &dlx_sdar_generate,       &dlx_fast_dllm_v2_generate,
    &dlx_ar_generate,
};

const char *dlx_algorithm_name(int64_t word)
{
    return algorithms[word]->name;
}

bool dlx_given(const dlx_decode_options *o, dlx_option_slot slot)
{
    return o->value[slot].given;
}

int64_t dlx_int_option(const dlx_decode_options *o, dlx_option_slot slot, int64_t otherwise)
{
    return dlx_given(o, slot) ? o->value[slot].i : otherwise;
}

double dlx_float_option(const dlx_decode_options *o, dlx_option_slot slot, double otherwise)
{
    return dlx_given(o, slot) ? o->value[slot].f : otherwise;
}

int32_t dlx_bounded_steps(const dlx_settings *s, int32_t steps)
{
    return s->max_passes && s->max_passes < steps ? s->max_passes : steps;
}

bool dlx_last_pass(const dlx_settings *s, int32_t i)
{
    return s->max_passes && i + 1 >= s->max_passes;
}

int32_t dlx_default_block_length(const dlx_model_facts *facts)
{
    return facts->block_length > 0 ? facts->block_length : DEFAULT_BLOCK;
}

dlx_status dlx_check_block_rows(const dlx_settings *s, const dlx_model_facts *facts, dlx_error *err)
{
    if (facts->max_rows <= 0 || s->block_length <= facts->max_rows) return DLX_OK;
    return dlx_fail(err, DLX_E_LIMIT,
                    "a block of %d tokens is more than the %d rows that this program runs in one pass; export with "
                    "larger max_seq_len "
                    "and max_rows, or set option 'block_length' to at most %d",
                    s->block_length, facts->max_rows, facts->max_rows);
}

/* ---- facts and prompt ------------------------------------------------------------------------------------------- */

dlx_status dlx_facts_in(dlx_model_facts *out, const dlx_model_facts *facts, dlx_error *err)
{
    *out = (dlx_model_facts){.struct_size = sizeof *out, .mask_id = -1, .bos_id = -1, .eos_id = -1, .pad_id = -1};
    if (!facts) return dlx_fail(err, DLX_E_INVALID, "the facts of the model are missing; see dlx_model_get_facts");
    DLX_TRY(dlx_struct_in(out, sizeof *out, facts, "dlx_model_facts", err));
    if (out->num_tokens > out->vocab_size) out->num_tokens = 0; /* a tokenizer may have more ids than the model */
    return DLX_OK;
}

static dlx_status check_facts(const dlx_model_facts *f, dlx_error *err)
{
    if (f->vocab_size < 1 || f->max_context < 1 || f->max_context > MOST_POSITIONS)
        return dlx_fail(
            err, DLX_E_INVALID,
            "model facts: vocab_size is %d and max_context %d; both must be at least 1, the context at most %d",
            f->vocab_size, f->max_context, MOST_POSITIONS);
    if (f->mask_id >= f->vocab_size || f->attn_block < 0 || f->attn_block > MOST_POSITIONS || f->num_stop_ids < 0 ||
        f->num_stop_ids > DLX_MAX_STOP_IDS)
        return dlx_fail(err, DLX_E_INVALID, "model facts: mask_id %d, attn_block %d or num_stop_ids %d is out of range",
                        f->mask_id, f->attn_block, f->num_stop_ids);
    if (f->num_tokens < 0 || (f->num_tokens == 1 && f->mask_id == 0))
        return dlx_fail(err, DLX_E_INVALID, "model facts: num_tokens is %d, which leaves no token to choose",
                        f->num_tokens);
    return DLX_OK;
}

static dlx_status check_prompt(const dlx_model_facts *f, const int32_t *prompt, size_t n, dlx_error *err)
{
    if (!prompt || !n) return dlx_fail(err, DLX_E_INVALID, "the prompt is empty; at least one token id is needed");
    if (n > (size_t)f->max_context)
        return dlx_fail(err, DLX_E_LIMIT, "the prompt has %zu tokens, which do not fit the context of %d; shorten it",
                        n, f->max_context);
    for (size_t i = 0; i < n; i++)
        if (prompt[i] < 0 || prompt[i] >= f->vocab_size)
            return dlx_fail(err, DLX_E_INVALID, "prompt id %d at position %zu is outside the vocabulary of %d",
                            prompt[i], i, f->vocab_size);
    return DLX_OK;
}

/* ---- algorithm -------------------------------------------------------------------------------------------------- */

static const dlx_algorithm *family_algorithm(const dlx_model_facts *f)
{
    if (f->mask_id < 0 || f->attn_block == 1) return &dlx_ar_generate;
    if (f->attn_block) return f->logits_shift ? &dlx_fast_dllm_v2_generate : &dlx_sdar_generate;
    return f->logits_shift ? &dlx_dream_diffusion_generate : &dlx_llada_generate;
}

/* Adds what a preset says to the options. */
static dlx_status choose_algorithm(dlx_settings *s, dlx_decode_options *o, const dlx_model_facts *f, dlx_error *err)
{
    const dlx_algorithm *usual = family_algorithm(f);
    bool named = dlx_given(o, DLX_OPT_ALGORITHM) && !dlx_given(o, DLX_OPT_PRESET);
    DLX_TRY(dlx_options_apply_preset(o, usual->name, f, err));
    int64_t word = dlx_int_option(o, DLX_OPT_ALGORITHM, -1);
    const dlx_algorithm *a = word < 0 ? usual : algorithms[word];
    if (a->needs_mask && f->mask_id < 0)
        return dlx_fail(err, DLX_E_INVALID, "option 'algorithm': %s needs a mask token and this model has none; use %s",
                        a->name, usual->name);
    if ((a->attention >= 0 && a->attention != (f->attn_block != 0)) ||
        (a->shift >= 0 && a->shift != (f->logits_shift != 0)))
        return dlx_fail(err, DLX_E_INVALID,
                        "option 'algorithm': %s is for %s attention and %s logits, this model (%s) has %s attention "
                        "and %s logits; use %s",
                        a->name, a->attention ? "block-causal" : "full", a->shift ? "shifted" : "unshifted",
                        dlx_family_name(f->family), f->attn_block ? "block-causal" : "full",
                        f->logits_shift ? "shifted" : "unshifted", usual->name);
    s->algorithm = a;
    s->published = dlx_int_option(o, DLX_OPT_PUBLISHED, named);
    return dlx_options_check(o, a->name, err);
}

/* ---- lengths ---------------------------------------------------------------------------------------------------- */

/* Where full attention rules, the whole canvas is one call. */
static dlx_status choose_length(dlx_settings *s, const dlx_decode_options *o, const dlx_model_facts *f, dlx_error *err)
{
    bool whole = s->algorithm->attention == 0 && f->max_rows > 0 && f->max_rows < f->max_context;
    s->end = whole ? f->max_rows : f->max_context;
    const char *bound = whole ? "largest pass" : "context";
    int64_t room = s->end - s->n_prompt;
    if (room < 0 || (room == 0 && dlx_int_option(o, DLX_OPT_MAX_NEW_TOKENS, 1) > 0))
        return dlx_fail(err, DLX_E_LIMIT,
                        "the prompt has %d tokens, which leaves no room for an answer in the %s of %d", s->n_prompt,
                        bound, s->end);
    int64_t wanted = dlx_int_option(o, DLX_OPT_MAX_NEW_TOKENS, room < DEFAULT_NEW_TOKENS ? room : DEFAULT_NEW_TOKENS);
    if (wanted > room)
        return dlx_fail(err, DLX_E_LIMIT,
                        "option '%s': %d prompt tokens and %lld new ones do not fit the %s of %d; at most %lld new "
                        "tokens are possible",
                        o->value[DLX_OPT_MAX_NEW_TOKENS].given, s->n_prompt, (long long)wanted, bound, s->end,
                        (long long)room);
    if (!wanted && s->published)
        return dlx_fail(err, DLX_E_INVALID,
                        "option '%s': as published, decoders add tokens; to fill the prompt's masks alone set option "
                        "'published' to false",
                        o->value[DLX_OPT_MAX_NEW_TOKENS].given);
    if (!wanted && !s->prompt_masks)
        return dlx_fail(err, DLX_E_INVALID,
                        "option '%s': 0 new tokens leave nothing to do, for the prompt holds no mask; give at least 1",
                        o->value[DLX_OPT_MAX_NEW_TOKENS].given);
    s->max_new = (int32_t)wanted;
    return DLX_OK;
}

/* Exact keys and values exist where no row sees a later one: of whole blocks without masks. The block of the last
 * prompt token is run all the same, for what it says about the next one. */
static dlx_status choose_cached(dlx_settings *s, const dlx_decode_options *o, const int32_t *prompt, int32_t mask,
                                dlx_error *err)
{
    int64_t n = dlx_int_option(o, DLX_OPT_N_CACHED, 0);
    if (!n) return DLX_OK;
    if (!s->attn_block)
        return dlx_fail(
            err, DLX_E_INVALID,
            "option 'n_cached': %s lets every position see all others, so no part of a prompt can be kept; give 0",
            s->algorithm->name);
    if (n >= s->n_prompt || n % s->attn_block)
        return dlx_fail(
            err, DLX_E_INVALID,
            "option 'n_cached': expected a multiple of the block of %d below the prompt's length of %d, got %lld",
            s->attn_block, s->n_prompt, (long long)n);
    for (int64_t i = 0; i < n; i++)
        if (mask >= 0 && prompt[i] == mask)
            return dlx_fail(err, DLX_E_INVALID,
                            "option 'n_cached': position %lld of the prompt is a mask, which has no final keys and "
                            "values; give at most %lld",
                            (long long)i, (long long)(i / s->attn_block * s->attn_block));
    s->n_cached = (int32_t)n;
    return DLX_OK;
}

static dlx_status choose_stop_ids(dlx_settings *s, const dlx_decode_options *o, const dlx_model_facts *f,
                                  dlx_error *err)
{
    s->stop_ids_given = dlx_given(o, DLX_OPT_STOP_IDS);
    s->n_stop_ids = s->stop_ids_given ? o->n_stop_ids : f->num_stop_ids;
    memcpy(s->stop_ids, s->stop_ids_given ? o->stop_ids : f->stop_ids, sizeof s->stop_ids);
    for (int32_t i = 0; s->stop_ids_given && i < s->n_stop_ids; i++)
        if (s->stop_ids[i] >= f->vocab_size)
            return dlx_fail(err, DLX_E_INVALID, "option '%s': id %d is outside the vocabulary of %d",
                            o->value[DLX_OPT_STOP_IDS].given, s->stop_ids[i], f->vocab_size);
    /* LLaDA tells the end of text (eos) from the end of a turn (eot): the other stop id. */
    s->eos_id = f->eos_id >= 0 && f->eos_id < f->vocab_size ? f->eos_id : -1;
    s->eot_id = -1;
    for (int32_t i = f->num_stop_ids; i-- > 0;)
        if (f->stop_ids[i] != s->eos_id && f->stop_ids[i] >= 0 && f->stop_ids[i] < f->vocab_size)
            s->eot_id = f->stop_ids[i];
    return DLX_OK;
}

dlx_status dlx_configure_blocks(dlx_settings *s, const dlx_decode_options *o, const dlx_model_facts *facts,
                                dlx_error *err)
{
    int64_t usual = dlx_default_block_length(facts), room = s->end - s->n_prompt;
    if (usual > s->max_new && s->max_new) usual = s->max_new;
    int64_t block = dlx_int_option(o, DLX_OPT_BLOCK_LENGTH, usual);
    const char *length_name = o->value[DLX_OPT_MAX_NEW_TOKENS].given,
               *block_name = o->value[DLX_OPT_BLOCK_LENGTH].given;
    if (s->published && block_name && length_name && !strcmp(length_name, "gen_length") && s->max_new % block)
        return dlx_fail(err, DLX_E_INVALID,
                        "option '%s': gen_length %d is not a multiple of %lld; choose a divisor, or give "
                        "max_new_tokens to have the answer cut",
                        block_name, s->max_new, (long long)block);
    if (block > room) block = room;
    int64_t blocks = s->max_new ? (s->max_new + block - 1) / block : 1,
            whole = s->published ? blocks * block : s->max_new;
    int64_t steps = dlx_int_option(o, DLX_OPT_STEPS, blocks * block);
    if (steps % blocks)
        return dlx_fail(
            err, DLX_E_INVALID, "option 'steps': %lld is not a multiple of the %lld blocks of %lld tokens; take %lld",
            (long long)steps, (long long)blocks, (long long)block, (long long)((steps + blocks - 1) / blocks * blocks));
    s->block_length = (int32_t)block;
    s->blocks = (int32_t)blocks;
    s->gen_length = (int32_t)(whole < room ? whole : room);
    s->steps_per_block = dlx_bounded_steps(s, (int32_t)(steps / blocks));
    return DLX_OK;
}

dlx_status dlx_settings_resolve(dlx_settings *s, const dlx_decode_options *options, const dlx_model_facts *facts,
                                const int32_t *prompt, size_t n_prompt, dlx_error *err)
{
    dlx_decode_options with_preset = options ? *options : (dlx_decode_options){.n_stop_ids = 0}, *o = &with_preset;
    memset(s, 0, sizeof *s);
    DLX_TRY(check_facts(facts, err));
    DLX_TRY(choose_algorithm(s, o, facts, err));
    DLX_TRY(check_prompt(facts, prompt, n_prompt, err));
    s->n_prompt = (int32_t)n_prompt;
    for (size_t i = 0; i < n_prompt; i++) s->prompt_masks += prompt[i] == facts->mask_id;
    s->max_rows = facts->max_rows > 0 ? facts->max_rows : facts->max_context;
    DLX_TRY(choose_length(s, o, facts, err));
    DLX_TRY(choose_stop_ids(s, o, facts, err));
    s->temperature = dlx_float_option(o, DLX_OPT_TEMPERATURE, 0);
    s->top_k = (int32_t)dlx_int_option(o, DLX_OPT_TOP_K, 0);
    s->top_p = dlx_float_option(o, DLX_OPT_TOP_P, 1);
    s->seed = (uint64_t)dlx_int_option(o, DLX_OPT_SEED, 0);
    s->max_passes = (int32_t)dlx_int_option(o, DLX_OPT_MAX_PASSES, 0);
    s->early_stop = dlx_int_option(o, DLX_OPT_EARLY_STOP, !s->published);
    s->constraint = o->constraint;
    s->answer_end = s->n_prompt + s->max_new;
    DLX_TRY(s->algorithm->configure(s, o, facts, err));
    return choose_cached(s, o, prompt, facts->mask_id, err);
}
