/* tokenize: text to token ids. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "input.h"
#include "output.h"
#include "prompt.h"
#include "running.h"

static dlx_status put_json(const dlx_tokenizer *t, const int32_t *ids, size_t n, dlx_error *err)
{
    dlx_cli_json j = {.out = stdout};
    dlx_status s = DLX_OK;
    dlx_cli_json_open(&j, NULL, '{');
    dlx_cli_json_ids(&j, "ids", ids, n);
    dlx_cli_json_open(&j, "tokens", '[');
    for (size_t i = 0; s == DLX_OK && i < n; i++) {
        char *text;
        size_t length;
        s = dlx_tokenizer_decode(t, &ids[i], 1, false, &text, &length, err);
        if (s != DLX_OK) break;
        dlx_cli_json_bytes(&j, NULL, text, length);
        dlx_free(text);
    }
    dlx_cli_json_close(&j, ']');
    dlx_cli_json_close(&j, '}');
    printf("\n");
    return s;
}

static int encode(const dlx_cli_arguments *a, const dlx_tokenizer *t, const char *text, size_t length)
{
    dlx_error err;
    int32_t *ids = NULL;
    size_t n = 0;
    bool special = dlx_cli_flag(a, "special", false);
    dlx_status s =
        dlx_cli_flag(a, "chat", false)
            ? dlx_cli_chat_ids(a, t, text, &ids, &n, &err)
            : dlx_cli_encode(t, text, length, DLX_ENCODE_AROUND | (special ? DLX_ENCODE_SPECIAL : DLX_ENCODE_PLAIN),
                             &ids, &n, &err);
    if (s == DLX_OK && dlx_cli_flag(a, "json", false)) {
        s = put_json(t, ids, n, &err);
    } else if (s == DLX_OK) {
        for (size_t i = 0; i < n; i++) printf("%s%d", i ? "," : "", ids[i]);
        printf("\n");
    }
    free(ids);
    return s == DLX_OK ? DLX_CLI_OK : dlx_cli_fail(&err);
}

static int run(const dlx_cli_arguments *a)
{
    dlx_error err;
    dlx_tokenizer *t;
    int next;
    const char *path = dlx_cli_pte_path(a, &next), *text = NULL;
    char *content = NULL;
    size_t length = 0;
    if (!path) return DLX_CLI_USAGE;
    if (a->n_positional != next + 1)
        return dlx_cli_usage(a->command, "tokenize needs one text%s",
                             a->n_positional > next + 1 ? "; quotes keep words together" : "");
    text = a->positional[next];
    length = strlen(text);
    if (dlx_cli_text(a, "system") && !dlx_cli_flag(a, "chat", false))
        return dlx_cli_usage(a->command, "--system needs --chat");
    if (dlx_cli_template_given(a) && !dlx_cli_flag(a, "chat", false))
        return dlx_cli_usage(a->command, "--enable-thinking, --chat-template-kwargs and --chat-template need --chat");
    if (!strcmp(text, "-")) {
        if (dlx_cli_read_text("-", &content, &length, &err) != DLX_OK) return dlx_cli_fail(&err);
        text = content;
    }
    int status = dlx_cli_open_tokenizer(&t, path, &err) == DLX_OK ? DLX_CLI_OK : dlx_cli_fail(&err);
    if (status == DLX_CLI_OK) {
        status = encode(a, t, text, length);
        dlx_tokenizer_close(t);
    }
    free(content);
    return status;
}

static const dlx_cli_option options[] = {
    {"pte-path", DLX_CLI_TEXT, "FILE", "the .pte or folder, instead of the first argument", 0, 0},
    {"special", DLX_CLI_FLAG, NULL, "special tokens written out in the text become their ids", 0, 0},
    {"chat", DLX_CLI_FLAG, NULL, "the text is a user message in the model's chat template", 0, 0},
    {"system", DLX_CLI_TEXT, "TEXT", "with --chat: the system message", 0, 0},
    DLX_CLI_TEMPLATE_OPTIONS,
    {"json", DLX_CLI_FLAG, NULL, "one JSON object: ids, and the text of each", 0, 0},
};

const dlx_cli_command dlx_cli_tokenize = {
    .name = "tokenize",
    .arguments = "FILE|FOLDER TEXT",
    .summary = "prints the token ids of a text (- reads the standard input)",
    .notes = "FILE is a .pte, FOLDER a checkpoint folder with tokenizer files.",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .least = 1,
    .most = 2,
    .run = run,
};
