/* Reductions along one dimension, and what else looks at a whole dimension: softmax, norms, running sums, the largest.
 */
#include <math.h>
#include <string.h>

#include "runtime/primitives.h"

/* A tensor seen as [outer, n, tail] around the axis. */
typedef struct axis_view {
    size_t outer, n, tail;
} axis_view;

static axis_view view_of(const dlx_shape *s, int axis)
{
    axis_view v = {.outer = 1, .n = (size_t)s->dim[axis], .tail = 1};
    for (int i = 0; i < axis; i++) v.outer *= (size_t)s->dim[i];
    for (int i = axis + 1; i < s->rank; i++) v.tail *= (size_t)s->dim[i];
    return v;
}

/* Sums are made in double, in order: the result depends on nothing but the numbers. */
static float sum_f32(const float *x, size_t n, size_t step)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i * step];
    return (float)sum;
}

static float variance(const float *x, size_t n, size_t step, float correction)
{
    double mean = 0, sum = 0;
    for (size_t i = 0; i < n; i++) mean += (double)x[i * step];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) sum += ((double)x[i * step] - mean) * ((double)x[i * step] - mean);
    return (float)(sum / ((double)n - (double)correction));
}

/* Place of the largest (sign 1) or smallest (-1): the first of equals, the first NaN before all. */
static size_t extreme_f32(const float *x, size_t n, size_t step, float sign)
{
    size_t best = 0;
    for (size_t i = 0; i < n; i++) {
        if (x[i * step] != x[i * step]) return i;
        if (sign * x[i * step] > sign * x[best * step]) best = i;
    }
    return best;
}

static size_t extreme_integer(const void *x, dlx_dtype type, size_t at, size_t n, size_t step, bool largest)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        int64_t a = dlx_place(x, type, at + i * step), b = dlx_place(x, type, at + best * step);
        if (largest ? a > b : a < b) best = i;
    }
    return best;
}

static float reduce_f32(const dlx_node *n, const float *x, size_t count, size_t step)
{
    double product = 1;
    switch (n->op) {
    case DLX_OP_SUM: return sum_f32(x, count, step);
    case DLX_OP_MEAN: {
        double sum = 0;
        for (size_t i = 0; i < count; i++) sum += (double)x[i * step];
        return (float)(sum / (double)count);
    }
    case DLX_OP_VARIANCE: return variance(x, count, step, n->attr.f[0]);
    case DLX_OP_PROD:
        for (size_t i = 0; i < count; i++) product *= (double)x[i * step];
        return (float)product;
    default: return x[extreme_f32(x, count, step, n->op == DLX_OP_AMAX ? 1.0f : -1.0f) * step];
    }
}

static int64_t reduce_integer(const dlx_loop *l, size_t at, size_t count, size_t step)
{
    uint64_t result = l->n->op == DLX_OP_PROD;
    if (l->n->op == DLX_OP_AMAX || l->n->op == DLX_OP_AMIN)
        return dlx_place(l->x[0], l->type,
                         at + extreme_integer(l->x[0], l->type, at, count, step, l->n->op == DLX_OP_AMAX) * step);
    for (size_t i = 0; i < count; i++) {
        uint64_t x = (uint64_t)dlx_place(l->x[0], l->type, at + i * step);
        result = l->n->op == DLX_OP_PROD ? result * x : result + x;
    }
    return (int64_t)result;
}

static void reduce_one(const dlx_loop *l, axis_view v, size_t i)
{
    size_t at = i / v.tail * v.n * v.tail + i % v.tail;
    bool largest = l->n->op == DLX_OP_ARGMAX;
    switch (l->n->op) {
    case DLX_OP_ANY:
    case DLX_OP_ALL: {
        bool any = false, all = true;
        for (size_t k = 0; k < v.n; k++) {
            bool x = ((const uint8_t *)l->x[0])[at + k * v.tail] != 0;
            any = any || x;
            all = all && x;
        }
        ((uint8_t *)l->y)[i] = l->n->op == DLX_OP_ANY ? any : all;
        return;
    }
    case DLX_OP_ARGMAX:
    case DLX_OP_ARGMIN:
        ((int64_t *)l->y)[i] =
            (int64_t)(l->type == DLX_F32 ? extreme_f32((const float *)l->x[0] + at, v.n, v.tail, largest ? 1.0f : -1.0f)
                                         : extreme_integer(l->x[0], l->type, at, v.n, v.tail, largest));
        return;
    default: break;
    }
    if (l->type == DLX_F32)
        ((float *)l->y)[i] = reduce_f32(l->n, (const float *)l->x[0] + at, v.n, v.tail);
    else if (l->type == DLX_I64)
        ((int64_t *)l->y)[i] = reduce_integer(l, at, v.n, v.tail);
    else
        ((int32_t *)l->y)[i] = (int32_t)reduce_integer(l, at, v.n, v.tail);
}

static void run_reduce(void *arg, size_t begin, size_t end, size_t thread)
{
    const dlx_loop *l = arg;
    axis_view v = view_of(&l->in[0], l->n->attr.axis);
    (void)thread;
    for (size_t i = begin; i < end; i++) reduce_one(l, v, i);
}

static void run_cumsum(void *arg, size_t begin, size_t end, size_t thread)
{
    const dlx_loop *l = arg;
    axis_view v = view_of(&l->in[0], l->n->attr.axis);
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        size_t at = i / v.tail * v.n * v.tail + i % v.tail;
        double sum = 0;
        uint64_t total = 0;
        for (size_t k = 0; k < v.n; k++, at += v.tail) {
            if (l->type == DLX_F32)
                ((float *)l->y)[at] = (float)(sum += (double)((const float *)l->x[0])[at]);
            else if (l->type == DLX_I64)
                ((int64_t *)l->y)[at] = (int64_t)(total += (uint64_t)((const int64_t *)l->x[0])[at]);
            else
                ((int32_t *)l->y)[at] = (int32_t)(uint32_t)(total += (uint64_t)((const int32_t *)l->x[0])[at]);
        }
    }
}

static void run_softmax(void *arg, size_t begin, size_t end, size_t thread)
{
    const dlx_loop *l = arg;
    size_t n = dlx_inner(&l->out);
    (void)thread;
    for (size_t r = begin; r < end; r++) l->ex->p->k.softmax((float *)l->y + r * n, (const float *)l->x[0] + r * n, n);
}

static void run_log_softmax(void *arg, size_t begin, size_t end, size_t thread)
{
    const dlx_loop *l = arg;
    size_t n = dlx_inner(&l->out);
    (void)thread;
    for (size_t r = begin; r < end; r++) {
        const float *x = (const float *)l->x[0] + r * n;
        float most = x[extreme_f32(x, n, 1, 1.0f)];
        double sum = 0;
        for (size_t i = 0; i < n; i++) sum += exp((double)(x[i] - most));
        for (size_t i = 0; i < n; i++) ((float *)l->y)[r * n + i] = x[i] - most - (float)log(sum);
    }
}

static void run_layer_norm(void *arg, size_t begin, size_t end, size_t thread)
{
    const dlx_loop *l = arg;
    size_t n = dlx_inner(&l->out);
    const float *w = l->n->inputs > 1 && l->n->in[1] != DLX_NONE ? l->x[1] : NULL;
    const float *b = l->n->inputs > 2 && l->n->in[2] != DLX_NONE ? l->x[2] : NULL;
    (void)thread;
    for (size_t r = begin; r < end; r++) {
        const float *x = (const float *)l->x[0] + r * n;
        double mean = 0;
        for (size_t i = 0; i < n; i++) mean += (double)x[i];
        mean /= (double)n;
        double scale = 1.0 / sqrt((double)variance(x, n, 1, 0.0f) + (double)l->n->attr.f[0]);
        for (size_t i = 0; i < n; i++) {
            float y = (float)(((double)x[i] - mean) * scale);
            ((float *)l->y)[r * n + i] = (w ? y * w[i] : y) + (b ? b[i] : 0.0f);
        }
    }
}

static bool goes_before(const dlx_loop *l, size_t row, size_t a, size_t b)
{
    if (l->type != DLX_F32) return dlx_place(l->x[0], l->type, row + a) > dlx_place(l->x[0], l->type, row + b);
    float x = ((const float *)l->x[0])[row + a], y = ((const float *)l->x[0])[row + b];
    return x != x ? y == y : x > y;
}

/* Selection: k is small where programs use it. Places already taken are those written. */
static void run_topk(void *arg, size_t begin, size_t end, size_t thread)
{
    const dlx_loop *l = arg;
    size_t n = dlx_inner(&l->in[0]), k = dlx_inner(&l->out);
    (void)thread;
    for (size_t r = begin; r < end; r++) {
        int64_t *y = (int64_t *)l->y + r * k;
        for (size_t j = 0; j < k; j++) {
            size_t best = n;
            for (size_t i = 0; i < n; i++) {
                bool taken = false;
                for (size_t t = 0; t < j && !taken; t++) taken = y[t] == (int64_t)i;
                if (!taken && (best == n || goes_before(l, r * n, i, best))) best = i;
            }
            y[j] = (int64_t)best;
        }
    }
}

bool dlx_run_reduction(dlx_loop *l, dlx_status *status, dlx_error *err)
{
    size_t rows = dlx_outer_count(&l->out), all = (size_t)dlx_shape_elements(&l->out);
    (void)err;
    *status = DLX_OK;
    switch (l->n->op) {
    case DLX_OP_SOFTMAX: dlx_pool_for(l->ex->pool, rows, 4, run_softmax, l); return true;
    case DLX_OP_LOG_SOFTMAX: dlx_pool_for(l->ex->pool, rows, 4, run_log_softmax, l); return true;
    case DLX_OP_LAYER_NORM: dlx_pool_for(l->ex->pool, rows, 4, run_layer_norm, l); return true;
    case DLX_OP_TOPK: dlx_pool_for(l->ex->pool, rows, 1, run_topk, l); return true;
    case DLX_OP_CUMSUM: {
        axis_view v = view_of(&l->in[0], l->n->attr.axis);
        dlx_pool_for(l->ex->pool, v.outer * v.tail, 16, run_cumsum, l);
        return true;
    }
    case DLX_OP_MEAN:
    case DLX_OP_SUM:
    case DLX_OP_PROD:
    case DLX_OP_VARIANCE:
    case DLX_OP_AMAX:
    case DLX_OP_AMIN:
    case DLX_OP_ANY:
    case DLX_OP_ALL:
    case DLX_OP_ARGMAX:
    case DLX_OP_ARGMIN: dlx_pool_for(l->ex->pool, all, 16, run_reduce, l); return true;
    default: return false;
    }
}
