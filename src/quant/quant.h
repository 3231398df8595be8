/*
 * Quantised weights: a pass over the graph, and the bytes of constants.
 *
 * The pass changes what a constant is to become; nothing is computed by it. The numbers arise while a writer streams
 * the constant, chunk by chunk, so memory does not depend on the size of a tensor.
 */
#ifndef DLX_QUANT_QUANT_H
#define DLX_QUANT_QUANT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/threads.h"
#include "graph/graph.h"
#include "graph/linear_kinds.h"
#include "quant/recipe.h"

/*
 * Gives every weight the form that the recipe says: those of LINEARs over float activations, and tables that EMBEDDINGs
 * look rows up in, by the tokens (the first input). Linears whose form wants quantised rows get them through a CONVERT,
 * one for all that read the same value. A table that is the head as well is stored once where both forms store the
 * same; its scales then are [V,1] for both, those of linears alone [n]. Scales are named "<weight>.scales"; the weight
 * keeps its name, and a head that no longer shares its table becomes "lm_head.weight". A constant with any other use
 * stays float. Linears with static activations are only marked: dlx_quantize_static. DLX_E_UNSUPPORTED for a form that
 * does not fit its weight, DLX_E_INVALID for a rule that names no weight.
 */
dlx_status dlx_quantize(dlx_graph *g, const dlx_recipe *recipe, dlx_error *err);
/* The same, and tells what it gave: *given is all zeros but for whom it tells what has no effect. */
dlx_status dlx_quantize_telling(dlx_graph *g, const dlx_recipe *recipe, dlx_forms_given *given, dlx_error *err);

/* Where numbers lie that go into a linear layer or come out of it: `name` is its weight's without ".weight", and
 * ".input" or ".output" behind it. low <= 0 <= high, finite. False: it is not known. */
typedef struct dlx_activation_ranges {
    bool (*find)(void *ctx, const char *name, float *low, float *high);
    void *ctx;
} dlx_activation_ranges;

/* Whether dlx_quantize left LINEARs whose activations are to be static (attr.dtype QS8, over F32). */
bool dlx_wants_ranges(const dlx_graph *g);
/* DLX_E_UNSUPPORTED, with the weight's name, where one of them has no range. */
dlx_status dlx_static_ranges_exist(const dlx_graph *g, const dlx_activation_ranges *ranges, dlx_error *err);
/*
 * Gives those LINEARs their grids: inputs come from CONVERTs, one for all that read the same value on the same grid;
 * biases become I32, "<bias>.scales" being their steps. Weights' scales are streamed for that, so theirs must be final.
 * DLX_E_UNSUPPORTED, with the weight's name, where there is no range or a bias does not fit.
 */
dlx_status dlx_quantize_static(dlx_graph *g, const dlx_activation_ranges *ranges, dlx_pool *pool, dlx_error *err);
/* The int8 grid over [low, high], low <= 0 <= high: scale = (high - low) / 255, zero = -128 - low / scale rounded half
 * to even; scale 1 and zero 0 where both are 0. */
dlx_grid8 dlx_grid8_over(float low, float high);

/* Whether a constant holds the numbers of a quantised tensor; scales that go with one are floats of their own. */
static inline bool dlx_const_is_quantised(const dlx_value *v)
{
    return v->dtype == DLX_I8 || v->dtype == DLX_I4;
}

/* Takes the next n > 0 bytes of a constant; a failure ends the stream with that status. */
typedef dlx_status (*dlx_const_sink)(void *ctx, const void *bytes, size_t n, dlx_error *err);

/*
 * Hands the bytes of a constant to `sink`, front to back, in chunks of at most 1 MiB; converts on all threads of `pool`
 * (NULL: on the calling one). Of a source that is still in its file, 8 MiB are in memory at a time. A weight that holds
 * NaN or infinity is DLX_E_FORMAT. Scales that clip are looked for in rows and groups of at most 2^20 elements, which a
 * thread then has as floats; longer rows have that of their largest magnitude.
 */
dlx_status dlx_const_stream(const dlx_value *v, dlx_pool *pool, dlx_const_sink sink, void *ctx, dlx_error *err);
/* The same into memory that has room for all of them. */
dlx_status dlx_const_collect(const dlx_value *v, dlx_pool *pool, void *out, dlx_error *err);
/* DLX_E_FORMAT where a constant of floats holds NaN or infinity, in the words of a stream of its codes: of a matrix
 * they have the row. What is not float32 in the graph is not looked at. */
dlx_status dlx_const_finite(const dlx_value *v, dlx_pool *pool, dlx_error *err);

#endif
