/* Numbers of the program: sizes of tensors, positions read out of tensors, and ExecuTorch's arithmetic on them. What is
 * known while the program is read is computed here; the rest becomes nodes on I64 values of rank 0. */
#include <string.h>

#include "runtime/import_call.h"

static int32_t result_slot(const dlx_call *c)
{
    return c->args[c->n_args - 1];
}

static dlx_status known(const dlx_call *c, int64_t number)
{
    const dlx_evalue *v = &c->im->plan->values[result_slot(c)];
    if (v->kind != DLX_EV_INT && v->kind != DLX_EV_BOOL) return dlx_call_refuse(c, "its result must be an integer");
    c->im->slot[result_slot(c)].computed = c->im->slot[result_slot(c)].known = true;
    c->im->slot[result_slot(c)].number = v->kind == DLX_EV_BOOL ? number != 0 : number;
    return DLX_OK;
}

static dlx_status computed(const dlx_call *c, uint32_t value)
{
    const dlx_evalue *v = &c->im->plan->values[result_slot(c)];
    dlx_import_slot *slot = &c->im->slot[result_slot(c)];
    if (v->kind != DLX_EV_INT && v->kind != DLX_EV_BOOL && v->kind != DLX_EV_DOUBLE)
        return dlx_call_refuse(c, "its result must be a number");
    slot->computed = true;
    slot->known = false;
    slot->value = value;
    return DLX_OK;
}

static dlx_status do_size(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    int axis;
    dlx_import_size size;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_axis(c, 1, dlx_call_value(c, x)->rank, &axis));
    DLX_TRY(dlx_call_dim(c, x, axis, &size));
    return size.value == DLX_NONE ? known(c, size.number) : computed(c, size.value);
}

static dlx_status do_numel(const dlx_call *c, dlx_op op)
{
    uint32_t x, product = DLX_NONE, factor;
    dlx_import_size size;
    int64_t number = 1;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    for (int d = 0; d < dlx_call_value(c, x)->rank; d++) {
        DLX_TRY(dlx_call_dim(c, x, d, &size));
        if (size.value == DLX_NONE) {
            if (__builtin_mul_overflow(number, size.number, &number)) return dlx_call_refuse(c, "too many elements");
            continue;
        }
        uint32_t in[2] = {product, size.value};
        if (product == DLX_NONE)
            product = size.value;
        else
            DLX_TRY(dlx_call_node(c, DLX_OP_MUL, in, 2, NULL, &product));
    }
    if (product == DLX_NONE) return known(c, number);
    DLX_TRY(dlx_import_number(c->im, DLX_I64, 0, number, &factor));
    uint32_t in[2] = {product, factor};
    DLX_TRY(dlx_call_node(c, DLX_OP_MUL, in, 2, NULL, &product));
    return computed(c, product);
}

/* The single element of a tensor. */
static dlx_status do_item(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    const dlx_value *v = dlx_call_value(c, x);
    if (v->dtype == DLX_F32) {
        if (c->im->plan->values[result_slot(c)].kind != DLX_EV_DOUBLE)
            return dlx_call_refuse(c, "its result must be a Double");
    } else {
        DLX_TRY(dlx_call_cast(c, x, DLX_I64, &x));
    }
    DLX_TRY(dlx_call_node(c, DLX_OP_RESHAPE, &x, 1, &(dlx_attr){.rank = 0}, &x));
    return computed(c, x);
}

static bool fold(dlx_op op, int64_t a, int64_t b, int64_t *out)
{
    switch (op) {
    case DLX_OP_ADD: return !__builtin_add_overflow(a, b, out);
    case DLX_OP_SUB: return !__builtin_sub_overflow(a, b, out);
    case DLX_OP_MUL: return !__builtin_mul_overflow(a, b, out);
    case DLX_OP_MIN: *out = a < b ? a : b; return true;
    case DLX_OP_MAX: *out = a > b ? a : b; return true;
    case DLX_OP_EQUAL: *out = a == b; return true;
    case DLX_OP_LESS: *out = a < b; return true;
    case DLX_OP_LESS_EQUAL: *out = a <= b; return true;
    default: break;
    }
    if (b == 0 || (b == -1 && a == INT64_MIN)) return false;
    int64_t r = a % b;
    bool below = r != 0 && (r < 0) != (b < 0);
    *out = op == DLX_OP_MODULO ? (below ? r + b : r) : a / b - below; /* else FLOORDIV */
    return true;
}

static dlx_status binary(const dlx_call *c, dlx_op op, dlx_import_size a, dlx_import_size b)
{
    uint32_t in[2], out;
    int64_t number;
    if (a.value == DLX_NONE && b.value == DLX_NONE)
        return fold(op, a.number, b.number, &number) ? known(c, number) : dlx_call_refuse(c, "its result overflows");
    DLX_TRY(dlx_size_value(c, a, &in[0]));
    DLX_TRY(dlx_size_value(c, b, &in[1]));
    for (int k = 0; k < 2; k++) DLX_TRY(dlx_call_cast(c, in[k], DLX_I64, &in[k]));
    DLX_TRY(dlx_call_node(c, op, in, 2, NULL, &out));
    return computed(c, out);
}

static dlx_status do_binary(const dlx_call *c, dlx_op op)
{
    dlx_import_size a, b;
    DLX_TRY(dlx_arg_size(c, 0, &a));
    DLX_TRY(dlx_arg_size(c, 1, &b));
    return binary(c, op, a, b);
}

/* a >= b is b <= a. */
static dlx_status do_turned(const dlx_call *c, dlx_op op)
{
    dlx_import_size a, b;
    DLX_TRY(dlx_arg_size(c, 0, &a));
    DLX_TRY(dlx_arg_size(c, 1, &b));
    return binary(c, op, b, a);
}

static dlx_status do_negate(const dlx_call *c, dlx_op op)
{
    dlx_import_size a;
    DLX_TRY(dlx_arg_size(c, 0, &a));
    return binary(c, op, (dlx_import_size){.number = 0, .value = DLX_NONE}, a);
}

static dlx_status do_not(const dlx_call *c, dlx_op op)
{
    dlx_import_size a;
    DLX_TRY(dlx_arg_size(c, 0, &a));
    return binary(c, op, a, (dlx_import_size){.number = 0, .value = DLX_NONE});
}

/* condition ? a : b */
static dlx_status do_choose(const dlx_call *c, dlx_op op)
{
    dlx_import_size s[3];
    uint32_t in[3], out;
    for (uint32_t k = 0; k < 3; k++) DLX_TRY(dlx_arg_size(c, k, &s[k]));
    if (s[0].value == DLX_NONE) {
        dlx_import_size chosen = s[0].number ? s[1] : s[2];
        return chosen.value == DLX_NONE ? known(c, chosen.number) : computed(c, chosen.value);
    }
    for (int k = 0; k < 3; k++) {
        DLX_TRY(dlx_size_value(c, s[k], &in[k]));
        DLX_TRY(dlx_call_cast(c, in[k], k ? DLX_I64 : DLX_BOOL, &in[k]));
    }
    DLX_TRY(dlx_call_node(c, op, in, 3, NULL, &out));
    return computed(c, out);
}

const dlx_kernel_import dlx_import_scalars[] = {
    {"aten::sym_size.int", do_size, DLX_OP_SIZE},
    {"aten::sym_numel", do_numel, DLX_OP_SIZE},
    {"aten::_local_scalar_dense", do_item, DLX_OP_RESHAPE},
    {"executorch_prim::add.Scalar", do_binary, DLX_OP_ADD},
    {"executorch_prim::sub.Scalar", do_binary, DLX_OP_SUB},
    {"executorch_prim::mul.Scalar", do_binary, DLX_OP_MUL},
    {"executorch_prim::floordiv.Scalar", do_binary, DLX_OP_FLOORDIV},
    {"executorch_prim::floordiv.int", do_binary, DLX_OP_FLOORDIV},
    {"executorch_prim::mod.Scalar", do_binary, DLX_OP_MODULO},
    {"executorch_prim::mod.int", do_binary, DLX_OP_MODULO},
    {"executorch_prim::sym_max.Scalar", do_binary, DLX_OP_MAX},
    {"executorch_prim::sym_min.Scalar", do_binary, DLX_OP_MIN},
    {"executorch_prim::eq.Scalar", do_binary, DLX_OP_EQUAL},
    {"executorch_prim::lt.Scalar", do_binary, DLX_OP_LESS},
    {"executorch_prim::le.Scalar", do_binary, DLX_OP_LESS_EQUAL},
    {"executorch_prim::gt.Scalar", do_turned, DLX_OP_LESS},
    {"executorch_prim::ge.Scalar", do_turned, DLX_OP_LESS_EQUAL},
    {"executorch_prim::neg.Scalar", do_negate, DLX_OP_SUB},
    {"executorch_prim::sym_not.Scalar", do_not, DLX_OP_EQUAL},
    {"executorch_prim::sym_ite.Scalar", do_choose, DLX_OP_WHERE},
    {.name = NULL},
};
