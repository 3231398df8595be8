/*
 * Programs whose shapes never vary (`diffulex-edge export --kv fixed`, `fixed-fp16` and `fixed-state`), run by somebody
 * else: the official runtime with an accelerator's delegate, or any other. A dlx_fixed_session is a sequence over such
 * a program. It keeps the cache, pads calls, says in a mask who sees whom, and cuts calls that are longer than a
 * method; its forward function is one that every decoder takes, and gives what a dlx_session gives.
 *
 * A method of such a program takes T rows, no more and no less. P is max_context, K the key/value heads, D their width;
 * keys and values are of one element type, float32 or float16:
 *
 *   inputs   0 tokens [T] int64, 1 positions [T] int64, 2 mask [T, P + T] float32, then k_0 [P, K, D], v_0, k_1, ...
 *   outputs  0 logits [T, V] float32, then the rows' k_0 [T, K, D], v_0, k_1, ...
 *
 * Columns 0 .. P-1 of the mask are the slots of the cache, those behind them the rows of the call; an entry is 0 where
 * the row sees that key, else DLX_FIXED_HIDDEN, and is added to scores. A program may have several methods with
 * different T over one cache.
 *
 * A program may also keep the cache itself (keeps_cache: `--kv fixed-state`). It has one method then, T <= P, and
 *
 *   inputs   0 tokens [T], 1 positions [T], 2 mask [T, P + T] as above, 3 stored [T] float32
 *   outputs  0 logits [T, V]
 *
 * Positions count up by one from the first, none is P or more, and row r of the call goes into slot positions[r] where
 * stored[r] is 1; where it is 0 that slot stays as it is. Slots begin as zeros. The session says which are seen, so
 * forgetting needs no word to the program, and the program's slots are those of one session: whoever runs it loads it
 * anew for each.
 *
 * A session is used by one thread at a time.
 */
#ifndef DIFFULEX_EDGE_FIXED_H
#define DIFFULEX_EDGE_FIXED_H

#include "diffulex_edge/allocator.h"
#include "diffulex_edge/decode.h"
#include "diffulex_edge/method.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DLX_FIXED_HIDDEN       (-10000.0f) /* of a mask; finite, and a half can hold it */
#define DLX_FIXED_MOST_METHODS 16

/* What a session must know about a program. 0 has no meaning but for method_names, and with keeps_cache, where layers,
 * kv_heads, head_dim and element are not looked at. */
typedef struct dlx_fixed_program {
    size_t struct_size;              /* sizeof(dlx_fixed_program) */
    const dlx_model_facts *facts;    /* max_context is P, max_rows the largest T */
    int32_t layers;                  /* pairs of caches */
    int32_t kv_heads, head_dim;      /* K, D */
    int32_t element;                 /* of the cache: DLX_ELEMENT_FLOAT32 or DLX_ELEMENT_FLOAT16 */
    size_t n_methods;                /* 1 .. DLX_FIXED_MOST_METHODS */
    const int32_t *method_rows;      /* [n_methods] T of each, all different */
    const char *const *method_names; /* [n_methods]; NULL: messages name methods by their rows */
    uint64_t keeps_cache;            /* 1: the program keeps keys and values, as said above; 0: the session */
} dlx_fixed_program;

/* Whether a .pte is such a program, by what it says and by its inputs and outputs, and all that a session must know. No
 * weights are read, nothing is loaded. Another form of the cache is DLX_E_UNSUPPORTED, and the sentence says what opens
 * the file. Free *out with dlx_fixed_program_free; what it points to goes with it. */
DLX_API dlx_status dlx_fixed_program_read(dlx_fixed_program **out, const char *path, dlx_error *err);
/* The same from a descriptor and from bytes [n], which are needed during the call only, as for dlx_model_open_fd. */
DLX_API dlx_status dlx_fixed_program_read_fd(dlx_fixed_program **out, int fd, dlx_error *err);
DLX_API dlx_status dlx_fixed_program_read_memory(dlx_fixed_program **out, const void *bytes, size_t n, dlx_error *err);
DLX_API void dlx_fixed_program_free(dlx_fixed_program *program); /* NULL is fine; only of dlx_fixed_program_read */

typedef struct dlx_fixed_session dlx_fixed_session;

/*
 * Runs a method (an index into method_rows) once. Its inputs are in the session's buffers (dlx_fixed_input), which stay
 * where they are as long as the session does: tensors are made over them once. outputs [1 + 2 * layers], with
 * keeps_cache [1], hold NULL; each is to be set to where that output of this run lies, in the order of the method's
 * outputs, aligned to its elements. The memory is the runner's, must stay as it is until the next run or until the
 * session is closed, and is not written to. A failure ends the forward call with its status and *err, never NULL here;
 * nothing of the run is kept. The function must not use the session.
 */
typedef dlx_status (*dlx_fixed_run_fn)(void *ctx, size_t method, const void **outputs, dlx_error *err);

/* An empty sequence. The description is copied. All that the session keeps comes from the allocator (NULL: the C
 * library): the buffers of inputs, the cache among them, and tables. */
DLX_API dlx_status dlx_fixed_open(dlx_fixed_session **out, const dlx_fixed_program *program, dlx_fixed_run_fn run,
                                  void *ctx, const dlx_allocator *allocator, dlx_error *err);
DLX_API void dlx_fixed_close(dlx_fixed_session *session); /* NULL is fine */
/* Bytes that dlx_fixed_open will take; 0 for a description that it refuses. */
DLX_API uint64_t dlx_fixed_bytes(const dlx_fixed_program *program);

/* Input i of a method, 0 .. 2 + 2 * layers, with keeps_cache 0 .. 3: element, sizes, and the session's memory, at a
 * multiple of 64 bytes and with at least 64 bytes behind it that may be read. Methods share it. Nobody else writes to
 * it. out->struct_size is set by the caller. */
DLX_API dlx_status dlx_fixed_input(const dlx_fixed_session *session, size_t method, size_t i, dlx_tensor *out,
                                   dlx_error *err);

/*
 * The dlx_forward_fn of a session: pass the session as ctx. Everything that dlx_session_forward says about calls holds
 * here, cutting included: max_rows are the rows of the largest method, and a pass is made by the smallest one that has
 * room for its rows. Besides, keys or values that are NaN, infinite or too large for a float16 cache fail the call that
 * makes them (DLX_E_INTERNAL, DLX_E_LIMIT), and so does a runner that leaves an output NULL (DLX_E_INVALID).
 *
 * Where the program keeps the cache, a call that fails behind its first run forgets the positions that it was to store;
 * the others stay. Rows that are NaN may have spoilt the program's slots: they fail the call (DLX_E_INTERNAL) and every
 * later one of the session (DLX_E_INVALID).
 */
DLX_API dlx_status dlx_fixed_forward(void *session, const dlx_forward_call *call, dlx_error *err);
/* As dlx_session_reusable and dlx_session_truncate. */
DLX_API int32_t dlx_fixed_reusable(const dlx_fixed_session *session, const int32_t *ids, size_t n, int32_t attn_block);
DLX_API void dlx_fixed_truncate(dlx_fixed_session *session, int32_t n);

#ifdef __cplusplus
}
#endif
#endif
