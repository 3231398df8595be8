/*
 * What greedy decoding needs of a row of logits (dlx_row_summary), in parts: each part of DLX_ROW_PART columns is read
 * once, wherever it lies, and parts are joined from left to right. So a row has the same summary, bit for bit, whether
 * it is computed in strips by several threads and never written down, or read from memory afterwards, and whatever
 * instruction set a file is compiled for.
 */
#ifndef DLX_BASE_ROW_SUMMARY_H
#define DLX_BASE_ROW_SUMMARY_H

#include <math.h>
#include <stdbool.h>

#include "base/exp_log.h"
#include "base/row_part.h"

/* ---- one part ---------------------------------------------------------------------------------------------------- */

enum { DLX_ROW_STEP = 32 }; /* columns that loops take at a time, or a power of two less */

/* Any number of lanes gives the same maxima; two vectors hide how long a comparison takes. */
enum { DLX_MAXIMA = 2 * DLX_VF };

typedef struct dlx_lane_maxima {
    float top[DLX_MAXIMA], second[DLX_MAXIMA];
    int32_t at[DLX_MAXIMA];
} dlx_lane_maxima;

/* The first `width` lanes take in the next ones. */
static inline void dlx_fold_maxima(dlx_lane_maxima *m, int width)
{
    for (int k = 0; k < width; k++) {
        float a = m->top[k], b = m->top[k + width], s = m->second[k], t = m->second[k + width];
        int32_t i = m->at[k], j = m->at[k + width];
        bool right = b > a || (b == a && j < i);
        float low = b > a ? a : b;
        s = s > t ? s : t;
        m->top[k] = b > a ? b : a;
        m->second[k] = low > s ? low : s;
        m->at[k] = right ? j : i;
    }
}

/* top, second, and where the first of the largest is; n is a multiple of DLX_ROW_STEP. */
static inline int32_t dlx_part_maxima(dlx_row_part *p, const float *x, int32_t n)
{
    dlx_lane_maxima m;
    dlx_vf top[2], second[2];
    dlx_vi at[2] = {{0}, {0}}, now = {0};
    for (int k = 0; k < 2; k++) {
        top[k] = dlx_vf_load(x + k * DLX_VF);
        second[k] = (dlx_vf){0} - INFINITY;
    }
    for (int32_t i = DLX_MAXIMA; i < n; i += DLX_MAXIMA) {
        now += DLX_MAXIMA;
        for (int k = 0; k < 2; k++) {
            dlx_vf v = dlx_vf_load(x + i + k * DLX_VF);
            dlx_vi more = v > top[k];
            dlx_vf low = dlx_vf_if(more, top[k], v);
            top[k] = dlx_vf_if(more, v, top[k]);
            second[k] = dlx_vf_if(low > second[k], low, second[k]);
            at[k] = dlx_vi_if(more, now, at[k]);
        }
    }
    memcpy(m.top, top, sizeof top);
    memcpy(m.second, second, sizeof second);
    memcpy(m.at, at, sizeof at);
    for (int32_t k = 0; k < DLX_MAXIMA; k++) m.at[k] += k;
    if (DLX_MAXIMA > 16) dlx_fold_maxima(&m, 16);
    if (DLX_MAXIMA > 8) dlx_fold_maxima(&m, 8);
    dlx_fold_maxima(&m, 4);
    dlx_fold_maxima(&m, 2);
    dlx_fold_maxima(&m, 1);
    p->top = m.top[0] + 0.0f; /* which of two zeros came out depends on the lanes */
    p->second = m.second[0] + 0.0f;
    return m.at[0];
}

static inline double dlx_sum_of_lanes(const float *lane)
{
    double sum[8];
    for (int k = 0; k < 8; k++) sum[k] = (double)lane[k] + (double)lane[k + 8];
    for (int k = 0; k < 4; k++) sum[k] += sum[k + 4];
    for (int k = 0; k < 2; k++) sum[k] += sum[k + 2];
    return sum[0] + sum[1];
}

/* ones, rest and moment by the largest logit `top`. `far`: there may be -infinity, whose product with its exponential
 * 0 would be NaN. */
static inline void dlx_part_sums(dlx_row_part *p, const float *x, int32_t n, float top, bool far)
{
    float rest[DLX_LANES], moment[DLX_LANES];
    int32_t ones[DLX_LANES], all = 0;
    for (int32_t lane = 0; lane < DLX_LANES; lane += DLX_VF) {
        dlx_vf r = {0}, m = {0};
        dlx_vi o = {0};
        for (int32_t i = lane; i < n; i += DLX_LANES) {
            dlx_vf d = dlx_vf_load(x + i) - top;
            if (far) d = dlx_vf_if(d < -100.0f, (dlx_vf){0} - 100.0f, d);
            dlx_vi one = d == 0.0f;
            dlx_vf e = (dlx_vf)(~one & (dlx_vi)dlx_exp_vf(d));
            o -= one;
            r += e;
            m += e * d;
        }
        dlx_vf_store(rest + lane, r);
        dlx_vf_store(moment + lane, m);
        memcpy(ones + lane, &o, sizeof o);
    }
    for (int32_t k = 0; k < DLX_LANES; k++) all += ones[k];
    p->ones = all;
    p->rest = dlx_sum_of_lanes(rest);
    p->moment = dlx_sum_of_lanes(moment);
}

/* The likeliest column that may be chosen, of a part that holds others. */
static inline void dlx_part_choice(dlx_row_part *p, const float *x, int32_t first, int32_t n, dlx_row_rules rules)
{
    p->logit = -INFINITY;
    p->id = -1;
    for (int32_t i = 0; i < n && first + i < rules.known; i++)
        if (first + i != rules.never && x[i] > p->logit) {
            p->logit = x[i] + 0.0f;
            p->id = first + i;
        }
}

/* *p from the logits x [n] of columns first .. first+n-1, 1 <= n <= DLX_ROW_PART. */
static inline void dlx_row_part_of(dlx_row_part *p, const float *x, int32_t first, int32_t n, dlx_row_rules rules)
{
    float padded[DLX_ROW_PART];
    const float *row = x;
    int32_t wide = (n + DLX_ROW_STEP - 1) / DLX_ROW_STEP * DLX_ROW_STEP;
    if (wide > n) {
        memcpy(padded, x, (size_t)n * sizeof *x);
        for (int32_t i = n; i < wide; i++) padded[i] = -INFINITY;
        row = padded;
    }
    int32_t at = dlx_part_maxima(p, row, wide);
    dlx_part_sums(p, row, wide, p->top, false);
    p->finite = 1;
    if (isnan(p->moment)) { /* what was filled up, -infinity, or worse */
        dlx_part_sums(p, row, wide, p->top == -INFINITY ? 0 : p->top, true);
        for (int32_t i = 0; i < n; i++) p->finite &= isfinite(x[i]) != 0;
    }
    p->logit = p->top;
    p->id = p->top > -INFINITY ? first + at : -1;
    if (rules.known <= 0) rules.known = INT32_MAX;
    if ((rules.never >= first && rules.never - first < n) || rules.known - first < n)
        dlx_part_choice(p, x, first, n, rules);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* Of no column: what the first part is joined to. */
static inline dlx_row_part dlx_row_part_none(void)
{
    return (dlx_row_part){.top = -INFINITY, .second = -INFINITY, .logit = -INFINITY, .id = -1, .finite = 1};
}

/* Lets the exponentials be those of x - top for a top that is not below the part's own. */
static inline void dlx_row_part_raise(dlx_row_part *p, float top)
{
    double shift = (double)p->top - (double)top, sum = p->ones + p->rest;
    if (top > p->top && !(sum == 0)) {
        double scale = dlx_exp_not_positive_f64(shift);
        p->moment = scale * (p->moment + shift * sum);
        p->rest = scale * sum;
        p->ones = 0;
    }
    p->top = top;
}

/* *p takes in the part to its right. */
static inline void dlx_row_part_join(dlx_row_part *p, const dlx_row_part *right)
{
    dlx_row_part q = *right;
    float top = q.top > p->top ? q.top : p->top, low = q.top > p->top ? p->top : q.top;
    dlx_row_part_raise(p, top);
    dlx_row_part_raise(&q, top);
    if (q.logit > p->logit) {
        p->logit = q.logit;
        p->id = q.id;
    }
    p->second = p->second > q.second ? p->second : q.second;
    p->second = p->second > low ? p->second : low;
    p->ones += q.ones;
    p->finite &= q.finite;
    p->rest += q.rest;
    p->moment += q.moment;
}

static inline dlx_row_summary dlx_row_part_summary(const dlx_row_part *p)
{
    return (dlx_row_summary){.id = p->id,
                             .logit = p->logit,
                             .top = p->top,
                             .second = p->second,
                             .sum = isfinite(p->top) ? p->ones + p->rest : (double)NAN,
                             .moment = p->moment};
}

/* Of a row that lies in memory. */
static inline dlx_row_summary dlx_summary_of_row(const float *logits, int32_t n, dlx_row_rules rules)
{
    dlx_row_part row = dlx_row_part_none(), part;
    for (int32_t first = 0; first < n; first += DLX_ROW_PART) {
        int32_t left = n - first;
        dlx_row_part_of(&part, logits + first, first, left < DLX_ROW_PART ? left : DLX_ROW_PART, rules);
        dlx_row_part_join(&row, &part);
    }
    return dlx_row_part_summary(&row);
}

#endif
