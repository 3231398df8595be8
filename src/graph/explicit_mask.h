/*
 * The mask of programs whose whole cache comes in and goes out (the six inputs of docs/EXPORT.md), corrected by the
 * program itself: what the exporter writes, and what the runtime compares programs with, node by node.
 */
#ifndef DLX_GRAPH_EXPLICIT_MASK_H
#define DLX_GRAPH_EXPLICIT_MASK_H

#include "graph/graph.h"

typedef struct dlx_explicit_mask {
    dlx_graph *g;
    int64_t rows, slots;
    uint32_t positions;          /* [B] */
    uint32_t mask, insert, keep; /* graph inputs */
    uint32_t before;             /* of dlx_explicit_before: [1,M], 1 for slots before the first position */
    dlx_error *err;
} dlx_explicit_mask;

/* Positions that rows may have: those that pad a call may lie behind the last slot. */
static inline int64_t dlx_explicit_reach(int64_t rows, int64_t slots)
{
    return slots + rows;
}

/* Fills x->before. DLX_NONE: memory is out, as below. */
void dlx_explicit_before(dlx_explicit_mask *x);
/* What is added to the scores of a layer's rows, [B, M+B]. */
uint32_t dlx_explicit_bias(const dlx_explicit_mask *x, int32_t layer);
/* The part of a layer, and where half >= 0 of its keys or values, as `shape`. */
uint32_t dlx_explicit_part(dlx_graph *g, uint32_t x, int32_t layer, int half, int rank, const int64_t *shape,
                           dlx_error *err);

#endif
