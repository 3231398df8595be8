/* Whole files in memory, for tests that look at bytes. cmocka comes first. */
#ifndef DLX_TESTS_WHOLE_FILE_H
#define DLX_TESTS_WHOLE_FILE_H

#include <stdlib.h>

#include "base/io.h"

typedef struct whole_file {
    uint8_t *data; /* malloc'd */
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

#endif
