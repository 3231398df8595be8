#include "full/export_validate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "full/text_inputs.h"
#include "output.h"

static bool is_among(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(names[i], name)) return true;
    return false;
}

int dlx_cli_validation_read(dlx_cli_validation *v, const dlx_cli_arguments *a)
{
    static const char *const of_both[] = {"hf-model-path", "output-path", "validate", "validate-only",
                                          "json",          "model-type",  "mask-id",  "block-size"};
    static const char *const of_validations[] = {"validation", "validation-samples", "validation-length", "max-kl"};
    const char *max = dlx_cli_text(a, "max-kl");
    char *end;
    *v = (dlx_cli_validation){.only = dlx_cli_flag(a, "validate-only", false), .max_kl = -1};
    v->found.struct_size = sizeof v->found;
    v->asked = v->only || dlx_cli_flag(a, "validate", false);
    for (size_t i = 0; v->only && i < a->command->n_options; i++) {
        const char *name = a->command->options[i].name;
        if (!is_among(of_both, sizeof of_both / sizeof *of_both, name) &&
            !is_among(of_validations, sizeof of_validations / sizeof *of_validations, name) && dlx_cli_text(a, name))
            return dlx_cli_usage(a->command, "--validate-only exports nothing; leave --%s out", name);
    }
    for (size_t i = 0; !v->asked && i < sizeof of_validations / sizeof *of_validations; i++)
        if (dlx_cli_text(a, of_validations[i]))
            return dlx_cli_usage(a->command, "--%s is for --validate and --validate-only", of_validations[i]);
    if (!max) return DLX_CLI_OK;
    v->max_kl = strtod(max, &end);
    if (end != max && !*end && v->max_kl >= 0 && isfinite(v->max_kl)) return DLX_CLI_OK;
    return dlx_cli_usage(a->command, "--max-kl takes a number from 0 on, not '%s'", max);
}

dlx_validate_options dlx_cli_validation_options(const dlx_cli_arguments *a, dlx_cli_stages *stages)
{
    return (dlx_validate_options){.struct_size = sizeof(dlx_validate_options),
                                  .samples = dlx_cli_text_input(a, "validation"),
                                  .count = dlx_cli_int(a, "validation-samples", 0),
                                  .length = dlx_cli_int(a, "validation-length", 0),
                                  /* not what weights were found with */
                                  .seed = dlx_cli_int(a, "calibration-seed", 0) + 1,
                                  .stage = dlx_cli_on_stage,
                                  .stage_ctx = stages};
}

int dlx_cli_validation_run(dlx_cli_validation *v, const dlx_cli_arguments *a, const char *model, const char *file)
{
    dlx_cli_stages stages = {.first = 0};
    dlx_error err;
    dlx_validate_options o = dlx_cli_validation_options(a, &stages);
    o.model_path = model;
    o.file_path = file;
    o.model_type = dlx_cli_text(a, "model-type");
    o.mask_id = dlx_cli_int(a, "mask-id", 0);
    o.block_size = dlx_cli_int(a, "block-size", 0);
    dlx_status s = dlx_validate(&o, &v->found, &err);
    dlx_cli_progress_end();
    return s == DLX_OK ? DLX_CLI_OK : dlx_cli_fail(&err);
}

void dlx_cli_validation_free(dlx_cli_validation *v)
{
    dlx_free(v->found.layer_error);
    v->found.layer_error = NULL;
}

void dlx_cli_validation_json(dlx_cli_json *j, const dlx_cli_validation *v)
{
    const dlx_validation *f = &v->found;
    dlx_cli_json_open(j, "validation", '{');
    dlx_cli_json_int(j, "samples", f->samples);
    dlx_cli_json_int(j, "rows", f->rows);
    dlx_cli_json_number(j, "kl_mean", f->kl_mean, 6);
    dlx_cli_json_number(j, "kl_most", f->kl_most, 6);
    dlx_cli_json_number(j, "agreement", f->agreement, 6);
    dlx_cli_json_int(j, "worst_layer", f->worst_layer);
    dlx_cli_json_open(j, "layer_errors", '[');
    for (int32_t i = 0; i < f->layers; i++) dlx_cli_json_number(j, NULL, f->layer_error[i], 6);
    dlx_cli_json_close(j, ']');
    dlx_cli_json_close(j, '}');
}

void dlx_cli_validation_text(const dlx_cli_validation *v)
{
    const dlx_validation *f = &v->found;
    printf("against the checkpoint in float32, over %lld masked tokens of %lld samples\n", (long long)f->rows,
           (long long)f->samples);
    printf("  KL divergence    %.3g in the mean, %.3g at most\n", f->kl_mean, f->kl_most);
    printf("  same best token  %.2f %%\n", 100 * f->agreement);
    printf("  worst layer      %d of %d, error %.3g of what it adds\n", f->worst_layer, f->layers,
           f->layer_error[f->worst_layer]);
}

int dlx_cli_validation_judge(const dlx_cli_validation *v)
{
    if (!v->asked || v->max_kl < 0 || v->found.kl_mean <= v->max_kl) return DLX_CLI_OK;
    dlx_cli_message("the mean KL divergence is %g, above the %g of --max-kl", v->found.kl_mean, v->max_kl);
    return DLX_CLI_FAILED;
}
