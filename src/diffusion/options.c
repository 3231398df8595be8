/*
 * Options: one table that the command line, Python and recorded traces share, and the parser of their values. Numbers
 * are read without the C library's locale, so that "0.9" means the same in every program this library is part of.
 */
#include "diffusion/options.h"

#include <ctype.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "base/structs.h"
#include "diffulex_edge/constraint.h"

#define LLADA "llada.generate, llada.generate_fast"
#define DREAM "dream.diffusion_generate, dream.generate_blocks"
#define SDAR  "sdar.generate"
#define V2    "fast_dllm_v2.generate"
#define AR    "ar.generate"

typedef enum kind { INT, FLOAT, BOOL, IDS, WORD } kind;

static const char *const kind_names[] = {"int", "float", "bool", "ids", "word"};

typedef struct option_row {
    const char *name;
    dlx_option_slot slot;
    kind kind;
    double min, max; /* INT, FLOAT; inclusive */
    const char *algorithms;
    const char *words; /* WORD: "a|b|c" */
    const char *help;
} option_row;

#define MOST_TOKENS 16777216
#define ALGORITHM_WORDS                                                                                                \
    "llada.generate|llada.generate_fast|dream.diffusion_generate|dream.generate_blocks|sdar.generate|"                 \
    "fast_dllm_v2.generate|ar.generate"

static const option_row rows[] = {
    {"algorithm", DLX_OPT_ALGORITHM, WORD, 0, 0, "all", ALGORITHM_WORDS,
     "decoding algorithm (default: the model family's)"},
    {"preset", DLX_OPT_PRESET, WORD, 0, 0, "all", "exact|balanced|fast",
     "algorithm and acceptance rules that belong together, for the quantisation of the file; other options win over it "
     "(default: none)"},
    {"published", DLX_OPT_PUBLISHED, BOOL, 0, 0, "all", NULL,
     "keep the published code's own lengths and stop rules, to the pass (default: true when an algorithm is named)"},
    {"max_new_tokens", DLX_OPT_MAX_NEW_TOKENS, INT, 0, MOST_TOKENS, "all", NULL,
     "length of the answer, 0 to fill only the prompt's masks (default 128, less where the context ends)"},
    {"gen_length", DLX_OPT_MAX_NEW_TOKENS, INT, 0, MOST_TOKENS, "all", NULL,
     "LLaDA's and SDAR's name for max_new_tokens; LLaDA then wants whole blocks, as published"},
    {"block_length", DLX_OPT_BLOCK_LENGTH, INT, 1, MOST_TOKENS, LLADA ", dream.generate_blocks, " SDAR ", " V2, NULL,
     "tokens a block (default: the model's)"},
    {"block_size", DLX_OPT_BLOCK_LENGTH, INT, 1, MOST_TOKENS, LLADA ", dream.generate_blocks, " SDAR ", " V2, NULL,
     "Fast-dLLM v2's name for block_length"},
    {"small_block_size", DLX_OPT_SMALL_BLOCK_SIZE, INT, 1, MOST_TOKENS, V2, NULL,
     "tokens revealed from left to right inside a block (default: the model's)"},
    {"steps", DLX_OPT_STEPS, INT, 1, 1048576, LLADA ", " DREAM, NULL,
     "denoising steps over all blocks (default: one for each new token)"},
    {"denoising_steps", DLX_OPT_DENOISING_STEPS, INT, 1, 1048576, SDAR, NULL,
     "denoising steps a block (default: block_length)"},
    {"max_passes", DLX_OPT_MAX_PASSES, INT, 1, 1048576, LLADA ", " DREAM ", " SDAR ", " V2, NULL,
     "most denoising passes a block (dream.diffusion_generate: an answer); the last one reveals every mask that is "
     "left (default: no bound)"},
    {"temperature", DLX_OPT_TEMPERATURE, FLOAT, 0, 1000, "all", NULL,
     "0: the likeliest token; higher: draws (default 0)"},
    {"top_k", DLX_OPT_TOP_K, INT, 0, MOST_TOKENS, DREAM ", " SDAR ", " AR, NULL,
     "keep the k likeliest tokens; 0: all (default 0)"},
    {"top_p", DLX_OPT_TOP_P, FLOAT, 0, 1, DREAM ", " SDAR ", " V2 ", " AR, NULL,
     "keep the likeliest tokens up to this mass; 1: all (default 1; fast_dllm_v2 0.95, used above temperature 0)"},
    {"seed", DLX_OPT_SEED, INT, 0, 9007199254740992, "all", NULL, "seed of all random draws (default 0)"},
    {"stop_ids", DLX_OPT_STOP_IDS, IDS, 0, 0, "all", NULL,
     "token ids that end the answer, \"none\" for no such id (default: the model's)"},
    {"stop_id", DLX_OPT_STOP_IDS, IDS, 0, 0, "all", NULL, "Fast-dLLM v2's name for stop_ids"},
    {"stop_token", DLX_OPT_STOP_IDS, IDS, 0, 0, "all", NULL, "Fast-dLLM v2's other name for stop_ids"},
    {"threshold", DLX_OPT_THRESHOLD, FLOAT, 0, 1, "llada.generate_fast, " DREAM ", " SDAR ", " V2, NULL,
     "reveal every token surer than this (default: dream 0.9, sdar 0.85, fast_dllm_v2 0.9, llada: equal shares a "
     "step)"},
    {"confidence_threshold", DLX_OPT_THRESHOLD, FLOAT, 0, 1, "llada.generate_fast, " DREAM ", " SDAR ", " V2, NULL,
     "SDAR's name for threshold"},
    {"factor", DLX_OPT_FACTOR, FLOAT, 0, 1000, "llada.generate_fast", NULL,
     "reveal the n-th surest token while its confidence is at least 1 - factor / (n + 1); replaces threshold"},
    {"eb_threshold", DLX_OPT_EB_THRESHOLD, FLOAT, 0, 1000, SDAR, NULL,
     "strategy entropy_bounded: bound on the summed entropy of one step (default 0.35)"},
    {"cfg_scale", DLX_OPT_CFG_SCALE, FLOAT, 0, 1000, "llada.generate", NULL,
     "classifier-free guidance; above 0 a step costs two passes (default 0)"},
    {"remasking", DLX_OPT_REMASKING, WORD, 0, 0, LLADA, "low_confidence|random",
     "what ranks positions (default low_confidence)"},
    {"logits_eos_inf", DLX_OPT_LOGITS_EOS_INF, BOOL, 0, 0, LLADA, NULL,
     "never predict the end-of-text id (default false)"},
    {"confidence_eos_eot_inf", DLX_OPT_CONFIDENCE_EOS_EOT_INF, BOOL, 0, 0, LLADA, NULL,
     "reveal end ids last (default false)"},
    {"early_stop", DLX_OPT_EARLY_STOP, BOOL, 0, 0, LLADA ", " DREAM, NULL,
     "stop once a stop id is revealed and everything before it is known (default: not published)"},
    {"cache", DLX_OPT_CACHE, WORD, 0, 0, "llada.generate_fast", "none|prefix|dual",
     "approximate KV cache: positions before the block, or all outside it (default none)"},
    {"refresh_interval", DLX_OPT_REFRESH_INTERVAL, INT, 0, 1048576, "llada.generate_fast, dream.generate_blocks", NULL,
     "refresh the approximate cache every that many passes inside a block, too; 0: only at its start (default 0)"},
    {"alg", DLX_OPT_ALG, WORD, 0, 0, DREAM, "origin|maskgit_plus|topk_margin|entropy|confidence_threshold",
     "what ranks positions (default entropy; generate_blocks confidence_threshold)"},
    {"alg_temp", DLX_OPT_ALG_TEMP, FLOAT, 0, 1000, DREAM, NULL,
     "above 0: draw the positions, more evenly the higher it is (default 0)"},
    {"eps", DLX_OPT_EPS, FLOAT, 0, 0.999, DREAM, NULL, "end of the time schedule (default 0.001)"},
    {"dual", DLX_OPT_DUAL, BOOL, 0, 0, "dream.generate_blocks", NULL,
     "also cache the positions behind the block (default false)"},
    {"dual_cache", DLX_OPT_DUAL, BOOL, 0, 0, "dream.generate_blocks", NULL, "Fast-dLLM's name for dual"},
    {"strategy", DLX_OPT_STRATEGY, WORD, 0, 0, SDAR,
     "sequential|low_confidence_static|low_confidence_dynamic|entropy_bounded",
     "which positions a step reveals (default low_confidence_dynamic)"},
    {"remasking_strategy", DLX_OPT_STRATEGY, WORD, 0, 0, SDAR,
     "sequential|low_confidence_static|low_confidence_dynamic|entropy_bounded", "SDAR's name for strategy"},
    {"block_cache", DLX_OPT_BLOCK_CACHE, BOOL, 0, 0, V2, NULL, "reuse keys and values inside a block (default false)"},
    {"use_block_cache", DLX_OPT_BLOCK_CACHE, BOOL, 0, 0, V2, NULL, "Fast-dLLM v2's name for block_cache"},
    {"prefill_exact", DLX_OPT_PREFILL_EXACT, BOOL, 0, 0, V2, NULL,
     "run a prompt of exactly one block into the cache; the published code loses it (default: not published)"},
    {"fuse_commit", DLX_OPT_FUSE_COMMIT, BOOL, 0, 0, SDAR, NULL,
     "store finished blocks in the next block's first pass: same tokens, fewer passes (default: not published)"},
    {"n_cached", DLX_OPT_N_CACHED, INT, 0, MOST_TOKENS, "all", NULL,
     "leading prompt tokens, whole blocks, whose exact keys and values are stored already (default 0)"},
    {"repetition_penalty", DLX_OPT_REPETITION_PENALTY, FLOAT, 0.01, 100, AR, NULL,
     "divide positive logits of earlier tokens, multiply the others (default 1)"},
};

size_t dlx_decode_option_count(void)
{
    return DLX_COUNT(rows);
}

bool dlx_decode_option_info(size_t i, dlx_option_info *out)
{
    if (i >= DLX_COUNT(rows) || !out) return false;
    size_t first = 0;
    while (rows[first].slot != rows[i].slot) first++;
    dlx_option_info info = {.struct_size = sizeof info,
                            .name = rows[i].name,
                            .kind = kind_names[rows[i].kind],
                            .algorithms = rows[i].algorithms,
                            .help = rows[i].help,
                            .words = rows[i].words,
                            .same_as = first < i ? rows[first].name : NULL,
                            .min = rows[i].min,
                            .max = rows[i].max};
    return dlx_struct_out(out, &info, sizeof info, "dlx_option_info", NULL) == DLX_OK;
}

dlx_status dlx_decode_options_create(dlx_decode_options **out, dlx_error *err)
{
    if (!out) return dlx_fail(err, DLX_E_INVALID, "dlx_decode_options_create: a place for the options is needed");
    *out = calloc(1, sizeof **out);
    return *out ? DLX_OK : dlx_fail(err, DLX_E_NOMEM, "out of memory creating decode options");
}

void dlx_decode_options_free(dlx_decode_options *options)
{
    free(options);
}

dlx_status dlx_decode_options_set_constraint(dlx_decode_options *options, const dlx_constraint *constraint,
                                             dlx_error *err)
{
    if (!options) return dlx_fail(err, DLX_E_INVALID, "dlx_decode_options_set_constraint: options must not be NULL");
    options->constraint = constraint;
    return DLX_OK;
}

/* ---- values --------------------------------------------------------------------------------------------------- */

/* Decimal number with optional sign, fraction and exponent, the whole text. */
static bool parse_number(const char *s, double *out)
{
    bool negative = *s == '-', any = false, point = false;
    if (*s == '-' || *s == '+') s++;
    uint64_t digits = 0;
    long scale = 0;
    for (; isdigit((unsigned char)*s) || (*s == '.' && !point); s++) {
        if (*s == '.') {
            point = true;
            continue;
        }
        any = true;
        if (digits < UINT64_MAX / 10 - 1) {
            digits = digits * 10 + (uint64_t)(*s - '0');
            scale -= point;
        } else {
            scale += !point; /* further digits are below the precision of a double */
        }
    }
    if (!any) return false;
    if (*s == 'e' || *s == 'E') {
        bool down = *++s == '-';
        if (*s == '-' || *s == '+') s++;
        if (!isdigit((unsigned char)*s)) return false;
        long exponent = 0;
        for (; isdigit((unsigned char)*s); s++) exponent = exponent < 10000 ? exponent * 10 + (*s - '0') : exponent;
        scale += down ? -exponent : exponent;
    }
    if (*s) return false;
    long double value = (long double)digits, power = 1;
    if (!digits) scale = 0;
    if (scale > 400) scale = 400;
    if (scale < -400) scale = -400;
    for (long i = scale < 0 ? -scale : scale; i > 0; i--) power *= 10;
    value = scale < 0 ? value / power : value * power;
    if (value > (long double)DBL_MAX) return false;
    *out = negative ? -(double)value : (double)value;
    return true;
}

static bool parse_integer(const char *s, size_t n, int64_t *out)
{
    int64_t value = 0;
    size_t i = n && (s[0] == '-' || s[0] == '+');
    if (i == n) return false;
    for (; i < n; i++) {
        if (!isdigit((unsigned char)s[i]) || value > (INT64_MAX - 9) / 10) return false;
        value = value * 10 + (s[i] - '0');
    }
    *out = s[0] == '-' ? -value : value;
    return true;
}

static bool same_word(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (tolower((unsigned char)a[i]) != tolower((unsigned char)b[i])) return false;
    return a[n] == '\0';
}

/* Position of `s` in "a|b|c", or -1. */
static int64_t find_word(const char *words, const char *s)
{
    for (int64_t i = 0;; i++) {
        size_t n = strcspn(words, "|");
        if (same_word(s, words, n)) return i;
        if (!words[n]) return -1;
        words += n + 1;
    }
}

static dlx_status bad_value(const option_row *row, const char *value, dlx_error *err)
{
    switch (row->kind) {
    case INT:
    case FLOAT:
        return dlx_fail(err, DLX_E_INVALID, "option '%s': expected %s number from %.16g to %.16g, got '%.100s'",
                        row->name, row->kind == INT ? "a whole" : "a", row->min, row->max, value);
    case BOOL:
        return dlx_fail(err, DLX_E_INVALID, "option '%s': expected true or false, got '%.100s'", row->name, value);
    case IDS:
        return dlx_fail(err, DLX_E_INVALID,
                        "option '%s': expected at most %d token ids with commas between them, or none, got '%.100s'",
                        row->name, DLX_MAX_STOP_IDS, value);
    case WORD: break;
    }
    return dlx_fail(err, DLX_E_INVALID, "option '%s': expected one of %s, got '%.100s'", row->name, row->words, value);
}

static bool parse_ids(const char *s, int32_t *ids, int32_t *count)
{
    *count = 0;
    if (same_word(s, "none", 4)) return true;
    for (;;) {
        s += strspn(s, " []");
        size_t n = strcspn(s, ", ]");
        int64_t id;
        if (*count == DLX_MAX_STOP_IDS || !parse_integer(s, n, &id) || id < 0 || id > INT32_MAX) return false;
        ids[(*count)++] = (int32_t)id;
        s += n;
        s += strspn(s, " ]");
        if (!*s) return true;
        if (*s++ != ',') return false;
    }
}

static bool parse_value(const option_row *row, const char *text, dlx_decode_options *o, dlx_option_value *v)
{
    static const char *const bools = "false|true|0|1|no|yes|off|on";
    switch (row->kind) {
    case INT: return parse_integer(text, strlen(text), &v->i) && v->i >= (int64_t)row->min && v->i <= (int64_t)row->max;
    case FLOAT: return parse_number(text, &v->f) && v->f >= row->min && v->f <= row->max;
    case BOOL: v->i = find_word(bools, text); break;
    case IDS: {
        int32_t ids[DLX_MAX_STOP_IDS], n;
        if (!parse_ids(text, ids, &n)) return false;
        memcpy(o->stop_ids, ids, sizeof ids[0] * (size_t)n);
        o->n_stop_ids = n;
        return true;
    }
    case WORD: v->i = find_word(row->words, text); return v->i >= 0;
    }
    if (v->i < 0) return false;
    v->i %= 2;
    return true;
}

static const option_row *find_row(const char *name)
{
    for (size_t i = 0; i < DLX_COUNT(rows); i++) {
        const char *a = rows[i].name, *b = name;
        while (*a && (*a == *b || (*a == '_' && *b == '-'))) {
            a++;
            b++;
        }
        if (!*a && !*b) return &rows[i];
    }
    return NULL;
}

dlx_status dlx_decode_options_set(dlx_decode_options *options, const char *name, const char *value, dlx_error *err)
{
    if (!options || !name)
        return dlx_fail(err, DLX_E_INVALID, "dlx_decode_options_set: options and the name of one are needed");
    const option_row *row = find_row(name);
    if (!row) return dlx_fail(err, DLX_E_INVALID, "there is no decode option '%.100s'", name);
    dlx_option_value v = {.given = row->name};
    if (!value || same_word(value, "null", 4))
        v.given = NULL;
    else if (!parse_value(row, value, options, &v))
        return bad_value(row, value, err);
    options->value[row->slot] = v;
    return DLX_OK;
}

/* ---- algorithms ------------------------------------------------------------------------------------------------- */

/* Whether "a, b, c" lists `name`. */
static bool lists(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *s = list; (s = strstr(s, name)); s += n)
        if ((s == list || s[-1] == ' ') && (s[n] == '\0' || s[n] == ',')) return true;
    return !strcmp(list, "all");
}

dlx_status dlx_options_set_default(dlx_decode_options *o, const char *name, const char *value, const char *algorithm,
                                   dlx_error *err)
{
    const option_row *row = find_row(name);
    if (row && (o->value[row->slot].given || !lists(row->algorithms, algorithm))) return DLX_OK;
    return dlx_decode_options_set(o, name, value, err);
}

dlx_status dlx_option_find(dlx_option_slot *slot, const char **words, bool *has, const char *name,
                           const char *algorithm, dlx_error *err)
{
    const option_row *row = find_row(name);
    if (!row) return dlx_fail(err, DLX_E_INVALID, "there is no decode option '%.100s'", name);
    *slot = row->slot;
    *words = row->words;
    *has = lists(row->algorithms, algorithm);
    return DLX_OK;
}

dlx_status dlx_options_check(const dlx_decode_options *o, const char *algorithm, dlx_error *err)
{
    for (size_t i = 0; i < DLX_COUNT(rows); i++)
        if (o->value[rows[i].slot].given == rows[i].name && !lists(rows[i].algorithms, algorithm))
            return dlx_fail(err, DLX_E_INVALID, "option '%s': %s does not have it; it belongs to %s", rows[i].name,
                            algorithm, rows[i].algorithms);
    return DLX_OK;
}
