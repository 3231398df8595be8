/* Inside of the QNN backend: a graph on its way into the library; build.c, constants.c, nodes.c, grids.c. */
#ifndef DLX_BACKENDS_QNN_BUILD_H
#define DLX_BACKENDS_QNN_BUILD_H

#include "backends/qnn/library.h"
#include "backends/qnn/qnn.h"

typedef struct dlx_qnn_build {
    const dlx_qnn_library *lib;
    const dlx_graph *g;        /* of dlx_qnn_expand */
    const dlx_qnn_scale *grid; /* [n_values] of 16-bit numbers; NULL: floats of 16 bits */
    dlx_pool *pool;
    dlx_arena arena;   /* what the library reads until the graph is finalised: names, shapes, scales */
    dlx_arena scratch; /* bytes of a constant, which it copies */
    dlx_qnn_handle context, graph;
    dlx_qnn_tensor **made;            /* [n_values] what a value is inside of the graph; NULL: not yet */
    dlx_qnn_tensor *inputs, *outputs; /* [n_inputs], [n_outputs] outside of it, of the values' own types */
    uint32_t n_tensors, n_ops;
    dlx_error *err;
} dlx_qnn_build;

/* A finalised graph named `method` in a context of its own. On failure there is nothing to end. */
dlx_status dlx_qnn_build_begin(dlx_qnn_build *b, const dlx_qnn_library *lib, const dlx_graph *g,
                               const dlx_qnn_scale *grid, const char *method, dlx_pool *pool, dlx_error *err);
void dlx_qnn_build_end(dlx_qnn_build *b);

/*
 * Grids of all values of g, in `arena`: from `ranges`, and what follows from the operators: values that are moved and
 * not computed share one; weights of a softmax lie in [0, 1]; a mask reaches as far below the scores as a softmax can
 * see. DLX_E_UNSUPPORTED, with the name, where a range is missing.
 */
dlx_status dlx_qnn_grids(const dlx_qnn_scale **out, dlx_arena *arena, const dlx_graph *g,
                         const dlx_activation_ranges *ranges, dlx_error *err);

/* ---- for the files of a build ---- */

dlx_status dlx_qnn_no_memory(const dlx_qnn_build *b);
extern const dlx_qnn_quant dlx_qnn_unquantised;

typedef struct dlx_qnn_shape {
    uint32_t rank;
    int64_t dim[DLX_MAX_RANK];
} dlx_qnn_shape;

static inline dlx_qnn_shape dlx_qnn_shape_of(const dlx_value *v)
{
    dlx_qnn_shape s = {.rank = v->rank};
    for (int i = 0; i < v->rank; i++) s.dim[i] = v->dim[i];
    return s;
}

/* A tensor of the graph; name NULL: one is made up. data: of a STATIC one, copied. */
dlx_status dlx_qnn_add_tensor(dlx_qnn_build *b, dlx_qnn_tensor **out, const char *name, dlx_qnn_role role,
                              dlx_qnn_dtype dtype, const dlx_qnn_quant *quant, const dlx_qnn_shape *shape, void *data,
                              uint64_t bytes);
/* One between nodes, of a value's computing type. */
dlx_status dlx_qnn_add_native(dlx_qnn_build *b, dlx_qnn_tensor **out, uint32_t value, const dlx_qnn_shape *shape);
dlx_qnn_param dlx_qnn_number(const char *name, dlx_qnn_dtype dtype, uint32_t bits);
/* A parameter that is a tensor of numbers of 32 bits. */
dlx_status dlx_qnn_numbers(dlx_qnn_build *b, dlx_qnn_param *out, const char *name, dlx_qnn_dtype dtype,
                           const uint32_t *numbers, uint32_t rows, uint32_t columns);
/* about: the name of what is computed. */
dlx_status dlx_qnn_add_op(dlx_qnn_build *b, const char *type, const char *about, dlx_qnn_tensor *const *in,
                          uint32_t n_in, dlx_qnn_tensor *out, const dlx_qnn_param *params, uint32_t n_params);

/* constants.c: a value of kind CONST in the computing type; weights and bias of a LINEAR, in QNN's order. */
dlx_status dlx_qnn_constant(dlx_qnn_build *b, dlx_qnn_tensor **out, uint32_t value);
/* Zeros in the shape and type of a constant that no other needs. */
dlx_status dlx_qnn_zeros(dlx_qnn_build *b, dlx_qnn_tensor **out, const dlx_qnn_tensor *like);
/* Weights with a scale for each block lie as those of a convolution: [1, 1, k, n]. */
bool dlx_qnn_in_blocks(const dlx_graph *g, uint32_t weights);
/* Whether the chip has products with such weights: among floats, or numbers of 16 bits. DLX_E_UNSUPPORTED names them.
 */
dlx_status dlx_qnn_weights_fit(const dlx_qnn_chip *chip, bool floats, const dlx_graph *g, uint32_t value,
                               dlx_error *err);
dlx_status dlx_qnn_weights(dlx_qnn_build *b, dlx_qnn_tensor **out, uint32_t value);
dlx_status dlx_qnn_bias(dlx_qnn_build *b, dlx_qnn_tensor **out, uint32_t value, uint32_t x, uint32_t weights);

/* nodes.c: all nodes of the graph. */
dlx_status dlx_qnn_add_nodes(dlx_qnn_build *b);

#endif
