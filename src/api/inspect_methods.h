/* What the methods of a program take, give and need, in a description of a file. */
#ifndef DLX_API_INSPECT_METHODS_H
#define DLX_API_INSPECT_METHODS_H

#include "api/inspect_steps.h"
#include "base/text_buffer.h"
#include "format/pte.h"
#include "runtime/program.h"

/* A method as dlx_method_open would run it, without its weights. */
typedef struct dlx_method_view {
    bool callable;
    dlx_error why_not;   /* when it is not */
    dlx_program program; /* when it is */
    /* Bytes; file: what of it stays in memory; described: what is made of it, its threads, the handle. */
    uint64_t file, packed, states, activations, described;
    int threads;
} dlx_method_view;

/* `arena` is that of the program. Fails only where memory or the system does; free in any case. */
dlx_status dlx_method_view_open(dlx_method_view *v, const dlx_pte *pte, const dlx_arena *arena, const char *method,
                                dlx_error *err);
void dlx_method_view_free(dlx_method_view *v);

/* Nothing to take and nothing to run: metadata. */
bool dlx_is_constant_method(const dlx_pte_plan *p);
/* The values that it holds: 1, 2, "text". */
void dlx_put_values(dlx_text_buffer *t, const dlx_pte_plan *p);
void dlx_put_values_json(dlx_text_buffer *t, const dlx_pte_plan *p);

/* Inputs, outputs and steps; with a view also what runs how and the memory that it takes. */
void dlx_put_method(dlx_text_buffer *t, const dlx_pte_plan *p, const dlx_method_steps *steps, const dlx_method_view *v);
void dlx_put_method_json(dlx_text_buffer *t, const dlx_pte_plan *p, const dlx_method_steps *steps,
                         const dlx_method_view *v);

#endif
