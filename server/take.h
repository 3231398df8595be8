/*
 * Reading a request's body. Each parameter is taken by name, checked, and then gone; what is left at the end was not
 * understood and is refused by name, unless it is one of the harmless ones. The first problem is the answer.
 */
#ifndef DLX_SRV_TAKE_H
#define DLX_SRV_TAKE_H

#include <stdint.h>

#include "reply.h"

typedef struct dlx_srv_take {
    json_t *root; /* what was not taken yet */
    dlx_srv_reply *reply;
    bool failed; /* the reply has an error */
} dlx_srv_take;

/* A JSON object of n bytes. Close in any case. */
void dlx_srv_take_open(dlx_srv_take *t, const char *body, size_t n, dlx_srv_reply *reply);
void dlx_srv_take_close(dlx_srv_take *t);

/* True when the parameter is there, not null, and as expected. null counts as not given. */
bool dlx_srv_take_int(dlx_srv_take *t, const char *name, int64_t min, int64_t max, int64_t *out);
bool dlx_srv_take_number(dlx_srv_take *t, const char *name, double min, double max, double *out);
bool dlx_srv_take_bool(dlx_srv_take *t, const char *name, bool *out);
/* A string without NUL; *out is malloc'd. */
bool dlx_srv_take_text(dlx_srv_take *t, const char *name, char **out);
/* Any value; a reference that the caller owns, or NULL. */
json_t *dlx_srv_take_any(dlx_srv_take *t, const char *name);
/* The same of one kind. */
json_t *dlx_srv_take_kind(dlx_srv_take *t, const char *name, json_type kind, const char *expected);

void dlx_srv_take_fail(dlx_srv_take *t, const char *param, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A failure of the library. */
void dlx_srv_take_failure(dlx_srv_take *t, const dlx_error *err, const char *param);
/* A parameter that is not supported, and is taken where it changes nothing: false, an empty or missing value, or one of
 * `words`, with spaces between them. */
void dlx_srv_take_idle(dlx_srv_take *t, const char *name, const char *words);
/* Parameters, by names with spaces between them, that the server has no use for and that change nothing. */
void dlx_srv_take_harmless(dlx_srv_take *t, const char *names);
/* Refuses what is left. */
bool dlx_srv_take_end(dlx_srv_take *t);

#endif
