/* The requests of a batch, in OpenAI's format: one JSON object a line, {"custom_id", "method", "url", "body"}. */
#ifndef DLX_CLI_FULL_BATCH_INPUT_H
#define DLX_CLI_FULL_BATCH_INPUT_H

#include <jansson.h>

#include "full/batch_ids.h"
#include "full/batch_lines.h"

typedef struct dlx_cli_request {
    json_t *root; /* what the others belong to; NULL: there is no request any more */
    const char *custom_id, *url;
    json_t *body;
} dlx_cli_request;

typedef struct dlx_cli_requests {
    dlx_cli_line_reader lines;
    dlx_cli_ids ids;
    bool pipe;       /* read once, so its lines are checked when their turn comes */
    size_t n;        /* requests, as far as they were read */
    size_t answered; /* of them by an earlier run, likewise */
} dlx_cli_requests;

/* "-" is the standard input. Free in any case. */
dlx_status dlx_cli_requests_open(dlx_cli_requests *r, const char *path, dlx_error *err);
void dlx_cli_requests_free(dlx_cli_requests *r);
/* Looks at every line of what is no pipe, and then begins anew. An error names the line. */
dlx_status dlx_cli_requests_check(dlx_cli_requests *r, dlx_error *err);
/* How many of them have results; for what was checked. */
void dlx_cli_requests_count(dlx_cli_requests *r);
/* The next one without a result; root is NULL behind the last. Its owner frees it with json_decref(root). */
dlx_status dlx_cli_requests_next(dlx_cli_requests *r, dlx_cli_request *out, dlx_error *err);

#endif
