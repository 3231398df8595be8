/*
 * Builds the fields of a tokenizer from entries as Hugging Face files spell them: a vocabulary object, merges, and
 * added tokens. Used in this order: set, add (any number), merge (any number), build.
 */
#ifndef DLX_TEXT_FULL_VOCABULARY_H
#define DLX_TEXT_FULL_VOCABULARY_H

#include <jansson.h>

#include "text/buffer.h"
#include "text/tokenizer.h"

typedef struct dlx_vocabulary {
    dlx_tokenizer *tokenizer;
    const char *file; /* for messages: where the entries in hand come from; set by the caller before each source */
    json_t *entries;  /* borrowed: object of text -> id */
    uint32_t size;
    dlx_added_token *added;
    uint8_t *added_kind; /* [n_added] */
    size_t n_added, added_capacity, kind_capacity;
    json_t *added_place; /* object: text of an added token -> its place in added[] */
    uint8_t *added_ids;  /* one bit for each id below DLX_MAX_TOKENS */
    dlx_merge *merges;
    size_t n_merges, merges_capacity;
    dlx_buffer whole; /* scratch: the text of a merged token */
} dlx_vocabulary;

/* Checks the ids. `entries` must live until build. On failure the caller still frees v. */
dlx_status dlx_vocabulary_set(dlx_vocabulary *v, dlx_tokenizer *t, json_t *entries, const char *file, dlx_error *err);
/* An added token; content (NUL-terminated) is copied. `kind`: DLX_TOKEN_* bits. */
dlx_status dlx_vocabulary_add(dlx_vocabulary *v, json_int_t id, const char *content, unsigned kind, dlx_error *err);
/* Whether an added token with this id or this text is there already. */
bool dlx_vocabulary_has_added(const dlx_vocabulary *v, json_int_t id, const char *content);
/* Id of the added token with exactly this text, or -1. */
int32_t dlx_vocabulary_added_id(const dlx_vocabulary *v, const char *content);
/* Id of the added token or vocabulary entry with exactly this text, or -1. */
int32_t dlx_vocabulary_find(const dlx_vocabulary *v, const char *content);
/* The next merge. */
dlx_status dlx_vocabulary_merge(dlx_vocabulary *v, const char *left, const char *right, dlx_error *err);
/* Moves everything into the tokenizer. */
dlx_status dlx_vocabulary_build(dlx_vocabulary *v, dlx_error *err);
void dlx_vocabulary_free(dlx_vocabulary *v);

#endif
