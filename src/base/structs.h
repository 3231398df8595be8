/*
 * Public structures that grow (include/diffulex_edge/diffulex_edge.h states the policy): each begins with struct_size,
 * which says how much of it its writer knew.
 *
 * In: the bytes that the caller has replace those of the defaults; a caller from the future, with more bytes than this
 * library knows, is taken as long as what it adds is zero (a feature that it does not use). Out: no more is written
 * than the caller has room for, and struct_size stays the caller's. A size that no compiler gives such a structure, too
 * small for struct_size itself, not a multiple of its alignment, or absurdly large, is DLX_E_INVALID: somebody forgot
 * to set it.
 *
 * `known` is the size of this library's structure, `name` the type's name for messages. Members are appended, never
 * where the compiler would otherwise put padding: bytes of padding in an older program are not zero.
 */
#ifndef DLX_BASE_STRUCTS_H
#define DLX_BASE_STRUCTS_H

#include <stddef.h>

#include "base/status.h"

/* *out, which holds the defaults, struct_size = `known` included, takes over the caller's structure `in`; NULL keeps
 * the defaults. On failure *out is as it was. */
dlx_status dlx_struct_in(void *out, size_t known, const void *in, const char *name, dlx_error *err);

/* The same for an array of n structures, each as long as the first one's struct_size says. out [n] holds defaults; on
 * failure its first elements may have been taken over. */
dlx_status dlx_struct_array_in(void *out, size_t known, const void *in, size_t n, const char *name, dlx_error *err);

/* What is behind struct_size becomes 0: what a structure that a function fills holds when it fails. Does nothing
 * without a structure, or to one whose size was not set. */
void dlx_struct_clear(void *out, size_t known);

/* The caller's `out` from *value. On failure, NULL included, nothing was written. */
dlx_status dlx_struct_out(void *out, const void *value, size_t known, const char *name, dlx_error *err);

#endif
