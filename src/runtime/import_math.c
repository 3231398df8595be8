/* Arithmetic of portable operators: element-wise with PyTorch's type promotion, reductions, norms, products. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "runtime/import_call.h"

/* ---- types ---- */

static bool is_number(dlx_dtype t)
{
    return t == DLX_F32 || t == DLX_I64 || t == DLX_I32;
}

/* The type in which two operands meet; small integers and bool compute as I32. */
static dlx_dtype common_type(dlx_dtype a, dlx_dtype b)
{
    if (a == DLX_F32 || b == DLX_F32) return DLX_F32;
    if (a == DLX_I64 || b == DLX_I64) return DLX_I64;
    return DLX_I32;
}

static dlx_status result_type(const dlx_call *c, dlx_dtype *out)
{
    int64_t dim[DLX_MAX_RANK];
    uint8_t rank;
    DLX_TRY(dlx_call_declared(c, dim, &rank, out));
    return DLX_OK;
}

/* Argument i, a tensor or a number, as a graph value; a number takes the type that `with` asks for (a Double makes
 * integers floats). */
static dlx_status operand(const dlx_call *c, uint32_t i, dlx_dtype with, uint32_t *out)
{
    const dlx_evalue *v = dlx_arg(c, i);
    double real;
    if (!v) return dlx_call_refuse(c, "too few arguments");
    if (v->kind == DLX_EV_TENSOR) return dlx_arg_tensor(c, i, out);
    if (v->kind == DLX_EV_DOUBLE && c->im->slot[c->args[i]].computed) {
        *out = c->im->slot[c->args[i]].value;
        return DLX_OK;
    }
    if (v->kind == DLX_EV_DOUBLE) {
        DLX_TRY(dlx_arg_real(c, i, &real));
        return dlx_import_number(c->im, DLX_F32, real, 0, out);
    }
    dlx_import_size size;
    DLX_TRY(dlx_arg_size(c, i, &size));
    if (size.value != DLX_NONE) return dlx_call_cast(c, size.value, is_number(with) ? with : DLX_I64, out);
    return dlx_import_number(c->im, is_number(with) ? with : DLX_I64, (double)size.number, size.number, out);
}

static dlx_status both_operands(const dlx_call *c, uint32_t in[2])
{
    dlx_dtype with = DLX_I64;
    if (dlx_arg(c, 0) && dlx_arg(c, 0)->kind == DLX_EV_TENSOR) {
        DLX_TRY(dlx_arg_tensor(c, 0, &in[0]));
        with = dlx_call_value(c, in[0])->dtype;
    }
    DLX_TRY(operand(c, 1, with, &in[1]));
    return operand(c, 0, dlx_call_value(c, in[1])->dtype, &in[0]);
}

static dlx_status in_type(const dlx_call *c, uint32_t *in, int inputs, dlx_dtype type)
{
    for (int k = 0; k < inputs; k++) DLX_TRY(dlx_call_cast(c, in[k], type, &in[k]));
    return DLX_OK;
}

/* ---- element by element ---- */

/* In the type of the result, or I32 for smaller ones, whose low bits are the same. */
static dlx_status arithmetic(const dlx_call *c, dlx_op op, uint32_t in[2])
{
    dlx_dtype type;
    DLX_TRY(result_type(c, &type));
    if (!is_number(type)) type = DLX_I32;
    DLX_TRY(in_type(c, in, 2, type));
    DLX_TRY(dlx_call_node(c, op, in, 2, NULL, &in[0]));
    return dlx_call_result_cast(c, in[0]);
}

static dlx_status do_binary(const dlx_call *c, dlx_op op)
{
    uint32_t in[2];
    DLX_TRY(both_operands(c, in));
    return arithmetic(c, op, in);
}

/* a + alpha * b, a - alpha * b */
static dlx_status do_scaled(const dlx_call *c, dlx_op op)
{
    uint32_t in[2], scale[2];
    double alpha = 1;
    DLX_TRY(both_operands(c, in));
    if (c->n_args == 5) DLX_TRY(dlx_arg_real(c, 2, &alpha));
    if (alpha != 1) {
        dlx_dtype type = dlx_call_value(c, in[1])->dtype;
        scale[0] = in[1];
        DLX_TRY(dlx_call_number(c, type, alpha, &scale[1]));
        DLX_TRY(dlx_call_node(c, DLX_OP_MUL, scale, 2, NULL, &in[1]));
    }
    return arithmetic(c, op, in);
}

/* other - alpha * self */
static dlx_status do_reversed(const dlx_call *c, dlx_op op)
{
    uint32_t in[2], swapped[2];
    double alpha = 1;
    DLX_TRY(both_operands(c, in));
    if (c->n_args == 5) DLX_TRY(dlx_arg_real(c, 2, &alpha));
    if (alpha != 1) return dlx_call_refuse(c, "alpha other than 1 is not supported");
    swapped[0] = in[1];
    swapped[1] = in[0];
    return arithmetic(c, op, swapped);
}

static dlx_status do_divide_mode(const dlx_call *c, dlx_op op)
{
    uint32_t in[2];
    const dlx_evalue *mode = dlx_arg(c, 2);
    DLX_TRY(both_operands(c, in));
    if (mode && mode->kind == DLX_EV_STRING)
        op = !strcmp(mode->u.s.text, "floor")   ? DLX_OP_FLOORDIV
             : !strcmp(mode->u.s.text, "trunc") ? DLX_OP_TRUNCDIV
                                                : op;
    return arithmetic(c, op, in);
}

static dlx_status compare(const dlx_call *c, dlx_op op, uint32_t a, uint32_t b, uint32_t *out)
{
    uint32_t in[2] = {a, b};
    DLX_TRY(in_type(c, in, 2, common_type(dlx_call_value(c, a)->dtype, dlx_call_value(c, b)->dtype)));
    return dlx_call_node(c, op, in, 2, NULL, out);
}

static dlx_status do_compare(const dlx_call *c, dlx_op op)
{
    uint32_t in[2], out;
    DLX_TRY(both_operands(c, in));
    DLX_TRY(compare(c, op, in[0], in[1], &out));
    return dlx_call_result_cast(c, out);
}

/* a > b is b < a. */
static dlx_status do_compare_turned(const dlx_call *c, dlx_op op)
{
    uint32_t in[2], out;
    DLX_TRY(both_operands(c, in));
    DLX_TRY(compare(c, op, in[1], in[0], &out));
    return dlx_call_result_cast(c, out);
}

static dlx_status do_not_equal(const dlx_call *c, dlx_op op)
{
    uint32_t in[2], out;
    DLX_TRY(both_operands(c, in));
    DLX_TRY(compare(c, op, in[0], in[1], &out));
    DLX_TRY(dlx_call_node(c, DLX_OP_NOT, &out, 1, NULL, &out));
    return dlx_call_result_cast(c, out);
}

/* Numbers as truth: what is not 0. */
static dlx_status truth(const dlx_call *c, uint32_t *x)
{
    return dlx_call_cast(c, *x, DLX_BOOL, x);
}

static dlx_status do_logical(const dlx_call *c, dlx_op op)
{
    uint32_t in[2];
    int inputs = op == DLX_OP_NOT ? 1 : 2;
    for (int k = 0; k < inputs; k++) {
        DLX_TRY(dlx_arg_tensor(c, (uint32_t)k, &in[k]));
        DLX_TRY(truth(c, &in[k]));
    }
    DLX_TRY(dlx_call_node(c, op, in, inputs, NULL, &in[0]));
    return dlx_call_result_cast(c, in[0]);
}

static dlx_status do_bits(const dlx_call *c, dlx_op op)
{
    uint32_t in[2];
    int inputs = op == DLX_OP_NOT ? 1 : 2;
    dlx_dtype type;
    DLX_TRY(result_type(c, &type));
    if (type != DLX_BOOL && !is_number(type)) type = DLX_I32;
    if (inputs == 1)
        DLX_TRY(dlx_arg_tensor(c, 0, &in[0]));
    else
        DLX_TRY(both_operands(c, in));
    DLX_TRY(in_type(c, in, inputs, type));
    DLX_TRY(dlx_call_node(c, op, in, inputs, NULL, &in[0]));
    return dlx_call_result_cast(c, in[0]);
}

static dlx_status do_where(const dlx_call *c, dlx_op op)
{
    uint32_t in[3];
    dlx_dtype type;
    DLX_TRY(result_type(c, &type));
    for (uint32_t k = 0; k < 3; k++) DLX_TRY(dlx_arg_tensor(c, k, &in[k]));
    DLX_TRY(truth(c, &in[0]));
    DLX_TRY(in_type(c, in + 1, 2, type));
    return dlx_call_emit(c, op, in, 3, NULL);
}

static dlx_status do_masked_fill(const dlx_call *c, dlx_op op)
{
    uint32_t in[3];
    DLX_TRY(dlx_arg_tensor(c, 0, &in[2]));
    DLX_TRY(dlx_arg_tensor(c, 1, &in[0]));
    DLX_TRY(truth(c, &in[0]));
    dlx_dtype type = dlx_call_value(c, in[2])->dtype;
    DLX_TRY(operand(c, 2, type, &in[1]));
    DLX_TRY(dlx_call_cast(c, in[1], type, &in[1]));
    return dlx_call_emit(c, op, in, 3, NULL);
}

/* Float functions; integers become floats first. */
static dlx_status do_unary(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_call_cast(c, x, DLX_F32, &x));
    DLX_TRY(dlx_call_node(c, op, &x, 1, NULL, &x));
    return dlx_call_result_cast(c, x);
}

/* Functions that integers have too. */
static dlx_status do_unary_number(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    dlx_dtype type = dlx_call_value(c, x)->dtype;
    DLX_TRY(dlx_call_cast(c, x, is_number(type) ? type : DLX_I32, &x));
    DLX_TRY(dlx_call_node(c, op, &x, 1, NULL, &x));
    return dlx_call_result_cast(c, x);
}

/* Rounding leaves integers as they are. */
static dlx_status do_round(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    return do_unary(c, dlx_call_value(c, x)->dtype == DLX_F32 ? op : DLX_OP_COPY);
}

static dlx_status do_gelu(const dlx_call *c, dlx_op op)
{
    const dlx_evalue *how = dlx_arg(c, 1);
    bool tanh = how && how->kind == DLX_EV_STRING && !strcmp(how->u.s.text, "tanh");
    return do_unary(c, tanh ? DLX_OP_GELU_TANH : op);
}

/* A constant combined with x: op(x, number). */
static dlx_status with_number(const dlx_call *c, dlx_op op, uint32_t x, double number, uint32_t *out)
{
    uint32_t in[2] = {x};
    DLX_TRY(dlx_import_number(c->im, DLX_F32, number, 0, &in[1]));
    return dlx_call_node(c, op, in, 2, NULL, out);
}

static dlx_status do_reciprocal(const dlx_call *c, dlx_op op)
{
    uint32_t in[2];
    DLX_TRY(dlx_arg_tensor(c, 0, &in[1]));
    DLX_TRY(dlx_call_cast(c, in[1], DLX_F32, &in[1]));
    DLX_TRY(dlx_import_number(c->im, DLX_F32, 1, 0, &in[0]));
    return dlx_call_emit(c, op, in, 2, NULL);
}

static dlx_status do_power(const dlx_call *c, dlx_op op)
{
    uint32_t in[2];
    double exponent = 0;
    const dlx_evalue *e = dlx_arg(c, 1);
    bool constant = e && (e->kind == DLX_EV_INT || e->kind == DLX_EV_DOUBLE) && !c->im->slot[c->args[1]].computed;
    if (constant) DLX_TRY(dlx_arg_real(c, 1, &exponent));
    DLX_TRY(both_operands(c, in));
    if (constant && exponent == 2) return do_unary_number(c, DLX_OP_SQUARE);
    dlx_dtype type;
    DLX_TRY(result_type(c, &type));
    if (type != DLX_F32) return dlx_call_refuse(c, "powers of integers are not supported");
    DLX_TRY(in_type(c, in, 2, DLX_F32));
    return dlx_call_emit(c, op, in, 2, NULL);
}

/* Bounds of a clamp that are numbers; absent ones do not bind. */
static dlx_status do_clamp(const dlx_call *c, dlx_op op)
{
    uint32_t x, bound[2];
    dlx_dtype type;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(result_type(c, &type));
    if (!is_number(type)) return dlx_call_refuse(c, "clamps f32, i64 and i32 only");
    DLX_TRY(dlx_call_cast(c, x, type, &x));
    (void)op;
    for (uint32_t k = 0; k < 2; k++) {
        if (dlx_arg_is_null(c, k + 1)) continue;
        DLX_TRY(operand(c, k + 1, type, &bound[k]));
        uint32_t in[2] = {x, bound[k]};
        DLX_TRY(dlx_call_cast(c, in[1], type, &in[1]));
        DLX_TRY(dlx_call_node(c, k ? DLX_OP_MIN : DLX_OP_MAX, in, 2, NULL, &x));
    }
    return dlx_call_result(c, x);
}

static dlx_status do_relu(const dlx_call *c, dlx_op op)
{
    uint32_t in[2];
    DLX_TRY(dlx_arg_tensor(c, 0, &in[0]));
    dlx_dtype type = dlx_call_value(c, in[0])->dtype;
    DLX_TRY(dlx_import_number(c->im, type, 0, 0, &in[1]));
    return dlx_call_emit(c, op, in, 2, NULL);
}

/* x > 0 ? x : slope * x */
static dlx_status do_leaky_relu(const dlx_call *c, dlx_op op)
{
    uint32_t in[3], zero;
    double slope;
    DLX_TRY(dlx_arg_tensor(c, 0, &in[1]));
    DLX_TRY(dlx_arg_real(c, 1, &slope));
    DLX_TRY(dlx_import_number(c->im, DLX_F32, 0, 0, &zero));
    DLX_TRY(compare(c, DLX_OP_LESS, zero, in[1], &in[0]));
    DLX_TRY(with_number(c, DLX_OP_MUL, in[1], slope, &in[2]));
    return dlx_call_emit(c, op, in, 3, NULL);
}

/* x > 0 ? scale * x : scale * alpha * (exp(x * input_scale) - 1) */
static dlx_status do_elu(const dlx_call *c, dlx_op op)
{
    uint32_t x, in[3], zero;
    double factor[3];
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    for (uint32_t k = 0; k < 3; k++) DLX_TRY(dlx_arg_real(c, k + 1, &factor[k]));
    DLX_TRY(dlx_import_number(c->im, DLX_F32, 0, 0, &zero));
    DLX_TRY(compare(c, DLX_OP_LESS, zero, x, &in[0]));
    DLX_TRY(with_number(c, DLX_OP_MUL, x, factor[1], &in[1]));
    DLX_TRY(with_number(c, DLX_OP_MUL, x, factor[2], &in[2]));
    DLX_TRY(dlx_call_node(c, DLX_OP_EXPM1, &in[2], 1, NULL, &in[2]));
    DLX_TRY(with_number(c, DLX_OP_MUL, in[2], factor[0] * factor[1], &in[2]));
    return dlx_call_emit(c, op, in, 3, NULL);
}

/* ---- reductions ---- */

/* Dimensions of argument i: an integer, a list, or Null and an empty list for all of them. */
static dlx_status axes_of(const dlx_call *c, uint32_t i, int rank, unsigned *axes)
{
    dlx_import_size size[DLX_MAX_RANK];
    uint8_t n = 0;
    int axis;
    *axes = 0;
    const dlx_evalue *v = dlx_arg(c, i);
    if (v && v->kind == DLX_EV_INT && rank > 0) {
        DLX_TRY(dlx_arg_axis(c, i, rank, &axis));
        *axes = 1u << axis;
        return DLX_OK;
    }
    if (!dlx_arg_is_null(c, i)) DLX_TRY(dlx_arg_sizes(c, i, size, &n));
    for (int k = 0; k < n; k++) {
        int64_t d = size[k].number < 0 ? size[k].number + rank : size[k].number;
        if (size[k].value != DLX_NONE || d < 0 || d >= rank)
            return dlx_call_refuse(c, "a dimension lies outside the rank");
        *axes |= 1u << d;
    }
    if (!n) *axes = (1u << rank) - 1;
    return DLX_OK;
}

/* Puts the reduced dimensions behind the others and makes them one; *kept are the others. */
static dlx_status gather_axes(const dlx_call *c, uint32_t *x, unsigned axes)
{
    dlx_attr perm = {.rank = dlx_call_value(c, *x)->rank};
    dlx_import_size size[DLX_MAX_RANK];
    int64_t bound[DLX_MAX_RANK];
    int kept = 0;
    bool moved = false;
    for (int pass = 0, at = 0; pass < 2; pass++)
        for (int d = 0; d < perm.rank; d++)
            if ((int)(axes >> d & 1) == pass) {
                moved = moved || at != d;
                perm.shape[at++] = d;
            }
    uint32_t from = *x;
    if (moved) DLX_TRY(dlx_call_node(c, DLX_OP_TRANSPOSE, x, 1, &perm, x));
    for (int d = 0; d < perm.rank; d++) {
        if (axes >> d & 1) continue;
        bound[kept] = dlx_call_value(c, from)->dim[d];
        DLX_TRY(dlx_call_dim(c, from, d, &size[kept++]));
    }
    size[kept] = (dlx_import_size){.number = 1, .value = DLX_NONE};
    bound[kept] = 1;
    for (int d = 0; d < perm.rank; d++) {
        dlx_import_size one;
        if (!(axes >> d & 1)) continue;
        DLX_TRY(dlx_call_dim(c, from, d, &one));
        bound[kept] *= dlx_call_value(c, from)->dim[d];
        if (size[kept].value == DLX_NONE && one.value == DLX_NONE) {
            size[kept].number *= one.number;
            continue;
        }
        uint32_t in[2];
        DLX_TRY(dlx_size_value(c, size[kept], &in[0]));
        DLX_TRY(dlx_size_value(c, one, &in[1]));
        DLX_TRY(dlx_call_node(c, DLX_OP_MUL, in, 2, NULL, &size[kept].value));
    }
    return dlx_call_reshape(c, *x, size, bound, kept + 1, x);
}

/* The shape of x with 1 for reduced dimensions. */
static dlx_status restore_axes(const dlx_call *c, uint32_t x, unsigned axes, uint32_t *out)
{
    dlx_import_size size[DLX_MAX_RANK];
    int64_t bound[DLX_MAX_RANK];
    int rank = dlx_call_value(c, x)->rank;
    for (int d = 0; d < rank; d++) {
        size[d] = (dlx_import_size){.number = 1, .value = DLX_NONE};
        bound[d] = 1;
        if (axes >> d & 1) continue;
        bound[d] = dlx_call_value(c, x)->dim[d];
        DLX_TRY(dlx_call_dim(c, x, d, &size[d]));
    }
    return dlx_call_reshape(c, *out, size, bound, rank, out);
}

static dlx_status reduce(const dlx_call *c, dlx_op op, uint32_t x, unsigned axes, bool keep, float f, uint32_t *out)
{
    int rank = dlx_call_value(c, x)->rank;
    if (rank == 0) return dlx_call_node(c, DLX_OP_COPY, &x, 1, NULL, out);
    bool single = (axes & (axes - 1)) == 0 && axes != 0;
    dlx_attr attr = {.f = {f, 0}, .keep = keep && single};
    *out = x;
    if (single) {
        while (!(axes >> attr.axis & 1)) attr.axis++;
    } else {
        DLX_TRY(gather_axes(c, out, axes));
        attr.axis = dlx_call_value(c, *out)->rank - 1;
    }
    DLX_TRY(dlx_call_node(c, op, out, 1, &attr, out));
    return keep && !single ? restore_axes(c, x, axes, out) : DLX_OK;
}

/* (x, dims, keepdim, ...): in F32, or in the integer type of the result. */
static dlx_status do_reduce(const dlx_call *c, dlx_op op)
{
    uint32_t x, out;
    unsigned axes;
    bool keep;
    dlx_dtype type;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(axes_of(c, 1, dlx_call_value(c, x)->rank, &axes));
    DLX_TRY(dlx_arg_bool(c, 2, &keep));
    DLX_TRY(result_type(c, &type));
    DLX_TRY(dlx_call_cast(c, x, is_number(type) ? type : DLX_I32, &x));
    DLX_TRY(reduce(c, op, x, axes, keep, 0, &out));
    return dlx_call_result_cast(c, out);
}

static dlx_status do_truth(const dlx_call *c, dlx_op op)
{
    uint32_t x, out;
    unsigned axes = 0;
    bool keep = false;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(truth(c, &x));
    if (c->n_args > 3) {
        DLX_TRY(axes_of(c, 1, dlx_call_value(c, x)->rank, &axes));
        DLX_TRY(dlx_arg_bool(c, 2, &keep));
    } else {
        axes = (1u << dlx_call_value(c, x)->rank) - 1;
    }
    DLX_TRY(reduce(c, op, x, axes, keep, 0, &out));
    return dlx_call_result_cast(c, out);
}

/* Over everything: (x, out, out), or with a type in between. */
static dlx_status do_reduce_all(const dlx_call *c, dlx_op op)
{
    uint32_t x, out;
    dlx_dtype type;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(result_type(c, &type));
    DLX_TRY(dlx_call_cast(c, x, is_number(type) ? type : DLX_I32, &x));
    DLX_TRY(reduce(c, op, x, (1u << dlx_call_value(c, x)->rank) - 1, false, 0, &out));
    return dlx_call_result_cast(c, out);
}

static dlx_status do_variance(const dlx_call *c, dlx_op op)
{
    uint32_t x, out;
    unsigned axes;
    double correction = 1;
    bool keep;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(axes_of(c, 1, dlx_call_value(c, x)->rank, &axes));
    if (!dlx_arg_is_null(c, 2)) DLX_TRY(dlx_arg_real(c, 2, &correction));
    DLX_TRY(dlx_arg_bool(c, 3, &keep));
    DLX_TRY(reduce(c, op, x, axes, keep, (float)correction, &out));
    return dlx_call_result(c, out);
}

/* (x, dim or Null, keepdim) -> places */
static dlx_status do_arg(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    int axis = 0;
    bool keep = false;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    dlx_dtype type = dlx_call_value(c, x)->dtype;
    DLX_TRY(dlx_call_cast(c, x, is_number(type) ? type : DLX_I32, &x));
    if (dlx_arg_is_null(c, 1)) {
        DLX_TRY(dlx_call_node(c, DLX_OP_RESHAPE, &x, 1, &(dlx_attr){.rank = 1, .shape = {-1}}, &x));
    } else {
        DLX_TRY(dlx_arg_axis(c, 1, dlx_call_value(c, x)->rank, &axis));
        DLX_TRY(dlx_arg_bool(c, 2, &keep));
    }
    return dlx_call_emit(c, op, &x, 1, &(dlx_attr){.axis = axis, .keep = keep});
}

/* max.dim: (x, dim, keepdim, values, places, list): both results. */
static dlx_status do_extreme(const dlx_call *c, dlx_op op)
{
    uint32_t x, out;
    int axis;
    bool keep;
    if (c->n_args < 5) return dlx_call_refuse(c, "too few arguments");
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_axis(c, 1, dlx_call_value(c, x)->rank, &axis));
    DLX_TRY(dlx_arg_bool(c, 2, &keep));
    dlx_attr attr = {.axis = axis, .keep = keep};
    DLX_TRY(dlx_call_node(c, op, &x, 1, &attr, &out));
    DLX_TRY(dlx_import_write(c->im, c->args[3], out, DLX_WRITE_RESULT));
    DLX_TRY(dlx_call_node(c, op == DLX_OP_AMAX ? DLX_OP_ARGMAX : DLX_OP_ARGMIN, &x, 1, &attr, &out));
    return dlx_import_write(c->im, c->args[4], out, DLX_WRITE_RESULT);
}

static dlx_status do_cumsum(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    int axis;
    dlx_dtype type;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_axis(c, 1, dlx_call_value(c, x)->rank, &axis));
    DLX_TRY(result_type(c, &type));
    DLX_TRY(dlx_call_cast(c, x, type, &x));
    return dlx_call_emit(c, op, &x, 1, &(dlx_attr){.axis = axis});
}

/* Softmax works on the last dimension; another one is turned there and back. */
static dlx_status do_softmax(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    int axis;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    int rank = dlx_call_value(c, x)->rank;
    DLX_TRY(dlx_arg_axis(c, 1, rank, &axis));
    if (axis == rank - 1) return dlx_call_emit(c, op, &x, 1, NULL);
    dlx_attr swap = {.rank = (uint8_t)rank};
    for (int i = 0; i < rank; i++) swap.shape[i] = i;
    swap.shape[axis] = rank - 1;
    swap.shape[rank - 1] = axis;
    DLX_TRY(dlx_call_node(c, DLX_OP_TRANSPOSE, &x, 1, &swap, &x));
    DLX_TRY(dlx_call_node(c, op, &x, 1, NULL, &x));
    return dlx_call_emit(c, DLX_OP_TRANSPOSE, &x, 1, &swap);
}

/* (x, shape, weight, bias, eps, out, mean, rstd, list); the last two results only train networks. */
static dlx_status do_layer_norm(const dlx_call *c, dlx_op op)
{
    uint32_t in[3];
    dlx_import_size size[DLX_MAX_RANK];
    uint8_t n;
    double eps;
    if (c->n_args < 8) return dlx_call_refuse(c, "too few arguments");
    DLX_TRY(dlx_arg_tensor(c, 0, &in[0]));
    DLX_TRY(dlx_arg_sizes(c, 1, size, &n));
    DLX_TRY(dlx_arg_tensor_or_none(c, 2, &in[1]));
    DLX_TRY(dlx_arg_tensor_or_none(c, 3, &in[2]));
    DLX_TRY(dlx_arg_real(c, 4, &eps));
    if (n != 1) return dlx_call_refuse(c, "only the last dimension is supported");
    DLX_TRY(dlx_call_node(c, op, in, 3, &(dlx_attr){.f = {(float)eps, 0}}, &in[0]));
    return dlx_import_write(c->im, c->args[5], in[0], DLX_WRITE_RESULT);
}

/* ---- products ---- */

/* The weights [n,k] of a linear layer whose transpose `turned` is; DLX_NONE: it is no transposed constant. */
static uint32_t weights_behind(const dlx_call *c, uint32_t turned)
{
    const dlx_graph *g = c->im->g;
    const dlx_node *n = dlx_made_as(g, turned, DLX_OP_TRANSPOSE);
    if (!n || n->attr.rank != 2 || n->attr.shape[0] != 1) return DLX_NONE;
    const dlx_value *w = &g->values[n->in[0]];
    return w->kind == DLX_VALUE_CONST && w->dtype == DLX_F32 ? n->in[0] : DLX_NONE;
}

static dlx_status do_bmm(const dlx_call *c, dlx_op op)
{
    uint32_t in[2];
    DLX_TRY(dlx_arg_tensor(c, 0, &in[0]));
    DLX_TRY(dlx_arg_tensor(c, 1, &in[1]));
    uint32_t w = weights_behind(c, in[1]);
    if (w != DLX_NONE) in[1] = w;
    return dlx_call_emit(c, w == DLX_NONE ? op : DLX_OP_LINEAR, in, 2, NULL);
}

/* x w^T + bias; packed when weight and bias are constants. */
static dlx_status do_linear(const dlx_call *c, dlx_op op)
{
    uint32_t in[3] = {DLX_NONE, DLX_NONE, DLX_NONE};
    DLX_TRY(dlx_arg_tensor(c, 0, &in[0]));
    DLX_TRY(dlx_arg_tensor(c, 1, &in[1]));
    if (c->n_args > 4) DLX_TRY(dlx_arg_tensor_or_none(c, 2, &in[2]));
    const dlx_value *w = dlx_call_value(c, in[1]), *bias = in[2] == DLX_NONE ? NULL : dlx_call_value(c, in[2]);
    if (w->kind == DLX_VALUE_CONST && (!bias || (bias->kind == DLX_VALUE_CONST && bias->rank == 1)))
        return dlx_call_emit(c, op, in, bias ? 3 : 2, NULL);
    DLX_TRY(dlx_call_node(c, DLX_OP_BMM, in, 2, &(dlx_attr){.transpose_b = true}, &in[0]));
    if (in[2] == DLX_NONE) return dlx_call_result(c, in[0]);
    uint32_t sum[2] = {in[0], in[2]};
    return dlx_call_emit(c, DLX_OP_ADD, sum, 2, NULL);
}

/* beta * self + alpha * a b */
static dlx_status do_addmm(const dlx_call *c, dlx_op op)
{
    uint32_t in[3], sum[2];
    double beta, alpha;
    for (uint32_t k = 0; k < 3; k++) DLX_TRY(dlx_arg_tensor(c, k, &in[k]));
    DLX_TRY(dlx_arg_real(c, 3, &beta));
    DLX_TRY(dlx_arg_real(c, 4, &alpha));
    uint32_t w = weights_behind(c, in[2]);
    const dlx_value *bias = dlx_call_value(c, in[0]);
    if (w != DLX_NONE && beta == 1 && alpha == 1 && bias->kind == DLX_VALUE_CONST && bias->rank == 1 &&
        bias->dim[0] == dlx_call_value(c, w)->dim[0]) {
        uint32_t linear[3] = {in[1], w, in[0]};
        return dlx_call_emit(c, DLX_OP_LINEAR, linear, 3, NULL);
    }
    DLX_TRY(dlx_call_node(c, op, in + 1, 2, NULL, &sum[0]));
    if (alpha != 1) DLX_TRY(with_number(c, DLX_OP_MUL, sum[0], alpha, &sum[0]));
    sum[1] = in[0];
    if (beta != 1) DLX_TRY(with_number(c, DLX_OP_MUL, sum[1], beta, &sum[1]));
    return dlx_call_emit(c, DLX_OP_ADD, sum, 2, NULL);
}

const dlx_kernel_import dlx_import_math[] = {
    {"aten::linear.out", do_linear, DLX_OP_LINEAR},
    {"aten::add.out", do_scaled, DLX_OP_ADD},
    {"aten::add.Scalar_out", do_scaled, DLX_OP_ADD},
    {"aten::sub.out", do_scaled, DLX_OP_SUB},
    {"aten::sub.Scalar_out", do_scaled, DLX_OP_SUB},
    {"aten::rsub.Scalar_out", do_reversed, DLX_OP_SUB},
    {"aten::mul.out", do_binary, DLX_OP_MUL},
    {"aten::mul.Scalar_out", do_binary, DLX_OP_MUL},
    {"aten::div.out", do_binary, DLX_OP_DIV},
    {"aten::div.Scalar_out", do_binary, DLX_OP_DIV},
    {"aten::div.out_mode", do_divide_mode, DLX_OP_DIV},
    {"aten::div.Scalar_mode_out", do_divide_mode, DLX_OP_DIV},
    {"aten::floor_divide.out", do_binary, DLX_OP_FLOORDIV},
    {"aten::remainder.Scalar_out", do_binary, DLX_OP_MODULO},
    {"aten::remainder.Tensor_out", do_binary, DLX_OP_MODULO},
    {"aten::fmod.Scalar_out", do_binary, DLX_OP_REMAINDER},
    {"aten::fmod.Tensor_out", do_binary, DLX_OP_REMAINDER},
    {"aten::maximum.out", do_binary, DLX_OP_MAX},
    {"aten::minimum.out", do_binary, DLX_OP_MIN},
    {"aten::pow.Tensor_Scalar_out", do_power, DLX_OP_POW},
    {"aten::pow.Tensor_Tensor_out", do_power, DLX_OP_POW},
    {"aten::pow.Scalar_out", do_power, DLX_OP_POW},
    {"aten::eq.Scalar_out", do_compare, DLX_OP_EQUAL},
    {"aten::eq.Tensor_out", do_compare, DLX_OP_EQUAL},
    {"aten::ne.Scalar_out", do_not_equal, DLX_OP_EQUAL},
    {"aten::ne.Tensor_out", do_not_equal, DLX_OP_EQUAL},
    {"aten::lt.Scalar_out", do_compare, DLX_OP_LESS},
    {"aten::lt.Tensor_out", do_compare, DLX_OP_LESS},
    {"aten::le.Scalar_out", do_compare, DLX_OP_LESS_EQUAL},
    {"aten::le.Tensor_out", do_compare, DLX_OP_LESS_EQUAL},
    {"aten::gt.Scalar_out", do_compare_turned, DLX_OP_LESS},
    {"aten::gt.Tensor_out", do_compare_turned, DLX_OP_LESS},
    {"aten::ge.Scalar_out", do_compare_turned, DLX_OP_LESS_EQUAL},
    {"aten::ge.Tensor_out", do_compare_turned, DLX_OP_LESS_EQUAL},
    {"aten::logical_and.out", do_logical, DLX_OP_AND},
    {"aten::logical_or.out", do_logical, DLX_OP_OR},
    {"aten::logical_xor.out", do_logical, DLX_OP_XOR},
    {"aten::logical_not.out", do_logical, DLX_OP_NOT},
    {"aten::bitwise_and.Scalar_out", do_bits, DLX_OP_AND},
    {"aten::bitwise_and.Tensor_out", do_bits, DLX_OP_AND},
    {"aten::bitwise_or.Scalar_out", do_bits, DLX_OP_OR},
    {"aten::bitwise_or.Tensor_out", do_bits, DLX_OP_OR},
    {"aten::bitwise_xor.Scalar_out", do_bits, DLX_OP_XOR},
    {"aten::bitwise_xor.Tensor_out", do_bits, DLX_OP_XOR},
    {"aten::bitwise_not.out", do_bits, DLX_OP_NOT},
    {"aten::where.self_out", do_where, DLX_OP_WHERE},
    {"aten::masked_fill.Scalar_out", do_masked_fill, DLX_OP_WHERE},
    {"aten::neg.out", do_unary_number, DLX_OP_NEG},
    {"aten::abs.out", do_unary_number, DLX_OP_ABS},
    {"aten::sign.out", do_unary_number, DLX_OP_SIGN},
    {"aten::sqrt.out", do_unary, DLX_OP_SQRT},
    {"aten::rsqrt.out", do_unary, DLX_OP_RSQRT},
    {"aten::exp.out", do_unary, DLX_OP_EXP},
    {"aten::expm1.out", do_unary, DLX_OP_EXPM1},
    {"aten::log.out", do_unary, DLX_OP_LOG},
    {"aten::log1p.out", do_unary, DLX_OP_LOG1P},
    {"aten::sin.out", do_unary, DLX_OP_SIN},
    {"aten::cos.out", do_unary, DLX_OP_COS},
    {"aten::tanh.out", do_unary, DLX_OP_TANH},
    {"aten::erf.out", do_unary, DLX_OP_ERF},
    {"aten::sigmoid.out", do_unary, DLX_OP_SIGMOID},
    {"aten::gelu.out", do_gelu, DLX_OP_GELU},
    {"aten::floor.out", do_round, DLX_OP_FLOOR},
    {"aten::ceil.out", do_round, DLX_OP_CEIL},
    {"aten::round.out", do_round, DLX_OP_ROUND},
    {"aten::trunc.out", do_round, DLX_OP_TRUNC},
    {"aten::reciprocal.out", do_reciprocal, DLX_OP_DIV},
    {"aten::clamp.out", do_clamp, DLX_OP_CLAMP},
    {"aten::clamp.Tensor_out", do_clamp, DLX_OP_CLAMP},
    {"aten::hardtanh.out", do_clamp, DLX_OP_CLAMP},
    {"aten::relu.out", do_relu, DLX_OP_MAX},
    {"aten::leaky_relu.out", do_leaky_relu, DLX_OP_WHERE},
    {"aten::elu.out", do_elu, DLX_OP_WHERE},
    {"aten::mean.out", do_reduce, DLX_OP_MEAN},
    {"aten::mean.dtype_out", do_reduce_all, DLX_OP_MEAN},
    {"aten::sum.IntList_out", do_reduce, DLX_OP_SUM},
    {"aten::prod.int_out", do_reduce, DLX_OP_PROD},
    {"aten::prod.out", do_reduce_all, DLX_OP_PROD},
    {"aten::amax.out", do_reduce, DLX_OP_AMAX},
    {"aten::amin.out", do_reduce, DLX_OP_AMIN},
    {"aten::max.unary_out", do_reduce_all, DLX_OP_AMAX},
    {"aten::min.unary_out", do_reduce_all, DLX_OP_AMIN},
    {"aten::max.dim_max", do_extreme, DLX_OP_AMAX},
    {"aten::min.dim_min", do_extreme, DLX_OP_AMIN},
    {"aten::any.out", do_truth, DLX_OP_ANY},
    {"aten::any.dims_out", do_truth, DLX_OP_ANY},
    {"aten::any.all_out", do_truth, DLX_OP_ANY},
    {"aten::argmax.out", do_arg, DLX_OP_ARGMAX},
    {"aten::argmin.out", do_arg, DLX_OP_ARGMIN},
    {"aten::var.correction_out", do_variance, DLX_OP_VARIANCE},
    {"aten::cumsum.out", do_cumsum, DLX_OP_CUMSUM},
    {"aten::_softmax.out", do_softmax, DLX_OP_SOFTMAX},
    {"aten::_log_softmax.out", do_softmax, DLX_OP_LOG_SOFTMAX},
    {"aten::native_layer_norm.out", do_layer_norm, DLX_OP_LAYER_NORM},
    {"aten::bmm.out", do_bmm, DLX_OP_BMM},
    {"aten::mm.out", do_bmm, DLX_OP_BMM},
    {"aten::addmm.out", do_addmm, DLX_OP_BMM},
    {.name = NULL},
};
