#include "export/calibration.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/lengths.h"
#include "base/place.h"
#include "base/sizes.h"
#include "calibrate/samples_generate.h"

enum { DEFAULT_SAMPLES = 64 };

bool dlx_calibration_asked(const dlx_export_options *o)
{
    return o->calibration || o->calibration_samples || o->calibration_length || o->calibration_seed || o->work_folder;
}

dlx_status dlx_calibration_check(const dlx_export_options *o, dlx_error *err)
{
    if (o->calibration_samples >= 0 && o->calibration_samples <= INT32_MAX && o->calibration_length >= 0 &&
        o->calibration_length <= INT32_MAX)
        return DLX_OK;
    return dlx_fail(err, DLX_E_INVALID, "calibration_samples and calibration_length must be 0 to %d", INT32_MAX);
}

dlx_status dlx_calibration_begin(dlx_calibration *out, const dlx_checkpoint *c, const dlx_tokenizer *tokenizer,
                                 const dlx_export_options *o, const dlx_samples_text *text, bool ranges, dlx_pool *pool,
                                 dlx_error *err)
{
    const dlx_samples_options s = {.count = o->calibration_samples ? (size_t)o->calibration_samples : DEFAULT_SAMPLES,
                                   .length = (int32_t)o->calibration_length,
                                   .seed = (uint64_t)o->calibration_seed,
                                   .canvas = ranges ? DLX_NEW_TOKENS : 0};
    *out = (dlx_calibration){
        .o = o, .c = c, .run = dlx_layerwise_on(pool), .stages = {.report = o->stage, .ctx = o->stage_ctx}};
    out->run.tick = dlx_stages_tick;
    out->run.tick_ctx = &out->stages;
    dlx_stages_begin(&out->stages, "writing calibration texts", 0, 0);
    if (text) return dlx_samples_of(&out->samples, text, c, tokenizer, &s, err);
    return dlx_samples_make(&out->samples, o->calibration, c, tokenizer, &s, &out->run, err);
}

void dlx_calibration_free(dlx_calibration *c)
{
    dlx_samples_free(&c->samples);
}

/* malloc'd */
static char *work_folder(const dlx_export_options *o, const char *end)
{
    const char *base = o->work_folder ? o->work_folder : o->output_path, *middle = o->work_folder ? "" : ".work";
    size_t n = strlen(base) + strlen(middle) + strlen(end) + 1;
    char *folder = malloc(n);
    if (folder) snprintf(folder, n, "%s%s%s", base, middle, end);
    return folder;
}

dlx_status dlx_calibration_places(const dlx_export_options *o, dlx_error *err)
{
    static const char *const ends[] = {"", DLX_RANGES_WORK}, *const what[2] = {"the program", "the ranges"};
    const char *const output[2] = {o->output_path, o->save_ranges};
    dlx_status s = dlx_places_apart(output, what, err);
    for (size_t i = 0; s == DLX_OK && i < DLX_COUNT(ends); i++) {
        char *folder = work_folder(o, ends[i]);
        if (!folder) return dlx_fail(err, DLX_E_NOMEM, "out of memory naming the work folder");
        for (size_t k = 0; s == DLX_OK && k < 2; k++) s = dlx_place_outside(output[k], what[k], folder, err);
        free(folder);
    }
    return s;
}

dlx_status dlx_calibration_work(dlx_export_work *out, dlx_calibration *c, uint64_t print, const char *end,
                                dlx_error *err)
{
    uint64_t of_samples = dlx_samples_fingerprint(&c->samples);
    char *folder = work_folder(c->o, end);
    if (!folder) return dlx_fail(err, DLX_E_NOMEM, "out of memory naming the work folder");
    dlx_status s = dlx_work_open(&out->work, folder, dlx_work_print(print, &of_samples, sizeof of_samples), err);
    free(folder);
    c->run.folder = out->work.folder;
    if (*out->work.notice && c->o->notice) c->o->notice(c->o->notice_ctx, out->work.notice);
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
