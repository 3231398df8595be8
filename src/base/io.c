/* POSIX implementation of base/io.h. */
#define _FILE_OFFSET_BITS 64
#define _GNU_SOURCE
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sizes.h"

static dlx_status shorter(const dlx_file *file, dlx_error *err)
{
    return dlx_fail(err, DLX_E_IO, "'%s' became shorter while it was read", file->name);
}

static void changed_at(int64_t out[2], const struct stat *st)
{
#if defined(__APPLE__)
    out[0] = (int64_t)st->st_mtimespec.tv_sec;
    out[1] = (int64_t)st->st_mtimespec.tv_nsec;
#else
    out[0] = (int64_t)st->st_mtim.tv_sec;
    out[1] = (int64_t)st->st_mtim.tv_nsec;
#endif
}

/* A folder in place of a file; the one that people name is that of the checkpoint. */
static dlx_status no_file(const char *name, bool folder, dlx_error *err)
{
    char config[4096];
    int n = snprintf(config, sizeof config, "%s/config.json", name);
    if (folder && n > 0 && (size_t)n < sizeof config && dlx_is_file(config))
        return dlx_fail(
            err, DLX_E_IO,
            "'%s' is a checkpoint folder, not a program: export it first: diffulex-edge export %s model.pte", name,
            name);
    return dlx_fail(err, DLX_E_IO, "'%s' is not a regular file", name);
}

/* What stands behind file->fd. */
static dlx_status look_at(dlx_file *file, dlx_error *err)
{
    struct stat st;
    if (fstat(file->fd, &st) != 0) return dlx_fail_errno(err, "read", file->name);
    if (!S_ISREG(st.st_mode)) return no_file(file->name, S_ISDIR(st.st_mode), err);
    file->size = (uint64_t)st.st_size;
    changed_at(file->changed, &st);
    return DLX_OK;
}

dlx_status dlx_file_open(dlx_file *out, const char *path, dlx_error *err)
{
    /* O_NONBLOCK means nothing to a regular file; a FIFO would wait for somebody who writes. */
    *out = (dlx_file){.name = path, .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
    if (out->fd < 0) return dlx_fail_errno(err, "open", path);
    dlx_status s = look_at(out, err);
    if (s != DLX_OK) dlx_file_close(out);
    return s;
}

dlx_status dlx_file_from_fd(dlx_file *out, int fd, const char *name, dlx_error *err)
{
    *out = (dlx_file){.name = name, .fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)};
    if (out->fd < 0) return dlx_fail_errno(err, "open", name);
    dlx_status s = look_at(out, err);
    if (s != DLX_OK) dlx_file_close(out);
    return s;
}

void dlx_file_from_memory(dlx_file *out, const void *data, uint64_t size, const char *name)
{
    static const uint8_t nothing[1];
    *out = (dlx_file){.name = name, .size = size, .memory = data ? data : nothing, .fd = -1};
}

void dlx_file_close(dlx_file *file)
{
    if (file->fd >= 0 && !file->memory && file->name) close(file->fd);
    *file = (dlx_file){.fd = -1};
}

dlx_source dlx_source_path(const char *path)
{
    return (dlx_source){.path = path, .fd = -1};
}

dlx_source dlx_source_fd(int fd)
{
    dlx_source s = {.fd = fd};
    snprintf(s.name, sizeof s.name, "file descriptor %d", fd);
    return s;
}

dlx_source dlx_source_memory(const void *bytes, size_t n)
{
    dlx_source s = {.bytes = bytes, .n = n, .fd = -1};
    snprintf(s.name, sizeof s.name, "memory of %zu bytes", n);
    return s;
}

const char *dlx_source_name(const dlx_source *source)
{
    return source->path ? source->path : source->name;
}

dlx_status dlx_source_open(dlx_file *out, const dlx_source *source, dlx_error *err)
{
    const char *name = dlx_source_name(source);
    if (source->path) return dlx_file_open(out, name, err);
    if (!source->bytes) return dlx_file_from_fd(out, source->fd, name, err);
    dlx_file_from_memory(out, source->bytes, source->n, name);
    return DLX_OK;
}

dlx_status dlx_file_read(const dlx_file *file, uint64_t offset, void *out, size_t n, dlx_error *err)
{
    uint8_t *to = out;
    if (!dlx_range_ok(offset, n, file->size))
        return dlx_fail(err, DLX_E_INTERNAL, "'%s': bytes %llu and %zu more are asked for; it has %llu", file->name,
                        (unsigned long long)offset, n, (unsigned long long)file->size);
    if (file->memory) {
        if (n) memcpy(to, file->memory + offset, n);
        return DLX_OK;
    }
    while (n) {
        ssize_t got = pread(file->fd, to, n, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return dlx_fail_errno(err, "read", file->name);
        if (got == 0) return shorter(file, err);
        to += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return DLX_OK;
}

void dlx_file_expect(const dlx_file *file, uint64_t offset, uint64_t n)
{
#if defined(POSIX_FADV_WILLNEED)
    if (!file->memory && n) (void)posix_fadvise(file->fd, (off_t)offset, (off_t)n, POSIX_FADV_WILLNEED);
#else
    (void)file;
    (void)offset;
    (void)n;
#endif
}

dlx_status dlx_file_unchanged(const dlx_file *file, dlx_error *err)
{
    dlx_file now = *file;
    if (file->memory) return DLX_OK;
    DLX_TRY(look_at(&now, err));
    if (now.size < file->size) return shorter(file, err);
    if (now.size == file->size && now.changed[0] == file->changed[0] && now.changed[1] == file->changed[1])
        return DLX_OK;
    return dlx_fail(err, DLX_E_IO, "'%s' changed while it was read; try again when nothing writes to it", file->name);
}

dlx_status dlx_read_file(char **out, size_t *size, const char *path, size_t limit, dlx_error *err)
{
    dlx_file file;
    *out = NULL;
    *size = 0;
    DLX_TRY(dlx_file_open(&file, path, err));
    uint64_t n = file.size;
    dlx_status s = DLX_OK;
    char *p = NULL;
    if (n > limit)
        s = dlx_fail(err, DLX_E_LIMIT, "'%s' has %llu bytes; at most %zu are expected", path, (unsigned long long)n,
                     limit);
    else if (!(p = malloc((size_t)n + 1)))
        s = dlx_fail(err, DLX_E_NOMEM, "out of memory reading '%s' (%llu bytes)", path, (unsigned long long)n);
    if (s == DLX_OK) s = dlx_file_read(&file, 0, p, (size_t)n, err);
    if (s == DLX_OK) s = dlx_file_unchanged(&file, err);
    dlx_file_close(&file);
    if (s != DLX_OK) {
        free(p);
        return s;
    }
    p[n] = '\0';
    *out = p;
    *size = (size_t)n;
    return DLX_OK;
}

static bool has_kind(const char *path, mode_t kind)
{
    struct stat st;
    return stat(path, &st) == 0 && (st.st_mode & S_IFMT) == kind;
}

enum { SILENCE = 10 }; /* seconds */

/* Until something can be read, or the end is there; a writer that is silent for too long is not waited for. */
static dlx_status wait_for_input(int fd, const char *path, dlx_error *err)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n;
    while ((n = poll(&p, 1, 1000 * SILENCE)) < 0 && errno == EINTR) {}
    if (n > 0) return DLX_OK;
    if (n < 0) return dlx_fail_errno(err, "wait for", path);
    return dlx_fail(err, DLX_E_IO, "nothing came from '%s' for %d seconds; is it a pipe that somebody writes to?", path,
                    SILENCE);
}

/* All that comes until the end, which nobody knows before. */
static dlx_status read_to_end(char **out, size_t *size, int fd, const char *path, size_t limit, dlx_error *err)
{
    size_t n = 0, room = 4096;
    char *p = malloc(room + 1);
    while (p) {
        dlx_status s = wait_for_input(fd, path, err);
        ssize_t got = s == DLX_OK ? read(fd, p + n, room - n) : -1;
        if (s == DLX_OK && got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got < 0) {
            if (s == DLX_OK) s = dlx_fail_errno(err, "read", path);
            free(p);
            return s;
        }
        n += (size_t)got;
        if (got == 0 || n > limit) break;
        if (n < room) continue;
        room *= 2;
        char *more = realloc(p, room + 1);
        if (!more) free(p);
        p = more;
    }
    if (!p) return dlx_fail(err, DLX_E_NOMEM, "out of memory reading '%s'", path);
    if (n > limit) {
        free(p);
        return dlx_fail(err, DLX_E_LIMIT, "'%s' has more than %zu bytes", path, limit);
    }
    p[n] = '\0';
    *out = p;
    *size = n;
    return DLX_OK;
}

size_t dlx_byte_order_mark(const char *text, size_t n)
{
    static const char mark[] = "\xEF\xBB\xBF";
    return n >= sizeof mark - 1 && !memcmp(text, mark, sizeof mark - 1) ? sizeof mark - 1 : 0;
}

dlx_status dlx_refuse_utf16(const char *text, size_t n, const char *path, dlx_error *err)
{
    if (n >= 2 && (!memcmp(text, "\xFF\xFE", 2) || !memcmp(text, "\xFE\xFF", 2)))
        return dlx_fail(err, DLX_E_FORMAT, "'%s' is text in UTF-16; UTF-8 is expected", path);
    return DLX_OK;
}

/* What editors and shells of other systems put in front of a text. */
static dlx_status take_mark_off(char *text, size_t *size, const char *path, dlx_error *err)
{
    size_t mark = dlx_byte_order_mark(text, *size);
    DLX_TRY(dlx_refuse_utf16(text, *size, path, err));
    *size -= mark;
    if (mark) memmove(text, text + mark, *size + 1);
    return DLX_OK;
}

static dlx_status read_any(char **out, size_t *size, const char *path, size_t limit, dlx_error *err)
{
    if (dlx_is_file(path)) return dlx_read_file(out, size, path, limit, err);
    /* Without O_NONBLOCK a FIFO that nobody writes to would be waited for here, for ever. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) return dlx_fail_errno(err, "open", path);
    dlx_status s = read_to_end(out, size, fd, path, limit, err);
    close(fd);
    return s;
}

dlx_status dlx_read_text(char **out, size_t *size, const char *path, size_t limit, dlx_error *err)
{
    *out = NULL;
    *size = 0;
    DLX_TRY(read_any(out, size, path, limit, err));
    dlx_status s = take_mark_off(*out, size, path, err);
    if (s == DLX_OK) return DLX_OK;
    free(*out);
    *out = NULL;
    *size = 0;
    return s;
}

bool dlx_is_folder(const char *path)
{
    return has_kind(path, S_IFDIR);
}

bool dlx_folder_has(const char *folder, const char *end)
{
    DIR *d = opendir(folder);
    size_t m = strlen(end);
    bool found = false;
    if (!d) return false;
    for (struct dirent *e; !found && (e = readdir(d)) != NULL;) {
        size_t n = strlen(e->d_name);
        found = n > m && !strcmp(e->d_name + n - m, end);
    }
    closedir(d);
    return found;
}

bool dlx_is_file(const char *path)
{
    return has_kind(path, S_IFREG);
}

bool dlx_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}
