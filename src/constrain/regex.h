/*
 * The text of a regular expression, in what Python's `re` and ECMAScript have in common and a finite automaton can do.
 * docs/DECODING.md lists the dialect. What changes the meaning and is not in it (look-around, back references, word
 * boundaries, flags, Unicode properties) is refused by name.
 */
#ifndef DLX_CONSTRAIN_REGEX_H
#define DLX_CONSTRAIN_REGEX_H

#include <stdbool.h>

#include "base/status.h"
#include "constrain/expr.h"

/* UTF-8 text [n] -> *out, in the arena. ecma: "." and "\s" as ECMAScript has them, which JSON schemas are written for;
 * otherwise "." is all but a line feed and "\s" the six of ASCII. */
dlx_status dlx_regex_parse(const dlx_expr **out, dlx_arena *arena, const char *text, size_t n, bool ecma,
                           dlx_error *err);

#endif
