/*
 * A private temporary folder, in memory where the system has such a place, for fuzzers of functions that take paths. It
 * is made at the first use and goes when the process ends normally.
 */
#ifndef DLX_TESTS_FUZZ_FOLDER_H
#define DLX_TESTS_FUZZ_FOLDER_H

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "input.h"

/* Removes the files of a folder; those of the folders in it stay. */
static inline void folder_clear(const char *folder)
{
    DIR *d = opendir(folder);
    require(d != NULL);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.') (void)unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
}

/* Files and folders in it. */
static inline size_t folder_count(const char *folder)
{
    DIR *d = opendir(folder);
    size_t n = 0;
    require(d != NULL);
    for (struct dirent *e; (e = readdir(d)) != NULL;) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

/* "/dev/shm/dlx-fuzz-XXXXXX"; the name is the process's own. */
static inline char *folder_name(void)
{
    static char name[256];
    return name;
}

static inline void folder_remove(void)
{
    folder_clear(folder_name());
    (void)rmdir(folder_name());
}

static inline const char *folder_make(void)
{
    char *name = folder_name();
    const char *tmp = getenv("TMPDIR");
    if (name[0]) return name;
    snprintf(name, 256, "/dev/shm/dlx-fuzz-XXXXXX");
    if (!mkdtemp(name)) {
        snprintf(name, 256, "%s/dlx-fuzz-XXXXXX", tmp && *tmp ? tmp : "/tmp");
        require(mkdtemp(name) != NULL);
    }
    atexit(folder_remove);
    return name;
}

static inline void folder_put(const char *folder, const char *file, const void *bytes, size_t n)
{
    char path[512];
    require(snprintf(path, sizeof path, "%s/%s", folder, file) < (int)sizeof path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    require(fd >= 0);
    for (size_t done = 0; done < n;) {
        ssize_t some = write(fd, (const char *)bytes + done, n - done);
        require(some > 0);
        done += (size_t)some;
    }
    close(fd);
}

/* The next text of the input as a file; an empty text is a file that is not there. */
static inline void folder_take(const char *folder, const char *file, fuzz_input *in)
{
    size_t n;
    char *text = take_text(in, &n);
    if (n) folder_put(folder, file, text, n);
    free(text);
}

#endif
