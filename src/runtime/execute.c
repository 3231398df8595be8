/* Opening an executor and running a program: shapes of the call, then node after node, each a data-parallel loop. */
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/sizes.h"
#include "runtime/executor.h"
#include "runtime/linear.h"
#include "runtime/primitives.h"
#include "runtime/stages.h"

enum { LINE = 64 };

/* Work below this many floats is not worth waking other threads for. */
enum { GRAIN_FLOATS = 16384 };

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
    const dlx_quantizer *quantizer;
} job;

static void run_rms_norm(void *arg, size_t begin, size_t end, size_t thread)
{
    const job *j = arg;
    (void)thread;
    for (size_t r = begin; r < end; r++)
        j->k->rms_norm((float *)j->out + r * j->width, (const float *)j->in[0] + r * j->width, j->in[1], j->width,
                       j->f);
}

/* Row r of the heads; where heads come before rows, r counts rows of all heads. */
static void run_rope(void *arg, size_t begin, size_t end, size_t thread)
{
    const job *j = arg;
    const dlx_shape *s = &j->ex->shape[j->n->out[0]];
    bool pairs = j->n->attr.keep, heads_first = j->n->attr.axis;
    int rank = s->rank - pairs;
    size_t width = (size_t)s->dim[rank - 1], d = pairs ? 2 * width : width;
    size_t heads = heads_first ? 1 : (size_t)s->dim[rank - 2], rows = (size_t)s->dim[rank - 3 + heads_first];
    (void)thread;
    for (size_t r = begin; r < end; r++)
        (pairs ? j->k->rope_pairs : j->k->rope)(
            (float *)j->out + r * heads * d, (const float *)j->in[0] + r * heads * d,
            (const float *)j->in[1] + r % rows * width, (const float *)j->in[2] + r % rows * width, heads, d);
}

/* Rows of run_rope, and how many numbers each has. */
static size_t rope_rows(const job *j, size_t *width)
{
    const dlx_shape *s = &j->ex->shape[j->n->out[0]];
    int rank = s->rank - j->n->attr.keep;
    size_t d = (size_t)s->dim[rank - 1] * (j->n->attr.keep ? 2 : 1);
    size_t vectors = (size_t)(s->dim[rank - 3] * s->dim[rank - 2]),
           heads = j->n->attr.axis ? 1 : (size_t)s->dim[rank - 2];
    *width = heads * d;
    return vectors / heads;
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
    if (last > j->rows) last = j->rows;
    if (j->n->attr.dtype == DLX_QS8)
        j->k->quantize_qs8(j->out, j->in[0], j->width, j->rows, j->width, first, last, j->f, j->n->attr.axis);
    else
        j->quantizer->quantize(j->out, j->in[0], j->width, j->rows, j->width, first, last);
}

static int64_t id_at(const void *ids, dlx_dtype t, size_t i)
{
    return t == DLX_I64 ? ((const int64_t *)ids)[i] : ((const int32_t *)ids)[i];
}

/* Scale k of a table's scales: F32, or BF16 of groups. */
static float scale_at(const dlx_value *scales, const void *data, size_t k)
{
    return scales->dtype == DLX_BF16 ? dlx_bf16_to_f32(((const uint16_t *)data)[k]) : ((const float *)data)[k];
}

/* Row `id` of a quantised table: each group of d / groups codes times its scale. */
static void dequantise_row(const dlx_executor *ex, const job *j, float *y, const uint8_t *row, size_t id, size_t d)
{
    enum { BLOCK = 256 };
    const dlx_value *scales = &ex->p->g.values[j->n->in[2]];
    bool int4 = ex->p->g.values[j->n->in[0]].dtype == DLX_I4;
    size_t groups = (size_t)scales->dim[1], width = d / groups;
    int8_t codes[BLOCK];
    for (size_t at = 0, n; at < d; at += n) {
        size_t left = width - at % width; /* of this group */
        float scale = scale_at(scales, j->in[2], id * groups + at / width);
        n = int4 && left > BLOCK ? BLOCK : left;
        for (size_t i = 0; int4 && i < n; i++) codes[i] = (int8_t)((row[(at + i) / 2] >> (at + i) % 2 * 4 & 15) - 8);
        j->k->dequantize_i8(y + at, int4 ? codes : (const int8_t *)row + at, scale, n);
    }
}

static dlx_status do_embedding(dlx_executor *ex, const job *j, dlx_error *err)
{
    const dlx_value *table = &ex->p->g.values[j->n->in[0]];
    const dlx_shape *ids = &ex->shape[j->n->in[1]];
    size_t n = (size_t)dlx_shape_elements(ids), d = (size_t)table->dim[1];
    uint64_t size = 0;
    (void)dlx_dtype_bytes(table->dtype, d, &size); /* of a row; counted when the graph was verified */
    const dlx_node *tied = j->in[0] ? NULL : dlx_linear_tied(&ex->p->g, j->n->in[0]);
    const dlx_gemm *gemm = tied ? dlx_linear_gemm(j->k, &ex->p->g, tied) : NULL;
    const void *packed = tied ? ex->p->weights[tied - ex->p->g.nodes] : NULL;
    dlx_gemm_shape shape = tied ? dlx_linear_shape(&ex->p->g, tied) : (dlx_gemm_shape){0};
    bool scaled = j->n->inputs == 3;
    for (size_t i = 0; i < n; i++) {
        int64_t id = id_at(j->in[1], ex->p->g.values[j->n->in[1]].dtype, i);
        if (id < 0 || id >= table->dim[0])
            return dlx_fail(err, DLX_E_INVALID, "row %zu: id %lld is outside the table of %lld rows", i, (long long)id,
                            (long long)table->dim[0]);
        void *out = (uint8_t *)j->out + i * (scaled ? d * sizeof(float) : size);
        const void *row = tied ? ex->scratch : (const uint8_t *)j->in[0] + (size_t)id * size;
        if (tied) gemm->unpack(scaled ? ex->scratch : out, packed, shape, (size_t)id);
        if (scaled)
            dequantise_row(ex, j, out, row, (size_t)id, d);
        else if (!tied)
            memcpy(out, row, size);
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

static job job_of(dlx_executor *ex, const dlx_node *n)
{
    const dlx_shape *out = &ex->shape[n->out[0]];
    job j = {.ex = ex, .n = n, .k = &ex->p->k, .out = ex->data[n->out[0]], .f = n->attr.f[0]};
    for (int k = 0; k < n->inputs; k++) j.in[k] = n->in[k] == DLX_NONE ? NULL : ex->data[n->in[k]];
    j.width = dlx_inner(out);
    j.rows = dlx_outer_count(out);
    return j;
}

/* A loop over items, each of which is `rows` rows of a job (the last one may have less) of `width` numbers. */
typedef struct row_loop {
    dlx_loop_fn fn; /* NULL: the node is no such loop */
    size_t count, rows, width;
} row_loop;

static row_loop row_loop_of(dlx_executor *ex, job *j)
{
    const dlx_node *n = j->n;
    row_loop l = {.count = j->rows, .rows = 1, .width = j->width};
    switch (n->op) {
    case DLX_OP_RMS_NORM: l.fn = run_rms_norm; break;
    case DLX_OP_SILU_MUL: l.fn = run_silu_mul; break;
    case DLX_OP_ROPE:
        l.fn = run_rope;
        l.count = rope_rows(j, &l.width);
        break;
    case DLX_OP_ADD:
        if (ex->p->g.values[n->in[0]].dtype == DLX_F32 && same_shape(&ex->shape[n->out[0]], &ex->shape[n->in[0]]) &&
            same_shape(&ex->shape[n->out[0]], &ex->shape[n->in[1]]))
            l.fn = run_add;
        break;
    case DLX_OP_CONVERT:
        j->quantizer = dlx_linear_quantizer(j->k, ex->p->g.values[n->out[0]].dtype);
        if (!j->quantizer) break;
        l.fn = run_quantize;
        l.rows = j->quantizer->row_tile;
        l.count = (j->rows + l.rows - 1) / l.rows;
        break;
    default: break;
    }
    return l;
}

static dlx_status run_node(dlx_executor *ex, const dlx_node *n, dlx_error *err)
{
    if (ex->root[n->out[0]] != n->out[0] && !dlx_op_updates(n->op)) return DLX_OK;
    if (dlx_shape_elements(&ex->shape[n->out[0]]) == 0) return DLX_OK;
    job j = job_of(ex, n);
    switch (n->op) {
    case DLX_OP_EMBEDDING: return do_embedding(ex, &j, err);
    case DLX_OP_ROW_SELECT: return do_row_select(ex, &j, err);
    case DLX_OP_ATTENTION: dlx_run_attention(ex, n); return DLX_OK;
    case DLX_OP_LINEAR: dlx_run_linear(ex, n); return DLX_OK;
    default: break;
    }
    row_loop l = row_loop_of(ex, &j);
    if (!l.fn) return dlx_run_primitive(ex, n, err);
    dlx_pool_for(ex->pool, l.count, l.rows > 1 ? 1 : row_grain(l.width), l.fn, &j);
    return DLX_OK;
}

/* ---- stages of several nodes ---- */

static dlx_status run_nodes(dlx_executor *ex, const dlx_stage *s, dlx_error *err)
{
    for (size_t i = s->first; i < s->end; i++) DLX_TRY(run_node(ex, &ex->p->g.nodes[i], err));
    return DLX_OK;
}

/* Operators over the rows of the same tokens. */
typedef struct row_chain {
    job job[DLX_STAGE_NODES];
    row_loop loop[DLX_STAGE_NODES];
    size_t of_token[DLX_STAGE_NODES]; /* rows */
    size_t n, tokens;
    size_t tile;   /* tokens that are taken together */
    size_t floats; /* of a token, in all operators */
} row_chain;

static void run_chain(void *arg, size_t begin, size_t end, size_t thread)
{
    row_chain *c = arg;
    for (size_t t = begin; t < end; t++) {
        size_t first = t * c->tile, last = first + c->tile < c->tokens ? first + c->tile : c->tokens;
        for (size_t i = 0; i < c->n; i++) {
            const row_loop *l = &c->loop[i];
            size_t rows = c->of_token[i];
            l->fn(&c->job[i], first * rows / l->rows, (last * rows + l->rows - 1) / l->rows, thread);
        }
    }
}

/* False: they are not all over the rows of the same tokens in this call, or one would wait for another's thread. */
static bool chain_of(dlx_executor *ex, const dlx_stage *s, row_chain *c)
{
    *c = (row_chain){.tokens = (size_t)ex->shape[ex->p->g.nodes[s->first].out[0]].dim[0], .tile = 1};
    for (size_t i = s->first; i < s->end; i++) {
        const dlx_node *n = &ex->p->g.nodes[i];
        const dlx_shape *out = &ex->shape[n->out[0]];
        if (!c->tokens || out->rank < 2 || (size_t)out->dim[0] != c->tokens) return false;
        if (dlx_shares_operand(n)) continue;
        job *j = &c->job[c->n];
        row_loop *l = &c->loop[c->n];
        *j = job_of(ex, n);
        *l = row_loop_of(ex, j);
        size_t rows = n->op == DLX_OP_ROPE ? l->count : j->rows;
        if (!l->fn || rows % c->tokens || (l->rows > 1 && rows != c->tokens)) return false;
        c->of_token[c->n++] = rows / c->tokens;
        c->floats += rows / c->tokens * l->width;
        c->tile = l->rows > c->tile ? l->rows : c->tile;
    }
    size_t tiles = (c->tokens + c->tile - 1) / c->tile;
    return c->tile == 1 || tiles >= (size_t)dlx_pool_threads(ex->pool) || c->floats * c->tokens < GRAIN_FLOATS;
}

static dlx_status run_stage(dlx_executor *ex, const dlx_stage *s, dlx_error *err)
{
    row_chain c;
    if (s->kind == DLX_STAGE_LINEARS || s->kind == DLX_STAGE_GATED) {
        dlx_run_linears(ex, s);
        return DLX_OK;
    }
    if (s->kind != DLX_STAGE_ROWS || !chain_of(ex, s, &c)) return run_nodes(ex, s, err);
    size_t grain = row_grain(c.floats * c.tile);
    dlx_pool_for(ex->pool, (c.tokens + c.tile - 1) / c.tile, grain, run_chain, &c);
    return DLX_OK;
}

/* ---- opening ---- */

/* Largest shapes of all values. Sizes that a program computes are bounded by what they are computed from; where such
 * bounds contradict each other, the program's own are taken: it then plans for its largest call, whatever was asked. */
static dlx_status bound_shapes(const dlx_program *p, const dlx_shape *max_shape, dlx_shape *shape, dlx_error *err)
{
    const dlx_graph *g = &p->g;
    for (size_t i = 0; i < g->n_inputs; i++) shape[g->inputs[i]] = max_shape[i];
    if (!dlx_sized_at_run(g)) return dlx_graph_infer(g, shape, err);
    dlx_range *range = dlx_mem_array(&p->mem, g->n_values, sizeof *range);
    if (!range) return dlx_fail(err, DLX_E_NOMEM, "out of memory planning %zu values", g->n_values);
    bool bounded = dlx_graph_infer_bounds(g, shape, range, NULL) == DLX_OK;
    dlx_mem_free(&p->mem, range, g->n_values, sizeof *range);
    if (bounded) return DLX_OK;
    for (size_t i = 0; i < g->n_inputs; i++) shape[g->inputs[i]] = dlx_value_shape(&g->values[g->inputs[i]]);
    return dlx_graph_infer(g, shape, err);
}

/* Scratch of one row of a quantised table that lies packed. */
static uint64_t lookup_scratch(const dlx_program *p)
{
    uint64_t most = 0, bytes = 0;
    for (size_t i = 0; i < p->g.n_nodes; i++) {
        const dlx_node *n = &p->g.nodes[i];
        if (n->op != DLX_OP_EMBEDDING || n->inputs != 3 || !dlx_linear_tied(&p->g, n->in[0])) continue;
        const dlx_value *table = &p->g.values[n->in[0]];
        (void)dlx_dtype_bytes(table->dtype, (uint64_t)table->dim[1], &bytes);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

typedef struct layout {
    uint64_t arena, scratch_stride, parts, total; /* bytes; total: with the tables below */
    size_t visible_rows, works, pieces;
} layout;

static size_t table_bytes(const dlx_program *p, const layout *l)
{
    const dlx_executor *ex = NULL;
    size_t n = p->g.n_values + 1;
    return dlx_mem_bytes(1, sizeof *ex) + dlx_mem_bytes(n, sizeof *ex->offset) + dlx_mem_bytes(n, sizeof *ex->root) +
           dlx_mem_bytes(n, sizeof *ex->shape) + dlx_mem_bytes(n, sizeof *ex->data) +
           (dlx_sized_at_run(&p->g) ? dlx_mem_bytes(n, sizeof *ex->most) : 0) +
           dlx_mem_bytes(p->g.n_inputs + 1, sizeof *ex->bound) + dlx_mem_bytes(l->works, sizeof *ex->work) +
           dlx_mem_bytes(l->pieces, sizeof *ex->piece) + dlx_mem_bytes(l->visible_rows, sizeof *ex->all_visible);
}

static dlx_status lay_out(const dlx_program *p, const dlx_executor_bounds *b, int threads, dlx_shape *shape,
                          uint64_t *offset, uint32_t *root, layout *out, dlx_error *err)
{
    DLX_TRY(bound_shapes(p, b->max_shape, shape, err));
    DLX_TRY(dlx_plan_arena(p, shape, offset, root, &out->arena, err));
    uint64_t scratch = dlx_attention_scratch(p, shape, &out->visible_rows), split = dlx_logits_scratch(p, shape);
    out->works = b->max_segments ? b->max_segments : 1;
    out->pieces = b->max_runs + out->works + 1;
    out->arena = dlx_align_up(out->arena, LINE);
    scratch = larger(larger(scratch, split), larger(lookup_scratch(p), dlx_linears_scratch(p, shape)));
    out->scratch_stride = dlx_align_up(scratch, 2 * LINE);
    out->parts = dlx_align_up(dlx_logits_parts(p, shape), LINE);
    out->total = out->arena + out->scratch_stride * (uint64_t)threads + out->parts;
    return DLX_OK;
}

static bool allocate_tables(dlx_executor *ex)
{
    size_t n = ex->p->g.n_values + 1, inputs = ex->p->g.n_inputs + 1;
    ex->offset = dlx_mem_zeroed(&ex->mem, n, sizeof *ex->offset);
    ex->root = dlx_mem_zeroed(&ex->mem, n, sizeof *ex->root);
    ex->shape = dlx_mem_zeroed(&ex->mem, n, sizeof *ex->shape);
    ex->data = dlx_mem_zeroed(&ex->mem, n, sizeof *ex->data);
    ex->bound = dlx_mem_zeroed(&ex->mem, inputs, sizeof *ex->bound);
    bool sized = dlx_sized_at_run(&ex->p->g);
    if (sized) ex->most = dlx_mem_zeroed(&ex->mem, n, sizeof *ex->most);
    return ex->offset && ex->root && ex->shape && ex->bound && ex->data && (!sized || ex->most);
}

dlx_status dlx_executor_size(const dlx_program *p, const dlx_executor_bounds *bounds, int threads, uint64_t *bytes,
                             dlx_error *err)
{
    dlx_executor ex = {.p = p, .mem = p->mem};
    layout l;
    dlx_status s = allocate_tables(&ex) ? lay_out(p, bounds, threads, ex.shape, ex.offset, ex.root, &l, err)
                                        : dlx_fail(err, DLX_E_NOMEM, "out of memory measuring a program");
    *bytes = s == DLX_OK ? dlx_align_up(l.total, DLX_ALIGN) + table_bytes(p, &l) : 0;
    size_t n = p->g.n_values + 1;
    dlx_mem_free(&p->mem, ex.offset, n, sizeof *ex.offset);
    dlx_mem_free(&p->mem, ex.root, n, sizeof *ex.root);
    dlx_mem_free(&p->mem, ex.shape, n, sizeof *ex.shape);
    dlx_mem_free(&p->mem, ex.data, n, sizeof *ex.data);
    dlx_mem_free(&p->mem, ex.bound, p->g.n_inputs + 1, sizeof *ex.bound);
    dlx_mem_free(&p->mem, ex.most, n, sizeof *ex.most);
    return s;
}

static dlx_status allocate_memory(dlx_executor *ex, const layout *l, dlx_error *err)
{
    ex->arena_bytes = l->total;
    ex->scratch_stride = l->scratch_stride;
    ex->all_visible_rows = l->visible_rows;
    ex->max_segments = l->works;
    ex->max_pieces = l->pieces;
    ex->all_visible = dlx_mem_zeroed(&ex->mem, l->visible_rows, sizeof *ex->all_visible);
    ex->work = dlx_mem_zeroed(&ex->mem, l->works, sizeof *ex->work);
    ex->piece = dlx_mem_zeroed(&ex->mem, l->pieces, sizeof *ex->piece);
    ex->arena = l->total > SIZE_MAX / 2 ? NULL : dlx_mem_array(&ex->mem, (size_t)l->total, 1);
    if (ex->all_visible && ex->work && ex->piece && ex->arena) return DLX_OK;
    return dlx_fail(
        err, DLX_E_NOMEM,
        "out of memory: the activations take %llu bytes; open the session with fewer rows or a shorter context",
        (unsigned long long)l->total);
}

dlx_status dlx_executor_open(dlx_executor **out, const dlx_program *p, const dlx_executor_bounds *bounds,
                             dlx_pool *pool, const dlx_allocator *mem, dlx_error *err)
{
    *out = NULL;
    dlx_executor *ex = dlx_mem_zeroed(mem, 1, sizeof *ex);
    layout l = {0};
    if (!ex) return dlx_fail(err, DLX_E_NOMEM, "out of memory opening a session");
    ex->p = p;
    ex->pool = pool;
    if (mem) ex->mem = *mem;
    dlx_status s = allocate_tables(ex)
                       ? lay_out(p, bounds, dlx_pool_threads(pool), ex->shape, ex->offset, ex->root, &l, err)
                       : dlx_fail(err, DLX_E_NOMEM, "out of memory opening a session");
    if (s == DLX_OK) s = allocate_memory(ex, &l, err);
    if (s != DLX_OK) {
        dlx_executor_close(ex);
        return s;
    }
    memcpy(ex->bound, bounds->max_shape, p->g.n_inputs * sizeof *bounds->max_shape);
    if (ex->most) memcpy(ex->most, ex->shape, p->g.n_values * sizeof *ex->most);
    ex->scratch = ex->arena + l.arena;
    ex->parts = (dlx_row_part *)(void *)(ex->arena + (l.total - l.parts));
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
    dlx_allocator mem = ex->mem;
    size_t n = ex->p->g.n_values + 1;
    dlx_mem_free(&mem, ex->arena, (size_t)ex->arena_bytes, 1);
    dlx_mem_free(&mem, ex->all_visible, ex->all_visible_rows, sizeof *ex->all_visible);
    dlx_mem_free(&mem, ex->work, ex->max_segments, sizeof *ex->work);
    dlx_mem_free(&mem, ex->piece, ex->max_pieces, sizeof *ex->piece);
    dlx_mem_free(&mem, ex->offset, n, sizeof *ex->offset);
    dlx_mem_free(&mem, ex->root, n, sizeof *ex->root);
    dlx_mem_free(&mem, ex->shape, n, sizeof *ex->shape);
    dlx_mem_free(&mem, ex->data, n, sizeof *ex->data);
    dlx_mem_free(&mem, ex->bound, ex->p->g.n_inputs + 1, sizeof *ex->bound);
    dlx_mem_free(&mem, ex->most, n, sizeof *ex->most);
    dlx_mem_free(&mem, ex, 1, sizeof *ex);
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

/* Does the pass fit what the executor was opened for? */
static dlx_status check_pass(const dlx_executor *ex, const dlx_pass *pass, dlx_error *err)
{
    size_t runs = 0;
    if (pass->segments && !ex->p->table.holds)
        return dlx_fail(err, DLX_E_INTERNAL, "a pass with segments needs a program whose rows are independent");
    if (ex->p->rows != DLX_NONE && dlx_logits_are_split(pass) && !dlx_program_summarises(ex->p))
        return dlx_fail(err, DLX_E_INTERNAL, "the logits of this program lie in one place");
    for (size_t i = 0; pass->segments && i < pass->n_segments; i++) runs += pass->segments[i].n_runs + 1;
    if (pass->segments && (pass->n_segments > ex->max_segments || runs > ex->max_pieces))
        return dlx_fail(err, DLX_E_INTERNAL, "a pass of %zu segments and %zu pieces is more than the executor takes",
                        pass->n_segments, runs);
    return DLX_OK;
}

bool dlx_executor_beyond_cache(const dlx_executor *ex)
{
    return atomic_load_explicit(&ex->beyond_cache, memory_order_relaxed);
}

dlx_status dlx_executor_run(dlx_executor *ex, const dlx_pass *pass, dlx_tensor_ref *outputs, dlx_error *err)
{
    const dlx_graph *g = &ex->p->g;
    uint32_t caller = dlx_caller_output(ex->p);
    DLX_TRY(check_pass(ex, pass, err));
    DLX_TRY(bind_inputs(ex, pass->inputs, err));
    if (!ex->most) DLX_TRY(dlx_graph_infer(g, ex->shape, err));
    for (size_t i = 0; i < g->n_nodes; i++) {
        uint32_t out = g->nodes[i].out[0];
        if (ex->root[out] != out) ex->data[out] = ex->data[ex->root[out]];
    }
    if (caller != DLX_NONE) ex->data[caller] = pass->n_logits ? pass->logits[0].data : NULL;
    ex->pass = pass;
    atomic_store_explicit(&ex->beyond_cache, false, memory_order_relaxed);
    for (size_t i = 0; i < ex->p->n_stages; i++) {
        const dlx_stage *s = &ex->p->stages[i];
        if (ex->most) DLX_TRY(dlx_infer_now(ex, &g->nodes[s->first], err)); /* stages have one node then */
        DLX_TRY(run_stage(ex, s, err));
    }
    dlx_keep_states(ex);
    for (size_t i = 0; i < g->n_outputs; i++)
        outputs[i] = (dlx_tensor_ref){.data = ex->data[g->outputs[i]], .shape = ex->shape[g->outputs[i]]};
    return DLX_OK;
}
