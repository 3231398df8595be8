/*
 * Decoding: model facts, the forward call that every decoder is written against, decode options, and generations.
 *
 * Nothing here knows tensors or files. A decoder asks a `dlx_forward_fn` for rows of logits; behind it stands a native
 * session (dlx_session_forward), the official ExecuTorch runtime, or a table of scripted logits in a test.
 */
#ifndef DIFFULEX_EDGE_DECODE_H
#define DIFFULEX_EDGE_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diffulex_edge/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum dlx_family {
    DLX_FAMILY_UNKNOWN = 0,
    DLX_FAMILY_LLADA = 1,
    DLX_FAMILY_DREAM = 2,
    DLX_FAMILY_SDAR = 3,
    DLX_FAMILY_FAST_DLLM_V2 = 4,
} dlx_family;

/* "llada", "dream", "sdar", "fast_dllm_v2", "unknown". Static storage. */
DLX_API const char *dlx_family_name(dlx_family family);
/* Inverse of dlx_family_name; also takes "fast_dllm". DLX_FAMILY_UNKNOWN when there is no such family. */
DLX_API dlx_family dlx_family_from_name(const char *name);

#define DLX_MAX_STOP_IDS 16

/*
 * What a decoder must know about a model. Travels in the .pte as constant methods (see docs/EXPORT.md) and comes from
 * the checkpoint alone. Plain data. What a shorter structure lacks is 0, ids are -1.
 */
typedef struct dlx_model_facts {
    size_t struct_size; /* sizeof(dlx_model_facts) */
    dlx_family family;
    int32_t vocab_size;             /* logits per row, padding rows of the table included */
    int32_t max_context;            /* positions 0 .. max_context-1 exist (--max-seq-len at export) */
    int32_t max_rows;               /* most rows one forward call may run */
    int32_t mask_id;                /* token id of the mask; -1: the model has none (decode autoregressively) */
    int32_t attn_block;             /* 0: every row sees every row; else block-causal of this width on absolute
                                       positions */
    int32_t logits_shift;           /* 1: row i-1 of the logits predicts position i; 0: row i does */
    int32_t block_length;           /* default decoding block (SDAR block_size, Fast-dLLM v2 bd_size; 32 for LLaDA
                                       and Dream) */
    int32_t small_block_size;       /* Fast-dLLM v2 sub-block (8); 0 where the family has none */
    int32_t bos_id, eos_id, pad_id; /* -1 where the checkpoint names none */
    int32_t num_tokens;             /* ids that have a token, 0 .. num_tokens-1: those behind, rows that only pad
                                       the table, are never chosen. 0: not known, any id may be */
    int32_t num_stop_ids;
    int32_t stop_ids[DLX_MAX_STOP_IDS]; /* ids that end an answer, most specific first */
    int64_t rounded_bits;               /* bits that weights of the layers were rounded to: 32, 16, 8 or 4; 0: not
                                           known, or their codes were found by calibration. Thresholds of presets go
                                           by it. (64 bits so that the structure ends without padding.) */
} dlx_model_facts;

/* Half-open range of absolute positions. Never grows. */
typedef struct dlx_span {
    int32_t begin, end;
} dlx_span;

#define DLX_MAX_CONTEXT_SPANS 2

/*
 * A row of logits in short. With nothing above -infinity, with +infinity or NaN `sum` is NaN; it is never 0. Softmax of
 * a logit x: e^(x - top) / sum; entropy: ln(sum) - moment / sum. The same bits for the same logits, however they were
 * computed. Never grows.
 */
typedef struct dlx_row_summary {
    int32_t id;    /* the likeliest id that may be chosen, the lowest one; -1: none */
    float logit;   /* its logit */
    float top;     /* largest logit of all ids */
    float second;  /* largest logit of the others; `top` when two ids have it */
    double sum;    /* of e^(x - top) over all logits x */
    double moment; /* of e^(x - top) * (x - top) */
} dlx_row_summary;

/*
 * One model call. Rows are consecutive positions start .. start+n_ids-1. Each row attends
 *   - every cached position in `context` (ascending, disjoint, none of them an own position), and
 *   - own rows: all of them when attn_block == 0; otherwise row at position p sees own position q when
 *     q / attn_block <= p / attn_block, and cached position c under the same rule. attn_block 1 is causal. A file
 *     whose own program masks its rows takes its facts' attn_block and no other.
 * Keys and values of the first n_store rows are written to the cache at their positions, those of the others discarded.
 * With block-causal attention n_store must end at a block boundary or at the last row.
 * Logits, or summaries, are computed for the rows listed in `rows` (indices into ids, ascending) and nothing else.
 */
typedef struct dlx_forward_call {
    size_t struct_size;                      /* sizeof(dlx_forward_call) */
    const int32_t *ids;                      /* [n_ids] token ids */
    int32_t n_ids;                           /* 1 .. facts.max_rows; a native session splits longer calls where
                                                attention allows */
    int32_t start;                           /* absolute position of ids[0] */
    dlx_span context[DLX_MAX_CONTEXT_SPANS]; /* cached positions that take part */
    int32_t n_context;                       /* spans used */
    int32_t attn_block;
    int32_t n_store;            /* 0: a denoising pass; n_ids: a commit; between: a commit fused with
                                   the next block. Under block-causal attention what was stored
                                   behind the block of the last one is forgotten: it depended on what
                                   these rows replace. What a native session needs for rows that are not
                                   stored when it splits a call: see dlx_session_forward */
    const int32_t *rows;        /* [n_rows]; NULL means rows 0 .. n_rows-1 */
    int32_t n_rows;             /* 0: no logits wanted (prefill) */
    float *logits;              /* out [n_rows, vocab_size], row-major, owned by the caller */
    int32_t never;              /* for summaries: an id that is not chosen, or -1 */
    int32_t known;              /* for summaries: ids from here on are not chosen either; 0: all may be */
    dlx_row_summary *summaries; /* out [n_rows]: all that greedy decoding needs of the rows; NULL: not asked for. The
                                   caller fills them with zeros. A function that knows how fills all of them, and may
                                   then leave `logits` unwritten, as native sessions do where the file's head allows;
                                   one that does not know leaves them alone and writes logits. One that hands the call
                                   on and wants to see or change the rows sets this to NULL in its copy of the call */
    int64_t with_logits; /* not 0: where summaries are filled, logits are wanted as well. A function that does not
                            know this, and leaves them unwritten, is called once more without summaries */
} dlx_forward_call;

typedef dlx_status (*dlx_forward_fn)(void *ctx, const dlx_forward_call *call, dlx_error *err);

/* ---- options -------------------------------------------------------------------------------------------------- */

/*
 * All options of all algorithms live in one table: the same names serve the command line (dashes), Python keyword
 * arguments and recorded traces (underscores). Unset options take the algorithm's published default, or the model's.
 */
typedef struct dlx_decode_options dlx_decode_options;

DLX_API dlx_status dlx_decode_options_create(dlx_decode_options **out, dlx_error *err);
DLX_API void dlx_decode_options_free(dlx_decode_options *options); /* NULL is fine */
/* Sets option `name` (dashes or underscores) from text; lists use commas; NULL or "null" unsets, "" is no
 * value. DLX_E_INVALID names the option, the accepted range or words, and the value given. docs/DECODING.md describes
 * all of them. */
DLX_API dlx_status dlx_decode_options_set(dlx_decode_options *options, const char *name, const char *value,
                                          dlx_error *err);

typedef struct dlx_option_info {
    size_t struct_size;     /* sizeof(dlx_option_info) */
    const char *name;       /* "gen_length" */
    const char *kind;       /* "int", "float", "bool", "ids", "word" */
    const char *algorithms; /* "llada.generate, llada.generate_fast" or "all" */
    const char *help;       /* one line */
    const char *words;      /* kind "word": all of them, "a|b|c"; NULL for the others */
    const char *same_as;    /* NULL; where this is a second name of an option, its first one */
    double min;             /* kinds "int" and "float": bounds, inclusive; 0 for the others */
    double max;
} dlx_option_info;
/* Number of options, and the i-th of them: false when i is past the end, or out->struct_size is not set. What the
 * members point to is static. */
DLX_API size_t dlx_decode_option_count(void);
DLX_API bool dlx_decode_option_info(size_t i, dlx_option_info *out);

/*
 * The value that option `name` has when dlx_generate decodes `prompt` [n_prompt] with these facts and options (may be
 * NULL): given, from a preset, published, or the model's. `text` [size] gets what dlx_decode_options_set takes, at most
 * 256 bytes, or "" when there is none: the algorithm that would run does not have the option, or nothing was given and
 * it then means nothing (max_passes, factor). Begins with the checks that dlx_generate begins with and fails as it
 * would, so that a mistake shows before a model is loaded (dlx_model_read_facts). *text is "" then.
 */
DLX_API dlx_status dlx_decode_option_in_force(const dlx_model_facts *facts, const dlx_decode_options *options,
                                              const int32_t *prompt, size_t n_prompt, const char *name, char *text,
                                              size_t size, dlx_error *err);

/* ---- generations ---------------------------------------------------------------------------------------------- */

/* A position that became a token. Never grows. */
typedef struct dlx_accepted {
    int32_t position; /* absolute */
    int32_t id;
    float confidence; /* the score that ranked it: probability, margin or negative entropy */
} dlx_accepted;

/* One model call of a decode, as in the recorded traces. A call that stores a finished block and denoises the next one
 * (option fuse_commit) counts for the latter; `start` and `rows` cover both. */
typedef struct dlx_step {
    size_t struct_size;           /* sizeof(dlx_step) */
    int32_t block;                /* whose tokens it reveals or stores; -1: prefill */
    int32_t start, rows, cached;  /* first position, positions run, cached positions attended */
    size_t n_accepted;            /* may be 0 */
    const dlx_accepted *accepted; /* ascending positions; owned by the generation */
    double milliseconds;          /* wall time of the model call(s) and the choice */
} dlx_step;

/*
 * Called after every step with everything known so far; `ids` is the whole canvas (prompt first, masks where
 * undecided). Valid during the call only. Return false to stop: dlx_generate then returns what is known by then, with
 * finish reason "cancelled".
 */
typedef bool (*dlx_step_fn)(void *ctx, const dlx_step *step, const int32_t *ids, size_t n_ids);

typedef struct dlx_generation dlx_generation;

/*
 * Decodes with the algorithm that `options` names (default: the family's). Works without any model: `forward` may be
 * scripted.
 *   prompt   [n_prompt] ids, each in [0, vocab_size); n_prompt >= 1; prompt + new tokens must fit facts->max_context.
 *            Masks in it are filled, unless run as published (option published, on when an algorithm is named);
 *            ar.generate refuses them
 *   on_step  may be NULL
 *   out      freed with dlx_generation_free
 * DLX_E_INVALID: option that the algorithm lacks or that contradicts another. DLX_E_LIMIT: does not fit the context.
 */
DLX_API dlx_status dlx_generate(const dlx_model_facts *facts, dlx_forward_fn forward, void *forward_ctx,
                                const dlx_decode_options *options, const int32_t *prompt, size_t n_prompt,
                                dlx_step_fn on_step, void *step_ctx, dlx_generation **out, dlx_error *err);
DLX_API void dlx_generation_free(dlx_generation *generation); /* NULL is fine */

/* Name of the algorithm that ran, e.g. "sdar.generate". Static storage. */
DLX_API const char *dlx_generation_algorithm(const dlx_generation *generation);
/* The ids, prompt included. As published: the whole canvas, what the traces record as output_ids, masks that the
 * published code leaves in it included. Otherwise, and when cancelled: prompt, answer, and the stop id that ended it.
 * Never freed by the caller. */
DLX_API const int32_t *dlx_generation_output_ids(const dlx_generation *generation, size_t *n);
/* The answer: generated ids without the prompt, cut before the first stop id, at most max_new_tokens, no mask id. When
 * cancelled: what was known in front of the first mask. */
DLX_API const int32_t *dlx_generation_answer_ids(const dlx_generation *generation, size_t *n);
/* "stop" when a stop id ended the answer, "cancelled" when on_step did, else "length". Static storage. */
DLX_API const char *dlx_generation_finish_reason(const dlx_generation *generation);
/* Model calls made; classifier-free guidance counts two per step. */
DLX_API int32_t dlx_generation_num_forwards(const dlx_generation *generation);
DLX_API size_t dlx_generation_num_steps(const dlx_generation *generation);
/* False when i is past the end. `out->accepted` lives as long as the generation. */
DLX_API bool dlx_generation_step(const dlx_generation *generation, size_t i, dlx_step *out);

#ifdef __cplusplus
}
#endif
#endif
