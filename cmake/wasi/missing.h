/*
 * Included before every file that is compiled for WASI (cmake/wasm32-wasi.cmake): functions of POSIX that it has no
 * counterpart of. They fail as a system does that cannot do it, so that callers say what did not work; the sources need
 * to know nothing of it. Users and permissions are the exception: files have none, and whoever keeps or checks them is
 * content. The headers beside this one stand for whole parts that WASI lacks.
 */
#ifndef DLX_WASI_MISSING_H
#define DLX_WASI_MISSING_H

#include <errno.h>
#include <stddef.h>
#include <sys/types.h>

#define F_DUPFD_CLOEXEC 1030 /* fcntl knows no such command: EINVAL */

static inline int dup2(int from, int to)
{
    (void)from, (void)to;
    errno = ENOSYS;
    return -1;
}
static inline int mkstemp(char *path)
{
    (void)path;
    errno = ENOSYS;
    return -1;
}
static inline char *mkdtemp(char *path)
{
    (void)path;
    errno = ENOSYS;
    return NULL;
}
static inline int flock(int fd, int how)
{
    (void)fd, (void)how;
    errno = ENOSYS;
    return -1;
}
static inline char *realpath(const char *path, char *resolved)
{
    (void)path, (void)resolved;
    errno = ENOSYS;
    return NULL;
}
static inline uid_t geteuid(void)
{
    return 0;
}
static inline int fchmod(int fd, mode_t mode)
{
    (void)fd, (void)mode;
    return 0;
}
static inline int fchown(int fd, uid_t owner, gid_t group)
{
    (void)fd, (void)owner, (void)group;
    return 0;
}

#endif
