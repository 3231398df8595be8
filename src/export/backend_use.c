#include "export/backend_use.h"

#include <string.h>

#include "backends/coreml/coreml.h"
#include "backends/qnn/qnn.h"
#include "backends/qnn/stages.h"
#include "base/sizes.h"
#include "calibrate/value_ranges.h"
#include "export/activations.h"
#include "quant/forms.h"

dlx_status dlx_backend_options_check(const char *name, const dlx_export_options *o, dlx_error *err)
{
    const struct {
        bool given;
        const char *option, *backends;
    } options[] = {
        {o->delegate_layers != 0, "delegate_layers", "coreml, qnn"},
        {o->minimum_deployment_target != NULL, "minimum_deployment_target", "coreml"},
        {o->compute_units != NULL, "compute_units", "coreml"},
        {o->soc != NULL, "soc", "qnn"},
        {o->qnn_lib_dir != NULL, "qnn_lib_dir", "qnn"},
    };
    for (size_t i = 0; i < DLX_COUNT(options); i++)
        if (options[i].given && !dlx_word_in(options[i].backends, name))
            return dlx_fail(err, DLX_E_INVALID, "%s is an option of backend %s; the backend asked for is %s",
                            options[i].option, options[i].backends, name);
    if (o->delegate_layers < 0)
        return dlx_fail(err, DLX_E_INVALID, "delegate_layers is %d; expected the number of layers of a delegate, or 0",
                        (int)o->delegate_layers);
    return DLX_OK;
}

static dlx_status no_memory(dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory for the backend's options");
}

dlx_status dlx_open_coreml(dlx_backend_use *out, dlx_arena *arena, const dlx_export_options *o,
                           const dlx_recipe *recipe, dlx_error *err)
{
    dlx_coreml_options *c = dlx_arena_alloc(arena, sizeof *c);
    (void)recipe;
    if (!c) return no_memory(err);
    if (o->minimum_deployment_target && !dlx_coreml_target_find(o->minimum_deployment_target, &c->target))
        return dlx_fail(err, DLX_E_INVALID,
                        "minimum_deployment_target '%.100s' is not known; expected iOS16, iOS17 or iOS18",
                        o->minimum_deployment_target);
    if (o->kv && dlx_word_in("fixed-state", o->kv) && c->target != DLX_COREML_IOS18)
        return dlx_fail(err, DLX_E_INVALID,
                        "kv fixed-state: Core ML keeps a cache from iOS18 on; minimum_deployment_target is %s",
                        dlx_coreml_target_name(c->target));
    if (o->compute_units && !dlx_coreml_units_find(o->compute_units))
        return dlx_fail(err, DLX_E_INVALID,
                        "compute_units '%.100s' is not known; expected cpu_only, cpu_and_gpu, cpu_and_ne or all",
                        o->compute_units);
    c->compute_units = o->compute_units;
    out->options = c;
    out->halves = true;
    out->measures = dlx_calibration_asked(o);
    return DLX_OK;
}

/* ---- QNN ---- */

static bool find(void *ctx, const char *name, float *low, float *high)
{
    const dlx_tensor_range *r = dlx_ranges_find(ctx, name);
    if (!r) return false;
    *low = r->bounds.low;
    *high = r->bounds.high;
    return true;
}

dlx_status dlx_open_qnn(dlx_backend_use *out, dlx_arena *arena, const dlx_export_options *o, const dlx_recipe *recipe,
                        dlx_error *err)
{
    (void)arena;
    if (dlx_recipe_is_static(recipe))
        return dlx_fail(
            err, DLX_E_UNSUPPORTED,
            "int8-static cannot be written by backend qnn, whose integers have activations of 16 bits; give "
            "those tensors a form that the backend has, int8-weight-only for instance");
    /* Where the layers' weights are floats, so is everything else. */
    out->halves = recipe->body->stored != DLX_I8 && recipe->body->stored != DLX_I4;
    out->ranged = !out->halves;
    out->measures = out->ranged ? !o->ranges : dlx_calibration_asked(o);
    out->find = (dlx_activation_ranges){.find = find, .ctx = &out->ranges};
    const dlx_qnn_options options = {.chip = o->soc ? o->soc : "SM8650",
                                     .folder = o->qnn_lib_dir,
                                     .ranges = out->halves ? NULL : &out->find,
                                     .program = o->output_path};
    DLX_TRY(dlx_qnn_open(&out->qnn, &options, err));
    out->options = out->qnn;
    return DLX_OK;
}

dlx_status dlx_check_qnn(const dlx_backend_use *use, const dlx_graph *g, dlx_error *err)
{
    return dlx_qnn_check(use->qnn, g, err);
}

void dlx_describe_qnn(const dlx_backend_use *use, dlx_text_buffer *t)
{
    dlx_qnn_describe(use->qnn, t);
}

void dlx_backend_mark_tables(const dlx_backend_use *use, dlx_graph *g)
{
    for (size_t i = 0; use->halves && i < g->n_nodes; i++) {
        if (g->nodes[i].op != DLX_OP_EMBEDDING) continue;
        dlx_value *table = &g->values[g->nodes[i].in[0]];
        table->source.in_f16 = true;
        if (table->scales != DLX_NONE) g->values[table->scales].source.in_f16 = true;
    }
}

/* Half precision ends at 65504; beyond, numbers are infinite, and answers NaN. */
static dlx_status check_halves(const dlx_ranges *ranges, dlx_error *err)
{
    const float most = 65504.0f;
    for (size_t i = 0; i < ranges->n; i++) {
        const dlx_tensor_range *r = &ranges->list[i];
        float far = -r->bounds.low > r->bounds.high ? r->bounds.low : r->bounds.high;
        if (far > most || far < -most)
            return dlx_fail(
                err, DLX_E_UNSUPPORTED,
                "on the calibration data '%s' reaches %g, and float16, in which this backend computes, ends at "
                "65504: answers would be NaN; use backend xnnpack, or qnn with int8 weights",
                r->name, (double)far);
    }
    return DLX_OK;
}

/* With the work folder, which is told apart by everything that ranges depend on. */
static dlx_status measure(dlx_ranges *out, dlx_export_work *work, const dlx_value_stages *stages,
                          const dlx_scaled_weights *scaled, dlx_calibration *c, dlx_error *err)
{
    static const char code[] = "ranges of values, 2";
    uint64_t print = dlx_work_print(dlx_work_checkpoint(c->c), code, sizeof code), rows = c->samples.rows, done = 0;
    if (scaled) print = dlx_work_print(print, &scaled->solved->work.fingerprint, sizeof print);
    if (work) {
        DLX_TRY(dlx_calibration_work(work, c, print, DLX_RANGES_WORK, err));
        done = (uint64_t)work->work.done;
    }
    uint64_t again = done > 0 && done < stages->n; /* the first one is run each time */
    dlx_stages_begin(&c->stages, "ranges", rows * (done - again), rows * stages->n);
    DLX_TRY(dlx_value_ranges_measure(out, work ? &work->work : NULL, stages, &c->samples, &c->run, err));
    return dlx_origin_of(&out->origin, c->c, err);
}

/* The graph with these weights, but for the table: rows that are looked up are floats between graphs. */
static dlx_status take_scaled(dlx_graph *g, const dlx_scaled_weights *scaled, dlx_arena *arena, dlx_error *err)
{
    dlx_recipe r = *scaled->recipe;
    dlx_recipe_rule *rules = dlx_arena_array(arena, r.n_rules + 1, sizeof *rules);
    size_t applied;
    if (!rules) return no_memory(err);
    *rules = (dlx_recipe_rule){.pattern = "embed", .form = dlx_form_find("float32")};
    if (r.n_rules) memcpy(rules + 1, r.rules, r.n_rules * sizeof *rules);
    r.rules = rules;
    r.n_rules++;
    DLX_TRY(dlx_quantize(g, &r, err));
    return dlx_precomputed_apply(&scaled->solved->precomputed, g, &applied, err);
}

static dlx_status find_ranges(dlx_ranges *out, dlx_export_work *work, const dlx_scaled_weights *scaled,
                              dlx_calibration *c, bool measures, dlx_error *err)
{
    dlx_graph g;
    dlx_arena arena;
    dlx_qnn_stages stages;
    int32_t rows = c->samples.longest > 2 ? c->samples.longest : 2;
    dlx_graph_init(&g);
    dlx_arena_init(&arena);
    dlx_status s = dlx_build_graph(&g, c->c, DLX_KV_FIXED, rows, rows, err);
    if (s == DLX_OK && scaled) s = take_scaled(&g, scaled, &arena, err);
    if (s == DLX_OK) s = dlx_qnn_stages_make(&stages, &arena, &g, err);
    if (s == DLX_OK) {
        const dlx_value_stages chain = {stages.n, dlx_qnn_stage, &stages};
        s = measures ? measure(out, work, &chain, scaled, c, err)
                     : dlx_value_ranges_read(out, c->o->ranges, &chain, c->c, err);
    }
    dlx_arena_free(&arena);
    dlx_graph_free(&g);
    return s;
}

dlx_status dlx_backend_ranges(dlx_backend_use *use, char **text, dlx_export_work *work,
                              const dlx_scaled_weights *scaled, dlx_calibration *c, dlx_error *err)
{
    *text = NULL;
    if (!use->ranged && !use->measures) return DLX_OK;
    DLX_TRY(find_ranges(&use->ranges, work, scaled, c, use->measures, err));
    if (use->halves) {
        dlx_status s = check_halves(&use->ranges, err);
        /* Going on from there would say the same again. */
        if (s != DLX_OK && work && dlx_work_remove(&work->work, NULL) == DLX_OK) work->work.done = 0;
        return s;
    }
    dlx_export_notice_origin(&use->ranges, c->o);
    if (c->o->save_ranges) DLX_TRY(dlx_ranges_write(&use->ranges, c->o->save_ranges, err));
    return dlx_ranges_text(&use->ranges, text, err);
}

void dlx_backend_close(dlx_backend_use *use)
{
    dlx_qnn_close(use->qnn);
    dlx_ranges_free(&use->ranges);
}
