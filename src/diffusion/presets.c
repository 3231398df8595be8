/*
 * Presets: for every family three sets of options that belong together. They go the way of options that a caller gives,
 * and whatever the caller gives wins.
 *
 *   exact     one token a pass; nothing approximate
 *   balanced  tokens that the model is sure of are revealed together
 *   fast      more of them, and approximate caches where the family has them
 */
#include <string.h>

#include "base/sizes.h"
#include "diffusion/settings.h"

enum { MOST_VALUES = 6 };

typedef struct preset_value {
    const char *name, *value;
} preset_value;

typedef struct preset_row {
    const char *usual; /* default algorithm of the models it is for */
    int preset;
    preset_value values[MOST_VALUES]; /* the algorithm first */
} preset_row;

static const preset_row rows[] = {
    {"llada.generate", DLX_PRESET_EXACT, {{"algorithm", "llada.generate"}}},
    {"llada.generate",
     DLX_PRESET_BALANCED,
     {{"algorithm", "llada.generate_fast"}, {"threshold", "0.9"}, {"cache", "prefix"}}},
    {"llada.generate",
     DLX_PRESET_FAST,
     {{"algorithm", "llada.generate_fast"}, {"threshold", "0.8"}, {"cache", "dual"}}},
    {"dream.diffusion_generate", DLX_PRESET_EXACT, {{"algorithm", "dream.diffusion_generate"}, {"alg", "entropy"}}},
    {"dream.diffusion_generate",
     DLX_PRESET_BALANCED,
     {{"algorithm", "dream.generate_blocks"}, {"alg", "confidence_threshold"}, {"threshold", "0.9"}}},
    {"dream.diffusion_generate",
     DLX_PRESET_FAST,
     {{"algorithm", "dream.generate_blocks"}, {"alg", "confidence_threshold"}, {"threshold", "0.8"}, {"dual", "true"}}},
    {"sdar.generate", DLX_PRESET_EXACT, {{"algorithm", "sdar.generate"}, {"strategy", "low_confidence_static"}}},
    {"sdar.generate",
     DLX_PRESET_BALANCED,
     {{"algorithm", "sdar.generate"}, {"strategy", "low_confidence_dynamic"}, {"threshold", "0.9"}}},
    {"sdar.generate",
     DLX_PRESET_FAST,
     {{"algorithm", "sdar.generate"}, {"strategy", "low_confidence_dynamic"}, {"threshold", "0.85"}}},
    {"fast_dllm_v2.generate", DLX_PRESET_EXACT, {{"algorithm", "fast_dllm_v2.generate"}, {"threshold", "1"}}},
    {"fast_dllm_v2.generate", DLX_PRESET_BALANCED, {{"algorithm", "fast_dllm_v2.generate"}, {"threshold", "0.9"}}},
    {"fast_dllm_v2.generate",
     DLX_PRESET_FAST,
     {{"algorithm", "fast_dllm_v2.generate"}, {"threshold", "0.9"}, {"block_cache", "true"}}},
};

dlx_status dlx_options_apply_preset(dlx_decode_options *o, const char *usual, dlx_error *err)
{
    for (size_t i = 0; i < DLX_COUNT(rows) && o->value[DLX_OPT_PRESET].given; i++) {
        if (strcmp(rows[i].usual, usual) || rows[i].preset != o->value[DLX_OPT_PRESET].i) continue;
        for (const preset_value *v = rows[i].values; v < rows[i].values + MOST_VALUES && v->name; v++) {
            bool named = o->value[DLX_OPT_ALGORITHM].given;
            const char *algorithm = named ? dlx_algorithm_name(o->value[DLX_OPT_ALGORITHM].i) : usual;
            /* A caller's factor replaces a threshold. */
            if (!strcmp(v->name, "threshold") && o->value[DLX_OPT_FACTOR].given) continue;
            DLX_TRY(dlx_options_set_default(o, v->name, v->value, algorithm, err));
        }
    }
    return DLX_OK;
}
