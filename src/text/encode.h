/*
 * Between the public encoding functions (encode.c) and the encoder, which needs PCRE2 and utf8proc: full/encode.c has
 * it, encode_unavailable.c stands in for it in a runtime-only build.
 */
#ifndef DLX_TEXT_ENCODE_H
#define DLX_TEXT_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "text/tokenizer.h"

/* A stretch of text: it begins where the one before ends. Only `own` text can become added tokens. */
typedef struct dlx_text_span {
    size_t end;
    bool own;
} dlx_text_span;

/* What encoding needs beyond the tokenizer itself; NULL where it cannot encode. */
dlx_status dlx_encoder_create(dlx_encoder **out, const dlx_tokenizer *t, dlx_error *err);
void dlx_encoder_free(dlx_encoder *encoder); /* NULL is fine */

/* Encodes valid UTF-8; the last span ends at n. *ids is malloc'd. */
dlx_status dlx_encoder_run(const dlx_tokenizer *t, const char *text, size_t n, const dlx_text_span *spans,
                           size_t n_spans, int32_t **ids, size_t *n_ids, dlx_error *err);

#endif
