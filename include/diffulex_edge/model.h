/*
 * Running: a model is an opened .pte (mapping and packed weights, immutable, shareable between threads); a session is
 * one mutable timeline over it (KV cache and activations), used by one thread at a time.
 */
#ifndef DIFFULEX_EDGE_MODEL_H
#define DIFFULEX_EDGE_MODEL_H

#include <string.h>

#include "diffulex_edge/decode.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dlx_model dlx_model;
typedef struct dlx_session dlx_session;

typedef struct dlx_model_options {
    size_t struct_size; /* sizeof(dlx_model_options) */
    int32_t threads;    /* 0: one per available core. Results do not depend on it */
    const char *cpu;    /* kernel set: NULL or "auto", "ref", "avx2", "avx512vnni", "neon": the best one not above it */
} dlx_model_options;

/* Bytes, all known before anything is allocated. */
typedef struct dlx_memory {
    size_t struct_size;   /* sizeof(dlx_memory) */
    uint64_t file;        /* mapped file */
    uint64_t packed;      /* weights rearranged for the kernels (per model) */
    uint64_t kv_cache;    /* per session */
    uint64_t activations; /* per session, the arena */
} dlx_memory;

static inline dlx_model_options dlx_model_options_default(void)
{
    dlx_model_options o;
    memset(&o, 0, sizeof o);
    o.struct_size = sizeof o;
    return o;
}

/* Opens and verifies the file at `path` (UTF-8). `options` may be NULL. Free with dlx_model_close. */
DLX_API dlx_status dlx_model_open(dlx_model **out, const char *path, const dlx_model_options *options, dlx_error *err);
/* Sessions must be closed before their model. NULL is fine. */
DLX_API void dlx_model_close(dlx_model *model);

/* Owned by the model. */
DLX_API const dlx_model_facts *dlx_model_get_facts(const dlx_model *model);
/* Memory a session of `max_rows` rows and `max_context` positions (0: the file's bounds) will take. */
DLX_API dlx_status dlx_model_memory(const dlx_model *model, int32_t max_rows, int32_t max_context, dlx_memory *out,
                                    dlx_error *err);
/* Name of the kernel set in use, e.g. "avx512vnni". Static storage. */
DLX_API const char *dlx_model_kernels(const dlx_model *model);

/* A session of at most max_rows rows a call and max_context positions (0: the file's bounds). */
DLX_API dlx_status dlx_session_open(dlx_session **out, const dlx_model *model, int32_t max_rows, int32_t max_context,
                                    dlx_error *err);
DLX_API void dlx_session_close(dlx_session *session); /* NULL is fine */

/*
 * The dlx_forward_fn of a session: pass the session as ctx. Ids outside the vocabulary, positions outside the context
 * and a context span that was never stored are DLX_E_INVALID / DLX_E_LIMIT. NaN in the logits is DLX_E_INTERNAL.
 * No allocation happens inside.
 */
DLX_API dlx_status dlx_session_forward(void *session, const dlx_forward_call *call, dlx_error *err);
/* How many leading ids of a prompt are cached already, exactly as running them again under block-causal attention of
 * width attn_block would store them: a multiple of attn_block, or 0 (always 0 for attn_block 0, where every row depends
 * on all others). The value for decode option n_cached. */
DLX_API int32_t dlx_session_reusable(const dlx_session *session, const int32_t *ids, size_t n, int32_t attn_block);
/* Forgets what was stored at positions >= n. */
DLX_API void dlx_session_truncate(dlx_session *session, int32_t n);

/* Writes logits [rows, vocab] (float32, row-major) to a safetensors file as tensor "logits". The file appears at `path`
 * when it is complete; a failure leaves an older one as it was. */
DLX_API dlx_status dlx_write_logits(const char *path, const float *logits, int32_t rows, int32_t vocab, dlx_error *err);

/* Describes a .pte as text (for people) or as one JSON object: methods, inputs, metadata, delegates, memory, weights
 * that are not quantised. The result is NUL-terminated; free it with dlx_free. */
DLX_API dlx_status dlx_inspect(const char *path, bool json, char **out, dlx_error *err);

/* The graph of method `forward` as text or Graphviz dot: raised (as this runtime executes it) or primitive (as the file
 * has it). The result is NUL-terminated; free it with dlx_free. */
DLX_API dlx_status dlx_inspect_graph(const char *path, bool raised, bool dot, char **out, dlx_error *err);

/* Frees memory that the library handed out where a function says so. NULL is fine. */
DLX_API void dlx_free(void *p);

/* Version of this header's ABI, 2, and of the product ("0.1.0"). */
DLX_API uint32_t dlx_api_version(void);
DLX_API const char *dlx_version_string(void);

#ifdef __cplusplus
}
#endif
#endif
