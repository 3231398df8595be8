/* POSIX implementation of base/io.h. */
#define _FILE_OFFSET_BITS 64
#define _GNU_SOURCE
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WRITE_BUFFER = 1 << 20 };

static dlx_status fail_errno(dlx_error *err, const char *what, const char *path)
{
    return dlx_fail(err, errno == ENOMEM ? DLX_E_NOMEM : DLX_E_IO, "cannot %s '%s': %s", what, path, strerror(errno));
}

static dlx_status open_regular(int *fd, uint64_t *size, const char *path, dlx_error *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) return fail_errno(err, "open", path);
    struct stat st;
    if (fstat(*fd, &st) != 0) {
        dlx_status s = fail_errno(err, "read", path);
        close(*fd);
        return s;
    }
    if (!S_ISREG(st.st_mode)) {
        close(*fd);
        return dlx_fail(err, DLX_E_IO, "'%s' is not a regular file", path);
    }
    *size = (uint64_t)st.st_size;
    return DLX_OK;
}

dlx_status dlx_map_file(dlx_mapping *out, const char *path, dlx_error *err)
{
    memset(out, 0, sizeof *out);
    int fd;
    uint64_t size;
    DLX_TRY(open_regular(&fd, &size, path, err));
    if (size > SIZE_MAX) {
        close(fd);
        return dlx_fail(err, DLX_E_LIMIT, "'%s' has %llu bytes, more than this machine can address", path,
                        (unsigned long long)size);
    }
    void *p = size ? mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    dlx_status s = p == MAP_FAILED ? fail_errno(err, "map", path) : DLX_OK;
    close(fd);
    if (s != DLX_OK) return s;
    out->data = p;
    out->size = size;
    return DLX_OK;
}

void dlx_unmap(dlx_mapping *m)
{
    if (m->data) munmap((void *)(uintptr_t)m->data, (size_t)m->size);
    memset(m, 0, sizeof *m);
}

/* Advises on the whole pages that touch (inside == false) or lie within (inside == true) the range. */
static void advise(const void *p, uint64_t size, int advice, bool inside)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t a = (uintptr_t)p, b = a + (uintptr_t)size;
    a = inside ? (a + page - 1) / page * page : a / page * page;
    b = inside ? b / page * page : (b + page - 1) / page * page;
    if (p && a < b) (void)madvise((void *)a, b - a, advice);
}

void dlx_map_sequential(const void *p, uint64_t size)
{
    advise(p, size, MADV_SEQUENTIAL, false);
    advise(p, size, MADV_WILLNEED, true);
}

void dlx_map_release(const void *p, uint64_t size)
{
    advise(p, size, MADV_DONTNEED, true);
}

dlx_status dlx_read_file(char **out, size_t *size, const char *path, size_t limit, dlx_error *err)
{
    *out = NULL;
    *size = 0;
    int fd;
    uint64_t n;
    DLX_TRY(open_regular(&fd, &n, path, err));
    if (n > limit) {
        close(fd);
        return dlx_fail(err, DLX_E_LIMIT, "'%s' has %llu bytes; at most %zu are expected", path, (unsigned long long)n,
                        limit);
    }
    char *p = malloc((size_t)n + 1);
    if (!p) {
        close(fd);
        return dlx_fail(err, DLX_E_NOMEM, "out of memory reading '%s' (%llu bytes)", path, (unsigned long long)n);
    }
    size_t got = 0;
    while (got < n) {
        ssize_t r = read(fd, p + got, (size_t)n - got);
        if (r < 0 && errno == EINTR) continue;
        if (r <= 0) {
            dlx_status s = r < 0 ? fail_errno(err, "read", path)
                                 : dlx_fail(err, DLX_E_IO, "'%s' became shorter while it was read", path);
            free(p);
            close(fd);
            return s;
        }
        got += (size_t)r;
    }
    close(fd);
    p[got] = '\0';
    *out = p;
    *size = got;
    return DLX_OK;
}

bool dlx_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool dlx_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

dlx_status dlx_output_open(dlx_output *out, const char *path, dlx_error *err)
{
    memset(out, 0, sizeof *out);
    out->fd = -1;
    if (dlx_is_folder(path)) return dlx_fail(err, DLX_E_IO, "cannot write '%s': it is a folder; name a file", path);
    size_t n = strlen(path);
    out->path = strdup(path);
    out->temporary = malloc(n + 40);
    out->buffer = malloc(WRITE_BUFFER);
    if (out->temporary) out->temporary[0] = '\0'; /* nothing to remove yet */
    if (!out->path || !out->temporary || !out->buffer) {
        dlx_output_close(out);
        return dlx_fail(err, DLX_E_NOMEM, "out of memory opening '%s' for writing", path);
    }
    /* Not mkstemp: a finished output has the permissions that any new file would have. */
    for (int i = 0; i < 100 && out->fd < 0; i++) {
        snprintf(out->temporary, n + 40, "%s.tmp-%ld-%d", path, (long)getpid(), i);
        out->fd = open(out->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (out->fd < 0 && errno != EEXIST) break;
    }
    if (out->fd < 0) {
        dlx_status s = fail_errno(err, "create a file beside", path);
        out->temporary[0] = '\0';
        dlx_output_close(out);
        return s;
    }
    return DLX_OK;
}

static dlx_status write_all(dlx_output *out, const uint8_t *p, size_t n, dlx_error *err)
{
    while (n) {
        ssize_t w = write(out->fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) {
            if (w == 0) errno = ENOSPC;
            return dlx_fail(err, DLX_E_IO, "cannot write '%s' (%llu bytes were written): %s", out->path,
                            (unsigned long long)(out->position - out->buffered), strerror(errno));
        }
        p += w;
        n -= (size_t)w;
    }
    return DLX_OK;
}

static dlx_status flush(dlx_output *out, dlx_error *err)
{
    dlx_status s = write_all(out, out->buffer, out->buffered, err);
    if (s == DLX_OK) out->buffered = 0;
    return s;
}

dlx_status dlx_output_write(dlx_output *out, const void *data, size_t n, dlx_error *err)
{
    if (n > WRITE_BUFFER - out->buffered) DLX_TRY(flush(out, err));
    if (n >= WRITE_BUFFER) {
        DLX_TRY(write_all(out, data, n, err));
    } else if (n) {
        memcpy(out->buffer + out->buffered, data, n);
        out->buffered += n;
    }
    out->position += n;
    return DLX_OK;
}

dlx_status dlx_output_pad_to(dlx_output *out, uint64_t position, dlx_error *err)
{
    static const uint8_t zeros[256];
    if (position < out->position)
        return dlx_fail(err, DLX_E_INTERNAL, "'%s': output position %llu lies behind %llu", out->path,
                        (unsigned long long)position, (unsigned long long)out->position);
    while (out->position < position) {
        uint64_t n = position - out->position;
        DLX_TRY(dlx_output_write(out, zeros, n < sizeof zeros ? (size_t)n : sizeof zeros, err));
    }
    return DLX_OK;
}

dlx_status dlx_output_commit(dlx_output *out, dlx_error *err)
{
    DLX_TRY(flush(out, err));
    if (fsync(out->fd) != 0 && errno != EINVAL && errno != EROFS) return fail_errno(err, "write", out->path);
    int fd = out->fd;
    out->fd = -1;
    if (close(fd) != 0) return fail_errno(err, "write", out->path);
    if (rename(out->temporary, out->path) != 0) return fail_errno(err, "rename the finished file to", out->path);
    out->temporary[0] = '\0';
    return DLX_OK;
}

void dlx_output_close(dlx_output *out)
{
    if (out->fd >= 0) close(out->fd);
    if (out->temporary && out->temporary[0]) unlink(out->temporary);
    free(out->path);
    free(out->temporary);
    free(out->buffer);
    memset(out, 0, sizeof *out);
    out->fd = -1;
}
