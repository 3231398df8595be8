/* Which of the built-in chat templates a Jinja text is. */
#ifndef DLX_TEXT_FULL_RECOGNISE_H
#define DLX_TEXT_FULL_RECOGNISE_H

#include <stddef.h>

#include "diffulex_edge/text.h"

#include "base/status.h"

/* `bos_token`: the tokenizer's, or NULL. DLX_CHAT_OTHER when the text is none of them; never DLX_CHAT_NONE. */
dlx_status dlx_recognise_template(dlx_chat_template *out, const char *jinja, size_t n, const char *bos_token,
                                  dlx_error *err);

#endif
