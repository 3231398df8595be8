#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/full/split.h"

#include <pcre2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Inside a class. Letters and numbers of Unicode 15.0, 15.1 and 16.0, from DerivedGeneralCategory.txt. */
#define SPACES "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define LETTERS                                                                                                        \
    "\\p{L}\\x{1c89}-\\x{1c8a}\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{105c0}-\\x{105f3}\\x{10d4a}-\\x{10d65}"        \
    "\\x{10d6f}-\\x{10d85}\\x{10ec2}-\\x{10ec4}\\x{1123f}-\\x{11240}\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}"         \
    "\\x{11390}-\\x{113b5}\\x{113b7}\\x{113d1}\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}"          \
    "\\x{11f12}-\\x{11f33}\\x{1342f}\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}\\x{16100}-\\x{1611d}"                   \
    "\\x{16d40}-\\x{16d6c}\\x{18cff}\\x{1b132}\\x{1b155}\\x{1df25}-\\x{1df2a}\\x{1e030}-\\x{1e06d}"                    \
    "\\x{1e4d0}-\\x{1e4eb}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"
#define NUMBERS                                                                                                        \
    "\\p{N}\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}\\x{16130}-\\x{16139}"  \
    "\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1d2c0}-\\x{1d2d3}\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}"

#define TAIL                                                                                                           \
    "|[^\\r\\n" LETTERS NUMBERS "]?[" LETTERS "]+|[" NUMBERS "]| ?[^" SPACES LETTERS NUMBERS "]+[\\r\\n]*|"            \
    "[" SPACES "]*[\\r\\n]+|[" SPACES "]+(?![^" SPACES "])|[" SPACES "]+"

/*
 * The two published patterns split alike but for the contractions: LLaDA's possessive quantifiers and its single [\r\n]
 * change nothing, since the classes around them do not overlap and \s* swallows runs of line breaks.
 */
static const struct known_split {
    dlx_split split;
    const char *published, *pattern;
} known_splits[] = {
    {DLX_SPLIT_QWEN2,
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
     "\\s+(?!\\S)|\\s+",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)" TAIL},
    {DLX_SPLIT_LLADA,
     "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|"
     "\\s+(?!\\S)|\\s+",
     "'(?i:[sdmt]|ll|ve|re)" TAIL},
};

enum { N_KNOWN = sizeof known_splits / sizeof known_splits[0] };

dlx_split dlx_split_from_pattern(const char *pattern)
{
    for (int i = 0; i < N_KNOWN; i++)
        if (strcmp(pattern, known_splits[i].published) == 0) return known_splits[i].split;
    return (dlx_split)0;
}

struct dlx_splitter {
    pcre2_code *code;
    pcre2_match_context *limits;
};

dlx_status dlx_splitter_create(dlx_splitter **out, dlx_split split, dlx_error *err)
{
    *out = NULL;
    const struct known_split *known = NULL;
    for (int i = 0; i < N_KNOWN; i++)
        if (known_splits[i].split == split) known = &known_splits[i];
    if (!known) return dlx_fail(err, DLX_E_INTERNAL, "split pattern %d is unknown", (int)split);
    dlx_splitter *s = calloc(1, sizeof *s);
    if (!s) return dlx_fail(err, DLX_E_NOMEM, "out of memory for a split pattern");
    int code = 0;
    PCRE2_SIZE at;
    s->code = pcre2_compile((PCRE2_SPTR)known->pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
    s->limits = pcre2_match_context_create(NULL);
    if (!s->code || !s->limits) {
        bool no_memory = s->code || code == PCRE2_ERROR_HEAP_FAILED;
        dlx_splitter_free(s);
        if (no_memory) return dlx_fail(err, DLX_E_NOMEM, "out of memory compiling split pattern %d", (int)split);
        return dlx_fail(
            err, DLX_E_UNSUPPORTED,
            "PCRE2 cannot compile split pattern %d (error %d); it must be 10.33 or newer with Unicode support",
            (int)split, code);
    }
    /* A run of blanks is tried at every length once, which is linear; the default limit would refuse ten million. */
    pcre2_set_match_limit(s->limits, UINT32_MAX);
    pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE); /* where it fails (no executable memory), pcre2_match interprets */
    *out = s;
    return DLX_OK;
}

void dlx_splitter_free(dlx_splitter *s)
{
    if (!s) return;
    pcre2_match_context_free(s->limits);
    pcre2_code_free(s->code);
    free(s);
}

dlx_status dlx_splitter_run(const dlx_splitter *s, const char *text, size_t n, dlx_piece_fn piece, void *arg,
                            dlx_error *err)
{
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    if (!match) return dlx_fail(err, DLX_E_NOMEM, "out of memory splitting a text of %zu bytes", n);
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(match);
    dlx_status status = DLX_OK;
    for (size_t at = 0; at < n;) {
        int rc = pcre2_match(s->code, (PCRE2_SPTR)text, n, at, PCRE2_NO_UTF_CHECK, match, s->limits);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its stack on the heap */
            rc = pcre2_match(s->code, (PCRE2_SPTR)text, n, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match, s->limits);
        if (rc < 0 || bounds[0] != at || bounds[1] <= at) { /* the alternatives together match every character */
            status = dlx_fail(err, rc == PCRE2_ERROR_NOMEMORY ? DLX_E_NOMEM : DLX_E_INTERNAL,
                              "PCRE2 failed at byte %zu of a text of %zu bytes (error %d)", at, n, rc);
            break;
        }
        piece(arg, text + at, bounds[1] - at);
        at = bounds[1];
    }
    pcre2_match_data_free(match);
    return status;
}
