/* libmicrohttpd's callbacks. */
#include "http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "limits.h"
#include "route.h"
#include "wait.h"
#include "work.h"

enum { STREAM_BLOCK = 16384, MOST_DISCARDED = 4 * DLX_SRV_MOST_BODY };

struct dlx_srv_http {
    dlx_srv_state *state;
    struct MHD_Daemon *daemon;
    MHD_socket listening; /* after quiesce */
    bool quiet;
    atomic_int busy;
    char address[300];
};

/* One request. */
typedef struct exchange {
    dlx_srv_http *http;
    dlx_srv_peer *peer;
    dlx_srv_reply reply;
    bool refused; /* the reply is there; the body is read and thrown away */
    bool early;   /* the reply went before the body */
    char *body;
    size_t n, capacity, discarded;
    const char *endpoint;
    char method[16];
    int status;
    int64_t began_ms;
} exchange;

/* A body that is sent as it comes. */
typedef struct sending {
    dlx_srv_work *work;
    dlx_srv_peer *peer;
} sending;

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static ssize_t read_stream(void *ctx, uint64_t at, char *to, size_t size)
{
    sending *s = ctx;
    (void)at;
    ssize_t got = dlx_srv_outbox_read(&s->work->outbox, to, size, DLX_SRV_KEEPALIVE_MS);
    return got == -1 ? MHD_CONTENT_READER_END_OF_STREAM : got == -2 ? MHD_CONTENT_READER_END_WITH_ERROR : got;
}

/* Sent, or the peer is gone. */
static void end_stream(void *ctx)
{
    sending *s = ctx;
    dlx_srv_peer_on_close(s->work->state->watch, s->peer, NULL, NULL);
    dlx_srv_work_cancel(s->work);
    dlx_srv_work_release(s->work);
    free(s);
}

static struct MHD_Response *make_response(exchange *x)
{
    static char out_of_memory[] = "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\","
                                  "\"param\":null,\"code\":null}}";
    dlx_srv_reply *r = &x->reply;
    if (!r->work && !r->body)
        return MHD_create_response_from_buffer(sizeof out_of_memory - 1, out_of_memory, MHD_RESPMEM_PERSISTENT);
    if (!r->work) {
        struct MHD_Response *response = MHD_create_response_from_buffer(r->n, r->body, MHD_RESPMEM_MUST_FREE);
        if (response) r->body = NULL;
        return response;
    }
    sending *s = malloc(sizeof *s);
    if (!s) return NULL;
    *s = (sending){r->work, x->peer};
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, read_stream, s, end_stream);
    if (response)
        r->work = NULL;
    else
        free(s);
    return response;
}

static void add_headers(struct MHD_Connection *c, exchange *x, struct MHD_Response *response)
{
    const dlx_srv_reply *r = &x->reply;
    const char *origin = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Origin");
    char number[16];
    MHD_add_response_header(response, "Content-Type", r->type ? r->type : "application/json");
    MHD_add_response_header(response, "Cache-Control", r->etag ? "no-cache" : "no-store");
    if (r->etag) MHD_add_response_header(response, "ETag", r->etag);
    if (r->policy) MHD_add_response_header(response, "Content-Security-Policy", r->policy);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (r->allow) MHD_add_response_header(response, "Allow", r->allow);
    if (r->status == 401) MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (r->close) MHD_add_response_header(response, "Connection", "close");
    snprintf(number, sizeof number, "%d", r->retry_seconds);
    if (r->retry_seconds) MHD_add_response_header(response, "Retry-After", number);
    if (!dlx_srv_origin_named(x->http->state, origin)) return;
    MHD_add_response_header(response, "Access-Control-Allow-Origin", origin);
    MHD_add_response_header(response, "Vary", "Origin");
    MHD_add_response_header(response, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    /* Clients of OpenAI's send headers of their own, X-Stainless-...: what a named page asks for, it may send. */
    const char *asked = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Access-Control-Request-Headers");
    MHD_add_response_header(response, "Access-Control-Allow-Headers", asked ? asked : "Authorization, Content-Type");
    MHD_add_response_header(response, "Access-Control-Max-Age", "600");
}

static enum MHD_Result send_reply(struct MHD_Connection *c, exchange *x)
{
    bool stream = x->reply.work;
    struct MHD_Response *response = make_response(x);
    if (!response) return MHD_NO;
    add_headers(c, x, response);
    x->status = x->reply.status ? x->reply.status : 500;
    if (!stream) dlx_srv_peer_turn(x->http->state->watch, x->peer, DLX_SRV_TAKING, DLX_SRV_DELIVERY_SECONDS);
    enum MHD_Result queued = MHD_queue_response(c, (unsigned)x->status, response);
    MHD_destroy_response(response);
    return queued;
}

/* ---- taking requests --------------------------------------------------------------------------------------------- */

typedef struct headers {
    size_t bytes;
    int hosts, lengths, encodings;
} headers;

static enum MHD_Result add_header(void *ctx, enum MHD_ValueKind kind, const char *key, const char *value)
{
    headers *h = ctx;
    (void)kind;
    h->bytes += strlen(key) + (value ? strlen(value) : 0) + 4;
    h->hosts += !strcasecmp(key, "Host");
    h->lengths += !strcasecmp(key, "Content-Length");
    h->encodings += !strcasecmp(key, "Transfer-Encoding");
    return MHD_YES;
}

static dlx_srv_request request_of(struct MHD_Connection *c, const exchange *x, const char *target)
{
    return (dlx_srv_request){.state = x->http->state,
                             .peer = x->peer,
                             .method = x->method,
                             .path = dlx_srv_path(target),
                             .target = target,
                             .authorization = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization"),
                             .host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Host"),
                             .origin = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Origin"),
                             .if_none_match = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "If-None-Match"),
                             .body = x->body ? x->body : "",
                             .n_body = x->n};
}

static exchange *begin(dlx_srv_http *h, struct MHD_Connection *c, const char *target, const char *method)
{
    exchange *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    x->http = h;
    x->peer = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    x->endpoint = dlx_srv_endpoint(dlx_srv_path(target));
    x->began_ms = dlx_srv_now_ms();
    snprintf(x->method, sizeof x->method, "%s", method);
    dlx_srv_peer_turn(h->state->watch, x->peer, DLX_SRV_ASKING, -1);
    atomic_fetch_add(&h->busy, 1);
    return x;
}

/* Beyond the limit of connections answers are not made; all else is told as ever. */
static void too_many(exchange *x)
{
    x->refused = true;
    dlx_srv_reply_error(&x->reply, 503, "too_many_connections", NULL,
                        "this server works for at most %d connections at one time: try again later",
                        DLX_SRV_MOST_CONNECTIONS);
    x->reply.retry_seconds = DLX_SRV_RETRY_SECONDS;
}

static void too_large(exchange *x)
{
    x->refused = true;
    dlx_srv_reply_error(&x->reply, 413, NULL, NULL, "the body is larger than %d bytes", DLX_SRV_MOST_BODY);
    x->reply.close = true;
}

/* What is wrong with the headers whatever they ask for, or NULL. Where a request ends that has two lengths, a proxy and
 * this server could understand in two ways. */
static const char *wrong_headers(const headers *h, const char *version, const char *encoding)
{
    if (h->hosts > 1) return "the request has more than one header 'Host'";
    if (!h->hosts && strcmp(version, "HTTP/1.1") >= 0) return "the request has no header 'Host', which HTTP/1.1 needs";
    if (h->lengths + h->encodings > 1)
        return "the request has more than one header of 'Content-Length' and 'Transfer-Encoding'";
    if (encoding && strcasecmp(encoding, "chunked") != 0)
        return "the header 'Transfer-Encoding' is not 'chunked', which is the only one that is supported";
    return NULL;
}

/* What the headers say; true when the answer does not wait for the body. */
static bool look_at_headers(struct MHD_Connection *c, exchange *x, const char *target, const char *version)
{
    headers h = {.bytes = strlen(target)};
    const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length");
    const char *expect = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Expect");
    unsigned long long announced = length ? strtoull(length, NULL, 10) : 0;
    dlx_srv_request r = request_of(c, x, target);
    MHD_get_connection_values(c, MHD_HEADER_KIND, add_header, &h);
    const char *wrong =
        wrong_headers(&h, version, MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Transfer-Encoding"));
    if (wrong) {
        x->refused = x->reply.close = true;
        dlx_srv_reply_error(&x->reply, 400, NULL, NULL, "%s", wrong);
        return true;
    }
    if (h.bytes > DLX_SRV_MOST_HEADERS) {
        x->refused = true;
        dlx_srv_reply_error(&x->reply, 431, NULL, NULL, "the headers are larger than %d bytes", DLX_SRV_MOST_HEADERS);
    } else {
        x->refused = !dlx_srv_admit(&r, &x->reply);
    }
    if (!x->refused && announced > DLX_SRV_MOST_BODY) too_large(x);
    if (dlx_srv_peer_beyond(r.state->watch, x->peer)) {
        if (!x->refused && dlx_srv_posted(r.path)) too_many(x);
        x->reply.close = true;
    }
    /* A body of usual size is waited for, so that the connection can stay. */
    x->early = x->refused && (announced > DLX_SRV_MOST_BODY || (expect && !strcasecmp(expect, "100-continue")));
    x->reply.close |= x->early; /* where a body may follow, no request can */
    return x->early;
}

static bool take_body(exchange *x, const char *bytes, size_t n)
{
    if (!x->refused && x->n + n > DLX_SRV_MOST_BODY) too_large(x);
    if (x->refused) {
        x->discarded += n;
        return x->discarded <= MOST_DISCARDED;
    }
    if (x->n + n + 1 > x->capacity) {
        size_t capacity = 2 * (x->n + n + 1);
        char *grown = realloc(x->body, capacity);
        if (!grown) return false;
        x->body = grown;
        x->capacity = capacity;
    }
    memcpy(x->body + x->n, bytes, n);
    x->n += n;
    x->body[x->n] = '\0';
    return true;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *target, const char *method,
                                  const char *version, const char *upload, size_t *n_upload, void **own)
{
    dlx_srv_http *h = ctx;
    exchange *x = *own;
    if (!x) {
        x = begin(h, c, target, method);
        *own = x;
        if (!x) return MHD_NO;
        return look_at_headers(c, x, target, version) ? send_reply(c, x) : MHD_YES;
    }
    if (*n_upload) {
        bool fine = take_body(x, upload, *n_upload);
        *n_upload = 0;
        return fine ? MHD_YES : MHD_NO;
    }
    dlx_srv_peer_turn(h->state->watch, x->peer, DLX_SRV_WORKED_ON, 0);
    if (!x->refused) {
        const dlx_srv_request r = request_of(c, x, target);
        dlx_srv_dispatch(&r, &x->reply);
    }
    return send_reply(c, x);
}

/* Who is in the middle of sending does not read, and loses an answer whose connection is closed with bytes on the way:
 * they are thrown away until the client closes, or the watch does. */
static void throw_away(struct MHD_Connection *c)
{
    const int fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    char bytes[STREAM_BLOCK];
    size_t n = 0;
    ssize_t got = 1;
    shutdown(fd, SHUT_WR); /* the answer ends here, whatever comes */
    while (got > 0 && n <= MOST_DISCARDED) {
        struct pollfd one = {.fd = fd, .events = POLLIN};
        if (poll(&one, 1, -1) < 0 && errno != EINTR) return;
        got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got > 0) n += (size_t)got;
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) got = 1;
    }
}

static void on_completed(void *ctx, struct MHD_Connection *c, void **own, enum MHD_RequestTerminationCode code)
{
    dlx_srv_http *h = ctx;
    exchange *x = *own;
    (void)c;
    if (!x) return;
    *own = NULL;
    bool sent = code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    dlx_srv_metrics_request(&h->state->metrics, x->endpoint, x->status ? x->status : 400);
    dlx_srv_log(h->state, "%s %s %d %lld ms%s", x->method, x->endpoint, x->status,
                (long long)(dlx_srv_now_ms() - x->began_ms), sent ? "" : ", cut off");
    const bool early = x->early && sent;
    dlx_srv_peer_turn(h->state->watch, x->peer, early ? DLX_SRV_TAKING : DLX_SRV_IDLE,
                      h->state->options->request_seconds);
    if (x->reply.work) { /* it could not be sent */
        dlx_srv_peer_on_close(h->state->watch, x->peer, NULL, NULL);
        dlx_srv_work_cancel(x->reply.work);
    }
    dlx_srv_reply_free(&x->reply);
    free(x->body);
    free(x);
    atomic_fetch_sub(&h->busy, 1);
    if (early) throw_away(c);
}

static void on_connection(void *ctx, struct MHD_Connection *c, void **own, enum MHD_ConnectionNotificationCode code)
{
    dlx_srv_http *h = ctx;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        *own = dlx_srv_peer_join(h->state->watch, fd, h->state->options->request_seconds);
        /* At its own limit the library closes connections without a word. */
        dlx_srv_watch_wait(h->state->watch, DLX_SRV_MOST_OPEN, DLX_SRV_IDLE_MS);
    } else {
        dlx_srv_peer_leave(h->state->watch, *own);
        *own = NULL;
    }
}

/* The library's own messages are about connections that broke; there is nobody to tell. */
static void on_message(void *ctx, const char *format, va_list list)
{
    (void)ctx;
    (void)format;
    (void)list;
}

/* ---- listening --------------------------------------------------------------------------------------------------- */

static dlx_status find_address(const dlx_server_options *o, struct sockaddr_storage *out, dlx_error *err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list;
    char port[16];
    snprintf(port, sizeof port, "%d", o->port);
    int failed = getaddrinfo(o->host, port, &hints, &list);
    if (failed) return dlx_srv_fail(err, DLX_E_IO, "cannot find the address '%s': %s", o->host, gai_strerror(failed));
    memcpy(out, list->ai_addr, list->ai_addrlen);
    freeaddrinfo(list);
    return DLX_OK;
}

static dlx_status listen_at(dlx_srv_http *h, dlx_error *err)
{
    const dlx_server_options *o = h->state->options;
    struct sockaddr_storage address = {0};
    dlx_status s = find_address(o, &address, err);
    if (s != DLX_OK) return s;
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC |
                     MHD_USE_ERROR_LOG | (address.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0);
    h->daemon =
        MHD_start_daemon(flags, (uint16_t)o->port, NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_message,
                         NULL, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address, MHD_OPTION_CONNECTION_LIMIT,
                         2U * DLX_SRV_MOST_OPEN, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)DLX_SRV_CONNECTION_MEMORY,
                         MHD_OPTION_THREAD_STACK_SIZE, (size_t)DLX_SRV_CONNECTION_STACK, MHD_OPTION_NOTIFY_COMPLETED,
                         on_completed, h, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_END);
    if (!h->daemon)
        return dlx_srv_fail(err, DLX_E_IO, "cannot listen at '%s', port %d: %s", o->host, o->port, strerror(errno));
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_BIND_PORT);
    bool colons = strchr(o->host, ':');
    snprintf(h->address, sizeof h->address, "http://%s%.200s%s:%u", colons ? "[" : "", o->host, colons ? "]" : "",
             info ? (unsigned)info->port : (unsigned)o->port);
    return DLX_OK;
}

dlx_status dlx_srv_http_open(dlx_srv_http **out, dlx_srv_state *state, dlx_error *err)
{
    dlx_srv_http *h = calloc(1, sizeof *h);
    *out = NULL;
    if (!h) return dlx_srv_fail(err, DLX_E_NOMEM, "out of memory opening the server");
    h->state = state;
    h->listening = MHD_INVALID_SOCKET;
    dlx_status s = listen_at(h, err);
    if (s == DLX_OK)
        *out = h;
    else
        free(h);
    return s;
}

const char *dlx_srv_http_address(const dlx_srv_http *h)
{
    return h->address;
}

void dlx_srv_http_quiesce(dlx_srv_http *h)
{
    if (!h || h->quiet) return;
    h->quiet = true;
    h->listening = MHD_quiesce_daemon(h->daemon);
    if (h->listening != MHD_INVALID_SOCKET) close(h->listening);
}

int dlx_srv_http_busy(const dlx_srv_http *h)
{
    return h ? atomic_load(&h->busy) : 0;
}

void dlx_srv_http_close(dlx_srv_http *h)
{
    if (!h) return;
    MHD_stop_daemon(h->daemon);
    free(h);
}
