/* Inside of a model: what sessions and inspection read. */
#ifndef DLX_ENGINE_MODEL_H
#define DLX_ENGINE_MODEL_H

#include "diffulex_edge/model.h"

#include "base/arena.h"
#include "base/io.h"
#include "base/memory.h"
#include "base/threads.h"
#include "format/pte.h"
#include "runtime/program.h"

/* A .pte, read, with the signature of its `forward` method understood (layout A of docs/EXPORT.md). */
struct dlx_model {
    dlx_file file;   /* closed once everything is in memory */
    dlx_arena arena; /* of pte */
    dlx_pte pte;
    dlx_program program;
    dlx_model_facts facts;
    dlx_allocator mem;
    dlx_pool *pool;     /* NULL: loaded for inspection */
    dlx_pool *own_pool; /* the same, unless the caller gave it */
    int threads;
    size_t layers;              /* pairs of cache inputs */
    int64_t kv_heads, kv_width; /* kv_width: kv_heads * head_dim */
};

typedef struct dlx_load_options {
    dlx_isa limit;
    int threads;              /* 0: one per CPU */
    dlx_pool *pool;           /* NULL: one of its own, of `threads` */
    bool inspect;             /* reads and measures, does not pack */
    const dlx_allocator *mem; /* NULL: the C library */
    const char *pack_cache;   /* folder of packed weights; NULL: none */
} dlx_load_options;

dlx_status dlx_model_load(dlx_model *m, const dlx_source *from, const dlx_load_options *o, dlx_error *err);
void dlx_model_unload(dlx_model *m);

/* Shapes of the graph inputs for calls of `rows` rows with `cached` cache rows and `demanded` demanded rows;
 * shape [program.g.n_inputs]. */
void dlx_model_input_shapes(const dlx_model *m, int64_t rows, int64_t cached, int64_t demanded, dlx_shape *shape);
/* Bytes that an open model takes besides its packed weights, with what it read of the file. */
uint64_t dlx_model_described(const dlx_model *m);
/* Checks and completes the bounds of a session (0: the file's). */
dlx_status dlx_model_bounds(const dlx_model *m, int32_t *max_rows, int32_t *max_context, dlx_error *err);

#endif
