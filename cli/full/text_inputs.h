/* Options that name a text to read, where "-" is the standard input. */
#ifndef DLX_CLI_TEXT_INPUTS_H
#define DLX_CLI_TEXT_INPUTS_H

#include "arguments.h"

/* What was given for the option, as the library opens it; NULL: not given. */
const char *dlx_cli_text_input(const dlx_cli_arguments *a, const char *name);
/* Whether at most one of the options in names [n] is the standard input, which can be read once. Anything but
 * DLX_CLI_OK was reported. */
int dlx_cli_check_text_inputs(const dlx_cli_arguments *a, const char *const *names, size_t n);

#endif
