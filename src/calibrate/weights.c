#include "calibrate/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/sizes.h"

typedef struct solver {
    const dlx_weights_options *o;
    dlx_work *work;
    dlx_layerwise *w;
    dlx_range_meter *ranges; /* NULL: none are measured */
    dlx_kernels kernels;
    dlx_solve_on on;
    int32_t layer;
    dlx_layer_solver solve;
    /* What is written of the layer: codes and scales of each linear, and what scales were folded into. */
    dlx_arena arena;
    dlx_st_tensor tensors[2 * DLX_LAYER_LINEARS + DLX_SCALED_SMALL];
    size_t n_tensors;
    dlx_error *err;
} solver;

static dlx_status no_memory(solver *s, const char *name)
{
    return dlx_fail(s->err, DLX_E_NOMEM, "out of memory quantising '%s'", name);
}

/* ---- what is written -------------------------------------------------------------------------------------------- */

static void add_tensor(solver *s, const char *name, dlx_dtype dtype, int64_t rows, int64_t columns, const void *data,
                       uint64_t bytes)
{
    s->tensors[s->n_tensors++] = (dlx_st_tensor){
        .name = name, .dtype = dtype, .rank = columns ? 2 : 1, .dim = {rows, columns}, .data = data, .bytes = bytes};
}

/* What a linear became. */
static dlx_status keep_codes(solver *s, int linear)
{
    const dlx_value *v = dlx_layerwise_weight(s->w, linear);
    const dlx_gridded *q = &s->solve.codes[linear];
    dlx_grid g = s->solve.grids.grid[linear];
    size_t n = (size_t)v->dim[0], k = (size_t)v->dim[1], row = dlx_grid_row_bytes(g, k),
           groups = dlx_grid_row_scales(g, k), scale = g.group ? sizeof *q->group_scale : sizeof *q->scale,
           length = strlen(v->name) + sizeof ".scales";
    char *name = dlx_arena_strndup(&s->arena, v->name, strlen(v->name)), *of = dlx_arena_alloc(&s->arena, length);
    if (!name || !of) return no_memory(s, v->name);
    snprintf(of, length, "%s.scales", v->name);
    add_tensor(s, name, g.bits == 8 ? DLX_I8 : DLX_U8, (int64_t)n, (int64_t)row, q->codes, (uint64_t)n * row);
    add_tensor(s, of, g.group ? DLX_BF16 : DLX_F32, (int64_t)n, g.group ? (int64_t)groups : 0,
               g.group ? (const void *)q->group_scale : q->scale, (uint64_t)n * groups * scale);
    return DLX_OK;
}

/* Norms and biases that scales were folded into, as they are now. */
static dlx_status keep_small(solver *s)
{
    for (int i = 0; i < DLX_SCALED_SMALL; i++) {
        char name[64];
        size_t n;
        const float *from = dlx_layerwise_small(s->w, dlx_scaled_small[i], &n);
        if (!from || !dlx_layer_scales_changed(&s->solve.scales, i)) continue;
        snprintf(name, sizeof name, "layers.%d.%s", s->layer, dlx_scaled_small[i]);
        char *kept = dlx_arena_strndup(&s->arena, name, strlen(name));
        float *to = dlx_arena_array(&s->arena, n, sizeof *to);
        if (!kept || !to) return no_memory(s, name);
        memcpy(to, from, n * sizeof *to);
        add_tensor(s, kept, DLX_F32, (int64_t)n, 0, to, (uint64_t)n * sizeof *to);
    }
    return DLX_OK;
}

static int wider_first(const void *a, const void *b)
{
    const dlx_st_tensor *x = a, *y = b;
    size_t wx = dlx_dtype_size(x->dtype), wy = dlx_dtype_size(y->dtype);
    return wx != wy ? (wx < wy) - (wx > wy) : strcmp(x->name, y->name);
}

static dlx_status write_layer(solver *s)
{
    if (s->n_tensors) qsort(s->tensors, s->n_tensors, sizeof *s->tensors, wider_first);
    return dlx_work_write_layer(s->work, s->tensors, s->n_tensors, s->err);
}

/* ---- layers ----------------------------------------------------------------------------------------------------- */

static dlx_status solve_layer(solver *s, const dlx_checkpoint *c, uint64_t rows)
{
    DLX_TRY(dlx_layerwise_load(s->w, s->layer, s->err));
    DLX_TRY(dlx_layer_solve(&s->solve, s->o, s->w, c, rows, &s->on, s->err));
    for (int i = 0; i < DLX_LAYER_LINEARS; i++)
        if (s->solve.grids.becomes[i]) DLX_TRY(keep_codes(s, i));
    DLX_TRY(keep_small(s));
    DLX_TRY(write_layer(s));
    if (!s->ranges) return dlx_layerwise_run(s->w, DLX_LAYERWISE_ADVANCE, NULL, NULL, s->err);
    dlx_range_meter_clear(s->ranges);
    DLX_TRY(dlx_layerwise_run(s->w, DLX_LAYERWISE_ADVANCE, dlx_range_meter_visit, s->ranges, s->err));
    return dlx_range_meter_take(s->ranges, s->work, s->layer, s->err);
}

static dlx_status solve_all(solver *s, const dlx_checkpoint *c, const dlx_samples *samples)
{
    size_t width = (size_t)c->shape.hidden;
    DLX_TRY(dlx_work_start(s->work, s->w, samples->rows, width, s->err));
    if (s->ranges) DLX_TRY(dlx_range_meter_resume(s->ranges, s->work, c, s->err));
    for (s->layer = s->work->done; s->layer < c->shape.layers; s->layer++) {
        s->n_tensors = 0;
        dlx_status status = solve_layer(s, c, samples->rows);
        dlx_layer_solver_free(&s->solve);
        dlx_arena_free(&s->arena);
        if (status != DLX_OK) return status;
        DLX_TRY(dlx_work_save(s->work, s->w, samples->rows, width, s->layer + 1, s->err));
    }
    if (s->ranges) dlx_ranges_sort(s->ranges->into);
    return DLX_OK;
}

dlx_status dlx_weights_solve(dlx_work *work, const dlx_checkpoint *c, const dlx_samples *samples,
                             const dlx_weights_options *options, dlx_range_meter *ranges,
                             const dlx_layerwise_options *run, dlx_error *err)
{
    solver *s = calloc(1, sizeof *s);
    if (!s) return dlx_fail(err, DLX_E_NOMEM, "out of memory quantising '%s'", c->folder);
    s->o = options;
    s->work = work;
    s->ranges = ranges;
    s->err = err;
    dlx_kernels_init(&s->kernels, run->limit);
    s->on = (dlx_solve_on){.kernels = &s->kernels, .pool = run->pool};
    dlx_arena_init(&s->arena);
    dlx_status status = dlx_layerwise_open(&s->w, c, samples, run, err);
    if (status == DLX_OK) status = solve_all(s, c, samples);
    dlx_layerwise_close(s->w);
    free(s);
    return status;
}

/* ---- using them ------------------------------------------------------------------------------------------------- */

dlx_status dlx_precomputed_open(dlx_precomputed *out, const dlx_work *work, int32_t layers, dlx_error *err)
{
    dlx_status s = DLX_OK;
    memset(out, 0, sizeof *out);
    dlx_arena_init(&out->arena);
    out->files = dlx_arena_array(&out->arena, (size_t)layers, sizeof *out->files);
    if (!out->files) s = dlx_fail(err, DLX_E_NOMEM, "out of memory opening '%s'", work->folder);
    for (int32_t i = 0; s == DLX_OK && i < layers; i++) {
        char *path;
        s = dlx_work_layer_path(work, i, &path, err);
        if (s != DLX_OK) break;
        if (dlx_is_file(path)) s = dlx_safetensors_open(&out->files[out->n], &out->arena, path, err);
        if (s == DLX_OK && out->files[out->n].file) out->n++;
        free(path);
    }
    if (s != DLX_OK) dlx_precomputed_close(out);
    return s;
}

void dlx_precomputed_close(dlx_precomputed *p)
{
    for (size_t i = 0; i < p->n; i++) dlx_safetensors_close(&p->files[i]);
    dlx_arena_free(&p->arena);
    memset(p, 0, sizeof *p);
}

size_t dlx_precomputed_count(const dlx_precomputed *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) n += p->files[i].n_tensors;
    return n;
}

static const dlx_st_tensor *find(const dlx_precomputed *p, const char *name)
{
    for (size_t i = 0; name && i < p->n; i++)
        for (size_t k = 0; k < p->files[i].n_tensors; k++)
            if (!strcmp(p->files[i].tensors[k].name, name)) return &p->files[i].tensors[k];
    return NULL;
}

dlx_status dlx_precomputed_apply(const dlx_precomputed *p, dlx_graph *g, size_t *n, dlx_error *err)
{
    *n = 0;
    for (size_t i = 0; i < g->n_values; i++) {
        dlx_value *v = &g->values[i];
        const dlx_st_tensor *t = v->kind == DLX_VALUE_CONST ? find(p, v->name) : NULL;
        if (!t) continue;
        dlx_shape shape = dlx_value_shape(v);
        uint64_t bytes = 0;
        (void)dlx_dtype_bytes(v->dtype, (uint64_t)dlx_shape_elements(&shape), &bytes);
        if (t->bytes != bytes)
            return dlx_fail(err, DLX_E_FORMAT, "'%s': '%s' takes %llu bytes; expected %llu, of type %s", t->file,
                            t->name, (unsigned long long)t->bytes, (unsigned long long)bytes, dlx_dtype_name(v->dtype));
        v->source = (dlx_const_source){
            .bytes = bytes, .stored = v->dtype, .transform = DLX_CONST_PLAIN, .file = t->source, .offset = t->offset};
        ++*n;
    }
    return DLX_OK;
}
