/*
 * Regular expressions as trees: what the readers of regex text and of JSON schemas build, and machine.c turns into an
 * automaton. Nodes live in an arena and never change; one node may be part of many others. A function that makes one
 * gives NULL when memory is out or a part is NULL, so that a reader checks once, at the root.
 */
#ifndef DLX_CONSTRAIN_EXPR_H
#define DLX_CONSTRAIN_EXPR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

enum { DLX_MAX_CODE_POINT = 0x10FFFF, DLX_UNBOUNDED = -1 };

/* Code points first .. last. */
typedef struct dlx_code_range {
    uint32_t first, last;
} dlx_code_range;

typedef enum dlx_expr_kind {
    DLX_EXPR_BYTES,   /* these bytes, as they stand in the text */
    DLX_EXPR_SET,     /* one character of the ranges; none of them: nothing matches */
    DLX_EXPR_CAT,     /* the items one behind the other; none: the empty text */
    DLX_EXPR_ALT,     /* one of the items; none: nothing matches */
    DLX_EXPR_REPEAT,  /* the item `least` to `most` times */
    DLX_EXPR_BEGIN,   /* empty, at the beginning of the text */
    DLX_EXPR_END,     /* empty, at its end */
    DLX_EXPR_MACHINE, /* what an automaton accepts, between its own beginning and end */
    DLX_EXPR_RULE,    /* what a rule of a grammar derives */
} dlx_expr_kind;

/* A rule of a grammar. What is not the reader's is written while an automaton is made of the grammar. */
typedef struct dlx_rule {
    const char *name;
    size_t name_length;
    const struct dlx_expr *body;       /* NULL until it is defined */
    int32_t number;                    /* among the grammar's rules */
    int32_t place;                     /* among rules that contain each other */
    const struct dlx_machine *machine; /* of what it derives; NULL until that is known */
} dlx_rule;

typedef struct dlx_expr {
    dlx_expr_kind kind;
    size_t n; /* bytes, ranges or items */
    const char *bytes;
    const dlx_code_range *ranges; /* ascending, disjoint, no surrogates */
    const struct dlx_expr *const *items;
    int32_t least, most; /* most DLX_UNBOUNDED: no end */
    const struct dlx_machine *machine;
    const dlx_rule *rule;
} dlx_expr;

/* Each copies what it is given. */
const dlx_expr *dlx_expr_bytes(dlx_arena *a, const char *bytes, size_t n);
/* Any ranges: they are sorted and joined, and surrogates, which no UTF-8 text holds, are taken out. */
const dlx_expr *dlx_expr_set(dlx_arena *a, const dlx_code_range *ranges, size_t n);
/* All characters that are not in the ranges. */
const dlx_expr *dlx_expr_set_but(dlx_arena *a, const dlx_code_range *ranges, size_t n);
const dlx_expr *dlx_expr_char(dlx_arena *a, uint32_t code_point);
const dlx_expr *dlx_expr_cat(dlx_arena *a, const dlx_expr *const *items, size_t n);
const dlx_expr *dlx_expr_alt(dlx_arena *a, const dlx_expr *const *items, size_t n);
const dlx_expr *dlx_expr_repeat(dlx_arena *a, const dlx_expr *item, int32_t least, int32_t most);
const dlx_expr *dlx_expr_begin(dlx_arena *a);
const dlx_expr *dlx_expr_end(dlx_arena *a);
const dlx_expr *dlx_expr_machine(dlx_arena *a, const struct dlx_machine *machine);
const dlx_expr *dlx_expr_rule(dlx_arena *a, const dlx_rule *rule);

#endif
