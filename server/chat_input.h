/* Conversations and tools of a request: checked, in the shape that chat templates expect, and made prompts. */
#ifndef DLX_SRV_CHAT_INPUT_H
#define DLX_SRV_CHAT_INPUT_H

#include "plan.h"

typedef struct dlx_srv_chat_input {
    char *messages, *tools, *kwargs; /* JSON text; the last two may be NULL */
    char *call;                      /* schema of the call that the answer has to be, or NULL */
    size_t first_call;               /* of the tools that it may call */
    const char *call_path;           /* from a tool to its parameters; static */
    size_t n_messages;               /* bytes */
    char odd_role[32], odd_name[64]; /* the first role that only some templates know, or "", and its parameter */
    int enable_thinking;
    bool add_generation_prompt;
} dlx_srv_chat_input;

/* Takes messages, tools, tool_choice, parallel_tool_calls, chat_template_kwargs, enable_thinking and
 * add_generation_prompt. Free in any case. */
void dlx_srv_chat_take(dlx_srv_chat_input *c, dlx_srv_take *t);
/* Tools in the form of /v1/chat/completions, borrowed, and what the request says of them. `path`: from a tool of the
 * request to its parameters; static. */
void dlx_srv_chat_tools(dlx_srv_chat_input *c, dlx_srv_take *t, const json_t *tools, const char *path);
/* The messages; a borrowed array. */
void dlx_srv_chat_messages(dlx_srv_chat_input *c, dlx_srv_take *t, json_t *messages, const char *param);
void dlx_srv_chat_free(dlx_srv_chat_input *c);

/* The text, freed with dlx_free. */
bool dlx_srv_chat_render(const dlx_srv_chat_input *c, dlx_srv_take *t, const dlx_srv_engine *e, char **text, size_t *n);
/* Adds the prompt to the plan, and finds out what its answers may consist of. */
bool dlx_srv_chat_prompt(const dlx_srv_chat_input *c, dlx_srv_take *t, const dlx_srv_engine *e, dlx_srv_plan *plan,
                         const char *param);

#endif
