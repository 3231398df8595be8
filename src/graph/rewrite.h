/*
 * Building a new graph from an old one, node by node: what every pass that inserts or replaces nodes does. Inputs are
 * carried over at once, constants when first used, nodes when the pass says so; `map` leads from old values to new.
 */
#ifndef DLX_GRAPH_REWRITE_H
#define DLX_GRAPH_REWRITE_H

#include "graph/graph.h"

typedef struct dlx_rewrite {
    const dlx_graph *from;
    dlx_graph to;
    uint32_t *map; /* [n_map] for the old values, DLX_NONE: not carried over */
    size_t n_map;
} dlx_rewrite;

/* The new graph takes its memory from where the old one does. */
dlx_status dlx_rewrite_begin(dlx_rewrite *r, const dlx_graph *from, dlx_error *err);
/* The new value for an old one; DLX_NONE for DLX_NONE, or when memory is out (then err is set). */
uint32_t dlx_rewrite_value(dlx_rewrite *r, uint32_t old, dlx_error *err);
/* Copies node i with its operands mapped and maps its output. */
dlx_status dlx_rewrite_copy(dlx_rewrite *r, size_t i, dlx_error *err);
/* Says that `old` is now `fresh` (DLX_NONE: an error recorded in err). A name the old value had moves along. */
dlx_status dlx_rewrite_set(dlx_rewrite *r, uint32_t old, uint32_t fresh, dlx_error *err);
/* Maps the outputs, verifies in debug builds, replaces *g (which must be r->from) by the new graph. */
dlx_status dlx_rewrite_finish(dlx_rewrite *r, dlx_graph *g, dlx_error *err);
/* Frees everything of an unfinished rewrite; harmless after finish. */
void dlx_rewrite_abandon(dlx_rewrite *r);

/* Whoever reads a COPY reads what it copies: the numbers are the same, and memory planning makes one of them anyway.
 * Outputs stay what they are. */
void dlx_graph_skip_copies(dlx_graph *g);

#endif
