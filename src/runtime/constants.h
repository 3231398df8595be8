/*
 * When the bytes of constants come into memory. After import they are still in the file. What raising may look into is
 * read before it; large matrices that linear layers, products and lookups take whole are not, so that a program can be
 * raised and described without its weights. Weights of linear layers are read while they are packed, piece by piece,
 * and serve lookups too where a table is tied to a layer; what else the finished graph uses is read then. Nothing
 * refers to the file once a program is loaded.
 */
#ifndef DLX_RUNTIME_CONSTANTS_H
#define DLX_RUNTIME_CONSTANTS_H

#include "graph/graph.h"

/* One constant, into the arena of the graph; nothing to do when it is in memory. */
dlx_status dlx_constant_load(dlx_graph *g, uint32_t value, dlx_error *err);
/* All but matrices that only linear layers, products and lookups read; and first values of states. */
dlx_status dlx_constants_load_small(dlx_graph *g, dlx_error *err);
/* All that nodes read, but for weights that are packed. */
dlx_status dlx_constants_load(dlx_graph *g, dlx_error *err);
/* What constants of a file take in memory when dlx_constants_load is through; the same before that. */
typedef struct dlx_constant_sizes {
    uint64_t bytes;
    dlx_arena_count arena; /* what the graph's arena will grow by */
} dlx_constant_sizes;
dlx_status dlx_constants_size(const dlx_graph *g, dlx_constant_sizes *sizes, dlx_error *err);

#endif
