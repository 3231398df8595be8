/* Ids to text: whole lists, and streams that hold back the bytes of an unfinished character. */
#include <stdlib.h>
#include <string.h>

#include "text/buffer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

/* The bytes `id` stands for; 0 of them when it has no token or is to be skipped. */
static size_t token_bytes(const dlx_tokenizer *t, int32_t id, bool skip_special, const char **bytes)
{
    if (id < 0 || (uint32_t)id >= t->size || (skip_special && t->kind[id] & DLX_TOKEN_SPECIAL)) return 0;
    *bytes = (const char *)t->bytes + t->offset[id];
    return t->offset[id + 1] - t->offset[id];
}

const char *dlx_tokenizer_bytes(const dlx_tokenizer *t, int32_t id, size_t *n)
{
    const char *bytes = NULL;
    size_t length = t ? token_bytes(t, id, false, &bytes) : 0;
    if (n) *n = length;
    return length ? bytes : NULL;
}

static void add_ids(dlx_buffer *b, const dlx_tokenizer *t, const int32_t *ids, size_t n_ids, bool skip_special)
{
    for (size_t i = 0; i < n_ids; i++) {
        const char *bytes;
        size_t n = token_bytes(t, ids[i], skip_special, &bytes);
        if (n) dlx_buffer_add(b, bytes, n);
    }
}

dlx_status dlx_tokenizer_decode(const dlx_tokenizer *t, const int32_t *ids, size_t n_ids, bool skip_special,
                                char **text, size_t *n, dlx_error *err)
{
    if (n) *n = 0;
    if (!text) return dlx_fail(err, DLX_E_INVALID, "dlx_tokenizer_decode: text must not be NULL");
    *text = NULL;
    if (!t || (!ids && n_ids))
        return dlx_fail(err, DLX_E_INVALID, "dlx_tokenizer_decode: %s must not be NULL", t ? "ids" : "tokenizer");
    dlx_buffer raw = {0}, clean = {0};
    add_ids(&raw, t, ids, n_ids, skip_special);
    if (raw.failed || raw.n == 0 || dlx_utf8_valid(raw.data, raw.n))
        return dlx_buffer_take(&raw, text, n, "decoded text", err);
    dlx_buffer_add_utf8(&clean, raw.data, raw.n);
    dlx_buffer_free(&raw);
    return dlx_buffer_take(&clean, text, n, "decoded text", err);
}

struct dlx_text_stream {
    const dlx_tokenizer *tokenizer;
    bool skip_special;
    char held[4]; /* the first bytes of an unfinished character */
    size_t n_held;
    dlx_buffer raw, text; /* of the last call */
};

dlx_status dlx_text_stream_open(dlx_text_stream **out, const dlx_tokenizer *tokenizer, bool skip_special,
                                dlx_error *err)
{
    if (!out) return dlx_fail(err, DLX_E_INVALID, "dlx_text_stream_open: out must not be NULL");
    *out = NULL;
    if (!tokenizer) return dlx_fail(err, DLX_E_INVALID, "dlx_text_stream_open: tokenizer must not be NULL");
    dlx_text_stream *s = calloc(1, sizeof *s);
    if (!s) return dlx_fail(err, DLX_E_NOMEM, "out of memory for a text stream");
    s->tokenizer = tokenizer;
    s->skip_special = skip_special;
    *out = s;
    return DLX_OK;
}

void dlx_text_stream_close(dlx_text_stream *stream)
{
    if (!stream) return;
    dlx_buffer_free(&stream->raw);
    dlx_buffer_free(&stream->text);
    free(stream);
}

/* Bytes at the end of p[0 .. n) that begin a character without finishing it: at most 3. */
static size_t unfinished_tail(const char *p, size_t n)
{
    size_t first = n < 3 ? 0 : n - 3;
    for (size_t i = first; i < n; i++) {
        if (((unsigned char)p[i] & 0xC0) == 0x80) continue; /* not the first byte of a character */
        uint32_t c;
        dlx_utf8_next(p + i, n - i, &c);
        if (c == DLX_UTF8_CUT) return n - i;
    }
    return 0;
}

/* Hands out s->text. On failure the stream keeps what it held before the call. */
static dlx_status hand_out(dlx_text_stream *s, size_t keep, const char **text, size_t *n, dlx_error *err)
{
    size_t whole = s->raw.n - keep;
    s->text.n = 0;
    if (whole) dlx_buffer_add_utf8(&s->text, s->raw.data, whole);
    size_t length = s->text.n;
    dlx_buffer_add(&s->text, "", 1);
    if (s->raw.failed || s->text.failed) {
        s->raw.failed = s->text.failed = false;
        return dlx_fail(err, DLX_E_NOMEM, "out of memory for streamed text (%zu bytes)", length);
    }
    if (keep) memcpy(s->held, s->raw.data + whole, keep);
    s->n_held = keep;
    *text = s->text.data;
    if (n) *n = length;
    return DLX_OK;
}

dlx_status dlx_text_stream_push(dlx_text_stream *s, const int32_t *ids, size_t n_ids, const char **text, size_t *n,
                                dlx_error *err)
{
    if (n) *n = 0;
    if (text) *text = NULL;
    if (!s || !text || (!ids && n_ids))
        return dlx_fail(err, DLX_E_INVALID, "dlx_text_stream_push: %s must not be NULL",
                        !s      ? "stream"
                        : !text ? "text"
                                : "ids");
    s->raw.n = 0;
    dlx_buffer_add(&s->raw, s->held, s->n_held);
    add_ids(&s->raw, s->tokenizer, ids, n_ids, s->skip_special);
    size_t keep = s->raw.n ? unfinished_tail(s->raw.data, s->raw.n) : 0;
    return hand_out(s, keep, text, n, err);
}

dlx_status dlx_text_stream_flush(dlx_text_stream *s, const char **text, size_t *n, dlx_error *err)
{
    if (n) *n = 0;
    if (text) *text = NULL;
    if (!s || !text)
        return dlx_fail(err, DLX_E_INVALID, "dlx_text_stream_flush: %s must not be NULL", s ? "text" : "stream");
    s->raw.n = 0;
    dlx_buffer_add(&s->raw, s->held, s->n_held);
    return hand_out(s, 0, text, n, err);
}
