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
    {"special", DLX_CLI_FLAG, NULL, "special tokens written out in a text prompt become their ids", 0, 0}
/* clang-format on */

/* True when the prompt is text, so that a tokenizer is needed. Checks that exactly one prompt was given; `next` is the
 * first free positional argument. Anything but DLX_CLI_OK was reported. */
int dlx_cli_prompt_check(const dlx_cli_arguments *a, int next, bool *is_text);

/* The ids, freed with free; to be called after dlx_cli_prompt_check. tokenizer may be NULL for ids. */
dlx_status dlx_cli_prompt_ids(const dlx_cli_arguments *a, const dlx_tokenizer *tokenizer, int32_t **ids, size_t *n,
                              dlx_error *err);

/* One user message (and system, unless it is NULL) in the tokenizer's chat template. Ids are freed with free. */
dlx_status dlx_cli_chat_ids(const dlx_tokenizer *tokenizer, const char *text, const char *system, bool special,
                            int32_t **ids, size_t *n, dlx_error *err);
/* dlx_tokenizer_encode with ids that are freed with free. */
dlx_status dlx_cli_encode(const dlx_tokenizer *tokenizer, const char *text, size_t n_text, int flags, int32_t **ids,
                          size_t *n, dlx_error *err);

#endif
