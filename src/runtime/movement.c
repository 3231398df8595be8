/* Elements that move but do not change: transposes, slices, joins, broadcasts, ranges. */
#include <string.h>

#include "runtime/primitives.h"

/* Reads with arbitrary strides (in elements, possibly 0 or, for FLIP, backwards from `number[0]`). */
static void run_strided(void *arg, size_t begin, size_t end, size_t thread)
{
    const dlx_loop *l = arg;
    size_t n = dlx_inner(&l->out), step = l->out.rank ? l->stride[0][l->out.rank - 1] : 0;
    (void)thread;
    for (size_t r = begin; r < end; r++) {
        const char *from = (const char *)l->x[0] + dlx_outer_offset(&l->out, r, l->stride[0]) * l->bytes;
        char *to = (char *)l->y + r * n * l->bytes;
        if (step == 1) {
            memcpy(to, from, n * l->bytes);
        } else {
            for (size_t i = 0; i < n; i++) memcpy(to + i * l->bytes, from + i * step * l->bytes, l->bytes);
        }
    }
}

static void gather_strided(dlx_loop *l, size_t start)
{
    l->x[0] = (const char *)l->x[0] + start * l->bytes;
    dlx_pool_for(l->ex->pool, dlx_outer_count(&l->out), 64, run_strided, l);
}

static void do_transpose(dlx_loop *l)
{
    size_t stride[DLX_MAX_RANK];
    dlx_strides(&l->in[0], stride);
    for (int i = 0; i < l->out.rank; i++) l->stride[0][i] = stride[l->n->attr.shape[i]];
    gather_strided(l, 0);
}

static void do_slice(dlx_loop *l)
{
    size_t start = 0;
    dlx_strides(&l->in[0], l->stride[0]);
    for (int i = 0; i < l->out.rank; i++) start += (size_t)l->n->attr.shape[i] * l->stride[0][i];
    gather_strided(l, start);
}

static void do_narrow(dlx_loop *l)
{
    int axis = l->n->attr.axis;
    int64_t begin = dlx_size_operand(l, l->n->attr.shape[0]), size = l->in[0].dim[axis];
    if (begin < 0) begin = begin < -size ? 0 : begin + size;
    dlx_strides(&l->in[0], l->stride[0]);
    size_t start = (size_t)begin * l->stride[0][axis];
    l->stride[0][axis] *= (size_t)l->n->attr.shape[2];
    gather_strided(l, start);
}

static void do_expand(dlx_loop *l)
{
    dlx_broadcast_strides(&l->in[0], l->out.rank, l->stride[0]);
    gather_strided(l, 0);
}

static void do_concat(const dlx_loop *l)
{
    int axis = l->n->attr.axis;
    size_t outer = 1, tail = l->bytes, row = 0, at = 0;
    for (int i = 0; i < axis; i++) outer *= (size_t)l->out.dim[i];
    for (int i = axis + 1; i < l->out.rank; i++) tail *= (size_t)l->out.dim[i];
    row = (size_t)l->out.dim[axis] * tail;
    for (int k = 0; k < l->n->inputs; k++) {
        size_t part = (size_t)l->in[k].dim[axis] * tail;
        for (size_t o = 0; o < outer && part; o++)
            memcpy((char *)l->y + o * row + at, (const char *)l->x[k] + o * part, part);
        at += part;
    }
}

static void do_flip(const dlx_loop *l)
{
    int axis = l->n->attr.axis;
    size_t outer = 1, tail = l->bytes, n = (size_t)l->out.dim[axis];
    for (int i = 0; i < axis; i++) outer *= (size_t)l->out.dim[i];
    for (int i = axis + 1; i < l->out.rank; i++) tail *= (size_t)l->out.dim[i];
    for (size_t o = 0; o < outer; o++)
        for (size_t i = 0; i < n; i++)
            memcpy((char *)l->y + (o * n + i) * tail, (const char *)l->x[0] + (o * n + n - 1 - i) * tail, tail);
}

static void do_pad(const dlx_loop *l)
{
    size_t all = (size_t)dlx_shape_elements(&l->out), rows = dlx_outer_count(&l->in[0]), n = dlx_inner(&l->in[0]);
    size_t stride[DLX_MAX_RANK], start = 0;
    float *y = l->y;
    for (size_t i = 0; i < all; i++) y[i] = l->n->attr.f[0];
    dlx_strides(&l->out, stride);
    for (int i = 0; i < l->out.rank; i++) start += (size_t)l->n->attr.shape[i] * stride[i];
    if (dlx_shape_elements(&l->in[0]) == 0) return;
    for (size_t r = 0; r < rows; r++)
        memcpy(y + start + dlx_outer_offset(&l->in[0], r, stride), (const float *)l->x[0] + r * n, n * sizeof *y);
}

/* Row r of the last two dimensions keeps the columns up to (attr.keep: from) r + diagonal. */
static void do_triangle(const dlx_loop *l)
{
    int64_t height = l->out.dim[l->out.rank - 2], width = l->out.dim[l->out.rank - 1];
    size_t rows = dlx_outer_count(&l->out);
    for (size_t r = 0; r < rows; r++) {
        int64_t edge = (int64_t)r % height + l->n->attr.axis + !l->n->attr.keep;
        size_t first = edge < 0 ? 0 : edge > width ? (size_t)width : (size_t)edge, n = (size_t)width;
        char *y = (char *)l->y + r * n * l->bytes;
        memcpy(y, (const char *)l->x[0] + r * n * l->bytes, n * l->bytes);
        if (l->n->attr.keep)
            memset(y, 0, first * l->bytes);
        else
            memset(y + first * l->bytes, 0, (n - first) * l->bytes);
    }
}

static void do_arange(const dlx_loop *l)
{
    int64_t first = *(const int64_t *)l->x[0], step = l->n->attr.shape[2];
    for (int64_t i = 0; i < l->out.dim[0]; i++) {
        int64_t number = (int64_t)((uint64_t)first + (uint64_t)i * (uint64_t)step);
        if (l->n->attr.dtype == DLX_F32)
            ((float *)l->y)[i] = (float)number;
        else if (l->n->attr.dtype == DLX_I64)
            ((int64_t *)l->y)[i] = number;
        else
            ((int32_t *)l->y)[i] = (int32_t)(uint32_t)(uint64_t)number;
    }
}

bool dlx_run_movement(dlx_loop *l, dlx_status *status, dlx_error *err)
{
    (void)err;
    *status = DLX_OK;
    switch (l->n->op) {
    case DLX_OP_TRANSPOSE: do_transpose(l); return true;
    case DLX_OP_SLICE: do_slice(l); return true;
    case DLX_OP_NARROW: do_narrow(l); return true;
    case DLX_OP_EXPAND:
    case DLX_OP_EXPAND_AS: do_expand(l); return true;
    case DLX_OP_CONCAT: do_concat(l); return true;
    case DLX_OP_FLIP: do_flip(l); return true;
    case DLX_OP_PAD: do_pad(l); return true;
    case DLX_OP_TRIANGLE: do_triangle(l); return true;
    case DLX_OP_ARANGE: do_arange(l); return true;
    case DLX_OP_SIZE: *(int64_t *)l->y = l->in[0].dim[l->n->attr.axis]; return true;
    default: return false;
    }
}
