/*
 * Scales of inputs before quantising, after AWQ (Lin et al., arXiv 2306.00978): inputs that are large on calibration
 * rows get finer steps. W x = (W diag(s)) (diag(s)^-1 x), and diag(s)^-1 moves into whatever makes x, so that the file
 * stays a plain one:
 *
 *   inputs of         s goes into                    exact because
 *   q, k, v           weight of the attention's norm it multiplies each feature
 *   gate, up          weight of the MLP's norm       the same
 *   lm_head           weight of the last norm        the same
 *   down              rows of up, and its bias       silu(gate) * up is linear in up
 *   o                 rows of v, and its bias        attention mixes rows of v; query heads that share a key-value head
 *                                                    must share s (dlx_heads_tie)
 *
 * A norm whose output other layers read as well must be scaled for all of them, or not at all.
 */
#ifndef DLX_SOLVE_AWQ_H
#define DLX_SOLVE_AWQ_H

#include <stddef.h>
#include <stdint.h>

#include "solve/grid.h"
#include "solve/on.h"

/* sum [k] += |x| over rows [rows, k], x_stride apart, in the order of the rows. Takes no memory. */
void dlx_inputs_add(double *sum, const float *x, size_t x_stride, size_t rows, size_t k, const dlx_solve_on *on);

/* Weights of one of the layers that read the same inputs. */
typedef struct dlx_awq_weights {
    const float *w; /* [n, k] */
    size_t n;
    dlx_grid grid;
} dlx_awq_weights;

typedef struct dlx_awq_search {
    const dlx_awq_weights *layer; /* [layers] */
    size_t layers, k;
    /* [k] Mean or sum of |x|. What is below 2^-20 of the largest counts as that, zeros as the least of the others. */
    const double *magnitude;
    const float *x; /* [rows, k] some of the calibration rows, on which candidates are tried */
    size_t x_stride, rows;
    dlx_clip clip; /* of the candidates; the search for clipped scales takes half of the time */
    /* x [rows, k], contiguous, becomes what layers whose inputs have the scales s read of it. NULL: x itself. */
    void (*inputs)(void *ctx, float *x, size_t rows, size_t k, const float *s);
    void *inputs_ctx;
} dlx_awq_search;

typedef struct dlx_awq_result {
    float exponent;       /* s = magnitude^exponent, over the root of its largest times its smallest */
    double error, before; /* squared errors of the answers on x, relative to the answers: with s, and rounded without */
} dlx_awq_result;

enum { DLX_AWQ_STEPS = 20 }; /* exponents 0, 1/20 .. 1 */

/*
 * The s [k] of the exponent with the least error; the smallest of those that have it, and all ones where that is 0.
 * Takes 8 * rows * k bytes, and 256 * (k + rows) a thread; with `inputs` 4 * rows * k and 256 * rows a thread more.
 */
dlx_status dlx_awq_find(float *s, dlx_awq_result *result, const dlx_awq_search *a, const dlx_solve_on *on,
                        const char *name, dlx_error *err);

/* ---- folding ----------------------------------------------------------------------------------------------------- */

/* magnitude [heads * head_dim] of o's inputs: that of all query heads which share a key-value head becomes their mean,
 * so that dlx_awq_find gives them one scale. heads is a multiple of kv_heads. */
void dlx_heads_tie(double *magnitude, size_t heads, size_t kv_heads, size_t head_dim);
/* out [kv_heads * head_dim]: what rows of v are divided by when o's inputs have the tied scales s [heads * head_dim].
 */
void dlx_heads_shared(float *out, const float *s, size_t heads, size_t kv_heads, size_t head_dim);
/* w [n, k]: column c times s[c]: what reads the inputs. */
void dlx_scale_inputs(float *w, size_t n, size_t k, const float *s, const dlx_solve_on *on);
/* w [n, k]: row i divided by s[i]: what makes them. A bias or the weight of a norm is a matrix [n, 1]. */
void dlx_scale_outputs(float *w, size_t n, size_t k, const float *s, const dlx_solve_on *on);

#endif
