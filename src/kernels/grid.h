/*
 * Weights on a grid: codes of one weight, and what several scales cost, in the words that kernels and solvers share. No
 * step is fused, so that results have the same bits in every instruction set.
 */
#ifndef DLX_KERNELS_GRID_H
#define DLX_KERNELS_GRID_H

/* The code for w as a float: w / scale rounded half to even, from low to high, which are small whole numbers. */
static inline float dlx_grid_code(float w, float scale, float low, float high)
{
    float x = w / scale;
    x = x < low ? low : x;
    x = x > high ? high : x;
    return x + 12582912.0f - 12582912.0f; /* 1.5 * 2^23: no bit behind the point is left */
}

enum { DLX_GRID_TRIES = 8, DLX_GRID_PARTS = 16 };

/* Scales that are tried side by side. What a scale costs is the sum of importance[i] * (w[i] - code * scale)^2, the
 * i-th in part i % DLX_GRID_PARTS, and the parts added up in their order. */
typedef struct dlx_grid_tries {
    float scale[DLX_GRID_TRIES], low, high;
    float part[DLX_GRID_PARTS][DLX_GRID_TRIES];
    double error[DLX_GRID_TRIES];
} dlx_grid_tries;

#endif
