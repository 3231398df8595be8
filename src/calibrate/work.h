/*
 * What a calibration has found so far, in a folder beside the output: whoever interrupts one goes on where it was.
 *
 * A folder belongs to one fingerprint (of checkpoint, samples and what is looked for). In it lie a file of each layer
 * that has one, and the hidden states behind the last layer that is done, in one file with the text of results and with
 * digests of everything: what is not, to the byte, what was written is never gone on with.
 */
#ifndef DLX_CALIBRATE_WORK_H
#define DLX_CALIBRATE_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "calibrate/layerwise.h"
#include "format/safetensors.h"

typedef struct dlx_work {
    char *folder; /* malloc'd */
    int held;     /* descriptor of the folder, which is locked, plus 1; 0: none */
    bool is_open;
    uint64_t fingerprint;
    int32_t done;     /* layers that need not be run again */
    char *results;    /* what was found in them, as whoever keeps it wrote it; malloc'd, NULL: nothing was kept */
    uint64_t *digest; /* [room] of each layer's file, 0: it has none; malloc'd */
    size_t room;
    bool replaces; /* there are files that this run does not go on with: they go before its first one is written */
    char notice[DLX_ERROR_MESSAGE_SIZE]; /* a sentence on why not; "": there is nothing to say */
} dlx_work;

/* Makes the folder unless it is there. done: what an earlier run with this fingerprint left. It is 0, and `notice` says
 * why, where the folder holds another run's work, or where one byte of it is not as it was written. A folder that holds
 * anything else than such files is DLX_E_INVALID: it is somebody's. So is one that is open already, here or in another
 * process: results of two runs would be mixed. Where the file system knows no locks, nobody can tell. */
dlx_status dlx_work_open(dlx_work *out, const char *folder, uint64_t fingerprint, dlx_error *err);
/* Fine on zeros. What is in the folder stays; one in which no layer is done goes. */
void dlx_work_close(dlx_work *w);
/* The folder and all in it go, when the result of the work is where it belongs. */
dlx_status dlx_work_remove(dlx_work *w, dlx_error *err);

/* Path of a layer's file, malloc'd: "layer-NNNNN.safetensors". */
dlx_status dlx_work_layer_path(const dlx_work *w, int32_t layer, char **out, dlx_error *err);
/* Writes the file of the next layer, work->done, with wider types first; n 0: it has none. */
dlx_status dlx_work_write_layer(dlx_work *w, const dlx_st_tensor *tensors, size_t n, dlx_error *err);
/* A text of all that was found up to the next layer, malloc'd, in place of the one before; dlx_work_save writes it. */
void dlx_work_keep(dlx_work *w, char *results);

/* What goes on behind the last layer that is done: rows of floats, of whoever keeps them. */
typedef struct dlx_work_rows {
    uint64_t rows;
    size_t width;
    /* Rows `first` .. first + n - 1, [n, width]; put is for dlx_work_load_rows alone, get for dlx_work_save_rows. */
    dlx_status (*get)(const void *ctx, uint64_t first, uint64_t n, float *out, dlx_error *err);
    dlx_status (*put)(void *ctx, uint64_t first, uint64_t n, const float *rows, dlx_error *err);
    void *ctx;
} dlx_work_rows;
/* Writes them, and `done` and the results with them, in one step. */
dlx_status dlx_work_save_rows(dlx_work *w, const dlx_work_rows *rows, int32_t done, dlx_error *err);
/* Those that were saved last; done is not 0. */
dlx_status dlx_work_load_rows(const dlx_work *w, const dlx_work_rows *rows, dlx_error *err);

/* Hidden states behind layer done - 1 are in l: written, and `done` and the results with them, in one step. */
dlx_status dlx_work_save(dlx_work *w, dlx_layerwise *l, uint64_t rows, size_t width, int32_t done, dlx_error *err);
/* The hidden states that were saved last, into l; or those of the embedding when nothing was. */
dlx_status dlx_work_start(const dlx_work *w, dlx_layerwise *l, uint64_t rows, size_t width, dlx_error *err);

/* Of everything that a result may depend on: which files they are, not what is in them. */
uint64_t dlx_work_checkpoint(const dlx_checkpoint *c);
/* Of a fingerprint and more bytes. */
uint64_t dlx_work_print(uint64_t before, const void *bytes, size_t n);

#endif
