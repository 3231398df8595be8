/*
 * Cuts text into the pieces that BPE sees, by the splits of a tokenizer's steps: Split and Digits, then ByteLevel, as
 * the `tokenizers` library does it: every step cuts each piece of the one before.
 */
#ifndef DLX_TEXT_FULL_SPLIT_H
#define DLX_TEXT_FULL_SPLIT_H

#include "text/full/pattern.h"
#include "text/tokenizer.h"

/* What an encoding needs for splitting, one thread at a time. */
typedef struct dlx_splitter {
    const dlx_tokenizer *t;
    dlx_pattern *const *patterns; /* by step; DIGITS has one, and BYTE_LEVEL where its flag asks for the expression */
    dlx_search *search;
    void (*piece)(void *arg, const char *text, size_t n); /* gets the pieces in order; n is at least 1 */
    void *arg;
    dlx_error *err;
} dlx_splitter;

/* The expression of a step that has one, or NULL; *n is its length, *regex whether it is a regular expression. */
const char *dlx_step_pattern(const dlx_text_step *s, size_t *n, bool *regex);

dlx_status dlx_split_text(const dlx_splitter *s, const char *text, size_t n);

#endif
