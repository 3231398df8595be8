/*
 * The weight file of an ML Program, weights/weight.bin: a header, then blobs, each with 64 bytes that say what it is.
 * Programs refer to a blob by the offset of these.
 */
#ifndef DLX_BACKENDS_COREML_BLOBS_H
#define DLX_BACKENDS_COREML_BLOBS_H

#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "format/pte.h"
#include "graph/graph.h"

/* Element types of blobs, by the numbers of the file. */
typedef enum dlx_blob_type { DLX_BLOB_F16 = 1, DLX_BLOB_I8 = 4, DLX_BLOB_I4 = 8 } dlx_blob_type;

/* What there is already. */
typedef struct dlx_blob_entry {
    const dlx_value *v; /* NULL: zeros */
    dlx_blob_type type;
    uint64_t bytes, at;
} dlx_blob_entry;

typedef struct dlx_blobs {
    dlx_arena *arena;
    dlx_pte_piece *pieces; /* [n_pieces] the file */
    uint32_t n_pieces, capacity;
    uint64_t size; /* of the file */
    uint32_t count;
    dlx_blob_entry *entries; /* [count], room for entries_capacity */
    uint32_t entries_capacity;
    uint32_t met, next; /* those in front of `met` are of functions before this one; where its next one may be */
    bool failed;        /* memory is out */
} dlx_blobs;

/* The header alone. */
void dlx_blobs_begin(dlx_blobs *b, dlx_arena *arena);
/* From here on another function of the program adds its blobs: what others have added is there once. */
void dlx_blobs_next_function(dlx_blobs *b);
/* A blob of the constant `v`, which is copied and will be streamed; returns what programs call it. */
uint64_t dlx_blobs_add(dlx_blobs *b, const dlx_value *v);
/* A blob of zeros. */
uint64_t dlx_blobs_add_zeros(dlx_blobs *b, dlx_blob_type type, uint64_t bytes);
/* Puts the number of blobs into the header: behind the last. */
void dlx_blobs_end(dlx_blobs *b);

#endif
