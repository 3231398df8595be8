/*
 * What an answer has to look like, under all the names that clients have for it: OpenAI's response_format and
 * text.format, vLLM's guided_* and structured_outputs, llama.cpp's json_schema and grammar, and calls of tools that are
 * asked for. One answer is bound to one thing.
 */
#ifndef DLX_SRV_FORMAT_H
#define DLX_SRV_FORMAT_H

#include "plan.h"

/* Takes all of them. */
void dlx_srv_format_take(dlx_srv_plan *p, dlx_srv_take *t);
/* {"type": "text" | "json_object" | "json_schema"}; `within` names where the schema lies in the object, or is NULL: in
 * itself. `format` is borrowed and may be NULL. */
void dlx_srv_format_take_object(dlx_srv_plan *p, dlx_srv_take *t, const json_t *format, const char *within,
                                const char *param);
/* Binds the answer. Fails when it is bound already. */
void dlx_srv_format_bind(dlx_srv_plan *p, dlx_srv_take *t, dlx_srv_language language, const char *text,
                         const char *param);
/* The schema of a call of one of the functions: {"name": ..., "arguments": {...}}. `tools` are in the form of
 * /v1/chat/completions; `name` is of the one that has to be called, or NULL. *first: the first tool that
 * may be called. Arguments are objects, whatever their schema allows besides. NULL when memory runs out. */
json_t *dlx_srv_format_of_calls(const json_t *tools, const char *name, size_t *first);
/* Whether a function's parameters, which may be NULL, can be of an object. */
bool dlx_srv_format_has_arguments(const json_t *parameters);
/* What is wrong with the schema of calls becomes what is wrong with the parameters of a tool, and `bound_param` these.
 */
void dlx_srv_format_tell(dlx_srv_plan *p, dlx_error *err);

#endif
