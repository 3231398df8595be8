/* Scales and codes. */
#include "solve/grid.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/half.h"

enum { SHARES = 21, SHARE_STEPS = 40, TRIES = DLX_GRID_TRIES, PIECE = 128 };

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

/* ---- the search for the scale that misses least ------------------------------------------------------------------ */

/*
 * Scales are tried side by side, the greatest first (kernels/grid.h). Rounding is monotone, so no part of what a scale
 * costs, and no sum of parts, becomes less by another weight. So scales are given up once all that are tried together
 * cost no less than the least that one before them does, and the choice is still what all sums to their ends would
 * make.
 */
typedef struct search {
    const dlx_kernels *kernels;
    const float *w, *importance; /* [n] */
    size_t n, largest;           /* the place of a weight of the largest magnitude */
    double least;
    dlx_grid_tries t;
} search;

/* Whether the largest weight alone costs each of the scales no less than the least. What is cut costs more with each
 * smaller scale. */
static bool cut_too_far(const search *q)
{
    float w = q->w[q->largest], scale = q->t.scale[0], code = dlx_grid_code(w, scale, q->t.low, q->t.high);
    float miss = w - code * scale, error = miss * miss;
    if (q->importance) error = q->importance[q->largest] * error;
    return (code == q->t.low || code == q->t.high) && !((double)error < q->least);
}

/* What the scales cost, or false: none of them less than the least. */
static bool find_errors(search *q)
{
    bool open = true;
    if (cut_too_far(q)) return false;
    memset(q->t.part, 0, sizeof q->t.part);
    for (size_t i = 0; i < q->n && open; i += PIECE) {
        size_t n = q->n - i < PIECE ? q->n - i : PIECE;
        q->kernels->grid_errors(&q->t, q->w + i, q->importance ? q->importance + i : NULL, n);
        open = false;
        for (size_t c = 0; c < TRIES; c++) open |= q->t.error[c] < q->least;
    }
    return open;
}

float dlx_grid_scale(const dlx_kernels *kernels, dlx_grid g, dlx_clip clip, const float *w, const float *importance,
                     size_t n)
{
    float most = largest(w, n), whole = most / dlx_grid_high(g), best = stored(g, whole);
    if (clip == DLX_CLIP_NONE || !(whole >= FLT_MIN)) return best;
    search q; /* not all zeros first: this runs for every 32 weights */
    q.kernels = kernels;
    q.w = w;
    q.importance = importance;
    q.n = n;
    q.largest = 0;
    q.least = INFINITY;
    q.t.low = dlx_grid_low(g);
    q.t.high = dlx_grid_high(g);
    while (fabsf(w[q.largest]) != most) q.largest++;
    for (int first = 0; first < SHARES; first += TRIES) {
        for (int c = 0; c < TRIES; c++) {
            int share = first + c < SHARES ? first + c : SHARES - 1;
            q.t.scale[c] = stored(g, whole * ((float)(SHARE_STEPS - share) / (float)SHARE_STEPS));
        }
        if (!find_errors(&q)) continue;
        for (int c = 0; c < TRIES; c++) {
            if (!(q.t.error[c] < q.least)) continue;
            q.least = q.t.error[c];
            best = q.t.scale[c];
        }
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
    const dlx_kernels *kernels;
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
            float scale = dlx_grid_scale(j->kernels, j->g, j->clip, w, j->importance ? j->importance + c : NULL, share);
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
    grid_job j = {.kernels = on->kernels, .m = out, .w = w, .importance = importance, .k = k, .g = g, .clip = clip};
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
