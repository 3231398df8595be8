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

/*
 * Confidences move more than tokens do when weights have 4 bits: at the threshold of float32 more of what is revealed
 * is wrong. rounded4 is the threshold for models whose layers have 4-bit weights that were only rounded, the highest
 * that a 4-bit scheme needed to have as many right answers as float32 (docs/QUANTIZATION.md, made by bench/quality.py).
 * Float16, bfloat16, int8, and 4-bit codes that calibration found needed none of their own there. Dream and Fast-dLLM
 * v2 have no trained model there, so they keep theirs.
 */
typedef struct preset_row {
    const char *usual; /* default algorithm of the models it is for */
    int preset;
    const char *rounded4;             /* NULL: no other threshold */
    preset_value values[MOST_VALUES]; /* the algorithm first */
} preset_row;

static const preset_row rows[] = {
    {"llada.generate", DLX_PRESET_EXACT, NULL, {{"algorithm", "llada.generate"}}},
    {"llada.generate",
     DLX_PRESET_BALANCED,
     "0.96",
     {{"algorithm", "llada.generate_fast"}, {"threshold", "0.9"}, {"cache", "prefix"}}},
    {"llada.generate",
     DLX_PRESET_FAST,
     "0.9",
     {{"algorithm", "llada.generate_fast"}, {"threshold", "0.8"}, {"cache", "dual"}}},
    {"dream.diffusion_generate",
     DLX_PRESET_EXACT,
     NULL,
     {{"algorithm", "dream.diffusion_generate"}, {"alg", "entropy"}}},
    {"dream.diffusion_generate",
     DLX_PRESET_BALANCED,
     NULL,
     {{"algorithm", "dream.generate_blocks"}, {"alg", "confidence_threshold"}, {"threshold", "0.9"}}},
    {"dream.diffusion_generate",
     DLX_PRESET_FAST,
     NULL,
     {{"algorithm", "dream.generate_blocks"}, {"alg", "confidence_threshold"}, {"threshold", "0.8"}, {"dual", "true"}}},
    {"sdar.generate", DLX_PRESET_EXACT, NULL, {{"algorithm", "sdar.generate"}, {"strategy", "low_confidence_static"}}},
    {"sdar.generate",
     DLX_PRESET_BALANCED,
     "0.96",
     {{"algorithm", "sdar.generate"}, {"strategy", "low_confidence_dynamic"}, {"threshold", "0.9"}}},
    {"sdar.generate",
     DLX_PRESET_FAST,
     "0.9",
     {{"algorithm", "sdar.generate"}, {"strategy", "low_confidence_dynamic"}, {"threshold", "0.85"}}},
    {"fast_dllm_v2.generate", DLX_PRESET_EXACT, NULL, {{"algorithm", "fast_dllm_v2.generate"}, {"threshold", "1"}}},
    {"fast_dllm_v2.generate",
     DLX_PRESET_BALANCED,
     NULL,
     {{"algorithm", "fast_dllm_v2.generate"}, {"threshold", "0.9"}}},
    {"fast_dllm_v2.generate",
     DLX_PRESET_FAST,
     NULL,
     {{"algorithm", "fast_dllm_v2.generate"}, {"threshold", "0.9"}, {"block_cache", "true"}}},
};

dlx_status dlx_options_apply_preset(dlx_decode_options *o, const char *usual, const dlx_model_facts *facts,
                                    dlx_error *err)
{
    bool rounded4 = facts->rounded_bits == 4;
    for (size_t i = 0; i < DLX_COUNT(rows) && o->value[DLX_OPT_PRESET].given; i++) {
        if (strcmp(rows[i].usual, usual) || rows[i].preset != o->value[DLX_OPT_PRESET].i) continue;
        for (const preset_value *v = rows[i].values; v < rows[i].values + MOST_VALUES && v->name; v++) {
            bool named = o->value[DLX_OPT_ALGORITHM].given;
            const char *algorithm = named ? dlx_algorithm_name(o->value[DLX_OPT_ALGORITHM].i) : usual;
            bool threshold = !strcmp(v->name, "threshold");
            /* A caller's factor replaces a threshold. */
            if (threshold && o->value[DLX_OPT_FACTOR].given) continue;
            const char *value = threshold && rounded4 && rows[i].rounded4 ? rows[i].rounded4 : v->value;
            DLX_TRY(dlx_options_set_default(o, v->name, value, algorithm, err));
        }
    }
    return DLX_OK;
}
