/*
 * Who decodes next. A fixed number of threads, the seats, take tasks from one queue of bounded length. First come,
 * first served, with one exception: while others wait, a request of many answers has no more than half of the seats;
 * each task is overtaken at most twice for every seat. Knows nothing of models: a task is a function.
 */
#ifndef DLX_SRV_SCHEDULER_H
#define DLX_SRV_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct dlx_srv_task dlx_srv_task;

struct dlx_srv_task {
    const void *group; /* the request whose task this is */
    void (*run)(dlx_srv_task *task, int seat);
    /* the scheduler's own */
    dlx_srv_task *next;
    int overtaken;
};

typedef struct dlx_srv_scheduler dlx_srv_scheduler;

/* `seats` threads; beside them at most `most` tasks wait. NULL when the system refuses memory or a thread. */
dlx_srv_scheduler *dlx_srv_scheduler_open(int seats, size_t most);
/* Waits for what runs. Nothing waits any more: see forget. NULL is fine. */
void dlx_srv_scheduler_close(dlx_srv_scheduler *s);

/* All of them or, when the queue has no room or was stopped, none: false. */
bool dlx_srv_scheduler_submit(dlx_srv_scheduler *s, dlx_srv_task *const *tasks, size_t n);
/* Takes the tasks of `group` (NULL: of all) that still wait out of the queue: a list, linked by `next`. */
dlx_srv_task *dlx_srv_scheduler_forget(dlx_srv_scheduler *s, const void *group);
/* From now on nothing is taken in. */
void dlx_srv_scheduler_stop(dlx_srv_scheduler *s);
/* Waits until nothing runs and nothing waits, at most so long; whether that is so. */
bool dlx_srv_scheduler_drain(dlx_srv_scheduler *s, int ms);

typedef struct dlx_srv_load {
    size_t waiting, most;
    int running, seats;
} dlx_srv_load;
dlx_srv_load dlx_srv_scheduler_load(dlx_srv_scheduler *s);

#endif
