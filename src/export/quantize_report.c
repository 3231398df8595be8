/*
 * What quantisation costs a checkpoint, weight by weight and form by form, and the mix of forms that a budget allows:
 * as JSON, and as a recipe that an export takes.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "diffulex_edge/export.h"
#include "diffulex_edge/text.h"

#include "base/output.h"
#include "base/place.h"
#include "base/structs.h"
#include "base/threads.h"
#include "calibrate/form_errors.h"
#include "calibrate/samples_generate.h"
#include "export/choices.h"
#include "export/solve.h"
#include "export/stages.h"
#include "export/target.h"
#include "export/tokenizer_folder.h"
#include "format/json/json_file.h"
#include "model/checkpoint.h"
#include "solve/mix.h"

enum {
    DEFAULT_SAMPLES = 64,
    VERSION = 1 /* of what is measured: folders of another one are begun anew */
};

/* What a mix chooses from: a weight's forms, the first of those that store the same. */
typedef struct weight {
    const char *name; /* without ".weight" */
    dlx_mix_choice choice[DLX_MOST_FORMS];
    const dlx_weight_form *form[DLX_MOST_FORMS];
    size_t forms;
} weight;

typedef struct reporter {
    dlx_quantize_report_options o;
    const dlx_rounding *rounding;
    dlx_pool *pool;
    dlx_checkpoint c;
    dlx_samples samples;
    dlx_work work;          /* folder NULL: there is none */
    json_t *root, *tensors; /* what was measured */
    weight *weights;        /* [n] the same for the mix */
    size_t n;
    dlx_output output;
    dlx_stages stages;
} reporter;

static dlx_status no_memory(const reporter *r, dlx_error *err)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory reporting on '%s'", r->o.model_path);
}

/* ---- measuring -------------------------------------------------------------------------------------------------- */

static dlx_status take_weight(void *ctx, const dlx_weight_errors *e, dlx_error *err)
{
    const reporter *r = ctx;
    size_t length = strlen(e->name) - strlen(".weight");
    json_t *forms = json_array();
    bool lost = false;
    for (size_t i = 0; i < e->forms; i++) {
        const dlx_form_error *f = &e->form[i];
        double error = e->energy > 0 ? f->error / e->energy : 0;
        lost |= json_array_append_new(forms, json_pack("{s:s, s:I, s:f}", "form", f->form->name, "bytes",
                                                       (json_int_t)f->bytes, "error", error)) != 0;
    }
    json_t *entry = json_pack("{s:s%, s:s?, s:[I, I], s:o}", "name", e->name, length, "tensor", e->tensor, "shape",
                              (json_int_t)e->n, (json_int_t)e->k, "forms", forms);
    return json_array_append_new(r->tensors, entry) || lost ? no_memory(r, err) : DLX_OK;
}

static dlx_status take_samples(reporter *r, const dlx_layerwise_options *run, dlx_error *err)
{
    const dlx_quantize_report_options *o = &r->o;
    dlx_samples_options s = {.count = (size_t)o->count, .length = (int32_t)o->length, .seed = (uint64_t)o->seed};
    dlx_tokenizer *t = NULL;
    if (!s.count) s.count = DEFAULT_SAMPLES;
    dlx_stages_begin(&r->stages, "writing calibration texts", 0, 0);
    DLX_TRY(dlx_checkpoint_tokenizer(&t, &r->c, NULL, err));
    dlx_status status = dlx_samples_make(&r->samples, o->calibration, &r->c, t, &s, run, err);
    dlx_tokenizer_close(t);
    return status;
}

/* ---- the work folder -------------------------------------------------------------------------------------------- */

/* The whole file: a value, and what comes behind it. */
static dlx_status write_json(const reporter *r, dlx_output *out, const json_t *value, size_t flags, const char *end,
                             dlx_error *err)
{
    char *text = json_dumps(value, flags);
    if (!text) return no_memory(r, err);
    dlx_status s = dlx_output_write(out, text, strlen(text), err);
    if (s == DLX_OK) s = dlx_output_write(out, end, strlen(end), err);
    free(text);
    return s == DLX_OK ? dlx_output_commit(out, err) : s;
}

/* What was measured so far. */
static dlx_status save(void *ctx, int32_t done, dlx_error *err)
{
    reporter *r = ctx;
    (void)done;
    if (!r->work.folder) return DLX_OK;
    char *text = json_dumps(r->tensors, JSON_COMPACT);
    if (!text) return no_memory(r, err);
    dlx_work_keep(&r->work, text);
    return DLX_OK;
}

/* What an earlier report measured: of a layer whose hidden states were not saved any more, again. */
static dlx_status go_on(reporter *r, dlx_error *err)
{
    size_t wanted = (size_t)r->work.done * DLX_LAYER_LINEARS;
    const char *text = r->work.results ? r->work.results : "";
    json_t *before = NULL;
    if (!wanted) return DLX_OK;
    DLX_TRY(dlx_json_parse(&before, text, strlen(text), r->work.folder, err));
    bool ok = json_array_size(before) >= wanted;
    for (size_t i = 0; ok && i < wanted; i++) ok = !json_array_append(r->tensors, json_array_get(before, i));
    json_decref(before);
    if (ok) return DLX_OK;
    return dlx_fail(err, DLX_E_FORMAT, "the work folder '%s' does not hold what was measured; remove it",
                    r->work.folder);
}

static dlx_status open_work(reporter *r, dlx_error *err)
{
    const dlx_quantize_report_options *o = &r->o;
    const uint64_t numbers[] = {VERSION, dlx_samples_fingerprint(&r->samples)};
    const char *base = o->work_folder ? o->work_folder : o->recipe_path, *end = o->work_folder ? "" : ".work";
    if (!base) return DLX_OK;
    uint64_t print = dlx_work_print(dlx_work_checkpoint(&r->c), numbers, sizeof numbers);
    print = dlx_work_print(print, r->rounding->name, strlen(r->rounding->name));
    size_t n = strlen(base) + strlen(end) + 1;
    char *folder = malloc(n);
    if (!folder) return no_memory(r, err);
    snprintf(folder, n, "%s%s", base, end);
    dlx_status s = dlx_work_open(&r->work, folder, print, err);
    free(folder);
    if (*r->work.notice && o->notice) o->notice(o->notice_ctx, r->work.notice);
    return s == DLX_OK ? go_on(r, err) : s;
}

static dlx_status cancelled(const reporter *r, dlx_error *err)
{
    bool lasts = r->o.work_folder || r->o.recipe_path;
    if (!r->work.done)
        return dlx_fail(err, DLX_E_CANCELLED, "the report on '%s' was cancelled; %s", r->o.model_path,
                        lasts ? "no layer was done, so nothing was kept"
                              : "nothing was kept, as there was neither a work folder nor an output that one could lie "
                                "beside");
    return dlx_fail(err, DLX_E_CANCELLED,
                    "the report on '%s' was cancelled; what was measured so far is in '%s': the same report goes on "
                    "from there",
                    r->o.model_path, r->work.folder);
}

/* ---- the mix ---------------------------------------------------------------------------------------------------- */

/* What a mix chooses from, of what was measured. */
static dlx_status take_choices(reporter *r, dlx_error *err)
{
    size_t i, k;
    json_t *tensor, *entry;
    r->weights = calloc(json_array_size(r->tensors), sizeof *r->weights);
    if (!r->weights) return no_memory(r, err);
    json_array_foreach(r->tensors, i, tensor)
    {
        weight *w = &r->weights[r->n++];
        w->name = json_string_value(json_object_get(tensor, "name"));
        json_array_foreach(json_object_get(tensor, "forms"), k, entry)
        {
            const char *word = json_string_value(json_object_get(entry, "form"));
            const dlx_weight_form *f = word ? dlx_form_find(word) : NULL;
            bool again = !f || !w->name || w->forms == DLX_MOST_FORMS;
            for (size_t j = 0; !again && j < w->forms; j++) again = dlx_forms_store_alike(w->form[j], f);
            if (again) continue;
            w->form[w->forms] = f;
            w->choice[w->forms++] =
                (dlx_mix_choice){.bytes = (uint64_t)json_integer_value(json_object_get(entry, "bytes")),
                                 .error = json_number_value(json_object_get(entry, "error"))};
        }
    }
    return DLX_OK;
}

/* The form that most weights have. */
static const dlx_weight_form *most_picked(const reporter *r, const size_t *picked)
{
    const dlx_weight_form *best = r->weights[0].form[picked[0]];
    size_t most = 0;
    for (size_t i = 0; i < r->n; i++) {
        size_t count = 0;
        for (size_t k = 0; k < r->n; k++) count += r->weights[k].form[picked[k]] == r->weights[i].form[picked[i]];
        if (count <= most) continue;
        most = count;
        best = r->weights[i].form[picked[i]];
    }
    return best;
}

/* A recipe: the head and the embedding table stay int8. */
static json_t *recipe_of(const reporter *r, const size_t *picked)
{
    const dlx_weight_form *common = most_picked(r, picked);
    json_t *tensors = json_array();
    bool lost = false;
    for (size_t i = 0; i < r->n; i++) {
        const dlx_weight_form *f = r->weights[i].form[picked[i]];
        if (f == common) continue;
        json_t *rule = json_pack("{s:s, s:s}", "pattern", r->weights[i].name, "scheme", f->name);
        lost |= json_array_append_new(tensors, rule) != 0;
    }
    if (lost) {
        json_decref(tensors);
        return NULL;
    }
    return json_pack("{s:s, s:s, s:s, s:o}", "default", common->name, "head", "int8-dynamic", "embedding",
                     "int8-dynamic", "tensors", tensors);
}

static dlx_status choose(reporter *r, size_t *picked, dlx_mix_total *total, dlx_error *err)
{
    dlx_mix_tensor *tensors = calloc(r->n, sizeof *tensors);
    if (!tensors) return no_memory(r, err);
    for (size_t i = 0; i < r->n; i++)
        tensors[i] = (dlx_mix_tensor){
            .choice = r->weights[i].choice, .choices = r->weights[i].forms, .name = r->weights[i].name};
    dlx_status s = r->o.max_bytes
                       ? dlx_mix_least_error(picked, total, tensors, r->n, r->o.max_bytes, err)
                       : dlx_mix_fewest_bytes(picked, total, tensors, r->n, r->o.max_error * (double)r->n, err);
    free(tensors);
    return s;
}

static dlx_status mix(reporter *r, dlx_error *err)
{
    dlx_mix_total total;
    DLX_TRY(take_choices(r, err));
    size_t *picked = calloc(r->n, sizeof *picked);
    if (!picked) return no_memory(r, err);
    dlx_status s = choose(r, picked, &total, err);
    json_t *recipe = s == DLX_OK ? recipe_of(r, picked) : NULL;
    free(picked);
    if (s != DLX_OK) return s;
    json_t *entry = json_pack("{s:I, s:f, s:O}", "bytes", (json_int_t)total.bytes, "error", total.error / (double)r->n,
                              "recipe", recipe);
    if (!recipe || !entry || json_object_set_new(r->root, "mix", entry)) s = no_memory(r, err);
    if (s == DLX_OK && r->o.recipe_path)
        s = write_json(r, &r->output, recipe, JSON_INDENT(2) | JSON_PRESERVE_ORDER, "\n", err);
    json_decref(recipe);
    return s;
}

/* When it fails, what was measured is not lost. */
static dlx_status mix_or_say(reporter *r, dlx_error *err)
{
    dlx_error why = {0};
    dlx_status s = mix(r, &why);
    if (s == DLX_OK) return DLX_OK;
    if (!r->work.folder) return dlx_fail(err, s, "%s", why.message);
    return dlx_fail(err, s, "%.300s; what was measured is in '%s': the same report goes on from there", why.message,
                    r->work.folder);
}

/* ---- all together ----------------------------------------------------------------------------------------------- */

/* What no measurement changes. */
static dlx_status check_size(const reporter *r, dlx_error *err)
{
    size_t n;
    uint64_t least = dlx_form_errors_least(&r->c, &n);
    if (!r->o.max_bytes || r->o.max_bytes >= least) return DLX_OK;
    return dlx_fail(err, DLX_E_LIMIT, "%llu bytes are too few for %zu tensors, their smallest forms have %llu",
                    (unsigned long long)r->o.max_bytes, n, (unsigned long long)least);
}

static dlx_status check(const dlx_quantize_report_options *o, dlx_error *err)
{
    if (!o->model_path || !*o->model_path)
        return dlx_fail(err, DLX_E_INVALID, "dlx_quantize_report: a checkpoint folder is needed");
    if (o->count < 0 || o->count > INT32_MAX || o->length < 0 || o->length > INT32_MAX)
        return dlx_fail(err, DLX_E_INVALID, "quantize-report: count and length of samples must be 0 to %d", INT32_MAX);
    if (!(o->max_error >= 0) || (o->max_bytes && o->max_error > 0))
        return dlx_fail(err, DLX_E_INVALID, "quantize-report: a budget is either max_bytes or max_error, from 0 on");
    if (o->work_folder && !*o->work_folder)
        return dlx_fail(err, DLX_E_INVALID,
                        "quantize-report: the work folder has an empty name; name one, or leave it out");
    if (o->recipe_path && !o->max_bytes && o->max_error <= 0)
        return dlx_fail(err, DLX_E_INVALID, "quantize-report: a recipe needs a budget, max_bytes or max_error");
    return DLX_OK;
}

static dlx_status measure(reporter *r, dlx_error *err)
{
    const dlx_form_errors_options o = {.clip = r->rounding->clips,
                                       .scale_inputs = r->rounding->scales,
                                       .solve = r->rounding->solves,
                                       .damping = DLX_EXPORT_DAMPING,
                                       .weight = take_weight,
                                       .layer = save,
                                       .ctx = r};
    dlx_layerwise_options run = dlx_layerwise_on(r->pool);
    run.tick = dlx_stages_tick;
    run.tick_ctx = &r->stages;
    DLX_TRY(take_samples(r, &run, err));
    DLX_TRY(open_work(r, err));
    run.folder = r->work.folder;
    uint64_t a_layer = r->samples.rows * dlx_form_errors_runs(&r->c, &o);
    dlx_stages_begin(&r->stages, "measuring", a_layer * (uint64_t)r->work.done, a_layer * (uint64_t)r->c.shape.layers);
    DLX_TRY(dlx_form_errors(r->work.folder ? &r->work : NULL, &r->c, &r->samples, &o, &run, err));
    return dlx_checkpoint_unchanged(&r->c, err);
}

static dlx_status report(reporter *r, dlx_error *err)
{
    const dlx_quantize_report_options *o = &r->o;
    const dlx_checkpoint_options c = {.model_type = o->model_type, .block_size = o->block_size, .mask_id = o->mask_id};
    DLX_TRY(check(o, err));
    DLX_TRY(dlx_rounding_find(&r->rounding, o->rounding, err));
    if (r->rounding->activations)
        return dlx_fail(err, DLX_E_INVALID,
                        "rounding %s is for int8-static alone, beside which a report has other forms; choose another",
                        r->rounding->name);
    DLX_TRY(dlx_place_outside(o->recipe_path, "the mix", o->work_folder, err));
    if (o->recipe_path) DLX_TRY(dlx_target_open(&r->output, o->recipe_path, o->model_path, &o->calibration, 1, err));
    DLX_TRY(dlx_thread_pool_create(&r->pool, 0, err));
    DLX_TRY(dlx_checkpoint_open(&r->c, o->model_path, &c, err));
    DLX_TRY(check_size(r, err));
    r->tensors = json_array();
    r->root = json_pack("{s:s, s:O}", "rounding", r->rounding->name, "tensors", r->tensors);
    if (!r->root) return no_memory(r, err);
    r->stages = (dlx_stages){.report = o->stage, .ctx = o->stage_ctx};
    dlx_status s = measure(r, err);
    if (s == DLX_E_CANCELLED) return cancelled(r, err);
    if (s == DLX_OK && (o->max_bytes || o->max_error > 0)) s = mix_or_say(r, err);
    return s == DLX_OK && r->work.folder ? dlx_work_remove(&r->work, err) : s;
}

dlx_status dlx_quantize_report(const dlx_quantize_report_options *options, char **json, dlx_error *err)
{
    reporter r = {.o = {.struct_size = sizeof r.o}};
    if (json) *json = NULL;
    if (!options || !json)
        return dlx_fail(err, DLX_E_INVALID, "dlx_quantize_report: options and a place for the text are needed");
    DLX_TRY(dlx_struct_in(&r.o, sizeof r.o, options, "dlx_quantize_report_options", err));
    r.output.fd = r.output.folder = -1;
    dlx_status s = dlx_checkpoint_reason(&r.c, report(&r, err), err);
    if (s == DLX_OK) {
        *json = json_dumps(r.root, JSON_PRESERVE_ORDER);
        if (!*json) s = no_memory(&r, err);
    }
    dlx_output_close(&r.output);
    dlx_work_close(&r.work);
    free(r.weights);
    json_decref(r.tensors);
    json_decref(r.root);
    dlx_samples_free(&r.samples);
    dlx_checkpoint_close(&r.c);
    dlx_pool_free(r.pool);
    return s;
}
