/*
 * CoreML backend: a part of a graph becomes an ML Program inside the payload of ExecuTorch's CoreMLBackend, or a model
 * package in a folder.
 *
 * Everything is computed in float16; inputs and outputs have the types of the graph's values. Weights are float16, int8
 * with a scale for each row, or int4 with one for each row or group. Activations are float16 in any case: where the
 * graph quantises them in front of a linear layer, that is left out, which computes the same with less error.
 *
 * States of the graph that are put into by rows (INDEX_PUT) become states of the program, in float16, where the whole
 * update is in the part: they are no arguments then. All rows of a call are written, from the first position on; what
 * stood there can be read by INDEX, to be put back.
 */
#ifndef DLX_BACKENDS_COREML_H
#define DLX_BACKENDS_COREML_H

#include "backends/lower.h"
#include "base/arena.h"
#include "base/status.h"
#include "base/threads.h"

/* The oldest system that is to run it. */
typedef enum dlx_coreml_target {
    DLX_COREML_IOS18, /* macOS 15: int4 */
    DLX_COREML_IOS17, /* macOS 14 */
    DLX_COREML_IOS16, /* macOS 13 */
    DLX_COREML_TARGETS
} dlx_coreml_target;

/* Zeros are the defaults. */
typedef struct dlx_coreml_options {
    dlx_coreml_target target;
    const char *compute_units; /* "cpu_only", "cpu_and_gpu", "cpu_and_ne", "all"; NULL: "cpu_and_ne" */
} dlx_coreml_options;

/* "iOS18"; NULL outside the list. */
const char *dlx_coreml_target_name(dlx_coreml_target target);
/* Of a name, case aside; false: there is no such target. */
bool dlx_coreml_target_find(const char *name, dlx_coreml_target *out);
/* What the runtime calls these compute units, '-' and '_' being the same, and "cpu_and_ane" being "cpu_and_ne"; NULL:
 * it knows none of that name. */
const char *dlx_coreml_units_find(const char *units);

/* dlx_takes_node_fn: fixed shapes and float numbers; int4 weights even where the target has none. */
bool dlx_coreml_takes(const dlx_graph *g, const dlx_node *n);

/*
 * dlx_lower_part_fn; how->options is dlx_coreml_options. Arguments are the part's inputs and outputs in their order,
 * but for states that the program keeps. The payload is a model package, whose identifier on the device is a digest of
 * the mark and of what the part is. From iOS18 on siblings are functions of one package, with their weights once, which
 * is the first one's named data; their payloads refer to it. DLX_E_UNSUPPORTED, with one sentence, for a weight or
 * state that the target has no form for.
 */
dlx_status dlx_coreml_lower_part(dlx_delegate *out, dlx_arena *arena, const dlx_part *part, const dlx_lowering *how,
                                 dlx_error *err);

/* Both, for all layers in one delegate. */
extern const dlx_home dlx_coreml_home;

/* Called while a package is written, with how many bytes of its weights are, of how many; false ends it with
 * DLX_E_CANCELLED. */
typedef struct dlx_coreml_progress {
    bool (*report)(void *ctx, uint64_t done, uint64_t total); /* NULL: nobody asks */
    void *ctx;
} dlx_coreml_progress;

/*
 * The part as a model package: FOLDER/Manifest.json and what it names. The folder is made, its parent must be there. A
 * package that is there already is replaced, the manifest last; on failure no file is there that was not, and none that
 * was is changed but for files that were complete by then. A process that is killed leaves folders at most, and files
 * of a package that are complete.
 */
dlx_status dlx_coreml_package(const char *folder, const dlx_part *part, const dlx_lowering *how,
                              const dlx_coreml_progress *progress, dlx_error *err);
/* Whether a package may be written there: nothing lies there, a package, or what a killed process left of one. A folder
 * is a package by its Manifest.json: not by the name alone, which others use as well. */
bool dlx_coreml_package_place(const char *folder);

#endif
