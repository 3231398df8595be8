/* inspect: what is in a .pte, as text, JSON, or its graph. */
#include <stdio.h>

#include "commands.h"
#include "output.h"

static int run(const dlx_cli_arguments *a)
{
    bool json = dlx_cli_flag(a, "json", false), graph = dlx_cli_flag(a, "graph", false);
    bool primitive = dlx_cli_flag(a, "primitive", false), dot = dlx_cli_flag(a, "dot", false);
    int next;
    const char *path = dlx_cli_pte_path(a, &next);
    char *text;
    dlx_error err;
    if (!path) return DLX_CLI_USAGE;
    if (a->n_positional > next)
        return dlx_cli_usage(a->command, "inspect takes one file, not '%s' as well", a->positional[next]);
    if ((primitive || dot) && !graph) return dlx_cli_usage(a->command, "--primitive and --dot are for --graph");
    if (json && graph) return dlx_cli_usage(a->command, "--json and --graph cannot be combined");
    dlx_status s = graph ? dlx_inspect_graph(path, !primitive, dot, &text, &err) : dlx_inspect(path, json, &text, &err);
    if (s != DLX_OK) return dlx_cli_fail(&err);
    fputs(text, stdout);
    dlx_free(text);
    return DLX_CLI_OK;
}

static const dlx_cli_option options[] = {
    {"pte-path", DLX_CLI_TEXT, "FILE", "the .pte, instead of the first argument", 0, 0},
    {"json", DLX_CLI_FLAG, NULL, "one JSON object", 0, 0},
    {"graph", DLX_CLI_FLAG, NULL, "the graph of its method, as this runtime executes it", 0, 0},
    {"primitive", DLX_CLI_FLAG, NULL, "with --graph: the operators that the file holds", 0, 0},
    {"dot", DLX_CLI_FLAG, NULL, "with --graph: for Graphviz", 0, 0},
};

const dlx_cli_command dlx_cli_inspect = {
    .name = "inspect",
    .arguments = "FILE",
    .summary = "describes a .pte: methods, metadata, memory it will need, weights that are not quantised",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 0,
    .most = 1,
    .run = run,
};
