/*
 * Measuring: what this machine could do at most, what passes of a model take on it, and what decodes would take that
 * are made of such passes. Times are wall time, and other work on the machine is in them.
 */
#ifndef DIFFULEX_EDGE_BENCH_H
#define DIFFULEX_EDGE_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diffulex_edge/decode.h"
#include "diffulex_edge/model.h"
#include "diffulex_edge/status.h"
#include "diffulex_edge/threads.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- limits of the machine ------------------------------------------------------------------------------------ */

/* Something that is measured alone: reading memory, or one instruction of arithmetic on registers. */
typedef struct dlx_probe_info {
    size_t struct_size;  /* sizeof(dlx_probe_info), set by the caller */
    int32_t available;   /* 1: this CPU has the instructions */
    int32_t tiles;       /* 1: they work on tiles, whose state the system gives the process when it is asked */
    const char *kind;    /* "read": bytes; "int8", "int4" (4-bit weights), "bf16", "float32": operations, of which a
                            product and its addition are two */
    const char *name;    /* "vpdpbusd, 512 bits" */
    const char *kernels; /* the kernel set whose products are made of it; NULL: no set's. All three static */
} dlx_probe_info;

/* The i-th probe; reading first. False, and nothing written, when i is past the end or out->struct_size is not set. */
DLX_API bool dlx_get_probe_info(size_t i, dlx_probe_info *out);
/* Units a second with all threads of `pool` (NULL: with the caller's alone): the fastest of several measurements, some
 * tens of milliseconds together. Reading takes 256 MiB meanwhile. DLX_E_UNSUPPORTED where it is not available. */
DLX_API dlx_status dlx_probe_run(size_t i, dlx_thread_pool *pool, double *per_second, dlx_error *err);

/* ---- passes of a model ---------------------------------------------------------------------------------------- */

/* Asked before each pass: of how many rows, the how manieth of that (0: not counted). Return false to stop. */
typedef bool (*dlx_bench_fn)(void *ctx, int32_t rows, int32_t turn);

typedef struct dlx_bench_options {
    size_t struct_size;   /* sizeof(dlx_bench_options) */
    const int32_t *rows;  /* [n_rows] ascending; NULL: 1, 2, 4 ... 256, as far as the file's bounds allow */
    size_t n_rows;        /* at most 64 */
    int32_t context;      /* cached positions in front of the rows, whole blocks where attention has blocks. 0: 512, or
                             half of the file's positions where that is less */
    int32_t no_context;   /* 1: none, and `context` is 0 */
    int32_t turns;        /* 1 .. 1000 of each number of rows; 0: as many as begin within `seconds`, 3 to 15 */
    int32_t seconds;      /* 0: 10 */
    const char *kv_type;  /* as in dlx_workspace_options */
    dlx_bench_fn on_pass; /* may be NULL */
    void *ctx;
} dlx_bench_options;

static inline dlx_bench_options dlx_bench_options_default(void)
{
    dlx_bench_options o;
    memset(&o, 0, sizeof o);
    o.struct_size = sizeof o;
    return o;
}

/* Passes of one number of rows, behind the cached positions, that store nothing. */
typedef struct dlx_bench_pass {
    size_t struct_size; /* sizeof(dlx_bench_pass), set by the caller */
    int32_t rows;
    int32_t turns;    /* passes that were counted */
    double least_ms;  /* of a pass with logits of all rows: the fastest, */
    double median_ms; /* the middle, */
    double most_ms;   /* and the slowest */
    double body_ms;   /* the middle of passes without logits */
    double bytes;     /* packed weights, and cached keys and values: what such a pass reads of memory at least */
    double int8;      /* operations of products whose rows are quantised, with weights of 8 bits, */
    double int4;      /* and of 4 bits; */
    double float32;   /* all others of linear layers, and those of attention. A product and its addition are two */
} dlx_bench_pass;

typedef struct dlx_bench_info {
    size_t struct_size;  /* sizeof(dlx_bench_info), set by the caller */
    const char *kernels; /* kernel set; static */
    int32_t context;     /* cached positions */
    int32_t cancelled;   /* 1: on_pass stopped it */
    int32_t passes;      /* numbers of rows that were measured */
    int32_t threads;
    double prompt_ms; /* what caching them took */
} dlx_bench_info;

typedef struct dlx_bench dlx_bench;

/* What dlx_bench_run refuses of options (may be NULL), told by the facts of a model that need not be loaded yet; and
 * the cached positions that it would have in front of the rows. */
DLX_API dlx_status dlx_bench_check(const dlx_model_facts *facts, const dlx_bench_options *options, int32_t *context,
                                   dlx_error *err);

/*
 * Runs passes in turns: one of each number of rows, then the next of each, so that whatever else the machine does is in
 * all of them; the ids are arbitrary. A session of its own is open meanwhile. Stopped by on_pass it is DLX_OK with what
 * was counted by then. DLX_E_LIMIT: the file has no room for the context or the rows. options may be NULL; free *out
 * with dlx_bench_free.
 */
DLX_API dlx_status dlx_bench_run(dlx_bench **out, const dlx_model *model, const dlx_bench_options *options,
                                 dlx_error *err);
DLX_API void dlx_bench_free(dlx_bench *bench); /* NULL is fine */
/* False, and nothing written, when there is no bench or out->struct_size is not set. */
DLX_API bool dlx_bench_get_info(const dlx_bench *bench, dlx_bench_info *out);
/* The i-th number of rows, ascending; false when i is past the end. */
DLX_API bool dlx_bench_get_pass(const dlx_bench *bench, size_t i, dlx_bench_pass *out);

/* ---- decodes that are made of them ---------------------------------------------------------------------------- */

typedef struct dlx_bench_decode {
    size_t struct_size;    /* sizeof(dlx_bench_decode), set by the caller */
    const char *algorithm; /* static */
    int32_t block_length;  /* in force; 0: the algorithm has none */
    int32_t new_tokens;
    int32_t passes;   /* all model calls but the prompt's */
    int32_t widest;   /* rows of the largest of them */
    double prompt_ms; /* estimated time of the prompt's, */
    double decode_ms; /* and of the others */
} dlx_bench_decode;

/*
 * What a decode would take if every denoising pass revealed `tokens` masks (on average, at least 1, where the block has
 * as many left): the algorithm that `decode` (may be NULL) names runs, with all passes that store blocks and refresh
 * caches, over a prompt of n_prompt ids and a model whose answers are made up; each of its passes costs what passes of
 * so many rows were measured to take, interpolated, at the context of the measurement. What choosing tokens takes is
 * not in it. How many masks a pass may reveal is up to the model and the text; nothing here knows it.
 * Fails as dlx_generate would; DLX_E_UNSUPPORTED: nothing was measured.
 */
DLX_API dlx_status dlx_bench_estimate(const dlx_bench *bench, const dlx_decode_options *decode, double tokens,
                                      int32_t n_prompt, dlx_bench_decode *out, dlx_error *err);

#ifdef __cplusplus
}
#endif
#endif
