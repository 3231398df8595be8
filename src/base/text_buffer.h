/* A growing string for printers. Failure is sticky and checked once at the end. */
#ifndef DLX_BASE_TEXT_BUFFER_H
#define DLX_BASE_TEXT_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct dlx_text_buffer {
    char *s; /* malloc'd, NUL-terminated once something was put */
    size_t n, capacity;
    bool failed;
} dlx_text_buffer;

void dlx_put(dlx_text_buffer *t, const char *fmt, ...) DLX_PRINTF(2, 3);
/* A JSON string literal with quotes; NULL gives null. Invalid UTF-8 bytes become U+FFFD. */
void dlx_put_json(dlx_text_buffer *t, const char *s);
/* Hands the string over (never NULL on success); frees it on failure. `what` completes "out of memory ...". */
dlx_status dlx_text_take(dlx_text_buffer *t, char **out, const char *what, dlx_error *err);

#endif
