/*
 * Outputs: files that appear under their final name only when they are complete, with nothing lost on the way.
 *
 * The target may exist as a regular file or not at all; a symbolic link is followed. Anything else is refused before a
 * byte is written, and so is a file that may not be written. A file that is replaced keeps its permissions and, where
 * the system allows, its owner; a new one gets what the process gives to new files.
 *
 * Until it is committed, the file has no name where the system can do that (O_TMPFILE), so that nothing is left of a
 * process that is killed. Elsewhere, and for a moment while one file replaces another, it is called
 * ".dlx-<hash of the target's name>-<process>-<number>" in the target's folder and is locked: whatever carries such a
 * name for the same target and is not locked belongs to a process that no longer exists, and the next output removes
 * it.
 */
#ifndef DLX_BASE_OUTPUT_H
#define DLX_BASE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/status.h"

/* Which file, whatever it is called. */
typedef struct dlx_file_id {
    uint64_t device, number;
} dlx_file_id;

typedef struct dlx_output {
    int fd;             /* -1: not open */
    int folder;         /* of the target, -1: not open */
    char *path;         /* target as it was given, for messages; malloc'd */
    char *name;         /* of the target in `folder`, links followed; malloc'd */
    char temporary[64]; /* name in `folder`; "": it has none */
    bool replaces;      /* there is an older file: */
    dlx_file_id older;
    uint64_t position;
    uint8_t *buffer; /* malloc'd write buffer */
    size_t buffered;
    dlx_digest *digest; /* of all that is written, zeros of padding too, but not of what is rewritten; or NULL */
} dlx_output;

dlx_status dlx_output_open(dlx_output *out, const char *path, dlx_error *err);
dlx_status dlx_output_write(dlx_output *out, const void *data, size_t n, dlx_error *err);
/* Writes zeros up to `position`, which must not lie behind what was written. */
dlx_status dlx_output_pad_to(dlx_output *out, uint64_t position, dlx_error *err);
/* Other bytes in place of the n at `offset`, all of which were written before. */
dlx_status dlx_output_rewrite(dlx_output *out, uint64_t offset, const void *data, size_t n, dlx_error *err);
/* Flushes to the disk and gives the file its name; on failure nothing is left behind and an older target stays as it
 * was. */
dlx_status dlx_output_commit(dlx_output *out, dlx_error *err);
/* Removes what was written unless it was committed. Fine on a closed output. */
void dlx_output_close(dlx_output *out);

/* DLX_E_INVALID when the older file is one of those in `folder` that `taken` says yes to, under any name: it would be
 * lost. */
dlx_status dlx_output_apart(const dlx_output *out, const char *folder, bool (*taken)(const char *name), dlx_error *err);
/* The same for files by name, `reading` [n]; entries may be NULL, or name nothing. */
dlx_status dlx_output_apart_from(const dlx_output *out, const char *const *reading, size_t n, dlx_error *err);
/* Whether an output could be opened at `path` and would not replace one of `reading` [n] (entries may be NULL). Writes
 * nothing. */
dlx_status dlx_output_possible(const char *path, const char *const *reading, size_t n, dlx_error *err);

#endif
