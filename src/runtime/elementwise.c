/* Element by element, with numpy's broadcasting: arithmetic on floats and integers, comparisons, bits, conversions. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "runtime/primitives.h"

/* Arithmetic of integers wraps around, as in PyTorch; in C only that of unsigned ones does. */
static int64_t wrap_add(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}
static int64_t wrap_sub(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}
static int64_t wrap_mul(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a * (uint64_t)b);
}

/* Divisors are not 0 (checked before). -1 goes through a negation: the quotient of the least number overflows. */
static int64_t trunc_div(int64_t a, int64_t b)
{
    return b == -1 ? wrap_sub(0, a) : a / b;
}
static int64_t remainder_of(int64_t a, int64_t b)
{
    return b == -1 ? 0 : a % b;
}

static int64_t modulo(int64_t a, int64_t b)
{
    int64_t r = remainder_of(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t r = remainder_of(a, b);
    return wrap_sub(trunc_div(a, b), r != 0 && (r < 0) != (b < 0));
}

static float modulo_f(float a, float b)
{
    float r = fmodf(a, b);
    return r != 0.0f && (r < 0.0f) != (b < 0.0f) ? r + b : r;
}

static float min_f(float a, float b)
{
    return a != a || a < b ? a : b != b ? b : a > b ? b : a;
}
static float max_f(float a, float b)
{
    return a != a || a > b ? a : b != b ? b : a < b ? b : a;
}

#define LOOP(type, result, expression)                                                                                 \
    for (size_t i = 0; i < n; i++) {                                                                                   \
        type a = ((const type *)x)[i * sx], b = ((const type *)z)[i * sz];                                             \
        ((result *)y)[i] = (result)(expression);                                                                       \
    }                                                                                                                  \
    break

static void binary_f32(dlx_op op, void *y, const void *x, size_t sx, const void *z, size_t sz, size_t n)
{
    switch (op) {
    case DLX_OP_ADD: LOOP(float, float, a + b);
    case DLX_OP_SUB: LOOP(float, float, a - b);
    case DLX_OP_MUL: LOOP(float, float, a *b);
    case DLX_OP_DIV: LOOP(float, float, a / b);
    case DLX_OP_MIN: LOOP(float, float, min_f(a, b));
    case DLX_OP_MAX: LOOP(float, float, max_f(a, b));
    case DLX_OP_FLOORDIV: LOOP(float, float, floorf(a / b));
    case DLX_OP_TRUNCDIV: LOOP(float, float, truncf(a / b));
    case DLX_OP_MODULO: LOOP(float, float, modulo_f(a, b));
    case DLX_OP_REMAINDER: LOOP(float, float, fmodf(a, b));
    case DLX_OP_POW: LOOP(float, float, powf(a, b));
    case DLX_OP_EQUAL: LOOP(float, uint8_t, a == b);
    case DLX_OP_LESS: LOOP(float, uint8_t, a < b);
    default: LOOP(float, uint8_t, a <= b); /* LESS_EQUAL */
    }
}

/* Both integer types; the difference is only how wide they are. */
#define BINARY_INTEGERS(name, type)                                                                                    \
    static void name(dlx_op op, void *y, const void *x, size_t sx, const void *z, size_t sz, size_t n)                 \
    {                                                                                                                  \
        switch (op) {                                                                                                  \
        case DLX_OP_ADD: LOOP(type, type, wrap_add(a, b));                                                             \
        case DLX_OP_SUB: LOOP(type, type, wrap_sub(a, b));                                                             \
        case DLX_OP_MUL: LOOP(type, type, wrap_mul(a, b));                                                             \
        case DLX_OP_MIN: LOOP(type, type, a < b ? a : b);                                                              \
        case DLX_OP_MAX: LOOP(type, type, a > b ? a : b);                                                              \
        case DLX_OP_FLOORDIV: LOOP(type, type, floor_div(a, b));                                                       \
        case DLX_OP_TRUNCDIV: LOOP(type, type, trunc_div(a, b));                                                       \
        case DLX_OP_MODULO: LOOP(type, type, modulo(a, b));                                                            \
        case DLX_OP_REMAINDER: LOOP(type, type, remainder_of(a, b));                                                   \
        case DLX_OP_AND: LOOP(type, type, a &b);                                                                       \
        case DLX_OP_OR: LOOP(type, type, a | b);                                                                       \
        case DLX_OP_XOR: LOOP(type, type, a ^ b);                                                                      \
        case DLX_OP_EQUAL: LOOP(type, uint8_t, a == b);                                                                \
        case DLX_OP_LESS: LOOP(type, uint8_t, a < b);                                                                  \
        default: LOOP(type, uint8_t, a <= b); /* LESS_EQUAL */                                                         \
        }                                                                                                              \
    }

BINARY_INTEGERS(binary_i64, int64_t)
BINARY_INTEGERS(binary_i32, int32_t)

/* BOOL, U8 and I8: bits and comparisons only. */
#define BINARY_BYTES(name, type)                                                                                       \
    static void name(dlx_op op, void *y, const void *x, size_t sx, const void *z, size_t sz, size_t n)                 \
    {                                                                                                                  \
        switch (op) {                                                                                                  \
        case DLX_OP_AND: LOOP(type, type, a &b);                                                                       \
        case DLX_OP_OR: LOOP(type, type, a | b);                                                                       \
        case DLX_OP_XOR: LOOP(type, type, a ^ b);                                                                      \
        case DLX_OP_EQUAL: LOOP(type, uint8_t, a == b);                                                                \
        case DLX_OP_LESS: LOOP(type, uint8_t, a < b);                                                                  \
        default: LOOP(type, uint8_t, a <= b); /* LESS_EQUAL */                                                         \
        }                                                                                                              \
    }

BINARY_BYTES(binary_u8, uint8_t)
BINARY_BYTES(binary_i8, int8_t)

static void run_binary(void *arg, size_t begin, size_t end, size_t thread)
{
    const dlx_loop *l = arg;
    int last = l->out.rank - 1;
    size_t n = dlx_inner(&l->out), sx = last < 0 ? 0 : l->stride[0][last], sz = last < 0 ? 0 : l->stride[1][last];
    size_t size = dlx_dtype_size(l->type), step = dlx_dtype_size(l->ex->p->g.values[l->n->out[0]].dtype);
    (void)thread;
    for (size_t r = begin; r < end; r++) {
        const char *x = (const char *)l->x[0] + dlx_outer_offset(&l->out, r, l->stride[0]) * size;
        const char *z = (const char *)l->x[1] + dlx_outer_offset(&l->out, r, l->stride[1]) * size;
        char *y = (char *)l->y + r * n * step;
        switch (l->type) {
        case DLX_F32: binary_f32(l->n->op, y, x, sx, z, sz, n); break;
        case DLX_I64: binary_i64(l->n->op, y, x, sx, z, sz, n); break;
        case DLX_I32: binary_i32(l->n->op, y, x, sx, z, sz, n); break;
        case DLX_I8: binary_i8(l->n->op, y, x, sx, z, sz, n); break;
        default: binary_u8(l->n->op, y, x, sx, z, sz, n); break;
        }
    }
}

static void run_where(void *arg, size_t begin, size_t end, size_t thread)
{
    const dlx_loop *l = arg;
    int last = l->out.rank - 1;
    size_t n = dlx_inner(&l->out), size = dlx_dtype_size(l->ex->p->g.values[l->n->out[0]].dtype), s[3];
    (void)thread;
    for (int k = 0; k < 3; k++) s[k] = last < 0 ? 0 : l->stride[k][last];
    for (size_t r = begin; r < end; r++) {
        const uint8_t *c = (const uint8_t *)l->x[0] + dlx_outer_offset(&l->out, r, l->stride[0]);
        const char *a = (const char *)l->x[1] + dlx_outer_offset(&l->out, r, l->stride[1]) * size;
        const char *b = (const char *)l->x[2] + dlx_outer_offset(&l->out, r, l->stride[2]) * size;
        char *y = (char *)l->y + r * n * size;
        for (size_t i = 0; i < n; i++)
            memcpy(y + i * size, c[i * s[0]] ? a + i * s[1] * size : b + i * s[2] * size, size);
    }
}

static float unary_f32(const dlx_node *n, float x)
{
    switch (n->op) {
    case DLX_OP_NEG: return -x;
    case DLX_OP_ABS: return fabsf(x);
    case DLX_OP_SIGN: return x > 0 ? 1.0f : x < 0 ? -1.0f : 0.0f;
    case DLX_OP_SQUARE: return x * x;
    case DLX_OP_SQRT: return sqrtf(x);
    case DLX_OP_RSQRT: return 1.0f / sqrtf(x);
    case DLX_OP_EXP: return expf(x);
    case DLX_OP_EXPM1: return expm1f(x);
    case DLX_OP_LOG: return logf(x);
    case DLX_OP_LOG1P: return log1pf(x);
    case DLX_OP_SIN: return sinf(x);
    case DLX_OP_COS: return cosf(x);
    case DLX_OP_TANH: return tanhf(x);
    case DLX_OP_ERF: return erff(x);
    case DLX_OP_SIGMOID: return 1.0f / (1.0f + expf(-x));
    case DLX_OP_GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case DLX_OP_GELU_TANH: return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case DLX_OP_FLOOR: return floorf(x);
    case DLX_OP_CEIL: return ceilf(x);
    case DLX_OP_ROUND: return rintf(x);
    case DLX_OP_TRUNC: return truncf(x);
    default: return x < n->attr.f[0] ? n->attr.f[0] : x > n->attr.f[1] ? n->attr.f[1] : x; /* CLAMP */
    }
}

static int64_t unary_integer(dlx_op op, int64_t x)
{
    switch (op) {
    case DLX_OP_NEG: return wrap_sub(0, x);
    case DLX_OP_ABS: return x < 0 ? wrap_sub(0, x) : x;
    case DLX_OP_SIGN: return (x > 0) - (x < 0);
    case DLX_OP_SQUARE: return wrap_mul(x, x);
    default: return ~x; /* NOT */
    }
}

static void run_unary(void *arg, size_t begin, size_t end, size_t thread)
{
    const dlx_loop *l = arg;
    size_t n = dlx_inner(&l->out), first = begin * n, last = end * n;
    dlx_op op = l->n->op;
    (void)thread;
    switch (l->type) {
    case DLX_F32:
        for (size_t i = first; i < last; i++) ((float *)l->y)[i] = unary_f32(l->n, ((const float *)l->x[0])[i]);
        return;
    case DLX_I64:
        for (size_t i = first; i < last; i++) ((int64_t *)l->y)[i] = unary_integer(op, ((const int64_t *)l->x[0])[i]);
        return;
    case DLX_I32:
        for (size_t i = first; i < last; i++)
            ((int32_t *)l->y)[i] = (int32_t)unary_integer(op, ((const int32_t *)l->x[0])[i]);
        return;
    default: /* NOT of BOOL */
        for (size_t i = first; i < last; i++) ((uint8_t *)l->y)[i] = !((const uint8_t *)l->x[0])[i];
    }
}

/* ---- conversions ---- */

/* The nearest number of an integer type; NaN becomes 0. */
static int64_t to_integer(float x, int64_t least, int64_t most)
{
    if (x != x) return 0;
    if ((double)x <= (double)least) return least;
    return (double)x >= (double)most ? most : (int64_t)x;
}

static void store_float(void *y, size_t i, dlx_dtype type, float x)
{
    switch (type) {
    case DLX_F32: ((float *)y)[i] = x; return;
    case DLX_I64: ((int64_t *)y)[i] = to_integer(x, INT64_MIN, INT64_MAX); return;
    case DLX_I32: ((int32_t *)y)[i] = (int32_t)to_integer(x, INT32_MIN, INT32_MAX); return;
    case DLX_BOOL: ((uint8_t *)y)[i] = x != 0.0f; return;
    case DLX_I8: ((int8_t *)y)[i] = (int8_t)to_integer(x, INT8_MIN, INT8_MAX); return;
    default: ((uint8_t *)y)[i] = (uint8_t)to_integer(x, 0, UINT8_MAX); return;
    }
}

static void store_integer(void *y, size_t i, dlx_dtype type, int64_t x)
{
    switch (type) {
    case DLX_F32: ((float *)y)[i] = (float)x; return;
    case DLX_I64: ((int64_t *)y)[i] = x; return;
    case DLX_I32: ((int32_t *)y)[i] = (int32_t)(uint32_t)(uint64_t)x; return;
    case DLX_BOOL: ((uint8_t *)y)[i] = x != 0; return;
    default: ((uint8_t *)y)[i] = (uint8_t)(uint64_t)x; return; /* I8 and U8 keep the low byte */
    }
}

static float half_at(const void *x, dlx_dtype type, size_t i)
{
    uint16_t h = ((const uint16_t *)x)[i];
    return type == DLX_F16 ? dlx_f16_to_f32(h) : dlx_bf16_to_f32(h);
}

static void run_cast(void *arg, size_t begin, size_t end, size_t thread)
{
    const dlx_loop *l = arg;
    size_t n = dlx_inner(&l->out);
    dlx_dtype to = l->n->attr.dtype;
    (void)thread;
    if (to == DLX_F16) {
        l->ex->p->k.f32_to_f16((uint16_t *)l->y + begin * n, (const float *)l->x[0] + begin * n, (end - begin) * n);
        return;
    }
    for (size_t i = begin * n; i < end * n; i++) {
        if (l->type == DLX_F32)
            store_float(l->y, i, to, ((const float *)l->x[0])[i]);
        else if (l->type == DLX_F16 || l->type == DLX_BF16)
            ((float *)l->y)[i] = half_at(l->x[0], l->type, i);
        else if (l->type == DLX_I64 || l->type == DLX_I32)
            store_integer(l->y, i, to, dlx_place(l->x[0], l->type, i));
        else
            store_integer(l->y, i, to,
                          l->type == DLX_I8 ? ((const int8_t *)l->x[0])[i] : ((const uint8_t *)l->x[0])[i]);
    }
}

/* CONVERT to floats. */
static void run_to_float(void *arg, size_t begin, size_t end, size_t thread)
{
    const dlx_loop *l = arg;
    size_t n = dlx_inner(&l->out), first = begin * n, last = end * n;
    float *y = l->y, scale = l->n->attr.f[0];
    (void)thread;
    switch (l->type) {
    case DLX_F16: l->ex->p->k.f16_to_f32(y + first, (const uint16_t *)l->x[0] + first, last - first); return;
    case DLX_BF16:
        for (size_t i = first; i < last; i++) y[i] = dlx_bf16_to_f32(((const uint16_t *)l->x[0])[i]);
        return;
    case DLX_U8:
        for (size_t i = first; i < last; i++) y[i] = (float)((const uint8_t *)l->x[0])[i] * scale;
        return;
    default: /* I8 */ l->ex->p->k.dequantize_i8(y + first, (const int8_t *)l->x[0] + first, scale, last - first);
    }
}

/* Integers have no quotient by 0. */
static dlx_status check_divisors(const dlx_loop *l, dlx_error *err)
{
    dlx_op op = l->n->op;
    bool divides = op == DLX_OP_FLOORDIV || op == DLX_OP_TRUNCDIV || op == DLX_OP_MODULO || op == DLX_OP_REMAINDER;
    if (!divides || l->type == DLX_F32) return DLX_OK;
    size_t n = (size_t)dlx_shape_elements(&l->in[1]);
    for (size_t i = 0; i < n; i++)
        if (dlx_place(l->x[1], l->type, i) == 0)
            return dlx_fail(err, DLX_E_INVALID, "operator %s divides an integer by zero", dlx_op_name(op));
    return DLX_OK;
}

bool dlx_run_elementwise(dlx_loop *l, dlx_status *status, dlx_error *err)
{
    dlx_loop_fn loop = NULL;
    size_t rows = dlx_outer_count(&l->out);
    switch (l->n->op) {
    case DLX_OP_ADD:
    case DLX_OP_SUB:
    case DLX_OP_MUL:
    case DLX_OP_DIV:
    case DLX_OP_MIN:
    case DLX_OP_MAX:
    case DLX_OP_FLOORDIV:
    case DLX_OP_TRUNCDIV:
    case DLX_OP_MODULO:
    case DLX_OP_REMAINDER:
    case DLX_OP_POW:
    case DLX_OP_EQUAL:
    case DLX_OP_LESS:
    case DLX_OP_LESS_EQUAL:
    case DLX_OP_AND:
    case DLX_OP_OR:
    case DLX_OP_XOR: loop = run_binary; break;
    case DLX_OP_WHERE: loop = run_where; break;
    case DLX_OP_NEG:
    case DLX_OP_ABS:
    case DLX_OP_SIGN:
    case DLX_OP_NOT:
    case DLX_OP_SQUARE:
    case DLX_OP_SQRT:
    case DLX_OP_RSQRT:
    case DLX_OP_EXP:
    case DLX_OP_EXPM1:
    case DLX_OP_LOG:
    case DLX_OP_LOG1P:
    case DLX_OP_SIN:
    case DLX_OP_COS:
    case DLX_OP_TANH:
    case DLX_OP_ERF:
    case DLX_OP_SIGMOID:
    case DLX_OP_GELU:
    case DLX_OP_GELU_TANH:
    case DLX_OP_FLOOR:
    case DLX_OP_CEIL:
    case DLX_OP_ROUND:
    case DLX_OP_TRUNC:
    case DLX_OP_CLAMP: loop = run_unary; break;
    case DLX_OP_CAST: loop = run_cast; break;
    case DLX_OP_CONVERT: loop = run_to_float; break;
    default: return false;
    }
    *status = check_divisors(l, err);
    if (*status != DLX_OK) return true;
    for (int k = 0; k < l->n->inputs; k++) dlx_broadcast_strides(&l->in[k], l->out.rank, l->stride[k]);
    dlx_pool_for(l->ex->pool, rows, 16, loop, l);
    return true;
}
