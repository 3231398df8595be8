/* The queue and the threads of the seats. */
#include "scheduler.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "wait.h"

typedef struct seat {
    dlx_srv_scheduler *s;
    pthread_t thread;
    const void *group; /* of the task that runs, NULL */
    int number;
} seat;

struct dlx_srv_scheduler {
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t news;
    dlx_srv_task *first;
    size_t waiting, most;
    seat *seats; /* [n_seats] */
    int n_seats, running;
    bool stopped, closed;
};

/* Seats that the group has. */
static int held(const dlx_srv_scheduler *s, const void *group)
{
    int n = 0;
    for (int i = 0; i < s->n_seats; i++) n += s->seats[i].group == group;
    return n;
}

/* The task whose turn it is, with the lock held. */
static dlx_srv_task *pop(dlx_srv_scheduler *s)
{
    int share = s->n_seats > 1 ? s->n_seats / 2 : 1;
    dlx_srv_task **chosen = &s->first;
    while (*chosen && held(s, (*chosen)->group) >= share && (*chosen)->overtaken < 2 * s->n_seats)
        chosen = &(*chosen)->next;
    if (!*chosen) chosen = &s->first; /* nobody else waits */
    dlx_srv_task *task = *chosen;
    for (dlx_srv_task *t = s->first; t != task; t = t->next) t->overtaken++;
    *chosen = task->next;
    task->next = NULL;
    s->waiting--;
    return task;
}

static void *work(void *ctx)
{
    seat *own = ctx;
    dlx_srv_scheduler *s = own->s;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->first && !s->closed) pthread_cond_wait(&s->news, &s->lock);
        if (!s->first) break;
        dlx_srv_task *task = pop(s);
        own->group = task->group;
        s->running++;
        pthread_mutex_unlock(&s->lock);
        task->run(task, own->number); /* the task may be gone behind this */
        pthread_mutex_lock(&s->lock);
        own->group = NULL;
        s->running--;
        pthread_cond_broadcast(&s->news);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

dlx_srv_scheduler *dlx_srv_scheduler_open(int seats, size_t most)
{
    dlx_srv_scheduler *s = calloc(1, sizeof *s);
    bool lock = false, news = false;
    if (s) {
        s->most = most;
        s->seats = calloc((size_t)seats, sizeof *s->seats);
        lock = s->seats && pthread_mutex_init(&s->lock, NULL) == 0;
        news = lock && dlx_srv_condition(&s->news);
    }
    if (!news) {
        if (lock) pthread_mutex_destroy(&s->lock);
        if (s) free(s->seats);
        free(s);
        return NULL;
    }
    pthread_mutex_lock(&s->lock); /* the threads look at n_seats */
    for (int i = 0; i < seats; i++) {
        s->seats[i] = (seat){.s = s, .number = i};
        if (pthread_create(&s->seats[i].thread, NULL, work, &s->seats[i]) != 0) break;
        s->n_seats++;
    }
    bool all = s->n_seats == seats;
    pthread_mutex_unlock(&s->lock);
    if (all) return s;
    dlx_srv_scheduler_close(s);
    return NULL;
}

void dlx_srv_scheduler_close(dlx_srv_scheduler *s)
{
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->stopped = s->closed = true;
    pthread_cond_broadcast(&s->news);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < s->n_seats; i++) pthread_join(s->seats[i].thread, NULL);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->news);
    free(s->seats);
    free(s);
}

bool dlx_srv_scheduler_submit(dlx_srv_scheduler *s, dlx_srv_task *const *tasks, size_t n)
{
    pthread_mutex_lock(&s->lock);
    size_t idle = (size_t)(s->n_seats - s->running);
    bool fits = !s->stopped && s->waiting + n <= s->most + idle;
    dlx_srv_task **end = &s->first;
    while (fits && *end) end = &(*end)->next;
    for (size_t i = 0; fits && i < n; i++) {
        tasks[i]->next = NULL;
        tasks[i]->overtaken = 0;
        *end = tasks[i];
        end = &tasks[i]->next;
        s->waiting++;
    }
    if (fits) pthread_cond_broadcast(&s->news);
    pthread_mutex_unlock(&s->lock);
    return fits;
}

dlx_srv_task *dlx_srv_scheduler_forget(dlx_srv_scheduler *s, const void *group)
{
    dlx_srv_task *out = NULL, **end = &out;
    pthread_mutex_lock(&s->lock);
    for (dlx_srv_task **t = &s->first; *t;) {
        if (group && (*t)->group != group) {
            t = &(*t)->next;
            continue;
        }
        *end = *t;
        *t = (*t)->next;
        (*end)->next = NULL;
        end = &(*end)->next;
        s->waiting--;
    }
    pthread_cond_broadcast(&s->news);
    pthread_mutex_unlock(&s->lock);
    return out;
}

void dlx_srv_scheduler_stop(dlx_srv_scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopped = true;
    pthread_mutex_unlock(&s->lock);
}

bool dlx_srv_scheduler_drain(dlx_srv_scheduler *s, int ms)
{
    struct timespec until = dlx_srv_in_ms(ms);
    bool late = false;
    pthread_mutex_lock(&s->lock);
    while ((s->running || s->waiting) && !late) late = pthread_cond_timedwait(&s->news, &s->lock, &until) == ETIMEDOUT;
    bool done = !s->running && !s->waiting;
    pthread_mutex_unlock(&s->lock);
    return done;
}

dlx_srv_load dlx_srv_scheduler_load(dlx_srv_scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    dlx_srv_load load = {.waiting = s->waiting, .most = s->most, .running = s->running, .seats = s->n_seats};
    pthread_mutex_unlock(&s->lock);
    return load;
}
