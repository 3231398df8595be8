/* Inside of sessions over programs whose shapes never vary. Private to engine/. */
#ifndef DLX_ENGINE_FIXED_H
#define DLX_ENGINE_FIXED_H

#include <stdatomic.h>

#include "diffulex_edge/fixed.h"

#include "base/memory.h"
#include "engine/sequence.h"

enum { DLX_FIXED_INPUTS = 3 /* in front of the caches */, DLX_FIXED_SLACK = 64 };

/* A description, checked, and what follows from it. Bytes of a buffer are without its slack. */
typedef struct dlx_fixed_shape {
    bool inside; /* the program keeps the cache: there are no layers here */
    int32_t layers, kv_heads, head_dim, element;
    int32_t max_context, vocab_size;
    size_t n_methods;
    int32_t rows[DLX_FIXED_MOST_METHODS];
    int32_t most_rows;
    size_t row_bytes;    /* of one position in one cache tensor */
    size_t tokens_bytes; /* of the longest call, of its positions, and of what says which rows are stored */
    size_t mask_bytes, cache_bytes;
    size_t slab_bytes; /* of all buffers, one behind the other */
} dlx_fixed_shape;

struct dlx_fixed_session {
    dlx_allocator mem;
    dlx_fixed_shape shape;
    dlx_fixed_run_fn run;
    void *ctx;
    dlx_sequence seq;
    uint8_t *slab;
    int64_t *tokens, *positions; /* [most_rows] */
    float *mask;                 /* [rows, max_context + rows] of the method at work */
    float *stored;               /* [most_rows] where the program keeps the cache, else NULL */
    uint8_t *cache;              /* [2 * layers] tensors [max_context, kv_heads, head_dim], each with its slack */
    const void **outputs;        /* [1 + 2 * layers] of the last run */
    char (*names)[32];           /* [n_methods] for messages */
    bool spoilt;                 /* what the program keeps may be no numbers */
    atomic_bool busy;            /* a call is on its way */
};

dlx_status dlx_fixed_check(dlx_fixed_shape *out, const dlx_fixed_program *given, dlx_error *err);

/* Bytes from one buffer to the next. */
static inline size_t dlx_fixed_stride(size_t bytes)
{
    return (bytes + DLX_FIXED_SLACK + DLX_ALIGN - 1) / DLX_ALIGN * DLX_ALIGN;
}

/* Row of cache tensor t that holds a position. */
static inline uint8_t *dlx_fixed_at(const dlx_fixed_session *s, size_t tensor, int32_t position)
{
    return s->cache + tensor * dlx_fixed_stride(s->shape.cache_bytes) + (size_t)position * s->shape.row_bytes;
}

#endif
