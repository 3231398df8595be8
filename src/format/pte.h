/*
 * ExecuTorch programs (.pte, identifier "ET12", written by 1.4.1): one structure for reading and for writing.
 *
 * Reading: dlx_pte_open takes the program part of a file into memory and verifies every offset, size, count and index
 * once; whoever reads the structure afterwards may trust it. Blobs stay in the file until somebody reads them. Writing:
 * fill the same structure, give blobs their sizes, and dlx_pte_write lays out the file and streams the bytes of each
 * blob through a callback, so that memory stays near the largest blob. Facts: schema/program.fbs and runtime/executor
 * of ExecuTorch 1.4.1.
 */
#ifndef DLX_FORMAT_PTE_H
#define DLX_FORMAT_PTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/dtype.h"
#include "base/io.h"
#include "base/status.h"

enum { DLX_PTE_MAX_RANK = 16, DLX_PTE_NO_BLOB = -1 };

/* ExecuTorch's ScalarType numbers. */
typedef enum dlx_scalar_type {
    DLX_ST_BYTE = 0,
    DLX_ST_CHAR = 1,
    DLX_ST_SHORT = 2,
    DLX_ST_INT = 3,
    DLX_ST_LONG = 4,
    DLX_ST_HALF = 5,
    DLX_ST_FLOAT = 6,
    DLX_ST_DOUBLE = 7,
    DLX_ST_BOOL = 11,
    DLX_ST_BFLOAT16 = 15,
} dlx_scalar_type;

/* Bytes of one element, 0 for a number that is not listed above. */
size_t dlx_scalar_type_size(int scalar_type);
/* False when our graphs have no such type (short, double). */
bool dlx_scalar_type_to_dtype(int scalar_type, dlx_dtype *out);
int dlx_scalar_type_from_dtype(dlx_dtype t); /* -1 for QD8 */

/* KernelTypes of the schema; the numbers are the union's. */
typedef enum dlx_evalue_kind {
    DLX_EV_NONE = 0, /* empty slot (kept so that indices stay) */
    DLX_EV_NULL = 1,
    DLX_EV_INT = 2,
    DLX_EV_BOOL = 3,
    DLX_EV_DOUBLE = 4,
    DLX_EV_TENSOR = 5,
    DLX_EV_STRING = 6,
    DLX_EV_INT_LIST = 7, /* items are EValue indices of Int values */
    DLX_EV_DOUBLE_LIST = 8,
    DLX_EV_BOOL_LIST = 9,
    DLX_EV_TENSOR_LIST = 10,         /* EValue indices */
    DLX_EV_OPTIONAL_TENSOR_LIST = 11 /* EValue indices, -1: none */
} dlx_evalue_kind;

typedef struct dlx_pte_tensor {
    int scalar_type;
    uint8_t rank;
    int32_t sizes[DLX_PTE_MAX_RANK]; /* upper bounds when dynamic */
    bool dynamic;                    /* DYNAMIC_BOUND */
    int32_t blob;                    /* constant, or (planned) initial value; DLX_PTE_NO_BLOB: none */
    uint32_t memory_id;              /* 0: not planned (pointer comes at run time), else arena 1.. */
    uint64_t memory_offset;
    uint64_t bytes;   /* elements * element size at the upper bounds */
    const char *name; /* fully qualified name or NULL */
} dlx_pte_tensor;

typedef struct dlx_evalue {
    dlx_evalue_kind kind;
    union {
        int64_t i;
        bool b;
        double d;
        struct {
            const char *text;
            uint32_t length;
        } s;
        dlx_pte_tensor tensor;
        struct {
            uint32_t count;
            const int64_t *ints;   /* INT_LIST, TENSOR_LIST, OPTIONAL_TENSOR_LIST: indices; BOOL_LIST: 0/1 */
            const double *doubles; /* DOUBLE_LIST */
        } list;
    } u;
} dlx_evalue;

typedef enum dlx_instruction_kind {
    DLX_INS_KERNEL = 1,
    DLX_INS_DELEGATE = 2,
    DLX_INS_MOVE = 3,
    DLX_INS_JUMP_FALSE = 4,
    DLX_INS_FREE = 5
} dlx_instruction_kind;

typedef struct dlx_instruction {
    dlx_instruction_kind kind;
    int32_t index;  /* operator, delegate; MOVE: from; JUMP_FALSE: condition value; FREE: value */
    int32_t target; /* MOVE: to; JUMP_FALSE: destination instruction */
    uint32_t n_args;
    const int32_t *args; /* EValue indices */
} dlx_instruction;

typedef struct dlx_pte_operator {
    const char *name, *overload; /* "aten::embedding", "out" */
} dlx_pte_operator;

/* An option of a delegate, for its runtime. */
typedef struct dlx_pte_spec {
    const char *key;
    const void *value; /* [size] */
    uint32_t size;
} dlx_pte_spec;

typedef struct dlx_pte_delegate {
    const char *id; /* "XnnpackBackend" */
    int32_t blob;
    const dlx_pte_spec *specs; /* [n_specs] */
    uint32_t n_specs;
} dlx_pte_delegate;

typedef struct dlx_pte_plan {
    const char *name;
    dlx_evalue *values;
    uint32_t n_values;
    const int32_t *inputs, *outputs; /* EValue indices */
    uint32_t n_inputs, n_outputs;
    const dlx_pte_operator *operators;
    uint32_t n_operators;
    const dlx_pte_delegate *delegates;
    uint32_t n_delegates;
    const dlx_instruction *instructions; /* of the single chain; several chains are DLX_E_UNSUPPORTED */
    uint32_t n_instructions;
    const int64_t *buffer_sizes; /* non_const_buffer_sizes; [0] is reserved */
    uint32_t n_buffer_sizes;
} dlx_pte_plan;

typedef enum dlx_blob_kind {
    DLX_BLOB_CONSTANT, /* tensor in the constant segment */
    DLX_BLOB_INITIAL,  /* what a mutable tensor holds at first; of files that were read, they are not written */
    DLX_BLOB_DELEGATE, /* delegate payload, a segment of its own (read: or inline in the program) */
    DLX_BLOB_NAMED,    /* named data, a segment of its own */
} dlx_blob_kind;

/* Bytes that stand behind each other in a blob: `data`, or NULL to have them streamed for `user`. */
typedef struct dlx_pte_piece {
    const void *data;
    const void *user;
    uint64_t size;
} dlx_pte_piece;

typedef struct dlx_pte_blob {
    dlx_blob_kind kind;
    const char *key; /* NAMED only */
    uint64_t size;
    const void *data; /* read: the bytes, or NULL when they are still in `file`. write: or NULL to have them streamed */
    const dlx_file *file;        /* read: where the bytes are, at `offset` */
    const void *user;            /* write: for the stream callback */
    const dlx_pte_piece *pieces; /* write: [n_pieces] in place of data and user, `size` bytes together; or NULL */
    uint32_t n_pieces;
    int32_t alias_of; /* write, NAMED only: index of a CONSTANT blob whose bytes this key shares, else -1 */
    uint64_t offset;  /* absolute offset in the file (read: filled in; write: filled in by dlx_pte_write) */
} dlx_pte_blob;

typedef struct dlx_pte {
    const dlx_pte_plan *plans;
    uint32_t n_plans;
    dlx_pte_blob *blobs;
    uint32_t n_blobs;
    const dlx_pte_blob *const *named; /* read: the named blobs, sorted by key */
    uint32_t n_named;
    uint64_t program_size; /* bytes of the flatbuffer part */
    uint64_t file_size;
} dlx_pte;

/* The program part and all arrays live in `arena`; the file must stay open as long as blobs are read. External weights
 * (.ptd) are DLX_E_UNSUPPORTED. */
dlx_status dlx_pte_open(dlx_pte *out, dlx_arena *arena, const dlx_file *file, dlx_error *err);
/* The same for a file's bytes in memory, which `out` has views into. `name` is for messages. */
dlx_status dlx_pte_read(dlx_pte *out, dlx_arena *arena, const void *data, uint64_t size, const char *name,
                        dlx_error *err);

const dlx_pte_plan *dlx_pte_find_plan(const dlx_pte *pte, const char *name); /* NULL: none */
const dlx_pte_blob *dlx_pte_find_named(const dlx_pte *pte, const char *key); /* NULL: none. Of a file that was read */
/* Values of a constant method (a plan without inputs and instructions): the i-th output, NULL when there is none. */
const dlx_evalue *dlx_pte_constant(const dlx_pte *pte, const char *name, uint32_t i);
/* Int / Bool (as 0, 1) output 0 of a constant method, or dflt. */
int64_t dlx_pte_constant_int(const dlx_pte *pte, const char *name, int64_t dflt);

/* Writes exactly `size` bytes for the `user` of a blob or piece whose data is NULL. */
typedef dlx_status (*dlx_pte_stream_fn)(void *ctx, const void *user, uint64_t size, dlx_output *out, dlx_error *err);

/* Lays out and writes the file (identifier ET12, extended header, segments aligned to 128, constants to 16, version 0,
 * as ExecuTorch's own exporter). Blobs are written in the order of the array; constants must come first. The caller
 * commits the output. Every rule that dlx_pte_read checks must hold. */
dlx_status dlx_pte_write(dlx_pte *pte, dlx_output *out, dlx_pte_stream_fn stream, void *ctx, dlx_error *err);
/* Behind dlx_pte_write of `written`: the program part again, and the blobs that have their data, now those of `pte`. It
 * must have the same layout: other keys, say, of the same length. */
dlx_status dlx_pte_rewrite(dlx_pte *pte, const dlx_pte *written, dlx_output *out, dlx_error *err);

#endif
