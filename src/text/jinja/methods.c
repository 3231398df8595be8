#include "text/jinja/methods.h"

#include <string.h>

#include "text/jinja/unicode.h"
#include "text/utf8.h"

/* X(symbol, name, parameters, number of those that must be given, where: s str, l list, d dict, c cycler, o loop,
 * i int) */
#define METHODS(X)                                                                                                     \
    X(CAPITALIZE, "capitalize", "", 0, 's')                                                                            \
    X(CASEFOLD, "casefold", "", 0, 's')                                                                                \
    X(CENTER, "center", "width fillchar", 1, 's')                                                                      \
    X(ENDSWITH, "endswith", "suffix start end", 1, 's')                                                                \
    X(EXPANDTABS, "expandtabs", "tabsize", 0, 's')                                                                     \
    X(FIND, "find", "sub start end", 1, 's')                                                                           \
    X(FORMAT, "format", NULL, 0, 's')                                                                                  \
    X(ISALNUM, "isalnum", "", 0, 's')                                                                                  \
    X(ISALPHA, "isalpha", "", 0, 's')                                                                                  \
    X(ISASCII, "isascii", "", 0, 's')                                                                                  \
    X(ISDECIMAL, "isdecimal", "", 0, 's')                                                                              \
    X(ISDIGIT, "isdigit", "", 0, 's')                                                                                  \
    X(ISLOWER, "islower", "", 0, 's')                                                                                  \
    X(ISNUMERIC, "isnumeric", "", 0, 's')                                                                              \
    X(ISPRINTABLE, "isprintable", "", 0, 's')                                                                          \
    X(ISSPACE, "isspace", "", 0, 's')                                                                                  \
    X(ISTITLE, "istitle", "", 0, 's')                                                                                  \
    X(ISUPPER, "isupper", "", 0, 's')                                                                                  \
    X(JOIN, "join", "iterable", 1, 's')                                                                                \
    X(LJUST, "ljust", "width fillchar", 1, 's')                                                                        \
    X(LOWER, "lower", "", 0, 's')                                                                                      \
    X(LSTRIP, "lstrip", "chars", 0, 's')                                                                               \
    X(PARTITION, "partition", "sep", 1, 's')                                                                           \
    X(REMOVEPREFIX, "removeprefix", "prefix", 1, 's')                                                                  \
    X(REMOVESUFFIX, "removesuffix", "suffix", 1, 's')                                                                  \
    X(REPLACE, "replace", "old new count", 2, 's')                                                                     \
    X(RFIND, "rfind", "sub start end", 1, 's')                                                                         \
    X(RINDEX, "rindex", "sub start end", 1, 's')                                                                       \
    X(RJUST, "rjust", "width fillchar", 1, 's')                                                                        \
    X(RPARTITION, "rpartition", "sep", 1, 's')                                                                         \
    X(RSPLIT, "rsplit", "sep maxsplit", 0, 's')                                                                        \
    X(RSTRIP, "rstrip", "chars", 0, 's')                                                                               \
    X(SPLIT, "split", "sep maxsplit", 0, 's')                                                                          \
    X(SPLITLINES, "splitlines", "keepends", 0, 's')                                                                    \
    X(STARTSWITH, "startswith", "prefix start end", 1, 's')                                                            \
    X(STRIP, "strip", "chars", 0, 's')                                                                                 \
    X(SWAPCASE, "swapcase", "", 0, 's')                                                                                \
    X(TITLE, "title", "", 0, 's')                                                                                      \
    X(UPPER, "upper", "", 0, 's')                                                                                      \
    X(ZFILL, "zfill", "width", 1, 's')                                                                                 \
    X(COUNT, "count", "value start end", 1, 'b')                                                                       \
    X(INDEX, "index", "value start end", 1, 'b')                                                                       \
    X(BIT_LENGTH, "bit_length", "", 0, 'i')                                                                            \
    X(LIST_COPY, "copy", "", 0, 'l')                                                                                   \
    X(DICT_COPY, "copy", "", 0, 'd')                                                                                   \
    X(GET, "get", "key default", 1, 'd')                                                                               \
    X(ITEMS, "items", "", 0, 'd')                                                                                      \
    X(KEYS, "keys", "", 0, 'd')                                                                                        \
    X(VALUES, "values", "", 0, 'd')                                                                                    \
    X(NEXT, "next", "", 0, 'c')                                                                                        \
    X(RESET, "reset", "", 0, 'c')                                                                                      \
    X(CYCLE, "cycle", NULL, 0, 'o')                                                                                    \
    X(CHANGED, "changed", NULL, 0, 'o')                                                                                \
    /* the sandbox lets nobody change lists and dicts */                                                               \
    X(FORBIDDEN_APPEND, "append", NULL, 0, 'L')                                                                        \
    X(FORBIDDEN_EXTEND, "extend", NULL, 0, 'L')                                                                        \
    X(FORBIDDEN_INSERT, "insert", NULL, 0, 'L')                                                                        \
    X(FORBIDDEN_REMOVE, "remove", NULL, 0, 'L')                                                                        \
    X(FORBIDDEN_REVERSE, "reverse", NULL, 0, 'L')                                                                      \
    X(FORBIDDEN_SORT, "sort", NULL, 0, 'L')                                                                            \
    X(FORBIDDEN_POP, "pop", NULL, 0, 'B')                                                                              \
    X(FORBIDDEN_CLEAR, "clear", NULL, 0, 'B')                                                                          \
    X(FORBIDDEN_POPITEM, "popitem", NULL, 0, 'D')                                                                      \
    X(FORBIDDEN_SETDEFAULT, "setdefault", NULL, 0, 'D')                                                                \
    X(FORBIDDEN_UPDATE, "update", NULL, 0, 'D')

#define SYMBOL(symbol, name, parameters, needed, where) symbol,
#define ROW(symbol, name, parameters, needed, where)    {name, parameters, needed, where},

enum { METHODS(SYMBOL) N_METHODS };

typedef struct method {
    const char *name, *parameters; /* NULL: it takes what it gets */
    size_t needed;
    char where;
} method;

static const method methods[N_METHODS] = {METHODS(ROW)};

static bool belongs(char where, const dlx_jv *v)
{
    switch (where) {
    case 's': return v->type == DLX_JV_STRING;
    case 'b': return dlx_jv_is_sequence(v);
    case 'i': return dlx_jv_is_int(v);
    case 'l':
    case 'L': return v->type == DLX_JV_LIST;
    case 'd':
    case 'D': return v->type == DLX_JV_DICT;
    case 'B': return v->type == DLX_JV_LIST || v->type == DLX_JV_DICT;
    case 'c': return v->type == DLX_JV_CYCLER;
    default: return v->type == DLX_JV_LOOP;
    }
}

bool dlx_jx_find_method(const dlx_jv *v, const char *name, size_t n, uint32_t *number)
{
    for (uint32_t i = 0; i < N_METHODS; i++) {
        if (!belongs(methods[i].where, v) || strlen(methods[i].name) != n || memcmp(methods[i].name, name, n) != 0)
            continue;
        *number = i;
        return true;
    }
    return false;
}

/* What Python's objects have beyond those. of: s str, m markup, i int, f float, d dict. */
static const struct {
    const char *name, *of;
    bool is_method;
} lacking[] = {
    {"encode", "s", true},      {"format_map", "s", true}, {"isidentifier", "s", true},
    {"maketrans", "s", true},   {"translate", "s", true},  {"striptags", "m", false},
    {"unescape", "m", false},   {"escape", "m", false},    {"as_integer_ratio", "if", true},
    {"bit_count", "i", true},   {"conjugate", "if", true}, {"from_bytes", "i", true},
    {"fromhex", "f", true},     {"fromkeys", "d", true},   {"hex", "f", true},
    {"is_integer", "if", true}, {"to_bytes", "i", true},   {"real", "if", false},
    {"imag", "if", false},      {"numerator", "i", false}, {"denominator", "i", false},
};

bool dlx_jinja_method_is_missing(const char *name, size_t n)
{
    for (size_t i = 0; i < sizeof lacking / sizeof lacking[0]; i++)
        if (lacking[i].is_method && strlen(lacking[i].name) == n && memcmp(lacking[i].name, name, n) == 0) return true;
    return false;
}

bool dlx_jx_attribute_is_missing(const dlx_jv *v, const char *name, size_t n)
{
    char type = v->type == DLX_JV_STRING  ? 's'
                : dlx_jv_is_int(v)        ? 'i'
                : v->type == DLX_JV_FLOAT ? 'f'
                : v->type == DLX_JV_DICT  ? 'd'
                                          : 0;
    for (size_t i = 0; type && i < sizeof lacking / sizeof lacking[0]; i++) {
        bool has = strchr(lacking[i].of, type) || (type == 's' && v->markup && *lacking[i].of == 'm');
        if (has && strlen(lacking[i].name) == n && memcmp(lacking[i].name, name, n) == 0) return true;
    }
    return false;
}

/* ---- strings ------------------------------------------------------------------------------------------------------
 */

/* [start:end] of find and its like, as byte offsets. */
static bool string_range(dlx_jx *x, const dlx_jv_string *s, const dlx_jv *start, const dlx_jv *end, size_t *from,
                         size_t *to, bool *beyond)
{
    int64_t n = (int64_t)s->chars, i = 0, k = n;
    if (dlx_jv_is_given(start) && !dlx_jx_need_int(x, start, "start", &i)) return false;
    if (dlx_jv_is_given(end) && !dlx_jx_need_int(x, end, "end", &k)) return false;
    if (i < 0) i = i + n < 0 ? 0 : i + n;
    if (k < 0) k = k + n < 0 ? 0 : k + n;
    if (k > n) k = n;
    *beyond = i > k;
    *from = dlx_jv_offset(s, (size_t)(i > n ? n : i));
    *to = dlx_jv_offset(s, (size_t)k);
    return true;
}

static bool call_find(dlx_jx *x, const dlx_jv_string *s, uint32_t number, const dlx_jv *a, dlx_jv *out)
{
    const dlx_jv_string *part;
    size_t from, to, found;
    bool beyond;
    if (!dlx_jx_need_string(x, &a[0], methods[number].name, &part) ||
        !string_range(x, s, &a[1], &a[2], &from, &to, &beyond) || !dlx_jx_step(x, s->n / 16))
        return false;
    bool last = number == RFIND || number == RINDEX;
    found = beyond ? SIZE_MAX : dlx_jv_find(s, from, to, part, last);
    if (found == SIZE_MAX && (number == INDEX || number == RINDEX))
        return dlx_jx_fail(x, DLX_E_INVALID, "'%s' did not find its text", methods[number].name);
    *out = dlx_jv_int(found == SIZE_MAX ? -1 : (int64_t)dlx_utf8_count(s->p, found));
    return true;
}

static bool count_in_string(dlx_jx *x, const dlx_jv_string *s, const dlx_jv *a, dlx_jv *out)
{
    const dlx_jv_string *part;
    size_t from, to;
    int64_t count = 0;
    bool beyond;
    if (!dlx_jx_need_string(x, &a[0], "count", &part) || !string_range(x, s, &a[1], &a[2], &from, &to, &beyond) ||
        !dlx_jx_step(x, s->n / 16))
        return false;
    if (part->n == 0 && !beyond) count = (int64_t)(dlx_utf8_count(s->p, to) - dlx_utf8_count(s->p, from)) + 1;
    while (part->n && !beyond && (from = dlx_jv_find(s, from, to, part, false)) != SIZE_MAX) {
        from += part->n;
        count++;
    }
    *out = dlx_jv_int(count);
    return true;
}

/* startswith and endswith, with one text or a tuple of them. */
static bool call_affix(dlx_jx *x, const dlx_jv_string *s, bool suffix, const dlx_jv *a, dlx_jv *out)
{
    size_t from, to;
    bool beyond, result = false;
    const char *what = suffix ? "endswith" : "startswith";
    if (!string_range(x, s, &a[1], &a[2], &from, &to, &beyond)) return false;
    const dlx_jv *list = &a[0];
    size_t n = 1;
    if (a[0].type == DLX_JV_TUPLE) {
        list = a[0].as.list->v;
        n = a[0].as.list->n;
    }
    for (size_t i = 0; i < n && !result; i++) {
        const dlx_jv_string *t;
        if (!dlx_jx_need_string(x, &list[i], what, &t)) return false;
        result = !beyond && t->n <= to - from && memcmp(suffix ? s->p + to - t->n : s->p + from, t->p, t->n) == 0;
    }
    *out = dlx_jv_bool(result);
    return true;
}

static bool add_piece(dlx_jx *x, dlx_jv_list *list, const dlx_jv_string *s, size_t begin, size_t end)
{
    dlx_jv piece;
    return dlx_jv_substring(x, s, begin, end, &piece) && dlx_jv_push(x, list, piece);
}

/* split(None): at runs of white space, none of which is left. */
static bool split_words(dlx_jx *x, const dlx_jv_string *s, int64_t most, dlx_jv_list *list)
{
    size_t i = 0, begin;
    uint32_t c = 0;
    for (;;) {
        size_t step = 0;
        while (i < s->n && (step = dlx_utf8_next(s->p + i, s->n - i, &c), dlx_jinja_is_space(c))) i += step;
        if (i >= s->n) return true;
        begin = i;
        if (most-- == 0) break;
        while (i < s->n && (step = dlx_utf8_next(s->p + i, s->n - i, &c), !dlx_jinja_is_space(c))) i += step;
        if (!dlx_jx_step(x, 1) || !add_piece(x, list, s, begin, i)) return false;
    }
    return add_piece(x, list, s, begin, s->n);
}

static void reverse(dlx_jv_list *list)
{
    for (size_t i = 0; i < list->n / 2; i++) {
        dlx_jv v = list->v[i];
        list->v[i] = list->v[list->n - 1 - i];
        list->v[list->n - 1 - i] = v;
    }
}

/* The same from the end; the pieces come in reverse. */
static bool split_words_back(dlx_jx *x, const dlx_jv_string *s, int64_t most, dlx_jv_list *list)
{
    size_t i = s->n, at, end;
    uint32_t c;
    for (;;) {
        while (i > 0 && (at = dlx_utf8_before(s->p, i, &c), dlx_jinja_is_space(c))) i = at;
        if (i == 0) return true;
        end = i;
        if (most-- == 0) break;
        while (i > 0 && (at = dlx_utf8_before(s->p, i, &c), !dlx_jinja_is_space(c))) i = at;
        if (!dlx_jx_step(x, 1) || !add_piece(x, list, s, i, end)) return false;
    }
    return add_piece(x, list, s, 0, end);
}

static bool split_at(dlx_jx *x, const dlx_jv_string *s, const dlx_jv_string *by, int64_t most, bool back,
                     dlx_jv_list *list)
{
    size_t begin = 0, end = s->n;
    while (most-- != 0) {
        size_t found = dlx_jv_find(s, begin, end, by, back);
        if (!dlx_jx_step(x, 1 + (back ? (end - begin) / 64 : 0))) return false;
        if (found == SIZE_MAX) break;
        if (!(back ? add_piece(x, list, s, found + by->n, end) : add_piece(x, list, s, begin, found))) return false;
        if (back)
            end = found;
        else
            begin = found + by->n;
    }
    return add_piece(x, list, s, begin, end);
}

static bool call_split(dlx_jx *x, const dlx_jv_string *s, bool back, const dlx_jv *a, dlx_jv *out)
{
    dlx_jv_list *list;
    const dlx_jv_string *by = NULL;
    int64_t most = -1;
    bool words = !dlx_jv_is_given(&a[0]);
    if ((a[1].type != DLX_JV_ABSENT && !dlx_jx_need_int(x, &a[1], "split", &most)) ||
        (!words && !dlx_jx_need_string(x, &a[0], "split", &by)) || !dlx_jv_new_list(x, 0, &list))
        return false;
    if (by && by->n == 0) return dlx_jx_fail(x, DLX_E_INVALID, "'split' got an empty separator");
    if (most < 0) most = -1;
    if (!dlx_jx_step(x, s->n / 64)) return false;
    bool fine = !words ? split_at(x, s, by, most, back, list)
                       : (back ? split_words_back(x, s, most, list) : split_words(x, s, most, list));
    if (!fine) return false;
    if (back) reverse(list);
    *out = dlx_jv_of_list(list, false);
    return true;
}

static bool call_partition(dlx_jx *x, const dlx_jv_string *s, bool back, const dlx_jv *a, dlx_jv *out)
{
    const dlx_jv_string *by;
    dlx_jv_list *list;
    if (!dlx_jx_need_string(x, &a[0], "partition", &by) || !dlx_jv_new_list(x, 3, &list)) return false;
    if (by->n == 0) return dlx_jx_fail(x, DLX_E_INVALID, "'partition' got an empty separator");
    size_t at = dlx_jv_find(s, 0, s->n, by, back), end = at + by->n;
    if (at == SIZE_MAX) { /* all of it in front, or behind */
        at = back ? 0 : s->n;
        end = at;
    }
    if (!add_piece(x, list, s, 0, at) || !add_piece(x, list, s, at, end) || !add_piece(x, list, s, end, s->n))
        return false;
    *out = dlx_jv_of_list(list, true);
    return true;
}

/* Between markup, what is none becomes some. */
static bool call_join(dlx_jx *x, const dlx_jv *by, const dlx_jv *v, dlx_jv *out)
{
    dlx_jv_list *list;
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    if (!b || !dlx_jx_to_list(x, v, &list)) return false;
    for (size_t i = 0; i < list->n; i++) {
        const dlx_jv_string *s;
        dlx_jv item = list->v[i];
        if (!dlx_jx_need_string(x, &item, "join", &s) || (by->markup && !item.markup && !dlx_jv_escape(x, s, &item)) ||
            (i && !dlx_jv_bytes_string(x, b, by->as.string)) || !dlx_jv_bytes_string(x, b, item.as.string))
            return false;
    }
    if (!dlx_jv_bytes_end(x, b, 0, out)) return false;
    out->markup = by->markup;
    return true;
}

static bool call_pad(dlx_jx *x, const dlx_jv_string *s, uint32_t number, const dlx_jv *a, dlx_jv *out)
{
    const dlx_jv_string *fill = NULL;
    int64_t width;
    if (!dlx_jx_need_int(x, &a[0], methods[number].name, &width) ||
        (a[1].type != DLX_JV_ABSENT && !dlx_jx_need_string(x, &a[1], methods[number].name, &fill)))
        return false;
    if (fill && fill->chars != 1) return dlx_jx_fail(x, DLX_E_INVALID, "a text is filled up with one character");
    int64_t missing = width - (int64_t)s->chars, left = 0;
    if (missing <= 0) return dlx_jv_substring(x, s, 0, s->n, out);
    if (number == RJUST) left = missing;
    if (number == CENTER) left = missing / 2 + (missing & width & 1);
    return dlx_jv_pad(x, s, left, missing - left, fill, out);
}

/* Zeros behind the sign. */
static bool call_zfill(dlx_jx *x, const dlx_jv_string *s, const dlx_jv *a, dlx_jv *out)
{
    dlx_jv zero, sign, rest, padded;
    int64_t width;
    size_t n = s->n && (s->p[0] == '+' || s->p[0] == '-') ? 1 : 0;
    if (!dlx_jx_need_int(x, &a[0], "zfill", &width) || !dlx_jv_text(x, "0", 1, true, &zero) ||
        !dlx_jv_substring(x, s, 0, n, &sign) || !dlx_jv_substring(x, s, n, s->n, &rest))
        return false;
    int64_t missing = width - (int64_t)s->chars;
    return dlx_jv_pad(x, rest.as.string, missing > 0 ? missing : 0, 0, zero.as.string, &padded) &&
           dlx_jv_concat(x, sign.as.string, padded.as.string, out);
}

static bool call_strip(dlx_jx *x, const dlx_jv_string *s, uint32_t number, const dlx_jv *a, dlx_jv *out)
{
    const dlx_jv_string *set = NULL;
    if (dlx_jv_is_given(&a[0]) && !dlx_jx_need_string(x, &a[0], methods[number].name, &set)) return false;
    return dlx_jv_strip(x, s, set, number != RSTRIP, number != LSTRIP, out);
}

static bool call_remove(dlx_jx *x, const dlx_jv_string *s, bool suffix, const dlx_jv *a, dlx_jv *out)
{
    const dlx_jv_string *t;
    if (!dlx_jx_need_string(x, &a[0], suffix ? "removesuffix" : "removeprefix", &t)) return false;
    bool has = t->n <= s->n && memcmp(suffix ? s->p + s->n - t->n : s->p, t->p, t->n) == 0;
    return dlx_jv_substring(x, s, has && !suffix ? t->n : 0, has && suffix ? s->n - t->n : s->n, out);
}

static bool call_replace(dlx_jx *x, const dlx_jv_string *s, const dlx_jv *a, dlx_jv *out)
{
    const dlx_jv_string *old, *by;
    int64_t count = -1;
    return dlx_jx_need_string(x, &a[0], "replace", &old) && dlx_jx_need_string(x, &a[1], "replace", &by) &&
           (a[2].type == DLX_JV_ABSENT || dlx_jx_need_int(x, &a[2], "replace", &count)) &&
           dlx_jv_replace(x, s, old, by, count, out);
}

/* Blanks up to the next column that is a multiple of the size, in place of every tab. */
static bool call_expandtabs(dlx_jx *x, const dlx_jv_string *s, const dlx_jv *a, dlx_jv *out)
{
    int64_t size = 8, column = 0;
    dlx_jv_bytes *b = dlx_jv_new_bytes(x);
    if (!b || (a[0].type != DLX_JV_ABSENT && !dlx_jx_need_int(x, &a[0], "expandtabs", &size))) return false;
    if (size > DLX_JX_MAX_RANGE) return dlx_jx_fail(x, DLX_E_LIMIT, "'expandtabs' takes at most %d", DLX_JX_MAX_RANGE);
    for (size_t i = 0, step; i < s->n; i += step) {
        uint32_t c;
        step = dlx_utf8_next(s->p + i, s->n - i, &c);
        int64_t blanks = size > 0 ? size - column % size : 0;
        if (!dlx_jx_step(x, 1)) return false;
        for (int64_t k = 0; c == '\t' && k < blanks; k++)
            if (!dlx_jv_bytes_text(x, b, " ", 1, s->own[i])) return false;
        if (c != '\t' && !dlx_jv_bytes_add(x, b, s->p + i, s->own + i, step)) return false;
        column = c == '\n' || c == '\r' ? 0 : column + (c == '\t' ? blanks : 1);
    }
    return dlx_jv_bytes_end(x, b, 0, out);
}

static int64_t bit_length(int64_t i)
{
    uint64_t rest = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    int64_t n = 0;
    for (; rest; rest >>= 1) n++;
    return n;
}

/* is...(): which class of characters each asks for. */
static int class_of(uint32_t number)
{
    switch (number) {
    case ISALNUM: return DLX_JV_IS_ALNUM;
    case ISALPHA: return DLX_JINJA_IS_ALPHA;
    case ISASCII: return DLX_JV_IS_ASCII;
    case ISDECIMAL: return DLX_JINJA_IS_DECIMAL;
    case ISDIGIT: return DLX_JINJA_IS_DIGIT;
    case ISLOWER: return DLX_JINJA_IS_LOWER;
    case ISNUMERIC: return DLX_JINJA_IS_NUMERIC;
    case ISPRINTABLE: return DLX_JINJA_IS_PRINTABLE;
    case ISSPACE: return DLX_JV_IS_SPACE;
    case ISTITLE: return DLX_JV_IS_TITLE;
    case ISUPPER: return DLX_JINJA_IS_UPPER;
    default: return -1;
    }
}

static bool call_string(dlx_jx *x, const dlx_jv_string *s, uint32_t number, const dlx_jv *a, dlx_jv *out)
{
    dlx_jv_list *list;
    int which = class_of(number);
    if (which >= 0) {
        *out = dlx_jv_bool(dlx_jv_all_are(s, which));
        return dlx_jx_step(x, s->n / 16);
    }
    switch (number) {
    case CAPITALIZE: return dlx_jv_change_case(x, s, DLX_JV_CAPITALIZE, out);
    case CASEFOLD: return dlx_jv_change_case(x, s, DLX_JV_CASEFOLD, out);
    case EXPANDTABS: return call_expandtabs(x, s, a, out);
    case LOWER: return dlx_jv_change_case(x, s, DLX_JV_LOWER, out);
    case SWAPCASE: return dlx_jv_change_case(x, s, DLX_JV_SWAPCASE, out);
    case TITLE: return dlx_jv_change_case(x, s, DLX_JV_TITLE, out);
    case UPPER: return dlx_jv_change_case(x, s, DLX_JV_UPPER, out);
    case CENTER:
    case LJUST:
    case RJUST: return call_pad(x, s, number, a, out);
    case ENDSWITH:
    case STARTSWITH: return call_affix(x, s, number == ENDSWITH, a, out);
    case FIND:
    case INDEX:
    case RFIND:
    case RINDEX: return call_find(x, s, number, a, out);
    case COUNT: return count_in_string(x, s, a, out);
    case LSTRIP:
    case RSTRIP:
    case STRIP: return call_strip(x, s, number, a, out);
    case PARTITION:
    case RPARTITION: return call_partition(x, s, number == RPARTITION, a, out);
    case REMOVEPREFIX:
    case REMOVESUFFIX: return call_remove(x, s, number == REMOVESUFFIX, a, out);
    case REPLACE: return call_replace(x, s, a, out);
    case RSPLIT:
    case SPLIT: return call_split(x, s, number == RSPLIT, a, out);
    case SPLITLINES:
        if (!dlx_jv_splitlines(x, s, dlx_jv_truth(&a[0]), &list)) return false;
        *out = dlx_jv_of_list(list, false);
        return true;
    default: return call_zfill(x, s, a, out);
    }
}

/* ---- lists, dicts, cyclers, loops ----------------------------------------------------------------------------------
 */

/* count and index of lists, tuples and ranges. */
static bool call_search(dlx_jx *x, const dlx_jv *self, uint32_t number, const dlx_jv *a, dlx_jv *out)
{
    size_t n;
    int64_t count = 0, from = 0, to;
    if (!dlx_jv_length(x, self, &n)) return false;
    to = (int64_t)n;
    if (number == INDEX && ((a[1].type != DLX_JV_ABSENT && !dlx_jx_need_int(x, &a[1], "index", &from)) ||
                            (a[2].type != DLX_JV_ABSENT && !dlx_jx_need_int(x, &a[2], "index", &to))))
        return false;
    if (from < 0) from = from + (int64_t)n < 0 ? 0 : from + (int64_t)n;
    if (to < 0) to += (int64_t)n;
    for (int64_t i = from; i < to && i < (int64_t)n; i++) {
        dlx_jv item;
        bool equal;
        if (!dlx_jv_element(x, self, (size_t)i, &item) || !dlx_jv_equal(x, &item, &a[0], &equal)) return false;
        count += equal;
        if (equal && number == INDEX) {
            *out = dlx_jv_int(i);
            return true;
        }
    }
    if (number == INDEX) return dlx_jx_fail(x, DLX_E_INVALID, "'index' did not find its value");
    *out = dlx_jv_int(count);
    return true;
}

static bool call_get(dlx_jx *x, const dlx_jv *self, const dlx_jv *a, dlx_jv *out)
{
    const dlx_jv *value;
    if (!dlx_jv_dict_get(x, self->as.dict, &a[0], &value)) return false;
    *out = value ? *value : a[1].type != DLX_JV_ABSENT ? a[1] : dlx_jv_none();
    return true;
}

static bool call_cycler(const dlx_jv *self, uint32_t number, dlx_jv *out)
{
    dlx_jv_items *state = self->as.state; /* used: position, capacity: number of items */
    *out = number == RESET ? dlx_jv_none() : state->p[state->used];
    state->used = number == NEXT ? (state->used + 1) % state->capacity : number == RESET ? 0 : state->used;
    return true;
}

static bool call_loop(dlx_jx *x, dlx_jv_loop *loop, uint32_t number, const dlx_jx_arguments *a, dlx_jv *out)
{
    dlx_jv_list *list;
    bool equal = false;
    if (a->n_keywords) return dlx_jx_fail(x, DLX_E_INVALID, "'%s' takes no names", methods[number].name);
    if (number == CYCLE) {
        if (a->n == 0) return dlx_jx_fail(x, DLX_E_INVALID, "no items for cycling given");
        *out = a->v[(size_t)loop->index0 % a->n];
        return true;
    }
    if (!dlx_jv_new_list(x, a->n, &list)) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!dlx_jv_push(x, list, a->v[i])) return false;
    dlx_jv value = dlx_jv_of_list(list, true);
    if (!dlx_jv_equal(x, &loop->changed, &value, &equal)) return false;
    loop->changed = value;
    *out = dlx_jv_bool(!equal);
    return true;
}

/* ---- markup -------------------------------------------------------------------------------------------------------
 */

/* What markup puts into itself: by which argument, or -1. */
static int inserted(uint32_t number)
{
    return number == REPLACE || number == CENTER || number == LJUST || number == RJUST ? 1 : -1;
}

/* A method of markup gives markup, where it gives text or texts. */
static bool mark(dlx_jx *x, dlx_jv *out)
{
    if (out->type == DLX_JV_STRING) out->markup = true;
    if (out->type != DLX_JV_LIST && out->type != DLX_JV_TUPLE) return true;
    dlx_jv_list *list;
    if (!dlx_jv_new_list(x, out->as.list->n, &list)) return false;
    for (size_t i = 0; i < out->as.list->n; i++) {
        dlx_jv item = out->as.list->v[i];
        item.markup = true;
        if (!dlx_jv_push(x, list, item)) return false;
    }
    *out = dlx_jv_of_list(list, out->type == DLX_JV_TUPLE);
    return true;
}

static bool call_markup(dlx_jx *x, const dlx_jv *self, uint32_t number, dlx_jv *bound, dlx_jv *out)
{
    int k = inserted(number);
    const dlx_jv_string *text;
    if (k >= 0 && bound[k].type != DLX_JV_ABSENT && !bound[k].markup &&
        (!dlx_jx_need_string(x, &bound[k], methods[number].name, &text) || !dlx_jv_escape(x, text, &bound[k])))
        return false;
    return call_string(x, self->as.string, number, bound, out) && mark(x, out);
}

bool dlx_jx_call_method(dlx_jx *x, const dlx_jv *self, uint32_t number, const dlx_jx_arguments *a, dlx_jv *out)
{
    dlx_jv bound[4];
    const method *m = &methods[number];
    if (number >= FORBIDDEN_APPEND)
        return dlx_jx_fail(x, DLX_E_INVALID, "'%s' would change a %s, which chat templates may not", m->name,
                           dlx_jv_type_name(self));
    if (number == FORMAT) return dlx_jx_format(x, self, a, out);
    if (number == CYCLE || number == CHANGED) return call_loop(x, self->as.loop, number, a, out);
    if (!dlx_jx_bind(x, a, m->name, m->parameters, m->needed, bound)) return false;
    if (self->type == DLX_JV_STRING) {
        /* Python takes names only for these. */
        bool named = number == SPLIT || number == RSPLIT || number == SPLITLINES || number == EXPANDTABS;
        if (a->n_keywords && !named) return dlx_jx_fail(x, DLX_E_INVALID, "'%s' takes no names", m->name);
        if (number == JOIN) return call_join(x, self, &bound[0], out);
        return self->markup ? call_markup(x, self, number, bound, out)
                            : call_string(x, self->as.string, number, bound, out);
    }
    if (a->n_keywords) return dlx_jx_fail(x, DLX_E_INVALID, "'%s' takes no names", m->name);
    switch (number) {
    case COUNT:
        if (a->n > 1) return dlx_jx_fail(x, DLX_E_INVALID, "'count' takes one argument");
        return call_search(x, self, number, bound, out);
    case INDEX: return call_search(x, self, number, bound, out);
    case BIT_LENGTH: *out = dlx_jv_int(bit_length(dlx_jv_to_int(self))); return true;
    case LIST_COPY:
    case DICT_COPY: *out = *self; return true;
    case GET: return call_get(x, self, bound, out);
    case ITEMS:
    case KEYS:
    case VALUES:
        *out = *self;
        out->type = DLX_JV_VIEW;
        out->which = number == ITEMS ? DLX_JV_ITEMS : number == KEYS ? DLX_JV_KEYS : DLX_JV_VALUES;
        return true;
    default: return call_cycler(self, number, out);
    }
}
