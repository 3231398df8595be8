/*
 * Running. A model is an opened .pte: weights in memory, threads; immutable, shared. A session is one sequence:
 * what is cached of it. A workspace is the memory behind sessions: pages of keys and values, and the activations of one
 * pass over rows of any of them. A session that is opened alone has a workspace of its own.
 *
 * Threads: a model may be used by all at once. A session is used by one thread at a time. Sessions of one workspace may
 * be used by different threads; their passes take turns. Whoever finds the model's threads busy computes alone.
 */
#ifndef DIFFULEX_EDGE_MODEL_H
#define DIFFULEX_EDGE_MODEL_H

#include <string.h>

#include "diffulex_edge/allocator.h"
#include "diffulex_edge/decode.h"
#include "diffulex_edge/threads.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dlx_model dlx_model;
typedef struct dlx_workspace dlx_workspace;
typedef struct dlx_session dlx_session;

typedef struct dlx_model_options {
    size_t struct_size; /* sizeof(dlx_model_options) */
    int32_t threads;    /* 0: one per CPU (dlx_cpu_count). Results do not depend on it */
    const char *cpu;    /* kernel set: NULL or "auto", or a name of dlx_get_kernel_set_info: the best not above it */
    const dlx_allocator *allocator; /* NULL: the C library. Copied; allocator.h says what it serves */
    dlx_thread_pool *pool; /* NULL: a pool of its own with `threads` threads. A given one is shared with whoever has it
                              and must outlive the model; `threads` must then be 0 */
    /* A folder for files of packed weights (made when it is not there), or NULL: none. The first process that opens a
     * program writes one, as large as its weights; the next map it, so that they load in no time and share its memory.
     * A file that does not fit the program, these kernels or this version is replaced; the weights in one that fits are
     * not checked. Who shortens a file that is in use kills the processes that use it, so the folder should be this
     * user's. See dlx_model_pack_cache */
    const char *pack_cache;
} dlx_model_options;

/* Bytes, all known before anything is allocated. */
typedef struct dlx_memory {
    size_t struct_size;   /* sizeof(dlx_memory), set by the caller */
    uint64_t file;        /* what of the file stays in memory: its program, tables and other constants */
    uint64_t packed;      /* weights rearranged for the kernels (per model) */
    uint64_t kv_cache;    /* per workspace, all its pages. The system gives them when they are first written */
    uint64_t activations; /* per workspace: the largest pass, and tables; its sessions' tables as well */
    uint64_t program;     /* what this runtime makes of the program (per model): its graph, tables, threads */
    uint64_t shared;      /* of `packed`: mapped from a file, and in memory once for all processes that do so */
} dlx_memory;

/* Where an open model's packed weights are. */
typedef enum dlx_pack_cache_state {
    DLX_PACK_CACHE_UNASKED = 0, /* in memory of this process: options had no folder */
    DLX_PACK_CACHE_FOUND = 1,   /* mapped from a file that was there */
    DLX_PACK_CACHE_MADE = 2,    /* mapped from a file that was written when the model was opened */
    DLX_PACK_CACHE_FAILED = 3,  /* in memory of this process: there is no file, and none could be written */
} dlx_pack_cache_state;

static inline dlx_model_options dlx_model_options_default(void)
{
    dlx_model_options o;
    memset(&o, 0, sizeof o);
    o.struct_size = sizeof o;
    return o;
}

/* `why`, unless it is NULL, becomes a sentence for DLX_PACK_CACHE_FAILED that lives as long as the model, and ""
 * otherwise. NULL for the model: DLX_PACK_CACHE_UNASKED. */
DLX_API dlx_pack_cache_state dlx_model_pack_cache(const dlx_model *model, const char **why);

/* Opens and verifies the file at `path` (UTF-8). `options` may be NULL. Free with dlx_model_close. */
DLX_API dlx_status dlx_model_open(dlx_model **out, const char *path, const dlx_model_options *options, dlx_error *err);
/* The same from an open descriptor of a regular file (a sandbox's, or of memfd_create), and from the bytes [n] of a
 * .pte. Both stay the caller's and are needed during the call only: the descriptor, whose position is neither used nor
 * moved, may then be closed, the bytes freed. Nobody may change the bytes during the call. */
DLX_API dlx_status dlx_model_open_fd(dlx_model **out, int fd, const dlx_model_options *options, dlx_error *err);
DLX_API dlx_status dlx_model_open_memory(dlx_model **out, const void *bytes, size_t n, const dlx_model_options *options,
                                         dlx_error *err);
/* What dlx_model_get_facts will say of a .pte, without reading its weights. Fails where dlx_model_open does because of
 * what the program is. out->struct_size is set by the caller. */
DLX_API dlx_status dlx_model_read_facts(dlx_model_facts *out, const char *path, dlx_error *err);
/* Sessions must be closed before their model. NULL is fine. */
DLX_API void dlx_model_close(dlx_model *model);

/* Owned by the model. */
DLX_API const dlx_model_facts *dlx_model_get_facts(const dlx_model *model);
/* Memory a session of `max_rows` rows and `max_context` positions (0: the file's bounds) will take. out->struct_size is
 * set by the caller. */
DLX_API dlx_status dlx_model_memory(const dlx_model *model, int32_t max_rows, int32_t max_context, dlx_memory *out,
                                    dlx_error *err);
/* Name of the kernel set in use, e.g. "avx512vnni". Static storage. */
DLX_API const char *dlx_model_kernels(const dlx_model *model);

/* ---- sessions ------------------------------------------------------------------------------------------------- */

/* A session of at most max_rows rows a pass and max_context positions (0: the file's bounds), in a workspace of its own
 * with a float32 cache. */
DLX_API dlx_status dlx_session_open(dlx_session **out, const dlx_model *model, int32_t max_rows, int32_t max_context,
                                    dlx_error *err);
DLX_API void dlx_session_close(dlx_session *session); /* NULL is fine */

/*
 * The dlx_forward_fn of a session: pass the session as ctx. Ids outside the vocabulary, positions outside the context
 * and a context span that was never stored are DLX_E_INVALID / DLX_E_LIMIT. NaN in the logits is DLX_E_INTERNAL. A call
 * that fails leaves the cache as it was.
 * Nothing is allocated inside, with one exception: a call that takes several passes and overwrites stored positions
 * keeps what it overwrites until it is done.
 * A call with more rows than one pass takes (max_rows) is split where attention allows. Later passes read the rows of
 * earlier ones from the cache, so while it runs such a call needs pages for all its rows, whatever n_store says, and
 * gives those behind n_store back at its end: DLX_E_LIMIT when the workspace has none left. For the same reason its
 * rows from n_store on must not lie on stored positions: DLX_E_UNSUPPORTED, and nothing was overwritten. In passes that
 * are shared its parts take the rows that others leave, half of a pass at the least; where it is cut changes no result.
 */
DLX_API dlx_status dlx_session_forward(void *session, const dlx_forward_call *call, dlx_error *err);
/* How many leading ids of a prompt are cached already, exactly as running them again under block-causal attention of
 * width attn_block would store them: a multiple of attn_block, or 0 (always 0 for attn_block 0, where every row depends
 * on all others), and never all of them: the last row is run again, because it may be what predicts the next token. The
 * value for decode option n_cached. */
DLX_API int32_t dlx_session_reusable(const dlx_session *session, const int32_t *ids, size_t n, int32_t attn_block);
/* Forgets what was stored at positions >= n, and gives back the pages that held nothing else. */
DLX_API void dlx_session_truncate(dlx_session *session, int32_t n);

/* ---- many sequences ------------------------------------------------------------------------------------------- */

#define DLX_KV_PAGE 64 /* positions of one page of keys and values */

typedef struct dlx_workspace_options {
    size_t struct_size;   /* sizeof(dlx_workspace_options) */
    int32_t max_rows;     /* of one pass, all sessions together; 0: the file's bound */
    int32_t max_context;  /* positions of one session; 0: the file's bound */
    int32_t max_sessions; /* open at one time, 1 .. 1024; 0: 16 */
    int32_t kv_positions; /* stored by all sessions together, rounded up to pages; shared prefixes count once. 0, or
                             more than that: max_sessions times max_context */
    /* Of cached keys and values. NULL or "float32": exact; "float16": half the memory, 11 bits; "int8": a byte each and
     * two for the scale of a token's keys (values) of one head, 8 bits. Numbers that the type cannot hold (a half:
     * 65520 and beyond; int8: 2^127) fail the call that makes them. */
    const char *kv_type;
} dlx_workspace_options;

/* options may be NULL. Close all its sessions before the workspace, and the workspace before its model. */
DLX_API dlx_status dlx_workspace_open(dlx_workspace **out, const dlx_model *model, const dlx_workspace_options *options,
                                      dlx_error *err);
DLX_API void dlx_workspace_close(dlx_workspace *workspace); /* NULL is fine */
/* What dlx_workspace_open with these options will take. */
DLX_API dlx_status dlx_workspace_memory(const dlx_model *model, const dlx_workspace_options *options, dlx_memory *out,
                                        dlx_error *err);
/* Positions that can still be stored by somebody: those of pages that no session holds. */
DLX_API int32_t dlx_workspace_free_positions(dlx_workspace *workspace);

/* An empty sequence. DLX_E_LIMIT when max_sessions are open. */
DLX_API dlx_status dlx_session_open_in(dlx_session **out, dlx_workspace *workspace, dlx_error *err);
/* A new session in the workspace of `from` that holds what `from` holds at positions < n. Pages are shared until one of
 * the two writes to them. (A program whose attention was not recognised gets copies.) */
DLX_API dlx_status dlx_session_fork(dlx_session **out, const dlx_session *from, int32_t n, dlx_error *err);

/*
 * calls[i] on sessions[i], n of them, different sessions of one workspace: as many rows of all as fit max_rows go
 * through the program together, so that weights are read once. The logits of a call have the same bits as when it is
 * made alone. Each call succeeds or fails for itself: status[i] and errors[i] say how. status [n] and errors [n], n
 * entries each and not one for all, are the caller's; either may be NULL; the errors of calls that succeed are not
 * written to. Returns the status of the first call that failed. Sessions that repeat or live in other workspaces are
 * DLX_E_INVALID for all.
 */
DLX_API dlx_status dlx_forward_batch(dlx_session *const *sessions, const dlx_forward_call *const *calls, size_t n,
                                     dlx_status *status, dlx_error *errors);

/*
 * A batcher lets decodes that run on threads of their own share passes: each decode has a seat, whose forward function
 * waits until every seat waits, and then makes one pass for all. A call waits for max_wait_us at most, and for nobody
 * who has been away for that long; time in which a pass is made does not count.
 */
typedef struct dlx_batcher dlx_batcher;
typedef struct dlx_seat dlx_seat;

typedef struct dlx_batcher_options {
    size_t struct_size;  /* sizeof(dlx_batcher_options) */
    int64_t max_wait_us; /* microseconds that a call waits for others at most, up to 60000000 (a minute); 0: 2000 */
} dlx_batcher_options;

/* options may be NULL. The workspace must outlive the batcher. */
DLX_API dlx_status dlx_batcher_open(dlx_batcher **out, dlx_workspace *workspace, const dlx_batcher_options *options,
                                    dlx_error *err);
/* All seats must have been given back. NULL is fine. */
DLX_API void dlx_batcher_close(dlx_batcher *batcher);
/* A seat for a decode with `session`. Others wait for whoever has one, so take it when the decode begins and give it
 * back when it ends. From any thread. */
DLX_API dlx_status dlx_batcher_join(dlx_seat **out, dlx_batcher *batcher, dlx_session *session, dlx_error *err);
DLX_API void dlx_batcher_leave(dlx_seat *seat); /* NULL is fine */
/* The dlx_forward_fn of a seat: pass the seat as ctx. Errors are those of dlx_session_forward and concern this call
 * alone. */
DLX_API dlx_status dlx_batcher_forward(void *seat, const dlx_forward_call *call, dlx_error *err);

/* What a batcher did so far. */
typedef struct dlx_batcher_counts {
    size_t struct_size; /* sizeof(dlx_batcher_counts), set by the caller */
    int64_t passes;     /* through the program */
    int64_t shared;     /* of them, those with rows of more than one seat */
    int64_t calls;      /* of seats, that ended */
    int64_t rows;       /* computed by the passes */
} dlx_batcher_counts;
/* From any thread. */
DLX_API dlx_status dlx_batcher_get_counts(dlx_batcher *batcher, dlx_batcher_counts *out, dlx_error *err);

/* ---- files -----------------------------------------------------------------------------------------------------
 *
 * What is opened is read into memory while the function runs; nothing of it is mapped or kept open. So a file may be
 * replaced, overwritten, shortened or removed whenever no function is reading it, and one that changes meanwhile makes
 * that function fail with DLX_E_IO. (A change that leaves size and time of the last change as they were is not seen.)
 *
 * What is written appears under its name when it is complete, and a failure leaves an older file as it was. A symbolic
 * link is followed, permissions and, where the system allows, owner of an older file are kept. A path that names a
 * folder, device, FIFO or socket is DLX_E_IO, and so is a file that cannot be replaced: a mount point, somebody else's
 * in a folder that lets nobody but its owner do that, an append-only one. Both are known before anything is written. A
 * disk that is full is an error; SIGXFSZ, which announces that the shell's limit on file sizes was met, is the
 * program's to ignore.
 */

/* Whether a file could be written at `path`, for programs that ask before they work: DLX_OK, or what writing would
 * give, or DLX_E_INVALID when it is, under whatever name, one of the files `reading` [n] (entries may be NULL). Leaves
 * nothing behind. */
DLX_API dlx_status dlx_check_output(const char *path, const char *const *reading, size_t n, dlx_error *err);

/* Writes logits [rows, vocab] (float32, row-major) to a safetensors file as tensor "logits". */
DLX_API dlx_status dlx_write_logits(const char *path, const float *logits, int32_t rows, int32_t vocab, dlx_error *err);

/* Describes a .pte as text (for people) or as one JSON object: methods, inputs, metadata, delegates, memory, weights
 * that are not quantised. The memory is what dlx_model_open without options and a workspace with these take; no weights
 * are read for it. workspace NULL, and max_sessions 0: one session. Bounds that the file does not allow are
 * DLX_E_LIMIT; kv_type NULL is its own type, where sessions over it have no choice. The result is NUL-terminated; free
 * it with dlx_free. */
DLX_API dlx_status dlx_inspect(const char *path, bool json, const dlx_workspace_options *workspace, char **out,
                               dlx_error *err);

/* The graph of method `forward` as text or Graphviz dot: raised (as this runtime executes it) or primitive (as the file
 * has it). The result is NUL-terminated; free it with dlx_free. */
DLX_API dlx_status dlx_inspect_graph(const char *path, bool raised, bool dot, char **out, dlx_error *err);

/* One method (NULL: "forward") as dlx_method_open runs it: inputs, outputs, operators, what runs fused, and the memory
 * that it takes; text, or the object that the list `methods` of dlx_inspect's JSON has. A program without that method
 * is DLX_E_UNSUPPORTED, and the sentence names those that compute something. The result is NUL-terminated; free it with
 * dlx_free. */
DLX_API dlx_status dlx_inspect_method(const char *path, const char *method, bool json, char **out, dlx_error *err);
/* Its graph, as dlx_inspect_graph. */
DLX_API dlx_status dlx_inspect_method_graph(const char *path, const char *method, bool raised, bool dot, char **out,
                                            dlx_error *err);

/* Frees memory that the library handed out where a function says so. NULL is fine. */
DLX_API void dlx_free(void *p);

/* The ABI's number: what a program was compiled with, and what the library that it runs with has. Programs of one
 * number run with every library of that number; the shared library's soname carries it. docs/C.md says what it
 * promises. */
#define DLX_API_VERSION 3
DLX_API uint32_t dlx_api_version(void);
/* Of the product, "0.2.0". Static storage. */
DLX_API const char *dlx_version_string(void);

#ifdef __cplusplus
}
#endif
#endif
