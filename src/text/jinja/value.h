/*
 * Values of the interpreter, with Python's semantics. All are immutable but namespaces, loops, iterators, cyclers and
 * joiners; all live in the arena of one rendering (dlx_jx), so nothing is freed before its end.
 *
 * Every byte of a string knows whether it is the template's own (literals, the tokenizer's special tokens) or came in
 * with messages, tools and variables; numbers and words that are printed follow the value they were made of
 * (`foreign`).
 *
 * A function that can fail returns false (or -1) and has recorded the error in the rendering.
 */
#ifndef DLX_TEXT_JINJA_VALUE_H
#define DLX_TEXT_JINJA_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "text/jinja/tree.h"

typedef struct dlx_jx dlx_jx;
typedef struct dlx_jv dlx_jv;

typedef enum dlx_jv_type {
    DLX_JV_UNDEFINED,
    DLX_JV_NONE,
    DLX_JV_BOOL,
    DLX_JV_INT,
    DLX_JV_BIG, /* an integer of a message that does not fit into 64 bits: its digits */
    DLX_JV_FLOAT,
    DLX_JV_STRING,
    DLX_JV_LIST,
    DLX_JV_TUPLE,
    DLX_JV_DICT,
    DLX_JV_RANGE,
    DLX_JV_VIEW, /* keys(), values() or items() of a dict */
    DLX_JV_ITERATOR,
    DLX_JV_NAMESPACE,
    DLX_JV_LOOP,
    DLX_JV_MACRO,
    DLX_JV_FUNCTION, /* a global one: `number` */
    DLX_JV_METHOD,   /* of a value: `number` */
    DLX_JV_CYCLER,
    DLX_JV_JOINER,
    DLX_JV_ABSENT, /* an argument that was not given */
} dlx_jv_type;

/* Growing storage; strings are stretches of it, and one that ends where it ends is appended to in place. */
typedef struct dlx_jv_bytes {
    char *p;
    uint8_t *own; /* of each byte: 1 when the template's */
    size_t used, capacity;
} dlx_jv_bytes;

typedef struct dlx_jv_string {
    const char *p; /* UTF-8, may hold NULs */
    const uint8_t *own;
    size_t n, chars; /* bytes, code points */
    dlx_jv_bytes *bytes;
} dlx_jv_string;

typedef struct dlx_jv_items {
    dlx_jv *p;
    size_t used, capacity;
} dlx_jv_items;

typedef struct dlx_jv_list {
    dlx_jv *v;
    size_t n;
    dlx_jv_items *items;
} dlx_jv_list;

typedef struct dlx_jv_dict dlx_jv_dict;
typedef struct dlx_jv_iterator dlx_jv_iterator;

typedef struct dlx_jv_range {
    int64_t start, stop, step;
    size_t n;
} dlx_jv_range;

typedef struct dlx_jv_loop dlx_jv_loop;
typedef struct dlx_jv_macro dlx_jv_macro;

struct dlx_jv {
    uint8_t type;
    bool foreign;    /* not a string's: its bytes know */
    bool markup;     /* a string that `safe` or `escape` made */
    uint8_t which;   /* VIEW: DLX_JV_KEYS ...; UNDEFINED: 1 when `string` describes it instead of naming it */
    uint32_t number; /* FUNCTION, METHOD */
    union {
        bool b;
        int64_t i;
        double f;
        const dlx_jv_string *string; /* STRING, BIG; UNDEFINED: its name, or NULL */
        const dlx_jv_list *list;
        dlx_jv_dict *dict; /* DICT, NAMESPACE, VIEW */
        const dlx_jv_range *range;
        dlx_jv_iterator *iterator;
        dlx_jv_loop *loop;
        const dlx_jv_macro *macro;
        const dlx_jv *self;  /* METHOD: what it belongs to */
        dlx_jv_items *state; /* CYCLER: its items, used as position; JOINER: separator */
    } as;
};

enum { DLX_JV_KEYS, DLX_JV_VALUES, DLX_JV_ITEMS };

struct dlx_jv_dict {
    dlx_jv *keys, *values;
    size_t n, capacity;
};

/* ---- making -------------------------------------------------------------------------------------------------------
 */

dlx_jv dlx_jv_none(void);
dlx_jv dlx_jv_bool(bool b);
dlx_jv dlx_jv_int(int64_t i);
dlx_jv dlx_jv_float(double f);
dlx_jv dlx_jv_absent(void);
/* Undefined, under a name (may be NULL) or with a whole sentence about it. */
dlx_jv dlx_jv_undefined(const dlx_jv_string *name);
bool dlx_jv_undefined_because(dlx_jx *x, const char *sentence, dlx_jv *out);

bool dlx_jv_text(dlx_jx *x, const char *p, size_t n, bool own, dlx_jv *out);
bool dlx_jv_new_list(dlx_jx *x, size_t capacity, dlx_jv_list **out);
bool dlx_jv_push(dlx_jx *x, dlx_jv_list *list, dlx_jv value);
dlx_jv dlx_jv_of_list(const dlx_jv_list *list, bool tuple);
bool dlx_jv_pair(dlx_jx *x, dlx_jv a, dlx_jv b, dlx_jv *tuple);
bool dlx_jv_new_dict(dlx_jx *x, dlx_jv_dict **out);
/* Replaces the value of an equal key. */
bool dlx_jv_dict_set(dlx_jx *x, dlx_jv_dict *dict, dlx_jv key, dlx_jv value);
/* Without looking for an equal key. */
bool dlx_jv_dict_add(dlx_jx *x, dlx_jv_dict *dict, dlx_jv key, dlx_jv value);
/* Value of a key, or NULL. False: the key cannot be one. */
bool dlx_jv_dict_get(dlx_jx *x, const dlx_jv_dict *dict, const dlx_jv *key, const dlx_jv **value);
const dlx_jv *dlx_jv_dict_find(const dlx_jv_dict *dict, const char *name);

/* ---- Python's operations ------------------------------------------------------------------------------------------
 */

const char *dlx_jv_type_name(const dlx_jv *v);
bool dlx_jv_is_number(const dlx_jv *v); /* bool, int or float */
bool dlx_jv_is_text(const dlx_jv *v, const char *text);
double dlx_jv_to_double(const dlx_jv *v); /* of a number */
bool dlx_jv_is_int(const dlx_jv *v);      /* bool or int */
int64_t dlx_jv_to_int(const dlx_jv *v);   /* of one of these */
bool dlx_jv_is_given(const dlx_jv *v);    /* an argument: neither ABSENT nor none */
bool dlx_jv_truth(const dlx_jv *v);
bool dlx_jv_equal(dlx_jx *x, const dlx_jv *a, const dlx_jv *b, bool *equal);
/* As memcmp reports it. */
int dlx_jv_order_strings(const dlx_jv_string *a, const dlx_jv_string *b);
/* a < b, as Python's sort asks it. */
bool dlx_jv_less(dlx_jx *x, const dlx_jv *a, const dlx_jv *b, bool *less);
/* Any of the comparisons of a tree. */
bool dlx_jv_compare(dlx_jx *x, int comparison, const dlx_jv *a, const dlx_jv *b, bool *result);
bool dlx_jv_arithmetic(dlx_jx *x, int operation, const dlx_jv *a, const dlx_jv *b, dlx_jv *out);
bool dlx_jv_negate(dlx_jx *x, const dlx_jv *v, bool minus, dlx_jv *out);
bool dlx_jv_length(dlx_jx *x, const dlx_jv *v, size_t *n);
/* Whether it has a length and elements by number: str, list, tuple, range. */
bool dlx_jv_is_sequence(const dlx_jv *v);
bool dlx_jv_element(dlx_jx *x, const dlx_jv *sequence, size_t i, dlx_jv *out);
/* sequence[start:stop:step]; ABSENT or none where a part is left out. */
bool dlx_jv_slice(dlx_jx *x, const dlx_jv *v, const dlx_jv parts[3], dlx_jv *out);
/* Appends str(v) or repr(v). */
bool dlx_jv_print(dlx_jx *x, dlx_jv_bytes *out, const dlx_jv *v);
bool dlx_jv_repr(dlx_jx *x, dlx_jv_bytes *out, const dlx_jv *v);
bool dlx_jv_to_string(dlx_jx *x, const dlx_jv *v, dlx_jv *out);

/* ---- strings (strings.c) ------------------------------------------------------------------------------------------
 */

dlx_jv_bytes *dlx_jv_new_bytes(dlx_jx *x); /* NULL: out of memory */
bool dlx_jv_bytes_add(dlx_jx *x, dlx_jv_bytes *b, const char *p, const uint8_t *own, size_t n);
/* All of one origin. */
bool dlx_jv_bytes_text(dlx_jx *x, dlx_jv_bytes *b, const char *text, size_t n, bool own);
bool dlx_jv_bytes_string(dlx_jx *x, dlx_jv_bytes *b, const dlx_jv_string *s);
bool dlx_jv_bytes_char(dlx_jx *x, dlx_jv_bytes *b, uint32_t code_point, bool own);
/* The string of bytes [begin, used). */
bool dlx_jv_bytes_end(dlx_jx *x, dlx_jv_bytes *b, size_t begin, dlx_jv *out);
/* Whether all bytes of [begin, end) are the template's. */
bool dlx_jv_is_own(const dlx_jv_string *s, size_t begin, size_t end);
/* A stretch of a string, in bytes. */
bool dlx_jv_substring(dlx_jx *x, const dlx_jv_string *s, size_t begin, size_t end, dlx_jv *out);
bool dlx_jv_concat(dlx_jx *x, const dlx_jv_string *a, const dlx_jv_string *b, dlx_jv *out);
/* Byte offset of code point `i` (at most s->chars). */
size_t dlx_jv_offset(const dlx_jv_string *s, size_t i);
/* Byte offset of the first (or last) `part` in s[begin, end), or SIZE_MAX. */
size_t dlx_jv_find(const dlx_jv_string *s, size_t begin, size_t end, const dlx_jv_string *part, bool last);
bool dlx_jv_replace(dlx_jx *x, const dlx_jv_string *s, const dlx_jv_string *old, const dlx_jv_string *by, int64_t count,
                    dlx_jv *out);
/* Characters of `set` (NULL: white space) taken from the ends. */
bool dlx_jv_strip(dlx_jx *x, const dlx_jv_string *s, const dlx_jv_string *set, bool left, bool right, dlx_jv *out);
enum {
    DLX_JV_UPPER,
    DLX_JV_LOWER,
    DLX_JV_CAPITALIZE,
    DLX_JV_TITLE,
    DLX_JV_SWAPCASE,
    DLX_JV_CASEFOLD,
    DLX_JV_FILTER_TITLE
};
bool dlx_jv_change_case(dlx_jx *x, const dlx_jv_string *s, int how, dlx_jv *out);
bool dlx_jv_pad(dlx_jx *x, const dlx_jv_string *s, int64_t left, int64_t right, const dlx_jv_string *fill, dlx_jv *out);
/* n blanks, the template's own; none when n is negative. */
bool dlx_jv_blanks(dlx_jx *x, int64_t n, dlx_jv *out);
bool dlx_jv_splitlines(dlx_jx *x, const dlx_jv_string *s, bool keep, dlx_jv_list **out);
/* Each of Python's is...() methods; dlx_jinja_class, or DLX_JV_IS_*. */
enum { DLX_JV_IS_SPACE = 100, DLX_JV_IS_ALNUM, DLX_JV_IS_ASCII, DLX_JV_IS_TITLE };
bool dlx_jv_all_are(const dlx_jv_string *s, int which);
bool dlx_jv_escape(dlx_jx *x, const dlx_jv_string *s, dlx_jv *out);

/* ---- numbers (number.c) -------------------------------------------------------------------------------------------
 */

/* What a digit or letter stands for in bases up to 36; 99 for what is neither. */
int dlx_jinja_digit(char c);
/* A decimal number of JSON or Jinja without underscores, whatever the locale. */
double dlx_jinja_parse_float(const char *p, const char *end);
/* repr(v) of Python; returns its length. */
enum { DLX_JINJA_FLOAT_TEXT = 40 };
size_t dlx_jinja_print_float(char out[DLX_JINJA_FLOAT_TEXT], double v);
/* printf's conversion `kind` (e, f, g and their capitals) with a point whatever the locale is; returns its length, at
 * most size - 1. */
size_t dlx_jinja_format_float(char *out, size_t size, char kind, bool alternate, int digits, double v);

#endif
