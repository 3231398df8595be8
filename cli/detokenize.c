/* detokenize: token ids to text. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "input.h"
#include "json.h"
#include "output.h"
#include "running.h"

static int decode(const dlx_cli_arguments *a, const dlx_tokenizer *t, const char *list)
{
    dlx_error err;
    int32_t *ids;
    char *text;
    size_t n, length;
    if (dlx_cli_parse_ids(list, &ids, &n, &err) != DLX_OK) return dlx_cli_fail(&err);
    dlx_status s = dlx_tokenizer_decode(t, ids, n, dlx_cli_flag(a, "skip-special", false), &text, &length, &err);
    free(ids);
    if (s != DLX_OK) return dlx_cli_fail(&err);
    if (dlx_cli_flag(a, "json", false)) {
        dlx_cli_json j = {.out = stdout};
        dlx_cli_json_open(&j, NULL, '{');
        dlx_cli_json_bytes(&j, "text", text, length);
        dlx_cli_json_close(&j, '}');
    } else {
        dlx_cli_put_text(stdout, text, length);
    }
    printf("\n");
    dlx_free(text);
    return DLX_CLI_OK;
}

static int run(const dlx_cli_arguments *a)
{
    dlx_error err;
    dlx_tokenizer *t;
    int next;
    const char *path = dlx_cli_pte_path(a, &next), *list = NULL;
    char *content = NULL;
    size_t n;
    if (!path) return DLX_CLI_USAGE;
    if (a->n_positional != next + 1)
        return dlx_cli_usage(a->command, "detokenize needs one list of token ids%s",
                             a->n_positional > next + 1 ? "; quotes keep words together" : "");
    list = a->positional[next];
    if (!strcmp(list, "-")) {
        if (dlx_cli_read_text("-", &content, &n, &err) != DLX_OK) return dlx_cli_fail(&err);
        list = content;
    }
    int status = dlx_cli_open_tokenizer(&t, path, &err) == DLX_OK ? DLX_CLI_OK : dlx_cli_fail(&err);
    if (status == DLX_CLI_OK) {
        status = decode(a, t, list);
        dlx_tokenizer_close(t);
    }
    free(content);
    return status;
}

static const dlx_cli_option options[] = {
    {"pte-path", DLX_CLI_TEXT, "FILE", "the .pte or folder, instead of the first argument", 0, 0},
    {"skip-special", DLX_CLI_FLAG, NULL, "leave special tokens out", 0, 0},
    {"json", DLX_CLI_FLAG, NULL, "one JSON object", 0, 0},
};

const dlx_cli_command dlx_cli_detokenize = {
    .name = "detokenize",
    .arguments = "FILE|FOLDER IDS",
    .summary = "prints the text of token ids such as 1,2,3 (- reads the standard input)",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 1,
    .most = 2,
    .run = run,
};
