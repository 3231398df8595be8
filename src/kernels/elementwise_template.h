/*
 * Template: element and row operations. Included once by each instruction set's file, after its vec_*.h.
 *
 * Every result is the same on every instruction set that has fused steps, bit for bit: element operations have one
 * order of operations, and sums over a row always go through SUM_LANES partial sums (element i goes to lane
 * i % SUM_LANES) that are added up in one fixed tree, whatever the vector width. Tails are worked on in a padded copy,
 * so nothing outside the rows is touched.
 */
#include <math.h>

#include "base/half.h"
#include "base/row_summary.h"
#include "kernels/kv8.h"
#include "kernels/qd8.h"

enum { SUM_LANES = 32, SUM_VECS = SUM_LANES / VF };

/*
 * e^x: x = n*ln2 + r with |r| <= ln2/2, a polynomial of degree 6 for e^r (coefficients of expf in the Cephes library,
 * S. Moshier), times 2^n in two factors so that results down to the smallest denormal come out right. Relative error
 * below 2 ulp; -inf gives 0, +inf gives +inf, NaN stays NaN, 0 gives exactly 1.
 */
DLX_INLINE vf exp_vf(vf x)
{
    x = vf_max(vf_set1(-104.0f), x);
    x = vf_min(vf_set1(89.0f), x);
    vi n = vf_round(vf_mul(x, vf_set1(1.44269504088896341f)));
    vf whole = vi_to_vf(n);
    vf r = vf_fma(whole, vf_set1(-0.693359375f), x);
    r = vf_fma(whole, vf_set1(2.12194440e-4f), r);
    vf p = vf_set1(1.9875691500e-4f);
    p = vf_fma(p, r, vf_set1(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set1(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set1(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set1(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set1(5.0000001201e-1f));
    p = vf_add(vf_fma(vf_mul(r, r), p, r), vf_set1(1.0f));
    vi half = vi_half(n);
    return vf_mul(vf_mul(p, vi_exp2(half)), vi_exp2(vi_sub(n, half)));
}

/* x / (1 + e^-x), through e^-|x| so that nothing overflows and large negative x keeps its digits. */
DLX_INLINE vf silu_vf(vf x)
{
    vf e = exp_vf(vf_sub(vf_set1(0.0f), vf_abs(x)));
    vf top = vf_if_less(x, vf_set1(0.0f), e, vf_set1(1.0f));
    return vf_mul(x, vf_div(top, vf_add(vf_set1(1.0f), e)));
}

DLX_INLINE vf silu_mul_vf(vf gate, vf up)
{
    return vf_mul(silu_vf(gate), up);
}

/* y = op(a, b) for n elements. */
DLX_INLINE void each_pair(float *y, const float *a, const float *b, size_t n, vf (*op)(vf, vf))
{
    size_t i = 0;
    for (; i + VF <= n; i += VF) vf_store(y + i, op(vf_load(a + i), vf_load(b + i)));
    if (i == n) return;
    float tail_a[VF] = {0}, tail_b[VF] = {0};
    memcpy(tail_a, a + i, (n - i) * sizeof *a);
    memcpy(tail_b, b + i, (n - i) * sizeof *b);
    vf_store(tail_a, op(vf_load(tail_a), vf_load(tail_b)));
    memcpy(y + i, tail_a, (n - i) * sizeof *y);
}

static void add(float *y, const float *a, const float *b, size_t n)
{
    each_pair(y, a, b, n, vf_add);
}

static void mul(float *y, const float *a, const float *b, size_t n)
{
    each_pair(y, a, b, n, vf_mul);
}

static void silu_mul(float *y, const float *gate, const float *up, size_t n)
{
    each_pair(y, gate, up, n, silu_mul_vf);
}

DLX_INLINE float sum_lanes(const vf sum[SUM_VECS])
{
    float lane[SUM_LANES];
    for (size_t j = 0; j < SUM_VECS; j++) vf_store(lane + j * VF, sum[j]);
    for (size_t width = SUM_LANES / 2; width > 0; width /= 2)
        for (size_t i = 0; i < width; i++) lane[i] += lane[i + width];
    return lane[0];
}

/* The last n % SUM_LANES elements of x, padded; 0 when there are none. */
DLX_INLINE size_t copy_tail(float tail[SUM_LANES], const float *x, size_t n, float fill)
{
    size_t left = n % SUM_LANES;
    if (left == 0) return 0;
    for (size_t i = left; i < SUM_LANES; i++) tail[i] = fill;
    memcpy(tail, x + (n - left), left * sizeof *x);
    return left;
}

static void rms_norm(float *y, const float *x, const float *w, size_t n, float eps)
{
    vf sum[SUM_VECS];
    float tail[SUM_LANES];
    for (size_t j = 0; j < SUM_VECS; j++) sum[j] = vf_set1(0.0f);
    for (size_t i = 0; i + SUM_LANES <= n; i += SUM_LANES) {
        for (size_t j = 0; j < SUM_VECS; j++) {
            vf v = vf_load(x + i + j * VF);
            sum[j] = vf_fma(v, v, sum[j]);
        }
    }
    if (copy_tail(tail, x, n, 0.0f)) {
        for (size_t j = 0; j < SUM_VECS; j++) {
            vf v = vf_load(tail + j * VF);
            sum[j] = vf_fma(v, v, sum[j]);
        }
    }
    float r = 1.0f / sqrtf(sum_lanes(sum) / (float)n + eps);
    size_t i = 0;
    for (; i + VF <= n; i += VF) vf_store(y + i, vf_mul(vf_mul(vf_load(x + i), vf_set1(r)), vf_load(w + i)));
    for (; i < n; i++) y[i] = x[i] * r * w[i];
}

/* y may be x: both halves are read before either is written. */
static void rope(float *y, const float *x, const float *cos, const float *sin, size_t heads, size_t head_dim)
{
    size_t half = head_dim / 2;
    for (size_t h = 0; h < heads; h++) {
        const float *xa = x + h * head_dim, *xb = xa + half;
        float *ya = y + h * head_dim, *yb = ya + half;
        size_t i = 0;
        for (; i + VF <= half; i += VF) {
            vf a = vf_load(xa + i), b = vf_load(xb + i);
            vf_store(ya + i, vf_fma(b, vf_load(sin + i), vf_mul(a, vf_load(cos + i))));
            vf_store(yb + i, vf_fma(a, vf_load(sin + half + i), vf_mul(b, vf_load(cos + half + i))));
        }
        for (; i < half; i++) {
            float a = xa[i], b = xb[i];
            ya[i] = fmaf(b, sin[i], a * cos[i]);
            yb[i] = fmaf(a, sin[half + i], b * cos[half + i]);
        }
    }
}

/* Neighbours: the compiler interleaves better than vectors of this width could without shuffles. */
static void rope_pairs(float *y, const float *x, const float *cos, const float *sin, size_t heads, size_t head_dim)
{
    for (size_t h = 0; h < heads; h++)
        for (size_t i = 0; i < head_dim / 2; i++) {
            size_t at = h * head_dim + 2 * i;
            float a = x[at], b = x[at + 1];
            y[at] = fmaf(-b, sin[i], a * cos[i]);
            y[at + 1] = fmaf(a, sin[i], b * cos[i]);
        }
}

/* Smallest and largest of 0 and the row; false when an element is NaN (passed over by the two) or infinite. */
DLX_INLINE bool row_range(float *lo, float *hi, const float *x, size_t n)
{
    vf low[SUM_VECS], high[SUM_VECS], poison[SUM_VECS], zero = vf_set1(0.0f);
    float tail[SUM_LANES], lane[VF];
    for (size_t j = 0; j < SUM_VECS; j++) low[j] = high[j] = poison[j] = zero;
    for (size_t i = 0; i + SUM_LANES <= n; i += SUM_LANES) {
        for (size_t j = 0; j < SUM_VECS; j++) {
            vf v = vf_load(x + i + j * VF);
            low[j] = vf_min(v, low[j]);
            high[j] = vf_max(v, high[j]);
            poison[j] = vf_fma(v, zero, poison[j]); /* NaN and infinity times 0 is NaN, which stays */
        }
    }
    if (copy_tail(tail, x, n, 0.0f)) {
        for (size_t j = 0; j < SUM_VECS; j++) {
            vf v = vf_load(tail + j * VF);
            low[j] = vf_min(v, low[j]);
            high[j] = vf_max(v, high[j]);
            poison[j] = vf_fma(v, zero, poison[j]);
        }
    }
    for (size_t j = 1; j < SUM_VECS; j++) {
        low[0] = vf_min(low[j], low[0]);
        high[0] = vf_max(high[j], high[0]);
        poison[0] = vf_add(poison[j], poison[0]);
    }
    *lo = *hi = 0.0f;
    vf_store(lane, low[0]);
    for (size_t i = 0; i < VF; i++) *lo = lane[i] < *lo ? lane[i] : *lo;
    vf_store(lane, high[0]);
    for (size_t i = 0; i < VF; i++) *hi = lane[i] > *hi ? lane[i] : *hi;
    vf_store(lane, poison[0]);
    for (size_t i = 1; i < VF; i++) lane[0] += lane[i];
    return lane[0] == 0.0f;
}

DLX_INLINE float row_max(const float *x, size_t n)
{
    vf max = vf_set1(-INFINITY);
    float lane[VF], m = -INFINITY;
    size_t i = 0;
    for (; i + VF <= n; i += VF) max = vf_max(vf_load(x + i), max);
    vf_store(lane, max);
    for (size_t j = 0; j < VF; j++) m = lane[j] > m ? lane[j] : m;
    for (; i < n; i++) m = x[i] > m ? x[i] : m;
    return m;
}

static void softmax(float *y, const float *x, size_t n)
{
    vf sum[SUM_VECS], max = vf_set1(row_max(x, n));
    float tail[SUM_LANES];
    /* Taken before y, which may be x, is written. Padding: e^-inf adds nothing. */
    size_t left = copy_tail(tail, x, n, -INFINITY);
    for (size_t j = 0; j < SUM_VECS; j++) sum[j] = vf_set1(0.0f);
    for (size_t i = 0; i + SUM_LANES <= n; i += SUM_LANES) {
        for (size_t j = 0; j < SUM_VECS; j++) {
            vf e = exp_vf(vf_sub(vf_load(x + i + j * VF), max));
            vf_store(y + i + j * VF, e);
            sum[j] = vf_add(sum[j], e);
        }
    }
    if (left) {
        for (size_t j = 0; j < SUM_VECS; j++) {
            vf e = exp_vf(vf_sub(vf_load(tail + j * VF), max));
            vf_store(tail + j * VF, e);
            sum[j] = vf_add(sum[j], e);
        }
        memcpy(y + (n - left), tail, left * sizeof *y);
    }
    float scale = 1.0f / sum_lanes(sum);
    size_t i = 0;
    for (; i + VF <= n; i += VF) vf_store(y + i, vf_mul(vf_load(y + i), vf_set1(scale)));
    for (; i < n; i++) y[i] *= scale;
}

/* round(x * up) between the bounds, plus `shift`. */
DLX_INLINE vi quantize_vf(vf x, const dlx_qd8_map *map, vi shift)
{
    vf t = vf_mul(x, vf_set1(map->up));
    t = vf_min(t, vf_set1(map->high));
    t = vf_max(t, vf_set1(map->low));
    return vi_add(vf_round(t), shift);
}

static void quantize_qd8(int8_t *q, dlx_qd8_row *row, const float *x, size_t n)
{
    float lo, hi;
    bool finite = row_range(&lo, &hi, x, n);
    dlx_qd8_map map = dlx_qd8_map_of(lo, hi, finite);
    vi zero = vi_set1(map.row.zero_point);
    size_t i = 0;
    for (; i + VF <= n; i += VF) vi_store_i8(q + i, quantize_vf(vf_load(x + i), &map, zero));
    for (; i < n; i++) q[i] = (int8_t)(dlx_qd8_round(&map, x[i]) + map.row.zero_point);
    *row = map.row;
}

static void dequantize_i8(float *y, const int8_t *q, float scale, size_t n)
{
    size_t i = 0;
    for (; i + VF <= n; i += VF) vf_store(y + i, vf_mul(vi_to_vf(vi_load_i8(q + i)), vf_set1(scale)));
    for (; i < n; i++) y[i] = (float)q[i] * scale;
}

static void f16_to_f32(float *y, const uint16_t *x, size_t n)
{
    size_t i = 0;
    for (; i + VF <= n; i += VF) vf_store(y + i, vf_load_f16(x + i));
    for (; i < n; i++) y[i] = dlx_f16_to_f32(x[i]);
}

static bool f32_to_f16(uint16_t *y, const float *x, size_t n)
{
    vf zero = vf_set1(0.0f), one = vf_set1(1.0f), bad = zero, limit = vf_set1(65520.0f);
    float lane[VF];
    bool finite = true;
    size_t i = 0;
    for (; i + VF <= n; i += VF) {
        vf v = vf_load(x + i);
        vf_store_f16(y + i, v);
        bad = vf_max(vf_if_less(vf_abs(v), limit, zero, one), bad);
    }
    vf_store(lane, bad);
    for (size_t j = 0; j < VF; j++) finite = finite && lane[j] == 0.0f;
    for (; i < n; i++) {
        y[i] = dlx_f32_to_f16(x[i]);
        finite = finite && fabsf(x[i]) < 65520.0f;
    }
    return finite;
}

static bool quantize_kv8(uint8_t *record, const float *x, size_t n)
{
    float lo, hi;
    bool finite = row_range(&lo, &hi, x, n), fits;
    float up = dlx_kv8_begin(record, hi > -lo ? hi : -lo, finite, &fits);
    int8_t *q = (int8_t *)record + DLX_KV8_SCALE_BYTES;
    if (!fits) {
        memset(q, 0, n);
        return false;
    }
    vf most = vf_set1((float)DLX_KV8_MOST), least = vf_set1(-(float)DLX_KV8_MOST);
    size_t i = 0;
    for (; i + VF <= n; i += VF) {
        vf t = vf_min(vf_mul(vf_load(x + i), vf_set1(up)), most);
        vi_store_i8(q + i, vf_round(vf_max(t, least)));
    }
    for (; i < n; i++) q[i] = dlx_kv8_round(x[i], up);
    return true;
}

static void summarise(dlx_row_part *part, const float *x, int32_t first, int32_t n, dlx_row_rules rules)
{
    dlx_row_part_of(part, x, first, n, rules);
}

static void set_elementwise(dlx_kernels *k)
{
    k->rms_norm = rms_norm;
    k->rope = rope;
    k->rope_pairs = rope_pairs;
    k->silu_mul = silu_mul;
    k->add = add;
    k->mul = mul;
    k->softmax = softmax;
    k->quantize_qd8 = quantize_qd8;
    k->dequantize_i8 = dequantize_i8;
    k->f16_to_f32 = f16_to_f32;
    k->f32_to_f16 = f32_to_f16;
    k->quantize_kv8 = quantize_kv8;
    k->summarise = summarise;
}
