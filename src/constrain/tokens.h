/*
 * A constraint: an automaton of bytes, seen from the tokens of a vocabulary. Tokens that lead from the same states to
 * the same states are one class, so that a vocabulary of 150 000 becomes some hundred or thousand classes. The classes
 * that lead from one state to another are a set, kept once however many pairs of states have it. Immutable, shared
 * between threads.
 */
#ifndef DLX_CONSTRAIN_TOKENS_H
#define DLX_CONSTRAIN_TOKENS_H

#include <stdbool.h>

#include "constrain/machine.h"

/* The bytes that ids stand for: bytes[offset[id] .. offset[id+1]). Ids that no answer may hold (special tokens, the
 * mask) have usable 0; those without bytes count as such. */
typedef struct dlx_vocabulary {
    int32_t n;
    const uint32_t *offset;
    const uint8_t *bytes, *usable;
} dlx_vocabulary;

/* From a state to `to` with any class of the set. */
typedef struct dlx_token_edge {
    int32_t to, set;
} dlx_token_edge;

/* One class leads from a state to another. */
typedef struct dlx_state_pair {
    int32_t from, to;
} dlx_state_pair;

struct dlx_constraint {
    dlx_arena arena;
    dlx_machine machine;
    int32_t n_ids, n_classes, n_sets;
    int64_t depth;               /* that a grammar was cut off at, or 0 */
    const int32_t *class_of;     /* [n_ids], or -1: the token is never part of a text that matches */
    const int32_t *member_start; /* [n_classes+1] */
    const int32_t *members;      /* ids of each class, ascending; classes are ordered by their first one */
    const size_t *pair_start;    /* [n_classes+1] */
    const dlx_state_pair *pairs; /* of each class, ascending by `from` */
    const size_t *edge_start;    /* [n_states+1] */
    const dlx_token_edge *edges; /* of each state, ascending by `to` */
    const size_t *set_start;     /* [n_sets+1] */
    const int32_t *set_classes;  /* classes of each set, ascending */
};

typedef struct dlx_constraint dlx_constraint;

/* Takes over the arena, which holds the machine: also when it fails. The vocabulary is needed during the call only.
 * most_bytes bounds the memory. */
dlx_status dlx_constraint_create(dlx_constraint **out, dlx_arena *arena, const dlx_machine *machine,
                                 const dlx_vocabulary *vocabulary, size_t most_bytes, dlx_error *err);
void dlx_constraint_destroy(dlx_constraint *c);

#endif
