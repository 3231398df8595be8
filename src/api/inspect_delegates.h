/* What a delegate's payload and options say, in a description of a file. */
#ifndef DLX_API_INSPECT_DELEGATES_H
#define DLX_API_INSPECT_DELEGATES_H

#include "base/text_buffer.h"
#include "format/coreml.h"
#include "format/pte.h"
#include "format/qnn.h"

typedef struct dlx_delegate_view {
    const dlx_pte_delegate *delegate;
    uint64_t payload_bytes;
    bool known;    /* a backend whose payloads are read here */
    bool readable; /* and this one was; else: */
    dlx_error why_not;
    bool has_calls;                    /* it says of itself: */
    uint32_t inputs, outputs;          /* what a call of it takes and gives */
    uint64_t weight_bytes;             /* of its constants, in the payload or in named data; QNN: not known */
    const dlx_counted_word *operators; /* [n_operators] */
    uint32_t n_operators;
    dlx_coreml_contents coreml; /* of "CoreMLBackend" */
    dlx_qnn_contents qnn;       /* of "QnnBackend" */
    bool has_target;
    dlx_qnn_target target;
} dlx_delegate_view;

/*
 * Memory is the arena's. Fails only where memory or the system does: what is damaged is said in the view. *left: bytes
 * that may still be looked at, for payloads may be said to be each other, or in each other.
 */
dlx_status dlx_delegate_view_open(dlx_delegate_view *v, dlx_arena *arena, const dlx_pte *pte,
                                  const dlx_pte_delegate *delegate, uint64_t *left, dlx_error *err);

/* "CoreMLBackend, payload 123 bytes"; options and contents, each a line that is indented. */
void dlx_put_delegate_name(dlx_text_buffer *t, const dlx_delegate_view *v);
void dlx_put_delegate_lines(dlx_text_buffer *t, const dlx_delegate_view *v);
/* {"id":"CoreMLBackend","payload_bytes":123,...} */
void dlx_put_delegate_json(dlx_text_buffer *t, const dlx_delegate_view *v);

/* "2 linear, 1 mul"; {"linear":2,"mul":1} */
void dlx_put_counts(dlx_text_buffer *t, const dlx_counted_word *words, uint32_t n);
void dlx_put_counts_json(dlx_text_buffer *t, const dlx_counted_word *words, uint32_t n);

#endif
