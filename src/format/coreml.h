/*
 * Payloads of ExecuTorch's CoreML delegate, for reading: a folder of files behind each other, whose tree is JSON with
 * its bytes in reverse at the end; in it a model package with an ML Program (protocol buffers) and weights. Facts:
 * backends/apple/coreml/runtime/inmemoryfs of ExecuTorch 1.4.1, mlmodel/format of coremltools. Writing:
 * backends/coreml/payload.c.
 */
#ifndef DLX_FORMAT_COREML_H
#define DLX_FORMAT_COREML_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "format/pte.h"

/* What keys of named data begin with under which delegates share files, as ExecuTorch's exporter writes them; the
 * identifier of the compiled model stands behind DLX_COREML_KEY. */
#define DLX_COREML_KEY        "coreml_"
#define DLX_COREML_IDENTIFIER "executorch_"

/* A kind of operator and how many there are. */
typedef struct dlx_counted_word {
    const char *word;
    uint64_t count;
} dlx_counted_word;

enum { DLX_COREML_MOST_KINDS = 256 };

typedef struct dlx_coreml_name {
    const char *text;
    struct dlx_coreml_name *next;
} dlx_coreml_name;

/* Linear layers of one form: products with constants. */
typedef struct dlx_coreml_linears {
    const char *op;  /* "linear", "conv", "matmul", ... */
    char kind[40];   /* activations-weights: "f16-qc8w", "f16-lut4w", "f32-f16w-sparse" */
    uint64_t group;  /* neighbours that share a scale or a table, 0: a row or all */
    uint64_t layers; /* large ones may be in pieces */
    uint64_t bytes;  /* of weights, scales, tables, by their shapes; of a weight that several read once */
    dlx_coreml_name *names, *last_name; /* of the weights, where the file has them: of some thousand at most */
} dlx_coreml_linears;

/* What is in a payload. All memory is the arena's. */
typedef struct dlx_coreml_contents {
    const char *identifier; /* of the compiled model on the device */
    const char *function;   /* of the program, which the delegate calls: "main" */
    uint32_t n_inputs, n_outputs;
    const char *key; /* of the named data that has the files, which other payloads may share; NULL: the payload has */
    bool compiled;   /* by Apple's compiler: of its model only sizes are read */
    uint64_t model_bytes, weight_bytes;
    uint32_t specification;            /* of the model: 9; 0: it is compiled */
    const dlx_counted_word *operators; /* [n_operators] of the function, without "const": parameters of others */
    uint32_t n_operators;
    bool has_linears;                  /* false: there are more values or forms than any model's */
    const dlx_coreml_linears *linears; /* [n_linears] of the function */
    uint32_t n_linears;
} dlx_coreml_contents;

/* Reads the tree, what it says of the model, and the model's program; of weights, their sizes. DLX_E_FORMAT: damaged;
 * DLX_E_LIMIT: larger than whatever is made of it. */
dlx_status dlx_coreml_read(dlx_coreml_contents *out, dlx_arena *arena, const dlx_pte *pte, const dlx_pte_blob *blob,
                           dlx_error *err);

/* The oldest system of phones that takes a model of this specification: "iOS18"; NULL: not known. */
const char *dlx_coreml_system(uint32_t specification);

/* The model itself, [n] bytes, into specification, operators and linears. `function` that is "": the model's default
 * one. */
dlx_status dlx_coreml_read_model(dlx_coreml_contents *out, dlx_arena *arena, const void *model, size_t n,
                                 dlx_error *err);

#endif
