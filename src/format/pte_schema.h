/*
 * What the reader and the writer of .pte files share: slot numbers of schema/program.fbs (ExecuTorch 1.4.1), the
 * extended header, and the rules that a program must keep.
 */
#ifndef DLX_FORMAT_PTE_SCHEMA_H
#define DLX_FORMAT_PTE_SCHEMA_H

#include "format/pte.h"

#define DLX_PTE_IDENTIFIER     "ET12"
#define DLX_PTE_EXTENDED_MAGIC "eh00"

/* Bytes of the file's beginning. Every loader reads 64 bytes first, so no file is smaller. */
enum {
    PTE_HEADER_AT = 8,
    PTE_PROGRAM_SIZE_AT = 16,
    PTE_SEGMENT_BASE_AT = 24,
    PTE_SEGMENT_DATA_SIZE_AT = 32,
    PTE_HEADER_LENGTH = 32,
    PTE_HEADER_MIN_LENGTH = 24,
    PTE_MIN_FILE = 64,
};
enum { PTE_SEGMENT_ALIGN = 128, PTE_CONSTANT_ALIGN = 16 };

enum {
    PROGRAM_VERSION,
    PROGRAM_PLANS,
    PROGRAM_CONSTANT_BUFFER,
    PROGRAM_DELEGATE_DATA,
    PROGRAM_SEGMENTS,
    PROGRAM_CONSTANT_SEGMENT,
    PROGRAM_MUTABLE_DATA,
    PROGRAM_NAMED_DATA
};
enum {
    PLAN_NAME,
    PLAN_CONTAINER,
    PLAN_VALUES,
    PLAN_INPUTS,
    PLAN_OUTPUTS,
    PLAN_CHAINS,
    PLAN_OPERATORS,
    PLAN_DELEGATES,
    PLAN_BUFFER_SIZES,
    PLAN_BUFFER_DEVICES
};
enum { CONTAINER_IN, CONTAINER_OUT };
enum { EVALUE_TYPE, EVALUE_VALUE };
enum { SCALAR_VALUE }; /* Int, Bool, Double, String */
enum { LIST_ITEMS };   /* the five lists */
enum {
    TENSOR_SCALAR_TYPE,
    TENSOR_STORAGE_OFFSET,
    TENSOR_SIZES,
    TENSOR_DIM_ORDER,
    TENSOR_REQUIRES_GRAD,
    TENSOR_DATA,
    TENSOR_ALLOCATION,
    TENSOR_LAYOUT,
    TENSOR_DYNAMISM,
    TENSOR_EXTRA
};
enum { ALLOCATION_ID, ALLOCATION_LOW, ALLOCATION_HIGH };
enum { EXTRA_MUTABLE_DATA, EXTRA_NAME, EXTRA_LOCATION, EXTRA_DEVICE_TYPE, EXTRA_DEVICE_INDEX };
enum { OPERATOR_NAME, OPERATOR_OVERLOAD };
enum { CHAIN_INPUTS, CHAIN_OUTPUTS, CHAIN_INSTRUCTIONS };
enum { INSTRUCTION_TYPE, INSTRUCTION_ARGS };
enum { CALL_INDEX, CALL_ARGS }; /* KernelCall, DelegateCall */
enum { MOVE_FROM, MOVE_TO };
enum { JUMP_CONDITION, JUMP_TARGET };
enum { FREE_VALUE };
enum { DELEGATE_ID, DELEGATE_PROCESSED, DELEGATE_SPECS };
enum { SPEC_KEY, SPEC_VALUE }; /* CompileSpec */
enum { REFERENCE_LOCATION, REFERENCE_INDEX };
enum { BUFFER_BYTES }; /* Buffer, BackendDelegateInlineData */
enum { SEGMENT_OFFSET, SEGMENT_SIZE };
enum { SUBSEGMENT_INDEX, SUBSEGMENT_OFFSETS };
enum { NAMED_KEY, NAMED_SEGMENT };
enum { NON_CONST_DEVICE_BUFFER, NON_CONST_DEVICE_TYPE };

enum { PTE_INLINE = 0, PTE_SEGMENT = 1 };                     /* DataLocation */
enum { PTE_LOCATION_SEGMENT = 0, PTE_LOCATION_EXTERNAL = 1 }; /* TensorDataLocation */
enum { PTE_STATIC = 0, PTE_DYNAMIC_BOUND = 1, PTE_DYNAMIC_UNBOUND = 2 };

/* elements * element size at the upper bounds; false for an unknown type, a negative size, or more than INT64_MAX. */
bool dlx_pte_tensor_bytes(const dlx_pte_tensor *t, uint64_t *bytes);

/* Every rule that holds between the parts of a program: indices, kinds, arenas, sizes of constants. The reader calls it
 * on what it parsed, the writer on what it is given. `name` is for messages. */
dlx_status dlx_pte_verify(const dlx_pte *pte, const char *name, dlx_error *err);

/* Sorts the named blobs by key (in `arena`) and refuses a key that stands twice. */
dlx_status dlx_pte_index_named(dlx_pte *pte, dlx_arena *arena, const char *name, dlx_error *err);

#endif
