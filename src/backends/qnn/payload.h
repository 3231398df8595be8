/* Bytes around a context binary: the header and the options that the official runtime's QNN delegate reads. */
#ifndef DLX_BACKENDS_QNN_PAYLOAD_H
#define DLX_BACKENDS_QNN_PAYLOAD_H

#include "backends/qnn/chips.h"
#include "base/arena.h"
#include "format/qnn.h"

/* [DLX_QNN_HEADER] The runtime keeps delegates by their signature: it is a digest of the binary. */
void dlx_qnn_header(uint8_t *out, const void *binary, uint64_t size);

/* The delegate's only option, DLX_QNN_OPTION: a FlatBuffer of ExecuTorch's qc_compiler_spec.fbs. */
dlx_status dlx_qnn_spec(dlx_pte_spec *out, dlx_arena *arena, const dlx_qnn_chip *chip, bool f16, dlx_error *err);

#endif
