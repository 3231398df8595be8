/* A queue of bytes with an end. */
#include "outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "wait.h"

bool dlx_srv_outbox_open(dlx_srv_outbox *o, size_t most)
{
    *o = (dlx_srv_outbox){.most = most};
    if (pthread_mutex_init(&o->lock, NULL) != 0) return false;
    if (dlx_srv_condition(&o->news)) return true;
    pthread_mutex_destroy(&o->lock);
    return false;
}

void dlx_srv_outbox_close(dlx_srv_outbox *o)
{
    pthread_mutex_destroy(&o->lock);
    pthread_cond_destroy(&o->news);
    free(o->bytes);
}

/* With the lock held. */
static void append(dlx_srv_outbox *o, const char *text, size_t n)
{
    if (o->at && o->at == o->n) o->at = o->n = 0;
    if (o->broken || o->ended) return;
    if (o->n + n > o->capacity && o->at) {
        memmove(o->bytes, o->bytes + o->at, o->n - o->at);
        o->n -= o->at;
        o->at = 0;
    }
    if (o->n + n > o->capacity) {
        size_t capacity = 2 * (o->n + n);
        char *grown = o->n + n <= o->most ? realloc(o->bytes, capacity) : NULL;
        if (!grown) {
            o->broken = true;
            return;
        }
        o->bytes = grown;
        o->capacity = capacity;
    }
    memcpy(o->bytes + o->n, text, n);
    o->n += n;
}

static bool event(dlx_srv_outbox *o, const char *text)
{
    pthread_mutex_lock(&o->lock);
    append(o, "data: ", 6);
    append(o, text, strlen(text));
    append(o, "\n\n", 2);
    bool fine = !o->broken;
    pthread_cond_broadcast(&o->news);
    pthread_mutex_unlock(&o->lock);
    return fine;
}

bool dlx_srv_outbox_event(dlx_srv_outbox *o, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    json_decref(value);
    bool fine = text && event(o, text);
    if (!text) {
        pthread_mutex_lock(&o->lock);
        o->broken = true;
        pthread_cond_broadcast(&o->news);
        pthread_mutex_unlock(&o->lock);
    }
    free(text);
    return fine;
}

bool dlx_srv_outbox_done(dlx_srv_outbox *o)
{
    return event(o, "[DONE]");
}

void dlx_srv_outbox_end(dlx_srv_outbox *o)
{
    pthread_mutex_lock(&o->lock);
    o->ended = true;
    pthread_cond_broadcast(&o->news);
    pthread_mutex_unlock(&o->lock);
}

ssize_t dlx_srv_outbox_read(dlx_srv_outbox *o, char *to, size_t size, int wait_ms)
{
    static const char comment[] = ": keep-alive\n\n";
    struct timespec until = dlx_srv_in_ms(wait_ms);
    ssize_t got;
    bool late = false;
    pthread_mutex_lock(&o->lock);
    while (o->at == o->n && !o->ended && !o->broken && !late)
        late = pthread_cond_timedwait(&o->news, &o->lock, &until) == ETIMEDOUT;
    if (o->broken) {
        got = -2;
    } else if (o->at < o->n) {
        got = (ssize_t)(o->n - o->at < size ? o->n - o->at : size);
        memcpy(to, o->bytes + o->at, (size_t)got);
        o->at += (size_t)got;
    } else if (o->ended) {
        got = -1;
    } else {
        got = (ssize_t)(sizeof comment - 1);
        memcpy(to, comment, sizeof comment - 1);
    }
    pthread_mutex_unlock(&o->lock);
    return got;
}
