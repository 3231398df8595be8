#include "export/activations.h"

#include <stdlib.h>
#include <string.h>

#include "export/solve.h"
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

static dlx_status measure(dlx_ranges *out, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                          const dlx_export_options *o, dlx_pool *pool, dlx_error *err)
{
    measuring m = {.o = o, .stage = "writing calibration texts"};
    dlx_samples samples = {.n = 0};
    dlx_layerwise_options run = dlx_layerwise_on(pool);
    dlx_observer observer;
    run.tick = tick;
    run.tick_ctx = &m;
    DLX_TRY(dlx_observer_find(&observer, o->observer, err));
    dlx_status s = dlx_export_samples(&samples, c, tokenizer, o, &run, err);
    m = (measuring){.o = o, .stage = "ranges", .total = samples.rows * (uint64_t)c->shape.layers};
    if (s == DLX_OK) s = dlx_ranges_measure(out, NULL, c, &samples, observer, &run, err);
    if (s == DLX_E_CANCELLED)
        s = dlx_fail(err, DLX_E_CANCELLED, "the export was cancelled; '%s' was left as it was", o->output_path);
    dlx_samples_free(&samples);
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

static dlx_status use(char **text, dlx_graph *g, dlx_ranges *ranges, const dlx_export_options *o, dlx_pool *pool,
                      dlx_error *err)
{
    const dlx_activation_ranges of = {.find = find, .ctx = ranges};
    if (o->save_ranges) DLX_TRY(dlx_ranges_write(ranges, o->save_ranges, err));
    DLX_TRY(dlx_quantize_static(g, &of, pool, err));
    return dlx_ranges_text(ranges, text, err);
}

dlx_status dlx_export_activations(char **text, dlx_graph *g, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                                  const dlx_export_options *o, dlx_pool *pool, dlx_error *err)
{
    dlx_ranges ranges = {.n = 0};
    *text = NULL;
    if (!dlx_wants_ranges(g)) return DLX_OK;
    dlx_status s =
        o->ranges ? dlx_ranges_read(&ranges, o->ranges, c, err) : measure(&ranges, c, tokenizer, o, pool, err);
    if (s != DLX_OK) return s;
    s = use(text, g, &ranges, o, pool, err);
    dlx_ranges_free(&ranges);
    return s;
}
