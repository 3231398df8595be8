#include "export/solve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "calibrate/samples_generate.h"
#include "graph/linear_kinds.h"

enum { DEFAULT_SAMPLES = 64, RUNS = 2 /* of each layer over the samples */ };
static const float damping = 0.01f; /* as in the published code of GPTQ */

typedef struct task {
    const dlx_graph *g;
    const dlx_export_options *o;
    const dlx_checkpoint *c;
    const char *stage;
    uint64_t done, total; /* rows through a layer; total 0: not known */
    char *folder;         /* of the work */
    bool begun;           /* something is in it that another call can use */
} task;

/* ---- what is asked for ------------------------------------------------------------------------------------------ */

dlx_status dlx_export_solves(bool *yes, const dlx_export_options *o, bool measures, dlx_error *err)
{
    const char *word = o->rounding ? o->rounding : "nearest";
    *yes = !strcmp(word, "gptq");
    if (!*yes && strcmp(word, "nearest") != 0)
        return dlx_fail(err, DLX_E_INVALID, "rounding '%.100s' is not known; expected nearest or gptq", word);
    if (o->calibration_samples < 0 || o->calibration_samples > INT32_MAX || o->calibration_length < 0 ||
        o->calibration_length > INT32_MAX)
        return dlx_fail(err, DLX_E_INVALID, "calibration_samples and calibration_length must be 0 to %d", INT32_MAX);
    bool asked =
        o->calibration || o->calibration_samples || o->calibration_length || o->calibration_seed || o->work_folder;
    if (*yes || measures || !asked) return DLX_OK;
    return dlx_fail(err, DLX_E_INVALID,
                    "calibration was asked for, but weights are rounded to nearest, which needs none; rounding gptq "
                    "uses it, and quantization int8-static without a file of ranges");
}

/* The grid that constant `name` of the graph is on; false when it is no weight of integers. */
static bool find_grid(const dlx_graph *g, const char *name, dlx_grid *out)
{
    for (size_t i = 0; i < g->n_values; i++) {
        const dlx_value *v = &g->values[i];
        if (v->kind != DLX_VALUE_CONST || !v->name || strcmp(v->name, name)) continue;
        *out = (dlx_grid){.bits = v->dtype == DLX_I4 ? 4 : 8, .group = (uint32_t)dlx_group_of(g, v)};
        return (v->dtype == DLX_I4 || v->dtype == DLX_I8) && v->scales != DLX_NONE;
    }
    return false;
}

static bool grid_of(void *ctx, const char *name, size_t n, size_t k, dlx_grid *out)
{
    const task *t = ctx;
    (void)n;
    (void)k;
    return find_grid(t->g, name, out);
}

/* Everything that the solvers' results depend on but samples. *weights: how many there are to solve. */
static uint64_t print_of(const task *t, size_t *weights)
{
    uint64_t print = dlx_work_checkpoint(t->c);
    print = dlx_work_print(print, "gptq, 1", 7); /* of this code */
    *weights = 0;
    for (size_t i = 0; i < t->g->n_values; i++) {
        const dlx_value *v = &t->g->values[i];
        dlx_grid grid;
        if (v->kind != DLX_VALUE_CONST || !v->name || strncmp(v->name, "layers.", 7)) continue;
        if (!find_grid(t->g, v->name, &grid)) continue;
        const uint64_t numbers[] = {(uint64_t)grid.bits, grid.group};
        print = dlx_work_print(print, v->name, strlen(v->name) + 1);
        print = dlx_work_print(print, numbers, sizeof numbers);
        ++*weights;
    }
    return print;
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

static bool tick(void *ctx, uint64_t rows)
{
    task *t = ctx;
    t->done += rows;
    return !t->o->stage || t->o->stage(t->o->stage_ctx, t->stage, t->done, t->total);
}

dlx_status dlx_export_samples(dlx_samples *out, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                              const dlx_export_options *o, const dlx_layerwise_options *run, dlx_error *err)
{
    dlx_samples_options s = {.count = (size_t)o->calibration_samples,
                             .length = (int32_t)o->calibration_length,
                             .seed = (uint64_t)o->calibration_seed};
    if (!s.count) s.count = DEFAULT_SAMPLES;
    if (o->calibration) return dlx_samples_read(out, o->calibration, c, tokenizer, &s, err);
    return dlx_samples_generate(out, c, tokenizer, &s, run, err);
}

static dlx_status solve(dlx_export_work *out, task *t, dlx_graph *g, const dlx_samples *samples,
                        const dlx_layerwise_options *run, dlx_error *err)
{
    size_t weights, applied;
    uint64_t of_samples = dlx_samples_fingerprint(samples), print = print_of(t, &weights);
    const dlx_weights_options o = {
        .grid = grid_of, .grid_ctx = t, .factor = {.damping = damping}, .clip = DLX_CLIP_MSE};
    int32_t layers = t->c->shape.layers;
    print = dlx_work_print(print, &of_samples, sizeof of_samples);
    DLX_TRY(dlx_work_open(&out->work, t->folder, print, err));
    dlx_layerwise_options here = *run;
    here.folder = t->folder; /* large hidden states are beside the other files, not in memory that poses as /tmp */
    t->begun = true;
    t->stage = "gptq";
    t->total = samples->rows * (uint64_t)layers * RUNS;
    t->done = samples->rows * (uint64_t)out->work.done * RUNS;
    DLX_TRY(dlx_weights_solve(&out->work, t->c, samples, &o, &here, err));
    DLX_TRY(dlx_precomputed_open(&out->precomputed, &out->work, layers, err));
    DLX_TRY(dlx_precomputed_apply(&out->precomputed, g, &applied, err));
    if (applied == 2 * weights) return DLX_OK;
    return dlx_fail(err, DLX_E_INTERNAL, "%zu weights and scales were found for %zu weights", applied, weights);
}

/* What an interruption leaves is worth a sentence. */
static dlx_status interrupted(const task *t, dlx_error *err)
{
    if (!t->begun)
        return dlx_fail(err, DLX_E_CANCELLED, "the export was cancelled; '%s' was left as it was", t->o->output_path);
    return dlx_fail(err, DLX_E_CANCELLED,
                    "the export was cancelled; '%s' was left as it was, and what was found so far is in '%s': the same "
                    "export goes on from there",
                    t->o->output_path, t->folder);
}

char *dlx_export_work_folder(const dlx_export_options *o, const char *end)
{
    const char *base = o->work_folder ? o->work_folder : o->output_path, *middle = o->work_folder ? "" : ".work";
    size_t n = strlen(base) + strlen(middle) + strlen(end) + 1;
    char *folder = malloc(n);
    if (folder) snprintf(folder, n, "%s%s%s", base, middle, end);
    return folder;
}

dlx_status dlx_export_solve(dlx_export_work *out, dlx_graph *g, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                            const dlx_export_options *options, dlx_pool *pool, dlx_error *err)
{
    dlx_samples samples = {.n = 0};
    task t = {.g = g, .o = options, .c = c};
    size_t weights;
    (void)print_of(&t, &weights);
    if (!weights)
        return dlx_fail(err, DLX_E_INVALID,
                        "rounding gptq has nothing to do: no weight of a layer becomes int8 or int4");
    t.folder = dlx_export_work_folder(options, "");
    if (!t.folder) return dlx_fail(err, DLX_E_NOMEM, "out of memory naming the work folder");
    dlx_layerwise_options run = dlx_layerwise_on(pool);
    run.tick = tick;
    run.tick_ctx = &t;
    t.stage = "writing calibration texts";
    dlx_status s = dlx_export_samples(&samples, c, tokenizer, options, &run, err);
    if (s == DLX_OK) s = solve(out, &t, g, &samples, &run, err);
    if (s == DLX_E_CANCELLED) s = interrupted(&t, err);
    dlx_samples_free(&samples);
    free(t.folder);
    return s;
}

void dlx_export_work_close(dlx_export_work *w, bool done, const dlx_export_options *options)
{
    char sentence[DLX_ERROR_MESSAGE_SIZE];
    dlx_error err;
    dlx_precomputed_close(&w->precomputed);
    if (w->work.folder && done && dlx_work_remove(&w->work, &err) != DLX_OK && options->notice) {
        snprintf(sentence, sizeof sentence, "the export is complete, but its work folder is left: %.400s", err.message);
        options->notice(options->notice_ctx, sentence);
    }
    dlx_work_close(&w->work);
}
