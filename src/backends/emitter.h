/*
 * Inside of lower.c and states.c: a method on its way.
 */
#ifndef DLX_BACKENDS_EMITTER_H
#define DLX_BACKENDS_EMITTER_H

#include "backends/lower.h"
#include "backends/partition.h"

enum { DLX_EMIT_ARENAS = 3, DLX_EMIT_OPERATORS = 8 };

typedef struct dlx_emitter {
    const dlx_graph *g;
    const dlx_lower_request *request;
    dlx_arena *arena;
    dlx_error *err;
    dlx_partition partition;
    dlx_delegate *delegates; /* [partition.n_parts] */
    dlx_pte_delegate *called;
    uint32_t *evalue;       /* [n_values] EValue of a graph value, DLX_NONE */
    int32_t *constant_blob; /* [n_values] of a graph value that is a tensor of the program, -1 */
    dlx_evalue *values;     /* of the plan */
    uint32_t n_values;
    dlx_instruction *instructions;
    uint32_t n_instructions;
    dlx_pte_blob *constants, *others; /* others: payloads and named data; [n_constants] of them stand in front */
    uint32_t n_constants, n_others;
    dlx_pte_operator *operators; /* [DLX_EMIT_OPERATORS] of the plan */
    uint32_t n_operators;
    uint64_t arena_bytes[DLX_EMIT_ARENAS]; /* 1: what the method computes; 2: states */
} dlx_emitter;

dlx_status dlx_emit_no_memory(const dlx_emitter *e);
uint32_t dlx_emit_evalue(dlx_emitter *e, dlx_evalue v);
/* The EValue of a tensor, made when first asked for. */
uint32_t dlx_emit_tensor(dlx_emitter *e, uint32_t id);
/* A place of its own in an arena, unless it has one: all are alive while the method runs. */
void dlx_emit_plan(dlx_emitter *e, uint32_t evalue, uint32_t arena);
/* Whether a delegate keeps the state, counted from the first: the method does not have it. */
bool dlx_emit_is_kept(const dlx_emitter *e, size_t state);
dlx_status dlx_emit_kernel(dlx_emitter *e, const char *name, const char *overload, const int32_t *args, uint32_t n);

/* ---- states.c: nothing where the method has no states ---- */

/* In front of the delegates: the states' stored rows, as views of their memory. */
dlx_status dlx_emit_parts(dlx_emitter *e);
/* Behind them: new rows into the states. */
dlx_status dlx_emit_puts(dlx_emitter *e);

#endif
