/*
 * Writing payloads of the XNNPACK delegate: header, flatbuffer, inline constants. What the delegate's default of 0
 * would mean wrongly (external ids, absent biases and unused inputs) is written explicitly; the vector of scales is
 * always there, because the delegate reads it without looking; a constant's key only where the data is named.
 */
#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "format/flatbuffer.h"
#include "format/xnnpack_schema.h"

static void put_scalars(dlx_fbw *w, dlx_fbw_ref from, const void *items, size_t count)
{
    dlx_fbw_scalars(w, from, items, count, 4);
}

/* Scales stand in a constant or, in graphs that came from older files, in the flatbuffer. */
static void put_scales(dlx_fbw *w, dlx_fbw_ref from, const dlx_xnn_value *v)
{
    put_scalars(w, from, v->inline_scales, v->scales ? 0 : v->num_scales);
}

static void put_quant(dlx_fbw *w, dlx_fbw_ref from, const dlx_xnn_value *v)
{
    dlx_fbw_table t = {0};
    switch (v->quant) {
    case DLX_XNN_Q_PER_CHANNEL:
        dlx_fbw_set_ref(&t, CHANNEL_SCALE);
        dlx_fbw_set(&t, CHANNEL_DIM, 4, (uint32_t)v->channel_dim);
        dlx_fbw_set(&t, CHANNEL_BUFFER, 4, v->scales);
        dlx_fbw_set(&t, CHANNEL_NUM_SCALES, 4, v->num_scales);
        dlx_fbw_put(w, from, &t);
        put_scales(w, t.ref[CHANNEL_SCALE], v);
        return;
    case DLX_XNN_Q_PER_CHANNEL_GROUP:
        dlx_fbw_set_ref(&t, GROUP_SCALE);
        dlx_fbw_set(&t, GROUP_DIM, 4, (uint32_t)v->channel_dim);
        dlx_fbw_set(&t, GROUP_SIZE, 4, (uint32_t)v->group_size);
        dlx_fbw_set(&t, GROUP_BUFFER, 4, v->scales);
        dlx_fbw_set(&t, GROUP_NUM_SCALES, 4, v->num_scales);
        dlx_fbw_put(w, from, &t);
        put_scales(w, t.ref[GROUP_SCALE], v);
        return;
    case DLX_XNN_Q_PER_TENSOR:
        dlx_fbw_set_f32(&t, PER_TENSOR_SCALE, v->scale);
        dlx_fbw_set(&t, PER_TENSOR_ZERO_POINT, 4, (uint32_t)v->zero_point);
        break;
    case DLX_XNN_Q_PER_TOKEN_DYNAMIC: dlx_fbw_set(&t, PER_TOKEN_NONBATCH_DIMS, 4, (uint32_t)v->nonbatch_dims); break;
    case DLX_XNN_Q_NONE: break;
    }
    dlx_fbw_put(w, from, &t);
}

static void put_value(dlx_fbw *w, dlx_fbw_ref from, const dlx_xnn_value *v)
{
    bool quantized = v->quant != DLX_XNN_Q_NONE;
    dlx_fbw_table x = {0}, q = {0}, t = {0};
    dlx_fbw_set(&x, UNION_TYPE, 1, quantized ? XVALUE_QUANTIZED : XVALUE_TENSOR);
    dlx_fbw_set_ref(&x, UNION_VALUE);
    dlx_fbw_put(w, from, &x);
    dlx_fbw_ref tensor = x.ref[UNION_VALUE];
    if (quantized) {
        dlx_fbw_set_ref(&q, QUANTIZED_TENSOR);
        dlx_fbw_set(&q, QUANTIZED_TYPE, 1, (uint64_t)v->quant);
        dlx_fbw_set_ref(&q, QUANTIZED_PARAMS);
        dlx_fbw_put(w, tensor, &q);
        tensor = q.ref[QUANTIZED_TENSOR];
        put_quant(w, q.ref[QUANTIZED_PARAMS], v);
    }
    dlx_fbw_set(&t, XTENSOR_DATATYPE, 2, (uint64_t)v->datatype);
    dlx_fbw_set(&t, XTENSOR_NUM_DIMS, 4, v->rank);
    dlx_fbw_set_ref(&t, XTENSOR_DIMS);
    dlx_fbw_set(&t, XTENSOR_CONSTANT, 4, v->constant);
    dlx_fbw_set(&t, XTENSOR_EXTERNAL, 4, v->external_id);
    dlx_fbw_set(&t, XTENSOR_FLAGS, 4, v->flags);
    dlx_fbw_set(&t, XTENSOR_ID, 4, v->id);
    dlx_fbw_put(w, tensor, &t);
    put_scalars(w, t.ref[XTENSOR_DIMS], v->dim, v->rank);
}

static void put_node(dlx_fbw *w, dlx_fbw_ref from, const dlx_xnn_node *n, uint32_t index)
{
    uint8_t inputs;
    const dlx_xnn_layout *l = dlx_xnn_node_layout(n->type, &inputs);
    dlx_fbw_table node = {0}, t = {0};
    dlx_fbw_set(&node, UNION_TYPE, 1, (uint64_t)n->type);
    dlx_fbw_set_ref(&node, UNION_VALUE);
    dlx_fbw_set(&node, NODE_DEBUG_HANDLE, 4, index);
    if (n->clamped) dlx_fbw_set_ref(&node, NODE_MIN_MAX);
    dlx_fbw_put(w, from, &node);
    for (int i = 0; i < 5; i++)
        if (l->inputs[i] >= 0) dlx_fbw_set(&t, l->inputs[i], 4, i < inputs ? n->in[i] : DLX_XNN_NONE);
    dlx_fbw_set(&t, l->out, 4, n->out);
    dlx_fbw_set(&t, l->flags, 4, n->flags);
    if (l->axis >= 0) dlx_fbw_set(&t, l->axis, 4, n->axis);
    if (l->factor >= 0) {
        uint32_t bits;
        memcpy(&bits, &n->factor, sizeof bits);
        dlx_fbw_set(&t, l->factor, 4, bits);
    }
    if (l->rank >= 0) dlx_fbw_set(&t, l->rank, 4, n->rank);
    if (l->shape >= 0) dlx_fbw_set_ref(&t, l->shape);
    if (l->size >= 0) dlx_fbw_set_ref(&t, l->size);
    dlx_fbw_put(w, node.ref[UNION_VALUE], &t);
    if (l->shape >= 0) put_scalars(w, t.ref[l->shape], n->shape, n->rank);
    if (l->size >= 0) put_scalars(w, t.ref[l->size], n->size, n->rank);
    if (n->clamped) {
        dlx_fbw_table bounds = {0};
        dlx_fbw_set_f32(&bounds, MIN_MAX_MIN, n->min);
        dlx_fbw_set_f32(&bounds, MIN_MAX_MAX, n->max);
        dlx_fbw_put(w, node.ref[NODE_MIN_MAX], &bounds);
    }
}

/* Ids of the external inputs or outputs, in the order of their external ids. */
static void put_externals(dlx_fbw *w, dlx_fbw_ref from, const dlx_xnn_graph *g, uint32_t flag)
{
    uint32_t n = 0, of[XNN_MAX_EXTERNS], ids[XNN_MAX_EXTERNS];
    memset(of, 0xFF, sizeof of);
    for (uint32_t i = 0; i < g->n_values; i++)
        if (g->values[i].flags & flag) of[g->values[i].external_id] = g->values[i].id;
    for (uint32_t i = 0; i < g->num_externs; i++)
        if (of[i] != DLX_XNN_NONE) ids[n++] = of[i];
    put_scalars(w, from, ids, n);
}

/* Constant 0 is a placeholder. Returns the bytes of the inline constants. */
static uint64_t put_constants(dlx_fbw *w, dlx_fbw_ref from, const dlx_xnn_graph *g)
{
    uint64_t end = 0;
    dlx_fbw_ref vector = dlx_fbw_vector(w, from, g->n_constants ? g->n_constants : 1);
    for (uint32_t i = 0; i < g->n_constants || i == 0; i++) {
        dlx_fbw_table t = {0};
        const dlx_xnn_constant *c = i ? &g->constants[i] : NULL;
        bool named = c && c->key;
        uint64_t offset = dlx_align_up(end, XNN_CONSTANT_ALIGN);
        if (c && !named) end = offset + c->size;
        dlx_fbw_set(&t, CONSTANT_OFFSET, 8, named ? UINT64_MAX : c ? offset : 0);
        dlx_fbw_set(&t, CONSTANT_SIZE, 8, c ? c->size : 0);
        if (named) dlx_fbw_set_ref(&t, CONSTANT_KEY);
        dlx_fbw_put(w, dlx_fbw_item(vector, i), &t);
        if (named) dlx_fbw_string(w, t.ref[CONSTANT_KEY], c->key);
    }
    return end;
}

static uint64_t put_graph(dlx_fbw *w, const dlx_xnn_graph *g)
{
    dlx_fbw_table t = {0};
    dlx_fbw_set_ref(&t, GRAPH_VERSION);
    dlx_fbw_set_ref(&t, GRAPH_NODES);
    dlx_fbw_set_ref(&t, GRAPH_VALUES);
    dlx_fbw_set(&t, GRAPH_NUM_EXTERNS, 4, g->num_externs);
    dlx_fbw_set_ref(&t, GRAPH_INPUTS);
    dlx_fbw_set_ref(&t, GRAPH_OUTPUTS);
    dlx_fbw_set_ref(&t, GRAPH_CONSTANTS);
    dlx_fbw_put(w, dlx_fbw_root(w), &t);
    dlx_fbw_string(w, t.ref[GRAPH_VERSION], "0");
    dlx_fbw_ref nodes = dlx_fbw_vector(w, t.ref[GRAPH_NODES], g->n_nodes);
    for (uint32_t i = 0; i < g->n_nodes; i++) put_node(w, dlx_fbw_item(nodes, i), &g->nodes[i], i);
    dlx_fbw_ref values = dlx_fbw_vector(w, t.ref[GRAPH_VALUES], g->n_values);
    for (uint32_t i = 0; i < g->n_values; i++) put_value(w, dlx_fbw_item(values, i), &g->values[i]);
    put_externals(w, t.ref[GRAPH_INPUTS], g, DLX_XNN_FLAG_INPUT);
    put_externals(w, t.ref[GRAPH_OUTPUTS], g, DLX_XNN_FLAG_OUTPUT);
    return put_constants(w, t.ref[GRAPH_CONSTANTS], g);
}

/* Inline bytes must exist and their sum must stay far from overflow. */
static dlx_status check_inline(const dlx_xnn_graph *g, dlx_error *err)
{
    uint64_t total = 0;
    for (uint32_t i = 1; i < g->n_constants; i++) {
        const dlx_xnn_constant *c = &g->constants[i];
        if (c->key ? !c->key[0] : !c->data && c->size)
            return dlx_fail(err, DLX_E_INTERNAL, "XNNPACK payload: constant %u has neither a key nor data", i);
        if (!c->key && (!dlx_add_u64(total, c->size, &total) || total > SIZE_MAX / 4))
            return dlx_fail(err, DLX_E_LIMIT, "XNNPACK payload: its inline constants do not fit into memory");
    }
    return DLX_OK;
}

static void *assemble(const dlx_fbw *w, const dlx_xnn_graph *g, uint64_t constant_bytes, size_t *size)
{
    uint16_t length = XNN_HEADER_LENGTH;
    uint32_t graph_at = XNN_GRAPH_AT, graph_size = (uint32_t)w->size;
    uint32_t constants_at = (uint32_t)dlx_align_up(XNN_GRAPH_AT + (uint64_t)w->size, XNN_CONSTANT_ALIGN);
    *size = constants_at + (size_t)constant_bytes;
    uint8_t *p = calloc(1, *size);
    if (!p) return NULL;
    memcpy(p + XNN_MAGIC_AT, DLX_XNN_HEADER_MAGIC, 4);
    memcpy(p + XNN_LENGTH_AT, &length, sizeof length);
    memcpy(p + XNN_GRAPH_OFFSET_AT, &graph_at, sizeof graph_at);
    memcpy(p + XNN_GRAPH_SIZE_AT, &graph_size, sizeof graph_size);
    memcpy(p + XNN_CONSTANT_OFFSET_AT, &constants_at, sizeof constants_at);
    memcpy(p + XNN_CONSTANT_SIZE_AT, &constant_bytes, sizeof constant_bytes);
    memcpy(p + XNN_GRAPH_AT, w->data, w->size);
    uint64_t end = 0;
    for (uint32_t i = 1; i < g->n_constants; i++) {
        const dlx_xnn_constant *c = &g->constants[i];
        if (c->key) continue;
        end = dlx_align_up(end, XNN_CONSTANT_ALIGN);
        if (c->size) memcpy(p + constants_at + end, c->data, (size_t)c->size);
        end += c->size;
    }
    return p;
}

dlx_status dlx_xnn_write(const dlx_xnn_graph *graph, void **out, size_t *size, dlx_error *err)
{
    *out = NULL;
    *size = 0;
    DLX_TRY(dlx_xnn_verify(graph, "XNNPACK payload", NULL, err));
    DLX_TRY(check_inline(graph, err));
    dlx_fbw w;
    dlx_fbw_init(&w, DLX_XNN_IDENTIFIER, 0);
    uint64_t constant_bytes = put_graph(&w, graph);
    if (dlx_fbw_finish(&w)) *out = assemble(&w, graph, constant_bytes, size);
    dlx_fbw_free(&w);
    if (*out) return DLX_OK;
    *size = 0;
    return dlx_fail(err, DLX_E_NOMEM, "XNNPACK payload: out of memory, or its graph has more than 2 GiB");
}
