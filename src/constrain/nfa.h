/*
 * Byte automata with empty moves (Thompson's construction) of regular expressions. Characters are written as UTF-8, or
 * as they stand inside a JSON string: quotation mark, backslash and control characters as the escapes that Python's
 * json.dumps writes, all others as they are.
 */
#ifndef DLX_CONSTRAIN_NFA_H
#define DLX_CONSTRAIN_NFA_H

#include <stdbool.h>

#include "base/status.h"
#include "constrain/expr.h"

typedef enum dlx_move {
    DLX_MOVE_BYTE,  /* a byte of lo .. hi */
    DLX_MOVE_EMPTY, /* none */
    DLX_MOVE_BEGIN, /* none, at the beginning of the text */
    DLX_MOVE_END,   /* none, at its end */
} dlx_move;

typedef struct dlx_nfa_edge {
    uint8_t move, lo, hi;
    int32_t to, next; /* next edge of the same state, or -1 */
} dlx_nfa_edge;

typedef struct dlx_nfa {
    int32_t *first; /* [n_states] first edge, or -1 */
    dlx_nfa_edge *edges;
    size_t n_states, states_capacity, n_edges, edges_capacity;
    int32_t start, final;
    struct dlx_nfa_call *calls; /* rules whose automata are not known: what they derive leads from a state to another */
    size_t n_calls, calls_capacity;
} dlx_nfa;

typedef struct dlx_nfa_call {
    int32_t from, to;
    const dlx_rule *rule;
} dlx_nfa_call;

/* The escape that a JSON string has for a character, and its length; 0: the character stands as it is. */
size_t dlx_json_escape(char out[6], uint32_t c);

/* One that grows piece by piece. Behind a failure everything does nothing, and states are 0. */
typedef struct dlx_nfa_builder {
    dlx_nfa *nfa; /* all 0 to begin with */
    bool in_json_string;
    int32_t parts; /* nodes that were built, each time that a repetition asks for one */
    dlx_error *err;
    dlx_status status; /* the first failure */
} dlx_nfa_builder;

int32_t dlx_nfa_add_state(dlx_nfa_builder *b);
void dlx_nfa_add_edge(dlx_nfa_builder *b, int32_t from, dlx_move move, int lo, int hi, int32_t to);
/* What e matches, or the automaton accepts, behind state `from`; the state behind it. */
int32_t dlx_nfa_add_expr(dlx_nfa_builder *b, const dlx_expr *e, int32_t from);
int32_t dlx_nfa_add_machine(dlx_nfa_builder *b, const struct dlx_machine *m, int32_t from);

/* Free with dlx_nfa_free in any case. */
dlx_status dlx_nfa_build(dlx_nfa *nfa, const dlx_expr *e, bool in_json_string, dlx_error *err);
void dlx_nfa_free(dlx_nfa *nfa);

#endif
