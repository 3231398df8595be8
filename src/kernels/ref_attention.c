/* Reference attention: scores of all visible keys in double, softmax, weighted sum of values. */
#include <math.h>

#include "kernels/ref.h"

size_t dlx_ref_attention_scratch(size_t max_rows, size_t max_keys, size_t heads, size_t kv_heads, size_t head_dim)
{
    (void)max_rows, (void)heads, (void)kv_heads;
    return (max_keys + head_dim) * sizeof(double);
}

/* Row `index` of the concatenated pieces, of the keys or of the values. */
static const float *key_row(const dlx_attention_args *a, size_t index, size_t kv_head, int values)
{
    size_t p = 0;
    while (index >= a->piece[p].rows) index -= a->piece[p++].rows;
    const float *base = values ? a->piece[p].v : a->piece[p].k;
    return base + index * a->piece[p].row_stride + kv_head * a->head_dim;
}

static void one_query(const dlx_attention_args *a, size_t row, size_t head, size_t kv_head, double *scratch)
{
    size_t keys = (size_t)a->visible[row], dim = a->head_dim;
    double *score = scratch, *sum = scratch + keys;
    const float *q = a->q + row * a->q_stride + head * dim;
    double max = -INFINITY, total = 0;
    for (size_t j = 0; j < keys; j++) {
        const float *k = key_row(a, j, kv_head, 0);
        double dot = 0;
        for (size_t d = 0; d < dim; d++) dot += (double)q[d] * (double)k[d];
        score[j] = dot * (double)a->scale;
        max = score[j] > max ? score[j] : max;
    }
    for (size_t d = 0; d < dim; d++) sum[d] = 0;
    for (size_t j = 0; j < keys; j++) {
        const float *v = key_row(a, j, kv_head, 1);
        double p = exp(score[j] - max);
        total += p;
        for (size_t d = 0; d < dim; d++) sum[d] += p * (double)v[d];
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
