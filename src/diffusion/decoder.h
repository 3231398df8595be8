/*
 * A decode in progress: what every algorithm does in a step. Masks become candidates, one model call fetches just their
 * rows of logits, each row becomes a token and a score, the algorithm marks the chosen ones, and commit writes them to
 * the canvas, records the step and tells the caller. Nothing is allocated between open and close.
 */
#ifndef DLX_DIFFUSION_DECODER_H
#define DLX_DIFFUSION_DECODER_H

#include "diffusion/generation.h"
#include "diffusion/sampling.h"
#include "diffusion/settings.h"

/* Positions that one model call runs. Canvas index and absolute position are the same, but for Fast-dLLM v2 after a
 * prompt that was not prefilled. */
typedef struct dlx_pass {
    int32_t first, n; /* canvas positions first .. first+n-1 */
    int32_t start;    /* absolute position of the first */
    dlx_span context[DLX_MAX_CONTEXT_SPANS];
    int32_t n_context;
    int32_t attn_block;
    int32_t shift;   /* row - shift, at least row 0, predicts a candidate */
    int32_t n_store; /* leading rows whose keys and values are kept */
} dlx_pass;

typedef struct dlx_decoder {
    const dlx_model_facts *facts;
    const dlx_settings *set;
    const int32_t *prompt;
    dlx_forward_fn forward;
    void *forward_ctx;
    dlx_step_fn on_step;
    void *step_ctx;
    dlx_generation *gen;
    int32_t *x; /* the canvas, gen->ids */
    dlx_sampling sampling;
    dlx_random random;
    dlx_candidate *candidates; /* masks of this step, by position */
    int32_t n_candidates, max_candidates;
    int32_t *rows; /* demanded rows, without repetition */
    int32_t n_rows;
    bool whole_rows;            /* a summary of a row is of no use */
    dlx_row_summary *summaries; /* [max_candidates] of rows; what is all zeros was not computed */
    float *logits;              /* [max_candidates, vocab]; of rows that the model summarised not written */
    float *second_logits;       /* the same, or NULL */
    int32_t *second_ids;        /* [canvas], or NULL */
    float *spare_row;           /* [vocab] */
    int32_t *index;             /* [vocab] */
    uint8_t *seen;              /* [vocab], or NULL */
    struct dlx_fill *fill;      /* what a constraint says, or NULL; fill_ids [canvas] is room for its answers */
    int32_t *fill_ids;
    dlx_row_state *states; /* [max_candidates] of candidates that have an id before they are scored; or NULL */
    double *chunk_sums;    /* room for a constraint's draws, or NULL */
    double started;        /* of this step, ms */
    bool cancelled;        /* on_step asked to stop */
} dlx_decoder;

/* The decoder keeps pointers to facts, settings and prompt only as long as it is open. Closing is fine after a failure;
 * the generation stays with the caller. */
dlx_status dlx_decoder_open(dlx_decoder *d, const dlx_model_facts *facts, const dlx_settings *set,
                            const int32_t *prompt, dlx_error *err);
void dlx_decoder_close(dlx_decoder *d);

/* ---- canvas ------------------------------------------------------------------------------------------------------ */

/* Appends masks up to canvas position `end`. */
void dlx_decoder_extend(dlx_decoder *d, int32_t end);
bool dlx_decoder_has_mask(const dlx_decoder *d, int32_t begin, int32_t end);
int32_t dlx_decoder_count_masks(const dlx_decoder *d, int32_t begin, int32_t end);
/* First stop id in [begin, end), or -1. */
int32_t dlx_decoder_find_stop(const dlx_decoder *d, int32_t begin, int32_t end);
/* Whether the answer can no longer change: the prompt's masks are filled, and everything behind it is known up to the
 * first stop id or to the last token. */
bool dlx_decoder_settled(const dlx_decoder *d);

/* ---- steps ------------------------------------------------------------------------------------------------------- */

/* A pass over canvas positions [first, end) at the same absolute positions, with the attention of the settings and the
 * model's shift. */
dlx_pass dlx_pass_over(const dlx_decoder *d, int32_t first, int32_t end);
/* Adds a span of context; an empty one is left out. */
void dlx_pass_see(dlx_pass *p, int32_t begin, int32_t end);

/* Makes the masks of [begin, end) the step's candidates. */
void dlx_decoder_take_masks(dlx_decoder *d, int32_t begin, int32_t end);
/* Calls the model, demanding the candidates' rows. */
dlx_status dlx_decoder_call(dlx_decoder *d, const dlx_pass *pass, dlx_error *err);
/* The same call with other ids [n] into another buffer. */
dlx_status dlx_decoder_call_with(dlx_decoder *d, const dlx_pass *pass, const int32_t *ids, float *logits,
                                 dlx_error *err);
/* What the model, or the constraint, said about a candidate's row; with the id that the candidate has, if any. False:
 * there are logits alone. */
bool dlx_decoder_summary(const dlx_decoder *d, const dlx_candidate *c, dlx_row_summary *out);
/* A candidate's row of logits. */
float *dlx_decoder_row(const dlx_decoder *d, const dlx_candidate *c);
/* Turns every candidate's row into its token and score, as d->sampling says. */
dlx_status dlx_decoder_score(dlx_decoder *d, dlx_error *err);
/* Writes the chosen candidates to the canvas, records the step and reports it. DLX_E_CANCELLED with d->cancelled set
 * when the caller wants no more. */
dlx_status dlx_decoder_commit(dlx_decoder *d, int32_t block, const dlx_pass *pass, dlx_error *err);

/* ---- constrained.c: the options' constraint, where there is one ---------------------------------------------------
 */

dlx_status dlx_decoder_open_constraint(dlx_decoder *d, const dlx_capacity *need, dlx_error *err);
void dlx_decoder_close_constraint(dlx_decoder *d);
/* Gives candidates whose rows are there the ids of the best filling that the constraint accepts, drawn where the
 * temperature is above 0; rows stay as they are, and what was found of them is left in `summaries`, where sampling is
 * greedy, and in `states`. Other candidates, and all without a constraint, keep id -1. */
dlx_status dlx_decoder_constrain(dlx_decoder *d, dlx_error *err);
/* DLX_E_LIMIT unless the answer, without its stop id, is as the constraint wants it. */
dlx_status dlx_decoder_check_answer(const dlx_decoder *d, const int32_t *answer, size_t n, dlx_error *err);

/* DLX_E_INTERNAL for a candidate whose logits cannot be used. */
dlx_status dlx_decoder_bad_row(const dlx_candidate *c, dlx_error *err);

#endif
