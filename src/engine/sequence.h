/*
 * What is stored of one sequence, position by position, and what of it running a prompt again would store in the same
 * way: the part of a session that does not depend on where keys and values lie. Private to engine/.
 */
#ifndef DLX_ENGINE_SEQUENCE_H
#define DLX_ENGINE_SEQUENCE_H

#include <stdbool.h>

#include "diffulex_edge/decode.h"

#include "base/memory.h"

typedef struct dlx_sequence {
    int32_t max_context;
    uint8_t *stored;            /* [max_context] */
    int32_t *known;             /* [max_context] id behind each stored position */
    int32_t exact, exact_block; /* positions 0 .. exact-1 hold what block-causal attention of this width stores */
} dlx_sequence;

/* Nothing is stored. false: memory is out; close it then as well. */
bool dlx_sequence_open(dlx_sequence *q, int32_t max_context, const dlx_allocator *mem);
void dlx_sequence_close(dlx_sequence *q, const dlx_allocator *mem);
/* What dlx_sequence_open takes of the allocator. */
uint64_t dlx_sequence_bytes(int32_t max_context);

/* Remembers what the first n_store rows of a call left in the cache. Under block-causal attention later blocks depend
 * on them, so whatever was stored behind their block is forgotten. */
void dlx_sequence_keep(dlx_sequence *q, const dlx_forward_call *c);
/* `to`, which is empty and as long, holds what `from` holds at positions < n. */
void dlx_sequence_copy(dlx_sequence *to, const dlx_sequence *from, int32_t n);
/* 0 <= n; nothing is stored at positions >= n any more. */
void dlx_sequence_truncate(dlx_sequence *q, int32_t n);
/* Nothing is stored at positions begin .. end-1 any more. */
void dlx_sequence_forget(dlx_sequence *q, int32_t begin, int32_t end);
/* dlx_session_reusable */
int32_t dlx_sequence_reusable(const dlx_sequence *q, const int32_t *ids, size_t n, int32_t attn_block);

#endif
