/*
 * The AMX set: as AVX-512 VNNI, with int8 products by tdpbusd on tiles. Activations lie so that they are its operands;
 * int4 products read them there by vpdpbusd.
 */
#if defined(__x86_64__)
#include "base/sizes.h"
#include "kernels/amx_tiles.h"
#include "kernels/tables.h"
#include "kernels/vec_avx512.h"

#include "kernels/elementwise_template.h"
#include "kernels/tile_template.h"

#define QD8_CHUNKED 1
#include "kernels/gemm_qd8_template.h"

#include "kernels/gemm_qd4_template.h"

void dlx_kernels_set_amx(dlx_kernels *k)
{
    set_elementwise(k);
    set_gemm_qd8(k);
    set_gemm_qd4(k);
}
#endif
