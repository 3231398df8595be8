/*
 * The official ExecuTorch runtime as a runner of dlx_fixed_session: a C interface over its C++ classes Program and
 * Method (those that extension::Module wraps). Loads a .pte whose shapes never vary (diffulex-edge export --kv fixed,
 * fixed-fp16 or fixed-state), with whatever backends are linked in: XNNPACK, CoreML, QNN, ...
 *
 * Copy this header and dlx_executorch.cpp into your application; README.md says how they are built.
 */
#ifndef DLX_EXECUTORCH_H
#define DLX_EXECUTORCH_H

#include <diffulex_edge/diffulex_edge.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dlx_executorch dlx_executorch;

/*
 * Loads every method of the program at `path` (UTF-8) and opens an empty sequence over them. The file must stay as it
 * is until dlx_executorch_close: the runtime maps it. DLX_E_UNSUPPORTED where a backend or an operator is not linked
 * in; errors of the runtime name its function and what it said. Used by one thread at a time.
 */
dlx_status dlx_executorch_open(dlx_executorch **out, const char *path, dlx_error *err);
void dlx_executorch_close(dlx_executorch *model); /* NULL is fine */

/* For dlx_generate and dlx_complete: the facts, and with dlx_fixed_forward as forward function the session as ctx. Both
 * belong to the model. */
const dlx_model_facts *dlx_executorch_facts(const dlx_executorch *model);
dlx_fixed_session *dlx_executorch_session(dlx_executorch *model);

#ifdef __cplusplus
}
#endif
#endif
