/*
 * Rendering conversations: the text of a chat template, and which parts of it are the template's own.
 */
#ifndef DLX_TEXT_CHAT_H
#define DLX_TEXT_CHAT_H

#include "diffulex_edge/text.h"

#include "text/buffer.h"
#include "text/encode.h"

/* What the templates print themselves; template recognition (full/recognise.c) looks for the same texts. */
#define DLX_CHAT_BOS_LLADA    "<|startoftext|>"
#define DLX_CHAT_SYSTEM_DREAM "You are a helpful assistant."
#define DLX_CHAT_SYSTEM_QWEN  "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
#define DLX_CHAT_TOOLS_OPEN                                                                                            \
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function "  \
    "signatures within <tools></tools> XML tags:\n<tools>"
#define DLX_CHAT_TOOLS_CLOSE                                                                                           \
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "              \
    "<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "                      \
    "<args-json-object>}\n</tool_call>"

typedef struct dlx_rendered {
    dlx_buffer text;      /* valid UTF-8 */
    dlx_text_span *spans; /* the last one ends at text.n; neighbours differ in `own` */
    size_t n_spans, capacity;
} dlx_rendered;

/* On failure there is nothing to free. */
dlx_status dlx_chat_render_spans(dlx_rendered *out, dlx_chat_template tmpl, const dlx_chat_message *messages,
                                 size_t n_messages, const dlx_chat_options *options, dlx_error *err);
void dlx_rendered_free(dlx_rendered *r);

#endif
