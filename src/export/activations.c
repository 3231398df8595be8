#include "export/activations.h"

#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"

static bool is_static(const dlx_recipe *r)
{
    bool yes = r->body->activations == DLX_QS8 || r->head->activations == DLX_QS8;
    for (size_t i = 0; i < r->n_rules; i++) yes = yes || r->rules[i].form->activations == DLX_QS8;
    return yes;
}

dlx_status dlx_export_measures(bool *measures, const dlx_export_options *o, const dlx_recipe *recipe, dlx_error *err)
{
    dlx_observer observer;
    *measures = is_static(recipe) && !o->ranges;
    DLX_TRY(dlx_observer_find(&observer, o->observer, err));
    if (!is_static(recipe) && (o->ranges || o->save_ranges || o->observer))
        return dlx_fail(err, DLX_E_INVALID,
                        "ranges of activations were asked for, but no weight is int8-static, which alone has them");
    if (o->ranges && o->observer)
        return dlx_fail(err, DLX_E_INVALID,
                        "observer '%s' was asked for, but '%s' has ranges that are measured already", o->observer,
                        o->ranges);
    return DLX_OK;
}

typedef struct measuring {
    const dlx_export_options *o;
    const char *stage;
    uint64_t done, total; /* rows through a layer; total 0: not known */
} measuring;

static bool tick(void *ctx, uint64_t rows)
{
    measuring *m = ctx;
    m->done += rows;
    return !m->o->stage || m->o->stage(m->o->stage_ctx, m->stage, m->done, m->total);
}

/* With the work folder, which is told apart by everything that ranges depend on. */
static dlx_status measure_in(dlx_ranges *out, dlx_work *work, const dlx_checkpoint *c, const dlx_samples *samples,
                             const char *folder, dlx_observer observer, const dlx_layerwise_options *run, measuring *m,
                             dlx_error *err)
{
    static const char code[] = "ranges, 1";
    uint64_t of_samples = dlx_samples_fingerprint(samples), print = dlx_work_checkpoint(c);
    const char *rule = dlx_observer_name(observer);
    dlx_layerwise_options here = *run;
    print = dlx_work_print(print, code, sizeof code);
    print = dlx_work_print(print, rule, strlen(rule));
    print = dlx_work_print(print, &of_samples, sizeof of_samples);
    DLX_TRY(dlx_work_open(work, folder, print, err));
    here.folder = folder;
    m->stage = "ranges";
    m->total = samples->rows * (uint64_t)c->shape.layers;
    m->done = samples->rows * (uint64_t)work->done;
    return dlx_ranges_measure(out, work, c, samples, observer, &here, err);
}

static dlx_status interrupted(const dlx_export_options *o, const dlx_work *work, dlx_error *err)
{
    if (!work->folder)
        return dlx_fail(err, DLX_E_CANCELLED, "the export was cancelled; '%s' was left as it was", o->output_path);
    return dlx_fail(err, DLX_E_CANCELLED,
                    "the export was cancelled; '%s' was left as it was, and what was found so far is in '%s': the same "
                    "export goes on from there",
                    o->output_path, work->folder);
}

static dlx_status measure(dlx_ranges *out, dlx_work *work, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                          const dlx_export_options *o, dlx_pool *pool, dlx_error *err)
{
    measuring m = {.o = o, .stage = "writing calibration texts"};
    dlx_samples samples = {.n = 0};
    dlx_layerwise_options run = dlx_layerwise_on(pool);
    dlx_observer observer;
    run.tick = tick;
    run.tick_ctx = &m;
    DLX_TRY(dlx_observer_find(&observer, o->observer, err));
    char *folder = dlx_export_work_folder(o, ".ranges");
    if (!folder) return dlx_fail(err, DLX_E_NOMEM, "out of memory naming the work folder");
    dlx_status s = dlx_export_samples(&samples, c, tokenizer, o, &run, err);
    if (s == DLX_OK) s = measure_in(out, work, c, &samples, folder, observer, &run, &m, err);
    if (s == DLX_E_CANCELLED) s = interrupted(o, work, err);
    dlx_samples_free(&samples);
    free(folder);
    return s;
}

static bool find(void *ctx, const char *name, float *low, float *high)
{
    const dlx_tensor_range *r = dlx_ranges_find(ctx, name);
    if (!r) return false;
    *low = r->bounds.low;
    *high = r->bounds.high;
    return true;
}

static dlx_status use(char **text, dlx_graph *graphs, size_t n, dlx_ranges *ranges, const dlx_export_options *o,
                      dlx_pool *pool, dlx_error *err)
{
    const dlx_activation_ranges of = {.find = find, .ctx = ranges};
    if (o->save_ranges) DLX_TRY(dlx_ranges_write(ranges, o->save_ranges, err));
    for (size_t i = 0; i < n; i++) DLX_TRY(dlx_quantize_static(&graphs[i], &of, pool, err));
    return dlx_ranges_text(ranges, text, err);
}

dlx_status dlx_export_activations(char **text, dlx_export_work *work, dlx_graph *graphs, size_t n,
                                  const dlx_checkpoint *c, const dlx_tokenizer *tokenizer, const dlx_export_options *o,
                                  dlx_pool *pool, dlx_error *err)
{
    dlx_ranges ranges = {.n = 0};
    *text = NULL;
    if (!dlx_wants_ranges(graphs)) return DLX_OK;
    dlx_status s = o->ranges ? dlx_ranges_read(&ranges, o->ranges, c, err)
                             : measure(&ranges, &work->work, c, tokenizer, o, pool, err);
    if (s != DLX_OK) return s;
    s = use(text, graphs, n, &ranges, o, pool, err);
    dlx_ranges_free(&ranges);
    return s;
}
