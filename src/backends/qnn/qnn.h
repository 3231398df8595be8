/*
 * QNN backend: parts of a graph as programs for the HTP of Qualcomm's chips, compiled by Qualcomm's libraries while the
 * file is written.
 *
 * expand.c makes of a part a graph of what QNN has one operator for; grids.c gives its values 16-bit grids, where they
 * are to be numbers of 16 bits and not floats of 16; build.c and nodes.c hand it to the library; payload.c puts what
 * comes back into the bytes that the official runtime expects. Shapes are fixed, and a payload is for one chip.
 */
#ifndef DLX_BACKENDS_QNN_QNN_H
#define DLX_BACKENDS_QNN_QNN_H

#include "backends/lower.h"
#include "base/text_buffer.h"
#include "quant/quant.h"

typedef struct dlx_qnn_options {
    const char *chip;   /* "SM8650" (chips.h) */
    const char *folder; /* of Qualcomm's libraries; NULL: where they usually are (library.h) */
    /* Where values lie, by their names in dlx_qnn_expand's graph; then activations are numbers of 16 bits, and weights
     * of linears int8 or int4. NULL: floats of 16 bits throughout. Must outlive the backend. */
    const dlx_activation_ranges *ranges;
    const char *program; /* path of the file to be written: payloads wait on its disk (room.h); NULL: in memory. Must
                            outlive the backend */
} dlx_qnn_options;

/* The opened libraries, and payloads made with them. One thread at a time. */
typedef struct dlx_qnn dlx_qnn;

/* DLX_E_INVALID: no such chip. DLX_E_UNSUPPORTED: no libraries, or floats of 16 bits on a chip without. */
dlx_status dlx_qnn_open(dlx_qnn **out, const dlx_qnn_options *options, dlx_error *err);
void dlx_qnn_close(dlx_qnn *q); /* NULL is fine */
/* Whether the chip has the weights of g's linears, which lowering would find out later. DLX_E_UNSUPPORTED names one. */
dlx_status dlx_qnn_check(const dlx_qnn *q, const dlx_graph *g, dlx_error *err);
/* About the libraries, behind what is in t: "QNN v2.47.0 in /folder". */
void dlx_qnn_describe(const dlx_qnn *q, dlx_text_buffer *t);

bool dlx_qnn_takes(const dlx_graph *g, const dlx_node *n);
/*
 * dlx_lower_part_fn; how->options: a dlx_qnn. A part that is lowered again gives the payload of the first time, which
 * is the dlx_qnn's. Compiling takes minutes and gigabytes for a billion weights.
 */
dlx_status dlx_qnn_lower_part(dlx_delegate *out, dlx_arena *arena, const dlx_part *part, const dlx_lowering *how,
                              dlx_error *err);

extern const dlx_home dlx_qnn_home;

/*
 * The graph that a part becomes, with its inputs and outputs in order: LINEARs, RMS_NORMs and primitives, every value
 * with a name that depends on the decoder alone and not on how it is cut into parts ("layers.0.linear.3",
 * "layers.0.attention.0.scores"): what ranges are measured on.
 */
dlx_status dlx_qnn_expand(dlx_graph *out, const dlx_part *part, dlx_error *err);

#endif
