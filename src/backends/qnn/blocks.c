#include "backends/qnn/blocks.h"

#include <float.h>
#include <math.h>

static dlx_qnn_scale grid_over(float low, float high, int codes)
{
    float scale = (float)(((double)high - (double)low) / codes);
    if (!(scale >= FLT_MIN)) return (dlx_qnn_scale){.scale = 1.0f / (float)codes};
    return (dlx_qnn_scale){.scale = scale, .offset = (int32_t)rint((double)low / (double)scale)};
}

dlx_qnn_scale dlx_qnn_grid_over(float low, float high)
{
    return grid_over(low, high, DLX_QNN_CODES);
}

dlx_qnn_scale dlx_qnn_narrow_grid_over(float low, float high)
{
    return grid_over(low, high, 255);
}

enum { STEPS = 16, CODE_LEAST = -8, CODE_MOST = 7 };

float dlx_qnn_blocks_of(uint8_t *block_scale, int8_t *code, const float *scales, size_t blocks, size_t k)
{
    float most = 0, row;
    size_t size = k / blocks;
    for (size_t i = 0; i < blocks; i++) most = fmaxf(most, scales[i]);
    row = most / STEPS;
    if (!(row >= FLT_MIN)) row = FLT_MIN;
    for (size_t i = 0; i < blocks; i++) {
        float times = fminf(fmaxf(rintf(scales[i] / row), 1.0f), (float)STEPS);
        float by = scales[i] / (times * row);
        block_scale[i] = (uint8_t)times;
        for (size_t c = i * size; c < (i + 1) * size; c++)
            code[c] = (int8_t)fminf(fmaxf(rintf((float)code[c] * by), CODE_LEAST), CODE_MOST);
    }
    return row;
}
