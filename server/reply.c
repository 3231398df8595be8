/* Bodies of answers and of errors. */
#include "reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "work.h"

json_t *dlx_srv_string(const char *text, size_t n)
{
    json_t *s = json_stringn(text, n);
    char *plain = s ? NULL : malloc(n + 1);
    if (!plain) return s;
    for (size_t i = 0; i < n; i++) plain[i] = (char)((unsigned char)text[i] < 0x80 ? text[i] : '?');
    s = json_stringn(plain, n);
    free(plain);
    return s;
}

void dlx_srv_reply_free(dlx_srv_reply *r)
{
    free(r->body);
    if (r->work) dlx_srv_work_release(r->work);
    *r = (dlx_srv_reply){0};
}

void dlx_srv_reply_json(dlx_srv_reply *r, int status, json_t *body)
{
    free(r->body);
    r->status = body ? status : 500;
    r->type = "application/json";
    r->body = body ? json_dumps(body, JSON_COMPACT) : NULL;
    r->n = r->body ? strlen(r->body) : 0;
    json_decref(body);
}

void dlx_srv_reply_text(dlx_srv_reply *r, int status, const char *type, const char *text, size_t n)
{
    free(r->body);
    r->body = malloc(n + 1);
    r->status = r->body ? status : 500;
    r->type = type;
    r->n = r->body ? n : 0;
    if (!r->body) return;
    memcpy(r->body, text, n);
    r->body[n] = '\0';
}

static const char *type_of(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 503: return "service_unavailable_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

static json_t *text_or_null(const char *text)
{
    return text ? dlx_srv_string(text, strlen(text)) : json_null();
}

json_t *dlx_srv_error_value(const char *message, int status, const char *code, const char *param)
{
    return json_pack("{s:{s:o, s:s, s:o, s:o}}", "error", "message", dlx_srv_string(message, strlen(message)), "type",
                     type_of(status), "param", text_or_null(param), "code", text_or_null(code));
}

void dlx_srv_reply_error(dlx_srv_reply *r, int status, const char *code, const char *param, const char *format, ...)
{
    char message[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(message, sizeof message, format, list);
    va_end(list);
    /* A cut in the middle of a character would be no UTF-8. */
    size_t n = strlen(message);
    if (n == sizeof message - 1)
        while (n && ((unsigned char)message[n - 1] & 0x80)) message[--n] = '\0';
    dlx_srv_reply_json(r, status, dlx_srv_error_value(message, status, code, param));
}

int dlx_srv_status_of(const dlx_error *err)
{
    switch (err->status) {
    case DLX_E_NOMEM: return 503;
    case DLX_E_INTERNAL:
    case DLX_E_IO:
    case DLX_E_FORMAT: return 500;
    default: return 400;
    }
}

void dlx_srv_reply_failure(dlx_srv_reply *r, const dlx_error *err, const char *param)
{
    int status = dlx_srv_status_of(err);
    dlx_srv_reply_error(r, status, NULL, status == 400 ? param : NULL, "%s", err->message);
    if (status == 503) r->retry_seconds = 1;
}
