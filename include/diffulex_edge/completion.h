/*
 * Completions: what an application needs around dlx_generate. Text as it becomes final, stop strings, cancelling,
 * prompt tokens that are cached already, and numbers. Works with every dlx_forward_fn, as dlx_generate does.
 */
#ifndef DIFFULEX_EDGE_COMPLETION_H
#define DIFFULEX_EDGE_COMPLETION_H

#include <string.h>

#include "diffulex_edge/decode.h"
#include "diffulex_edge/fixed.h"
#include "diffulex_edge/model.h"
#include "diffulex_edge/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* `text` has n bytes (and a NUL behind them), valid during the call. Return false to cancel. */
typedef bool (*dlx_text_fn)(void *ctx, const char *text, size_t n);

typedef struct dlx_completion_options {
    size_t struct_size;               /* sizeof(dlx_completion_options) */
    const dlx_decode_options *decode; /* NULL: the model's defaults */
    const dlx_tokenizer *tokenizer;   /* NULL: ids only; on_text and stop strings need one */
    const dlx_session *session;       /* the session behind `forward`: prompt tokens whose keys and values it holds from
                                       * an earlier completion are not run again (block-causal attention only). NULL:
                                       * option n_cached decides */
    const char *const *stop;          /* [n_stop] UTF-8, not empty; the answer ends before the first that occurs */
    size_t n_stop;
    bool keep_special; /* special tokens appear in the text */
    /* Text behind the longest known left prefix of the answer grew: append-only, whole characters, never the beginning
     * of a stop string. May be NULL. */
    dlx_text_fn on_text;
    void *text_ctx;
    dlx_step_fn on_step; /* after every model call; may be NULL; return false to cancel */
    void *step_ctx;
    const dlx_fixed_session *fixed; /* as `session`, where dlx_fixed_forward is the forward function; one of the two */
} dlx_completion_options;

typedef struct dlx_statistics {
    size_t struct_size;    /* sizeof(dlx_statistics) */
    int32_t prompt_tokens; /* length of the prompt */
    int32_t cached_tokens; /* prompt tokens that were in the cache already */
    int32_t new_tokens;    /* length of the answer */
    int32_t forwards;      /* model calls in all */
    int32_t prefill_forwards;
    int32_t blocks;      /* blocks that were worked on */
    int64_t rows;        /* positions computed, summed over calls */
    int64_t cached_rows; /* positions attended from the cache instead of being computed, summed over calls */
    double prefill_ms;   /* of the steps with block -1 */
    double decode_ms;    /* of all other steps */
} dlx_statistics;

typedef struct dlx_completion dlx_completion;

static inline dlx_completion_options dlx_completion_options_default(void)
{
    dlx_completion_options o;
    memset(&o, 0, sizeof o);
    o.struct_size = sizeof o;
    return o;
}

/* Decodes prompt [n_prompt] as dlx_generate does. options may be NULL. Free *out with dlx_completion_free. A cancelled
 * completion is DLX_OK with finish reason "cancelled" and what was known by then. */
DLX_API dlx_status dlx_complete(const dlx_model_facts *facts, dlx_forward_fn forward, void *forward_ctx,
                                const dlx_completion_options *options, const int32_t *prompt, size_t n_prompt,
                                dlx_completion **out, dlx_error *err);
DLX_API void dlx_completion_free(dlx_completion *completion); /* NULL is fine */

/* The trace behind it. Owned by the completion. */
DLX_API const dlx_generation *dlx_completion_generation(const dlx_completion *completion);
/* The answer's text, NUL-terminated; "" without a tokenizer. Owned by the completion; n may be NULL. */
DLX_API const char *dlx_completion_text(const dlx_completion *completion, size_t *n);
/* Ids of the answer; those behind a stop string are left out. Owned by the completion. */
DLX_API const int32_t *dlx_completion_ids(const dlx_completion *completion, size_t *n);
/* "stop" (stop id or stop string), "length" or "cancelled". Static storage. */
DLX_API const char *dlx_completion_finish_reason(const dlx_completion *completion);
/* DLX_E_INVALID when out->struct_size is not set. */
DLX_API dlx_status dlx_completion_statistics(const dlx_completion *completion, dlx_statistics *out, dlx_error *err);

#ifdef __cplusplus
}
#endif
#endif
