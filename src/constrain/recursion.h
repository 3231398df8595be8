/*
 * Rules of a grammar that contain each other, as automata.
 *
 * A rule inside another one needs memory of where to go on. None is needed where it is the other one's beginning (what
 * it begins is known when it is over: the left-corner transform) or its end (what is over then is the other one as
 * well), so recursion on the left and on the right is exact: lists, chains of operators. What is left, rules that lie
 * inside of each other as brackets do, is copied as often as they may nest.
 */
#ifndef DLX_CONSTRAIN_RECURSION_H
#define DLX_CONSTRAIN_RECURSION_H

#include "constrain/machine.h"

/* rules [n]: all that contain each other, with their places here; those that they contain besides have their automata.
 * Gives automata to those that have `wanted`. Where memory is needed, a step inwards to a rule that is behind the one
 * around it in this order is free, and at most `depth` others lie in each other; *cut says whether that left anything
 * out. *work: as dlx_machine_of_nfa has it. */
dlx_status dlx_recursion_build(dlx_rule *const *rules, int32_t n, const uint8_t *wanted, int32_t depth,
                               dlx_arena *arena, int64_t *work, bool *cut, dlx_error *err);
/* States of an automaton before it is made small: most of these are copies. */
enum { DLX_MOST_GRAMMAR_STATES = 1 << 17 };
/* What a machine and the automaton that it comes from take of the work that may be done. */
struct dlx_nfa;
void dlx_recursion_charge(int64_t *work, const struct dlx_nfa *nfa, const dlx_machine *machine);

#endif
