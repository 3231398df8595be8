/* The server: everything that requests share, in the order of its life. */
#include "server.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/random.h>

#include "body.h"
#include "http.h"
#include "limits.h"
#include "route.h"
#include "wait.h"
#include "work.h"

enum { POLL_MS = 10 };

struct dlx_server {
    dlx_server_options options;
    dlx_srv_state state;
    dlx_srv_http *http;
    bool locks, metrics;
};

/* ---- shared by requests ------------------------------------------------------------------------------------------ */

/* SplitMix64: numbers that do not repeat, from a random start. */
static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

void dlx_srv_new_id(dlx_srv_state *state, const char *prefix, dlx_srv_id out)
{
    uint64_t n = state->random + atomic_fetch_add(&state->next_id, 1);
    snprintf(out, sizeof(dlx_srv_id), "%s%016llx%08llx", prefix, (unsigned long long)mix(n),
             (unsigned long long)(mix(~n) >> 32));
}

void dlx_srv_log(dlx_srv_state *state, const char *format, ...)
{
    char *line = NULL;
    va_list list;
    if (!state->options->log) return;
    va_start(list, format);
    int n = vsnprintf(NULL, 0, format, list);
    va_end(list);
    if (n >= 0) line = malloc((size_t)n + 1);
    if (!line) return;
    va_start(list, format);
    vsnprintf(line, (size_t)n + 1, format, list);
    va_end(list);
    pthread_mutex_lock(&state->log_lock);
    state->options->log(state->options->log_ctx, line);
    pthread_mutex_unlock(&state->log_lock);
    free(line);
}

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

dlx_status dlx_server_check(const dlx_server_options *o, dlx_error *err)
{
    if (!dlx_srv_is_loopback(o->host) && !o->n_api_keys && !o->insecure)
        return dlx_srv_fail(
            err, DLX_E_INVALID,
            "others than this machine reach the address '%s'; --api-key or --api-key-file lets in who has "
            "the key, --insecure everybody",
            o->host);
    for (size_t i = 0; i < o->n_origins; i++)
        if (!dlx_srv_is_origin(o->origins[i]))
            return dlx_srv_fail(err, DLX_E_INVALID,
                                "'%s' is no origin of web pages; browsers send a scheme, a host in small letters and a "
                                "port that is not the scheme's own, without a path: https://the.page, "
                                "http://127.0.0.1:3000; * stands for all",
                                o->origins[i]);
    return DLX_OK;
}

static dlx_status open_locks(dlx_server *server, dlx_error *err)
{
    dlx_srv_state *s = &server->state;
    bool log = pthread_mutex_init(&s->log_lock, NULL) == 0, seats = pthread_mutex_init(&s->seats_lock, NULL) == 0;
    bool works = pthread_mutex_init(&s->works_lock, NULL) == 0, news = dlx_srv_condition(&s->works_news);
    server->locks = log && seats && works && news;
    server->metrics = dlx_srv_metrics_open(&s->metrics);
    s->seats = calloc((size_t)server->options.seats, sizeof *s->seats);
    if (getentropy(&s->random, sizeof s->random) != 0) s->random = (uint64_t)dlx_srv_now_ms();
    return server->locks && server->metrics && s->seats
               ? DLX_OK
               : dlx_srv_fail(err, DLX_E_NOMEM, "out of memory opening the server, or the system refused a lock");
}

static dlx_status open_threads(dlx_server *server, dlx_error *err)
{
    dlx_srv_state *s = &server->state;
    s->watch = dlx_srv_watch_open(DLX_SRV_MOST_CONNECTIONS, DLX_SRV_IDLE_MS);
    s->scheduler = dlx_srv_scheduler_open(s->options->seats, (size_t)s->options->queue);
    if (!s->watch || !s->scheduler)
        return dlx_srv_fail(err, DLX_E_NOMEM, "out of memory opening the server, or the system refused a thread");
    s->started_ms = dlx_srv_now_ms();
    return s->options->local ? DLX_OK : dlx_srv_http_open(&server->http, s, err);
}

static dlx_status open_all(dlx_server *server, dlx_error *err)
{
    dlx_srv_state *s = &server->state;
    s->options = &server->options;
    dlx_status status = open_locks(server, err);
    if (status == DLX_OK) status = dlx_srv_engine_open(&s->engine, s->options, err);
    if (status != DLX_OK) return status;
    /* Signals are for the caller's thread: whatever starts here inherits that. The model's threads see to it by
     * themselves, so that a signal can end its opening, which takes longest. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    status = open_threads(server, err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

dlx_status dlx_server_open(dlx_server **out, const dlx_server_options *options, dlx_error *err)
{
    *out = NULL;
    dlx_status status = dlx_server_check(options, err);
    if (status != DLX_OK) return status;
    dlx_server *server = calloc(1, sizeof *server);
    if (!server) return dlx_srv_fail(err, DLX_E_NOMEM, "out of memory opening the server");
    server->options = *options;
    status = open_all(server, err);
    if (status == DLX_OK)
        *out = server;
    else
        dlx_server_close(server, 0);
    return status;
}

const char *dlx_server_address(const dlx_server *server)
{
    return dlx_srv_http_address(server->http);
}

const dlx_model *dlx_server_model(const dlx_server *server)
{
    return server->state.engine.model;
}

void dlx_server_close(dlx_server *server, int seconds)
{
    if (!server) return;
    dlx_srv_state *s = &server->state;
    int64_t deadline = dlx_srv_now_ms() + (int64_t)seconds * 1000;
    atomic_store(&s->stopping, true);
    if (s->scheduler) dlx_srv_scheduler_stop(s->scheduler);
    dlx_srv_http_quiesce(server->http);
    while (dlx_srv_http_busy(server->http) && dlx_srv_now_ms() < deadline)
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    if (s->scheduler) dlx_srv_works_cancel(s);
    /* What was cancelled is told so. */
    if (s->scheduler) dlx_srv_scheduler_drain(s->scheduler, 60000);
    for (int i = 0; i < 50 && dlx_srv_http_busy(server->http); i++)
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    dlx_srv_http_close(server->http);
    if (server->locks) dlx_srv_works_wait(s);
    dlx_srv_scheduler_close(s->scheduler);
    dlx_srv_watch_close(s->watch);
    dlx_srv_engine_close(&s->engine);
    if (server->metrics) dlx_srv_metrics_close(&s->metrics);
    if (server->locks) {
        pthread_mutex_destroy(&s->log_lock);
        pthread_mutex_destroy(&s->seats_lock);
        pthread_mutex_destroy(&s->works_lock);
        pthread_cond_destroy(&s->works_news);
    }
    free(s->seats);
    free(server);
}

/* ---- requests without HTTP --------------------------------------------------------------------------------------- */

json_t *dlx_server_read(const char *text, size_t n, int within, char *why, size_t size)
{
    dlx_srv_body_error error;
    json_t *value = dlx_srv_body_read(text, n, within + 1, &error);
    snprintf(why, size, "%s", error.message);
    return value;
}

bool dlx_server_takes(const char *path)
{
    return dlx_srv_posted(path);
}

void dlx_server_ask(dlx_server *server, const char *path, json_t *body, dlx_server_answer *out)
{
    dlx_srv_state *s = &server->state;
    dlx_srv_reply reply = {0};
    json_object_del(body, "stream");
    json_object_del(body, "stream_options");
    char *text = json_dumps(body, JSON_COMPACT);
    const dlx_srv_request r = {
        .state = s, .method = "POST", .path = path, .body = text, .n_body = text ? strlen(text) : 0};
    *out = (dlx_server_answer){.status = 503};
    dlx_srv_new_id(s, "", out->id);
    if (!text) return;
    if (r.n_body > DLX_SRV_MOST_BODY)
        dlx_srv_reply_error(&reply, 413, NULL, NULL, "the body is larger than %d bytes", DLX_SRV_MOST_BODY);
    else if (dlx_srv_admit(&r, &reply))
        dlx_srv_dispatch(&r, &reply);
    bool cancelled = reply.status == 503 && atomic_load(&s->stopping);
    out->status = cancelled ? 0 : reply.status;
    out->body = reply.body;
    out->n = reply.n;
    reply.body = NULL;
    dlx_srv_reply_free(&reply);
    free(text);
}

void dlx_server_cancel(dlx_server *server)
{
    atomic_store(&server->state.stopping, true);
    dlx_srv_scheduler_stop(server->state.scheduler);
    dlx_srv_works_cancel(&server->state);
}

dlx_server_counts dlx_server_counted(dlx_server *server)
{
    dlx_srv_metrics *m = &server->state.metrics;
    pthread_mutex_lock(&m->lock);
    const dlx_server_counts counts = {m->prompt_tokens, m->cached_tokens, m->answer_tokens, m->passes};
    pthread_mutex_unlock(&m->lock);
    return counts;
}
