/* Threads for a process that has one and cannot start another, which is what WASI runs: locks are free, and starting a
 * thread fails as it does where the system refuses. */
#ifndef DLX_WASI_PTHREAD_H
#define DLX_WASI_PTHREAD_H

#include <errno.h>
#include <sys/types.h>
#include <time.h>

/* wasi-libc has the names, as types of unknown size. */
typedef int dlx_wasi_lock;
#define pthread_attr_t            dlx_wasi_lock
#define pthread_mutex_t           dlx_wasi_lock
#define pthread_mutexattr_t       dlx_wasi_lock
#define pthread_cond_t            dlx_wasi_lock
#define pthread_condattr_t        dlx_wasi_lock
#define PTHREAD_MUTEX_INITIALIZER 0

static inline int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    (void)thread, (void)attr, (void)run, (void)arg;
    return EAGAIN;
}
static inline int pthread_join(pthread_t thread, void **result)
{
    (void)thread, (void)result;
    return ESRCH;
}

static inline int pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr)
{
    (void)m, (void)attr;
    return 0;
}
static inline int pthread_mutex_destroy(pthread_mutex_t *m)
{
    (void)m;
    return 0;
}
static inline int pthread_mutex_lock(pthread_mutex_t *m)
{
    (void)m;
    return 0;
}
static inline int pthread_mutex_unlock(pthread_mutex_t *m)
{
    (void)m;
    return 0;
}

static inline int pthread_condattr_init(pthread_condattr_t *attr)
{
    (void)attr;
    return 0;
}
static inline int pthread_condattr_setclock(pthread_condattr_t *attr, clockid_t clock)
{
    (void)attr, (void)clock;
    return 0;
}
static inline int pthread_condattr_destroy(pthread_condattr_t *attr)
{
    (void)attr;
    return 0;
}
static inline int pthread_cond_init(pthread_cond_t *c, const pthread_condattr_t *attr)
{
    (void)c, (void)attr;
    return 0;
}
static inline int pthread_cond_destroy(pthread_cond_t *c)
{
    (void)c;
    return 0;
}
static inline int pthread_cond_signal(pthread_cond_t *c)
{
    (void)c;
    return 0;
}
static inline int pthread_cond_broadcast(pthread_cond_t *c)
{
    (void)c;
    return 0;
}
/* Nobody else could make true what is waited for. */
static inline int pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
    (void)c, (void)m;
    return 0;
}
static inline int pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
    (void)c, (void)m, (void)until;
    return ETIMEDOUT;
}

#endif
