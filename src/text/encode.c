/*
 * The public encoding functions: which parts of a text may become control tokens.
 *
 * Added tokens that are not special (<think>, <tool_call>, those of fill-in-the-middle) are found in any text, as
 * transformers finds them: earlier answers come back as the ids that the model wrote. Special ones, and the mask, which
 * not every published file marks as special (SDAR's <|MASK|> is not), would steer the decoder: text that a user typed
 * never yields them. Text that asks for it (DLX_ENCODE_SPECIAL) and the parts of a chat template that are not message
 * contents do.
 */
#include "text/encode.h"

#include <stdlib.h>
#include <string.h>

#include "text/buffer.h"
#include "text/chat.h"
#include "text/utf8.h"

/* The ids that steps put in front of a prompt and behind it. */
static dlx_status put_around(const dlx_tokenizer *t, int32_t **ids, size_t *n_ids, dlx_error *err)
{
    size_t before = 0, behind = 0, n = *n_ids;
    for (uint32_t i = 0; i < t->n_steps; i++) {
        before += t->steps[i].kind == DLX_STEP_BEFORE;
        behind += t->steps[i].kind == DLX_STEP_BEHIND;
    }
    if (!before && !behind) return DLX_OK;
    int32_t *all = malloc((before + n + behind) * sizeof *all), *put = all;
    if (all) {
        for (uint32_t i = 0; i < t->n_steps; i++)
            if (t->steps[i].kind == DLX_STEP_BEFORE) *put++ = (int32_t)t->steps[i].id;
        memcpy(put, *ids, n * sizeof *all);
        put += n;
        for (uint32_t i = 0; i < t->n_steps; i++)
            if (t->steps[i].kind == DLX_STEP_BEHIND) *put++ = (int32_t)t->steps[i].id;
    }
    free(*ids);
    *ids = all;
    *n_ids = all ? before + n + behind : 0;
    return all ? DLX_OK : dlx_fail(err, DLX_E_NOMEM, "out of memory encoding a text of %zu tokens", n);
}

dlx_status dlx_tokenizer_encode(const dlx_tokenizer *t, const char *text, size_t n, int flags, int32_t **ids,
                                size_t *n_ids, dlx_error *err)
{
    if (ids) *ids = NULL;
    if (n_ids) *n_ids = 0;
    if (!ids || !n_ids) return dlx_fail(err, DLX_E_INVALID, "dlx_tokenizer_encode: ids and n_ids must not be NULL");
    if (!t || (!text && n))
        return dlx_fail(err, DLX_E_INVALID, "dlx_tokenizer_encode: %s must not be NULL", t ? "text" : "tokenizer");
    if (flags & ~(DLX_ENCODE_SPECIAL | DLX_ENCODE_AROUND))
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_tokenizer_encode: unknown flags %d; there are DLX_ENCODE_SPECIAL and DLX_ENCODE_AROUND",
                        flags);
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
    if (status == DLX_OK && flags & DLX_ENCODE_AROUND) status = put_around(t, ids, n_ids, err);
    return status;
}

/* Nothing was printed but white space of the template. */
static bool says_nothing(const dlx_rendered *r)
{
    for (size_t i = 0; i < r->n_spans; i++)
        if (!r->spans[i].own) return false;
    for (size_t i = 0; i < r->text.n; i++)
        if (!memchr(" \t\r\n", r->text.data[i], 4)) return false;
    return true;
}

static dlx_status encode_chat(const dlx_tokenizer *t, const dlx_chat_input *in, const dlx_chat_options *options,
                              const char *function, int32_t **ids, size_t *n_ids, dlx_error *err)
{
    if (ids) *ids = NULL;
    if (n_ids) *n_ids = 0;
    if (!ids || !n_ids) return dlx_fail(err, DLX_E_INVALID, "%s: ids and n_ids must not be NULL", function);
    if (!t) return dlx_fail(err, DLX_E_INVALID, "%s: tokenizer must not be NULL", function);
    dlx_rendered r;
    DLX_TRY(dlx_chat_render_spans(&r, t, in, options, err));
    dlx_status status = DLX_OK;
    if (says_nothing(&r))
        status = dlx_fail(err, DLX_E_INVALID,
                          "the chat template made no text of this conversation; give another one (chat_template), or "
                          "the text of the prompt itself, without a template");
    else
        status = dlx_encoder_run(t, r.text.data ? r.text.data : "", r.text.n, r.spans, r.n_spans, ids, n_ids, err);
    dlx_rendered_free(&r);
    return status;
}

dlx_status dlx_chat_encode(const dlx_tokenizer *t, const dlx_chat_message *messages, size_t n_messages,
                           const dlx_chat_options *options, int32_t **ids, size_t *n_ids, dlx_error *err)
{
    const dlx_chat_input in = {.messages = messages, .n_messages = n_messages};
    return encode_chat(t, &in, options, "dlx_chat_encode", ids, n_ids, err);
}

dlx_status dlx_chat_encode_json(const dlx_tokenizer *t, const char *json, size_t n_json,
                                const dlx_chat_options *options, int32_t **ids, size_t *n_ids, dlx_error *err)
{
    const dlx_chat_input in = {.json = json ? json : "", .n_json = json ? n_json : 0};
    return encode_chat(t, &in, options, "dlx_chat_encode_json", ids, n_ids, err);
}
