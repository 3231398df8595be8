#define _GNU_SOURCE
#include "base/unnamed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

/* Where the system knows files without a name, one is never seen; else it loses its name at once. */
int dlx_unnamed_open(const char *folder)
{
    char path[PATH_BYTES];
#if defined(O_TMPFILE)
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return fd;
#endif
    int n = snprintf(path, sizeof path, "%s/.dlx-rows-XXXXXX", folder);
    if (n < 0 || (size_t)n >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int named = mkstemp(path);
    if (named >= 0) (void)unlink(path);
    return named;
}

int dlx_unnamed_open_beside(const char *path)
{
    char folder[PATH_BYTES];
    const char *end = strrchr(path, '/');
    int n =
        end ? snprintf(folder, sizeof folder, "%.*s/", (int)(end - path), path) : snprintf(folder, sizeof folder, ".");
    if (n < 0 || (size_t)n >= sizeof folder) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return dlx_unnamed_open(folder);
}
