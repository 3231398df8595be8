/* Keys that mean the same in every family: arithmetic that no decoder here has, whatever its other keys are called. */
#include "model/family.h"

#include <string.h>

#include "base/sizes.h"

static const dlx_config_rule rules[] = {
    {"mlp_bias", "false", false},
    {"use_mrope", "false", false},
    {"partial_rotary_factor", "1", false},
    {"attn_logit_softcapping", "null", false},
    {"final_logit_softcapping", "null", false},
    {"num_experts", "null", false},
    {"num_local_experts", "null", false},
    {"n_routed_experts", "null", false},
    {"moe_intermediate_size", "null", false},
};

/* A window counts only where it is switched on: published configs carry its size with use_sliding_window false. One
 * that holds all positions is none. */
static dlx_status check_windows(const dlx_config_files *f, int32_t max_positions, dlx_error *err)
{
    bool used = false;
    int32_t size = 0;
    DLX_TRY(dlx_config_bool_if(f, "use_sliding_window", &used, err));
    if (used) DLX_TRY(dlx_config_int(f, "sliding_window", 1, INT32_MAX, &size, err));
    if (used && size < max_positions)
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "'%s/config.json': key 'use_sliding_window' is true (sliding_window %d, less than %d "
                        "positions); only false "
                        "is supported",
                        f->folder, size, max_positions);
    const json_t *types = dlx_config_value(f, "layer_types");
    if (types && !json_is_array(types))
        return dlx_fail(err, DLX_E_FORMAT, "'%s/config.json': key 'layer_types' is %s; expected an array", f->folder,
                        dlx_config_found(types).s);
    for (size_t i = 0; i < json_array_size(types); i++) {
        const json_t *t = json_array_get(types, i);
        bool whole = used && json_is_string(t) && !strcmp(json_string_value(t), "sliding_attention");
        if (!whole && (!json_is_string(t) || strcmp(json_string_value(t), "full_attention")))
            return dlx_fail(err, DLX_E_UNSUPPORTED,
                            "'%s/config.json': key 'layer_types' has %s at layer %zu; only full_attention is supported",
                            f->folder, dlx_config_found(t).s, i);
    }
    return DLX_OK;
}

dlx_status dlx_read_shared_keys(dlx_model_shape *shape, const dlx_config_files *f, dlx_error *err)
{
    DLX_TRY(dlx_config_check(f, rules, DLX_COUNT(rules), err));
    DLX_TRY(check_windows(f, shape->max_positions, err));
    return dlx_rope_read(&shape->rope_theta, &shape->rope_scaling, f, shape->max_positions, err);
}
