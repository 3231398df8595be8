/* Filling error records: every module reports failures through these two functions. */
#ifndef DLX_BASE_STATUS_H
#define DLX_BASE_STATUS_H

#include "diffulex_edge/status.h"

#if defined(__GNUC__)
#define DLX_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define DLX_PRINTF(fmt, args)
#endif

/* Records status and message in err (may be NULL). A message that does not fit is cut at a UTF-8 boundary. Control
 * characters that came in through file contents are replaced by '?'. */
void dlx_set_error(dlx_error *err, dlx_status status, const char *fmt, ...) DLX_PRINTF(3, 4);

static inline dlx_status dlx_status_behind(int done, dlx_status status)
{
    (void)done;
    return status;
}

/* Records the failure and is `status`. A macro, so that the compiler sees which value comes back: it can then tell that
 * an out-parameter is set wherever a call succeeded. */
#define dlx_fail(err, status, ...) dlx_status_behind((dlx_set_error(err, status, __VA_ARGS__), 0), status)

/* Puts "prefix: " in front of the message of err; returns err's status (DLX_E_INTERNAL when err is NULL). */
dlx_status dlx_fail_prefix(dlx_error *err, dlx_status status, const char *fmt, ...) DLX_PRINTF(3, 4);

/* "cannot WHAT 'PATH': " and what errno says. DLX_E_NOMEM where that is what errno says, else DLX_E_IO. */
dlx_status dlx_fail_errno(dlx_error *err, const char *what, const char *path);

#define DLX_TRY(expr)                                                                                                  \
    do {                                                                                                               \
        dlx_status dlx_try_status = (expr);                                                                            \
        if (dlx_try_status != DLX_OK) return dlx_try_status;                                                           \
    } while (0)

#endif
