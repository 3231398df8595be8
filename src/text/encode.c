/*
 * The public encoding functions: which parts of a text may become added tokens.
 *
 * Text that a user typed never yields an added token, special or not: not every control token is marked special in the
 * published files (SDAR's <|MASK|>, <think> and <tool_call> are not), and a mask or a tool call that came in through a
 * prompt would steer the decoder. Text that asks for it (DLX_ENCODE_SPECIAL) and the parts of a chat template that are
 * not message contents do.
 */
#include "text/encode.h"

#include <stdlib.h>
#include <string.h>

#include "text/buffer.h"
#include "text/chat.h"
#include "text/utf8.h"

dlx_status dlx_tokenizer_encode(const dlx_tokenizer *t, const char *text, size_t n, int flags, int32_t **ids,
                                size_t *n_ids, dlx_error *err)
{
    if (ids) *ids = NULL;
    if (n_ids) *n_ids = 0;
    if (!ids || !n_ids) return dlx_fail(err, DLX_E_INVALID, "dlx_tokenizer_encode: ids and n_ids must not be NULL");
    if (!t || (!text && n))
        return dlx_fail(err, DLX_E_INVALID, "dlx_tokenizer_encode: %s must not be NULL", t ? "text" : "tokenizer");
    if (flags & ~DLX_ENCODE_SPECIAL)
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_tokenizer_encode: unknown flags %d; DLX_ENCODE_SPECIAL is the only one", flags);
    if (n == 0) text = "";
    char *clean = NULL;
    if (!dlx_utf8_valid(text, n)) {
        dlx_buffer b = {0};
        dlx_buffer_add_utf8(&b, text, n);
        DLX_TRY(dlx_buffer_take(&b, &clean, &n, "a text to encode", err));
        text = clean;
    }
    dlx_text_span span = {.end = n, .own = flags & DLX_ENCODE_SPECIAL};
    dlx_status status = dlx_encoder_run(t, text, n, &span, 1, ids, n_ids, err);
    free(clean);
    return status;
}

dlx_status dlx_chat_encode(const dlx_tokenizer *t, const dlx_chat_message *messages, size_t n_messages,
                           const dlx_chat_options *options, int32_t **ids, size_t *n_ids, dlx_error *err)
{
    if (ids) *ids = NULL;
    if (n_ids) *n_ids = 0;
    if (!ids || !n_ids) return dlx_fail(err, DLX_E_INVALID, "dlx_chat_encode: ids and n_ids must not be NULL");
    if (!t) return dlx_fail(err, DLX_E_INVALID, "dlx_chat_encode: tokenizer must not be NULL");
    dlx_rendered r;
    DLX_TRY(dlx_chat_render_spans(&r, t->chat, messages, n_messages, options, err));
    dlx_status status = dlx_encoder_run(t, r.text.data, r.text.n, r.spans, r.n_spans, ids, n_ids, err);
    dlx_rendered_free(&r);
    return status;
}
