/* Methods of strings, lists and dicts. */
#ifndef DLX_TEXT_JINJA_METHODS_H
#define DLX_TEXT_JINJA_METHODS_H

#include "text/jinja/run.h"

/* The method of this name that a value has; false when it has none. */
bool dlx_jx_find_method(const dlx_jv *v, const char *name, size_t n, uint32_t *number);
bool dlx_jx_call_method(dlx_jx *x, const dlx_jv *self, uint32_t number, const dlx_jx_arguments *a, dlx_jv *out);
/* Whether it is a method of Python's that templates might call and this library does not have. */
bool dlx_jinja_method_is_missing(const char *name, size_t n);
/* Whether Python's object has an attribute of that name which this library does not have. */
bool dlx_jx_attribute_is_missing(const dlx_jv *v, const char *name, size_t n);

#endif
