/* Constants as the library takes them: floats of 16 bits, numbers of 16 bits on a grid, and weights of linears. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backends/qnn/blocks.h"
#include "backends/qnn/build.h"
#include "base/half.h"
#include "base/sizes.h"
#include "graph/linear_kinds.h"

static size_t elements(const dlx_value *v)
{
    dlx_shape s = dlx_value_shape(v);
    return (size_t)dlx_shape_elements(&s);
}

/* The same constant as a float of 16 bits. */
static dlx_value as_half(const dlx_value *v)
{
    dlx_value to = *v;
    to.source.stored = v->source.transform == DLX_CONST_PLAIN ? v->dtype : v->source.stored;
    to.dtype = DLX_F16;
    to.source.transform = to.source.stored == DLX_F16 ? DLX_CONST_PLAIN : DLX_CONST_ROUND;
    to.source.in_f16 = true;
    return to;
}

/* Of a float type; what is computed while it is streamed (scales) as well. */
static dlx_status floats(dlx_qnn_build *b, dlx_arena *arena, float **out, const dlx_value *v)
{
    size_t n = elements(v);
    *out = dlx_arena_array(arena, n, sizeof **out);
    if (!*out) return dlx_qnn_no_memory(b);
    if (v->dtype == DLX_F32) return dlx_const_collect(v, b->pool, *out, b->err);
    uint16_t *half = (uint16_t *)(void *)*out + n; /* the second half of the memory: read before it is written */
    DLX_TRY(dlx_const_collect(v, b->pool, half, b->err));
    for (size_t i = 0; i < n; i++) {
        uint16_t h = half[i];
        (*out)[i] = v->dtype == DLX_BF16 ? dlx_bf16_to_f32(h) : dlx_f16_to_f32(h);
    }
    return DLX_OK;
}

static dlx_status as_halves(dlx_qnn_build *b, dlx_qnn_tensor **out, const dlx_value *v)
{
    dlx_value half = as_half(v);
    size_t n = elements(v);
    dlx_qnn_shape shape = dlx_qnn_shape_of(v);
    uint16_t *data = dlx_arena_array(&b->scratch, n, sizeof *data);
    if (!data) return dlx_qnn_no_memory(b);
    DLX_TRY(dlx_const_collect(&half, b->pool, data, b->err));
    for (size_t i = 0; i < n; i++)
        if ((data[i] & 0x7C00) == 0x7C00)
            return dlx_fail(b->err, DLX_E_UNSUPPORTED,
                            "QNN: weight '%s' has numbers beyond what floats of 16 bits hold (65504)",
                            v->name ? v->name : "(unnamed)");
    return dlx_qnn_add_tensor(b, out, NULL, DLX_QNN_STATIC, DLX_QNN_F16, &dlx_qnn_unquantised, &shape, data,
                              n * sizeof *data);
}

static dlx_status as_codes(dlx_qnn_build *b, dlx_qnn_tensor **out, uint32_t value)
{
    const dlx_value *v = &b->g->values[value];
    size_t n = elements(v);
    float *x, low = 0, high = 0;
    uint16_t *code = dlx_arena_array(&b->scratch, n, sizeof *code);
    if (!code) return dlx_qnn_no_memory(b);
    DLX_TRY(floats(b, &b->scratch, &x, v));
    for (size_t i = 0; i < n; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    dlx_qnn_scale grid = dlx_qnn_grid_over(low, high);
    for (size_t i = 0; i < n; i++) {
        float q = rintf(x[i] / grid.scale) - (float)grid.offset;
        code[i] = (uint16_t)fminf(fmaxf(q, 0.0f), DLX_QNN_CODES);
    }
    dlx_qnn_shape shape = dlx_qnn_shape_of(v);
    dlx_qnn_quant quant = {.definition = DLX_QNN_DEFINED, .encoding = DLX_QNN_SCALE_OFFSET, .u.scale = grid};
    return dlx_qnn_add_tensor(b, out, NULL, DLX_QNN_STATIC, DLX_QNN_UFIX16, &quant, &shape, code, n * sizeof *code);
}

/* The library has copied them. */
static dlx_status drop(dlx_qnn_build *b, dlx_status s)
{
    dlx_arena_free(&b->scratch);
    return s;
}

dlx_status dlx_qnn_constant(dlx_qnn_build *b, dlx_qnn_tensor **out, uint32_t value)
{
    return drop(b, b->grid ? as_codes(b, out, value) : as_halves(b, out, &b->g->values[value]));
}

dlx_status dlx_qnn_zeros(dlx_qnn_build *b, dlx_qnn_tensor **out, const dlx_qnn_tensor *like)
{
    dlx_qnn_shape shape = {.rank = like->rank};
    dlx_qnn_quant quant = like->quant;
    for (uint32_t i = 0; i < like->rank; i++) shape.dim[i] = like->dim[i];
    quant.u.scale.offset = 0;
    void *data = dlx_arena_alloc(&b->scratch, like->buffer.bytes);
    if (!data) return dlx_qnn_no_memory(b);
    return drop(
        b, dlx_qnn_add_tensor(b, out, NULL, DLX_QNN_STATIC, like->dtype, &quant, &shape, data, like->buffer.bytes));
}

/* ---- weights of linears ----------------------------------------------------------------------------------------- */

bool dlx_qnn_in_blocks(const dlx_graph *g, uint32_t weights)
{
    return dlx_scaling_of(g, &g->values[weights]) == DLX_PER_GROUP;
}

/* Codes of four bits, one to a byte. */
static dlx_status narrow_codes(dlx_qnn_build *b, int8_t **out, const dlx_value *v)
{
    size_t n = elements(v);
    uint8_t *pairs = malloc(n / 2 + 1);
    *out = dlx_arena_array(&b->scratch, n, 1);
    dlx_status s = pairs && *out ? dlx_const_collect(v, b->pool, pairs, b->err) : dlx_qnn_no_memory(b);
    if (s == DLX_OK)
        for (size_t i = 0; i < n; i++) (*out)[i] = (int8_t)((pairs[i / 2] >> 4 * (i % 2) & 15) - 8);
    free(pairs);
    return s;
}

/* A scale for each row. */
static dlx_status by_row(dlx_qnn_build *b, dlx_qnn_tensor **out, const dlx_value *v)
{
    size_t n = (size_t)v->dim[0], count = elements(v);
    dlx_qnn_shape shape = dlx_qnn_shape_of(v);
    dlx_qnn_quant quant = {.definition = DLX_QNN_DEFINED};
    dlx_qnn_scale *both = dlx_arena_array(&b->arena, n, sizeof *both);
    int8_t *code = NULL;
    float *scales;
    if (!both) return dlx_qnn_no_memory(b);
    DLX_TRY(floats(b, &b->arena, &scales, &b->g->values[v->scales]));
    for (size_t i = 0; i < n; i++) both[i].scale = scales[i];
    if (v->dtype == DLX_I4) {
        DLX_TRY(narrow_codes(b, &code, v));
        quant.encoding = DLX_QNN_BW_AXIS_SCALE_OFFSET;
        int32_t *offsets = dlx_arena_array(&b->arena, n, sizeof *offsets);
        if (!offsets) return dlx_qnn_no_memory(b);
        quant.u.narrow.bits = 4;
        quant.u.narrow.n = (uint32_t)n;
        quant.u.narrow.scales = scales;
        quant.u.narrow.offsets = offsets;
    } else {
        code = dlx_arena_array(&b->scratch, count, 1);
        if (!code) return dlx_qnn_no_memory(b);
        DLX_TRY(dlx_const_collect(v, b->pool, code, b->err));
        quant.encoding = DLX_QNN_AXIS_SCALE_OFFSET;
        quant.u.by_axis.n = (uint32_t)n;
        quant.u.by_axis.scales = both;
    }
    return dlx_qnn_add_tensor(b, out, NULL, DLX_QNN_STATIC, DLX_QNN_SFIX8, &quant, &shape, code, count);
}

/* A scale for each block of a row: those of 1x1 convolutions, [1, 1, k, n]. */
static dlx_status by_block(dlx_qnn_build *b, dlx_qnn_tensor **out, const dlx_value *v)
{
    size_t n = (size_t)v->dim[0], k = (size_t)v->dim[1], blocks = (size_t)b->g->values[v->scales].dim[1];
    dlx_qnn_scale *rows = dlx_arena_array(&b->arena, n, sizeof *rows);
    uint8_t *block_scale = dlx_arena_array(&b->arena, n, blocks);
    int8_t *code, *turned = dlx_arena_array(&b->scratch, n * k, 1);
    dlx_qnn_blocks *all = dlx_arena_alloc(&b->arena, sizeof *all);
    dlx_qnn_shape shape = {.rank = 4, .dim = {1, 1, v->dim[1], v->dim[0]}};
    float *scales;
    if (!rows || !block_scale || !turned || !all) return dlx_qnn_no_memory(b);
    DLX_TRY(floats(b, &b->arena, &scales, &b->g->values[v->scales]));
    DLX_TRY(narrow_codes(b, &code, v));
    for (size_t i = 0; i < n; i++) {
        rows[i].scale = dlx_qnn_blocks_of(block_scale + i * blocks, code + i * k, scales + i * blocks, blocks, k);
        for (size_t c = 0; c < k; c++) turned[c * n + i] = code[i * k + c];
    }
    *all = (dlx_qnn_blocks){
        .axis = 3, .scales = rows, .blocks = (uint32_t)blocks, .scale_bits = 4, .block_scales = block_scale};
    dlx_qnn_quant quant = {.definition = DLX_QNN_DEFINED, .encoding = DLX_QNN_BLOCKWISE_EXPANSION, .u.blocks = all};
    return dlx_qnn_add_tensor(b, out, NULL, DLX_QNN_STATIC, DLX_QNN_SFIX8, &quant, &shape, turned, n * k);
}

dlx_status dlx_qnn_weights_fit(const dlx_qnn_chip *chip, bool floats, const dlx_graph *g, uint32_t value,
                               dlx_error *err)
{
    const dlx_value *v = &g->values[value];
    bool quantised = v->dtype == DLX_I8 || v->dtype == DLX_I4;
    const char *name = v->name ? v->name : "(unnamed)";
    if (floats && quantised)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "QNN: weight '%s' is quantised, and products with floats of 16 bits take no such weights; "
                        "activations of 16 bits need ranges from calibration",
                        name);
    if (!floats && !quantised)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "QNN: weight '%s' is a float, and products with numbers of 16 bits take int8 or int4 weights",
                        name);
    if (!floats && dlx_qnn_in_blocks(g, value) && !dlx_qnn_chip_has_blocks(chip))
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "QNN: weight '%s' has a scale for each block of a row, which %s (HTP V%u) lacks; it has one "
                        "for each row",
                        name, chip->name, chip->arch);
    return DLX_OK;
}

dlx_status dlx_qnn_weights(dlx_qnn_build *b, dlx_qnn_tensor **out, uint32_t value)
{
    const dlx_value *v = &b->g->values[value];
    DLX_TRY(dlx_qnn_weights_fit(b->lib->chip, !b->grid, b->g, value, b->err));
    if (!b->grid) return dlx_qnn_constant(b, out, value);
    return drop(b, dlx_qnn_in_blocks(b->g, value) ? by_block(b, out, v) : by_row(b, out, v));
}

/* In units of the inputs' scale times the weights'. */
static dlx_status bias_codes(dlx_qnn_build *b, dlx_qnn_tensor **out, uint32_t value, uint32_t x, uint32_t weights)
{
    const dlx_value *v = &b->g->values[value], *w = &b->g->values[weights];
    size_t n = elements(v);
    dlx_qnn_scale *both = dlx_arena_array(&b->arena, n, sizeof *both);
    int32_t *code = dlx_arena_array(&b->scratch, n, sizeof *code);
    float *bias, *scales;
    if (!both || !code) return dlx_qnn_no_memory(b);
    DLX_TRY(floats(b, &b->scratch, &bias, v));
    DLX_TRY(floats(b, &b->scratch, &scales, &b->g->values[w->scales]));
    for (size_t i = 0; i < n; i++) {
        both[i].scale = b->grid[x].scale * scales[i];
        double q = rint((double)bias[i] / (double)both[i].scale);
        code[i] = (int32_t)fmin(fmax(q, -2147483647.0), 2147483647.0);
    }
    dlx_qnn_quant quant = {.definition = DLX_QNN_DEFINED, .encoding = DLX_QNN_AXIS_SCALE_OFFSET};
    quant.u.by_axis.n = (uint32_t)n;
    quant.u.by_axis.scales = both;
    dlx_qnn_shape shape = dlx_qnn_shape_of(v);
    return dlx_qnn_add_tensor(b, out, NULL, DLX_QNN_STATIC, DLX_QNN_SFIX32, &quant, &shape, code, n * sizeof *code);
}

dlx_status dlx_qnn_bias(dlx_qnn_build *b, dlx_qnn_tensor **out, uint32_t value, uint32_t x, uint32_t weights)
{
    return b->grid ? drop(b, bias_codes(b, out, value, x, weights)) : dlx_qnn_constant(b, out, value);
}
