/*
 * Regular expressions of tokenizer files, run by PCRE2.
 *
 * They are written for Oniguruma with Unicode 16.0 tables (`tokenizers` 0.23). An expression is read and spelled anew
 * so that PCRE2 matches the same text: \s is written out (PCRE2 counts U+180E as a space, Oniguruma does not), and
 * letters, marks, numbers, punctuation and symbols that are newer than PCRE2 10.42's Unicode 14.0 are named beside
 * \p{L} and its like. What the two might understand differently is refused by name: backreferences, anchors, \w, sets
 * inside sets, letters beyond ASCII and letter pairs with ligatures where case does not count, and so on.
 */
#ifndef DLX_TEXT_FULL_PATTERN_H
#define DLX_TEXT_FULL_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "text/buffer.h"

/* Appends the expression as PCRE2 takes it (UTF and UCP mode). DLX_E_UNSUPPORTED names what is not taken, and where. */
dlx_status dlx_pattern_translate(dlx_buffer *out, const char *regex, size_t n, dlx_error *err);

typedef struct dlx_pattern dlx_pattern; /* immutable, shareable */

/* Of a regular expression, or of a word that stands for itself; one that matches nothing at all is refused. */
dlx_status dlx_pattern_create(dlx_pattern **out, const char *text, size_t n, bool regex, dlx_error *err);
/* Whether that can be made, without making it ready to run. */
dlx_status dlx_pattern_check(const char *text, size_t n, bool regex, dlx_error *err);
void dlx_pattern_free(dlx_pattern *p); /* NULL is fine */

/* What a search needs besides; one thread at a time. */
typedef struct dlx_search dlx_search;
dlx_status dlx_search_create(dlx_search **out, dlx_error *err);
void dlx_search_free(dlx_search *s); /* NULL is fine */

/* The first match of valid UTF-8 text[0 .. n) that begins at `from` or behind it, never empty; *start is n where there
 * is none. DLX_E_LIMIT when an expression backtracks without end. */
dlx_status dlx_pattern_find(const dlx_pattern *p, dlx_search *s, const char *text, size_t n, size_t from, size_t *start,
                            size_t *end, dlx_error *err);

#endif
