/* strftime_now: the one thing a template learns from outside. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "text/jinja/run.h"

enum { MAX_FORMAT = 256, MAX_TEXT = 4096 };

bool dlx_jx_strftime_now(dlx_jx *x, const dlx_jx_arguments *a, dlx_jv *out)
{
    dlx_jv argument;
    const dlx_jv_string *format;
    char pattern[MAX_FORMAT + 2], text[MAX_TEXT];
    struct tm local;
    time_t now = time(NULL);
    if (!dlx_jx_bind(x, a, "strftime_now", "format", 1, &argument) ||
        !dlx_jx_need_string(x, &argument, "strftime_now", &format))
        return false;
    if (format->n > MAX_FORMAT || (format->n && memchr(format->p, '\0', format->n)))
        return dlx_jx_fail(x, DLX_E_INVALID, "the format of 'strftime_now' must have at most %d bytes and no NUL",
                           MAX_FORMAT);
    if (now == (time_t)-1 || !localtime_r(&now, &local))
        return dlx_jx_fail(x, DLX_E_INVALID, "the local time is not known");
    /* A character in front tells an empty text from one that does not fit. */
    pattern[0] = '.';
    memcpy(pattern + 1, format->p, format->n);
    pattern[format->n + 1] = '\0';
    size_t n = strftime(text, sizeof text, pattern, &local);
    if (n == 0) return dlx_jx_fail(x, DLX_E_INVALID, "the text of 'strftime_now' is longer than %d bytes", MAX_TEXT);
    return dlx_jv_text(x, text + 1, n - 1, true, out);
}
