/*
 * Kernel calls outside delegates (portable ATen operators) as graph nodes. Arguments follow the out-variant
 * convention: operands, then the output twice. Only values that are constants in the file count as known integers.
 */
#include "runtime/import.h"

#include <stdio.h>
#include <string.h>

#include "base/sizes.h"

typedef struct call {
    dlx_importer *im;
    const char *name; /* "aten::add.out" */
    const int32_t *args;
    uint32_t n_args;
} call;

static dlx_status refuse(const call *c, const char *what)
{
    return dlx_fail(c->im->err, DLX_E_UNSUPPORTED, "method '%s', operator %s: %s", c->im->plan->name, c->name, what);
}

static const dlx_evalue *arg_value(const call *c, uint32_t i)
{
    return i < c->n_args ? &c->im->plan->values[c->args[i]] : NULL;
}

static dlx_status arg_tensor(const call *c, uint32_t i, uint32_t *out)
{
    if (i >= c->n_args) return refuse(c, "too few arguments");
    return dlx_import_tensor(c->im, c->args[i], out);
}

static dlx_status arg_int(const call *c, uint32_t i, int64_t *out)
{
    const dlx_evalue *v = arg_value(c, i);
    if (!v || v->kind != DLX_EV_INT || c->im->computed[c->args[i]])
        return refuse(c, "a constant integer argument is expected");
    *out = v->u.i;
    return DLX_OK;
}

/* Items of an integer list; one that an instruction computes gives -1. */
static dlx_status arg_ints(const call *c, uint32_t i, int64_t out[DLX_MAX_RANK], uint8_t *n)
{
    const dlx_evalue *v = arg_value(c, i);
    if (!v || v->kind != DLX_EV_INT_LIST) return refuse(c, "an integer list argument is expected");
    if (v->u.list.count > DLX_MAX_RANK) return refuse(c, "rank is above 6");
    *n = (uint8_t)v->u.list.count;
    for (uint8_t k = 0; k < *n; k++) {
        int64_t item = v->u.list.ints[k];
        out[k] = c->im->computed[item] ? -1 : c->im->plan->values[item].u.i;
    }
    return DLX_OK;
}

static bool wrap_axis(int64_t *axis, int rank)
{
    if (*axis < 0) *axis += rank;
    return *axis >= 0 && *axis < rank;
}

static int rank_of(const call *c, uint32_t value)
{
    return c->im->g->values[value].rank;
}

static dlx_status emit(const call *c, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr)
{
    uint32_t out;
    DLX_TRY(dlx_import_node(c->im, op, in, inputs, attr, &out));
    c->im->value[c->args[c->n_args - 1]] = out;
    return DLX_OK;
}

static dlx_status do_unary(const call *c, dlx_op op)
{
    uint32_t x;
    DLX_TRY(arg_tensor(c, 0, &x));
    return emit(c, op, &x, 1, NULL);
}

static dlx_status do_binary(const call *c, dlx_op op)
{
    uint32_t in[2];
    DLX_TRY(arg_tensor(c, 0, &in[0]));
    DLX_TRY(arg_tensor(c, 1, &in[1]));
    if (c->n_args == 5) { /* add and sub carry alpha */
        const dlx_evalue *alpha = arg_value(c, 2);
        bool one =
            (alpha->kind == DLX_EV_INT && alpha->u.i == 1) || (alpha->kind == DLX_EV_DOUBLE && alpha->u.d == 1.0);
        if (!one) return refuse(c, "alpha other than 1 is not supported");
    }
    return emit(c, op, in, 2, NULL);
}

static dlx_status do_embedding(const call *c, dlx_op op)
{
    uint32_t in[2];
    DLX_TRY(arg_tensor(c, 0, &in[0]));
    DLX_TRY(arg_tensor(c, 1, &in[1]));
    return emit(c, op, in, 2, NULL);
}

static dlx_status do_linear(const call *c, dlx_op op)
{
    uint32_t in[3];
    const dlx_evalue *bias = arg_value(c, 2);
    DLX_TRY(arg_tensor(c, 0, &in[0]));
    DLX_TRY(arg_tensor(c, 1, &in[1]));
    bool has_bias = bias && bias->kind == DLX_EV_TENSOR && c->n_args > 4;
    if (has_bias) DLX_TRY(arg_tensor(c, 2, &in[2]));
    if (c->im->g->values[in[1]].kind != DLX_VALUE_CONST) return refuse(c, "the weight must be a constant");
    return emit(c, op, in, has_bias ? 3 : 2, NULL);
}

static dlx_status do_bmm(const call *c, dlx_op op)
{
    uint32_t in[2];
    dlx_attr attr = {0};
    DLX_TRY(arg_tensor(c, 0, &in[0]));
    DLX_TRY(arg_tensor(c, 1, &in[1]));
    return emit(c, op, in, 2, &attr);
}

static dlx_status do_mean(const call *c, dlx_op op)
{
    uint32_t x;
    int64_t axes[DLX_MAX_RANK];
    uint8_t n;
    DLX_TRY(arg_tensor(c, 0, &x));
    DLX_TRY(arg_ints(c, 1, axes, &n));
    const dlx_evalue *keep = arg_value(c, 2);
    if (n != 1 || !wrap_axis(&axes[0], rank_of(c, x))) return refuse(c, "one dimension is expected");
    dlx_attr attr = {.axis = (int32_t)axes[0], .keep = keep && keep->kind == DLX_EV_BOOL && keep->u.b};
    return emit(c, op, &x, 1, &attr);
}

static dlx_status do_softmax(const call *c, dlx_op op)
{
    uint32_t x;
    int64_t axis;
    DLX_TRY(arg_tensor(c, 0, &x));
    DLX_TRY(arg_int(c, 1, &axis));
    if (!wrap_axis(&axis, rank_of(c, x)) || axis != rank_of(c, x) - 1)
        return refuse(c, "only the last dimension is supported");
    return emit(c, op, &x, 1, NULL);
}

static dlx_status do_view(const call *c, dlx_op op)
{
    uint32_t x;
    dlx_attr attr = {0};
    int unknown = 0;
    DLX_TRY(arg_tensor(c, 0, &x));
    DLX_TRY(arg_ints(c, 1, attr.shape, &attr.rank));
    for (int i = 0; i < attr.rank; i++) unknown += attr.shape[i] < 0;
    if (unknown > 1) return refuse(c, "more than one dimension is computed at run time");
    return emit(c, op, &x, 1, &attr);
}

static dlx_status do_permute(const call *c, dlx_op op)
{
    uint32_t x;
    dlx_attr attr = {0};
    DLX_TRY(arg_tensor(c, 0, &x));
    DLX_TRY(arg_ints(c, 1, attr.shape, &attr.rank));
    for (int i = 0; i < attr.rank; i++)
        if (!wrap_axis(&attr.shape[i], attr.rank)) return refuse(c, "a dimension lies outside the rank");
    return emit(c, op, &x, 1, &attr);
}

static dlx_status do_transpose(const call *c, dlx_op op)
{
    uint32_t x;
    int64_t a, b;
    dlx_attr attr = {0};
    DLX_TRY(arg_tensor(c, 0, &x));
    DLX_TRY(arg_int(c, 1, &a));
    DLX_TRY(arg_int(c, 2, &b));
    attr.rank = (uint8_t)rank_of(c, x);
    if (!wrap_axis(&a, attr.rank) || !wrap_axis(&b, attr.rank)) return refuse(c, "a dimension lies outside the rank");
    for (int i = 0; i < attr.rank; i++) attr.shape[i] = i;
    attr.shape[a] = b;
    attr.shape[b] = a;
    return emit(c, op, &x, 1, &attr);
}

/* Inserting or removing dimensions of size 1 is a reshape; a dynamic dimension becomes the inferred one. */
static dlx_status reshape_dims(const call *c, uint32_t x, const int64_t *dims, const bool *dynamic, int rank)
{
    dlx_attr attr = {.rank = (uint8_t)rank};
    int unknown = 0;
    for (int i = 0; i < rank; i++) {
        attr.shape[i] = dynamic[i] ? -1 : dims[i];
        unknown += dynamic[i];
    }
    if (unknown > 1) return refuse(c, "more than one dimension varies");
    return emit(c, DLX_OP_RESHAPE, &x, 1, &attr);
}

static dlx_status do_unsqueeze(const call *c, dlx_op op)
{
    (void)op;
    uint32_t x;
    int64_t axis, dims[DLX_MAX_RANK];
    bool dynamic[DLX_MAX_RANK];
    DLX_TRY(arg_tensor(c, 0, &x));
    DLX_TRY(arg_int(c, 1, &axis));
    const dlx_value *v = &c->im->g->values[x];
    if (v->rank + 1 > DLX_MAX_RANK || !wrap_axis(&axis, v->rank + 1))
        return refuse(c, "the dimension lies outside the rank");
    for (int i = 0, k = 0; i <= v->rank; i++) {
        dims[i] = i == axis ? 1 : v->dim[k];
        dynamic[i] = i != axis && (v->dynamic >> k & 1);
        k += i != axis;
    }
    return reshape_dims(c, x, dims, dynamic, v->rank + 1);
}

static dlx_status do_squeeze(const call *c, dlx_op op)
{
    (void)op;
    uint32_t x;
    int64_t axes[DLX_MAX_RANK], dims[DLX_MAX_RANK];
    bool dynamic[DLX_MAX_RANK], drop[DLX_MAX_RANK] = {false};
    uint8_t n = 1;
    DLX_TRY(arg_tensor(c, 0, &x));
    const dlx_value *v = &c->im->g->values[x];
    const dlx_evalue *a = arg_value(c, 1);
    if (a && a->kind == DLX_EV_INT)
        DLX_TRY(arg_int(c, 1, &axes[0]));
    else
        DLX_TRY(arg_ints(c, 1, axes, &n));
    for (int i = 0; i < n; i++) {
        if (!wrap_axis(&axes[i], v->rank)) return refuse(c, "the dimension lies outside the rank");
        drop[axes[i]] = v->dim[axes[i]] == 1 && !(v->dynamic >> axes[i] & 1);
    }
    int rank = 0;
    for (int i = 0; i < v->rank; i++) {
        if (drop[i]) continue;
        dims[rank] = v->dim[i];
        dynamic[rank++] = v->dynamic >> i & 1;
    }
    return reshape_dims(c, x, dims, dynamic, rank);
}

static dlx_status slice_of(const call *c, uint32_t x, int64_t axis, int64_t begin, int64_t size, uint32_t *out)
{
    dlx_attr attr = {.rank = (uint8_t)rank_of(c, x)};
    for (int i = 0; i < attr.rank; i++) attr.size[i] = -1;
    attr.shape[axis] = begin;
    attr.size[axis] = size;
    return dlx_import_node(c->im, DLX_OP_SLICE, &x, 1, &attr, out);
}

static dlx_status do_select(const call *c, dlx_op op)
{
    (void)op;
    uint32_t x, row;
    int64_t axis, index, dims[DLX_MAX_RANK];
    bool dynamic[DLX_MAX_RANK];
    DLX_TRY(arg_tensor(c, 0, &x));
    DLX_TRY(arg_int(c, 1, &axis));
    DLX_TRY(arg_int(c, 2, &index));
    if (!wrap_axis(&axis, rank_of(c, x)) || index < 0)
        return refuse(c, "dimension and index must lie inside the tensor");
    DLX_TRY(slice_of(c, x, axis, index, 1, &row));
    const dlx_value *v = &c->im->g->values[row];
    int rank = 0;
    for (int i = 0; i < v->rank; i++) {
        if (i == axis) continue;
        dims[rank] = v->dim[i];
        dynamic[rank++] = v->dynamic >> i & 1;
    }
    return reshape_dims(c, row, dims, dynamic, rank);
}

static dlx_status do_slice(const call *c, dlx_op op)
{
    (void)op;
    uint32_t x, out;
    int64_t axis, begin = 0, end = INT64_MAX, step = 1;
    DLX_TRY(arg_tensor(c, 0, &x));
    DLX_TRY(arg_int(c, 1, &axis));
    if (arg_value(c, 2) && arg_value(c, 2)->kind == DLX_EV_INT) DLX_TRY(arg_int(c, 2, &begin));
    if (arg_value(c, 3) && arg_value(c, 3)->kind == DLX_EV_INT) DLX_TRY(arg_int(c, 3, &end));
    DLX_TRY(arg_int(c, 4, &step));
    if (!wrap_axis(&axis, rank_of(c, x)) || begin < 0 || end < begin || step != 1)
        return refuse(c, "needs constant non-negative bounds and step 1");
    int64_t most = c->im->g->values[x].dim[axis];
    DLX_TRY(slice_of(c, x, axis, begin, end >= most ? -1 : end - begin, &out));
    c->im->value[c->args[c->n_args - 1]] = out;
    return DLX_OK;
}

static dlx_status do_cat(const call *c, dlx_op op)
{
    uint32_t in[5];
    int64_t axis;
    const dlx_evalue *list = arg_value(c, 0);
    if (!list || list->kind != DLX_EV_TENSOR_LIST || list->u.list.count < 1 || list->u.list.count > 5)
        return refuse(c, "a list of one to five tensors is expected");
    for (uint32_t i = 0; i < list->u.list.count; i++)
        DLX_TRY(dlx_import_tensor(c->im, (int32_t)list->u.list.ints[i], &in[i]));
    DLX_TRY(arg_int(c, 1, &axis));
    if (!wrap_axis(&axis, rank_of(c, in[0]))) return refuse(c, "the dimension lies outside the rank");
    dlx_attr attr = {.axis = (int32_t)axis};
    if (list->u.list.count == 1) return emit(c, DLX_OP_COPY, in, 1, NULL);
    return emit(c, op, in, (int)list->u.list.count, &attr);
}

static dlx_status do_square(const call *c, dlx_op op)
{
    const dlx_evalue *e = arg_value(c, 1);
    bool two = e && ((e->kind == DLX_EV_INT && e->u.i == 2) || (e->kind == DLX_EV_DOUBLE && e->u.d == 2.0));
    return two ? do_unary(c, op) : refuse(c, "only the exponent 2 is supported");
}

/* A copy that changes neither type nor layout. */
static dlx_status do_copy(const call *c, dlx_op op)
{
    uint32_t x;
    DLX_TRY(arg_tensor(c, 0, &x));
    const dlx_pte_tensor *out = &arg_value(c, c->n_args - 1)->u.tensor;
    if (arg_value(c, c->n_args - 1)->kind != DLX_EV_TENSOR ||
        dlx_scalar_type_from_dtype(c->im->g->values[x].dtype) != out->scalar_type)
        return refuse(c, "conversion between element types is not supported");
    return emit(c, op, &x, 1, NULL);
}

/* Sizes computed at run time only ever feed shapes here; their value is taken from the tensors instead. */
static dlx_status do_symbolic(const call *c, dlx_op op)
{
    (void)op;
    c->im->computed[c->args[c->n_args - 1]] = true;
    return DLX_OK;
}

static const struct {
    const char *name;
    dlx_status (*import)(const call *c, dlx_op op);
    dlx_op op;
} kernels[] = {
    {"aten::embedding.out", do_embedding, DLX_OP_EMBEDDING},
    {"aten::linear.out", do_linear, DLX_OP_LINEAR},
    {"aten::add.out", do_binary, DLX_OP_ADD},
    {"aten::sub.out", do_binary, DLX_OP_SUB},
    {"aten::mul.out", do_binary, DLX_OP_MUL},
    {"aten::div.out", do_binary, DLX_OP_DIV},
    {"aten::maximum.out", do_binary, DLX_OP_MAX},
    {"aten::minimum.out", do_binary, DLX_OP_MIN},
    {"aten::bmm.out", do_bmm, DLX_OP_BMM},
    {"aten::mm.out", do_bmm, DLX_OP_BMM},
    {"aten::neg.out", do_unary, DLX_OP_NEG},
    {"aten::abs.out", do_unary, DLX_OP_ABS},
    {"aten::sqrt.out", do_unary, DLX_OP_SQRT},
    {"aten::rsqrt.out", do_unary, DLX_OP_RSQRT},
    {"aten::exp.out", do_unary, DLX_OP_EXP},
    {"aten::log.out", do_unary, DLX_OP_LOG},
    {"aten::sin.out", do_unary, DLX_OP_SIN},
    {"aten::cos.out", do_unary, DLX_OP_COS},
    {"aten::tanh.out", do_unary, DLX_OP_TANH},
    {"aten::sigmoid.out", do_unary, DLX_OP_SIGMOID},
    {"aten::floor.out", do_unary, DLX_OP_FLOOR},
    {"aten::ceil.out", do_unary, DLX_OP_CEIL},
    {"aten::pow.Tensor_Scalar_out", do_square, DLX_OP_SQUARE},
    {"aten::mean.out", do_mean, DLX_OP_MEAN},
    {"aten::_softmax.out", do_softmax, DLX_OP_SOFTMAX},
    {"aten::view_copy.out", do_view, DLX_OP_RESHAPE},
    {"executorch_prim::et_view.default", do_view, DLX_OP_RESHAPE},
    {"aten::permute_copy.out", do_permute, DLX_OP_TRANSPOSE},
    {"aten::transpose_copy.int_out", do_transpose, DLX_OP_TRANSPOSE},
    {"aten::unsqueeze_copy.out", do_unsqueeze, DLX_OP_RESHAPE},
    {"aten::squeeze_copy.dims_out", do_squeeze, DLX_OP_RESHAPE},
    {"aten::squeeze_copy.dim_out", do_squeeze, DLX_OP_RESHAPE},
    {"aten::select_copy.int_out", do_select, DLX_OP_SLICE},
    {"aten::slice_copy.Tensor_out", do_slice, DLX_OP_SLICE},
    {"aten::cat.out", do_cat, DLX_OP_CONCAT},
    {"aten::clone.out", do_copy, DLX_OP_COPY},
    {"aten::alias_copy.out", do_copy, DLX_OP_COPY},
    {"dim_order_ops::_clone_dim_order.out", do_copy, DLX_OP_COPY},
    {"dim_order_ops::_to_dim_order_copy.out", do_copy, DLX_OP_COPY},
    {"aten::sym_size.int", do_symbolic, DLX_OP_COPY},
    {"aten::sym_numel", do_symbolic, DLX_OP_COPY},
};

dlx_status dlx_import_kernel(dlx_importer *im, const dlx_instruction *ins)
{
    const dlx_pte_operator *op = &im->plan->operators[ins->index];
    char name[128];
    snprintf(name, sizeof name, "%.80s%s%.40s", op->name, op->overload[0] ? "." : "", op->overload);
    call c = {.im = im, .name = name, .args = ins->args, .n_args = ins->n_args};
    if (!ins->n_args) return refuse(&c, "has no arguments");
    if (!strncmp(name, "executorch_prim::", 17) && strcmp(name, "executorch_prim::et_view.default") != 0 &&
        im->plan->values[ins->args[ins->n_args - 1]].kind == DLX_EV_INT)
        return do_symbolic(&c, DLX_OP_COPY);
    for (size_t i = 0; i < DLX_COUNT(kernels); i++)
        if (!strcmp(kernels[i].name, name)) return kernels[i].import(&c, kernels[i].op);
    return refuse(&c, "this runtime has no such operator");
}
