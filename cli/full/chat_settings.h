/*
 * What a person can change during a chat: decode options under short names, as far as the decoders of the model's
 * family have them.
 */
#ifndef DLX_CLI_CHAT_SETTINGS_H
#define DLX_CLI_CHAT_SETTINGS_H

#include "arguments.h"
#include "running.h"

typedef struct dlx_cli_chat_settings {
    dlx_decode_options *decode;
    const dlx_cli_running *r;
    char value[8][32]; /* as it was given, by place in the table; "" for the default */
} dlx_cli_chat_settings;

/* Takes over what the command line gave. */
void dlx_cli_chat_settings_init(dlx_cli_chat_settings *s, const dlx_cli_arguments *a, const dlx_cli_running *r);
/* Whether `word` ("temp") is a setting. */
bool dlx_cli_chat_setting(const char *word);
/* Sets it ("off" or "default": back to the default; NULL or "" just tells), and prints what holds now or why not. */
void dlx_cli_chat_set(dlx_cli_chat_settings *s, const char *word, const char *value);
/* Prints what the next answer is made with: the model, and every decode option that its decoder has. */
void dlx_cli_chat_show(const dlx_cli_chat_settings *s);
/* One line of help a setting. */
void dlx_cli_chat_settings_help(void);
/* Whether an answer to a short prompt can be decoded with them. */
dlx_status dlx_cli_chat_check(const dlx_cli_chat_settings *s, dlx_error *err);
/* Length of the answers. */
int32_t dlx_cli_chat_max_new(const dlx_cli_chat_settings *s);
/* Bounds the next answer, which may have to be shorter than the setting. */
dlx_status dlx_cli_chat_bound(const dlx_cli_chat_settings *s, int32_t max_new, dlx_error *err);

#endif
