/* Memory of a process's own, as mmap gives it: whole pages of zeros. WASI maps no files, and those who ask are told so.
 */
#ifndef DLX_WASI_SYS_MMAN_H
#define DLX_WASI_SYS_MMAN_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define PROT_NONE     0
#define PROT_READ     1
#define PROT_WRITE    2
#define MAP_SHARED    1
#define MAP_PRIVATE   2
#define MAP_ANONYMOUS 32
#define MAP_NORESERVE 0
#define MAP_FAILED    ((void *)-1)

static inline void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    const size_t page = 4096, whole = (bytes + page - 1) / page * page;
    (void)at, (void)protection, (void)offset;
    void *p = flags & MAP_ANONYMOUS && fd == -1 && whole >= bytes && whole > 0 ? aligned_alloc(page, whole) : NULL;
    if (p) return memset(p, 0, whole);
    errno = flags & MAP_ANONYMOUS ? ENOMEM : ENODEV;
    return MAP_FAILED;
}
static inline int mprotect(void *p, size_t bytes, int protection)
{
    (void)p, (void)bytes, (void)protection;
    errno = ENOSYS;
    return -1;
}
static inline int munmap(void *p, size_t bytes)
{
    (void)bytes;
    free(p);
    return 0;
}

#endif
