/*
 * From a graph to a method of a program: what backends take becomes calls of their delegates, the rest operators of the
 * stock runtime.
 */
#ifndef DLX_BACKENDS_LOWER_H
#define DLX_BACKENDS_LOWER_H

#include "backends/part.h"

/* A backend that may take nodes. */
typedef struct dlx_home {
    const char *name; /* for messages: "XNNPACK" */
    dlx_takes_node_fn takes;
    dlx_lower_part_fn lower_part;
    int32_t layers; /* decoder layers of one delegate at most; 0: all */
} dlx_home;

/* All methods of a program, where there are several: delegates of one may share with those of the others. */
typedef struct dlx_lowered_methods {
    const struct dlx_partition *partitions; /* [n] of their graphs, over the same homes */
    const char *const *names;               /* [n] */
    size_t n, this;                         /* this: of the graph at hand */
} dlx_lowered_methods;

/* What dlx_lower needs to know besides the graph. */
typedef struct dlx_lower_request {
    dlx_lowering how;            /* its siblings are found here */
    dlx_lowered_methods methods; /* n is 0: the graph is the only one */
    const dlx_home *homes;       /* [n_homes]; the first that takes a node gets it */
    size_t n_homes;
} dlx_lower_request;

/*
 * The method `how.method` of a graph: gathers of rows, delegate calls in an order in which they can run, updates of
 * states. On return `plan` is complete and `blobs` (array in `arena`) holds the constants, then payloads and named
 * data, in the order dlx_pte_write wants; blob->user and piece->user point at the dlx_value to stream. `g` must outlive
 * both. Keys are the constants' names, with how.mark behind them unless it is NULL. EMBEDDING over anything but a
 * constant table and a graph input, and operators that no home takes, are DLX_E_UNSUPPORTED.
 */
dlx_status dlx_lower(dlx_pte_plan *plan, dlx_pte_blob **blobs, uint32_t *n_blobs, dlx_arena *arena, const dlx_graph *g,
                     const dlx_lower_request *request, dlx_error *err);

#endif
