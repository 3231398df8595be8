/*
 * Qualcomm's libraries, opened while a program is exported: the HTP backend with its compiler, a device of the chip
 * that is asked for, and graphs on their way through it. Nothing is linked against and nothing is shipped; users
 * install them. They are C++ with state of their own, so one export opens them once and frees in reverse order.
 */
#ifndef DLX_BACKENDS_QNN_LIBRARY_H
#define DLX_BACKENDS_QNN_LIBRARY_H

#include "backends/qnn/abi.h"
#include "backends/qnn/chips.h"
#include "base/status.h"
#include "base/text_buffer.h"

typedef struct dlx_qnn_library {
    void *loaded[3]; /* what dlopen gave: the unwinder, and the libraries in the order in which they are opened */
    const dlx_qnn_api *api;
    const char *build; /* "v2.47.0...", the library's own memory */
    dlx_qnn_handle log, backend, device;
    const dlx_qnn_chip *chip;
} dlx_qnn_library;

/*
 * Of `folder`; NULL: of $QNN_SDK_ROOT/lib/<target> or $QNN_SDK_ROOT, where that is set, else the Python package
 * onnxruntime-qnn of $VIRTUAL_ENV or beside a folder of $PATH. DLX_E_UNSUPPORTED, with what to install, where there is
 * none, one that is older than 2.47, or a file of it or of what it needs that is cut off or no file.
 */
dlx_status dlx_qnn_library_open(dlx_qnn_library *out, const char *folder, const dlx_qnn_chip *chip, dlx_error *err);
void dlx_qnn_library_close(dlx_qnn_library *l); /* fine on zeros */
/* Behind what is in t: "QNN v2.47.0 in /folder". */
void dlx_qnn_library_describe(const dlx_qnn_library *l, dlx_text_buffer *t);

/* "QNN cannot WHAT: its own message"; DLX_E_UNSUPPORTED. */
dlx_status dlx_qnn_fail(const dlx_qnn_library *l, dlx_qnn_error code, dlx_error *err, const char *what);

#endif
