/* Builders of graph.h and pruning. Memory errors surface as DLX_NONE, shape errors in the caller's error record. */
#include "graph/graph.h"

#include <string.h>

#include "base/sizes.h"

static const struct {
    const char *name;
    uint8_t inputs_min, inputs_max, outputs;
} ops[DLX_OP_COUNT] = {
#define DLX_OP_ROW(name, lo, hi, outs) {#name, lo, hi, outs},
    DLX_OP_MAP(DLX_OP_ROW)
#undef DLX_OP_ROW
};

const char *dlx_op_name(dlx_op op)
{
    return (size_t)op < DLX_OP_COUNT ? ops[op].name : "?";
}

bool dlx_op_arity_ok(dlx_op op, int inputs, int outputs)
{
    return (size_t)op < DLX_OP_COUNT && inputs >= ops[op].inputs_min && inputs <= ops[op].inputs_max &&
           outputs == ops[op].outputs;
}

bool dlx_op_updates(dlx_op op)
{
    return op == DLX_OP_INDEX_PUT || op == DLX_OP_SCATTER || op == DLX_OP_SLICE_PUT;
}

void dlx_graph_init(dlx_graph *g)
{
    dlx_graph_init_with(g, NULL);
}

void dlx_graph_init_with(dlx_graph *g, const dlx_allocator *mem)
{
    memset(g, 0, sizeof *g);
    dlx_arena_init_with(&g->arena, mem);
}

void dlx_graph_free(dlx_graph *g)
{
    dlx_allocator mem = g->arena.mem;
    dlx_mem_free(&mem, g->values, g->values_capacity, sizeof *g->values);
    dlx_mem_free(&mem, g->nodes, g->nodes_capacity, sizeof *g->nodes);
    dlx_mem_free(&mem, g->inputs, g->inputs_capacity, sizeof *g->inputs);
    dlx_mem_free(&mem, g->outputs, g->outputs_capacity, sizeof *g->outputs);
    dlx_arena_free(&g->arena);
    dlx_graph_init_with(g, &mem);
}

uint32_t dlx_graph_value(dlx_graph *g, const dlx_value *v)
{
    if (g->n_values >= DLX_NONE - 1) return DLX_NONE;
    if (dlx_mem_grow(&g->arena.mem, &g->values, &g->values_capacity, g->n_values + 1, sizeof *g->values) != 0)
        return DLX_NONE;
    g->values[g->n_values] = *v;
    if (v->name) {
        g->values[g->n_values].name = dlx_arena_strndup(&g->arena, v->name, strlen(v->name));
        if (!g->values[g->n_values].name) return DLX_NONE;
    }
    return (uint32_t)g->n_values++;
}

static dlx_value make_value(const char *name, dlx_dtype dtype, dlx_value_kind kind, int rank, const int64_t *dim)
{
    dlx_value v = {
        .name = name, .dtype = dtype, .kind = kind, .rank = (uint8_t)rank, .scales = DLX_NONE, .producer = DLX_NONE};
    for (int i = 0; i < rank; i++) v.dim[i] = dim[i];
    return v;
}

static bool push(const dlx_graph *g, uint32_t **list, size_t *n, size_t *capacity, uint32_t value)
{
    if (dlx_mem_grow(&g->arena.mem, list, capacity, *n + 1, sizeof **list) != 0) return false;
    (*list)[(*n)++] = value;
    return true;
}

uint32_t dlx_graph_input(dlx_graph *g, const char *name, dlx_dtype dtype, int rank, const int64_t *dim,
                         unsigned dynamic)
{
    if (rank < 0 || rank > DLX_MAX_RANK) return DLX_NONE;
    dlx_value v = make_value(name, dtype, DLX_VALUE_INPUT, rank, dim);
    v.dynamic = (uint8_t)dynamic;
    uint32_t id = dlx_graph_value(g, &v);
    if (id == DLX_NONE || !push(g, &g->inputs, &g->n_inputs, &g->inputs_capacity, id)) return DLX_NONE;
    return id;
}

uint32_t dlx_graph_const(dlx_graph *g, const char *name, dlx_dtype dtype, int rank, const int64_t *dim,
                         dlx_const_source source)
{
    if (rank < 0 || rank > DLX_MAX_RANK) return DLX_NONE;
    dlx_value v = make_value(name, dtype, DLX_VALUE_CONST, rank, dim);
    v.source = source;
    return dlx_graph_value(g, &v);
}

bool dlx_graph_output(dlx_graph *g, uint32_t value)
{
    return value < g->n_values && push(g, &g->outputs, &g->n_outputs, &g->outputs_capacity, value);
}

/* The shape of a node's output when every dynamic dimension has `probe` (or its bound if that is less). */
static bool probe_shape(const dlx_graph *g, const dlx_node *node, const dlx_shape *in, int64_t probe, dlx_shape *out)
{
    dlx_shape smaller[DLX_MAX_INPUTS];
    for (int i = 0; i < node->inputs; i++) {
        smaller[i] = in[i];
        if (node->in[i] == DLX_NONE) continue;
        const dlx_value *v = &g->values[node->in[i]];
        for (int d = 0; d < v->rank; d++)
            if ((v->dynamic >> d & 1) && probe < v->dim[d]) smaller[i].dim[d] = probe;
    }
    return dlx_infer_node_known(g, node, smaller, &(dlx_known){.most = probe}, out, NULL) == DLX_OK;
}

/*
 * Which dimensions of a node's output can vary: infer the shape again with every dynamic dimension made smaller and
 * compare. Exact for the affine shapes that programs have. No rows at all divide into everything and are tried first;
 * one row is what operators that need some get, and reshapes that compute one dimension from several others.
 */
static unsigned output_dynamic(const dlx_graph *g, const dlx_node *node, const dlx_shape *in, const dlx_shape *out)
{
    dlx_shape other;
    unsigned dynamic = 0;
    int64_t first = node->op == DLX_OP_RESHAPE && node->inputs > 1;
    if (!probe_shape(g, node, in, first, &other) && !probe_shape(g, node, in, !first, &other)) return 0;
    for (int d = 0; d < out->rank && d < other.rank; d++)
        if (out->dim[d] != other.dim[d]) dynamic |= 1u << d;
    return dynamic;
}

uint32_t dlx_graph_node_to(dlx_graph *g, dlx_node node, uint32_t out, dlx_error *err)
{
    if (dlx_mem_grow(&g->arena.mem, &g->nodes, &g->nodes_capacity, g->n_nodes + 1, sizeof *g->nodes) != 0) {
        dlx_fail(err, DLX_E_NOMEM, "out of memory building a graph of %zu nodes", g->n_nodes);
        return DLX_NONE;
    }
    node.out[0] = out;
    node.outputs = 1;
    g->nodes[g->n_nodes] = node;
    g->values[out].producer = (uint32_t)g->n_nodes++;
    return out;
}

uint32_t dlx_graph_node(dlx_graph *g, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr, int32_t layer,
                        dlx_error *err)
{
    dlx_node node = {.op = op, .inputs = (uint8_t)inputs, .outputs = 1, .layer = layer};
    dlx_shape shapes[DLX_MAX_INPUTS], out;
    if (!dlx_op_arity_ok(op, inputs, 1)) {
        dlx_fail(err, DLX_E_INTERNAL, "operator %s takes other than %d inputs", dlx_op_name(op), inputs);
        return DLX_NONE;
    }
    if (attr) node.attr = *attr;
    for (int i = 0; i < inputs; i++) {
        node.in[i] = in[i];
        memset(&shapes[i], 0, sizeof shapes[i]);
        if (in[i] == DLX_NONE && i < ops[op].inputs_min) {
            if (err && err->status == DLX_OK)
                dlx_fail(err, DLX_E_NOMEM, "out of memory building a graph of %zu nodes", g->n_nodes);
            return DLX_NONE;
        }
        if (in[i] != DLX_NONE) shapes[i] = dlx_value_shape(&g->values[in[i]]);
    }
    if (dlx_infer_node(g, &node, shapes, &out, err) != DLX_OK) return DLX_NONE;
    dlx_value v = make_value(NULL, dlx_node_dtype(g, &node), DLX_VALUE_TEMP, out.rank, out.dim);
    v.dynamic = (uint8_t)output_dynamic(g, &node, shapes, &out);
    uint32_t id = dlx_graph_value(g, &v);
    if (id == DLX_NONE) {
        dlx_fail(err, DLX_E_NOMEM, "out of memory building a graph of %zu nodes", g->n_nodes);
        return DLX_NONE;
    }
    return dlx_graph_node_to(g, node, id, err);
}

dlx_status dlx_const_read(const dlx_value *v, uint64_t at, void *out, size_t n, dlx_error *err)
{
    const dlx_const_source *c = &v->source;
    if (!dlx_range_ok(at, n, c->bytes))
        return dlx_fail(err, DLX_E_INTERNAL, "constant '%s': bytes %llu and %zu more are asked for; it has %llu",
                        v->name ? v->name : "(unnamed)", (unsigned long long)at, n, (unsigned long long)c->bytes);
    if (!c->data) return dlx_file_read(c->file, c->offset + at, out, n, err);
    if (n) memcpy(out, (const char *)c->data + at, n);
    return DLX_OK;
}

dlx_status dlx_graph_prune(dlx_graph *g, dlx_error *err)
{
    uint8_t *used = dlx_mem_zeroed(&g->arena.mem, g->n_values, 1);
    if (!used) return dlx_fail(err, DLX_E_NOMEM, "out of memory pruning a graph of %zu values", g->n_values);
    for (size_t i = 0; i < g->n_outputs; i++) used[g->outputs[i]] = 1;
    for (size_t i = g->n_nodes; i-- > 0;) {
        const dlx_node *node = &g->nodes[i];
        if (!used[node->out[0]]) continue;
        for (int k = 0; k < node->inputs; k++)
            if (node->in[k] != DLX_NONE) used[node->in[k]] = 1;
    }
    size_t kept = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        uint32_t out = g->nodes[i].out[0];
        if (!used[out]) {
            g->values[out].producer = DLX_NONE;
            continue;
        }
        g->values[out].producer = (uint32_t)kept;
        g->nodes[kept++] = g->nodes[i];
    }
    g->n_nodes = kept;
    dlx_mem_free(&g->arena.mem, used, g->n_values, 1);
    return DLX_OK;
}
