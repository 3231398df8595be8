/*
 * The encoder: added tokens are cut out of the raw text, the rest is brought to NFC, searched for the added tokens that
 * are declared "normalized", split, and each piece goes through BPE.
 */
#include "text/encode.h"

#include <stdlib.h>
#include <string.h>

#include "text/full/bpe.h"
#include "text/full/nfc.h"
#include "text/full/split.h"

enum { MAX_TEXT = 1 << 30 };

struct dlx_encoder {
    dlx_splitter *splitter;
};

dlx_status dlx_encoder_create(dlx_encoder **out, const dlx_tokenizer *t, dlx_error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out) return dlx_fail(err, DLX_E_NOMEM, "out of memory for an encoder");
    return dlx_splitter_create(&(*out)->splitter, t->split, err);
}

void dlx_encoder_free(dlx_encoder *encoder)
{
    if (!encoder) return;
    dlx_splitter_free(encoder->splitter);
    free(encoder);
}

typedef struct run {
    const dlx_tokenizer *t;
    dlx_bpe bpe;
    bool plain_parts; /* some of the text must not become added tokens */
    dlx_error *err;
} run;

static void encode_piece(void *arg, const char *text, size_t n)
{
    dlx_bpe_encode(arg, text, n);
}

static dlx_status encode_words(run *r, const char *text, size_t n)
{
    return n ? dlx_splitter_run(r->t->encoder->splitter, text, n, encode_piece, &r->bpe, r->err) : DLX_OK;
}

/* Place of the longest added token at text[0 .. n) that is looked for before NFC, or n_added. */
static uint32_t match_raw(const dlx_tokenizer *t, const char *text, size_t n)
{
    uint32_t i = dlx_added_longest(t, 0, t->n_added_raw, text, n);
    return i == t->n_added_raw ? t->n_added : i;
}

/* The same of those that are looked for behind NFC. */
static uint32_t match_normalized(const dlx_tokenizer *t, const char *text, size_t n)
{
    return dlx_added_longest(t, t->n_added_raw, t->n_added, text, n);
}

/*
 * Place of the added token at text[0 .. n), or n_added. Where only parts of the text may become added tokens, the
 * normalized ones are looked for here as well, since NFC would move the borders of the parts (templates are ASCII,
 * where it changes nothing): between raw ones, which are cut out first.
 */
static uint32_t match_added(const run *r, const char *text, size_t n)
{
    uint32_t none = r->t->n_added, found = match_raw(r->t, text, n);
    if (found != none || !r->plain_parts) return found;
    found = match_normalized(r->t, text, n);
    if (found == none) return none;
    for (size_t i = 1; i < r->t->added[found].length; i++)
        if (match_raw(r->t, text + i, n - i) != none) return none;
    return found;
}

/* Text behind NFC: the added tokens that are declared normalized, and words between them. */
static dlx_status encode_normalized(run *r, const char *text, size_t n)
{
    size_t start = 0;
    if (r->plain_parts || r->t->n_added_raw == r->t->n_added) return encode_words(r, text, n);
    for (size_t i = 0; i < n;) {
        uint32_t a = match_normalized(r->t, text + i, n - i);
        if (a == r->t->n_added) {
            i++;
            continue;
        }
        DLX_TRY(encode_words(r, text + start, i - start));
        dlx_bpe_add_id(&r->bpe, r->t->added[a].id);
        start = i += r->t->added[a].length;
    }
    return encode_words(r, text + start, n - start);
}

/* Text between added tokens. */
static dlx_status encode_plain(run *r, const char *text, size_t n)
{
    if (!r->t->nfc || dlx_nfc_trivial(text, n)) return encode_normalized(r, text, n);
    dlx_buffer b = {0};
    dlx_nfc(&b, text, n);
    dlx_status status = b.failed ? dlx_fail(r->err, DLX_E_NOMEM, "out of memory normalising a text of %zu bytes", n)
                                 : encode_normalized(r, b.data, b.n);
    dlx_buffer_free(&b);
    return status;
}

static dlx_status encode_spans(run *r, const char *text, size_t n, const dlx_text_span *spans, size_t n_spans)
{
    size_t start = 0, i = 0;
    for (size_t s = 0; s < n_spans; s++) {
        if (!spans[s].own) {
            i = spans[s].end;
            continue;
        }
        while (i < spans[s].end) {
            uint32_t a = match_added(r, text + i, spans[s].end - i);
            if (a == r->t->n_added) {
                i++;
                continue;
            }
            DLX_TRY(encode_plain(r, text + start, i - start));
            dlx_bpe_add_id(&r->bpe, r->t->added[a].id);
            start = i += r->t->added[a].length;
        }
    }
    return encode_plain(r, text + start, n - start);
}

dlx_status dlx_encoder_run(const dlx_tokenizer *t, const char *text, size_t n, const dlx_text_span *spans,
                           size_t n_spans, int32_t **ids, size_t *n_ids, dlx_error *err)
{
    if (n > MAX_TEXT)
        return dlx_fail(err, DLX_E_LIMIT, "text to encode has %zu bytes; at most %d can be encoded at once", n,
                        MAX_TEXT);
    run r = {.t = t, .bpe = {.tokenizer = t}, .err = err};
    for (size_t s = 0; s < n_spans; s++) r.plain_parts = r.plain_parts || !spans[s].own;
    dlx_status status = n ? encode_spans(&r, text, n, spans, n_spans) : DLX_OK;
    if (status == DLX_OK && (r.bpe.failed || dlx_grow(&r.bpe.ids, &r.bpe.ids_capacity, 1, sizeof *r.bpe.ids) != 0))
        status = dlx_fail(err, DLX_E_NOMEM, "out of memory encoding a text of %zu bytes", n);
    dlx_bpe_free_scratch(&r.bpe);
    if (status != DLX_OK) {
        free(r.bpe.ids);
        return status;
    }
    *ids = r.bpe.ids;
    *n_ids = r.bpe.n_ids;
    return DLX_OK;
}
