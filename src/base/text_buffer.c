#include "base/text_buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

void dlx_put(dlx_text_buffer *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int need = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (t->failed || need < 0 || dlx_grow(&t->s, &t->capacity, t->n + (size_t)need + 1, 1) != 0) {
        t->failed = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(t->s + t->n, (size_t)need + 1, fmt, ap);
    va_end(ap);
    t->n += (size_t)need;
}

/* Length of the valid UTF-8 sequence at s, 0 when there is none. */
static size_t utf8_length(const unsigned char *s)
{
    size_t n = s[0] < 0x80                   ? 1
               : s[0] >= 0xC2 && s[0] < 0xE0 ? 2
               : s[0] >= 0xE0 && s[0] < 0xF0 ? 3
               : s[0] >= 0xF0 && s[0] < 0xF5 ? 4
                                             : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF0 && s[1] < 0x90) ||
        (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return n;
}

void dlx_put_json(dlx_text_buffer *t, const char *s)
{
    if (!s) {
        dlx_put(t, "null");
        return;
    }
    dlx_put(t, "\"");
    for (const unsigned char *p = (const unsigned char *)s; *p;) {
        size_t n = utf8_length(p);
        if (*p == '"' || *p == '\\')
            dlx_put(t, "\\%c", *p);
        else if (*p < 0x20)
            dlx_put(t, "\\u%04x", *p);
        else if (!n)
            dlx_put(t, "\\ufffd");
        else
            dlx_put(t, "%.*s", (int)n, (const char *)p);
        p += n ? n : 1;
    }
    dlx_put(t, "\"");
}

dlx_status dlx_text_take(dlx_text_buffer *t, char **out, const char *what, dlx_error *err)
{
    dlx_put(t, "%s", "");
    *out = NULL;
    if (t->failed) {
        free(t->s);
        memset(t, 0, sizeof *t);
        return dlx_fail(err, DLX_E_NOMEM, "out of memory %s", what);
    }
    *out = t->s;
    memset(t, 0, sizeof *t);
    return DLX_OK;
}
