/* How full a disk is: WASI does not say. */
#ifndef DLX_WASI_SYS_STATVFS_H
#define DLX_WASI_SYS_STATVFS_H

#include <errno.h>

struct statvfs {
    unsigned long f_bsize, f_frsize, f_bavail;
};

static inline int statvfs(const char *path, struct statvfs *out)
{
    (void)path, (void)out;
    errno = ENOSYS;
    return -1;
}

#endif
