/* inspect: what is in a .pte, as text, JSON, or its graph. */
#include <stdio.h>

#include "commands.h"
#include "output.h"
#include "running.h"

/* Options of the memory that is stated. */
static bool about_memory(const dlx_cli_arguments *a)
{
    static const char *const names[] = {"max-rows", "max-context", "sessions", "kv-positions", "kv-cache"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (dlx_cli_text(a, names[i])) return true;
    return false;
}

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
    if (graph && about_memory(a))
        return dlx_cli_usage(a->command, "--graph says nothing about memory; leave the bounds of sessions out");
    dlx_workspace_options w = {.struct_size = sizeof w,
                               .max_rows = (int32_t)dlx_cli_int(a, "max-rows", 0),
                               .max_context = (int32_t)dlx_cli_int(a, "max-context", 0),
                               .max_sessions = (int32_t)dlx_cli_int(a, "sessions", 1),
                               .kv_positions = (int32_t)dlx_cli_int(a, "kv-positions", 0)};
    int status = dlx_cli_kv_type(a, &w.kv_type);
    if (status != DLX_CLI_OK) return status;
    if (!dlx_cli_text(a, "kv-cache")) w.kv_type = NULL; /* the file's own, where it has one */
    const char *method = dlx_cli_text(a, "method");
    if (method && about_memory(a))
        return dlx_cli_usage(a->command,
                             "the bounds of sessions say nothing about one method; leave them or --method out");
    dlx_status s;
    if (method && graph)
        s = dlx_inspect_method_graph(path, method, !primitive, dot, &text, &err);
    else if (method)
        s = dlx_inspect_method(path, method, json, &text, &err);
    else if (graph)
        s = dlx_inspect_graph(path, !primitive, dot, &text, &err);
    else
        s = dlx_inspect(path, json, &w, &text, &err);
    if (s != DLX_OK) return dlx_cli_fail(&err);
    fputs(text, stdout);
    dlx_free(text);
    return DLX_CLI_OK;
}

static const dlx_cli_option options[] = {
    {"pte-path", DLX_CLI_TEXT, "FILE", "the .pte, instead of the first argument", 0, 0},
    {"json", DLX_CLI_FLAG, NULL, "one JSON object", 0, 0},
    {"method", DLX_CLI_TEXT, "NAME", "one method, as `run` calls it: what runs fused, and the memory that it takes", 0,
     0},
    {"max-rows", DLX_CLI_INT, "N", "memory for at most N rows a pass (default: the file's bound)", 1, 1 << 24},
    {"max-context", DLX_CLI_INT, "N", "memory for sessions of N positions (default: the file's bound)", 1, 1 << 24},
    {"sessions", DLX_CLI_INT, "N", "memory for N sessions that share passes (default 1)", 1, 1024},
    {"kv-positions", DLX_CLI_INT, "N",
     "positions that all sessions store together (default, and at most: all that they can)", 1, INT32_MAX},
    DLX_CLI_KV_OPTION,
    {"graph", DLX_CLI_FLAG, NULL,
     "the graph of its method, as this runtime executes it (forward in sessions, where it can)", 0, 0},
    {"primitive", DLX_CLI_FLAG, NULL, "with --graph: the operators that the file holds", 0, 0},
    {"dot", DLX_CLI_FLAG, NULL, "with --graph: for Graphviz", 0, 0},
};

const dlx_cli_command dlx_cli_inspect = {
    .name = "inspect",
    .arguments = "FILE",
    .summary = "describes a .pte: methods, metadata, memory it will need, weights that are not quantised",
    .notes =
        "The memory is what a program takes that opens the file and as many sessions with these bounds. No weights "
        "are read for it.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 0,
    .most = 1,
    .run = run,
};
