#include "text/buffer.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "text/utf8.h"

void dlx_buffer_add(dlx_buffer *b, const void *data, size_t n)
{
    if (b->failed || n == 0) return;
    if (n > (size_t)-1 - b->n || dlx_grow(&b->data, &b->capacity, b->n + n, 1) != 0) {
        b->failed = true;
        return;
    }
    memcpy(b->data + b->n, data, n);
    b->n += n;
}

void dlx_buffer_add_string(dlx_buffer *b, const char *s)
{
    dlx_buffer_add(b, s, strlen(s));
}

void dlx_buffer_add_utf8(dlx_buffer *b, const char *s, size_t n)
{
    size_t good = 0; /* start of the valid run that was not copied yet */
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t step = dlx_utf8_next(s + i, n - i, &c);
        if (c == DLX_UTF8_BAD || c == DLX_UTF8_CUT) {
            dlx_buffer_add(b, s + good, i - good);
            dlx_buffer_add(b, "\xEF\xBF\xBD", 3);
            good = i + step;
        }
        i += step;
    }
    dlx_buffer_add(b, s + good, n - good);
}

dlx_status dlx_buffer_take(dlx_buffer *b, char **text, size_t *n, const char *what, dlx_error *err)
{
    size_t length = b->n;
    dlx_buffer_add(b, "", 1);
    *text = NULL;
    if (n) *n = 0;
    if (b->failed) {
        dlx_buffer_free(b);
        return dlx_fail(err, DLX_E_NOMEM, "out of memory for %s (%zu bytes so far)", what, length);
    }
    *text = b->data;
    if (n) *n = length;
    memset(b, 0, sizeof *b);
    return DLX_OK;
}

void dlx_buffer_free(dlx_buffer *b)
{
    free(b->data);
    memset(b, 0, sizeof *b);
}
