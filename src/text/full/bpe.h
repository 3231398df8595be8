/*
 * Byte-pair encoding of one piece of text (Sennrich et al. 2016): of all neighbouring pairs that have a merge, the one
 * of lowest rank, leftmost among equals, becomes one token, until no pair has a merge.
 */
#ifndef DLX_TEXT_FULL_BPE_H
#define DLX_TEXT_FULL_BPE_H

#include "text/tokenizer.h"

/* Scratch and result of an encoding; starts zeroed. */
typedef struct dlx_bpe {
    const dlx_tokenizer *tokenizer;
    int32_t *ids; /* malloc'd */
    size_t n_ids, ids_capacity;
    struct dlx_bpe_symbol *symbols;
    size_t symbols_capacity;
    struct dlx_bpe_candidate *heap;
    size_t heap_n, heap_capacity;
    bool failed; /* out of memory */
} dlx_bpe;

enum { DLX_BPE_MAX_PIECE = 1 << 30 };

/* Appends the ids of a piece of 1 to DLX_BPE_MAX_PIECE bytes. */
void dlx_bpe_encode(dlx_bpe *b, const char *piece, size_t n);
void dlx_bpe_add_id(dlx_bpe *b, uint32_t id);
/* Everything but ids. */
void dlx_bpe_free_scratch(dlx_bpe *b);

#endif
