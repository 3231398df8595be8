/* Folders that are no checkpoint to export, told apart from damaged ones: adapters and quantised checkpoints. */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/sizes.h"
#include "format/json/json_file.h"
#include "model/config.h"

enum { ADAPTER_LIMIT = 4 << 20 };

dlx_status dlx_refuse_adapter(const char *folder, dlx_error *err)
{
    char path[4096];
    json_t *adapter;
    int n = snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    if (n < 0 || (size_t)n >= sizeof path || !dlx_is_file(path)) return DLX_OK;
    DLX_TRY(dlx_json_load(&adapter, path, ADAPTER_LIMIT, err));
    const char *base = json_string_value(json_object_get(adapter, "base_model_name_or_path"));
    dlx_status s =
        dlx_fail(err, DLX_E_UNSUPPORTED,
                 "'%s' holds an adapter for '%.200s', not a whole model; merge the two in Python "
                 "(peft: PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)) "
                 "and export the result",
                 folder, base ? base : "a base model");
    json_decref(adapter);
    return s;
}

/* The method of a quantised checkpoint, as people call it; NULL where the key is something else. */
static const char *method_of(const json_t *quantization, bool mlx)
{
    static const char *const names[][2] = {{"gptq", "GPTQ"},
                                           {"awq", "AWQ"},
                                           {"bitsandbytes", "bitsandbytes"},
                                           {"compressed-tensors", "compressed-tensors"},
                                           {"fp8", "FP8"},
                                           {"hqq", "HQQ"},
                                           {"fbgemm_fp8", "FBGEMM FP8"},
                                           {"torchao", "torchao"},
                                           {"mxfp4", "MXFP4"},
                                           {"quark", "Quark"},
                                           {"eetq", "EETQ"},
                                           {"aqlm", "AQLM"},
                                           {"modelopt", "ModelOpt"},
                                           {"auto-round", "AutoRound"}};
    const char *method = json_string_value(json_object_get(quantization, "quant_method"));
    for (size_t i = 0; method && i < DLX_COUNT(names); i++)
        if (!strcmp(method, names[i][0])) return names[i][1];
    if (method) return method;
    if (json_is_true(json_object_get(quantization, "load_in_4bit")) ||
        json_is_true(json_object_get(quantization, "load_in_8bit")))
        return "bitsandbytes";
    return mlx || json_object_get(quantization, "group_size") ? "MLX" : "an unnamed method";
}

/* Tools that took the quantisation away leave such an object behind. */
static bool says_nothing(const json_t *quantization)
{
    const char *method = json_string_value(json_object_get(quantization, "quant_method"));
    if (method) return !strcmp(method, "none");
    return json_is_object(quantization) && !json_object_size(quantization);
}

dlx_status dlx_refuse_quantised(const dlx_config_files *f, dlx_error *err)
{
    static const char *const keys[] = {"quantization", "quantization_config"}; /* MLX writes the first, or both */
    for (size_t i = 0; i < DLX_COUNT(keys); i++) {
        const json_t *v = dlx_config_value(f, keys[i]), *bits = json_object_get(v, "bits");
        char width[80] = "";
        if (!v || says_nothing(v)) continue;
        if (json_is_integer(bits)) snprintf(width, sizeof width, " with %s bits", dlx_config_found(bits).s);
        return dlx_fail(err, DLX_E_UNSUPPORTED,
                        "'%s/config.json': key '%s' says that the checkpoint is quantised by %.60s%s; weights in "
                        "float32, float16 or bfloat16 are needed: fetch the checkpoint that it was made from, and let "
                        "the export quantise",
                        f->folder, keys[i], method_of(v, i == 0), width);
    }
    return DLX_OK;
}
