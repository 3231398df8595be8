#include "export/backend_options.h"

#include "backends/coreml/coreml.h"
#include "base/sizes.h"
#include "quant/forms.h"

dlx_status dlx_backend_options_check(const char *name, const dlx_export_options *o, dlx_error *err)
{
    const struct {
        bool given;
        const char *option, *backends;
    } options[] = {
        {o->delegate_layers != 0, "delegate_layers", "coreml"},
        {o->minimum_deployment_target != NULL, "minimum_deployment_target", "coreml"},
        {o->compute_units != NULL, "compute_units", "coreml"},
    };
    for (size_t i = 0; i < DLX_COUNT(options); i++)
        if (options[i].given && !dlx_word_in(options[i].backends, name))
            return dlx_fail(err, DLX_E_INVALID, "%s is an option of backend '%s'; the backend asked for is '%s'",
                            options[i].option, options[i].backends, name);
    if (o->delegate_layers < 0)
        return dlx_fail(err, DLX_E_INVALID, "delegate_layers is %d; expected the number of layers of a delegate, or 0",
                        (int)o->delegate_layers);
    return DLX_OK;
}

dlx_status dlx_export_coreml_options(const void **out, dlx_arena *arena, const dlx_export_options *o, dlx_error *err)
{
    dlx_coreml_options *c = dlx_arena_alloc(arena, sizeof *c);
    if (!c) return dlx_fail(err, DLX_E_NOMEM, "out of memory for the backend's options");
    if (o->minimum_deployment_target && !dlx_coreml_target_find(o->minimum_deployment_target, &c->target))
        return dlx_fail(err, DLX_E_INVALID,
                        "minimum_deployment_target '%.100s' is not known; expected iOS16, iOS17 or iOS18",
                        o->minimum_deployment_target);
    if (o->compute_units && !dlx_coreml_units_ok(o->compute_units))
        return dlx_fail(err, DLX_E_INVALID,
                        "compute_units '%.100s' is not known; expected cpu_only, cpu_and_gpu, cpu_and_ne or all",
                        o->compute_units);
    c->compute_units = o->compute_units;
    *out = c;
    return DLX_OK;
}
