/*
 * What Python's str knows about characters: white space, letters, digits, case, and which ones repr() prints as they
 * are. The tables (unicode_tables.h) are written by tools/make_unicode_tables.py from Python's own.
 */
#ifndef DLX_TEXT_JINJA_UNICODE_H
#define DLX_TEXT_JINJA_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum dlx_jinja_class {
    DLX_JINJA_IS_ALPHA,
    DLX_JINJA_IS_DECIMAL,
    DLX_JINJA_IS_DIGIT,
    DLX_JINJA_IS_NUMERIC,
    DLX_JINJA_IS_UPPER,
    DLX_JINJA_IS_LOWER,
    DLX_JINJA_IS_TITLE,
    DLX_JINJA_IS_PRINTABLE,
    DLX_JINJA_IS_CASED,     /* for the sigma at the end of a word */
    DLX_JINJA_IS_IGNORABLE, /* likewise */
} dlx_jinja_class;

bool dlx_jinja_is(dlx_jinja_class c, uint32_t code_point);
bool dlx_jinja_is_space(uint32_t c);      /* str.isspace, and \s of regular expressions */
bool dlx_jinja_is_line_break(uint32_t c); /* where str.splitlines cuts */

enum { DLX_JINJA_TO_UPPER, DLX_JINJA_TO_LOWER, DLX_JINJA_TO_TITLE, DLX_JINJA_CASES };
/* The 1 to 3 characters that c becomes; returns their number. */
int dlx_jinja_to_case(int which, uint32_t c, uint32_t out[3]);

#endif
