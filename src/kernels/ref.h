/* Parts of the reference set that live in their own files; only the reference files use them. */
#ifndef DLX_KERNELS_REF_H
#define DLX_KERNELS_REF_H

#include "kernels/kernels.h"

extern const dlx_quantizer dlx_ref_qd8;
extern const dlx_gemm dlx_ref_gemm_f32, dlx_ref_gemm_qd8_qc8w;

void dlx_ref_quantize_qd8(int8_t *q, dlx_qd8_row *row, const float *x, size_t n);
size_t dlx_ref_attention_scratch(size_t max_rows, size_t max_keys, size_t heads, size_t kv_heads, size_t head_dim);
void dlx_ref_attention(const dlx_attention_args *args, size_t kv_head, size_t row_begin, size_t row_end, void *scratch);

#endif
