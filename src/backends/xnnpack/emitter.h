/*
 * Inside of the XNNPACK backend: a method on its way, for emit.c and emit_states.c.
 */
#ifndef DLX_BACKENDS_XNNPACK_EMITTER_H
#define DLX_BACKENDS_XNNPACK_EMITTER_H

#include "backends/xnnpack/xnnpack.h"
#include "format/xnnpack.h"

enum { DLX_EMIT_ARENAS = 3, DLX_EMIT_OPERATORS = 8 };

typedef struct dlx_emitter {
    const dlx_graph *g;
    const char *mark; /* of the file, behind its keys; or NULL */
    dlx_arena *arena;
    dlx_error *err;
    dlx_shape *initial;     /* [n_values] shapes with every dynamic dimension 1: what the payload declares */
    uint32_t *xnn_id;       /* [n_values] payload id of a graph value, DLX_NONE */
    uint32_t *packed_id;    /* [n_values] that of a constant where XNNPACK packs it, DLX_NONE */
    uint32_t *evalue;       /* [n_values] EValue of a graph value, DLX_NONE */
    int32_t *constant_blob; /* [n_values] blob in the constant segment, -1 */
    dlx_xnn_graph x;
    dlx_evalue *values; /* of the plan */
    uint32_t n_values;
    dlx_instruction *instructions;
    uint32_t n_instructions;
    dlx_pte_blob *blobs;
    uint32_t n_blobs;
    int32_t *args; /* delegate call */
    uint32_t n_args;
    dlx_pte_operator *operators; /* [DLX_EMIT_OPERATORS] of the plan */
    uint32_t n_operators;
    uint64_t arena_bytes[DLX_EMIT_ARENAS]; /* 1: gathered rows and what the method computes; 2: states */
} dlx_emitter;

dlx_status dlx_emit_no_memory(const dlx_emitter *e);
/* Is the node computed by the method itself and not by the delegate? */
bool dlx_emit_outside(const dlx_graph *g, const dlx_node *n);
uint32_t dlx_emit_evalue(dlx_emitter *e, dlx_evalue v);
/* The EValue of a tensor, made when first asked for. */
uint32_t dlx_emit_tensor(dlx_emitter *e, uint32_t id);
/* A place of its own in an arena: all are alive at the delegate call. */
void dlx_emit_plan(dlx_emitter *e, uint32_t evalue, uint32_t arena);
dlx_status dlx_emit_kernel(dlx_emitter *e, const char *name, const char *overload, const int32_t *args, uint32_t n);

/* ---- emit_states.c: nothing where the graph has no states ---- */

/* In front of the delegate: the states' stored rows, as views of their memory. */
dlx_status dlx_emit_parts(dlx_emitter *e);
/* Behind it: new rows into the states. */
dlx_status dlx_emit_puts(dlx_emitter *e);
/* Graph input i, a state: the value that the delegate reads of it. */
uint32_t dlx_emit_state_part(const dlx_emitter *e, size_t input);
/* Graph output i, a state: the rows that the delegate computes for it. */
uint32_t dlx_emit_state_rows(const dlx_emitter *e, size_t output);

#endif
