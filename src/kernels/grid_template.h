/*
 * Template: weights on a grid (kernels/grid.h), the scales that are tried along the lanes of vectors. Included once by
 * each instruction set's file whose vectors hold no more lanes than scales are tried, after its vec_*.h.
 */
#include "kernels/grid.h"

enum { GRID_VECS = DLX_GRID_TRIES / VF };

DLX_INLINE vf grid_code_vf(vf w, vf scale, vf low, vf high)
{
    vf x = vf_min(vf_max(vf_div(w, scale), low), high);
    return vf_sub(vf_add(x, vf_set1(12582912.0f)), vf_set1(12582912.0f));
}

/* `weighted` is a constant wherever this is inlined. */
DLX_INLINE void grid_add(dlx_grid_tries *t, const float *w, const float *importance, size_t n, const bool weighted)
{
    const vf low = vf_set1(t->low), high = vf_set1(t->high);
    for (size_t j = 0; j < GRID_VECS; j++) {
        const vf scale = vf_load(t->scale + j * VF);
        for (size_t p = 0; p < DLX_GRID_PARTS && p < n; p++) {
            vf sum = vf_load(t->part[p] + j * VF);
            for (size_t i = p; i < n; i += DLX_GRID_PARTS) {
                vf v = vf_set1(w[i]);
                vf miss = vf_sub(v, vf_mul(grid_code_vf(v, scale, low, high), scale));
                vf error = vf_mul(miss, miss);
                sum = vf_add(sum, weighted ? vf_mul(vf_set1(importance[i]), error) : error);
            }
            vf_store(t->part[p] + j * VF, sum);
        }
    }
}

static void grid_errors(dlx_grid_tries *t, const float *w, const float *importance, size_t n)
{
    if (importance)
        grid_add(t, w, importance, n, true);
    else
        grid_add(t, w, importance, n, false);
    for (size_t c = 0; c < DLX_GRID_TRIES; c++) {
        double sum = 0;
        for (size_t p = 0; p < DLX_GRID_PARTS; p++) sum += (double)t->part[p][c];
        t->error[c] = sum;
    }
}

static void grid_round(float *y, const float *w, size_t n, float scale, float low, float high)
{
    size_t i = 0;
    const vf s = vf_set1(scale), l = vf_set1(low), h = vf_set1(high);
    for (; i + VF <= n; i += VF) vf_store(y + i, vf_mul(grid_code_vf(vf_load(w + i), s, l, h), s));
    for (; i < n; i++) y[i] = dlx_grid_code(w[i], scale, low, high) * scale;
}

static void set_grid(dlx_kernels *k)
{
    k->grid_errors = grid_errors;
    k->grid_round = grid_round;
}
