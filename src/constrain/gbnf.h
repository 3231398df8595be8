/*
 * The text of a grammar in GBNF, the notation of llama.cpp: rules `name ::= ...` of literals, classes, groups,
 * alternatives, repetitions and other rules. docs/DECODING.md lists it. Tokens by name or number, which llama.cpp has,
 * are refused.
 */
#ifndef DLX_CONSTRAIN_GBNF_H
#define DLX_CONSTRAIN_GBNF_H

#include "base/status.h"
#include "constrain/expr.h"

typedef struct dlx_grammar {
    dlx_rule *const *rules; /* all defined */
    int32_t n_rules;
    dlx_rule *root;
} dlx_grammar;

/* UTF-8 text [n] -> *out, in the arena. */
dlx_status dlx_gbnf_parse(dlx_grammar *out, dlx_arena *arena, const char *text, size_t n, dlx_error *err);

#endif
