/*
 * JSON that is read once from its beginning to its end, where a tree of it is not worth a library: what stands in
 * payloads of delegates. The first thing that is not as expected makes the cursor bad, and all calls behind it fail.
 *
 *   for (dlx_json_enter(&c, '{'); dlx_json_more(&c, '}');) {
 *       const char *key = dlx_json_key(&c, arena);
 *       ...
 *   }
 */
#ifndef DLX_FORMAT_JSON_SCAN_H
#define DLX_FORMAT_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

typedef struct dlx_json_cursor {
    const char *at, *end;
    bool bad;   /* it is no JSON, or not what was asked for */
    bool ended; /* and that because it ended */
    bool first; /* the next item is the first of its object or array */
    bool nomem; /* memory was out: bad as well */
} dlx_json_cursor;

dlx_json_cursor dlx_json_open(const char *text, size_t n);
/* The beginning of an object or an array. */
bool dlx_json_enter(dlx_json_cursor *c, char open);
/* Is there another item in front of the end, which is passed otherwise? */
bool dlx_json_more(dlx_json_cursor *c, char close);
/* A string, NUL-terminated, in the arena; never NULL: "" where there is none. */
const char *dlx_json_string(dlx_json_cursor *c, dlx_arena *arena);
/* The same in front of a colon. */
const char *dlx_json_key(dlx_json_cursor *c, dlx_arena *arena);
/* A whole number from 0 on. */
uint64_t dlx_json_whole(dlx_json_cursor *c);
/* Passes a value of any kind. */
void dlx_json_skip(dlx_json_cursor *c);

#endif
