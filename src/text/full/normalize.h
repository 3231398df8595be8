/* Runs the normalizers of a tokenizer's steps over text between added tokens. */
#ifndef DLX_TEXT_FULL_NORMALIZE_H
#define DLX_TEXT_FULL_NORMALIZE_H

#include "text/full/pattern.h"
#include "text/tokenizer.h"

/* patterns[i] is that of step i, where it has one. */
dlx_status dlx_normalize(dlx_buffer *out, const dlx_tokenizer *t, dlx_pattern *const *patterns, dlx_search *search,
                         const char *text, size_t n, dlx_error *err);
/* Whether the text surely stays what it is. */
bool dlx_normalize_trivial(const dlx_tokenizer *t, const char *text, size_t n);

/* Bytes of white space that text begins and ends with. */
size_t dlx_leading_space(const char *text, size_t n);
size_t dlx_trailing_space(const char *text, size_t n);

#endif
