/*
 * Files: read-only mappings, whole-file reads, and outputs that appear at their final name only when complete.
 */
#ifndef DLX_BASE_IO_H
#define DLX_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* A file mapped read-only. */
typedef struct dlx_mapping {
    const uint8_t *data; /* NULL for an empty file */
    uint64_t size;
} dlx_mapping;

dlx_status dlx_map_file(dlx_mapping *out, const char *path, dlx_error *err);
void dlx_unmap(dlx_mapping *m);
/* Hints: the range will be read once, front to back / its pages may leave memory (they come back from the file when
 * touched again). The range need not be page-aligned. */
void dlx_map_sequential(const void *p, uint64_t size);
void dlx_map_release(const void *p, uint64_t size);

/* Reads a whole file of at most `limit` bytes into malloc'd memory with a NUL behind it. */
dlx_status dlx_read_file(char **out, size_t *size, const char *path, size_t limit, dlx_error *err);

bool dlx_is_folder(const char *path);
bool dlx_is_file(const char *path);

/* An output file: written under a temporary name in the target's folder, renamed by commit. */
typedef struct dlx_output {
    int fd;          /* -1: not open */
    char *path;      /* target, malloc'd */
    char *temporary; /* malloc'd */
    uint64_t position;
    uint8_t *buffer; /* malloc'd write buffer */
    size_t buffered;
} dlx_output;

dlx_status dlx_output_open(dlx_output *out, const char *path, dlx_error *err);
dlx_status dlx_output_write(dlx_output *out, const void *data, size_t n, dlx_error *err);
/* Writes zeros up to `position`, which must not lie behind what was written. */
dlx_status dlx_output_pad_to(dlx_output *out, uint64_t position, dlx_error *err);
/* Flushes to the disk and renames; on failure nothing is left behind and an older target stays as it was. */
dlx_status dlx_output_commit(dlx_output *out, dlx_error *err);
/* Removes the temporary file unless it was committed. Fine on a closed output. */
void dlx_output_close(dlx_output *out);

#endif
