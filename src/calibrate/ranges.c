#include "calibrate/ranges.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/output.h"
#include "base/text_buffer.h"
#include "format/json/json_file.h"

enum { VERSION = 1, MOST_BYTES = 64 << 20 };

static const char *const linears[DLX_LAYER_LINEARS] = {"q", "k", "v", "o", "gate", "up", "down"};

/* ---- the list --------------------------------------------------------------------------------------------------- */

static dlx_status no_memory(dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory keeping ranges of activations");
}

void dlx_ranges_begin(dlx_ranges *r)
{
    memset(r, 0, sizeof *r);
    dlx_arena_init(&r->arena);
}

void dlx_ranges_begin_measured(dlx_ranges *r, const dlx_samples *samples, dlx_observer o)
{
    dlx_ranges_begin(r);
    r->observer = o;
    r->samples = samples->n;
    r->rows = samples->rows;
}

void dlx_ranges_free(dlx_ranges *r)
{
    dlx_arena_free(&r->arena);
    memset(r, 0, sizeof *r);
}

dlx_status dlx_ranges_add(dlx_ranges *r, const char *name, dlx_bounds b, dlx_error *err)
{
    if (r->n == r->capacity) {
        size_t more = r->capacity ? 2 * r->capacity : 256;
        dlx_tensor_range *list = dlx_arena_array(&r->arena, more, sizeof *list);
        if (!list) return no_memory(err);
        if (r->n) memcpy(list, r->list, r->n * sizeof *list);
        r->list = list;
        r->capacity = more;
    }
    char *kept = dlx_arena_strndup(&r->arena, name, strlen(name));
    if (!kept) return no_memory(err);
    r->list[r->n++] = (dlx_tensor_range){.name = kept, .bounds = b};
    return DLX_OK;
}

static int by_name(const void *a, const void *b)
{
    const dlx_tensor_range *x = a, *y = b;
    return strcmp(x->name, y->name);
}

void dlx_ranges_sort(dlx_ranges *r)
{
    qsort(r->list, r->n, sizeof *r->list, by_name);
}

const dlx_tensor_range *dlx_ranges_find(const dlx_ranges *r, const char *name)
{
    dlx_tensor_range key = {.name = name};
    return r->n ? bsearch(&key, r->list, r->n, sizeof *r->list, by_name) : NULL;
}

static void name_of(char *out, size_t size, int32_t layer, int linear, bool output)
{
    snprintf(out, size, "layers.%d.%s.%s", layer, linears[linear], output ? "output" : "input");
}

/* ---- measuring -------------------------------------------------------------------------------------------------- */

dlx_status dlx_range_meter_open(dlx_range_meter *out, dlx_ranges *into, dlx_pool *pool, dlx_error *err)
{
    *out = (dlx_range_meter){.into = into,
                             .pool = pool,
                             .of = calloc(2 * DLX_LAYER_LINEARS, sizeof *out->of),
                             .scratch = calloc((size_t)dlx_pool_threads(pool), sizeof *out->scratch)};
    return out->of && out->scratch ? DLX_OK : no_memory(err);
}

void dlx_range_meter_close(dlx_range_meter *m)
{
    free(m->of);
    free(m->scratch);
    memset(m, 0, sizeof *m);
}

void dlx_range_meter_clear(dlx_range_meter *m)
{
    for (int i = 0; i < 2 * DLX_LAYER_LINEARS; i++) dlx_histogram_clear(&m->of[i]);
}

dlx_status dlx_range_meter_visit(void *meter, const dlx_linear_rows *l, dlx_error *err)
{
    dlx_range_meter *m = meter;
    (void)err;
    if (dlx_linear_first(l->linear))
        dlx_histogram_add(&m->of[2 * l->linear], l->x, l->rows * l->n_in, m->pool, m->scratch);
    dlx_histogram_add(&m->of[2 * l->linear + 1], l->y, l->rows * l->n_out, m->pool, m->scratch);
    return DLX_OK;
}

dlx_status dlx_range_meter_take(dlx_range_meter *m, dlx_work *work, int32_t layer, dlx_error *err)
{
    char name[64];
    dlx_ranges *r = m->into;
    for (int i = 0; i < DLX_LAYER_LINEARS; i++)
        for (int output = 0; output < 2; output++) {
            name_of(name, sizeof name, layer, i, output);
            int from = output ? i : dlx_linear_inputs[dlx_linear_input(i)].first;
            DLX_TRY(dlx_ranges_add(r, name, dlx_observed(&m->of[2 * from + output], r->observer), err));
        }
    return work ? dlx_ranges_keep(r, work, err) : DLX_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

dlx_status dlx_ranges_text(const dlx_ranges *r, char **out, dlx_error *err)
{
    dlx_text_buffer t = {0};
    dlx_put(&t, "{\n  \"ranges\": %d,\n  \"observer\": \"%s\",\n  \"samples\": %llu,\n  \"rows\": %llu,\n", VERSION,
            dlx_observer_name(r->observer), (unsigned long long)r->samples, (unsigned long long)r->rows);
    if (r->origin.family) {
        dlx_put(&t, "  \"checkpoint\": ");
        dlx_origin_put(&t, &r->origin);
        dlx_put(&t, ",\n");
    }
    if (r->scaled) dlx_put(&t, "  \"scaled\": true,\n");
    dlx_put(&t, "  \"tensors\": {");
    for (size_t i = 0; i < r->n; i++) {
        const dlx_tensor_range *x = &r->list[i];
        dlx_put(&t, "%s\n    ", i ? "," : "");
        dlx_put_json(&t, x->name);
        dlx_put(&t, ": [%.9g, %.9g]", (double)x->bounds.low, (double)x->bounds.high);
    }
    dlx_put(&t, "\n  }\n}\n");
    return dlx_text_take(&t, out, "writing ranges", err);
}

dlx_status dlx_ranges_write(const dlx_ranges *r, const char *path, dlx_error *err)
{
    dlx_output out;
    char *text;
    DLX_TRY(dlx_ranges_text(r, &text, err));
    dlx_status s = dlx_output_open(&out, path, err);
    if (s == DLX_OK) {
        s = dlx_output_write(&out, text, strlen(text), err);
        if (s == DLX_OK) s = dlx_output_commit(&out, err);
        dlx_output_close(&out);
    }
    free(text);
    return s;
}

static dlx_status not_ranges(const char *path, const char *what, dlx_error *err)
{
    return dlx_fail(err, DLX_E_FORMAT, "'%s' is no file of ranges: %s", path, what);
}

static dlx_status no_range(const json_t *pair, const char *path, const char *name, dlx_error *err)
{
    char *found = json_dumps(pair, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    dlx_status s = dlx_fail(err, DLX_E_FORMAT,
                            "'%s': the range of '%.100s' is %.60s; expected [low, high], two numbers of float32 that "
                            "have 0 between them",
                            path, name, found ? found : "nothing");
    free(found);
    return s;
}

static dlx_status read_bounds(dlx_bounds *out, const json_t *pair, const char *path, const char *name, dlx_error *err)
{
    const json_t *low = json_array_get(pair, 0), *high = json_array_get(pair, 1);
    *out = (dlx_bounds){(float)json_number_value(low), (float)json_number_value(high)};
    bool ok = json_array_size(pair) == 2 && json_is_number(low) && json_is_number(high) && out->low >= -FLT_MAX &&
              out->low <= 0 && out->high >= 0 && out->high <= FLT_MAX;
    return ok ? DLX_OK : no_range(pair, path, name, err);
}

static dlx_status read_tensors(dlx_ranges *r, const json_t *tensors, const dlx_range_names *names, const char *path,
                               dlx_error *err)
{
    if (!json_is_object(tensors)) return not_ranges(path, "it has no object \"tensors\"", err);
    for (size_t i = 0; i < names->n; i++) {
        dlx_bounds b;
        const json_t *pair = json_object_get(tensors, names->list[i]);
        if (!pair)
            return dlx_fail(err, DLX_E_FORMAT, "'%s' has no range of '%s'; was it measured on '%s', for this backend?",
                            path, names->list[i], names->of);
        DLX_TRY(read_bounds(&b, pair, path, names->list[i], err));
        DLX_TRY(dlx_ranges_add(r, names->list[i], b, err));
    }
    return DLX_OK;
}

static dlx_status read_root(dlx_ranges *r, const json_t *root, const dlx_range_names *names, const char *path,
                            dlx_error *err)
{
    const char *observer = json_string_value(json_object_get(root, "observer"));
    const json_t *version = json_object_get(root, "ranges"), *samples = json_object_get(root, "samples"),
                 *rows = json_object_get(root, "rows");
    if (!json_is_integer(version)) return not_ranges(path, "it has no number \"ranges\"", err);
    if (json_integer_value(version) != VERSION)
        return dlx_fail(err, DLX_E_UNSUPPORTED, "'%s' holds ranges of version %lld; this build reads %d", path,
                        (long long)json_integer_value(version), VERSION);
    if (json_is_true(json_object_get(root, "scaled")))
        return dlx_fail(err, DLX_E_FORMAT,
                        "'%s' has ranges of scaled inputs, whose scales are in its own program alone; measure them "
                        "with rounding nearest",
                        path);
    if (!observer) return not_ranges(path, "it names no \"observer\"", err);
    if (dlx_observer_find(&r->observer, observer, err) != DLX_OK)
        return dlx_fail_prefix(err, DLX_E_FORMAT, "'%s'", path);
    if (json_integer_value(samples) < 0 || json_integer_value(rows) < 0)
        return not_ranges(path, "\"samples\" or \"rows\" are negative", err);
    r->samples = (uint64_t)json_integer_value(samples);
    r->rows = (uint64_t)json_integer_value(rows);
    const json_t *tensors = json_object_get(root, "tensors"), *origin = json_object_get(root, "checkpoint");
    if (origin) {
        DLX_TRY(dlx_origin_check(origin, names->origin, path, names->of, err));
        r->origin = *names->origin;
    }
    DLX_TRY(read_tensors(r, tensors, names, path, err));
    size_t expected = r->n;
    for (size_t i = 0; i < names->n_may; i++) expected += json_object_get(tensors, names->may[i]) != NULL;
    if (json_object_size(tensors) == expected) return DLX_OK;
    return dlx_fail(err, DLX_E_FORMAT, "'%s' has ranges of %zu tensors, '%s' has %zu; was it measured on another?",
                    path, json_object_size(tensors), names->of, r->n);
}

dlx_status dlx_ranges_read_names(dlx_ranges *out, const char *path, const dlx_range_names *names, dlx_error *err)
{
    json_t *root;
    memset(out, 0, sizeof *out);
    DLX_TRY(dlx_json_read(&root, path, MOST_BYTES, err));
    dlx_ranges_begin(out);
    dlx_status s = read_root(out, root, names, path, err);
    json_decref(root);
    if (s == DLX_OK)
        dlx_ranges_sort(out);
    else
        dlx_ranges_free(out);
    return s;
}

/* Of the linears of layers 0 .. layers - 1. */
static dlx_status name_layers(dlx_range_names *out, dlx_arena *arena, const dlx_checkpoint *c, int32_t layers,
                              dlx_error *err)
{
    char name[64];
    size_t each = 2 * DLX_LAYER_LINEARS;
    const char **list = dlx_arena_array(arena, each * (size_t)layers + 1, sizeof *list);
    *out = (dlx_range_names){.list = list, .of = c->folder};
    for (; list && out->n < each * (size_t)layers; out->n++) {
        name_of(name, sizeof name, (int32_t)(out->n / each), (int)(out->n % each / 2), out->n % 2);
        list[out->n] = dlx_arena_strndup(arena, name, strlen(name));
        if (!list[out->n]) return no_memory(err);
    }
    return list ? DLX_OK : no_memory(err);
}

dlx_status dlx_ranges_read(dlx_ranges *out, const char *path, const dlx_checkpoint *c, dlx_error *err)
{
    dlx_arena arena;
    dlx_range_names names;
    dlx_origin origin;
    memset(out, 0, sizeof *out);
    DLX_TRY(dlx_origin_of(&origin, c, err));
    dlx_arena_init(&arena);
    dlx_status s = name_layers(&names, &arena, c, c->shape.layers, err);
    names.origin = &origin;
    if (s == DLX_OK) s = dlx_ranges_read_names(out, path, &names, err);
    dlx_arena_free(&arena);
    return s;
}

/* ---- measuring all ---------------------------------------------------------------------------------------------- */

dlx_status dlx_ranges_keep(const dlx_ranges *r, dlx_work *work, dlx_error *err)
{
    char *text;
    DLX_TRY(dlx_ranges_text(r, &text, err));
    dlx_work_keep(work, text);
    return DLX_OK;
}

dlx_status dlx_ranges_take_back(dlx_ranges *r, const dlx_work *work, const dlx_range_names *names, dlx_error *err)
{
    json_t *root;
    const char *text = work->results ? work->results : "";
    DLX_TRY(dlx_json_parse(&root, text, strlen(text), work->folder, err));
    dlx_status s = read_tensors(r, json_object_get(root, "tensors"), names, work->folder, err);
    json_decref(root);
    return s;
}

dlx_status dlx_range_meter_resume(dlx_range_meter *m, const dlx_work *work, const dlx_checkpoint *c, dlx_error *err)
{
    dlx_arena arena;
    dlx_range_names names;
    if (!work->done) return DLX_OK;
    dlx_arena_init(&arena);
    dlx_status s = name_layers(&names, &arena, c, work->done, err);
    if (s == DLX_OK) s = dlx_ranges_take_back(m->into, work, &names, err);
    dlx_arena_free(&arena);
    return s;
}

static dlx_status measure_all(dlx_range_meter *m, dlx_layerwise *w, dlx_work *work, const dlx_checkpoint *c,
                              dlx_error *err)
{
    size_t width = (size_t)c->shape.hidden;
    dlx_ranges *r = m->into;
    DLX_TRY(work ? dlx_work_start(work, w, r->rows, width, err) : dlx_layerwise_start(w, NULL, err));
    if (work) DLX_TRY(dlx_range_meter_resume(m, work, c, err));
    for (int32_t layer = work ? work->done : 0; layer < c->shape.layers; layer++) {
        dlx_range_meter_clear(m);
        DLX_TRY(dlx_layerwise_load(w, layer, err));
        DLX_TRY(dlx_layerwise_run(w, DLX_LAYERWISE_ADVANCE, dlx_range_meter_visit, m, err));
        DLX_TRY(dlx_range_meter_take(m, work, layer, err));
        if (work) DLX_TRY(dlx_work_save(work, w, r->rows, width, layer + 1, err));
    }
    dlx_ranges_sort(r);
    return DLX_OK;
}

dlx_status dlx_ranges_measure(dlx_ranges *out, dlx_work *work, const dlx_checkpoint *c, const dlx_samples *samples,
                              dlx_observer o, const dlx_layerwise_options *run, dlx_error *err)
{
    dlx_range_meter m;
    dlx_layerwise *w = NULL;
    dlx_ranges_begin_measured(out, samples, o);
    dlx_status s = dlx_range_meter_open(&m, out, run->pool, err);
    if (s == DLX_OK) s = dlx_layerwise_open(&w, c, samples, run, err);
    if (s == DLX_OK) s = measure_all(&m, w, work, c, err);
    dlx_layerwise_close(w);
    dlx_range_meter_close(&m);
    if (s != DLX_OK) dlx_ranges_free(out);
    return s;
}
