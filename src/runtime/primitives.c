/*
 * Operators that no fused form took: plain loops over shapes, parallel over the leading dimension of the work. They
 * make any program of supported operators run; speed lives in the fused set. Here: what the loops share, products, and
 * dispatch.
 */
#include "runtime/primitives.h"

#include <string.h>

void dlx_broadcast_strides(const dlx_shape *s, int rank, size_t stride[DLX_MAX_RANK])
{
    size_t step = 1;
    for (int i = rank - 1; i >= 0; i--) {
        int d = i - (rank - s->rank);
        int64_t n = d >= 0 ? s->dim[d] : 1;
        stride[i] = n == 1 ? 0 : step;
        step *= (size_t)n;
    }
}

void dlx_strides(const dlx_shape *s, size_t stride[DLX_MAX_RANK])
{
    size_t step = 1;
    for (int i = s->rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= (size_t)s->dim[i];
    }
}

size_t dlx_outer_count(const dlx_shape *s)
{
    size_t n = 1;
    for (int i = 0; i + 1 < s->rank; i++) n *= (size_t)s->dim[i];
    return n;
}

size_t dlx_outer_offset(const dlx_shape *s, size_t row, const size_t *stride)
{
    size_t at = 0;
    for (int i = s->rank - 2; i >= 0; i--) {
        at += row % (size_t)s->dim[i] * stride[i];
        row /= (size_t)s->dim[i];
    }
    return at;
}

size_t dlx_inner(const dlx_shape *s)
{
    return s->rank ? (size_t)s->dim[s->rank - 1] : 1;
}

int64_t dlx_place(const void *data, dlx_dtype type, size_t i)
{
    return type == DLX_I64 ? ((const int64_t *)data)[i] : ((const int32_t *)data)[i];
}

int64_t dlx_size_operand(const dlx_loop *l, int64_t size)
{
    return DLX_IS_RUN(size) ? *(const int64_t *)l->x[size - INT64_MIN] : size;
}

/* Output row r of [.., m, n]: sums over k in order, so a row does not depend on the others. */
static void run_bmm(void *arg, size_t begin, size_t end, size_t thread)
{
    const dlx_loop *l = arg;
    size_t m = (size_t)l->out.dim[l->out.rank - 2], n = dlx_inner(&l->out), k = dlx_inner(&l->in[0]);
    bool turned = l->n->attr.transpose_b;
    (void)thread;
    for (size_t r = begin; r < end; r++) {
        size_t at_a = r % m * k, at_b = 0, rest = r / m;
        for (int i = l->out.rank - 3; i >= 0; i--) {
            size_t index = rest % (size_t)l->out.dim[i];
            at_a += index * l->stride[0][i];
            at_b += index * l->stride[1][i];
            rest /= (size_t)l->out.dim[i];
        }
        const float *a = (const float *)l->x[0] + at_a, *b = (const float *)l->x[1] + at_b;
        float *y = (float *)l->y + r * n;
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

dlx_status dlx_run_primitive(dlx_executor *ex, const dlx_node *n, dlx_error *err)
{
    dlx_loop l = {.ex = ex, .n = n, .out = ex->shape[n->out[0]], .y = ex->data[n->out[0]]};
    dlx_status s = DLX_OK;
    for (int k = 0; k < n->inputs; k++) {
        if (n->in[k] == DLX_NONE) continue;
        l.in[k] = ex->shape[n->in[k]];
        l.x[k] = ex->data[n->in[k]];
    }
    l.type = ex->p->g.values[n->in[0]].dtype;
    l.bytes = dlx_dtype_size(l.type);
    if (n->op == DLX_OP_BMM) {
        for (int k = 0; k < 2; k++) dlx_broadcast_strides(&l.in[k], l.out.rank, l.stride[k]);
        dlx_pool_for(ex->pool, dlx_outer_count(&l.out), 4, run_bmm, &l);
        return DLX_OK;
    }
    if (n->op == DLX_OP_SDPA) return dlx_run_sdpa(&l, err);
    if (dlx_run_elementwise(&l, &s, err) || dlx_run_reduction(&l, &s, err) || dlx_run_movement(&l, &s, err) ||
        dlx_run_gather(&l, &s, err))
        return s;
    return dlx_fail(err, DLX_E_INTERNAL, "operator %s has no implementation", dlx_op_name(n->op));
}
