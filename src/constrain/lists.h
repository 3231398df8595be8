/*
 * Lists of numbers, each kept once, numbered in the order in which they came: what states of an automaton stand for,
 * effects of tokens, sets of classes. A new list is written behind the last one and then kept, or found to be there.
 */
#ifndef DLX_CONSTRAIN_LISTS_H
#define DLX_CONSTRAIN_LISTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All 0 to begin with. */
typedef struct dlx_lists {
    int32_t *items; /* list i is items[start[i] .. start[i+1]) */
    size_t *start;  /* [n+1]; NULL as long as there is none */
    int32_t *slots; /* hash table of lists, -1 empty; its size is a power of two */
    size_t items_capacity, start_capacity, n_slots;
    int32_t n;
} dlx_lists;

void dlx_lists_free(dlx_lists *l);
/* Room for n numbers behind the last list; NULL when memory is out. */
int32_t *dlx_lists_tail(dlx_lists *l, size_t n);
/* The number of the list whose n numbers lie at the tail: l->n before the call when it is new. -1: memory is out. */
int32_t dlx_lists_keep(dlx_lists *l, size_t n);
size_t dlx_lists_length(const dlx_lists *l, int32_t i);

#endif
