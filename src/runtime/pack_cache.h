/*
 * Packed weights in a file of their own: written by the first process that opens a program, mapped by the next ones, so
 * that these pack nothing and share the memory. A file fits one program file as it was (number, size, times of its last
 * changes) and one layout of packed weights, which is known by what the kernels make of a sample; whatever
 * does not fit is written anew.
 *
 * It is the one file that stays mapped. Its name appears when it is complete, and nobody but its owner may write it;
 * who shortens it while it is in use gets what mapped files bring (SIGBUS). So there is none unless it is asked for.
 */
#ifndef DLX_RUNTIME_PACK_CACHE_H
#define DLX_RUNTIME_PACK_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/io.h"
#include "base/status.h"

/* Which pack file. */
typedef struct dlx_pack_place {
    const char *folder;   /* of pack files; made when it is not there */
    const char *path;     /* of the program; NULL: it was opened without one */
    const dlx_file *file; /* the program */
} dlx_pack_place;

typedef enum dlx_pack_state {
    DLX_PACK_UNASKED,
    DLX_PACK_FOUND,  /* the file was there */
    DLX_PACK_MADE,   /* it was not, and is now */
    DLX_PACK_FAILED, /* weights are this process' own; `why` */
} dlx_pack_state;

typedef struct dlx_pack_cache {
    dlx_pack_state state;
    void *mapping; /* NULL: none */
    size_t bytes;  /* of the mapping */
    dlx_error why;
} dlx_pack_cache;

/* What the block in the file must be. */
typedef struct dlx_pack_key {
    uint64_t layout; /* digest of where everything lies in it and in which form */
    uint64_t bytes;
    const char *kernels;
} dlx_pack_key;

/* The block of a file that fits, mapped for reading; NULL: there is none. */
const uint8_t *dlx_pack_cache_find(dlx_pack_cache *c, const dlx_pack_place *place, const dlx_pack_key *key);
/* Writes the block to the file, and maps it from there: NULL when that failed, and the caller keeps its own. */
const uint8_t *dlx_pack_cache_make(dlx_pack_cache *c, const dlx_pack_place *place, const dlx_pack_key *key,
                                   const uint8_t *block);
void dlx_pack_cache_close(dlx_pack_cache *c);

#endif
