/* Whole files in memory, for tests that look at bytes. cmocka comes first. */
#ifndef DLX_TESTS_WHOLE_FILE_H
#define DLX_TESTS_WHOLE_FILE_H

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

typedef struct whole_file {
    uint8_t *data; /* malloc'd, or mapped */
    uint64_t size;
} whole_file;

static inline dlx_status read_whole_file(whole_file *out, const char *path, dlx_error *err)
{
    char *data;
    size_t n;
    dlx_status s = dlx_read_file(&data, &n, path, SIZE_MAX / 2, err);
    *out = (whole_file){(uint8_t *)data, s == DLX_OK ? n : 0};
    return s;
}

static inline void free_whole_file(whole_file *f)
{
    free(f->data);
    *f = (whole_file){0};
}

static inline dlx_status map_whole_file(whole_file *out, const char *path, dlx_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (p == MAP_FAILED) return dlx_fail(err, DLX_E_NOMEM, "'%s' cannot be mapped", path);
    *out = (whole_file){p, (uint64_t)st.st_size};
    return DLX_OK;
}

static inline void unmap_whole_file(whole_file *f)
{
    munmap(f->data, (size_t)f->size);
    *f = (whole_file){0};
}

#endif
