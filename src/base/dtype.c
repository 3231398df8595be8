#include "base/dtype.h"

#include "base/sizes.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[DLX_DTYPE_COUNT] = {
    [DLX_F32] = {"f32", 4},   [DLX_F16] = {"f16", 2}, [DLX_BF16] = {"bf16", 2}, [DLX_I8] = {"i8", 1},
    [DLX_QD8] = {"qd8", 1},   [DLX_U8] = {"u8", 1},   [DLX_I32] = {"i32", 4},   [DLX_I64] = {"i64", 8},
    [DLX_BOOL] = {"bool", 1}, [DLX_I4] = {"i4", 0},   [DLX_QS8] = {"qs8", 1},
};

const char *dlx_dtype_name(dlx_dtype t)
{
    return (size_t)t < DLX_COUNT(dtypes) ? dtypes[t].name : "?";
}

size_t dlx_dtype_size(dlx_dtype t)
{
    return (size_t)t < DLX_COUNT(dtypes) ? dtypes[t].size : 0;
}

bool dlx_dtype_bytes(dlx_dtype t, uint64_t elements, uint64_t *bytes)
{
    *bytes = elements / 2;
    if (t == DLX_I4) return elements % 2 == 0;
    return dlx_dtype_size(t) && dlx_mul_u64(elements, dlx_dtype_size(t), bytes);
}
