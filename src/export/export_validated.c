/* An export and the validation of what it wrote, whose samples are read and checked before anything is replaced. */
#include <stdlib.h>
#include <string.h>

#include "base/structs.h"
#include "export/export.h"
#include "export/validate.h"

/* The file is in place by now. */
static dlx_status validate(const dlx_validate_options *o, dlx_samples *samples, dlx_validation *out, dlx_error *err)
{
    dlx_status s = dlx_validate_run(o, samples, out, err);
    if (s == DLX_OK) return DLX_OK;
    return dlx_fail_prefix(err, s, "'%.140s' is complete and can be used, but it was not validated", o->file_path);
}

dlx_status dlx_export_validated(const dlx_export_options *options, const dlx_validate_options *how,
                                dlx_export_result *result, dlx_validation *validation, dlx_error *err)
{
    const dlx_validation none = {.struct_size = sizeof none};
    dlx_export_options o = dlx_export_options_default();
    dlx_validate_options v = {.struct_size = sizeof v};
    dlx_samples samples;
    memset(&samples, 0, sizeof samples);
    dlx_struct_clear(result, sizeof *result);
    dlx_struct_clear(validation, sizeof *validation);
    if (!options || !how || !validation)
        return dlx_fail(err, DLX_E_INVALID,
                        "dlx_export_validated: options of the export and of the validation, and a place for its result "
                        "are needed");
    DLX_TRY(dlx_struct_out(validation, &none, sizeof none, "dlx_validation", err));
    DLX_TRY(dlx_struct_in(&o, sizeof o, options, "dlx_export_options", err));
    DLX_TRY(dlx_struct_in(&v, sizeof v, how, "dlx_validate_options", err));
    v.model_path = o.model_path;
    v.file_path = o.output_path;
    v.model_type = o.model_type;
    v.block_size = o.block_size;
    v.mask_id = o.mask_id;
    dlx_status s = dlx_export_run(&o, &v, &samples, result, err);
    if (s == DLX_OK) s = validate(&v, &samples, validation, err);
    dlx_samples_free(&samples);
    return s;
}
