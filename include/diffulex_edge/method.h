/*
 * Any method of any program: tensors in, tensors out. For programs that PyTorch users export with ExecuTorch's exporter
 * and that are no decoders with explicit caches (those run as a dlx_model). What the exporter writes for buffers that a
 * module changes is kept between calls: a method has its own state, zeros or the file's values at first.
 *
 * A handle is used by one thread at a time.
 */
#ifndef DIFFULEX_EDGE_METHOD_H
#define DIFFULEX_EDGE_METHOD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "diffulex_edge/allocator.h"
#include "diffulex_edge/status.h"
#include "diffulex_edge/threads.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dlx_method dlx_method;

/* Element types; the numbers are ExecuTorch's ScalarType. */
typedef enum dlx_element {
    DLX_ELEMENT_UINT8 = 0,
    DLX_ELEMENT_INT8 = 1,
    DLX_ELEMENT_INT32 = 3,
    DLX_ELEMENT_INT64 = 4,
    DLX_ELEMENT_FLOAT16 = 5,
    DLX_ELEMENT_FLOAT32 = 6,
    DLX_ELEMENT_BOOL = 11, /* a byte, 0 or 1 */
    DLX_ELEMENT_BFLOAT16 = 15,
} dlx_element;

/* "float32", "int64", ...; "?" outside the list. Static storage. */
DLX_API const char *dlx_element_name(int32_t element);
/* Bytes of one element; 0 outside the list. */
DLX_API size_t dlx_element_size(int32_t element);

enum { DLX_TENSOR_MAX_RANK = 6 };

typedef struct dlx_method_options {
    size_t struct_size;             /* sizeof(dlx_method_options) */
    int32_t threads;                /* 0: one per available core. Results do not depend on it */
    const char *cpu;                /* kernel set, as in dlx_model_options */
    const dlx_allocator *allocator; /* NULL: the C library. Of what the handle keeps */
    dlx_thread_pool *pool;          /* threads that it shares with others; then leave `threads` 0. NULL: its own */
} dlx_method_options;

static inline dlx_method_options dlx_method_options_default(void)
{
    dlx_method_options o;
    memset(&o, 0, sizeof o);
    o.struct_size = sizeof o;
    return o;
}

/* What a method takes or gives at one place. */
typedef struct dlx_tensor_info {
    size_t struct_size; /* sizeof(dlx_tensor_info), set by the caller */
    const char *name;   /* as the file says; NULL: it does not. Owned by the handle */
    int32_t element;    /* dlx_element */
    int32_t rank;
    int64_t size[DLX_TENSOR_MAX_RANK]; /* exact, or the largest where the dimension varies */
    uint64_t dynamic;                  /* bit d: dimension d may be smaller */
} dlx_tensor_info;

/* A tensor: row-major, contiguous, at an address that is a multiple of its element size. */
typedef struct dlx_tensor {
    size_t struct_size; /* sizeof(dlx_tensor), set by the caller */
    int32_t element;    /* dlx_element */
    int32_t rank;
    int64_t size[DLX_TENSOR_MAX_RANK];
    void *data; /* not written through where it is an input */
} dlx_tensor;

/*
 * Opens method `name` (NULL: "forward") of the .pte at `path` (UTF-8). `options` may be NULL. An operator or type that
 * this runtime does not have is DLX_E_UNSUPPORTED and named. Free with dlx_method_close.
 */
DLX_API dlx_status dlx_method_open(dlx_method **out, const char *path, const char *name,
                                   const dlx_method_options *options, dlx_error *err);
/* The same from a descriptor and from bytes [n], which are needed during the call only, as for dlx_model_open_fd. */
DLX_API dlx_status dlx_method_open_fd(dlx_method **out, int fd, const char *name, const dlx_method_options *options,
                                      dlx_error *err);
DLX_API dlx_status dlx_method_open_memory(dlx_method **out, const void *bytes, size_t n, const char *name,
                                          const dlx_method_options *options, dlx_error *err);
DLX_API void dlx_method_close(dlx_method *method); /* NULL is fine */

DLX_API size_t dlx_method_num_inputs(const dlx_method *method);
DLX_API size_t dlx_method_num_outputs(const dlx_method *method);
/* Bytes that the method keeps between calls; 0: every call stands alone. */
DLX_API uint64_t dlx_method_state_bytes(const dlx_method *method);
/* Fills *out; DLX_E_INVALID: there is no such input or output. */
DLX_API dlx_status dlx_method_input_info(const dlx_method *method, size_t i, dlx_tensor_info *out, dlx_error *err);
DLX_API dlx_status dlx_method_output_info(const dlx_method *method, size_t i, dlx_tensor_info *out, dlx_error *err);

/*
 * Runs the method once on inputs [n], n as many as it takes. Element type and rank must be those of the input, sizes
 * exact or within bounds; data stays the caller's. Another type, rank or number and a negative size are DLX_E_INVALID,
 * a size that is too large DLX_E_LIMIT, numbers that do not go together (an index outside its table, shapes that do not
 * fit) DLX_E_INVALID or DLX_E_LIMIT. A call that fails may have changed a part of the state: reset it. Allocates
 * nothing.
 */
DLX_API dlx_status dlx_method_run(dlx_method *method, const dlx_tensor *inputs, size_t n, dlx_error *err);
/* Output i of the last call, which must have succeeded (else DLX_E_INVALID). out->data belongs to the handle and stays
 * until the next call, reset or close; an output that is an input unchanged points at the caller's data. */
DLX_API dlx_status dlx_method_output(const dlx_method *method, size_t i, dlx_tensor *out, dlx_error *err);
/* The state becomes what it was after opening; the last call's outputs are gone. */
DLX_API void dlx_method_reset(dlx_method *method);

/* Writes tensors [n] to a safetensors file, tensor i as names[i]; names must differ. As every output, the file appears
 * at `path` when it is complete (model.h). */
DLX_API dlx_status dlx_write_tensors(const char *path, const char *const *names, const dlx_tensor *tensors, size_t n,
                                     dlx_error *err);

#ifdef __cplusplus
}
#endif
#endif
