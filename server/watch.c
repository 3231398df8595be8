#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* POLLRDHUP */
#endif
/* One thread that polls the descriptors of all connections that are worked on. */
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wait.h"

enum { LONGEST_SLEEP_MS = 60000 };

struct dlx_srv_peer {
    dlx_srv_peer *next, **link;
    int fd;
    dlx_srv_turn turn;
    bool cut;         /* shut down; its thread finds that out and ends the connection */
    int64_t since;    /* of the turn, ms */
    int64_t deadline; /* ms; 0: none */
    void (*closed)(void *ctx);
    void *ctx;
};

struct dlx_srv_watch {
    pthread_mutex_t lock; /* everything below, and callbacks run with it held */
    pthread_t thread;
    pthread_cond_t room;
    int wake[2];
    dlx_srv_peer *peers; /* [n] linked, the newest first */
    size_t n, open;      /* open: those that are not cut */
    size_t most;
    int idle_ms;
    bool stop;
};

static void wake(const dlx_srv_watch *w)
{
    ssize_t written = write(w->wake[1], "", 1); /* a pipe that is full wakes as well */
    (void)written;
}

static bool is_closed(int fd, short events)
{
    char byte;
#if defined(POLLRDHUP)
    if (events & POLLRDHUP) return true;
#endif
    if (events & (POLLERR | POLLHUP | POLLNVAL)) return true;
    return (events & POLLIN) && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* The events of who is worked on: not input, which the next request of an eager client is. */
static short wanted(const dlx_srv_peer *p)
{
#if defined(POLLRDHUP)
    return p->closed ? POLLRDHUP : 0;
#else
    return p->closed ? POLLIN : 0;
#endif
}

static void cut(dlx_srv_watch *w, dlx_srv_peer *p)
{
    shutdown(p->fd, SHUT_RDWR);
    p->cut = true;
    p->deadline = 0;
    w->open--;
    pthread_cond_broadcast(&w->room);
}

/* Who goes next, when there are too many; NULL: nobody yet, and `sleep` becomes shorter. */
static dlx_srv_peer *next_to_go(const dlx_srv_watch *w, int64_t now, int64_t *sleep)
{
    dlx_srv_peer *found = NULL;
    for (dlx_srv_peer *p = w->peers; p; p = p->next) {
        int64_t left = p->since + w->idle_ms - now;
        if (p->cut || p->turn == DLX_SRV_WORKED_ON) continue;
        if (left > 0 && left < *sleep) *sleep = left;
        if (left > 0) continue;
        if (!found || p->turn < found->turn || (p->turn == found->turn && p->since <= found->since)) found = p;
    }
    return found;
}

static void make_room(dlx_srv_watch *w, int64_t now, int64_t *sleep)
{
    dlx_srv_peer *p;
    char byte;
    while (w->open > w->most && (p = next_to_go(w, now, sleep))) {
        /* A request that its thread has not seen yet. */
        if (p->turn == DLX_SRV_IDLE && recv(p->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1)
            p->since = now;
        else
            cut(w, p);
    }
}

/* Looks at everybody, with the lock held; returns how long to sleep. */
static int look(dlx_srv_watch *w)
{
    int64_t now = dlx_srv_now_ms(), sleep = LONGEST_SLEEP_MS;
    make_room(w, now, &sleep);
    for (dlx_srv_peer *p = w->peers; p; p = p->next) {
        if (p->closed) {
            struct pollfd one = {.fd = p->fd, .events = wanted(p)};
            if (poll(&one, 1, 0) > 0 && is_closed(p->fd, one.revents)) {
                void (*closed)(void *) = p->closed;
                p->closed = NULL;
                closed(p->ctx);
            }
        }
        if (p->deadline && p->deadline <= now)
            cut(w, p);
        else if (p->deadline && p->deadline - now < sleep)
            sleep = p->deadline - now;
    }
    return (int)sleep;
}

static void *run(void *ctx)
{
    dlx_srv_watch *w = ctx;
    struct pollfd *fds = NULL;
    size_t capacity = 0;
    char drained[64];
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        int sleep = look(w);
        if (w->n + 1 > capacity) {
            struct pollfd *grown = realloc(fds, 2 * (w->n + 1) * sizeof *fds);
            if (grown) {
                fds = grown;
                capacity = 2 * (w->n + 1);
            }
        }
        struct pollfd only = {.fd = w->wake[0], .events = POLLIN}, *list = fds ? fds : &only;
        size_t n = 0;
        list[n++] = only;
        for (dlx_srv_peer *p = w->peers; p && n < capacity; p = p->next)
            if (p->closed) list[n++] = (struct pollfd){.fd = p->fd, .events = wanted(p)};
        pthread_mutex_unlock(&w->lock);
        if (poll(list, (nfds_t)n, sleep) < 0 && errno != EINTR) poll(NULL, 0, 100);
        while (read(w->wake[0], drained, sizeof drained) > 0) {}
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    free(fds);
    return NULL;
}

dlx_srv_watch *dlx_srv_watch_open(size_t most, int idle_ms)
{
    dlx_srv_watch *w = calloc(1, sizeof *w);
    if (!w || pipe(w->wake) != 0) {
        free(w);
        return NULL;
    }
    for (int i = 0; i < 2; i++) {
        fcntl(w->wake[i], F_SETFL, O_NONBLOCK);
        fcntl(w->wake[i], F_SETFD, FD_CLOEXEC);
    }
    w->most = most;
    w->idle_ms = idle_ms;
    bool lock = pthread_mutex_init(&w->lock, NULL) == 0, room = dlx_srv_condition(&w->room);
    if (lock && room && pthread_create(&w->thread, NULL, run, w) == 0) return w;
    if (lock) pthread_mutex_destroy(&w->lock);
    if (room) pthread_cond_destroy(&w->room);
    close(w->wake[0]);
    close(w->wake[1]);
    free(w);
    return NULL;
}

void dlx_srv_watch_close(dlx_srv_watch *w)
{
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_mutex_unlock(&w->lock);
    wake(w);
    pthread_join(w->thread, NULL);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->room);
    close(w->wake[0]);
    close(w->wake[1]);
    free(w);
}

dlx_srv_peer *dlx_srv_peer_join(dlx_srv_watch *w, int fd, int seconds)
{
    dlx_srv_peer *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->fd = fd;
    p->since = dlx_srv_now_ms();
    p->deadline = p->since + (int64_t)seconds * 1000;
    pthread_mutex_lock(&w->lock);
    p->next = w->peers;
    p->link = &w->peers;
    if (p->next) p->next->link = &p->next;
    w->peers = p;
    w->n++;
    w->open++;
    pthread_mutex_unlock(&w->lock);
    wake(w);
    return p;
}

void dlx_srv_peer_leave(dlx_srv_watch *w, dlx_srv_peer *p)
{
    if (!p) return;
    pthread_mutex_lock(&w->lock);
    *p->link = p->next;
    if (p->next) p->next->link = p->link;
    w->n--;
    w->open -= !p->cut;
    pthread_cond_broadcast(&w->room);
    pthread_mutex_unlock(&w->lock);
    free(p);
}

/* With the lock held. */
static void turn_to(dlx_srv_peer *p, dlx_srv_turn turn, int seconds)
{
    p->turn = turn;
    p->since = dlx_srv_now_ms();
    if (seconds >= 0 && !p->cut) p->deadline = seconds ? p->since + (int64_t)seconds * 1000 : 0;
}

void dlx_srv_peer_turn(dlx_srv_watch *w, dlx_srv_peer *p, dlx_srv_turn turn, int seconds)
{
    if (!p) return;
    pthread_mutex_lock(&w->lock);
    turn_to(p, turn, seconds);
    bool news = seconds > 0 || w->open > w->most;
    pthread_mutex_unlock(&w->lock);
    if (news) wake(w);
}

bool dlx_srv_peer_beyond(dlx_srv_watch *w, const dlx_srv_peer *p)
{
    size_t before = 0;
    if (!p) return false;
    pthread_mutex_lock(&w->lock);
    for (const dlx_srv_peer *q = p->next; q; q = q->next) before += !q->cut;
    pthread_mutex_unlock(&w->lock);
    return before >= w->most;
}

void dlx_srv_watch_wait(dlx_srv_watch *w, size_t room, int ms)
{
    struct timespec until = dlx_srv_in_ms(ms);
    bool late = false;
    pthread_mutex_lock(&w->lock);
    while (w->open > room && !late) late = pthread_cond_timedwait(&w->room, &w->lock, &until) == ETIMEDOUT;
    pthread_mutex_unlock(&w->lock);
}

void dlx_srv_peer_on_close(dlx_srv_watch *w, dlx_srv_peer *p, void (*closed)(void *ctx), void *ctx)
{
    if (!p) return;
    pthread_mutex_lock(&w->lock);
    p->closed = closed;
    p->ctx = ctx;
    pthread_mutex_unlock(&w->lock);
    if (closed) wake(w);
}

void dlx_srv_watch_limit(dlx_srv_watch *w, const void *ctx, int seconds)
{
    pthread_mutex_lock(&w->lock);
    for (dlx_srv_peer *p = w->peers; p; p = p->next) {
        if (p->ctx != ctx || p->cut) continue;
        turn_to(p, DLX_SRV_TAKING, -1);
        p->deadline = p->since + (int64_t)seconds * 1000;
    }
    pthread_mutex_unlock(&w->lock);
    wake(w);
}
