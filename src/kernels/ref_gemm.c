/*
 * Reference matrix products. "Packed" weights are a plain copy: row-major weights, then scales, then bias, each 64-byte
 * aligned. Quantised activations are a plain copy too: the row records, then the int8 rows.
 */
#include <stdint.h>
#include <string.h>

#include "base/sizes.h"
#include "kernels/qd8.h"
#include "kernels/ref.h"

enum { STRIP = 32 };

static size_t round64(size_t n)
{
    return (size_t)dlx_align_up(n, 64);
}

static size_t columns_end(size_t strip_end, size_t n_out)
{
    return strip_end * STRIP < n_out ? strip_end * STRIP : n_out;
}

/* float32 */

static size_t f32_packed_size(dlx_gemm_shape s)
{
    return round64(s.n_out * s.n_in * sizeof(float)) + round64(s.n_out * sizeof(float));
}

static float *f32_bias(const void *packed, dlx_gemm_shape s)
{
    return (float *)((uint8_t *)(uintptr_t)packed + round64(s.n_out * s.n_in * sizeof(float)));
}

static void f32_pack(void *packed, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t strip_begin, size_t strip_end)
{
    float *bias = f32_bias(packed, s);
    for (size_t n = strip_begin * STRIP; n < columns_end(strip_end, s.n_out); n++) {
        memcpy((float *)packed + n * s.n_in, (const float *)w->w + (n - w->first) * s.n_in, s.n_in * sizeof(float));
        bias[n] = w->bias ? w->bias[n] : 0.0f;
    }
}

static void f32_run(float *y, size_t y_stride, const void *x, size_t x_stride, size_t rows, const void *packed,
                    dlx_gemm_shape s, size_t strip_begin, size_t strip_end)
{
    const float *w = packed, *bias = f32_bias(packed, s);
    for (size_t m = 0; m < rows; m++) {
        const float *row = (const float *)x + m * x_stride;
        for (size_t n = strip_begin * STRIP; n < columns_end(strip_end, s.n_out); n++) {
            double sum = 0;
            for (size_t k = 0; k < s.n_in; k++) sum += (double)row[k] * (double)w[n * s.n_in + k];
            y[m * y_stride + n - strip_begin * STRIP] = (float)(sum + (double)bias[n]);
        }
    }
}

const dlx_gemm dlx_ref_gemm_f32 = {.strip = STRIP, .packed_size = f32_packed_size, .pack = f32_pack, .run = f32_run};

/* int8 */

typedef struct qd8_weights {
    int8_t *w;
    float *scale, *bias;
} qd8_weights;

static qd8_weights qd8_view(const void *packed, dlx_gemm_shape s)
{
    uint8_t *p = (uint8_t *)(uintptr_t)packed;
    qd8_weights v = {.w = (int8_t *)p, .scale = (float *)(p + round64(s.n_out * s.n_in))};
    v.bias = (float *)((uint8_t *)v.scale + round64(s.n_out * sizeof(float)));
    return v;
}

static size_t qd8_packed_size(dlx_gemm_shape s)
{
    return round64(s.n_out * s.n_in) + 2 * round64(s.n_out * sizeof(float));
}

static void qd8_pack(void *packed, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t strip_begin, size_t strip_end)
{
    qd8_weights v = qd8_view(packed, s);
    for (size_t n = strip_begin * STRIP; n < columns_end(strip_end, s.n_out); n++) {
        memcpy(v.w + n * s.n_in, (const int8_t *)w->w + (n - w->first) * s.n_in, s.n_in);
        v.scale[n] = w->scale[n];
        v.bias[n] = w->bias ? w->bias[n] : 0.0f;
    }
}

static int8_t *qd8_rows(const void *quantized, size_t total_rows)
{
    return (int8_t *)(uintptr_t)quantized + round64(total_rows * sizeof(dlx_qd8_row));
}

static size_t qd8_quantized_size(size_t rows, size_t n_in)
{
    return round64(rows * sizeof(dlx_qd8_row)) + round64(rows * n_in);
}

static void qd8_quantize(void *quantized, const float *x, size_t x_stride, size_t total_rows, size_t n_in,
                         size_t row_begin, size_t row_end)
{
    dlx_qd8_row *rows = quantized;
    int8_t *q = qd8_rows(quantized, total_rows);
    for (size_t m = row_begin; m < row_end; m++) dlx_ref_quantize_qd8(q + m * n_in, &rows[m], x + m * x_stride, n_in);
}

static void qd8_run(float *y, size_t y_stride, const void *x, size_t x_stride, size_t rows, const void *packed,
                    dlx_gemm_shape s, size_t strip_begin, size_t strip_end)
{
    qd8_weights v = qd8_view(packed, s);
    const dlx_qd8_row *row = x;
    const int8_t *q = qd8_rows(x, rows);
    (void)x_stride;
    for (size_t m = 0; m < rows; m++) {
        for (size_t n = strip_begin * STRIP; n < columns_end(strip_end, s.n_out); n++) {
            uint32_t sum = 0; /* unsigned: wraps like the vector units where n_in is beyond any real layer */
            for (size_t k = 0; k < s.n_in; k++)
                sum += (uint32_t)((q[m * s.n_in + k] - row[m].zero_point) * v.w[n * s.n_in + k]);
            y[m * y_stride + n - strip_begin * STRIP] =
                dlx_qd8_output((int32_t)sum, row[m].scale, v.scale[n], v.bias[n]);
        }
    }
}

const dlx_quantizer dlx_ref_qd8 = {.row_tile = 1, .size = qd8_quantized_size, .quantize = qd8_quantize};
const dlx_gemm dlx_ref_gemm_qd8_qc8w = {
    .strip = STRIP, .packed_size = qd8_packed_size, .pack = qd8_pack, .run = qd8_run};
