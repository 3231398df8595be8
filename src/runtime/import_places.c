/* Gathers and updates of portable operators, copies into states, and the operators of ExecuTorch's LLM library. */
#include <math.h>
#include <string.h>

#include "runtime/import_call.h"

static dlx_status do_embedding(const dlx_call *c, dlx_op op)
{
    uint32_t in[2];
    DLX_TRY(dlx_arg_tensor(c, 0, &in[0]));
    DLX_TRY(dlx_arg_tensor(c, 1, &in[1]));
    return dlx_call_emit(c, op, in, 2, NULL);
}

/* Places of a list argument (Null: that dimension is whole); in[] from `inputs` on. */
static dlx_status places(const dlx_call *c, uint32_t i, uint32_t *in, int *inputs, uint8_t *axes)
{
    const dlx_evalue *list = dlx_arg(c, i);
    bool listed = list && (list->kind == DLX_EV_OPTIONAL_TENSOR_LIST || list->kind == DLX_EV_TENSOR_LIST);
    if (!listed) return dlx_call_refuse(c, "a list of places is expected");
    if (list->u.list.count > DLX_MAX_RANK) return dlx_call_refuse(c, "rank is above 6");
    *axes = 0;
    for (uint32_t d = 0; d < list->u.list.count; d++) {
        int64_t item = list->u.list.ints[d];
        if (item < 0 || c->im->plan->values[item].kind == DLX_EV_NULL) continue;
        if (*inputs == DLX_MAX_INPUTS) return dlx_call_refuse(c, "too many dimensions are indexed");
        DLX_TRY(dlx_import_tensor(c->im, (int32_t)item, &in[*inputs]));
        dlx_dtype type = dlx_call_value(c, in[*inputs])->dtype;
        if (type == DLX_BOOL || type == DLX_U8)
            return dlx_call_refuse(c, "masks as places are not supported (their number is known only at run time)");
        *axes |= (uint8_t)(1u << d);
        ++*inputs;
    }
    return *axes ? DLX_OK : dlx_call_refuse(c, "no dimension is indexed");
}

static dlx_status do_index(const dlx_call *c, dlx_op op)
{
    uint32_t in[DLX_MAX_INPUTS];
    int inputs = 1;
    dlx_attr attr = {0};
    DLX_TRY(dlx_arg_tensor(c, 0, &in[0]));
    DLX_TRY(places(c, 1, in, &inputs, &attr.axes));
    return dlx_call_emit(c, op, in, inputs, &attr);
}

/* (x, places, values, accumulate) */
static dlx_status index_put(const dlx_call *c, uint32_t *out)
{
    uint32_t in[DLX_MAX_INPUTS];
    int inputs = 2;
    dlx_attr attr = {0};
    DLX_TRY(dlx_arg_tensor(c, 0, &in[0]));
    DLX_TRY(dlx_arg_tensor(c, 2, &in[1]));
    DLX_TRY(places(c, 1, in, &inputs, &attr.axes));
    DLX_TRY(dlx_arg_bool(c, 3, &attr.keep));
    DLX_TRY(dlx_call_cast(c, in[1], dlx_call_value(c, in[0])->dtype, &in[1]));
    return dlx_call_node(c, DLX_OP_INDEX_PUT, in, inputs, &attr, out);
}

static dlx_status do_index_put(const dlx_call *c, dlx_op op)
{
    uint32_t out;
    (void)op;
    DLX_TRY(index_put(c, &out));
    return dlx_call_result(c, out);
}

/* In place: the first argument changes, and is the result. */
static dlx_status changed(const dlx_call *c, uint32_t argument, uint32_t value)
{
    int32_t result = c->args[c->n_args - 1];
    DLX_TRY(dlx_import_write(c->im, c->args[argument], value, DLX_WRITE_IN_PLACE));
    return result == c->args[argument] ? DLX_OK : dlx_import_write(c->im, result, value, DLX_WRITE_RESULT);
}

static dlx_status do_index_put_in_place(const dlx_call *c, dlx_op op)
{
    uint32_t out;
    (void)op;
    DLX_TRY(index_put(c, &out));
    return changed(c, 0, out);
}

/* (x, dim, places) */
static dlx_status do_index_select(const dlx_call *c, dlx_op op)
{
    uint32_t in[2];
    int axis;
    DLX_TRY(dlx_arg_tensor(c, 0, &in[0]));
    DLX_TRY(dlx_arg_axis(c, 1, dlx_call_value(c, in[0])->rank, &axis));
    DLX_TRY(dlx_arg_tensor(c, 2, &in[1]));
    return dlx_call_emit(c, op, in, 2, &(dlx_attr){.axes = (uint8_t)(1u << axis)});
}

/* (x, dim, places) */
static dlx_status do_gather(const dlx_call *c, dlx_op op)
{
    uint32_t in[2];
    int axis;
    DLX_TRY(dlx_arg_tensor(c, 0, &in[0]));
    DLX_TRY(dlx_arg_axis(c, 1, dlx_call_value(c, in[0])->rank, &axis));
    DLX_TRY(dlx_arg_tensor(c, 2, &in[1]));
    return dlx_call_emit(c, op, in, 2, &(dlx_attr){.axis = axis});
}

/* (x, dim, places, values or a number) */
static dlx_status do_scatter(const dlx_call *c, dlx_op op)
{
    uint32_t in[3], fill[2];
    int axis;
    double number;
    DLX_TRY(dlx_arg_tensor(c, 0, &in[0]));
    DLX_TRY(dlx_arg_axis(c, 1, dlx_call_value(c, in[0])->rank, &axis));
    DLX_TRY(dlx_arg_tensor(c, 2, &in[1]));
    dlx_attr attr = {.axis = axis, .keep = !strcmp(c->name, "aten::scatter_add.out")};
    if (dlx_arg(c, 3) && dlx_arg(c, 3)->kind == DLX_EV_TENSOR) {
        /* Values may be larger than their places: only the front part counts. */
        DLX_TRY(dlx_arg_tensor(c, 3, &in[2]));
        for (int d = 0; d < dlx_call_value(c, in[2])->rank && d < dlx_call_value(c, in[1])->rank; d++) {
            int64_t most = dlx_call_value(c, in[1])->dim[d];
            if (dlx_call_value(c, in[2])->dim[d] > most) DLX_TRY(dlx_call_slice(c, in[2], d, 0, most, &in[2]));
        }
    } else {
        DLX_TRY(dlx_arg_real(c, 3, &number));
        DLX_TRY(dlx_call_number(c, dlx_call_value(c, in[0])->dtype, number, &fill[0]));
        fill[1] = in[1];
        DLX_TRY(dlx_call_node(c, DLX_OP_EXPAND_AS, fill, 2, NULL, &in[2]));
    }
    return dlx_call_emit(c, op, in, 3, &attr);
}

/* (x, k, dim, largest, sorted, values, places) */
static dlx_status do_topk(const dlx_call *c, dlx_op op)
{
    uint32_t x, in[2];
    int axis;
    bool largest;
    dlx_attr attr = {0};
    if (c->n_args < 7) return dlx_call_refuse(c, "too few arguments");
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_int(c, 1, &attr.size[0]));
    DLX_TRY(dlx_arg_axis(c, 2, dlx_call_value(c, x)->rank, &axis));
    DLX_TRY(dlx_arg_bool(c, 3, &largest));
    if (axis != dlx_call_value(c, x)->rank - 1 || !largest)
        return dlx_call_refuse(c, "the largest of the last dimension are supported");
    in[0] = x;
    DLX_TRY(dlx_call_node(c, op, &x, 1, &attr, &in[1]));
    DLX_TRY(dlx_import_write(c->im, c->args[6], in[1], DLX_WRITE_RESULT));
    DLX_TRY(dlx_call_node(c, DLX_OP_GATHER, in, 2, &(dlx_attr){.axis = axis}, &in[1]));
    return dlx_import_write(c->im, c->args[5], in[1], DLX_WRITE_RESULT);
}

/* Values in the shape and type of a tensor that they replace. */
static dlx_status as_if(const dlx_call *c, int32_t evalue, uint32_t *value)
{
    int64_t dim[DLX_MAX_RANK];
    dlx_dtype dtype;
    DLX_TRY(dlx_import_declared(c->im, evalue, dim, &dtype));
    const dlx_pte_tensor *t = &c->im->plan->values[evalue].u.tensor;
    DLX_TRY(dlx_call_cast(c, *value, dtype, value));
    const dlx_value *v = dlx_call_value(c, *value);
    bool same = v->rank == t->rank && !v->dynamic;
    for (int d = 0; d < v->rank && same; d++) same = v->dim[d] == dim[d];
    if (same) return DLX_OK;
    dlx_attr attr = {.rank = t->rank};
    for (int d = 0; d < t->rank; d++) attr.shape[d] = t->dynamic ? -1 : dim[d];
    if (t->dynamic && v->rank != t->rank) return dlx_call_refuse(c, "a tensor that varies is replaced by a broadcast");
    return dlx_call_node(c, DLX_OP_EXPAND, value, 1, &attr, value);
}

/* copy_ (self, source, non_blocking, self): self holds the source from now on. */
static dlx_status do_copy_in_place(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 1, &x));
    DLX_TRY(as_if(c, c->args[0], &x));
    return changed(c, 0, x);
}

/* copy (self, source, non_blocking, out) */
static dlx_status do_copy(const dlx_call *c, dlx_op op)
{
    uint32_t x;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 1, &x));
    DLX_TRY(as_if(c, c->args[c->n_args - 1], &x));
    return dlx_call_result(c, x);
}

static dlx_status slice_put(const dlx_call *c, uint32_t x, uint32_t part, int axis, dlx_import_size begin,
                            uint32_t *out)
{
    uint32_t in[3] = {x, part, begin.value};
    dlx_attr attr = {.axis = axis, .shape = {begin.value == DLX_NONE ? begin.number : DLX_RUN(2)}};
    return dlx_call_node(c, DLX_OP_SLICE_PUT, in, begin.value == DLX_NONE ? 2 : 3, &attr, out);
}

/* slice_scatter (x, part, dim, start, end, step): a run of whole slices. */
static dlx_status do_slice_scatter(const dlx_call *c, dlx_op op)
{
    uint32_t x, part, out;
    int axis;
    int64_t step;
    dlx_import_size begin = {.number = 0, .value = DLX_NONE};
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_tensor(c, 1, &part));
    DLX_TRY(dlx_arg_axis(c, 2, dlx_call_value(c, x)->rank, &axis));
    if (!dlx_arg_is_null(c, 3)) DLX_TRY(dlx_arg_size(c, 3, &begin));
    DLX_TRY(dlx_arg_int(c, 5, &step));
    if (begin.value == DLX_NONE && begin.number < 0) begin.number += dlx_call_value(c, x)->dim[axis];
    if (step != 1 || (begin.value == DLX_NONE && begin.number < 0))
        return dlx_call_refuse(c, "needs a start inside the tensor and step 1");
    DLX_TRY(slice_put(c, x, part, axis, begin, &out));
    return dlx_call_result(c, out);
}

/* select_scatter (x, slice, dim, index) */
static dlx_status do_select_scatter(const dlx_call *c, dlx_op op)
{
    uint32_t x, part, out;
    int axis;
    dlx_import_size index;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_tensor(c, 1, &part));
    DLX_TRY(dlx_arg_axis(c, 2, dlx_call_value(c, x)->rank, &axis));
    DLX_TRY(dlx_arg_size(c, 3, &index));
    if (index.value == DLX_NONE && index.number < 0) index.number += dlx_call_value(c, x)->dim[axis];
    DLX_TRY(dlx_call_unsqueeze(c, part, axis, &part));
    DLX_TRY(slice_put(c, x, part, axis, index, &out));
    return dlx_call_result(c, out);
}

/* et_copy_index (copy_to, copy_from, index): copy_to[index] = copy_from */
static dlx_status do_copy_index(const dlx_call *c, dlx_op op)
{
    uint32_t x, part, out;
    dlx_import_size index;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &x));
    DLX_TRY(dlx_arg_tensor(c, 1, &part));
    DLX_TRY(dlx_arg_size(c, 2, &index));
    DLX_TRY(dlx_call_unsqueeze(c, part, 0, &part));
    DLX_TRY(slice_put(c, x, part, 0, index, &out));
    return dlx_import_write(c->im, c->args[0], out, DLX_WRITE_IN_PLACE);
}

/* update_cache (value [1,T,..], cache [1,S,..], start, out): the cache changes; the result holds nothing. */
static dlx_status do_update_cache(const dlx_call *c, dlx_op op)
{
    uint32_t value, cache, out;
    dlx_import_size start;
    (void)op;
    DLX_TRY(dlx_arg_tensor(c, 0, &value));
    DLX_TRY(dlx_arg_tensor(c, 1, &cache));
    DLX_TRY(dlx_arg_size(c, 2, &start));
    if (dlx_call_value(c, cache)->rank != 4) return dlx_call_refuse(c, "a cache [B,S,K,D] is expected");
    DLX_TRY(slice_put(c, cache, value, 1, start, &out));
    return dlx_import_write(c->im, c->args[1], out, DLX_WRITE_IN_PLACE);
}

/* update_cache_with_indices (value [1,T,..], cache [1,S,..], start, indices [1,T], out) */
static dlx_status do_update_cache_at(const dlx_call *c, dlx_op op)
{
    uint32_t in[3], out;
    DLX_TRY(dlx_arg_tensor(c, 0, &in[1]));
    DLX_TRY(dlx_arg_tensor(c, 1, &in[0]));
    DLX_TRY(dlx_arg_tensor(c, 3, &in[2]));
    const dlx_value *at = dlx_call_value(c, in[2]);
    if (dlx_call_value(c, in[0])->rank != 4 || dlx_call_value(c, in[0])->dim[0] != 1 || at->rank != 2 ||
        at->dim[0] != 1)
        return dlx_call_refuse(c, "a cache [1,S,K,D] and indices [1,T] are expected");
    DLX_TRY(dlx_call_squeeze(c, in[2], 1, &in[2]));
    DLX_TRY(dlx_call_node(c, op, in, 3, &(dlx_attr){.axes = 2}, &out));
    return dlx_import_write(c->im, c->args[1], out, DLX_WRITE_IN_PLACE);
}

/* custom_sdpa (q, k, v, start, mask, dropout, is_causal, scale) */
static dlx_status do_sdpa(const dlx_call *c, dlx_op op)
{
    uint32_t in[5];
    dlx_import_size start;
    dlx_attr attr = {0};
    double dropout, scale;
    for (uint32_t k = 0; k < 3; k++) DLX_TRY(dlx_arg_tensor(c, k, &in[k]));
    if (dlx_call_value(c, in[0])->rank != 4) return dlx_call_refuse(c, "queries [B,T,H,D] are expected");
    DLX_TRY(dlx_arg_size(c, 3, &start));
    DLX_TRY(dlx_arg_tensor_or_none(c, 4, &in[4]));
    DLX_TRY(dlx_arg_real(c, 5, &dropout));
    DLX_TRY(dlx_arg_bool(c, 6, &attr.causal));
    scale = 1.0 / sqrt((double)dlx_call_value(c, in[0])->dim[3]);
    if (!dlx_arg_is_null(c, 7)) DLX_TRY(dlx_arg_real(c, 7, &scale));
    if (dropout != 0) return dlx_call_refuse(c, "dropout is not supported");
    if (in[4] != DLX_NONE && attr.causal) return dlx_call_refuse(c, "a mask and causal attention exclude each other");
    attr.f[0] = (float)scale;
    /* With a mask, all keys of the buffer are there and the mask says which count. */
    in[3] = DLX_NONE;
    if (in[4] == DLX_NONE) DLX_TRY(dlx_size_value(c, start, &in[3]));
    return dlx_call_emit(c, op, in, in[4] == DLX_NONE ? 4 : 5, &attr);
}

/* embedding_byte (table [V,d] int8, scales [V] or [V,1], zero points or Null, least, most, ids): groups of a whole row.
 */
static dlx_status do_embedding_byte(const dlx_call *c, dlx_op op)
{
    uint32_t in[3], table, scales, zeros, ids;
    DLX_TRY(dlx_arg_tensor(c, 0, &table));
    DLX_TRY(dlx_arg_tensor(c, 1, &scales));
    DLX_TRY(dlx_arg_tensor_or_none(c, 2, &zeros));
    DLX_TRY(dlx_arg_tensor(c, 5, &ids));
    const dlx_value *t = dlx_call_value(c, table), *s = dlx_call_value(c, scales);
    bool rows = t->rank == 2 && t->dtype == DLX_I8 && s->dtype == DLX_F32 && s->rank >= 1 && s->rank <= 2 &&
                s->dim[0] == t->dim[0] && (s->rank == 1 || s->dim[1] == 1);
    if (!rows || zeros != DLX_NONE)
        return dlx_call_refuse(c, "an int8 table with one scale a row and without zero points is expected");
    if (s->rank == 1) DLX_TRY(dlx_call_unsqueeze(c, scales, 1, &scales));
    in[0] = table;
    in[1] = ids;
    in[2] = scales;
    return dlx_call_emit(c, op, in, 3, NULL);
}

/*
 * empty (sizes, memory format, out): nothing is written, the result has a new size. Where its memory is another
 * tensor's, of which it has but the first dimension's size changed, it is the front rows of that one: that is how
 * programs read the used part of a buffer without a copy. In memory of its own its contents would be arbitrary.
 */
static dlx_status do_empty(const dlx_call *c, dlx_op op)
{
    uint32_t in[2];
    dlx_import_size size[DLX_MAX_RANK];
    uint8_t n;
    int32_t result = c->args[c->n_args - 1];
    dlx_attr attr = {.shape = {0, 0, 1}};
    int inputs = 1;
    DLX_TRY(dlx_arg_sizes(c, 0, size, &n));
    DLX_TRY(dlx_import_shared(c->im, result, &in[0]));
    if (in[0] == DLX_NONE) return dlx_call_refuse(c, "its result has no memory of another tensor, so nothing is in it");
    const dlx_value *v = dlx_call_value(c, in[0]);
    bool rows = n == v->rank && n >= 1 && !v->dynamic;
    for (int d = 1; d < n && rows; d++) rows = size[d].value == DLX_NONE && size[d].number == v->dim[d];
    if (!rows) return dlx_call_refuse(c, "its result is not the front rows of the tensor whose memory it has");
    attr.bound[0] = attr.bound[1] = v->dim[0];
    attr.shape[1] = size[0].number;
    if (size[0].value != DLX_NONE) {
        in[inputs] = size[0].value;
        attr.shape[1] = DLX_RUN(inputs);
        inputs++;
    } else if (size[0].number < 0 || size[0].number > v->dim[0]) {
        return dlx_call_refuse(c, "its result is larger than the memory that it has");
    }
    uint32_t part;
    DLX_TRY(dlx_call_node(c, op, in, inputs, &attr, &part));
    dlx_import_part(c->im, result, part);
    return DLX_OK;
}

const dlx_kernel_import dlx_import_places[] = {
    {"aten::embedding.out", do_embedding, DLX_OP_EMBEDDING},
    {"aten::empty.out", do_empty, DLX_OP_NARROW},
    {"aten::index.Tensor_out", do_index, DLX_OP_INDEX},
    {"aten::index_put.out", do_index_put, DLX_OP_INDEX_PUT},
    {"aten::index_put_", do_index_put_in_place, DLX_OP_INDEX_PUT},
    {"aten::index_select.out", do_index_select, DLX_OP_INDEX},
    {"aten::gather.out", do_gather, DLX_OP_GATHER},
    {"aten::scatter.src_out", do_scatter, DLX_OP_SCATTER},
    {"aten::scatter.value_out", do_scatter, DLX_OP_SCATTER},
    {"aten::scatter_add.out", do_scatter, DLX_OP_SCATTER},
    {"aten::topk.values", do_topk, DLX_OP_TOPK},
    {"aten::copy_", do_copy_in_place, DLX_OP_COPY},
    {"aten::copy.out", do_copy, DLX_OP_COPY},
    {"aten::slice_scatter.out", do_slice_scatter, DLX_OP_SLICE_PUT},
    {"aten::select_scatter.out", do_select_scatter, DLX_OP_SLICE_PUT},
    {"executorch_prim::et_copy_index.tensor", do_copy_index, DLX_OP_SLICE_PUT},
    {"llama::update_cache.out", do_update_cache, DLX_OP_SLICE_PUT},
    {"llama::update_cache_with_indices.out", do_update_cache_at, DLX_OP_INDEX_PUT},
    {"llama::custom_sdpa.out", do_sdpa, DLX_OP_SDPA},
    {"quantized_decomposed::embedding_byte.out", do_embedding_byte, DLX_OP_EMBEDDING},
    {"quantized_decomposed::embedding_byte.dtype_out", do_embedding_byte, DLX_OP_EMBEDDING},
    {.name = NULL},
};
