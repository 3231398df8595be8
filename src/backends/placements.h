/*
 * What a partition costs in each home: nodes by operator, the constants that they read, multiplications and additions.
 */
#ifndef DLX_BACKENDS_PLACEMENTS_H
#define DLX_BACKENDS_PLACEMENTS_H

#include "backends/lower.h"

/* Nodes of one operator in one home. */
typedef struct dlx_placed_op {
    uint32_t home; /* index of the homes; their number: operators of the stock runtime */
    dlx_op op;
    uint64_t count;
    uint64_t constant_bytes; /* a constant that several nodes of a home read is counted for the first one's operator */
    uint64_t multiply_adds;  /* of matrix products, with the upper bounds of all sizes */
} dlx_placed_op;

/* Constants that the nodes of a home read, each once, with the bytes of their scales: integers, or floats. */
typedef struct dlx_placed_constants {
    uint32_t quantised, floats;
    uint64_t quantised_bytes, float_bytes;
} dlx_placed_constants;

typedef struct dlx_placements {
    dlx_placed_op *ops; /* [n_ops] home by home, operators in the order in which they first stand */
    size_t n_ops;
    uint32_t *delegates;             /* [n_homes] */
    dlx_placed_constants *constants; /* [n_homes + 1] the last: those of operators of the stock runtime */
} dlx_placements;

/* Of a graph as dlx_lower would place it; fails likewise. Memory is the arena's. */
dlx_status dlx_placements_count(dlx_placements *out, dlx_arena *arena, const dlx_graph *g, const dlx_home *homes,
                                size_t n_homes, dlx_error *err);

#endif
