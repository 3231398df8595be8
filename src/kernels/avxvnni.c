/* The AVX-VNNI set: as AVX2, with int8 products by vpdpbusd. */
#if defined(__x86_64__)
#include "base/sizes.h"
#include "kernels/tables.h"
#include "kernels/vec_avx2.h"

#include "kernels/elementwise_template.h"
#include "kernels/tile_template.h"

#include "kernels/gemm_qd8_template.h"

#include "kernels/gemm_qd4_template.h"

void dlx_kernels_set_avxvnni(dlx_kernels *k)
{
    set_elementwise(k);
    set_gemm_qd8(k);
    set_gemm_qd4(k);
}
#endif
