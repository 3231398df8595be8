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

#include "diffulex_edge/decode.h"

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
} dlx_sampling;

/* Whether a row of n logits gives its likeliest token: at temperature 0, with no filter on. */
bool dlx_sampling_is_greedy(const dlx_sampling *how, int32_t n);

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
 * probability. Returns false when the logits hold NaN or +infinity, or nothing above -infinity.
 */
bool dlx_sample_row(const dlx_sampling *how, float *logits, int32_t n, int32_t *index, dlx_random *random,
                    dlx_choice *out);

/* The smallest logit that a filter left, and the last id among those that have it. */
typedef struct dlx_row_bound {
    float least;
    int32_t last;
} dlx_row_bound;

/* What is known of a row whose exponentials were computed: enough to score any of its tokens. */
typedef struct dlx_row_state {
    float top;           /* largest of the row over the temperature */
    dlx_row_bound bound; /* of the row over the temperature */
    double sum, whole;   /* of the exponentials behind the filters, and in front of them; whole 0: not asked for */
    double second;       /* the second largest exponential; with DLX_SCORE_MARGIN */
    double p_log_p;      /* sum p ln(p + 1e-10); with DLX_SCORE_NEGATIVE_ENTROPY */
    double entropy;      /* as dlx_choice has it */
} dlx_row_state;

/* The half of dlx_sample_row that is the same for every token: e[i] = e^(x - top) of x the row over the temperature,
 * filtered. e may be the row. False as there. For samplings that are not greedy. */
bool dlx_prepare_row(const dlx_sampling *how, const float *row, float *e, int32_t n, int32_t *index,
                     dlx_row_state *out);
/* The other half for a token that is chosen already, of which `logit` is that of the row as it was. */
dlx_choice dlx_score_token(const dlx_sampling *how, const dlx_row_state *row, int32_t id, float logit);

/* The choice of a greedy sampling, from what a row's summary says by the same rules of `never` and `known`: all that
 * dlx_sample_row does then. */
bool dlx_choose_likeliest(const dlx_sampling *how, const dlx_row_summary *row, dlx_choice *out);
/* The summary that a forward function would have given (dlx_forward_call). */
void dlx_summarise_row(const float *logits, int32_t n, int32_t never, int32_t known, dlx_row_summary *out);
/* Softmax probability of a logit of the row. */
double dlx_summary_probability(const dlx_row_summary *row, float logit);

/* Lowest id among the largest logits, `never` left out; -1 when there is none above -infinity. */
int32_t dlx_argmax(const float *logits, int32_t n, int32_t never);
/* argmax of exp(logit) / (-ln u)^temperature with n random numbers u, in float64: LLaDA's Gumbel draw. `never` and ids
 * from `known` on (1 .. n) are left out, their random numbers used up all the same. */
int32_t dlx_gumbel_argmax(const float *logits, int32_t n, double temperature, int32_t never, int32_t known,
                          dlx_random *random);

/* logits / temperature, in float32. */
void dlx_scale_row(float *logits, int32_t n, double temperature);
/* Sets every logit below the k-th largest to -infinity; ties with it stay. k <= 0 or k >= n: nothing happens. */
dlx_row_bound dlx_filter_top_k(float *logits, int32_t n, int32_t k, int32_t *index);
/* Keeps the smallest set of tokens whose probability mass exceeds top_p, at least one. top_p >= 1: nothing happens. */
dlx_row_bound dlx_filter_top_p(float *logits, int32_t n, double top_p, int32_t *index);

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
