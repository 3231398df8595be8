/* From --prompt, --prompt-file, --token-ids or '-' to token ids. */
#include "prompt.h"

#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "output.h"

/* The argument behind the .pte, or NULL. */
static const char *argument(const dlx_cli_arguments *a)
{
    int place = dlx_cli_text(a, "pte-path") ? 0 : 1;
    return a->n_positional > place ? a->positional[place] : NULL;
}

int dlx_cli_prompt_check(const dlx_cli_arguments *a, bool *is_text)
{
    const char *text = argument(a);
    bool ids = dlx_cli_text(a, "token-ids");
    int given = ids + !!dlx_cli_text(a, "prompt") + !!dlx_cli_text(a, "prompt-file") + !!text;
    *is_text = !ids;
    if (a->n_positional > (dlx_cli_text(a, "pte-path") ? 1 : 2))
        return dlx_cli_usage(a->command, "%s takes one prompt, not '%s' as well; quotes keep its words together",
                             a->command->name, a->positional[a->n_positional - 1]);
    if (given != 1)
        return dlx_cli_usage(a->command,
                             "%s needs %s prompt: the argument behind the .pte (- reads the standard input), --prompt, "
                             "--prompt-file or --token-ids",
                             a->command->name, given ? "only one" : "a");
    if (ids && (dlx_cli_text(a, "system") || dlx_cli_flag(a, "chat", false)))
        return dlx_cli_usage(a->command, "--chat and --system are for text prompts, not for --token-ids");
    if (dlx_cli_text(a, "system") && !dlx_cli_flag(a, "chat", true))
        return dlx_cli_usage(a->command, "--system is a part of the chat template, which --no-chat leaves out");
    if (dlx_cli_template_given(a) && (ids || !dlx_cli_flag(a, "chat", true)))
        return dlx_cli_usage(a->command,
                             "--enable-thinking, --chat-template-kwargs and --chat-template are for the chat "
                             "template, which %s leaves out",
                             ids ? "--token-ids" : "--no-chat");
    return DLX_CLI_OK;
}

/* The library's ids are freed with dlx_free, those of a command with free. */
static dlx_status own(int32_t **ids, size_t n, dlx_error *err)
{
    int32_t *copy = malloc((n + 1) * sizeof *copy);
    if (copy && n) memcpy(copy, *ids, n * sizeof *copy);
    dlx_free(*ids);
    *ids = copy;
    return copy ? DLX_OK : dlx_cli_error(err, DLX_E_NOMEM, "out of memory encoding the prompt");
}

dlx_status dlx_cli_encode(const dlx_tokenizer *tokenizer, const char *text, size_t n_text, int flags, int32_t **ids,
                          size_t *n, dlx_error *err)
{
    dlx_status s = dlx_tokenizer_encode(tokenizer, text, n_text, flags, ids, n, err);
    return s == DLX_OK ? own(ids, *n, err) : s;
}

bool dlx_cli_template_given(const dlx_cli_arguments *a)
{
    return dlx_cli_text(a, "enable-thinking") || dlx_cli_text(a, "chat-template-kwargs") ||
           dlx_cli_text(a, "chat-template");
}

dlx_status dlx_cli_template_read(dlx_cli_template *t, const dlx_cli_arguments *a, dlx_error *err)
{
    const char *path = dlx_cli_text(a, "chat-template"), *thinking = dlx_cli_text(a, "enable-thinking");
    size_t n;
    *t = (dlx_cli_template){.options = {.struct_size = sizeof t->options, .add_generation_prompt = true}};
    if (thinking) t->options.enable_thinking = dlx_cli_flag(a, "enable-thinking", false) ? 1 : -1;
    t->options.template_kwargs = dlx_cli_text(a, "chat-template-kwargs");
    if (!path) return DLX_OK;
    dlx_status s = dlx_cli_read_source(path, &t->source, &n, err);
    if (s != DLX_OK) return s;
    if (strlen(t->source) != n)
        return dlx_cli_error(err, DLX_E_FORMAT, "'%s' holds a NUL byte, which no chat template has", path);
    t->options.chat_template = t->source;
    return DLX_OK;
}

void dlx_cli_template_free(dlx_cli_template *t)
{
    free(t->source);
    *t = (dlx_cli_template){0};
}

static dlx_status chat_ids(const dlx_cli_arguments *a, const dlx_tokenizer *tokenizer, const dlx_cli_template *t,
                           const char *text, int32_t **ids, size_t *n, dlx_error *err)
{
    const char *system = dlx_cli_text(a, "system");
    dlx_chat_message messages[2] = {{.struct_size = sizeof *messages, .role = "system", .content = system},
                                    {.struct_size = sizeof *messages, .role = "user", .content = text}};
    size_t skipped = system ? 0 : 1;
    if (!dlx_cli_flag(a, "special", false)) {
        dlx_status s = dlx_chat_encode(tokenizer, messages + skipped, 2 - skipped, &t->options, ids, n, err);
        return s == DLX_OK ? own(ids, *n, err) : s;
    }
    char *rendered;
    size_t length;
    dlx_status s = dlx_chat_render(tokenizer, messages + skipped, 2 - skipped, &t->options, &rendered, &length, err);
    if (s != DLX_OK) return s;
    s = dlx_cli_encode(tokenizer, rendered, length, DLX_ENCODE_SPECIAL, ids, n, err);
    dlx_free(rendered);
    return s;
}

dlx_status dlx_cli_chat_ids(const dlx_cli_arguments *a, const dlx_tokenizer *tokenizer, const char *text, int32_t **ids,
                            size_t *n, dlx_error *err)
{
    dlx_cli_template t;
    dlx_status s = dlx_cli_template_read(&t, a, err);
    if (s == DLX_OK) s = chat_ids(a, tokenizer, &t, text, ids, n, err);
    dlx_cli_template_free(&t);
    return s;
}

dlx_status dlx_cli_prompt_ids(const dlx_cli_arguments *a, const dlx_tokenizer *tokenizer, int32_t **ids, size_t *n,
                              dlx_error *err)
{
    const char *list = dlx_cli_text(a, "token-ids"), *path = dlx_cli_text(a, "prompt-file"),
               *text = dlx_cli_text(a, "prompt");
    if (!text && !path && argument(a) && strcmp(argument(a), "-") != 0) text = argument(a);
    if (list) return dlx_cli_parse_ids(list, ids, n, err);
    bool given = dlx_cli_text(a, "chat-template");
    bool chat = dlx_cli_flag(a, "chat", given || dlx_tokenizer_has_chat_template(tokenizer));
    bool special = dlx_cli_flag(a, "special", false);
    char *content = NULL;
    size_t length = text ? strlen(text) : 0;
    *ids = NULL;
    if (!text) {
        dlx_status s = dlx_cli_read_text(path ? path : "-", &content, &length, err);
        if (s != DLX_OK) return s;
        text = content;
    }
    dlx_status s;
    if (!chat && dlx_cli_text(a, "system"))
        s = dlx_cli_error(err, DLX_E_INVALID, "--system needs a chat template, and this model has none");
    else if (!chat && dlx_cli_template_given(a))
        s = dlx_cli_error(err, DLX_E_INVALID,
                          "there is no chat template for --enable-thinking and "
                          "--chat-template-kwargs: this model has none");
    else if (chat && strlen(text) != length)
        s = dlx_cli_error(
            err, DLX_E_INVALID,
            "the prompt contains a NUL byte, which a chat message cannot hold; --no-chat takes it as it is");
    else if (chat)
        s = dlx_cli_chat_ids(a, tokenizer, text, ids, n, err);
    else
        s = dlx_cli_encode(tokenizer, text, length,
                           DLX_ENCODE_AROUND | (special ? DLX_ENCODE_SPECIAL : DLX_ENCODE_PLAIN), ids, n, err);
    free(content);
    return s;
}
