#include "full/text_inputs.h"

#include <string.h>

static bool is_standard(const char *path)
{
    return path && (!strcmp(path, "-") || !strcmp(path, "/dev/stdin"));
}

const char *dlx_cli_text_input(const dlx_cli_arguments *a, const char *name)
{
    const char *path = dlx_cli_text(a, name);
    return is_standard(path) ? "/dev/stdin" : path;
}

int dlx_cli_check_text_inputs(const dlx_cli_arguments *a, const char *const *names, size_t n)
{
    const char *first = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!is_standard(dlx_cli_text(a, names[i]))) continue;
        if (first)
            return dlx_cli_usage(a->command, "--%s and --%s are both the standard input, which can be read once", first,
                                 names[i]);
        first = names[i];
    }
    return DLX_CLI_OK;
}
