/*
 * Reference matrix products of float rows, with float, half, bfloat16 and int8 weights. "Packed" weights are a plain
 * copy: row-major weights, then scales, then bias, each 64-byte aligned.
 */
#include <stdint.h>
#include <string.h>

#include "base/half.h"
#include "kernels/ref.h"

typedef struct view {
    uint8_t *w;
    float *scale, *bias;
} view;

static view view_of(const void *packed, dlx_gemm_shape s, size_t element)
{
    uint8_t *p = (uint8_t *)(uintptr_t)packed;
    view v = {.w = p, .scale = (float *)(void *)(p + ref_round64(s.n_out * s.n_in * element))};
    v.bias = (float *)(void *)((uint8_t *)v.scale + ref_round64(s.n_out * sizeof(float)));
    return v;
}

static size_t size_of(dlx_gemm_shape s, size_t element)
{
    return ref_round64(s.n_out * s.n_in * element) + 2 * ref_round64(s.n_out * sizeof(float));
}

static void pack(void *packed, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t strip_begin, size_t strip_end,
                 size_t element)
{
    view v = view_of(packed, s, element);
    size_t row = s.n_in * element;
    for (size_t n = strip_begin * REF_STRIP; n < ref_columns_end(strip_end, s.n_out); n++) {
        memcpy(v.w + n * row, (const uint8_t *)w->w + (n - w->first) * row, row);
        v.scale[n] = w->scale ? w->scale[n] : 1.0f;
        v.bias[n] = w->bias ? w->bias[n] : 0.0f;
    }
}

typedef struct call {
    float *y;
    size_t y_stride;
    const float *x;
    size_t x_stride, rows;
    dlx_gemm_shape s;
    size_t strip_begin, strip_end;
} call;

/* `weight` reads weight i of the matrix. */
static void run(const call *c, view v, float (*weight)(const void *w, size_t i))
{
    for (size_t m = 0; m < c->rows; m++) {
        const float *row = c->x + m * c->x_stride;
        for (size_t n = c->strip_begin * REF_STRIP; n < ref_columns_end(c->strip_end, c->s.n_out); n++) {
            double sum = 0;
            for (size_t k = 0; k < c->s.n_in; k++) sum += (double)row[k] * (double)weight(v.w, n * c->s.n_in + k);
            c->y[m * c->y_stride + n - c->strip_begin * REF_STRIP] =
                (float)(sum * (double)v.scale[n] + (double)v.bias[n]);
        }
    }
}

static float weight_f32(const void *w, size_t i)
{
    return ((const float *)w)[i];
}
static float weight_f16(const void *w, size_t i)
{
    return dlx_f16_to_f32(((const uint16_t *)w)[i]);
}
static float weight_bf16(const void *w, size_t i)
{
    return dlx_bf16_to_f32(((const uint16_t *)w)[i]);
}
static float weight_i8(const void *w, size_t i)
{
    return (float)((const int8_t *)w)[i];
}

#define PRODUCT(name, type)                                                                                            \
    static size_t name##_packed_size(dlx_gemm_shape s)                                                                 \
    {                                                                                                                  \
        return size_of(s, sizeof(type));                                                                               \
    }                                                                                                                  \
    static void name##_pack(void *packed, const dlx_gemm_weights *w, dlx_gemm_shape s, size_t begin, size_t end)       \
    {                                                                                                                  \
        pack(packed, w, s, begin, end, sizeof(type));                                                                  \
    }                                                                                                                  \
    static void name##_unpack(void *row, const void *packed, dlx_gemm_shape s, size_t n)                               \
    {                                                                                                                  \
        size_t bytes = s.n_in * sizeof(type);                                                                          \
        memcpy(row, view_of(packed, s, sizeof(type)).w + n * bytes, bytes);                                            \
    }                                                                                                                  \
    static void name##_run(float *y, size_t y_stride, const void *x, size_t x_stride, size_t rows, const void *packed, \
                           dlx_gemm_shape s, size_t begin, size_t end)                                                 \
    {                                                                                                                  \
        run(&(call){y, y_stride, x, x_stride, rows, s, begin, end}, view_of(packed, s, sizeof(type)), weight_##name);  \
    }                                                                                                                  \
    static const dlx_gemm name = {.strip = REF_STRIP,                                                                  \
                                  .packed_size = name##_packed_size,                                                   \
                                  .pack = name##_pack,                                                                 \
                                  .unpack = name##_unpack,                                                             \
                                  .run = name##_run};
PRODUCT(f32, float)
PRODUCT(f16, uint16_t)
PRODUCT(bf16, uint16_t)
PRODUCT(i8, int8_t)

void dlx_ref_set_gemm_f32(dlx_kernels *k)
{
    k->gemm_f32 = f32;
    k->gemm_f32_f16w = f16;
    k->gemm_f32_bf16w = bf16;
    k->gemm_f32_qc8w = i8;
}
