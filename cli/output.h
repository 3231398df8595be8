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
int dlx_cli_rows(FILE *f); /* likewise; 24 where nobody says */

/* A model's text. On a terminal control characters other than line end and tab become '?': text must not steer it. */
void dlx_cli_put_text(FILE *f, const char *text, size_t n);

/* Waits; a signal ends it. */
void dlx_cli_wait_ms(int64_t ms);

/* One line on the standard error that overwrites itself, at most ten times a second; nothing unless it is a terminal.
 */
void dlx_cli_progress(bool now, const char *format, ...) __attribute__((format(printf, 2, 3)));
void dlx_cli_progress_end(void); /* wipes it out */

double dlx_cli_seconds(void); /* monotonic */
/* Most bytes that this process had resident; 0 where the system does not say. */
uint64_t dlx_cli_peak_memory(void);
/* "1.2 GB"; static text is not used, so the buffer is the caller's. */
const char *dlx_cli_bytes(char buffer[32], uint64_t bytes);

/* Writes out what was printed; false when that, or an earlier print, failed. To be asked where much is printed, so that
 * nobody works for an output that is full or closed. */
bool dlx_cli_flush(void);
/* errno of the first print that failed, 0: none did. */
int dlx_cli_output_error(void);

/* SIGINT, SIGTERM and SIGHUP (those that are not ignored) end the program with 128 and their number: at once, until the
 * command calls dlx_cli_catch_interrupts. Called once, first. */
void dlx_cli_end_on_signals(void);
/* They ask to stop from now on, so that results can be printed and files removed; a second one ends the program. */
void dlx_cli_catch_interrupts(void);
/* The file that was to be written is at its place: the command has succeeded, whatever came since it was, and nothing
 * but its summary is left to print. */
void dlx_cli_output_is_there(void);
bool dlx_cli_interrupted(void);
/* The signal that asked, 0: none did. */
int dlx_cli_signal(void);
/* For a program that goes on: forgets a SIGINT and catches the next ones; reading ends with EINTR. */
void dlx_cli_rearm_interrupts(void);

#endif
