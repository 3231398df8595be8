/*
 * WASI's, with a fused step that is one: where the sum in double ends half way between two floats, wasi-libc's fmaf
 * always goes away from zero, because it asks for a rounding mode that WebAssembly does not have.
 */
#ifndef DLX_WASI_MATH_H
#define DLX_WASI_MATH_H

#include_next <math.h>

#include <stdint.h>

/* The product is exact in double. A sum that is not gets an odd last place, so that rounding it to float decides as the
 * exact one would (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using
 * rounding to odd", 2008). */
static inline float dlx_wasi_fmaf(float a, float b, float c)
{
    double product = (double)a * (double)b, more = (double)c, sum = product + more, taken = sum - product;
    double error = (product - (sum - taken)) + (more - taken);
    union {
        double number;
        uint64_t bits;
    } odd = {sum};
    if (isfinite(sum) && error != 0 && odd.bits % 2 == 0)
        odd.bits += (error > 0) == (sum > 0) ? UINT64_C(1) : UINT64_MAX;
    return (float)odd.number;
}
#define fmaf(a, b, c) dlx_wasi_fmaf(a, b, c)

#endif
