/* What serve and batch have in common: options of the model behind them, and what both say where there is no server. */
#ifndef DLX_CLI_SERVING_H
#define DLX_CLI_SERVING_H

#include "arguments.h"

/* clang-format off */
#define DLX_CLI_SERVING_OPTIONS                                                                                        \
    {"keep", DLX_CLI_INT, "N", "sequences kept for prompts that begin alike, in models with blocks (default 16)", 0,   \
     512},                                                                                                             \
    {"rows", DLX_CLI_INT, "N", "rows of one pass, all answers together (default 0: measured at the start)", 0, 1 << 16}
/* clang-format on */

#if defined(DLX_HAVE_SERVER)
#include "server.h"

/* --parallel (`seats` without it), --model-name, and what DLX_CLI_RUN_OPTIONS and DLX_CLI_SERVING_OPTIONS hold, but for
 * the file and the type of the cache. */
void dlx_cli_serving(dlx_server_options *o, const dlx_cli_arguments *a, int seats);
#else
/* The command of a program that has no server. */
int dlx_cli_no_server(const dlx_cli_arguments *a);
#endif

#endif
