/*
 * The decoder's own operators in MIL: attention, rotary positions, RMSNorm.
 *
 * Attention is two products and a softmax: MIL's scaled_dot_product_attention gives infinities on the Neural Engine of
 * iOS 26 (pytorch/executorch#15833). The query heads of a group are rows of one product, so no key is repeated. RMSNorm
 * is a layer norm over x and -x, whose mean is 0 and whose variance is the mean of the squares: eps is exact, a row of
 * zeros gives zeros (dividing by the largest magnitude first, as others do, inflates eps and gives NaN:
 * apple/coremltools#2821).
 */
#include "backends/coreml/emitter.h"

/* [S,K,D] -> [1,K,S,D] */
static dlx_mil_value heads_first(dlx_mil *m, dlx_mil_value x)
{
    const int64_t perm[3] = {1, 0, 2};
    dlx_mil_value t = dlx_mil_transpose(m, x, perm);
    const int64_t dim[4] = {1, t.type.dim[0], t.type.dim[1], t.type.dim[2]};
    return dlx_mil_reshape(m, t, 4, dim);
}

/* Stored rows and this call's [P+T,K,D], as [1,K,P+T,D]. */
static dlx_mil_value keys(dlx_coreml_emitter *e, uint32_t stored, uint32_t fresh)
{
    dlx_mil_value x[2] = {{0}, dlx_coreml_operand(e, fresh)};
    if (stored == DLX_NONE) return heads_first(&e->mil, x[1]);
    x[0] = dlx_coreml_operand(e, stored);
    return heads_first(&e->mil, dlx_mil_concat(&e->mil, x, 2, 0));
}

/* The mask [T,S] for rows of `group` heads [group*T,S]. */
static dlx_mil_value group_mask(dlx_coreml_emitter *e, uint32_t mask, int64_t group)
{
    dlx_coreml_shared *shared = dlx_coreml_share(e, mask, DLX_COREML_MASK, group);
    if (!shared) return (dlx_mil_value){0};
    if (!shared->value.name) {
        const int64_t times[2] = {group, 1};
        dlx_mil_value x = dlx_coreml_operand(e, mask);
        shared->value = group == 1 ? x : dlx_mil_tile(&e->mil, x, times);
    }
    return shared->value;
}

dlx_mil_value dlx_coreml_attention(dlx_coreml_emitter *e, const dlx_node *n)
{
    dlx_mil *m = &e->mil;
    const dlx_value *q = &e->g->values[n->in[0]], *k = &e->g->values[n->in[1]];
    const int64_t rows = q->dim[0], heads = q->dim[1], d = q->dim[2], kv = k->dim[1], group = heads / kv;
    const int64_t by_group[4] = {rows, kv, group, d}, group_first[4] = {1, 2, 0, 3}, flat[4] = {1, kv, group * rows, d};
    bool cached = n->inputs >= 5 && n->in[3] != DLX_NONE;
    /* Scaled queries: scores of large queries stay finite. */
    dlx_mil_value x = dlx_mil_scale(m, dlx_coreml_operand(e, n->in[0]), n->attr.f[0]);
    x = dlx_mil_transpose(m, dlx_mil_reshape(m, x, 4, by_group), group_first);
    x = dlx_mil_matmul(m, dlx_mil_reshape(m, x, 4, flat), keys(e, cached ? n->in[3] : DLX_NONE, n->in[1]), true);
    if (n->inputs == 6 && n->in[5] != DLX_NONE) x = dlx_mil_binary(m, "add", x, group_mask(e, n->in[5], group));
    x = dlx_mil_matmul(m, dlx_mil_softmax(m, x), keys(e, cached ? n->in[4] : DLX_NONE, n->in[2]), false);
    const int64_t apart[4] = {kv, group, rows, d}, rows_first[4] = {2, 0, 1, 3}, out[2] = {rows, heads * d};
    x = dlx_mil_transpose(m, dlx_mil_reshape(m, x, 4, apart), rows_first);
    return dlx_mil_reshape(m, x, 2, out);
}

/* A half of the last dimension. */
static dlx_mil_value half_of(dlx_mil *m, dlx_mil_value x, int which)
{
    int64_t begin[DLX_MIL_MAX_RANK] = {0}, size[DLX_MIL_MAX_RANK];
    for (int i = 0; i < x.type.rank; i++) size[i] = x.type.dim[i];
    size[x.type.rank - 1] /= 2;
    begin[x.type.rank - 1] = which * size[x.type.rank - 1];
    return dlx_mil_slice(m, x, begin, size);
}

/* A table's rows [T,D] as [T,1,D], for x with rows in front of heads. */
static dlx_mil_value per_row(dlx_coreml_emitter *e, uint32_t table)
{
    dlx_coreml_shared *shared = dlx_coreml_share(e, table, DLX_COREML_TABLE, 0);
    if (!shared) return (dlx_mil_value){0};
    if (!shared->value.name) {
        dlx_mil_value x = dlx_coreml_operand(e, table);
        const int64_t dim[3] = {x.type.dim[0], 1, x.type.dim[1]};
        shared->value = dlx_mil_reshape(&e->mil, x, 3, dim);
    }
    return shared->value;
}

dlx_mil_value dlx_coreml_rope(dlx_coreml_emitter *e, const dlx_node *n)
{
    dlx_mil *m = &e->mil;
    bool heads_in_front = n->attr.axis == 1;
    dlx_mil_value x = dlx_coreml_operand(e, n->in[0]);
    dlx_mil_value c = heads_in_front ? dlx_coreml_operand(e, n->in[1]) : per_row(e, n->in[1]);
    dlx_mil_value s = heads_in_front ? dlx_coreml_operand(e, n->in[2]) : per_row(e, n->in[2]);
    dlx_mil_value halves[2] = {half_of(m, x, 1), half_of(m, x, 0)};
    dlx_mil_value turned = dlx_mil_binary(m, "mul", dlx_mil_concat(m, halves, 2, x.type.rank - 1), s);
    return dlx_mil_binary(m, "add", dlx_mil_binary(m, "mul", x, c), turned);
}

dlx_mil_value dlx_coreml_rms_norm(dlx_coreml_emitter *e, const dlx_node *n)
{
    dlx_mil *m = &e->mil;
    dlx_mil_value both[2] = {dlx_coreml_operand(e, n->in[0])};
    both[1] = dlx_mil_scale(m, both[0], -1.0f);
    dlx_mil_value x = dlx_mil_layer_norm(m, dlx_mil_concat(m, both, 2, both[0].type.rank - 1), n->attr.f[0]);
    return dlx_mil_binary(m, "mul", half_of(m, x, 0), dlx_coreml_operand(e, n->in[1]));
}
