/*
 * Rendering conversations: messages, options and the tokenizer's own facts become variables of its chat template, and
 * what that prints becomes text of which each part is known to be the template's or the caller's.
 */
#ifndef DLX_TEXT_CHAT_H
#define DLX_TEXT_CHAT_H

#include "diffulex_edge/text.h"

#include "text/buffer.h"
#include "text/encode.h"

/* Messages, either as structures or as JSON. */
typedef struct dlx_chat_input {
    const dlx_chat_message *messages;
    size_t n_messages;
    const char *json; /* NULL: structures */
    size_t n_json;
} dlx_chat_input;

typedef struct dlx_rendered {
    dlx_buffer text;      /* valid UTF-8 */
    dlx_text_span *spans; /* the last one ends at text.n; neighbours differ in `own` */
    size_t n_spans, capacity;
} dlx_rendered;

/* On failure there is nothing to free. */
dlx_status dlx_chat_render_spans(dlx_rendered *out, const dlx_tokenizer *t, const dlx_chat_input *in,
                                 const dlx_chat_options *options, dlx_error *err);
void dlx_rendered_free(dlx_rendered *r);

/* Whether n bytes are a JSON object, as the variables of a tokenizer must be. */
dlx_status dlx_chat_check_variables(const char *json, size_t n, dlx_error *err);

#endif
