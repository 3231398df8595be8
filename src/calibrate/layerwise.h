/*
 * A checkpoint run layer by layer over many sequences: one layer's weights are in memory, the hidden states of all
 * sequences are kept from layer to layer. The numbers are those of the whole model in float32, whatever is run together
 * and wherever hidden states are kept.
 *
 * Memory: the floats of a layer (one copy, packed), activations of a pass, and hidden states up to a bound.
 */
#ifndef DLX_CALIBRATE_LAYERWISE_H
#define DLX_CALIBRATE_LAYERWISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/threads.h"
#include "calibrate/samples.h"
#include "kernels/kernels.h"
#include "model/checkpoint.h"

typedef struct dlx_layerwise_options {
    dlx_isa limit;      /* of the kernels */
    dlx_pool *pool;     /* not NULL */
    int32_t pass_rows;  /* rows that run together; 0: 512. At least those of the longest sequence */
    uint64_t memory;    /* bytes of hidden states (and of keys and values) that are kept in memory; 0: 1 GiB */
    const char *folder; /* of the file for what is beyond; NULL: $TMPDIR, else /tmp */
    bool cache;         /* keys and values of rows can be stored: dlx_layerwise_start with spans */
    /* Called after each pass with the rows that went through a layer or the head; false ends the run with
     * DLX_E_CANCELLED. May be NULL. */
    bool (*tick)(void *ctx, uint64_t rows);
    void *tick_ctx;
} dlx_layerwise_options;

/* On all threads of `pool` with the best kernels of this machine. */
dlx_layerwise_options dlx_layerwise_on(dlx_pool *pool);

typedef struct dlx_layerwise dlx_layerwise;

/* Checkpoint and samples must outlive it. Ids of the samples may change between runs, their number may not. */
dlx_status dlx_layerwise_open(dlx_layerwise **out, const dlx_checkpoint *c, const dlx_samples *samples,
                              const dlx_layerwise_options *options, dlx_error *err);
void dlx_layerwise_close(dlx_layerwise *w); /* NULL is fine */

/*
 * Hidden states become rows of the embedding table: those of all rows, or of the positions in spans [samples->n] (empty
 * ones take no part). What stands before a span is read from the stored keys and values, which earlier runs must have
 * stored.
 */
dlx_status dlx_layerwise_start(dlx_layerwise *w, const dlx_span *spans, dlx_error *err);

/* Rows of one pass at one linear layer. */
typedef struct dlx_linear_rows {
    int32_t layer;
    int linear;       /* enum dlx_layer_linear */
    const char *name; /* of its weight, as in dlx_build_graph: "layers.3.down.weight" */
    const float *x;   /* [rows, n_in] */
    const float *y;   /* [rows, n_out] bias included */
    size_t rows, n_in, n_out;
    const uint8_t *masked; /* [rows] 1: the row's token is a mask */
} dlx_linear_rows;
/* Linears of a pass come in the order of dlx_layer_linear. Those that share an input get the same x. */
typedef dlx_status (*dlx_linear_fn)(void *ctx, const dlx_linear_rows *rows, dlx_error *err);

/* Linears [first, end) that read the same rows: the norm's before attention, attention's, the MLP's norm's, and the
 * products of gate and up. */
enum { DLX_LINEAR_INPUTS = 4 };
typedef struct dlx_linear_readers {
    int first, end;
} dlx_linear_readers;
extern const dlx_linear_readers dlx_linear_inputs[DLX_LINEAR_INPUTS];
/* The one that a linear reads, */
int dlx_linear_input(int linear);
/* and whether it is the first of those that do: the visitor that rows of inputs are taken from. */
bool dlx_linear_first(int linear);

/* Reads the weights of a layer, in place of those of another. */
dlx_status dlx_layerwise_load(dlx_layerwise *w, int32_t layer, dlx_error *err);
/* A layer in other forms, in place of that of the checkpoint: hidden [T,width], positions [T], keys and values [P,..]
 * -> hidden, new keys, new values. Takes over *g (left empty), whose constants must be PLAIN. It can be run without a
 * visitor. */
dlx_status dlx_layerwise_load_graph(dlx_layerwise *w, int32_t layer, dlx_graph *g, dlx_error *err);
/* Replaces weights of the loaded layer: [n_out, n_in]. */
dlx_status dlx_layerwise_replace(dlx_layerwise *w, int linear, const float *weights, dlx_error *err);
/* A norm's weights or a bias of the loaded layer [*n], by its name behind the layer's ("attn_norm.weight", "v.bias");
 * NULL: it has none. They may be changed; those of a linear's bias count from its next dlx_layerwise_replace on. */
float *dlx_layerwise_small(dlx_layerwise *w, const char *name, size_t *n);
/* The constant behind a linear of the loaded layer: its name, shape and source. */
const dlx_value *dlx_layerwise_weight(const dlx_layerwise *w, int linear);

enum {
    DLX_LAYERWISE_ADVANCE = 1, /* hidden states become what the layer makes of them; without, they stay */
    DLX_LAYERWISE_STORE = 2    /* keys and values of these rows are stored */
};
/* All rows through the loaded layer. visit may be NULL. Hidden states that are not finite are DLX_E_FORMAT, which
 * names the linear whose weights are not, if one is to blame. */
dlx_status dlx_layerwise_run(dlx_layerwise *w, int flags, dlx_linear_fn visit, void *ctx, dlx_error *err);

/* Rows of the head: logits `first` .. first + n - 1 of some rows. */
typedef struct dlx_logits_rows {
    const float *logits; /* [rows, n] */
    const float *x;      /* [rows, n_in] the head's input, after the last norm; the same for every `first` */
    size_t rows, n_in;
    int64_t first, n;
    const size_t *sample;    /* [rows] */
    const int32_t *position; /* [rows] */
} dlx_logits_rows;
typedef dlx_status (*dlx_logits_fn)(void *ctx, const dlx_logits_rows *rows, dlx_error *err);

/* The head over the hidden states behind the last layer, in pieces of columns: all rows of the first piece, then those
 * of the next. Only rows with wanted[row] (counted through all samples; NULL: every row). */
dlx_status dlx_layerwise_head(dlx_layerwise *w, const uint8_t *wanted, dlx_logits_fn visit, void *ctx, dlx_error *err);

/* Hidden states of all rows, for whoever keeps them to go on later. */
dlx_status dlx_layerwise_hidden(const dlx_layerwise *w, uint64_t first, uint64_t n, float *out, dlx_error *err);
dlx_status dlx_layerwise_set_hidden(dlx_layerwise *w, uint64_t first, uint64_t n, const float *rows, dlx_error *err);

#endif
