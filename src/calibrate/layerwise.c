#include "calibrate/layerwise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/sizes.h"
#include "calibrate/spill.h"
#include "quant/quant.h"
#include "quant/rows.h"
#include "runtime/program.h"

enum {
    PASS_ROWS = 512,
    HEAD_BYTES = 64 << 20, /* of the head's weights that are in memory at one time */
    LAYER_INPUTS = 4,      /* hidden, positions, keys, values */
    LAYER_OUTPUTS = 3 + 2 * DLX_LAYER_LINEARS,
};
static const uint64_t default_memory = 1ull << 30;

const dlx_linear_readers dlx_linear_inputs[DLX_LINEAR_INPUTS] = {{DLX_LAYER_Q, DLX_LAYER_O},
                                                                 {DLX_LAYER_O, DLX_LAYER_GATE},
                                                                 {DLX_LAYER_GATE, DLX_LAYER_DOWN},
                                                                 {DLX_LAYER_DOWN, DLX_LAYER_LINEARS}};

struct dlx_layerwise {
    const dlx_checkpoint *c;
    const dlx_samples *samples;
    dlx_layerwise_options o;
    uint64_t *row;  /* [n] first row of each sample */
    dlx_span *span; /* [n] positions that run */
    bool cached;    /* a span begins behind position 0 */
    dlx_spill hidden;
    dlx_spill *kv;   /* [2 * layers] with o.cache */
    float *cache[2]; /* stored keys and values of the layer that runs; [rows, kv_width] */
    size_t width, kv_width, max_segments;
    /* Of one pass: */
    float *in; /* [pass_rows, width] */
    int64_t *position;
    int32_t *place, *visible;
    size_t *sample;
    uint8_t *masked;
    dlx_segment *segments;
    dlx_cache_run *runs;
    /* What is loaded: a layer, or a piece of the head. */
    dlx_program program;
    dlx_executor *ex;
    int32_t layer; /* -1: none */
    size_t node[DLX_LAYER_LINEARS];
};

int dlx_linear_input(int linear)
{
    int i = 0;
    while (i + 1 < DLX_LINEAR_INPUTS && linear >= dlx_linear_inputs[i].end) i++;
    return i;
}

bool dlx_linear_first(int linear)
{
    return dlx_linear_inputs[dlx_linear_input(linear)].first == linear;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static dlx_status no_memory(const dlx_layerwise *w, dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory running '%s' layer by layer", w->c->folder);
}

static bool allocate(dlx_layerwise *w)
{
    size_t n = w->samples->n, rows = (size_t)w->o.pass_rows;
    w->row = calloc(n, sizeof *w->row);
    w->span = calloc(n, sizeof *w->span);
    w->in = dlx_mem_array(NULL, rows * w->width, sizeof *w->in);
    w->position = calloc(rows, sizeof *w->position);
    w->place = calloc(rows, sizeof *w->place);
    w->visible = calloc(rows, sizeof *w->visible);
    w->sample = calloc(rows, sizeof *w->sample);
    w->masked = calloc(rows, sizeof *w->masked);
    w->segments = calloc(w->max_segments, sizeof *w->segments);
    w->runs = calloc(w->max_segments, sizeof *w->runs);
    return w->row && w->span && w->in && w->position && w->place && w->visible && w->sample && w->masked &&
           w->segments && w->runs;
}

static dlx_status open_cache(dlx_layerwise *w, dlx_error *err)
{
    size_t n = 2 * (size_t)w->c->shape.layers;
    uint64_t rows = w->samples->rows;
    w->kv = calloc(n, sizeof *w->kv);
    if (!w->kv) return no_memory(w, err);
    for (size_t i = 0; i < n; i++) w->kv[i].fd = -1;
    for (size_t i = 0; i < n; i++)
        DLX_TRY(dlx_spill_open(&w->kv[i], rows, w->kv_width, w->o.memory / n, w->o.folder, err));
    for (int i = 0; i < 2; i++) {
        w->cache[i] = dlx_mem_array(NULL, (size_t)rows * w->kv_width, sizeof **w->cache);
        if (!w->cache[i]) return no_memory(w, err);
    }
    return DLX_OK;
}

static dlx_status open_in(dlx_layerwise *w, dlx_error *err)
{
    const dlx_samples *s = w->samples;
    const dlx_model_shape *shape = &w->c->shape;
    uint64_t row = 0;
    if (!s->n || !s->rows) return dlx_fail(err, DLX_E_INVALID, "there are no sequences to run '%s' with", w->c->folder);
    if (s->longest > shape->max_positions)
        return dlx_fail(err, DLX_E_LIMIT, "a sequence of %d tokens is longer than the %d positions of '%s'", s->longest,
                        shape->max_positions, w->c->folder);
    if (!w->o.pass_rows) w->o.pass_rows = PASS_ROWS;
    if (w->o.pass_rows < s->longest) w->o.pass_rows = s->longest;
    if (!w->o.memory) w->o.memory = default_memory;
    w->width = (size_t)shape->hidden;
    w->kv_width = (size_t)shape->kv_heads * (size_t)shape->head_dim;
    w->max_segments = s->n < (size_t)w->o.pass_rows ? s->n : (size_t)w->o.pass_rows;
    if (!allocate(w)) return no_memory(w, err);
    for (size_t i = 0; i < s->n; row += (uint64_t)s->list[i++].n) w->row[i] = row;
    DLX_TRY(dlx_spill_open(&w->hidden, s->rows, w->width, w->o.memory, w->o.folder, err));
    return w->o.cache ? open_cache(w, err) : DLX_OK;
}

dlx_layerwise_options dlx_layerwise_on(dlx_pool *pool)
{
    return (dlx_layerwise_options){.limit = dlx_cpu_best_isa(), .pool = pool};
}

dlx_status dlx_layerwise_open(dlx_layerwise **out, const dlx_checkpoint *c, const dlx_samples *samples,
                              const dlx_layerwise_options *options, dlx_error *err)
{
    dlx_layerwise *w = calloc(1, sizeof *w);
    *out = NULL;
    if (!w) return dlx_fail(err, DLX_E_NOMEM, "out of memory running '%s' layer by layer", c->folder);
    w->c = c;
    w->samples = samples;
    w->o = *options;
    w->layer = -1;
    w->hidden.fd = -1;
    dlx_status s = open_in(w, err);
    if (s == DLX_OK)
        *out = w;
    else
        dlx_layerwise_close(w);
    return s;
}

static void unload(dlx_layerwise *w)
{
    dlx_executor_close(w->ex);
    w->ex = NULL;
    dlx_program_free(&w->program);
    w->layer = -1;
}

void dlx_layerwise_close(dlx_layerwise *w)
{
    if (!w) return;
    unload(w);
    dlx_spill_close(&w->hidden);
    for (size_t i = 0; w->kv && i < 2 * (size_t)w->c->shape.layers; i++) dlx_spill_close(&w->kv[i]);
    for (int i = 0; i < 2; i++)
        dlx_mem_free(NULL, w->cache[i], (size_t)w->samples->rows * w->kv_width, sizeof **w->cache);
    dlx_mem_free(NULL, w->in, (size_t)w->o.pass_rows * w->width, sizeof *w->in);
    free(w->kv);
    free(w->row);
    free(w->span);
    free(w->position);
    free(w->place);
    free(w->visible);
    free(w->sample);
    free(w->masked);
    free(w->segments);
    free(w->runs);
    free(w);
}

/* ---- the embedding ---------------------------------------------------------------------------------------------- */

/* One row of the table, which stays in its file: few of its rows are used. */
static dlx_status embed(const dlx_checkpoint *c, int32_t id, float *out, uint8_t *buffer, dlx_error *err)
{
    const dlx_st_tensor *t = c->embed;
    size_t width = (size_t)c->shape.hidden, bytes = width * dlx_dtype_size(t->dtype);
    if (id < 0 || id >= c->shape.vocab_size)
        return dlx_fail(err, DLX_E_INVALID, "token id %d is outside the vocabulary of %d", id, c->shape.vocab_size);
    uint64_t at = (uint64_t)id * bytes;
    if (t->data)
        memcpy(buffer, t->data + at, bytes);
    else
        DLX_TRY(dlx_file_read(t->source, t->offset + at, buffer, bytes, err));
    if (t->dtype == DLX_F32)
        memcpy(out, buffer, bytes);
    else
        dlx_rows_widen(out, buffer, width, t->dtype);
    return DLX_OK;
}

static dlx_status embed_all(dlx_layerwise *w, uint8_t *buffer, dlx_error *err)
{
    for (size_t i = 0; i < w->samples->n; i++)
        for (int32_t p = w->span[i].begin; p < w->span[i].end; p++) {
            DLX_TRY(embed(w->c, w->samples->list[i].ids[p], w->in, buffer, err));
            DLX_TRY(dlx_spill_write(&w->hidden, w->row[i] + (uint64_t)p, 1, w->in, err));
        }
    return DLX_OK;
}

dlx_status dlx_layerwise_start(dlx_layerwise *w, const dlx_span *spans, dlx_error *err)
{
    w->cached = false;
    for (size_t i = 0; i < w->samples->n; i++) {
        int32_t n = w->samples->list[i].n;
        w->span[i] = spans ? spans[i] : (dlx_span){0, n};
        if (w->span[i].begin < 0 || w->span[i].end > n || w->span[i].begin > w->span[i].end)
            return dlx_fail(err, DLX_E_INTERNAL, "sample %zu has no positions %d to %d", i, w->span[i].begin,
                            w->span[i].end);
        w->cached = w->cached || (w->span[i].begin < w->span[i].end && w->span[i].begin > 0);
    }
    if (w->cached && !w->kv)
        return dlx_fail(err, DLX_E_INTERNAL, "rows behind stored ones need a place where they were stored");
    uint8_t *buffer = malloc(w->width * sizeof(float));
    if (!buffer) return no_memory(w, err);
    dlx_status s = embed_all(w, buffer, err);
    free(buffer);
    return s;
}

/* ---- loading ---------------------------------------------------------------------------------------------------- */

/* Norms and biases, into memory as floats. Weights of linears are read while they are packed. */
static dlx_status take_small(dlx_graph *g, dlx_error *err)
{
    for (size_t i = 0; i < g->n_values; i++) {
        dlx_value *v = &g->values[i];
        bool packed = false;
        for (size_t k = 0; k < g->n_nodes; k++)
            packed = packed || (g->nodes[k].op == DLX_OP_LINEAR && g->nodes[k].in[1] == i);
        if (v->kind != DLX_VALUE_CONST || packed || (!v->source.file && !v->source.tensor)) continue;
        dlx_shape shape = dlx_value_shape(v);
        size_t bytes = (size_t)dlx_shape_elements(&shape) * sizeof(float);
        void *data = dlx_arena_alloc(&g->arena, bytes);
        if (!data) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading '%s'", v->name);
        DLX_TRY(dlx_const_collect(v, NULL, data, err));
        v->source = (dlx_const_source){.data = data, .bytes = bytes, .stored = DLX_F32};
    }
    return DLX_OK;
}

static dlx_status open_executor(dlx_layerwise *w, dlx_error *err)
{
    dlx_shape most[LAYER_INPUTS] = {{0}};
    const dlx_graph *g = &w->program.g;
    for (size_t i = 0; i < g->n_inputs; i++) most[i] = dlx_value_shape(&g->values[g->inputs[i]]);
    most[0].dim[0] = w->o.pass_rows;
    if (g->n_inputs > 1) {
        most[1].dim[0] = w->o.pass_rows;
        most[2].dim[0] = most[3].dim[0] = w->kv ? w->samples->longest : 0;
    }
    dlx_executor_bounds bounds = {.max_shape = most, .max_segments = w->max_segments, .max_runs = w->max_segments};
    if (g->n_inputs == 1) bounds.max_segments = bounds.max_runs = 0;
    return dlx_executor_open(&w->ex, &w->program, &bounds, w->o.pool, NULL, err);
}

static dlx_status bind_layer(dlx_layerwise *w, dlx_error *err)
{
    const dlx_graph *g = &w->program.g;
    dlx_signature signature = {.row_inputs = {g->inputs[0], g->inputs[1]},
                               .demand = DLX_NONE,
                               .layers = 1,
                               .cache = g->inputs + 2,
                               .fresh = g->outputs + 1,
                               .logits = g->outputs[0]};
    DLX_TRY(dlx_program_bind(&w->program, &signature, err));
    if (!w->program.table.holds)
        return dlx_fail(err, DLX_E_INTERNAL, "a layer's rows are not independent: %s", w->program.table.why_not);
    size_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op == DLX_OP_LINEAR && n < DLX_LAYER_LINEARS) w->node[n++] = i;
    return n == DLX_LAYER_LINEARS
               ? open_executor(w, err)
               : dlx_fail(err, DLX_E_INTERNAL, "a layer has %zu linears; expected %d", n, DLX_LAYER_LINEARS);
}

/* Takes over *g. */
static dlx_status load(dlx_layerwise *w, int32_t layer, dlx_graph *g, dlx_error *err)
{
    dlx_program_options o = {.limit = w->o.limit, .pool = w->o.pool};
    dlx_status s = dlx_program_prepare(&w->program, g, &o, err);
    if (s == DLX_OK) s = bind_layer(w, err);
    if (s == DLX_OK)
        w->layer = layer;
    else
        unload(w);
    return s;
}

dlx_status dlx_layerwise_load(dlx_layerwise *w, int32_t layer, dlx_error *err)
{
    dlx_graph g;
    unload(w);
    dlx_graph_init(&g);
    dlx_status s = dlx_build_layer(&g, w->c, layer, w->o.pass_rows, w->samples->longest, err);
    if (s == DLX_OK) s = take_small(&g, err);
    if (s == DLX_OK) s = load(w, layer, &g, err);
    dlx_graph_free(&g);
    return s;
}

dlx_status dlx_layerwise_load_graph(dlx_layerwise *w, int32_t layer, dlx_graph *g, dlx_error *err)
{
    unload(w);
    return load(w, layer, g, err);
}

float *dlx_layerwise_small(dlx_layerwise *w, const char *name, size_t *n)
{
    const dlx_graph *g = &w->program.g;
    char whole[64];
    snprintf(whole, sizeof whole, "layers.%d.%s", w->layer, name);
    for (size_t i = 0; i < g->n_values; i++) {
        const dlx_value *v = &g->values[i];
        if (v->kind != DLX_VALUE_CONST || !v->name || strcmp(v->name, whole) || v->rank != 1) continue;
        *n = (size_t)v->dim[0];
        /* take_small's memory, or a copy of it: constant for those who run the program. */
        return (float *)(uintptr_t)v->source.data;
    }
    return NULL;
}

const dlx_value *dlx_layerwise_weight(const dlx_layerwise *w, int linear)
{
    return &w->program.g.values[w->program.g.nodes[w->node[linear]].in[1]];
}

dlx_status dlx_layerwise_replace(dlx_layerwise *w, int linear, const float *weights, dlx_error *err)
{
    if (w->layer < 0) return dlx_fail(err, DLX_E_INTERNAL, "weights are replaced of a layer that is not loaded");
    dlx_program_repack(&w->program, w->o.pool, w->node[linear], weights);
    return DLX_OK;
}

/* ---- passes ----------------------------------------------------------------------------------------------------- */

/* Rows of some samples that run together. */
typedef struct pass {
    size_t first, end; /* samples */
    size_t rows, segments;
} pass;

static size_t span_rows(const dlx_layerwise *w, size_t i)
{
    return (size_t)(w->span[i].end - w->span[i].begin);
}

/* As many samples from `first` on as fit. False: none is left. */
static bool next_pass(const dlx_layerwise *w, size_t first, pass *p)
{
    *p = (pass){.first = first, .end = first};
    for (; p->end < w->samples->n && p->rows + span_rows(w, p->end) <= (size_t)w->o.pass_rows; p->end++)
        p->rows += span_rows(w, p->end);
    return p->end > first;
}

/* The rows of sample i: where they stand, what they see. */
static dlx_status lay_out(dlx_layerwise *w, pass *p, size_t i, size_t at, dlx_error *err)
{
    const dlx_sample *s = &w->samples->list[i];
    dlx_span span = w->span[i];
    int32_t block = w->samples->attn_block;
    dlx_segment *segment = &w->segments[p->segments];
    dlx_cache_run *run = &w->runs[p->segments];
    *run = (dlx_cache_run){.begin = (size_t)w->row[i], .rows = (size_t)span.begin};
    *segment = (dlx_segment){
        .begin = at, .rows = span_rows(w, i), .runs = run, .n_runs = span.begin > 0, .visible = w->visible + at};
    p->segments++;
    for (int32_t q = span.begin; q < span.end; q++, at++) {
        int64_t end = block ? ((int64_t)q / block + 1) * block : span.end;
        w->position[at] = q;
        w->place[at] = q;
        w->sample[at] = i;
        w->visible[at] = (int32_t)(end < span.end ? end : span.end);
        w->masked[at] = s->ids[q] == w->samples->mask_id;
    }
    return dlx_spill_read(&w->hidden, w->row[i] + (uint64_t)span.begin, segment->rows,
                          w->in + segment->begin * w->width, err);
}

static dlx_status lay_out_all(dlx_layerwise *w, pass *p, dlx_error *err)
{
    size_t at = 0;
    for (size_t i = p->first; i < p->end; at += span_rows(w, i++))
        if (span_rows(w, i)) DLX_TRY(lay_out(w, p, i, at, err));
    return DLX_OK;
}

static dlx_status tick(const dlx_layerwise *w, size_t rows, dlx_error *err)
{
    if (!w->o.tick || w->o.tick(w->o.tick_ctx, rows)) return DLX_OK;
    return dlx_fail(err, DLX_E_CANCELLED, "running '%s' layer by layer was cancelled", w->c->folder);
}

static dlx_status visit_linears(dlx_layerwise *w, const pass *p, const dlx_tensor_ref *out, dlx_linear_fn visit,
                                void *ctx, dlx_error *err)
{
    for (int i = 0; i < DLX_LAYER_LINEARS; i++) {
        const dlx_tensor_ref *x = &out[3 + 2 * i], *y = x + 1;
        dlx_linear_rows rows = {.layer = w->layer,
                                .linear = i,
                                .name = dlx_layerwise_weight(w, i)->name,
                                .x = x->data,
                                .y = y->data,
                                .rows = p->rows,
                                .n_in = (size_t)x->shape.dim[x->shape.rank - 1],
                                .n_out = (size_t)y->shape.dim[y->shape.rank - 1],
                                .masked = w->masked};
        DLX_TRY(visit(ctx, &rows, err));
    }
    return DLX_OK;
}

static bool finite(const float *x, size_t n)
{
    float sum = 0.0f; /* x * 0 is 0 for finite x, NaN otherwise */
    for (size_t i = 0; i < n; i++) sum += x[i] * 0.0f;
    return sum == 0.0f;
}

static dlx_status check_finite(const dlx_layerwise *w, const pass *p, const float *h, dlx_error *err)
{
    for (size_t i = 0; i < p->segments; i++) {
        const dlx_segment *s = &w->segments[i];
        if (!finite(h + s->begin * w->width, s->rows * w->width))
            return dlx_fail(err, DLX_E_FORMAT,
                            "layer %d of '%s' makes NaN or infinite numbers of sample %zu; its weights may be damaged",
                            w->layer, w->c->folder, w->sample[s->begin]);
    }
    return DLX_OK;
}

/* What the rows of each sample become, to where it is kept. */
static dlx_status keep(dlx_layerwise *w, const pass *p, const dlx_tensor_ref *out, int flags, dlx_error *err)
{
    const float *h = out[0].data;
    for (size_t i = 0; i < p->segments; i++) {
        const dlx_segment *s = &w->segments[i];
        size_t sample = w->sample[s->begin];
        uint64_t row = w->row[sample] + (uint64_t)w->place[s->begin];
        if (flags & DLX_LAYERWISE_ADVANCE)
            DLX_TRY(dlx_spill_write(&w->hidden, row, s->rows, h + s->begin * w->width, err));
        for (int k = 0; flags & DLX_LAYERWISE_STORE && k < 2; k++)
            DLX_TRY(dlx_spill_write(&w->kv[2 * w->layer + k], row, s->rows,
                                    (const float *)out[1 + k].data + s->begin * w->kv_width, err));
    }
    return DLX_OK;
}

static dlx_status run_pass(dlx_layerwise *w, pass *p, dlx_tensor_ref *out, dlx_error *err)
{
    int64_t rows = (int64_t)p->rows, heads = w->c->shape.kv_heads, dim = w->c->shape.head_dim;
    dlx_shape cache = {.rank = 3, .dim = {0, heads, dim}};
    const dlx_tensor_ref in[LAYER_INPUTS] = {
        {w->in, {.rank = 2, .dim = {rows, (int64_t)w->width}}},
        {w->position, {.rank = 1, .dim = {rows}}},
        {w->cache[0], cache},
        {w->cache[1], cache},
    };
    dlx_pass call = {.inputs = in, .segments = w->segments, .n_segments = p->segments, .cache_type = DLX_F32};
    return dlx_executor_run(w->ex, &call, out, err);
}

static dlx_status read_cache(dlx_layerwise *w, dlx_error *err)
{
    for (int k = 0; w->cached && k < 2; k++)
        DLX_TRY(dlx_spill_read(&w->kv[2 * w->layer + k], 0, w->samples->rows, w->cache[k], err));
    return DLX_OK;
}

static dlx_status run_all(dlx_layerwise *w, int flags, dlx_linear_fn visit, void *ctx, dlx_error *err)
{
    dlx_tensor_ref out[LAYER_OUTPUTS];
    pass p;
    if (w->layer < 0) return dlx_fail(err, DLX_E_INTERNAL, "no layer is loaded");
    if (flags & DLX_LAYERWISE_STORE && !w->kv)
        return dlx_fail(err, DLX_E_INTERNAL, "there is no place for keys and values");
    DLX_TRY(read_cache(w, err));
    for (size_t first = 0; next_pass(w, first, &p); first = p.end) {
        if (!p.rows) continue;
        DLX_TRY(lay_out_all(w, &p, err));
        DLX_TRY(run_pass(w, &p, out, err));
        DLX_TRY(check_finite(w, &p, out[0].data, err));
        if (visit) DLX_TRY(visit_linears(w, &p, out, visit, ctx, err));
        DLX_TRY(keep(w, &p, out, flags, err));
        DLX_TRY(tick(w, p.rows, err));
    }
    return DLX_OK;
}

/* Numbers that are none may come of a damaged weight, which is then told instead. */
dlx_status dlx_layerwise_run(dlx_layerwise *w, int flags, dlx_linear_fn visit, void *ctx, dlx_error *err)
{
    dlx_status s = run_all(w, flags, visit, ctx, err);
    for (int i = 0; s == DLX_E_FORMAT && i < DLX_LAYER_LINEARS; i++)
        DLX_TRY(dlx_const_finite(dlx_layerwise_weight(w, i), w->o.pool, err));
    return s;
}

/* ---- the head --------------------------------------------------------------------------------------------------- */

static bool is_wanted(const dlx_layerwise *w, const uint8_t *wanted, size_t i, int32_t p)
{
    return !wanted || wanted[w->row[i] + (uint64_t)p];
}

typedef struct head_place {
    size_t sample;
    int32_t position;
} head_place;

/* Up to pass_rows wanted rows from `at` on, which moves behind them. */
static dlx_status gather(dlx_layerwise *w, const uint8_t *wanted, head_place *at, size_t *rows, dlx_error *err)
{
    *rows = 0;
    for (; at->sample < w->samples->n; at->sample++, at->position = -1) {
        dlx_span span = w->span[at->sample];
        if (at->position < span.begin) at->position = span.begin;
        for (; at->position < span.end; at->position++) {
            if (!is_wanted(w, wanted, at->sample, at->position)) continue;
            if (*rows == (size_t)w->o.pass_rows) return DLX_OK;
            w->sample[*rows] = at->sample;
            w->place[*rows] = at->position;
            DLX_TRY(dlx_spill_read(&w->hidden, w->row[at->sample] + (uint64_t)at->position, 1, w->in + *rows * w->width,
                                   err));
            ++*rows;
        }
    }
    return DLX_OK;
}

static dlx_status head_piece(dlx_layerwise *w, const uint8_t *wanted, int64_t first, int64_t n, dlx_logits_fn visit,
                             void *ctx, dlx_error *err)
{
    head_place at = {0, -1};
    dlx_tensor_ref out[2];
    size_t rows;
    for (;;) {
        DLX_TRY(gather(w, wanted, &at, &rows, err));
        if (!rows) return DLX_OK;
        dlx_tensor_ref in = {w->in, {.rank = 2, .dim = {(int64_t)rows, (int64_t)w->width}}};
        dlx_pass call = {.inputs = &in};
        DLX_TRY(dlx_executor_run(w->ex, &call, out, err));
        dlx_logits_rows l = {.logits = out[0].data,
                             .x = out[1].data,
                             .rows = rows,
                             .n_in = w->width,
                             .first = first,
                             .n = n,
                             .sample = w->sample,
                             .position = w->place};
        DLX_TRY(visit(ctx, &l, err));
        DLX_TRY(tick(w, rows, err));
    }
}

dlx_status dlx_layerwise_head(dlx_layerwise *w, const uint8_t *wanted, dlx_logits_fn visit, void *ctx, dlx_error *err)
{
    int64_t all = w->c->lm_head->dim[0], most = (int64_t)(HEAD_BYTES / (w->width * sizeof(float)));
    if (most < 1) most = 1;
    dlx_program_options o = {.limit = w->o.limit, .pool = w->o.pool};
    dlx_status s = DLX_OK;
    for (int64_t first = 0, n; s == DLX_OK && first < all; first += n) {
        dlx_graph g;
        n = all - first < most ? all - first : most;
        unload(w);
        dlx_graph_init(&g);
        s = dlx_build_head(&g, w->c, w->o.pass_rows, first, n, err);
        if (s == DLX_OK) s = take_small(&g, err);
        if (s == DLX_OK) s = dlx_program_prepare(&w->program, &g, &o, err);
        dlx_graph_free(&g);
        if (s == DLX_OK) s = open_executor(w, err);
        if (s == DLX_OK) s = head_piece(w, wanted, first, n, visit, ctx, err);
    }
    unload(w);
    return s;
}

/* ---- keeping ---------------------------------------------------------------------------------------------------- */

dlx_status dlx_layerwise_hidden(const dlx_layerwise *w, uint64_t first, uint64_t n, float *out, dlx_error *err)
{
    return dlx_spill_read(&w->hidden, first, n, out, err);
}

dlx_status dlx_layerwise_set_hidden(dlx_layerwise *w, uint64_t first, uint64_t n, const float *rows, dlx_error *err)
{
    return dlx_spill_write(&w->hidden, first, n, rows, err);
}
