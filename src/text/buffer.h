/*
 * A growing byte buffer for text that is put together from pieces. Running out of memory is remembered, so that a
 * writer checks once at its end (dlx_buffer_take, or the `failed` member) instead of after every piece.
 */
#ifndef DLX_TEXT_BUFFER_H
#define DLX_TEXT_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct dlx_buffer {
    char *data;
    size_t n, capacity;
    bool failed;
} dlx_buffer;

void dlx_buffer_add(dlx_buffer *b, const void *data, size_t n);
void dlx_buffer_add_string(dlx_buffer *b, const char *s);
/* Adds n bytes with U+FFFD for what is not UTF-8. */
void dlx_buffer_add_utf8(dlx_buffer *b, const char *s, size_t n);
/* Gives the NUL-terminated contents (malloc'd) to the caller and empties the buffer; n may be NULL. `what` names the
 * text in the out-of-memory message. */
dlx_status dlx_buffer_take(dlx_buffer *b, char **text, size_t *n, const char *what, dlx_error *err);
void dlx_buffer_free(dlx_buffer *b);

#endif
