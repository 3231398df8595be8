/* Held-out questions: a file of JSON lines. */
#ifndef DLX_CLI_FULL_JSONL_H
#define DLX_CLI_FULL_JSONL_H

#include <stddef.h>

#include "diffulex_edge/diffulex_edge.h"

typedef struct dlx_cli_question {
    const char *prompt; /* NULL when there are messages */
    const char *answer;
    char *messages, *tools; /* JSON arrays, or NULL */
} dlx_cli_question;

typedef struct dlx_cli_questions {
    dlx_cli_question *list;
    size_t n;
    void *lines; /* parsed JSON that the texts belong to */
} dlx_cli_questions;

/* Lines {"prompt": "..."} or {"messages": [{"role": "...", "content": "..."}, ...]}, each with an "answer"; with
 * messages also "tools". Other keys are fine. Reads at most `most` lines, 0: all. Errors name the line. Free with
 * dlx_cli_questions_free in any case. */
dlx_status dlx_cli_questions_read(dlx_cli_questions *out, const char *path, size_t most, dlx_error *err);
void dlx_cli_questions_free(dlx_cli_questions *questions);

#endif
