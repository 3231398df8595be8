/*
 * Inside of graph building: what build_graph.c (the decoder) and build_kv.c (the forms of its cache) share.
 */
#ifndef DLX_MODEL_BUILDER_H
#define DLX_MODEL_BUILDER_H

#include "graph/explicit_mask.h"
#include "model/checkpoint.h"

typedef struct dlx_kv_rules dlx_kv_rules;

typedef struct dlx_builder {
    dlx_graph *g;
    const dlx_checkpoint *c;
    int32_t rows, context;
    int32_t reach; /* positions that have a row in the tables: rows that pad a call may lie behind the context */
    int32_t layer; /* -1 outside of layers */
    const dlx_kv_rules *kv;
    uint32_t tokens, positions; /* [T] of the call: graph inputs, or those without their dimension of 1 */
    uint32_t cos, sin;          /* rows of this call's positions */
    uint32_t (*cache)[2];       /* [layers] caches by caller: inputs; states: the rows before this call's */
    uint32_t (*fresh)[2];       /* [layers] keys and values of this call's rows [T,K,D] */
    uint32_t (*state)[2];       /* [layers] states [S,K,D] */
    uint32_t seen;              /* fixed: the mask */
    uint32_t stored[2];         /* fixed states: [T,1,1] 1 for rows that are stored, and 1 for those that are not */
    uint32_t whole;             /* explicit: the cache that comes in */
    dlx_explicit_mask mask;     /* and the other inputs */
    uint32_t (*taps)[2]; /* [DLX_LAYER_LINEARS] what goes into the linears of a layer and comes out; NULL: not asked */
    size_t n_taps;
    dlx_error *err;
} dlx_builder;

/* A form of the cache (dlx_kv). Each function leaves its failure in b->err. */
struct dlx_kv_rules {
    bool batch;      /* tokens, and logits, have a dimension of 1 in front */
    dlx_dtype cache; /* fixed: of what comes in and goes out */
    /* All graph inputs. */
    void (*inputs)(dlx_builder *b);
    /* Attention of rows q [T,H,D] over the cache and k, v [T,K,D] -> [T,H*D]. */
    uint32_t (*attend)(dlx_builder *b, uint32_t q, uint32_t k, uint32_t v);
    /* All graph outputs, behind the last layer. */
    void (*outputs)(dlx_builder *b, uint32_t logits);
};

extern const dlx_kv_rules dlx_kv_forms[]; /* by dlx_kv */

/* Nodes of the current layer. A DLX_NONE among the operands gives DLX_NONE. */
uint32_t dlx_build_node(dlx_builder *b, dlx_op op, const uint32_t *in, int inputs, const dlx_attr *attr);
uint32_t dlx_build_binary(dlx_builder *b, dlx_op op, uint32_t x, uint32_t y);
uint32_t dlx_build_reshape(dlx_builder *b, uint32_t x, int rank, const int64_t *shape);
/* A value that could not be made is an error here and now: DLX_NONE would pass for a bias or cache that is left out. */
uint32_t dlx_build_made(dlx_builder *b, uint32_t value);
/* What a value is called where it leaves a part of the graph; nothing for DLX_NONE. */
void dlx_build_name(dlx_builder *b, uint32_t v, const char *name);
/* 1 / sqrt(head_dim) */
float dlx_build_scale(const dlx_builder *b);

/* build_kv.c: one integer for each row of the call [T]. */
uint32_t dlx_build_row_input(dlx_builder *b, const char *name);
/* b->cache[b->layer]: keys and values that come in [P,K,D]. */
void dlx_build_cache_inputs(dlx_builder *b);

/* build_explicit.c */
void dlx_explicit_inputs(dlx_builder *b);
uint32_t dlx_explicit_attend(dlx_builder *b, uint32_t q, uint32_t k, uint32_t v);
void dlx_explicit_outputs(dlx_builder *b, uint32_t logits);

#endif
