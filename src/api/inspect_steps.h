/* What a method of a program does, one step behind the other: runs of operators, and calls of delegates. */
#ifndef DLX_API_INSPECT_STEPS_H
#define DLX_API_INSPECT_STEPS_H

#include "api/inspect_delegates.h"
#include "base/text_buffer.h"
#include "format/pte.h"

/* Instructions behind each other, up to a delegate's call, or that. */
typedef struct dlx_method_step {
    int32_t delegate;                  /* -1: operators */
    uint32_t inputs, outputs;          /* of the call, where has_calls */
    bool again;                        /* an earlier step calls that delegate, too */
    const dlx_counted_word *operators; /* [n_operators] */
    uint32_t n_operators;
} dlx_method_step;

typedef struct dlx_method_steps {
    const dlx_method_step *step;
    uint32_t n;
    dlx_delegate_view *delegates; /* [n_delegates] of the plan */
    uint32_t n_delegates;
    const bool *called; /* [n_delegates] */
    dlx_arena arena;
} dlx_method_steps;

/* Bytes of payloads that are looked at, whatever a file says: its size so often. */
enum { DLX_MOST_PAYLOADS = 16 };

/* Fails only where memory or the system does; free in any case, zeros too. *left: of those bytes. */
dlx_status dlx_steps_open(dlx_method_steps *out, const dlx_pte *pte, const dlx_pte_plan *plan, uint64_t *left,
                          dlx_error *err);
void dlx_steps_free(dlx_method_steps *s);

void dlx_put_steps(dlx_text_buffer *t, const dlx_method_steps *s);
/* ,"delegates":[...],"steps":[{"operators":{...}},{"delegate":0,"inputs":3,"outputs":1}] */
void dlx_put_steps_json(dlx_text_buffer *t, const dlx_method_steps *s);

#endif
