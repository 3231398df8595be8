/*
 * JSON schemas (draft 2020-12) as automata: the texts of their instances in one canonical form. docs/DECODING.md lists
 * the keywords, and the form; what would change the meaning and is not there is refused with its place.
 */
#ifndef DLX_CONSTRAIN_FULL_SCHEMA_H
#define DLX_CONSTRAIN_FULL_SCHEMA_H

#include "base/status.h"
#include "constrain/machine.h"

/* max_depth: how deep a "$ref" may lie inside what it refers to; 0: a schema that contains itself is refused. */
dlx_status dlx_schema_build(dlx_machine *out, dlx_arena *arena, const char *schema, size_t n, int64_t max_depth,
                            dlx_error *err);

#endif
