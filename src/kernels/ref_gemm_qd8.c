/*
 * Reference matrix products of quantised rows, with int8 and int4 weights. "Packed" weights are a plain copy: the
 * layer's static parameters, row-major weights as in the file, then per column scale (or the sum that kernels/qd8.h
 * describes) and bias, then scales of groups, each 64-byte aligned. Quantised activations are a plain copy too: the row
 * records, then the int8 rows.
 */
#include <stdint.h>
#include <string.h>

#include "kernels/qd8.h"
#include "kernels/ref.h"

typedef enum form { QC8, QC4, QB4, QS8 } form;

typedef struct view {
    dlx_qs8_params *qs8;
    uint8_t *w;
    float *scale, *bias;
    int32_t *bias_i32; /* QS8; in the place of bias */
    uint16_t *group_scale;
    size_t row_bytes, groups;
} view;

static size_t row_bytes_of(dlx_gemm_shape s, form kind)
{
    return kind == QC4 || kind == QB4 ? s.n_in / 2 : s.n_in;
}

static size_t groups_of(dlx_gemm_shape s, form kind)
{
    return kind == QB4 ? s.n_in / s.group : 0;
}

static size_t packed_size(dlx_gemm_shape s, form kind)
{
    return ref_round64(sizeof(dlx_qs8_params)) + ref_round64(s.n_out * row_bytes_of(s, kind)) +
           2 * ref_round64(s.n_out * sizeof(float)) + ref_round64(s.n_out * groups_of(s, kind) * sizeof(uint16_t));
}

static view view_of(const void *packed, dlx_gemm_shape s, form kind)
{
    uint8_t *p = (uint8_t *)(uintptr_t)packed;
    view v = {.qs8 = (void *)p, .row_bytes = row_bytes_of(s, kind), .groups = groups_of(s, kind)};
    size_t columns = ref_round64(s.n_out * sizeof(float));
    v.w = p += ref_round64(sizeof *v.qs8);
    v.scale = (void *)(p += ref_round64(s.n_out * v.row_bytes));
    v.bias = (void *)(p += columns);
    v.bias_i32 = (void *)p;
    v.group_scale = (void *)(p + columns);
    return v;
}

static void pack(void *packed, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t strip_begin, size_t strip_end,
                 form kind)
{
    view v = view_of(packed, s, kind);
    if (kind == QS8 && strip_begin == 0) *v.qs8 = *w->qs8; /* strips may be packed by several threads */
    for (size_t n = strip_begin * REF_STRIP; n < ref_columns_end(strip_end, s.n_out); n++) {
        const uint8_t *row = (const uint8_t *)w->w + (n - w->first) * v.row_bytes;
        memcpy(v.w + n * v.row_bytes, row, v.row_bytes);
        if (kind == QB4) {
            const uint16_t *scales = w->group_scale + (n - w->first) * v.groups;
            memcpy(v.group_scale + n * v.groups, scales, v.groups * sizeof *scales);
            v.scale[n] = dlx_qb4_w_sum(row, scales, s.n_in, s.group);
        } else {
            v.scale[n] = w->scale[n];
        }
        if (kind == QS8)
            v.bias_i32[n] = w->bias_i32 ? w->bias_i32[n] : 0;
        else
            v.bias[n] = w->bias ? w->bias[n] : 0.0f;
    }
}

/* Activations */

static int8_t *rows_of(const void *quantized, size_t total_rows)
{
    return (int8_t *)(uintptr_t)quantized + ref_round64(total_rows * sizeof(dlx_qd8_row));
}

static size_t quantized_size(size_t rows, size_t n_in)
{
    return ref_round64(rows * sizeof(dlx_qd8_row)) + ref_round64(rows * n_in);
}

static void quantize_qd8(void *quantized, const float *x, size_t x_stride, size_t total_rows, size_t n_in,
                         size_t row_begin, size_t row_end)
{
    dlx_qd8_row *rows = quantized;
    int8_t *q = rows_of(quantized, total_rows);
    for (size_t m = row_begin; m < row_end; m++) dlx_ref_quantize_qd8(q + m * n_in, &rows[m], x + m * x_stride, n_in);
}

static void quantize_qs8(void *quantized, const float *x, size_t x_stride, size_t total_rows, size_t n_in,
                         size_t row_begin, size_t row_end, float scale, int32_t zero_point)
{
    dlx_qd8_row *rows = quantized;
    int8_t *q = rows_of(quantized, total_rows);
    for (size_t m = row_begin; m < row_end; m++) {
        const float *row = x + m * x_stride;
        bool finite = true;
        for (size_t k = 0; k < n_in; k++) finite = finite && isfinite(row[k]);
        dlx_qd8_map map = dlx_qs8_map_of(scale, zero_point, finite);
        for (size_t k = 0; k < n_in; k++) q[m * n_in + k] = (int8_t)(dlx_qd8_round(&map, row[k]) + zero_point);
        rows[m] = map.row;
    }
}

/* Products */

typedef struct call {
    float *y;
    size_t y_stride;
    const void *x;
    size_t rows;
    dlx_gemm_shape s;
    size_t strip_begin, strip_end;
} call;

static int32_t weight(const view *v, size_t n, size_t k, form kind)
{
    if (kind == QC4 || kind == QB4) return dlx_i4(v->w[n * v->row_bytes + k / 2], k);
    return ((const int8_t *)v->w)[n * v->row_bytes + k];
}

/* Over the inputs [begin, end) of (q - zero) * w. Unsigned: wraps like the vector units where n_in is beyond any real
 * layer. */
static int32_t sum_of(const view *v, const int8_t *q, int32_t zero, size_t n, size_t begin, size_t end, form kind)
{
    uint32_t sum = 0;
    for (size_t k = begin; k < end; k++) sum += (uint32_t)((q[k] - zero) * weight(v, n, k, kind));
    return (int32_t)sum;
}

static float grouped(const view *v, const int8_t *q, const dlx_qd8_row *row, dlx_gemm_shape s, size_t n)
{
    float y = dlx_qb4_start(row->zero_point, v->scale[n]);
    for (size_t g = 0; g < v->groups; g++)
        y = dlx_qb4_add(y, sum_of(v, q, -128, n, g * s.group, (g + 1) * s.group, QB4),
                        dlx_bf16_to_f32(v->group_scale[n * v->groups + g]));
    return dlx_qb4_output(y, row->scale, v->bias[n]);
}

static float output(const view *v, const int8_t *q, const dlx_qd8_row *row, dlx_gemm_shape s, size_t n, form kind)
{
    if (kind == QB4) return grouped(v, q, row, s, n);
    int32_t sum = sum_of(v, q, row->zero_point, n, 0, s.n_in, kind);
    if (kind != QS8) return dlx_qd8_output(sum, row->scale, v->scale[n], v->bias[n]);
    return dlx_qs8_output((int32_t)((uint32_t)sum + (uint32_t)v->bias_i32[n]), dlx_qs8_requant(v->qs8, v->scale[n]),
                          (float)(-128 - v->qs8->out_zero), (float)(127 - v->qs8->out_zero), v->qs8->out_scale,
                          row->scale);
}

static void run(const call *c, view v, form kind)
{
    const dlx_qd8_row *row = c->x;
    const int8_t *q = rows_of(c->x, c->rows);
    for (size_t m = 0; m < c->rows; m++)
        for (size_t n = c->strip_begin * REF_STRIP; n < ref_columns_end(c->strip_end, c->s.n_out); n++)
            c->y[m * c->y_stride + n - c->strip_begin * REF_STRIP] =
                output(&v, q + m * c->s.n_in, &row[m], c->s, n, kind);
}

#define PRODUCT(name, kind)                                                                                            \
    static size_t name##_packed_size(dlx_gemm_shape s)                                                                 \
    {                                                                                                                  \
        return packed_size(s, kind);                                                                                   \
    }                                                                                                                  \
    static void name##_pack(void *packed, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t begin, size_t end)       \
    {                                                                                                                  \
        pack(packed, w, s, begin, end, kind);                                                                          \
    }                                                                                                                  \
    static void name##_unpack(void *row, const void *packed, dlx_gemm_shape s, size_t n)                               \
    {                                                                                                                  \
        view v = view_of(packed, s, kind);                                                                             \
        memcpy(row, v.w + n * v.row_bytes, v.row_bytes);                                                               \
    }                                                                                                                  \
    static void name##_run(float *y, size_t y_stride, const void *x, size_t x_stride, size_t rows, const void *packed, \
                           dlx_gemm_shape s, size_t begin, size_t end)                                                 \
    {                                                                                                                  \
        (void)x_stride;                                                                                                \
        run(&(call){y, y_stride, x, rows, s, begin, end}, view_of(packed, s, kind), kind);                             \
    }                                                                                                                  \
    static const dlx_gemm name = {.strip = REF_STRIP,                                                                  \
                                  .packed_size = name##_packed_size,                                                   \
                                  .pack = name##_pack,                                                                 \
                                  .unpack = name##_unpack,                                                             \
                                  .run = name##_run};
PRODUCT(qc8w, QC8)
PRODUCT(qc4w, QC4)
PRODUCT(qb4w, QB4)
PRODUCT(qs8, QS8)

void dlx_ref_set_gemm_qd8(dlx_kernels *k)
{
    k->qd8 = (dlx_quantizer){.row_tile = 1, .size = quantized_size, .quantize = quantize_qd8};
    k->quantize_qs8 = quantize_qs8;
    k->gemm_qd8_qc8w = qc8w;
    k->gemm_qd8_qc4w = qc4w;
    k->gemm_qd8_qb4w = qb4w;
    k->gemm_qs8_qc8w = qs8;
}
