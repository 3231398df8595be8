/*
 * Reading payloads of the XNNPACK delegate: header, flatbuffer, constants (inline behind the flatbuffer, or named data
 * of the program), then dlx_xnn_verify over the whole.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/sizes.h"
#include "format/flatbuffer.h"
#include "format/xnnpack_schema.h"

typedef struct reader {
    dlx_xnn_graph *out;
    dlx_arena *arena;
    const uint8_t *data;  /* [size], or NULL: */
    const dlx_file *file; /* they are here, at */
    uint64_t offset;
    uint64_t size;
    const dlx_pte *pte; /* whose named data; NULL: ask `named` */
    dlx_xnn_named_fn named;
    void *named_ctx;
    dlx_error *err;
    dlx_fb_buffer buffer;
    dlx_fb root;
    uint64_t constants_at, constants_size; /* region of the inline constants */
} reader;

static void *take(reader *r, size_t count, size_t size)
{
    if (!dlx_fb_charge(&r->buffer, (uint64_t)count * size)) return NULL;
    void *p = dlx_arena_array(r->arena, count, size);
    if (!p) r->buffer.status = dlx_fail(r->err, DLX_E_NOMEM, "out of memory");
    return p;
}

/* ---- header ---- */

/* Bytes [at, at + n) of the payload, which has them; those of a file go into the arena. */
static dlx_status bytes_at(reader *r, uint64_t at, size_t n, const uint8_t **out)
{
    if (!r->file) {
        *out = r->data + at;
        return DLX_OK;
    }
    uint8_t *copy = dlx_arena_alloc(r->arena, n);
    if (!copy) return dlx_fail(r->err, DLX_E_NOMEM, "out of memory");
    *out = copy;
    return dlx_file_read(r->file, r->offset + at, copy, n, r->err);
}

static dlx_status open_graph(reader *r)
{
    const uint8_t *head = NULL, *graph = NULL;
    if (r->size >= XNN_HEADER_LENGTH) DLX_TRY(bytes_at(r, 0, XNN_HEADER_LENGTH, &head));
    if (!head || memcmp(head + XNN_MAGIC_AT, DLX_XNN_HEADER_MAGIC, 4) != 0)
        return dlx_fail(
            r->err, DLX_E_UNSUPPORTED,
            "it does not begin with an '%s' header (%llu bytes); export it again with ExecuTorch 1.0 or later",
            DLX_XNN_HEADER_MAGIC, (unsigned long long)r->size);
    uint16_t length;
    uint32_t graph_at, graph_size, constants_at;
    memcpy(&length, head + XNN_LENGTH_AT, sizeof length);
    memcpy(&graph_at, head + XNN_GRAPH_OFFSET_AT, sizeof graph_at);
    memcpy(&graph_size, head + XNN_GRAPH_SIZE_AT, sizeof graph_size);
    memcpy(&constants_at, head + XNN_CONSTANT_OFFSET_AT, sizeof constants_at);
    memcpy(&r->constants_size, head + XNN_CONSTANT_SIZE_AT, sizeof r->constants_size);
    r->constants_at = constants_at;
    if (length < XNN_HEADER_LENGTH || !dlx_range_ok(graph_at, graph_size, r->size) ||
        !dlx_range_ok(constants_at, r->constants_size, r->size))
        return dlx_fail(
            r->err, DLX_E_FORMAT,
            "its header (%u bytes) tells of a graph of %u bytes at %u and %llu bytes of constants at %u; it has %llu",
            length, graph_size, graph_at, (unsigned long long)r->constants_size, constants_at,
            (unsigned long long)r->size);
    if (graph_size <= INT32_MAX) DLX_TRY(bytes_at(r, graph_at, graph_size, &graph)); /* else refused below */
    bool old = graph_size >= 8 && graph_size <= INT32_MAX && memcmp(graph + 4, DLX_XNN_OLD_IDENTIFIER, 4) == 0;
    return dlx_fb_open(&r->buffer, graph, graph_size, old ? DLX_XNN_OLD_IDENTIFIER : DLX_XNN_IDENTIFIER, "graph",
                       r->err, &r->root);
}

/* ---- constants ---- */

static bool find_named(const reader *r, dlx_xnn_constant *c, uint64_t *available)
{
    const dlx_pte_blob *b = r->pte ? dlx_pte_find_named(r->pte, c->key) : NULL;
    if (b) {
        c->data = b->data;
        c->file = b->file;
        c->offset = b->offset;
        *available = b->size;
    } else if (r->named) {
        c->data = r->named(r->named_ctx, c->key, available);
    }
    return c->data || c->file;
}

static dlx_status read_constant(reader *r, dlx_fb t, dlx_xnn_constant *c)
{
    uint64_t offset = dlx_fb_u64(t, CONSTANT_OFFSET, 0), available = 0;
    c->size = dlx_fb_u64(t, CONSTANT_SIZE, 0);
    c->key = dlx_fb_has(t, CONSTANT_KEY) ? dlx_fb_string(t, CONSTANT_KEY, NULL) : NULL;
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    if (!c->key) {
        if (!dlx_range_ok(offset, c->size, r->constants_size))
            return dlx_fail(r->err, DLX_E_FORMAT, "it has %llu bytes at %llu of %llu", (unsigned long long)c->size,
                            (unsigned long long)offset, (unsigned long long)r->constants_size);
        c->offset = r->offset + r->constants_at + offset;
        c->file = r->file;
        c->data = r->file ? NULL : r->data + r->constants_at + offset;
        return DLX_OK;
    }
    if (!find_named(r, c, &available))
        return dlx_fail(r->err, DLX_E_UNSUPPORTED,
                        "its data '%s' is not in the file; external weights (.ptd) are not supported", c->key);
    if (available < c->size)
        return dlx_fail(r->err, DLX_E_FORMAT, "it has %llu bytes; its data '%s' has %llu", (unsigned long long)c->size,
                        c->key, (unsigned long long)available);
    return DLX_OK;
}

static dlx_status read_constants(reader *r)
{
    dlx_fb_vector v = dlx_fb_vec(r->root, GRAPH_CONSTANTS, 4), old = dlx_fb_vec(r->root, GRAPH_OLD_CONSTANTS, 4);
    dlx_xnn_constant *constants = take(r, (size_t)v.count + 1, sizeof *constants);
    if (!constants) return r->buffer.status;
    if (v.count == 0 && old.count > 1)
        return dlx_fail(r->err, DLX_E_UNSUPPORTED,
                        "it keeps constants inside its graph; export it again with ExecuTorch 1.0 or later");
    for (uint32_t i = 1; i < v.count; i++) {
        dlx_status s = read_constant(r, dlx_fb_vec_table(v, i), &constants[i]);
        if (s != DLX_OK) return dlx_fail_prefix(r->err, s, "constant %u", i);
    }
    r->out->constants = constants;
    r->out->n_constants = v.count ? v.count : 1;
    return DLX_OK;
}

/* ---- values ---- */

static dlx_status read_inline_scales(reader *r, dlx_fb q, int slot, dlx_xnn_value *x)
{
    dlx_fb_vector v = dlx_fb_vec(q, slot, 4);
    if (x->scales) return r->buffer.status;
    float *scales = take(r, v.count, sizeof *scales);
    for (uint32_t i = 0; scales && i < v.count; i++) scales[i] = dlx_fb_vec_f32(v, i);
    x->inline_scales = scales;
    x->num_scales = v.count;
    return r->buffer.status;
}

static dlx_status read_quant(reader *r, dlx_fb quantized, dlx_xnn_value *x)
{
    x->quant = (dlx_xnn_quant)dlx_fb_u8(quantized, QUANTIZED_TYPE, DLX_XNN_Q_NONE);
    dlx_fb q = dlx_fb_table(quantized, QUANTIZED_PARAMS);
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    switch (x->quant) {
    case DLX_XNN_Q_PER_CHANNEL:
        x->channel_dim = dlx_fb_i32(q, CHANNEL_DIM, 0);
        x->scales = dlx_fb_u32(q, CHANNEL_BUFFER, 0);
        x->num_scales = dlx_fb_u32(q, CHANNEL_NUM_SCALES, 0);
        return read_inline_scales(r, q, CHANNEL_SCALE, x);
    case DLX_XNN_Q_PER_TENSOR:
        x->scale = dlx_fb_f32(q, PER_TENSOR_SCALE, 0);
        x->zero_point = dlx_fb_i32(q, PER_TENSOR_ZERO_POINT, 0);
        return r->buffer.status;
    case DLX_XNN_Q_PER_TOKEN_DYNAMIC:
        x->nonbatch_dims = dlx_fb_i32(q, PER_TOKEN_NONBATCH_DIMS, 0);
        return r->buffer.status;
    case DLX_XNN_Q_PER_CHANNEL_GROUP:
        x->channel_dim = dlx_fb_i32(q, GROUP_DIM, 0);
        x->group_size = dlx_fb_i32(q, GROUP_SIZE, 0);
        x->scales = dlx_fb_u32(q, GROUP_BUFFER, 0);
        x->num_scales = dlx_fb_u32(q, GROUP_NUM_SCALES, 0);
        if (!x->scales && dlx_fb_has(q, GROUP_OLD_BF16))
            return dlx_fail(r->err, DLX_E_UNSUPPORTED,
                            "it keeps bfloat16 scales inside the graph; export it again with ExecuTorch 1.0 or later");
        return read_inline_scales(r, q, GROUP_SCALE, x);
    case DLX_XNN_Q_NONE: break;
    }
    return dlx_fail(r->err, DLX_E_UNSUPPORTED, "its quantisation is number %d, which this build does not know",
                    (int)x->quant);
}

static dlx_status read_value(reader *r, dlx_fb t, dlx_xnn_value *x)
{
    int kind = dlx_fb_u8(t, UNION_TYPE, 0);
    dlx_fb tensor = dlx_fb_table(t, UNION_VALUE);
    if (kind == XVALUE_QUANTIZED) {
        DLX_TRY(read_quant(r, tensor, x));
        tensor = dlx_fb_table(tensor, QUANTIZED_TENSOR);
    } else if (kind != XVALUE_TENSOR && r->buffer.status == DLX_OK) {
        return dlx_fail(r->err, DLX_E_UNSUPPORTED, "its kind is number %d, which this build does not know", kind);
    }
    dlx_fb_vector dims = dlx_fb_vec(tensor, XTENSOR_DIMS, 4);
    uint32_t rank = dlx_fb_u32(tensor, XTENSOR_NUM_DIMS, 0);
    x->datatype = dlx_fb_i16(tensor, XTENSOR_DATATYPE, 0);
    x->constant = dlx_fb_u32(tensor, XTENSOR_CONSTANT, 0);
    x->external_id = dlx_fb_u32(tensor, XTENSOR_EXTERNAL, 0);
    x->flags = dlx_fb_u32(tensor, XTENSOR_FLAGS, 0);
    x->id = dlx_fb_u32(tensor, XTENSOR_ID, 0);
    int dq = dlx_fb_i16(tensor, XTENSOR_DQ_DATATYPE, 0);
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    if (!tensor.table) return dlx_fail(r->err, DLX_E_FORMAT, "it has no contents");
    if (dq != 0)
        return dlx_fail(
            r->err, DLX_E_UNSUPPORTED,
            "it is quantised in the retired way of version XN00; export it again with ExecuTorch 1.0 or later");
    if (rank > DLX_XNN_MAX_RANK || rank > dims.count)
        return dlx_fail(r->err, DLX_E_FORMAT, "it has rank %u and %u sizes; XNNPACK has at most %d dimensions", rank,
                        dims.count, DLX_XNN_MAX_RANK);
    x->rank = (uint8_t)rank;
    for (uint32_t d = 0; d < rank; d++) x->dim[d] = dlx_fb_vec_u32(dims, d);
    return DLX_OK;
}

static dlx_status read_values(reader *r)
{
    dlx_fb_vector v = dlx_fb_vec(r->root, GRAPH_VALUES, 4);
    dlx_xnn_value *values = take(r, v.count, sizeof *values);
    for (uint32_t i = 0; values && i < v.count; i++) {
        dlx_status s = read_value(r, dlx_fb_vec_table(v, i), &values[i]);
        if (s != DLX_OK) return dlx_fail_prefix(r->err, s, "value %u", i);
    }
    r->out->values = values;
    r->out->n_values = v.count;
    return r->buffer.status;
}

/* ---- nodes ---- */

static dlx_status read_dims(reader *r, dlx_fb t, int slot, uint32_t rank, uint32_t *dims)
{
    dlx_fb_vector v = dlx_fb_vec(t, slot, 4);
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    if (rank > DLX_XNN_MAX_RANK || rank > v.count)
        return dlx_fail(r->err, DLX_E_FORMAT, "it has rank %u and %u sizes; XNNPACK has at most %d dimensions", rank,
                        v.count, DLX_XNN_MAX_RANK);
    for (uint32_t d = 0; d < rank; d++) dims[d] = dlx_fb_vec_u32(v, d);
    return DLX_OK;
}

static dlx_status read_node(reader *r, dlx_fb node, dlx_xnn_node *n)
{
    n->type = dlx_fb_u8(node, UNION_TYPE, 0);
    dlx_fb t = dlx_fb_table(node, UNION_VALUE), bounds = dlx_fb_table(node, NODE_MIN_MAX);
    if (r->buffer.status != DLX_OK) return r->buffer.status;
    const dlx_xnn_layout *l = dlx_xnn_node_layout(n->type, &n->inputs);
    if (!l) return dlx_xnn_unknown_node(n->type, r->err);
    if (!t.table) return dlx_fail(r->err, DLX_E_FORMAT, "it has no contents");
    for (int i = 0; i < n->inputs; i++) n->in[i] = dlx_fb_u32(t, l->inputs[i], 0);
    n->out = dlx_fb_u32(t, l->out, 0);
    n->flags = dlx_fb_u32(t, l->flags, 0);
    n->clamped = bounds.table != 0;
    n->min = n->clamped ? dlx_fb_f32(bounds, MIN_MAX_MIN, 0) : -INFINITY;
    n->max = n->clamped ? dlx_fb_f32(bounds, MIN_MAX_MAX, 0) : INFINITY;
    if (l->axis >= 0) n->axis = dlx_fb_u32(t, l->axis, 0);
    if (l->factor >= 0) n->factor = dlx_fb_f32(t, l->factor, 0);
    if (l->rank >= 0) {
        uint32_t rank = dlx_fb_u32(t, l->rank, 0);
        DLX_TRY(read_dims(r, t, l->shape, rank, n->shape));
        if (l->size >= 0) DLX_TRY(read_dims(r, t, l->size, rank, n->size));
        n->rank = (uint8_t)rank;
    }
    return r->buffer.status;
}

static dlx_status read_nodes(reader *r)
{
    dlx_fb_vector v = dlx_fb_vec(r->root, GRAPH_NODES, 4);
    dlx_xnn_node *nodes = take(r, v.count, sizeof *nodes);
    for (uint32_t i = 0; nodes && i < v.count; i++) {
        dlx_status s = read_node(r, dlx_fb_vec_table(v, i), &nodes[i]);
        if (s != DLX_OK) return dlx_fail_prefix(r->err, s, "node %u (%s)", i, dlx_xnn_node_name(nodes[i].type));
    }
    r->out->nodes = nodes;
    r->out->n_nodes = v.count;
    return r->buffer.status;
}

/* ---- graph ---- */

static uint64_t place_of(const dlx_xnn_constant *c)
{
    return c->data ? (uintptr_t)c->data : c->offset;
}

/* Kernels read constants as they lie, so elements must lie at multiples of their size. */
static dlx_status check_alignment(const reader *r)
{
    const dlx_xnn_graph *g = r->out;
    for (uint32_t i = 0; i < g->n_values; i++) {
        const dlx_xnn_value *v = &g->values[i];
        uint32_t element = dlx_xnn_datatype_bits(v->datatype) / 8;
        uint32_t scale = v->quant == DLX_XNN_Q_PER_CHANNEL_GROUP ? 2 : 4;
        if (v->constant && element && place_of(&g->constants[v->constant]) % element)
            return dlx_fail(r->err, DLX_E_FORMAT, "value %u: constant %u is not aligned to its elements", i,
                            v->constant);
        if (v->scales && place_of(&g->constants[v->scales]) % scale)
            return dlx_fail(r->err, DLX_E_FORMAT, "value %u: constant %u is not aligned to its elements", i, v->scales);
    }
    return DLX_OK;
}

static dlx_status read_graph(reader *r)
{
    DLX_TRY(open_graph(r));
    r->out->num_externs = dlx_fb_u32(r->root, GRAPH_NUM_EXTERNS, 0);
    DLX_TRY(read_constants(r));
    DLX_TRY(read_values(r));
    return read_nodes(r);
}

static dlx_status read_all(reader *r, const char *name)
{
    memset(r->out, 0, sizeof *r->out);
    dlx_status s = read_graph(r);
    if (s != DLX_OK && s != DLX_E_IO) s = dlx_fail_prefix(r->err, s, "%s", name);
    if (s == DLX_OK) s = dlx_xnn_verify(r->out, name, &r->arena->mem, r->err);
    if (s == DLX_OK && (s = check_alignment(r)) != DLX_OK) s = dlx_fail_prefix(r->err, s, "%s", name);
    if (s != DLX_OK) memset(r->out, 0, sizeof *r->out);
    return s;
}

dlx_status dlx_xnn_read(dlx_xnn_graph *out, dlx_arena *arena, const void *data, uint64_t size, const char *name,
                        dlx_xnn_named_fn named, void *named_ctx, dlx_error *err)
{
    reader r = {
        .out = out, .arena = arena, .data = data, .size = size, .named = named, .named_ctx = named_ctx, .err = err};
    return read_all(&r, name);
}

dlx_status dlx_xnn_read_blob(dlx_xnn_graph *out, dlx_arena *arena, const dlx_pte *pte, const dlx_pte_blob *blob,
                             const char *name, dlx_error *err)
{
    reader r = {.out = out,
                .arena = arena,
                .data = blob->data,
                .file = blob->file,
                .offset = blob->offset,
                .size = blob->size,
                .pte = pte,
                .err = err};
    return read_all(&r, name);
}
