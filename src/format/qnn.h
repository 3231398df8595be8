/*
 * Payloads and options of ExecuTorch's QNN delegate: what stands around the binary that Qualcomm's libraries made,
 * where in it what is, and reading it. Facts: backends/qualcomm/runtime and serialization/qc_compiler_spec.fbs of
 * ExecuTorch 1.4.1. Writing: backends/qnn/payload.c.
 */
#ifndef DLX_FORMAT_QNN_H
#define DLX_FORMAT_QNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "format/pte.h"

/* The delegate's only option: a FlatBuffer. */
#define DLX_QNN_OPTION "qnn_compile_spec"

/* In front of a context binary: the magic, then its signature and its size, of 8 bytes each; zeros fill it up. */
#define DLX_QNN_MAGIC 0x5678ABCDu
enum { DLX_QNN_HEADER = 256, DLX_QNN_SIGNATURE_AT = 4, DLX_QNN_SIZE_AT = 12, DLX_QNN_HEADER_USED = 20 };

/* Slots of the option's tables, and values of its enums. */
enum {
    DLX_QNN_OPTIONS_CHIP,
    DLX_QNN_OPTIONS_BACKEND,
    DLX_QNN_OPTIONS_LIBRARY,
    DLX_QNN_OPTIONS_LOG,
    DLX_QNN_OPTIONS_SAVER_FOLDER = 10,
    DLX_QNN_OPTIONS_PACKAGES
};
enum { DLX_QNN_CHIP_ID, DLX_QNN_CHIP_HTP };
enum { DLX_QNN_HTP_ARCH, DLX_QNN_HTP_VTCM };
enum { DLX_QNN_BACKEND_TYPE, DLX_QNN_BACKEND_HTP_OPTIONS };
enum {
    DLX_QNN_HTP_PERFORMANCE_MODE = 1,
    DLX_QNN_HTP_PRECISION_MODE,
    DLX_QNN_HTP_CONV_HMX = 4,
    DLX_QNN_HTP_FOLD_RELU = 6
};
enum { DLX_QNN_LOG_ERRORS = 1, DLX_QNN_TYPE_HTP = 2, DLX_QNN_PERFORMANCE_BURST = 2, DLX_QNN_PRECISION_OF_F16 = 1 };

enum { DLX_QNN_VERSION_BYTES = 64 };

typedef struct dlx_qnn_contents {
    bool compiled; /* for its chip, behind a header; false: a DLC, which the device compiles */
    uint64_t signature, binary_bytes;
    /* Of Qualcomm's libraries that compiled it, "v2.47.0.260601114230": the first text of that form near the beginning
     * of the binary, whose layout is not published. "": there is none. */
    char version[DLX_QNN_VERSION_BYTES];
} dlx_qnn_contents;

/* DLX_E_FORMAT: neither. */
dlx_status dlx_qnn_read(dlx_qnn_contents *out, const dlx_pte_blob *blob, dlx_error *err);

typedef struct dlx_qnn_target {
    uint32_t chip; /* Qualcomm's number of it */
    uint32_t arch; /* generation of the HTP: 75; 0: not said */
    uint32_t vtcm_mib;
    bool f16; /* computes in float16 where tensors are floats */
} dlx_qnn_target;

/* Of the option's value. DLX_E_FORMAT: it is damaged. */
dlx_status dlx_qnn_read_target(dlx_qnn_target *out, const void *value, size_t n, dlx_error *err);

#endif
