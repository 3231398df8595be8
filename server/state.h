/* What all requests of a server share. */
#ifndef DLX_SRV_STATE_H
#define DLX_SRV_STATE_H

#include <stdatomic.h>

#include "engine.h"
#include "metrics.h"
#include "scheduler.h"
#include "reply.h"
#include "watch.h"

typedef struct dlx_srv_seat_view {
    bool busy;
    int32_t prompt_tokens, known_tokens, max_tokens, passes;
} dlx_srv_seat_view;

typedef struct dlx_srv_state {
    const dlx_server_options *options;
    dlx_srv_engine engine;
    dlx_srv_scheduler *scheduler;
    dlx_srv_watch *watch;
    dlx_srv_metrics metrics;
    pthread_mutex_t log_lock; /* whoever reads the log may be slow, and nothing else waits for that */
    pthread_mutex_t seats_lock;
    dlx_srv_seat_view *seats; /* [engine.seats] under seats_lock */
    dlx_srv_work *running;    /* all requests that are worked on, linked; under works_lock */
    pthread_mutex_t works_lock;
    pthread_cond_t works_news;
    uint64_t random; /* begins ids */
    atomic_ullong next_id;
    atomic_bool stopping;
    int64_t started_ms;
} dlx_srv_state;

typedef char dlx_srv_id[64];
/* "chatcmpl-" and 24 digits that no other id of the server has. */
void dlx_srv_new_id(dlx_srv_state *state, const char *prefix, dlx_srv_id out);
/* A line of the log, where one is kept. */
void dlx_srv_log(dlx_srv_state *state, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
