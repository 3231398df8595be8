/*
 * What kinds of linear layers there are: one table of the element types that a LINEAR may put together. The verifier
 * and the importers read it; the loops of each kind are the table of runtime/linear.c.
 */
#ifndef DLX_GRAPH_LINEAR_KINDS_H
#define DLX_GRAPH_LINEAR_KINDS_H

#include "graph/graph.h"

/* X(NAME, word, activations, weights, scaled): scaled: the weights have one scale per output column (dlx_value.scales).
 * Outputs and biases are F32. */
#define DLX_LINEAR_MAP(X)                                                                                              \
    X(F32, "f32", DLX_F32, DLX_F32, false)                                                                             \
    X(QD8_QC8W, "qd8-qc8w", DLX_QD8, DLX_I8, true)

typedef enum dlx_linear_kind {
#define DLX_LINEAR_ENUM(name, word, x, w, scaled) DLX_LINEAR_##name,
    DLX_LINEAR_MAP(DLX_LINEAR_ENUM)
#undef DLX_LINEAR_ENUM
        DLX_LINEAR_KINDS
} dlx_linear_kind;

/* " f32 qd8-qc8w", for messages. */
#define DLX_LINEAR_WORD(name, word, x, w, scaled) " " word
#define DLX_LINEAR_WORDS                          DLX_LINEAR_MAP(DLX_LINEAR_WORD)

/* The kind of a product of activations x with weights w; DLX_LINEAR_KINDS when these do not go together. */
dlx_linear_kind dlx_linear_kind_of(const dlx_value *x, const dlx_value *w);
#endif
