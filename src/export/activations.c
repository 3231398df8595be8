#include "export/activations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"

dlx_status dlx_export_measures(bool *measures, dlx_observer *observer, const dlx_export_options *o,
                               const dlx_recipe *recipe, bool ranged, dlx_error *err)
{
    bool is_static = dlx_recipe_is_static(recipe);
    *measures = is_static && !o->ranges;
    DLX_TRY(dlx_observer_find(observer, o->observer, err));
    if (!is_static && !ranged && (o->ranges || o->save_ranges || o->observer))
        return dlx_fail(
            err, DLX_E_INVALID,
            "ranges of activations were asked for, but no weight is int8-static, which alone has them beside "
            "the integers of backend qnn");
    if (ranged && o->observer)
        return dlx_fail(
            err, DLX_E_INVALID,
            "observer '%s' was asked for, but grids of this backend reach over all that was seen; observers "
            "are for int8-static",
            o->observer);
    if (o->ranges && o->observer)
        return dlx_fail(err, DLX_E_INVALID,
                        "observer '%s' was asked for, but '%s' has ranges that are measured already", o->observer,
                        o->ranges);
    return DLX_OK;
}

/* With the work folder, which is told apart by everything that ranges depend on. */
static dlx_status measure(dlx_ranges *out, dlx_export_work *work, dlx_calibration *c, dlx_observer observer,
                          dlx_error *err)
{
    static const char code[] = "ranges, 1";
    const char *rule = dlx_observer_name(observer);
    uint64_t print = dlx_work_print(dlx_work_checkpoint(c->c), code, sizeof code), rows = c->samples.rows;
    DLX_TRY(dlx_calibration_work(work, c, dlx_work_print(print, rule, strlen(rule)), DLX_RANGES_WORK, err));
    dlx_stages_begin(&c->stages, "ranges", rows * (uint64_t)work->work.done, rows * (uint64_t)c->c->shape.layers);
    DLX_TRY(dlx_ranges_measure(out, &work->work, c->c, &c->samples, observer, &c->run, err));
    return dlx_origin_of(&out->origin, c->c, err);
}

static bool find(void *ctx, const char *name, float *low, float *high)
{
    const dlx_tensor_range *r = dlx_ranges_find(ctx, name);
    if (!r) return false;
    *low = r->bounds.low;
    *high = r->bounds.high;
    return true;
}

/* Before they are measured: those of linears of layers. */
static bool will_be_measured(void *ctx, const char *name, float *low, float *high)
{
    (void)ctx;
    *low = *high = 0;
    return !strncmp(name, "layers.", strlen("layers."));
}

dlx_status dlx_export_activations_check(const dlx_graph *graph, dlx_error *err)
{
    return dlx_static_ranges_exist(graph, &(dlx_activation_ranges){.find = will_be_measured}, err);
}

/* A grid over nothing but 0 holds what nobody has seen. */
static void notice_empty(const dlx_ranges *ranges, const dlx_export_options *o)
{
    const char *first = NULL;
    char sentence[DLX_ERROR_MESSAGE_SIZE], others[64] = "";
    size_t empty = 0;
    for (size_t i = 0; i < ranges->n; i++) {
        const dlx_bounds *b = &ranges->list[i].bounds;
        if (b->low < 0 || b->high > 0) continue;
        first = first ? first : ranges->list[i].name;
        empty++;
    }
    if (!empty) return;
    if (empty > 1) snprintf(others, sizeof others, " (and of %zu other inputs and outputs)", empty - 1);
    snprintf(sentence, sizeof sentence,
             "the range of '%.100s'%s is [0, 0], as the data that it was measured on made nothing but 0 there: other "
             "numbers become whole ones, -128 to 127",
             first, others);
    o->notice(o->notice_ctx, sentence);
}

void dlx_export_notice_origin(const dlx_ranges *ranges, const dlx_export_options *o)
{
    char sentence[DLX_ERROR_MESSAGE_SIZE];
    if (ranges->origin.family || !o->notice) return;
    snprintf(sentence, sizeof sentence,
             "'%.300s' does not say which checkpoint its ranges were measured on, as files of earlier versions do not: "
             "if it was another one, answers are wrong",
             o->ranges);
    o->notice(o->notice_ctx, sentence);
}

static dlx_status use(char **text, dlx_graph *graphs, size_t n, dlx_ranges *ranges, const dlx_export_options *o,
                      dlx_pool *pool, dlx_error *err)
{
    const dlx_activation_ranges of = {.find = find, .ctx = ranges};
    for (size_t i = 0; i < n; i++) DLX_TRY(dlx_quantize_static(&graphs[i], &of, pool, err));
    if (o->notice) notice_empty(ranges, o);
    dlx_export_notice_origin(ranges, o);
    if (o->save_ranges) DLX_TRY(dlx_ranges_write(ranges, o->save_ranges, err));
    return dlx_ranges_text(ranges, text, err);
}

dlx_status dlx_export_activations(char **text, dlx_export_work *work, dlx_graph *graphs, size_t n,
                                  const dlx_checkpoint *checkpoint, const dlx_export_options *o, dlx_observer observer,
                                  dlx_calibration *c, dlx_ranges *measured, dlx_pool *pool, dlx_error *err)
{
    dlx_status s = DLX_OK;
    *text = NULL;
    if (!dlx_wants_ranges(graphs)) return DLX_OK;
    if (o->ranges)
        s = dlx_ranges_read(measured, o->ranges, checkpoint, err);
    else if (!measured->n)
        s = measure(measured, work, c, observer, err);
    if (s == DLX_OK) s = use(text, graphs, n, measured, o, pool, err);
    dlx_ranges_free(measured);
    return s;
}
