/*
 * The encoder: added tokens are cut out of the raw text, the rest is normalised, searched for the added tokens that are
 * declared "normalized", split, and each piece goes through BPE.
 */
#include "text/encode.h"

#include <stdlib.h>
#include <string.h>

#include "text/full/added.h"
#include "text/full/bpe.h"
#include "text/full/normalize.h"
#include "text/full/split.h"
#include "text/full/whole.h"

enum { MAX_TEXT = 1 << 30 };

struct dlx_encoder {
    dlx_pattern *patterns[DLX_MAX_STEPS]; /* by step; NULL where a step has none */
    dlx_added_list raw, normalized;
    char *texts; /* of `normalized`, as normalising leaves them */
    bool normalized_control;
    dlx_whole whole; /* pieces that are tokens as they stand, where merges are ignored for them */
};

/* ---- what is derived from a tokenizer --------------------------------------------------------------------------- */

static dlx_status compile(dlx_encoder *e, const dlx_tokenizer *t, dlx_error *err)
{
    for (uint32_t i = 0; i < t->n_steps; i++) {
        size_t n;
        bool regex;
        const char *text = dlx_step_pattern(&t->steps[i], &n, &regex);
        if (text) DLX_TRY(dlx_pattern_create(&e->patterns[i], text, n, regex, err));
    }
    return DLX_OK;
}

/* A normalised token is looked for as normalising leaves its own text. */
static dlx_status normalize_added(dlx_encoder *e, const dlx_tokenizer *t, dlx_search *search, dlx_error *err)
{
    dlx_buffer all = {0};
    size_t used = 0;
    for (uint32_t i = 0; i < e->normalized.n; i++) {
        dlx_added_token *a = &e->normalized.token[i];
        dlx_status status = dlx_normalize(&all, t, e->patterns, search, a->text, a->length, err);
        e->texts = all.data; /* kept, and freed with the encoder, from here on */
        if (status != DLX_OK) return status;
        if (all.n - used > UINT32_MAX) return dlx_fail(err, DLX_E_LIMIT, "added tokens are too long");
        a->length = (uint32_t)(all.n - used);
        used = all.n;
        e->normalized_control = e->normalized_control || dlx_added_is_control(t, a->id);
    }
    used = 0;
    for (uint32_t i = 0; i < e->normalized.n; i++) {
        e->normalized.token[i].text = e->texts ? e->texts + used : "";
        used += e->normalized.token[i].length;
    }
    return DLX_OK;
}

static dlx_status index_added(dlx_encoder *e, const dlx_tokenizer *t, dlx_error *err)
{
    dlx_search *search;
    e->raw.token = malloc((t->n_added + 1) * sizeof *e->raw.token);
    e->normalized.token = malloc((t->n_added + 1) * sizeof *e->raw.token);
    if (!e->raw.token || !e->normalized.token)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory for %u added tokens", t->n_added);
    for (uint32_t i = 0; i < t->n_added; i++) {
        dlx_added_list *l = t->kind[t->added[i].id] & DLX_TOKEN_NORMALIZED ? &e->normalized : &e->raw;
        l->token[l->n++] = t->added[i];
    }
    DLX_TRY(dlx_search_create(&search, err));
    dlx_status status = normalize_added(e, t, search, err);
    dlx_search_free(search);
    if (status != DLX_OK) return status;
    dlx_added_index(&e->raw);
    dlx_added_index(&e->normalized);
    return DLX_OK;
}

dlx_status dlx_encoder_create(dlx_encoder **out, const dlx_tokenizer *t, dlx_error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out) return dlx_fail(err, DLX_E_NOMEM, "out of memory for an encoder");
    DLX_TRY(compile(*out, t, err));
    DLX_TRY(index_added(*out, t, err));
    return t->ignore_merges ? dlx_whole_create(&(*out)->whole, t, err) : DLX_OK;
}

void dlx_encoder_free(dlx_encoder *encoder)
{
    if (!encoder) return;
    for (size_t i = 0; i < DLX_MAX_STEPS; i++) dlx_pattern_free(encoder->patterns[i]);
    free(encoder->raw.token);
    free(encoder->normalized.token);
    free(encoder->texts);
    dlx_whole_free(&encoder->whole);
    free(encoder);
}

/* ---- encoding --------------------------------------------------------------------------------------------------- */

typedef struct run {
    const dlx_tokenizer *t;
    const dlx_text_span *spans;
    size_t n_spans;
    bool mixed; /* some of the text is own text, some is not */
    dlx_bpe bpe;
    dlx_search *search;
    dlx_error *err;
} run;

static void encode_piece(void *arg, const char *text, size_t n)
{
    run *r = arg;
    uint32_t id;
    if (r->t->ignore_merges && dlx_whole_find(&r->t->encoder->whole, r->t, text, n, &id))
        dlx_bpe_add_id(&r->bpe, id);
    else
        dlx_bpe_encode(&r->bpe, text, n);
}

static dlx_status encode_words(run *r, const char *text, size_t n)
{
    dlx_splitter s = {.t = r->t,
                      .patterns = r->t->encoder->patterns,
                      .search = r->search,
                      .piece = encode_piece,
                      .arg = r,
                      .err = r->err};
    return dlx_split_text(&s, text, n);
}

/* Normalised text: the added tokens that are looked for there, and words between them. */
static dlx_status encode_normalized(run *r, const char *text, size_t n, bool own)
{
    dlx_text_span span = {.end = n, .own = own};
    dlx_added_search s = {
        .t = r->t, .list = &r->t->encoder->normalized, .text = text, .n = n, .spans = &span, .n_spans = 1};
    size_t done = 0, start, end;
    uint32_t id;
    while (dlx_added_next(&s, &id, &start, &end)) {
        DLX_TRY(encode_words(r, text + done, start - done));
        dlx_bpe_add_id(&r->bpe, id);
        done = end;
    }
    return encode_words(r, text + done, n - done);
}

static dlx_status encode_stretch(run *r, const char *text, size_t n, bool own)
{
    if (!n) return DLX_OK;
    if (dlx_normalize_trivial(r->t, text, n)) return encode_normalized(r, text, n, own);
    dlx_buffer b = {0};
    dlx_status status = dlx_normalize(&b, r->t, r->t->encoder->patterns, r->search, text, n, r->err);
    if (status == DLX_OK) status = encode_normalized(r, b.data ? b.data : "", b.n, own);
    dlx_buffer_free(&b);
    return status;
}

/*
 * Text between raw added tokens. Where a control token could come out of normalising, the parts that are own text are
 * normalised by themselves, so that it is known where it came from; otherwise parts make no difference.
 */
static dlx_status encode_between(run *r, const char *text, size_t start, size_t end, size_t *span)
{
    if (!r->mixed || !r->t->encoder->normalized_control)
        return encode_stretch(r, text + start, end - start, r->spans[0].own);
    while (start < end) {
        while (*span + 1 < r->n_spans && r->spans[*span].end <= start) ++*span;
        size_t part = r->spans[*span].end < end && *span + 1 < r->n_spans ? r->spans[*span].end : end;
        DLX_TRY(encode_stretch(r, text + start, part - start, r->spans[*span].own));
        start = part;
    }
    return DLX_OK;
}

static dlx_status encode_spans(run *r, const char *text, size_t n)
{
    dlx_added_search s = {
        .t = r->t, .list = &r->t->encoder->raw, .text = text, .n = n, .spans = r->spans, .n_spans = r->n_spans};
    size_t done = 0, start, end, span = 0;
    uint32_t id;
    while (dlx_added_next(&s, &id, &start, &end)) {
        DLX_TRY(encode_between(r, text, done, start, &span));
        dlx_bpe_add_id(&r->bpe, id);
        done = end;
    }
    return encode_between(r, text, done, n, &span);
}

dlx_status dlx_encoder_run(const dlx_tokenizer *t, const char *text, size_t n, const dlx_text_span *spans,
                           size_t n_spans, int32_t **ids, size_t *n_ids, dlx_error *err)
{
    if (n > MAX_TEXT)
        return dlx_fail(err, DLX_E_LIMIT, "text to encode has %zu bytes; at most %d can be encoded at once", n,
                        MAX_TEXT);
    run r = {.t = t, .spans = spans, .n_spans = n_spans, .bpe = {.tokenizer = t}, .err = err};
    for (size_t s = 1; s < n_spans; s++) r.mixed = r.mixed || spans[s].own != spans[0].own;
    DLX_TRY(dlx_search_create(&r.search, err));
    dlx_status status = n ? encode_spans(&r, text, n) : DLX_OK;
    dlx_search_free(r.search);
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
