/*
 * The steps of a tokenizer around BPE, as tokenizer.json lists them: what is done to text between added tokens
 * (normalizer), how it is cut into pieces (pre_tokenizer), and which ids a prompt gets around it (post_processor). They
 * are data here, part of the packed form; text/full/ runs them.
 */
#ifndef DLX_TEXT_STEPS_H
#define DLX_TEXT_STEPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

/* The numbers are part of the packed form, and grow in the order in which steps run. */
typedef enum dlx_step_kind {
    DLX_STEP_NFC = 1,
    DLX_STEP_NFD,
    DLX_STEP_NFKC,
    DLX_STEP_NFKD,
    DLX_STEP_LOWERCASE, /* character by character */
    DLX_STEP_STRIP,     /* white space off the ends that the flags name */
    DLX_STEP_PREPEND,   /* `text` goes in front of what is not empty */
    DLX_STEP_REPLACE,   /* every match of `text` becomes `second` */
    DLX_STEP_NORMALIZERS_END,

    DLX_STEP_SPLIT = 16, /* cuts at the matches of `text` */
    DLX_STEP_DIGITS,     /* cuts numbers out */
    DLX_STEP_BYTE_LEVEL, /* always there, the last of these: its regex where a flag says so, then bytes */
    DLX_STEP_SPLITS_END,

    DLX_STEP_BEFORE = 32, /* `id` in front of a prompt */
    DLX_STEP_BEHIND,      /* `id` behind it */
    DLX_STEP_KINDS_END,
} dlx_step_kind;

/* Flags of a step; 0 unless listed. */
enum {
    DLX_STRIP_LEFT = 1,
    DLX_STRIP_RIGHT = 2,
    DLX_PATTERN_REGEX = 1,  /* REPLACE, SPLIT: `text` is a regular expression (text/full/pattern.h), not a word */
    DLX_SPLIT_INVERT = 2,   /* SPLIT: matches and what lies between them change places */
    DLX_SPLIT_BEHAVIOR = 4, /* SPLIT: times this, a dlx_behavior */
    DLX_DIGITS_SINGLE = 1,
    DLX_BYTES_PREFIX = 1, /* a blank goes in front of a piece that begins with none */
    DLX_BYTES_REGEX = 2,  /* pieces are cut by GPT-2's expression first */
};

/* What becomes of a match. */
typedef enum dlx_behavior {
    DLX_ISOLATED,
    DLX_REMOVED,
    DLX_MERGED_WITH_PREVIOUS,
    DLX_MERGED_WITH_NEXT,
    DLX_CONTIGUOUS, /* isolated, neighbouring matches as one */
    DLX_BEHAVIORS
} dlx_behavior;

typedef struct dlx_text_step {
    uint8_t kind, flags;
    uint16_t n_text, n_second; /* bytes */
    uint32_t id;
    const char *text, *second; /* UTF-8; not NUL-terminated */
} dlx_text_step;

enum {
    DLX_MAX_STEPS = 32,
    DLX_MAX_STEP_TEXT = 4096,
    DLX_STEP_HEADER = 12, /* packed: u8 kind, u8 flags, u16 n_text, u16 n_second, u16 0, u32 id; the texts follow */
};

/* The steps of the published tokenizers of the four families. The numbers are those of packed form 1. */
enum {
    DLX_PUBLISHED_QWEN2 = 1, /* Qwen2, Qwen2.5, Qwen3, Dream, SDAR, Fast-dLLM v2 */
    DLX_PUBLISHED_LLADA = 2, /* LLaDA (and Ling) */
};
/* Static; NULL for another number. */
const dlx_text_step *dlx_steps_published(uint32_t which, bool nfc, uint32_t *n);

/* Known kinds and flags in the right order, texts in UTF-8 and within bounds, a DLX_STEP_BYTE_LEVEL; ids are not
 * looked at. */
dlx_status dlx_steps_check(const dlx_text_step *steps, uint32_t n, dlx_error *err);

/* Bytes that n checked steps take in the packed form, and writing them there. */
size_t dlx_steps_size(const dlx_text_step *steps, uint32_t n);
void dlx_steps_write(uint8_t *out, const dlx_text_step *steps, uint32_t n);
/* Reads `size` bytes into `arena`. */
dlx_status dlx_steps_read(const dlx_text_step **steps, uint32_t *n, dlx_arena *arena, const uint8_t *bytes, size_t size,
                          dlx_error *err);

#endif
