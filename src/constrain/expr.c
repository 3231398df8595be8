/* Nodes of regular expressions. */
#include "constrain/expr.h"

#include <stdlib.h>
#include <string.h>

static dlx_expr *node(dlx_arena *a, dlx_expr_kind kind)
{
    dlx_expr *e = dlx_arena_alloc(a, sizeof *e);
    if (e) e->kind = kind;
    return e;
}

const dlx_expr *dlx_expr_bytes(dlx_arena *a, const char *bytes, size_t n)
{
    dlx_expr *e = node(a, DLX_EXPR_BYTES);
    if (!e || !(e->bytes = dlx_arena_strndup(a, bytes, n))) return NULL;
    e->n = n;
    return e;
}

static int by_first(const void *pa, const void *pb)
{
    const dlx_code_range *a = pa, *b = pb;
    return a->first < b->first ? -1 : a->first > b->first;
}

/* Sorts and joins r [n]; the number that is left. */
static size_t join(dlx_code_range *r, size_t n)
{
    size_t kept = 0;
    qsort(r, n, sizeof *r, by_first);
    for (size_t i = 0; i < n; i++) {
        if (kept && r[i].first <= r[kept - 1].last + 1) {
            if (r[i].last > r[kept - 1].last) r[kept - 1].last = r[i].last;
        } else {
            r[kept++] = r[i];
        }
    }
    return kept;
}

/* What lies between the ranges; out has room for n + 1. */
static size_t gaps(dlx_code_range *out, const dlx_code_range *r, size_t n)
{
    size_t count = 0;
    uint32_t next = 0;
    for (size_t i = 0; i < n; i++) {
        if (r[i].first > next) out[count++] = (dlx_code_range){next, r[i].first - 1};
        next = r[i].last + 1;
    }
    if (next <= DLX_MAX_CODE_POINT) out[count++] = (dlx_code_range){next, DLX_MAX_CODE_POINT};
    return count;
}

static const dlx_expr *set(dlx_arena *a, const dlx_code_range *ranges, size_t n, bool inverted)
{
    static const dlx_code_range surrogates = {0xD800, 0xDFFF};
    dlx_expr *e = node(a, DLX_EXPR_SET);
    dlx_code_range *r = dlx_arena_array(a, n + 2, sizeof *r), *kept = dlx_arena_array(a, n + 3, sizeof *kept);
    if (!e || !r || !kept) return NULL;
    if (n) memcpy(r, ranges, n * sizeof *r);
    n = join(r, n);
    if (!inverted) {
        /* The complement of the complement and the surrogates. */
        n = gaps(kept, r, n);
        memcpy(r, kept, n * sizeof *r);
    }
    r[n++] = surrogates;
    n = join(r, n);
    e->n = gaps(kept, r, n);
    e->ranges = kept;
    return e;
}

const dlx_expr *dlx_expr_set(dlx_arena *a, const dlx_code_range *ranges, size_t n)
{
    return set(a, ranges, n, false);
}

const dlx_expr *dlx_expr_set_but(dlx_arena *a, const dlx_code_range *ranges, size_t n)
{
    return set(a, ranges, n, true);
}

const dlx_expr *dlx_expr_char(dlx_arena *a, uint32_t code_point)
{
    const dlx_code_range r = {code_point, code_point};
    return set(a, &r, 1, false);
}

static const dlx_expr *group(dlx_arena *a, dlx_expr_kind kind, const dlx_expr *const *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!items[i]) return NULL;
    if (n == 1) return items[0];
    dlx_expr *e = node(a, kind);
    const dlx_expr **copy = dlx_arena_array(a, n, sizeof *copy);
    if (!e || !copy) return NULL;
    if (n) memcpy(copy, items, n * sizeof *copy);
    e->n = n;
    e->items = copy;
    return e;
}

const dlx_expr *dlx_expr_cat(dlx_arena *a, const dlx_expr *const *items, size_t n)
{
    return group(a, DLX_EXPR_CAT, items, n);
}

const dlx_expr *dlx_expr_alt(dlx_arena *a, const dlx_expr *const *items, size_t n)
{
    return group(a, DLX_EXPR_ALT, items, n);
}

const dlx_expr *dlx_expr_repeat(dlx_arena *a, const dlx_expr *item, int32_t least, int32_t most)
{
    dlx_expr *e = item ? node(a, DLX_EXPR_REPEAT) : NULL;
    const dlx_expr **items = dlx_arena_array(a, 1, sizeof *items);
    if (!e || !items) return NULL;
    items[0] = item;
    e->n = 1;
    e->items = items;
    e->least = least;
    e->most = most;
    return e;
}

const dlx_expr *dlx_expr_begin(dlx_arena *a)
{
    return node(a, DLX_EXPR_BEGIN);
}

const dlx_expr *dlx_expr_end(dlx_arena *a)
{
    return node(a, DLX_EXPR_END);
}

const dlx_expr *dlx_expr_machine(dlx_arena *a, const struct dlx_machine *machine)
{
    dlx_expr *e = machine ? node(a, DLX_EXPR_MACHINE) : NULL;
    if (e) e->machine = machine;
    return e;
}

const dlx_expr *dlx_expr_rule(dlx_arena *a, const dlx_rule *rule)
{
    dlx_expr *e = rule ? node(a, DLX_EXPR_RULE) : NULL;
    if (e) e->rule = rule;
    return e;
}
