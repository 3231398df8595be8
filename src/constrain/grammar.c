/* Which rules contain which, the order in which they become automata, and how deep they may nest. */
#include "constrain/grammar.h"

#include <stdlib.h>
#include <string.h>

#include "constrain/nfa.h"
#include "constrain/recursion.h"

enum { MOST_WORK = 1 << 26 }; /* as dlx_machine_of_nfa counts it */

typedef struct builder {
    const dlx_grammar *g;
    int32_t n;
    dlx_arena own;   /* what is below, and automata that no depth bears on */
    int32_t *callee; /* [start[n]] rules that a rule names */
    size_t *start;   /* [n+1] */
    size_t callee_capacity;
    uint64_t *inside; /* [n][words] bits: whether the second rule lies in the first, however deep */
    size_t words;
    int32_t *finished; /* [n_finished] rules that the root contains, callees first, but for those of a group */
    int32_t n_finished;
    int64_t work;
    dlx_error *err;
} builder;

static dlx_status out_of_memory(const builder *b)
{
    return dlx_fail(b->err, DLX_E_NOMEM, "out of memory for a grammar of %d rules", b->n);
}

/* ---- which rules contain which ----------------------------------------------------------------------------------- */

static bool add_callees(builder *b, const dlx_expr *e, size_t *n)
{
    bool fine = true;
    if (e->kind == DLX_EXPR_RULE) {
        fine = dlx_grow(&b->callee, &b->callee_capacity, *n + 1, sizeof *b->callee) == 0;
        if (fine) b->callee[(*n)++] = e->rule->number;
    } else if (e->items) {
        for (size_t i = 0; i < e->n && fine; i++) fine = add_callees(b, e->items[i], n);
    }
    return fine;
}

static uint64_t *row(const builder *b, int32_t rule)
{
    return b->inside + (size_t)rule * b->words;
}

static bool contains(const builder *b, int32_t rule, int32_t other)
{
    return row(b, rule)[other / 64] >> (other % 64) & 1;
}

/* Warshall's algorithm. */
static dlx_status find_insides(builder *b)
{
    size_t n = 0;
    b->words = (size_t)b->n / 64 + 1;
    b->start = dlx_arena_array(&b->own, (size_t)b->n + 1, sizeof *b->start);
    b->inside = dlx_arena_array(&b->own, (size_t)b->n * b->words, sizeof *b->inside);
    b->finished = dlx_arena_array(&b->own, (size_t)b->n, sizeof *b->finished);
    if (!b->start || !b->inside || !b->finished) return out_of_memory(b);
    for (int32_t i = 0; i < b->n; i++) {
        if (!add_callees(b, b->g->rules[i]->body, &n)) return out_of_memory(b);
        b->start[i + 1] = n;
        for (size_t c = b->start[i]; c < n; c++) row(b, i)[b->callee[c] / 64] |= (uint64_t)1 << (b->callee[c] % 64);
    }
    for (int32_t k = 0; k < b->n; k++)
        for (int32_t i = 0; i < b->n; i++)
            for (size_t w = 0; w < b->words && contains(b, i, k); w++) row(b, i)[w] |= row(b, k)[w];
    return DLX_OK;
}

static bool same_group(const builder *b, int32_t one, int32_t other)
{
    return one == other || (contains(b, one, other) && contains(b, other, one));
}

/* From the root, depth first. */
static dlx_status find_order(builder *b)
{
    int32_t *stack = malloc((size_t)b->n * sizeof *stack), n = 0;
    size_t *at = malloc((size_t)b->n * sizeof *at);
    uint8_t *entered = calloc((size_t)b->n, 1);
    bool fine = stack && at && entered;
    if (fine) {
        stack[n++] = b->g->root->number;
        entered[stack[0]] = 1;
        at[0] = b->start[stack[0]];
    }
    while (n) {
        int32_t rule = stack[n - 1];
        if (at[n - 1] == b->start[rule + 1]) {
            b->finished[b->n_finished++] = rule;
            n--;
            continue;
        }
        int32_t other = b->callee[at[n - 1]++];
        if (entered[other]) continue;
        entered[other] = 1;
        at[n] = b->start[other];
        stack[n++] = other;
    }
    free(stack);
    free(at);
    free(entered);
    return fine ? DLX_OK : out_of_memory(b);
}

/* ---- automata ---------------------------------------------------------------------------------------------------- */

/* Of an expression whose rules have automata. */
static dlx_status build_expr(builder *b, dlx_machine *out, dlx_arena *arena, const dlx_expr *e)
{
    dlx_nfa nfa;
    dlx_status status = dlx_nfa_build(&nfa, e, false, b->err);
    if (status == DLX_OK) status = dlx_machine_of_nfa(out, arena, &nfa, DLX_MOST_GRAMMAR_STATES / 2, &b->work, b->err);
    if (status == DLX_OK) dlx_recursion_charge(&b->work, &nfa, out);
    dlx_nfa_free(&nfa);
    return status;
}

static dlx_status build_alone(builder *b, dlx_rule *rule, dlx_arena *arena)
{
    dlx_machine *machine = dlx_arena_alloc(arena, sizeof *machine);
    if (!machine) return out_of_memory(b);
    DLX_TRY(build_expr(b, machine, arena, rule->body));
    rule->machine = machine;
    return DLX_OK;
}

/* The group of a rule. A rule that only rules of the group name needs no automaton behind it. */
static dlx_status build_group(builder *b, int32_t one, int32_t depth, dlx_arena *arena, bool *cut)
{
    dlx_rule **rules = dlx_arena_array(arena, (size_t)b->n, sizeof *rules);
    uint8_t *wanted = dlx_arena_array(arena, (size_t)b->n, 1);
    int32_t n = 0;
    if (!rules || !wanted) return out_of_memory(b);
    for (int32_t i = 0; i < b->n; i++)
        if (same_group(b, one, i)) {
            rules[n] = b->g->rules[i];
            rules[n]->place = n;
            wanted[n++] = i == b->g->root->number;
        }
    for (int32_t i = 0; i < b->n_finished; i++)
        for (size_t c = b->start[b->finished[i]]; c < b->start[b->finished[i] + 1]; c++)
            if (!same_group(b, one, b->finished[i]) && same_group(b, one, b->callee[c]))
                wanted[b->g->rules[b->callee[c]]->place] = 1;
    return dlx_recursion_build(rules, n, wanted, depth, arena, &b->work, cut, b->err);
}

static bool bears_depth(const builder *b, int32_t rule)
{
    for (int32_t i = 0; i < b->n; i++)
        if (contains(b, i, i) && (i == rule || contains(b, rule, i))) return true;
    return false;
}

/* All automata, callees first; the root's is made once more, into `out`. */
static dlx_status build_all(builder *b, dlx_machine *out, dlx_arena *arena, int32_t depth, bool *cut)
{
    dlx_arena passing;
    dlx_status status = DLX_OK;
    dlx_arena_init(&passing);
    *cut = false;
    for (int32_t i = 0; i < b->n_finished && status == DLX_OK; i++) {
        int32_t number = b->finished[i];
        dlx_rule *rule = b->g->rules[number];
        bool last = true; /* of its group */
        for (int32_t k = i + 1; k < b->n_finished && last; k++) last = !same_group(b, number, b->finished[k]);
        if (contains(b, number, number)) {
            if (last) status = build_group(b, number, depth, &passing, cut);
        } else if (bears_depth(b, number)) {
            status = build_alone(b, rule, &passing);
        } else if (!rule->machine) {
            status = build_alone(b, rule, &b->own);
        }
    }
    const dlx_expr root = {.kind = DLX_EXPR_RULE, .rule = b->g->root};
    if (status == DLX_OK) status = build_expr(b, out, arena, &root);
    dlx_arena_free(&passing);
    for (int32_t i = 0; i < b->n; i++)
        if (bears_depth(b, i)) b->g->rules[i]->machine = NULL;
    return status;
}

/* Deeper and deeper, until nothing is left out, or it becomes too large. */
static dlx_status deepen(builder *b, dlx_machine *out, dlx_arena *arena, int64_t *depth)
{
    dlx_status status = DLX_OK;
    bool cut = true;
    *depth = 0;
    for (int32_t d = 1; cut && d <= DLX_GRAMMAR_DEPTH; d++) {
        dlx_arena deeper;
        dlx_machine machine;
        dlx_error err = {0};
        dlx_error *told = b->err;
        b->err = &err;
        dlx_arena_init(&deeper);
        status = build_all(b, &machine, &deeper, d, &cut);
        b->err = told;
        bool fits = status == DLX_OK && (d == 1 || !cut || machine.n_states <= DLX_GRAMMAR_STATES);
        if (fits) {
            dlx_arena_free(arena);
            dlx_arena_adopt(arena, &deeper);
            *out = machine;
            *depth = cut ? d : 0;
            continue;
        }
        dlx_arena_free(&deeper);
        if (d > 1 && (status == DLX_OK || status == DLX_E_LIMIT)) return DLX_OK;
        return dlx_fail(b->err, status, "%s", err.message);
    }
    return DLX_OK;
}

dlx_status dlx_grammar_build(dlx_machine *out, dlx_arena *arena, const dlx_grammar *g, int64_t *depth, dlx_error *err)
{
    builder b = {.g = g, .n = g->n_rules, .work = MOST_WORK, .err = err};
    bool cut;
    memset(out, 0, sizeof *out);
    dlx_arena_init(&b.own);
    dlx_status status = find_insides(&b);
    if (status == DLX_OK) status = find_order(&b);
    if (status == DLX_OK && *depth) {
        int32_t given = *depth < INT32_MAX ? (int32_t)*depth : INT32_MAX - 1;
        status = build_all(&b, out, arena, given, &cut);
        if (status == DLX_OK && !cut) *depth = 0;
    } else if (status == DLX_OK) {
        status = deepen(&b, out, arena, depth);
    }
    dlx_arena_free(&b.own);
    free(b.callee);
    return status;
}
