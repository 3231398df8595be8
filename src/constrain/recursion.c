/*
 * The bodies of all rules are one automaton with empty moves, in which a rule of the group is a call. An automaton of a
 * rule walks over pairs of a goal, the rule that has to be over next, and a state in a body: it begins with the bytes
 * that can begin a body which can begin the goal, and where a body is over, those go on that begin with it.
 */
#include "constrain/recursion.h"

#include <stdlib.h>
#include <string.h>

#include "constrain/lists.h"
#include "constrain/nfa.h"

enum { NONE = -1, ENTRY = -1 };

typedef struct group {
    dlx_rule *const *rules;
    int32_t n, depth;
    dlx_arena *arena;
    int64_t *work;
    bool *cut;
    dlx_error *err;
    dlx_nfa nfa;                    /* of the bodies */
    int32_t *start, *first, *final; /* [n], [n+1], [n] of a body: its first state, all of its states, its last one */
    int32_t *rule_of;               /* [states] whose body it is in */
    int32_t *call, *next_call;      /* [states] first call of a state, and the next one of the same state */
    int32_t *use, *next_use;        /* [n] first call of a rule, and the next one of the same rule */
    uint8_t *early, *later;         /* [states] reached before the body's first byte; behind one */
    uint8_t *nullable;              /* [n] the empty text is derived */
    uint8_t *begins;       /* [n][n] whether a body of the second can begin the first; every rule begins itself */
    int32_t *queue;        /* [states + n] */
    uint32_t *seen, walk;  /* [states + n] */
    dlx_machine *machines; /* [2][n] of this level, and of the one below */
} group;

static dlx_status out_of_memory(const group *g)
{
    return dlx_fail(g->err, DLX_E_NOMEM, "out of memory for %d rules of a grammar", g->n);
}

void dlx_recursion_charge(int64_t *work, const dlx_nfa *nfa, const dlx_machine *machine)
{
    *work -= (int64_t)(nfa->n_states + nfa->n_edges);
    *work -= 16 * (int64_t)machine->n_states * machine->n_kinds; /* memory is scarcer than time */
}

/* ---- the bodies -------------------------------------------------------------------------------------------------- */

static dlx_status read_bodies(group *g)
{
    dlx_nfa_builder b = {.nfa = &g->nfa, .err = g->err, .status = DLX_OK};
    size_t n = (size_t)g->n;
    g->start = dlx_arena_array(g->arena, 3 * n + 1, sizeof *g->start);
    if (!g->start) return out_of_memory(g);
    g->first = g->start + n;
    g->final = g->first + n + 1;
    for (int32_t i = 0; i < g->n; i++) {
        g->first[i] = (int32_t)g->nfa.n_states;
        g->start[i] = dlx_nfa_add_state(&b);
        g->final[i] = dlx_nfa_add_expr(&b, g->rules[i]->body, g->start[i]);
    }
    g->first[g->n] = (int32_t)g->nfa.n_states;
    *g->work -= (int64_t)(g->nfa.n_states + g->nfa.n_edges);
    return b.status;
}

static dlx_status index_bodies(group *g)
{
    size_t states = g->nfa.n_states, n = (size_t)g->n, calls = g->nfa.n_calls;
    g->rule_of = dlx_arena_array(g->arena, 2 * states, sizeof *g->rule_of);
    g->use = dlx_arena_array(g->arena, n, sizeof *g->use);
    g->next_call = dlx_arena_array(g->arena, 2 * calls, sizeof *g->next_call);
    g->early = dlx_arena_array(g->arena, 2 * states, 1);
    g->nullable = dlx_arena_array(g->arena, n, 1);
    g->begins = dlx_arena_array(g->arena, n * n, 1);
    g->queue = dlx_arena_array(g->arena, states + n, sizeof *g->queue);
    g->seen = dlx_arena_array(g->arena, states + n, sizeof *g->seen);
    g->machines = dlx_arena_array(g->arena, 2 * n, sizeof *g->machines);
    if (!g->rule_of || !g->use || !g->next_call || !g->early || !g->nullable || !g->begins || !g->queue || !g->seen ||
        !g->machines)
        return out_of_memory(g);
    g->call = g->rule_of + states;
    g->next_use = g->next_call + calls;
    g->later = g->early + states;
    for (int32_t i = 0; i < g->n; i++) {
        for (int32_t q = g->first[i]; q < g->first[i + 1]; q++) g->rule_of[q] = i;
        g->use[i] = NONE;
    }
    for (size_t q = 0; q < states; q++) g->call[q] = NONE;
    for (int32_t c = 0; c < (int32_t)calls; c++) {
        const dlx_nfa_call *call = &g->nfa.calls[c];
        g->next_call[c] = g->call[call->from];
        g->call[call->from] = c;
        g->next_use[c] = g->use[call->rule->place];
        g->use[call->rule->place] = c;
    }
    return DLX_OK;
}

/* Flags a state once, and queues it. */
static void reach(group *g, uint8_t *flags, int32_t q, int32_t *n)
{
    if (flags[q]) return;
    flags[q] = 1;
    g->queue[(*n)++] = q;
}

/* What flagged and queued states reach without a byte. Among early ones, a body that is over is one of nothing. */
static void spread(group *g, uint8_t *flags, int32_t n)
{
    for (int32_t done = 0; done < n; done++) {
        int32_t q = g->queue[done], rule = g->rule_of[q];
        for (int32_t e = g->nfa.first[q]; e >= 0; e = g->nfa.edges[e].next)
            if (g->nfa.edges[e].move == DLX_MOVE_EMPTY) reach(g, flags, g->nfa.edges[e].to, &n);
        for (int32_t c = g->call[q]; c >= 0; c = g->next_call[c])
            if (g->nullable[g->nfa.calls[c].rule->place]) reach(g, flags, g->nfa.calls[c].to, &n);
        if (flags != g->early || q != g->final[rule] || g->nullable[rule]) continue;
        g->nullable[rule] = 1;
        for (int32_t c = g->use[rule]; c >= 0; c = g->next_use[c])
            if (flags[g->nfa.calls[c].from]) reach(g, flags, g->nfa.calls[c].to, &n);
    }
}

static void find_early_and_later(group *g)
{
    int32_t n = 0;
    for (int32_t i = 0; i < g->n; i++) reach(g, g->early, g->start[i], &n);
    spread(g, g->early, n);
    n = 0;
    for (size_t e = 0; e < g->nfa.n_edges; e++)
        if (g->nfa.edges[e].move == DLX_MOVE_BYTE) reach(g, g->later, g->nfa.edges[e].to, &n);
    for (size_t c = 0; c < g->nfa.n_calls; c++) reach(g, g->later, g->nfa.calls[c].to, &n);
    spread(g, g->later, n);
}

static void find_beginnings(group *g)
{
    for (int32_t goal = 0; goal < g->n; goal++) {
        uint8_t *row = g->begins + (size_t)goal * (size_t)g->n;
        int32_t n = 0;
        row[goal] = 1;
        g->queue[n++] = goal;
        for (int32_t done = 0; done < n; done++) {
            int32_t rule = g->queue[done];
            *g->work -= g->first[rule + 1] - g->first[rule];
            for (int32_t q = g->first[rule]; q < g->first[rule + 1]; q++)
                for (int32_t c = g->early[q] ? g->call[q] : NONE; c >= 0; c = g->next_call[c]) {
                    int32_t callee = g->nfa.calls[c].rule->place;
                    if (row[callee]) continue;
                    row[callee] = 1;
                    g->queue[n++] = callee;
                }
        }
    }
}

static bool can_begin(const group *g, int32_t goal, int32_t rule)
{
    return g->begins[(size_t)goal * (size_t)g->n + (size_t)rule];
}

/* ---- calls that need no memory ----------------------------------------------------------------------------------- */

/* Whether behind state q nothing is left of its body. */
static bool is_over(group *g, int32_t q)
{
    bool ends = false;
    int32_t n = 0;
    g->seen[q] = ++g->walk;
    g->queue[n++] = q;
    while (n) {
        q = g->queue[--n];
        --*g->work;
        if (g->call[q] >= 0) return false;
        ends = ends || q == g->final[g->rule_of[q]];
        for (int32_t e = g->nfa.first[q]; e >= 0; e = g->nfa.edges[e].next) {
            const dlx_nfa_edge *edge = &g->nfa.edges[e];
            if (edge->move != DLX_MOVE_EMPTY) return false;
            if (g->seen[edge->to] == g->walk) continue;
            g->seen[edge->to] = g->walk;
            g->queue[n++] = edge->to;
        }
    }
    return ends;
}

/* Whether a body of `rule` that is over can do nothing but be the end of the goal. */
static bool ends_goal(group *g, int32_t goal, int32_t rule)
{
    int32_t n = 0, states = (int32_t)g->nfa.n_states, *stack = g->queue + states; /* [n], which is_over leaves alone */
    uint32_t mark = ++g->walk;
    g->seen[states + rule] = mark;
    stack[n++] = rule;
    while (n) {
        for (int32_t c = g->use[stack[--n]]; c >= 0; c = g->next_use[c]) {
            const dlx_nfa_call *call = &g->nfa.calls[c];
            int32_t other = g->rule_of[call->from];
            --*g->work;
            if (!g->early[call->from] || !can_begin(g, goal, other)) continue;
            if (!is_over(g, call->to)) return false;
            if (g->seen[states + other] == mark) continue;
            g->seen[states + other] = mark;
            stack[n++] = other;
        }
    }
    return true;
}

/* Whether a call behind which the body goes on at `to` may forget the goal for its own rule. Where the goal is this
 * rule, and its body is over as well then, what may come behind the one may come behind the other. */
static bool needs_no_memory(group *g, int32_t goal, const dlx_nfa_call *c)
{
    int32_t rule = g->rule_of[c->from];
    if (!is_over(g, c->to)) return false;
    return (rule == goal && c->rule->place == goal) || ends_goal(g, goal, rule);
}

static dlx_machine *machine_of(const group *g, int32_t rule, int32_t level)
{
    return &g->machines[(size_t)(level & 1) * (size_t)g->n + (size_t)rule];
}

/* ---- the automaton of a rule ------------------------------------------------------------------------------------- */

typedef struct walk {
    group *g;
    int32_t rule, level;
    dlx_nfa nfa;
    dlx_nfa_builder b;
    dlx_lists pairs; /* (goal, state), or (goal, ENTRY) */
    int32_t *state;  /* [pairs] of nfa */
    size_t state_capacity;
    int32_t end; /* of nfa */
} walk;

/* The state of nfa for a pair. */
static int32_t pair(walk *w, int32_t goal, int32_t q)
{
    int32_t before = w->pairs.n, *tail = dlx_lists_tail(&w->pairs, 2), i = NONE;
    if (tail) {
        tail[0] = goal;
        tail[1] = q;
        i = dlx_lists_keep(&w->pairs, 2);
    }
    if (i == before && dlx_grow(&w->state, &w->state_capacity, (size_t)i + 1, sizeof *w->state) != 0) i = NONE;
    if (i < 0) {
        if (w->b.status == DLX_OK) w->b.status = out_of_memory(w->g);
        return 0;
    }
    if (i == before) w->state[i] = dlx_nfa_add_state(&w->b);
    return w->state[i];
}

/* The bytes that leave q of a body. */
static void add_bytes(walk *w, int32_t from, int32_t goal, int32_t q)
{
    const dlx_nfa *n = &w->g->nfa;
    for (int32_t e = n->first[q]; e >= 0; e = n->edges[e].next)
        if (n->edges[e].move == DLX_MOVE_BYTE)
            dlx_nfa_add_edge(&w->b, from, DLX_MOVE_BYTE, n->edges[e].lo, n->edges[e].hi, pair(w, goal, n->edges[e].to));
}

static void add_entry(walk *w, int32_t from, int32_t goal)
{
    const group *g = w->g;
    for (int32_t rule = 0; rule < g->n; rule++) {
        if (!can_begin(g, goal, rule)) continue;
        *g->work -= g->first[rule + 1] - g->first[rule];
        for (int32_t q = g->first[rule]; q < g->first[rule + 1]; q++)
            if (g->early[q]) add_bytes(w, from, goal, q);
    }
}

static void add_call(walk *w, int32_t from, int32_t goal, const dlx_nfa_call *c)
{
    group *g = w->g;
    int32_t callee = c->rule->place, level = callee > w->rule ? w->level : w->level - 1, to = pair(w, goal, c->to);
    if (g->nullable[callee]) dlx_nfa_add_edge(&w->b, from, DLX_MOVE_EMPTY, 0, 0, to);
    if (needs_no_memory(g, goal, c)) {
        dlx_nfa_add_edge(&w->b, from, DLX_MOVE_EMPTY, 0, 0, pair(w, callee, ENTRY));
    } else if (level >= 0) {
        const dlx_machine *m = machine_of(g, callee, level);
        *g->work -= m->n_states;
        dlx_nfa_add_edge(&w->b, dlx_nfa_add_machine(&w->b, m, from), DLX_MOVE_EMPTY, 0, 0, to);
    } else {
        *g->cut = true;
    }
}

/* A body is over: it is the goal, or others go on that begin with it. */
static void add_end(walk *w, int32_t from, int32_t goal, int32_t rule)
{
    const group *g = w->g;
    if (rule == goal) dlx_nfa_add_edge(&w->b, from, DLX_MOVE_EMPTY, 0, 0, w->end);
    for (int32_t c = g->use[rule]; c >= 0; c = g->next_use[c]) {
        const dlx_nfa_call *call = &g->nfa.calls[c];
        --*g->work;
        if (g->early[call->from] && can_begin(g, goal, g->rule_of[call->from]))
            dlx_nfa_add_edge(&w->b, from, DLX_MOVE_EMPTY, 0, 0, pair(w, goal, call->to));
    }
}

static dlx_status explore(walk *w)
{
    const group *g = w->g;
    w->nfa.start = dlx_nfa_add_state(&w->b);
    w->nfa.final = w->end = dlx_nfa_add_state(&w->b);
    dlx_nfa_add_edge(&w->b, w->nfa.start, DLX_MOVE_EMPTY, 0, 0, pair(w, w->rule, ENTRY));
    if (g->nullable[w->rule]) dlx_nfa_add_edge(&w->b, w->nfa.start, DLX_MOVE_EMPTY, 0, 0, w->end);
    for (int32_t i = 0; i < w->pairs.n && w->b.status == DLX_OK; i++) {
        int32_t goal = w->pairs.items[2 * i], q = w->pairs.items[2 * i + 1], from = w->state[i];
        if (--*g->work < 0)
            return dlx_fail(g->err, DLX_E_LIMIT,
                            "the grammar takes too long to become an automaton; use less depth, or fewer rules that "
                            "contain each other");
        if (q == ENTRY) {
            add_entry(w, from, goal);
            continue;
        }
        add_bytes(w, from, goal, q);
        for (int32_t e = g->nfa.first[q]; e >= 0; e = g->nfa.edges[e].next)
            if (g->nfa.edges[e].move == DLX_MOVE_EMPTY)
                dlx_nfa_add_edge(&w->b, from, DLX_MOVE_EMPTY, 0, 0, pair(w, goal, g->nfa.edges[e].to));
        for (int32_t c = g->call[q]; c >= 0; c = g->next_call[c]) add_call(w, from, goal, &g->nfa.calls[c]);
        if (q == g->final[g->rule_of[q]]) add_end(w, from, goal, g->rule_of[q]);
    }
    return w->b.status;
}

static dlx_status build_rule(group *g, int32_t rule, int32_t level)
{
    walk w = {.g = g, .rule = rule, .level = level, .b = {.err = g->err, .status = DLX_OK}};
    dlx_machine *machine = machine_of(g, rule, level);
    w.b.nfa = &w.nfa;
    dlx_status status = explore(&w);
    if (status == DLX_OK)
        status = dlx_machine_of_nfa(machine, g->arena, &w.nfa, DLX_MOST_GRAMMAR_STATES, g->work, g->err);
    if (status == DLX_OK) dlx_recursion_charge(g->work, &w.nfa, machine);
    dlx_nfa_free(&w.nfa);
    dlx_lists_free(&w.pairs);
    free(w.state);
    return status;
}

/* Whether some call of the rule may need its automaton. */
static bool is_called(const group *g, int32_t rule)
{
    for (int32_t c = g->use[rule]; c >= 0; c = g->next_use[c])
        if (g->later[g->nfa.calls[c].from]) return true;
    return false;
}

static dlx_status build_rules(group *g, const uint8_t *wanted)
{
    for (int32_t level = 0; level <= g->depth; level++)
        for (int32_t i = g->n; i-- > 0;)
            if ((level == g->depth && wanted[i]) || is_called(g, i)) DLX_TRY(build_rule(g, i, level));
    for (int32_t i = 0; i < g->n; i++)
        if (wanted[i]) g->rules[i]->machine = machine_of(g, i, g->depth);
    return DLX_OK;
}

dlx_status dlx_recursion_build(dlx_rule *const *rules, int32_t n, const uint8_t *wanted, int32_t depth,
                               dlx_arena *arena, int64_t *work, bool *cut, dlx_error *err)
{
    group g = {.rules = rules, .n = n, .depth = depth, .arena = arena, .work = work, .cut = cut, .err = err};
    dlx_status status = read_bodies(&g);
    if (status == DLX_OK) status = index_bodies(&g);
    if (status == DLX_OK) {
        find_early_and_later(&g);
        find_beginnings(&g);
        status = build_rules(&g, wanted);
    }
    dlx_nfa_free(&g.nfa);
    return status;
}
