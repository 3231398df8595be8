/*
 * Forms of tensors with a row axis. The new value of such a tensor has the rows first; where its dimensions were in the
 * program is kept as a map, so that transposes and dimensions of 1 cost nothing and batch dimensions disappear. Every
 * dimension of the new value is named by exactly one of the old (of a last row: the row dimension by none or one).
 */
#include <math.h>
#include <string.h>

#include "runtime/raise_decoder.h"

static const dlx_value *old_value(const dlx_decoder *d, uint32_t v)
{
    return &d->r.from->values[v];
}

static const dlx_value *new_value(const dlx_decoder *d, uint32_t v)
{
    return &d->r.to.values[v];
}

static const dlx_form *form_of(const dlx_decoder *d, const dlx_node *n, int k)
{
    static const dlx_form none = {.kind = DLX_FORM_NONE};
    return k < n->inputs && n->in[k] != DLX_NONE ? &d->form[n->in[k]] : &none;
}

static bool emit(dlx_decoder *d, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr, int32_t layer,
                 uint32_t *out)
{
    *out = dlx_graph_node(&d->r.to, op, in, inputs, attr, layer, d->err);
    return *out != DLX_NONE;
}

/* The new value in another shape; rank without the rows, which stay in front. */
static bool reshape_rows(dlx_decoder *d, uint32_t *v, int rank, const int64_t *rest)
{
    dlx_attr attr = {.rank = (uint8_t)(rank + 1), .shape = {-1}};
    if (rank + 1 > DLX_MAX_RANK) return false;
    for (int i = 0; i < rank; i++) attr.shape[i + 1] = rest[i];
    return emit(d, DLX_OP_RESHAPE, v, 1, &attr, -1, v);
}

/* Whether the mapped dimensions appear in order, rows first (or nowhere). */
static bool in_order(const dlx_form *f)
{
    int next = f->last ? 1 : 0;
    for (int i = 0; i < f->rank; i++) {
        if (f->axis[i] < 0 || (f->last && f->axis[i] == 0)) continue;
        if (f->axis[i] != next) return false;
        next++;
    }
    return true;
}

static bool same_map(const dlx_form *a, const dlx_form *b)
{
    return a->rank == b->rank && a->last == b->last && memcmp(a->axis, b->axis, a->rank) == 0;
}

/* ---- shapes ---- */

/* Whether dimension i of the result of a reshape may be the rows. Of a fixed number of rows several can be as large. */
static bool may_be_rows(const dlx_decoder *d, const dlx_value *out, int i)
{
    return out->dim[i] == d->rows && (!d->dynamic || out->dynamic == 1u << i);
}

/* The first such dimension from `begin` on; -1: there is none. */
static int row_dimension(const dlx_decoder *d, const dlx_value *out, int begin)
{
    for (int i = begin; i < out->rank; i++)
        if (may_be_rows(d, out, i)) return i;
    return -1;
}

/* A dimension of 1 of the old value: no dimension of the new one, or one of 1 there, too. */
static bool is_one(const dlx_decoder *d, const dlx_form *x, int i, bool single)
{
    if (x->axis[i] == 0) return x->last || single;
    return x->axis[i] < 0 || new_value(d, x->v)->dim[x->axis[i]] == 1;
}

/* Only dimensions of 1 come and go: the others keep their order and sizes. A single row is a dimension of 1 as well,
 * wherever it is. */
static bool only_ones_change(const dlx_decoder *d, const dlx_form *x, const dlx_value *out, int row, dlx_form *f)
{
    const dlx_value *v = new_value(d, x->v);
    bool single = d->rows == 1 && !d->dynamic;
    int from = 0;
    for (int i = 0; i < out->rank; i++) {
        f->axis[i] = i == row && single ? 0 : -1;
        if ((i != row || single) && out->dim[i] == 1 && !(out->dynamic >> i & 1)) continue;
        while (from < x->rank && is_one(d, x, from, single)) from++;
        if (from == x->rank || (x->axis[from] == 0) != (i == row)) return false;
        if (i != row && v->dim[x->axis[from]] != out->dim[i]) return false;
        f->axis[i] = x->axis[from++];
    }
    while (from < x->rank && is_one(d, x, from, single)) from++;
    return from == x->rank;
}

/* Dimensions of 1 that the new value still has but no old one names go away. */
static bool drop_unnamed(dlx_decoder *d, dlx_form *f)
{
    const dlx_value *v = new_value(d, f->v);
    int64_t rest[DLX_MAX_RANK];
    int8_t moved[DLX_MAX_RANK] = {0};
    int rank = 0;
    for (int k = 1; k < v->rank; k++) {
        bool named = false;
        for (int i = 0; i < f->rank; i++) named = named || f->axis[i] == k;
        moved[k] = (int8_t)(rank + 1);
        if (named) rest[rank++] = v->dim[k];
    }
    if (rank + 1 == v->rank) return true;
    for (int i = 0; i < f->rank; i++)
        if (f->axis[i] > 0) f->axis[i] = moved[(int)f->axis[i]];
    return reshape_rows(d, &f->v, rank, rest);
}

static bool form_reshape(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *x = form_of(d, n, 0);
    const dlx_value *out = old_value(d, n->out[0]);
    int row = x->last ? -1 : row_dimension(d, out, 0);
    if (x->kind != DLX_FORM_ROWS || (!x->last && row < 0)) return false;
    for (int i = 0; i < out->rank; i++) /* a size that is computed is the number of rows */
        if (DLX_IS_RUN(n->attr.shape[i]) &&
            (i != row || form_of(d, n, (int)(n->attr.shape[i] - INT64_MIN))->kind != DLX_FORM_COUNT))
            return false;
    f->kind = DLX_FORM_ROWS;
    f->v = x->v;
    f->last = x->last;
    if (x->last && only_ones_change(d, x, out, -1, f)) return drop_unnamed(d, f);
    /* Of several candidates the one that keeps the others in order: where the rows come from is known. */
    for (int i = row; i >= 0; i = row_dimension(d, out, i + 1))
        if (only_ones_change(d, x, out, i, f)) return drop_unnamed(d, f);
    /* Else rows must be in front, before and after; the rest of each is divided anew. */
    int64_t rest[DLX_MAX_RANK];
    int rank = 0;
    if (!in_order(x)) return false;
    for (int i = 0; i < out->rank; i++) {
        f->axis[i] = -1;
        if (i == row) {
            if (rank) return false;
            f->axis[i] = 0;
        } else if (out->dim[i] != 1) {
            rest[rank++] = out->dim[i];
            f->axis[i] = (int8_t)rank;
        }
    }
    return reshape_rows(d, &f->v, rank, rest);
}

static bool form_transpose(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *x = form_of(d, n, 0);
    if (x->kind != DLX_FORM_ROWS) return false;
    uint8_t rank = f->rank;
    *f = *x;
    f->rank = rank;
    for (int i = 0; i < rank; i++) f->axis[i] = x->axis[n->attr.shape[i]];
    return true;
}

/* The last row alone: what stays of the row dimension, if anything, is old dimension i. */
static bool take_last(const dlx_form *x, dlx_form *f)
{
    uint8_t rank = f->rank;
    *f = *x;
    f->rank = rank;
    f->last = true;
    return !x->last;
}

static bool form_slice(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *x = form_of(d, n, 0);
    if (x->kind != DLX_FORM_ROWS) return false;
    const dlx_value *in = old_value(d, n->in[0]), *v = new_value(d, x->v);
    dlx_attr attr = {.rank = v->rank};
    bool whole = true;
    *f = *x;
    for (int k = 0; k < v->rank; k++) attr.size[k] = -1;
    for (int i = 0; i < in->rank; i++) {
        int64_t begin = n->attr.shape[i], size = n->attr.size[i];
        if (begin == 0 && (size == -1 || size >= in->dim[i])) continue;
        if (x->axis[i] < 0) return false;
        if (x->axis[i] == 0) {
            bool last = !d->dynamic && begin == d->rows - 1 && (size == 1 || size == -1);
            if (!last || !take_last(x, f)) return false;
            continue;
        }
        attr.shape[(int)x->axis[i]] = begin;
        attr.size[(int)x->axis[i]] = size;
        whole = false;
    }
    return whole || emit(d, DLX_OP_SLICE, &f->v, 1, &attr, n->layer, &f->v);
}

/* x[..., -1:, ...] of the rows; a table between two positions. */
static bool form_narrow(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *x = form_of(d, n, 0);
    if (x->kind != DLX_FORM_ROWS || n->inputs != 1 || x->axis[n->attr.axis] != 0 || n->attr.shape[2] != 1) return false;
    if (n->attr.shape[0] != -1 || n->attr.shape[1] < INT32_MAX) return false;
    return take_last(x, f);
}

/* Gives old dimension i, a 1, a dimension of the new value. */
static bool name_dimension(dlx_decoder *d, dlx_form *f, int i)
{
    const dlx_value *v = new_value(d, f->v);
    int64_t rest[DLX_MAX_RANK];
    int at = 1, rank = 0;
    if (f->axis[i] >= 0) return true;
    if (!in_order(f) || v->rank == DLX_MAX_RANK) return false;
    for (int k = 0; k < i; k++)
        if (f->axis[k] >= at) at = f->axis[k] + 1;
    for (int k = 1; k <= v->rank; k++) {
        if (k == at) rest[rank++] = 1;
        if (k < v->rank) rest[rank++] = v->dim[k];
    }
    for (int k = 0; k < f->rank; k++)
        if (f->axis[k] >= at) f->axis[k]++;
    f->axis[i] = (int8_t)at;
    return reshape_rows(d, &f->v, rank, rest);
}

static bool form_concat(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    uint32_t in[DLX_MAX_INPUTS];
    for (int k = 0; k < n->inputs; k++) {
        dlx_form x = *form_of(d, n, k);
        if (x.kind != DLX_FORM_ROWS || !name_dimension(d, &x, n->attr.axis) || x.axis[n->attr.axis] == 0) return false;
        if (k && !same_map(&x, f)) return false;
        in[k] = x.v;
        *f = x;
    }
    return emit(d, DLX_OP_CONCAT, in, n->inputs, &(dlx_attr){.axis = f->axis[n->attr.axis]}, n->layer, &f->v);
}

/* ---- arithmetic ---- */

/* A constant of one element, or one whose dimensions are the last ones of the row operand, before and after. */
static bool with_constant(dlx_decoder *d, uint32_t constant, const dlx_form *x, uint32_t *out)
{
    const dlx_value *c = old_value(d, constant), *v = new_value(d, x->v);
    dlx_value copy = *c;
    dlx_shape s = dlx_value_shape(c);
    if (c->kind != DLX_VALUE_CONST || c->scales != DLX_NONE) return false;
    int drop = 0;
    while (drop < c->rank && c->dim[drop] == 1) drop++;
    if (dlx_shape_elements(&s) == 1) drop = c->rank;
    copy.rank = (uint8_t)(c->rank - drop);
    for (int i = 0; i < copy.rank; i++) {
        int old = x->rank - copy.rank + i;
        copy.dim[i] = c->dim[drop + i];
        if (old < 0 || x->axis[old] != v->rank - copy.rank + i || x->axis[old] == 0) return false;
    }
    *out = drop ? dlx_graph_value(&d->r.to, &copy) : dlx_form_const(d, constant);
    if (*out == DLX_NONE) dlx_fail(d->err, DLX_E_NOMEM, "out of memory raising a decoder");
    return *out != DLX_NONE;
}

/* The smaller operand in the layout of the larger: 1 where it broadcasts. */
static bool fit_rows(dlx_decoder *d, const dlx_form *small, const dlx_form *large, int rank, uint32_t *out)
{
    const dlx_value *v = new_value(d, small->v), *w = new_value(d, large->v);
    int64_t rest[DLX_MAX_RANK];
    int8_t target[DLX_MAX_RANK];
    int before = -1;
    memset(target, -1, sizeof target);
    for (int i = 0; i < w->rank; i++) rest[i] = 1;
    for (int i = 0; i < rank; i++) {
        int a = i - (rank - small->rank), b = i - (rank - large->rank);
        int from = a < 0 ? -1 : small->axis[a], to = b < 0 ? -1 : large->axis[b];
        if (from < 0) continue;
        if (from == 0 && to != 0 && d->rows == 1 && !d->dynamic) continue; /* one of several dimensions of 1 */
        if (to < 0) return false;
        target[from] = (int8_t)to;
    }
    if (small->last || (d->rows == 1 && !d->dynamic)) target[0] = 0;
    for (int k = 0; k < v->rank; k++) {
        if (target[k] <= before || (k == 0) != (target[k] == 0)) return false;
        before = target[k];
        if (k) rest[target[k] - 1] = v->dim[k];
    }
    *out = small->v;
    return v->rank == w->rank || reshape_rows(d, out, w->rank - 1, rest);
}

static bool form_binary(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *a = form_of(d, n, 0), *b = form_of(d, n, 1);
    uint32_t in[2];
    uint8_t rank = f->rank;
    for (int k = 0; k < 2; k++) {
        const dlx_form *x = k ? b : a, *c = k ? a : b;
        if (x->kind != DLX_FORM_ROWS || c->kind != DLX_FORM_CONST || x->rank != rank) continue;
        if (!with_constant(d, n->in[1 - k], x, &in[1 - k])) return false;
        in[k] = x->v;
        *f = *x;
        return emit(d, n->op, in, 2, &n->attr, n->layer, &f->v);
    }
    if (a->kind != DLX_FORM_ROWS || b->kind != DLX_FORM_ROWS || a->last != b->last) return false;
    bool second = new_value(d, b->v)->rank > new_value(d, a->v)->rank;
    const dlx_form *large = second ? b : a, *small = second ? a : b;
    dlx_form result = *large;
    if (!fit_rows(d, small, large, rank, &in[!second])) return false;
    in[second] = large->v;
    result.rank = rank;
    for (int i = 0; i < rank; i++) {
        int k = i - (rank - large->rank);
        result.axis[i] = k < 0 ? -1 : large->axis[k];
    }
    *f = result;
    return emit(d, n->op, in, 2, &n->attr, n->layer, &f->v);
}

static bool form_unary(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *x = form_of(d, n, 0);
    if (x->kind != DLX_FORM_ROWS) return false;
    *f = *x;
    return emit(d, n->op, &f->v, 1, &n->attr, n->layer, &f->v);
}

/* Operators on the last dimension, with constants behind: LINEAR, CONVERT, LAYER_NORM, SOFTMAX. */
static bool form_last(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *x = form_of(d, n, 0);
    uint32_t in[DLX_MAX_INPUTS];
    if (x->kind != DLX_FORM_ROWS || x->rank < 1) return false;
    int last = new_value(d, x->v)->rank - 1;
    if (x->axis[x->rank - 1] != last || last < 1) return false;
    in[0] = x->v;
    for (int k = 1; k < n->inputs; k++) {
        in[k] = DLX_NONE;
        if (n->in[k] == DLX_NONE) continue;
        if (form_of(d, n, k)->kind != DLX_FORM_CONST) return false;
        in[k] = dlx_form_const(d, n->in[k]);
        if (in[k] == DLX_NONE) return false;
    }
    *f = *x;
    return emit(d, n->op, in, n->inputs, &n->attr, n->layer, &f->v);
}

/* x w with a constant w [k,n] */
static bool form_product(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    return form_of(d, n, 1)->kind == DLX_FORM_CONST && old_value(d, n->in[1])->rank == 2 && form_last(d, n, f);
}

static bool form_mean(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *x = form_of(d, n, 0);
    dlx_attr attr = n->attr;
    if (x->kind != DLX_FORM_ROWS || !attr.keep || x->axis[attr.axis] < 1) return false;
    attr.axis = x->axis[attr.axis];
    *f = *x;
    return emit(d, n->op, &f->v, 1, &attr, n->layer, &f->v);
}

/* Rows of a constant table [S,d], by ids or positions. */
static bool form_lookup(dlx_decoder *d, const dlx_node *n, uint32_t ids, dlx_form *f)
{
    const dlx_form *x = &d->form[ids];
    const dlx_value *table = old_value(d, n->in[0]);
    uint32_t in[3] = {DLX_NONE, x->v, DLX_NONE};
    bool scaled = n->op == DLX_OP_EMBEDDING && n->inputs == 3;
    if (form_of(d, n, 0)->kind != DLX_FORM_CONST || x->kind != DLX_FORM_ROWS || x->last || table->rank != 2)
        return false;
    if (scaled && form_of(d, n, 2)->kind != DLX_FORM_CONST) return false;
    uint8_t rank = f->rank;
    *f = *x;
    if (rank != x->rank + 1 || new_value(d, x->v)->rank != 1) return false;
    f->rank = rank;
    f->axis[rank - 1] = 1;
    in[0] = dlx_form_const(d, n->in[0]);
    if (scaled) in[2] = dlx_form_const(d, n->in[2]);
    if (in[0] == DLX_NONE || (scaled && in[2] == DLX_NONE)) return false;
    return emit(d, DLX_OP_EMBEDDING, in, scaled ? 3 : 2, NULL, n->layer, &f->v);
}

/* ---- positions ---- */

static bool one_element(const dlx_value *v)
{
    dlx_shape s = dlx_value_shape(v);
    return !v->dynamic && dlx_shape_elements(&s) == 1;
}

/* The first element of the positions, or the last one of a vector of one. */
static bool form_first(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *x = form_of(d, n, 0);
    float at;
    if (x->kind != DLX_FORM_START && !(dlx_is_positions(d, x) && x->rank == 1)) return false;
    if (n->op == DLX_OP_INDEX) {
        if (n->inputs != 2 || n->attr.axes != 1 || !one_element(old_value(d, n->in[1])) ||
            !dlx_const_number(d->r.from, n->in[1], 0, &at) || (at != 0 && !(at == -1 && x->kind == DLX_FORM_START)))
            return false;
    } else if (n->attr.shape[0] != 0 || n->attr.size[0] != 1) {
        return false;
    }
    f->kind = DLX_FORM_START;
    return true;
}

/* Arithmetic on start and T. */
static bool form_number(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *a = form_of(d, n, 0), *b = form_of(d, n, 1);
    float number;
    switch (n->op) {
    case DLX_OP_SIZE:
        if (a->kind >= DLX_FORM_CACHE ? a->axis[n->attr.axis] != DLX_AXIS_ROW
                                      : a->kind != DLX_FORM_ROWS || a->last || a->axis[n->attr.axis] != 0)
            return false;
        f->kind = DLX_FORM_COUNT;
        return true;
    case DLX_OP_ADD:
        for (int k = 0; k < 2; k++) {
            const dlx_form *x = k ? b : a, *y = k ? a : b;
            bool rows = y->kind == DLX_FORM_COUNT ||
                        (!d->dynamic && y->kind == DLX_FORM_CONST && one_element(old_value(d, n->in[1 - k])) &&
                         dlx_const_number(d->r.from, n->in[1 - k], 0, &number) && number == (float)d->rows);
            if (x->kind == DLX_FORM_START && rows) f->kind = DLX_FORM_END;
            if (x->kind == DLX_FORM_START && y->kind == DLX_FORM_RANGE && f->rank == 1)
                *f = (dlx_form){.kind = DLX_FORM_ROWS, .rank = 1, .v = d->new_positions};
        }
        return f->kind != DLX_FORM_NONE;
    case DLX_OP_ARANGE: {
        bool from_zero = dlx_const_number(d->r.from, n->in[0], 0, &number) && number == 0 && n->attr.shape[2] == 1;
        bool all = b->kind == DLX_FORM_COUNT ||
                   (!d->dynamic && dlx_const_number(d->r.from, n->in[1], 0, &number) && number == (float)d->rows);
        if (!from_zero || !all) return false;
        f->kind = DLX_FORM_RANGE;
        return true;
    }
    default: return false;
    }
}

/* What changes neither numbers nor order: tensors of one element stay what they are, ranges and positions too. */
static bool form_kept(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *x = form_of(d, n, 0);
    bool number = x->kind == DLX_FORM_START || x->kind == DLX_FORM_COUNT || x->kind == DLX_FORM_END;
    if (n->op == DLX_OP_CAST && n->attr.dtype != DLX_I64 && n->attr.dtype != DLX_I32) return false;
    if (!number && n->op == DLX_OP_RESHAPE) return false;
    if (!number && x->kind != DLX_FORM_RANGE && !(n->op == DLX_OP_COPY && x->kind == DLX_FORM_ROWS) &&
        !dlx_is_positions(d, x))
        return false;
    uint8_t rank = f->rank;
    *f = *x;
    f->rank = rank;
    return number || rank == x->rank;
}

/* An expansion that expands nothing. */
static bool form_same_shape(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *x = form_of(d, n, 0);
    const dlx_value *in = old_value(d, n->in[0]), *out = old_value(d, n->out[0]);
    if (x->kind != DLX_FORM_ROWS || in->rank != out->rank || in->dynamic != out->dynamic ||
        memcmp(in->dim, out->dim, in->rank * sizeof in->dim[0]) != 0)
        return false;
    *f = *x;
    return true;
}

static bool form_index(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    const dlx_form *x = form_of(d, n, 0);
    float at;
    if (form_first(d, n, f)) return true;
    if (x->kind == DLX_FORM_CONST && n->inputs == 2 && n->attr.axes == 1 && old_value(d, n->in[0])->dtype == DLX_F32)
        return form_lookup(d, n, n->in[1], f);
    /* x[:, -1]: the last row */
    if (x->kind != DLX_FORM_ROWS || n->inputs != 2 || !one_element(old_value(d, n->in[1])) ||
        old_value(d, n->in[1])->rank != 0 || !dlx_const_number(d->r.from, n->in[1], 0, &at) || at != -1)
        return false;
    int axis = 0;
    while (axis < x->rank && n->attr.axes != 1u << axis) axis++;
    if (axis == x->rank || x->axis[axis] != 0 || !take_last(x, f)) return false;
    for (int i = axis; i + 1 < x->rank; i++) f->axis[i] = x->axis[i + 1];
    return true;
}

/* A table between the positions of the first and the last row. */
static bool form_table_part(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    if (form_of(d, n, 0)->kind != DLX_FORM_CONST || n->inputs != 3 || n->attr.axis != 0 || n->attr.shape[2] != 1 ||
        n->attr.shape[0] != DLX_RUN(1) || n->attr.shape[1] != DLX_RUN(2) || form_of(d, n, 1)->kind != DLX_FORM_START ||
        form_of(d, n, 2)->kind != DLX_FORM_END)
        return false;
    const dlx_value *table = old_value(d, n->in[0]);
    if (table->rank != 2 || table->dtype != DLX_F32) return false;
    uint32_t in[2] = {dlx_form_const(d, n->in[0]), d->new_positions};
    *f = (dlx_form){.kind = DLX_FORM_ROWS, .rank = 2, .axis = {0, 1}};
    return in[0] != DLX_NONE && emit(d, DLX_OP_EMBEDDING, in, 2, NULL, n->layer, &f->v);
}

bool dlx_form_rows(dlx_decoder *d, const dlx_node *n, dlx_form *f)
{
    switch (n->op) {
    case DLX_OP_EMBEDDING: return form_lookup(d, n, n->in[1], f);
    case DLX_OP_LINEAR:
    case DLX_OP_CONVERT:
    case DLX_OP_LAYER_NORM:
    case DLX_OP_SOFTMAX: return form_last(d, n, f);
    case DLX_OP_BMM: return form_product(d, n, f);
    case DLX_OP_MEAN: return form_mean(d, n, f);
    case DLX_OP_ADD:
        if (form_number(d, n, f)) return true;
        return form_binary(d, n, f);
    case DLX_OP_SUB:
    case DLX_OP_MUL:
    case DLX_OP_DIV:
    case DLX_OP_MIN:
    case DLX_OP_MAX: return form_binary(d, n, f);
    case DLX_OP_NEG:
    case DLX_OP_ABS:
    case DLX_OP_SQUARE:
    case DLX_OP_SQRT:
    case DLX_OP_RSQRT:
    case DLX_OP_EXP:
    case DLX_OP_LOG:
    case DLX_OP_SIN:
    case DLX_OP_COS:
    case DLX_OP_TANH:
    case DLX_OP_SIGMOID:
    case DLX_OP_GELU:
    case DLX_OP_CLAMP: return form_unary(d, n, f);
    case DLX_OP_RESHAPE: return form_kept(d, n, f) || form_reshape(d, n, f);
    case DLX_OP_TRANSPOSE: return form_transpose(d, n, f);
    case DLX_OP_SLICE: return form_first(d, n, f) || form_slice(d, n, f);
    case DLX_OP_NARROW: return form_table_part(d, n, f) || form_narrow(d, n, f);
    case DLX_OP_CONCAT: return form_concat(d, n, f);
    case DLX_OP_EXPAND: return form_same_shape(d, n, f);
    case DLX_OP_INDEX: return form_index(d, n, f);
    case DLX_OP_SIZE:
    case DLX_OP_ARANGE: return form_number(d, n, f);
    case DLX_OP_COPY:
    case DLX_OP_CAST: return form_kept(d, n, f);
    default: return false;
    }
}
