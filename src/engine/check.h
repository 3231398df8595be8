/*
 * What a forward call must be before anything is computed, how it is cut into passes that take fewer rows than it has,
 * and what logits must be. Private to engine/.
 */
#ifndef DLX_ENGINE_CHECK_H
#define DLX_ENGINE_CHECK_H

#include "engine/sequence.h"

/* `masks`: of what width the program's own masks are; 0: it has none. */
dlx_status dlx_check_call(const dlx_sequence *q, const dlx_forward_call *c, int32_t vocab_size, int32_t masks,
                          dlx_error *err);

/* What one pass takes. */
typedef struct dlx_cut {
    int32_t limit;  /* rows */
    bool one_block; /* all of them see the same */
} dlx_cut;

/* Whether the rows of a call see the same. */
bool dlx_rows_see_alike(const dlx_forward_call *c);
/* Rows from `done` on that a pass of a block-causal call takes: all that are left, or whole blocks. 0: a block does not
 * fit. */
int32_t dlx_cut_rows(const dlx_cut *cut, const dlx_forward_call *c, int32_t done);
/* Whether a call that one pass does not take can be cut. Later passes find the rows of earlier ones in the cache, so
 * those that the call does not store must not lie on stored positions. */
dlx_status dlx_check_cut(const dlx_cut *cut, const dlx_sequence *q, const dlx_forward_call *c, dlx_error *err);

/* Those that came out: n finite numbers. */
dlx_status dlx_check_logits(const float *logits, size_t n, dlx_error *err);
/* The same of n rows of them, by their summaries. */
dlx_status dlx_check_summaries(const dlx_row_summary *rows, size_t n, dlx_error *err);

#endif
