/* Elements taken from, and put to, places that tensors name. */
#include <string.h>

#include "runtime/primitives.h"

static dlx_status outside(const dlx_loop *l, int64_t place, int64_t size, dlx_error *err)
{
    return dlx_fail(err, DLX_E_INVALID, "operator %s: place %lld is outside a dimension of %lld", dlx_op_name(l->n->op),
                    (long long)place, (long long)size);
}

/* A place counted from the end is negative. */
static bool resolve(int64_t *place, int64_t size)
{
    if (*place < 0) *place += size;
    return *place >= 0 && *place < size;
}

static void add_element(void *to, const void *value, dlx_dtype type)
{
    if (type == DLX_F32)
        *(float *)to += *(const float *)value;
    else if (type == DLX_I64)
        *(int64_t *)to = (int64_t)((uint64_t) * (int64_t *)to + (uint64_t) * (const int64_t *)value);
    else
        *(int32_t *)to = (int32_t)((uint32_t) * (int32_t *)to + (uint32_t) * (const int32_t *)value);
}

/* How dimensions of the picked shape lead into x: for numpy-style places. */
typedef struct picking {
    dlx_shape places, picked;
    int first;                     /* operand of the first places */
    int at;                        /* dimension of `picked` where the places begin */
    size_t x_stride[DLX_MAX_RANK]; /* of x */
    size_t kept[DLX_MAX_RANK];     /* [picked.rank] stride in x of a dimension that is not indexed, else 0 */
    size_t place_stride[DLX_MAX_INPUTS][DLX_MAX_RANK]; /* of each places operand, along `places` */
} picking;

static void prepare_picking(const dlx_loop *l, int first, picking *p)
{
    const dlx_shape *x = &l->in[0];
    int at = -1, last = -1;
    bool neighbours = true;
    memset(p, 0, sizeof *p);
    p->first = first;
    for (int k = first; k < l->n->inputs; k++)
        if (l->in[k].rank > p->places.rank) p->places.rank = l->in[k].rank;
    for (int i = 0; i < p->places.rank; i++) {
        p->places.dim[i] = 1;
        for (int k = first; k < l->n->inputs; k++) {
            int d = i - (p->places.rank - l->in[k].rank);
            if (d >= 0 && l->in[k].dim[d] != 1) p->places.dim[i] = l->in[k].dim[d];
        }
    }
    for (int k = first; k < l->n->inputs; k++)
        dlx_broadcast_strides(&l->in[k], p->places.rank, p->place_stride[k - first]);
    dlx_strides(x, p->x_stride);
    for (int d = 0; d < x->rank; d++) {
        if (!(l->n->attr.axes >> d & 1)) continue;
        if (at < 0) at = d;
        if (last >= 0 && d != last + 1) neighbours = false;
        last = d;
    }
    p->at = neighbours ? at : 0;
    bool placed = false;
    for (int d = 0;; d++) {
        if (p->picked.rank == p->at && !placed) {
            for (int i = 0; i < p->places.rank; i++) p->picked.dim[p->picked.rank++] = p->places.dim[i];
            placed = true;
        }
        if (d == x->rank) break;
        if (l->n->attr.axes >> d & 1) continue;
        p->kept[p->picked.rank] = p->x_stride[d];
        p->picked.dim[p->picked.rank++] = x->dim[d];
    }
}

/* Offset in x that the places at one index of the picked shape lead to, without the dimensions that are kept. */
static dlx_status place_offset(const dlx_loop *l, const picking *p, const size_t *index, size_t *offset, dlx_error *err)
{
    *offset = 0;
    for (int d = 0, k = p->first; d < l->in[0].rank; d++) {
        if (!(l->n->attr.axes >> d & 1)) continue;
        size_t at = 0;
        for (int i = 0; i < p->places.rank; i++) at += index[p->at + i] * p->place_stride[k - p->first][i];
        int64_t place = dlx_place(l->x[k], l->ex->p->g.values[l->n->in[k]].dtype, at);
        if (!resolve(&place, l->in[0].dim[d])) return outside(l, place, l->in[0].dim[d], err);
        *offset += (size_t)place * p->x_stride[d];
        k++;
    }
    return DLX_OK;
}

/* Walks the picked shape row by row (its trailing dimensions that are kept whole and contiguous move together). */
static dlx_status run_picking(dlx_loop *l, int first, dlx_error *err)
{
    picking p;
    bool put = first == 2;
    size_t value_stride[DLX_MAX_RANK] = {0}, index[DLX_MAX_RANK] = {0}, run = 1;
    prepare_picking(l, first, &p);
    if (put) dlx_broadcast_strides(&l->in[1], p.picked.rank, value_stride);
    int walked = p.picked.rank;
    while (walked > p.at + p.places.rank && p.kept[walked - 1] == run &&
           (!put || value_stride[walked - 1] == run || p.picked.dim[walked - 1] == 1))
        run *= (size_t)p.picked.dim[--walked];
    size_t rows = 1;
    for (int i = 0; i < walked; i++) rows *= (size_t)p.picked.dim[i];
    for (size_t r = 0; r < rows; r++) {
        size_t rest = r, offset, value = 0;
        for (int i = walked - 1; i >= 0; i--) {
            index[i] = rest % (size_t)p.picked.dim[i];
            rest /= (size_t)p.picked.dim[i];
        }
        DLX_TRY(place_offset(l, &p, index, &offset, err));
        for (int i = 0; i < walked; i++) {
            offset += index[i] * p.kept[i];
            value += index[i] * value_stride[i];
        }
        const char *from = put ? (const char *)l->x[1] + value * l->bytes : (const char *)l->x[0] + offset * l->bytes;
        char *to = put ? (char *)l->y + offset * l->bytes : (char *)l->y + r * run * l->bytes;
        if (!put || !l->n->attr.keep) {
            memcpy(to, from, run * l->bytes);
        } else {
            for (size_t i = 0; i < run; i++) add_element(to + i * l->bytes, from + i * l->bytes, l->type);
        }
    }
    return DLX_OK;
}

/* One place along an axis for each element. */
static dlx_status run_along(dlx_loop *l, dlx_error *err)
{
    const dlx_shape *walk = &l->in[1];
    bool put = l->n->op == DLX_OP_SCATTER;
    size_t stride[DLX_MAX_RANK], count = (size_t)dlx_shape_elements(walk);
    int axis = l->n->attr.axis;
    dlx_dtype type = l->ex->p->g.values[l->n->in[1]].dtype;
    dlx_strides(&l->in[0], stride);
    for (size_t i = 0; i < count; i++) {
        int64_t place = dlx_place(l->x[1], type, i);
        size_t rest = i, at = 0;
        if (!resolve(&place, l->in[0].dim[axis])) return outside(l, place, l->in[0].dim[axis], err);
        for (int d = walk->rank - 1; d >= 0; d--) {
            size_t index = rest % (size_t)walk->dim[d];
            at += (d == axis ? (size_t)place : index) * stride[d];
            rest /= (size_t)walk->dim[d];
        }
        const char *x = (const char *)l->x[0] + at * l->bytes;
        if (!put)
            memcpy((char *)l->y + i * l->bytes, x, l->bytes);
        else if (l->n->attr.keep)
            add_element((char *)l->y + at * l->bytes, (const char *)l->x[2] + i * l->bytes, l->type);
        else
            memcpy((char *)l->y + at * l->bytes, (const char *)l->x[2] + i * l->bytes, l->bytes);
    }
    return DLX_OK;
}

static dlx_status run_slice_put(dlx_loop *l, dlx_error *err)
{
    int axis = l->n->attr.axis;
    int64_t begin = dlx_size_operand(l, l->n->attr.shape[0]), size = l->in[0].dim[axis], part = l->in[1].dim[axis];
    if (begin < 0 || begin > size - part)
        return dlx_fail(err, DLX_E_INVALID, "operator %s: %lld rows from %lld on do not fit a dimension of %lld",
                        dlx_op_name(l->n->op), (long long)part, (long long)begin, (long long)size);
    size_t outer = 1, tail = l->bytes;
    for (int i = 0; i < axis; i++) outer *= (size_t)l->in[0].dim[i];
    for (int i = axis + 1; i < l->in[0].rank; i++) tail *= (size_t)l->in[0].dim[i];
    for (size_t o = 0; o < outer; o++)
        memcpy((char *)l->y + (o * (size_t)size + (size_t)begin) * tail,
               (const char *)l->x[1] + o * (size_t)part * tail, (size_t)part * tail);
    return DLX_OK;
}

bool dlx_run_gather(dlx_loop *l, dlx_status *status, dlx_error *err)
{
    /* The result begins as x; planning gave it the bytes of x where nobody reads x afterwards. */
    if (dlx_op_updates(l->n->op) && l->y != l->x[0])
        memcpy(l->y, l->x[0], (size_t)dlx_shape_elements(&l->in[0]) * l->bytes);
    switch (l->n->op) {
    case DLX_OP_INDEX: *status = run_picking(l, 1, err); return true;
    case DLX_OP_INDEX_PUT: *status = run_picking(l, 2, err); return true;
    case DLX_OP_GATHER:
    case DLX_OP_SCATTER: *status = run_along(l, err); return true;
    case DLX_OP_SLICE_PUT: *status = run_slice_put(l, err); return true;
    default: return false;
    }
}
