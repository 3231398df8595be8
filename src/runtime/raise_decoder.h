/*
 * Raising of whole decoders: a program that keeps its keys and values in states, or that writes attention as PyTorch
 * decomposes it, becomes forward(tokens [T], positions [T], k_0, v_0, ... [P,K,D]) -> logits [T,V], new k_0, v_0, ...
 * with one ATTENTION a layer: what sessions run.
 *
 * The program is read as a function of rows. Every value gets a form, which says what it is in terms of the rows of the
 * call: a tensor with a row axis, the start position, a cache with its new rows in place, scores of all heads, a causal
 * mask. Each form follows from the operands' forms by the operator's rule, and a rule that does not apply gives no
 * form; a program whose outputs have none stays as it is. Nothing is assumed: masks are compared entry by entry,
 * positions must be those of the rows, caches must be read as a whole.
 */
#ifndef DLX_RUNTIME_RAISE_DECODER_H
#define DLX_RUNTIME_RAISE_DECODER_H

#include "base/status.h"
#include "graph/graph.h"
#include "graph/rewrite.h"
#include "runtime/raise.h"

enum { DLX_MOST_LAYERS = 256 };

typedef enum dlx_form_kind {
    DLX_FORM_NONE = 0, /* not understood */
    DLX_FORM_CONST,    /* does not depend on the call */
    DLX_FORM_ROWS,     /* row t belongs to row t of the call */
    DLX_FORM_START,    /* a tensor of one element: the position of row 0 */
    DLX_FORM_COUNT,    /* T, a tensor of one element */
    DLX_FORM_END,      /* start + T */
    DLX_FORM_RANGE,    /* 0, 1, ... T-1 */
    DLX_FORM_CACHE,    /* keys or values of all positions, those of this call's rows in place */
    DLX_FORM_PAST,     /* those of the positions before the start */
    DLX_FORM_MASK,     /* row t: 0 (true) for keys up to its position, -inf (false) behind */
    DLX_FORM_SCORES,   /* queries times keys, scaled */
    DLX_FORM_WEIGHTS,  /* softmax of scores */
    DLX_FORM_HIDDEN,   /* bool of scores: is it -inf */
    DLX_FORM_SEEN,     /* ... and its negation */
    DLX_FORM_ANY,      /* for each row: is any key seen. True, as a row sees itself */
    DLX_FORM_NEVER,    /* the negation */
} dlx_form_kind;

/* What an axis of a cache or of scores is. */
typedef enum dlx_axis {
    DLX_AXIS_ONE,
    DLX_AXIS_ROW,
    DLX_AXIS_KEY,
    DLX_AXIS_KV,
    DLX_AXIS_GROUP,
    DLX_AXIS_HEAD,
    DLX_AXIS_DIM
} dlx_axis;

typedef struct dlx_form {
    dlx_form_kind kind;
    uint32_t v;                /* ROWS: its value in the new graph, [T, ..]. SCORES: the queries [T,H,D] */
    int8_t axis[DLX_MAX_RANK]; /* ROWS: dimension of v for each dimension, -1: a dimension of 1; others: dlx_axis */
    uint8_t rank;              /* of the old value */
    bool last;                 /* ROWS: the old value is the last row alone */
    bool masked;               /* SCORES: the causal mask was added. MASK: it is of floats */
    int32_t cache;             /* CACHE, SCORES, WEIGHTS: of the keys; index into dlx_decoder.cache */
    float scale;               /* CACHE, SCORES: what it was multiplied with */
} dlx_form;

typedef struct dlx_decoder_cache {
    uint32_t old;   /* state or input of the old graph */
    uint32_t fresh; /* new graph: this call's rows [T,K,D]; DLX_NONE: not stored yet */
    uint32_t input; /* new graph: cache input [P,K,D]; made when an attention reads it */
    int64_t positions, kv, dim;
    int32_t layer; /* attention that reads it, -1: none yet */
    bool state;
    bool joined; /* a state whose rows before the start are joined with the call's: all of them are seen */
} dlx_decoder_cache;

typedef struct dlx_decoder {
    dlx_rewrite r;
    dlx_graph *old; /* r.from, to read its constants into memory */
    dlx_form *form; /* [from->n_values] */
    dlx_decoder_cache *cache;
    size_t n_caches;
    uint32_t tokens, positions; /* old inputs */
    uint32_t new_positions;
    int64_t rows; /* bound of T */
    int64_t most; /* of the new graph */
    bool dynamic; /* T varies */
    bool whole;   /* the caches are parts of one input, which goes out as a whole */
    bool causal;  /* the masks of all attentions */
    int32_t layers;
    uint32_t order[2][DLX_MOST_LAYERS]; /* [keys, values][layer]: caches */
    dlx_error *err;
} dlx_decoder;

/* In place. *raised: whether the program is a decoder; if not, *g stays as it was. Fails only when memory is out. */
dlx_status dlx_raise_decoder(dlx_graph *g, bool *raised, dlx_error *err);

/* Rules of the parts (raise_rows.c, raise_attention.c). Each fills the form of node i's result and returns true, or
 * leaves it: not its operator, or not understood. A failure is in d->err. */
bool dlx_form_rows(dlx_decoder *d, const dlx_node *n, dlx_form *out);
bool dlx_form_attention(dlx_decoder *d, const dlx_node *n, dlx_form *out);
/* The new value for a constant; DLX_NONE: memory is out. */
uint32_t dlx_form_const(dlx_decoder *d, uint32_t old);
bool dlx_is_positions(const dlx_decoder *d, const dlx_form *f);
/* A row tensor whose old dimensions row, head and dim (others are 1) make up [T,H,D]; *out is that in the new graph. */
bool dlx_rows_by_head(dlx_decoder *d, uint32_t value, int row, int head, int dim, int64_t heads, int64_t size,
                      uint32_t *out);
/* Two new values of one shape [T,K,D] that are the same rows. */
bool dlx_same_rows(const dlx_decoder *d, uint32_t a, uint32_t b);
/* Tokens or positions of the new graph, [T]; `name` NULL: `otherwise`. */
bool dlx_decoder_input(dlx_decoder *d, const char *name, const char *otherwise, uint32_t *out);

/* ---- raise_whole.c: forward(ids [1,B], positions [1,B], cache [L,2,1,K,M,D], mask [L,1,1,B,M+B], insert [L,1,1,M,B],
 * keep [L,1,1,M,1]) -> logits, cache. Cache 2 * i holds the keys of layer i, 2 * i + 1 its values. ---- */

/* Whether a graph has these inputs and outputs. */
bool dlx_is_whole(const dlx_graph *g);
bool dlx_whole_bind(dlx_decoder *d);
/* Value v as the part of the cache that it is. */
bool dlx_whole_past(const dlx_decoder *d, uint32_t v, dlx_form *out);
/* Whether value v, which is added to scores, is the mask of their layer: as it came in, or corrected. */
bool dlx_whole_mask(dlx_decoder *d, uint32_t v, const dlx_form *scores);
/* Whether the cache that goes out is the one that came in, with rows put where the matrix says. */
bool dlx_whole_kept(dlx_decoder *d);

#endif
