/*
 * Added tokens in text, found as the `tokenizers` library finds them: leftmost, the longest first, one after another;
 * a match that its flags forbid is passed over as a whole. lstrip and rstrip take the white space around a token with
 * it, single_word wants none of the characters of words beside it.
 */
#ifndef DLX_TEXT_FULL_ADDED_H
#define DLX_TEXT_FULL_ADDED_H

#include "text/encode.h"

/* Added tokens of one kind, sorted by the text that is looked for. */
typedef struct dlx_added_list {
    dlx_added_token *token; /* text: as it stands in the text that is searched */
    uint32_t n;
    uint64_t starts[4]; /* one bit for each byte that one of them begins with */
} dlx_added_list;

/* A token that a text which somebody typed must not bring in: a special one, and the mask, which some of the published
 * files do not call special. */
bool dlx_added_is_control(const dlx_tokenizer *t, uint32_t id);

/* Sorts the tokens; of equal texts the one that came last counts. */
void dlx_added_index(dlx_added_list *list);

/* What a search goes through. Spans as dlx_encoder_run has them: control tokens are found in own text alone. */
typedef struct dlx_added_search {
    const dlx_tokenizer *t;
    const dlx_added_list *list;
    const char *text;
    size_t n;
    const dlx_text_span *spans;
    size_t n_spans;
    size_t at;   /* where the search goes on */
    size_t span; /* the one that holds it, or one in front */
    size_t done; /* text in front of it is used up */
} dlx_added_search;

/* The next token at text[*start .. *end); false: there is none any more. */
bool dlx_added_next(dlx_added_search *s, uint32_t *id, size_t *start, size_t *end);

#endif
