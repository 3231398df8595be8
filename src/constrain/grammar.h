/*
 * Context-free grammars as automata. Rules that do not contain themselves are expressions; those that do, as far as
 * that is a list or a chain, are exact as well (recursion.h). Brackets nest at most so deep: every text that the
 * automaton accepts is one of the grammar, and what is missing are texts that nest deeper.
 */
#ifndef DLX_CONSTRAIN_GRAMMAR_H
#define DLX_CONSTRAIN_GRAMMAR_H

#include "constrain/gbnf.h"
#include "constrain/machine.h"

/* Where the depth is not given, what it grows to. */
enum { DLX_GRAMMAR_DEPTH = 16, DLX_GRAMMAR_STATES = 20000 };

/* depth: 0, or how many levels may lie in each other: a step inwards takes one unless it is to a rule whose name comes
 * later in the grammar. Gets what it came to, 0: nothing was left out. The automaton is in the arena. Changes the
 * rules. */
dlx_status dlx_grammar_build(dlx_machine *out, dlx_arena *arena, const dlx_grammar *g, int64_t *depth, dlx_error *err);

#endif
