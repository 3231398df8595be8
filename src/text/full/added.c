#include "text/full/added.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/full/normalize.h"
#include "text/utf8.h"

static int compare(const void *pa, const void *pb)
{
    const dlx_added_token *a = pa, *b = pb;
    int order = dlx_utf8_compare(a->text, a->length, b->text, b->length);
    return order ? order : (a->id > b->id) - (a->id < b->id);
}

void dlx_added_index(dlx_added_list *list)
{
    uint32_t kept = 0;
    memset(list->starts, 0, sizeof list->starts);
    if (!list->n) return;
    qsort(list->token, list->n, sizeof *list->token, compare);
    for (uint32_t i = 0; i < list->n; i++) {
        const dlx_added_token *a = &list->token[i], *b = a + 1;
        if (!a->length) continue; /* normalised away */
        if (i + 1 < list->n && a->length == b->length && !memcmp(a->text, b->text, a->length)) continue;
        list->token[kept++] = *a;
        unsigned byte = (unsigned char)a->text[0];
        list->starts[byte / 64] |= (uint64_t)1 << byte % 64;
    }
    list->n = kept;
}

/* First place in [first, end), all of which share `depth` leading bytes, whose next byte is at least `byte`. */
static uint32_t lower_bound(const dlx_added_list *l, uint32_t first, uint32_t end, size_t depth, unsigned byte)
{
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        const dlx_added_token *a = &l->token[middle];
        if (a->length <= depth || (unsigned char)a->text[depth] < byte)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

/* The longest token that text[0 .. n) begins with, or NULL. */
static const dlx_added_token *longest(const dlx_added_list *l, const char *text, size_t n)
{
    const dlx_added_token *best = NULL;
    uint32_t first = 0, end = l->n;
    for (size_t depth = 0; depth < n && first < end; depth++) {
        unsigned byte = (unsigned char)text[depth];
        uint32_t next = lower_bound(l, first, end, depth, byte);
        end = lower_bound(l, next, end, depth, byte + 1);
        first = next;
        if (first < end && l->token[first].length == depth + 1)
            best = &l->token[first]; /* a prefix sorts before what it begins */
    }
    return best;
}

/* ---- flags ------------------------------------------------------------------------------------------------------ */

/* A character of words as Rust's expressions have it: \w. */
static bool is_word(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: break;
    }
    /* Join_Control, and the letters among the symbols. */
    return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
           (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

static bool word_before(const char *text, size_t at)
{
    uint32_t c;
    if (!at) return false;
    dlx_utf8_before(text, at, &c);
    return is_word(c);
}

static bool word_behind(const char *text, size_t at, size_t n)
{
    uint32_t c;
    if (at == n) return false;
    dlx_utf8_next(text + at, n - at, &c);
    return is_word(c);
}

bool dlx_added_is_control(const dlx_tokenizer *t, uint32_t id)
{
    return t->kind[id] & DLX_TOKEN_SPECIAL || (int32_t)id == t->mask_id;
}

/* ---- search ----------------------------------------------------------------------------------------------------- */

/* Whether text[s->at .. end) is own text, all of it; else *border is where its first part ends: own text if *own. */
static bool all_own(dlx_added_search *s, size_t end, size_t *border, bool *own)
{
    while (s->span + 1 < s->n_spans && s->spans[s->span].end <= s->at) s->span++;
    size_t i = s->span;
    *own = s->spans[i].own;
    while (i + 1 < s->n_spans && s->spans[i].end < end && s->spans[i + 1].own == *own) i++;
    *border = s->spans[i].end;
    return *own && *border >= end;
}

/*
 * The token at s->at, moving s->at behind a match that may not be. A control token must lie in own text: one that does
 * not is passed over like any other that its flags forbid, but never takes own text with it, so that nobody's text can
 * hide a token of the template.
 */
static const dlx_added_token *match(dlx_added_search *s)
{
    const dlx_added_token *a = longest(s->list, s->text + s->at, s->n - s->at);
    if (!a) {
        s->at++;
        return NULL;
    }
    size_t border;
    bool own;
    if (dlx_added_is_control(s->t, a->id) && !all_own(s, s->at + a->length, &border, &own)) {
        if (!own) {
            s->at = border < s->at + a->length ? border : s->at + a->length;
            return NULL;
        }
        a = longest(s->list, s->text + s->at, border - s->at);
        if (!a) {
            s->at++;
            return NULL;
        }
    }
    size_t end = s->at + a->length;
    if (s->t->kind[a->id] & DLX_TOKEN_WORD && (word_before(s->text, s->at) || word_behind(s->text, end, s->n))) {
        s->at = end;
        return NULL;
    }
    return a;
}

bool dlx_added_next(dlx_added_search *s, uint32_t *id, size_t *start, size_t *end)
{
    while (s->list->n && s->at < s->n) {
        unsigned byte = (unsigned char)s->text[s->at];
        if (!(s->list->starts[byte / 64] >> byte % 64 & 1)) {
            s->at++;
            continue;
        }
        const dlx_added_token *a = match(s);
        if (!a) continue;
        *id = a->id;
        *start = s->at < s->done ? s->done : s->at;
        s->at += a->length;
        *end = s->at < s->done ? s->done : s->at;
        if (s->t->kind[a->id] & DLX_TOKEN_LSTRIP) *start -= dlx_trailing_space(s->text + s->done, *start - s->done);
        if (s->t->kind[a->id] & DLX_TOKEN_RSTRIP) *end += dlx_leading_space(s->text + *end, s->n - *end);
        s->done = *end;
        return true;
    }
    return false;
}
