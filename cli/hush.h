/* Libraries of others that print what they do, where a command's own lines belong. */
#ifndef DLX_CLI_HUSH_H
#define DLX_CLI_HUSH_H

#include <stdbool.h>

/* What the descriptors 1 and 2 were; -1: it stays. */
typedef struct dlx_cli_hush {
    int was[2];
} dlx_cli_hush;

/* Until dlx_cli_hush_end, what is printed goes nowhere: to stdout, and to stderr as well, where `errors`. */
dlx_cli_hush dlx_cli_hush_begin(bool errors);
void dlx_cli_hush_end(const dlx_cli_hush *h);

#endif
