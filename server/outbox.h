/*
 * Bytes of a streamed body between the threads that decode, which never wait here, and the connection's, which does.
 * Server-sent events are framed here: one "data:" line each, no id, no name; a comment where nothing came for a while.
 */
#ifndef DLX_SRV_OUTBOX_H
#define DLX_SRV_OUTBOX_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct dlx_srv_outbox {
    pthread_mutex_t lock;
    pthread_cond_t news;
    char *bytes; /* [n] of which [at] are taken */
    size_t n, at, capacity, most;
    bool ended;
    bool broken; /* memory ran out, or the reader lags too far behind */
} dlx_srv_outbox;

/* False when the system refuses a lock. `most`: bytes that may wait for the reader. */
bool dlx_srv_outbox_open(dlx_srv_outbox *o, size_t most);
void dlx_srv_outbox_close(dlx_srv_outbox *o);
/* One event; takes over `value`. False when the stream is broken: nobody needs to go on. */
bool dlx_srv_outbox_event(dlx_srv_outbox *o, json_t *value);
/* The line that ends OpenAI's streams: "data: [DONE]". */
bool dlx_srv_outbox_done(dlx_srv_outbox *o);
void dlx_srv_outbox_end(dlx_srv_outbox *o);
/* Waits for bytes, at most wait_ms, and then writes a comment instead. Returns how many, -1 at the end, -2 when it is
 * broken. `size` is at least 32. */
ssize_t dlx_srv_outbox_read(dlx_srv_outbox *o, char *to, size_t size, int wait_ms);

#endif
