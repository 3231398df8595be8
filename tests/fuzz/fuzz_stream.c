/*
 * Text as it becomes known. Bytes become ids, pieces of a stream, and a completion over a scripted model that wants
 * exactly these ids; the rest is text: stop strings, one a line.
 *
 * A stream gives, in whole characters, what decoding all ids at once gives. A completion gives that up to the first
 * stop string and never shows a part of one; what it streamed is what it returns.
 */
#include "diffulex_edge/completion.h"
#include "fuzz.h"
#include "tokenizer_use.h"

enum { MOST_IDS = 64, MOST_NEW = 24, MOST_STOPS = 6, PROMPT = 3, CONTEXT = 128, BLOCK = 4 };

typedef struct script {
    const dlx_tokenizer *t;
    dlx_model_facts facts;
    int32_t want[MOST_IDS], n;
    const char *stop[MOST_STOPS];
    size_t n_stop;
    uint8_t order;       /* in which positions become known */
    char heard[1 << 14]; /* what was streamed */
    size_t n_heard;
    int32_t texts_left, steps_left; /* until the listener cancels */
    bool cancelled;
} script;

/* ---- streams ---------------------------------------------------------------------------------------------------- */

/* Pieces of `step` ids, 1 to 8; 0: sizes that change. */
static void use_stream(const dlx_tokenizer *t, const int32_t *ids, size_t n, bool skip, uint8_t step)
{
    char *whole;
    const char *piece;
    size_t n_whole, used = 0, length, take;
    dlx_text_stream *s;
    dlx_error err;
    require(dlx_tokenizer_decode(t, ids, n, skip, &whole, &n_whole, &err) == DLX_OK);
    require(dlx_utf8_valid(whole, n_whole) && whole[n_whole] == '\0');
    require(dlx_text_stream_open(&s, t, skip, &err) == DLX_OK);
    for (int round = 0; round < 2; round++) { /* a flushed stream begins anew */
        require(dlx_text_stream_push(s, ids, 0, &piece, &length, &err) == DLX_OK && length == 0);
        used = 0;
        for (size_t i = 0; i < n; i += take) {
            take = step % 9 ? step % 9 : 1 + i * 5 % 4;
            if (take > n - i) take = n - i;
            require(dlx_text_stream_push(s, ids + i, take, &piece, &length, &err) == DLX_OK);
            require(length <= n_whole - used && !memcmp(whole + used, piece, length));
            require(dlx_utf8_valid(piece, length) && piece[length] == '\0');
            used += length;
        }
        require(dlx_text_stream_flush(s, &piece, &length, &err) == DLX_OK);
        require(length == n_whole - used && !memcmp(whole + used, piece, length) && piece[length] == '\0');
    }
    dlx_text_stream_close(s);
    free(whole);
}

/* ---- completions ------------------------------------------------------------------------------------------------ */

static dlx_status forward(void *ctx, const dlx_forward_call *c, dlx_error *err)
{
    const script *s = ctx;
    (void)err;
    for (int32_t i = 0; i < c->n_rows; i++) {
        int32_t row = c->rows ? c->rows[i] : i, p = c->start + row + (s->facts.logits_shift != 0) - PROMPT;
        float *logits = c->logits + (size_t)i * (size_t)s->facts.vocab_size;
        memset(logits, 0, (size_t)s->facts.vocab_size * sizeof *logits);
        int32_t id = p >= 0 && p < s->n ? s->want[p] : s->facts.eos_id;
        logits[id] = 4.0f + 0.05f * (float)((uint32_t)(p + 1) * (2u * s->order + 1u) % 128u);
    }
    return DLX_OK;
}

static bool on_text(void *ctx, const char *text, size_t n)
{
    script *s = ctx;
    require(!s->cancelled && n > 0 && text[n] == '\0' && dlx_utf8_valid(text, n) && s->n_heard + n < sizeof s->heard);
    memcpy(s->heard + s->n_heard, text, n);
    s->n_heard += n;
    s->cancelled = --s->texts_left == 0;
    return !s->cancelled;
}

static bool on_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n)
{
    script *s = ctx;
    (void)step;
    (void)ids;
    (void)n;
    if (--s->steps_left == 0) s->cancelled = true;
    return !s->cancelled;
}

static bool holds(const char *text, size_t n, const char *part)
{
    size_t m = strlen(part);
    for (size_t i = 0; i + m <= n; i++)
        if (!memcmp(text + i, part, m)) return true;
    return false;
}

static void check_completion(const script *s, const dlx_completion *c, size_t max_new)
{
    size_t n, n_ids, n_full, known = (size_t)s->n < max_new ? (size_t)s->n : max_new;
    const char *text = dlx_completion_text(c, &n), *reason = dlx_completion_finish_reason(c);
    const int32_t *ids = dlx_completion_ids(c, &n_ids);
    bool cancelled = !strcmp(reason, "cancelled"), cut = false;
    char *full;
    dlx_error err;
    dlx_statistics numbers = {.struct_size = sizeof numbers};
    require(dlx_tokenizer_decode(s->t, s->want, known, true, &full, &n_full, &err) == DLX_OK);
    require(text[n] == '\0' && dlx_utf8_valid(text, n) && n_ids <= known);
    for (size_t i = 0; i < n_ids; i++) require(ids[i] == s->want[i]);
    for (size_t i = 0; i < s->n_stop; i++) {
        require(!holds(text, n, s->stop[i]));
        cut = cut || holds(full, n_full, s->stop[i]);
    }
    require(cancelled == s->cancelled);
    /* A flush in the middle of a character shows it as broken, so only a whole answer is compared in full. */
    if (!cancelled) require(n <= n_full && !memcmp(text, full, n) && (cut ? n < n_full : n == n_full));
    if (!cancelled && cut) require(!strcmp(reason, "stop"));
    if (!cancelled && !cut) require(n_ids == known);
    require(s->n_heard <= n && !memcmp(s->heard, text, s->n_heard) && (cancelled || s->n_heard == n));
    require(dlx_completion_statistics(c, &numbers, NULL) == DLX_OK);
    require(numbers.prompt_tokens == PROMPT && numbers.new_tokens == (int32_t)n_ids && numbers.cached_tokens == 0);
    require(numbers.forwards > 0 && numbers.rows > 0);
    free(full);
}

/* family: 0 LLaDA, 1 Dream, 2 SDAR, 3 Fast-dLLM v2, 4 a causal model. */
static void complete(script *s, uint8_t family, uint8_t max_new)
{
    static const int32_t prompt[PROMPT] = {1, 2, 3};
    int32_t size = dlx_tokenizer_size(s->t);
    char number[16];
    dlx_decode_options *decode;
    dlx_completion_options o = dlx_completion_options_default();
    dlx_completion *c;
    dlx_error err = {0};
    s->facts = (dlx_model_facts){.struct_size = sizeof s->facts,
                                 .vocab_size = size + 2,
                                 .max_context = CONTEXT,
                                 .max_rows = CONTEXT,
                                 .mask_id = family == 4 ? -1 : size,
                                 .attn_block = family == 4   ? 1
                                               : family >= 2 ? BLOCK
                                                             : 0,
                                 .logits_shift = family == 1 || family == 3 || family == 4,
                                 .block_length = BLOCK,
                                 .bos_id = -1,
                                 .eos_id = size + 1,
                                 .pad_id = -1,
                                 .num_stop_ids = 1,
                                 .stop_ids = {size + 1}};
    snprintf(number, sizeof number, "%d", max_new);
    require(dlx_decode_options_create(&decode, &err) == DLX_OK);
    require(dlx_decode_options_set(decode, "max_new_tokens", number, &err) == DLX_OK);
    o.decode = decode;
    o.tokenizer = s->t;
    o.stop = s->stop;
    o.n_stop = s->n_stop;
    o.on_text = on_text;
    o.text_ctx = s;
    o.on_step = on_step;
    o.step_ctx = s;
    bool fine = true;
    for (size_t i = 0; i < s->n_stop; i++) fine = fine && dlx_utf8_valid(s->stop[i], strlen(s->stop[i]));
    dlx_status status = dlx_complete(&s->facts, forward, s, &o, prompt, PROMPT, &c, &err);
    require_sentence(status, &err);
    require(status == (fine ? DLX_OK : DLX_E_INVALID));
    if (c) check_completion(s, c, max_new);
    dlx_completion_free(c);
    dlx_decode_options_free(decode);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static script s;
    fuzz_input in = {data, size};
    int32_t ids[MOST_IDS];
    memset(&s, 0, sizeof s);
    s.t = built_in();
    uint8_t step = take_byte(&in), family = take_byte(&in) % 5, max_new = 1 + take_byte(&in) % MOST_NEW;
    s.order = take_byte(&in);
    s.texts_left = take_byte(&in) - 1; /* 0: never, as good as */
    s.steps_left = take_byte(&in) - 1;
    size_t n = take_byte(&in) % (MOST_IDS + 1), tokens = (size_t)dlx_tokenizer_size(s.t), length;
    for (size_t i = 0; i < n; i++) {
        /* 0xF8 .. : any int32, for ids without a token */
        uint8_t b = take_byte(&in);
        ids[i] = b < 0xF8 ? b : b < 0xFC ? (int32_t)(tokens - 1 - b % 4 * 5) : take_int(&in);
        if (ids[i] >= 0 && (size_t)ids[i] < tokens) s.want[s.n++] = ids[i];
    }
    use_stream(s.t, ids, n, step & 0x80, step & 0x7F);
    char *text = take_text(&in, &length), *rest = text;
    while (rest && *rest && s.n_stop < MOST_STOPS) {
        char *line = rest, *end = strchr(line, '\n');
        rest = end ? end + 1 : NULL;
        if (end) *end = '\0';
        if (*line) s.stop[s.n_stop++] = line;
    }
    complete(&s, family, max_new);
    free(text);
    return 0;
}
