/*
 * Which parts of a graph go where: every node gets a home, and nodes of one home that can run together become a part.
 */
#ifndef DLX_BACKENDS_PARTITION_H
#define DLX_BACKENDS_PARTITION_H

#include "backends/lower.h"
#include "backends/part.h"

/* A part and whose it is. */
typedef struct dlx_placed {
    dlx_part part;
    uint32_t home; /* index of `homes` */
} dlx_placed;

typedef struct dlx_partition {
    dlx_placed *parts; /* [n_parts] in an order in which they can run, behind the nodes that the method computes */
    size_t n_parts;
    const bool *outside; /* [n_nodes of the graph] nodes that the method computes */
} dlx_partition;

/* Is the node computed by the method itself, in operators of the stock runtime, whatever homes there are? Rows that are
 * looked up, integers, and rows in front of the stored ones' end. Updates of states are, where no home takes them. */
bool dlx_is_outside(const dlx_graph *g, const dlx_node *n);

/*
 * Every node that is not outside belongs to the first home that takes it; DLX_E_UNSUPPORTED names one that none takes.
 * A state that a home updates is read in the part that updates it, or DLX_E_UNSUPPORTED says that it is not.
 * A home with `layers` gets a part of its own for each so many decoder layers. Nodes run as late as those that read
 * them allow, so that a part is not split for what only its end needs. Memory is the arena's.
 */
dlx_status dlx_partition_make(dlx_partition *out, dlx_arena *arena, const dlx_graph *g, const dlx_home *homes,
                              size_t n_homes, dlx_error *err);

#endif
