/*
 * Ranges of the numbers that go into the linears of a checkpoint's layers and come out of them: measured by running it
 * over samples, kept in a JSON file, and looked up by name: "layers.3.down.input", "layers.3.down.output". (The head's
 * are not among them: its logits are never int8.)
 */
#ifndef DLX_CALIBRATE_RANGES_H
#define DLX_CALIBRATE_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "calibrate/layerwise.h"
#include "calibrate/observe.h"
#include "calibrate/origin.h"
#include "calibrate/work.h"

typedef struct dlx_tensor_range {
    const char *name; /* in the arena */
    dlx_bounds bounds;
} dlx_tensor_range;

typedef struct dlx_ranges {
    dlx_arena arena;
    dlx_tensor_range *list; /* [n] in the arena, sorted by name once they are complete */
    size_t n, capacity;
    dlx_observer observer;
    uint64_t samples, rows; /* that they were measured on, */
    dlx_origin origin;      /* and of which checkpoint: whoever measures says so */
    bool scaled;            /* what goes into the layers is scaled: they are of one program alone */
} dlx_ranges;

/* One layer in memory at a time, and the histograms of one layer: at most (14 + threads) * 33 kB. With a work folder
 * (else NULL) it begins with layer work->done, and what was found goes there after each layer. */
dlx_status dlx_ranges_measure(dlx_ranges *out, dlx_work *work, const dlx_checkpoint *c, const dlx_samples *samples,
                              dlx_observer o, const dlx_layerwise_options *run, dlx_error *err);
void dlx_ranges_free(dlx_ranges *ranges); /* fine on zeros */

/* Histograms of one layer, which runs with dlx_range_meter_visit. */
typedef struct dlx_range_meter {
    dlx_ranges *into;
    dlx_pool *pool;
    dlx_histogram *of; /* [2 * DLX_LAYER_LINEARS] input and output of each linear */
    dlx_histogram *scratch;
} dlx_range_meter;
dlx_status dlx_range_meter_open(dlx_range_meter *out, dlx_ranges *into, dlx_pool *pool, dlx_error *err);
void dlx_range_meter_close(dlx_range_meter *m); /* fine on zeros */
/* What a work folder has of ranges of layers 0 .. work->done - 1, into the list. */
dlx_status dlx_range_meter_resume(dlx_range_meter *m, const dlx_work *work, const dlx_checkpoint *c, dlx_error *err);
void dlx_range_meter_clear(dlx_range_meter *m);
dlx_status dlx_range_meter_visit(void *meter, const dlx_linear_rows *rows, dlx_error *err);
/* The layer's ranges into the list, and, unless work is NULL, to its results. */
dlx_status dlx_range_meter_take(dlx_range_meter *m, dlx_work *work, int32_t layer, dlx_error *err);

/* A list of none, and one more in it, whose name is copied. */
void dlx_ranges_begin(dlx_ranges *ranges);
/* One of none that will be measured. */
void dlx_ranges_begin_measured(dlx_ranges *ranges, const dlx_samples *samples, dlx_observer o);
dlx_status dlx_ranges_add(dlx_ranges *ranges, const char *name, dlx_bounds bounds, dlx_error *err);
/* By name: once they are complete. */
void dlx_ranges_sort(dlx_ranges *ranges);
/* NULL: there is none of that name. */
const dlx_tensor_range *dlx_ranges_find(const dlx_ranges *ranges, const char *name);

/* {"ranges": 1, "observer": "mse", "samples": 128, "rows": 20480, "checkpoint": {...}, "tensors":
 * {"layers.0.down.input": [-1.5, 2.25], ...}} Reading gives back the same floats, whose magnitude is at most 2^64. A
 * file that is no such thing, of scaled inputs ("scaled": true), or of another checkpoint, is DLX_E_FORMAT with what is
 * wrong. One of earlier versions
 * does not say which it is of: origin.family is NULL, and only names are compared. */
dlx_status dlx_ranges_write(const dlx_ranges *ranges, const char *path, dlx_error *err);
dlx_status dlx_ranges_read(dlx_ranges *out, const char *path, const dlx_checkpoint *c, dlx_error *err);
/* The same text in memory, malloc'd. */
dlx_status dlx_ranges_text(const dlx_ranges *ranges, char **out, dlx_error *err);

/* What a list is of, where that is not the linears of layers. */
typedef struct dlx_range_names {
    const char *const *list; /* [n] each once */
    size_t n;
    const char *const *may;   /* [n_may] likewise, none of the list: files of earlier versions have them as [0, 0] */
    size_t n_may;             /* though nothing measured them */
    const char *of;           /* the checkpoint, for messages */
    const dlx_origin *origin; /* of it */
} dlx_range_names;

/* As dlx_ranges_read: of these names and no others. */
dlx_status dlx_ranges_read_names(dlx_ranges *out, const char *path, const dlx_range_names *names, dlx_error *err);
/* What was found so far, to the results of a work folder, and into a list from there. */
dlx_status dlx_ranges_keep(const dlx_ranges *ranges, dlx_work *work, dlx_error *err);
dlx_status dlx_ranges_take_back(dlx_ranges *ranges, const dlx_work *work, const dlx_range_names *names, dlx_error *err);

#endif
