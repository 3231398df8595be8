#include "calibrate/layer_solve.h"

#include <string.h>

#include "base/memory.h"
#include "quant/quant.h"

/* A solver at work. */
typedef struct job {
    dlx_layer_solver *s;
    const dlx_weights_options *o;
    dlx_layerwise *w;
    const dlx_solve_on *on;
    bool wanted[DLX_LINEAR_INPUTS]; /* by this run over the samples */
    dlx_error *err;
} job;

static dlx_status no_memory(const job *j, const char *name)
{
    return dlx_fail(j->err, DLX_E_NOMEM, "out of memory quantising '%s'", name);
}

/* ---- Hessians --------------------------------------------------------------------------------------------------- */

static dlx_status add_rows(void *ctx, const dlx_linear_rows *l, dlx_error *err)
{
    job *j = ctx;
    int i = dlx_linear_input(l->linear);
    if (!dlx_linear_first(l->linear) || !j->wanted[i]) return DLX_OK;
    return dlx_hessian_add(&j->s->hessian[i], l->x, l->n_in, l->rows, err);
}

static bool any_becomes(const job *j, int i)
{
    for (int k = dlx_linear_inputs[i].first; k < dlx_linear_inputs[i].end; k++)
        if (j->s->grids.becomes[k]) return true;
    return false;
}

/* The Hessians of inputs first .. end - 1, of rows as the layer makes them now; not of those that have a factor. */
static dlx_status collect(job *j, int first, int end)
{
    bool any = false;
    memset(j->wanted, 0, sizeof j->wanted);
    for (int i = first; i < end; i++) {
        const dlx_value *v = dlx_layerwise_weight(j->w, dlx_linear_inputs[i].first);
        if (!any_becomes(j, i) || j->s->factor[i].k) continue;
        any = j->wanted[i] = true;
        DLX_TRY(dlx_hessian_begin(&j->s->hessian[i], (size_t)v->dim[1], j->on, v->name, j->err));
    }
    if (!any) return DLX_OK;
    DLX_TRY(dlx_layerwise_run(j->w, 0, add_rows, j, j->err));
    for (int i = first; i < end; i++)
        if (j->wanted[i]) DLX_TRY(dlx_hessian_finish(&j->s->hessian[i], j->err));
    return DLX_OK;
}

/* ---- one linear ------------------------------------------------------------------------------------------------- */

/* Room for what a linear becomes. */
static dlx_status make_room(job *j, dlx_gridded *out, dlx_grid g, const dlx_value *v)
{
    size_t n = (size_t)v->dim[0], k = (size_t)v->dim[1];
    size_t scale = g.group ? sizeof *out->group_scale : sizeof *out->scale;
    *out = (dlx_gridded){.codes = dlx_arena_array(&j->s->arena, n, dlx_grid_row_bytes(g, k))};
    void *scales = dlx_arena_array(&j->s->arena, n * dlx_grid_row_scales(g, k), scale);
    if (!out->codes || !scales) return no_memory(j, v->name);
    if (g.group)
        out->group_scale = scales;
    else
        out->scale = scales;
    return DLX_OK;
}

/* `f` NULL: they are rounded. */
static dlx_status solve_linear(job *j, int linear, const dlx_factor *f, float *weights)
{
    dlx_layer_solver *s = j->s;
    const dlx_value *v = dlx_layerwise_weight(j->w, linear);
    size_t n = (size_t)v->dim[0], k = (size_t)v->dim[1];
    dlx_gptq_options o = {.grid = s->grids.grid[linear], .clip = j->o->clip, .static_groups = j->o->static_groups};
    const float *importance = s->scales.importance[dlx_linear_input(linear)];
    dlx_gptq_result result = {0}, *wanted = j->o->solved ? &result : NULL;
    dlx_gridded *gridded = &s->codes[linear];
    DLX_TRY(dlx_const_collect(v, j->on->pool, weights, j->err));
    dlx_layer_scales_fold(&s->scales, linear, weights, n, k, j->on);
    DLX_TRY(make_room(j, gridded, o.grid, v));
    DLX_TRY(f ? dlx_gptq(gridded, wanted, f, weights, n, &o, j->on, v->name, j->err)
              : dlx_grid_round(gridded, weights, n, k, o.grid, o.clip, importance, j->on, v->name, j->err));
    dlx_grid_restore(weights, gridded, n, k, o.grid, j->on);
    DLX_TRY(dlx_layerwise_replace(j->w, linear, weights, j->err));
    if (!wanted) return DLX_OK;
    dlx_solved solved = {.name = v->name,
                         .n = n,
                         .k = k,
                         .grid = o.grid,
                         .relative = result.energy > 0 ? result.error / result.energy : 0,
                         .damping = f ? f->damping : 0};
    j->o->solved(j->o->solved_ctx, &solved);
    return DLX_OK;
}

/* The linears that read input i. */
static dlx_status solve_readers(job *j, int i, const dlx_factor *f)
{
    dlx_linear_readers r = dlx_linear_inputs[i];
    const bool *becomes = j->s->grids.becomes;
    size_t most = 0;
    for (int k = r.first; k < r.end; k++) {
        const dlx_value *v = dlx_layerwise_weight(j->w, k);
        size_t all = (size_t)v->dim[0] * (size_t)v->dim[1];
        if (becomes[k] && all > most) most = all;
    }
    float *weights = dlx_mem_array(NULL, most, sizeof *weights);
    dlx_status status = weights ? DLX_OK : no_memory(j, dlx_layerwise_weight(j->w, r.first)->name);
    for (int k = r.first; status == DLX_OK && k < r.end; k++)
        if (becomes[k]) status = solve_linear(j, k, f, weights);
    dlx_mem_free(NULL, weights, most, sizeof *weights);
    return status;
}

static dlx_status solve_input(job *j, int i)
{
    const char *name = dlx_layerwise_weight(j->w, dlx_linear_inputs[i].first)->name;
    dlx_factor *f = &j->s->factor[i];
    if (!any_becomes(j, i)) return DLX_OK;
    if (j->o->round_only) return solve_readers(j, i, NULL);
    if (!f->k) DLX_TRY(dlx_factor_make(f, &j->s->hessian[i], &j->o->factor, j->on, name, j->err));
    dlx_status status = solve_readers(j, i, f);
    if (!j->o->keep_factors) dlx_factor_free(f);
    return status;
}

/* ---- all of a layer --------------------------------------------------------------------------------------------- */

static dlx_status choose_grids(job *j)
{
    dlx_layer_grids *grids = &j->s->grids;
    grids->activations = j->o->activations;
    for (int i = 0; i < DLX_LAYER_LINEARS; i++) {
        const dlx_value *v = dlx_layerwise_weight(j->w, i);
        size_t n = (size_t)v->dim[0], k = (size_t)v->dim[1];
        grids->becomes[i] = j->o->grid(j->o->grid_ctx, v->name, n, k, &grids->grid[i]);
        if (grids->becomes[i]) DLX_TRY(dlx_grid_check(grids->grid[i], k, v->name, j->err));
    }
    return DLX_OK;
}

dlx_status dlx_layer_solve(dlx_layer_solver *s, const dlx_weights_options *o, dlx_layerwise *w, const dlx_checkpoint *c,
                           uint64_t rows, const dlx_solve_on *on, dlx_error *err)
{
    job j = {.s = s, .o = o, .w = w, .on = on, .err = err};
    bool one_by_one = o->one_by_one && !o->round_only;
    DLX_TRY(choose_grids(&j));
    if (o->scale_inputs) DLX_TRY(dlx_layer_scales_find(&s->scales, w, c, rows, &s->grids, o->clip, on, err));
    if (!one_by_one && !o->round_only) DLX_TRY(collect(&j, 0, DLX_LINEAR_INPUTS));
    for (int i = 0; i < DLX_LINEAR_INPUTS; i++) {
        if (one_by_one) DLX_TRY(collect(&j, i, i + 1));
        DLX_TRY(solve_input(&j, i));
    }
    return DLX_OK;
}

void dlx_layer_solver_clear(dlx_layer_solver *s)
{
    dlx_layer_scales_free(&s->scales);
    dlx_arena_free(&s->arena);
    memset(s->codes, 0, sizeof s->codes);
}

void dlx_layer_solver_free(dlx_layer_solver *s)
{
    dlx_layer_solver_clear(s);
    for (int i = 0; i < DLX_LINEAR_INPUTS; i++) {
        dlx_hessian_free(&s->hessian[i]);
        dlx_factor_free(&s->factor[i]);
    }
}
