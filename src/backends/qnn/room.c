#define _GNU_SOURCE
#include "backends/qnn/room.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/unnamed.h"

static void *map(uint64_t size, int fd)
{
    int kind = fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    void *m = mmap(NULL, size, PROT_READ | PROT_WRITE, kind, fd, 0);
    return m == MAP_FAILED ? NULL : m;
}

dlx_status dlx_qnn_room_take(dlx_qnn_room *out, uint64_t size, const char *beside, dlx_error *err)
{
    *out = (dlx_qnn_room){.size = size};
    if (!size || size > SIZE_MAX / 2)
        return dlx_fail(err, DLX_E_LIMIT, "a QNN context of %llu bytes", (unsigned long long)size);
    int fd = beside ? dlx_unnamed_open_beside(beside) : -1;
    /* Reserved: a write to pages that the disk has no room for would end the process. */
    if (fd >= 0 && posix_fallocate(fd, 0, (off_t)size) == 0) out->bytes = map(size, fd);
    if (fd >= 0) close(fd);
    out->on_disk = out->bytes != NULL;
    if (!out->bytes) out->bytes = map(size, -1);
    if (out->bytes) return DLX_OK;
    return dlx_fail(err, DLX_E_NOMEM, "out of memory: a QNN context takes %llu bytes", (unsigned long long)size);
}

void dlx_qnn_room_rest(const dlx_qnn_room *r)
{
    if (r->on_disk) (void)madvise(r->bytes, r->size, MADV_DONTNEED);
}

void dlx_qnn_room_free(dlx_qnn_room *r)
{
    if (r->bytes) (void)munmap(r->bytes, r->size);
    memset(r, 0, sizeof *r);
}
