/*
 * Linear layers. Many outputs are computed in pieces, side by side, as ExecuTorch's own exporter for the Neural Engine
 * does: it is faster there (pytorch/executorch#8715), and large ones are slow or wrong (pytorch/executorch#15936).
 */
#include <string.h>

#include "backends/coreml/emitter.h"
#include "base/sizes.h"
#include "graph/linear_kinds.h"

/* Outputs of a piece: about as many in up to so many pieces; more pieces only where one would be larger than the Neural
 * Engine's limit on a dimension of weights. Pieces are multiples of 32. */
enum { PIECE_OUTPUTS = 1024, MOST_PIECES = 8, MOST_OUTPUTS = 16384, PIECE_STEP = 32 };

bool dlx_coreml_takes_linear(const dlx_graph *g, const dlx_node *n)
{
    const dlx_value *x = &g->values[n->in[0]], *w = &g->values[n->in[1]];
    const dlx_value *bias = n->inputs == 3 && n->in[2] != DLX_NONE ? &g->values[n->in[2]] : NULL;
    dlx_linear_kind kind = dlx_linear_kind_of(g, x, w);
    if (kind == DLX_LINEAR_KINDS || kind == DLX_LINEAR_QS8_QC8W || n->attr.dtype == DLX_QS8) return false;
    if (w->kind != DLX_VALUE_CONST || w->rank != 2 || x->rank < 1 || x->rank > 3) return false;
    return !bias || (bias->kind == DLX_VALUE_CONST && bias->dtype == DLX_F32);
}

dlx_value dlx_coreml_half(const dlx_value *v)
{
    dlx_value half = *v;
    if (v->source.transform == DLX_CONST_PLAIN) half.source.stored = v->dtype;
    half.source.transform = DLX_CONST_ROUND;
    half.source.in_f16 = true;
    half.dtype = DLX_F16;
    return half;
}

/* Rows [first, first + n) of a constant. */
static dlx_value rows_of(const dlx_value *v, int64_t first, int64_t n)
{
    dlx_value part = *v;
    uint64_t row = v->dim[0] ? v->source.bytes / (uint64_t)v->dim[0] : 0, begin = (uint64_t)first * row;
    if (part.source.data) part.source.data = (const uint8_t *)part.source.data + begin;
    part.source.offset += begin;
    part.source.bytes = (uint64_t)n * row;
    part.dim[0] = n;
    return part;
}

/* Scales of codes as float16, which codes made from floats are then those of. Messages name the weight. */
static dlx_value half_scales(const dlx_value *scales, const dlx_value *codes)
{
    dlx_value half = *scales;
    if (scales->source.transform == DLX_CONST_INT8_ROW_SCALES || scales->source.transform == DLX_CONST_INT4_SCALES) {
        half.source.f16_scales = half.source.in_f16 = true;
        half.dtype = DLX_F16;
    } else {
        half = dlx_coreml_half(scales);
        half.source.times = codes->dtype == DLX_I4 ? 8 : 128;
    }
    half.name = codes->name;
    return half;
}

/* Rows of quantised weights as float16 [n,k], by the target's operator. */
static dlx_mil_value widened(dlx_coreml_emitter *e, const dlx_value *w, const dlx_value *all_scales, int64_t first)
{
    dlx_mil *m = &e->mil;
    dlx_value codes = *w, some = rows_of(all_scales, first, w->dim[0]), scales = half_scales(&some, w);
    bool blocks = e->options->target == DLX_COREML_IOS18;
    codes.source.f16_scales = codes.source.in_f16 = true;
    codes.source.signed_nibbles = true;
    const dlx_mil_type out = {DLX_MIL_F16, 2, {w->dim[0], w->dim[1]}};
    dlx_mil_type code_type = out, scale_type = {DLX_MIL_F16, blocks ? 2 : 1, {w->dim[0], 1}};
    code_type.dtype = w->dtype == DLX_I4 ? DLX_MIL_I4 : DLX_MIL_I8;
    if (dlx_scaling_of(e->g, w) == DLX_PER_GROUP) scale_type.dim[1] = scales.dim[1];
    dlx_mil_value q = dlx_mil_weight(m, &codes, code_type), s = dlx_mil_weight(m, &scales, scale_type);
    if (blocks)
        return dlx_mil_op(m, "constexpr_blockwise_shift_scale", NULL, out,
                          (dlx_mil_arg[]){{"data", q.name}, {"scale", s.name}}, 2);
    const dlx_mil_arg args[] = {{"quantized_data", q.name},
                                {"zero_point", dlx_mil_int8_zero(m)},
                                {"scale", s.name},
                                {"axis", dlx_mil_int(m, 0)}};
    return dlx_mil_op(m, "constexpr_affine_dequantize", NULL, out, args, 4);
}

/* Outputs of each piece but the last, which may have fewer. */
static int64_t piece_outputs(int64_t n)
{
    int64_t pieces = (n + PIECE_OUTPUTS - 1) / PIECE_OUTPUTS;
    if (pieces > MOST_PIECES) pieces = MOST_PIECES;
    int64_t each = (int64_t)dlx_align_up((uint64_t)((n + pieces - 1) / pieces), PIECE_STEP);
    return each > MOST_OUTPUTS ? MOST_OUTPUTS : each;
}

/* Weights of outputs [first, first + n), as float16: once for all layers that read them. */
static dlx_mil_value weights_of(dlx_coreml_emitter *e, uint32_t id, int64_t first, int64_t n)
{
    const dlx_value *w = &e->g->values[id];
    dlx_coreml_shared *shared = dlx_coreml_share(e, id, DLX_COREML_WEIGHTS, first);
    if (!shared) return (dlx_mil_value){0};
    if (shared->value.name) return shared->value;
    dlx_value part = rows_of(w, first, n);
    if (w->scales != DLX_NONE) return shared->value = widened(e, &part, &e->g->values[w->scales], first);
    dlx_value half = dlx_coreml_half(&part);
    return shared->value = dlx_mil_weight(&e->mil, &half, (dlx_mil_type){DLX_MIL_F16, 2, {n, w->dim[1]}});
}

static dlx_mil_value bias_of(dlx_coreml_emitter *e, const dlx_node *n, int64_t first, int64_t count)
{
    if (n->inputs < 3 || n->in[2] == DLX_NONE) return dlx_mil_zeros(&e->mil, count);
    dlx_value part = rows_of(&e->g->values[n->in[2]], first, count), half = dlx_coreml_half(&part);
    return dlx_mil_weight(&e->mil, &half, (dlx_mil_type){DLX_MIL_F16, 1, {count}});
}

dlx_status dlx_coreml_linear(dlx_coreml_emitter *e, const dlx_node *n, dlx_mil_value *out)
{
    const dlx_value *w = &e->g->values[n->in[1]];
    if (w->dtype == DLX_I4 && e->options->target != DLX_COREML_IOS18)
        return dlx_fail(e->err, DLX_E_UNSUPPORTED,
                        "CoreML has int4 weights, as '%s' is to be, from iOS18 on; the target is %s: choose iOS18, or "
                        "int8 or float16 weights",
                        w->name ? w->name : "a weight", dlx_coreml_target_name(e->options->target));
    int64_t outputs = w->dim[0], each = piece_outputs(outputs), pieces = (outputs + each - 1) / each;
    dlx_mil_value x = dlx_coreml_operand(e, n->in[0]);
    dlx_mil_value *y = dlx_arena_array(e->arena, (size_t)pieces, sizeof *y);
    if (!y) return dlx_coreml_no_memory(e->err, e->part);
    for (int64_t i = 0; i < pieces; i++) {
        int64_t first = i * each, count = outputs - first < each ? outputs - first : each;
        dlx_mil_value weights = weights_of(e, n->in[1], first, count);
        y[i] = dlx_mil_linear(&e->mil, x, weights, bias_of(e, n, first, count));
    }
    *out = pieces == 1 ? y[0] : dlx_mil_concat(&e->mil, y, (int)pieces, x.type.rank - 1);
    return DLX_OK;
}
