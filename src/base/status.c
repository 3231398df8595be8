#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *dlx_status_name(dlx_status status)
{
    switch (status) {
#define DLX_STATUS_CASE(name, number, text)                                                                            \
    case name: return text;
        DLX_STATUS_MAP(DLX_STATUS_CASE)
#undef DLX_STATUS_CASE
    }
    return "unknown status";
}

/* Cuts a partial UTF-8 sequence off the end and hides control characters, so that a hostile file cannot drive the
 * terminal that shows its name. */
static void clean_message(char *s)
{
    size_t n = strlen(s);
    size_t back = 0;
    while (back < 3 && back < n && ((unsigned char)s[n - 1 - back] & 0xC0) == 0x80) back++;
    if (back < n) {
        unsigned char lead = (unsigned char)s[n - 1 - back];
        size_t need = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
        if (need != back) s[n - 1 - back] = '\0';
    }
    for (char *p = s; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F) *p = '?';
}

void dlx_set_error(dlx_error *err, dlx_status status, const char *fmt, ...)
{
    if (!err) return;
    va_list ap;
    va_start(ap, fmt);
    char text[DLX_ERROR_MESSAGE_SIZE];
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err->status = status;
    memcpy(err->message, text, sizeof text);
    clean_message(err->message);
}

dlx_status dlx_fail_prefix(dlx_error *err, dlx_status status, const char *fmt, ...)
{
    if (!err) return status;
    char prefix[DLX_ERROR_MESSAGE_SIZE];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    char old[DLX_ERROR_MESSAGE_SIZE];
    memcpy(old, err->message, sizeof old);
    return dlx_fail(err, status, "%.200s: %.300s", prefix, old);
}

dlx_status dlx_fail_errno(dlx_error *err, const char *what, const char *path)
{
    dlx_status s = errno == ENOMEM ? DLX_E_NOMEM : DLX_E_IO;
    return dlx_fail(err, s, "cannot %s '%s': %s", what, path, strerror(errno));
}
