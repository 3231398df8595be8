/*
 * Operators that no fused form took: plain loops over shapes, parallel over the leading dimension of the work. They
 * make any program of supported operators run; speed lives in the fused set.
 */
#include <math.h>
#include <string.h>

#include "runtime/executor.h"

typedef struct loop {
    dlx_executor *ex;
    const dlx_node *n;
    dlx_shape out, a, b;
    float *y;
    const float *x, *z;
    size_t stride_a[DLX_MAX_RANK], stride_b[DLX_MAX_RANK];
    size_t bytes; /* of one element, for data movement */
} loop;

/* Row-major strides of a shape aligned to the right of `rank` dimensions; 0 where it broadcasts. */
static void broadcast_strides(const dlx_shape *s, int rank, size_t stride[DLX_MAX_RANK])
{
    size_t step = 1;
    for (int i = rank - 1; i >= 0; i--) {
        int d = i - (rank - s->rank);
        int64_t n = d >= 0 ? s->dim[d] : 1;
        stride[i] = n == 1 ? 0 : step;
        step *= (size_t)n;
    }
}

static void strides_of(const dlx_shape *s, size_t stride[DLX_MAX_RANK])
{
    size_t step = 1;
    for (int i = s->rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= (size_t)s->dim[i];
    }
}

static size_t outer_count(const dlx_shape *s)
{
    size_t n = 1;
    for (int i = 0; i + 1 < s->rank; i++) n *= (size_t)s->dim[i];
    return n;
}

/* Offset of outer row `r` (all dimensions but the last) under given strides. */
static size_t outer_offset(const dlx_shape *s, size_t r, const size_t *stride)
{
    size_t at = 0;
    for (int i = s->rank - 2; i >= 0; i--) {
        at += r % (size_t)s->dim[i] * stride[i];
        r /= (size_t)s->dim[i];
    }
    return at;
}

static size_t inner(const dlx_shape *s)
{
    return s->rank ? (size_t)s->dim[s->rank - 1] : 1;
}

static float binary_of(dlx_op op, float a, float b)
{
    switch (op) {
    case DLX_OP_ADD: return a + b;
    case DLX_OP_SUB: return a - b;
    case DLX_OP_MUL: return a * b;
    case DLX_OP_DIV: return a / b;
    case DLX_OP_MIN: return a < b ? a : b;
    default: return a > b ? a : b;
    }
}

static void run_binary(void *arg, size_t begin, size_t end, size_t thread)
{
    const loop *l = arg;
    size_t n = inner(&l->out), last = l->out.rank ? (size_t)l->out.rank - 1 : 0;
    size_t sa = l->out.rank ? l->stride_a[last] : 0, sb = l->out.rank ? l->stride_b[last] : 0;
    (void)thread;
    for (size_t r = begin; r < end; r++) {
        const float *a = l->x + outer_offset(&l->out, r, l->stride_a),
                    *b = l->z + outer_offset(&l->out, r, l->stride_b);
        float *y = l->y + r * n;
        for (size_t i = 0; i < n; i++) y[i] = binary_of(l->n->op, a[i * sa], b[i * sb]);
    }
}

static float unary_of(const dlx_node *n, float x)
{
    switch (n->op) {
    case DLX_OP_NEG: return -x;
    case DLX_OP_ABS: return fabsf(x);
    case DLX_OP_SQUARE: return x * x;
    case DLX_OP_SQRT: return sqrtf(x);
    case DLX_OP_RSQRT: return 1.0f / sqrtf(x);
    case DLX_OP_EXP: return expf(x);
    case DLX_OP_LOG: return logf(x);
    case DLX_OP_SIN: return sinf(x);
    case DLX_OP_COS: return cosf(x);
    case DLX_OP_TANH: return tanhf(x);
    case DLX_OP_SIGMOID: return 1.0f / (1.0f + expf(-x));
    case DLX_OP_GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case DLX_OP_FLOOR: return floorf(x);
    case DLX_OP_CEIL: return ceilf(x);
    default: return x < n->attr.f[0] ? n->attr.f[0] : x > n->attr.f[1] ? n->attr.f[1] : x; /* CLAMP */
    }
}

static void run_unary(void *arg, size_t begin, size_t end, size_t thread)
{
    const loop *l = arg;
    size_t n = inner(&l->out);
    (void)thread;
    for (size_t i = begin * n; i < end * n; i++) l->y[i] = unary_of(l->n, l->x[i]);
}

static void run_softmax(void *arg, size_t begin, size_t end, size_t thread)
{
    const loop *l = arg;
    size_t n = inner(&l->out);
    (void)thread;
    for (size_t r = begin; r < end; r++) l->ex->p->k.softmax(l->y + r * n, l->x + r * n, n);
}

static void run_dequantise(void *arg, size_t begin, size_t end, size_t thread)
{
    const loop *l = arg;
    size_t n = inner(&l->out);
    (void)thread;
    l->ex->p->k.dequantize_i8(l->y + begin * n, (const int8_t *)l->x + begin * n, l->n->attr.f[0], (end - begin) * n);
}

/* Output row r of [.., m, n]: sums over k in order, so a row does not depend on the others. */
static void run_bmm(void *arg, size_t begin, size_t end, size_t thread)
{
    const loop *l = arg;
    size_t m = (size_t)l->out.dim[l->out.rank - 2], n = inner(&l->out), k = inner(&l->a);
    bool turned = l->n->attr.transpose_b;
    (void)thread;
    for (size_t r = begin; r < end; r++) {
        size_t at_a = r % m * k, at_b = 0, rest = r / m;
        for (int i = l->out.rank - 3; i >= 0; i--) {
            size_t index = rest % (size_t)l->out.dim[i];
            at_a += index * l->stride_a[i];
            at_b += index * l->stride_b[i];
            rest /= (size_t)l->out.dim[i];
        }
        const float *a = l->x + at_a, *b = l->z + at_b;
        float *y = l->y + r * n;
        memset(y, 0, n * sizeof *y);
        if (turned) {
            for (size_t j = 0; j < n; j++)
                for (size_t i = 0; i < k; i++) y[j] += a[i] * b[j * k + i];
        } else {
            for (size_t i = 0; i < k; i++)
                for (size_t j = 0; j < n; j++) y[j] += a[i] * b[i * n + j];
        }
    }
}

/* Gathers with arbitrary source strides: transpose and slice. */
static void run_gather(void *arg, size_t begin, size_t end, size_t thread)
{
    const loop *l = arg;
    size_t n = inner(&l->out), step = l->out.rank ? l->stride_a[l->out.rank - 1] : 0;
    (void)thread;
    for (size_t r = begin; r < end; r++) {
        const char *from = (const char *)l->x + outer_offset(&l->out, r, l->stride_a) * l->bytes;
        char *to = (char *)l->y + r * n * l->bytes;
        if (step == 1) {
            memcpy(to, from, n * l->bytes);
        } else {
            for (size_t i = 0; i < n; i++) memcpy(to + i * l->bytes, from + i * step * l->bytes, l->bytes);
        }
    }
}

static void do_gather(loop *l)
{
    const dlx_attr *attr = &l->n->attr;
    size_t stride[DLX_MAX_RANK], start = 0;
    strides_of(&l->a, stride);
    for (int i = 0; i < l->out.rank; i++) {
        l->stride_a[i] = l->n->op == DLX_OP_TRANSPOSE ? stride[attr->shape[i]] : stride[i];
        if (l->n->op == DLX_OP_SLICE) start += (size_t)attr->shape[i] * stride[i];
    }
    l->x = (const float *)(const void *)((const char *)l->x + start * l->bytes);
    dlx_pool_for(l->ex->pool, outer_count(&l->out), 64, run_gather, l);
}

static void do_concat(const loop *l)
{
    int axis = l->n->attr.axis;
    size_t outer = 1, tail = l->bytes, row = 0, at = 0;
    for (int i = 0; i < axis; i++) outer *= (size_t)l->out.dim[i];
    for (int i = axis + 1; i < l->out.rank; i++) tail *= (size_t)l->out.dim[i];
    row = (size_t)l->out.dim[axis] * tail;
    for (int k = 0; k < l->n->inputs; k++) {
        size_t part = (size_t)l->ex->shape[l->n->in[k]].dim[axis] * tail;
        const char *from = l->ex->data[l->n->in[k]];
        for (size_t o = 0; o < outer && part; o++) memcpy((char *)l->y + o * row + at, from + o * part, part);
        at += part;
    }
}

static void do_mean(const loop *l)
{
    int axis = l->n->attr.axis;
    size_t outer = 1, tail = 1, n = (size_t)l->a.dim[axis];
    for (int i = 0; i < axis; i++) outer *= (size_t)l->a.dim[i];
    for (int i = axis + 1; i < l->a.rank; i++) tail *= (size_t)l->a.dim[i];
    for (size_t o = 0; o < outer; o++)
        for (size_t t = 0; t < tail; t++) {
            double sum = 0;
            for (size_t i = 0; i < n; i++) sum += (double)l->x[(o * n + i) * tail + t];
            l->y[o * tail + t] = (float)(sum / (double)n);
        }
}

dlx_status dlx_run_primitive(dlx_executor *ex, const dlx_node *n, dlx_error *err)
{
    loop l = {.ex = ex,
              .n = n,
              .out = ex->shape[n->out[0]],
              .a = ex->shape[n->in[0]],
              .y = ex->data[n->out[0]],
              .x = ex->data[n->in[0]]};
    l.bytes = dlx_dtype_size(ex->p->g.values[n->in[0]].dtype);
    if (n->inputs >= 2) {
        l.b = ex->shape[n->in[1]];
        l.z = ex->data[n->in[1]];
        broadcast_strides(&l.a, l.out.rank, l.stride_a);
        broadcast_strides(&l.b, l.out.rank, l.stride_b);
    }
    size_t rows = outer_count(&l.out);
    switch (n->op) {
    case DLX_OP_ADD:
    case DLX_OP_SUB:
    case DLX_OP_MUL:
    case DLX_OP_DIV:
    case DLX_OP_MIN:
    case DLX_OP_MAX: dlx_pool_for(ex->pool, rows, 16, run_binary, &l); return DLX_OK;
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
    case DLX_OP_FLOOR:
    case DLX_OP_CEIL:
    case DLX_OP_CLAMP: dlx_pool_for(ex->pool, rows, 16, run_unary, &l); return DLX_OK;
    case DLX_OP_SOFTMAX: dlx_pool_for(ex->pool, rows, 4, run_softmax, &l); return DLX_OK;
    case DLX_OP_CONVERT: dlx_pool_for(ex->pool, rows, 16, run_dequantise, &l); return DLX_OK;
    case DLX_OP_BMM: dlx_pool_for(ex->pool, rows, 4, run_bmm, &l); return DLX_OK;
    case DLX_OP_TRANSPOSE:
    case DLX_OP_SLICE: do_gather(&l); return DLX_OK;
    case DLX_OP_CONCAT: do_concat(&l); return DLX_OK;
    case DLX_OP_MEAN: do_mean(&l); return DLX_OK;
    default: return dlx_fail(err, DLX_E_INTERNAL, "operator %s has no implementation", dlx_op_name(n->op));
    }
}
