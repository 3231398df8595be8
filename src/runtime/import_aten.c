/* Kernel calls: their arguments, their results, and which file knows which operator. */
#include <stdio.h>
#include <string.h>

#include "base/sizes.h"
#include "runtime/import_call.h"

dlx_status dlx_call_refuse(const dlx_call *c, const char *what)
{
    return dlx_fail(c->im->err, DLX_E_UNSUPPORTED, "method '%s', operator %s: %s", c->im->plan->name, c->name, what);
}

/* ---- arguments ---- */

const dlx_evalue *dlx_arg(const dlx_call *c, uint32_t i)
{
    return i < c->n_args ? &c->im->plan->values[c->args[i]] : NULL;
}

dlx_status dlx_arg_tensor(const dlx_call *c, uint32_t i, uint32_t *out)
{
    if (i >= c->n_args) return dlx_call_refuse(c, "too few arguments");
    return dlx_import_tensor(c->im, c->args[i], out);
}

bool dlx_arg_is_null(const dlx_call *c, uint32_t i)
{
    const dlx_evalue *v = dlx_arg(c, i);
    return v && v->kind == DLX_EV_NULL;
}

dlx_status dlx_arg_tensor_or_none(const dlx_call *c, uint32_t i, uint32_t *out)
{
    *out = DLX_NONE;
    return dlx_arg_is_null(c, i) ? DLX_OK : dlx_arg_tensor(c, i, out);
}

static bool is_size(const dlx_evalue *v)
{
    return v->kind == DLX_EV_INT || v->kind == DLX_EV_BOOL;
}

dlx_status dlx_evalue_size(const dlx_call *c, int32_t evalue, dlx_import_size *out)
{
    const dlx_evalue *v = &c->im->plan->values[evalue];
    const dlx_import_slot *slot = &c->im->slot[evalue];
    *out = (dlx_import_size){.value = DLX_NONE};
    if (!is_size(v)) return dlx_call_refuse(c, "an integer argument is expected");
    if (slot->computed && slot->known)
        out->number = slot->number;
    else if (slot->computed)
        out->value = slot->value;
    else
        out->number = v->kind == DLX_EV_INT ? v->u.i : v->u.b;
    return DLX_OK;
}

dlx_status dlx_arg_size(const dlx_call *c, uint32_t i, dlx_import_size *out)
{
    if (i >= c->n_args) return dlx_call_refuse(c, "too few arguments");
    return dlx_evalue_size(c, c->args[i], out);
}

dlx_status dlx_arg_int(const dlx_call *c, uint32_t i, int64_t *out)
{
    dlx_import_size size;
    DLX_TRY(dlx_arg_size(c, i, &size));
    if (size.value != DLX_NONE) return dlx_call_refuse(c, "a constant integer argument is expected");
    *out = size.number;
    return DLX_OK;
}

dlx_status dlx_arg_bool(const dlx_call *c, uint32_t i, bool *out)
{
    int64_t number;
    DLX_TRY(dlx_arg_int(c, i, &number));
    *out = number != 0;
    return DLX_OK;
}

dlx_status dlx_arg_real(const dlx_call *c, uint32_t i, double *out)
{
    const dlx_evalue *v = dlx_arg(c, i);
    int64_t number;
    if (v && v->kind == DLX_EV_DOUBLE && !c->im->slot[c->args[i]].computed) {
        *out = v->u.d;
        return DLX_OK;
    }
    if (v && v->kind == DLX_EV_DOUBLE) return dlx_call_refuse(c, "a constant number is expected");
    DLX_TRY(dlx_arg_int(c, i, &number));
    *out = (double)number;
    return DLX_OK;
}

dlx_status dlx_arg_axis(const dlx_call *c, uint32_t i, int rank, int *out)
{
    int64_t axis;
    DLX_TRY(dlx_arg_int(c, i, &axis));
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) return dlx_call_refuse(c, "a dimension lies outside the rank");
    *out = (int)axis;
    return DLX_OK;
}

dlx_status dlx_arg_sizes(const dlx_call *c, uint32_t i, dlx_import_size out[DLX_MAX_RANK], uint8_t *n)
{
    const dlx_evalue *v = dlx_arg(c, i);
    *n = 0;
    if (!v || v->kind != DLX_EV_INT_LIST) return dlx_call_refuse(c, "an integer list argument is expected");
    if (v->u.list.count > DLX_MAX_RANK) return dlx_call_refuse(c, "rank is above 6");
    for (uint32_t k = 0; k < v->u.list.count; k++) DLX_TRY(dlx_evalue_size(c, (int32_t)v->u.list.ints[k], &out[k]));
    *n = (uint8_t)v->u.list.count;
    return DLX_OK;
}

dlx_status dlx_size_value(const dlx_call *c, dlx_import_size size, uint32_t *out)
{
    *out = size.value;
    if (size.value != DLX_NONE) return DLX_OK;
    return dlx_import_number(c->im, DLX_I64, 0, size.number, out);
}

dlx_status dlx_call_number(const dlx_call *c, dlx_dtype type, double number, uint32_t *out)
{
    const double most = 9007199254740992.0; /* 2^53: up to there doubles hold every integer */
    bool whole = number >= -most && number <= most && (double)(int64_t)number == number;
    if (type != DLX_F32 && !whole) return dlx_call_refuse(c, "a whole number is expected");
    return dlx_import_number(c->im, type, number, whole ? (int64_t)number : 0, out);
}

/* ---- nodes and results ---- */

const dlx_value *dlx_call_value(const dlx_call *c, uint32_t value)
{
    return &c->im->g->values[value];
}

dlx_status dlx_call_declared(const dlx_call *c, int64_t dim[DLX_MAX_RANK], uint8_t *rank, dlx_dtype *dtype)
{
    int32_t out = c->args[c->n_args - 1];
    DLX_TRY(dlx_import_declared(c->im, out, dim, dtype));
    *rank = c->im->plan->values[out].u.tensor.rank;
    return DLX_OK;
}

dlx_status dlx_call_node(const dlx_call *c, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr,
                         uint32_t *out)
{
    uint32_t copy[DLX_MAX_INPUTS]; /* `in` may be `out` */
    for (int k = 0; k < inputs && k < DLX_MAX_INPUTS; k++) copy[k] = in[k];
    return dlx_import_node(c->im, op, copy, inputs, attr, out);
}

dlx_status dlx_call_result(const dlx_call *c, uint32_t value)
{
    return dlx_import_write(c->im, c->args[c->n_args - 1], value, DLX_WRITE_RESULT);
}

dlx_status dlx_call_result_cast(const dlx_call *c, uint32_t value)
{
    int64_t dim[DLX_MAX_RANK];
    uint8_t rank;
    dlx_dtype dtype;
    DLX_TRY(dlx_call_declared(c, dim, &rank, &dtype));
    DLX_TRY(dlx_call_cast(c, value, dtype, &value));
    return dlx_call_result(c, value);
}

dlx_status dlx_call_emit(const dlx_call *c, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr)
{
    uint32_t out;
    DLX_TRY(dlx_call_node(c, op, in, inputs, attr, &out));
    return dlx_call_result(c, out);
}

dlx_status dlx_call_cast(const dlx_call *c, uint32_t value, dlx_dtype to, uint32_t *out)
{
    *out = value;
    if (dlx_call_value(c, value)->dtype == to) return DLX_OK;
    return dlx_call_node(c, DLX_OP_CAST, &value, 1, &(dlx_attr){.dtype = to}, out);
}

dlx_status dlx_call_dim(const dlx_call *c, uint32_t value, int d, dlx_import_size *out)
{
    const dlx_value *v = dlx_call_value(c, value);
    *out = (dlx_import_size){.number = v->dim[d], .value = DLX_NONE};
    if (!(v->dynamic >> d & 1)) return DLX_OK;
    return dlx_call_node(c, DLX_OP_SIZE, &value, 1, &(dlx_attr){.axis = d}, &out->value);
}

/* One unknown size follows from the others; more are read from their values. */
dlx_status dlx_call_reshape(const dlx_call *c, uint32_t x, const dlx_import_size *size, const int64_t *bound, int rank,
                            uint32_t *out)
{
    dlx_attr attr = {.rank = (uint8_t)rank};
    uint32_t in[DLX_MAX_INPUTS] = {x};
    int unknown = 0, inputs = 1;
    for (int i = 0; i < rank; i++) unknown += size[i].value != DLX_NONE || size[i].number == -1;
    for (int i = 0; i < rank; i++) {
        attr.shape[i] = size[i].number;
        attr.bound[i] = bound[i];
        if (size[i].value == DLX_NONE) continue;
        attr.shape[i] = -1;
        if (unknown == 1) continue;
        if (inputs == DLX_MAX_INPUTS) return dlx_call_refuse(c, "more than five dimensions vary");
        in[inputs] = size[i].value;
        attr.shape[i] = DLX_RUN(inputs);
        inputs++;
    }
    return dlx_call_node(c, DLX_OP_RESHAPE, in, inputs, &attr, out);
}

dlx_status dlx_call_squeeze(const dlx_call *c, uint32_t x, unsigned axes, uint32_t *out)
{
    dlx_import_size size[DLX_MAX_RANK];
    int64_t bound[DLX_MAX_RANK];
    int rank = 0, from = dlx_call_value(c, x)->rank;
    for (int i = 0; i < from; i++) {
        if (axes >> i & 1) continue;
        bound[rank] = dlx_call_value(c, x)->dim[i];
        DLX_TRY(dlx_call_dim(c, x, i, &size[rank++]));
    }
    return dlx_call_reshape(c, x, size, bound, rank, out);
}

dlx_status dlx_call_unsqueeze(const dlx_call *c, uint32_t x, int axis, uint32_t *out)
{
    dlx_import_size size[DLX_MAX_RANK];
    int64_t bound[DLX_MAX_RANK];
    int from = dlx_call_value(c, x)->rank;
    if (from + 1 > DLX_MAX_RANK) return dlx_call_refuse(c, "rank is above 6");
    for (int i = 0, k = 0; i <= from; i++) {
        if (i == axis) {
            size[i] = (dlx_import_size){.number = 1, .value = DLX_NONE};
            bound[i] = 1;
            continue;
        }
        bound[i] = dlx_call_value(c, x)->dim[k];
        DLX_TRY(dlx_call_dim(c, x, k++, &size[i]));
    }
    return dlx_call_reshape(c, x, size, bound, from + 1, out);
}

dlx_status dlx_call_slice(const dlx_call *c, uint32_t x, int axis, int64_t begin, int64_t size, uint32_t *out)
{
    dlx_attr attr = {.rank = dlx_call_value(c, x)->rank};
    for (int i = 0; i < attr.rank; i++) attr.size[i] = -1;
    attr.shape[axis] = begin;
    attr.size[axis] = size;
    return dlx_call_node(c, DLX_OP_SLICE, &x, 1, &attr, out);
}

dlx_status dlx_import_kernel(dlx_importer *im, const dlx_instruction *ins)
{
    static const dlx_kernel_import *const tables[] = {dlx_import_shapes, dlx_import_math, dlx_import_places,
                                                      dlx_import_scalars};
    const dlx_pte_operator *op = &im->plan->operators[ins->index];
    char name[128];
    snprintf(name, sizeof name, "%.80s%s%.40s", op->name, op->overload[0] ? "." : "", op->overload);
    dlx_call c = {.im = im, .name = name, .args = ins->args, .n_args = ins->n_args};
    snprintf(im->at, sizeof im->at, "method '%.80s', operator %s", im->plan->name, name);
    if (!ins->n_args) return dlx_call_refuse(&c, "has no arguments");
    for (size_t t = 0; t < DLX_COUNT(tables); t++)
        for (const dlx_kernel_import *k = tables[t]; k->name; k++)
            if (!strcmp(k->name, name)) return k->import(&c, k->op);
    return dlx_call_refuse(&c, "this runtime has no such operator");
}
