/*
 * Rotary embeddings: what a configuration says about them, and the tables. The scalings are those of transformers 5
 * (modeling_rope_utils.py); linear ones, NTK by parts ("llama3") and YaRN change the frequencies, dynamic NTK only
 * positions behind the checkpoint's, which are never exported.
 */
#ifndef DLX_MODEL_ROPE_H
#define DLX_MODEL_ROPE_H

#include <stdbool.h>
#include <stdint.h>

#include "model/config.h"

typedef enum dlx_rope_kind { DLX_ROPE_DEFAULT, DLX_ROPE_LINEAR, DLX_ROPE_LLAMA3, DLX_ROPE_YARN } dlx_rope_kind;

typedef struct dlx_rope_scaling {
    dlx_rope_kind kind;
    double factor;
    double original;         /* LLAMA3, YARN: positions that the model was trained with first */
    double low, high;        /* LLAMA3: low_freq_factor, high_freq_factor */
    double fast, slow;       /* YARN: beta_fast, beta_slow */
    double attention_factor; /* YARN: cosines and sines are multiplied by it */
    bool truncate;           /* YARN: whole dimensions bound the ramp */
} dlx_rope_scaling;

/*
 * rope_theta, and rope_parameters (what transformers 5 writes) or rope_scaling (what older versions wrote, beside
 * rope_theta). A theta inside one of the objects counts more than the key by itself. Both objects at once must say the
 * same. A scaling that is not listed above is refused.
 */
dlx_status dlx_rope_read(double *theta, dlx_rope_scaling *scaling, const dlx_config_files *f, int32_t max_positions,
                         dlx_error *err);

/*
 * Rotary tables [positions, head_dim] as transformers and modeling_llada.py make them: inverse frequencies
 * theta^(-2j/d), scaled, angles, cosines and sines in float32, so that the roundings of the angle, which matter at high
 * positions, are the published ones. The sign of RoPE is folded into the sines: [-sin, +sin]. scaling NULL: none.
 */
void dlx_rope_tables(float *cosines, float *sines, double theta, const dlx_rope_scaling *scaling, int32_t head_dim,
                     int32_t positions);

#endif
