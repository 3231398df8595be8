/* Shape rules of every operator, on concrete sizes: used with upper bounds while building and with a call's actual
 * sizes while running. */
#include "graph/shape.h"

#include <string.h>

#include "base/sizes.h"

int64_t dlx_shape_elements(const dlx_shape *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++)
        if (__builtin_mul_overflow(n, s->dim[i], &n)) return -1;
    return n;
}

dlx_status dlx_shape_refused(const dlx_node *node, const char *rule, dlx_error *err)
{
    if (node->layer < 0) return dlx_fail(err, DLX_E_FORMAT, "operator %s: %s", dlx_op_name(node->op), rule);
    return dlx_fail(err, DLX_E_FORMAT, "operator %s (layer %d): %s", dlx_op_name(node->op), (int)node->layer, rule);
}

dlx_status dlx_infer_broadcast(const dlx_node *node, const dlx_shape *a, const dlx_shape *b, int skip, dlx_shape *out,
                               dlx_error *err)
{
    int rank = a->rank > b->rank ? a->rank : b->rank;
    out->rank = (uint8_t)rank;
    for (int i = 0; i < rank - skip; i++) {
        int64_t x = i < rank - a->rank ? 1 : a->dim[i - (rank - a->rank)];
        int64_t y = i < rank - b->rank ? 1 : b->dim[i - (rank - b->rank)];
        if (x != y && x != 1 && y != 1) return dlx_shape_refused(node, "shapes do not broadcast", err);
        out->dim[i] = x == 1 ? y : x;
    }
    return DLX_OK;
}

/* The number a scalar operand holds: a constant, or computed and known already. */
static bool scalar_known(const dlx_graph *g, uint32_t v, const dlx_known *known, int64_t *out)
{
    const dlx_value *value = &g->values[v];
    const void *data = value->kind == DLX_VALUE_CONST ? value->source.data
                       : known && known->data         ? known->data[v]
                                                      : NULL;
    if (data) memcpy(out, data, sizeof *out);
    return data != NULL;
}

int64_t dlx_run_size(const dlx_graph *g, const dlx_node *node, int d, const dlx_known *known)
{
    int64_t size = node->attr.shape[d];
    uint32_t operand = DLX_IS_RUN(size) ? node->in[size - INT64_MIN] : DLX_NONE;
    if (operand == DLX_NONE || scalar_known(g, operand, known, &size)) return size;
    int64_t most = node->attr.bound[d];
    if (known && known->most < most) most = known->most;
    if (known && known->range && known->range[operand].high < most) most = known->range[operand].high;
    return most;
}

static dlx_status infer_reshape(const dlx_graph *g, const dlx_node *node, const dlx_shape *in, const dlx_known *known,
                                dlx_shape *out, dlx_error *err)
{
    int64_t total = dlx_shape_elements(in), elements = 1;
    int inferred = -1;
    out->rank = node->attr.rank;
    if (out->rank > DLX_MAX_RANK || total < 0) return dlx_shape_refused(node, "shape is too large", err);
    for (int i = 0; i < out->rank; i++) {
        out->dim[i] = dlx_run_size(g, node, i, known);
        if (out->dim[i] == -1 && inferred < 0) {
            inferred = i;
        } else if (out->dim[i] < 0 || __builtin_mul_overflow(elements, out->dim[i], &elements)) {
            return dlx_shape_refused(node, "new shape is not valid", err);
        }
    }
    if (inferred >= 0) {
        if (elements == 0 ? total != 0 : total % elements != 0)
            return dlx_shape_refused(node, "element count does not divide", err);
        out->dim[inferred] = elements == 0 ? 0 : total / elements;
    } else if (elements != total) {
        return dlx_shape_refused(node, "element count changes", err);
    }
    return DLX_OK;
}

static dlx_status infer_transpose(const dlx_node *node, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    unsigned seen = 0;
    if (node->attr.rank != in->rank) return dlx_shape_refused(node, "permutation has another rank than its input", err);
    out->rank = in->rank;
    for (int i = 0; i < in->rank; i++) {
        int64_t p = node->attr.shape[i];
        if (p < 0 || p >= in->rank || (seen >> p & 1)) return dlx_shape_refused(node, "permutation is not one", err);
        seen |= 1u << p;
        out->dim[i] = in->dim[p];
    }
    return DLX_OK;
}

static dlx_status infer_slice(const dlx_node *node, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    if (node->attr.rank != in->rank) return dlx_shape_refused(node, "slice has another rank than its input", err);
    out->rank = in->rank;
    for (int i = 0; i < in->rank; i++) {
        int64_t begin = node->attr.shape[i], size = node->attr.size[i];
        if (begin < 0 || size < -1) return dlx_shape_refused(node, "slice bounds are negative", err);
        if (begin > in->dim[i]) begin = in->dim[i];
        int64_t left = in->dim[i] - begin;
        out->dim[i] = size == -1 || size > left ? left : size;
    }
    return DLX_OK;
}

static dlx_status infer_concat(const dlx_node *node, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    int axis = node->attr.axis;
    *out = in[0];
    if (axis < 0 || axis >= in[0].rank) return dlx_shape_refused(node, "axis is outside the rank", err);
    for (int k = 1; k < node->inputs; k++) {
        if (in[k].rank != in[0].rank) return dlx_shape_refused(node, "inputs differ in rank", err);
        for (int i = 0; i < in[0].rank; i++)
            if (i != axis && in[k].dim[i] != in[0].dim[i])
                return dlx_shape_refused(node, "inputs differ off the axis", err);
        if (__builtin_add_overflow(out->dim[axis], in[k].dim[axis], &out->dim[axis]))
            return dlx_shape_refused(node, "shape is too large", err);
    }
    return DLX_OK;
}

static dlx_status infer_bmm(const dlx_node *node, const dlx_shape *a, const dlx_shape *b, dlx_shape *out,
                            dlx_error *err)
{
    if (a->rank < 2 || b->rank < 2) return dlx_shape_refused(node, "operands need two dimensions", err);
    DLX_TRY(dlx_infer_broadcast(node, a, b, 2, out, err));
    int64_t k = node->attr.transpose_b ? b->dim[b->rank - 1] : b->dim[b->rank - 2];
    int64_t n = node->attr.transpose_b ? b->dim[b->rank - 2] : b->dim[b->rank - 1];
    if (a->dim[a->rank - 1] != k) return dlx_shape_refused(node, "inner dimensions differ", err);
    out->dim[out->rank - 2] = a->dim[a->rank - 2];
    out->dim[out->rank - 1] = n;
    return DLX_OK;
}

static dlx_status infer_linear(const dlx_node *node, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    if (in[0].rank < 1 || in[1].rank != 2) return dlx_shape_refused(node, "weight must be [n, k]", err);
    if (in[0].dim[in[0].rank - 1] != in[1].dim[1]) return dlx_shape_refused(node, "input and weight differ in k", err);
    if (node->inputs == 3 && node->in[2] != DLX_NONE && (in[2].rank != 1 || in[2].dim[0] != in[1].dim[0]))
        return dlx_shape_refused(node, "bias must be [n]", err);
    *out = in[0];
    out->dim[out->rank - 1] = in[1].dim[0];
    return DLX_OK;
}

static dlx_status infer_embedding(const dlx_graph *g, const dlx_node *node, const dlx_shape *in, dlx_shape *out,
                                  dlx_error *err)
{
    dlx_dtype table = g->values[node->in[0]].dtype;
    if (in[0].rank != 2 || in[1].rank + 1 > DLX_MAX_RANK) return dlx_shape_refused(node, "table must be [V, d]", err);
    if (node->inputs == 3 && (in[2].rank != 2 || in[2].dim[0] != in[0].dim[0]))
        return dlx_shape_refused(node, "row scales must be [V, 1]", err);
    if (node->inputs == 3 && in[2].dim[1] != 1 &&
        (g->values[node->in[2]].dtype != DLX_BF16 || in[2].dim[1] < 1 || in[0].dim[1] % in[2].dim[1]))
        return dlx_shape_refused(node, "scales must be [V, 1], or of groups [V, d / group]", err);
    *out = in[1];
    out->dim[out->rank++] = node->inputs == 2 && table == DLX_I4 ? in[0].dim[1] / 2 : in[0].dim[1];
    return DLX_OK;
}

static dlx_status infer_rope(const dlx_node *node, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    const dlx_shape *x = &in[0], *cos = &in[1], *sin = &in[2];
    int rank = x->rank - node->attr.keep; /* without the dimension of pairs */
    bool bad = rank < 3 || cos->rank != 2 || sin->rank != 2 || node->attr.axis < 0 || node->attr.axis > 1;
    for (int i = 0; !bad && i + 3 < rank; i++) bad = x->dim[i] != 1;
    if (!bad)
        bad = cos->dim[0] != x->dim[rank - 3 + node->attr.axis] || cos->dim[1] != x->dim[rank - 1] ||
              sin->dim[0] != cos->dim[0] || sin->dim[1] != cos->dim[1] || (node->attr.keep && x->dim[rank] != 2);
    if (bad) return dlx_shape_refused(node, "needs x [1..,T,H,D] and cos, sin [T,D], or pairs of that", err);
    if (!node->attr.keep && x->dim[rank - 1] % 2) return dlx_shape_refused(node, "head_dim must be even", err);
    *out = *x;
    return DLX_OK;
}

static dlx_status infer_attention(const dlx_node *node, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    const dlx_shape *q = &in[0], *k = &in[1], *v = &in[2];
    bool cached = node->inputs >= 5 && node->in[3] != DLX_NONE;
    bool bad = q->rank != 3 || k->rank != 3 || v->rank != 3 || k->dim[0] != q->dim[0] || k->dim[2] != q->dim[2] ||
               k->dim[1] < 1 || q->dim[1] % (k->dim[1] < 1 ? 1 : k->dim[1]) != 0;
    for (int i = 0; !bad && i < 3; i++) bad = v->dim[i] != k->dim[i];
    if (!bad && cached)
        bad = in[3].rank != 3 || in[4].rank != 3 || in[3].dim[0] != in[4].dim[0] || in[3].dim[1] != k->dim[1] ||
              in[4].dim[1] != k->dim[1] || in[3].dim[2] != k->dim[2] || in[4].dim[2] != k->dim[2];
    if (!bad && node->inputs == 6 && node->in[5] != DLX_NONE)
        bad = !cached || in[5].rank != 2 || in[5].dim[0] != q->dim[0] || in[5].dim[1] != in[3].dim[0] + q->dim[0];
    if (bad)
        return dlx_shape_refused(
            node, "needs q [T,H,D], k and v [T,K,D], caches [P,K,D], K dividing H, and with those a mask [T,P+T]", err);
    out->rank = 2;
    out->dim[0] = q->dim[0];
    if (__builtin_mul_overflow(q->dim[1], q->dim[2], &out->dim[1]))
        return dlx_shape_refused(node, "shape is too large", err);
    return DLX_OK;
}

dlx_status dlx_infer_node_known(const dlx_graph *g, const dlx_node *node, const dlx_shape *in, const dlx_known *known,
                                dlx_shape *out, dlx_error *err)
{
    memset(out, 0, sizeof *out);
    switch (node->op) {
    case DLX_OP_EMBEDDING: return infer_embedding(g, node, in, out, err);
    case DLX_OP_LINEAR: return infer_linear(node, in, out, err);
    case DLX_OP_RMS_NORM:
        if (in[0].rank < 1 || in[1].rank != 1 || in[1].dim[0] != in[0].dim[in[0].rank - 1])
            return dlx_shape_refused(node, "weight must be [d]", err);
        *out = in[0];
        return DLX_OK;
    case DLX_OP_ROPE: return infer_rope(node, in, out, err);
    case DLX_OP_ATTENTION: return infer_attention(node, in, out, err);
    case DLX_OP_ROW_SELECT:
        if (in[0].rank < 1 || in[1].rank != 1) return dlx_shape_refused(node, "needs x [T,..] and rows [R]", err);
        *out = in[0];
        out->dim[0] = in[1].dim[0];
        return DLX_OK;
    case DLX_OP_SILU_MUL:
        if (in[0].rank != in[1].rank || memcmp(in[0].dim, in[1].dim, in[0].rank * sizeof in[0].dim[0]) != 0)
            return dlx_shape_refused(node, "inputs differ in shape", err);
        *out = in[0];
        return DLX_OK;
    case DLX_OP_BMM: return infer_bmm(node, &in[0], &in[1], out, err);
    case DLX_OP_RESHAPE: return infer_reshape(g, node, &in[0], known, out, err);
    case DLX_OP_TRANSPOSE: return infer_transpose(node, &in[0], out, err);
    case DLX_OP_SLICE: return infer_slice(node, &in[0], out, err);
    case DLX_OP_CONCAT: return infer_concat(node, in, out, err);
    default: return dlx_infer_more(g, node, in, known, out, err);
    }
}

dlx_status dlx_infer_node(const dlx_graph *g, const dlx_node *node, const dlx_shape *in, dlx_shape *out, dlx_error *err)
{
    return dlx_infer_node_known(g, node, in, NULL, out, err);
}

bool dlx_node_sized_at_run(const dlx_node *node)
{
    if (node->op == DLX_OP_ARANGE) return true;
    return node->inputs > 1 && (node->op == DLX_OP_RESHAPE || node->op == DLX_OP_EXPAND || node->op == DLX_OP_NARROW);
}

dlx_status dlx_infer_step(const dlx_graph *g, const dlx_node *node, dlx_shape *shapes, const dlx_known *known,
                          dlx_error *err)
{
    dlx_shape in[DLX_MAX_INPUTS];
    for (int k = 0; k < node->inputs; k++)
        if (node->in[k] != DLX_NONE) in[k] = shapes[node->in[k]];
    return dlx_infer_node_known(g, node, in, known, &shapes[node->out[0]], err);
}

void dlx_constant_shapes(const dlx_graph *g, dlx_shape *shapes)
{
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].kind == DLX_VALUE_CONST) shapes[i] = dlx_value_shape(&g->values[i]);
}

dlx_status dlx_graph_infer(const dlx_graph *g, dlx_shape *shapes, dlx_error *err)
{
    dlx_constant_shapes(g, shapes);
    for (size_t i = 0; i < g->n_nodes; i++) DLX_TRY(dlx_infer_step(g, &g->nodes[i], shapes, NULL, err));
    return DLX_OK;
}
