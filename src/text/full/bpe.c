/*
 * Symbols are a doubly linked list inside an array; possible merges wait in a binary heap ordered by rank, then place.
 * A candidate whose pair has changed since it was found is skipped when it comes up. A piece of n bytes takes O(n log
 * n).
 */
#include "text/full/bpe.h"

#include <stdlib.h>

typedef struct dlx_bpe_symbol {
    uint32_t id; /* DEAD: swallowed by its left neighbour */
    uint32_t before, behind;
} dlx_bpe_symbol;

typedef struct dlx_bpe_candidate {
    uint32_t rank, place;
    uint32_t left, right; /* the pair it was found for */
    uint32_t merged;
} dlx_bpe_candidate;

#define DEAD    UINT32_MAX
#define NOWHERE UINT32_MAX

static const dlx_merge_entry *find_merge(const dlx_tokenizer *t, uint32_t left, uint32_t right)
{
    uint32_t first = t->merge_start[left], end = t->merge_start[left + 1];
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        const dlx_merge_entry *e = &t->merge_entries[middle];
        if (e->right == right) return e;
        if (e->right < right)
            first = middle + 1;
        else
            end = middle;
    }
    return NULL;
}

static bool sooner(const dlx_bpe_candidate *a, const dlx_bpe_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->place < b->place;
}

/* Puts c into the hole at i of a heap whose part below i is in order. */
static void sink(dlx_bpe_candidate *heap, size_t n, size_t i, dlx_bpe_candidate c)
{
    for (size_t child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && sooner(&heap[child + 1], &heap[child])) child++;
        if (!sooner(&heap[child], &c)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = c;
}

static void rise(dlx_bpe_candidate *heap, size_t i, dlx_bpe_candidate c)
{
    while (i > 0 && sooner(&c, &heap[(i - 1) / 2])) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = c;
}

/* The merge of the pair that begins at `place`, if there is one. */
static bool find_candidate(const dlx_bpe *b, uint32_t place, dlx_bpe_candidate *c)
{
    uint32_t behind = b->symbols[place].behind;
    if (behind == NOWHERE) return false;
    uint32_t left = b->symbols[place].id, right = b->symbols[behind].id;
    const dlx_merge_entry *m = find_merge(b->tokenizer, left, right);
    if (!m) return false;
    *c = (dlx_bpe_candidate){.rank = m->rank, .place = place, .left = left, .right = right, .merged = m->merged};
    return true;
}

/* There is room: the first pass adds at most n - 1 candidates, and each merge takes one out and adds at most two. */
static void push_candidate(dlx_bpe *b, uint32_t place)
{
    dlx_bpe_candidate c;
    if (place != NOWHERE && find_candidate(b, place, &c)) rise(b->heap, b->heap_n++, c);
}

static void merge_all(dlx_bpe *b)
{
    dlx_bpe_symbol *s = b->symbols;
    while (b->heap_n) {
        dlx_bpe_candidate c = b->heap[0];
        b->heap_n--;
        if (b->heap_n) sink(b->heap, b->heap_n, 0, b->heap[b->heap_n]);
        uint32_t behind = s[c.place].behind;
        if (s[c.place].id != c.left || behind == NOWHERE || s[behind].id != c.right) continue;
        s[c.place].id = c.merged;
        s[c.place].behind = s[behind].behind;
        s[behind].id = DEAD;
        if (s[behind].behind != NOWHERE) s[s[behind].behind].before = c.place;
        push_candidate(b, s[c.place].before);
        push_candidate(b, c.place);
    }
}

void dlx_bpe_add_id(dlx_bpe *b, uint32_t id)
{
    if (b->failed) return;
    if (dlx_grow(&b->ids, &b->ids_capacity, b->n_ids + 1, sizeof *b->ids) != 0) {
        b->failed = true;
        return;
    }
    b->ids[b->n_ids++] = (int32_t)id;
}

void dlx_bpe_encode(dlx_bpe *b, const char *piece, size_t n)
{
    const unsigned char *p = (const unsigned char *)piece;
    if (n == 1) {
        dlx_bpe_add_id(b, b->tokenizer->byte_id[p[0]]);
        return;
    }
    if (dlx_grow(&b->symbols, &b->symbols_capacity, n, sizeof *b->symbols) != 0 ||
        dlx_grow(&b->heap, &b->heap_capacity, 2 * n, sizeof *b->heap) != 0) {
        b->failed = true;
        return;
    }
    for (size_t i = 0; i < n; i++)
        b->symbols[i] = (dlx_bpe_symbol){.id = b->tokenizer->byte_id[p[i]],
                                         .before = i ? (uint32_t)(i - 1) : NOWHERE,
                                         .behind = i + 1 < n ? (uint32_t)(i + 1) : NOWHERE};
    b->heap_n = 0;
    for (size_t i = 0; i + 1 < n; i++)
        if (find_candidate(b, (uint32_t)i, &b->heap[b->heap_n])) b->heap_n++;
    for (size_t i = b->heap_n / 2; i-- > 0;) sink(b->heap, b->heap_n, i, b->heap[i]);
    merge_all(b);
    for (uint32_t i = 0; i != NOWHERE; i = b->symbols[i].behind) dlx_bpe_add_id(b, b->symbols[i].id);
}

void dlx_bpe_free_scratch(dlx_bpe *b)
{
    free(b->symbols);
    free(b->heap);
    b->symbols = NULL;
    b->heap = NULL;
    b->symbols_capacity = b->heap_capacity = b->heap_n = 0;
}
