/* Another way to tell whether a grammar derives a text: ends of every rule from every place, over its trees, until no
 * more are found. Nothing of it is an automaton, and left recursion and empty rules need no care. And random grammars.
 */
#ifndef GRAMMAR_CHECK_H
#define GRAMMAR_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "constrain/gbnf.h"
#include "constrain/reading.h"

enum { MOST_GRAMMAR_TEXT = 62 };

typedef struct derivation {
    const dlx_grammar *g;
    const char *text;
    size_t n;
    uint64_t *ends; /* [rules][n+1] bits of places where what the rule derives from a place may end */
} derivation;

static uint64_t ends_of_all(const derivation *d, const dlx_expr *e, uint64_t from);

static uint64_t ends_of(const derivation *d, const dlx_expr *e, size_t at)
{
    uint64_t ends = 0, here = (uint64_t)1 << at;
    switch (e->kind) {
    case DLX_EXPR_SET: {
        size_t next = at;
        if (at == d->n) return 0;
        uint32_t c = dlx_next_char(d->text, &next);
        for (size_t i = 0; i < e->n; i++)
            if (c >= e->ranges[i].first && c <= e->ranges[i].last) ends = (uint64_t)1 << next;
        return ends;
    }
    case DLX_EXPR_CAT:
        for (size_t i = 0; i < e->n; i++) here = ends_of_all(d, e->items[i], here);
        return here;
    case DLX_EXPR_ALT:
        for (size_t i = 0; i < e->n; i++) ends |= ends_of(d, e->items[i], at);
        return ends;
    case DLX_EXPR_REPEAT:
        for (int32_t i = 0; i < e->least; i++) {
            uint64_t next = ends_of_all(d, e->items[0], here);
            if (next == here) break; /* and so it stays */
            here = next;
        }
        ends = here;
        for (int32_t i = e->least; i != e->most; i++) {
            here = ends_of_all(d, e->items[0], here) & ~ends;
            if (!here) break;
            ends |= here;
        }
        return ends;
    default: return d->ends[(size_t)e->rule->number * (d->n + 1) + at];
    }
}

static uint64_t ends_of_all(const derivation *d, const dlx_expr *e, uint64_t from)
{
    uint64_t ends = 0;
    for (size_t at = 0; at <= d->n; at++)
        if (from >> at & 1) ends |= ends_of(d, e, at);
    return ends;
}

/* Text of MOST_GRAMMAR_TEXT bytes at most, UTF-8. */
static inline bool grammar_derives(const dlx_grammar *g, const char *text, size_t n)
{
    derivation d = {.g = g, .text = text, .n = n};
    d.ends = calloc((size_t)g->n_rules * (n + 1), sizeof *d.ends);
    for (bool more = true; more && d.ends;) {
        more = false;
        for (int32_t r = 0; r < g->n_rules; r++)
            for (size_t at = 0; at <= n; at++) {
                uint64_t *ends = &d.ends[(size_t)r * (n + 1) + at], now = ends_of(&d, g->rules[r]->body, at);
                more = more || now != *ends;
                *ends = now;
            }
    }
    bool derived = d.ends && (d.ends[(size_t)g->root->number * (n + 1)] >> n & 1);
    free(d.ends);
    return derived;
}

#endif
