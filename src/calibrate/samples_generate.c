#include "calibrate/samples_generate.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"

enum { PASSES_WHOLE = 8, PASSES_BLOCK = 2, PASSES_INNER = 4 };

/* Of many kinds, because different words make different numbers large. */
static const char *const questions[] = {
    "What is the capital of France, and what is it known for?",
    "Write a Python function that returns the n-th Fibonacci number.",
    "A train travels 120 km in 90 minutes. What is its average speed in km/h?",
    "Explain in simple words how rainbows form.",
    "Translate into German: The weather is nice today, so we are going for a walk.",
    "Write a short poem about the sea at night.",
    "List three differences between TCP and UDP.",
    "If x + 3 = 10 and y = 2x, what is y? Show your steps.",
    "Summarise the story of Romeo and Juliet in two sentences.",
    "How do I make a simple tomato sauce for pasta?",
    "What does the SQL query SELECT COUNT(*) FROM users WHERE age > 30 do?",
    "Write an email asking for a day off next Friday.",
    "Which planets of the solar system have rings?",
    "Fix the error in this C code: int main() { printf(\"hi\") return 0; }",
    "Give me five words that rhyme with light.",
    "Why is the sum of two odd numbers always even?",
};

typedef struct writer {
    const dlx_checkpoint *c;
    const dlx_tokenizer *t;
    const dlx_samples_options *o;
    const dlx_layerwise_options *run;
    dlx_samples texts; /* the canvases */
    dlx_layerwise *w;
    dlx_span *span;  /* [texts.n] what runs */
    dlx_span *open;  /* [texts.n] what is written in this pass */
    int32_t *stored; /* [texts.n] positions whose keys and values are final and stored */
    uint64_t *row;   /* [texts.n] */
    /* By row of the canvases: what was drawn for the position that it predicts. */
    uint8_t *wanted;
    int32_t *id;
    float *key, *logit, *most;
    double *sum;
    uint64_t pass; /* makes draws differ */
    int32_t known; /* ids that have a token */
    dlx_error *err;
} writer;

static dlx_status no_memory(writer *w)
{
    return dlx_fail(w->err, DLX_E_NOMEM, "out of memory writing calibration samples");
}

/* ---- prompts ---------------------------------------------------------------------------------------------------- */

static dlx_status ask(const writer *w, size_t i, int32_t **ids, size_t *n)
{
    const char *question = questions[i % DLX_COUNT(questions)];
    dlx_chat_message message = {.struct_size = sizeof message, .role = "user", .content = question};
    dlx_chat_options o = {.struct_size = sizeof o, .add_generation_prompt = true};
    if (dlx_tokenizer_has_chat_template(w->t)) return dlx_chat_encode(w->t, &message, 1, &o, ids, n, w->err);
    return dlx_tokenizer_encode(w->t, question, strlen(question), DLX_ENCODE_AROUND, ids, n, w->err);
}

/* Canvas i: a prompt of at most half the length, and masks. */
static dlx_status add_canvas(writer *w, size_t i)
{
    int32_t *ids = NULL, room = w->o->length / 2, *to;
    size_t n = 0;
    if (w->t) DLX_TRY(ask(w, i, &ids, &n));
    if (!n) {
        free(ids);
        ids = malloc(sizeof *ids);
        if (!ids) return no_memory(w);
        n = 1;
        *ids = (int32_t)(dlx_samples_uniform(w->o->seed, i, 0) * w->known);
    }
    int32_t prompt = n < (size_t)room ? (int32_t)n : room, answer = w->o->length - prompt;
    if (answer > DLX_WRITTEN_TOKENS) answer = DLX_WRITTEN_TOKENS;
    int32_t width = w->texts.attn_block, whole = width ? (prompt + answer) / width * width - prompt : answer;
    if (whole > 0) answer = whole; /* it ends where a block does */
    to = dlx_arena_array(&w->texts.arena, (size_t)(prompt + answer), sizeof *to);
    if (to) {
        memcpy(to, ids + n - (size_t)prompt, (size_t)prompt * sizeof *to);
        for (int32_t p = prompt; p < prompt + answer; p++) to[p] = w->texts.mask_id;
    }
    free(ids);
    if (!to) return no_memory(w);
    w->texts.list[w->texts.n++] = (dlx_sample){.ids = to, .n = prompt + answer, .answer = prompt};
    w->texts.rows += (uint64_t)(prompt + answer);
    if (prompt + answer > w->texts.longest) w->texts.longest = prompt + answer;
    return DLX_OK;
}

/* ---- drawing ---------------------------------------------------------------------------------------------------- */

typedef struct piece {
    writer *w;
    const dlx_logits_rows *l;
} piece;

/* The largest of logit + Gumbel noise is a draw from the softmax; it can be looked for piece by piece. */
static void draw_rows(void *arg, size_t begin, size_t end, size_t thread)
{
    const piece *p = arg;
    writer *w = p->w;
    const dlx_logits_rows *l = p->l;
    (void)thread;
    for (size_t r = begin; r < end; r++) {
        uint64_t row = w->row[l->sample[r]] + (uint64_t)l->position[r];
        for (int64_t k = 0; k < l->n && l->first + k < w->known; k++) {
            int32_t id = (int32_t)(l->first + k);
            float x = l->logits[r * (size_t)l->n + (size_t)k];
            if (id == w->texts.mask_id) continue;
            double u = dlx_samples_uniform(w->o->seed + w->pass, row, (uint64_t)id);
            float key = x - (float)log(-log(u > 0.0 ? u : 0x1p-54));
            if (x > w->most[row]) {
                w->sum[row] = w->sum[row] * exp((double)(w->most[row] - x)) + 1.0;
                w->most[row] = x;
            } else {
                w->sum[row] += exp((double)(x - w->most[row]));
            }
            if (key <= w->key[row]) continue;
            w->key[row] = key;
            w->id[row] = id;
            w->logit[row] = x;
        }
    }
}

static dlx_status draw_piece(void *ctx, const dlx_logits_rows *l, dlx_error *err)
{
    writer *w = ctx;
    (void)err;
    dlx_pool_for(w->run->pool, l->rows, 1, draw_rows, &(piece){w, l});
    return DLX_OK;
}

static double confidence(const writer *w, uint64_t row)
{
    return exp((double)(w->logit[row] - w->most[row])) / w->sum[row];
}

/* Of the masks of canvas i that are open, as many become tokens as keep the passes that are left equal. */
static void reveal(writer *w, size_t i, int32_t passes_left)
{
    dlx_sample *s = &w->texts.list[i];
    int32_t shift = w->c->facts.logits_shift, masks = 0;
    for (int32_t p = w->open[i].begin; p < w->open[i].end; p++) masks += s->ids[p] == w->texts.mask_id;
    for (int32_t left = (masks + passes_left - 1) / passes_left; left > 0; left--) {
        int32_t best = -1;
        for (int32_t p = w->open[i].begin; p < w->open[i].end; p++) {
            if (s->ids[p] != w->texts.mask_id) continue;
            uint64_t row = w->row[i] + (uint64_t)(p - shift);
            if (best < 0 || confidence(w, row) > confidence(w, w->row[i] + (uint64_t)(best - shift))) best = p;
        }
        s->ids[best] = w->id[w->row[i] + (uint64_t)(best - shift)];
    }
}

/* ---- passes ----------------------------------------------------------------------------------------------------- */

static void want_rows(writer *w)
{
    int32_t shift = w->c->facts.logits_shift;
    memset(w->wanted, 0, (size_t)w->texts.rows);
    for (size_t i = 0; i < w->texts.n; i++)
        for (int32_t p = w->open[i].begin; p < w->open[i].end; p++) {
            uint64_t row = w->row[i] + (uint64_t)(p - shift);
            if (w->texts.list[i].ids[p] != w->texts.mask_id) continue;
            w->wanted[row] = 1;
            w->key[row] = w->most[row] = -FLT_MAX;
            w->sum[row] = 0.0;
            w->id[row] = 0;
        }
}

static dlx_status run_pass(writer *w, int32_t passes_left)
{
    int flags = DLX_LAYERWISE_ADVANCE | (w->texts.attn_block ? DLX_LAYERWISE_STORE : 0);
    w->pass++;
    DLX_TRY(dlx_layerwise_start(w->w, w->span, w->err));
    for (int32_t layer = 0; layer < w->c->shape.layers; layer++) {
        DLX_TRY(dlx_layerwise_load(w->w, layer, w->err));
        DLX_TRY(dlx_layerwise_run(w->w, flags, NULL, NULL, w->err));
    }
    want_rows(w);
    DLX_TRY(dlx_layerwise_head(w->w, w->wanted, draw_piece, w, w->err));
    for (size_t i = 0; i < w->texts.n; i++) reveal(w, i, passes_left);
    return DLX_OK;
}

static int32_t passes_of(const dlx_model_facts *f)
{
    if (!f->attn_block) return PASSES_WHOLE;
    return f->small_block_size > 0 && f->small_block_size < f->attn_block ? PASSES_INNER : PASSES_BLOCK;
}

/* What canvas i has in block `number` of its answer; empty when it ends before. */
static dlx_span block_of(const writer *w, size_t i, int32_t number)
{
    const dlx_sample *s = &w->texts.list[i];
    int32_t width = w->texts.attn_block;
    if (!width) return number ? (dlx_span){s->n, s->n} : (dlx_span){0, s->n};
    int32_t begin = (s->answer / width + number) * width, end = begin + width;
    return (dlx_span){begin < s->n ? begin : s->n, end < s->n ? end : s->n};
}

/* The first pass of a block runs the one before again, now that it has no masks: what is stored of it then stays. With
 * shifted logits the row in front of the block predicts its first position. */
static dlx_status write_block(writer *w, int32_t number)
{
    for (int32_t left = passes_of(&w->c->facts); left > 0; left--) {
        for (size_t i = 0; i < w->texts.n; i++) {
            dlx_span block = block_of(w, i, number);
            int32_t begin = w->stored[i] - w->c->facts.logits_shift, answer = w->texts.list[i].answer;
            bool none = block.begin == block.end;
            w->span[i] = none ? (dlx_span){0, 0} : (dlx_span){begin > 0 ? begin : 0, block.end};
            w->open[i] = none ? (dlx_span){0, 0} : (dlx_span){block.begin > answer ? block.begin : answer, block.end};
        }
        DLX_TRY(run_pass(w, left));
        for (size_t i = 0; w->texts.attn_block && i < w->texts.n; i++) w->stored[i] = block_of(w, i, number).begin;
    }
    return DLX_OK;
}

static int32_t blocks_of(const writer *w)
{
    int32_t most = 1, width = w->texts.attn_block;
    for (size_t i = 0; width && i < w->texts.n; i++) {
        const dlx_sample *s = &w->texts.list[i];
        int32_t n = (s->n - 1) / width - s->answer / width + 1;
        if (n > most) most = n;
    }
    return most;
}

static bool allocate(writer *w)
{
    size_t n = w->texts.n, rows = (size_t)w->texts.rows;
    w->span = calloc(n, sizeof *w->span);
    w->open = calloc(n, sizeof *w->open);
    w->stored = calloc(n, sizeof *w->stored);
    w->row = calloc(n, sizeof *w->row);
    w->wanted = calloc(rows, sizeof *w->wanted);
    w->id = calloc(rows, sizeof *w->id);
    w->key = calloc(rows, sizeof *w->key);
    w->logit = calloc(rows, sizeof *w->logit);
    w->most = calloc(rows, sizeof *w->most);
    w->sum = calloc(rows, sizeof *w->sum);
    return w->span && w->open && w->stored && w->row && w->wanted && w->id && w->key && w->logit && w->most && w->sum;
}

static dlx_status write_texts(writer *w)
{
    size_t count = w->o->count < DLX_WRITTEN_TEXTS ? w->o->count : DLX_WRITTEN_TEXTS;
    dlx_layerwise_options run = *w->run;
    DLX_TRY(dlx_samples_begin(&w->texts, w->c, count, w->err));
    for (size_t i = 0; i < count; i++) DLX_TRY(add_canvas(w, i));
    if (!allocate(w)) return no_memory(w);
    for (size_t i = 1; i < count; i++) w->row[i] = w->row[i - 1] + (uint64_t)w->texts.list[i - 1].n;
    run.cache = w->texts.attn_block > 0;
    DLX_TRY(dlx_layerwise_open(&w->w, w->c, &w->texts, &run, w->err));
    for (int32_t k = 0, blocks = blocks_of(w); k < blocks; k++) DLX_TRY(write_block(w, k));
    return DLX_OK;
}

static void free_writer(writer *w)
{
    dlx_layerwise_close(w->w);
    dlx_samples_free(&w->texts);
    free(w->span);
    free(w->open);
    free(w->stored);
    free(w->row);
    free(w->wanted);
    free(w->id);
    free(w->key);
    free(w->logit);
    free(w->most);
    free(w->sum);
}

static dlx_status check(dlx_samples_options *o, const dlx_checkpoint *c, dlx_error *err)
{
    DLX_TRY(dlx_samples_options_complete(o, c, err));
    if (c->facts.mask_id >= 0) return DLX_OK;
    return dlx_fail(err, DLX_E_UNSUPPORTED,
                    "checkpoint '%s' has no mask token and cannot write its own calibration data; give a file",
                    c->folder);
}

dlx_status dlx_samples_can_generate(const dlx_checkpoint *c, const dlx_samples_options *options, dlx_error *err)
{
    dlx_samples_options o = *options;
    return check(&o, c, err);
}

dlx_status dlx_samples_generate(dlx_samples *out, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                                const dlx_samples_options *options, const dlx_layerwise_options *run, dlx_error *err)
{
    dlx_samples_options o = *options;
    dlx_error local = {0};
    writer w = {.c = c, .t = tokenizer, .o = &o, .run = run, .err = &local};
    memset(out, 0, sizeof *out);
    DLX_TRY(check(&o, c, err));
    w.known = tokenizer && dlx_tokenizer_size(tokenizer) < c->facts.vocab_size ? dlx_tokenizer_size(tokenizer)
                                                                               : c->facts.vocab_size;
    dlx_status s = write_texts(&w);
    if (s == DLX_OK) s = dlx_samples_begin(out, c, o.count, &local);
    for (size_t i = 0; s == DLX_OK && i < o.count; i++) {
        const dlx_sample *text = &w.texts.list[i % w.texts.n];
        s = dlx_samples_add(out, c, &o, text->ids, (size_t)text->n, (size_t)text->answer, &local);
    }
    free_writer(&w);
    if (s != DLX_OK) dlx_samples_free(out);
    if (s != DLX_OK && err) *err = local;
    return s;
}

dlx_status dlx_samples_make(dlx_samples *out, const char *path, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                            const dlx_samples_options *options, const dlx_layerwise_options *run, dlx_error *err)
{
    return path ? dlx_samples_read(out, path, c, tokenizer, options, err)
                : dlx_samples_generate(out, c, tokenizer, options, run, err);
}
