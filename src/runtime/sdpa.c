/*
 * Scaled dot product attention as one operator of a program: keys and values of a whole buffer, of which rows see a
 * part. Softmax is made while the keys go by (the sum so far is scaled when a larger score comes), so that no row of
 * scores is kept. Attention over cache inputs is another operator: attention.c.
 */
#include <math.h>
#include <string.h>

#include "runtime/primitives.h"

/* Vector i of [B, T, H]: its keys one after the other. */
static void attend(const dlx_loop *l, size_t i)
{
    const dlx_shape *q = &l->in[0], *k = &l->in[1];
    size_t rows = (size_t)q->dim[1], heads = (size_t)q->dim[2], d = (size_t)q->dim[3], kv = (size_t)k->dim[2];
    size_t b = i / (rows * heads), t = i / heads % rows, head = i % heads / (heads / kv);
    const float *query = (const float *)l->x[0] + i * d;
    const float *mask =
        l->n->inputs > 4 && l->n->in[4] != DLX_NONE ? (const float *)l->x[4] + t * (size_t)l->keys : NULL;
    int64_t seen = l->n->attr.causal && l->start + (int64_t)t + 1 < l->keys ? l->start + (int64_t)t + 1 : l->keys;
    float *y = (float *)l->y + i * d, most = -INFINITY, sum = 0;
    memset(y, 0, d * sizeof *y);
    for (int64_t s = 0; s < seen; s++) {
        size_t at = ((b * (size_t)k->dim[1] + (size_t)s) * kv + head) * d;
        const float *key = (const float *)l->x[1] + at, *value = (const float *)l->x[2] + at;
        float score = 0;
        for (size_t c = 0; c < d; c++) score += query[c] * key[c];
        score *= l->n->attr.f[0];
        if (mask) score += mask[s];
        if (score == -INFINITY) continue;
        if (score > most) {
            float scale = expf(most - score);
            sum *= scale;
            for (size_t c = 0; c < d; c++) y[c] *= scale;
            most = score;
        }
        float weight = expf(score - most);
        sum += weight;
        for (size_t c = 0; c < d; c++) y[c] += weight * value[c];
    }
    for (size_t c = 0; c < d && sum != 0.0f; c++) y[c] /= sum;
}

static void run_rows(void *arg, size_t begin, size_t end, size_t thread)
{
    (void)thread;
    for (size_t i = begin; i < end; i++) attend(arg, i);
}

dlx_status dlx_run_sdpa(dlx_loop *l, dlx_error *err)
{
    const dlx_shape *q = &l->in[0];
    bool started = l->n->inputs > 3 && l->n->in[3] != DLX_NONE;
    l->keys = l->in[1].dim[1];
    if (started) {
        l->start = *(const int64_t *)l->x[3];
        if (l->start < 0 || l->start > l->keys - q->dim[1])
            return dlx_fail(err, DLX_E_INVALID,
                            "attention: %lld rows from position %lld on do not fit a buffer of %lld",
                            (long long)q->dim[1], (long long)l->start, (long long)l->keys);
        l->keys = l->start + q->dim[1];
    }
    dlx_pool_for(l->ex->pool, (size_t)(q->dim[0] * q->dim[1] * q->dim[2]), 1, run_rows, l);
    return DLX_OK;
}
