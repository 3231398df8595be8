/* What the program prints: messages, text of a model, progress lines, and what it knows about the terminal. */
#ifndef DLX_CLI_OUTPUT_H
#define DLX_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "diffulex_edge/status.h"

/* "diffulex-edge: ..." and a line end, on the standard error; a progress line there is wiped out first. */
void dlx_cli_message(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints the error's sentence; returns DLX_CLI_FAILED. */
int dlx_cli_fail(const dlx_error *err);
int dlx_cli_out_of_memory(void); /* DLX_CLI_FAILED */
/* Fills an error record, for callbacks that the library calls; returns the status. */
dlx_status dlx_cli_error(dlx_error *err, dlx_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

bool dlx_cli_is_terminal(FILE *f);
/* Terminal that may be coloured: NO_COLOR is not set, TERM is not "dumb". */
bool dlx_cli_colours(FILE *f);
/* Terminal on which the cursor can be moved. */
bool dlx_cli_moves(FILE *f);
/* Columns of the terminal behind f; 80 where there is none. */
int dlx_cli_columns(FILE *f);

/* A model's text. On a terminal control characters other than line end and tab become '?': text must not steer it. */
void dlx_cli_put_text(FILE *f, const char *text, size_t n);

/* One line on the standard error that overwrites itself, at most ten times a second; nothing unless it is a terminal.
 */
void dlx_cli_progress(bool now, const char *format, ...) __attribute__((format(printf, 2, 3)));
void dlx_cli_progress_end(void); /* wipes it out */

double dlx_cli_seconds(void); /* monotonic */
/* "1.2 GB"; static text is not used, so the buffer is the caller's. */
const char *dlx_cli_bytes(char buffer[32], uint64_t bytes);

/* SIGINT and SIGTERM ask to stop from now on; a second SIGINT ends the program. */
void dlx_cli_catch_interrupts(void);
bool dlx_cli_interrupted(void);
/* For a program that goes on: forgets an interrupt and catches the next one; reading the terminal ends with EINTR. */
void dlx_cli_rearm_interrupts(void);

#endif
