#include "text/full/split.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

/* GPT-2's expression, which ByteLevel splits by where it is asked to. */
static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
/* Rust's numbers are those of Unicode 17.0. */
static const char digits[] = "[\\p{N}\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}]";

const char *dlx_step_pattern(const dlx_text_step *s, size_t *n, bool *regex)
{
    const char *text = s->text;
    *regex = true;
    *n = s->n_text;
    switch (s->kind) {
    case DLX_STEP_REPLACE:
    case DLX_STEP_SPLIT: *regex = s->flags & DLX_PATTERN_REGEX; return text;
    case DLX_STEP_DIGITS: text = digits; break;
    case DLX_STEP_BYTE_LEVEL:
        if (!(s->flags & DLX_BYTES_REGEX)) return NULL;
        text = gpt2;
        break;
    default: return NULL;
    }
    *n = strlen(text);
    return text;
}

static dlx_status run_step(const dlx_splitter *s, uint32_t i, const char *text, size_t n);

/* A stretch of text that is a match, or what lies between two. */
typedef struct stretch {
    size_t start, end;
    bool match;
} stretch;

typedef struct cutter {
    const dlx_splitter *s;
    uint32_t step;
    const char *text;
    dlx_behavior behavior;
    stretch *held; /* merged with next: nothing is handed on before the end */
    size_t n_held, capacity;
    stretch last; /* otherwise: the stretch that may still grow */
    bool has_last, last_was_match;
} cutter;

static dlx_status hand_on(const cutter *c, const stretch *p)
{
    if (p->end == p->start || (c->behavior == DLX_REMOVED && p->match)) return DLX_OK;
    return run_step(c->s, c->step + 1, c->text + p->start, p->end - p->start);
}

/* Takes the next stretch, and hands on what can no longer change. */
static dlx_status take(cutter *c, stretch p)
{
    if (c->behavior == DLX_MERGED_WITH_NEXT) {
        if (dlx_grow(&c->held, &c->capacity, c->n_held + 1, sizeof *c->held) != 0)
            return dlx_fail(c->s->err, DLX_E_NOMEM, "out of memory splitting a text");
        c->held[c->n_held++] = p;
        return DLX_OK;
    }
    bool grows = c->has_last && ((c->behavior == DLX_CONTIGUOUS && c->last.match == p.match) ||
                                 (c->behavior == DLX_MERGED_WITH_PREVIOUS && p.match && !c->last_was_match));
    c->last_was_match = p.match;
    if (grows) {
        c->last.end = p.end;
        return DLX_OK;
    }
    if (c->has_last) DLX_TRY(hand_on(c, &c->last));
    c->has_last = true;
    c->last = p;
    return DLX_OK;
}

/* Merged with next: from the end on, a match joins what lies behind it, unless that is a match as well. */
static dlx_status merge_with_next(cutter *c)
{
    bool was_match = false;
    size_t top = c->n_held; /* merged stretches are held[top .. n_held) */
    for (size_t i = c->n_held; i-- > 0;) {
        stretch p = c->held[i];
        if (p.match && !was_match && top < c->n_held)
            c->held[top].start = p.start;
        else
            c->held[--top] = p;
        was_match = p.match;
    }
    for (size_t i = top; i < c->n_held; i++) DLX_TRY(hand_on(c, &c->held[i]));
    return DLX_OK;
}

static dlx_status cut(cutter *c, bool invert, size_t n)
{
    const dlx_splitter *s = c->s;
    size_t at = 0, start, end;
    while (at < n) {
        DLX_TRY(dlx_pattern_find(s->patterns[c->step], s->search, c->text, n, at, &start, &end, s->err));
        if (start > at) DLX_TRY(take(c, (stretch){at, start, invert}));
        if (end > start) DLX_TRY(take(c, (stretch){start, end, !invert}));
        at = end;
    }
    if (c->behavior == DLX_MERGED_WITH_NEXT) return merge_with_next(c);
    return c->has_last ? hand_on(c, &c->last) : DLX_OK;
}

static dlx_status split_by(const dlx_splitter *s, uint32_t step, dlx_behavior behavior, bool invert, const char *text,
                           size_t n)
{
    cutter c = {.s = s, .step = step, .text = text, .behavior = behavior};
    dlx_status status = cut(&c, invert, n);
    free(c.held);
    return status;
}

static dlx_status to_bytes(const dlx_splitter *s, uint32_t i, const char *text, size_t n)
{
    const dlx_text_step *step = &s->t->steps[i];
    if (!(step->flags & DLX_BYTES_PREFIX) || text[0] == ' ')
        return step->flags & DLX_BYTES_REGEX ? split_by(s, i, DLX_ISOLATED, false, text, n)
                                             : run_step(s, i + 1, text, n);
    char *copy = malloc(n + 1);
    if (!copy) return dlx_fail(s->err, DLX_E_NOMEM, "out of memory splitting a text of %zu bytes", n);
    copy[0] = ' ';
    memcpy(copy + 1, text, n);
    dlx_status status = step->flags & DLX_BYTES_REGEX ? split_by(s, i, DLX_ISOLATED, false, copy, n + 1)
                                                      : run_step(s, i + 1, copy, n + 1);
    free(copy);
    return status;
}

/* Steps nest at most DLX_MAX_STEPS deep. */
static dlx_status run_step(const dlx_splitter *s, uint32_t i, const char *text, size_t n)
{
    const dlx_text_step *step = &s->t->steps[i];
    if (i == s->t->n_steps || step->kind >= DLX_STEP_SPLITS_END) {
        s->piece(s->arg, text, n);
        return DLX_OK;
    }
    if (step->kind == DLX_STEP_BYTE_LEVEL) return to_bytes(s, i, text, n);
    if (step->kind == DLX_STEP_DIGITS)
        return split_by(s, i, step->flags & DLX_DIGITS_SINGLE ? DLX_ISOLATED : DLX_CONTIGUOUS, false, text, n);
    return split_by(s, i, (dlx_behavior)(step->flags / DLX_SPLIT_BEHAVIOR), step->flags & DLX_SPLIT_INVERT, text, n);
}

dlx_status dlx_split_text(const dlx_splitter *s, const char *text, size_t n)
{
    uint32_t first = 0;
    while (first < s->t->n_steps && s->t->steps[first].kind < DLX_STEP_NORMALIZERS_END) first++;
    return n ? run_step(s, first, text, n) : DLX_OK;
}
