/*
 * Options of an export that only some backends know: refused with the others, and made into what each takes.
 */
#ifndef DLX_EXPORT_BACKEND_OPTIONS_H
#define DLX_EXPORT_BACKEND_OPTIONS_H

#include "diffulex_edge/export.h"

#include "base/arena.h"

/* DLX_E_INVALID: an option was given that backend `name` does not know; the sentence says whose it is. */
dlx_status dlx_backend_options_check(const char *name, const dlx_export_options *o, dlx_error *err);

/* dlx_backend.options: dlx_coreml_options. DLX_E_INVALID for words that it does not know, with those that it does. */
dlx_status dlx_export_coreml_options(const void **out, dlx_arena *arena, const dlx_export_options *o, dlx_error *err);

#endif
