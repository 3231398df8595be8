/* Chat templates that packed tokenizers of version 1 name by number. */
#ifndef DLX_TEXT_PUBLISHED_H
#define DLX_TEXT_PUBLISHED_H

#include <stdint.h>

enum {
    DLX_CHAT_PUBLISHED_NONE = 0, /* a base model: no template */
    DLX_CHAT_PUBLISHED_LLADA = 1,
    DLX_CHAT_PUBLISHED_DREAM = 2,
    DLX_CHAT_PUBLISHED_QWEN = 3,
    DLX_CHAT_PUBLISHED_SDAR = 4,
    DLX_CHAT_PUBLISHED_OTHER = 5, /* the checkpoint had another one, which is not in the file */
};

/* The text of a template, or NULL for the first and the last of them. */
const char *dlx_published_template(uint32_t number);

#endif
