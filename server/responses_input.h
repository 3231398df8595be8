/* What /v1/responses takes besides what all endpoints have: its forms of conversations, tools, formats and scores. */
#ifndef DLX_SRV_RESPONSES_INPUT_H
#define DLX_SRV_RESPONSES_INPUT_H

#include "chat_input.h"

/* *echo: {tools, tool_choice, parallel_tool_calls, text} as the answer repeats them; the caller's, or NULL when memory
 * ran out. */
void dlx_srv_responses_take(dlx_srv_chat_input *input, dlx_srv_plan *plan, dlx_srv_take *t, json_t **echo);

#endif
