/*
 * The custom_ids of a batch: which there are, on which line, and what became of them. Not the ids themselves are kept
 * but 128 bits of hash each, keyed at random: of a million different ids two would be taken for one once in 10^26
 * batches. An id takes 24 bytes in a table that is between three eighths and three quarters full: 32 to 64 bytes.
 */
#ifndef DLX_CLI_FULL_BATCH_IDS_H
#define DLX_CLI_FULL_BATCH_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dlx_cli_id {
    uint64_t hash[2];
    uint64_t line : 60; /* of the input; 0: it was not seen there */
    uint64_t used : 1;
    uint64_t taken : 1; /* the line was given out */
    uint64_t done : 1;  /* an earlier run has its result */
} dlx_cli_id;

typedef struct dlx_cli_ids {
    dlx_cli_id *table; /* [capacity], a power of two, n of them used */
    size_t capacity, n;
    uint64_t keys[4];
} dlx_cli_ids;

void dlx_cli_ids_open(dlx_cli_ids *ids);
void dlx_cli_ids_close(dlx_cli_ids *ids);
/* The entry of an id, until the next `add`; NULL: it is not there. */
dlx_cli_id *dlx_cli_ids_find(const dlx_cli_ids *ids, const char *id, size_t n);
/* The same, made where it is not there; NULL: out of memory. */
dlx_cli_id *dlx_cli_ids_add(dlx_cli_ids *ids, const char *id, size_t n);

#endif
