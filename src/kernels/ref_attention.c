/* Reference attention: scores of all visible keys in double, softmax, weighted sum of values. */
#include <math.h>

#include "base/half.h"
#include "kernels/kv8.h"
#include "kernels/ref.h"

size_t dlx_ref_attention_scratch(size_t max_rows, size_t max_keys, size_t heads, size_t kv_heads, size_t head_dim)
{
    (void)max_rows, (void)heads, (void)kv_heads;
    return (max_keys + head_dim) * sizeof(double);
}

/* Row `index` of the concatenated pieces, of the keys or of the values. */
typedef struct key_row {
    const void *base;
    size_t first;
    dlx_dtype type;
    float scale; /* of I8 */
} key_row;

static key_row find_row(const dlx_attention_args *a, size_t index, size_t kv_head, bool values)
{
    size_t p = 0;
    while (index >= a->piece[p].rows) index -= a->piece[p++].rows;
    const void *base = values ? a->piece[p].v : a->piece[p].k;
    if (a->piece[p].type == DLX_I8) {
        const uint8_t *record =
            (const uint8_t *)base + index * a->piece[p].row_stride + kv_head * dlx_kv8_bytes(a->head_dim);
        return (key_row){.base = dlx_kv8_numbers(record), .type = DLX_I8, .scale = dlx_kv8_scale(record)};
    }
    return (key_row){
        .base = base, .first = index * a->piece[p].row_stride + kv_head * a->head_dim, .type = a->piece[p].type};
}

static double element(const key_row *r, size_t d)
{
    if (r->type == DLX_I8) return (double)(((const int8_t *)r->base)[d]) * (double)r->scale;
    if (r->type == DLX_F16) return (double)dlx_f16_to_f32(((const uint16_t *)r->base)[r->first + d]);
    return (double)((const float *)r->base)[r->first + d];
}

static void one_query(const dlx_attention_args *a, size_t row, size_t head, size_t kv_head, double *scratch)
{
    size_t keys = (size_t)a->visible[row], dim = a->head_dim;
    double *score = scratch, *sum = scratch + keys;
    const float *q = a->q + row * a->q_stride + head * dim;
    double max = -INFINITY, total = 0;
    for (size_t j = 0; j < keys; j++) {
        key_row k = find_row(a, j, kv_head, false);
        double dot = 0;
        for (size_t d = 0; d < dim; d++) dot += (double)q[d] * element(&k, d);
        score[j] = dot * (double)a->scale;
        max = score[j] > max ? score[j] : max;
    }
    for (size_t d = 0; d < dim; d++) sum[d] = 0;
    for (size_t j = 0; j < keys; j++) {
        key_row v = find_row(a, j, kv_head, true);
        double p = exp(score[j] - max);
        total += p;
        for (size_t d = 0; d < dim; d++) sum[d] += p * element(&v, d);
    }
    float *out = a->out + row * a->out_stride + head * dim;
    for (size_t d = 0; d < dim; d++) out[d] = (float)(sum[d] / total);
}

void dlx_ref_attention(const dlx_attention_args *args, size_t kv_head, size_t row_begin, size_t row_end, void *scratch)
{
    size_t group = args->heads / args->kv_heads;
    for (size_t r = row_begin; r < row_end; r++)
        for (size_t h = kv_head * group; h < (kv_head + 1) * group; h++) one_query(args, r, h, kv_head, scratch);
}
