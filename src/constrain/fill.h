/*
 * The best filling of a stretch of text under a constraint, by dynamic programming over positions and states (DINGO,
 * arXiv 2505.23061): known positions are fixed, a position with a row of the model is weighed token by token, one
 * without is free. Of all fillings that can still be brought to an end within the tokens that are left, the one with
 * the largest sum of weights; of equal ones always the same.
 *
 * Behind the text stand stop ids alone. A text that is as long as the answer may be needs none.
 */
#ifndef DLX_CONSTRAIN_FILL_H
#define DLX_CONSTRAIN_FILL_H

#include "constrain/tokens.h"

typedef struct dlx_fill dlx_fill;

/* What ids of an answer may be, besides the constraint. */
typedef struct dlx_fill_ids {
    int32_t known;           /* ids from here on are never chosen */
    int32_t never;           /* nor is this one (the mask), or -1 */
    const int32_t *stop_ids; /* [n_stop_ids] they end the text, and are no part of one */
    int32_t n_stop_ids;
} dlx_fill_ids;

/* The best of ids [n], n >= 1: *pick, and its finite weight. Called once a position for ids that act alike. */
typedef double (*dlx_weigh_fn)(void *ctx, const int32_t *ids, int32_t n, int32_t *pick);

/* most_positions: of a stretch from its first position that is not known to its last that is weighed. DLX_E_INVALID
 * without an id that ends a text. The constraint lives longer. Nothing is allocated afterwards. */
dlx_status dlx_fill_open(dlx_fill **out, const dlx_constraint *c, const dlx_fill_ids *ids, int32_t most_positions,
                         dlx_error *err);
void dlx_fill_close(dlx_fill *f);

/* Tokens of the shortest text that is accepted; -1 when tokens give none. */
int32_t dlx_fill_shortest(const dlx_fill *f);

/* A stretch begins: behind the first `n` ids of the answer, all known. Ids that were there before are not walked over
 * again: an answer only grows. False when they are no beginning of an accepted text. */
bool dlx_fill_begin(dlx_fill *f, const int32_t *ids, int32_t n);
/* The next position: a known id, or (id -1) one without a row. `left`: tokens that may come behind it. */
void dlx_fill_next(dlx_fill *f, int32_t id, int32_t left);
/* The next position, weighed. */
void dlx_fill_weighed(dlx_fill *f, dlx_weigh_fn weigh, void *ctx, int32_t left);
/* Ends the stretch: ids [positions] of the best filling, -1 where a position had no row. False: there is none. */
bool dlx_fill_end(dlx_fill *f, int32_t *ids);

/* Whether the ids [n], without stop ids, are an accepted text. */
bool dlx_fill_accepts(const dlx_fill *f, const int32_t *ids, int32_t n);

#endif
