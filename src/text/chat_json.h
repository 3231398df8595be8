/*
 * The JSON of chat messages (tool schemas, tool calls): read strictly, found by member name, and written again as
 * Python's json.dumps(json.loads(text), ensure_ascii=False) does, which is what the published templates call `tojson`.
 *
 * Own code because the run half links no JSON library, and because integers of any length and shortest floats must come
 * out as Python prints them.
 */
#ifndef DLX_TEXT_CHAT_JSON_H
#define DLX_TEXT_CHAT_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "text/buffer.h"

typedef enum dlx_chat_json_type {
    DLX_CHAT_JSON_NULL,
    DLX_CHAT_JSON_FALSE,
    DLX_CHAT_JSON_TRUE,
    DLX_CHAT_JSON_NUMBER,
    DLX_CHAT_JSON_STRING,
    DLX_CHAT_JSON_ARRAY,
    DLX_CHAT_JSON_OBJECT,
} dlx_chat_json_type;

#define DLX_CHAT_JSON_NONE UINT32_MAX

/* A value; children of arrays and objects are linked through `next`. A member's key is a string value of its own. */
typedef struct dlx_chat_json_value {
    dlx_chat_json_type type;
    uint32_t key;      /* of a member; NONE elsewhere */
    uint32_t child;    /* first element or member, or NONE */
    uint32_t next;     /* next element or member, or NONE */
    size_t begin, end; /* in the text: a number; a string between its quotes */
} dlx_chat_json_value;

typedef struct dlx_chat_json {
    const char *text;            /* borrowed */
    dlx_chat_json_value *values; /* [0] is the whole text */
    size_t n, capacity;
} dlx_chat_json;

/* `what` names the text in messages ("tools"). Of members with equal names the last value counts, at the place of the
 * first, as in Python. On failure there is nothing to free. */
dlx_status dlx_chat_json_read(dlx_chat_json *out, const char *text, const char *what, dlx_error *err);
void dlx_chat_json_free(dlx_chat_json *json);

/* Value of the member called `name` of an object, or NONE (also when `object` is no object). */
uint32_t dlx_chat_json_member(const dlx_chat_json *json, uint32_t object, const char *name);
/* The characters of a string value. */
void dlx_chat_json_string(dlx_buffer *out, const dlx_chat_json *json, uint32_t value);
void dlx_chat_json_dump(dlx_buffer *out, const dlx_chat_json *json, uint32_t value);

#endif
