/*
 * Grids: what numbers a quantised weight can be, and how its scale is chosen.
 *
 * A code q stands for q * scale. Codes are rounded half to even from w / scale, with the scale as the file stores it,
 * and clamped: -128..127 with 8 bits, -8..7 with 4. The largest magnitude of a row or group becomes 127 or 7; all zeros
 * (or less than the smallest normal number can resolve) have scale 1.
 */
#ifndef DLX_SOLVE_GRID_H
#define DLX_SOLVE_GRID_H

#include <stddef.h>
#include <stdint.h>

#include "solve/on.h"

typedef struct dlx_grid {
    int bits;     /* 8 or 4 */
    size_t group; /* consecutive inputs that share a scale, stored as BF16; 0: all of a row do, stored as F32 */
} dlx_grid;

typedef enum dlx_clip {
    DLX_CLIP_NONE, /* scale = max |w| / 127 or / 7 */
    /* The one of 21 shares 1, 0.975 .. 0.5 of that scale with the least sum of importance * (w - q * scale)^2; the
     * greatest where several have it. The search over shares is that of the published code of AWQ (arXiv 2306.00978).
     */
    DLX_CLIP_MSE,
} dlx_clip;

/* A matrix [n, k] on a grid, as files have it: views. */
typedef struct dlx_gridded {
    /* 8 bits: int8 [n, k]. 4 bits: [n, k / 2], input 2i in the low half of a byte, 2i + 1 in the high one, q + 8. */
    void *codes;
    float *scale;          /* [n], or */
    uint16_t *group_scale; /* [n, k / group] BF16 */
} dlx_gridded;

/* DLX_E_INVALID unless rows of k inputs can be on this grid: bits, an even k with 4 bits, whole groups. */
dlx_status dlx_grid_check(dlx_grid g, size_t k, const char *name, dlx_error *err);
size_t dlx_grid_row_bytes(dlx_grid g, size_t k);  /* of codes */
size_t dlx_grid_row_scales(dlx_grid g, size_t k); /* scales of a row */

/* The scale for n > 0 finite weights that share one; what the file's type can hold, never 0. `importance` [n] is not
 * negative, or NULL: all the same. The same bits with all kernels. */
float dlx_grid_scale(const dlx_kernels *kernels, dlx_grid g, dlx_clip clip, const float *w, const float *importance,
                     size_t n);

static inline float dlx_grid_low(dlx_grid g)
{
    return g.bits == 8 ? -128.0f : -8.0f;
}

static inline float dlx_grid_high(dlx_grid g)
{
    return g.bits == 8 ? 127.0f : 7.0f;
}

/* The code for w as a float. */
static inline float dlx_grid_nearest(dlx_grid g, float w, float scale)
{
    return dlx_grid_code(w, scale, dlx_grid_low(g), dlx_grid_high(g));
}

/* Element `column` of a row of codes; with 4 bits the other half of its byte stays. */
static inline void dlx_grid_put(dlx_grid g, void *row, size_t column, float code)
{
    int q = (int)code;
    if (g.bits == 8) {
        ((int8_t *)row)[column] = (int8_t)q;
        return;
    }
    uint8_t *byte = (uint8_t *)row + column / 2;
    unsigned shift = column % 2 * 4;
    *byte = (uint8_t)((*byte & (0xF0u >> shift)) | (unsigned)(q + 8) << shift);
}

static inline int dlx_grid_get(dlx_grid g, const void *row, size_t column)
{
    if (g.bits == 8) return ((const int8_t *)row)[column];
    return (((const uint8_t *)row)[column / 2] >> column % 2 * 4 & 15) - 8;
}

/* Scale `index` of row `row`. */
void dlx_grid_put_scale(const dlx_gridded *m, dlx_grid g, size_t k, size_t row, size_t index, float scale);
float dlx_grid_get_scale(const dlx_gridded *m, dlx_grid g, size_t k, size_t row, size_t index);

/*
 * Rounding to nearest: w [n, k] onto the grid, each row or group with the scale that `clip` finds; `importance` [k] of
 * the inputs (the diagonal of X^T X, say) or NULL. Takes no memory. Weights that are not finite are DLX_E_FORMAT.
 */
dlx_status dlx_grid_round(const dlx_gridded *out, const float *w, size_t n, size_t k, dlx_grid g, dlx_clip clip,
                          const float *importance, const dlx_solve_on *on, const char *name, dlx_error *err);

/* w [n, k] = q * scale. Takes no memory. */
void dlx_grid_restore(float *w, const dlx_gridded *in, size_t n, size_t k, dlx_grid g, const dlx_solve_on *on);

#endif
