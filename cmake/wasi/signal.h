/* Signals for a process that never gets one: WASI has none. Handlers are taken and never called. */
#ifndef DLX_WASI_SIGNAL_H
#define DLX_WASI_SIGNAL_H

#include <sys/types.h>

typedef int sig_atomic_t;
struct sigaction {
    void (*sa_handler)(int);
    sigset_t sa_mask;
    int sa_flags;
};

#define SIGHUP      1
#define SIGINT      2
#define SIGTERM     15
#define SIGXFSZ     25
#define SIG_DFL     ((void (*)(int))0)
#define SIG_IGN     ((void (*)(int))1)
#define SIG_SETMASK 2
#define SA_RESTART  0x10000000

static inline void (*signal(int number, void (*handler)(int)))(int)
{
    (void)number, (void)handler;
    return SIG_DFL;
}
static inline int raise(int number)
{
    (void)number;
    return 0;
}
static inline int sigemptyset(sigset_t *set)
{
    *set = 0;
    return 0;
}
static inline int sigfillset(sigset_t *set)
{
    *set = (sigset_t)-1;
    return 0;
}
static inline int sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    (void)number, (void)action;
    if (before) *before = (struct sigaction){SIG_DFL, 0, 0};
    return 0;
}
static inline int pthread_sigmask(int how, const sigset_t *set, sigset_t *before)
{
    (void)how, (void)set;
    if (before) *before = 0;
    return 0;
}

#endif
