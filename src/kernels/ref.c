/*
 * Reference kernels, element and row operations: plain loops from the formulas, sums in double, rounded to float once.
 * Never optimised; every instruction set is tested against them, and they run where no other set does.
 */
#include <math.h>

#include "base/half.h"
#include "base/row_summary.h"
#include "kernels/kv8.h"
#include "kernels/qd8.h"
#include "kernels/ref.h"
#include "kernels/tables.h"

static void rms_norm(float *y, const float *x, const float *w, size_t n, float eps)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    double r = 1.0 / sqrt(sum / (double)n + (double)eps);
    for (size_t i = 0; i < n; i++) y[i] = (float)((double)x[i] * r * (double)w[i]);
}

static void rope(float *y, const float *x, const float *cos, const float *sin, size_t heads, size_t head_dim)
{
    size_t half = head_dim / 2;
    for (size_t h = 0; h < heads; h++) {
        for (size_t i = 0; i < half; i++) {
            size_t a = h * head_dim + i, b = a + half;
            double xa = (double)x[a], xb = (double)x[b];
            y[a] = (float)(xa * (double)cos[i] + xb * (double)sin[i]);
            y[b] = (float)(xb * (double)cos[half + i] + xa * (double)sin[half + i]);
        }
    }
}

static void rope_pairs(float *y, const float *x, const float *cos, const float *sin, size_t heads, size_t head_dim)
{
    for (size_t h = 0; h < heads; h++)
        for (size_t i = 0; i < head_dim / 2; i++) {
            size_t at = h * head_dim + 2 * i;
            double a = (double)x[at], b = (double)x[at + 1], c = (double)cos[i], s = (double)sin[i];
            y[at] = (float)(a * c - b * s);
            y[at + 1] = (float)(a * s + b * c);
        }
}

static void silu_mul(float *y, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double g = (double)gate[i];
        y[i] = (float)(g / (1.0 + exp(-g)) * (double)up[i]);
    }
}

static void add(float *y, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

static void mul(float *y, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = a[i] * b[i];
}

static void softmax(float *y, const float *x, size_t n)
{
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) max = (double)x[i] > max ? (double)x[i] : max;
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    for (size_t i = 0; i < n; i++) y[i] = (float)(exp((double)x[i] - max) / sum);
}

void dlx_ref_quantize_qd8(int8_t *q, dlx_qd8_row *row, const float *x, size_t n)
{
    float lo = 0, hi = 0;
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        finite = finite && isfinite(x[i]);
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    dlx_qd8_map map = dlx_qd8_map_of(lo, hi, finite);
    for (size_t i = 0; i < n; i++) q[i] = (int8_t)(dlx_qd8_round(&map, x[i]) + map.row.zero_point);
    *row = map.row;
}

static void dequantize_i8(float *y, const int8_t *q, float scale, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = (float)q[i] * scale;
}

static void f16_to_f32(float *y, const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = dlx_f16_to_f32(x[i]);
}

static bool f32_to_f16(uint16_t *y, const float *x, size_t n)
{
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        y[i] = dlx_f32_to_f16(x[i]);
        finite = finite && (y[i] & 0x7C00) != 0x7C00;
    }
    return finite;
}

static bool quantize_kv8(uint8_t *record, const float *x, size_t n)
{
    float most = 0;
    bool finite = true, fits;
    for (size_t i = 0; i < n; i++) {
        finite = finite && isfinite(x[i]);
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    }
    float up = dlx_kv8_begin(record, most, finite, &fits);
    int8_t *q = (int8_t *)record + DLX_KV8_SCALE_BYTES;
    for (size_t i = 0; i < n; i++) q[i] = fits ? dlx_kv8_round(x[i], up) : 0;
    return fits;
}

static void grid_errors(dlx_grid_tries *t, const float *w, const float *importance, size_t n)
{
    for (size_t c = 0; c < DLX_GRID_TRIES; c++) {
        for (size_t i = 0; i < n; i++) {
            float miss = w[i] - dlx_grid_code(w[i], t->scale[c], t->low, t->high) * t->scale[c];
            t->part[i % DLX_GRID_PARTS][c] += importance ? importance[i] * (miss * miss) : miss * miss;
        }
        t->error[c] = 0;
        for (size_t p = 0; p < DLX_GRID_PARTS; p++) t->error[c] += (double)t->part[p][c];
    }
}

static void grid_round(float *y, const float *w, size_t n, float scale, float low, float high)
{
    for (size_t i = 0; i < n; i++) y[i] = dlx_grid_code(w[i], scale, low, high) * scale;
}

static void summarise(dlx_row_part *part, const float *x, int32_t first, int32_t n, dlx_row_rules rules)
{
    dlx_row_part_of(part, x, first, n, rules);
}

void dlx_kernels_set_ref(dlx_kernels *k)
{
    k->rms_norm = rms_norm;
    k->rope = rope;
    k->rope_pairs = rope_pairs;
    k->silu_mul = silu_mul;
    k->add = add;
    k->mul = mul;
    k->softmax = softmax;
    k->quantize_qd8 = dlx_ref_quantize_qd8;
    k->dequantize_i8 = dequantize_i8;
    k->f16_to_f32 = f16_to_f32;
    k->f32_to_f16 = f32_to_f16;
    k->quantize_kv8 = quantize_kv8;
    k->summarise = summarise;
    k->grid_errors = grid_errors;
    k->grid_round = grid_round;
    dlx_ref_set_gemm_f32(k);
    dlx_ref_set_gemm_qd8(k);
    k->attention_queries = 1;
    k->attention_scratch = dlx_ref_attention_scratch;
    k->attention = dlx_ref_attention;
}
