/* Lines of a file or a pipe, one after the other, whatever the size of the whole: what is in memory is one of them. */
#ifndef DLX_CLI_FULL_BATCH_LINES_H
#define DLX_CLI_FULL_BATCH_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "diffulex_edge/status.h"

typedef struct dlx_cli_line_reader {
    const char *name; /* for errors */
    int fd;
    size_t most;                      /* bytes of a line */
    bool (*stopped)(const void *ctx); /* asked while a pipe is silent; NULL: never */
    const void *ctx;
    size_t number;       /* of the line that was read last, from 1 on */
    uint64_t begin, end; /* of the line that was read last: bytes before it, and with it and its break */
    bool whole;          /* it ended with a line break */
    /* the reader's own */
    char *bytes; /* [n], of which `at` are done with and `seen` hold no line break */
    size_t at, n, seen, capacity;
    uint64_t offset; /* of bytes[0] */
    bool ended;
} dlx_cli_line_reader;

/* The next line without its break, NUL-terminated, until the next call. *line is NULL at the end, and when `stopped`
 * said so. A byte-order mark in front of the first is left out; text in UTF-16 is an error. */
dlx_status dlx_cli_line_next(dlx_cli_line_reader *r, const char **line, size_t *n, dlx_error *err);
/* From the first line on again; false for what cannot be read twice. */
bool dlx_cli_line_rewind(dlx_cli_line_reader *r);
void dlx_cli_line_free(dlx_cli_line_reader *r);

#endif
