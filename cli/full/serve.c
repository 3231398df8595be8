/* serve: the server, until a signal ends it. What it does lies in server/; here are its options. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "full/serving.h"
#include "input.h"
#include "output.h"
#include "running.h"

#if defined(DLX_HAVE_SERVER)
enum { POLL_MS = 50 };

typedef struct keys {
    const char **list; /* [n] of the command line, and then those of the file, which lie in `text` */
    size_t n;
    char *text;
} keys;

static void put_log(void *ctx, const char *line)
{
    (void)ctx;
    dlx_cli_message("%s", line);
}

/* One key a line; empty lines are passed over. */
static int read_keys(const dlx_cli_arguments *a, keys *k)
{
    const char *path = dlx_cli_text(a, "api-key-file");
    dlx_error err;
    size_t n, lines = 1;
    if (!dlx_cli_list(a, "api-key", &k->list, &k->n)) return DLX_CLI_FAILED;
    for (size_t i = 0; i < k->n; i++)
        if (!*k->list[i]) return dlx_cli_usage(a->command, "--api-key is empty");
    if (!path) return DLX_CLI_OK;
    if (dlx_cli_read_text(path, &k->text, &n, &err) != DLX_OK) return dlx_cli_fail(&err);
    for (size_t i = 0; i < n; i++) lines += k->text[i] == '\n';
    const char **grown = realloc(k->list, (k->n + lines) * sizeof *grown);
    if (!grown) return dlx_cli_out_of_memory();
    k->list = grown;
    char *rest = k->text;
    for (char *line; (line = strtok_r(rest, "\r\n", &rest));) k->list[k->n++] = line;
    if (k->n) return DLX_CLI_OK;
    dlx_cli_message("'%s' holds no key; expected one a line", path);
    return DLX_CLI_FAILED;
}

static int serve(const dlx_server_options *o, int seconds)
{
    dlx_server *server;
    dlx_error err;
    signal(SIGPIPE, SIG_IGN);
    dlx_cli_catch_interrupts();
    dlx_cli_progress(true, "opening the model");
    dlx_status s = dlx_server_open(&server, o, &err);
    dlx_cli_progress_end();
    if (s != DLX_OK) return dlx_cli_fail(&err);
    dlx_cli_pack_cache_notice(dlx_server_model(server));
    if (!dlx_cli_interrupted()) printf("listening on %s\n", dlx_server_address(server));
    dlx_cli_flush();
    while (!dlx_cli_interrupted()) dlx_cli_wait_ms(POLL_MS);
    dlx_server_close(server, seconds);
    dlx_cli_output_is_there(); /* to be told to end is how it ends */
    return DLX_CLI_OK;
}

static int run(const dlx_cli_arguments *a)
{
    int next;
    keys k = {0};
    dlx_error err;
    const char *path = dlx_cli_pte_path(a, &next), *host = dlx_cli_text(a, "host"), **origins = NULL;
    dlx_server_options o = {.path = path};
    if (!path) return DLX_CLI_USAGE;
    if (a->n_positional > next) return dlx_cli_too_many(a, next);
    int status = dlx_cli_kv_type(a, &o.kv_type);
    if (status == DLX_CLI_OK) status = read_keys(a, &k);
    if (status == DLX_CLI_OK && !dlx_cli_list(a, "cors", &origins, &o.n_origins)) status = DLX_CLI_FAILED;
    o.host = host ? host : "127.0.0.1";
    o.port = (int)dlx_cli_int(a, "port", 8080);
    dlx_cli_serving(&o, a, 4);
    o.queue = (int)dlx_cli_int(a, "queue", 64);
    o.request_seconds = (int)dlx_cli_int(a, "request-seconds", 30);
    o.api_keys = k.list;
    o.n_api_keys = k.n;
    o.insecure = dlx_cli_flag(a, "insecure", false);
    o.origins = origins;
    o.log_prompts = dlx_cli_flag(a, "log-prompts", false);
    o.log = dlx_cli_flag(a, "log", false) || o.log_prompts ? put_log : NULL;
    if (status == DLX_CLI_OK && dlx_server_check(&o, &err) != DLX_OK)
        status = dlx_cli_usage(a->command, "%s", err.message);
    if (status == DLX_CLI_OK) status = serve(&o, (int)dlx_cli_int(a, "stop-seconds", 10));
    free(k.list);
    free(k.text);
    free(origins);
    return status;
}
#else
static int run(const dlx_cli_arguments *a)
{
    return dlx_cli_no_server(a);
}
#endif

static const dlx_cli_option options[] = {
    {"host", DLX_CLI_TEXT, "ADDRESS", "where to listen (default 127.0.0.1); others than this machine need a key", 0, 0},
    {"port", DLX_CLI_INT, "N", "port (default 8080; 0: any that is free)", 0, 65535},
    DLX_CLI_RUN_OPTIONS,
    {"parallel", DLX_CLI_INT, "N", "answers that are decoded at one time; they share passes (default 4)", 1, 64},
    {"queue", DLX_CLI_INT, "N", "answers that wait for one of them to end; more are refused (default 64)", 0, 100000},
    DLX_CLI_SERVING_OPTIONS,
    {"model-name", DLX_CLI_TEXT, "NAME", "what clients are told the model is called (default: the file's name)", 0, 0},
    {"api-key", DLX_CLI_LIST, "KEY", "who has this key may ask; several are fine", 0, 0},
    {"api-key-file", DLX_CLI_TEXT, "FILE", "the same, one key a line: command lines are seen by others", 0, 0},
    {"insecure", DLX_CLI_FLAG, NULL, "an address that others reach, without a key", 0, 0},
    {"cors", DLX_CLI_LIST, "ORIGIN", "web pages of this origin (https://the.page) may call; * for all", 0, 0},
    {"request-seconds", DLX_CLI_INT, "N", "a whole request has to arrive within that time (default 30)", 1, 86400},
    {"stop-seconds", DLX_CLI_INT, "N", "at the end, answers have that time to finish (default 10)", 0, 86400},
    {"log", DLX_CLI_FLAG, NULL, "a line for every request on the standard error; no prompts", 0, 0},
    {"log-prompts", DLX_CLI_FLAG, NULL, "the same with prompts", 0, 0},
};

const dlx_cli_command dlx_cli_serve = {
    .name = "serve",
    .arguments = "FILE",
    .summary = "answers over HTTP, as OpenAI's and llama.cpp's servers do",
    .notes =
        "Listens at http://127.0.0.1:8080 for browsers (a page to chat with), /v1/chat/completions, /v1/completions, "
        "/v1/responses, /v1/models, "
        "/infill, /tokenize, /detokenize, /apply-template, /health, /props, /slots and /metrics. Ctrl-C or SIGTERM "
        "ends it: answers that are being made are finished first. docs/SERVER.md describes it.",
    .first = "host port parallel api-key log",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 0,
    .most = 1,
    .run = run,
};
