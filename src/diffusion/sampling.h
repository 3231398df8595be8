/*
 * From a row of logits to a token and a score, and from scores to the positions that are revealed: filters, softmax,
 * draws, ranking and reveal schedules. Plain arrays in, plain numbers out; nothing here allocates.
 *
 * Ties go to the lowest id and the lowest position. Where the published code compares float32 values, scores are
 * rounded to float32 here as well, so that equal scores stay equal.
 */
#ifndef DLX_DIFFUSION_SAMPLING_H
#define DLX_DIFFUSION_SAMPLING_H

#include <stdbool.h>
#include <stdint.h>

#include "diffusion/random.h"

/* ---- rows ----------------------------------------------------------------------------------------------------- */

typedef enum dlx_score_kind {
    DLX_SCORE_PROBABILITY = 0,  /* of the chosen token */
    DLX_SCORE_MARGIN,           /* of the likeliest token over the second */
    DLX_SCORE_NEGATIVE_ENTROPY, /* sum p ln(p + 1e-10): larger is surer */
} dlx_score_kind;

typedef struct dlx_sampling {
    double temperature;  /* 0: the likeliest token; else logits / temperature and a draw */
    int32_t top_k;       /* 0: off */
    double top_p;        /* 1: off */
    bool top_k_first;    /* SDAR filters by top_k, then top_p; the others the other way round */
    bool before_filters; /* the probability is that of the distribution before top_k and top_p */
    dlx_score_kind score;
    bool entropy;  /* also fill dlx_choice.entropy */
    int32_t never; /* id that is never chosen (the mask), or -1 */
    int32_t known; /* ids from here on are never chosen either (rows without a token); 0: all may be */
    bool given;    /* the token is chosen already: given_id, which gets its probability and score */
    int32_t given_id;
} dlx_sampling;

typedef struct dlx_choice {
    int32_t id;
    double probability; /* of id, after temperature and, unless before_filters, filters */
    double score;       /* as dlx_sampling.score says */
    double entropy;     /* -sum p ln p with p at least 1e-12; 0 unless asked for */
} dlx_choice;

/*
 * Chooses a token from logits [n], n >= 1, and overwrites them. Uses one random number when the temperature is above 0,
 * none otherwise. `index` [n] is needed when a filter is on. The id `never` and those from `known` on take part in
 * filters and softmax but are not chosen: where one is the likeliest, the likeliest other id stands in with its own
 * probability; as for a token that is given. Returns false when
 * the logits hold NaN or +infinity, or nothing above -infinity.
 */
bool dlx_sample_row(const dlx_sampling *how, float *logits, int32_t n, int32_t *index, dlx_random *random,
                    dlx_choice *out);

/* Lowest id among the largest logits, `never` left out; -1 when there is none above -infinity. */
int32_t dlx_argmax(const float *logits, int32_t n, int32_t never);
/* x[i] = e^(x[i] - top), top the largest; returns their sum, NaN when a value is NaN or nothing lies above -infinity.
 */
double dlx_exponentials(float *x, int32_t n, float top);
/* Softmax probability of `id`, in float64. NaN when the logits hold NaN or +infinity, or nothing above -infinity. */
double dlx_probability_f64(const float *logits, int32_t n, int32_t id);
/* The same in float32. */
double dlx_probability_f32(const float *logits, int32_t n, int32_t id);
/* argmax of exp(logit) / (-ln u)^temperature with n random numbers u, in float64: LLaDA's Gumbel draw. `never` and ids
 * from `known` on (1 .. n) are left out, their random numbers used up all the same. */
int32_t dlx_gumbel_argmax(const float *logits, int32_t n, double temperature, int32_t never, int32_t known,
                          dlx_random *random);

/* logits / temperature, in float32. */
void dlx_scale_row(float *logits, int32_t n, double temperature);
/* Sets every logit below the k-th largest to -infinity; ties with it stay. k <= 0 or k >= n: nothing happens. */
void dlx_filter_top_k(float *logits, int32_t n, int32_t k, int32_t *index);
/* What top_k and top_p of `how` leave of logits, in its order. */
void dlx_filter_row(const dlx_sampling *how, float *logits, int32_t n, int32_t *index);
/* Keeps the smallest set of tokens whose probability mass exceeds top_p, at least one. top_p >= 1: nothing happens. */
void dlx_filter_top_p(float *logits, int32_t n, double top_p, int32_t *index);

/* ---- candidates: masked positions of one step ------------------------------------------------------------------ */

typedef struct dlx_candidate {
    int32_t position, id;
    int32_t row; /* of the demanded logits */
    bool chosen;
    double score; /* recorded, and compared with thresholds */
    double rank;  /* larger is revealed first; the score unless the algorithm says otherwise */
} dlx_candidate;

void dlx_choose_all(dlx_candidate *c, int32_t n);
/* Chooses the k best ranked candidates, keeping what is chosen already out of it; returns how many it chose. */
int32_t dlx_choose_best(dlx_candidate *c, int32_t n, int32_t k);
/* Chooses every candidate with float32 score > threshold; returns how many. */
int32_t dlx_choose_above(dlx_candidate *c, int32_t n, double threshold);
/* Fast-dLLM v1: the best candidate, and every other whose score is not below the threshold. f32: compare as float32. */
void dlx_choose_best_and_sure(dlx_candidate *c, int32_t n, double threshold, bool f32);
/* Fast-dLLM v1 on Dream: of the k best candidates the best one, and every other that is not below the threshold as
 * float32; returns how many of the k were held back. */
int32_t dlx_choose_sure_of_best(dlx_candidate *c, int32_t n, int32_t k, double threshold);
/*
 * Fast-dLLM v1's factor rule: the i-th best (from 1) is taken while its score is at least 1 - factor / (i + 1), the
 * best one always. As published, a last candidate that fails alone is taken all the same.
 */
void dlx_choose_by_factor(dlx_candidate *c, int32_t n, double factor);
/* SDAR: in order of rank (minus entropy), while the float32 sum of entropies stays below the bound; at least one. */
void dlx_choose_entropy_bounded(dlx_candidate *c, int32_t n, double bound);
/* Replaces ranks by scores / temperature plus Gumbel noise: the k best are then k draws without replacement from
 * softmax(scores / temperature). One random number a candidate. */
void dlx_perturb_ranks(dlx_candidate *c, int32_t n, double temperature, dlx_random *random);

/* ---- schedules -------------------------------------------------------------------------------------------------- */

/* Tokens of step i when `total` are split over `steps`: total / steps, one more for the first total % steps. 0 behind
 * the last step. */
int32_t dlx_equal_share(int32_t total, int32_t steps, int32_t i);
/* Point i of torch.linspace(1, eps, steps + 1) in float32. */
float dlx_dream_time(int32_t i, int32_t steps, double eps);
/* Dream: how many of `masks` tokens step i reveals, trunc(masks * (1 - t[i+1] / t[i])) in float32; the last step all.
 */
int32_t dlx_dream_share(int32_t masks, int32_t i, int32_t steps, double eps);

#endif
