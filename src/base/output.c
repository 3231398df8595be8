/* POSIX implementation of base/output.h. Everything below the folder goes by its descriptor and short names, so that a
 * target's name may be as long as the file system allows. */
#define _FILE_OFFSET_BITS 64
#define _GNU_SOURCE
#include "base/output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/place.h"

enum { WRITE_BUFFER = 1 << 20, MOST_NAMES = 100, PERMISSIONS = 07777 };

static dlx_status no_memory(dlx_error *err, const char *path)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory opening '%s' for writing", path);
}

static dlx_file_id id_of(const struct stat *st)
{
    return (dlx_file_id){(uint64_t)st->st_dev, (uint64_t)st->st_ino};
}

static bool same_file(dlx_file_id a, dlx_file_id b)
{
    return a.device == b.device && a.number == b.number;
}

/* ---- the target -------------------------------------------------------------------------------------------------- */

static dlx_status check_kind(const char *path, mode_t mode, dlx_error *err)
{
    const char *what = S_ISREG(mode)                    ? NULL
                       : S_ISDIR(mode)                  ? "folder"
                       : S_ISCHR(mode) || S_ISBLK(mode) ? "device"
                       : S_ISFIFO(mode)                 ? "FIFO"
                       : S_ISSOCK(mode)                 ? "socket"
                                                        : "special file";
    return what ? dlx_fail(err, DLX_E_IO, "cannot write '%s': it is a %s; name a file", path, what) : DLX_OK;
}

/* What lies at `path`, links followed; st->st_mode is 0 when nothing does. A file that may not be written is refused,
 * although its folder would let it be replaced. */
static dlx_status look_at(const char *path, struct stat *st, dlx_error *err)
{
    if (stat(path, st) != 0) {
        st->st_mode = 0;
        return errno == ENOENT ? DLX_OK : dlx_fail_errno(err, "write", path);
    }
    DLX_TRY(check_kind(path, st->st_mode, err));
    return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0 ? DLX_OK : dlx_fail_errno(err, "write", path);
}

/* ---- the file under construction --------------------------------------------------------------------------------- */

/* Not one of the three that programs print to, whoever closed those. */
static int beyond_standard(int fd)
{
    if (fd < 0 || fd > STDERR_FILENO) return fd;
    int higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1), code = errno;
    close(fd);
    errno = code;
    return higher;
}

static void name_prefix(char out[32], const char *name)
{
    snprintf(out, 32, ".dlx-%016llx-", (unsigned long long)dlx_fnv1a(0, name, strlen(name)));
}

/* Removes what processes that no longer exist left of the same target. Nothing depends on its success. */
static void sweep(const dlx_output *out)
{
    char prefix[32];
    int fd = openat(out->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d && fd >= 0) close(fd);
    if (!d) return;
    name_prefix(prefix, out->name);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        struct stat there, opened;
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0) continue;
        int left = openat(out->folder, e->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (left < 0) continue;
        /* Whoever writes it holds the lock. The name may have gone to another file before the lock was ours. */
        if (flock(left, LOCK_EX | LOCK_NB) == 0 && fstat(left, &opened) == 0 && S_ISREG(opened.st_mode) &&
            fstatat(out->folder, e->d_name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
            same_file(id_of(&there), id_of(&opened)))
            unlinkat(out->folder, e->d_name, 0);
        close(left);
    }
    closedir(d);
}

/* Calls `make` with temporary names until one is free; out->temporary is the name then. */
static int with_free_name(dlx_output *out, int (*make)(dlx_output *out, int from), int from)
{
    char prefix[32];
    int code = -1;
    name_prefix(prefix, out->name);
    errno = EEXIST;
    for (int i = 0; i < MOST_NAMES && code < 0 && errno == EEXIST; i++) {
        snprintf(out->temporary, sizeof out->temporary, "%s%ld-%d", prefix, (long)getpid(), i);
        code = make(out, from);
    }
    if (code < 0) out->temporary[0] = '\0';
    return code;
}

static int create_named(dlx_output *out, int unused)
{
    struct stat st;
    (void)unused;
    int fd = beyond_standard(openat(out->folder, out->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (fd < 0) return fd;
    /* A sweep may have come between: then its lock is held, or the name is gone. Locks that the file system does not
     * have stop nobody: the sweep does not get one either. */
    bool taken = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (!taken && fstat(fd, &st) == 0 && st.st_nlink > 0) return fd;
    close(fd);
    errno = EEXIST;
    return -1;
}

static void descriptor_path(char out[40], int fd)
{
    snprintf(out, 40, "/proc/self/fd/%d", fd);
}

static int create_nameless(const dlx_output *out)
{
#if defined(O_TMPFILE)
    if (access("/proc/self/fd", X_OK) != 0) return -1; /* the way to its name */
    int fd = beyond_standard(openat(out->folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666));
    if (fd >= 0) (void)flock(fd, LOCK_EX | LOCK_NB); /* for the moment that it has a temporary name */
    return fd;
#else
    (void)out;
    return -1;
#endif
}

/* Owner and permissions of the older file. Where its group cannot be kept, the new one may do what everybody may. */
static dlx_status keep_rights(const dlx_output *out, const struct stat *older, dlx_error *err)
{
    struct stat st;
    mode_t mode = older->st_mode & PERMISSIONS;
    if (fstat(out->fd, &st) != 0) return dlx_fail_errno(err, "write", out->path);
    if (st.st_uid != older->st_uid || st.st_gid != older->st_gid) {
        bool kept = fchown(out->fd, older->st_uid, older->st_gid) == 0;
        if (!kept) {
            mode &= 0777;
            if (st.st_gid != older->st_gid && fchown(out->fd, (uid_t)-1, older->st_gid) != 0)
                mode &= ~(mode_t)0070 | (mode & 0007) << 3;
        }
    }
    if ((st.st_mode & PERMISSIONS) == mode || fchmod(out->fd, mode) == 0) return DLX_OK;
    return dlx_fail_errno(err, "keep the permissions of", out->path);
}

/* Whether another file sits on the target's name (a bind mount), which no rename replaces. Kernels before 5.8 do not
 * say: there it is learnt at the end, because device numbers of a file and its folder differ on some overlays too. */
static bool is_mounted(const dlx_output *out)
{
#if defined(STATX_ATTR_MOUNT_ROOT)
    struct statx x;
    if (statx(out->folder, out->name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &x) == 0)
        return x.stx_attributes & x.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT;
#else
    (void)out;
#endif
    return false;
}

/* What would only be learnt when the work is done: that the older file cannot be replaced. */
static dlx_status check_replaceable(const dlx_output *out, dlx_error *err)
{
    if (is_mounted(out))
        return dlx_fail(
            err, DLX_E_IO,
            "cannot replace '%s': it is a mount point (a file that a container mounts by itself?); mount its "
            "folder, or name another file",
            out->path);
    /* Removing a file as if it were a folder changes nothing, and fails for want of rights before it fails for that. */
    if (unlinkat(out->folder, out->name, AT_REMOVEDIR) == 0 || (errno != EPERM && errno != EACCES)) return DLX_OK;
    return dlx_fail(
        err, DLX_E_IO,
        "cannot replace '%s': its folder lets nobody but its owner do that, or it is append-only or immutable; "
        "name another file",
        out->path);
}

static dlx_status open_output(dlx_output *out, dlx_error *err)
{
    struct stat older;
    dlx_place place;
    DLX_TRY(look_at(out->path, &older, err));
    DLX_TRY(dlx_place_open(&place, out->path, err));
    out->folder = place.folder;
    out->name = place.name;
    out->replaces = older.st_mode != 0;
    if (out->replaces) {
        out->older = id_of(&older);
        DLX_TRY(check_replaceable(out, err));
    }
    sweep(out);
    out->fd = create_nameless(out);
    if (out->fd < 0) out->fd = with_free_name(out, create_named, -1);
    if (out->fd < 0) return dlx_fail_errno(err, "create a file beside", out->path);
    return out->replaces ? keep_rights(out, &older, err) : DLX_OK;
}

dlx_status dlx_output_open(dlx_output *out, const char *path, dlx_error *err)
{
    *out = (dlx_output){.fd = -1, .folder = -1};
    out->path = strdup(path);
    out->buffer = malloc(WRITE_BUFFER);
    dlx_status s = out->path && out->buffer ? open_output(out, err) : no_memory(err, path);
    if (s != DLX_OK) dlx_output_close(out);
    return s;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

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
    if (out->digest) dlx_digest_add(out->digest, data, n);
    return DLX_OK;
}

dlx_status dlx_output_rewrite(dlx_output *out, uint64_t offset, const void *data, size_t n, dlx_error *err)
{
    const uint8_t *p = data;
    if (offset > out->position || n > out->position - offset)
        return dlx_fail(err, DLX_E_INTERNAL, "'%s': %llu bytes at %llu were not written before", out->path,
                        (unsigned long long)n, (unsigned long long)offset);
    DLX_TRY(flush(out, err));
    while (n) {
        ssize_t w = pwrite(out->fd, p, n, (off_t)offset);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) {
            if (w == 0) errno = ENOSPC;
            return dlx_fail(err, DLX_E_IO, "cannot write '%s' at %llu: %s", out->path, (unsigned long long)offset,
                            strerror(errno));
        }
        p += w;
        n -= (size_t)w;
        offset += (uint64_t)w;
    }
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

/* ---- giving it its name ------------------------------------------------------------------------------------------ */

static int link_temporary(dlx_output *out, int from)
{
    char path[40];
    descriptor_path(path, from);
    return linkat(AT_FDCWD, path, out->folder, out->temporary, AT_SYMLINK_FOLLOW);
}

static dlx_status sync_file(const dlx_output *out, dlx_error *err)
{
    if (fsync(out->fd) != 0 && errno != EINVAL && errno != EROFS) return dlx_fail_errno(err, "write", out->path);
    return DLX_OK;
}

/* A file without a name that gets none after all is copied into one that has. */
static dlx_status copy_to_named(dlx_output *out, int from, dlx_error *err)
{
    struct stat st;
    uint64_t at = 0;
    ssize_t n;
    out->fd = with_free_name(out, create_named, -1);
    if (out->fd < 0) return dlx_fail_errno(err, "create a file beside", out->path);
    if (fstat(from, &st) != 0) return dlx_fail_errno(err, "write", out->path);
    DLX_TRY(keep_rights(out, &st, err));
    while ((n = pread(from, out->buffer, WRITE_BUFFER, (off_t)at)) != 0) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return dlx_fail_errno(err, "write", out->path);
        DLX_TRY(write_all(out, out->buffer, (size_t)n, err));
        at += (uint64_t)n;
    }
    return sync_file(out, err);
}

/* From no name, or a temporary one, to the target's. `from` is the finished file, whose lock it holds. */
static dlx_status name_file(dlx_output *out, int from, dlx_error *err)
{
    struct stat now;
    char path[40];
    bool there = fstatat(out->folder, out->name, &now, AT_SYMLINK_NOFOLLOW) == 0;
    /* It was looked at before the work began; what came in its place meanwhile is not ours to replace. */
    if (there && !S_ISREG(now.st_mode))
        return dlx_fail(err, DLX_E_IO, "cannot write '%s': what lies there is no regular file any more", out->path);
    if (!out->temporary[0]) {
        descriptor_path(path, from);
        if (!there && linkat(AT_FDCWD, path, out->folder, out->name, AT_SYMLINK_FOLLOW) == 0) return DLX_OK;
        if (with_free_name(out, link_temporary, from) != 0) DLX_TRY(copy_to_named(out, from, err));
    }
    if (renameat(out->folder, out->temporary, out->folder, out->name) != 0)
        return dlx_fail_errno(err, "rename the finished file to", out->path);
    out->temporary[0] = '\0';
    return DLX_OK;
}

dlx_status dlx_output_commit(dlx_output *out, dlx_error *err)
{
    DLX_TRY(flush(out, err));
    DLX_TRY(sync_file(out, err));
    /* Closing can be the first to hear of a full disk behind a network. The lock stays with the other descriptor. */
    int kept = fcntl(out->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1), fd = out->fd;
    if (kept < 0) return dlx_fail_errno(err, "write", out->path);
    out->fd = -1;
    dlx_status s = close(fd) == 0 ? name_file(out, kept, err) : dlx_fail_errno(err, "write", out->path);
    if (s != DLX_OK && out->temporary[0]) {
        unlinkat(out->folder, out->temporary, 0); /* while it is locked */
        out->temporary[0] = '\0';
    }
    close(kept);
    return s;
}

void dlx_output_close(dlx_output *out)
{
    if (out->temporary[0]) unlinkat(out->folder, out->temporary, 0);
    if (out->fd >= 0) close(out->fd);
    if (out->folder >= 0) close(out->folder);
    free(out->path);
    free(out->name);
    free(out->buffer);
    *out = (dlx_output){.fd = -1, .folder = -1};
}

/* ---- what must not be replaced ----------------------------------------------------------------------------------- */

dlx_status dlx_output_apart(const dlx_output *out, const char *folder, bool (*taken)(const char *name), dlx_error *err)
{
    DIR *d = opendir(folder);
    dlx_status s = DLX_OK;
    if (!d) return dlx_fail_errno(err, "read the folder", folder);
    for (struct dirent *e; s == DLX_OK && out->replaces && (e = readdir(d)) != NULL;) {
        struct stat st;
        if (taken(e->d_name) && fstatat(dirfd(d), e->d_name, &st, 0) == 0 && same_file(id_of(&st), out->older))
            s = dlx_fail(err, DLX_E_INVALID, "cannot write '%s': it is '%s/%s', which is read; name another file",
                         out->path, folder, e->d_name);
    }
    closedir(d);
    return s;
}

dlx_status dlx_output_apart_from(const dlx_output *out, const char *const *reading, size_t n, dlx_error *err)
{
    struct stat st;
    for (size_t i = 0; out->replaces && i < n; i++)
        if (reading[i] && stat(reading[i], &st) == 0 && same_file(id_of(&st), out->older))
            return dlx_fail(err, DLX_E_INVALID, "cannot write '%s': it is '%s', which is read; name another file",
                            out->path, reading[i]);
    return DLX_OK;
}

dlx_status dlx_output_possible(const char *path, const char *const *reading, size_t n, dlx_error *err)
{
    dlx_output out;
    DLX_TRY(dlx_output_open(&out, path, err));
    dlx_status s = dlx_output_apart_from(&out, reading, n, err);
    dlx_output_close(&out);
    return s;
}
