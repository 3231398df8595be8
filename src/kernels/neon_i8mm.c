/* The aarch64 int8 matrix set: as the baseline, with int8 products by smmla. */
#if defined(__aarch64__)
#include "base/sizes.h"
#include "kernels/tables.h"
#include "kernels/vec_neon.h"

#include "kernels/elementwise_template.h"
#include "kernels/tile_template.h"

#include "kernels/gemm_qd8_template.h"

#include "kernels/gemm_qd4_template.h"

void dlx_kernels_set_neon_i8mm(dlx_kernels *k)
{
    set_elementwise(k);
    set_gemm_qd8(k);
    set_gemm_qd4(k);
}
#endif
