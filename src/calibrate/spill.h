/*
 * Rows of floats that live from one layer to the next: in memory up to a bound, beyond it in a file without a name, so
 * that nothing is left of a process that is killed.
 */
#ifndef DLX_CALIBRATE_SPILL_H
#define DLX_CALIBRATE_SPILL_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct dlx_spill {
    float *memory; /* [rows * width]; NULL: in the file */
    int fd;        /* -1: in memory, or closed */
    uint64_t rows;
    size_t width;
} dlx_spill;

/* All rows are zeros. A file is made in `folder` (NULL: $TMPDIR, else /tmp) when they take more than `bound` bytes. */
dlx_status dlx_spill_open(dlx_spill *out, uint64_t rows, size_t width, uint64_t bound, const char *folder,
                          dlx_error *err);
void dlx_spill_close(dlx_spill *s); /* fine on a closed one, or one that is all zeros but for fd -1 */
/* Rows [first, first + n). */
dlx_status dlx_spill_read(const dlx_spill *s, uint64_t first, uint64_t n, float *out, dlx_error *err);
dlx_status dlx_spill_write(dlx_spill *s, uint64_t first, uint64_t n, const float *rows, dlx_error *err);

#endif
