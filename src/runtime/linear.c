/* The loops of each kind of linear layer, and what they read of a node. */
#include "runtime/linear.h"

#include "graph/linear_kinds.h"

static const dlx_gemm *f32(const dlx_kernels *k)
{
    return &k->gemm_f32;
}

static const dlx_gemm *f32_f16w(const dlx_kernels *k)
{
    return &k->gemm_f32_f16w;
}

static const dlx_gemm *f32_bf16w(const dlx_kernels *k)
{
    return &k->gemm_f32_bf16w;
}

static const dlx_gemm *f32_qc8w(const dlx_kernels *k)
{
    return &k->gemm_f32_qc8w;
}

static const dlx_gemm *qd8_qc8w(const dlx_kernels *k)
{
    return &k->gemm_qd8_qc8w;
}

static const dlx_gemm *qd8_qc4w(const dlx_kernels *k)
{
    return &k->gemm_qd8_qc4w;
}

static const dlx_gemm *qd8_qb4w(const dlx_kernels *k)
{
    return &k->gemm_qd8_qb4w;
}

static const dlx_gemm *qs8_qc8w(const dlx_kernels *k)
{
    return &k->gemm_qs8_qc8w;
}

typedef const dlx_gemm *(*gemm_fn)(const dlx_kernels *k);
static const gemm_fn gemms[DLX_LINEAR_KINDS] = {
    [DLX_LINEAR_F32] = f32,           [DLX_LINEAR_F32_F16W] = f32_f16w, [DLX_LINEAR_F32_BF16W] = f32_bf16w,
    [DLX_LINEAR_F32_QC8W] = f32_qc8w, [DLX_LINEAR_QD8_QC8W] = qd8_qc8w, [DLX_LINEAR_QD8_QC4W] = qd8_qc4w,
    [DLX_LINEAR_QD8_QB4W] = qd8_qb4w, [DLX_LINEAR_QS8_QC8W] = qs8_qc8w,
};

static const dlx_value *operand(const dlx_graph *g, const dlx_node *n, int i)
{
    return i < n->inputs && n->in[i] != DLX_NONE ? &g->values[n->in[i]] : NULL;
}

const dlx_gemm *dlx_linear_gemm(const dlx_kernels *k, const dlx_graph *g, const dlx_node *linear)
{
    return gemms[dlx_linear_kind_of(g, operand(g, linear, 0), operand(g, linear, 1))](k);
}

const dlx_quantizer *dlx_linear_quantizer(const dlx_kernels *k, dlx_dtype activations)
{
    return activations == DLX_QD8 || activations == DLX_QS8 ? &k->qd8 : NULL;
}

dlx_gemm_shape dlx_linear_shape(const dlx_graph *g, const dlx_node *linear)
{
    const dlx_value *w = operand(g, linear, 1);
    return (dlx_gemm_shape){.n_out = (size_t)w->dim[0], .n_in = (size_t)w->dim[1], .group = dlx_group_of(g, w)};
}

dlx_gemm_weights dlx_linear_weights(const dlx_graph *g, const dlx_node *linear)
{
    const dlx_value *w = operand(g, linear, 1), *bias = operand(g, linear, 2);
    dlx_scaling scaling = dlx_scaling_of(g, w);
    const void *scales = scaling != DLX_UNSCALED ? g->values[w->scales].source.data : NULL;
    return (dlx_gemm_weights){.w = w->source.data,
                              .scale = scaling == DLX_PER_ROW ? scales : NULL,
                              .group_scale = scaling == DLX_PER_GROUP ? scales : NULL,
                              .bias = bias && bias->dtype == DLX_F32 ? bias->source.data : NULL,
                              .bias_i32 = bias && bias->dtype == DLX_I32 ? bias->source.data : NULL};
}

dlx_qs8_params dlx_linear_grids(const dlx_graph *g, const dlx_node *linear)
{
    if (operand(g, linear, 0)->dtype != DLX_QS8) return (dlx_qs8_params){0};
    dlx_grid8 in = dlx_grid8_of(dlx_made_by(g, linear->in[0])), out = dlx_grid8_of(linear);
    return (dlx_qs8_params){.in_scale = in.scale, .out_scale = out.scale, .in_zero = in.zero, .out_zero = out.zero};
}

bool dlx_linear_packs_alike(const dlx_graph *g, const dlx_node *a, const dlx_node *b)
{
    dlx_qs8_params x = dlx_linear_grids(g, a), y = dlx_linear_grids(g, b);
    return operand(g, a, 0)->dtype == operand(g, b, 0)->dtype && x.in_scale == y.in_scale &&
           x.out_scale == y.out_scale && x.in_zero == y.in_zero && x.out_zero == y.out_zero;
}

static bool same_rows(const dlx_value *a, const dlx_value *b)
{
    const dlx_const_source *x = &a->source, *y = &b->source;
    return a->dtype == b->dtype && a->rank == 2 && b->rank == 2 && a->dim[0] == b->dim[0] && a->dim[1] == b->dim[1] &&
           x->file == y->file && x->offset == y->offset && x->bytes == y->bytes && x->transform == DLX_CONST_PLAIN &&
           y->transform == DLX_CONST_PLAIN;
}

const dlx_node *dlx_linear_tied(const dlx_graph *g, uint32_t table)
{
    const dlx_value *v = &g->values[table];
    if (v->kind != DLX_VALUE_CONST || !v->source.file) return NULL;
    for (size_t i = g->n_nodes; i-- > 0;) /* heads are last */
        if (g->nodes[i].op == DLX_OP_LINEAR && same_rows(operand(g, &g->nodes[i], 1), v)) return &g->nodes[i];
    return NULL;
}

size_t dlx_linear_strips(const dlx_gemm *gemm, dlx_gemm_shape s)
{
    return s.n_out / gemm->strip + (s.n_out % gemm->strip != 0);
}
