/*
 * What the tiny decoder answers, in double precision and without a cache: it has one layer, so keys and values depend
 * on token and position alone, and a row is known from its own pair and the pairs it sees.
 */
#ifndef DLX_TESTS_TINY_REFERENCE_H
#define DLX_TESTS_TINY_REFERENCE_H

#include <math.h>

#include "tiny_decoder.h"

enum { MLP = 40, REFERENCE_WEIGHTS = 16, MOST_WEIGHT = MLP * HIDDEN + POSITIONS * DIM };

typedef struct tiny_pair {
    double hidden[HIDDEN], q[HEADS * DIM], k[KV * DIM], v[KV * DIM];
} tiny_pair;

typedef struct tiny_reference {
    double w[REFERENCE_WEIGHTS][MOST_WEIGHT]; /* by seed, as build_layer numbers them */
    tiny_pair pair[VOCAB][POSITIONS];
} tiny_reference;

static inline void tiny_weight(tiny_reference *r, uint32_t seed, size_t n)
{
    uint32_t state = seed;
    assert_true(n <= MOST_WEIGHT && seed < REFERENCE_WEIGHTS);
    for (size_t i = 0; i < n; i++) r->w[seed][i] = (double)noise(&state);
}

static inline void tiny_norm(double *y, const double *x, const double *w, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    for (int i = 0; i < n; i++) y[i] = x[i] / sqrt(sum / n + (double)1e-5f) * w[i];
}

static inline void tiny_linear(double *y, const double *x, const double *w, int n_out, int n_in)
{
    for (int o = 0; o < n_out; o++) {
        y[o] = 0;
        for (int i = 0; i < n_in; i++) y[o] += x[i] * w[o * n_in + i];
    }
}

/* The tables hold the sign of the turned half. */
static inline void tiny_rope(double *x, const double *cosine, const double *sine)
{
    for (int i = 0; i < DIM / 2; i++) {
        double a = x[i], b = x[i + DIM / 2];
        x[i] = a * cosine[i] + b * sine[i];
        x[i + DIM / 2] = b * cosine[i + DIM / 2] + a * sine[i + DIM / 2];
    }
}

static inline void tiny_make_pair(tiny_reference *r, int id, int position)
{
    tiny_pair *p = &r->pair[id][position];
    double h[HIDDEN];
    for (int i = 0; i < HIDDEN; i++) p->hidden[i] = r->w[1][id * HIDDEN + i];
    tiny_norm(h, p->hidden, r->w[4], HIDDEN);
    tiny_linear(p->q, h, r->w[5], HEADS * DIM, HIDDEN);
    tiny_linear(p->k, h, r->w[7], KV * DIM, HIDDEN);
    tiny_linear(p->v, h, r->w[8], KV * DIM, HIDDEN);
    for (int i = 0; i < HEADS * DIM; i++) p->q[i] += r->w[6][i];
    for (int head = 0; head < HEADS; head++) {
        tiny_norm(p->q + head * DIM, p->q + head * DIM, r->w[9], DIM);
        tiny_rope(p->q + head * DIM, r->w[2] + position * DIM, r->w[3] + position * DIM);
    }
    for (int head = 0; head < KV; head++)
        tiny_rope(p->k + head * DIM, r->w[2] + position * DIM, r->w[3] + position * DIM);
}

static inline void tiny_reference_make(tiny_reference *r)
{
    static const uint16_t sizes[REFERENCE_WEIGHTS] = {0,
                                                      VOCAB * HIDDEN,
                                                      POSITIONS * DIM,
                                                      POSITIONS * DIM,
                                                      HIDDEN,
                                                      HEADS * DIM * HIDDEN,
                                                      HEADS * DIM,
                                                      KV * DIM * HIDDEN,
                                                      KV * DIM * HIDDEN,
                                                      DIM,
                                                      HIDDEN * HEADS * DIM,
                                                      HIDDEN,
                                                      MLP * HIDDEN,
                                                      MLP * HIDDEN,
                                                      HIDDEN * MLP,
                                                      HIDDEN};
    for (uint32_t seed = 1; seed < REFERENCE_WEIGHTS; seed++) tiny_weight(r, seed, sizes[seed]);
    for (int id = 0; id < VOCAB; id++)
        for (int position = 0; position < POSITIONS; position++) tiny_make_pair(r, id, position);
}

static inline void tiny_attend(double *out, const tiny_pair *own, const tiny_pair *const *seen, size_t n)
{
    for (int head = 0; head < HEADS; head++) {
        int from = head / (HEADS / KV) * DIM;
        double score[2 * POSITIONS], most = -INFINITY, sum = 0;
        for (size_t s = 0; s < n; s++) {
            score[s] = 0;
            for (int i = 0; i < DIM; i++) score[s] += own->q[head * DIM + i] * seen[s]->k[from + i];
            score[s] *= (double)0.35355338f;
            if (score[s] > most) most = score[s];
        }
        for (int i = 0; i < DIM; i++) out[head * DIM + i] = 0;
        for (size_t s = 0; s < n; s++) {
            double e = exp(score[s] - most);
            sum += e;
            for (int i = 0; i < DIM; i++) out[head * DIM + i] += e * seen[s]->v[from + i];
        }
        for (int i = 0; i < DIM; i++) out[head * DIM + i] /= sum;
    }
}

/* Logits of the row `own`, which sees n pairs, itself among them. */
static inline void tiny_logits(double logits[VOCAB], const tiny_reference *r, const tiny_pair *own,
                               const tiny_pair *const *seen, size_t n)
{
    double a[HEADS * DIM], h[HIDDEN], x[HIDDEN], gate[MLP], up[MLP];
    assert_true(n >= 1 && n <= 2 * POSITIONS);
    tiny_attend(a, own, seen, n);
    tiny_linear(x, a, r->w[10], HIDDEN, HEADS * DIM);
    for (int i = 0; i < HIDDEN; i++) x[i] += own->hidden[i];
    tiny_norm(h, x, r->w[11], HIDDEN);
    tiny_linear(gate, h, r->w[12], MLP, HIDDEN);
    tiny_linear(up, h, r->w[13], MLP, HIDDEN);
    for (int i = 0; i < MLP; i++) up[i] *= gate[i] / (1 + exp(-gate[i]));
    tiny_linear(h, up, r->w[14], HIDDEN, MLP);
    for (int i = 0; i < HIDDEN; i++) x[i] += h[i];
    tiny_norm(x, x, r->w[15], HIDDEN);
    tiny_linear(logits, x, r->w[1], VOCAB, HIDDEN);
}

#endif
