/*
 * Files that came from a model hub, and what is there in their place when fetching them was not finished: a git-lfs
 * pointer, a link to a blob that never arrived, a blob with ".incomplete" behind its name. The sentences say what to
 * run.
 */
#ifndef DLX_BASE_FETCHED_H
#define DLX_BASE_FETCHED_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

/* Whether something of that name is there, as dlx_exists. A link to nothing is an error: the download was
 * interrupted. */
dlx_status dlx_fetched_file(bool *there, const char *path, dlx_error *err);

/* DLX_E_FORMAT when the n bytes of file `path` are a git-lfs pointer. */
dlx_status dlx_check_fetched(const void *bytes, size_t n, const char *path, dlx_error *err);

/* A half sentence for messages about a file that `folder` lacks: "; the download is incomplete, ..." where blobs that
 * did not arrive whole lie beside it, "" otherwise. */
typedef struct dlx_fetched_hint {
    char s[320];
} dlx_fetched_hint;
dlx_fetched_hint dlx_incomplete_download(const char *folder);
/* The half sentence where files are known to be missing: "; fetch the rest with: hf download ..." in any case. */
dlx_fetched_hint dlx_fetch_the_rest(const char *folder);

#endif
