/*
 * Hostile expressions and schemas, small vocabularies, and fillings under them. Bytes become: what it is, numbers, the
 * text up to a NUL, and words of the vocabulary, a NUL behind each.
 *
 * What is refused is refused with a sentence. What is built accepts a text exactly when its tokens are accepted, and an
 * answer that is filled position by position, in any order, ends in a text that the automaton accepts, if the shortest
 * one has room.
 */
#include <math.h>

#include "constrain/fill.h"
#include "constrain/full/schema.h"
#include "constrain/regex.h"
#include "fuzz.h"
#include "input.h"

enum { MOST_TEXT = 200, MOST_WORDS = 24, MOST_WORD = 12, MOST_POSITIONS = 10, STOP = 0 };

typedef struct words {
    uint32_t offset[MOST_WORDS + 2];
    uint8_t bytes[MOST_WORDS * MOST_WORD + 1], usable[MOST_WORDS + 1];
    int32_t n;
} words;

static uint64_t dice;

static uint64_t next_random(void)
{
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    return dice >> 33;
}

/* ASCII alone: that it is UTF-8 is checked elsewhere, and escapes give the other characters. And no numbers of three
 * digits: what they repeat is refused or takes its time, which the unit tests see to. */
static bool is_small(const char *p, size_t n)
{
    size_t digits = 0;
    for (size_t i = 0; i < n; i++) {
        digits = p[i] >= '0' && p[i] <= '9' ? digits + 1 : 0;
        if (p[i] & 0x80 || digits > 2) return false;
    }
    return n <= MOST_TEXT;
}

/* Word 0 is the id that ends a text. */
static void take_words(words *w, fuzz_input *in)
{
    memset(w, 0, sizeof *w);
    w->n = 1;
    while (in->left && w->n <= MOST_WORDS) {
        size_t n;
        char *word = take_text(in, &n);
        if (n > MOST_WORD) n = MOST_WORD;
        memcpy(w->bytes + w->offset[w->n], word, n);
        w->offset[w->n + 1] = w->offset[w->n] + (uint32_t)n;
        w->usable[w->n++] = 1;
        free(word);
    }
}

static double weigh(void *ctx, const int32_t *ids, int32_t n, int32_t *pick)
{
    (void)ctx;
    *pick = ids[next_random() % (uint64_t)n];
    return -(double)(next_random() % 100);
}

/* Whether the automaton says of ids [n] what it says of their bytes. */
static bool accepted(const dlx_constraint *c, const dlx_fill *f, const words *w, const int32_t *ids, int32_t n)
{
    char text[MOST_POSITIONS * MOST_WORD + 1];
    size_t used = 0;
    bool spelled = true;
    for (int32_t i = 0; i < n; i++) {
        size_t length = w->offset[ids[i] + 1] - w->offset[ids[i]];
        memcpy(text + used, w->bytes + w->offset[ids[i]], length);
        used += length;
        spelled = spelled && length; /* ids that stand for nothing are no tokens of a text */
    }
    bool fits = dlx_fill_accepts(f, ids, n);
    require(fits == (spelled && dlx_machine_accepts(&c->machine, text, used)));
    return fits;
}

static void fill_answer(const dlx_constraint *c, const words *w, int32_t length)
{
    const int32_t stop = STOP;
    int32_t x[MOST_POSITIONS], found[MOST_POSITIONS], known = 0;
    dlx_fill *f;
    dlx_error err = {0};
    require(dlx_fill_open(&f, c, &(dlx_fill_ids){w->n, -1, &stop, 1}, length, &err) == DLX_OK);
    int32_t shortest = dlx_fill_shortest(f);
    for (int32_t n = 0; n < length && w->n > 1; n++) {
        x[n] = 1 + (int32_t)(next_random() % (uint64_t)(w->n - 1));
        accepted(c, f, w, x, n);
    }
    for (int32_t i = 0; i < length; i++) x[i] = -1;
    while (known < length) {
        int32_t first = 0;
        while (x[first] >= 0) first++;
        require(dlx_fill_begin(f, x, first));
        for (int32_t i = first; i < length; i++) {
            if (x[i] < 0 && next_random() % 4)
                dlx_fill_weighed(f, weigh, NULL, length - 1 - i);
            else
                dlx_fill_next(f, x[i], length - 1 - i);
        }
        bool fine = dlx_fill_end(f, found);
        require(fine == (shortest >= 0 && shortest <= length));
        if (!fine) break;
        for (int32_t i = first; i < length; i++)
            if (x[i] < 0 && found[i - first] >= 0 && next_random() % 2) {
                x[i] = found[i - first];
                known++;
            }
    }
    int32_t n = 0;
    while (n < length && x[n] != STOP) n++;
    if (known == length) require(accepted(c, f, w, x, n));
    dlx_fill_close(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input in = {data, size};
    uint8_t kind = take_byte(&in);
    int32_t length = 1 + take_byte(&in) % MOST_POSITIONS, depth = take_byte(&in) % 3;
    dlx_arena arena, reading;
    dlx_machine machine;
    const dlx_expr *e;
    dlx_error err = {0};
    words w;
    size_t n;
    dice = size;
    char *text = take_text(&in, &n);
    take_words(&w, &in);
    dlx_arena_init(&arena);
    dlx_arena_init(&reading);
    dlx_status status = DLX_E_INVALID;
    bool fits = is_small(text, n);
    if (fits && kind % 4 == 3) {
        status = dlx_schema_build(&machine, &arena, text, n, depth, &err);
    } else if (fits) {
        status = dlx_regex_parse(&e, &reading, text, n, kind & 1, &err);
        if (status == DLX_OK) status = dlx_machine_build(&machine, &arena, e, kind & 2, &err);
    }
    dlx_arena_free(&reading);
    if (fits) require_sentence(status, &err);
    dlx_constraint *c = NULL;
    const dlx_vocabulary v = {.n = w.n, .offset = w.offset, .bytes = w.bytes, .usable = w.usable};
    if (status == DLX_OK)
        status = dlx_constraint_create(&c, &arena, &machine, &v, 1 << 24, &err);
    else
        dlx_arena_free(&arena);
    if (fits) require_sentence(status, &err);
    if (c) fill_answer(c, &w, length);
    dlx_constraint_destroy(c);
    free(text);
    return 0;
}
