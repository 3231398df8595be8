/* Filters and tests by name. The numbers are part of the written form of a tree: new ones go to the end. */
#ifndef DLX_TEXT_JINJA_NAMES_H
#define DLX_TEXT_JINJA_NAMES_H

#include <stddef.h>

/* X(symbol, name) */
#define DLX_JINJA_FILTER_NAMES(X)                                                                                      \
    X(ABS, "abs")                                                                                                      \
    X(ATTR, "attr")                                                                                                    \
    X(BATCH, "batch")                                                                                                  \
    X(CAPITALIZE, "capitalize")                                                                                        \
    X(CENTER, "center")                                                                                                \
    X(DEFAULT, "default")                                                                                              \
    X(DICTSORT, "dictsort")                                                                                            \
    X(ESCAPE, "escape")                                                                                                \
    X(FIRST, "first")                                                                                                  \
    X(FLOAT, "float")                                                                                                  \
    X(FORCEESCAPE, "forceescape")                                                                                      \
    X(FORMAT, "format")                                                                                                \
    X(GROUPBY, "groupby")                                                                                              \
    X(INDENT, "indent")                                                                                                \
    X(INT, "int")                                                                                                      \
    X(ITEMS, "items")                                                                                                  \
    X(JOIN, "join")                                                                                                    \
    X(LAST, "last")                                                                                                    \
    X(LENGTH, "length")                                                                                                \
    X(LIST, "list")                                                                                                    \
    X(LOWER, "lower")                                                                                                  \
    X(MAP, "map")                                                                                                      \
    X(MAX, "max")                                                                                                      \
    X(MIN, "min")                                                                                                      \
    X(REJECT, "reject")                                                                                                \
    X(REJECTATTR, "rejectattr")                                                                                        \
    X(REPLACE, "replace")                                                                                              \
    X(REVERSE, "reverse")                                                                                              \
    X(ROUND, "round")                                                                                                  \
    X(SAFE, "safe")                                                                                                    \
    X(SELECT, "select")                                                                                                \
    X(SELECTATTR, "selectattr")                                                                                        \
    X(SLICE, "slice")                                                                                                  \
    X(SORT, "sort")                                                                                                    \
    X(STRING, "string")                                                                                                \
    X(SUM, "sum")                                                                                                      \
    X(TITLE, "title")                                                                                                  \
    X(TOJSON, "tojson")                                                                                                \
    X(TRIM, "trim")                                                                                                    \
    X(TRUNCATE, "truncate")                                                                                            \
    X(UNIQUE, "unique")                                                                                                \
    X(UPPER, "upper")                                                                                                  \
    X(WORDCOUNT, "wordcount")

#define DLX_JINJA_TEST_NAMES(X)                                                                                        \
    X(BOOLEAN, "boolean")                                                                                              \
    X(CALLABLE, "callable")                                                                                            \
    X(DEFINED, "defined")                                                                                              \
    X(DIVISIBLEBY, "divisibleby")                                                                                      \
    X(EQ, "eq")                                                                                                        \
    X(ESCAPED, "escaped")                                                                                              \
    X(EVEN, "even")                                                                                                    \
    X(FALSE, "false")                                                                                                  \
    X(FILTER, "filter")                                                                                                \
    X(FLOAT, "float")                                                                                                  \
    X(GE, "ge")                                                                                                        \
    X(GT, "gt")                                                                                                        \
    X(IN, "in")                                                                                                        \
    X(INTEGER, "integer")                                                                                              \
    X(ITERABLE, "iterable")                                                                                            \
    X(LE, "le")                                                                                                        \
    X(LOWER, "lower")                                                                                                  \
    X(LT, "lt")                                                                                                        \
    X(MAPPING, "mapping")                                                                                              \
    X(NE, "ne")                                                                                                        \
    X(NONE, "none")                                                                                                    \
    X(NUMBER, "number")                                                                                                \
    X(ODD, "odd")                                                                                                      \
    X(SAMEAS, "sameas")                                                                                                \
    X(SEQUENCE, "sequence")                                                                                            \
    X(STRING, "string")                                                                                                \
    X(TEST, "test")                                                                                                    \
    X(TRUE, "true")                                                                                                    \
    X(UNDEFINED, "undefined")                                                                                          \
    X(UPPER, "upper")

#define DLX_JINJA_FILTER_ENUM(symbol, name) DLX_JINJA_FILTER_##symbol,
#define DLX_JINJA_TEST_ENUM(symbol, name)   DLX_JINJA_TEST_##symbol,

enum { DLX_JINJA_FILTER_NAMES(DLX_JINJA_FILTER_ENUM) DLX_JINJA_FILTERS };
enum { DLX_JINJA_TEST_NAMES(DLX_JINJA_TEST_ENUM) DLX_JINJA_TESTS };

/* Number of a filter or test by name or by one of its other names ("d", "count", "equalto", ">="), or -1. */
int dlx_jinja_find_filter(const char *name, size_t n);
int dlx_jinja_find_test(const char *name, size_t n);
const char *dlx_jinja_filter_name(int filter);
const char *dlx_jinja_test_name(int test);

#endif
