/*
 * The smallest automaton of a language: what cannot end is left out, and states that accept the
 * same texts become one (Valmari, "Fast brief practical DFA minimization", 2012). Then kinds of bytes that lead to the
 * same states become one.
 */
#include <stdlib.h>
#include <string.h>

#include "constrain/machine.h"

/* Elements in sets that are split again and again. */
typedef struct partition {
    int32_t n_sets;
    int32_t *element, *place, *set_of; /* [n]; place is the inverse of element */
    int32_t *first, *past;             /* [n_sets] of each set in `element` */
} partition;

typedef struct work {
    int32_t *touched, *marked; /* sets with marked elements, how many of each set are marked */
    int32_t n_touched;
    partition blocks, cords; /* of states, and of moves: cords hold moves of one kind into one block */
    int32_t *from, *kind, *to;
    int32_t n_moves;
    int32_t *into, *into_start; /* moves by the state that they lead to */
    int32_t *memory;
} work;

static void mark(work *w, partition *p, int32_t element)
{
    int32_t s = p->set_of[element], i = p->place[element], j = p->first[s] + w->marked[s];
    p->element[i] = p->element[j];
    p->place[p->element[i]] = i;
    p->element[j] = element;
    p->place[element] = j;
    if (!w->marked[s]++) w->touched[w->n_touched++] = s;
}

/* Cuts marked elements off, the smaller part becomes a new set. */
static void split(work *w, partition *p)
{
    while (w->n_touched) {
        int32_t s = w->touched[--w->n_touched], j = p->first[s] + w->marked[s], z = p->n_sets;
        if (j == p->past[s]) {
            w->marked[s] = 0;
            continue;
        }
        if (w->marked[s] <= p->past[s] - j) {
            p->first[z] = p->first[s];
            p->past[z] = p->first[s] = j;
        } else {
            p->past[z] = p->past[s];
            p->first[z] = p->past[s] = j;
        }
        for (int32_t i = p->first[z]; i < p->past[z]; i++) p->set_of[p->element[i]] = z;
        w->marked[s] = w->marked[z] = 0;
        p->n_sets++;
    }
}

/* Flags the states from which one that is flagged can be reached. */
static void reach(uint8_t *flag, int32_t *stack, const dlx_table *t, const work *w)
{
    int32_t n = 0;
    for (int32_t q = 0; q < t->n_states; q++)
        if (flag[q]) stack[n++] = q;
    while (n) {
        int32_t q = stack[--n];
        for (int32_t i = w->into_start[q]; i < w->into_start[q + 1]; i++) {
            int32_t other = w->from[w->into[i]];
            if (flag[other]) continue;
            flag[other] = 1;
            stack[n++] = other;
        }
    }
}

/* Moves by where they lead; by a counting sort. */
static void sort_moves(work *w, int32_t n_states)
{
    memset(w->into_start, 0, (size_t)(n_states + 1) * sizeof *w->into_start);
    for (int32_t i = 0; i < w->n_moves; i++) w->into_start[w->to[i] + 1]++;
    for (int32_t q = 0; q < n_states; q++) w->into_start[q + 1] += w->into_start[q];
    for (int32_t i = w->n_moves; i-- > 0;) w->into[--w->into_start[w->to[i] + 1]] = i;
    /* Every bound stands one place too far right, lowered to where its own group begins. */
    memmove(w->into_start, w->into_start + 1, (size_t)n_states * sizeof *w->into_start);
    w->into_start[n_states] = w->n_moves;
}

/* All moves between states that are kept (NULL: all are). */
static void list_moves(work *w, const dlx_table *t, const uint8_t *kept)
{
    w->n_moves = 0;
    for (int32_t k = 0; k < t->n_kinds; k++)
        for (int32_t q = 0; q < t->n_states; q++) {
            int32_t to = t->next[q * t->n_kinds + k];
            if (to < 0 || (kept && !(kept[q] && kept[to]))) continue;
            w->from[w->n_moves] = q;
            w->kind[w->n_moves] = k;
            w->to[w->n_moves++] = to;
        }
    sort_moves(w, t->n_states);
}

static void begin_partition(partition *p, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        p->element[i] = p->place[i] = i;
        p->set_of[i] = 0;
    }
    p->n_sets = n > 0;
    p->first[0] = 0;
    p->past[0] = n;
}

/* Blocks: accepting, others, and (never looked at again) those that are not kept. */
static void begin_blocks(work *w, const dlx_table *t, const uint8_t *kept)
{
    begin_partition(&w->blocks, t->n_states);
    w->marked[0] = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t q = 0; q < t->n_states; q++)
            if (pass ? kept[q] && t->accepts[q] : !kept[q]) mark(w, &w->blocks, q);
        split(w, &w->blocks);
    }
}

/* Cords: moves are listed by kinds. */
static void begin_cords(work *w)
{
    partition *c = &w->cords;
    begin_partition(c, w->n_moves);
    if (!w->n_moves) return;
    c->n_sets = 0;
    w->marked[0] = 0;
    for (int32_t i = 0; i < w->n_moves; i++) {
        if (i && w->kind[i] != w->kind[i - 1]) {
            c->past[c->n_sets++] = i;
            c->first[c->n_sets] = i;
            w->marked[c->n_sets] = 0;
        }
        c->set_of[i] = c->n_sets;
    }
    c->past[c->n_sets++] = w->n_moves;
}

static void refine(work *w)
{
    partition *b = &w->blocks, *c = &w->cords;
    for (int32_t done_b = 1, done_c = 0; done_c < c->n_sets; done_c++) {
        for (int32_t i = c->first[done_c]; i < c->past[done_c]; i++) mark(w, b, w->from[c->element[i]]);
        split(w, b);
        for (; done_b < b->n_sets; done_b++) {
            for (int32_t i = b->first[done_b]; i < b->past[done_b]; i++) {
                int32_t q = b->element[i];
                for (int32_t j = w->into_start[q]; j < w->into_start[q + 1]; j++) mark(w, c, w->into[j]);
            }
            split(w, c);
        }
    }
}

static bool allocate(work *w, const dlx_table *t)
{
    size_t states = (size_t)t->n_states, moves = 0;
    for (size_t i = 0; i < states * (size_t)t->n_kinds; i++) moves += t->next[i] >= 0;
    size_t most = states > moves ? states : moves;
    int32_t *m = w->memory =
        malloc((2 * (most + 2) + 5 * (states + 2) + 5 * (moves + 2) + 4 * (moves + 2) + states + 2) * sizeof *m);
    if (!m) return false;
#define TAKE(member, count) (w->member = m, m += (count) + 2)
    TAKE(touched, most);
    TAKE(marked, most);
    TAKE(blocks.element, states);
    TAKE(blocks.place, states);
    TAKE(blocks.set_of, states);
    TAKE(blocks.first, states);
    TAKE(blocks.past, states);
    TAKE(cords.element, moves);
    TAKE(cords.place, moves);
    TAKE(cords.set_of, moves);
    TAKE(cords.first, moves);
    TAKE(cords.past, moves);
    TAKE(from, moves);
    TAKE(kind, moves);
    TAKE(to, moves);
    TAKE(into, moves);
    TAKE(into_start, states);
#undef TAKE
    return true;
}

/* Columns of next [n, kinds] that are equal become one. */
static int32_t join_kinds(uint8_t kind_of[256], int32_t *next, int32_t n, int32_t kinds)
{
    int32_t kept = 0;
    uint8_t becomes[256];
    for (int32_t k = 0; k < kinds; k++) {
        int32_t same = 0, q;
        for (; same < kept; same++) {
            for (q = 0; q < n && next[q * kinds + same] == next[q * kinds + k]; q++) continue;
            if (q == n) break;
        }
        becomes[k] = (uint8_t)same;
        if (same < kept) continue;
        for (q = 0; q < n; q++) next[q * kinds + kept] = next[q * kinds + k];
        kept++;
    }
    for (int b = 0; b < 256; b++) kind_of[b] = becomes[kind_of[b]];
    for (int32_t q = 0; q < n; q++)
        memmove(next + (size_t)q * (size_t)kept, next + (size_t)q * (size_t)kinds, (size_t)kept * sizeof *next);
    return kept;
}

/* A state a block, numbered in the order in which the table's states show them. */
static dlx_status write_machine(dlx_machine *out, dlx_arena *arena, const dlx_table *t, const work *w,
                                const uint8_t *kept, int32_t *number, dlx_error *err)
{
    int32_t n = 0;
    for (int32_t s = 0; s < w->blocks.n_sets; s++) number[s] = -1;
    for (int32_t q = 0; q < t->n_states; q++)
        if (kept[q] && number[w->blocks.set_of[q]] < 0) number[w->blocks.set_of[q]] = n++;
    int32_t *next = dlx_arena_array(arena, (size_t)n * (size_t)t->n_kinds, sizeof *next);
    uint8_t *accepts = dlx_arena_array(arena, (size_t)n, 1);
    if (!next || !accepts) return dlx_fail(err, DLX_E_NOMEM, "out of memory for an automaton of %d states", n);
    for (int32_t q = 0; q < t->n_states; q++) {
        if (!kept[q]) continue;
        int32_t s = number[w->blocks.set_of[q]];
        accepts[s] = t->accepts[q];
        for (int32_t k = 0; k < t->n_kinds; k++) {
            int32_t to = t->next[q * t->n_kinds + k];
            next[s * t->n_kinds + k] = to >= 0 && kept[to] ? number[w->blocks.set_of[to]] : -1;
        }
    }
    out->n_states = n;
    out->start = number[w->blocks.set_of[t->start]];
    memcpy(out->kind_of, t->kind_of, sizeof out->kind_of);
    out->n_kinds = join_kinds(out->kind_of, next, n, t->n_kinds);
    out->next = next;
    out->accepts = accepts;
    return DLX_OK;
}

dlx_status dlx_machine_minimise(dlx_machine *out, dlx_arena *arena, const dlx_table *t, dlx_error *err)
{
    work w = {0};
    size_t n = (size_t)t->n_states;
    uint8_t *kept = malloc(n);
    int32_t *stack = malloc((n + 3) * sizeof *stack);
    dlx_status status = DLX_OK;
    memset(out, 0, sizeof *out);
    if (!kept || !stack || !allocate(&w, t)) {
        status = dlx_fail(err, DLX_E_NOMEM, "out of memory for an automaton of %zu states", n);
    } else {
        list_moves(&w, t, NULL);
        memcpy(kept, t->accepts, n);
        reach(kept, stack, t, &w);
        if (kept[t->start]) {
            list_moves(&w, t, kept);
            begin_blocks(&w, t, kept);
            begin_cords(&w);
            refine(&w);
            status = write_machine(out, arena, t, &w, kept, stack, err);
        }
    }
    free(kept);
    free(stack);
    free(w.memory);
    return status;
}
