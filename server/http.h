/*
 * HTTP: the one file that knows libmicrohttpd. A thread for each connection takes a request, runs its endpoint, and
 * sends what comes back; docs/SERVER.md says why this library.
 */
#ifndef DLX_SRV_HTTP_H
#define DLX_SRV_HTTP_H

#include "state.h"

typedef struct dlx_srv_http dlx_srv_http;

/* Listens. The state outlives it. */
dlx_status dlx_srv_http_open(dlx_srv_http **out, dlx_srv_state *state, dlx_error *err);
/* "http://127.0.0.1:8080" */
const char *dlx_srv_http_address(const dlx_srv_http *h);
/* Takes no more connections; those that are there go on. */
void dlx_srv_http_quiesce(dlx_srv_http *h);
/* Requests that are worked on or answered. */
int dlx_srv_http_busy(const dlx_srv_http *h);
/* Ends all connections. NULL is fine. */
void dlx_srv_http_close(dlx_srv_http *h);

#endif
