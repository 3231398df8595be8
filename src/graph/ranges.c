/*
 * Upper bounds of every shape of a program that computes sizes, from upper bounds of its inputs: integers of rank 0 are
 * followed as ranges (interval arithmetic), so that a program that is opened for few rows plans for few rows, also
 * where the size of a reshape or a slice is a sum of sizes.
 */
#include <string.h>

#include "graph/shape.h"

static const dlx_range anything = {INT64_MIN, INT64_MAX};

static int64_t add(int64_t a, int64_t b)
{
    int64_t r;
    if (!__builtin_add_overflow(a, b, &r)) return r;
    return a < 0 ? INT64_MIN : INT64_MAX;
}

static int64_t mul(int64_t a, int64_t b)
{
    int64_t r;
    if (!__builtin_mul_overflow(a, b, &r)) return r;
    return (a < 0) != (b < 0) ? INT64_MIN : INT64_MAX;
}

static dlx_range negative(dlx_range a)
{
    return (dlx_range){mul(a.high, -1), mul(a.low, -1)};
}

static dlx_range product(dlx_range a, dlx_range b)
{
    int64_t corner[4] = {mul(a.low, b.low), mul(a.low, b.high), mul(a.high, b.low), mul(a.high, b.high)};
    dlx_range r = {corner[0], corner[0]};
    for (int i = 1; i < 4; i++) {
        if (corner[i] < r.low) r.low = corner[i];
        if (corner[i] > r.high) r.high = corner[i];
    }
    return r;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* By a positive constant; rounding down or to zero, both of which keep the order. */
static dlx_range quotient(dlx_range a, dlx_range b, bool down)
{
    if (b.low != b.high || b.low < 1) return anything;
    if (down) return (dlx_range){floor_div(a.low, b.low), floor_div(a.high, b.low)};
    return (dlx_range){a.low / b.low, a.high / b.low};
}

/* Python's %, which lies in [0, b) for a positive b. */
static dlx_range modulo(dlx_range a, dlx_range b)
{
    if (b.low < 1) return anything;
    if (a.low >= 0 && a.high < b.low) return a;
    return (dlx_range){0, b.high - 1};
}

static dlx_range size_of(const dlx_graph *g, const dlx_node *n, const dlx_shape *shapes)
{
    const dlx_value *v = &g->values[n->in[0]];
    int64_t size = shapes[n->in[0]].dim[n->attr.axis];
    return (dlx_range){v->kind != DLX_VALUE_CONST && v->dynamic ? 0 : size, size};
}

/* The range of a node's result, an integer of rank 0. */
static dlx_range computed(const dlx_graph *g, const dlx_node *n, const dlx_shape *shapes, const dlx_range *range)
{
    dlx_range a = n->inputs > 0 ? range[n->in[0]] : anything, b = n->inputs > 1 ? range[n->in[1]] : anything;
    switch (n->op) {
    case DLX_OP_SIZE: return size_of(g, n, shapes);
    case DLX_OP_ADD: return (dlx_range){add(a.low, b.low), add(a.high, b.high)};
    case DLX_OP_SUB: b = negative(b); return (dlx_range){add(a.low, b.low), add(a.high, b.high)};
    case DLX_OP_MUL: return product(a, b);
    case DLX_OP_NEG: return negative(a);
    case DLX_OP_FLOORDIV: return quotient(a, b, true);
    case DLX_OP_TRUNCDIV: return quotient(a, b, false);
    case DLX_OP_MODULO: return modulo(a, b);
    case DLX_OP_MIN: return (dlx_range){a.low < b.low ? a.low : b.low, a.high < b.high ? a.high : b.high};
    case DLX_OP_MAX: return (dlx_range){a.low > b.low ? a.low : b.low, a.high > b.high ? a.high : b.high};
    case DLX_OP_COPY: return a;
    default: return anything;
    }
}

static dlx_range bound_of(const dlx_node *n, int d, const dlx_known *known)
{
    int64_t bound = n->attr.shape[d];
    return DLX_IS_RUN(bound) ? known->range[n->in[bound - INT64_MIN]] : (dlx_range){bound, bound};
}

int64_t dlx_most_elements(const dlx_node *n, int64_t size, const dlx_known *known)
{
    if (!known || !known->range) return size;
    dlx_range begin = bound_of(n, 0, known), end = bound_of(n, 1, known);
    int64_t step = n->attr.shape[2];
    /* A negative end counts from the last element, and a descending range begins with the larger one. */
    if (begin.low < 0 || end.low < 0 || step < 1) return size;
    int64_t distance = add(end.high < size ? end.high : size, -begin.low);
    return distance <= 0 ? 0 : (distance - 1) / step + 1;
}

static bool is_number(const dlx_value *v)
{
    return v->dtype == DLX_I64 && v->rank == 0;
}

dlx_status dlx_graph_infer_bounds(const dlx_graph *g, dlx_shape *shapes, dlx_range *range, dlx_error *err)
{
    const dlx_known known = {.most = INT64_MAX, .range = range};
    dlx_constant_shapes(g, shapes);
    for (size_t i = 0; i < g->n_values; i++) {
        const dlx_value *v = &g->values[i];
        range[i] = anything;
        if (v->kind != DLX_VALUE_CONST || !is_number(v) || !v->source.data) continue;
        memcpy(&range[i].low, v->source.data, sizeof range[i].low);
        range[i].high = range[i].low;
    }
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        bool numbers = is_number(&g->values[n->out[0]]);
        for (int k = 0; k < n->inputs && n->op != DLX_OP_SIZE; k++)
            numbers = numbers && (n->in[k] == DLX_NONE || is_number(&g->values[n->in[k]]));
        DLX_TRY(dlx_infer_step(g, n, shapes, &known, err));
        if (numbers) range[n->out[0]] = computed(g, n, shapes, range);
    }
    return DLX_OK;
}
