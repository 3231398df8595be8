#include "export/solve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/linear_kinds.h"

enum { VERSION = 2 }; /* of this code: folders of another one are begun anew */

/* ---- what is asked for ------------------------------------------------------------------------------------------ */

dlx_status dlx_export_rounding(const dlx_rounding **out, const dlx_export_options *o, const dlx_recipe *recipe,
                               bool measures, const dlx_backend_use *use, dlx_error *err)
{
    bool by_default = !o->rounding && measures && !o->save_ranges;
    DLX_TRY(dlx_rounding_find(out, by_default ? DLX_STATIC_ROUNDING : o->rounding, err));
    DLX_TRY(dlx_calibration_check(o, err));
    if ((*out)->activations && !dlx_recipe_is_static(recipe))
        return dlx_fail(err, DLX_E_INVALID,
                        "rounding %s is for grids of activations, but no weight is int8-static, which alone has them; "
                        "choose another rounding",
                        (*out)->name);
    if ((*out)->activations && (o->ranges || o->save_ranges))
        return dlx_fail(err, DLX_E_INVALID,
                        "rounding %s scales what goes into layers, but a file of ranges is of it as it is; choose "
                        "rounding nearest, or leave the file out",
                        (*out)->name);
    if ((*out)->scales && use->ranged)
        return dlx_fail(err, DLX_E_INVALID,
                        "rounding %s scales what goes into layers, but the backend has ranges of it as it is; choose "
                        "rounding gptq, or weights of floats",
                        (*out)->name);
    if ((*out)->scales && !(*out)->activations && dlx_recipe_is_static(recipe))
        return dlx_fail(err, DLX_E_INVALID,
                        "rounding %s scales what goes into layers, but int8-static has ranges of it as it is; choose "
                        "rounding " DLX_STATIC_ROUNDING " or gptq, or another form than int8-static",
                        (*out)->name);
    if ((*out)->scales || (*out)->solves || measures || use->measures || !dlx_calibration_asked(o)) return DLX_OK;
    return dlx_fail(
        err, DLX_E_INVALID,
        "calibration was asked for, but rounding %s needs none; rounding gptq, awq, awq-gptq and smooth use it, "
        "and, without a file of ranges, quantization int8-static and integers of backend qnn",
        (*out)->name);
}

/* ---- the weights ------------------------------------------------------------------------------------------------ */

/* A weight of integers, by its name in the graph. */
typedef struct weight {
    const char *name;
    dlx_grid grid;
} weight;

typedef struct weights {
    weight *list; /* [n] sorted by name; malloc'd */
    size_t n;
} weights;

static bool is_weight(const dlx_value *v)
{
    return v->kind == DLX_VALUE_CONST && v->name && !strncmp(v->name, "layers.", 7) && v->scales != DLX_NONE &&
           (v->dtype == DLX_I4 || v->dtype == DLX_I8);
}

static int by_name(const void *a, const void *b)
{
    const weight *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Whether a layer with static activations reads that constant. */
static bool is_static(const dlx_graph *g, size_t constant)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        const dlx_node *n = &g->nodes[i];
        if (n->op == DLX_OP_LINEAR && n->attr.dtype == DLX_QS8 && n->in[1] == constant) return true;
    }
    return false;
}

static bool is_wanted(const dlx_graph *g, size_t i, const dlx_rounding *rounding)
{
    return is_weight(&g->values[i]) && (!rounding->activations || is_static(g, i));
}

static dlx_status find_weights(weights *out, const dlx_graph *g, const dlx_rounding *rounding, dlx_error *err)
{
    out->n = 0;
    out->list = calloc(g->n_values + 1, sizeof *out->list);
    if (!out->list) return dlx_fail(err, DLX_E_NOMEM, "out of memory listing the weights of a graph");
    for (size_t i = 0; i < g->n_values; i++) {
        const dlx_value *v = &g->values[i];
        if (!is_wanted(g, i, rounding)) continue;
        out->list[out->n++] =
            (weight){v->name, {.bits = v->dtype == DLX_I4 ? 4 : 8, .group = (uint32_t)dlx_group_of(g, v)}};
    }
    qsort(out->list, out->n, sizeof *out->list, by_name);
    return DLX_OK;
}

dlx_status dlx_export_solves(bool *solves, const dlx_graph *g, const dlx_rounding *rounding,
                             const dlx_export_options *options, dlx_error *err)
{
    static const char nothing[] = "rounding %s has nothing to do: no weight%s becomes int8 or int4";
    char sentence[DLX_ERROR_MESSAGE_SIZE];
    bool layers = rounding->scales || rounding->solves, any = !layers && !rounding->clips;
    for (size_t i = 0; i < g->n_values && !any; i++)
        any = layers ? is_wanted(g, i, rounding) : g->values[i].source.clip;
    *solves = layers && any;
    if (any || (rounding->activations && !options->rounding)) return DLX_OK;
    const char *of = layers ? " of a layer" : "";
    if (!options->quantization_config) return dlx_fail(err, DLX_E_INVALID, nothing, rounding->name, of);
    if (!options->notice) return DLX_OK;
    snprintf(sentence, sizeof sentence, nothing, rounding->name, of);
    options->notice(options->notice_ctx, sentence);
    return DLX_OK;
}

static bool grid_of(void *ctx, const char *name, size_t n, size_t k, dlx_grid *out)
{
    const weights *w = ctx;
    const weight key = {.name = name}, *found = bsearch(&key, w->list, w->n, sizeof key, by_name);
    (void)n;
    (void)k;
    if (found) *out = found->grid;
    return found != NULL;
}

/* Everything that the solvers' results depend on but samples. */
static uint64_t print_of(const weights *w, const dlx_rounding *rounding, dlx_observer observer, const dlx_checkpoint *c)
{
    const uint64_t version = VERSION;
    const char *rule = rounding->activations ? dlx_observer_name(observer) : "";
    uint64_t print = dlx_work_checkpoint(c);
    print = dlx_work_print(print, rounding->name, strlen(rounding->name) + 1);
    print = dlx_work_print(print, rule, strlen(rule));
    print = dlx_work_print(print, &version, sizeof version);
    for (size_t i = 0; i < w->n; i++) {
        const uint64_t numbers[] = {(uint64_t)w->list[i].grid.bits, w->list[i].grid.group};
        print = dlx_work_print(print, w->list[i].name, strlen(w->list[i].name) + 1);
        print = dlx_work_print(print, numbers, sizeof numbers);
    }
    return print;
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

/* With ranges, where they are measured with it. */
static dlx_status solve_layers(dlx_export_work *out, dlx_ranges *ranges, const dlx_weights_options *o,
                               dlx_observer observer, dlx_calibration *c, dlx_error *err)
{
    dlx_range_meter meter;
    if (!o->activations) return dlx_weights_solve(&out->work, c->c, &c->samples, o, NULL, &c->run, err);
    dlx_ranges_begin_measured(ranges, &c->samples, observer);
    ranges->scaled = true;
    dlx_status s = dlx_range_meter_open(&meter, ranges, c->run.pool, err);
    if (s == DLX_OK) s = dlx_weights_solve(&out->work, c->c, &c->samples, o, &meter, &c->run, err);
    if (s == DLX_OK) s = dlx_origin_of(&ranges->origin, c->c, err);
    dlx_range_meter_close(&meter);
    return s;
}

static dlx_status solve(dlx_export_work *out, dlx_ranges *ranges, dlx_graph *g, weights *w,
                        const dlx_rounding *rounding, dlx_observer observer, dlx_calibration *c, dlx_error *err)
{
    const dlx_weights_options o = {.grid = grid_of,
                                   .grid_ctx = w,
                                   .scale_inputs = rounding->scales,
                                   .round_only = !rounding->solves,
                                   .activations = rounding->activations,
                                   .factor = {.damping = DLX_EXPORT_DAMPING},
                                   .clip = rounding->clips ? DLX_CLIP_MSE : DLX_CLIP_NONE};
    int32_t layers = c->c->shape.layers;
    uint64_t runs = 1 + (uint64_t)rounding->scales + (uint64_t)rounding->solves, rows = c->samples.rows * runs;
    size_t applied;
    DLX_TRY(dlx_calibration_work(out, c, print_of(w, rounding, observer, c->c), "", err));
    dlx_stages_begin(&c->stages, rounding->name, rows * (uint64_t)out->work.done, rows * (uint64_t)layers);
    DLX_TRY(solve_layers(out, ranges, &o, observer, c, err));
    DLX_TRY(dlx_precomputed_open(&out->precomputed, &out->work, layers, err));
    DLX_TRY(dlx_precomputed_apply(&out->precomputed, g, &applied, err));
    size_t found = dlx_precomputed_count(&out->precomputed);
    if (applied == found && found >= 2 * w->n) return DLX_OK;
    return dlx_fail(err, DLX_E_FORMAT,
                    "the work folder '%s' has %zu tensors for %zu weights, %zu of them of this export: something "
                    "changed it; remove it and export again",
                    out->work.folder, found, w->n, applied);
}

dlx_status dlx_export_solve(dlx_export_work *out, dlx_ranges *ranges, dlx_graph *g, const dlx_rounding *rounding,
                            dlx_observer observer, dlx_calibration *c, dlx_error *err)
{
    weights w;
    DLX_TRY(find_weights(&w, g, rounding, err));
    dlx_status s = solve(out, ranges, g, &w, rounding, observer, c, err);
    free(w.list);
    return s;
}
