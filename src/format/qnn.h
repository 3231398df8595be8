/*
 * Payloads and options of ExecuTorch's QNN delegate, for reading: what stands around the binary that Qualcomm's
 * libraries made. Facts: backends/qualcomm/runtime and serialization/qc_compiler_spec.fbs of ExecuTorch 1.4.1. Writing:
 * backends/qnn/payload.c.
 */
#ifndef DLX_FORMAT_QNN_H
#define DLX_FORMAT_QNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "format/pte.h"

/* The delegate's only option. */
#define DLX_QNN_OPTION "qnn_compile_spec"

typedef struct dlx_qnn_contents {
    bool compiled; /* for its chip, behind a header; false: a DLC, which the device compiles */
    uint64_t signature, binary_bytes;
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
