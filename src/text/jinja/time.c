/* strftime_now: the one thing a template learns from outside. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "text/jinja/run.h"

enum { MAX_FORMAT = 256, MAX_TEXT = 4096 };

typedef struct moment {
    struct tm local;
    long microseconds;
} moment;

/* The end of the directive that begins with the '%' at `at`: flags, a width, E or O, and a character. */
static size_t end_of_directive(const dlx_jv_string *f, size_t at)
{
    size_t end = at + 1;
    while (end < f->n && strchr("_-0^#+", f->p[end])) end++;
    while (end < f->n && f->p[end] >= '0' && f->p[end] <= '9') end++;
    while (end < f->n && (f->p[end] == ':' || f->p[end] == 'E' || f->p[end] == 'O')) end++;
    return end < f->n ? end + 1 : end;
}

/* One directive, [begin, end) of the format. What it prints came from those characters. */
static bool add_directive(dlx_jx *x, dlx_jv_bytes *out, const moment *m, const dlx_jv_string *f, size_t begin,
                          size_t end)
{
    char pattern[MAX_FORMAT + 2], text[MAX_TEXT];
    bool own = dlx_jv_is_own(f, begin, end);
    /* A time without a zone, which is what transformers asks for, prints nothing for one. */
    if (f->p[end - 1] == 'Z' || f->p[end - 1] == 'z') return true;
    if (end - begin == 2 && f->p[begin + 1] == 'f') {
        int n = snprintf(text, sizeof text, "%06ld", m->microseconds);
        return dlx_jv_bytes_text(x, out, text, (size_t)n, own);
    }
    /* A character in front tells an empty text from one that does not fit. */
    pattern[0] = '.';
    memcpy(pattern + 1, f->p + begin, end - begin);
    pattern[end - begin + 1] = '\0';
    size_t n = strftime(text, sizeof text, pattern, &m->local);
    if (n == 0) return dlx_jx_fail(x, DLX_E_INVALID, "the text of 'strftime_now' is longer than %d bytes", MAX_TEXT);
    return dlx_jv_bytes_text(x, out, text + 1, n - 1, own);
}

bool dlx_jx_strftime_now(dlx_jx *x, const dlx_jx_arguments *a, dlx_jv *out)
{
    dlx_jv argument;
    const dlx_jv_string *f;
    moment m;
    struct timespec now;
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    if (!b || !dlx_jx_bind(x, a, "strftime_now", "format", 1, &argument) ||
        !dlx_jx_need_string(x, &argument, "strftime_now", &f))
        return false;
    if (f->n > MAX_FORMAT || (f->n && memchr(f->p, '\0', f->n)))
        return dlx_jx_fail(x, DLX_E_INVALID, "the format of 'strftime_now' must have at most %d bytes and no NUL",
                           MAX_FORMAT);
    if (clock_gettime(CLOCK_REALTIME, &now) != 0 || !localtime_r(&now.tv_sec, &m.local))
        return dlx_jx_fail(x, DLX_E_INVALID, "the local time is not known");
    m.microseconds = now.tv_nsec / 1000;
    for (size_t at = 0; at < f->n;) {
        const char *next = memchr(f->p + at, '%', f->n - at);
        size_t end = next ? (size_t)(next - f->p) : f->n;
        if (!dlx_jv_bytes_add(x, b, f->p + at, f->own + at, end - at)) return false;
        at = end;
        if (!next) break;
        end = end_of_directive(f, at);
        if (!add_directive(x, b, &m, f, at, end)) return false;
        at = end;
    }
    return dlx_jv_bytes_end(x, b, 0, out);
}
