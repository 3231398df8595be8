/* Logits as a file that other tools read. */
#include "diffulex_edge/model.h"

#include "base/sizes.h"
#include "format/safetensors.h"

dlx_status dlx_write_logits(const char *path, const float *logits, int32_t rows, int32_t vocab, dlx_error *err)
{
    if (!path || !logits || rows < 1 || vocab < 1)
        return dlx_fail(err, DLX_E_INVALID, "dlx_write_logits: a path and at least one row of one logit are needed");
    dlx_st_tensor tensor = {
        .name = "logits",
        .dtype = DLX_F32,
        .rank = 2,
        .dim = {rows, vocab},
        .data = (const uint8_t *)logits,
        .file = path,
        .bytes = (uint64_t)rows * (uint64_t)vocab * sizeof *logits,
    };
    return dlx_safetensors_write(path, &tensor, 1, err);
}
