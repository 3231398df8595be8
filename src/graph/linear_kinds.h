/*
 * What kinds of linear layers there are: one table of the element types that a LINEAR may put together. The verifier
 * and the importers read it; the loops of each kind are the table of runtime/linear.c.
 */
#ifndef DLX_GRAPH_LINEAR_KINDS_H
#define DLX_GRAPH_LINEAR_KINDS_H

#include "graph/graph.h"

/* How many scales the weights have. */
typedef enum dlx_scaling {
    DLX_UNSCALED,
    DLX_PER_ROW,   /* F32, one for each output column */
    DLX_PER_GROUP, /* BF16, one for each group of consecutive inputs of an output column */
} dlx_scaling;

/* X(NAME, word, activations, weights, scaling). Outputs are F32, and biases, but for QS8's: I32 in units of the inputs'
 * scale times the row's. */
#define DLX_LINEAR_MAP(X)                                                                                              \
    X(F32, "f32-f32w", DLX_F32, DLX_F32, DLX_UNSCALED)                                                                 \
    X(F32_F16W, "f32-f16w", DLX_F32, DLX_F16, DLX_UNSCALED)                                                            \
    X(F32_BF16W, "f32-bf16w", DLX_F32, DLX_BF16, DLX_UNSCALED)                                                         \
    X(F32_QC8W, "f32-qc8w", DLX_F32, DLX_I8, DLX_PER_ROW)                                                              \
    X(QD8_QC8W, "qd8-qc8w", DLX_QD8, DLX_I8, DLX_PER_ROW)                                                              \
    X(QD8_QC4W, "qd8-qc4w", DLX_QD8, DLX_I4, DLX_PER_ROW)                                                              \
    X(QD8_QB4W, "qd8-qb4w", DLX_QD8, DLX_I4, DLX_PER_GROUP)                                                            \
    X(QS8_QC8W, "qs8-qc8w", DLX_QS8, DLX_I8, DLX_PER_ROW)

typedef enum dlx_linear_kind {
#define DLX_LINEAR_ENUM(name, word, x, w, scaling) DLX_LINEAR_##name,
    DLX_LINEAR_MAP(DLX_LINEAR_ENUM)
#undef DLX_LINEAR_ENUM
        DLX_LINEAR_KINDS
} dlx_linear_kind;

/* " f32-f32w qd8-qc8w", for messages. */
#define DLX_LINEAR_WORD(name, word, x, w, scaling) " " word
#define DLX_LINEAR_WORDS                           DLX_LINEAR_MAP(DLX_LINEAR_WORD)

/* How weights w of graph g are scaled. */
dlx_scaling dlx_scaling_of(const dlx_graph *g, const dlx_value *w);
/* Inputs that share a scale of weights with one for each group; 0 for others. */
size_t dlx_group_of(const dlx_graph *g, const dlx_value *w);
/* "f32-f32w", ... */
const char *dlx_linear_word(dlx_linear_kind kind);

/*
 * Static quantisation: a number v stands as int8 q for (q - zero) * scale. The grid of a QS8 value is in the attributes
 * of the CONVERT that makes it, that of a LINEAR over such a value, whose results are on it, in the LINEAR's: attr.f[0]
 * and attr.axis.
 */
typedef struct dlx_grid8 {
    float scale;  /* positive, normal */
    int32_t zero; /* in [-128, 127] */
} dlx_grid8;
static inline dlx_grid8 dlx_grid8_of(const dlx_node *n)
{
    return (dlx_grid8){.scale = n->attr.f[0], .zero = n->attr.axis};
}
bool dlx_grid8_ok(dlx_grid8 grid);
/* Attributes of a CONVERT to QS8, or of a LINEAR over it. */
dlx_attr dlx_grid8_attr(dlx_grid8 grid);

/* The kind of a product of activations x with weights w, both of graph g; DLX_LINEAR_KINDS when these do not go
 * together. */
dlx_linear_kind dlx_linear_kind_of(const dlx_graph *g, const dlx_value *x, const dlx_value *w);

#endif
