/*
 * A generation: the canvas (prompt first, then tokens and masks), the trace of model calls, and in the end the answer.
 * Everything is allocated when it is created; recording a step never allocates.
 */
#ifndef DLX_DIFFUSION_GENERATION_H
#define DLX_DIFFUSION_GENERATION_H

#include "base/status.h"
#include "diffulex_edge/decode.h"

struct dlx_generation {
    const char *algorithm, *finish_reason;
    int32_t *ids; /* canvas */
    size_t n_ids, ids_capacity;
    int32_t *answer;
    size_t n_answer;
    int32_t num_forwards;
    dlx_step *steps;
    size_t n_steps, steps_capacity;
    dlx_accepted *accepted;
    size_t n_accepted; /* every position is accepted at most once: ids_capacity is enough */
};

/* The prompt is copied to the start of the canvas. */
dlx_status dlx_generation_create(dlx_generation **out, const char *algorithm, const int32_t *prompt, size_t n_prompt,
                                 size_t canvas, uint64_t steps, dlx_error *err);

/* How a decode ended, for dlx_generation_finish. */
typedef struct dlx_ending {
    size_t n_prompt, max_new;
    int32_t mask_id;
    const int32_t *stop_ids;
    int32_t n_stop_ids;
    bool cancelled;
    bool published; /* keep the canvas as it is: whole blocks */
} dlx_ending;

/* Cuts the answer out of the canvas: at most max_new ids behind the prompt, up to the first stop id, without masks. A
 * cancelled decode ends before its first mask. Unless published, the canvas is cut behind the answer and its stop id.
 */
void dlx_generation_finish(dlx_generation *g, const dlx_ending *e);

#endif
