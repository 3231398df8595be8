/*
 * A file of results: whole lines are appended, each with one write, and found again by the next run. Who has it open
 * keeps others from writing to it. A line is there for other processes, and after this one's end, however it ends, when
 * `append` returns; it survives the machine's end when the system wrote it out, which is asked for every five seconds
 * and at the end.
 */
#ifndef DLX_CLI_FULL_BATCH_RESULTS_H
#define DLX_CLI_FULL_BATCH_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "full/batch_ids.h"

#include "diffulex_edge/status.h"

typedef struct dlx_cli_results {
    const char *path;
    int fd; /* -1: closed */
    uint64_t size;
    double synced; /* seconds */
    bool unsynced;
} dlx_cli_results;

/* Opens it, made where it is missing. */
dlx_status dlx_cli_results_open(dlx_cli_results *r, const char *path, dlx_error *err);
/* Locks it until it is closed. Marks the ids that it has as done; adds those that are not there, as a pipe's are not
 * yet. `known`: all ids of the input are there. Takes off a last line that was cut short, when it is the beginning of a
 * result. */
dlx_status dlx_cli_results_read(dlx_cli_results *r, dlx_cli_ids *ids, bool known, dlx_error *err);
/* The line with its break. After a failure the file ends where it did before. */
dlx_status dlx_cli_results_append(dlx_cli_results *r, const char *line, size_t n, dlx_error *err);
/* Closed in any case; an error when the system could not write it out. */
dlx_status dlx_cli_results_close(dlx_cli_results *r, dlx_error *err);

/* A result, malloc'd, [n]: `custom_id` as JSON, `body` as JSON. NULL: out of memory. */
char *dlx_cli_result_line(const char *id, const char *custom_id, int status, const char *body, size_t *n);

#endif
