/*
 * Building a constraint. What a string of bytes does to all states at once is an effect: the pairs of states that it
 * leads from and to. The effect of a string is that of all but its last byte, followed by that byte, so the effects of
 * all tokens come from a table that is filled as far as the vocabulary asks for it. Effects that are equal are kept
 * once: a class of tokens is an effect.
 */
#include "constrain/tokens.h"

#include <stdlib.h>
#include <string.h>

#include "constrain/lists.h"

enum { UNKNOWN = -2, NOWHERE = -1 };

typedef struct effects {
    const dlx_machine *machine;
    dlx_lists pairs; /* of each effect from, to, from, to, ...; ascending by from */
    int32_t *behind; /* [pairs.n, n_kinds] effect with a byte more; UNKNOWN, NOWHERE */
    size_t behind_capacity;
    size_t most_bytes;
    dlx_error *err;
} effects;

static dlx_status out_of_memory(dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory for a constraint over the tokens of a vocabulary");
}

static dlx_status too_large(dlx_error *err, size_t most, int32_t states)
{
    return dlx_fail(err, DLX_E_LIMIT,
                    "the constraint, an automaton of %d states, takes more than %zu MB over the tokens of this "
                    "vocabulary; use smaller bounds of repetitions ({n,m}, maxLength, maxItems)",
                    states, most >> 20);
}

/* The effect whose n numbers lie at the tail. */
static dlx_status keep(effects *e, size_t n, int32_t *which)
{
    size_t kinds = (size_t)e->machine->n_kinds, count = (size_t)e->pairs.n, items = count ? e->pairs.start[count] : 0;
    if ((items + n + (count + 1) * kinds) * sizeof(int32_t) > e->most_bytes)
        return too_large(e->err, e->most_bytes, e->machine->n_states);
    *which = dlx_lists_keep(&e->pairs, n);
    if (*which < 0) return out_of_memory(e->err);
    if ((size_t)e->pairs.n == count) return DLX_OK;
    if (dlx_grow(&e->behind, &e->behind_capacity, (count + 1) * kinds, sizeof *e->behind) != 0)
        return out_of_memory(e->err);
    for (size_t k = 0; k < kinds; k++) e->behind[count * kinds + k] = UNKNOWN;
    return DLX_OK;
}

/* Effect 0: that of no byte at all. */
static dlx_status begin(effects *e)
{
    int32_t n = e->machine->n_states, which, *tail = dlx_lists_tail(&e->pairs, 2 * (size_t)n);
    if (!tail) return out_of_memory(e->err);
    for (int32_t q = 0; q < n; q++) tail[2 * q] = tail[2 * q + 1] = q;
    return keep(e, 2 * (size_t)n, &which);
}

/* The effect of what has effect `which` and a byte of the kind behind it. */
static dlx_status follow(effects *e, int32_t *which, int kind)
{
    size_t kinds = (size_t)e->machine->n_kinds, place = (size_t)*which * kinds + (size_t)kind, n = 0;
    if (e->behind[place] != UNKNOWN) {
        *which = e->behind[place];
        return DLX_OK;
    }
    size_t length = dlx_lists_length(&e->pairs, *which);
    int32_t *tail = dlx_lists_tail(&e->pairs, length);
    if (!tail) return out_of_memory(e->err);
    const int32_t *pairs = e->pairs.items + e->pairs.start[*which];
    for (size_t i = 0; i < length; i += 2) {
        int32_t to = e->machine->next[(size_t)pairs[i + 1] * kinds + (size_t)kind];
        if (to < 0) continue;
        tail[n++] = pairs[i];
        tail[n++] = to;
    }
    *which = NOWHERE;
    if (n) DLX_TRY(keep(e, n, which));
    e->behind[place] = *which;
    return DLX_OK;
}

/* The effect of every id, NOWHERE where it has no part in a match. */
static dlx_status find_effects(effects *e, const dlx_vocabulary *v, int32_t *effect_of)
{
    DLX_TRY(begin(e));
    for (int32_t id = 0; id < v->n; id++) {
        int32_t which = v->usable[id] && v->offset[id + 1] > v->offset[id] ? 0 : NOWHERE;
        for (uint32_t i = v->offset[id]; which != NOWHERE && i < v->offset[id + 1]; i++)
            DLX_TRY(follow(e, &which, e->machine->kind_of[v->bytes[i]]));
        effect_of[id] = which;
    }
    return DLX_OK;
}

/* ---- classes ----------------------------------------------------------------------------------------------------- */

/* Effects that a token has become classes, in the order of their first ids; effect_of becomes class_of. number_of and
 * effects_of [number of effects] are for this function alone. */
static dlx_status number_classes(dlx_constraint *c, const effects *e, int32_t *effect_of, int32_t *number_of,
                                 int32_t *effects_of, dlx_error *err)
{
    int32_t n = 0, used = 0;
    size_t n_pairs = 0;
    for (int32_t i = 0; i < e->pairs.n; i++) number_of[i] = -1;
    for (int32_t id = 0; id < c->n_ids; id++) {
        int32_t which = effect_of[id];
        if (which < 0) continue;
        used++;
        if (number_of[which] < 0) {
            effects_of[n] = which;
            number_of[which] = n++;
            n_pairs += dlx_lists_length(&e->pairs, which) / 2;
        }
        effect_of[id] = number_of[which];
    }
    int32_t *start = dlx_arena_array(&c->arena, (size_t)n + 2, sizeof *start);
    int32_t *members = dlx_arena_array(&c->arena, (size_t)used, sizeof *members);
    size_t *pair_start = dlx_arena_array(&c->arena, (size_t)n + 1, sizeof *pair_start);
    dlx_state_pair *pairs = dlx_arena_array(&c->arena, n_pairs, sizeof *pairs);
    if (!start || !members || !pair_start || !pairs) return out_of_memory(err);
    for (int32_t id = 0; id < c->n_ids; id++)
        if (effect_of[id] >= 0) start[effect_of[id] + 2]++;
    for (int32_t k = 0; k < n; k++) start[k + 2] += start[k + 1];
    for (int32_t id = 0; id < c->n_ids; id++)
        if (effect_of[id] >= 0) members[start[effect_of[id] + 1]++] = id;
    for (int32_t k = 0; k < n; k++) {
        size_t count = dlx_lists_length(&e->pairs, effects_of[k]) / 2;
        memcpy(pairs + pair_start[k], e->pairs.items + e->pairs.start[effects_of[k]], count * sizeof *pairs);
        pair_start[k + 1] = pair_start[k] + count;
    }
    c->n_classes = n;
    c->member_start = start;
    c->members = members;
    c->pair_start = pair_start;
    c->pairs = pairs;
    return DLX_OK;
}

static dlx_status find_classes(dlx_constraint *c, const dlx_vocabulary *v, size_t most_bytes, dlx_error *err)
{
    effects e = {.machine = &c->machine, .most_bytes = most_bytes, .err = err};
    int32_t *effect_of = dlx_arena_array(&c->arena, (size_t)v->n, sizeof *effect_of), *numbers = NULL;
    c->n_ids = v->n;
    c->class_of = effect_of;
    dlx_status status = effect_of ? find_effects(&e, v, effect_of) : out_of_memory(err);
    if (status == DLX_OK) {
        size_t n = (size_t)e.pairs.n;
        numbers = malloc(2 * n * sizeof *numbers);
        status = numbers ? number_classes(c, &e, effect_of, numbers, numbers + n, err) : out_of_memory(err);
    }
    free(numbers);
    free(e.behind);
    dlx_lists_free(&e.pairs);
    return status;
}

/* ---- sets -------------------------------------------------------------------------------------------------------- */

/* Classes in the order of the states that they lead from; of equal states in ascending order. */
typedef struct reading {
    size_t *start; /* [n_states+1] */
    int32_t *to, *klass;
} reading;

static bool read_by_states(reading *r, const dlx_constraint *c)
{
    size_t states = (size_t)c->machine.n_states, n = c->pair_start[c->n_classes];
    r->start = calloc(states + 2, sizeof *r->start);
    r->to = malloc((n + 1) * sizeof *r->to);
    r->klass = malloc((n + 1) * sizeof *r->klass);
    if (!r->start || !r->to || !r->klass) return false;
    for (size_t i = 0; i < n; i++) r->start[c->pairs[i].from + 2]++;
    for (size_t q = 0; q < states; q++) r->start[q + 2] += r->start[q + 1];
    for (int32_t k = 0; k < c->n_classes; k++)
        for (size_t i = c->pair_start[k]; i < c->pair_start[k + 1]; i++) {
            size_t at = r->start[c->pairs[i].from + 1]++;
            r->to[at] = c->pairs[i].to;
            r->klass[at] = k;
        }
    return true;
}

typedef struct sets {
    dlx_lists classes;
    dlx_token_edge *edges;
    size_t edges_capacity, n_edges;
} sets;

/* Edges and sets of one state, whose classes are r's `begin` .. `end`-1. by_to [n_states] is -1 everywhere, and is so
 * again afterwards; next [end - begin]. */
static bool add_edges(sets *s, const reading *r, size_t begin, size_t end, int32_t *by_to, int32_t *next,
                      int32_t n_states)
{
    /* Chains of the classes that lead to the same state, the last class first. */
    for (size_t i = begin; i < end; i++) {
        next[i - begin] = by_to[r->to[i]];
        by_to[r->to[i]] = (int32_t)(i - begin);
    }
    for (int32_t to = 0; to < n_states; to++) {
        size_t n = 0;
        if (by_to[to] < 0) continue;
        for (int32_t i = by_to[to]; i >= 0; i = next[i]) n++;
        int32_t *tail = dlx_lists_tail(&s->classes, n);
        if (!tail || dlx_grow(&s->edges, &s->edges_capacity, s->n_edges + 1, sizeof *s->edges) != 0) return false;
        size_t at = n;
        for (int32_t i = by_to[to]; i >= 0; i = next[i]) tail[--at] = r->klass[begin + (size_t)i];
        int32_t set = dlx_lists_keep(&s->classes, n);
        if (set < 0) return false;
        s->edges[s->n_edges++] = (dlx_token_edge){to, set};
        by_to[to] = -1;
    }
    return true;
}

static void *copied(dlx_arena *a, const void *from, size_t n, size_t size)
{
    void *p = dlx_arena_array(a, n, size);
    if (p && n) memcpy(p, from, n * size);
    return p;
}

static bool find_sets(dlx_constraint *c, const reading *r, sets *s)
{
    int32_t n_states = c->machine.n_states;
    size_t *edge_start = dlx_arena_array(&c->arena, (size_t)n_states + 1, sizeof *edge_start);
    int32_t *by_to = malloc((size_t)n_states * sizeof *by_to),
            *next = malloc(((size_t)c->n_classes + 1) * sizeof *next);
    bool fine = edge_start && by_to && next;
    if (fine) memset(by_to, 0xFF, (size_t)n_states * sizeof *by_to);
    for (int32_t q = 0; fine && q < n_states; q++) {
        fine = add_edges(s, r, r->start[q], r->start[q + 1], by_to, next, n_states);
        edge_start[q + 1] = s->n_edges;
    }
    free(by_to);
    free(next);
    if (!fine) return false;
    const dlx_lists *l = &s->classes;
    c->n_sets = l->n;
    c->edge_start = edge_start;
    c->edges = copied(&c->arena, s->edges, s->n_edges, sizeof *s->edges);
    c->set_start = copied(&c->arena, l->start, l->n ? (size_t)l->n + 1 : 0, sizeof *l->start);
    c->set_classes = copied(&c->arena, l->items, l->n ? l->start[l->n] : 0, sizeof *l->items);
    return c->edges && c->set_start && c->set_classes;
}

static dlx_status create(dlx_constraint *c, const dlx_vocabulary *v, size_t most_bytes, dlx_error *err)
{
    reading r = {0};
    sets s = {.n_edges = 0};
    DLX_TRY(find_classes(c, v, most_bytes, err));
    bool fine = read_by_states(&r, c) && find_sets(c, &r, &s);
    free(r.start);
    free(r.to);
    free(r.klass);
    free(s.edges);
    dlx_lists_free(&s.classes);
    if (!fine) return out_of_memory(err);
    return dlx_arena_bytes(&c->arena) > most_bytes ? too_large(err, most_bytes, c->machine.n_states) : DLX_OK;
}

dlx_status dlx_constraint_create(dlx_constraint **out, dlx_arena *arena, const dlx_machine *machine,
                                 const dlx_vocabulary *vocabulary, size_t most_bytes, dlx_error *err)
{
    dlx_constraint *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c) {
        dlx_arena_free(arena);
        return dlx_fail(err, DLX_E_NOMEM, "out of memory for a constraint");
    }
    dlx_arena_init(&c->arena);
    dlx_arena_adopt(&c->arena, arena);
    c->machine = *machine;
    dlx_status status = machine->n_states ? create(c, vocabulary, most_bytes, err)
                                          : dlx_fail(err, DLX_E_INVALID, "the constraint accepts no text at all");
    if (status != DLX_OK) {
        dlx_constraint_destroy(c);
        return status;
    }
    *out = c;
    return DLX_OK;
}

void dlx_constraint_destroy(dlx_constraint *c)
{
    if (!c) return;
    dlx_arena_free(&c->arena);
    free(c);
}
