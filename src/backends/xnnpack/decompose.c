/*
 * High-level operators into XNNPACK's primitives. Each expansion is the one that runtime/raise.c recognises again, so
 * that a file written here runs fused in our runtime.
 */
#include "backends/xnnpack/xnnpack.h"

#include <stdio.h>
#include <string.h>

#include "graph/linear_kinds.h"
#include "graph/rewrite.h"

typedef struct expansion {
    dlx_rewrite r;
    int32_t layer;
    dlx_takes_node_fn keeps; /* or NULL */
    dlx_error *err;
} expansion;

static uint32_t unary(expansion *x, dlx_op op, uint32_t a)
{
    return dlx_graph_node(&x->r.to, op, &a, 1, NULL, x->layer, x->err);
}

static uint32_t binary(expansion *x, dlx_op op, uint32_t a, uint32_t b)
{
    uint32_t in[2] = {a, b};
    return dlx_graph_node(&x->r.to, op, in, 2, NULL, x->layer, x->err);
}

static uint32_t shaped(expansion *x, dlx_op op, uint32_t a, int rank, const int64_t *shape)
{
    dlx_attr attr = {.rank = (uint8_t)rank};
    memcpy(attr.shape, shape, (size_t)rank * sizeof *shape);
    return dlx_graph_node(&x->r.to, op, &a, 1, &attr, x->layer, x->err);
}

/* Columns [begin, begin + size) of the last of three dimensions. */
static uint32_t last_slice(expansion *x, uint32_t a, int64_t begin, int64_t size)
{
    dlx_attr attr = {.rank = 3, .shape = {0, 0, begin}, .size = {-1, -1, size}};
    return dlx_graph_node(&x->r.to, DLX_OP_SLICE, &a, 1, &attr, x->layer, x->err);
}

static uint32_t concat(expansion *x, int axis, uint32_t a, uint32_t b)
{
    dlx_attr attr = {.axis = axis};
    uint32_t in[2] = {a, b};
    return dlx_graph_node(&x->r.to, DLX_OP_CONCAT, in, 2, &attr, x->layer, x->err);
}

static uint32_t bmm(expansion *x, uint32_t a, uint32_t b, bool transpose_b)
{
    dlx_attr attr = {.transpose_b = transpose_b};
    uint32_t in[2] = {a, b};
    return dlx_graph_node(&x->r.to, DLX_OP_BMM, in, 2, &attr, x->layer, x->err);
}

/* A constant filled with one number, shared by name among all layers. */
static uint32_t filled_const(expansion *x, const char *name, int rank, const int64_t *dim, float number)
{
    dlx_graph *g = &x->r.to;
    for (size_t i = 0; i < g->n_values; i++)
        if (g->values[i].kind == DLX_VALUE_CONST && g->values[i].name && !strcmp(g->values[i].name, name))
            return (uint32_t)i;
    size_t n = 1;
    for (int i = 0; i < rank; i++) n *= (size_t)dim[i];
    float *data = dlx_arena_array(&g->arena, n, sizeof *data);
    if (!data) return DLX_NONE;
    for (size_t i = 0; i < n; i++) data[i] = number;
    dlx_const_source source = {.data = data, .bytes = n * sizeof *data, .stored = DLX_F32};
    return dlx_graph_const(g, name, DLX_F32, rank, dim, source);
}

static uint32_t scalar(expansion *x, const char *name, float number)
{
    int64_t one = 1;
    return filled_const(x, name, 1, &one, number);
}

static uint32_t attention_scale(expansion *x, const dlx_node *n)
{
    char name[64];
    snprintf(name, sizeof name, "attn.scale.%.9g", (double)n->attr.f[0]);
    return scalar(x, name, n->attr.f[0]);
}

/* x * rsqrt(mean(x^2) + eps) * w; the mean is a fully connected layer with one output and eps as its bias, because the
 * payload's schema has no mean. */
static uint32_t expand_rms_norm(expansion *x, const dlx_node *n, const uint32_t *in)
{
    char name[64];
    const dlx_value *v = &x->r.to.values[in[0]];
    int64_t d = v->dim[v->rank - 1], row[2] = {1, d};
    snprintf(name, sizeof name, "rms.mean.%lld", (long long)d);
    uint32_t mean = filled_const(x, name, 2, row, 1.0f / (float)d);
    snprintf(name, sizeof name, "rms.eps.%.9g", (double)n->attr.f[0]);
    uint32_t eps = scalar(x, name, n->attr.f[0]);
    if (eps == DLX_NONE) return DLX_NONE; /* a linear layer does without a bias */
    uint32_t fc[3] = {unary(x, DLX_OP_SQUARE, in[0]), mean, eps};
    uint32_t ms = dlx_graph_node(&x->r.to, DLX_OP_LINEAR, fc, 3, NULL, x->layer, x->err);
    uint32_t normed = binary(x, DLX_OP_MUL, in[0], unary(x, DLX_OP_RSQRT, ms));
    return binary(x, DLX_OP_MUL, normed, in[1]);
}

static uint32_t expand_rope(expansion *x, const uint32_t *in)
{
    int64_t d = x->r.to.values[in[0]].dim[2], wide[3] = {-1, 1, d};
    uint32_t cos = shaped(x, DLX_OP_RESHAPE, in[1], 3, wide), sin = shaped(x, DLX_OP_RESHAPE, in[2], 3, wide);
    uint32_t swapped = concat(x, 2, last_slice(x, in[0], d / 2, d / 2), last_slice(x, in[0], 0, d / 2));
    return binary(x, DLX_OP_ADD, binary(x, DLX_OP_MUL, in[0], cos), binary(x, DLX_OP_MUL, swapped, sin));
}

/* Scores [K, H/K * T, S] with the mask [T, S] added for each head. */
static uint32_t masked(expansion *x, uint32_t scores, uint32_t mask, int64_t heads, int64_t kv)
{
    const dlx_value *m = &x->r.to.values[mask];
    const int64_t by_head[4] = {kv, heads / kv, m->dim[0], m->dim[1]}, merged[3] = {kv, -1, m->dim[1]};
    uint32_t split = shaped(x, DLX_OP_RESHAPE, scores, 4, by_head);
    return shaped(x, DLX_OP_RESHAPE, binary(x, DLX_OP_ADD, split, mask), 3, merged);
}

static uint32_t expand_attention(expansion *x, const dlx_node *n, const uint32_t *in)
{
    const dlx_value *q = &x->r.to.values[in[0]], *k = &x->r.to.values[in[1]];
    int64_t heads = q->dim[1], d = q->dim[2], kv = k->dim[1], group = heads / kv;
    uint32_t scale = attention_scale(x, n);
    const int64_t split[4] = {-1, kv, group, d}, by_head[4] = {1, 2, 0, 3}, merged[3] = {kv, -1, d};
    const int64_t kv_major[3] = {1, 0, 2}, unmerged[4] = {kv, group, -1, d}, by_row[4] = {2, 0, 1, 3};
    const int64_t flat[2] = {-1, heads * d};
    uint32_t keys = in[1], values = in[2];
    if (n->inputs >= 5 && in[3] != DLX_NONE) {
        keys = concat(x, 0, in[3], keys);
        values = concat(x, 0, in[4], values);
    }
    uint32_t rows = shaped(x, DLX_OP_TRANSPOSE, shaped(x, DLX_OP_RESHAPE, in[0], 4, split), 4, by_head);
    rows = shaped(x, DLX_OP_RESHAPE, binary(x, DLX_OP_MUL, rows, scale), 3, merged);
    keys = shaped(x, DLX_OP_TRANSPOSE, keys, 3, kv_major);
    values = shaped(x, DLX_OP_TRANSPOSE, values, 3, kv_major);
    uint32_t scores = bmm(x, rows, keys, true);
    if (n->inputs == 6 && in[5] != DLX_NONE) scores = masked(x, scores, in[5], heads, kv);
    uint32_t weights = unary(x, DLX_OP_SOFTMAX, scores);
    uint32_t out = shaped(x, DLX_OP_RESHAPE, bmm(x, weights, values, false), 4, unmerged);
    return shaped(x, DLX_OP_RESHAPE, shaped(x, DLX_OP_TRANSPOSE, out, 4, by_row), 2, flat);
}

/* Over keys and values of all slots, heads first, with a mask: [1,T,H,D]. Query heads of one key head share its batch:
 * batches broadcast. */
static uint32_t expand_sdpa(expansion *x, const dlx_node *n, const uint32_t *in)
{
    const dlx_value *q = &x->r.to.values[in[0]], *k = &x->r.to.values[in[1]];
    int64_t heads = q->dim[2], d = q->dim[3], kv = k->dim[1], group = heads / kv;
    const unsigned axes = DLX_SDPA_K_HEADS_FIRST | DLX_SDPA_V_HEADS_FIRST;
    if (q->dim[0] != 1 || n->attr.axes != axes || n->inputs < 5 || in[3] != DLX_NONE || in[4] == DLX_NONE) {
        dlx_fail(x->err, DLX_E_UNSUPPORTED, "XNNPACK: attention other than of one sequence over heads with a mask");
        return DLX_NONE;
    }
    uint32_t scale = attention_scale(x, n);
    const int64_t split[4] = {-1, kv, group, d}, by_head[4] = {1, 2, 0, 3}, by_row[4] = {2, 0, 1, 3};
    const int64_t shared[4] = {kv, 1, -1, d}, whole[4] = {1, -1, heads, d};
    uint32_t rows = shaped(x, DLX_OP_TRANSPOSE, shaped(x, DLX_OP_RESHAPE, in[0], 4, split), 4, by_head);
    rows = binary(x, DLX_OP_MUL, rows, scale);
    uint32_t scores = bmm(x, rows, shaped(x, DLX_OP_RESHAPE, in[1], 4, shared), true);
    uint32_t weights = unary(x, DLX_OP_SOFTMAX, binary(x, DLX_OP_ADD, scores, in[4]));
    uint32_t out = bmm(x, weights, shaped(x, DLX_OP_RESHAPE, in[2], 4, shared), false);
    return shaped(x, DLX_OP_RESHAPE, shaped(x, DLX_OP_TRANSPOSE, out, 4, by_row), 4, whole);
}

static uint32_t expand_silu_mul(expansion *x, const uint32_t *in)
{
    uint32_t silu = binary(x, DLX_OP_MUL, in[0], unary(x, DLX_OP_SIGMOID, in[0]));
    return binary(x, DLX_OP_MUL, silu, in[1]);
}

static uint32_t to_float(expansion *x, uint32_t v)
{
    dlx_attr unit = {.f = {1.0f, 0.0f}};
    if (v == DLX_NONE || x->r.to.values[v].dtype == DLX_F32) return v;
    return dlx_graph_node(&x->r.to, DLX_OP_CONVERT, &v, 1, &unit, x->layer, x->err);
}

/* Bytes u [T, d/2], each of two 4-bit codes + 8: floats [T, d] that are the codes. Exact: 16 hi + lo = u, and what lies
 * in pairs is brought in order by a transposition. */
static uint32_t unpack(expansion *x, uint32_t u, int64_t d)
{
    const int64_t halves[3] = {-1, 2, d / 2}, swapped[3] = {0, 2, 1}, row[2] = {-1, d};
    uint32_t hi = unary(x, DLX_OP_FLOOR, binary(x, DLX_OP_MUL, u, scalar(x, "int4.sixteenth", 0.0625f)));
    uint32_t lo = binary(x, DLX_OP_SUB, u, binary(x, DLX_OP_MUL, hi, scalar(x, "int4.sixteen", 16.0f)));
    uint32_t both = shaped(x, DLX_OP_RESHAPE, concat(x, 1, lo, hi), 3, halves);
    uint32_t rows = shaped(x, DLX_OP_RESHAPE, shaped(x, DLX_OP_TRANSPOSE, both, 3, swapped), 2, row);
    return binary(x, DLX_OP_SUB, rows, scalar(x, "int4.eight", 8.0f));
}

/* Quantised rows and their scales are gathered separately, then multiplied inside the delegate. */
static uint32_t expand_embedding(expansion *x, const uint32_t *in)
{
    uint32_t rows[2] = {in[0], in[1]}, scales[2] = {in[2], in[1]};
    int64_t d = x->r.to.values[in[0]].dim[1], groups = x->r.to.values[in[2]].dim[1];
    bool int4 = x->r.to.values[in[0]].dtype == DLX_I4;
    uint32_t q = dlx_graph_node(&x->r.to, DLX_OP_EMBEDDING, rows, 2, NULL, x->layer, x->err);
    uint32_t s = dlx_graph_node(&x->r.to, DLX_OP_EMBEDDING, scales, 2, NULL, x->layer, x->err);
    q = to_float(x, q);
    s = to_float(x, s);
    if (q == DLX_NONE || s == DLX_NONE) return DLX_NONE;
    if (int4) q = unpack(x, q, d);
    if (groups == 1) return binary(x, DLX_OP_MUL, q, s);
    const int64_t grouped[3] = {-1, groups, d / groups}, each[3] = {-1, groups, 1}, row[2] = {-1, d};
    q = binary(x, DLX_OP_MUL, shaped(x, DLX_OP_RESHAPE, q, 3, grouped), shaped(x, DLX_OP_RESHAPE, s, 3, each));
    return shaped(x, DLX_OP_RESHAPE, q, 2, row);
}

/* A bias that is added behind: XNNPACK multiplies that of float activations and int8 weights by the scale, and the
 * delegate has freed the bytes of one when a filter that is widened in every call (emit.c) is packed. */
static uint32_t expand_biased(expansion *x, const uint32_t *in)
{
    uint32_t y = dlx_graph_node(&x->r.to, DLX_OP_LINEAR, in, 2, NULL, x->layer, x->err);
    return binary(x, DLX_OP_ADD, y, in[2]);
}

static bool adds_bias(const dlx_graph *g, const dlx_node *n)
{
    if (n->inputs < 3 || n->in[2] == DLX_NONE) return false;
    dlx_linear_kind kind = dlx_linear_kind_of(g, &g->values[n->in[0]], &g->values[n->in[1]]);
    return kind == DLX_LINEAR_F32_QC8W || kind == DLX_LINEAR_F32_BF16W;
}

static dlx_status expand(expansion *x, size_t i)
{
    const dlx_node *n = &x->r.from->nodes[i];
    uint32_t in[DLX_MAX_INPUTS] = {DLX_NONE, DLX_NONE, DLX_NONE, DLX_NONE, DLX_NONE, DLX_NONE}, out;
    x->layer = n->layer;
    for (int k = 0; k < n->inputs; k++) {
        in[k] = dlx_rewrite_value(&x->r, n->in[k], x->err);
        if (in[k] == DLX_NONE && n->in[k] != DLX_NONE) return DLX_E_NOMEM;
    }
    if (x->keeps && x->keeps(x->r.from, n)) return dlx_rewrite_copy(&x->r, i, x->err);
    switch (n->op) {
    case DLX_OP_RMS_NORM: out = expand_rms_norm(x, n, in); break;
    case DLX_OP_ROPE: out = expand_rope(x, in); break;
    case DLX_OP_ATTENTION: out = expand_attention(x, n, in); break;
    case DLX_OP_SDPA: out = expand_sdpa(x, n, in); break;
    case DLX_OP_SILU_MUL: out = expand_silu_mul(x, in); break;
    case DLX_OP_LINEAR:
        if (!adds_bias(x->r.from, n)) return dlx_rewrite_copy(&x->r, i, x->err);
        out = expand_biased(x, in);
        break;
    case DLX_OP_EMBEDDING:
        if (n->inputs < 3) return dlx_rewrite_copy(&x->r, i, x->err);
        out = expand_embedding(x, in);
        break;
    default: return dlx_rewrite_copy(&x->r, i, x->err);
    }
    return dlx_rewrite_set(&x->r, n->out[0], out, x->err);
}

dlx_status dlx_xnnpack_decompose(dlx_graph *g, dlx_error *err)
{
    return dlx_xnnpack_decompose_others(g, NULL, err);
}

dlx_status dlx_xnnpack_decompose_others(dlx_graph *g, dlx_takes_node_fn keeps, dlx_error *err)
{
    dlx_error local = {0};
    expansion x = {.keeps = keeps, .err = &local};
    dlx_status s = dlx_rewrite_begin(&x.r, g, &local);
    for (size_t i = 0; s == DLX_OK && i < g->n_nodes; i++) s = expand(&x, i);
    if (s == DLX_OK) s = dlx_rewrite_finish(&x.r, g, &local);
    if (s != DLX_OK) {
        dlx_rewrite_abandon(&x.r);
        if (local.status == DLX_OK) dlx_fail(&local, s, "out of memory lowering a graph to XNNPACK");
        if (err) *err = local;
    }
    return s;
}
