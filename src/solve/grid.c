/* Scales and codes. Sums over weights are kept in lanes, so that compilers can use vectors and every build adds in the
 * same order. */
#include "solve/grid.h"

#include <float.h>

#include "base/half.h"

enum { LANES = 16, SHARES = 21, SHARE_STEPS = 40 };

dlx_status dlx_grid_check(dlx_grid g, size_t k, const char *name, dlx_error *err)
{
    if (g.bits != 4 && g.bits != 8)
        return dlx_fail(err, DLX_E_INVALID, "'%s': weights of %d bits asked for, expected 4 or 8", name, g.bits);
    if (g.bits == 4 && k % 2)
        return dlx_fail(err, DLX_E_INVALID, "'%s': rows of %zu inputs cannot have 4 bits, two share a byte", name, k);
    if (g.group && k % g.group)
        return dlx_fail(err, DLX_E_INVALID, "'%s': rows of %zu inputs do not divide into groups of %zu", name, k,
                        g.group);
    return DLX_OK;
}

size_t dlx_grid_row_bytes(dlx_grid g, size_t k)
{
    return g.bits == 8 ? k : k / 2;
}

size_t dlx_grid_row_scales(dlx_grid g, size_t k)
{
    return g.group ? k / g.group : 1;
}

/* As the file stores it. XNNPACK takes positive normal scales only. */
static float stored(dlx_grid g, float scale)
{
    if (g.group) scale = dlx_bf16_to_f32(dlx_f32_to_bf16(scale));
    return scale >= FLT_MIN ? scale : 1.0f;
}

static float largest(const float *w, size_t n)
{
    int32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t bits = (int32_t)(dlx_f32_to_bits(w[i]) & 0x7FFFFFFF);
        most = bits > most ? bits : most;
    }
    return dlx_bits_to_f32((uint32_t)most);
}

static inline float squared(dlx_grid g, float w, float scale)
{
    float d = w - dlx_grid_nearest(g, w, scale) * scale;
    return d * d;
}

static double total(const float part[LANES])
{
    double sum = 0;
    for (size_t i = 0; i < LANES; i++) sum += (double)part[i];
    return sum;
}

static double plain_error(dlx_grid g, const float *w, size_t n, float scale)
{
    float part[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++) part[l] += squared(g, w[i + l], scale);
    for (size_t l = 0; i < n; i++, l++) part[l] += squared(g, w[i], scale);
    return total(part);
}

static double weighted_error(dlx_grid g, const float *w, const float *importance, size_t n, float scale)
{
    float part[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++) part[l] += importance[i + l] * squared(g, w[i + l], scale);
    for (size_t l = 0; i < n; i++, l++) part[l] += importance[i] * squared(g, w[i], scale);
    return total(part);
}

/* The grid is a constant in each of the calls below, so that its limits are known to the loops. */
static double error_of(dlx_grid g, const float *w, const float *importance, size_t n, float scale)
{
    const dlx_grid eight = {.bits = 8}, four = {.bits = 4};
    if (importance)
        return g.bits == 8 ? weighted_error(eight, w, importance, n, scale)
                           : weighted_error(four, w, importance, n, scale);
    return g.bits == 8 ? plain_error(eight, w, n, scale) : plain_error(four, w, n, scale);
}

float dlx_grid_scale(dlx_grid g, dlx_clip clip, const float *w, const float *importance, size_t n)
{
    float whole = largest(w, n) / (g.bits == 8 ? 127.0f : 7.0f);
    float best = stored(g, whole);
    if (clip == DLX_CLIP_NONE || !(whole >= FLT_MIN)) return best;
    double least = error_of(g, w, importance, n, best);
    float tried = best;
    for (int i = 1; i < SHARES && least > 0; i++) {
        float scale = stored(g, whole * ((float)(SHARE_STEPS - i) / (float)SHARE_STEPS));
        if (scale == tried) continue; /* BF16 has few numbers */
        tried = scale;
        double error = error_of(g, w, importance, n, scale);
        if (!(error < least)) continue;
        least = error;
        best = scale;
    }
    return best;
}

void dlx_grid_put_scale(const dlx_gridded *m, dlx_grid g, size_t k, size_t row, size_t index, float scale)
{
    if (g.group)
        m->group_scale[row * (k / g.group) + index] = dlx_f32_to_bf16(scale);
    else
        m->scale[row] = scale;
}

float dlx_grid_get_scale(const dlx_gridded *m, dlx_grid g, size_t k, size_t row, size_t index)
{
    return g.group ? dlx_bf16_to_f32(m->group_scale[row * (k / g.group) + index]) : m->scale[row];
}

/* ---- whole matrices ---------------------------------------------------------------------------------------------- */

typedef struct grid_job {
    const dlx_gridded *m;
    const float *w, *importance;
    float *restored;
    size_t k;
    dlx_grid g;
    dlx_clip clip;
} grid_job;

static void round_rows(void *arg, size_t begin, size_t end, size_t thread)
{
    const grid_job *j = arg;
    size_t share = j->g.group ? j->g.group : j->k, bytes = dlx_grid_row_bytes(j->g, j->k);
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        uint8_t *codes = (uint8_t *)j->m->codes + row * bytes;
        for (size_t c = 0; c < j->k; c += share) {
            const float *w = j->w + row * j->k + c;
            float scale = dlx_grid_scale(j->g, j->clip, w, j->importance ? j->importance + c : NULL, share);
            dlx_grid_put_scale(j->m, j->g, j->k, row, c / share, scale);
            for (size_t i = 0; i < share; i++) dlx_grid_put(j->g, codes, c + i, dlx_grid_nearest(j->g, w[i], scale));
        }
    }
}

dlx_status dlx_grid_round(const dlx_gridded *out, const float *w, size_t n, size_t k, dlx_grid g, dlx_clip clip,
                          const float *importance, const dlx_solve_on *on, const char *name, dlx_error *err)
{
    DLX_TRY(dlx_solve_check_size(n, k, name, err));
    DLX_TRY(dlx_grid_check(g, k, name, err));
    DLX_TRY(dlx_solve_check(on, w, n, k, "weights", name, err));
    if (importance) DLX_TRY(dlx_solve_check(on, importance, 1, k, "importance of inputs", name, err));
    grid_job j = {.m = out, .w = w, .importance = importance, .k = k, .g = g, .clip = clip};
    dlx_pool_for(on->pool, n, 4, round_rows, &j);
    return DLX_OK;
}

static void restore_rows(void *arg, size_t begin, size_t end, size_t thread)
{
    const grid_job *j = arg;
    size_t share = j->g.group ? j->g.group : j->k, bytes = dlx_grid_row_bytes(j->g, j->k);
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        const uint8_t *codes = (const uint8_t *)j->m->codes + row * bytes;
        for (size_t c = 0; c < j->k; c += share) {
            float scale = dlx_grid_get_scale(j->m, j->g, j->k, row, c / share);
            for (size_t i = 0; i < share; i++)
                j->restored[row * j->k + c + i] = (float)dlx_grid_get(j->g, codes, c + i) * scale;
        }
    }
}

void dlx_grid_restore(float *w, const dlx_gridded *in, size_t n, size_t k, dlx_grid g, const dlx_solve_on *on)
{
    grid_job j = {.m = in, .restored = w, .k = k, .g = g};
    dlx_pool_for(on->pool, n, 16, restore_rows, &j);
}
