/*
 * Lines that a person types: edited with libedit where the program has it and the input is a terminal, read plainly
 * otherwise. UTF-8 either way.
 */
#ifndef DLX_CLI_LINES_H
#define DLX_CLI_LINES_H

#include <stdbool.h>
#include <stddef.h>

typedef enum dlx_cli_line {
    DLX_CLI_LINE,
    DLX_CLI_LINE_INTERRUPTED,
    DLX_CLI_LINE_END,
    DLX_CLI_LINE_FAILED, /* the input cannot be read: errno says why */
    DLX_CLI_LINE_UTF16,  /* it is text in another encoding */
} dlx_cli_line;

typedef struct dlx_cli_lines dlx_cli_lines;

/* NULL when out of memory. */
dlx_cli_lines *dlx_cli_lines_open(void);
void dlx_cli_lines_close(dlx_cli_lines *l); /* NULL is fine */
/* Whether a person sits in front of it: then prompts are shown. */
bool dlx_cli_lines_interactive(const dlx_cli_lines *l);
/* Reads one line without its end; *line lives until the next call. prompt: columns of plain text. INTERRUPTED after
 * Ctrl-C: what was typed so far is dropped. */
dlx_cli_line dlx_cli_lines_read(dlx_cli_lines *l, const char *prompt, const char **line);

#endif
