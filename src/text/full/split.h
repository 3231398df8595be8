/*
 * The split regexes of the published tokenizers, run by PCRE2.
 *
 * The published patterns are written for Oniguruma with Unicode 16.0 tables (`tokenizers` 0.23). Here each is spelled
 * for PCRE2 so that it matches the same text: \s is written out (PCRE2 counts U+180E as a space, Oniguruma does not),
 * and letters and numbers that are newer than PCRE2 10.42's Unicode 14.0 are named beside \p{L} and \p{N}.
 */
#ifndef DLX_TEXT_FULL_SPLIT_H
#define DLX_TEXT_FULL_SPLIT_H

#include <stddef.h>

#include "base/status.h"
#include "text/tokenizer.h"

/* The split whose pattern in tokenizer.json reads like this, or 0. */
dlx_split dlx_split_from_pattern(const char *pattern);

typedef struct dlx_splitter dlx_splitter; /* immutable, shareable */

dlx_status dlx_splitter_create(dlx_splitter **out, dlx_split split, dlx_error *err);
void dlx_splitter_free(dlx_splitter *s); /* NULL is fine */

/* Calls piece(arg, text, n) for the pieces of valid UTF-8, in order; together they are the whole text. */
typedef void (*dlx_piece_fn)(void *arg, const char *text, size_t n);
dlx_status dlx_splitter_run(const dlx_splitter *s, const char *text, size_t n, dlx_piece_fn piece, void *arg,
                            dlx_error *err);

#endif
