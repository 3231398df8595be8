/*
 * Attention of a pass: what each segment's rows see becomes pieces of keys and values, and (segment, key/value head,
 * tile of rows) triples become the items of one parallel loop.
 */
#include "kernels/kv8.h"
#include "runtime/executor.h"

/* Rows of one piece of attention work. A kernel computes all query vectors that share a key/value head side by side and
 * says how many it takes to keep it busy; pieces are multiples of as many rows as have them. Beyond that, larger pieces
 * read keys less often, smaller ones keep all threads at work. A row's result does not depend on the piece. */
static size_t tile_rows_of(const dlx_kernels *k, const dlx_attention_args *a, size_t items_elsewhere, size_t threads)
{
    enum { MOST = 256, PIECES_PER_THREAD = 4 };
    size_t group = a->heads / a->kv_heads, unit = (k->attention_queries + group - 1) / group;
    size_t rows = MOST / group / unit * unit;
    while (rows > unit && (a->rows + rows - 1) / rows * a->kv_heads + items_elsewhere < PIECES_PER_THREAD * threads)
        rows -= unit;
    return rows > unit ? rows : unit;
}

size_t dlx_cache_row(dlx_dtype type, size_t heads, size_t head_dim)
{
    return heads * (type == DLX_I8 ? dlx_kv8_bytes(head_dim) : head_dim * dlx_dtype_size(type));
}

/* The pieces of one segment: runs of the cache, then its own rows. Returns how many keys that is. */
static size_t gather_pieces(const dlx_executor *ex, const dlx_node *n, const dlx_segment *s, dlx_attention_args *a,
                            dlx_kv_piece *piece)
{
    size_t stride = a->kv_heads * a->head_dim, keys = 0;
    size_t row = dlx_cache_row(ex->pass->cache_type, a->kv_heads, a->head_dim);
    a->piece = piece;
    for (size_t i = 0; i < s->n_runs; i++) {
        size_t offset = s->runs[i].begin * row;
        piece[a->pieces++] = (dlx_kv_piece){.k = (const char *)ex->data[n->in[3]] + offset,
                                            .v = (const char *)ex->data[n->in[4]] + offset,
                                            .rows = s->runs[i].rows,
                                            .row_stride = row / dlx_dtype_size(ex->pass->cache_type),
                                            .type = ex->pass->cache_type};
        keys += s->runs[i].rows;
    }
    piece[a->pieces++] = (dlx_kv_piece){.k = (const float *)ex->data[n->in[1]] + s->begin * stride,
                                        .v = (const float *)ex->data[n->in[2]] + s->begin * stride,
                                        .rows = s->rows,
                                        .row_stride = stride,
                                        .type = DLX_F32};
    return keys + s->rows;
}

/* A pass without segments: all rows see the whole cache operands and each other. */
static size_t whole_pieces(dlx_executor *ex, const dlx_node *n, dlx_attention_args *a, dlx_kv_piece *piece)
{
    size_t stride = a->kv_heads * a->head_dim, cached = 0;
    a->piece = piece;
    if (n->inputs >= 5 && n->in[3] != DLX_NONE) {
        cached = (size_t)ex->shape[n->in[3]].dim[0];
        piece[a->pieces++] = (dlx_kv_piece){ex->data[n->in[3]], ex->data[n->in[4]], cached, stride, DLX_F32};
    }
    piece[a->pieces++] = (dlx_kv_piece){ex->data[n->in[1]], ex->data[n->in[2]], a->rows, stride, DLX_F32};
    for (size_t r = 0; r < a->rows; r++) ex->all_visible[r] = (int32_t)(cached + a->rows);
    a->visible = ex->all_visible;
    return cached + a->rows;
}

typedef struct job {
    const dlx_executor *ex;
    size_t works;
} job;

static void run_items(void *arg, size_t begin, size_t end, size_t thread)
{
    const job *j = arg;
    const dlx_executor *ex = j->ex;
    size_t w = 0;
    for (size_t i = begin; i < end; i++) {
        while (w + 1 < j->works && i >= ex->work[w + 1].first_item) w++;
        const dlx_attention_work *work = &ex->work[w];
        size_t item = i - work->first_item;
        size_t head = item / work->tiles, first = item % work->tiles * work->tile_rows, last = first + work->tile_rows;
        ex->p->k.attention(&work->args, head, first, last < work->args.rows ? last : work->args.rows,
                           ex->scratch + thread * ex->scratch_stride);
    }
}

typedef struct rounding {
    dlx_executor *ex;
    float *x[2];
    size_t heads, head_dim;
} rounding;

/* n floats become what halves hold of them; false: not all of them can. */
static bool round_to_halves(const dlx_kernels *k, float *x, size_t n)
{
    enum { CHUNK = 256 };
    uint16_t half[CHUNK];
    bool fit = true;
    for (size_t i = 0, some; i < n; i += some) {
        some = n - i < CHUNK ? n - i : CHUNK;
        fit = k->f32_to_f16(half, x + i, some) && fit;
        k->f16_to_f32(x + i, half, some);
    }
    return fit;
}

/* The same for `heads` vectors of n numbers and int8 records. A thread's scratch has room for one. */
static bool round_to_records(const dlx_kernels *k, float *x, size_t heads, size_t n, uint8_t *record)
{
    bool fit = true;
    for (size_t h = 0; h < heads; h++, x += n) {
        fit = k->quantize_kv8(record, x, n) && fit;
        k->dequantize_i8(x, dlx_kv8_numbers(record), dlx_kv8_scale(record), n);
    }
    return fit;
}

static void round_rows(void *arg, size_t begin, size_t end, size_t thread)
{
    const rounding *r = arg;
    dlx_executor *ex = r->ex;
    size_t heads = (end - begin) * r->heads;
    bool fit = true;
    for (int t = 0; t < 2; t++) {
        float *x = r->x[t] + begin * r->heads * r->head_dim;
        if (ex->pass->cache_type == DLX_F16)
            fit = round_to_halves(&ex->p->k, x, heads * r->head_dim) && fit;
        else
            fit = round_to_records(&ex->p->k, x, heads, r->head_dim, ex->scratch + thread * ex->scratch_stride) && fit;
    }
    if (!fit) atomic_store_explicit(&ex->beyond_cache, true, memory_order_relaxed);
}

/* Rows of the pass become what a float16 or int8 cache will hold of them. So a row sees the same keys whether they
 * belong to its own pass or to an earlier one, and logits do not depend on how a call is cut. */
static void round_new_rows(dlx_executor *ex, const dlx_node *n)
{
    const dlx_shape *k = &ex->shape[n->in[1]];
    rounding r = {.ex = ex,
                  .x = {ex->data[n->in[1]], ex->data[n->in[2]]},
                  .heads = (size_t)k->dim[1],
                  .head_dim = (size_t)k->dim[2]};
    size_t width = r.heads * r.head_dim, grain = 8192 / (width ? width : 1);
    dlx_pool_for(ex->pool, (size_t)k->dim[0], grain ? grain : 1, round_rows, &r);
}

void dlx_run_attention(dlx_executor *ex, const dlx_node *n)
{
    const dlx_shape *q = &ex->shape[n->in[0]], *k = &ex->shape[n->in[1]];
    const dlx_pass *pass = ex->pass;
    size_t heads = (size_t)q->dim[1], dim = (size_t)q->dim[2], rows = (size_t)q->dim[0], pieces = 0, items = 0;
    size_t threads = (size_t)dlx_pool_threads(ex->pool), works = pass->segments ? pass->n_segments : 1;
    if (pass->segments && pass->cache_type != DLX_F32) round_new_rows(ex, n);
    for (size_t i = 0; i < works; i++) {
        const dlx_segment *s = pass->segments ? &pass->segments[i] : NULL;
        size_t begin = s ? s->begin : 0;
        dlx_attention_work *w = &ex->work[i];
        w->args = (dlx_attention_args){.out = (float *)ex->data[n->out[0]] + begin * heads * dim,
                                       .out_stride = heads * dim,
                                       .q = (const float *)ex->data[n->in[0]] + begin * heads * dim,
                                       .q_stride = heads * dim,
                                       .rows = s ? s->rows : rows,
                                       .heads = heads,
                                       .kv_heads = (size_t)k->dim[1],
                                       .head_dim = dim,
                                       .scale = n->attr.f[0],
                                       .visible = s ? s->visible : NULL};
        if (s)
            gather_pieces(ex, n, s, &w->args, ex->piece + pieces);
        else
            whole_pieces(ex, n, &w->args, ex->piece);
        pieces += w->args.pieces;
        w->tile_rows = tile_rows_of(&ex->p->k, &w->args, (works - 1) * w->args.kv_heads, threads);
        w->tiles = (w->args.rows + w->tile_rows - 1) / w->tile_rows;
        w->first_item = items;
        items += w->tiles * w->args.kv_heads;
    }
    dlx_pool_for(ex->pool, items, 1, run_items, &(job){.ex = ex, .works = works});
}

/* The operator of sdpa.c calls the kernel for all heads, or for one after the other. */
static void sdpa_scratch(const dlx_program *p, const dlx_node *n, const dlx_shape *shape, size_t *most, size_t *rows)
{
    const dlx_shape *q = &shape[n->in[0]], *k = &shape[n->in[1]];
    bool q_heads = n->attr.axes & DLX_SDPA_Q_HEADS_FIRST, k_heads = n->attr.axes & DLX_SDPA_K_HEADS_FIRST;
    size_t t = (size_t)q->dim[q_heads ? 2 : 1], heads = (size_t)q->dim[q_heads ? 1 : 2];
    size_t keys = (size_t)k->dim[k_heads ? 2 : 1], kv = (size_t)k->dim[k_heads ? 1 : 2], dim = (size_t)q->dim[3];
    size_t together = p->k.attention_scratch(t, keys, heads, kv, dim),
           single = p->k.attention_scratch(t, keys, 1, 1, dim);
    if (together > *most) *most = together;
    if (single > *most) *most = single;
    if (t > *rows) *rows = t;
}

size_t dlx_attention_scratch(const dlx_program *p, const dlx_shape *shape, size_t *rows)
{
    size_t most = 0;
    *rows = 1;
    for (size_t i = 0; i < p->g.n_nodes; i++) {
        const dlx_node *n = &p->g.nodes[i];
        if (n->op == DLX_OP_SDPA) sdpa_scratch(p, n, shape, &most, rows);
        if (n->op != DLX_OP_ATTENTION) continue;
        const dlx_shape *q = &shape[n->in[0]], *k = &shape[n->in[1]];
        size_t keys = (size_t)k->dim[0];
        if (n->inputs >= 5 && n->in[3] != DLX_NONE) keys += (size_t)shape[n->in[3]].dim[0];
        size_t bytes =
            p->k.attention_scratch((size_t)q->dim[0], keys, (size_t)q->dim[1], (size_t)k->dim[1], (size_t)q->dim[2]);
        if (bytes > most) most = bytes;
        if ((size_t)q->dim[0] > *rows) *rows = (size_t)q->dim[0];
    }
    return most;
}
