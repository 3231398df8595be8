/*
 * What a calibration has found so far, in a folder beside the output: whoever interrupts one goes on where it was.
 * After each layer the hidden states are written; results are files of whoever finds them. A folder belongs to one
 * fingerprint (of checkpoint, samples and what is looked for); with another, its files are written anew.
 */
#ifndef DLX_CALIBRATE_WORK_H
#define DLX_CALIBRATE_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "calibrate/layerwise.h"

typedef struct dlx_work {
    char *folder; /* malloc'd */
    int held;     /* descriptor of the folder, which is locked, plus 1; 0: none */
    uint64_t fingerprint;
    int32_t done; /* layers that need not be run again */
} dlx_work;

/* Makes the folder unless it is there. done: what an earlier run with this fingerprint left; 0 otherwise. A folder that
 * holds anything else than such files is DLX_E_INVALID: it is somebody's. So is one that is open already, here or in
 * another process: results of two runs would be mixed. Where the file system knows no locks, nobody can tell. */
dlx_status dlx_work_open(dlx_work *out, const char *folder, uint64_t fingerprint, dlx_error *err);
void dlx_work_close(dlx_work *w); /* fine on zeros; what is in the folder stays */
/* The folder and all in it go, when the result of the work is where it belongs. */
dlx_status dlx_work_remove(dlx_work *w, dlx_error *err);

/* Path of a result, malloc'd. They are called "ranges.json", "report.json",
 * and "layer-NNNNN.safetensors". */
dlx_status dlx_work_path(const dlx_work *w, const char *name, char **out, dlx_error *err);

/* Hidden states behind layer done - 1 are in l: written, and `done` with them, in one step. */
dlx_status dlx_work_save(dlx_work *w, const dlx_layerwise *l, uint64_t rows, size_t width, int32_t done,
                         dlx_error *err);
/* The hidden states that were saved last, into l; or those of the embedding when nothing was. */
dlx_status dlx_work_start(const dlx_work *w, dlx_layerwise *l, uint64_t rows, size_t width, dlx_error *err);

/* Of everything that a result may depend on: which files they are, not what is in them. */
uint64_t dlx_work_checkpoint(const dlx_checkpoint *c);
/* Of a fingerprint and more bytes. */
uint64_t dlx_work_print(uint64_t before, const void *bytes, size_t n);

#endif
