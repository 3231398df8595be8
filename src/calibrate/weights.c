#include "calibrate/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/memory.h"
#include "base/sizes.h"
#include "calibrate/scales.h"
#include "quant/quant.h"

typedef struct solver {
    const dlx_weights_options *o;
    dlx_work *work;
    dlx_layerwise *w;
    dlx_kernels kernels;
    dlx_solve_on on;
    int32_t layer;
    dlx_hessian hessian[DLX_LINEAR_INPUTS];
    bool wanted[DLX_LINEAR_INPUTS]; /* by this run over the samples */
    dlx_layer_grids grids;
    dlx_layer_scales scales; /* none: NULLs */
    /* What is written of the layer: codes and scales of each linear, and what scales were folded into; in memory until
     * all are there. */
    dlx_arena arena;
    dlx_st_tensor tensors[2 * DLX_LAYER_LINEARS + DLX_SCALED_SMALL];
    size_t n_tensors;
    dlx_error *err;
} solver;

static dlx_status no_memory(solver *s, const char *name)
{
    return dlx_fail(s->err, DLX_E_NOMEM, "out of memory quantising '%s'", name);
}

/* ---- Hessians --------------------------------------------------------------------------------------------------- */

static dlx_status add_rows(void *ctx, const dlx_linear_rows *l, dlx_error *err)
{
    solver *s = ctx;
    int i = dlx_linear_input(l->linear);
    if (!dlx_linear_first(l->linear) || !s->wanted[i]) return DLX_OK;
    return dlx_hessian_add(&s->hessian[i], l->x, l->n_in, l->rows, err);
}

static bool any_becomes(const solver *s, int i)
{
    for (int k = dlx_linear_inputs[i].first; k < dlx_linear_inputs[i].end; k++)
        if (s->grids.becomes[k]) return true;
    return false;
}

/* The Hessians of inputs first .. end - 1, of rows as the layer makes them now. */
static dlx_status collect(solver *s, int first, int end)
{
    bool any = false;
    memset(s->wanted, 0, sizeof s->wanted);
    for (int i = first; i < end; i++) {
        const dlx_value *v = dlx_layerwise_weight(s->w, dlx_linear_inputs[i].first);
        if (!any_becomes(s, i)) continue;
        any = s->wanted[i] = true;
        DLX_TRY(dlx_hessian_begin(&s->hessian[i], (size_t)v->dim[1], &s->on, v->name, s->err));
    }
    if (!any) return DLX_OK;
    DLX_TRY(dlx_layerwise_run(s->w, 0, add_rows, s, s->err));
    for (int i = first; i < end; i++)
        if (s->wanted[i]) DLX_TRY(dlx_hessian_finish(&s->hessian[i], s->err));
    return DLX_OK;
}

/* ---- one linear ------------------------------------------------------------------------------------------------- */

static void add_tensor(solver *s, const char *name, dlx_dtype dtype, int64_t rows, int64_t columns, const void *data,
                       uint64_t bytes)
{
    s->tensors[s->n_tensors++] = (dlx_st_tensor){
        .name = name, .dtype = dtype, .rank = columns ? 2 : 1, .dim = {rows, columns}, .data = data, .bytes = bytes};
}

/* Room for what a linear becomes, kept until the layer's file is written. */
static dlx_status make_room(solver *s, dlx_gridded *out, dlx_grid g, const dlx_value *v)
{
    size_t n = (size_t)v->dim[0], k = (size_t)v->dim[1], row = dlx_grid_row_bytes(g, k),
           groups = g.group ? k / g.group : 1;
    size_t scale = g.group ? sizeof *out->group_scale : sizeof *out->scale, length = strlen(v->name) + sizeof ".scales";
    *out = (dlx_gridded){.codes = dlx_arena_array(&s->arena, n, row)};
    void *scales = dlx_arena_array(&s->arena, n * groups, scale);
    char *name = dlx_arena_strndup(&s->arena, v->name, strlen(v->name)), *of = dlx_arena_alloc(&s->arena, length);
    if (!out->codes || !scales || !name || !of) return no_memory(s, v->name);
    snprintf(of, length, "%s.scales", v->name);
    if (g.group)
        out->group_scale = scales;
    else
        out->scale = scales;
    add_tensor(s, name, g.bits == 8 ? DLX_I8 : DLX_U8, (int64_t)n, (int64_t)row, out->codes, (uint64_t)n * row);
    add_tensor(s, of, g.group ? DLX_BF16 : DLX_F32, (int64_t)n, g.group ? (int64_t)groups : 0, scales,
               (uint64_t)n * groups * scale);
    return DLX_OK;
}

/* `f` NULL: they are rounded. */
static dlx_status solve_linear(solver *s, int linear, const dlx_factor *f, float *weights)
{
    const dlx_value *v = dlx_layerwise_weight(s->w, linear);
    size_t n = (size_t)v->dim[0], k = (size_t)v->dim[1];
    dlx_gptq_options o = {.grid = s->grids.grid[linear], .clip = s->o->clip, .static_groups = s->o->static_groups};
    const float *importance = s->scales.importance[dlx_linear_input(linear)];
    dlx_gptq_result result = {0}, *wanted = s->o->solved ? &result : NULL;
    dlx_gridded gridded;
    DLX_TRY(dlx_const_collect(v, s->on.pool, weights, s->err));
    dlx_layer_scales_fold(&s->scales, linear, weights, n, k, &s->on);
    DLX_TRY(make_room(s, &gridded, o.grid, v));
    DLX_TRY(f ? dlx_gptq(&gridded, wanted, f, weights, n, &o, &s->on, v->name, s->err)
              : dlx_grid_round(&gridded, weights, n, k, o.grid, o.clip, importance, &s->on, v->name, s->err));
    dlx_grid_restore(weights, &gridded, n, k, o.grid, &s->on);
    DLX_TRY(dlx_layerwise_replace(s->w, linear, weights, s->err));
    if (!wanted) return DLX_OK;
    dlx_solved solved = {.name = v->name,
                         .n = n,
                         .k = k,
                         .grid = o.grid,
                         .relative = result.energy > 0 ? result.error / result.energy : 0,
                         .damping = f ? f->damping : 0};
    s->o->solved(s->o->solved_ctx, &solved);
    return DLX_OK;
}

/* The linears that read input i. */
static dlx_status solve_readers(solver *s, int i, const dlx_factor *f)
{
    dlx_linear_readers r = dlx_linear_inputs[i];
    size_t most = 0;
    for (int k = r.first; k < r.end; k++) {
        const dlx_value *v = dlx_layerwise_weight(s->w, k);
        size_t all = (size_t)v->dim[0] * (size_t)v->dim[1];
        if (s->grids.becomes[k] && all > most) most = all;
    }
    float *weights = dlx_mem_array(NULL, most, sizeof *weights);
    dlx_status status = weights ? DLX_OK : no_memory(s, dlx_layerwise_weight(s->w, r.first)->name);
    for (int k = r.first; status == DLX_OK && k < r.end; k++)
        if (s->grids.becomes[k]) status = solve_linear(s, k, f, weights);
    dlx_mem_free(NULL, weights, most, sizeof *weights);
    return status;
}

static dlx_status solve_input(solver *s, int i)
{
    const char *name = dlx_layerwise_weight(s->w, dlx_linear_inputs[i].first)->name;
    dlx_factor f;
    if (!any_becomes(s, i)) return DLX_OK;
    if (s->o->round_only) return solve_readers(s, i, NULL);
    DLX_TRY(dlx_factor_make(&f, &s->hessian[i], &s->o->factor, &s->on, name, s->err));
    dlx_status status = solve_readers(s, i, &f);
    dlx_factor_free(&f);
    return status;
}

/* Norms and biases that scales were folded into, as they are now. */
static dlx_status keep_small(solver *s)
{
    for (int i = 0; i < DLX_SCALED_SMALL; i++) {
        char name[64];
        size_t n;
        const float *from = dlx_layerwise_small(s->w, dlx_scaled_small[i], &n);
        if (!from || !dlx_layer_scales_changed(&s->scales, i)) continue;
        snprintf(name, sizeof name, "layers.%d.%s", s->layer, dlx_scaled_small[i]);
        char *kept = dlx_arena_strndup(&s->arena, name, strlen(name));
        float *to = dlx_arena_array(&s->arena, n, sizeof *to);
        if (!kept || !to) return no_memory(s, name);
        memcpy(to, from, n * sizeof *to);
        add_tensor(s, kept, DLX_F32, (int64_t)n, 0, to, (uint64_t)n * sizeof *to);
    }
    return DLX_OK;
}

/* ---- one layer -------------------------------------------------------------------------------------------------- */

static dlx_status choose_grids(solver *s)
{
    for (int i = 0; i < DLX_LAYER_LINEARS; i++) {
        const dlx_value *v = dlx_layerwise_weight(s->w, i);
        size_t n = (size_t)v->dim[0], k = (size_t)v->dim[1];
        s->grids.becomes[i] = s->o->grid(s->o->grid_ctx, v->name, n, k, &s->grids.grid[i]);
        if (s->grids.becomes[i]) DLX_TRY(dlx_grid_check(s->grids.grid[i], k, v->name, s->err));
    }
    return DLX_OK;
}

static int wider_first(const void *a, const void *b)
{
    const dlx_st_tensor *x = a, *y = b;
    size_t wx = dlx_dtype_size(x->dtype), wy = dlx_dtype_size(y->dtype);
    return wx != wy ? (wx < wy) - (wx > wy) : strcmp(x->name, y->name);
}

static void name_file(char out[40], int32_t layer)
{
    snprintf(out, 40, "layer-%05d.safetensors", layer);
}

static dlx_status write_layer(solver *s)
{
    char name[40], *path;
    name_file(name, s->layer);
    if (!s->n_tensors) return DLX_OK;
    qsort(s->tensors, s->n_tensors, sizeof *s->tensors, wider_first);
    DLX_TRY(dlx_work_path(s->work, name, &path, s->err));
    dlx_status status = dlx_safetensors_write(path, s->tensors, s->n_tensors, s->err);
    free(path);
    return status;
}

static dlx_status solve_layer(solver *s, const dlx_checkpoint *c, uint64_t rows)
{
    bool one_by_one = s->o->one_by_one && !s->o->round_only;
    DLX_TRY(dlx_layerwise_load(s->w, s->layer, s->err));
    DLX_TRY(choose_grids(s));
    if (s->o->scale_inputs) {
        DLX_TRY(dlx_layer_scales_find(&s->scales, s->w, c, rows, &s->grids, s->o->clip, &s->on, s->err));
        DLX_TRY(keep_small(s));
    }
    if (!one_by_one && !s->o->round_only) DLX_TRY(collect(s, 0, DLX_LINEAR_INPUTS));
    for (int i = 0; i < DLX_LINEAR_INPUTS; i++) {
        if (one_by_one) DLX_TRY(collect(s, i, i + 1));
        DLX_TRY(solve_input(s, i));
    }
    DLX_TRY(write_layer(s));
    return dlx_layerwise_run(s->w, DLX_LAYERWISE_ADVANCE, NULL, NULL, s->err);
}

static dlx_status solve_all(solver *s, const dlx_checkpoint *c, const dlx_samples *samples)
{
    size_t width = (size_t)c->shape.hidden;
    DLX_TRY(dlx_work_start(s->work, s->w, samples->rows, width, s->err));
    for (s->layer = s->work->done; s->layer < c->shape.layers; s->layer++) {
        s->n_tensors = 0;
        dlx_status status = solve_layer(s, c, samples->rows);
        dlx_layer_scales_free(&s->scales);
        for (int i = 0; i < DLX_LINEAR_INPUTS; i++) dlx_hessian_free(&s->hessian[i]);
        dlx_arena_free(&s->arena);
        if (status != DLX_OK) return status;
        DLX_TRY(dlx_work_save(s->work, s->w, samples->rows, width, s->layer + 1, s->err));
    }
    return DLX_OK;
}

dlx_status dlx_weights_solve(dlx_work *work, const dlx_checkpoint *c, const dlx_samples *samples,
                             const dlx_weights_options *options, const dlx_layerwise_options *run, dlx_error *err)
{
    solver *s = calloc(1, sizeof *s);
    if (!s) return dlx_fail(err, DLX_E_NOMEM, "out of memory quantising '%s'", c->folder);
    s->o = options;
    s->work = work;
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
        char name[40], *path;
        name_file(name, i);
        s = dlx_work_path(work, name, &path, err);
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
