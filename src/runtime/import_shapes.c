/* Shapes of portable operators: views, slices, joins, broadcasts, filled tensors and ranges. */
#include <math.h>
#include <string.h>

#include "runtime/import_call.h"

/* ---- views ---- */

static dlx_status do_view(const dlx_call *c, dlx_op op)
{
    uint32_t x, out;
    dlx_import_size size[DLX_MAX_RANK];
    int64_t bound[DLX_MAX_RANK];
    uint8_t n, rank;
    dlx_dtype dtype;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_sizes(c, 1, size, &n));
    DLX_TRY(dlx_call_declared(c, bound, &rank, &dtype));
    if (rank != n) return dlx_call_refuse(c, "its result has another rank than its sizes");
    DLX_TRY(dlx_call_reshape(c, x, size, bound, n, &out));
    bool copies = strcmp(c->name, "executorch_prim::et_view.default") != 0;
    return dlx_import_write(c->im, c->args[c->n_args - 1], out, copies ? DLX_WRITE_RESULT : DLX_WRITE_VIEW);
}

static dlx_status do_permute(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    dlx_import_size size[DLX_MAX_RANK];
    dlx_attr attr = {0};
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_sizes(c, 1, size, &attr.rank));
    for (int i = 0; i < attr.rank; i++) {
        attr.shape[i] = size[i].number < 0 ? size[i].number + attr.rank : size[i].number;
        if (size[i].value != DLX_NONE || attr.shape[i] < 0 || attr.shape[i] >= attr.rank)
            return dlx_call_refuse(c, "a dimension lies outside the rank");
    }
    return dlx_call_emit(c, op, &x, 1, &attr);
}

static dlx_status do_transpose(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    int a, b;
    dlx_attr attr = {0};
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    attr.rank = dlx_call_value(c, x)->rank;
    DLX_TRY(dlx_arg_axis(c, 1, attr.rank, &a));
    DLX_TRY(dlx_arg_axis(c, 2, attr.rank, &b));
    for (int i = 0; i < attr.rank; i++) attr.shape[i] = i;
    attr.shape[a] = b;
    attr.shape[b] = a;
    return dlx_call_emit(c, op, &x, 1, &attr);
}

/* t: the transpose of a matrix; vectors stay. */
static dlx_status do_t(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    if (dlx_call_value(c, x)->rank < 2) return dlx_call_emit(c, DLX_OP_COPY, &x, 1, NULL);
    return dlx_call_emit(c, op, &x, 1, &(dlx_attr){.rank = 2, .shape = {1, 0}});
}

static dlx_status do_unsqueeze(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    int axis;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_axis(c, 1, dlx_call_value(c, x)->rank + 1, &axis));
    DLX_TRY(dlx_call_unsqueeze(c, x, axis, &x));
    return dlx_call_result(c, x);
}

static dlx_status do_squeeze(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    dlx_import_size size[DLX_MAX_RANK];
    unsigned drop = 0;
    uint8_t n = 1;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    const dlx_value *v = dlx_call_value(c, x);
    const dlx_evalue *a = dlx_arg(c, 1);
    if (a && a->kind == DLX_EV_INT)
        DLX_TRY(dlx_arg_size(c, 1, &size[0]));
    else
        DLX_TRY(dlx_arg_sizes(c, 1, size, &n));
    for (int i = 0; i < n; i++) {
        int64_t d = size[i].number < 0 ? size[i].number + v->rank : size[i].number;
        if (size[i].value != DLX_NONE || d < 0 || d >= v->rank)
            return dlx_call_refuse(c, "a dimension lies outside the rank");
        if (v->dim[d] == 1 && !(v->dynamic >> d & 1)) drop |= 1u << d;
    }
    DLX_TRY(dlx_call_squeeze(c, x, drop, &x));
    return dlx_call_result(c, x);
}

/* ---- slices ---- */

/* x[begin:end:step] along an axis, with everything that Python allows. */
static dlx_status narrow(const dlx_call *c, uint32_t x, int axis, dlx_import_size begin, dlx_import_size end,
                         int64_t step, int64_t bound, uint32_t *out)
{
    const dlx_value *v = dlx_call_value(c, x);
    bool fixed = !(v->dynamic >> axis & 1), constant = begin.value == DLX_NONE && end.value == DLX_NONE;
    int64_t n = v->dim[axis];
    if (step < 1) return dlx_call_refuse(c, "the step must be positive");
    for (int k = 0; k < 2 && constant && fixed; k++) {
        dlx_import_size *at = k ? &end : &begin;
        if (at->number < 0) at->number = at->number < -n ? 0 : at->number + n;
        if (at->number > n) at->number = n;
    }
    if (constant && step == 1 && begin.number >= 0 && (end.number >= n || end.number >= begin.number) &&
        (fixed || end.number >= 0))
        return dlx_call_slice(c, x, axis, begin.number, end.number >= n ? -1 : end.number - begin.number, out);
    dlx_attr attr = {.axis = axis, .shape = {begin.number, end.number, step}, .bound = {bound, bound}};
    uint32_t in[3] = {x};
    int inputs = 1;
    for (int k = 0; k < 2; k++) {
        uint32_t value = k ? end.value : begin.value;
        if (value == DLX_NONE) continue;
        in[inputs] = value;
        attr.shape[k] = DLX_RUN(inputs);
        inputs++;
    }
    return dlx_call_node(c, DLX_OP_NARROW, in, inputs, &attr, out);
}

static dlx_status do_slice(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    int axis;
    int64_t step, bound[DLX_MAX_RANK];
    uint8_t rank;
    dlx_dtype dtype;
    dlx_import_size begin = {.number = 0, .value = DLX_NONE}, end = {.number = INT64_MAX, .value = DLX_NONE};
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_axis(c, 1, dlx_call_value(c, x)->rank, &axis));
    if (!dlx_arg_is_null(c, 2)) DLX_TRY(dlx_arg_size(c, 2, &begin));
    if (!dlx_arg_is_null(c, 3)) DLX_TRY(dlx_arg_size(c, 3, &end));
    DLX_TRY(dlx_arg_int(c, 4, &step));
    DLX_TRY(dlx_call_declared(c, bound, &rank, &dtype));
    if (rank != dlx_call_value(c, x)->rank) return dlx_call_refuse(c, "its result has another rank than its operand");
    DLX_TRY(narrow(c, x, axis, begin, end, step, bound[axis], &x));
    return dlx_call_result(c, x);
}

/* narrow_copy: (x, dim, start, length) */
static dlx_status do_narrow(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    int axis;
    int64_t begin, size;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_axis(c, 1, dlx_call_value(c, x)->rank, &axis));
    DLX_TRY(dlx_arg_int(c, 2, &begin));
    DLX_TRY(dlx_arg_int(c, 3, &size));
    int64_t n = dlx_call_value(c, x)->dim[axis];
    if (begin < 0 || size < 0 || begin > n || size > n - begin)
        return dlx_call_refuse(c, "the part must lie inside the tensor");
    DLX_TRY(dlx_call_slice(c, x, axis, begin, size, &x));
    return dlx_call_result(c, x);
}

/* One index of a dimension, which goes away. */
static dlx_status pick(const dlx_call *c, uint32_t x, int axis, dlx_import_size index, uint32_t *out)
{
    const dlx_value *v = dlx_call_value(c, x);
    bool fixed = !(v->dynamic >> axis & 1), constant = index.value == DLX_NONE;
    if (constant && fixed && index.number < 0) index.number += v->dim[axis];
    if (constant && fixed && (index.number < 0 || index.number >= v->dim[axis]))
        return dlx_call_refuse(c, "the index must lie inside the tensor");
    if (constant && fixed) {
        DLX_TRY(dlx_call_slice(c, x, axis, index.number, 1, &x));
        return dlx_call_squeeze(c, x, 1u << axis, out);
    }
    uint32_t in[2] = {x};
    DLX_TRY(dlx_size_value(c, index, &in[1]));
    return dlx_call_node(c, DLX_OP_INDEX, in, 2, &(dlx_attr){.axes = (uint8_t)(1u << axis)}, out);
}

static dlx_status do_select(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    int axis;
    dlx_import_size index;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_axis(c, 1, dlx_call_value(c, x)->rank, &axis));
    DLX_TRY(dlx_arg_size(c, 2, &index));
    DLX_TRY(pick(c, x, axis, index, &x));
    return dlx_call_result(c, x);
}

/* The list of results is the last argument. */
static dlx_status results(const dlx_call *c, const dlx_evalue **list)
{
    *list = dlx_arg(c, c->n_args - 1);
    return (*list)->kind == DLX_EV_TENSOR_LIST ? DLX_OK : dlx_call_refuse(c, "a list of results is expected");
}

/* split_copy (x, size, dim), split_with_sizes_copy (x, sizes, dim) */
static dlx_status do_split(const dlx_call *c, dlx_op op)
{
    uint32_t x, part;
    int axis;
    int64_t begin = 0, each = 0;
    const dlx_evalue *list, *sizes = dlx_arg(c, 1);
    (void)op;
    DLX_TRY(results(c, &list));
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_axis(c, 2, dlx_call_value(c, x)->rank, &axis)); /* so there are three arguments */
    bool listed = sizes->kind == DLX_EV_INT_LIST;
    if (listed && sizes->u.list.count != list->u.list.count)
        return dlx_call_refuse(c, "as many results as sizes are expected");
    if (!listed) DLX_TRY(dlx_arg_int(c, 1, &each));
    for (uint32_t i = 0; i < list->u.list.count; i++) {
        dlx_import_size size = {.number = each, .value = DLX_NONE};
        if (listed) DLX_TRY(dlx_evalue_size(c, (int32_t)sizes->u.list.ints[i], &size));
        if (size.value != DLX_NONE || size.number < 0 || begin > dlx_call_value(c, x)->dim[axis])
            return dlx_call_refuse(c, "the parts must lie inside the tensor and not vary");
        DLX_TRY(dlx_call_slice(c, x, axis, begin, size.number, &part));
        DLX_TRY(dlx_import_write(c->im, (int32_t)list->u.list.ints[i], part, DLX_WRITE_RESULT));
        if (__builtin_add_overflow(begin, size.number, &begin)) return dlx_call_refuse(c, "the parts are too large");
    }
    return DLX_OK;
}

static dlx_status do_unbind(const dlx_call *c, dlx_op op)
{
    uint32_t x, part;
    int axis;
    const dlx_evalue *list;
    (void)op;
    DLX_TRY(results(c, &list));
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_axis(c, 1, dlx_call_value(c, x)->rank, &axis));
    for (uint32_t i = 0; i < list->u.list.count; i++) {
        DLX_TRY(pick(c, x, axis, (dlx_import_size){.number = i, .value = DLX_NONE}, &part));
        DLX_TRY(dlx_import_write(c->im, (int32_t)list->u.list.ints[i], part, DLX_WRITE_RESULT));
    }
    return DLX_OK;
}

/* ---- joins ---- */

/* Any number of tensors, five at a time. */
static dlx_status join(const dlx_call *c, const uint32_t *in, uint32_t n, int axis, uint32_t *out)
{
    *out = in[0];
    for (uint32_t i = 1; i < n;) {
        uint32_t part[5] = {*out};
        int count = 1;
        while (count < 5 && i < n) part[count++] = in[i++];
        DLX_TRY(dlx_call_node(c, DLX_OP_CONCAT, part, count, &(dlx_attr){.axis = axis}, out));
    }
    return DLX_OK;
}

static dlx_status do_join(const dlx_call *c, bool stack)
{
    const dlx_evalue *list = dlx_arg(c, 0);
    uint32_t out;
    int axis;
    dlx_dtype dtype;
    int64_t dim[DLX_MAX_RANK];
    uint8_t rank;
    if (!list || list->kind != DLX_EV_TENSOR_LIST || list->u.list.count < 1)
        return dlx_call_refuse(c, "a list of tensors is expected");
    DLX_TRY(dlx_call_declared(c, dim, &rank, &dtype));
    uint32_t *in = dlx_arena_array(&c->im->g->arena, list->u.list.count, sizeof *in);
    if (!in) return dlx_fail(c->im->err, DLX_E_NOMEM, "out of memory reading method '%s'", c->im->plan->name);
    DLX_TRY(dlx_import_tensor(c->im, (int32_t)list->u.list.ints[0], &out));
    DLX_TRY(dlx_arg_axis(c, 1, dlx_call_value(c, out)->rank + stack, &axis));
    for (uint32_t i = 0; i < list->u.list.count; i++) {
        DLX_TRY(dlx_import_tensor(c->im, (int32_t)list->u.list.ints[i], &in[i]));
        DLX_TRY(dlx_call_cast(c, in[i], dtype, &in[i]));
        if (stack) DLX_TRY(dlx_call_unsqueeze(c, in[i], axis, &in[i]));
    }
    if (list->u.list.count == 1) return dlx_call_emit(c, DLX_OP_COPY, in, 1, NULL);
    DLX_TRY(join(c, in, list->u.list.count, axis, &out));
    return dlx_call_result(c, out);
}

static dlx_status do_cat(const dlx_call *c, dlx_op op)
{
    (void)op;
    return do_join(c, false);
}

static dlx_status do_stack(const dlx_call *c, dlx_op op)
{
    (void)op;
    return do_join(c, true);
}

static dlx_status do_flip(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    dlx_import_size size[DLX_MAX_RANK];
    uint8_t n;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_sizes(c, 1, size, &n));
    int rank = dlx_call_value(c, x)->rank;
    for (int i = 0; i < n; i++) {
        int64_t d = size[i].number < 0 ? size[i].number + rank : size[i].number;
        if (size[i].value != DLX_NONE || d < 0 || d >= rank)
            return dlx_call_refuse(c, "a dimension lies outside the rank");
        DLX_TRY(dlx_call_node(c, op, &x, 1, &(dlx_attr){.axis = (int32_t)d}, &x));
    }
    return dlx_call_result(c, x);
}

/* roll: the last `shift` elements of a dimension go to the front. */
static dlx_status do_roll(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    dlx_import_size shift[DLX_MAX_RANK], axis[DLX_MAX_RANK];
    uint8_t n, m;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_sizes(c, 1, shift, &n));
    DLX_TRY(dlx_arg_sizes(c, 2, axis, &m));
    if (n != m) return dlx_call_refuse(c, "a dimension for each shift is expected");
    for (int i = 0; i < n; i++) {
        const dlx_value *v = dlx_call_value(c, x);
        int64_t d = axis[i].number < 0 ? axis[i].number + v->rank : axis[i].number;
        if (axis[i].value != DLX_NONE || shift[i].value != DLX_NONE || d < 0 || d >= v->rank || (v->dynamic >> d & 1) ||
            v->dim[d] < 1)
            return dlx_call_refuse(c, "the dimension must lie inside the rank and not vary");
        int64_t size = v->dim[d], cut = ((size - shift[i].number % size) % size + size) % size;
        uint32_t part[2];
        if (cut == 0) continue;
        DLX_TRY(dlx_call_slice(c, x, (int)d, cut, -1, &part[0]));
        DLX_TRY(dlx_call_slice(c, x, (int)d, 0, cut, &part[1]));
        DLX_TRY(join(c, part, 2, (int)d, &x));
    }
    return dlx_call_result(c, x);
}

/* ---- broadcasts and filled tensors ---- */

static dlx_status expand(const dlx_call *c, uint32_t x, const dlx_import_size *size, int rank, uint32_t *out)
{
    dlx_attr attr = {.rank = (uint8_t)rank};
    uint32_t in[DLX_MAX_INPUTS] = {x};
    int inputs = 1;
    uint8_t declared;
    dlx_dtype dtype;
    DLX_TRY(dlx_call_declared(c, attr.bound, &declared, &dtype));
    if (declared != rank) return dlx_call_refuse(c, "its result has another rank than its sizes");
    for (int i = 0; i < rank; i++) {
        const dlx_value *v = dlx_call_value(c, x);
        int d = i - (rank - v->rank);
        attr.shape[i] = size[i].number;
        if (size[i].value == DLX_NONE) continue;
        /* A dimension that is not 1 can only stay what it is. */
        bool stays = d >= 0 && (v->dim[d] != 1 || (v->dynamic >> d & 1));
        attr.shape[i] = stays ? -1 : DLX_RUN(inputs);
        if (stays) continue;
        if (inputs == DLX_MAX_INPUTS) return dlx_call_refuse(c, "more than five dimensions vary");
        in[inputs++] = size[i].value;
    }
    return dlx_call_node(c, DLX_OP_EXPAND, in, inputs, &attr, out);
}

static dlx_status do_expand(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    dlx_import_size size[DLX_MAX_RANK];
    uint8_t n;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_sizes(c, 1, size, &n));
    DLX_TRY(expand(c, x, size, n, &x));
    return dlx_call_result(c, x);
}

/* repeat: [.., n, ..] -> [.., r * n, ..], one dimension after the other. */
static dlx_status do_repeat(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    dlx_import_size times[DLX_MAX_RANK];
    uint8_t n;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_sizes(c, 1, times, &n));
    while (dlx_call_value(c, x)->rank < n) DLX_TRY(dlx_call_unsqueeze(c, x, 0, &x));
    for (int d = 0; d < n; d++) {
        if (times[d].value != DLX_NONE || times[d].number < 1 || times[d].number > 1 << 16)
            return dlx_call_refuse(c, "a constant number of repetitions is expected");
        uint32_t in[5] = {x, x, x, x, x}, part = x;
        for (int64_t left = times[d].number - 1; left > 0; left -= 4) {
            in[0] = part;
            DLX_TRY(dlx_call_node(c, DLX_OP_CONCAT, in, left < 4 ? (int)left + 1 : 5, &(dlx_attr){.axis = d}, &part));
        }
        x = part;
    }
    return dlx_call_result(c, x);
}

/* The number that fills a tensor, in the type of the result. */
static dlx_status filler(const dlx_call *c, uint32_t i, double otherwise, uint32_t *out)
{
    int64_t dim[DLX_MAX_RANK];
    uint8_t rank;
    dlx_dtype dtype;
    const dlx_evalue *v = dlx_arg(c, i);
    DLX_TRY(dlx_call_declared(c, dim, &rank, &dtype));
    if (i == UINT32_MAX) return dlx_call_number(c, dtype, otherwise, out);
    if (v && v->kind == DLX_EV_TENSOR) {
        DLX_TRY(dlx_arg_tensor(c, i, out));
        return dlx_call_cast(c, *out, dtype, out);
    }
    if (v && v->kind == DLX_EV_DOUBLE && !c->im->slot[c->args[i]].computed)
        return dlx_call_number(c, dtype, v->u.d, out);
    if (v && v->kind == DLX_EV_DOUBLE) {
        *out = c->im->slot[c->args[i]].value;
        return dlx_call_cast(c, *out, dtype, out);
    }
    dlx_import_size size;
    DLX_TRY(dlx_arg_size(c, i, &size));
    if (size.value != DLX_NONE) return dlx_call_cast(c, size.value, dtype, out);
    return dlx_import_number(c->im, dtype, (double)size.number, size.number, out);
}

static dlx_status do_fill(const dlx_call *c, uint32_t value_argument, double otherwise)
{
    uint32_t x;
    dlx_import_size size[DLX_MAX_RANK];
    uint8_t n;
    DLX_TRY(filler(c, value_argument, otherwise, &x));
    DLX_TRY(dlx_arg_sizes(c, 0, size, &n));
    DLX_TRY(expand(c, x, size, n, &x));
    return dlx_call_result(c, x);
}

static dlx_status do_full(const dlx_call *c, dlx_op op)
{
    (void)op;
    return do_fill(c, 1, 0);
}

static dlx_status do_zeros(const dlx_call *c, dlx_op op)
{
    (void)op;
    return do_fill(c, UINT32_MAX, 0);
}

static dlx_status do_ones(const dlx_call *c, dlx_op op)
{
    (void)op;
    return do_fill(c, UINT32_MAX, 1);
}

/* full_like and fill: (x, value, ...) */
static dlx_status do_fill_like(const dlx_call *c, dlx_op op)
{
    uint32_t in[2];
    DLX_TRY(dlx_arg_tensor(c, 0, &in[1]));
    DLX_TRY(filler(c, 1, 0, &in[0]));
    return dlx_call_emit(c, op, in, 2, NULL);
}

static dlx_status do_scalar_tensor(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    DLX_TRY(filler(c, 0, 0, &x));
    return dlx_call_emit(c, op, &x, 1, NULL);
}

/* A range with floats in it, all of whose numbers are known. */
static dlx_status constant_range(const dlx_call *c, double first, double end, double step)
{
    double n = ceil((end - first) / step);
    if (!(n >= 0) || n > 1 << 24) return dlx_call_refuse(c, "the range is too long");
    int64_t count = (int64_t)n;
    float *data = dlx_arena_array(&c->im->g->arena, (size_t)count, sizeof *data);
    if (!data) return dlx_fail(c->im->err, DLX_E_NOMEM, "out of memory reading method '%s'", c->im->plan->name);
    for (int64_t i = 0; i < count; i++) data[i] = (float)(first + (double)i * step);
    dlx_const_source source = {.data = data, .bytes = (uint64_t)count * sizeof *data, .stored = DLX_F32};
    uint32_t x = dlx_graph_const(c->im->g, NULL, DLX_F32, 1, &count, source);
    if (x == DLX_NONE) return dlx_fail(c->im->err, DLX_E_NOMEM, "out of memory reading method '%s'", c->im->plan->name);
    return dlx_call_result_cast(c, x);
}

static dlx_status range(const dlx_call *c, uint32_t first_argument, uint32_t end_argument, uint32_t step_argument)
{
    dlx_import_size ends[2] = {{.number = 0, .value = DLX_NONE}};
    uint32_t in[2], place[2] = {first_argument, end_argument};
    int64_t step = 1, bound[DLX_MAX_RANK];
    uint8_t rank;
    double real[3] = {0, 0, 1};
    dlx_attr attr = {.rank = 0};
    bool reals = false;
    const uint32_t argument[3] = {first_argument, end_argument, step_argument};
    for (int k = 0; k < 3; k++)
        reals = reals || (argument[k] != UINT32_MAX && dlx_arg(c, argument[k]) &&
                          dlx_arg(c, argument[k])->kind == DLX_EV_DOUBLE);
    if (reals) {
        for (int k = 0; k < 3; k++)
            if (argument[k] != UINT32_MAX) DLX_TRY(dlx_arg_real(c, argument[k], &real[k]));
        return constant_range(c, real[0], real[1], real[2]);
    }
    for (int k = 0; k < 2; k++) {
        if (place[k] != UINT32_MAX) DLX_TRY(dlx_arg_size(c, place[k], &ends[k]));
        DLX_TRY(dlx_size_value(c, ends[k], &in[k]));
    }
    if (step_argument != UINT32_MAX) DLX_TRY(dlx_arg_int(c, step_argument, &step));
    DLX_TRY(dlx_call_declared(c, bound, &rank, &attr.dtype));
    if (rank != 1) return dlx_call_refuse(c, "its result must be a vector");
    attr.shape[2] = step;
    attr.bound[0] = bound[0];
    return dlx_call_emit(c, DLX_OP_ARANGE, in, 2, &attr);
}

static dlx_status do_arange(const dlx_call *c, dlx_op op)
{
    (void)op;
    return range(c, UINT32_MAX, 0, UINT32_MAX);
}

static dlx_status do_arange_start(const dlx_call *c, dlx_op op)
{
    (void)op;
    return range(c, 0, 1, 2);
}

static dlx_status do_pad(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    dlx_attr attr = {0};
    double value;
    const dlx_evalue *list = dlx_arg(c, 1);
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_real(c, 2, &value));
    int rank = dlx_call_value(c, x)->rank;
    if (!list || list->kind != DLX_EV_INT_LIST || list->u.list.count % 2 || (int)list->u.list.count > 2 * rank)
        return dlx_call_refuse(c, "two numbers for each of the last dimensions are expected");
    attr.f[0] = (float)value;
    for (uint32_t i = 0; i < list->u.list.count; i++) {
        dlx_import_size size;
        DLX_TRY(dlx_evalue_size(c, (int32_t)list->u.list.ints[i], &size));
        if (size.value != DLX_NONE) return dlx_call_refuse(c, "constant padding is expected");
        int d = rank - 1 - (int)i / 2;
        if (i % 2)
            attr.size[d] = size.number;
        else
            attr.shape[d] = size.number;
    }
    return dlx_call_emit(c, op, &x, 1, &attr);
}

static dlx_status do_triangle(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    int64_t diagonal;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_int(c, 1, &diagonal));
    if (diagonal < -(1 << 24) || diagonal > 1 << 24) return dlx_call_refuse(c, "the diagonal is too far away");
    bool upper = !strcmp(c->name, "aten::triu.out");
    return dlx_call_emit(c, op, &x, 1, &(dlx_attr){.axis = (int32_t)diagonal, .keep = upper});
}

/* A copy in the element type of the result. */
static dlx_status do_copy(const dlx_call *c, dlx_op op)
{
    uint32_t x, out;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_call_node(c, op, &x, 1, NULL, &out));
    return dlx_call_result_cast(c, out);
}

const dlx_kernel_import dlx_import_shapes[] = {
    {"aten::view_copy.out", do_view, DLX_OP_RESHAPE},
    {"executorch_prim::et_view.default", do_view, DLX_OP_RESHAPE},
    {"aten::permute_copy.out", do_permute, DLX_OP_TRANSPOSE},
    {"aten::transpose_copy.int_out", do_transpose, DLX_OP_TRANSPOSE},
    {"aten::t_copy.out", do_t, DLX_OP_TRANSPOSE},
    {"aten::unsqueeze_copy.out", do_unsqueeze, DLX_OP_RESHAPE},
    {"aten::squeeze_copy.dims_out", do_squeeze, DLX_OP_RESHAPE},
    {"aten::squeeze_copy.dim_out", do_squeeze, DLX_OP_RESHAPE},
    {"aten::select_copy.int_out", do_select, DLX_OP_SLICE},
    {"aten::slice_copy.Tensor_out", do_slice, DLX_OP_SLICE},
    {"aten::narrow_copy.out", do_narrow, DLX_OP_SLICE},
    {"aten::split_copy.Tensor_out", do_split, DLX_OP_SLICE},
    {"aten::split_with_sizes_copy.out", do_split, DLX_OP_SLICE},
    {"aten::unbind_copy.int_out", do_unbind, DLX_OP_SLICE},
    {"aten::cat.out", do_cat, DLX_OP_CONCAT},
    {"aten::stack.out", do_stack, DLX_OP_CONCAT},
    {"aten::flip.out", do_flip, DLX_OP_FLIP},
    {"aten::roll.out", do_roll, DLX_OP_CONCAT},
    {"aten::expand_copy.out", do_expand, DLX_OP_EXPAND},
    {"aten::repeat.out", do_repeat, DLX_OP_CONCAT},
    {"aten::full.out", do_full, DLX_OP_EXPAND},
    {"aten::zeros.out", do_zeros, DLX_OP_EXPAND},
    {"aten::ones.out", do_ones, DLX_OP_EXPAND},
    {"aten::full_like.out", do_fill_like, DLX_OP_EXPAND_AS},
    {"aten::fill.Scalar_out", do_fill_like, DLX_OP_EXPAND_AS},
    {"aten::fill.Tensor_out", do_fill_like, DLX_OP_EXPAND_AS},
    {"aten::scalar_tensor.out", do_scalar_tensor, DLX_OP_COPY},
    {"aten::arange.out", do_arange, DLX_OP_ARANGE},
    {"aten::arange.start_out", do_arange_start, DLX_OP_ARANGE},
    {"aten::constant_pad_nd.out", do_pad, DLX_OP_PAD},
    {"aten::tril.out", do_triangle, DLX_OP_TRIANGLE},
    {"aten::triu.out", do_triangle, DLX_OP_TRIANGLE},
    {"aten::clone.out", do_copy, DLX_OP_COPY},
    {"aten::alias_copy.out", do_copy, DLX_OP_COPY},
    {"aten::detach_copy.out", do_copy, DLX_OP_COPY},
    {"aten::lift_fresh_copy.out", do_copy, DLX_OP_COPY},
    {"aten::_to_copy.out", do_copy, DLX_OP_COPY},
    {"dim_order_ops::_clone_dim_order.out", do_copy, DLX_OP_COPY},
    {"dim_order_ops::_to_dim_order_copy.out", do_copy, DLX_OP_COPY},
    {.name = NULL},
};
