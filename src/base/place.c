/* POSIX implementation of base/place.h. */
#define _FILE_OFFSET_BITS 64
#define _GNU_SOURCE
#include "base/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_LINKS = 40, MOST_FOLDERS = 4096 };

static dlx_status no_memory(dlx_error *err, const char *path)
{
    return dlx_fail(err, DLX_E_NOMEM, "out of memory opening '%s' for writing", path);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* The path behind the symbolic link `path`, malloc'd; NULL with errno: EINVAL when it is no link, ENOENT when it is
 * nothing. */
static char *behind_link(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0, room = 256;
    for (;; room *= 2) {
        char *p = malloc(folder + room);
        if (!p) return NULL;
        ssize_t n = readlink(path, p + folder, room);
        if (n < 0) {
            int code = errno;
            free(p);
            errno = code;
            return NULL;
        }
        if ((size_t)n < room) {
            memcpy(p, path, folder);
            p[folder + (size_t)n] = '\0';
            if (p[folder] == '/') memmove(p, p + folder, (size_t)n + 1);
            return p;
        }
        free(p);
    }
}

/* The path that is left when all links at its end were followed, malloc'd. */
static dlx_status follow_links(char **out, const char *path, dlx_error *err)
{
    *out = strdup(path);
    if (!*out) return no_memory(err, path);
    for (int i = 0; i < MOST_LINKS; i++) {
        char *next = behind_link(*out);
        if (!next && (errno == EINVAL || errno == ENOENT)) return DLX_OK;
        if (!next) return errno == ENOMEM ? no_memory(err, path) : dlx_fail_errno(err, "write", path);
        free(*out);
        *out = next;
    }
    errno = ELOOP;
    return dlx_fail_errno(err, "write", path);
}

static int open_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
#if defined(O_PATH)
    if (fd < 0 && errno == EACCES) fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC); /* may be entered, not listed */
#endif
    return fd;
}

/* From the path with links followed, which may be cut apart. */
static dlx_status take_apart(dlx_place *out, char *real, const char *path, dlx_error *err)
{
    char *slash = strrchr(real, '/');
    const char *base = slash ? slash + 1 : real;
    if (!*base || !strcmp(base, ".") || !strcmp(base, ".."))
        return dlx_fail(err, DLX_E_IO, "cannot write '%s': it is a folder; name a file", path);
    out->name = strdup(base);
    if (!out->name) return no_memory(err, path);
    if (slash) slash[slash == real] = '\0';
    out->folder = open_folder(slash ? real : ".");
    return out->folder >= 0 ? DLX_OK : dlx_fail_errno(err, "create a file beside", path);
}

dlx_status dlx_place_open(dlx_place *out, const char *path, dlx_error *err)
{
    char *real;
    *out = (dlx_place){.folder = -1};
    dlx_status s = follow_links(&real, path, err);
    if (s == DLX_OK) errno = 0; /* that of its last look is no error */
    if (s == DLX_OK) s = take_apart(out, real, path, err);
    int code = errno;
    free(real);
    if (s != DLX_OK) dlx_place_close(out);
    errno = code;
    return s;
}

void dlx_place_close(dlx_place *place)
{
    if (place->folder >= 0) close(place->folder);
    free(place->name);
    *place = (dlx_place){.folder = -1};
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

static bool same_inode(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The place of a path that may end in slashes; not open where it leads nowhere, which whoever writes there will say. */
static dlx_status place_of(dlx_place *out, const char *path, dlx_error *err)
{
    dlx_error why;
    size_t n = strlen(path);
    char *plain = strdup(path);
    *out = (dlx_place){.folder = -1};
    if (!plain) return no_memory(err, path);
    while (n > 1 && plain[n - 1] == '/') plain[--n] = '\0';
    errno = 0;
    dlx_status s = dlx_place_open(out, plain, &why);
    int code = errno;
    free(plain);
    bool nowhere =
        s == DLX_E_IO && (!code || code == ENOENT || code == ENOTDIR || code == ELOOP || code == ENAMETOOLONG);
    return s == DLX_OK || nowhere ? DLX_OK : dlx_fail(err, s, "%s", why.message);
}

static dlx_status same_place(bool *same, const dlx_place *a, const dlx_place *b, const char *path, dlx_error *err)
{
    struct stat x, y;
    *same = false;
    if (a->folder < 0 || b->folder < 0 || strcmp(a->name, b->name) != 0) return DLX_OK;
    if (fstat(a->folder, &x) != 0 || fstat(b->folder, &y) != 0) return dlx_fail_errno(err, "look beside", path);
    *same = same_inode(&x, &y);
    return DLX_OK;
}

static dlx_status compare(bool *same, const char *a, const char *b, dlx_error *err)
{
    dlx_place x, y = {.folder = -1};
    *same = false;
    DLX_TRY(place_of(&x, a, err));
    dlx_status s = place_of(&y, b, err);
    if (s == DLX_OK) s = same_place(same, &x, &y, a, err);
    dlx_place_close(&x);
    dlx_place_close(&y);
    return s;
}

dlx_status dlx_places_apart(const char *const path[2], const char *const what[2], dlx_error *err)
{
    bool same;
    if (!path[0] || !path[1]) return DLX_OK;
    DLX_TRY(compare(&same, path[0], path[1], err));
    if (!same) return DLX_OK;
    bool alike = !strcmp(path[0], path[1]);
    return dlx_fail(err, DLX_E_INVALID, "'%.300s'%s%.300s%s cannot be both %s and %s; name another one", path[0],
                    alike ? "" : ", which is also '", alike ? "" : path[1], alike ? "" : "',", what[0], what[1]);
}

static int open_above(int fd)
{
    int above = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
#if defined(O_PATH)
    if (above < 0 && errno == EACCES) above = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
#endif
    return above;
}

/* Whether one of the folders around `place` is that one. */
static dlx_status is_below(bool *below, const dlx_place *place, const struct stat *folder, const char *path,
                           dlx_error *err)
{
    struct stat at = {0}, here;
    int fd = fcntl(place->folder, F_DUPFD_CLOEXEC, 3);
    dlx_status s = DLX_OK;
    *below = false;
    for (int i = 0; i < MOST_FOLDERS; i++) {
        if (fd < 0 || fstat(fd, &here) != 0) s = dlx_fail_errno(err, "look beside", path);
        if (s != DLX_OK || (i && same_inode(&at, &here))) break; /* the root is its own parent */
        *below = same_inode(&here, folder);
        if (*below) break;
        at = here;
        int above = open_above(fd), code = errno;
        close(fd);
        fd = above;
        errno = code;
    }
    if (fd >= 0) close(fd);
    return s;
}

dlx_status dlx_place_outside(const char *path, const char *what, const char *folder, dlx_error *err)
{
    struct stat st;
    dlx_place place;
    bool same;
    if (!path || !folder) return DLX_OK;
    DLX_TRY(compare(&same, path, folder, err));
    if (same)
        return dlx_fail(err, DLX_E_INVALID, "'%.300s' cannot be both %s and the work folder; name another work folder",
                        path, what);
    DLX_TRY(place_of(&place, path, err));
    dlx_status s = DLX_OK;
    bool below = false, there = place.folder >= 0 && stat(folder, &st) == 0 && S_ISDIR(st.st_mode);
    if (there) s = is_below(&below, &place, &st, path, err);
    dlx_place_close(&place);
    if (s != DLX_OK || !below) return s;
    return dlx_fail(err, DLX_E_INVALID,
                    "%s, '%.250s', lies in the work folder '%.250s', which is removed at the end; name another work "
                    "folder",
                    what, path, folder);
}
