/*
 * `emit`: a Core ML model package of the decoder in place of a program.
 */
#ifndef DLX_EXPORT_PACKAGE_H
#define DLX_EXPORT_PACKAGE_H

#include "export/methods.h"

/* Whether the option asks for one. DLX_E_INVALID: a word that is not known, or a backend that writes none. */
dlx_status dlx_package_wanted(bool *wanted, const dlx_export_options *o, const dlx_backend *backend, dlx_error *err);
/* DLX_E_INVALID where something lies at `path` that is no model package: it would be lost, or files come between
 * others. */
dlx_status dlx_package_place_ok(const char *path, dlx_error *err);
/* Writes what the backend takes of the only method to o->output_path, with o->progress; *bytes in all.
 * DLX_E_UNSUPPORTED: that is more than one part. */
dlx_status dlx_package_write(uint64_t *bytes, const dlx_export_options *o, const dlx_methods *m,
                             const dlx_methods_target *to, dlx_error *err);

#endif
