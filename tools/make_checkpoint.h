/* What make_checkpoint.c and make_checkpoint_config.c share: the shape of a checkpoint and its small JSON files. */
#ifndef DLX_TOOLS_MAKE_CHECKPOINT_H
#define DLX_TOOLS_MAKE_CHECKPOINT_H

#include <stdbool.h>

#include "base/dtype.h"
#include "base/text_buffer.h"

typedef enum family { LLADA, DREAM, SDAR, FAST_DLLM_V2, FAMILIES } family;

typedef struct shape {
    family family;
    const char *size; /* "8b", "tiny" */
    int hidden, layers, heads, kv_heads, head_dim, intermediate, vocab, positions;
    int block;                            /* SDAR's block_size, Fast-dLLM v2's bd_size; 0: no such key */
    bool tied;                            /* no lm_head tensor */
    int mask_id, bos_id, eos_id, turn_id; /* turn_id: the token that ends a turn */
} shape;

extern const char *const family_names[FAMILIES];

/* NULL when the family has no such size; "published" is its first. */
const shape *find_shape(family f, const char *size);

/* The published files of each family, with the published keys. */
void put_config(dlx_text_buffer *t, const shape *s, dlx_dtype dtype);
void put_generation_config(dlx_text_buffer *t, const shape *s);
/* The special tokens that a Fast-dLLM v2 checkpoint has ids for nowhere else. */
void put_added_tokens(dlx_text_buffer *t, const shape *s);

#endif
