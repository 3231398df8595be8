/*
 * Inside of the CoreML backend: a part on its way into a program.
 */
#ifndef DLX_BACKENDS_COREML_EMITTER_H
#define DLX_BACKENDS_COREML_EMITTER_H

#include "backends/coreml/coreml.h"
#include "backends/coreml/mil.h"

/* What several nodes share, made once. */
typedef enum dlx_coreml_use {
    DLX_COREML_WEIGHTS, /* of outputs from a number on */
    DLX_COREML_MASK,    /* for a number of heads */
    DLX_COREML_TABLE,   /* with heads */
} dlx_coreml_use;

typedef struct dlx_coreml_shared {
    uint32_t of; /* graph value */
    dlx_coreml_use use;
    int64_t number;
    dlx_mil_value value;
} dlx_coreml_shared;

typedef struct dlx_coreml_emitter {
    const dlx_part *part;
    const dlx_graph *g;
    const dlx_coreml_options *options;
    dlx_arena *arena;
    dlx_error *err;
    dlx_mil mil;
    dlx_blobs blobs;
    dlx_mil_value *value;      /* [n_values] float16 values; no name: it is not there yet */
    dlx_coreml_shared *shared; /* [n_shared] */
    size_t n_shared;
    const char **inputs, **outputs; /* [part->n_inputs], [part->n_outputs] names of features */
    dlx_proto model;                /* the file model.mlmodel */
} dlx_coreml_emitter;

/* What comes of a part: all but the bytes that are streamed. The arena's. */
typedef struct dlx_coreml_program {
    const void *model; /* [model_size] model.mlmodel */
    size_t model_size;
    const dlx_pte_piece *weights; /* [n_weights] weights/weight.bin */
    uint32_t n_weights;
    uint64_t weights_size;
    const char **inputs, **outputs; /* names of features, as many as the part has values */
} dlx_coreml_program;

/* program.c */
dlx_status dlx_coreml_compile(dlx_coreml_program *out, dlx_arena *arena, const dlx_part *part,
                              const dlx_coreml_options *options, dlx_error *err);
dlx_status dlx_coreml_no_memory(dlx_error *err, const dlx_part *part);

/* lower.c: what a caller chose, or the defaults; DLX_E_INVALID for what there is not. */
dlx_status dlx_coreml_options_of(const dlx_coreml_options **out, const dlx_lowering *how, dlx_error *err);

/* nodes.c: one node */
dlx_status dlx_coreml_node(dlx_coreml_emitter *e, const dlx_node *n);
/* An operand: computed, or a constant that becomes float16. */
dlx_mil_value dlx_coreml_operand(dlx_coreml_emitter *e, uint32_t id);
/* What is there already, or room for it, without a name, until the next call; NULL: memory is out. */
dlx_coreml_shared *dlx_coreml_share(dlx_coreml_emitter *e, uint32_t of, dlx_coreml_use use, int64_t number);

/* linear.c */
dlx_status dlx_coreml_linear(dlx_coreml_emitter *e, const dlx_node *n, dlx_mil_value *out);
bool dlx_coreml_takes_linear(const dlx_graph *g, const dlx_node *n);
/* The constant as one of float16. */
dlx_value dlx_coreml_half(const dlx_value *v);

/* attention.c */
dlx_mil_value dlx_coreml_attention(dlx_coreml_emitter *e, const dlx_node *n);
dlx_mil_value dlx_coreml_rope(dlx_coreml_emitter *e, const dlx_node *n);
dlx_mil_value dlx_coreml_rms_norm(dlx_coreml_emitter *e, const dlx_node *n);

#endif
