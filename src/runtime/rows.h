/*
 * What a program promises about its rows, proven at load.
 *
 * A forward call computes T rows. The session layer wants to choose which keys a row sees, to keep cached rows wherever
 * it likes, and to put rows of several sequences into one call. All of that is right only if no operator but attention
 * lets one row depend on another, and if attention reads the cache inputs themselves and nothing else does. This file
 * finds out, operator by operator, and makes the table of attentions; nothing about a program is taken for granted.
 */
#ifndef DLX_RUNTIME_ROWS_H
#define DLX_RUNTIME_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"
#include "base/status.h"
#include "graph/graph.h"

/* The signature that the caller recognised: forward(tokens [T], positions [T], k_0, v_0, ...) -> logits, new k_0, ...
 */
typedef struct dlx_signature {
    uint32_t row_inputs[2]; /* graph values: tokens, positions */
    uint32_t demand;        /* graph value: rows [R] whose logits are wanted, DLX_NONE */
    size_t layers;          /* pairs of caches */
    const uint32_t *cache;  /* [2 * layers] graph inputs k_0, v_0, ... */
    const uint32_t *fresh;  /* [2 * layers] graph outputs: the rows that belong behind them */
    uint32_t logits;        /* graph output */
} dlx_signature;

/* Which cache an attention reads. */
typedef struct dlx_attention_entry {
    uint32_t node;
    uint32_t layer; /* reads cache[2 * layer] and cache[2 * layer + 1] */
} dlx_attention_entry;

typedef struct dlx_row_table {
    bool holds; /* rows are independent but for attention, and each attention is in the table */
    dlx_attention_entry *entries;
    size_t n_entries, capacity;
    char why_not[160]; /* "" when it holds: the first fact that fails, for people */
} dlx_row_table;

/* Only memory can fail; a program that promises nothing gives a table that does not hold. */
dlx_status dlx_rows_analyse(dlx_row_table *out, const dlx_graph *g, const dlx_signature *sig, const dlx_allocator *mem,
                            dlx_error *err);
void dlx_rows_free(dlx_row_table *t, const dlx_allocator *mem);

#endif
