/* Where a path leads: a folder and a name in it. Two spellings of one path lead to the same place. */
#ifndef DLX_BASE_PLACE_H
#define DLX_BASE_PLACE_H

#include "base/status.h"

typedef struct dlx_place {
    int folder; /* descriptor; -1: not open */
    char *name; /* malloc'd; in `folder`, where nothing needs to have it */
} dlx_place;

/* Links at the path's end are followed, to where nothing lies, too; the folder must be there. */
dlx_status dlx_place_open(dlx_place *out, const char *path, dlx_error *err);
void dlx_place_close(dlx_place *place);

/* DLX_E_INVALID when two things that are to be written would have one place. `what` [2] names them in the sentence; a
 * path that is NULL, or leads nowhere, is apart from everything. */
dlx_status dlx_places_apart(const char *const path[2], const char *const what[2], dlx_error *err);
/* DLX_E_INVALID when `path` is the folder `folder`, which needs not be there, or lies in it. */
dlx_status dlx_place_outside(const char *path, const char *what, const char *folder, dlx_error *err);

#endif
