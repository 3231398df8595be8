/*
 * Deterministic byte automata: complete (a byte leads to one state or nowhere), without states that cannot be reached
 * or cannot end, and as small as can be. Immutable once built.
 */
#ifndef DLX_CONSTRAIN_MACHINE_H
#define DLX_CONSTRAIN_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "constrain/expr.h"

/* States of one, and what building one may take: states and edges that are looked at. */
enum { DLX_MOST_MACHINE_STATES = 1 << 15, DLX_MOST_MACHINE_WORK = 1 << 28 };

typedef struct dlx_machine {
    int32_t n_states; /* 0: nothing is accepted, not even the empty text */
    int32_t start;
    int32_t n_kinds;        /* of bytes: those of one kind lead to the same states everywhere */
    uint8_t kind_of[256];   /* kind of a byte */
    const int32_t *next;    /* [n_states, n_kinds], or -1 */
    const uint8_t *accepts; /* [n_states] */
} dlx_machine;

static inline int32_t dlx_machine_step(const dlx_machine *m, int32_t state, uint8_t byte)
{
    return m->next[(size_t)state * (size_t)m->n_kinds + m->kind_of[byte]];
}

/* Whether the text as a whole is accepted. */
bool dlx_machine_accepts(const dlx_machine *m, const char *text, size_t n);

/* The texts that an expression matches from their beginning to their end. in_json_string: characters as they stand in a
 * JSON string (nfa.h). DLX_E_LIMIT when the automaton would be too large. */
dlx_status dlx_machine_build(dlx_machine *out, dlx_arena *arena, const dlx_expr *e, bool in_json_string,
                             dlx_error *err);
/* The same of an automaton with empty moves. *work is what may be done, and gets what is left of it; most_states is for
 * the automaton before it is made small, DLX_MOST_MACHINE_STATES for what becomes of it. */
struct dlx_nfa;
dlx_status dlx_machine_of_nfa(dlx_machine *out, dlx_arena *arena, const struct dlx_nfa *nfa, int32_t most_states,
                              int64_t *work, dlx_error *err);
/* The texts that both accept; without: those of a that b does not accept. */
dlx_status dlx_machine_both(dlx_machine *out, dlx_arena *arena, const dlx_machine *a, const dlx_machine *b,
                            bool without, dlx_error *err);

/* ---- between machine.c and minimise.c ---------------------------------------------------------------------------- */

/* An automaton while it grows, explored from its start, so that all states can be reached; malloc'd. */
typedef struct dlx_table {
    int32_t n_states, n_kinds, start, most_states;
    uint8_t kind_of[256];
    int32_t *next;
    size_t next_capacity;
    uint8_t *accepts;
    size_t accepts_capacity;
} dlx_table;

/* Makes it as small as can be, with memory of the arena. */
dlx_status dlx_machine_minimise(dlx_machine *out, dlx_arena *arena, const dlx_table *t, dlx_error *err);

#endif
