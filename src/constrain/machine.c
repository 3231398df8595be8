/*
 * From automata with empty moves to deterministic ones (subset construction), and products of two. A set of states is
 * kept as what matters of it: states with a byte behind them, with an end of the text behind them, or the final one.
 */
#include "constrain/machine.h"

#include <stdlib.h>
#include <string.h>

#include "constrain/lists.h"
#include "constrain/nfa.h"

bool dlx_machine_accepts(const dlx_machine *m, const char *text, size_t n)
{
    int32_t q = m->n_states ? m->start : -1;
    for (size_t i = 0; i < n && q >= 0; i++) q = dlx_machine_step(m, q, (uint8_t)text[i]);
    return q >= 0 && m->accepts[q];
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void free_table(dlx_table *t)
{
    free(t->next);
    free(t->accepts);
}

static dlx_status too_many_states(int32_t most, dlx_error *err)
{
    return dlx_fail(err, DLX_E_LIMIT,
                    "the constraint needs an automaton of more than %d states; use smaller bounds of repetitions "
                    "({n,m}, maxLength, maxItems), less depth, fewer optional parts, or simpler alternatives",
                    most);
}

/* Room for one more state, whose bytes lead nowhere. */
static dlx_status add_row(dlx_table *t, dlx_error *err)
{
    size_t kinds = (size_t)t->n_kinds, at = (size_t)t->n_states;
    if (t->n_states == t->most_states) return too_many_states(t->most_states, err);
    if (dlx_grow(&t->next, &t->next_capacity, (at + 1) * kinds, sizeof *t->next) != 0 ||
        dlx_grow(&t->accepts, &t->accepts_capacity, at + 1, 1) != 0)
        return dlx_fail(err, DLX_E_NOMEM, "out of memory for an automaton of %zu states", at);
    for (size_t k = 0; k < kinds; k++) t->next[at * kinds + k] = -1;
    t->accepts[at] = 0;
    t->n_states++;
    return DLX_OK;
}

/* The state of the table for the list whose n numbers lie at the tail. */
static dlx_status state_for(dlx_lists *keys, dlx_table *t, size_t n, int32_t *state, dlx_error *err)
{
    *state = dlx_lists_keep(keys, n);
    if (*state < 0) return dlx_fail(err, DLX_E_NOMEM, "out of memory for an automaton of %d states", t->n_states);
    return *state == t->n_states ? add_row(t, err) : DLX_OK;
}

/* ---- subsets ----------------------------------------------------------------------------------------------------- */

enum { MOST_KEPT = 1 << 25 }; /* numbers, while one is built */

typedef struct subsets {
    const dlx_nfa *nfa;
    int64_t work; /* that is left */
    dlx_lists sets;
    dlx_table table;
    uint32_t *seen; /* [n_states] number of the walk that came by last */
    uint32_t walk;
    int32_t *stack, *set; /* [n_states] */
    size_t n_set;
    int32_t *targets; /* of one state and all kinds: chains of (state, next) */
    int32_t *chain;   /* [n_kinds] first, or -1 */
    size_t targets_capacity, n_targets;
} subsets;

static bool matters(const dlx_nfa *n, int32_t q)
{
    if (q == n->final) return true;
    for (int32_t e = n->first[q]; e >= 0; e = n->edges[e].next)
        if (n->edges[e].move == DLX_MOVE_BYTE || n->edges[e].move == DLX_MOVE_END) return true;
    return false;
}

/* Adds what can be reached from q without a byte to the set. */
static void close_over(subsets *s, int32_t q, bool begin)
{
    size_t n = 0;
    if (s->seen[q] == s->walk) return;
    s->seen[q] = s->walk;
    s->stack[n++] = q;
    while (n) {
        q = s->stack[--n];
        s->work--;
        if (matters(s->nfa, q)) s->set[s->n_set++] = q;
        for (int32_t e = s->nfa->first[q]; e >= 0; e = s->nfa->edges[e].next) {
            const dlx_nfa_edge *edge = &s->nfa->edges[e];
            if (edge->move != DLX_MOVE_EMPTY && !(edge->move == DLX_MOVE_BEGIN && begin)) continue;
            if (s->seen[edge->to] == s->walk) continue;
            s->seen[edge->to] = s->walk;
            s->stack[n++] = edge->to;
        }
    }
}

/* Whether the final state can be reached from the set where the text ends. */
static bool can_end(subsets *s, const int32_t *set, size_t n_set, bool begin)
{
    size_t n = 0;
    s->walk++;
    for (size_t i = 0; i < n_set; i++) {
        s->seen[set[i]] = s->walk;
        s->stack[n++] = set[i];
    }
    while (n) {
        int32_t q = s->stack[--n];
        if (q == s->nfa->final) return true;
        for (int32_t e = s->nfa->first[q]; e >= 0; e = s->nfa->edges[e].next) {
            const dlx_nfa_edge *edge = &s->nfa->edges[e];
            if (edge->move == DLX_MOVE_BYTE || (edge->move == DLX_MOVE_BEGIN && !begin)) continue;
            if (s->seen[edge->to] == s->walk) continue;
            s->seen[edge->to] = s->walk;
            s->stack[n++] = edge->to;
        }
    }
    return false;
}

static int ascending(const void *pa, const void *pb)
{
    int32_t a = *(const int32_t *)pa, b = *(const int32_t *)pb;
    return a < b ? -1 : a > b;
}

/* The state of the table for the set at hand. The first one is that of the beginning, which no text leads back to. */
static dlx_status state_of(subsets *s, bool begin, int32_t *state, dlx_error *err)
{
    int32_t before = s->table.n_states, *tail = dlx_lists_tail(&s->sets, s->n_set + 1);
    if (!tail) return dlx_fail(err, DLX_E_NOMEM, "out of memory for an automaton of %d states", before);
    qsort(s->set, s->n_set, sizeof *s->set, ascending);
    memcpy(tail, s->set, s->n_set * sizeof *tail);
    tail[s->n_set] = -1; /* tells it from the same set later on */
    DLX_TRY(state_for(&s->sets, &s->table, s->n_set + begin, state, err));
    if (s->table.n_states > before) s->table.accepts[*state] = can_end(s, s->set, s->n_set, begin);
    return DLX_OK;
}

/* Kinds of bytes: where an edge begins or ends, another kind begins. */
static void find_kinds(subsets *s)
{
    bool cut[257] = {false};
    for (size_t e = 0; e < s->nfa->n_edges; e++)
        if (s->nfa->edges[e].move == DLX_MOVE_BYTE) cut[s->nfa->edges[e].lo] = cut[s->nfa->edges[e].hi + 1] = true;
    int kind = 0;
    for (int b = 0; b < 256; b++) {
        if (b && cut[b]) kind++;
        s->table.kind_of[b] = (uint8_t)kind;
    }
    s->table.n_kinds = kind + 1;
}

/* Sorts where the bytes of the table's state lead by kinds. */
static dlx_status find_targets(subsets *s, int32_t state, dlx_error *err)
{
    s->n_targets = 0;
    for (int32_t k = 0; k < s->table.n_kinds; k++) s->chain[k] = -1;
    for (size_t i = s->sets.start[state]; i < s->sets.start[state + 1]; i++) {
        int32_t q = s->sets.items[i];
        for (int32_t e = q < 0 ? -1 : s->nfa->first[q]; e >= 0; e = s->nfa->edges[e].next) {
            const dlx_nfa_edge *edge = &s->nfa->edges[e];
            if (edge->move != DLX_MOVE_BYTE) continue;
            for (int k = s->table.kind_of[edge->lo]; k <= s->table.kind_of[edge->hi]; k++) {
                s->work--;
                if (dlx_grow(&s->targets, &s->targets_capacity, s->n_targets + 2, sizeof *s->targets) != 0)
                    return dlx_fail(err, DLX_E_NOMEM, "out of memory for an automaton of %d states", s->table.n_states);
                s->targets[s->n_targets] = edge->to;
                s->targets[s->n_targets + 1] = s->chain[k];
                s->chain[k] = (int32_t)s->n_targets;
                s->n_targets += 2;
            }
        }
    }
    return DLX_OK;
}

static dlx_status explore(subsets *s, dlx_error *err)
{
    int32_t to;
    s->walk++;
    s->n_set = 0;
    close_over(s, s->nfa->start, true);
    DLX_TRY(state_of(s, true, &s->table.start, err));
    for (int32_t q = 0; q < s->table.n_states; q++) {
        if (s->work < 0 || s->sets.start[s->sets.n] > MOST_KEPT)
            return dlx_fail(
                err, DLX_E_LIMIT,
                "the constraint takes too long to become an automaton: repetitions in repetitions overlap in "
                "too many ways; write it so that every text matches in one way");
        DLX_TRY(find_targets(s, q, err));
        for (int32_t k = 0; k < s->table.n_kinds; k++) {
            if (s->chain[k] < 0) continue;
            s->walk++;
            s->n_set = 0;
            for (int32_t i = s->chain[k]; i >= 0; i = s->targets[i + 1]) close_over(s, s->targets[i], false);
            if (!s->n_set) continue;
            DLX_TRY(state_of(s, false, &to, err));
            s->table.next[(size_t)q * (size_t)s->table.n_kinds + (size_t)k] = to;
        }
    }
    return DLX_OK;
}

dlx_status dlx_machine_of_nfa(dlx_machine *out, dlx_arena *arena, const dlx_nfa *nfa, int32_t most_states,
                              int64_t *work, dlx_error *err)
{
    subsets s = {.nfa = nfa, .work = *work, .table = {.most_states = most_states}};
    dlx_status status = DLX_OK;
    memset(out, 0, sizeof *out);
    find_kinds(&s);
    s.seen = calloc(nfa->n_states, sizeof *s.seen);
    s.stack = malloc(nfa->n_states * sizeof *s.stack);
    s.set = malloc((nfa->n_states + 1) * sizeof *s.set);
    s.chain = malloc((size_t)s.table.n_kinds * sizeof *s.chain);
    if (!s.seen || !s.stack || !s.set || !s.chain)
        status = dlx_fail(err, DLX_E_NOMEM, "out of memory for a constraint of %zu steps", nfa->n_states);
    if (status == DLX_OK) status = explore(&s, err);
    if (status == DLX_OK) status = dlx_machine_minimise(out, arena, &s.table, err);
    if (status == DLX_OK && out->n_states > DLX_MOST_MACHINE_STATES)
        status = too_many_states(DLX_MOST_MACHINE_STATES, err);
    *work = s.work;
    free(s.seen);
    free(s.stack);
    free(s.set);
    free(s.chain);
    free(s.targets);
    dlx_lists_free(&s.sets);
    free_table(&s.table);
    return status;
}

dlx_status dlx_machine_build(dlx_machine *out, dlx_arena *arena, const dlx_expr *e, bool in_json_string, dlx_error *err)
{
    dlx_nfa nfa;
    int64_t work = DLX_MOST_MACHINE_WORK;
    memset(out, 0, sizeof *out);
    dlx_status status = dlx_nfa_build(&nfa, e, in_json_string, err);
    if (status == DLX_OK) status = dlx_machine_of_nfa(out, arena, &nfa, DLX_MOST_MACHINE_STATES, &work, err);
    dlx_nfa_free(&nfa);
    return status;
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

static dlx_status pair_state(dlx_lists *pairs, dlx_table *t, int32_t qa, int32_t qb, int32_t *state, dlx_error *err)
{
    int32_t *tail = dlx_lists_tail(pairs, 2);
    if (!tail) return dlx_fail(err, DLX_E_NOMEM, "out of memory for an automaton of %d states", t->n_states);
    tail[0] = qa;
    tail[1] = qb;
    return state_for(pairs, t, 2, state, err);
}

static dlx_status explore_both(dlx_lists *pairs, dlx_table *t, const dlx_machine *a, const dlx_machine *b, bool without,
                               dlx_error *err)
{
    uint8_t low[256];
    int32_t to;
    for (int byte = 0, kinds = 0; byte < 256; byte++) {
        int same = 0;
        while (same < kinds && (a->kind_of[low[same]] != a->kind_of[byte] || b->kind_of[low[same]] != b->kind_of[byte]))
            same++;
        if (same == kinds) low[kinds++] = (uint8_t)byte;
        t->kind_of[byte] = (uint8_t)same;
        t->n_kinds = kinds;
    }
    DLX_TRY(pair_state(pairs, t, a->start, b->n_states ? b->start : -1, &t->start, err));
    for (int32_t q = 0; q < t->n_states; q++) {
        int32_t qa = pairs->items[2 * q], qb = pairs->items[2 * q + 1];
        t->accepts[q] = a->accepts[qa] && (qb >= 0 && b->accepts[qb]) != without;
        for (int32_t k = 0; k < t->n_kinds; k++) {
            int32_t next_a = dlx_machine_step(a, qa, low[k]), next_b = qb < 0 ? -1 : dlx_machine_step(b, qb, low[k]);
            if (next_a < 0 || (next_b < 0 && !without)) continue;
            DLX_TRY(pair_state(pairs, t, next_a, next_b, &to, err));
            t->next[(size_t)q * (size_t)t->n_kinds + (size_t)k] = to;
        }
    }
    return DLX_OK;
}

dlx_status dlx_machine_both(dlx_machine *out, dlx_arena *arena, const dlx_machine *a, const dlx_machine *b,
                            bool without, dlx_error *err)
{
    memset(out, 0, sizeof *out);
    if (!a->n_states || (!b->n_states && !without)) return DLX_OK;
    dlx_lists pairs = {0};
    dlx_table t = {.most_states = DLX_MOST_MACHINE_STATES};
    dlx_status status = explore_both(&pairs, &t, a, b, without, err);
    if (status == DLX_OK) status = dlx_machine_minimise(out, arena, &t, err);
    dlx_lists_free(&pairs);
    free_table(&t);
    return status;
}
