/* The WebAssembly set: the kernel templates with vectors of 4. */
#if defined(__wasm_simd128__)
#include "base/sizes.h"
#include "kernels/tables.h"
#include "kernels/vec_simd128.h"

#include "kernels/elementwise_template.h"
#include "kernels/grid_template.h"
#include "kernels/tile_template.h"

#include "kernels/gemm_f32_template.h"
#include "kernels/gemm_qd8_template.h"

#include "kernels/gemm_qd4_template.h"

#include "kernels/attention_tiles_template.h"

#include "kernels/attention_template.h"

void dlx_kernels_set_simd128(dlx_kernels *k)
{
    set_elementwise(k);
    set_grid(k);
    set_gemm_f32(k);
    set_gemm_qd8(k);
    set_gemm_qd4(k);
    set_attention(k);
}
#endif
