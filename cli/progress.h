/*
 * What a decode would be, known before weights are read, and the line on the terminal that says how far one is: pass,
 * tokens known, time. Nothing is shown where the standard error is no terminal.
 */
#ifndef DLX_CLI_PROGRESS_H
#define DLX_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diffulex_edge/diffulex_edge.h"

typedef struct dlx_cli_plan {
    int32_t mask_id;
    size_t n_prompt, n_masks; /* positions of the prompt, and how many of them are masks */
    size_t n_new;             /* new tokens at most */
    int32_t block_length;     /* 0: no blocks */
    size_t grid;              /* where blocks are counted from: position 0, or the prompt's end */
} dlx_cli_plan;

/* Fails where dlx_complete would before its first call; nothing is run. decode may be NULL. */
dlx_status dlx_cli_plan_make(dlx_cli_plan *plan, const dlx_model_facts *facts, const dlx_decode_options *decode,
                             const int32_t *prompt, size_t n_prompt, dlx_error *err);
/* Tokens to find, and those of them that are known. */
size_t dlx_cli_plan_total(const dlx_cli_plan *plan);
size_t dlx_cli_plan_known(const dlx_cli_plan *plan, const int32_t *ids, size_t n_ids);
/* Positions [begin, end) of the block that holds the first mask behind the prompt's known part; an empty range when
 * there is none. */
dlx_span dlx_cli_plan_active(const dlx_cli_plan *plan, const int32_t *ids, size_t n_ids);

typedef struct dlx_cli_decoding {
    dlx_cli_plan plan;
    const char *what; /* in front of the line, where this decode is one of many; "" */
    double begin;     /* seconds */
    int64_t passes;
    bool hidden; /* text stands on the same terminal */
} dlx_cli_decoding;

void dlx_cli_decoding_begin(dlx_cli_decoding *d, const dlx_cli_plan *plan, const char *what);
/* For a dlx_step_fn: counts a pass and shows the line. */
void dlx_cli_decoding_step(dlx_cli_decoding *d, const int32_t *ids, size_t n_ids);
/* A dlx_step_fn that does nothing else; ctx is the dlx_cli_decoding. A signal that asks to stop ends the decode. */
bool dlx_cli_decoding_on_step(void *ctx, const dlx_step *step, const int32_t *ids, size_t n_ids);

/* "loading FILE (1.5 GB)", until dlx_cli_progress_end. */
void dlx_cli_show_loading(const char *path);

#endif
