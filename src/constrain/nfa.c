/* From expressions to automata with empty moves. */
#include "constrain/nfa.h"

#include <stdlib.h>
#include <string.h>

#include "constrain/machine.h"

enum { MOST_STATES = 1 << 20, MOST_EDGES = 1 << 22, MOST_PARTS = 1 << 22 };

static void refuse_growth(dlx_nfa_builder *b)
{
    b->status = dlx_fail(b->err, DLX_E_LIMIT,
                         "the constraint grows to more than %d steps when its bounded repetitions are written out; use "
                         "smaller bounds ({n,m}, maxLength, maxItems) or none",
                         MOST_STATES);
}

int32_t dlx_nfa_add_state(dlx_nfa_builder *b)
{
    dlx_nfa *n = b->nfa;
    if (b->status == DLX_OK && n->n_states == MOST_STATES) refuse_growth(b);
    if (b->status != DLX_OK) return 0;
    if (dlx_grow(&n->first, &n->states_capacity, n->n_states + 1, sizeof *n->first) != 0) {
        b->status = dlx_fail(b->err, DLX_E_NOMEM, "out of memory for a constraint of %zu steps", n->n_states);
        return 0;
    }
    n->first[n->n_states] = -1;
    return (int32_t)n->n_states++;
}

void dlx_nfa_add_edge(dlx_nfa_builder *b, int32_t from, dlx_move move, int lo, int hi, int32_t to)
{
    dlx_nfa *n = b->nfa;
    if (b->status != DLX_OK) return;
    if (n->n_edges == MOST_EDGES) {
        refuse_growth(b);
        return;
    }
    if (dlx_grow(&n->edges, &n->edges_capacity, n->n_edges + 1, sizeof *n->edges) != 0) {
        b->status = dlx_fail(b->err, DLX_E_NOMEM, "out of memory for a constraint of %zu steps", n->n_states);
        return;
    }
    n->edges[n->n_edges] = (dlx_nfa_edge){(uint8_t)move, (uint8_t)lo, (uint8_t)hi, to, n->first[from]};
    n->first[from] = (int32_t)n->n_edges++;
}

static void add_call(dlx_nfa_builder *b, int32_t from, int32_t to, const dlx_rule *rule)
{
    dlx_nfa *n = b->nfa;
    if (b->status != DLX_OK) return;
    if (dlx_grow(&n->calls, &n->calls_capacity, n->n_calls + 1, sizeof *n->calls) != 0)
        b->status = dlx_fail(b->err, DLX_E_NOMEM, "out of memory for a constraint of %zu steps", n->n_states);
    else
        n->calls[n->n_calls++] = (dlx_nfa_call){from, to, rule};
}

/* ---- characters -------------------------------------------------------------------------------------------------- */

static int put_utf8(uint8_t out[4], uint32_t c)
{
    if (c < 0x80) return out[0] = (uint8_t)c, 1;
    int n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, c >>= 6) out[i] = (uint8_t)(0x80 | (c & 0x3F));
    out[0] = (uint8_t)((n == 2 ? 0xC0 : n == 3 ? 0xE0 : 0xF0) | c);
    return n;
}

/* Code points of one length in UTF-8 that differ in their last `free` bytes in every way: one edge a byte. */
static void add_sequence(dlx_nfa_builder *b, int32_t from, int32_t to, uint32_t first, uint32_t last)
{
    uint8_t lo[4], hi[4];
    int n = put_utf8(lo, first);
    put_utf8(hi, last);
    for (int i = 0; i < n; i++) {
        int32_t next = i + 1 < n ? dlx_nfa_add_state(b) : to;
        dlx_nfa_add_edge(b, from, DLX_MOVE_BYTE, lo[i], hi[i], next);
        from = next;
    }
}

/* Cuts first .. last where UTF-8 grows longer, and where a continuation byte has not its whole range although a byte in
 * front of it differs. */
static void add_range(dlx_nfa_builder *b, int32_t from, int32_t to, uint32_t first, uint32_t last)
{
    static const uint32_t ends[] = {0x7F, 0x7FF, 0xFFFF};
    for (int i = 0; i < 3; i++)
        if (first <= ends[i] && last > ends[i]) {
            add_range(b, from, to, first, ends[i]);
            add_range(b, from, to, ends[i] + 1, last);
            return;
        }
    for (int i = 1; first > 0x7F && i < 4; i++) {
        uint32_t low = ((uint32_t)1 << (6 * i)) - 1;
        if ((first & ~low) == (last & ~low)) break;
        if (first & low) {
            add_range(b, from, to, first, first | low);
            add_range(b, from, to, (first | low) + 1, last);
            return;
        }
        if ((last & low) != low) {
            add_range(b, from, to, first, (last & ~low) - 1);
            add_range(b, from, to, last & ~low, last);
            return;
        }
    }
    add_sequence(b, from, to, first, last);
}

static void add_text(dlx_nfa_builder *b, int32_t from, int32_t to, const char *bytes, size_t n)
{
    if (!n) dlx_nfa_add_edge(b, from, DLX_MOVE_EMPTY, 0, 0, to);
    for (size_t i = 0; i < n; i++) {
        int32_t next = i + 1 < n ? dlx_nfa_add_state(b) : to;
        dlx_nfa_add_edge(b, from, DLX_MOVE_BYTE, (uint8_t)bytes[i], (uint8_t)bytes[i], next);
        from = next;
    }
}

size_t dlx_json_escape(char out[6], uint32_t c)
{
    static const char digits[] = "0123456789abcdef", escaped[] = "\"\\\b\f\n\r\t", short_form[] = "\"\\bfnrt";
    const char *found = c && c < 0x80 ? strchr(escaped, (int)c) : NULL;
    const char text[6] = {'\\',          found ? short_form[found - escaped] : 'u', '0', '0', digits[c >> 4 & 15],
                          digits[c & 15]};
    if (!found && c >= 0x20) return 0;
    memcpy(out, text, sizeof text);
    return found ? 2 : 6;
}

static void add_characters(dlx_nfa_builder *b, int32_t from, int32_t to, dlx_code_range r)
{
    if (!b->in_json_string) {
        add_range(b, from, to, r.first, r.last);
        return;
    }
    uint32_t c = r.first;
    char escape[6];
    for (; c <= r.last && c <= '\\'; c++) {
        uint32_t end = c;
        size_t n = dlx_json_escape(escape, c);
        if (n) {
            add_text(b, from, to, escape, n);
            continue;
        }
        while (end < r.last && end < '\\' && !dlx_json_escape(escape, end + 1)) end++;
        add_range(b, from, to, c, end);
        c = end;
    }
    if (c <= r.last) add_range(b, from, to, c, r.last);
}

/* ---- expressions ------------------------------------------------------------------------------------------------- */

/* Every repetition begins in a state of its own, so that nothing leads back to where it came from. */
static int32_t build_repeat(dlx_nfa_builder *b, const dlx_expr *e, int32_t from)
{
    int32_t at = from, end;
    for (int32_t i = 0; i < e->least && b->status == DLX_OK; i++) at = dlx_nfa_add_expr(b, e->items[0], at);
    if (e->most == DLX_UNBOUNDED) {
        int32_t loop = dlx_nfa_add_state(b);
        dlx_nfa_add_edge(b, at, DLX_MOVE_EMPTY, 0, 0, loop);
        dlx_nfa_add_edge(b, dlx_nfa_add_expr(b, e->items[0], loop), DLX_MOVE_EMPTY, 0, 0, loop);
        end = dlx_nfa_add_state(b);
        dlx_nfa_add_edge(b, loop, DLX_MOVE_EMPTY, 0, 0, end);
        return end;
    }
    end = dlx_nfa_add_state(b);
    for (int32_t i = e->least; i < e->most && b->status == DLX_OK; i++) {
        dlx_nfa_add_edge(b, at, DLX_MOVE_EMPTY, 0, 0, end);
        at = dlx_nfa_add_expr(b, e->items[0], at);
    }
    dlx_nfa_add_edge(b, at, DLX_MOVE_EMPTY, 0, 0, end);
    return end;
}

int32_t dlx_nfa_add_machine(dlx_nfa_builder *b, const dlx_machine *m, int32_t from)
{
    int32_t base = (int32_t)b->nfa->n_states, end;
    for (int32_t q = 0; q < m->n_states; q++) dlx_nfa_add_state(b);
    end = dlx_nfa_add_state(b);
    if (!m->n_states) return end;
    dlx_nfa_add_edge(b, from, DLX_MOVE_EMPTY, 0, 0, base + m->start);
    for (int32_t q = 0; q < m->n_states && b->status == DLX_OK; q++) {
        for (int lo = 0, hi; lo < 256; lo = hi + 1) {
            int32_t to = dlx_machine_step(m, q, (uint8_t)lo);
            for (hi = lo; hi < 255 && dlx_machine_step(m, q, (uint8_t)(hi + 1)) == to; hi++) continue;
            if (to >= 0) dlx_nfa_add_edge(b, base + q, DLX_MOVE_BYTE, lo, hi, base + to);
        }
        if (m->accepts[q]) dlx_nfa_add_edge(b, base + q, DLX_MOVE_EMPTY, 0, 0, end);
    }
    return end;
}

int32_t dlx_nfa_add_expr(dlx_nfa_builder *b, const dlx_expr *e, int32_t from)
{
    /* Repetitions of nothing add no states. */
    if (b->status == DLX_OK && b->parts++ == MOST_PARTS) refuse_growth(b);
    if (b->status != DLX_OK) return 0;
    int32_t end;
    switch (e->kind) {
    case DLX_EXPR_CAT:
        for (size_t i = 0; i < e->n; i++) from = dlx_nfa_add_expr(b, e->items[i], from);
        return from;
    case DLX_EXPR_REPEAT: return build_repeat(b, e, from);
    case DLX_EXPR_MACHINE: return dlx_nfa_add_machine(b, e->machine, from);
    case DLX_EXPR_RULE:
        if (e->rule->machine) return dlx_nfa_add_machine(b, e->rule->machine, from);
        break;
    default: break;
    }
    end = dlx_nfa_add_state(b);
    switch (e->kind) {
    case DLX_EXPR_BYTES: add_text(b, from, end, e->bytes, e->n); break;
    case DLX_EXPR_SET:
        for (size_t i = 0; i < e->n; i++) add_characters(b, from, end, e->ranges[i]);
        break;
    case DLX_EXPR_ALT:
        for (size_t i = 0; i < e->n; i++)
            dlx_nfa_add_edge(b, dlx_nfa_add_expr(b, e->items[i], from), DLX_MOVE_EMPTY, 0, 0, end);
        break;
    case DLX_EXPR_RULE: add_call(b, from, end, e->rule); break;
    case DLX_EXPR_BEGIN: dlx_nfa_add_edge(b, from, DLX_MOVE_BEGIN, 0, 0, end); break;
    default: dlx_nfa_add_edge(b, from, DLX_MOVE_END, 0, 0, end); break;
    }
    return end;
}

dlx_status dlx_nfa_build(dlx_nfa *nfa, const dlx_expr *e, bool in_json_string, dlx_error *err)
{
    dlx_nfa_builder b = {.nfa = nfa, .in_json_string = in_json_string, .err = err, .status = DLX_OK};
    memset(nfa, 0, sizeof *nfa);
    nfa->start = dlx_nfa_add_state(&b);
    nfa->final = dlx_nfa_add_expr(&b, e, nfa->start);
    return b.status;
}

void dlx_nfa_free(dlx_nfa *nfa)
{
    free(nfa->first);
    free(nfa->edges);
    free(nfa->calls);
    memset(nfa, 0, sizeof *nfa);
}
