/* Operators of MIL over float16 values, and the shapes that they give. */
#include <string.h>

#include "backends/coreml/mil.h"
#include "base/sizes.h"

#define OP(m, op, out, type, ...)                                                                                      \
    dlx_mil_op(m, op, out, type, (const dlx_mil_arg[]){__VA_ARGS__},                                                   \
               (int)(sizeof((const dlx_mil_arg[]){__VA_ARGS__}) / sizeof(dlx_mil_arg)))

dlx_mil_value dlx_mil_cast(dlx_mil *m, dlx_mil_value x, dlx_mil_dtype to, const char *out)
{
    dlx_mil_type type = x.type;
    type.dtype = to;
    return OP(m, "cast", out, type, {"x", x.name}, {"dtype", dlx_mil_string(m, to == DLX_MIL_F16 ? "fp16" : "fp32")});
}

dlx_mil_value dlx_mil_unary(dlx_mil *m, const char *op, dlx_mil_value x, const char *out)
{
    return OP(m, op, out, x.type, {"x", x.name});
}

/* Size of dimension d, counted from the end, or 1. */
static int64_t from_end(const dlx_mil_type *t, int d)
{
    return d < t->rank ? t->dim[t->rank - 1 - d] : 1;
}

/* The shape that both are broadcast to, but for the last `fixed` dimensions. */
static dlx_mil_type broadcast(const dlx_mil_type *a, const dlx_mil_type *b, int fixed)
{
    dlx_mil_type t = *a;
    t.rank = a->rank > b->rank ? a->rank : b->rank;
    for (int d = fixed; d < t.rank; d++) {
        int64_t x = from_end(a, d), y = from_end(b, d);
        t.dim[t.rank - 1 - d] = x == 1 ? y : x;
    }
    return t;
}

dlx_mil_value dlx_mil_binary(dlx_mil *m, const char *op, dlx_mil_value x, dlx_mil_value y)
{
    return OP(m, op, NULL, broadcast(&x.type, &y.type, 0), {"x", x.name}, {"y", y.name});
}

dlx_mil_value dlx_mil_scale(dlx_mil *m, dlx_mil_value x, float by)
{
    return OP(m, "mul", NULL, x.type, {"x", x.name}, {"y", dlx_mil_half(m, by)});
}

dlx_mil_value dlx_mil_matmul(dlx_mil *m, dlx_mil_value x, dlx_mil_value y, bool transpose_y)
{
    dlx_mil_type t = broadcast(&x.type, &y.type, 2);
    t.dim[t.rank - 2] = from_end(&x.type, 1);
    t.dim[t.rank - 1] = from_end(&y.type, transpose_y ? 1 : 0);
    return OP(m, "matmul", NULL, t, {"x", x.name}, {"y", y.name}, {"transpose_x", dlx_mil_bool(m, false)},
              {"transpose_y", dlx_mil_bool(m, transpose_y)});
}

dlx_mil_value dlx_mil_reshape(dlx_mil *m, dlx_mil_value x, int rank, const int64_t *dim)
{
    dlx_mil_type t = {.dtype = x.type.dtype, .rank = rank};
    bool same = rank == x.type.rank;
    for (int i = 0; i < rank; i++) {
        t.dim[i] = dim[i];
        same = same && dim[i] == x.type.dim[i];
    }
    if (same) return x;
    return OP(m, "reshape", NULL, t, {"x", x.name}, {"shape", dlx_mil_ints(m, dim, rank)});
}

dlx_mil_value dlx_mil_transpose(dlx_mil *m, dlx_mil_value x, const int64_t *perm)
{
    dlx_mil_type t = x.type;
    for (int i = 0; i < t.rank; i++) t.dim[i] = x.type.dim[perm[i]];
    return OP(m, "transpose", NULL, t, {"x", x.name}, {"perm", dlx_mil_ints(m, perm, t.rank)});
}

dlx_mil_value dlx_mil_concat(dlx_mil *m, const dlx_mil_value *x, int n, int axis)
{
    dlx_mil_type t = x[0].type;
    dlx_mil_arg *args = dlx_arena_array(m->arena, (size_t)n + 2, sizeof *args);
    if (!args) {
        m->failed = true;
        return (dlx_mil_value){NULL, t};
    }
    for (int i = 0; i < n; i++) {
        args[i] = (dlx_mil_arg){"values", x[i].name};
        if (i) t.dim[axis] += x[i].type.dim[axis];
    }
    args[n] = (dlx_mil_arg){"axis", dlx_mil_int(m, axis)};
    args[n + 1] = (dlx_mil_arg){"interleave", dlx_mil_bool(m, false)};
    return dlx_mil_op(m, "concat", NULL, t, args, n + 2);
}

dlx_mil_value dlx_mil_slice(dlx_mil *m, dlx_mil_value x, const int64_t *begin, const int64_t *size)
{
    dlx_mil_type t = x.type;
    int64_t end[DLX_MIL_MAX_RANK];
    for (int i = 0; i < t.rank; i++) {
        end[i] = begin[i] + size[i];
        t.dim[i] = size[i];
    }
    return OP(m, "slice_by_index", NULL, t, {"x", x.name}, {"begin", dlx_mil_ints(m, begin, t.rank)},
              {"end", dlx_mil_ints(m, end, t.rank)});
}

dlx_mil_value dlx_mil_tile(dlx_mil *m, dlx_mil_value x, const int64_t *times)
{
    dlx_mil_type t = x.type;
    for (int i = 0; i < t.rank; i++) t.dim[i] *= times[i];
    return OP(m, "tile", NULL, t, {"x", x.name}, {"reps", dlx_mil_ints(m, times, t.rank)});
}

dlx_mil_value dlx_mil_softmax(dlx_mil *m, dlx_mil_value x)
{
    return OP(m, "softmax", NULL, x.type, {"x", x.name}, {"axis", dlx_mil_int(m, -1)});
}

dlx_mil_value dlx_mil_reduce(dlx_mil *m, const char *op, dlx_mil_value x, int axis, bool keep)
{
    dlx_mil_type t = x.type;
    int64_t axes[1] = {axis};
    t.dim[axis] = 1;
    if (!keep) {
        memmove(t.dim + axis, t.dim + axis + 1, (size_t)(t.rank - axis - 1) * sizeof *t.dim);
        t.rank--;
    }
    return OP(m, op, NULL, t, {"x", x.name}, {"axes", dlx_mil_ints(m, axes, 1)}, {"keep_dims", dlx_mil_bool(m, keep)});
}

dlx_mil_value dlx_mil_layer_norm(dlx_mil *m, dlx_mil_value x, float eps)
{
    const int64_t last[1] = {-1};
    return OP(m, "layer_norm", NULL, x.type, {"x", x.name}, {"axes", dlx_mil_ints(m, last, 1)},
              {"epsilon", dlx_mil_half(m, eps)});
}

dlx_mil_value dlx_mil_linear(dlx_mil *m, dlx_mil_value x, dlx_mil_value w, dlx_mil_value bias)
{
    dlx_mil_type t = x.type;
    t.dim[t.rank - 1] = w.type.dim[0];
    return OP(m, "linear", NULL, t, {"x", x.name}, {"weight", w.name}, {"bias", bias.name});
}
