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
    DLX_COREML_PLACE,   /* of the first position, in so many dimensions */
} dlx_coreml_use;

typedef struct dlx_coreml_shared {
    uint32_t of; /* graph value */
    dlx_coreml_use use;
    int64_t number;
    dlx_mil_value value;
} dlx_coreml_shared;

/* What goes into a program or comes out of it, or is kept by it between calls. */
typedef struct dlx_coreml_feature {
    uint32_t value; /* of the graph; of a state what it is in front of a call */
    const char *name;
    dlx_mil_type type;
} dlx_coreml_feature;

typedef struct dlx_coreml_features {
    dlx_coreml_feature *in, *out, *state; /* [n_in], [n_out], [n_states] in the part's order */
    size_t n_in, n_out, n_states;
} dlx_coreml_features;

typedef struct dlx_coreml_emitter {
    const dlx_part *part;
    const dlx_graph *g;
    const dlx_coreml_options *options;
    dlx_arena *arena;
    dlx_error *err;
    dlx_mil mil;
    dlx_mil_value *value;      /* [n_values] float16 values; no name: it is not there yet */
    dlx_coreml_shared *shared; /* [n_shared] */
    size_t n_shared;
    dlx_coreml_features features;
} dlx_coreml_emitter;

/* A function of a program: what a part becomes. */
typedef struct dlx_coreml_function {
    const char *name;
    const dlx_part *part;
    dlx_coreml_features features; /* filled in */
} dlx_coreml_function;

/* What comes of parts: all but the bytes that are streamed. The arena's. */
typedef struct dlx_coreml_program {
    const void *model; /* [model_size] model.mlmodel */
    size_t model_size;
    const dlx_pte_piece *weights; /* [n_weights] weights/weight.bin */
    uint32_t n_weights;
    uint64_t weights_size;
    const dlx_coreml_function *functions; /* [n_functions] */
    size_t n_functions;
} dlx_coreml_program;

/* program.c: what a program of one function calls it, */
extern const char dlx_coreml_main[];
/* and a program of n functions, which have their weights in common. Several are there from iOS18 on. */
dlx_status dlx_coreml_compile(dlx_coreml_program *out, dlx_arena *arena, dlx_coreml_function *functions, size_t n,
                              const dlx_coreml_options *options, dlx_error *err);
dlx_status dlx_coreml_no_memory(dlx_error *err, const dlx_part *part);

/* lower.c: what a caller chose, or the defaults; DLX_E_INVALID for what there is not. */
dlx_status dlx_coreml_options_of(const dlx_coreml_options **out, const dlx_lowering *how, dlx_error *err);

/* features.c: all that a part has, in the order of its values. */
dlx_status dlx_coreml_find_features(dlx_coreml_emitter *e);

/* states.c */
bool dlx_coreml_takes_put(const dlx_graph *g, const dlx_node *n);
bool dlx_coreml_takes_index(const dlx_graph *g, const dlx_node *n);
/* Whether the part keeps a state that is this input of the graph in front of a call, or this output behind it. */
bool dlx_coreml_keeps_input(const dlx_part *part, uint32_t value);
bool dlx_coreml_keeps_output(const dlx_part *part, uint32_t value);
void dlx_coreml_put_rows(dlx_coreml_emitter *e, const dlx_node *n);
/* What a state holds where the call's rows go. */
dlx_mil_value dlx_coreml_rows(dlx_coreml_emitter *e, const dlx_node *n);

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
