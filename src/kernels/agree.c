/* A trial of a set before it is used (kernels/agree.h). */
#include "kernels/agree.h"

#include <string.h>

#include "base/sizes.h"

/* No size is a multiple of what a set takes at a time; rows fill two blocks of 16 and begin a third, columns begin the
 * last half of the second panel. */
enum { ROWS = 37, N_OUT = 51, N_IN = 71, PACKED_BYTES = 2 * 32 * (128 + 64), QUANTIZED_BYTES = ROWS * 128 + 1024 };

typedef struct trial {
    float x[ROWS][N_IN], scale[N_OUT], bias[N_OUT];
    int8_t w[N_OUT][N_IN];
    dlx_qs8_params qs8;
} trial;

/* Numbers whose sums do not cancel, of both signs. */
static void fill(trial *t)
{
    uint32_t seed = 1;
    for (size_t m = 0; m < ROWS; m++)
        for (size_t k = 0; k < N_IN; k++) {
            seed = seed * 1664525u + 1013904223u;
            t->x[m][k] = (float)(int32_t)seed * (m % 3 ? 0x1p-30f : 0x1p-31f) + (m % 5 == 4 ? 1.0f : 0.0f);
        }
    for (size_t n = 0; n < N_OUT; n++) {
        t->scale[n] = 0.0078125f + (float)n * 0x1p-12f;
        t->bias[n] = (float)n - 7.25f;
        for (size_t k = 0; k < N_IN; k++) {
            seed = seed * 1664525u + 1013904223u;
            t->w[n][k] = (int8_t)(n % 4 == 0 ? (seed >> 31 ? 127 : -128) : (int32_t)(seed >> 24) - 128);
        }
    }
    t->qs8 = (dlx_qs8_params){.in_scale = 0.01f, .out_scale = 0.5f, .in_zero = -9, .out_zero = 5};
}

/* y of the two products. False where a block would not fit, so nothing is known. */
static bool compute(float y[2][ROWS][N_OUT], const dlx_kernels *k, const trial *t)
{
    _Alignas(64) uint8_t packed[PACKED_BYTES], quantized[QUANTIZED_BYTES];
    const dlx_gemm_shape s = {.n_out = N_OUT, .n_in = N_IN};
    for (size_t i = 0; i < 2; i++) {
        const dlx_gemm *g = i ? &k->gemm_qs8_qc8w : &k->gemm_qd8_qc8w;
        const dlx_gemm_weights w = {
            .w = t->w, .scale = t->scale, .bias = i ? NULL : t->bias, .qs8 = i ? &t->qs8 : NULL};
        const size_t strips = (N_OUT + g->strip - 1) / g->strip;
        if (g->packed_size(s) > sizeof packed || k->qd8.size(ROWS, N_IN) > sizeof quantized) return false;
        g->pack(packed, &w, s, 0, strips);
        if (i)
            k->quantize_qs8(quantized, t->x[0], N_IN, ROWS, N_IN, 0, ROWS, t->qs8.in_scale, t->qs8.in_zero);
        else
            k->qd8.quantize(quantized, t->x[0], N_IN, ROWS, N_IN, 0, ROWS);
        g->run(y[i][0], N_OUT, quantized, N_IN, ROWS, packed, s, 0, strips);
    }
    return true;
}

bool dlx_kernels_agree(const dlx_kernels *a, const dlx_kernels *b)
{
    trial t;
    float of_a[2][ROWS][N_OUT], of_b[2][ROWS][N_OUT];
    fill(&t);
    return compute(of_a, a, &t) && compute(of_b, b, &t) && memcmp(of_a, of_b, sizeof of_a) == 0;
}
