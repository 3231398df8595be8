/*
 * Public structures that grow: each begins with struct_size, which says how much of it its writer knew.
 *
 * In: the bytes that the caller has replace those of the defaults; a caller from the future, with more bytes than this
 * library knows, is taken as long as what it adds is zero (a feature that it does not use). Out: no more is written
 * than the caller has room for, and struct_size stays the caller's.
 */
#ifndef DLX_BASE_STRUCTS_H
#define DLX_BASE_STRUCTS_H

#include <stddef.h>

#include "base/status.h"

/* *out (size `known`, holding the defaults, struct_size included) from the caller's structure `in`; NULL keeps the
 * defaults. `name` is the type's name for messages. A struct_size below `least`, the size of the first version that
 * was published, is DLX_E_INVALID. */
dlx_status dlx_struct_in(void *out, size_t known, const void *in, size_t least, const char *name, dlx_error *err);

/* The caller's `out` from *value (size `known`). */
dlx_status dlx_struct_out(void *out, const void *value, size_t known, size_t least, const char *name, dlx_error *err);

#endif
