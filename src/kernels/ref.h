/* Parts of the reference set that live in their own files; only the reference files use them. */
#ifndef DLX_KERNELS_REF_H
#define DLX_KERNELS_REF_H

#include "base/sizes.h"
#include "kernels/kernels.h"

enum { REF_STRIP = 32 };

static inline size_t ref_round64(size_t n)
{
    return (size_t)dlx_align_up(n, 64);
}

/* One past the last column of strips that end at strip_end. */
static inline size_t ref_columns_end(size_t strip_end, size_t n_out)
{
    return strip_end * REF_STRIP < n_out ? strip_end * REF_STRIP : n_out;
}

void dlx_ref_set_gemm_f32(dlx_kernels *k);
void dlx_ref_set_gemm_qd8(dlx_kernels *k);

void dlx_ref_quantize_qd8(int8_t *q, dlx_qd8_row *row, const float *x, size_t n);
size_t dlx_ref_attention_scratch(size_t max_rows, size_t max_keys, size_t heads, size_t kv_heads, size_t head_dim);
void dlx_ref_attention(const dlx_attention_args *args, size_t kv_head, size_t row_begin, size_t row_end, void *scratch);

#endif
