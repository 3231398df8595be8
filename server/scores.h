/*
 * Between a decoder and the model: adds logit_bias to each row, and remembers the rows of the last pass, so that
 * whoever is told which tokens it accepted can say how likely they were.
 */
#ifndef DLX_SRV_SCORES_H
#define DLX_SRV_SCORES_H

#include "plan.h"

typedef struct dlx_srv_scores {
    dlx_forward_fn forward;
    void *ctx;
    const dlx_model_facts *facts;
    const dlx_srv_bias *bias; /* [n_bias] */
    size_t n_bias;
    bool remember;
    float *logits;      /* [n, vocab_size] of the last pass */
    int32_t *positions; /* [n] that the rows predict */
    size_t n, capacity;
} dlx_srv_scores;

typedef struct dlx_srv_score {
    int32_t id;
    double logprob;
} dlx_srv_score;

/* The dlx_forward_fn of it. */
dlx_status dlx_srv_scores_forward(void *scores, const dlx_forward_call *call, dlx_error *err);
/* Natural logarithm of the token's probability at the position, by the softmax of the last pass's logits, and the `top`
 * likeliest tokens, likeliest first; false when no row of the last pass predicts that position. */
bool dlx_srv_scores_of(const dlx_srv_scores *s, int32_t position, int32_t id, double *logprob, dlx_srv_score *best,
                       int top);
void dlx_srv_scores_free(dlx_srv_scores *s);

#endif
