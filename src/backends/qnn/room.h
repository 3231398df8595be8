/*
 * Room for a payload, which is there until the program is written: in a file without a name beside the program, which
 * the system takes out of memory when it needs that for something else; in memory where there is no room on the disk.
 */
#ifndef DLX_BACKENDS_QNN_ROOM_H
#define DLX_BACKENDS_QNN_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct dlx_qnn_room {
    uint8_t *bytes; /* [size]; NULL: there is none */
    uint64_t size;
    bool on_disk;
} dlx_qnn_room;

/* beside: the program's path; NULL: in memory. */
dlx_status dlx_qnn_room_take(dlx_qnn_room *out, uint64_t size, const char *beside, dlx_error *err);
/* What is in it is complete: it leaves the memory until somebody reads it. */
void dlx_qnn_room_rest(const dlx_qnn_room *r);
void dlx_qnn_room_free(dlx_qnn_room *r); /* fine on zeros */

#endif
