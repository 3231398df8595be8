/*
 * The tokenizer object behind diffulex_edge/text.h, and how one comes to be.
 *
 * A reader (full/load*.c for Hugging Face files, packed.c for the compact form) calls dlx_tokenizer_new, fills the
 * fields under "read" with memory of the object's arena, and calls dlx_tokenizer_finish, which checks every invariant
 * listed here, whatever the source, and derives the rest. After that the object never changes.
 */
#ifndef DLX_TEXT_TOKENIZER_H
#define DLX_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diffulex_edge/text.h"

#include "base/arena.h"
#include "text/steps.h"

enum {
    DLX_MAX_TOKENS = 1 << 21,
    DLX_MAX_MERGES = 1 << 22,
    DLX_MAX_TOKEN_BYTES = 4096, /* bytes one token stands for; bounds the work of checking hostile merges */
    DLX_MAX_ADDED_BYTES = 512,  /* text of an added token; bounds the work of searching for added tokens */
};

/* Kinds of an id; 0: the id has no token. */
enum {
    DLX_TOKEN_MODEL = 1,      /* in the BPE vocabulary */
    DLX_TOKEN_ADDED = 2,      /* an added token: cut out of the text before BPE */
    DLX_TOKEN_SPECIAL = 4,    /* added, and dropped by skip_special */
    DLX_TOKEN_NORMALIZED = 8, /* added, and looked for in normalised text instead of in the text itself */
    DLX_TOKEN_LSTRIP = 16,    /* added, and takes the white space in front of it along */
    DLX_TOKEN_RSTRIP = 32,    /* added, and takes the white space behind it along */
    DLX_TOKEN_WORD = 64,      /* added, and found only where no word goes on at either end */
    DLX_TOKEN_LITERAL = 128,  /* in the BPE vocabulary, but not spelled in the byte alphabet: no piece of text is it */
};

typedef struct dlx_merge {
    uint32_t left, right, merged; /* ids; rank is the place in the list */
} dlx_merge;

typedef struct dlx_added_token {
    uint32_t id;
    uint32_t length;  /* bytes of text */
    const char *text; /* UTF-8, as it stands in prompts; not NUL-terminated */
} dlx_added_token;

/* Merges grouped by left id, ascending by right id within a group. */
typedef struct dlx_merge_entry {
    uint32_t right, rank, merged;
} dlx_merge_entry;

typedef struct dlx_encoder dlx_encoder;

struct dlx_tokenizer {
    dlx_arena arena;

    /* ---- read ---- */
    uint32_t size;          /* ids are 0 .. size-1 */
    const uint8_t *kind;    /* [size] */
    const uint32_t *offset; /* [size+1], ascending: id stands for bytes[offset[id] .. offset[id+1]) */
    const uint8_t *bytes;
    uint32_t byte_id[256];   /* the token a single byte starts as */
    const dlx_merge *merges; /* [n_merges]; of equal pairs the last one counts */
    uint32_t n_merges;
    dlx_added_token *added; /* [n_added]; finish sorts them by text */
    uint32_t n_added;
    const dlx_text_step *steps; /* [n_steps] */
    uint32_t n_steps;
    bool ignore_merges;           /* a piece that is a token as it stands is that token */
    struct dlx_jinja *chat;       /* the chat template, or NULL */
    struct dlx_jinja *chat_tools; /* the one named "tool_use", for conversations with tools, or NULL: the other one */
    const char *variables;        /* what templates see of it (bos_token ...): a JSON object, or NULL for none */
    uint32_t n_variables;         /* bytes of it */
    bool chat_lost;               /* the file is older than templates in files, and had one that is not known */
    int32_t mask_id;              /* -1: none */

    /* ---- derived ---- */
    const uint32_t *merge_start;          /* [size+1] */
    const dlx_merge_entry *merge_entries; /* [merge_start[size]] */
    dlx_encoder *encoder;                 /* NULL in a runtime-only build */
};

dlx_status dlx_tokenizer_new(dlx_tokenizer **out, dlx_error *err);
/* On failure the caller still closes the object. */
dlx_status dlx_tokenizer_finish(dlx_tokenizer *t, dlx_error *err);

/* The added token with exactly this text, or NULL. */
const dlx_added_token *dlx_added_find(const dlx_tokenizer *t, const char *text, size_t n);

#endif
