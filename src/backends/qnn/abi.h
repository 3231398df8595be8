/*
 * The part of Qualcomm's AI Engine Direct ("QNN") C interface that the exporter calls, declared by us for machines with
 * 64-bit pointers. Sources of the numbers, all public: the interface's reference (docs.qualcomm.com, 80-63442-50,
 * "API": QnnInterface, QnnTypes, QnnGraph, QnnContext, QnnDevice, HTP), the calls that ExecuTorch's delegate makes
 * (BSD, backends/qualcomm/runtime and aot/wrappers), the order of the function table as a C# binding lists it
 * (budcribar/QualcommNPU), and what the libraries themselves accept: tests/unit/test_qnn.c builds, runs and reads back
 * graphs through these declarations, so that a layout that changes fails there.
 */
#ifndef DLX_BACKENDS_QNN_ABI_H
#define DLX_BACKENDS_QNN_ABI_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

typedef void *dlx_qnn_handle;
typedef uint64_t dlx_qnn_error; /* 0: success */

/* ---- tensors ---- */

typedef enum dlx_qnn_role {
    DLX_QNN_APP_WRITE = 0,
    DLX_QNN_APP_READ = 1,
    DLX_QNN_NATIVE = 3, /* between nodes */
    DLX_QNN_STATIC = 4, /* constant */
} dlx_qnn_role;

typedef enum dlx_qnn_dtype {
    DLX_QNN_I32 = 0x32,
    DLX_QNN_U32 = 0x132,
    DLX_QNN_F16 = 0x216,
    DLX_QNN_F32 = 0x232,
    DLX_QNN_SFIX8 = 0x308,
    DLX_QNN_SFIX32 = 0x332,
    DLX_QNN_UFIX8 = 0x408,
    DLX_QNN_UFIX16 = 0x416,
    DLX_QNN_BOOL = 0x508,
} dlx_qnn_dtype;

typedef enum dlx_qnn_encoding {
    DLX_QNN_SCALE_OFFSET = 0,
    DLX_QNN_AXIS_SCALE_OFFSET = 1,
    DLX_QNN_BW_AXIS_SCALE_OFFSET = 3, /* fewer bits than the type has */
    DLX_QNN_BLOCKWISE_EXPANSION = 5,
    DLX_QNN_NO_ENCODING = 0x7FFFFFFF,
} dlx_qnn_encoding;

enum { DLX_QNN_DEFINED = 1, DLX_QNN_UNDEFINED = 0x7FFFFFFF };

/* A number is (code + offset) * scale. */
typedef struct dlx_qnn_scale {
    float scale;
    int32_t offset;
} dlx_qnn_scale;

/* A number is code * block scale * channel scale; the block scales of a channel follow each other. */
typedef struct dlx_qnn_blocks {
    int32_t axis;
    const dlx_qnn_scale *scales; /* one for each channel */
    uint32_t blocks;             /* of a channel */
    uint32_t scale_bits;         /* block scales are 1 .. 2^bits */
    uint32_t storage;            /* 0: bytes */
    const uint8_t *block_scales;
} dlx_qnn_blocks;

typedef struct dlx_qnn_quant {
    uint32_t definition;
    uint32_t encoding;
    union {
        dlx_qnn_scale scale;
        struct {
            int32_t axis;
            uint32_t n;
            const dlx_qnn_scale *scales;
        } by_axis;
        struct {
            uint32_t bits;
            int32_t axis;
            uint32_t n;
            const float *scales;
            const int32_t *offsets; /* NULL: zeros */
        } narrow;
        const dlx_qnn_blocks *blocks;
    } u;
} dlx_qnn_quant;

typedef struct dlx_qnn_tensor {
    uint32_t version; /* 2 */
    uint32_t before;  /* the versions are a union, aligned like a pointer */
    uint32_t id;      /* given by the library */
    const char *name;
    uint32_t role;
    uint32_t format; /* 0: dense */
    uint32_t dtype;
    dlx_qnn_quant quant;
    uint32_t rank;
    uint32_t *dim;
    uint32_t memory; /* 0: data */
    struct {
        void *data;
        uint32_t bytes;
    } buffer;
    const uint8_t *dynamic; /* NULL: no dimension is */
    uint32_t sparse[3];
    uint8_t produced;
} dlx_qnn_tensor;

/* ---- operators ---- */

typedef struct dlx_qnn_param {
    uint32_t kind; /* 0 scalar, 1 tensor */
    const char *name;
    union {
        struct {
            uint32_t dtype;
            union {
                float f32;
                uint32_t u32;
                int32_t i32;
                uint8_t truth;
                uint64_t bits;
            } value;
        } scalar;
        dlx_qnn_tensor tensor;
    } u;
} dlx_qnn_param;

typedef struct dlx_qnn_op {
    uint32_t version; /* 1 */
    const char *name;
    const char *package; /* "qti.aisw" */
    const char *type;
    uint32_t n_params;
    dlx_qnn_param *params;
    uint32_t n_inputs;
    dlx_qnn_tensor *inputs;
    uint32_t n_outputs;
    dlx_qnn_tensor *outputs;
} dlx_qnn_op;

/* ---- configurations: arrays of pointers that end with NULL ---- */

typedef struct dlx_qnn_config {
    uint32_t option; /* 0: custom */
    const void *custom;
} dlx_qnn_config;

/* Of the HTP backend, for devices (option 0: the chip) and graphs. */
typedef struct dlx_qnn_htp_config {
    uint32_t option;
    union {
        uint32_t number;
        struct {
            uint32_t type;
            float value;
        } optimization;
        uint64_t bits;
    } u;
} dlx_qnn_htp_config;

enum { DLX_QNN_HTP_CHIP = 0 };
enum {
    DLX_QNN_HTP_OPTIMIZATION = 1,
    DLX_QNN_HTP_PRECISION = 2,
    DLX_QNN_HTP_VTCM_MIB = 3,
};
enum { DLX_QNN_HTP_FINALIZE_LEVEL = 1, DLX_QNN_HTP_PRECISION_F16 = 1 };

/* ---- functions ---- */

typedef struct dlx_qnn_version {
    uint32_t major, minor, patch;
} dlx_qnn_version;

typedef void (*dlx_qnn_log_fn)(const char *format, uint32_t level, uint64_t time, va_list arguments);
typedef void (*dlx_qnn_unused_fn)(void);

/* Slots that are not called have no type. */
typedef struct dlx_qnn_api {
    dlx_qnn_unused_fn has_capability;
    dlx_qnn_error (*backend_create)(dlx_qnn_handle log, const dlx_qnn_config **config, dlx_qnn_handle *backend);
    dlx_qnn_unused_fn backend_set_config, get_api_version;
    dlx_qnn_error (*get_build_id)(const char **id);
    dlx_qnn_unused_fn register_op_package, supported_operations;
    dlx_qnn_error (*validate_op)(dlx_qnn_handle backend, dlx_qnn_op op);
    dlx_qnn_error (*backend_free)(dlx_qnn_handle backend);
    dlx_qnn_error (*context_create)(dlx_qnn_handle backend, dlx_qnn_handle device, const dlx_qnn_config **config,
                                    dlx_qnn_handle *context);
    dlx_qnn_unused_fn context_set_config;
    dlx_qnn_error (*context_binary_size)(dlx_qnn_handle context, uint64_t *size);
    dlx_qnn_error (*context_binary)(dlx_qnn_handle context, void *out, uint64_t size, uint64_t *written);
    dlx_qnn_error (*context_from_binary)(dlx_qnn_handle backend, dlx_qnn_handle device, const dlx_qnn_config **config,
                                         const void *binary, uint64_t size, dlx_qnn_handle *context,
                                         dlx_qnn_handle profile);
    dlx_qnn_error (*context_free)(dlx_qnn_handle context, dlx_qnn_handle profile);
    dlx_qnn_error (*graph_create)(dlx_qnn_handle context, const char *name, const dlx_qnn_config **config,
                                  dlx_qnn_handle *graph);
    dlx_qnn_unused_fn graph_create_subgraph, graph_set_config;
    dlx_qnn_error (*graph_add_node)(dlx_qnn_handle graph, dlx_qnn_op op);
    dlx_qnn_error (*graph_finalize)(dlx_qnn_handle graph, dlx_qnn_handle profile, dlx_qnn_handle signal);
    dlx_qnn_error (*graph_retrieve)(dlx_qnn_handle context, const char *name, dlx_qnn_handle *graph);
    dlx_qnn_error (*graph_execute)(dlx_qnn_handle graph, const dlx_qnn_tensor *inputs, uint32_t n_inputs,
                                   dlx_qnn_tensor *outputs, uint32_t n_outputs, dlx_qnn_handle profile,
                                   dlx_qnn_handle signal);
    dlx_qnn_unused_fn graph_execute_async, create_context_tensor;
    dlx_qnn_error (*create_graph_tensor)(dlx_qnn_handle graph, dlx_qnn_tensor *tensor);
    dlx_qnn_error (*log_create)(dlx_qnn_log_fn log, uint32_t level, dlx_qnn_handle *out);
    dlx_qnn_unused_fn log_set_level;
    dlx_qnn_error (*log_free)(dlx_qnn_handle log);
    dlx_qnn_unused_fn profile[7], memory[2], device_info[3];
    dlx_qnn_error (*device_create)(dlx_qnn_handle log, const dlx_qnn_config **config, dlx_qnn_handle *device);
    dlx_qnn_unused_fn device_set_config, device_get_info;
    dlx_qnn_error (*device_free)(dlx_qnn_handle device);
    dlx_qnn_unused_fn signal[4];
    dlx_qnn_error (*error_message)(dlx_qnn_error error, const char **message);
} dlx_qnn_api;

typedef struct dlx_qnn_provider {
    uint32_t backend; /* 6: HTP */
    const char *name;
    dlx_qnn_version core, own;
    dlx_qnn_api api;
} dlx_qnn_provider;

enum { DLX_QNN_BACKEND_HTP = 6 };

/* What each library exports as "QnnInterface_getProviders". */
typedef dlx_qnn_error (*dlx_qnn_get_providers_fn)(const dlx_qnn_provider *const **providers, uint32_t *n);

_Static_assert(sizeof(void *) != 8 || sizeof(dlx_qnn_quant) == 40, "quantisation");
_Static_assert(sizeof(void *) != 8 || sizeof(dlx_qnn_tensor) == 144, "tensor");
_Static_assert(sizeof(void *) != 8 || offsetof(dlx_qnn_tensor, quant) == 40, "tensor");
_Static_assert(sizeof(void *) != 8 || offsetof(dlx_qnn_tensor, buffer) == 104, "tensor");
_Static_assert(sizeof(void *) != 8 || sizeof(dlx_qnn_param) == 160, "parameter");
_Static_assert(sizeof(void *) != 8 || sizeof(dlx_qnn_op) == 80, "operator");
_Static_assert(sizeof(void *) != 8 || sizeof(dlx_qnn_htp_config) == 16, "configuration");
_Static_assert(sizeof(void *) != 8 || offsetof(dlx_qnn_provider, api) == 40, "function table");
_Static_assert(sizeof(void *) != 8 || offsetof(dlx_qnn_api, device_create) == 40 * 8, "function table");
_Static_assert(sizeof(void *) != 8 || offsetof(dlx_qnn_api, error_message) == 48 * 8, "function table");

#endif
