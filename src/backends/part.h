/*
 * What a backend is to the rest: it takes a part of a method's graph and gives a delegate for it. A part is some of the
 * graph's nodes, none of which needs, by way of others, what the part computes; lower.c puts parts together.
 */
#ifndef DLX_BACKENDS_PART_H
#define DLX_BACKENDS_PART_H

#include "base/arena.h"
#include "base/status.h"
#include "base/threads.h"
#include "format/pte.h"
#include "graph/graph.h"

typedef struct dlx_part {
    const dlx_graph *g;
    const uint32_t *nodes; /* [n_nodes] in execution order */
    size_t n_nodes;
    const uint32_t *inputs; /* [n_inputs] values that come from outside, but for constants, in the order of values */
    size_t n_inputs;
    const uint32_t *outputs; /* [n_outputs] values that others read, or the graph's outputs, in the order of values */
    size_t n_outputs;
} dlx_part;

/* A constant that a delegate reads by key. */
typedef struct dlx_named_constant {
    const char *key;
    uint32_t value;
} dlx_named_constant;

/* Data of the file that delegates of several methods refer to by key. */
typedef struct dlx_named_data {
    const char *key;             /* NULL: there is none */
    const dlx_pte_piece *pieces; /* [n_pieces] */
    uint32_t n_pieces;
} dlx_named_data;

/* A part's delegate. All memory is the arena's that lower_part was given, or the graph's. */
typedef struct dlx_delegate {
    const char *id;            /* as the runtime knows the backend: "XnnpackBackend" */
    const dlx_pte_spec *specs; /* [n_specs] */
    uint32_t n_specs;
    const dlx_pte_piece *pieces; /* [n_pieces] the payload; user: a dlx_value whose bytes are streamed */
    uint32_t n_pieces;
    const uint32_t *args; /* [n_args] graph values in the order of the call: inputs, constants that the program holds as
                             tensors, outputs */
    uint32_t n_args;
    const dlx_named_constant *named; /* [n_named] */
    uint32_t n_named;
    dlx_named_data data;
} dlx_delegate;

/* A part at the same place of another method of the program: the same layers, for calls of another size. */
typedef struct dlx_sibling {
    const char *method;
    const dlx_part *part;
} dlx_sibling;

/* What parts of one method have in common. */
typedef struct dlx_lowering {
    const char *method; /* its name in the program: "forward" */
    const char *mark;   /* of the file (format/keys.h); NULL: none. Of constant length, different for different files */
    dlx_pool *pool;     /* NULL: the calling thread */
    const void *options;         /* the backend's own; NULL: its defaults */
    const dlx_sibling *siblings; /* [n_siblings] method by method, the part itself among them; 0: it is on its own */
    size_t n_siblings;
} dlx_lowering;

/* Must give the same but for what depends on the mark each time it is called, and layouts must not depend on that. */
typedef dlx_status (*dlx_lower_part_fn)(dlx_delegate *out, dlx_arena *arena, const dlx_part *part,
                                        const dlx_lowering *how, dlx_error *err);
/* Whether the backend has the node as it stands. */
typedef bool (*dlx_takes_node_fn)(const dlx_graph *g, const dlx_node *n);

#endif
