/*
 * What a model package consists of besides the model and its weights, and how ExecuTorch's CoreMLBackend keeps a
 * package in a payload: files behind each other, and behind them their names and places as JSON that reads backwards.
 */
#ifndef DLX_BACKENDS_COREML_PACKAGE_H
#define DLX_BACKENDS_COREML_PACKAGE_H

#include "backends/coreml/emitter.h"

extern const char *const dlx_coreml_manifest;

/* The payload: pieces in the arena. `identifier`: what the device keeps the compiled model under. */
dlx_status dlx_coreml_payload(dlx_pte_piece **pieces, uint32_t *n_pieces, dlx_arena *arena, const dlx_part *part,
                              const dlx_coreml_program *program, const char *identifier, dlx_error *err);
/* A payload that says which function of a program is called, and under which key the file has that; from ExecuTorch 1.2
 * on, and iOS18. */
dlx_status dlx_coreml_reference(dlx_pte_piece *out, dlx_arena *arena, const dlx_part *part, const char *key,
                                const char *function, dlx_error *err);

#endif
