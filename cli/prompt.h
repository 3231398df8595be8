/* The prompt of a command line, as token ids. */
#ifndef DLX_CLI_PROMPT_H
#define DLX_CLI_PROMPT_H

#include "arguments.h"

/* clang-format off */
#define DLX_CLI_PROMPT_OPTIONS                                                                                         \
    {"prompt", DLX_CLI_TEXT, "TEXT", "the prompt", 0, 0},                                                              \
    {"prompt-file", DLX_CLI_TEXT, "FILE", "file that holds the prompt, - for the standard input", 0, 0},               \
    {"token-ids", DLX_CLI_TEXT, "I,J,...", "the prompt as token ids", 0, 0},                                           \
    {"chat", DLX_CLI_FLAG, NULL, "wrap a text prompt in the chat template (default: if there is one)", 0, 0},          \
    {"system", DLX_CLI_TEXT, "TEXT", "system message of the chat template", 0, 0},                                     \
    {"special", DLX_CLI_FLAG, NULL, "special tokens written out in a text prompt become their ids", 0, 0},             \
    DLX_CLI_TEMPLATE_OPTIONS

#define DLX_CLI_TEMPLATE_OPTIONS                                                                                       \
    {"enable-thinking", DLX_CLI_FLAG, NULL, "variable of the chat template (default: not given)", 0, 0},               \
    {"chat-template-kwargs", DLX_CLI_TEXT, "JSON", "more variables of the chat template, as an object", 0, 0},         \
    {"chat-template", DLX_CLI_TEXT, "FILE", "Jinja text in place of the model's chat template", 0, 0}
/* clang-format on */

/* What the template options of a command line say. */
typedef struct dlx_cli_template {
    dlx_chat_options options; /* with add_generation_prompt */
    char *source;             /* the file of --chat-template */
} dlx_cli_template;

/* Whether a template option was given. */
bool dlx_cli_template_given(const dlx_cli_arguments *a);
/* Reads the file of --chat-template. Free with dlx_cli_template_free in any case. */
dlx_status dlx_cli_template_read(dlx_cli_template *t, const dlx_cli_arguments *a, dlx_error *err);
void dlx_cli_template_free(dlx_cli_template *t);

/* True when the prompt is text, so that a tokenizer is needed. Checks that exactly one prompt was given, the argument
 * behind the .pte being one. Anything but DLX_CLI_OK was reported. */
int dlx_cli_prompt_check(const dlx_cli_arguments *a, bool *is_text);

/* The ids, freed with free; to be called after dlx_cli_prompt_check. tokenizer may be NULL for ids. */
dlx_status dlx_cli_prompt_ids(const dlx_cli_arguments *a, const dlx_tokenizer *tokenizer, int32_t **ids, size_t *n,
                              dlx_error *err);

/* One user message (and that of --system) in the chat template, with the template options of the command line. Ids are
 * freed with free. */
dlx_status dlx_cli_chat_ids(const dlx_cli_arguments *a, const dlx_tokenizer *tokenizer, const char *text, int32_t **ids,
                            size_t *n, dlx_error *err);
/* dlx_tokenizer_encode with ids that are freed with free. */
dlx_status dlx_cli_encode(const dlx_tokenizer *tokenizer, const char *text, size_t n_text, int flags, int32_t **ids,
                          size_t *n, dlx_error *err);

#endif
