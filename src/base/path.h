/* Names of files in folders. */
#ifndef DLX_BASE_PATH_H
#define DLX_BASE_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* folder/name into out[size]; false when it is longer, and out holds its beginning. */
static inline bool dlx_path_join(char *out, size_t size, const char *folder, const char *name)
{
    int n = snprintf(out, size, "%s/%s", folder, name);
    return n >= 0 && (size_t)n < size;
}

#endif
