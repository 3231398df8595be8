/*
 * What quantisation costs a checkpoint, weight by weight and form by form, and the mix of forms that a budget allows:
 * as JSON, and as a recipe that an export takes.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "diffulex_edge/export.h"
#include "diffulex_edge/text.h"

#include "base/output.h"
#include "base/structs.h"
#include "base/threads.h"
#include "calibrate/form_errors.h"
#include "calibrate/samples_generate.h"
#include "export/stages.h"
#include "export/target.h"
#include "export/tokenizer_folder.h"
#include "model/checkpoint.h"
#include "solve/mix.h"

enum { DEFAULT_SAMPLES = 64 };

/* What a mix chooses from: a weight's forms, those with a kernel that is fast where several store the same. */
typedef struct weight {
    char *name; /* without ".weight" */
    dlx_mix_choice choice[DLX_MOST_FORMS];
    const dlx_weight_form *form[DLX_MOST_FORMS];
    size_t forms;
} weight;

typedef struct reporter {
    dlx_quantize_report_options o;
    dlx_arena arena;
    dlx_pool *pool;
    dlx_checkpoint c;
    dlx_samples samples;
    json_t *root, *tensors;
    weight *weights; /* [layers * linears] */
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
    reporter *r = ctx;
    weight *w = &r->weights[r->n++];
    size_t length = strlen(e->name) - strlen(".weight");
    w->name = dlx_arena_strndup(&r->arena, e->name, length);
    if (!w->name) return no_memory(r, err);
    json_t *forms = json_array();
    bool lost = false;
    w->forms = e->forms;
    for (size_t i = 0; i < e->forms; i++) {
        const dlx_form_error *f = &e->form[i];
        double error = e->energy > 0 ? f->error / e->energy : 0;
        w->form[i] = f->form;
        w->choice[i] = (dlx_mix_choice){.bytes = f->bytes, .error = error};
        lost |= json_array_append_new(forms, json_pack("{s:s, s:I, s:f}", "form", f->form->name, "bytes",
                                                       (json_int_t)f->bytes, "error", error)) != 0;
    }
    json_t *entry = json_pack("{s:s, s:s?, s:[I, I], s:o}", "name", w->name, "tensor", e->tensor, "shape",
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

/* ---- the mix ---------------------------------------------------------------------------------------------------- */

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

static dlx_status write_recipe(reporter *r, const json_t *recipe, dlx_error *err)
{
    char *text = json_dumps(recipe, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    if (!text) return no_memory(r, err);
    dlx_status s = dlx_output_write(&r->output, text, strlen(text), err);
    if (s == DLX_OK) s = dlx_output_write(&r->output, "\n", 1, err);
    free(text);
    return s == DLX_OK ? dlx_output_commit(&r->output, err) : s;
}

static dlx_status mix(reporter *r, dlx_error *err)
{
    dlx_mix_total total;
    size_t *picked = calloc(r->n, sizeof *picked);
    if (!picked) return no_memory(r, err);
    dlx_status s = choose(r, picked, &total, err);
    json_t *recipe = s == DLX_OK ? recipe_of(r, picked) : NULL;
    free(picked);
    if (s != DLX_OK) return s;
    json_t *entry = json_pack("{s:I, s:f, s:O}", "bytes", (json_int_t)total.bytes, "error", total.error / (double)r->n,
                              "recipe", recipe);
    if (!recipe || !entry || json_object_set_new(r->root, "mix", entry)) s = no_memory(r, err);
    if (s == DLX_OK && r->o.recipe_path) s = write_recipe(r, recipe, err);
    json_decref(recipe);
    return s;
}

/* ---- all together ----------------------------------------------------------------------------------------------- */

static dlx_status check(const dlx_quantize_report_options *o, dlx_error *err)
{
    if (!o->model_path || !*o->model_path)
        return dlx_fail(err, DLX_E_INVALID, "dlx_quantize_report: a checkpoint folder is needed");
    if (o->count < 0 || o->count > INT32_MAX || o->length < 0 || o->length > INT32_MAX)
        return dlx_fail(err, DLX_E_INVALID, "quantize-report: count and length of samples must be 0 to %d", INT32_MAX);
    if (!(o->max_error >= 0) || (o->max_bytes && o->max_error > 0))
        return dlx_fail(err, DLX_E_INVALID, "quantize-report: a budget is either max_bytes or max_error, from 0 on");
    if (o->recipe_path && !o->max_bytes && o->max_error <= 0)
        return dlx_fail(err, DLX_E_INVALID, "quantize-report: a recipe needs a budget, max_bytes or max_error");
    return DLX_OK;
}

static dlx_status report(reporter *r, dlx_error *err)
{
    const dlx_quantize_report_options *o = &r->o;
    const dlx_checkpoint_options c = {.model_type = o->model_type, .block_size = o->block_size, .mask_id = o->mask_id};
    DLX_TRY(check(o, err));
    if (o->recipe_path) DLX_TRY(dlx_target_open(&r->output, o->recipe_path, o->model_path, &o->calibration, 1, err));
    DLX_TRY(dlx_thread_pool_create(&r->pool, 0, err));
    DLX_TRY(dlx_checkpoint_open(&r->c, o->model_path, &c, err));
    r->weights = dlx_arena_array(&r->arena, (size_t)r->c.shape.layers * DLX_LAYER_LINEARS, sizeof *r->weights);
    r->tensors = json_array();
    r->root = json_pack("{s:O}", "tensors", r->tensors);
    if (!r->weights || !r->root) return no_memory(r, err);
    dlx_layerwise_options run = dlx_layerwise_on(r->pool);
    r->stages = (dlx_stages){.report = o->stage, .ctx = o->stage_ctx};
    run.tick = dlx_stages_tick;
    run.tick_ctx = &r->stages;
    DLX_TRY(take_samples(r, &run, err));
    dlx_stages_begin(&r->stages, "measuring", 0, r->samples.rows * (uint64_t)r->c.shape.layers);
    DLX_TRY(dlx_form_errors(&r->c, &r->samples, &run, take_weight, r, err));
    DLX_TRY(dlx_checkpoint_unchanged(&r->c, err));
    return o->max_bytes || o->max_error > 0 ? mix(r, err) : DLX_OK;
}

dlx_status dlx_quantize_report(const dlx_quantize_report_options *options, char **json, dlx_error *err)
{
    reporter r = {.o = {.struct_size = sizeof r.o}};
    if (json) *json = NULL;
    if (!options || !json)
        return dlx_fail(err, DLX_E_INVALID, "dlx_quantize_report: options and a place for the text are needed");
    DLX_TRY(dlx_struct_in(&r.o, sizeof r.o, options, "dlx_quantize_report_options", err));
    r.output.fd = r.output.folder = -1;
    dlx_arena_init(&r.arena);
    dlx_status s = report(&r, err);
    if (s == DLX_OK) {
        *json = json_dumps(r.root, JSON_PRESERVE_ORDER);
        if (!*json) s = no_memory(&r, err);
    }
    dlx_output_close(&r.output);
    json_decref(r.tensors);
    json_decref(r.root);
    dlx_samples_free(&r.samples);
    dlx_checkpoint_close(&r.c);
    dlx_pool_free(r.pool);
    dlx_arena_free(&r.arena);
    return s;
}
