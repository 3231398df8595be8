/* Opening an executor and running a program: shapes of the call, then node after node, each a data-parallel loop. */
#include <stdlib.h>
#include <string.h>

#include "base/sizes.h"
#include "runtime/executor.h"
#include "runtime/linear.h"

enum { LINE = 64 };

/* Work below this many floats is not worth waking other threads for. */
enum { GRAIN_FLOATS = 16384 };

static size_t rows_of(const dlx_shape *s)
{
    size_t n = 1;
    for (int i = 0; i + 1 < s->rank; i++) n *= (size_t)s->dim[i];
    return n;
}

static size_t width_of(const dlx_shape *s)
{
    return s->rank ? (size_t)s->dim[s->rank - 1] : 1;
}

static size_t row_grain(size_t width)
{
    return width >= GRAIN_FLOATS ? 1 : GRAIN_FLOATS / (width ? width : 1);
}

/* ---- fused operators ---- */

typedef struct job {
    dlx_executor *ex;
    const dlx_node *n;
    const dlx_kernels *k;
    void *out;
    const void *in[DLX_MAX_INPUTS];
    size_t width, rows;
    float f;
    int32_t bad_id;
    const dlx_gemm *gemm;
    dlx_gemm_shape shape;
    const dlx_quantizer *quantizer;
    dlx_attention_args attention;
    dlx_kv_piece piece[3];
    size_t tiles, tile_rows;
} job;

static void run_rms_norm(void *arg, size_t begin, size_t end, size_t thread)
{
    const job *j = arg;
    (void)thread;
    for (size_t r = begin; r < end; r++)
        j->k->rms_norm((float *)j->out + r * j->width, (const float *)j->in[0] + r * j->width, j->in[1], j->width,
                       j->f);
}

static void run_rope(void *arg, size_t begin, size_t end, size_t thread)
{
    const job *j = arg;
    const dlx_shape *s = &j->ex->shape[j->n->out[0]];
    size_t heads = (size_t)s->dim[1], d = (size_t)s->dim[2];
    (void)thread;
    for (size_t r = begin; r < end; r++)
        j->k->rope((float *)j->out + r * heads * d, (const float *)j->in[0] + r * heads * d,
                   (const float *)j->in[1] + r * d, (const float *)j->in[2] + r * d, heads, d);
}

static void run_silu_mul(void *arg, size_t begin, size_t end, size_t thread)
{
    const job *j = arg;
    (void)thread;
    j->k->silu_mul((float *)j->out + begin * j->width, (const float *)j->in[0] + begin * j->width,
                   (const float *)j->in[1] + begin * j->width, (end - begin) * j->width);
}

static void run_quantize(void *arg, size_t begin, size_t end, size_t thread)
{
    const job *j = arg;
    size_t tile = j->quantizer->row_tile, first = begin * tile, last = end * tile;
    (void)thread;
    j->quantizer->quantize(j->out, j->in[0], j->width, j->rows, j->width, first, last < j->rows ? last : j->rows);
}

static void run_linear(void *arg, size_t begin, size_t end, size_t thread)
{
    const job *j = arg;
    const void *packed = j->ex->p->weights[j->n - j->ex->p->g.nodes];
    (void)thread;
    j->gemm->run(j->out, j->shape.n_out, j->in[0], j->shape.n_in, j->rows, packed, j->shape, begin, end);
}

static void run_attention(void *arg, size_t begin, size_t end, size_t thread)
{
    const job *j = arg;
    for (size_t i = begin; i < end; i++) {
        size_t head = i / j->tiles, first = i % j->tiles * j->tile_rows, last = first + j->tile_rows;
        j->k->attention(&j->attention, head, first, last < j->attention.rows ? last : j->attention.rows,
                        j->ex->scratch + thread * j->ex->scratch_stride);
    }
}

static void attention_pieces(const dlx_executor *ex, const dlx_node *n, dlx_attention_args *a, dlx_kv_piece *piece)
{
    size_t stride = a->kv_heads * a->head_dim;
    a->piece = piece;
    size_t cached = n->inputs >= 5 ? (size_t)ex->shape[n->in[3]].dim[0] : 0;
    if (cached) {
        const float *k = ex->data[n->in[3]], *v = ex->data[n->in[4]];
        dlx_cache_view all = {.rows = {cached}, .spans = 1};
        const dlx_cache_view *view = ex->cache ? ex->cache : &all;
        for (size_t i = 0; i < view->spans; i++)
            piece[a->pieces++] = (dlx_kv_piece){k + view->begin[i] * stride, v + view->begin[i] * stride, view->rows[i],
                                                stride, DLX_F32};
    }
    piece[a->pieces++] = (dlx_kv_piece){ex->data[n->in[1]], ex->data[n->in[2]], a->rows, stride, DLX_F32};
}

/* Rows of one piece of attention work. A kernel computes all query vectors that share a key/value head side by side, so
 * a piece of few vectors leaves lanes idle: at least LANES of them where there are as many. Beyond that, larger pieces
 * prepare keys less often, smaller ones keep all threads at work. A row's result does not depend on the piece. */
static size_t attention_tile_rows(const dlx_kernels *k, const dlx_attention_args *a, size_t threads)
{
    enum { LANES = 32, MOST = 256, PIECES_PER_THREAD = 4 };
    size_t unit = k->attention_row_tile, group = a->heads / a->kv_heads;
    size_t least = (LANES / group + unit - 1) / unit * unit, rows = MOST / group / unit * unit;
    if (least < unit) least = unit;
    while (rows > least && (a->rows + rows - 1) / rows * a->kv_heads < PIECES_PER_THREAD * threads) rows -= unit;
    return rows > least ? rows : least;
}

static void do_attention(dlx_executor *ex, job *j)
{
    const dlx_shape *q = &ex->shape[j->n->in[0]], *k = &ex->shape[j->n->in[1]];
    dlx_attention_args *a = &j->attention;
    a->out = j->out;
    a->q = j->in[0];
    a->rows = (size_t)q->dim[0];
    a->heads = (size_t)q->dim[1];
    a->head_dim = (size_t)q->dim[2];
    a->kv_heads = (size_t)k->dim[1];
    a->out_stride = a->q_stride = a->heads * a->head_dim;
    a->scale = j->n->attr.f[0];
    attention_pieces(ex, j->n, a, j->piece);
    a->visible = ex->visible;
    if (!a->visible) {
        int32_t keys = 0;
        for (size_t i = 0; i < a->pieces; i++) keys += (int32_t)a->piece[i].rows;
        for (size_t r = 0; r < a->rows; r++) ex->all_visible[r] = keys;
        a->visible = ex->all_visible;
    }
    j->tile_rows = attention_tile_rows(j->k, a, (size_t)dlx_pool_threads(ex->pool));
    j->tiles = (a->rows + j->tile_rows - 1) / j->tile_rows;
    dlx_pool_for(ex->pool, j->tiles * a->kv_heads, 1, run_attention, j);
}

static int64_t id_at(const void *ids, dlx_dtype t, size_t i)
{
    return t == DLX_I64 ? ((const int64_t *)ids)[i] : ((const int32_t *)ids)[i];
}

static dlx_status do_embedding(dlx_executor *ex, const job *j, dlx_error *err)
{
    const dlx_value *table = &ex->p->g.values[j->n->in[0]];
    const dlx_shape *ids = &ex->shape[j->n->in[1]];
    size_t n = (size_t)dlx_shape_elements(ids), d = (size_t)table->dim[1], size = dlx_dtype_size(table->dtype);
    for (size_t i = 0; i < n; i++) {
        int64_t id = id_at(j->in[1], ex->p->g.values[j->n->in[1]].dtype, i);
        if (id < 0 || id >= table->dim[0])
            return dlx_fail(err, DLX_E_INVALID, "row %zu: id %lld is outside the table of %lld rows", i, (long long)id,
                            (long long)table->dim[0]);
        const uint8_t *row = (const uint8_t *)j->in[0] + (size_t)id * d * size;
        if (j->n->inputs == 3)
            j->k->dequantize_i8((float *)j->out + i * d, (const int8_t *)row, ((const float *)j->in[2])[id], d);
        else
            memcpy((uint8_t *)j->out + i * d * size, row, d * size);
    }
    return DLX_OK;
}

static dlx_status do_row_select(dlx_executor *ex, const job *j, dlx_error *err)
{
    const dlx_shape *x = &ex->shape[j->n->in[0]], *o = &ex->shape[j->n->out[0]];
    const int32_t *rows = j->in[1];
    size_t bytes =
        x->dim[0] ? (size_t)(dlx_shape_elements(x) / x->dim[0]) * dlx_dtype_size(ex->p->g.values[j->n->in[0]].dtype)
                  : 0;
    for (int64_t r = 0; r < o->dim[0]; r++) {
        if (rows[r] < 0 || rows[r] >= x->dim[0])
            return dlx_fail(err, DLX_E_INVALID, "demanded row %d is outside the call's %lld rows", rows[r],
                            (long long)x->dim[0]);
        memcpy((uint8_t *)j->out + (size_t)r * bytes, (const uint8_t *)j->in[0] + (size_t)rows[r] * bytes, bytes);
    }
    return DLX_OK;
}

static void run_add(void *arg, size_t begin, size_t end, size_t thread)
{
    const job *j = arg;
    (void)thread;
    j->k->add((float *)j->out + begin * j->width, (const float *)j->in[0] + begin * j->width,
              (const float *)j->in[1] + begin * j->width, (end - begin) * j->width);
}

static bool same_shape(const dlx_shape *a, const dlx_shape *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, a->rank * sizeof a->dim[0]) == 0;
}

static dlx_status run_node(dlx_executor *ex, const dlx_node *n, dlx_error *err)
{
    const dlx_shape *out = &ex->shape[n->out[0]];
    job j = {.ex = ex, .n = n, .k = &ex->p->k, .out = ex->data[n->out[0]], .f = n->attr.f[0]};
    if (ex->root[n->out[0]] != n->out[0]) return DLX_OK;
    for (int k = 0; k < n->inputs; k++) j.in[k] = n->in[k] == DLX_NONE ? NULL : ex->data[n->in[k]];
    j.width = width_of(out);
    j.rows = rows_of(out);
    if (dlx_shape_elements(out) == 0) return DLX_OK;
    switch (n->op) {
    case DLX_OP_EMBEDDING: return do_embedding(ex, &j, err);
    case DLX_OP_ROW_SELECT: return do_row_select(ex, &j, err);
    case DLX_OP_RMS_NORM: dlx_pool_for(ex->pool, j.rows, row_grain(j.width), run_rms_norm, &j); return DLX_OK;
    case DLX_OP_ROPE:
        dlx_pool_for(ex->pool, (size_t)out->dim[0], row_grain(j.width * (size_t)out->dim[1]), run_rope, &j);
        return DLX_OK;
    case DLX_OP_SILU_MUL: dlx_pool_for(ex->pool, j.rows, row_grain(j.width), run_silu_mul, &j); return DLX_OK;
    case DLX_OP_ATTENTION: do_attention(ex, &j); return DLX_OK;
    case DLX_OP_LINEAR:
        j.gemm = dlx_linear_gemm(j.k, &ex->p->g, n);
        j.shape = dlx_linear_shape(&ex->p->g, n);
        dlx_pool_for(ex->pool, dlx_linear_strips(j.gemm, j.shape), 1, run_linear, &j);
        return DLX_OK;
    case DLX_OP_CONVERT:
        j.quantizer = dlx_linear_quantizer(j.k, ex->p->g.values[n->out[0]].dtype);
        if (j.quantizer) {
            size_t tile = j.quantizer->row_tile;
            dlx_pool_for(ex->pool, (j.rows + tile - 1) / tile, 1, run_quantize, &j);
            return DLX_OK;
        }
        break;
    case DLX_OP_ADD:
        if (same_shape(out, &ex->shape[n->in[0]]) && same_shape(out, &ex->shape[n->in[1]])) {
            dlx_pool_for(ex->pool, j.rows, row_grain(j.width), run_add, &j);
            return DLX_OK;
        }
        break;
    default: break;
    }
    return dlx_run_primitive(ex, n, err);
}

/* ---- opening ---- */

static dlx_status bound_shapes(const dlx_program *p, const dlx_shape *max_shape, dlx_shape *shape, dlx_error *err)
{
    for (size_t i = 0; i < p->g.n_inputs; i++) shape[p->g.inputs[i]] = max_shape[i];
    return dlx_graph_infer(&p->g, shape, err);
}

/* Largest scratch that an attention of the program needs. */
static size_t attention_scratch(const dlx_program *p, const dlx_shape *shape, size_t *rows)
{
    size_t most = 0;
    *rows = 1;
    for (size_t i = 0; i < p->g.n_nodes; i++) {
        const dlx_node *n = &p->g.nodes[i];
        if (n->op != DLX_OP_ATTENTION) continue;
        const dlx_shape *q = &shape[n->in[0]], *k = &shape[n->in[1]];
        size_t keys = (size_t)k->dim[0] + (n->inputs >= 5 ? (size_t)shape[n->in[3]].dim[0] : 0);
        size_t bytes =
            p->k.attention_scratch((size_t)q->dim[0], keys, (size_t)q->dim[1], (size_t)k->dim[1], (size_t)q->dim[2]);
        if (bytes > most) most = bytes;
        if ((size_t)q->dim[0] > *rows) *rows = (size_t)q->dim[0];
    }
    return most;
}

typedef struct layout {
    uint64_t arena, scratch_stride, total;
    size_t visible_rows;
} layout;

static dlx_status lay_out(const dlx_program *p, const dlx_shape *max_shape, int threads, dlx_shape *shape,
                          uint64_t *offset, uint32_t *root, layout *out, dlx_error *err)
{
    DLX_TRY(bound_shapes(p, max_shape, shape, err));
    DLX_TRY(dlx_plan_arena(p, shape, offset, root, &out->arena, err));
    out->arena = dlx_align_up(out->arena, LINE);
    out->scratch_stride = dlx_align_up(attention_scratch(p, shape, &out->visible_rows), 2 * LINE);
    out->total = out->arena + out->scratch_stride * (uint64_t)threads;
    return DLX_OK;
}

static bool allocate_tables(dlx_executor *ex, size_t n, size_t inputs)
{
    ex->offset = calloc(n + 1, sizeof *ex->offset);
    ex->root = calloc(n + 1, sizeof *ex->root);
    ex->shape = calloc(n + 1, sizeof *ex->shape);
    ex->bound = calloc(inputs + 1, sizeof *ex->bound);
    ex->data = calloc(n + 1, sizeof *ex->data);
    return ex->offset && ex->root && ex->shape && ex->bound && ex->data;
}

dlx_status dlx_executor_size(const dlx_program *p, const dlx_shape *max_shape, int threads, uint64_t *bytes,
                             dlx_error *err)
{
    dlx_executor ex = {0};
    layout l;
    dlx_status s = allocate_tables(&ex, p->g.n_values, p->g.n_inputs)
                       ? lay_out(p, max_shape, threads, ex.shape, ex.offset, ex.root, &l, err)
                       : dlx_fail(err, DLX_E_NOMEM, "out of memory measuring a program");
    *bytes = s == DLX_OK ? l.total : 0;
    free(ex.offset);
    free(ex.root);
    free(ex.shape);
    free(ex.bound);
    free(ex.data);
    return s;
}

dlx_status dlx_executor_open(dlx_executor **out, const dlx_program *p, const dlx_shape *max_shape, dlx_pool *pool,
                             dlx_error *err)
{
    *out = NULL;
    dlx_executor *ex = calloc(1, sizeof *ex);
    layout l = {0};
    if (!ex || !allocate_tables(ex, p->g.n_values, p->g.n_inputs)) {
        dlx_executor_close(ex);
        return dlx_fail(err, DLX_E_NOMEM, "out of memory opening a session");
    }
    ex->p = p;
    ex->pool = pool;
    dlx_status s = lay_out(p, max_shape, dlx_pool_threads(pool), ex->shape, ex->offset, ex->root, &l, err);
    if (s == DLX_OK) {
        memcpy(ex->bound, max_shape, p->g.n_inputs * sizeof *max_shape);
        ex->arena_bytes = l.total;
        ex->scratch_stride = l.scratch_stride;
        ex->all_visible_rows = l.visible_rows;
        ex->all_visible = calloc(l.visible_rows, sizeof *ex->all_visible);
        ex->arena = l.total > SIZE_MAX / 2 ? NULL : aligned_alloc(LINE, (size_t)dlx_align_up(l.total, LINE));
        if (!ex->arena || !ex->all_visible)
            s = dlx_fail(
                err, DLX_E_NOMEM,
                "out of memory: the activations take %llu bytes; open the session with fewer rows or a shorter context",
                (unsigned long long)l.total);
    }
    if (s != DLX_OK) {
        dlx_executor_close(ex);
        return s;
    }
    ex->scratch = ex->arena + l.arena;
    for (size_t i = 0; i < p->g.n_values; i++)
        if (p->g.values[i].kind == DLX_VALUE_CONST) ex->data[i] = (void *)(uintptr_t)p->g.values[i].source.data;
    for (size_t i = 0; i < p->g.n_values; i++)
        if (ex->offset[i] != UINT64_MAX) ex->data[i] = ex->arena + ex->offset[i];
    *out = ex;
    return DLX_OK;
}

void dlx_executor_close(dlx_executor *ex)
{
    if (!ex) return;
    free(ex->arena);
    free(ex->all_visible);
    free(ex->offset);
    free(ex->root);
    free(ex->shape);
    free(ex->bound);
    free(ex->data);
    free(ex);
}

/* ---- running ---- */

static dlx_status bind_inputs(dlx_executor *ex, const dlx_tensor_ref *inputs, dlx_error *err)
{
    const dlx_graph *g = &ex->p->g;
    for (size_t i = 0; i < g->n_inputs; i++) {
        const dlx_value *v = &g->values[g->inputs[i]];
        const dlx_shape *s = &inputs[i].shape, *most = &ex->bound[i];
        if (s->rank != v->rank)
            return dlx_fail(err, DLX_E_INVALID, "program input %zu has rank %d; expected %d", i, s->rank, v->rank);
        for (int d = 0; d < s->rank; d++)
            if (s->dim[d] < 0 || s->dim[d] > most->dim[d] || (!(v->dynamic >> d & 1) && s->dim[d] != v->dim[d]))
                return dlx_fail(err, DLX_E_LIMIT, "program input %zu: dimension %d is %lld; expected %s %lld", i, d,
                                (long long)s->dim[d], v->dynamic >> d & 1 ? "at most" : "exactly",
                                (long long)most->dim[d]);
        ex->shape[g->inputs[i]] = *s;
        ex->data[g->inputs[i]] = inputs[i].data;
    }
    return DLX_OK;
}

dlx_status dlx_executor_run(dlx_executor *ex, const dlx_tensor_ref *inputs, const dlx_cache_view *cache,
                            const int32_t *visible, dlx_tensor_ref *outputs, dlx_error *err)
{
    const dlx_graph *g = &ex->p->g;
    DLX_TRY(bind_inputs(ex, inputs, err));
    DLX_TRY(dlx_graph_infer(g, ex->shape, err));
    for (size_t i = 0; i < g->n_nodes; i++) {
        uint32_t out = g->nodes[i].out[0];
        if (ex->root[out] != out) ex->data[out] = ex->data[ex->root[out]];
    }
    if (dlx_caller_output(ex->p) != DLX_NONE) ex->data[dlx_caller_output(ex->p)] = outputs[0].data;
    ex->cache = cache;
    ex->visible = visible;
    for (size_t i = 0; i < g->n_nodes; i++) DLX_TRY(run_node(ex, &g->nodes[i], err));
    for (size_t i = 0; i < g->n_outputs; i++)
        outputs[i] = (dlx_tensor_ref){.data = ex->data[g->outputs[i]], .shape = ex->shape[g->outputs[i]]};
    return DLX_OK;
}
