/*
 * Scaled dot product attention as one operator of a program: keys and values of a whole buffer, of which rows see a
 * part. Where each row sees keys from the first one on, whatever says so, the attention kernel of this machine runs.
 * Under any other mask softmax is made while the keys go by (the sum so far is scaled when a larger score comes), so
 * that no row of scores is kept. Attention over cache inputs is another operator: attention.c.
 */
#include <math.h>
#include <string.h>

#include "runtime/primitives.h"

/* Where vectors of a tensor [B, rows, heads, D], or [B, heads, rows, D], lie: elements from one to the next. */
typedef struct layout {
    size_t batch, row, head;
    size_t rows, heads;
} layout;

static layout layout_of(const dlx_shape *s, bool heads_first)
{
    layout l = {.rows = (size_t)s->dim[heads_first ? 2 : 1], .heads = (size_t)s->dim[heads_first ? 1 : 2]};
    size_t d = (size_t)s->dim[3];
    l.row = heads_first ? d : l.heads * d;
    l.head = heads_first ? l.rows * d : d;
    l.batch = l.rows * l.heads * d;
    return l;
}

typedef struct job {
    const dlx_loop *l;
    layout q, k, v, y;
    size_t d;
    const float *mask;       /* [T, S] or NULL */
    const int32_t *visible;  /* [T], of the kernel */
    bool grouped;            /* query heads that share keys go to the kernel together */
    size_t tile_rows, tiles; /* of the kernel */
} job;

enum { LANES = 16 };

static float dot(const float *a, const float *b, size_t n)
{
    float part[LANES] = {0}, sum = 0;
    size_t c = 0;
    for (; c + LANES <= n; c += LANES)
        for (size_t i = 0; i < LANES; i++) part[i] += a[c + i] * b[c + i];
    for (; c < n; c++) sum += a[c] * b[c];
    for (size_t i = 0; i < LANES; i++) sum += part[i];
    return sum;
}

/* Query vector i of [B, T, H]: its keys one after the other. */
static void attend(const job *j, size_t i)
{
    const dlx_loop *l = j->l;
    size_t b = i / (j->q.rows * j->q.heads), t = i / j->q.heads % j->q.rows, h = i % j->q.heads;
    size_t head = h / (j->q.heads / j->k.heads);
    const float *query = (const float *)l->x[0] + b * j->q.batch + t * j->q.row + h * j->q.head;
    const float *keys = (const float *)l->x[1] + b * j->k.batch + head * j->k.head;
    const float *values = (const float *)l->x[2] + b * j->v.batch + head * j->v.head;
    const float *mask = j->mask ? j->mask + t * j->k.rows : NULL;
    int64_t seen = l->n->attr.causal && l->start + (int64_t)t + 1 < l->keys ? l->start + (int64_t)t + 1 : l->keys;
    float *y = (float *)l->y + b * j->y.batch + t * j->y.row + h * j->y.head, most = -INFINITY, sum = 0;
    memset(y, 0, j->d * sizeof *y);
    for (size_t s = 0; s < (size_t)seen; s++) {
        if (mask && mask[s] == -INFINITY) continue;
        const float *value = values + s * j->v.row;
        float score = dot(query, keys + s * j->k.row, j->d) * l->n->attr.f[0];
        if (mask) score += mask[s];
        if (score == -INFINITY) continue;
        if (score > most) {
            float scale = expf(most - score);
            sum *= scale;
            for (size_t c = 0; c < j->d; c++) y[c] *= scale;
            most = score;
        }
        float weight = expf(score - most);
        sum += weight;
        for (size_t c = 0; c < j->d; c++) y[c] += weight * value[c];
    }
    /* A row that sees nothing is 0, or NaN where the program makes it so. */
    for (size_t c = 0; c < j->d && (sum != 0.0f || l->n->attr.keep); c++) y[c] /= sum;
}

static void run_rows(void *arg, size_t begin, size_t end, size_t thread)
{
    (void)thread;
    for (size_t i = begin; i < end; i++) attend(arg, i);
}

/* A tile of rows of one head, or of those that share a key/value head. */
static void run_tile(void *arg, size_t begin, size_t end, size_t thread)
{
    const job *j = arg;
    const dlx_loop *l = j->l;
    const dlx_executor *ex = l->ex;
    size_t units = j->grouped ? j->k.heads : j->q.heads;
    for (size_t i = begin; i < end; i++) {
        size_t b = i / (units * j->tiles), unit = i / j->tiles % units, first = i % j->tiles * j->tile_rows;
        size_t last = first + j->tile_rows < j->q.rows ? first + j->tile_rows : j->q.rows;
        size_t head = j->grouped ? 0 : unit, kv = j->grouped ? 0 : unit / (j->q.heads / j->k.heads);
        dlx_kv_piece piece = {.k = (const float *)l->x[1] + b * j->k.batch + kv * j->k.head,
                              .v = (const float *)l->x[2] + b * j->v.batch + kv * j->v.head,
                              .rows = (size_t)l->keys,
                              .row_stride = j->k.row,
                              .type = DLX_F32};
        dlx_attention_args a = {.out = (float *)l->y + b * j->y.batch + head * j->y.head,
                                .out_stride = j->y.row,
                                .q = (const float *)l->x[0] + b * j->q.batch + head * j->q.head,
                                .q_stride = j->q.row,
                                .rows = j->q.rows,
                                .heads = j->grouped ? j->q.heads : 1,
                                .kv_heads = j->grouped ? j->k.heads : 1,
                                .head_dim = j->d,
                                .scale = l->n->attr.f[0],
                                .piece = &piece,
                                .pieces = 1,
                                .visible = j->visible};
        ex->p->k.attention(&a, j->grouped ? unit : 0, first, last, ex->scratch + thread * ex->scratch_stride);
    }
}

/* How many keys each row sees, if it sees the first ones and of those all: *visible [T]. */
static bool sees_a_prefix(const job *j, int32_t *visible)
{
    const dlx_loop *l = j->l;
    for (size_t t = 0; t < j->q.rows; t++) {
        int64_t seen = l->keys, upto = l->start + (int64_t)t + 1;
        if (l->n->attr.causal && upto < seen) seen = upto;
        const float *mask = j->mask ? j->mask + t * j->k.rows : NULL;
        if (mask) {
            int64_t n = 0;
            while (n < seen && mask[n] == 0.0f) n++;
            for (int64_t s = n; s < seen; s++)
                if (mask[s] != -INFINITY) return false;
            seen = n;
        }
        if (seen < 1 || seen > INT32_MAX) return false;
        visible[t] = (int32_t)seen;
    }
    return true;
}

static void run_kernel(job *j)
{
    const dlx_executor *ex = j->l->ex;
    enum { MOST = 64, PIECES_PER_THREAD = 4 };
    size_t units = (size_t)j->l->in[0].dim[0] * (j->grouped ? j->k.heads : j->q.heads);
    size_t threads = (size_t)dlx_pool_threads(ex->pool), unit = ex->p->k.attention_queries;
    j->tile_rows = MOST;
    while (j->tile_rows > unit && units * ((j->q.rows + j->tile_rows - 1) / j->tile_rows) < PIECES_PER_THREAD * threads)
        j->tile_rows /= 2;
    j->tiles = (j->q.rows + j->tile_rows - 1) / j->tile_rows;
    dlx_pool_for(ex->pool, units * j->tiles, 1, run_tile, j);
}

dlx_status dlx_run_sdpa(dlx_loop *l, dlx_error *err)
{
    unsigned axes = l->n->attr.axes;
    job j = {.l = l,
             .q = layout_of(&l->in[0], axes & DLX_SDPA_Q_HEADS_FIRST),
             .k = layout_of(&l->in[1], axes & DLX_SDPA_K_HEADS_FIRST),
             .v = layout_of(&l->in[2], axes & DLX_SDPA_V_HEADS_FIRST),
             .y = layout_of(&l->out, axes & DLX_SDPA_OUT_HEADS_FIRST),
             .d = (size_t)l->in[0].dim[3]};
    j.grouped = !(axes & (DLX_SDPA_Q_HEADS_FIRST | DLX_SDPA_K_HEADS_FIRST | DLX_SDPA_OUT_HEADS_FIRST));
    l->keys = (int64_t)j.k.rows;
    if (l->n->inputs > 3 && l->n->in[3] != DLX_NONE) {
        int64_t rows = (int64_t)j.q.rows;
        l->start = *(const int64_t *)l->x[3];
        if (l->start < 0 || l->start > l->keys - rows)
            return dlx_fail(err, DLX_E_INVALID,
                            "attention: %lld rows from position %lld on do not fit a buffer of %lld", (long long)rows,
                            (long long)l->start, (long long)l->keys);
        l->keys = l->start + rows;
    }
    if (l->n->inputs > 4 && l->n->in[4] != DLX_NONE) j.mask = l->x[4];
    j.visible = l->ex->all_visible;
    if (j.k.row == j.v.row && sees_a_prefix(&j, l->ex->all_visible))
        run_kernel(&j);
    else
        dlx_pool_for(l->ex->pool, (size_t)(l->in[0].dim[0]) * j.q.rows * j.q.heads, 1, run_rows, &j);
    return DLX_OK;
}
