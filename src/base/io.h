/*
 * Files that are read: range by range into the reader's memory, or whole. Nothing is ever mapped, so a file that
 * shrinks or is overwritten by somebody else is an error of the next read, never a signal. Outputs: base/output.h.
 */
#ifndef DLX_BASE_IO_H
#define DLX_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/output.h"
#include "base/status.h"

/* A regular file, or bytes in memory, that is read range by range. Any number of threads may read at once. */
typedef struct dlx_file {
    const char *name; /* for messages; not owned */
    uint64_t size;
    const uint8_t *memory; /* not owned; NULL: a file */
    int fd;                /* -1: in memory, or closed */
    int64_t changed[2];    /* when its contents changed last, as seen on opening: seconds and nanoseconds */
} dlx_file;

/* What is no regular file is refused at once: a FIFO without a writer does not block. `name` must outlive the file. */
dlx_status dlx_file_open(dlx_file *out, const char *path, dlx_error *err);
/* From a descriptor of a regular file, which stays the caller's; its position is neither read nor moved. */
dlx_status dlx_file_from_fd(dlx_file *out, int fd, const char *name, dlx_error *err);
/* From memory that must outlive the file and keep its contents. */
void dlx_file_from_memory(dlx_file *out, const void *data, uint64_t size, const char *name);
void dlx_file_close(dlx_file *file);

/* What a program is opened from: one of the three. */
typedef struct dlx_source {
    const char *path;  /* NULL: another one */
    const void *bytes; /* [n]; NULL: another one */
    size_t n;
    int fd;
    char name[32]; /* of a descriptor or of memory, for messages; made by dlx_source_* */
} dlx_source;

dlx_source dlx_source_path(const char *path);
dlx_source dlx_source_fd(int fd);
dlx_source dlx_source_memory(const void *bytes, size_t n);
/* "model.pte", "file descriptor 3", "memory of 4096 bytes" */
const char *dlx_source_name(const dlx_source *source);
/* The source must outlive the file. */
dlx_status dlx_source_open(dlx_file *out, const dlx_source *source, dlx_error *err);

/* Bytes [offset, offset + n), which lie inside the file. A file that has become shorter is DLX_E_IO. */
dlx_status dlx_file_read(const dlx_file *file, uint64_t offset, void *out, size_t n, dlx_error *err);
/* Hint: the range will be read soon. */
void dlx_file_expect(const dlx_file *file, uint64_t offset, uint64_t n);
/* DLX_E_IO when size or time of the last change are not what they were on opening: what was read may be a mixture. To
 * be called behind the last read whose result is kept. */
dlx_status dlx_file_unchanged(const dlx_file *file, dlx_error *err);

/* Reads a whole regular file of at most `limit` bytes into malloc'd memory with a NUL behind it. */
dlx_status dlx_read_file(char **out, size_t *size, const char *path, size_t limit, dlx_error *err);
/* How many of the n bytes are a byte-order mark, which is no part of a text in UTF-8: 3 or 0. */
size_t dlx_byte_order_mark(const char *text, size_t n);
/* DLX_E_FORMAT for a text that has the byte-order mark of UTF-16. */
dlx_status dlx_refuse_utf16(const char *text, size_t n, const char *path, dlx_error *err);
/* A text that somebody wrote, without its byte-order mark; text in UTF-16 is DLX_E_FORMAT. It comes from whatever can
 * be read: from a pipe, too, which is read once, and whose writer is waited for, unless it is silent for ten seconds,
 * or not there. */
dlx_status dlx_read_text(char **out, size_t *size, const char *path, size_t limit, dlx_error *err);

bool dlx_is_folder(const char *path);
bool dlx_is_file(const char *path);
/* Whether a folder holds something whose name ends in `end` and has more in front of it. */
bool dlx_folder_has(const char *folder, const char *end);
/* Whether anything has that name, of whatever kind. */
bool dlx_exists(const char *path);

#endif
