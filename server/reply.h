/*
 * What is sent back: a whole body, or a stream. Errors have OpenAI's shape whatever the endpoint.
 */
#ifndef DLX_SRV_REPLY_H
#define DLX_SRV_REPLY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "diffulex_edge/status.h"

typedef struct dlx_srv_work dlx_srv_work;

typedef struct dlx_srv_reply {
    int status;
    const char *type; /* content type; static */
    char *body;       /* [n] malloc'd; NULL with a status: memory ran out */
    size_t n;
    const char *allow;  /* 405: the methods that there are; static */
    const char *etag;   /* of a body that may be kept as long as it is asked for anew; static */
    const char *policy; /* Content-Security-Policy; static */
    int retry_seconds;  /* 0: no Retry-After */
    dlx_srv_work *work; /* in place of a body: whose stream is sent; a reference that the reply owns */
    bool close;         /* the connection ends behind it */
} dlx_srv_reply;

/* Takes over `body`; NULL is memory that ran out. */
void dlx_srv_reply_json(dlx_srv_reply *r, int status, json_t *body);
/* Text as it stands; copied. */
void dlx_srv_reply_text(dlx_srv_reply *r, int status, const char *type, const char *text, size_t n);
/* {"error": {message, type, param, code}}. `param` and `code` may be NULL. The type follows from the status. */
void dlx_srv_reply_error(dlx_srv_reply *r, int status, const char *code, const char *param, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* A failure of the library: 400 for what the request asked, else 500 or 503. */
void dlx_srv_reply_failure(dlx_srv_reply *r, const dlx_error *err, const char *param);
/* The same as a value, for streams that have begun. NULL when memory runs out. */
json_t *dlx_srv_error_value(const char *message, int status, const char *code, const char *param);
int dlx_srv_status_of(const dlx_error *err);
void dlx_srv_reply_free(dlx_srv_reply *r);

/* As a JSON string. Text that is not UTF-8, which somebody sent as a path or a host, has '?' for all that is not ASCII.
 */
json_t *dlx_srv_string(const char *text, size_t n);

#endif
